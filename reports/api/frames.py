"""Frames of values. A column has the same dtype in every frame, so that files of several frames
can be combined.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

TEXT = "string[pyarrow]"
COUNT = "Int64"
NUMBER = "float64"
FLAG = "bool"
"""The dtypes of texts, of integers that may be missing, of floats that may be missing, and of
booleans."""
Dtypes = Mapping[str, Any]
"""The columns of a frame in the order of the frame, each with its dtype."""


def dtypes_of(*parts: tuple[str, Sequence[str]]) -> dict[str, str]:
    """Return the columns with their dtypes. Each argument is a dtype, and the columns in a row
    that have this dtype.
    """
    return {name: dtype for dtype, names in parts for name in names}


def frame_of(rows: Sequence[Mapping[str, Any]], dtypes: Dtypes) -> pd.DataFrame:
    """Return a frame with these rows. If a row has no value for a column, or an empty text, the
    value is missing.
    """

    def values(name: str) -> list[Any]:
        return [
            None if isinstance(value := row.get(name), str) and not value else value for row in rows
        ]

    columns = {name: pd.array(values(name), dtype=dtype) for name, dtype in dtypes.items()}
    return pd.DataFrame(columns, copy=False)


REASON = ("reason", "reason_numbers", "reason_text")
USE = dtypes_of((FLAG, ("published", "usable")), (TEXT, REASON))
"""The columns about a value, in every frame: whether it was published, whether it may be used, and
why not. The reason is a code, its numbers are JSON, and its text is a sentence."""


def concat(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of several frames that have the same columns. `pd.concat` alone would turn a
    categorical column into texts if its labels differ between the frames.
    """
    merged_dtypes: dict[str, pd.CategoricalDtype] = {}
    for name in map(str, frames[0].select_dtypes("category")):
        column_dtypes = [frame.dtypes[name] for frame in frames]
        if any(dtype != column_dtypes[0] for dtype in column_dtypes):
            labels = dict.fromkeys(label for dtype in column_dtypes for label in dtype.categories)
            merged_dtypes[name] = pd.CategoricalDtype(pd.Index(list(labels)))
    return pd.concat([frame.astype(merged_dtypes) for frame in frames], ignore_index=True)
