"""The run over time: what its figure draws, a small aggregate whatever the number of turns.

Times are seconds since the run began, latencies ms. Warm-up is drawn too, and not counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bench.units import NS_PER_S
from reports.bins import time_step
from reports.page.svg import log_range
from reports.statistics.counting import order_of_codes
from reports.statistics.quantiles import Floats, quantile
from reports.summary.stretch import Stretch, courses, slowest
from reports.summary.summary import Summary
from reports.turns import FAILED, GOOD, Flags, Pool, place_of

CELLS, ROWS = 69, 26
"""Cells of the heat map along the run’s time and along the logarithm of the latency."""
AT_ONCE = 100_000
"""So many turns are put into cells at once: numpy takes some ten numbers for each."""
DOTS = 600
"""Up to so many turns of a target are drawn one by one: shades of a few turns show nothing."""


@dataclass(frozen=True)
class Bin:
    """A stretch of the run; a quantile is NaN where too few turns say it, +inf in the failed share."""

    begin_s: float
    turns: int
    failed: int
    p50: float
    p95: float


@dataclass(frozen=True)
class Panel:
    """One pool over time: each good turn (few) or counts by cell (many), quantiles by bin, instants of failures.

    All turns are drawn, those of warm-up too; `turns` and `failed` count the measured ones.
    """

    label: str
    colour: int
    turns: int
    failed: int
    bins: tuple[Bin, ...]
    failures_s: Floats
    dots: tuple[Floats, Floats] | None
    cells: npt.NDArray[np.int64]
    """counts by (time, latency)"""

    def line(self, quantile: str) -> list[tuple[float, float]]:
        """(when its bin begins, value) of `p50` or `p95`, where it is known often enough for a line."""
        known = [(bin_.begin_s, value) for bin_ in self.bins if not np.isnan(value := float(getattr(bin_, quantile)))]
        return known if len(known) > 1 else []


@dataclass(frozen=True)
class OverTime:
    """A run from its begin to its end, one panel per target and stratum."""

    measures: tuple[str, ...]
    length_s: float
    warmup_s: float
    bin_s: float
    low: float
    high: float
    panels: tuple[Panel, ...]
    active: tuple[Floats, Floats]
    """seconds, sessions active then"""
    slowest: Stretch | None
    """where chance alone would hardly make it so slow"""

    @property
    def drawable(self) -> bool:
        """Whether any turn has a value; else there are failures alone, and no axis for them."""
        return any(bin_.turns > bin_.failed for panel in self.panels for bin_ in panel.bins)


def over_time(summary: Summary) -> OverTime | None:
    """The main measures over the run, warm-up included; None without a single value."""
    at_s = began_s(summary)
    pools = [(pool, drawn(summary, pool)) for pool in summary.turns.pools]
    pools = [(pool, values) for pool, values in pools if not np.isnan(values).all()]
    if not pools:
        return None
    length = max(summary.window.length_s, float(at_s.max(initial=0.0)), 1.0)
    finite = (values[np.isfinite(values)] for _, values in pools)
    spans = [(float(waits.min()), float(waits.max())) for waits in finite if waits.size]
    ends = log_range([min(low for low, _ in spans), max(high for _, high in spans)] if spans else [])
    bin_s = bin_length(length, int(np.median([np.count_nonzero(~np.isnan(values)) for _, values in pools])))
    counted = np.zeros(at_s.size, dtype=bool)
    counted[summary.turns.rows] = True
    panels = []
    for pool, values in pools:
        mine = ~np.isnan(values)
        panels.append(_panel(pool, at_s[mine], values[mine], counted[mine], length, bin_s, ends))
    slow = slowest(courses(summary), bin_s)
    measures = tuple(dict.fromkeys(summary.mains[pool.stratum] for pool, _ in pools))
    return OverTime(measures, length, summary.window.warmup_s, bin_s, *ends, tuple(panels), active(summary), slow)


def began_s(summary: Summary) -> Floats:
    """When each row of all turns began, seconds after the run did."""
    since_ns = summary.turns.frame["start_utc_ns"].to_numpy(dtype=np.int64) - summary.window.began_utc_ns
    seconds: Floats = since_ns / NS_PER_S
    return seconds


def bin_length(length_s: float, turns: int) -> float:
    """At most 60 bins, and so few that some 80 turns of a target fall into one: its p95 has 4 above it.

    A run too small for that gets a dozen bins, for its median alone.
    """
    return time_step(length_s, max(12, min(60, turns // 80)))


def drawn(summary: Summary, pool: Pool) -> Floats:
    """For each row of all turns, warm-up too: its wait, +inf where it failed, NaN where it is not drawn here."""
    turns, measure = summary.turns, summary.mains[pool.stratum]
    values, kind = turns.value_of_rows(measure), turns.frame["outcome_class"].cat.codes.to_numpy()
    mine = _rows_of(summary, pool)
    expected = mine & _expected(summary, measure, pool)
    return np.where(expected & (kind == FAILED), np.inf, np.where(mine & (kind == GOOD), values, np.nan))


def _rows_of(summary: Summary, pool: Pool) -> Flags:
    """Rows of the pool; one of a step that no measured turn has, by the origin and traits that it names itself."""
    turns = summary.turns
    here = place_of(turns.frame["target"], turns.targets) == pool.target
    origin, traits = pool.stratum
    of_traits = (turns.frame["traits"] == traits) if traits else turns.frame["traits"].isna()
    own = ((turns.frame["origin"] == origin) & of_traits).to_numpy() | (len(turns.strata) == 1)
    by_step = np.append(pool.steps, False)[turns.step_of_row]
    rows: Flags = here & np.where(turns.step_of_row < 0, own, by_step)
    return rows


def _expected(summary: Summary, measure: str, pool: Pool) -> Flags:
    """Rows of all turns, warm-up too, whose step is expected to have the measure."""
    applies, step = summary.samples[measure].applies[pool.target], summary.turns.step_of_row
    known: Flags = np.append(applies, True)[step] | (step < 0)
    return known


def _panel(
    pool: Pool,
    at_s: Floats,
    values: Floats,
    counted: Flags,
    length_s: float,
    bin_s: float,
    ends: tuple[float, float],
) -> Panel:
    good = np.isfinite(values)
    failures = at_s[~good]
    edges = np.linspace(0, length_s, CELLS + 1), np.linspace(np.log(ends[0]), np.log(ends[1]), ROWS + 1)
    few = at_s.size <= DOTS
    cells = np.zeros((CELLS, ROWS), dtype=np.int64)
    if not few:
        for first in range(0, at_s.size, AT_ONCE):
            part = first + np.flatnonzero(good[first : first + AT_ONCE])
            waits = np.maximum(values[part], ends[0])
            cells += np.histogram2d(at_s[part], np.log(waits), edges)[0].astype(np.int64)
    return Panel(
        pool.label,
        pool.target,
        int(counted.sum()),
        int((counted & ~good).sum()),
        tuple(bins_of(at_s, values, bin_s)),
        np.unique(np.round(failures / length_s * 800)) / 800 * length_s,
        (at_s[good], values[good]) if few else None,
        cells,
    )


def bins_of(at_s: Floats, values: Floats, bin_s: float) -> Iterable[Bin]:
    """The stretches in which any turn began."""
    place = np.maximum(at_s // bin_s, 0).astype(np.int64)
    order = order_of_codes(place)
    place, values = place[order], values[order]
    starts = np.flatnonzero(np.diff(place, prepend=-1) > 0)
    for begin, end in pairwise([*starts, place.size]):
        part = np.sort(values[begin:end])
        failed = int(np.isinf(part).sum())
        p50 = quantile(part, 0.5) if part.size >= 4 else np.nan
        p95 = quantile(part, 0.95) if part.size * 0.05 >= 4 else np.nan
        yield Bin(float(place[begin] * bin_s), int(part.size), failed, p50, p95)


def active(summary: Summary) -> tuple[Floats, Floats]:
    """Sessions active, all targets and workers together, at ≤ 240 instants of the run."""
    seconds = summary.run.seconds
    if not len(seconds):
        return np.zeros(0), np.zeros(0)
    per_second = seconds.groupby("second")["sessions_active"].sum()
    at_s = per_second.index.to_numpy(dtype=np.float64) - summary.window.began_utc_ns / NS_PER_S
    every = max(1, -(-at_s.size // 240))
    return np.maximum(at_s[::every], 0.0), per_second.to_numpy(dtype=np.float64)[::every]
