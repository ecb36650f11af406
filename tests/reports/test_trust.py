"""The calibration that a run cites, and whether it went beyond."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

import reports
from reports.runs import RunFrames
from reports.summary.trust import busiest
from reports.wording.validity import NOT_CALIBRATED, trust
from tests.reports.synthetic import Plan, write

CITED = {
    "date": "2026-11-20", "kind": "voice", "sessions": 400, "events_per_s": 9000.0, "exact_sessions": 100,
    "ended": "", "tls": True, "file": "calibration-here-tls.json", "stale": [],
}  # fmt: skip
LINE = "calibrated on 2026-11-20: error p99 ≤ 1 ms up to 400 voice sessions per process, 9,000 events/s"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFrames:
    folder = tmp_path_factory.mktemp("run")
    write(folder, Plan(sessions=10))
    loaded = reports.load(folder)
    return replace(loaded, seconds=loaded.seconds.assign(events=120))


def citing(run: RunFrames, cited: Any) -> RunFrames:
    return replace(run, metadata=run.metadata | {"calibration": cited})


def test_a_run_says_how_far_its_machine_is_trusted(run: RunFrames) -> None:
    assert trust(citing(run, CITED)) == [LINE]


def test_what_differs_from_the_calibration_is_said(run: RunFrames) -> None:
    (line,) = trust(citing(run, CITED | {"stale": ["with another kernel", "without TLS"]}))

    assert line == LINE.replace("2026-11-20", "2026-11-20, with another kernel and without TLS")


def test_a_machine_that_was_not_calibrated_says_so(run: RunFrames) -> None:
    assert trust(citing(run, None)) == [NOT_CALIBRATED]


def test_a_run_that_went_beyond_its_calibration_says_by_what(run: RunFrames) -> None:
    sessions, events_per_s = busiest(run.seconds)
    both = citing(run, CITED | {"sessions": sessions - 1, "events_per_s": events_per_s / 2})
    within = citing(run, CITED | {"sessions": sessions, "events_per_s": events_per_s})

    assert sessions > 1
    assert trust(both)[1].startswith(f"this run went beyond its calibration: {sessions:.0f} sessions and ")
    assert len(trust(within)) == 1


@pytest.mark.parametrize(("above", "lines"), [(1.09, 1), (1.11, 2)])
def test_busy_seconds_may_be_a_tenth_above_the_mean_that_was_calibrated(
    run: RunFrames, above: float, lines: int
) -> None:
    _, events_per_s = busiest(run.seconds)

    assert len(trust(citing(run, CITED | {"events_per_s": events_per_s / above}))) == lines


def test_what_ended_the_calibration_is_said_where_it_was_not_the_harness(run: RunFrames) -> None:
    ended, beyond = trust(citing(run, CITED | {"ended": "the simulator", "sessions": 1}))

    assert ended == LINE.replace("400", "at least 1")
    assert beyond.startswith("this run went beyond its calibration (the simulator, not the load generator, ended it): ")


def test_each_process_is_held_against_it_by_itself(run: RunFrames) -> None:
    sessions, events_per_s = busiest(run.seconds)
    seconds = run.seconds.assign(worker=1)
    twice = replace(run, seconds=pd.concat([seconds, run.seconds.assign(worker=0)], ignore_index=True))

    assert busiest(twice.seconds) == (sessions, events_per_s)
    assert events_per_s > 0
    assert busiest(run.seconds.iloc[:0]) == (0.0, 0.0)
