"""The slowest time window of a run. It is reported if the run drifted, and not if the window is slow by chance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from reports.analysis.summary.over_time import PoolSeries, bin_length, over_time, pool_series, slowest_window
from reports.analysis.summary.summary import Summary
from reports.pages.run_report.sections.latency import time
from reports.render.blocks import Figure
from reports.statistics.quantiles import quantile
from tests.examples import trials
from tests.reports import synthetic
from tests.reports.edited import Row, edited
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan

Floats = npt.NDArray[np.float64]
RUNS = trials(60, 100)
LENGTH_S = 600.0
SHAPES: dict[str, dict[str, Any]] = {
    "short sessions": {"sessions": 300, "turns": 6, "gap_s": 4.0, "between": 0.24},
    "sessions that differ": {"sessions": 60, "turns": 20, "gap_s": 2.0, "between": 0.5},
    "few long sessions": {"sessions": 20, "turns": 60, "gap_s": 9.0, "between": 0.24},
}


def course(seed: int, drift: Callable[[Floats], Floats] = np.ones_like, *, sessions: int, turns: int, gap_s: float,
           between: float, label: str = "sim") -> PoolSeries:  # fmt: skip
    """Return the latencies of a run, which vary lognormally between sessions and within sessions.

    They are multiplied by `drift`, a function of the time.
    """
    rng = np.random.default_rng(seed)
    session = np.repeat(np.arange(sessions), turns)
    at_s = rng.uniform(0, LENGTH_S, sessions)[session] + gap_s * np.tile(np.arange(turns), sessions)
    level = rng.normal(0, between, sessions)[session]
    waits_ms = 600 * np.exp(level + rng.normal(0, 0.34, session.size)) * drift(at_s)
    order = np.argsort(waits_ms)
    return PoolSeries(label, waits_ms[order] / quantile(waits_ms[order], 0.5), session[order], at_s[order])


def bin_of(one: PoolSeries) -> float:
    """Return the length of a time bin in the figure that shows the run over time."""
    return bin_length(float(one.at_s.max()), one.values.size)


def largest_ratio(one: PoolSeries) -> float:
    """Return the largest ratio of all bins that have ten turns. A report without intervals would print this ratio."""
    place = one.at_s // bin_of(one)
    counted = [np.median(one.values[place == at]) for at in np.unique(place) if (place == at).sum() >= 10]
    return float(max(counted))


@pytest.mark.parametrize("shape", SHAPES)
def test_without_drift_a_slowest_window_is_rarely_reported(shape: str) -> None:
    runs = [course(seed, **SHAPES[shape]) for seed in range(RUNS)]

    assert np.median([largest_ratio(one) for one in runs]) > 1.1
    assert sum(slowest_window([one], bin_of(one)) is not None for one in runs) <= 0.05 * RUNS


def test_without_drift_several_targets_do_not_raise_the_false_alarm_rate() -> None:
    shape = SHAPES["short sessions"]
    runs = [
        [course(4 * seed + target, label=f"arm {target}", **shape) for target in range(4)] for seed in range(RUNS // 2)
    ]

    assert sum(slowest_window(targets, bin_of(targets[0])) is not None for targets in runs) <= 0.05 * RUNS / 2


def slow_minutes(at_s: Floats) -> Floats:
    return np.where((at_s >= 240) & (at_s < 360), 1.6, 1.0)


def slower_and_slower(at_s: Floats) -> Floats:
    return 2 ** (at_s / LENGTH_S)


@pytest.mark.parametrize(("drift", "least_s", "most_s"), [(slow_minutes, 230, 360), (slower_and_slower, 400, 700)])
def test_a_drift_is_reported_with_its_position(
    drift: Callable[[Floats], Floats], least_s: float, most_s: float
) -> None:
    shape, found = SHAPES["short sessions"], []
    for seed in range(20):
        one = course(seed, drift, **shape)
        found.append(slowest_window([course(1_000 + seed, label="other", **shape), one], bin_of(one)))

    reported = [stretch for stretch in found if stretch is not None]
    assert len(reported) >= 0.9 * len(found)
    assert {stretch.label for stretch in reported} == {"sim"}
    assert all(least_s <= stretch.begin_s <= most_s for stretch in reported)
    assert all(stretch.ratio > 1.1 for stretch in reported)


def test_failed_turns_make_no_window_infinite() -> None:
    one = course(1, slow_minutes, **SHAPES["short sessions"])
    failed = np.where(slow_minutes(one.at_s) > 1, np.inf, one.values)
    order = np.argsort(failed, kind="stable")
    found = slowest_window([PoolSeries("sim", failed[order], one.sessions[order], one.at_s[order])], bin_of(one))

    assert found is None or np.isfinite(found.ratio)


def test_a_run_of_a_few_turns_has_no_slowest_window() -> None:
    one = course(1, slow_minutes, sessions=4, turns=5, gap_s=4.0, between=0.2)

    assert slowest_window([one], bin_of(one)) is None
    assert slowest_window([], 10.0) is None


def test_a_slow_step_in_simultaneous_sessions_is_no_slowest_window() -> None:
    """In an earlier version, half of the stationary runs had a slow window: the window of the slowest step."""
    runs = [summary_of(Plan(sessions=0, turns=4, seconds=50, stages=((9.0, 60),), seed=seed)) for seed in range(10)]
    found = [over_time(summary) for summary in runs]

    assert all(one is not None and one.slowest is None for one in found)


# On the page.

PLAN = Plan(sessions=200, turns=5, seconds=600, warmup_s=60)


def drifted(folder: Path, factor: float) -> Summary:
    """Return the summary of a run in which the latencies were longer in the warm-up and in two other minutes."""

    def later(_: int, row: Row) -> Row:
        at_s = (row["start_utc_ns"] - synthetic.BEGAN_NS) / 1e9
        if not (240 <= at_s < 360 or row["phase"] == "warmup"):
            return row
        by_ns = int((factor - 1) * (row["first_audio_at_ns"] - row["speech_end_at_ns"]))
        return row | {name: row[name] + by_ns for name in ("first_audio_at_ns", "response_done_at_ns", "ended_at_ns")}

    return edited(synthetic.write(folder, PLAN), later)


def test_the_page_names_the_slowest_window_of_a_run_that_drifted(tmp_path: Path) -> None:
    section = time(drifted(tmp_path, 2.0))

    assert section is not None
    (figure,) = section.blocks
    assert isinstance(figure, Figure)
    slowest = str(figure.caption).partition("Slowest ")[2]
    assert "from 4:" in slowest or "from 5:" in slowest
    assert "times that of the run" in slowest


def test_slow_warm_up_turns_are_no_slowest_window(tmp_path: Path) -> None:
    summary = drifted(tmp_path, 1.0)
    section = time(summary)

    assert section is not None
    assert "Slowest" not in str(section)
    assert sum(one.values.size for one in pool_series(summary)) == summary.turns.rows.size


def test_windows_are_searched_even_if_the_median_has_too_few_sessions() -> None:
    summary = summary_of(Plan(sessions=3, turns=60))

    assert summary.results[0].at(0.5).status == "too_few_sessions"
    assert [one.values.size for one in pool_series(summary)] == [summary.turns.rows.size]
