"""What figures draw of percentiles, connecting, bytes and the way to the service: small aggregates of a run.

The same frames feed the tables of numbers below the figures. Times are seconds since the run began, latencies ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.units import NS_PER_S
from reports.numbers import log_range, nines, time_step
from reports.question import Stratum
from reports.samples import Sampled
from reports.statistics.counting import Floats, order_of_codes, order_of_values
from reports.statistics.quantiles import QuantileEstimate, Sample, quantile, quantiles
from reports.summary.summary import Summary
from reports.turns import Pool

PUBLISHED = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
_GRID = np.array([n for n in np.linspace(0.02, 4.0, 100) if all(abs(n - nines(p)) > 0.012 for p in PUBLISHED)])
CURVE = np.unique(np.r_[1 - 10**-_GRID, PUBLISHED])
"""Even steps on the axis of nines, and the percentiles that tables name, without near neighbours of those."""
PHASES = ("dns", "tcp", "tls", "upgrade", "session", "update")
OF_PHASES = [
    *("target", "session_ready_ms", "connect_total_ms", "session_update_ms"),
    *(f"connect_{name}_ms" for name in PHASES[:4]),
]
"""Columns of a session that tell them."""

WHOLE_S = 0.5
"""A second of which less was recorded has no rate."""


@dataclass(frozen=True)
class Curve:
    """One target's quantile function with its interval."""

    target: str
    colour: int
    n: int
    failed: int
    points: tuple[QuantileEstimate, ...]

    @property
    def solid_to(self) -> float:
        """The last percentile from the median on that may be published, by the rule of the tables; 0 of none."""
        return max((e.p for e in self.points if e.p >= 0.5 and not e.lacks), default=0.0)


def curves(one: Sampled, pools: Sequence[Pool]) -> list[Curve]:
    """The percentile curve of each pool that has the metric."""
    samples = [(pool.target, one.of(pool.target, pool.steps)) for pool in pools]
    return [curve_of(one.turns.targets[target], target, sample) for target, sample in samples if sample.n]


def curve_of(target: str, colour: int, sample: Sample) -> Curve:
    """The percentiles of a sample, as far as half a turn lies beyond."""
    ps = [float(p) for p in CURVE if p <= 1 - 0.5 / sample.n]
    return Curve(target, colour, sample.n, sample.failed, tuple(quantiles(sample, ps)))


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
    frame, found = summary.sessions[OF_PHASES], []
    for index, label in enumerate(summary.targets):
        mine = frame[((frame["target"] == label) & frame["session_ready_ms"].notna()).to_numpy()]
        parts = np.nan_to_num(np.column_stack([_phase(mine, name) for name in PHASES]))
        for p, half in ((0.5, 0.05), (0.95, 0.015)):
            if len(mine) and (p == 0.5 or len(mine) >= 100):
                total = parts.sum(axis=1)
                ascending = np.sort(total)
                low, high = quantile(ascending, max(0.0, p - half)), quantile(ascending, p + half)
                near = (total >= low) & (total <= high)
                found.append(Stack(label, index, p, tuple(map(float, parts[near].mean(axis=0))), int(near.sum())))
    return sorted(found, key=lambda stack: (stack.p, stack.colour))


def _phase(frame: pd.DataFrame, name: str) -> Floats:
    if name == "session":
        return (frame["session_ready_ms"] - frame["connect_total_ms"]).to_numpy(dtype=np.float64)
    column = "session_update_ms" if name == "update" else f"connect_{name}_ms"
    return frame[column].to_numpy(dtype=np.float64)


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
    # (bytes per second, how long it was recorded) of each second
    own_s = seconds["duration_ns"] / NS_PER_S
    longest_s = own_s.groupby(seconds["second"]).transform("max")
    # a worker that ended before the others sent nothing for the rest; one that was held up tells of more than a second
    over_s = np.maximum(own_s, np.minimum(longest_s, 1.0))
    rates = seconds[columns].div(over_s, axis=0).groupby(seconds["second"]).sum()
    lasted_s = longest_s.groupby(seconds["second"]).first()
    whole = (lasted_s >= WHOLE_S).to_numpy()
    per_second, lasted_s = (rates[whole], lasted_s[whole]) if whole.any() else (rates, lasted_s)
    at_s = per_second.index.to_numpy(dtype=np.float64) - summary.window.started_utc_ns / NS_PER_S
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


MOST = 2000
"""Up to so many sessions are drawn one by one."""
GRIDS = ((40, 12), (12, 12))
"""(columns, lines) of hexagons, of a wide figure and of one of half its width: regular ones in either."""


