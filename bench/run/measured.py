"""Measures of stored rows, column by column: what `Measure.value_ns` says of one turn or session, of a whole table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bench.measures import ORIGIN, ORIGINS, Measure


def values_ns(rows: pd.DataFrame, measure: Measure) -> pd.Series[float]:
    """A measure's nanoseconds, NaN where it is absent. `rows` has `measure.columns`."""
    if measure.column:
        return rows[measure.column]
    begin = origin_ns(rows) if measure.begin == ORIGIN else _first(rows, measure.begins)
    values = rows[f"{measure.end}_at_ns"] - begin
    if measure.less:
        values = values - rows[measure.less]
    return values.where(rows[measure.unless[0]] != measure.unless[1]) if measure.unless else values


def origin_ns(rows: pd.DataFrame) -> pd.Series[float]:
    """The instant that latency counts from: the one that the row's `origin` names."""
    values = np.full(len(rows), np.nan)
    for name in ORIGINS:
        named = (rows[ORIGIN] == name).to_numpy()
        values[named] = rows[f"{name}_at_ns"].to_numpy()[named]
    return pd.Series(values, index=rows.index)


def _first(rows: pd.DataFrame, names: tuple[str, ...]) -> pd.Series[float]:
    values = rows[f"{names[0]}_at_ns"]
    for name in names[1:]:
        values = values.fillna(rows[f"{name}_at_ns"])
    return values


def first_ns(rows: pa.Table, names: tuple[str, ...]) -> Any:
    """The first of these instants that each row of an Arrow table has."""
    return pc.coalesce(*(rows[f"{name}_at_ns"] for name in names))
