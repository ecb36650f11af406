"""A search: its ramps are synthetic runs, and its levels have results."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_S
from reports.formatting import NBSP
from reports.results.value import Reason, Result
from reports.statistics.crossing import Crossing
from rtbench.capacity import search as searching
from rtbench.capacity.document import CapacityDocument, LevelEntry
from rtbench.capacity.level_evaluation import SearchConfig, target_of
from rtbench.capacity.level_run import FinishedLevel, LevelTask, LocustCommand
from rtbench.capacity.ramp import Estimate
from rtbench.capacity.search import Search
from rtbench.capacity.text import headline_parts, reason_text
from rtbench.capacity.turns import turns_by_load
from rtbench.capacity.verification import Level
from tests.capacity.built import build_level, build_plan, build_share, threshold_of
from tests.reports.synthetic import Plan, write

VERIFY = Reason("verify")
SLOW = "ttfa: p(95)<700"
Analysed = Callable[[Path, int], bool]


def build_search(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    run: Plan,
    threshold: str,
    *,
    left_s: float = 0.0,
    verify: bool = False,
    budget_usd: float | None = None,
    levels_s: float = 0.0,
    late_s: float = -math.inf,
    play: Callable[[str, Path, Analysed], object] = lambda name, ramp, analyse: analyse(ramp, 0),
) -> Search:
    """Return a search whose ramps are this run. `left_s` is the time that is left for a second
    ramp and for levels, `levels_s` more time for levels, and `late_s` when a ramp has ended.
    """
    ramp, runs = write(folder / "ramp", run), folder / "levels"
    runs.mkdir()

    def run_level(
        locust: LocustCommand,
        task: LevelTask,
        is_clear: Analysed,
        until_ns: int,
        killed_ns: int,
    ) -> FinishedLevel:
        assert "--stages" in locust.arguments(task)
        play(task.name, ramp, is_clear)
        died = "killed" if killed_ns < monotonic_ns() + late_s * NS_PER_S else ""
        return FinishedLevel(ramp, died, analyses=1)

    monkeypatch.setattr(searching, "run_level", run_level)
    end_ns = monotonic_ns() + int(left_s * NS_PER_S)
    until_ns = end_ns + int(levels_s * NS_PER_S)
    plan = build_plan(time_s=180, verify=verify, budget_usd=budget_usd)
    locust = LocustCommand([Path("calls.py")], runs)
    config = SearchConfig(plan, [threshold_of(threshold)], locust, None, end_ns, until_ns)
    return Search(config, lambda *_: None)


def found_by(search: Search, *, interrupted: bool = False) -> CapacityDocument:
    return search.document(interrupted=interrupted, date_utc="", target="west", scenario="calls")


def searched(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    run: Plan,
    threshold: str,
    faults: tuple[Reason | None, ...] = (None,),
) -> CapacityDocument:
    """Return the result of a search whose ramps, one for each of `faults`, are this run."""
    search = build_search(monkeypatch, folder, run, threshold)
    list(search.run())
    if len(faults) > 1:
        search.targets, search.measured = (
            len(faults) * search.targets,
            len(faults) * search.measured,
        )
        search.faults = [*faults]
    return found_by(search)


@pytest.mark.parametrize(
    ("interrupts_at", "code"), [(0, "no_turns"), (1, "crossed"), (2, "crossed")]
)
def test_a_search_that_is_interrupted_has_what_its_ramps_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, interrupts_at: int, code: str
) -> None:
    """Before the first analysis of a ramp, after it, or in the second ramp."""
    played: list[str] = []

    def play(name: str, ramp: Path, analyse: Analysed) -> None:
        played.append(name)
        if interrupts_at:
            analyse(ramp, 0)
        if len(played) >= interrupts_at:
            raise KeyboardInterrupt

    run = Plan(sessions=20, turns=4, paired=True)
    search = build_search(monkeypatch, tmp_path, run, "ttfa: p(95)<700", left_s=180.0, play=play)
    with pytest.raises(KeyboardInterrupt):
        list(search.run())
    found = found_by(search, interrupted=True)

    assert (found.ended, found.estimate.code) == ("interrupted", code)
    assert bool(found.curve) == bool(interrupts_at)


@pytest.fixture
def verifying(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Search]:
    """Return a search of a range from 36 to 41 calls, whose levels have these results, or raise
    them.
    """
    range_ = Estimate(SLOW, Crossing(39.0, 36.4, 40.6, 1.0), 60)
    monkeypatch.setattr(Search, "estimate", lambda _: range_)

    def build(*results: Result | type[BaseException], usd: float = 0.0, **more: Any) -> Search:
        left = [*results]

        def evaluate(config: SearchConfig, number: int, level: Level) -> LevelEntry:
            result = left.pop(0)
            if isinstance(result, type):
                raise result
            run = f"{number}-{level.load}"
            return build_level(level.load, result, run=run, usd=usd, violations=[build_share()])

        monkeypatch.setattr(searching, "evaluate_level", evaluate)
        few = Plan(sessions=10, turns=2, paired=True)
        return build_search(
            monkeypatch, tmp_path, few, SLOW, verify=True, **{"left_s": 900.0} | more
        )

    return build


def test_levels_verify_the_ends_of_the_range(verifying: Callable[..., Search]) -> None:
    search = verifying("pass", "fail")
    steps = [level and level.run for level in search.run()]
    found = found_by(search)

    assert steps == [None, None, "3-36", "4-41"]
    assert (found.highest_pass, found.lowest_fail) == (36, 41)
    assert (found.ended, found.notes) == ("complete", [])


@pytest.mark.parametrize("results", [[], ["pass"]])
def test_a_search_that_is_interrupted_in_a_level_keeps_its_ramps_and_the_levels_before(
    verifying: Callable[..., Search], results: list[Result]
) -> None:
    search = verifying(*results, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        list(search.run())
    found = found_by(search, interrupted=True)

    assert (found.estimate.code, len(found.levels)) == ("crossed", len(results))
    assert found.exit_status == (0 if results else 3)
    assert headline_parts(found)[-1] == "the search ended early, because it was interrupted"


@pytest.mark.parametrize(
    ("left_s", "usd", "ended"),
    [(900.0, 1.0, "complete"), (10.0, 1.0, "time"), (900.0, 9.0, "budget")],
)
def test_a_search_ends_if_its_time_or_its_money_is_too_short_for_a_level(
    verifying: Callable[..., Search], left_s: float, usd: float, ended: str
) -> None:
    search = verifying("pass", "fail", usd=usd, left_s=left_s, budget_usd=8.0)
    list(search.run())
    found = found_by(search)

    assert found.ended == ended
    assert (found.highest_pass is None) == (ended == "time")
    assert ("the search ended early" in headline_parts(found)[-1]) == (ended != "complete")


def test_a_ramp_that_ends_late_is_not_killed_while_the_search_has_time(
    verifying: Callable[..., Search],
) -> None:
    search = verifying("pass", "fail", left_s=60.0, levels_s=900.0, late_s=100.0)
    list(search.run())
    found = found_by(search)

    assert (search.faults, found.highest_pass) == ([None, None], 36)


def test_levels_that_show_nothing_end_the_search(verifying: Callable[..., Search]) -> None:
    search = verifying("not_evaluated", "not_evaluated")
    list(search.run())
    found = found_by(search)

    assert (len(found.levels), found.ended, found.exit_status) == (2, "load_generator", 4)


def test_each_turn_has_the_calls_in_progress_and_those_that_fail_violate(tmp_path: Path) -> None:
    target = target_of(write(tmp_path, Plan(sessions=40, turns=4, failed=0.2)))
    turns, *moved = turns_by_load(target, threshold_of("ttfa: p(95)<60s"))
    (failures,) = turns_by_load(target, threshold_of("failure_rate: rate<1%"), uncertain=False)

    assert (turns.n, len(moved)) == (160, 2)
    assert turns.load.max() > turns.load.min() >= 1
    assert 0 < turns.violated.sum() == failures.violated.sum() < 100


def test_a_run_in_which_no_call_opened_has_no_turns(tmp_path: Path) -> None:
    target = target_of(write(tmp_path, Plan(sessions=0, turns=4, refused=5)))
    (turns,) = turns_by_load(target, threshold_of("ttfa: p(95)<60s"), uncertain=False)

    assert turns.n == 0


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
        monkeypatch, tmp_path, Plan(sessions=20, turns=4, paired=True), "ttfa: p(95)<60s"
    )

    assert found.estimate.code == "not_crossed"
    assert headline_parts(found)[0].startswith(
        "p95 of ttfa did not cross 60,000\N{NO-BREAK SPACE}ms up to "
    )
    assert found.notes == [VERIFY]
    assert found.curve[-1].load == found.estimate.numbers["top"], "no load is above the largest"
    assert [(each.failure_rate.value, each.failure_rate.n) for each in found.curve] == [
        (0, each.turns) for each in found.curve
    ]


@pytest.mark.parametrize(
    ("threshold", "text"),
    [
        ("failure_rate: rate<10%", "the failure_rate did not cross 10 % up to "),
        ("throttle_rate: rate<2.5%", "the throttle_rate did not cross 2.5 % up to "),
        ("ttfa: within(60000)>95%", "within 60,000 ms of ttfa did not cross 95 % up to "),
    ],
)
def test_a_limit_on_a_share_is_stated_as_it_was_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, threshold: str, text: str
) -> None:
    found = searched(monkeypatch, tmp_path, Plan(sessions=20, turns=3, paired=True), threshold)

    assert headline_parts(found)[0].replace(NBSP, " ").startswith(text)


def test_a_limit_that_no_turn_meets_may_be_below_any_load(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = searched(
        monkeypatch, tmp_path, Plan(sessions=60, turns=4, paired=True), "ttfa: p(95)<1"
    )

    assert (found.estimate.code, found.estimate.numbers["low"]) == ("crossed", 0)
    assert found.estimate.numbers["high"] is None, (
        "the timestamps of the run have no known uncertainty"
    )


def test_a_metric_that_no_successful_call_has_is_not_crossed_by_the_failed_turns(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = Plan(sessions=20, turns=4, failed=0.05, paired=True)
    found = searched(monkeypatch, tmp_path, run, "ttft: p(95)<800")

    assert found.estimate == Reason("no_turns")


def test_a_broken_load_generator_is_the_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = Plan(sessions=20, turns=4, paired=True, valid=False)
    found = searched(monkeypatch, tmp_path, run, "ttfa: p(95)<1")

    assert headline_parts(found)[0].startswith(
        "nothing is known about the service: the load generator, not the service, was the limit:"
        " INVALID: "
    )
    assert (found.exit_status, found.ended) == (4, "load_generator")


def test_the_limit_of_the_load_generator_explains_more_than_a_late_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours = Reason("above_calibration", {"message": "spread it over more --processes"})
    late = Reason("time_over")
    run = Plan(sessions=10, turns=2, paired=True)
    found = searched(monkeypatch, tmp_path, run, SLOW, (ours, late))

    assert found.estimate == Reason("unknown", {"reason": ours})


def test_a_service_that_fails_at_all_loads_needs_no_longer_search(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        found = searched(patch, tmp_path, Plan(sessions=40, turns=4, failed=0.2), "ttfa: p(95)<60s")

    assert (
        sum(each.failure_rate.events for each in found.curve)
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
            Plan(sessions=20, turns=4, paired=True),
            "ttfa: p(95)<60s",
            (None, late),
        )

    assert found.notes == [Reason("ramp_silent", {"number": "second", "reason": late}), VERIFY]
    assert reason_text(found.notes[0]).startswith("the second ramp is not used: the search's time")
    assert sum(each.turns for each in found.curve) == 80
    assert {each.run for each in found.curve} == {"ramp"}


def test_a_band_of_loads_names_the_runs_of_all_ramps_that_have_turns_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = searched(
        monkeypatch, tmp_path, Plan(sessions=20, turns=4), "ttfa: p(95)<60s", (None, None)
    )

    assert {each.run for each in found.curve} == {"ramp, ramp"}