@dataclass(frozen=True)
class TargetScatter:
    """The sessions of one target: marks, or how many lie in each hexagon."""

    label: str
    colour: int
    sessions: int
    rtt_ms: float
    """medians over its sessions"""
    rest_ms: float
    marks: tuple[Floats, Floats] | None
    hexagons: tuple[npt.NDArray[np.int64], ...]
    """for each of GRIDS rows of (column, line, sessions); none where there are marks"""

    @property
    def share(self) -> float:
        """What of the middle session's ttfa the round trip is."""
        return self.rtt_ms / (self.rtt_ms + self.rest_ms)


@dataclass(frozen=True)
class RttScatter:
    """All targets of a stratum, on one scale; ms.

    Each session is one mark: its shortest network round trip, and the median of ttfa without it. Of many sessions
    hexagons are counted, so that the figure does not grow with the run.
    """

    stratum: Stratum
    low_rtt: float
    high_rtt: float
    low_rest: float
    high_rest: float
    ways: tuple[TargetScatter, ...]


def ways(summary: Summary, stratum: Stratum) -> RttScatter | None:
    """Round trip against service time; None where no session has both, as behind a proxy."""
    pools = [pool for pool in summary.turns.pools if pool.stratum == stratum]
    found = [(pool, *_sessions(summary, pool)) for pool in pools]
    found = [(pool, rtt, rest) for pool, rtt, rest in found if rtt.size]
    if not found:
        return None
    rtts, rests = (np.concatenate([entry[place] for entry in found]) for place in (1, 2))
    high_rtt = float(rtts.max()) * 1.06 or 1.0
    low_rtt = float(rtts.min()) * 0.94 if float(rtts.min()) > high_rtt / 2 else 0.0
    ends = low_rtt, high_rtt, *log_range([float(rests.min()), float(rests.max())])
    drawn = [
        _way(summary.turns.targets[pool.target], pool.target, rtt, rest, ends, one_by_one=rtts.size <= MOST)
        for pool, rtt, rest in found
    ]
    return RttScatter(stratum, *ends, tuple(drawn))


def _sessions(summary: Summary, pool: Pool) -> tuple[Floats, Floats]:
    """(shortest round trip, median of ttfa without it) of each session of the pool that has both; ms."""
    turns = summary.turns
    rtt, rest = turns.value("network_rtt"), turns.value("ttfa_minus_rtt")
    here = np.flatnonzero(turns.of(pool) & turns.good & ~np.isnan(rtt) & (rest > 0))
    here = here[order_of_values(rest[here])]
    here = here[order_of_codes(turns.session[here])]
    starts = np.flatnonzero(np.r_[True, np.diff(turns.session[here]) != 0]) if here.size else here
    if not here.size:
        return np.zeros(0), np.zeros(0)
    sizes = np.diff(np.r_[starts, here.size])
    middle = starts + (sizes + 1) // 2 - 1
    return np.minimum.reduceat(rtt[here], starts), rest[here][middle]


def _way(
    label: str, colour: int, rtt: Floats, rest: Floats, ends: tuple[float, float, float, float], *, one_by_one: bool
) -> TargetScatter:
    hexagons = () if one_by_one else tuple(_hexagons(rtt, rest, ends, *grid) for grid in GRIDS)
    middles = quantile(np.sort(rtt), 0.5), quantile(np.sort(rest), 0.5)
    return TargetScatter(label, colour, rtt.size, *middles, (rtt, rest) if one_by_one else None, hexagons)


def _hexagons(
    rtt: Floats, rest: Floats, ends: tuple[float, float, float, float], columns: int, lines: int
) -> npt.NDArray[np.int64]:
    """Sessions by hexagon: those of odd lines lie half a column to the right; each session is in the nearest one."""
    across = (rtt - ends[0]) / (ends[1] - ends[0]) * columns
    up = (np.log(rest) - np.log(ends[2])) / (np.log(ends[3]) - np.log(ends[2])) * lines
    best, nearest = np.full(rtt.size, np.inf), np.zeros((2, rtt.size), dtype=np.int64)
    for step in (0, 1):
        line = np.floor(up).astype(np.int64) + step
        column = np.round(across - 0.5 * (line % 2)).astype(np.int64)
        away = (across - column - 0.5 * (line % 2)) ** 2 + 0.75 * (up - line) ** 2  # a line is √3/2 of a column high
        nearer = away < best
        best, nearest = np.where(nearer, away, best), np.where(nearer, [column, line], nearest)
    lowest, size = int(nearest[1].min()), int(np.ptp(nearest[1])) + 1
    cells, counts = np.unique(nearest[0] * size + nearest[1] - lowest, return_counts=True)
    rows: npt.NDArray[np.int64] = np.column_stack([cells // size, cells % size + lowest, counts])
    return rows
