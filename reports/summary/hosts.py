"""The hosts that recorded a run: how far the stamps and the clock of each can be trusted, who had its cores; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from bench.units import NS_PER_MS
from reports.runs import Run, hosts_of
from reports.statistics.quantiles import Floats, quantile
from reports.turns import Turns


@dataclass(frozen=True)
class Host:
    """One host: how much it recorded, and how far its stamps and its clock can be trusted; NaN: not known."""

    name: str
    workers: int
    sessions: int
    turns: int
    stamp_error_p99_ms: float
    start_lag_p99_ms: float
    hub_delay_p99_ms: float
    send_lag_p99_ms: float
    clock_offset_ms: float
    clock_offset_error_ms: float
    calibrated: str
    """on which day it was; empty where it was not"""


@dataclass(frozen=True)
class Machine:
    """Who had the cores of a host over the run, as shares of the time of all of them; NaN: the system does not tell."""

    host: str
    cores: int
    load_begin: float
    load_end: float
    own: float
    programs: float
    """all of them, and the kernel; we are among them"""
    stolen: float
    taken_most: float
    """by us, others and the hypervisor, in the worst stretch of some seconds"""
    stolen_most: float

    @property
    def others(self) -> float:
        return max(0.0, self.programs - self.own) if self.own == self.own else math.nan


def machines(run: Run) -> Iterable[Machine]:
    """Each host whose cores were watched."""
    for entry in hosts_of(run.document):
        watched = entry.get("processors")
        if isinstance(watched, Mapping):
            shares = {key.name: _number(watched.get(key.name)) for key in fields(Machine)[2:]}
            yield Machine(str(entry.get("name")), int(watched.get("cores") or 0), **shares)


def hosts(run: Run, turns: Turns, sessions: pd.DataFrame) -> Iterable[Host]:
    """Each host of a run, in the order of their names; none where one host recorded all. `sessions`: measured ones."""
    entries = hosts_of(run.document)
    for entry in entries if len(entries) > 1 else ():
        name = str(entry.get("name"))
        mine = (turns.frame["host"] == name).to_numpy()[turns.rows]
        of_host = sessions[(sessions["host"] == name).to_numpy()]
        yield Host(
            name=name,
            workers=int(entry.get("workers") or 0),
            sessions=len(of_host),
            turns=int(mine.sum()),
            stamp_error_p99_ms=_p99(turns.column("stamp_error_ns")[mine & turns.good] / NS_PER_MS),
            start_lag_p99_ms=_p99(of_host["start_lag_ms"].to_numpy(dtype=np.float64)),
            hub_delay_p99_ms=_number(entry.get("hub_delay_p99_ms")),
            send_lag_p99_ms=_number(entry.get("send_lag_p99_ms")),
            clock_offset_ms=_number(entry.get("clock_offset_ns")) / NS_PER_MS,
            clock_offset_error_ms=_number(entry.get("clock_offset_error_ns")) / NS_PER_MS,
            calibrated=str((entry.get("calibration") or {}).get("date") or ""),
        )


def _p99(values: Floats) -> float:
    return quantile(np.sort(values[~np.isnan(values)]), 0.99)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
