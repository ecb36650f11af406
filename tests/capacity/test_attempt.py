"""One attempt at a level: the result follows from the run of this level."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from bench.base.errors import UsageError
from reports.data.runs import RunFrames
from reports.results.value import Reason, Result
from reports.statistics.group_sequential import spending
from rtbench.capacity import level_evaluation as playing
from rtbench.capacity.document import LevelEntry
from rtbench.capacity.level_evaluation import SearchConfig, evaluate_level, median_call_s
from rtbench.capacity.level_run import FinishedLevel, LevelTask, LocustCommand
from rtbench.capacity.text import reason_text
from rtbench.capacity.verification import ANALYSES, AROUND_S, Level
from tests.capacity.built import build_plan, threshold_of
from tests.reports.synthetic import Plan, write

CALIBRATED = {
    "date": "2026-11-20",
    "kind": "voice",
    "sessions": 100,
    "events_per_s": 1000.0,
    "exact_sessions": 50,
    "ended": "",
    "tls": True,
    "file": "calibration.json",
    "stale": [],
}
TIME_S, ERROR = 75.0, 0.01
GOOD, BAD = "ttfa: p(95)<60s", "ttfa: p(95)<1"


def evaluate(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    plan: Plan,
    threshold: str = GOOD,
    load: int = 40,
    *,
    died: str = "",
    time_s: float = TIME_S,
    **changes: Any,
) -> LevelEntry:
    """Return the result of a level. Instead of running the level, write this synthetic run.

    An interim analysis uses the complete run.
    """
    folder = write(tmp_path / "levels" / "run", plan, **changes)

    def play(
        locust: LocustCommand,
        task: LevelTask,
        is_clear: Callable[[Path, int], bool],
        until_ns: int,
        killed_ns: int,
    ) -> FinishedLevel:
        is_clear(folder, 3)
        return FinishedLevel(folder, died, analyses=4)

    monkeypatch.setattr(playing, "run_level", play)
    search = SearchConfig(
        build_plan(),
        [threshold_of(threshold)],
        LocustCommand([Path("calls.py")], tmp_path),
    )
    return evaluate_level(search, 3, Level(load, time_s, ERROR))


@pytest.mark.parametrize(
    ("threshold", "answer"),
    [(GOOD, "pass"), (BAD, "fail"), ("failure_rate: rate<0.1%", "inconclusive")],
)
def test_a_level_has_the_result_of_its_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, threshold: str, answer: Result
) -> None:
    level = evaluate(monkeypatch, tmp_path, Plan(sessions=300, turns=4, paired=True), threshold)

    assert level.result == answer
    assert level.why == (Reason("futile") if answer == "inconclusive" else None)
    assert (level.sessions, level.turns, level.run) == (300, 1200, "run")
    assert level.simulated


def test_a_result_has_the_bounds_of_its_interim_analysis(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    level = evaluate(monkeypatch, tmp_path, Plan(sessions=300, turns=4, paired=True))

    error = spending(ANALYSES, ERROR)[3]
    assert level.violations[0].value.high == pytest.approx(1 - error ** (1 / 300))
    assert level.violations[0].result == "pass"


def test_an_invalid_run_is_a_limit_of_the_load_generator(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    level = evaluate(
        monkeypatch, tmp_path, Plan(sessions=300, turns=4, paired=True, valid=False), BAD
    )

    assert level.result == "not_evaluated"
    assert reason_text(level.why).startswith("INVALID: ")
    assert "--processes 2" in reason_text(level.why)


def test_uncertain_timestamps_invalidate_only_a_result_that_depends_on_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = Plan(sessions=300, turns=4, paired=True)
    check = {
        "name": "timestamp_uncertainty",
        "value": 12.0,
        "limit": 6.0,
        "result": "fail",
        "note": "",
        "remedy": "",
    }
    verdict = {"status": "invalid", "uncertain_metrics": [], "checks": [check]}
    for off_ms, answer in ((12.0, "pass"), (59_900.0, "not_evaluated")):
        errors = np.full(plan.sessions * plan.turns, off_ms)
        monkeypatch.setattr(
            "reports.analysis.targets.moved.bounds_of_rows",
            lambda folder, metric, errors=errors: errors,
        )
        played = evaluate(monkeypatch, tmp_path / answer, plan, GOOD, validity=verdict)

        assert played.result == answer


def test_a_load_above_the_calibrated_one_is_a_limit_of_the_load_generator(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = Plan(sessions=300, turns=4, paired=True)
    within = evaluate(monkeypatch, tmp_path / "within", plan, load=100, calibration=CALIBRATED)
    beyond = evaluate(monkeypatch, tmp_path / "beyond", plan, load=101, calibration=CALIBRATED)
    unknown = evaluate(
        monkeypatch,
        tmp_path / "unknown",
        plan,
        load=101,
        calibration=CALIBRATED | {"ended": "the simulator"},
    )

    assert [level.result for level in (within, beyond, unknown)] == [
        "pass",
        "not_evaluated",
        "pass",
    ]
    assert "more than this machine is calibrated for" in reason_text(beyond.why)


def test_a_level_whose_run_crashed_has_the_result_crashed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    level = evaluate(monkeypatch, tmp_path, Plan(paired=True), died="the run ended with status -9")

    assert (level.result, reason_text(level.why), level.run) == (
        "not_evaluated",
        "the run ended with status -9",
        "run",
    )
    assert level.crashed


def test_more_calls_than_can_connect_in_time_are_a_limit_of_the_load_generator(
    tmp_path: Path,
) -> None:
    search = SearchConfig(
        build_plan(),
        [threshold_of(GOOD)],
        LocustCommand([Path("calls.py")], tmp_path),
        connect_rate=30.0,
    )

    level = evaluate_level(search, 3, Level(40, TIME_S, ERROR))

    assert level.result == "not_evaluated"
    assert level.why == Reason("slow_connections", {"load": 40, "warm_s": 81.0, "level_s": 60.0})


@pytest.mark.parametrize("load_s", [12.0, 30.0, 60.0, 3600.0])
def test_the_minimum_ramp_leaves_time_to_measure_in_a_level_of_any_duration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, load_s: float
) -> None:
    plan = Plan(sessions=300, turns=4, paired=True)
    level = evaluate(monkeypatch, tmp_path, plan, time_s=load_s + AROUND_S)

    assert level.result == "pass"


def test_a_refused_run_is_a_crash_with_its_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: Any) -> FinishedLevel:
        raise UsageError("raise it with `ulimit -n`")

    monkeypatch.setattr(playing, "run_level", refuse)
    search = SearchConfig(
        build_plan(), [threshold_of(GOOD)], LocustCommand([Path("calls.py")], tmp_path)
    )
    level = evaluate_level(search, 3, Level(40, TIME_S, ERROR))

    assert (level.crashed, reason_text(level.why)) == (True, "raise it with `ulimit -n`")


def test_a_level_whose_starts_the_service_delayed_does_not_pass(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = Plan(sessions=300, turns=4, paired=True)
    held = evaluate(monkeypatch, tmp_path / "held", plan, load=4000, start_delays_s={"sim": 12.0})
    carried = evaluate(
        monkeypatch, tmp_path / "carried", plan, load=1, start_delays_s={"sim": 12.0}
    )

    assert (held.result, carried.result) == ("inconclusive", "pass")
    assert "starts were delayed for 12 s" in reason_text(held.why)


@pytest.mark.parametrize(
    ("calls", "expected_s"),
    [
        ([("success", 12_000.0), ("success", 16_000.0), ("success", 60_000.0)], 16.0),
        ([("success", 60_000.0), ("failed", 300.0), ("failed", 300.0)], 60.0),
        ([("success", 14_000.0), ("unfinished", 20_000.0)], 14.0),
        ([("success", 14_000.0), ("unfinished", 20_000.0), ("unfinished", 20_000.0)], None),
        ([("failed", 300.0)], None),
        ([("success", math.nan)], None),
        ([], None),
    ],
)
def test_the_duration_of_a_call_is_that_of_successful_calls(
    calls: list[tuple[str, float]], expected_s: float | None
) -> None:
    sessions = pd.DataFrame(calls, columns=["outcome_class", "session_duration_ms"])

    assert median_call_s(cast(RunFrames, SimpleNamespace(sessions=sessions))) == expected_s
