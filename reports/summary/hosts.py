"""The hosts that recorded a run: how far the stamps and the clock of each can be trusted, who had its cores; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import numpy as np
import pandas as pd

from bench.units import NS_PER_MS
from reports.runs import RunFrames, hosts_of
from reports.schemas.document import Count, Known, Record, Rounded, about
from reports.statistics.counting import Floats
from reports.statistics.quantiles import quantile
from reports.turns import Turns


class Host(Record, frozen=True):
    """A host that recorded a part of the run, and how far its stamps and its clock can be trusted; null: not known."""

    name: str
    workers: Count
    sessions: Count
    turns: Count
    stamp_error_p99_ms: Rounded
    start_lag_p99_ms: Rounded
    hub_delay_p99_ms: Rounded
    send_lag_p99_ms: Rounded
    clock_offset_ms: Annotated[Rounded, about("how far its clock was ahead of the leader's")]
    clock_offset_error_ms: Rounded
    calibrated: Annotated[Known, about("on which day")]


class Machine(Record, frozen=True):
    """Who had the cores of a host over the run, as shares of the time of all; null: the system does not tell."""

    host: str
    cores: Count
    load_begin: Annotated[Rounded, about("average of the minute before")]
    load_end: Rounded
    own: Annotated[Rounded, about("this run's workers")]
    programs: Annotated[Rounded, about("all programs and the kernel, this run among them")]
    others: Annotated[Rounded, about("all other programs, a simulator among them")]
    stolen: Annotated[Rounded, about("the hypervisor")]
    taken_most: Annotated[Rounded, about("all together, in the worst stretch of some seconds")]
    stolen_most: Rounded


SHARES = ("load_begin", "load_end", "own", "programs", "stolen", "taken_most", "stolen_most")


def machines(run: RunFrames) -> Iterable[Machine]:
    """Each host whose cores were watched."""
    for entry in hosts_of(run.document):
        watched = entry.get("processors")
        if isinstance(watched, Mapping):
            shares = {name: _number(watched.get(name)) for name in SHARES}
            own, programs = shares["own"], shares["programs"]
            others = max(0.0, programs - own) if own == own else math.nan
            yield Machine(str(entry.get("name")), int(watched.get("cores") or 0), others=others, **shares)


def hosts_in(run: RunFrames, turns: Turns, sessions: pd.DataFrame) -> Iterable[Host]:
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
