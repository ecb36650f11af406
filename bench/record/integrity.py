"""The check that the rows of a run folder are consistent, because a folder may come from another person. Pure.

Each session and each turn must occur once. No required value may be missing. No count or duration may be below 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bench.files.sanitize import excerpt
from bench.record.folder import SCHEMAS, TableName

IN_EACH_ROW = ("session_id", "target", "outcome", "start_utc_ns", "ended_at_ns", "second", "duration_ns")
"""The columns that must not be null in any row, in each table that has them."""
REPORTED_BY_SERVICE = ("requests_limit", "requests_remaining", "tokens_limit", "tokens_remaining", "close_code")
"""The columns of whole numbers that contain a number from the service, which may therefore be below 0."""
Codes = npt.NDArray[np.integer[Any]]


def wrong_column(table: TableName, rows: pa.Table | pa.RecordBatch) -> str:
    """Return a description of the first column with an impossible value; "" if all given columns are correct."""
    for name in rows.schema.names:
        column = rows[name]
        if name in IN_EACH_ROW and column.null_count:
            return f"it has rows of {table} without {name}"
        # instants may lie before the start of their turn or session
        is_integer = SCHEMAS[table].field(name).type == pa.int64()
        if not is_integer or name.endswith("_at_ns") or name in REPORTED_BY_SERVICE:
            continue
        if (minimum := pc.min(column).as_py()) is not None and minimum < 0:
            return f"the column {name} of its {table} contains {minimum}, which is below 0"
    return ""


def repeated(sessions: Codes, id_of: Callable[[int], object], turns: Codes, numbers: npt.NDArray[np.float64]) -> str:
    """Return a description of a session or turn that has more than one row; "" if there is none.

    `sessions` has, for each row of the sessions table, a code of the session's id. `id_of` decodes the code. `turns`
    and `numbers` have, for each row of the turns table, the code of its session, and the number of the turn in the
    session. The number is NaN if the turn has none.
    """
    if (duplicates := np.flatnonzero(np.bincount(sessions) > 1)).size:
        return f"it has session {excerpt(str(id_of(int(duplicates[0]))))} twice"
    has_number = ~np.isnan(numbers)
    order = np.lexsort((numbers[has_number], turns[has_number]))
    number, session = numbers[has_number][order], turns[has_number][order]
    is_same = (number[1:] == number[:-1]) & (session[1:] == session[:-1])
    return "it has a turn of a session twice" if is_same.any() else ""
