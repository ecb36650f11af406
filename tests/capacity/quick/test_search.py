"""A quick search: its ramps are synthetic runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_S
from reports.formatting import NBSP
from reports.results.value import Reason
from rtbench.capacity.level_evaluation import SearchConfig, target_of
from rtbench.capacity.level_run import FinishedLevel, LevelTask, LocustCommand
from rtbench.capacity.quick import search as searching
from rtbench.capacity.quick.search import QuickSearch
from rtbench.capacity.quick.turns import turns_by_load
from rtbench.capacity.search import CapacityDocument
from rtbench.capacity.text import headline_parts, reason_text
from tests.capacity.models import build_plan, threshold_of
from tests.reports.synthetic import Plan, write

VERIFY = Reason("verify", {"time_s": 1800.0, "cost": "", "command": "rtbench capacity calls.py"})


def searched(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    run: Plan,
    threshold: str,
    faults: tuple[Reason | None, ...] = (None,),
) -> CapacityDocument:
    """Return the result of a quick search whose ramps, one for each of `faults`, are this run."""
    ramp, runs = write(folder / "ramp", run), folder / "levels"
    runs.mkdir()

    def play(
        locust: LocustCommand, task: LevelTask, is_clear: Callable[[Path, int], bool], until_ns: int
    ) -> FinishedLevel:
        assert "--stages" in locust.arguments(task)
        is_clear(ramp, 0)
        return FinishedLevel(ramp, "", analyses=1)

    monkeypatch.setattr(searching, "run_level", play)
    locust = LocustCommand([Path("calls.py")], "concurrency", runs)
    config = SearchConfig(
        build_plan(time_s=180), [threshold_of(threshold)], locust, until_ns=monotonic_ns()
    )
    quick = QuickSearch(config, lambda *_: None)
    quick.run()
    if len(faults) > 1:
        quick.targets, quick.measured = len(faults) * quick.targets, len(faults) * quick.measured
        quick.faults = [*faults]
    return quick.document(VERIFY, interrupted=False, date_utc="", target="west", scenario="calls")


@pytest.mark.parametrize(
    ("interrupts_at", "code"), [(0, "no_turns"), (1, "crossed"), (2, "crossed")]
)
def test_a_search_that_is_interrupted_has_what_its_ramps_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, interrupts_at: int, code: str
) -> None:
    """Before the first analysis of a ramp, after it, or in the second ramp."""
    ramp, runs = write(tmp_path / "ramp", Plan(sessions=60, turns=4, paired=True)), tmp_path / "l"
    runs.mkdir()
    played: list[str] = []

    def play(
        locust: LocustCommand, task: LevelTask, is_clear: Callable[[Path, int], bool], until_ns: int
    ) -> FinishedLevel:
        played.append(task.name)
        if interrupts_at:
            is_clear(ramp, 0)
        if len(played) >= interrupts_at:
            raise KeyboardInterrupt
        return FinishedLevel(ramp, "", analyses=1)

    monkeypatch.setattr(searching, "run_level", play)
    locust = LocustCommand([Path("calls.py")], "concurrency", runs)
    until_ns = monotonic_ns() + 180 * NS_PER_S
    config = SearchConfig(
        build_plan(time_s=180), [threshold_of("ttfa: p(95)<700")], locust, until_ns=until_ns
    )
    quick = QuickSearch(config, lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        quick.run()
    found = quick.document(VERIFY, interrupted=True, date_utc="", target="west", scenario="calls")

    assert found.ended == "interrupted"
    assert found.estimate is not None
    assert found.estimate.code == code
    assert bool(found.levels) == bool(interrupts_at)


def test_each_turn_has_the_calls_in_progress_and_those_that_fail_violate(tmp_path: Path) -> None:
    target = target_of(write(tmp_path, Plan(sessions=40, turns=4, failed=0.2)))
    turns, *moved = turns_by_load(target, threshold_of("ttfa: p(95)<60s"))
    (failures,) = turns_by_load(target, threshold_of("failure_rate: rate<1%"), uncertain=False)

    assert (turns.n, len(moved)) == (160, 2)
    assert turns.load.max() > turns.load.min() >= 1
    assert 0 < turns.violated.sum() == failures.violated.sum() < 100


def test_a_turn_that_the_end_of_the_run_cut_has_waited_and_has_not_failed(tmp_path: Path) -> None:
    target = target_of(write(tmp_path, Plan(sessions=40, turns=4, abandoned=6)))
    turns, *_ = turns_by_load(target, threshold_of("ttfa: p(95)<1"))

    assert (turns.violated.all(), np.isfinite(turns.value).all()) == (True, True)


def test_a_turn_in_progress_counts_at_the_first_load_even_if_its_value_is_unknown(
    tmp_path: Path,
) -> None:
    target = target_of(write(tmp_path, Plan(sessions=40, turns=4, abandoned=6, mute_cut=True)))
    limit = threshold_of("ttfa: p(95)<60s")
    (known,) = turns_by_load(target, limit, uncertain=False)
    (every,) = turns_by_load(target, limit, uncertain=False, first=1000)

    assert (known.n, every.n) == (154, 160)
    assert not every.violated.any(), (
        "a turn that has waited for less than the limit is no violation"
    )


def test_a_wait_counts_only_for_a_latency_that_the_turn_should_have(tmp_path: Path) -> None:
    target = target_of(write(tmp_path, Plan(sessions=40, turns=4, abandoned=6, mute_cut=True)))
    late, never = (
        turns_by_load(target, threshold_of(f"{name}: p(95)<1"), uncertain=False)[0].violated.sum()
        for name in ("ttfa", "ttft")
    )

    assert (late, never) == (160, 0)


def test_a_threshold_that_holds_is_not_crossed_up_to_the_largest_load(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = searched(
        monkeypatch, tmp_path, Plan(sessions=60, turns=4, paired=True), "ttfa: p(95)<60s"
    )

    assert found.estimate is not None
    assert found.estimate.code == "not_crossed"
    assert headline_parts(found)[0].startswith(
        "p95 of ttfa did not cross 60,000\N{NO-BREAK SPACE}ms up to "
    )
    assert found.notes == [VERIFY]
    assert found.levels[-1].load == found.estimate.numbers["top"], "no load is above the largest"
    assert [(each.failure_rate.value, each.failure_rate.n) for each in found.levels] == [
        (0, each.turns) for each in found.levels
    ]


@pytest.mark.parametrize(
    ("threshold", "text"),
    [
        ("failure_rate: rate<10%", "the failure_rate did not cross 10 % up to "),
        ("failure_rate: rate<0.1", "the failure_rate did not cross 10 % up to "),
        ("throttle_rate: rate<2.5%", "the throttle_rate did not cross 2.5 % up to "),
        ("ttfa: within(60000)>95%", "within 60,000 ms of ttfa did not cross 95 % up to "),
    ],
)
def test_a_limit_on_a_share_is_stated_as_it_was_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, threshold: str, text: str
) -> None:
    found = searched(monkeypatch, tmp_path, Plan(sessions=60, turns=4, paired=True), threshold)

    assert headline_parts(found)[0].replace(NBSP, " ").startswith(text)


def test_a_limit_that_no_turn_meets_may_be_below_any_load(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = searched(
        monkeypatch, tmp_path, Plan(sessions=60, turns=4, paired=True), "ttfa: p(95)<1"
    )

    assert found.estimate is not None
    assert (found.estimate.code, found.estimate.numbers["low"]) == ("crossed", 0)
    assert found.estimate.numbers["high"] is None, (
        "the timestamps of the run have no known uncertainty"
    )


def test_a_metric_that_no_successful_call_has_is_not_crossed_by_the_failed_turns(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = Plan(sessions=60, turns=4, failed=0.05, paired=True)
    found = searched(monkeypatch, tmp_path, run, "ttft: p(95)<800")

    assert found.estimate == Reason("no_turns")


def test_a_broken_load_generator_is_the_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = Plan(sessions=60, turns=4, paired=True, valid=False)
    found = searched(monkeypatch, tmp_path, run, "ttfa: p(95)<1")

    assert headline_parts(found)[0].startswith(
        "nothing is known about the service: the load generator, not the service, was the limit:"
        " INVALID: "
    )
    assert (found.exit_status, found.ended) == (4, "load_generator")


def test_a_service_that_fails_at_all_loads_needs_no_longer_search(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        found = searched(patch, tmp_path, Plan(sessions=40, turns=4, failed=0.2), "ttfa: p(95)<60s")

    assert (
        sum(each.failure_rate.events for each in found.levels)
        == found.estimate.numbers["at_all_loads"]["failed"]
    )
    always = found.estimate.numbers["at_all_loads"]
    assert (always["turns"], always["p"]) == (
        160,
        math.floor(95 * (1 - always["failed"] / 160)) / 100,
    )
    assert not found.notes


def test_a_ramp_that_shows_nothing_is_not_used_and_has_a_note(tmp_path: Path) -> None:
    late = Reason("time_over")
    with pytest.MonkeyPatch.context() as patch:
        found = searched(
            patch,
            tmp_path,
            Plan(sessions=60, turns=4, paired=True),
            "ttfa: p(95)<60s",
            (None, late),
        )

    assert found.notes == [Reason("ramp_silent", {"number": "second", "reason": late}), VERIFY]
    assert reason_text(found.notes[0]).startswith("the second ramp is not used: the search's time")
    assert sum(each.turns for each in found.levels) == 240
    assert {each.run for each in found.levels} == {"ramp"}


def test_a_band_of_loads_names_the_runs_of_all_ramps_that_have_turns_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = searched(
        monkeypatch, tmp_path, Plan(sessions=60, turns=4), "ttfa: p(95)<60s", (None, None)
    )

    assert {each.run for each in found.levels} == {"ramp, ramp"}
