"""The evaluation of a level from its run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from bench.base.errors import UsageError
from bench.catalogue.outcomes import outcome_class, remedy_of
from reports.data.runs import RunFrames, load_frames
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.statistic_types.quantile import Quantile
from reports.metrics.strata import Stratum
from reports.results.value import Reason
from reports.statistics.quantiles import quantiles
from rtbench.capacity.level_evaluation import (
    Analysis,
    _LevelMonitor,
    check_opened,
    completed_counts,
    completed_pairs,
    counts_of,
    exhausting_limit,
    failures_of,
    in_progress,
    latencies_of,
    rate_limits_remaining,
    target_of,
    throttled_turns,
    usd_of,
    violations,
)
from rtbench.capacity.load_thresholds import ShareBounds
from rtbench.capacity.verification import Level
from tests.capacity.built import build_level, threshold_of
from tests.reports.edited import edit
from tests.reports.synthetic import PRICES, Plan, write, write_killed

LATE, FAILED, CONNECT = (
    threshold_of("ttfa: p(95)<700"),
    threshold_of("failure_rate: rate<1%"),
    threshold_of("connect_total: med<50"),
)


def completed(
    pairs: list[int],
    outcomes: Sequence[str] = (),
    workers: int = 1,
    measured_from: int = 0,
    renewed: Sequence[int] = (),
) -> list[int]:
    """Return the completed ones of some pairs. `renewed` contains the indexes of the sessions whose
    call continues in another session.
    """
    sessions = pd.DataFrame(
        {
            "pair": pairs,
            "target": "sim",
            "measured": [pair >= measured_from for pair in pairs],
            "outcome_class": outcomes or "success",
            "renewed": [index in renewed for index in range(len(pairs))],
        }
    )
    metadata = {"workers": workers, "state": "ended" if outcomes else "running"}
    run = cast(RunFrames, SimpleNamespace(sessions=sessions, metadata=metadata))
    return sorted(completed_pairs(run).tolist())


@pytest.mark.parametrize(
    ("pairs", "kept"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3]),
        ([0, 1, 3, 4], [0, 1]),
        ([3, 0, 1], [0, 1]),
        ([1, 2], []),
    ],
)
def test_sessions_are_complete_before_the_oldest_open_session(
    pairs: list[int], kept: list[int]
) -> None:
    assert completed(pairs) == kept


def test_a_call_is_complete_when_its_last_session_is() -> None:
    assert completed([0, 1, 2, 1, 3], renewed=[1, 4]) == [0, 1, 2]


def test_each_worker_numbers_its_sessions_separately() -> None:
    # worker 0 has the even pair numbers; pair 3 of worker 1 is not complete
    assert completed([0, 2, 4, 1, 5], workers=2) == [0, 1, 2, 4]


def test_a_worker_without_sessions_does_not_affect_the_others() -> None:
    assert completed([0, 2, 4], workers=2) == [0, 2, 4]


def test_unfinished_sessions_are_open_and_warmup_sessions_are_excluded() -> None:
    outcomes = ["success", "failed", "success", "unfinished", "success"]

    assert completed([0, 1, 2, 3, 4], outcomes, measured_from=1) == [1, 2]


def sessions_of(*ended: tuple[str, str]) -> RunFrames:
    """Return a run with one session for each (outcome, cause) pair. Successful sessions have a
    `session_ready_ms`.
    """
    classes = [outcome_class(outcome) for outcome, _ in ended]
    ready = [50.0 if each == "success" else math.nan for each in classes]
    frame = pd.DataFrame(ended, columns=["outcome", "cause"]).astype("category")
    frame = frame.assign(outcome_class=classes, session_ready_ms=ready)
    document = {"targets": [{"url": "ws://127.0.0.1:1/v1"}]}
    return cast(RunFrames, SimpleNamespace(sessions=frame, metadata=document))


REFUSED_TCP = ("connect_failed:tcp", "127.0.0.1:1: Connection refused")


def test_a_level_without_an_open_call_is_an_error_with_a_remedy() -> None:
    refused = sessions_of(("connect_failed:dns", ""), *[REFUSED_TCP] * 9)

    with pytest.raises(UsageError) as raised:
        check_opened(refused)
    assert str(raised.value) == (
        "none of 10 calls to ws://127.0.0.1:1/v1 opened: connect_failed:tcp: 127.0.0.1:1:"
        " Connection refused; " + remedy_of("connect_failed:tcp")
    )


@pytest.mark.parametrize(
    "other", [("ok", ""), ("throttled:handshake", ""), None], ids=["opened", "throttled", "none"]
)
def test_a_level_with_an_opened_a_throttled_or_no_refused_call_is_accepted(other: Any) -> None:
    check_opened(sessions_of(*([REFUSED_TCP, other] if other else [("unfinished", "")])))


def test_violations_are_counted_by_session(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", Plan(sessions=40, turns=5, failed=0.05))
    whole, turns = target_of(folder), load_frames(folder).turns
    late = ~(turns["ttfa_ms"].to_numpy() < 700) | (turns["outcome_class"] == "failed").to_numpy()

    events, counted = violations(whole, LATE)
    failures, _ = violations(whole, FAILED)

    assert (events.sum(), counted.sum(), counted.size) == (late.sum(), len(turns), 40)
    assert failures.sum() == (turns["outcome_class"] == "failed").sum()
    assert violations(whole, CONNECT)[1].tolist() == [1.0] * 40


def test_turns_that_did_not_start_violate_each_latency_threshold(tmp_path: Path) -> None:
    refusing = target_of(
        write(tmp_path / "run", Plan(sessions=71, turns=4, refused=29, median_ms=200))
    )

    late, counted = violations(refusing, threshold_of("ttfa: p(95)<5000"))
    (found,) = Analysis(
        refusing, [threshold_of("ttfa: p(95)<5000")], ShareBounds(0.01, 10)
    ).shares()
    share = found.value

    assert (late.sum(), counted.sum(), counted.size) == (116, 400, 100)
    assert sorted(late[late > 0]) == [4] * 29
    assert (share.value, share.count, share.failed) == (0.29, 116, 116)
    assert found.limit == pytest.approx(0.05)
    assert share.high > 0.05, "it does not hold"


def test_violations_of_a_minimum_rate_are_the_turns_without_the_event(tmp_path: Path) -> None:
    write(tmp_path, Plan(sessions=20, turns=5))
    edit(
        tmp_path,
        "turns",
        lambda i, row: row | ({"yielded": i % 10 == 1} if row["turn"] == 2 else {}),
    )
    events, counted = violations(target_of(tmp_path), threshold_of("yield_rate: rate>90%"))

    assert (events.sum(), counted.sum()) == (10, 20)


def test_violation_shares_are_split_by_cause(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", Plan(sessions=60, turns=5, failed=0.1))
    turns = load_frames(folder).turns
    failed = int((turns["outcome_class"] == "failed").sum())
    throttled = int(turns["outcome"].astype(str).str.startswith("throttled").sum())

    whole = target_of(folder)
    level = build_level(4, "fail", throttled=throttled_turns(whole))
    late, failures = Analysis(whole, [LATE, FAILED], ShareBounds(0.01, 4, 2)).shares()

    good = turns[turns["outcome_class"] == "success"]
    slow = int((good["ttfa_ms"] >= 700).sum())
    assert 0 < throttled < failed
    assert level.causes(late) == {"slow": slow, "failed": failed, "throttled": throttled}
    assert level.causes(failures) == {"slow": 0, "failed": failed, "throttled": throttled}
    assert failures.value.low < failures.value.value < failures.value.high


def test_turns_of_open_sessions_can_fail_a_threshold_but_not_pass_it(tmp_path: Path) -> None:
    target = target_of(write(tmp_path / "run", Plan(sessions=200, turns=5)))
    thresholds = [threshold_of("ttfa: p(95)<60000"), threshold_of("ttfa: p(95)<1")]
    few = np.zeros(3), np.full(3, 5.0)

    analysis = Analysis(target, thresholds, ShareBounds(0.01, 4, len(thresholds)))
    complete, incomplete = (analysis.shares(ended) for ended in (None, [few, few]))

    assert [found.result for found in complete] == ["pass", "fail"]
    assert [found.result for found in incomplete] == ["inconclusive", "fail"]
    reason = Reason("too_few", {"unit": "session", "needed": 20, "there": [3]})
    assert [found.reason for found in incomplete] == [reason, None]


def test_a_run_in_progress_is_read_like_a_finished_run(tmp_path: Path) -> None:
    target = target_of(write_killed(tmp_path / "run", Plan(sessions=20, turns=4, paired=True)))
    known, completed = (of(target, [LATE])[0][1].sum() for of in (counts_of, completed_counts))

    assert known > 0
    assert known >= completed


def test_sessions_that_began_after_an_open_one_are_not_complete(tmp_path: Path) -> None:
    write(tmp_path, Plan(sessions=20, turns=4, paired=True))
    edit(
        tmp_path,
        "sessions",
        lambda _, row: row | {"outcome": "unfinished"} if row["pair"] == 7 else row,
    )
    target = target_of(tmp_path)

    assert [of(target, [LATE])[0][1].sum() for of in (completed_counts, counts_of)] == [28, 80]


@pytest.mark.parametrize("drained", [False, True])
def test_a_passing_level_ends_early_unless_a_rate_limit_is_being_exhausted(
    tmp_path: Path, drained: bool
) -> None:
    write(tmp_path, Plan(sessions=200, turns=5, paired=True))
    left = {"requests_limit": 200}
    edit(
        tmp_path,
        "seconds",
        lambda at, row: row | left | {"requests_remaining": 200 - 2 * at * drained},
    )
    level = Level(200, 60.0, 0.05)
    looking = _LevelMonitor([threshold_of("ttfa: p(95)<60000")], [0.05], [0.5], level)

    assert looking.is_clear(tmp_path, 0) is not drained
    assert looking.answer == (None if drained else "pass")


@pytest.mark.parametrize(("waiting", "holds"), [(0, True), (2, True), (60, False)])
def test_a_level_does_not_pass_if_callers_in_back_off_could_have_changed_the_result(
    tmp_path: Path, waiting: int, holds: bool
) -> None:
    write(tmp_path, Plan(sessions=200, turns=5, paired=True))
    edit(tmp_path, "seconds", lambda _, row: row | {"callers_backing_off": waiting})
    thresholds = [threshold_of("ttfa: p(95)<60000")]
    looking = _LevelMonitor(thresholds, [0.05], [0.5], Level(1000, 60.0, 0.05))

    assert looking.is_clear(tmp_path, 0) is holds
    why = Analysis(target_of(tmp_path), thresholds, ShareBounds(0.05, 1000.0)).doubt()
    assert why == (
        None if holds else Reason("callers_waited", {"waiting": 60.0, "callers": 1000.0})
    )


def test_the_metrics_of_a_level_have_intervals(tmp_path: Path) -> None:
    plan = Plan(sessions=200, turns=5, limited=True, usage=True)
    whole = target_of(write(tmp_path / "run", plan, prices=PRICES))
    p50, p95 = latencies_of(whole, "ttfa")
    failures = failures_of(whole)
    values: list[Any] = [p50.low, p50.value, p50.high, p95.value]

    assert values == sorted(values)
    assert (failures.value, failures.low) == (0.0, 0.0)
    assert 0 < failures.high < 0.05
    assert set(rate_limits_remaining(whole.run, whole.name)) == {"tokens", "requests"}
    assert (usd_of(whole.run, whole.name) or 0) > 0
    assert (in_progress(whole.run) or 0) > 0


def test_a_level_never_pools_latencies_that_are_measured_from_different_instants(
    tmp_path: Path,
) -> None:
    mixed = target_of(
        write(tmp_path / "run", Plan(sessions=60, turns=5, kinds=("typed", "vad", "vad")))
    )
    most, turns = latencies_of(mixed, "ttfa")[0], 60 * 5
    spec = MetricSpec("ttfa", Quantile(0.5), stratum=Stratum("speech_end"))
    spoken, typed = (
        threshold_of(f"ttfa{{measured_from:{instant}}}: p(95)<700")
        for instant in ("speech_end", "request_sent")
    )

    assert most.value == pytest.approx(quantiles(mixed.sample(spec), [0.5], 0.95)[0].value)
    assert violations(mixed, spoken)[1].sum() == mixed.sample(spec).n < turns
    assert violations(mixed, spoken)[1].sum() + violations(mixed, typed)[1].sum() == turns
    np.testing.assert_array_equal(
        violations(mixed, spoken)[0] + violations(mixed, typed)[0],
        violations(mixed, threshold_of("ttfa: p(95)<700"))[0],
    )


def test_a_level_of_few_sessions_has_no_p95(tmp_path: Path) -> None:
    few = target_of(write(tmp_path / "run", Plan(sessions=8, turns=4)))
    p50, p95 = latencies_of(few, "ttfa")

    assert math.isfinite(p50.value)
    assert p95.status == "too_few_sessions"
    assert all(map(math.isnan, (p95.value, p95.low, p95.high)))


@pytest.mark.parametrize(
    ("left", "seconds"),
    [
        (lambda at_s: np.ones(at_s.size), None),
        (lambda at_s: 0.3 + 0.02 * (at_s % 2), None),
        (lambda at_s: 1 - at_s / 100, 60),
        (lambda at_s: 1 - at_s / 10_000, None),
        (lambda at_s: np.maximum(0, 1 - at_s / 20), 0),
        (lambda at_s: 1 - at_s % 10 / 20, None),
    ],
    ids=[
        "unused",
        "steady",
        "exhausted in a minute",
        "exhausted in hours",
        "exhausted",
        "refilled repeatedly",
    ],
)
def test_exhaustion_of_a_rate_limit_is_predicted(
    tmp_path: Path, left: Callable[[Any], Any], seconds: float | None
) -> None:
    side = target_of(write(tmp_path / "run", Plan(sessions=20, turns=4)))
    at_s = np.arange(41.0)
    second_rows = pd.DataFrame({"second": at_s, "target": side.name, "measured": True})
    second_rows = second_rows.assign(
        requests_limit=200,
        requests_remaining=200 * left(at_s),
        tokens_limit=np.nan,
        tokens_remaining=np.nan,
    )
    found = exhausting_limit(replace(side.run, seconds=second_rows), side.name)

    assert (None if found is None else (found[0], round(found[1]))) == (
        None if seconds is None else ("requests", seconds)
    )
