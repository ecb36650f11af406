"""The check that the rows of a run folder belong together, because a folder may come from another person. Pure.

Each session and each turn must occur once, no required value may be missing, and no count or duration may be below 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bench.run.folder import SCHEMAS, TableName
from bench.untrusted.sanitize import excerpt

IN_EACH_ROW = ("session_id", "target", "outcome", "start_utc_ns", "ended_at_ns", "second", "duration_ns")
"""The columns that must not be null in any row of any table."""
REPORTED_BY_SERVICE = ("requests_limit", "requests_remaining", "tokens_limit", "tokens_remaining", "close_code")
"""The columns of whole numbers that come from a report of the service, and so may have any value."""
Codes = npt.NDArray[np.integer[Any]]


def wrong_column(table: TableName, rows: pa.Table | pa.RecordBatch) -> str:
    """Return the defect of these columns of a table; "" if there is none."""
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
    """Return a description of the session or turn that has two rows; "" if there is none.

    `sessions`: for each row of the sessions table, a code of the session's id; `id_of` decodes the code. `turns`,
    `numbers`: for each row of the turns table, the code of its session, and the number of the turn in the session, NaN
    if it has no number.
    """
    if (duplicates := np.flatnonzero(np.bincount(sessions) > 1)).size:
        return f"it has session {excerpt(str(id_of(int(duplicates[0]))))} twice"
    has_number = ~np.isnan(numbers)
    order = np.lexsort((numbers[has_number], turns[has_number]))
    number, session = numbers[has_number][order], turns[has_number][order]
    is_same = (number[1:] == number[:-1]) & (session[1:] == session[:-1])
    return "it has a turn of a session twice" if is_same.any() else ""
