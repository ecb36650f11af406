"""What the figures draw: small aggregates of a run, computed once, whatever the number of turns.

The same frames feed the tables of numbers below the figures. Times are seconds since the run began, latencies ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.units import NS_PER_S
from reports.bins import time_step
from reports.page.svg import nines
from reports.samples import Sampled
from reports.statistics.quantiles import BEYOND, Estimate, Floats, Sample, estimates, quantile
from reports.summary.summary import Summary
from reports.turns import Pool

PUBLISHED = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
_GRID = np.array([n for n in np.linspace(0.02, 4.0, 100) if all(abs(n - nines(p)) > 0.012 for p in PUBLISHED)])
CURVE = np.unique(np.r_[1 - 10**-_GRID, PUBLISHED])
"""Even steps on the axis of nines, and the percentiles that tables name, without near neighbours of those."""
PHASES = ("dns", "tcp", "tls", "upgrade", "session", "update")

WHOLE_S = 0.5
"""A second of which less was recorded has no rate."""


@dataclass(frozen=True)
class Curve:
    """One target's quantile function with its interval; beyond `solid_to` fewer than five turns remain."""

    target: str
    colour: int
    n: int
    failed: int
    points: tuple[Estimate, ...]

    @property
    def solid_to(self) -> float:
        return 1 - BEYOND / self.n if self.n else 0.0


def curves(one: Sampled, pools: Sequence[Pool]) -> list[Curve]:
    """The percentile curve of each pool that has the measure."""
    samples = [(pool.target, one.of(pool.target, pool.steps)) for pool in pools]
    return [curve_of(one.turns.targets[target], target, sample) for target, sample in samples if sample.n]


def curve_of(target: str, colour: int, sample: Sample) -> Curve:
    """The percentiles of a sample, as far as half a turn lies beyond."""
    ps = [float(p) for p in CURVE if p <= 1 - 0.5 / sample.n]
    return Curve(target, colour, sample.n, sample.failed, tuple(estimates(sample, ps)))


@dataclass(frozen=True)
class Stack:
    """Mean phases of the sessions around a quantile of their sum; means add up, quantiles do not."""

    target: str
    colour: int
    p: float
    parts: tuple[float, ...]
    n: int


def connecting(summary: Summary) -> list[Stack]:
    """Typical starts of each target and, from 100 measured sessions on, slow ones. None where no session opened."""
    frame, found = summary.sessions, []
    for index, label in enumerate(summary.targets):
        mine = frame[((frame["target"] == label) & frame["session_ready_ms"].notna()).to_numpy()]
        parts = np.nan_to_num(np.column_stack([_phase(mine, name) for name in PHASES]))
        for p, half in ((0.5, 0.05), (0.95, 0.015)):
            if len(mine) and (p == 0.5 or len(mine) >= 100):
                near = _band(parts.sum(axis=1), p, half)
                found.append(Stack(label, index, p, tuple(map(float, parts[near].mean(axis=0))), int(near.sum())))
    return sorted(found, key=lambda stack: (stack.p, stack.colour))


def _phase(frame: pd.DataFrame, name: str) -> Floats:
    if name == "session":
        return (frame["session_ready_ms"] - frame["connect_total_ms"]).to_numpy(dtype=np.float64)
    column = "session_update_ms" if name == "update" else f"connect_{name}_ms"
    return frame[column].to_numpy(dtype=np.float64)


def _band(total: Floats, p: float, half: float) -> npt.NDArray[np.bool_]:
    ascending = np.sort(total)
    low, high = quantile(ascending, max(0.0, p - half)), quantile(ascending, p + half)
    near: npt.NDArray[np.bool_] = (total >= low) & (total <= high)
    return near


@dataclass(frozen=True)
class Flow:
    """Bytes per second over the run, all targets together: one line each way, never two kinds on one axis."""

    kind: str
    at_s: Floats
    sent: Floats
    received: Floats


def flows(summary: Summary) -> list[Flow]:
    """Audio and wire bytes, in bins so that ≤ 200 points remain; a kind that never flowed is left out.

    The whole run, warm-up too.
    """
    seconds = summary.run.seconds
    if not len(seconds):
        return []
    columns = [f"{kind}_bytes_{way}" for kind in ("audio", "wire") for way in ("sent", "received")]
    per_second, lasted_s = _rates(seconds, columns)
    at_s = per_second.index.to_numpy(dtype=np.float64) - summary.window.began_utc_ns / NS_PER_S
    bin_s = time_step(max(1.0, float(at_s[-1])), 200)
    place = (at_s // bin_s).astype(np.int64)
    binned = per_second.mul(lasted_s, axis=0).groupby(place).sum().div(lasted_s.groupby(place).sum(), axis=0)
    middle = (binned.index.to_numpy(dtype=np.float64) + 0.5) * bin_s if bin_s > 1 else at_s
    found = []
    for kind in ("audio", "wire"):
        sent, received = (binned[f"{kind}_bytes_{way}"].to_numpy(dtype=np.float64) for way in ("sent", "received"))
        if sent.any() or received.any():
            found.append(Flow(kind, np.maximum(middle, 0.0), sent, received))
    return found


def _rates(seconds: pd.DataFrame, columns: list[str]) -> tuple[pd.DataFrame, pd.Series[float]]:
    """(bytes per second, how long it was recorded) of each second.

    A second that was cut, as the last one of a run is, counts for as long as it lasted; one of which less than half was
    recorded says little of its rate and is left out, where there are others.
    """
    own_s = seconds["length_ns"] / NS_PER_S
    longest_s = own_s.groupby(seconds["second"]).transform("max")
    # a worker that ended before the others sent nothing for the rest; one that was held up tells of more than a second
    over_s = np.maximum(own_s, np.minimum(longest_s, 1.0))
    rates = seconds[columns].div(over_s, axis=0).groupby(seconds["second"]).sum()
    lasted_s = longest_s.groupby(seconds["second"]).first()
    whole = (lasted_s >= WHOLE_S).to_numpy()
    return (rates[whole], lasted_s[whole]) if whole.any() else (rates, lasted_s)
