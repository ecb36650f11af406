"""Measures of stored rows, column by column: what `bench.observe.observation` says of one turn, of a whole table."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bench.measures import Measure
from bench.observe.observation import ORIGINS

UPGRADE_BEGINS = ("tls_done", "tcp_done")
"""An upgrade begins after TLS, or where there is none after TCP."""


def columns_of(measure: Measure) -> list[str]:
    """The columns that `values_ns` needs of a measure."""
    if measure.column:
        return [measure.column]
    instants = (*_begins(measure), measure.end)
    beside = [*([measure.less] if measure.less else []), *(measure.unless[:1] if measure.unless else [])]
    return list(dict.fromkeys([*(f"{name}_at_ns" for name in instants), *beside]))


def values_ns(rows: pa.Table, measure: Measure) -> Any:
    """A measure's nanoseconds, null where it is absent."""
    if measure.column:
        return rows[measure.column]
    values = pc.subtract(rows[f"{measure.end}_at_ns"], first_ns(rows, _begins(measure)))
    if measure.less:
        values = pc.subtract(values, rows[measure.less])
    if measure.unless is None:
        return values
    column, word = measure.unless
    return pc.if_else(pc.fill_null(pc.equal(rows[column], word), False), None, values)


def first_ns(rows: pa.Table, names: tuple[str, ...]) -> Any:
    """The first of these instants that each row has."""
    return pc.coalesce(*(rows[f"{name}_at_ns"] for name in names))


def _begins(measure: Measure) -> tuple[str, ...]:
    """The instants of which the first that a row has begins the measure."""
    if measure.name == "connect_upgrade":
        return UPGRADE_BEGINS
    return ORIGINS if measure.begin == "origin" else (measure.begin,)
