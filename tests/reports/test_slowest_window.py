"""The slowest time window of a run. It is reported if the run drifted, and not if the window is
slow by chance.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from reports.analysis.summary.over_time import PoolSeries, bin_length, slowest_window
from reports.analysis.summary.summary import Summary
from reports.statistics.quantiles import quantile
from tests.examples import trials
from tests.reports import synthetic
from tests.reports.edited import Row, edited
from tests.reports.synthetic import Plan

Floats = npt.NDArray[np.float64]
RUNS = trials(60, 100)
LENGTH_S = 600.0
SHAPES: dict[str, dict[str, Any]] = {
    "short sessions": {"sessions": 300, "turns": 6, "gap_s": 4.0, "between": 0.24},
    "sessions that differ": {"sessions": 60, "turns": 20, "gap_s": 2.0, "between": 0.5},
    "few long sessions": {"sessions": 20, "turns": 60, "gap_s": 9.0, "between": 0.24},
}


def course(
    seed: int,
    drift: Callable[[Floats], Floats] = np.ones_like,
    *,
    sessions: int,
    turns: int,
    gap_s: float,
    between: float,
    label: str = "sim",
) -> PoolSeries:
    """Return the latencies of a run, which vary lognormally between sessions and within sessions.

    They are multiplied by `drift`, a function of the time.
    """
    rng = np.random.default_rng(seed)
    session = np.repeat(np.arange(sessions), turns)
    at_s = rng.uniform(0, LENGTH_S, sessions)[session] + gap_s * np.tile(np.arange(turns), sessions)
    level = rng.normal(0, between, sessions)[session]
    waits_ms = 600 * np.exp(level + rng.normal(0, 0.34, session.size)) * drift(at_s)
    order = np.argsort(waits_ms)
    return PoolSeries(
        label, waits_ms[order] / quantile(waits_ms[order], 0.5), session[order], at_s[order]
    )


def bin_of(one: PoolSeries) -> float:
    """Return the length of a time bin in the figure that shows the run over time."""
    return bin_length(float(one.at_s.max()), one.values.size)


def largest_ratio(one: PoolSeries) -> float:
    """Return the largest ratio of all bins that have ten turns. A report without intervals would
    print this ratio.
    """
    place = one.at_s // bin_of(one)
    counted = [
        np.median(one.values[place == at]) for at in np.unique(place) if (place == at).sum() >= 10
    ]
    return float(max(counted))


@pytest.mark.parametrize("shape", SHAPES)
def test_without_drift_a_slowest_window_is_rarely_reported(shape: str) -> None:
    runs = [course(seed, **SHAPES[shape]) for seed in range(RUNS)]

    assert np.median([largest_ratio(one) for one in runs]) > 1.1
    assert sum(slowest_window([one], bin_of(one)) is not None for one in runs) <= 0.05 * RUNS


def slow_minutes(at_s: Floats) -> Floats:
    return np.where((at_s >= 240) & (at_s < 360), 1.6, 1.0)


def slower_and_slower(at_s: Floats) -> Floats:
    return 2 ** (at_s / LENGTH_S)


@pytest.mark.parametrize(
    ("drift", "least_s", "most_s"), [(slow_minutes, 230, 360), (slower_and_slower, 400, 700)]
)
def test_a_drift_is_reported_with_its_position(
    drift: Callable[[Floats], Floats], least_s: float, most_s: float
) -> None:
    shape, found = SHAPES["short sessions"], []
    for seed in range(20):
        one = course(seed, drift, **shape)
        found.append(
            slowest_window([course(1_000 + seed, label="other", **shape), one], bin_of(one))
        )

    reported = [stretch for stretch in found if stretch is not None]
    assert len(reported) >= 0.9 * len(found)
    assert {stretch.label for stretch in reported} == {"sim"}
    assert all(least_s <= stretch.begin_s <= most_s for stretch in reported)
    assert all(stretch.ratio > 1.1 for stretch in reported)


# On the page.

PLAN = Plan(sessions=200, turns=5, seconds=600, warmup_s=60)


def drifted(folder: Path, factor: float) -> Summary:
    """Return the summary of a run in which the latencies were longer in the warm-up and in two
    other minutes.
    """

    def later(_: int, row: Row) -> Row:
        at_s = (row["start_utc_ns"] - synthetic.BEGAN_NS) / 1e9
        if not (240 <= at_s < 360 or row["phase"] == "warmup"):
            return row
        by_ns = int((factor - 1) * (row["first_audio_at_ns"] - row["speech_end_at_ns"]))
        return row | {
            name: row[name] + by_ns
            for name in ("first_audio_at_ns", "response_done_at_ns", "ended_at_ns")
        }

    return edited(synthetic.write(folder, PLAN), later)
