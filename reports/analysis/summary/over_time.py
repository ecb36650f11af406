"""The run over time, each of its steps over time, and its slowest time window. The results are
small for any number of turns.

Times are in seconds after the start of the run, and latencies are in ms. The warm-up is plotted,
but not counted. A planned turn that did not start counts as a failed turn at the instant at which
its session ended.

A run has many time windows, and one of them is always the slowest. If a run without any change has
sixty windows, the slowest one is about 1.3 times as slow as the run, by chance. So a window is
reported only if the interval of its median lies above the run's median. The intervals of all
windows have a joint confidence of 95 % (Bonferroni: each has 1 − 5 % / number of windows). Sessions
that start together play the same steps at the same time, so a slow step would look like a slow
window. Therefore each latency is divided by the median of its step.
"""

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from bench.base.units import NS_PER_S
from bench.catalogue.metrics import REGULAR
from reports.analysis.summary.drift import relative_latencies
from reports.analysis.summary.summary import Summary
from reports.data.turns import FAILED, GOOD, Pool, position_of, values_of
from reports.formatting import log_range, time_step
from reports.metrics.strata import Stratum
from reports.statistics.counting import (
    Flags,
    Floats,
    Integers,
    count_nonzero,
    dense_codes,
    order_of_codes,
    split,
)
from reports.statistics.quantiles import Sample, quantile, quantiles

ERROR = 0.05
"""The maximum probability that a window is reported for a run without any change."""
TURNS = 10
STRETCHES = 3
"""TURNS is the minimum number of turns in a window. STRETCHES is the minimum number of windows
in a run."""
MIN_DIFFERENCE = 1.05
"""The minimum ratio to the run's median at which a window is reported. A smaller ratio is not
reported even if it is significant."""


class SlowWindow(NamedTuple):
    """A slow time window of one pool.

    - `begin_s` is the start of the window.
    - `ratio` is the median latency of the turns that started in the window, divided by that of the
      whole run.
    """

    label: str
    begin_s: float
    ratio: float


class PoolSeries(NamedTuple):
    """The measured turns of a pool, in ascending order of latency. `values` are the latencies, each
    divided by the median of its step; +inf for failed turns. `at_s` is the start of each turn.
    """

    label: str
    values: Floats
    sessions: Integers
    at_s: Floats


def pool_series(summary: Summary) -> Iterable[PoolSeries]:
    """Yield the series of each pool whose median is finite. It is computed from the main metric
    of the pool.
    """
    for pool, result in zip(summary.turns.pools, summary.results, strict=True):
        if (latencies := relative_latencies(summary.samples, pool)) is not None:
            values, sessions, at_ns = latencies
            if quantile(values, 0.5) < math.inf:
                yield PoolSeries(
                    result.title, values, sessions, (at_ns - summary.started_utc_ns) / NS_PER_S
                )


def not_started_s(summary: Summary, indices: Integers) -> Floats:
    """Return the time of turns that did not start: the end of their session, in seconds after
    the start of the run.
    """
    return (summary.turns.not_started.at_utc_ns[indices] - summary.started_utc_ns) / NS_PER_S


