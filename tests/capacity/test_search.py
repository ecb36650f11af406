"""Searches at services with a known breaking point."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.results.value import Result
from reports.statistics.group_sequential import spending
from reports.statistics.verdicts import SESSIONS
from rtbench.capacity.search import (
    ANALYSES,
    ERROR,
    LevelBudget,
    LevelEntry,
    LoadUnit,
    level_budget,
    level_within,
    min_level_s,
    min_ramp_s,
    min_time_s,
    results_of,
    run_levels,
    smallest_first,
    stop_reason,
)
from rtbench.load_search import LevelResult, NextLevel, bracket_of
from tests.capacity.models import ModelService, build_level, build_plan, build_share, searched
from tests.examples import trials

SEEDS = trials(12, 25)


def knee(edge: float) -> Callable[[int], float]:
    """Return the function that gives the probability of a violation at a load.

    It grows smoothly, to about 5% at `edge`.
    """
    return lambda load: min(0.9, 0.002 + 0.048 * (load / edge) ** 4)


def cliff(edge: int) -> Callable[[int], float]:
    """Return the function that gives the probability of a violation at a load.

    All calls above the limit `edge` fail.
    """
    return lambda load: max(0.0, (load - edge) / load)


@pytest.mark.parametrize(
    "service",
    [
        ModelService(knee(20.5)),
        ModelService(knee(90.5)),
        ModelService(cliff(37)),
        ModelService(knee(50.5), alike=0.6),
    ],
)
def test_the_interval_covers_the_breaking_point_within_the_time_limit(
    service: ModelService,
) -> None:
    plan, edge = build_plan(), service.edge(256)
    searches = [searched(plan, service, seed) for seed in range(SEEDS)]
    brackets = [bracket_of(results_of(levels)) for levels in searches]
    covered = [
        one.highest_pass <= edge and (one.lowest_fail is None or edge < one.lowest_fail)
        for one in brackets
    ]

    assert sum(covered) >= 0.9 * SEEDS
    assert sum(bool(one.highest_pass and one.lowest_fail) for one in brackets) >= 0.6 * SEEDS
    for levels in searches:
        assert sum(level.duration_s for level in levels) <= plan.time_s + 1e-6
        assert len([level for level in levels if not level.confirmation_run]) <= plan.max_levels


@given(
    st.lists(
        st.sampled_from(["pass", "fail", "inconclusive", "not_evaluated"]), min_size=60, max_size=60
    ),
    st.data(),
)
def test_levels_never_exceed_the_time_and_the_error_of_the_search(
    answers: list[Result], data: st.DataObject
) -> None:
    plan = build_plan(most=64, time_s=3600.0)
    levels: list = []

    def played(number: int, step: NextLevel, given: LevelBudget):  # type: ignore[no-untyped-def]
        assert given.time_s >= given.min_time_s
        length_s = data.draw(st.floats(1.0, given.time_s))
        call_s = data.draw(st.none() | st.floats(0.0, 600.0))
        return build_level(
            step.load,
            answers[number],
            hold=step.confirmation_run,
            duration_s=length_s,
            error=given.error,
            call_s=call_s,
        )

    for _ in run_levels(plan, levels, played):
        pass

    assert sum(level.duration_s for level in levels) <= plan.time_s + 1e-6
    assert sum(level.error for level in levels) <= ERROR + 1e-12


def test_interim_analyses_spend_most_of_the_error_of_a_level_at_its_end() -> None:
    errors = spending(ANALYSES, 0.01)

    assert sum(errors) == pytest.approx(0.01)
    assert list(errors) == sorted(errors)
    assert len(errors) == len(ANALYSES)
    assert errors[-1] == pytest.approx(0.0075)


def test_a_level_gets_the_time_left_over_by_earlier_levels() -> None:
    plan = build_plan(most=64)
    first = level_budget(plan, [], NextLevel(1, confirmation_run=False))
    quick = level_budget(
        plan,
        [build_level(1, "pass", duration_s=20.0, error=first.error)],
        NextLevel(2, confirmation_run=False),
    )

    assert first.time_s == pytest.approx(plan.time_s / (plan.max_levels + 2))
    assert quick.time_s > first.time_s


def test_the_confirmation_run_lasts_twice_as_long_as_its_level() -> None:
    plan = build_plan()
    levels = [build_level(1, "pass", duration_s=50.0), build_level(2, "fail", duration_s=20.0)]

    assert level_budget(plan, levels, NextLevel(1, confirmation_run=True)).time_s == 100.0


def inconclusive_levels(length_s: float) -> Callable[[int, NextLevel, LevelBudget], LevelEntry]:
    """Return a function that runs levels. The levels have no violations, but stay inconclusive.

    A level lasts `length_s`, or all of the remaining time if less than that is left. The last level
    always lasts for all of the remaining time.
    """
    clean = build_share(0.0, slow=0)

    def played(number: int, step: NextLevel, given: LevelBudget) -> LevelEntry:
        took_s = given.time_s if step.last else min(given.time_s, length_s)
        return build_level(
            step.load, "inconclusive", duration_s=took_s, error=given.error, violations=[clean]
        )

    return played


@pytest.mark.parametrize(
    ("first", "most", "time_s"), [(8, 8, 240.0), (8, 16, 120.0), (1, 256, 1800.0)]
)
def test_a_search_without_decided_levels_uses_all_its_time(
    first: int, most: int, time_s: float
) -> None:
    plan = build_plan(first=first, most=most, time_s=time_s)
    levels: list[LevelEntry] = []
    list(run_levels(plan, levels, inconclusive_levels(17.0)))

    assert sum(level.duration_s for level in levels) == pytest.approx(time_s)
    assert sum(level.error for level in levels) <= ERROR
    assert min(level.load for level in levels) == first, "lower levels have fewer calls"


def test_a_single_level_gets_all_the_time_and_its_confirmation_run_the_rest() -> None:
    plan = build_plan(first=8, most=8, time_s=240.0)
    step = NextLevel(8, confirmation_run=False, last=True)

    assert level_budget(plan, [], step).time_s == 240.0
    held = [build_level(8, "pass", duration_s=70.0)]
    assert level_within(plan, held) == (
        NextLevel(8, confirmation_run=True),
        LevelBudget(140.0, ERROR - 0.001, None, min_level_s(plan)),
    )


def test_a_quick_search_repeats_one_inconclusive_level_in_the_remaining_time() -> None:
    plan, clean = build_plan(first=8, most=16, time_s=120.0), build_share(0.0, slow=0)
    levels = [
        build_level(load, "inconclusive", duration_s=18.0, violations=[clean]) for load in (8, 16)
    ]

    step, given = level_within(plan, levels) or (None, None)
    assert given is not None
    assert (step, given.time_s) == (NextLevel(16, confirmation_run=False, last=True), 120.0 - 36.0)
    longer, _ = level_within(build_plan(first=8, most=16), levels) or (None, None)
    assert longer == NextLevel(16, confirmation_run=False)


def test_an_inconclusive_level_is_repeated_in_the_time_beyond_the_confirmation_run() -> None:
    plan = build_plan(first=8, most=64, precision=1.0, time_s=1000.0)
    levels = [
        build_level(8, "pass"),
        build_level(64, "fail"),
        *[build_level(16, "inconclusive")] * 2,
        *[build_level(32, "inconclusive")] * 2,
    ]
    step, given = level_within(plan, levels) or (None, None)
    assert given is not None

    assert (step, given.time_s) == (
        NextLevel(32, confirmation_run=False, last=True),
        1000.0 - 6 * 60.0 - 2 * 60.0,
    )
    short = build_plan(first=8, most=64, precision=1.0, time_s=6 * 60.0 + 130.0)
    assert level_within(short, levels) == (
        NextLevel(8, confirmation_run=True),
        LevelBudget(120.0, ERROR - 0.006, None, min_level_s(short)),
    )


def test_a_single_level_is_decided_in_the_default_time() -> None:
    """The load and the session length are those of text calls to the simulator: 8 concurrent
    calls of 10 s each.
    """
    plan = build_plan(first=8, most=8, time_s=240.0)
    for seed in range(SEEDS):
        levels = searched(plan, ModelService(lambda _: 0.0), seed)
        assert levels[0].result == "pass", levels


def test_a_confirmation_run_follows_even_an_early_pass() -> None:
    levels = [build_level(1, "pass", duration_s=8.0), build_level(2, "fail", duration_s=8.0)]

    assert stop_reason(build_plan(), levels) is None


@pytest.mark.parametrize(
    ("spent_s", "usd", "ended"), [(100.0, 0.1, None), (1790.0, 0.1, "time"), (100.0, 5.0, "budget")]
)
def test_a_search_ends_if_its_time_or_its_budget_is_spent(
    spent_s: float, usd: float, ended: str | None
) -> None:
    plan = build_plan(budget_usd=5.0)

    assert stop_reason(plan, [build_level(1, "pass", duration_s=spent_s, usd=usd)]) == ended


def test_the_minimum_time_of_a_search_is_enough_for_each_of_its_levels() -> None:
    plan = build_plan(most=64)
    least_s = min_time_s(plan)

    given = level_budget(
        build_plan(most=64, time_s=least_s), [], NextLevel(1, confirmation_run=False)
    )

    assert given.time_s == pytest.approx(min_level_s(plan))
    assert results_of([build_level(1, "pass")]) == [LevelResult(1, "pass")]


@pytest.mark.parametrize(("by", "calls"), [("concurrency", 2.0), ("arrival_rate", 1.0)])
def test_a_level_has_time_for_a_call_that_counts(by: LoadUnit, calls: float) -> None:
    plan = build_plan(call_s=60.0, by=by)
    given = level_budget(plan, [], NextLevel(1, confirmation_run=False))

    assert given.time_s >= min_level_s(plan)
    assert given.load_s >= min_ramp_s(given.load_s) + calls * 60


@pytest.mark.parametrize(
    ("calls_s", "expected_s"),
    [
        ([20.0, 14.0, 40.0], 14.0),  # an overloaded service makes calls longer
        ([None], 2 * (27.0 - 15.0)),  # no call has ended: calls are longer than the level
        ([None, 50.0], 50.0),
        ([3.0], 3.0),
        ([], 5.0),
    ],
)
def test_the_minimum_time_of_a_level_follows_the_calls_of_earlier_levels(
    calls_s: list[float | None], expected_s: float
) -> None:
    levels = [build_level(1, "inconclusive", duration_s=27.0, call_s=call_s) for call_s in calls_s]

    assert min_level_s(build_plan(call_s=5.0), levels) == min_level_s(build_plan(call_s=expected_s))


def test_an_estimate_of_long_calls_leaves_the_whole_search_to_the_first_level() -> None:
    plan = build_plan(call_s=3_000.0, time_s=600.0)

    assert stop_reason(plan, []) is None
    assert level_budget(plan, [], NextLevel(1, confirmation_run=False)).time_s == 600.0


def test_a_level_that_passes_early_is_confirmed_even_in_a_short_time() -> None:
    plan = build_plan(first=8, most=8, time_s=300.0)
    levels = [build_level(8, "pass", duration_s=157.0, call_s=60.0)]
    step, given = level_within(plan, levels) or (None, None)

    assert step == NextLevel(8, confirmation_run=True)
    assert given is not None
    assert given.time_s == 143.0
    assert stop_reason(plan, levels) is None


def test_a_search_ends_if_the_time_left_is_too_short_for_a_level_with_such_calls() -> None:
    plan, known = build_plan(time_s=200.0), [build_level(1, "pass", duration_s=60.0, call_s=60.0)]

    assert stop_reason(plan, known) == "time"


def test_a_level_of_few_callers_has_time_for_the_sessions_that_decide_it() -> None:
    plan = build_plan(call_s=10.0)

    given = level_budget(plan, [], NextLevel(2, confirmation_run=False))

    assert 2 * (given.load_s - min_ramp_s(given.load_s)) / 10.0 >= SESSIONS
    assert min_level_s(plan, (), SESSIONS) == min_level_s(plan, (), 256)


@pytest.mark.parametrize(
    ("call_s", "time_s", "first"), [(1.0, 3600.0, 1), (10.0, 1800.0, 5), (60.0, 1800.0, 20)]
)
def test_the_first_level_is_the_smallest_that_has_its_sessions_in_its_time(
    call_s: float, time_s: float, first: int
) -> None:
    assert smallest_first(build_plan(call_s=call_s, time_s=time_s)) == first


def test_the_first_level_is_at_most_the_largest_load() -> None:
    assert smallest_first(build_plan(most=6, call_s=60.0)) == 6
