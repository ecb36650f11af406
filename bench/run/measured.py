"""Computes measures of stored rows, column by column: `Measure.value_ns` for a whole table, of pandas or of Arrow."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bench.measures import ORIGIN, ORIGINS, Measure
from bench.units import NS_PER_S

CARRIED = {f"{kind}_{way}": f"{kind}_bytes_{way}" for kind in ("wire", "audio") for way in ("sent", "received")}
"""Measures of bytes per second, and the column that counts their bytes."""
RATED_INSTANTS = ("upgrade_done_at_ns", "session_updated_at_ns", "ended_at_ns")
Floats = npt.NDArray[np.float64]
Rows: TypeAlias = pd.DataFrame | pa.Table


def values_ns(rows: Rows, measure: Measure, origins_ns: Floats | None = None) -> Floats:
    """Compute a measure's nanoseconds, or what its column holds; NaN where it is absent. `rows` has `measure.columns`.

    `origins_ns`: what `origin_ns` gives for these rows, where several measures are computed of them.
    """
    if measure.column:
        values = _floats(rows, measure.column)
        if measure.of:
            with np.errstate(divide="ignore", invalid="ignore"):
                values = 100 * values / _floats(rows, measure.of)
        return _without(rows, measure, values)
    if measure.begin != ORIGIN:
        begin = _first(rows, measure.begins)
    else:
        begin = origin_ns(rows) if origins_ns is None else origins_ns
    values = _floats(rows, f"{measure.end}_at_ns") - begin
    if measure.less:
        values -= _floats(rows, measure.less)
    return _without(rows, measure, values)


def bytes_per_s(sessions: Rows, measure: str) -> Floats:
    """Compute what each session carried while it lasted, from the finished upgrade to its end; NaN if it never opened.

    `measure`: one of CARRIED, whose column and RATED_INSTANTS `sessions` has.
    """
    upgraded, updated, ended = (_floats(sessions, name) for name in RATED_INSTANTS)
    lasted_s = (ended - upgraded) / NS_PER_S
    opened = ~np.isnan(updated) & (lasted_s > 0)
    rates: Floats = np.divide(
        _floats(sessions, CARRIED[measure]), lasted_s, out=np.full(len(sessions), np.nan), where=opened
    )
    return rates


def _without(rows: Rows, measure: Measure, values: Floats) -> Floats:
    """The values with NaN where there is no such figure."""
    if measure.unless is None:
        return values
    column, excluded = measure.unless
    return np.where(_is(rows, column, excluded), np.nan, values)


def origin_ns(rows: Rows) -> Floats:
    """The instant that latency counts from: the one that the row's `origin` names; NaN where it names none."""
    values = np.full(len(rows), np.nan)
    for name in ORIGINS:
        named = _is(rows, ORIGIN, name)
        values[named] = _floats(rows, f"{name}_at_ns")[named]
    return values


def _first(rows: Rows, names: tuple[str, ...]) -> Floats:
    values = _floats(rows, f"{names[0]}_at_ns")
    for name in names[1:]:
        values = np.where(np.isnan(values), _floats(rows, f"{name}_at_ns"), values)
    return values


def _floats(rows: Rows, column: str) -> Floats:
    """A column of whole numbers, nullable or not, as floats: exact up to 2⁵³ ns, which is 104 days."""
    if isinstance(rows, pa.Table):
        values: Floats = rows[column].to_numpy().astype(np.float64, copy=False)
        return values
    return rows[column].to_numpy(dtype=np.float64, na_value=np.nan)


def _is(rows: Rows, column: str, value: object) -> npt.NDArray[np.bool_]:
    """Which rows have this value."""
    if isinstance(rows, pa.Table):
        flags: npt.NDArray[np.bool_] = pc.fill_null(pc.equal(rows[column], value), False).to_numpy()
        return flags
    return (rows[column] == value).to_numpy(dtype=bool, na_value=False)


def first_ns(rows: pa.Table, names: tuple[str, ...]) -> Any:
    """The first of these instants that each row of an Arrow table has."""
    return pc.coalesce(*(rows[f"{name}_at_ns"] for name in names))