def slowest_window(all_series: Iterable[PoolSeries], bin_s: float) -> SlowWindow | None:
    """Return the slowest of the windows that are significantly slow; None if no window is. `bin_s`
    is the length of a window.
    """
    windows: list[tuple[PoolSeries, float, Sample]] = []
    for series in all_series:
        # values stay ascending within each window
        for bin_index, rows in split(np.maximum(series.at_s // bin_s, 0).astype(np.int32)):
            if rows.size >= TURNS:
                sample = Sample(series.values[rows], dense_codes(series.sessions[rows])[0])
                windows.append((series, bin_index * bin_s, sample))
    if len(windows) < STRETCHES:
        return None
    confidence = 1 - ERROR / len(windows)
    slow = []
    for series, start_s, sample in windows:
        (p50,) = quantiles(sample, (0.5,), confidence, unseen=False)
        median = quantile(series.values, 0.5)
        ratio = p50.value / median
        if p50.low > median and MIN_DIFFERENCE <= ratio < math.inf:
            slow.append(SlowWindow(series.label, start_s, ratio))
    return max(slow, key=lambda window: window.ratio, default=None)


CELLS = 69
ROWS = 26
"""The size of the heat map: CELLS is the number of cells along time, ROWS the number along the
logarithm of latency."""
AT_ONCE = 100_000
"""The number of turns that are sorted into cells in one step. It is limited because numpy needs
memory for about ten numbers per turn."""
DOTS = 600
"""The maximum number of a target's turns that are plotted as dots. If there are more turns, a heat
map is plotted instead. With few turns, a heat map is not readable."""


class TimeBin(NamedTuple):
    """The turns in one time bin, including turns that did not start. `p50` and `p95` are NaN if
    there are too few turns, and +inf if the quantile lies among failed turns.
    """

    begin_s: float
    turns: int
    failed: int
    p50: float
    p95: float


class Panel(NamedTuple):
    """The data to plot one pool over time. The warm-up is plotted, too.

    - `turns` and `failed` are the numbers of measured turns and of failed turns. Both include turns
      that did not start.
    - `bins` has the quantiles of each time bin.
    - `failures_s` are the instants of failures.
    - `dots` are the time and the latency of each successful turn. It is None if there are too many;
      then `cells` is used.
    """

    label: str
    colour: int
    turns: int
    failed: int
    not_started: int
    bins: tuple[TimeBin, ...]
    failures_s: Floats
    dots: tuple[Floats, Floats] | None
    cells: Integers
    """The number of successful turns in each cell of the heat map, by time and latency."""

    def line(self, quantile: str) -> list[tuple[float, float]]:
        """Return the points of the line of a quantile: the start of each bin, and the value.
        `quantile` is "p50" or "p95". Return [] if fewer than two bins have the quantile.
        """
        known = [
            (bin_.begin_s, value)
            for bin_ in self.bins
            if not np.isnan(value := float(getattr(bin_, quantile)))
        ]
        return known if len(known) > 1 else []


class OverTime(NamedTuple):
    """A whole run over time. It has one panel per target and stratum."""

    metrics: tuple[str, ...]
    duration_s: float
    warmup_s: float
    bin_s: float
    low: float
    high: float
    panels: tuple[Panel, ...]
    active: tuple[Floats, Floats]
    """Two arrays: instants in seconds, and the number of active sessions at each instant."""
    slowest: SlowWindow | None
    """The slowest time window, if it is significantly slow; otherwise None."""

    @property
    def is_plottable(self) -> bool:
        """True if at least one turn succeeded. If all turns failed, a plot has no axis."""
        return any(bin_.turns > bin_.failed for panel in self.panels for bin_ in panel.bins)


def over_time(summary: Summary) -> OverTime | None:
    """Return the main metrics over the run, including the warm-up. Return None if there are no
    turns to plot.
    """
    at_s = began_s(summary)
    pools = []
    for pool in summary.turns.pools:
        sample = summary.samples[summary.mains[pool.stratum]]
        values = plotted(summary, pool)
        not_started = not_started_s(summary, sample.not_started(pool.target, pool.steps))
        if not_started.size or not np.isnan(values).all():
            pools.append((pool, values, not_started))
    if not pools:
        return None
    times_s = [at_s] + [not_started for _, _, not_started in pools]
    duration_s = max(summary.duration_s, 1.0, *(float(each.max(initial=0.0)) for each in times_s))
    finite = (values[np.isfinite(values)] for _, values, _ in pools)
    spans = [(float(waits.min()), float(waits.max())) for waits in finite if waits.size]
    ends = log_range(
        [min(low for low, _ in spans), max(high for _, high in spans)] if spans else []
    )
    sizes = [
        count_nonzero(~np.isnan(values)) + not_started.size for _, values, not_started in pools
    ]
    bin_s = bin_length(duration_s, int(np.median(sizes)))
    counted = np.zeros(at_s.size, bool)
    counted[summary.turns.rows] = True
    panels = []
    for pool, values, not_started in pools:
        is_plotted = ~np.isnan(values)
        panels.append(
            _panel(
                pool,
                at_s[is_plotted],
                values[is_plotted],
                counted[is_plotted],
                not_started,
                duration_s,
                bin_s,
                ends,
            )
        )
    metrics = tuple(dict.fromkeys(summary.mains[pool.stratum] for pool, *_ in pools))
    # the window needs as much memory: 60 MB for a million turns
    del at_s, pools, values, counted, is_plotted
    slow = slowest_window(pool_series(summary), bin_s)
    return OverTime(
        metrics, duration_s, summary.warmup_s, bin_s, *ends, tuple(panels), active(summary), slow
    )


def began_s(summary: Summary) -> Floats:
    """Return the start of each turn in seconds after the start of the run. There is one element per
    row of turns, including the warm-up.
    """
    since_ns = summary.turns.frame["start_utc_ns"].to_numpy(int) - summary.started_utc_ns
    return since_ns / NS_PER_S


def bin_length(length_s: float, turns: int) -> float:
    """Return the duration of a bin. The run has 12 to 60 bins. Within these limits, a bin has about
    80 turns of a target, of which 4 are above p95. `turns` is the number of these turns in the run.
    """
    return time_step(length_s, max(12, min(60, turns // 80)))


def plotted(summary: Summary, pool: Pool) -> Floats:
    """Return the latency of each turn of the run, including the warm-up, for the plot of one pool.
    It is +inf for a failed turn, and NaN for a turn that is not in the plot of this pool.
    """
    turns = summary.turns
    metric = summary.mains[pool.stratum]
    step = summary.turns.step_of_row
    values = values_of(turns.frame, metric, turns.measured_from_ns)
    kind = turns.frame["outcome_class"].cat.codes.to_numpy()
    # a row of a step without measured turns belongs to the pool of its own instant and turn type
    measured_from, turn_type = pool.stratum
    kinds = turns.frame["turn_type"]
    of_type = (kinds == turn_type) if turn_type else (kinds.isna() | (kinds == REGULAR))
    own = ((turns.frame["measured_from"] == measured_from) & of_type).to_numpy() | (
        len(turns.strata) == 1
    )
    here = position_of(turns.frame["target"], turns.targets) == pool.target
    mine = here & np.where(step < 0, own, np.append(pool.steps, False)[step])
    expected = mine & (
        np.append(summary.samples[metric].applies[pool.target], True)[step] | (step < 0)
    )
    return np.where(
        expected & (kind == FAILED), np.inf, np.where(mine & (kind == GOOD), values, np.nan)
    )


def _panel(
    pool: Pool,
    at_s: Floats,
    values: Floats,
    counted: Flags,
    not_started_at_s: Floats,
    length_s: float,
    bin_s: float,
    ends: tuple[float, float],
) -> Panel:
    """Return the panel of a pool.

    - `at_s` and `values` are the start and the latency of each turn that started.
    - `counted` is True for the measured turns.
    - `not_started_at_s` is the time of each turn that did not start.
    - `ends` are the lowest and the highest latency of the heat map.
    """
    at_s = np.append(at_s, not_started_at_s)
    values = np.append(values, np.full(not_started_at_s.size, np.inf))
    counted = np.append(counted, np.ones(not_started_at_s.size, bool))
    succeeded = np.isfinite(values)
    failures = at_s[~succeeded]
    edges = (
        np.linspace(0, length_s, CELLS + 1),
        np.linspace(np.log(ends[0]), np.log(ends[1]), ROWS + 1),
    )
    has_few_turns = at_s.size <= DOTS
    cells = np.zeros((CELLS, ROWS), int)
    if not has_few_turns:
        for first in range(0, at_s.size, AT_ONCE):
            indices = first + np.flatnonzero(succeeded[first : first + AT_ONCE])
            waits = np.maximum(values[indices], ends[0])
            cells += np.histogram2d(at_s[indices], np.log(waits), edges)[0].astype(int)
    counts = (
        count_nonzero(counted),
        count_nonzero(counted & ~succeeded),
        not_started_at_s.size,
    )
    bins = tuple(bins_of(at_s, values, bin_s))
    dots = (at_s[succeeded], values[succeeded]) if has_few_turns else None
    failures_s = np.unique(np.round(failures / length_s * 800)) / 800 * length_s
    return Panel(pool.label, pool.target, *counts, bins, failures_s, dots, cells)


def bins_of(at_s: Floats, values: Floats, bin_s: float) -> Iterable[TimeBin]:
    """Yield the time bins that have at least one turn. `at_s` and `values` are the time and the
    latency of each turn. Turns that did not start are included.
    """
    bin_index = np.maximum(at_s // bin_s, 0).astype(np.int32)
    order = order_of_codes(bin_index)
    bin_index = bin_index[order]
    values = values[order]
    starts = np.flatnonzero(np.diff(bin_index, prepend=-1) > 0)
    for start, end in pairwise([*starts, bin_index.size]):
        bin_values = np.sort(values[start:end])
        failed = count_nonzero(np.isinf(bin_values))
        p50 = quantile(bin_values, 0.5) if bin_values.size >= 4 else np.nan
        p95 = quantile(bin_values, 0.95) if bin_values.size * 0.05 >= 4 else np.nan
        yield TimeBin(float(bin_index[start] * bin_s), int(bin_values.size), failed, p50, p95)


def active(summary: Summary) -> tuple[Floats, Floats]:
    """Return the number of active sessions over time: the instants in seconds, and the number at
    each instant. All targets and workers are added up. There are at most 240 instants.
    """
    seconds = summary.run.seconds
    if not len(seconds):
        return np.zeros(0), np.zeros(0)
    per_second = seconds.groupby("second")["sessions_active"].sum()
    at_s = per_second.index.to_numpy(float) - summary.started_utc_ns / NS_PER_S
    stride = max(1, -(-at_s.size // 240))
    return np.maximum(at_s[::stride], 0.0), per_second.to_numpy(float)[::stride]


IN_BIN = 12
"""The intended number of turns of a step in a bin. With 12 turns, six are on either side of the
median."""
MAX_STEPS = 24


class StepSeries(NamedTuple):
    """One step on one target. `bins` are the time bins in which the median of the step is known."""

    step: str
    target: int
    bins: tuple[TimeBin, ...]


class StepsOverTime(NamedTuple):
    """The steps of a stratum over time, on each target that plays them."""

    metric: str
    duration_s: float
    bin_s: float
    low: float
    high: float
    steps: tuple[str, ...]
    targets: tuple[str, ...]
    series: tuple[StepSeries, ...]


def steps_over_time(summary: Summary, stratum: Stratum) -> StepsOverTime | None:
    """Return the main metric of each step over the run. Return None if no step has a median in
    at least two bins.
    """
    turns = summary.turns
    at_s = began_s(summary)
    steps = np.flatnonzero(turns.steps_in(stratum))[:MAX_STEPS]
    sizes = (turns.by_group(np.ones(turns.rows.size, bool)) + turns.not_started_by_group)[:, steps]
    if not sizes.any():
        return None
    length_s = max(summary.duration_s, float(at_s.max(initial=0.0)), 1.0)
    bin_s = time_step(length_s, max(4, min(60, int(np.median(sizes[sizes > 0])) // IN_BIN)))
    all_series: list[StepSeries] = []
    for pool in (pool for pool in turns.pools if pool.stratum == stratum):
        not_started_of_pool = summary.samples[summary.mains[pool.stratum]].not_started(
            pool.target, pool.steps
        )
        values = plotted(summary, pool)
        for step in steps.tolist():
            rows = np.flatnonzero(~np.isnan(values) & (turns.step_of_row == step))
            not_started = not_started_of_pool[turns.not_started.step[not_started_of_pool] == step]
            times = np.append(at_s[rows], not_started_s(summary, not_started))
            waits = np.append(values[rows], np.full(not_started.size, np.inf))
            known = tuple(bin_ for bin_ in bins_of(times, waits, bin_s) if not np.isnan(bin_.p50))
            all_series += [StepSeries(turns.steps[step], pool.target, known)] if known else []
    if not any(len(step_series.bins) > 1 for step_series in all_series):
        return None
    names = tuple(turns.steps[step] for step in steps.tolist())
    low, high = log_range(bin_.p50 for step_series in all_series for bin_ in step_series.bins)
    return StepsOverTime(
        summary.mains[stratum],
        length_s,
        bin_s,
        low,
        high,
        names,
        summary.targets,
        tuple(all_series),
    )
