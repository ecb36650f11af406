"""Measures of stored rows, column by column: what `bench.observe.observation` says of one turn, of a whole table."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bench.measures import Measure
from bench.observe.observation import ORIGINS


def values_ns(rows: pa.Table, measure: Measure) -> Any:
    """A measure's nanoseconds, null where it is absent."""
    if measure.column:
        return rows[measure.column]
    begin = "upgrade_begin" if measure.name == "connect_upgrade" else measure.begin
    values = pc.subtract(instant_ns(rows, measure.end), instant_ns(rows, begin))
    if measure.less:
        values = pc.subtract(values, rows[measure.less])
    if measure.unless is None:
        return values
    column, word = measure.unless
    return pc.if_else(pc.fill_null(pc.equal(rows[column], word), False), None, values)


def instant_ns(rows: pa.Table, name: str) -> Any:
    """A column of instants; `origin` is the instant that the row names, an upgrade begins after TLS or after TCP."""
    if name == "upgrade_begin":
        return pc.coalesce(rows["tls_done_at_ns"], rows["tcp_done_at_ns"])
    if name != "origin":
        return rows[f"{name}_at_ns"]
    return pc.coalesce(*(rows[f"{origin}_at_ns"] for origin in ORIGINS))
