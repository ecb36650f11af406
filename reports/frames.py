"""Frames of figures: a column has its dtype whatever the rows hold, so that files of several frames fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

LABEL, TEXT, COUNT, NUMBER, FLAG = "category", "string[pyarrow]", "Int64", "float64", "bool"
"""The dtypes of labels, sentences, whole numbers and numbers that may be missing, and of what is true or false."""
Dtypes = Mapping[str, Any]
"""The columns of a frame, in their order, with their dtypes."""


def dtypes_of(*parts: tuple[str, Sequence[str]]) -> dict[str, str]:
    """Columns by their dtype: (dtype, columns) for each stretch of columns of one dtype."""
    return {name: dtype for dtype, names in parts for name in names}


def frame_of(rows: Sequence[Mapping[str, Any]], dtypes: Dtypes) -> pd.DataFrame:
    """A row for each of these; a column that a row does not name is missing there."""
    columns = {name: _column([row.get(name) for row in rows], dtype) for name, dtype in dtypes.items()}
    return pd.DataFrame(columns, copy=False)


def _column(values: Sequence[Any], dtype: Any) -> Any:
    if isinstance(dtype, pd.CategoricalDtype) or dtype == LABEL:
        # the categories are texts even if there are none: else a file of them has a column of no type
        known = {value for value in values if not pd.isna(value)}
        return pd.Categorical(values, pd.Index(sorted(known), dtype=TEXT))
    return pd.array(values, dtype=dtype)
