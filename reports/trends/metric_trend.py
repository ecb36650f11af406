"""One metric over a series of comparable runs: the value of each run, and the runs at which its level changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from bench.units import NS_PER_S
from reports.formatting import NONE, excerpt, plural
from reports.json_entries import Count, JsonEntry, Rounded, about
from reports.metric_spec import POINTS, MetricSpec
from reports.statistics import change_points
from reports.statistics.change_points import ENOUGH, MIN_SIDE_RUNS, ChangePoint
from reports.statistics.counting import Integers
from reports.summary import drift
from reports.targets.conditions import OF_LOAD, differing_between, group_of
from reports.trends.trend_point import RunValue, TrendPoint
from reports.wording.verdicts import as_share

BOTH_SIDES = f"{MIN_SIDE_RUNS} before and {MIN_SIDE_RUNS} after it"
"""The number of runs on both sides that are required to find a change, in words."""
FREE = ("service", "model", "region", "api_version", "voice", "client_version")
"""The conditions that may change within a series: a trend shows the effect of such changes."""
USERS, SPAWN_RATE = (f"load: {OF_LOAD[option]}" for option in ("num_users", "spawn_rate"))
CONDITIONS_MAX, CONDITION_LENGTH_MAX = 2, 40
"""The maximum number of conditions in the name of a series, and the maximum length of each, in characters."""


@dataclass(frozen=True)
class RunSeries:
    """Comparable runs of a target, the oldest first.

    `name`: the target and, if it has several series, how this one differs from the others.
    """

    scenario: str
    target: str
    name: str
    points: tuple[TrendPoint, ...]

    @property
    def simulated(self) -> bool:
        return self.points[0].simulated


def series_of(points: Sequence[TrendPoint]) -> list[RunSeries]:
    """Return the series, ordered by scenario. Targets are in the order of their first run.

    If the workload of a run differs from that of every series of its target, the run starts another series. A setting
    that only one of two runs has is no difference.
    """
    by_target: dict[tuple[str, str], list[tuple[dict[str, str], list[TrendPoint]]]] = {}
    for point in sorted(points, key=lambda point: (point.started_utc_ns, point.run_id)):
        workload = {key: text for key, text in point.conditions.items() if text and group_of(key) not in FREE}
        groups = by_target.setdefault((point.scenario, point.target), [])
        for known, members in groups:
            if not differing_between([known, workload]):
                known.update(workload)
                members.append(point)
                break
        else:
            groups.append((workload, [point]))
    return [
        RunSeries(scenario, target, name, tuple(members))
        for (scenario, target), groups in sorted(by_target.items(), key=lambda item: item[0][0])
        for name, (_, members) in zip(_names(target, [known for known, _ in groups]), groups, strict=True)
    ]


def _names(target: str, workloads: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the names of a target's series: `sim` for one series, `sim (8 users)` and `sim (50 users)` for two."""
    differing = differing_between(workloads)
    if USERS in differing:  # the spawn rate follows from the number of users
        differing.pop(SPAWN_RATE, None)
    names: list[str] = []
    for index in range(len(workloads)):
        parts = [_phrase(key, texts[index]) for key, texts in differing.items() if texts[index] != NONE]
        if len(parts) > CONDITIONS_MAX:
            parts[CONDITIONS_MAX:] = [f"{len(parts) - CONDITIONS_MAX} more"]
        name = f"{target} ({', '.join(parts)})" if parts else target
        names.append(f"{name}, series {index + 1}" if name in names else name)
    return names


def _phrase(key: str, text: str) -> str:
    """Return a condition in words, such as `simulated`, `8 users`, or `voice marin`."""
    if key == "simulated":
        return "simulated" if text == "yes" else "a real service"
    name = key.removeprefix("load: ")
    if text == "1":
        name = name.replace("users", "user", 1).replace("processes", "process", 1)
    return f"{text} {name}" if text.isdecimal() else f"{name} {excerpt(text, CONDITION_LENGTH_MAX)}"


class TrendChange(JsonEntry, frozen=True):
    """A change between two runs: the value after it relative to the value before; for rates, the difference."""

    last_run: Annotated[str, about("the last one before")]
    last_started_utc_ns: int
    first_run: Annotated[str, about("the first one after")]
    first_started_utc_ns: int
    change: Rounded
    low: Rounded
    high: Rounded
    runs_before: Annotated[Count, about("that were compared")]
    runs_after: Count
    worse: Annotated[bool | None, about("null if neither more nor less is better")]
    also_changed: Annotated[list[str], about("conditions that changed at the same time: model: a → b")]


class TrendSegment(JsonEntry, frozen=True):
    """The runs between two changes, with their mean (geometric for latencies) without the effect of weekdays."""

    value: Rounded
    first_run: str
    first_started_utc_ns: int
    last_run: str
    last_started_utc_ns: int


