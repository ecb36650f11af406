"""Frames of figures: a column has its dtype whatever the rows hold, so that files of several frames fit together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

TEXT, COUNT, NUMBER, FLAG = "string[pyarrow]", "Int64", "float64", "bool"
"""The dtypes of texts, whole numbers and numbers that may be missing, and of what is true or false."""
Dtypes = Mapping[str, Any]
"""The columns of a frame, in their order, with their dtypes."""


def dtypes_of(*parts: tuple[str, Sequence[str]]) -> dict[str, str]:
    """Columns by their dtype: (dtype, columns) for each stretch of columns of one dtype."""
    return {name: dtype for dtype, names in parts for name in names}


def frame_of(rows: Sequence[Mapping[str, Any]], dtypes: Dtypes) -> pd.DataFrame:
    """A row for each of these; a column that a row does not name is missing there."""
    columns = {name: pd.array([row.get(name) for row in rows], dtype=dtype) for name, dtype in dtypes.items()}
    return pd.DataFrame(columns, copy=False)


USE = dtypes_of((FLAG, ("published", "usable")), (TEXT, ("reason",)))
"""What every frame says of a value: whether there is one, whether it may be used, and why not."""


def use(*missing: str, published: bool, invalid: str = "") -> dict[str, Any]:
    """The columns of USE. `missing`: why there is no value; `invalid`: why one may not be used."""
    reason = "; ".join(filter(None, (*missing, invalid)))
    return {"published": published, "usable": published and not invalid, "reason": reason}


def by_label(labels: Any, value: Callable[[str], Any], missing: object, dtype: type) -> npt.NDArray[Any]:
    """Return the value of each row's label, from the categories and codes of a categorical; `missing` without one."""
    values: npt.NDArray[Any] = np.array([*(value(str(label)) for label in labels.categories), missing], dtype=dtype)
    of_rows: npt.NDArray[Any] = values[np.asarray(labels.codes)]  # `take` is slower
    return of_rows


def joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of frames of the same columns. `pd.concat` alone makes texts of categoricals that differ."""
    kinds: dict[str, pd.CategoricalDtype] = {}
    for name in map(str, frames[0].select_dtypes("category")):
        several = [frame.dtypes[name] for frame in frames]
        if any(kind != several[0] for kind in several):
            labels = dict.fromkeys(label for kind in several for label in kind.categories)
            kinds[name] = pd.CategoricalDtype(pd.Index(list(labels)))
    return pd.concat([frame.astype(kinds) for frame in frames], ignore_index=True)
