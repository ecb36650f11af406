"""Frames of values: a column always has the same dtype, so that files of several frames fit together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

TEXT, COUNT, NUMBER, FLAG = "string[pyarrow]", "Int64", "float64", "bool"
"""The dtypes of texts, of integers and floats that may be missing, and of booleans."""
Dtypes = Mapping[str, Any]
"""The columns of a frame, in their order, with their dtypes."""


def dtypes_of(*parts: tuple[str, Sequence[str]]) -> dict[str, str]:
    """Return columns with their dtypes, given as (dtype, columns) for each group of consecutive columns."""
    return {name: dtype for dtype, names in parts for name in names}


def frame_of(rows: Sequence[Mapping[str, Any]], dtypes: Dtypes) -> pd.DataFrame:
    """Return a frame with these rows; a column that a row does not contain is missing there."""
    columns = {name: pd.array([row.get(name) for row in rows], dtype=dtype) for name, dtype in dtypes.items()}
    return pd.DataFrame(columns, copy=False)


USE = dtypes_of((FLAG, ("published", "usable")), (TEXT, ("reason",)))
"""The columns of every frame about a value: whether there is one, whether it may be used, and why not."""


def use(*missing: str, published: bool, invalid: str = "") -> dict[str, Any]:
    """Return the columns of USE. `missing`: why there is no value; `invalid`: why it may not be used."""
    reason = "; ".join(filter(None, (*missing, invalid)))
    return {"published": published, "usable": published and not invalid, "reason": reason}


def by_label(labels: Any, value: Callable[[str], Any], missing: object, dtype: type) -> npt.NDArray[Any]:
    """Return the value of each row's label, from the categories and codes of a categorical; `missing` without one."""
    values: npt.NDArray[Any] = np.array([*(value(str(label)) for label in labels.categories), missing], dtype=dtype)
    of_rows: npt.NDArray[Any] = values[np.asarray(labels.codes)]  # `take` is slower
    return of_rows


def concat(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of frames with the same columns. `pd.concat` alone turns differing categoricals into texts."""
    kinds: dict[str, pd.CategoricalDtype] = {}
    for name in map(str, frames[0].select_dtypes("category")):
        several = [frame.dtypes[name] for frame in frames]
        if any(kind != several[0] for kind in several):
            labels = dict.fromkeys(label for kind in several for label in kind.categories)
            kinds[name] = pd.CategoricalDtype(pd.Index(list(labels)))
    return pd.concat([frame.astype(kinds) for frame in frames], ignore_index=True)