@dataclass(frozen=True)
class MetricTrend:
    """A metric over a series.

    - `values`: the value of each point of the series
    - `compared`: the positions in the series of the runs that are compared
    - `unmarked_changes`: the additional changes that would be found if neighbouring runs were independent
    - `effective_runs`: the number of independent runs that give as much information as the compared runs
    - `weekdays`: the effects of Monday to Sunday relative to their mean, which are subtracted; empty if they do not
    differ
    """

    spec: MetricSpec
    series: RunSeries
    values: tuple[RunValue, ...]
    compared: tuple[int, ...]
    changes: tuple[TrendChange, ...] = ()
    unmarked_changes: tuple[TrendChange, ...] = ()
    segments: tuple[TrendSegment, ...] = ()
    autocorrelation: float = 0.0
    effective_runs: int = 0
    weekdays: tuple[float, ...] = ()

    @property
    def comparisons(self) -> int:
        return change_points.number_of_comparisons(len(self.compared))

    @property
    def no_change_because(self) -> str:
        """Why changes are not searched for: `7 runs to compare; finding a change requires 10: …`; "" if they are."""
        if len(self.compared) >= ENOUGH:
            return ""
        runs = plural(len(self.compared), "run")
        return f"{runs} to compare; finding a change requires {ENOUGH}: {BOTH_SIDES}"

    def changes_at(self, point: TrendPoint) -> list[TrendChange]:
        """Return a list with the change that begins with this run; [] if there is none."""
        return [change for change in self.changes if (change.first_run, change.first_started_utc_ns) == _run(point)]


def metric_trend(series: RunSeries, spec: MetricSpec) -> MetricTrend:
    """Return the trend with the value of each run, without a search for changes."""
    values = tuple(point.value(spec) for point in series.points)
    compared = tuple(
        index
        for index, (point, run) in enumerate(zip(series.points, values, strict=True))
        if not point.excluded_because and math.isfinite(run.value) and (spec.scale == "points" or run.value > 0)
    )
    return MetricTrend(spec, series, values, compared)


def find_changes(trends: Sequence[MetricTrend]) -> list[MetricTrend]:
    """Return the trends with their changes. All trends together share one error probability."""
    searched = sum(not trend.no_change_because for trend in trends)
    return [_with_changes(trend, searched) if trend.compared else trend for trend in trends]


def _with_changes(trend: MetricTrend, searched: int) -> MetricTrend:
    points, logs = [trend.series.points[index] for index in trend.compared], trend.spec.scale == "ratio"
    runs = [trend.values[index] for index in trend.compared]
    values = np.array([math.log(run.value) if logs else run.value for run in runs])
    variances = np.array([run.variance for run in runs])
    days = days_of(np.array([point.started_utc_ns for point in points], dtype=np.int64))
    min_change = math.log1p(drift.MIN_DIFFERENCE) if logs else POINTS
    result = change_points.find_changes(values, variances, days, among=searched, min_change=min_change)
    starts = [0, *(change.at for change in result.changes)]
    level_values = change_points.remove_weekdays(values, days, result.weekdays)
    means = change_points.levels(level_values, result.changes)
    return replace(
        trend,
        changes=tuple(_change(trend.spec, change, points) for change in result.changes),
        unmarked_changes=tuple(_change(trend.spec, change, points) for change in result.unmarked),
        segments=tuple(
            TrendSegment(math.exp(mean) if logs else mean, *_run(points[start]), *_run(points[end - 1]))
            for mean, start, end in zip(means, starts, [*starts[1:], len(points)], strict=True)
        ),
        autocorrelation=result.autocorrelation,
        effective_runs=result.effective_runs(len(points)),
        weekdays=tuple(as_share(effect, trend.spec.scale) or 0.0 for effect in result.weekdays),
    )


def _run(point: TrendPoint) -> tuple[str, int]:
    return point.run_id, point.started_utc_ns


def _change(spec: MetricSpec, change_point: ChangePoint, points: Sequence[TrendPoint]) -> TrendChange:
    last, first = points[change_point.at - 1], points[change_point.at]
    change, low, high = (as_share(d, spec.scale) or 0.0 for d in (change_point.d, change_point.low, change_point.high))
    free = [key for key in dict.fromkeys([*last.conditions, *first.conditions]) if group_of(key) in FREE]
    both = [(key, last.conditions.get(key, ""), first.conditions.get(key, "")) for key in free]
    return TrendChange(
        *_run(last),
        *_run(first),
        change=change,
        low=low,
        high=high,
        runs_before=change_point.before,
        runs_after=change_point.after,
        worse=None if spec.better == "neither" else (change_point.d > 0) == (spec.better == "lower"),
        also_changed=[f"{key}: {was or NONE} → {now or NONE}" for key, was, now in both if was != now],
    )


DAY_H = 24
NS_PER_HOUR = 3_600 * NS_PER_S


def days_of(started_utc_ns: Integers) -> Integers:
    """Return the day of each run as a number of days since 1970, from which its weekday follows.

    Days begin at midnight UTC, unless runs start within an hour of midnight. Then a nightly job that has to queue would
    sometimes start before midnight and sometimes after. In that case days begin at the hour around which the fewest
    runs start; of several such hours, at the farthest from midnight. A day has the date of most of its runs.
    """
    hours = started_utc_ns // NS_PER_HOUR % DAY_H
    starts = np.bincount(hours, minlength=DAY_H)
    near = starts + np.roll(starts, 1)
    start_hour = min(range(DAY_H), key=lambda hour: (near[hour], hour > 0, -min(hour, DAY_H - hour)))
    days: Integers = (started_utc_ns - start_hour * NS_PER_HOUR) // (DAY_H * NS_PER_HOUR)
    return days + int(2 * np.count_nonzero(hours < start_hour) > hours.size)
