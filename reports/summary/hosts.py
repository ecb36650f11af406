"""Waits and failures by the host that recorded them, where several did; pure. Hosts are told apart.

A machine in another region waits longer, and one that is busy stamps later: what all hosts come to together is a figure
of the mixture. Turns and sessions are those of the measured phase.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from bench.units import NS_PER_MS
from reports.numbers import percent, together
from reports.runs import Run, hosts_of
from reports.samples import Sampled
from reports.statistics.counting import distinct, packed
from reports.statistics.quantiles import LEVEL, Estimate, Floats, Sample, estimates, quantile
from reports.strata import Stratum
from reports.summary.by_load import MATTERS, MATTERS_MS, MATTERS_POINTS, SURE
from reports.summary.rates import Rate, rate_of
from reports.turns import CENSORED, FAILED, Flags, Pool, Turns


@dataclass(frozen=True)
class HostWait:
    """The turns of one pool that one host recorded; waits in ms."""

    host: str
    measure: str
    target: str
    stratum: Stratum
    label: str
    turns: int
    sessions: int
    failed: Rate
    """of turns that the end of the run did not cut"""
    n: int
    """turns with a wait, which failed ones have too"""
    p50: Estimate
    p95: Estimate


@dataclass(frozen=True)
class Host:
    """One host: what it recorded of each pool, and how far its stamps and its clock can be trusted; NaN: not known."""

    name: str
    workers: int
    sessions: int
    turns: int
    waits: tuple[HostWait, ...]
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


def hosts(
    run: Run, turns: Turns, sessions: pd.DataFrame, samples: Mapping[str, Sampled], mains: Mapping[Stratum, str]
) -> Iterable[Host]:
    """Each host of a run, in the order of their names; none where one host recorded all. `sessions`: measured ones."""
    entries = hosts_of(run.document)
    for entry in entries if len(entries) > 1 else ():
        name = str(entry.get("name"))
        mine = _recorded_by(turns, name)
        of_host = sessions[(sessions["host"] == name).to_numpy()]
        yield Host(
            name=name,
            workers=int(entry.get("workers") or 0),
            sessions=len(of_host),
            turns=int(mine.sum()),
            waits=tuple(_wait(name, samples[mains[pool.stratum]], pool, mine, LEVEL) for pool in turns.pools),
            stamp_error_p99_ms=_p99(turns.column("stamp_error_ns")[mine & turns.good] / NS_PER_MS),
            start_lag_p99_ms=_p99(of_host["start_lag_ms"].to_numpy(dtype=np.float64)),
            hub_delay_p99_ms=_number(entry.get("hub_delay_p99_ms")),
            send_lag_p99_ms=_number(entry.get("send_lag_p99_ms")),
            clock_offset_ms=_number(entry.get("clock_offset_ns")) / NS_PER_MS,
            clock_offset_error_ms=_number(entry.get("clock_offset_error_ns")) / NS_PER_MS,
            calibrated=str((entry.get("calibration") or {}).get("date") or ""),
        )


def _recorded_by(turns: Turns, host: str) -> Flags:
    """Which of the turns a host recorded."""
    flags: Flags = (turns.frame["host"] == host).to_numpy()[turns.rows]
    return flags


def _wait(host: str, waits: Sampled, pool: Pool, mine: Flags, level: float) -> HostWait:
    """What a host recorded of a pool, with intervals at this level."""
    turns = waits.turns
    here = np.flatnonzero(turns.of(pool) & mine)
    values, index = waits.part(pool.target, pool.steps)
    waited = mine[index]
    sample = Sample(values[waited], packed(turns.session[index[waited]])[0])
    ended = here[turns.kind[here] != CENSORED]
    return HostWait(
        host,
        waits.measure.name,
        turns.targets[pool.target],
        pool.stratum,
        pool.label,
        here.size,
        distinct(turns.session[here]).size,
        rate_of(turns.kind[ended] == FAILED, turns.session[ended], level),
        sample.n,
        *estimates(sample, (0.5, 0.95), level),
    )


def differing(
    names: Sequence[str], turns: Turns, samples: Mapping[str, Sampled], mains: Mapping[Stratum, str]
) -> Iterable[str]:
    """A sentence for each pool in which hosts surely differ: its figures are those of the mixture.

    Of all pairs of hosts the two that lie farthest apart are looked at, so their intervals are wider with the number of
    pairs.
    """
    if len(names) < 2:
        return
    level = 1 - (1 - SURE) / math.comb(len(names), 2)
    for pool in turns.pools:
        waits = [_wait(name, samples[mains[pool.stratum]], pool, _recorded_by(turns, name), level) for name in names]
        if differences := [*_different_waits(waits), *_different_failures(waits)]:
            pooled = f"{pool.label}: pooled" if len(turns.pools) > 1 else "Pooled"
            yield f"{pooled} over {len(names)} hosts that differ: {'; '.join(differences)}."


def _different_waits(waits: Sequence[HostWait]) -> Iterable[str]:
    """p95 of ttfa is 412 ms on red and 830 ms on blue; else the same of p50."""
    for p in (0.95, 0.5):
        known = [(wait.p95 if p > 0.5 else wait.p50, wait) for wait in waits]
        known = [(estimate, wait) for estimate, wait in known if estimate.published]
        if len(known) < 2:
            continue
        (low, fast), (high, slow) = (pick(known, key=lambda one: one[0].value) for pick in (min, max))
        if low.high < high.low and high.value - low.value >= max(MATTERS * low.value, MATTERS_MS):
            times = together(low.value, high.value)
            yield f"p{p * 100:g} of {fast.measure} is {times[0]} on {fast.host} and {times[1]} on {slow.host}"
            return


def _different_failures(waits: Sequence[HostWait]) -> Iterable[str]:
    """0.2 % of the turns failed on red and 12 % on blue."""
    known = [wait for wait in waits if wait.failed.of]
    if len(known) < 2:
        return
    low, high = (pick(known, key=lambda wait: wait.failed.value) for pick in (min, max))
    if low.failed.high < high.failed.low and high.failed.value - low.failed.value >= MATTERS_POINTS:
        shares = percent(low.failed.value, 1), percent(high.failed.value, 1)
        yield f"{shares[0]} of the turns failed on {low.host} and {shares[1]} on {high.host}"


def _p99(values: Floats) -> float:
    return quantile(np.sort(values[~np.isnan(values)]), 0.99)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
