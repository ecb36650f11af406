"""The way to the service against the service itself, session by session: what the figure draws.

Each session is one mark: its shortest network round trip, and the median of ttfa without it. Of many sessions hexagons
are counted, so that the figure does not grow with the run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.page.svg import log_range
from reports.statistics.counting import order_of_codes, order_of_values
from reports.statistics.quantiles import Floats, quantile
from reports.strata import Stratum
from reports.summary.summary import Summary
from reports.turns import Pool

MOST = 2000
"""Up to so many sessions are drawn one by one."""
GRIDS = ((40, 12), (12, 12))
"""(columns, lines) of hexagons, of a wide figure and of one of half its width: regular ones in either."""


@dataclass(frozen=True)
class Way:
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
class Ways:
    """All targets of a stratum, on one scale; ms."""

    stratum: Stratum
    low_rtt: float
    high_rtt: float
    low_rest: float
    high_rest: float
    ways: tuple[Way, ...]


def ways(summary: Summary, stratum: Stratum) -> Ways | None:
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
    return Ways(stratum, *ends, tuple(drawn))


def _sessions(summary: Summary, pool: Pool) -> tuple[Floats, Floats]:
    """(shortest round trip, median of ttfa without it) of each session of the pool that has both; ms."""
    turns = summary.turns
    rtt, rest = turns.value("network_rtt"), turns.value("ttfa_less_rtt")
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
) -> Way:
    hexagons = () if one_by_one else tuple(_hexagons(rtt, rest, ends, *grid) for grid in GRIDS)
    middles = quantile(np.sort(rtt), 0.5), quantile(np.sort(rest), 0.5)
    return Way(label, colour, rtt.size, *middles, (rtt, rest) if one_by_one else None, hexagons)


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
