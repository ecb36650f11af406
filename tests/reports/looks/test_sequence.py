"""Which look decides a comparison, and how: gates given by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.looks.sequence import InterimStatistic, LookCourse, Schedule, by_se, run_looks, untestable
from reports.statistics.looks import critical_values, distance, spread_of_level
from reports.statistics.verdicts import NOT_AFTER_HOLM, Reason, too_few

SIZES = tuple(range(50, 550, 50))
MARGIN = 0.1
DF = 10_000_000
"""So many that t is normal: z is the excess in standard errors."""


def at(z: float, *, se: float = 0.05, better: int = 1) -> InterimStatistic:
    """A gate at so many standard errors beyond its margin of 0.1."""
    excess = z * se
    return by_se(better * (MARGIN + excess), excess, se, DF, better)


def course(looks: Sequence[Sequence[InterimStatistic]], *, end: str = "", sizes: tuple[int, ...] = SIZES) -> LookCourse:
    schedule = Schedule(sizes[-1], sizes, len(looks[0]))
    return run_looks(schedule, lambda pairs: looks[sizes.index(pairs)], len(looks), end)  # type: ignore[arg-type]


def critical(k: int, gates: int = 1) -> float:
    """Of look k, from 1."""
    return critical_values([size / 500 for size in SIZES], 0.05 / gates)[k - 1]


def test_a_gate_far_beyond_its_margin_ends_the_run_at_once() -> None:
    found = course([[at(4.0), at(0.0)], [at(9.0), at(9.0)]])

    assert (found.reason, len(found.looks), found.stopped) == ("regressed", 1, True)
    assert [ruling.word for ruling in found.rulings] == ["regressed", "inconclusive"]


def test_the_first_gate_to_be_called_worse_must_reach_the_bound_of_all_of_them() -> None:
    between = (critical(1) + critical(1, 3)) / 2
    found = course([[at(between), at(0.0), at(0.0)]], end="by hand")

    assert found.reason == "stopped_by_user"
    assert found.rulings[0].reason == NOT_AFTER_HOLM


def test_the_others_are_labelled_by_holms_step_down() -> None:
    second, third = critical(1, 2) + 0.01, critical(1) - 0.01
    found = course([[at(third), at(second), at(5.0)]])

    assert [ruling.word for ruling in found.rulings] == ["inconclusive", "regressed", "regressed"]


def test_the_corrected_estimate_of_a_gate_that_is_worse_allows_for_the_bound_that_would_have_ended_the_run() -> None:
    """With three gates that is the bound of all of them, which is farther out than the bound of one."""
    z, shares = critical(2, 3) + 0.1, [0.1, 0.2]
    found = course([[at(1.0), at(0.0), at(0.0)], [at(z), at(0.0), at(0.0)]])
    (regressed, *_) = found.rulings
    family, alone = ([critical(k, gates) for k in (1, 2)] for gates in (3, 1))

    assert regressed.word == "regressed"
    assert regressed.corrected == pytest.approx(MARGIN + distance(z, 0.05, shares, family))
    assert regressed.corrected > MARGIN + distance(z, 0.05, shares, alone) + 1e-4


def test_a_run_is_green_once_every_gate_has_passed_and_a_pass_is_kept() -> None:
    found = course([[at(-3.5), at(-1.0)], [at(-1.0), at(-3.5)]])

    assert (found.reason, len(found.looks)) == ("not_regressed", 2)
    assert [ruling.look for ruling in found.rulings] == [0, 1]
    assert found.looks[1].seen[0].z == pytest.approx(-1.0)


def test_a_pass_does_not_hide_what_is_seen_later() -> None:
    found = course([[at(-3.5), at(0.0)], [at(6.0), at(0.0)]])

    assert found.reason == "regressed"
    assert (found.rulings[0].word, found.rulings[0].look) == ("regressed", 1)


@pytest.mark.parametrize("z", [9.0, 0.0, -9.0])
def test_a_look_at_arms_that_may_not_be_compared_ends_the_run_whatever_its_gates_say(z: float) -> None:
    asked: list[int] = []

    def unfit(pairs: int) -> bool:
        asked.append(pairs)
        return pairs == 100

    found = run_looks(Schedule(500, SIZES, 1), lambda pairs: [at(z if pairs == 100 else 0.0)], 3, unfit=unfit)

    assert (found.reason, found.stopped, [look.pairs for look in found.looks]) == ("invalid", True, [50, 100])
    assert asked == [50, 100]


def test_a_run_that_was_decided_is_not_looked_at_again() -> None:
    assert (
        run_looks(Schedule(500, SIZES, 1), lambda _: [at(9.0)], 3, unfit=lambda pairs: pairs > 50).reason == "regressed"
    )


def test_a_run_goes_on_while_nothing_is_certain() -> None:
    found = course([[at(0.0)], [at(-1.5)]])

    assert (found.reason, found.stopped) == ("pending", False)
    assert course_of_nothing().reason == "pending"


def course_of_nothing(end: str = "") -> LookCourse:
    return run_looks(Schedule(500, SIZES, 1), lambda pairs: [], 0, end)  # type: ignore[arg-type]


def test_a_run_that_ended_before_its_first_look_says_nothing() -> None:
    assert course_of_nothing("blind").reason == "no_analysis"
    assert course_of_nothing("blind").stopped


def test_a_run_gives_up_where_it_would_stay_inconclusive() -> None:
    found = course([[at(0.0)] for _ in range(9)])

    assert found.reason == "futility"
    assert 2 <= len(found.looks) < 9
    assert found.rulings[0].reason == Reason("would stay", needed=500)


def test_a_gate_that_cannot_be_tested_yet_is_waited_for() -> None:
    few = untestable(too_few("turn", 400, (100, 100), p=0.95))
    found = course([[at(-5.0), few]] * 4)

    assert found.reason == "pending"
    assert found.rulings[1].word == "inconclusive"
    assert found.rulings[1].reason == few.untested
    assert math.isinf(found.rulings[1].low)


def test_the_last_look_ends_in_any_case() -> None:
    found = course([[at(-1.0)], [at(-1.5)]], sizes=(250, 500))

    assert (found.reason, found.rulings[0].word) == ("final_analysis", "inconclusive")


def test_an_end_that_nobody_chose_gives_the_last_complete_look_all_that_is_left() -> None:
    near = [[at(0.0)], [at(-0.5)], [at(-1.9)]]

    assert course(near).reason == "pending"
    assert course(near, end="by hand").reason == "stopped_by_user"
    assert course(near, end="blind").reason == "not_regressed"


def test_what_ended_a_run_by_its_figures_gains_nothing_by_the_end() -> None:
    looks = [[at(-1.0)], [at(-0.6)], [at(-0.2)]]
    while course(looks).reason == "pending":
        looks.append([at(0.0)])

    assert course(looks).reason == "futility"
    assert course(looks, end="blind") == course(looks)


@pytest.mark.parametrize("better", [1, -1])
@pytest.mark.parametrize("seed", range(20))
def test_the_interval_that_is_printed_agrees_with_the_verdict(seed: int, better: int) -> None:
    drift = np.random.default_rng(seed).normal(0, 6)
    steps = np.random.default_rng([seed, 1]).normal(drift / 10, math.sqrt(0.1), 10)
    z = np.cumsum(steps) / np.sqrt(np.arange(1, 11) / 10)
    found = course([[at(float(one), better=better)] for one in z]).rulings[0]
    bad_side = found.low if better == 1 else -found.high
    good_side = found.high if better == 1 else -found.low

    assert (found.word == "regressed") == (bad_side > MARGIN)
    assert (found.word == "not_regressed") == (good_side < MARGIN)
    assert found.low <= found.d <= found.high
    assert found.low <= found.corrected <= found.high


@given(st.floats(-5, 5), st.floats(0.001, 2), st.integers(19, 400), st.sampled_from([1, -1]))
def test_at_the_first_look_nothing_is_corrected(d: float, se: float, df: int, better: int) -> None:
    found = run_looks(Schedule(500, SIZES, 1), lambda _: [by_se(d, better * d - MARGIN, se, df, better)], 1)

    assert found.rulings[0].corrected == pytest.approx(d, abs=1e-9)


def test_a_first_look_at_twenty_pairs_says_what_it_saw() -> None:
    """Of few pairs t is wider than normal, and its deviate is not the distance in standard errors."""
    double, margin = math.log(2.0), math.log(1.1)
    found = run_looks(Schedule(200, (20, 200), 1), lambda _: [by_se(double, double - margin, 0.08, 19)], 1).rulings[0]

    assert found.word == "regressed"
    assert math.expm1(found.corrected) == pytest.approx(1.0)


def test_a_rate_that_passes_by_a_wider_bound_than_its_standard_errors_is_not_corrected() -> None:
    waits = by_se(0.0, -0.01, 0.002, DF)
    rate = InterimStatistic(0.0, -0.01, 0.002, DF, lambda c: -0.01 + 0.004 * c)
    open_ = [by_se(0.0, -0.01, 0.01, DF)]
    moved, kept = (course([open_, open_, [one]], sizes=(50, 100, 150)).rulings[0] for one in (waits, rate))

    assert (moved.word, kept.word) == ("not_regressed", "not_regressed")
    assert moved.corrected > 0.0
    assert kept.corrected == 0.0


@given(
    st.lists(st.floats(-9, 9), min_size=1, max_size=10),
    st.floats(0.001, 1),
    st.integers(19, 400),
    st.sampled_from([1, -1]),
    st.sampled_from(["", "blind", "by hand"]),
)
def test_a_corrected_estimate_lies_in_its_interval(
    excesses: list[float], se: float, df: int, better: int, end: str
) -> None:
    """Excesses in standard errors, however unlikely one after the other."""
    seen = [[by_se(better * (MARGIN + one * se), one * se, se, df, better)] for one in excesses]
    found = course(seen, end=end).rulings[0]

    assert found.low - 1e-9 <= found.corrected <= found.high + 1e-9


@pytest.mark.parametrize("drift", [-6.0, -3.0, 0.0, 3.0, 6.0])
def test_half_of_the_corrected_estimates_lie_above_the_truth_though_the_error_is_estimated(drift: float) -> None:
    """Looks of 25 pairs at a gate whose standard error is the pairs' own; three standard errors of 400 tosses."""
    rng, sizes, above = np.random.default_rng(11), (25, 50, 75, 100), 0
    for _ in range(400):
        pairs = rng.normal(drift / 10, 1, 100)

        def see(size: int, pairs: object = pairs) -> list[InterimStatistic]:
            mine = np.asarray(pairs)[:size]
            excess, se = float(mine.mean()), float(mine.std(ddof=1)) / math.sqrt(size)
            return [by_se(MARGIN + excess, excess, se, size - 1)]

        above += run_looks(Schedule(100, sizes, 1), see, 4).rulings[0].corrected > MARGIN + drift / 10

    assert abs(above - 200) <= 30


def test_a_gate_that_ends_on_its_margin_has_not_passed() -> None:
    on_it = InterimStatistic(0.1, 0.0, 0.0, 49.0, lambda c: 0.0)

    assert course([[on_it]]).reason != "not_regressed"


def test_a_rate_that_can_no_longer_pass_gives_up_though_nothing_fails() -> None:
    """Without a failure the standard error is 0; half of 100 pairs leave up to 1.4 % at even odds, the margin is 1."""
    none = InterimStatistic(0.0, -0.01, 0.0, 49.0, lambda c: 1 - 0.5 ** ((1 + c) / 50) - 0.01)

    found = course([[none]], sizes=(50, 100))
    assert (found.reason, found.rulings[0].word) == ("futility", "inconclusive")
    assert course([[none]]).reason == "pending"


def test_a_rates_own_upper_bound_decides_whether_it_passes() -> None:
    few = InterimStatistic(0.0, -0.01, 0.0, 49.0, lambda c: 0.002)
    enough = InterimStatistic(0.0, -0.01, 0.0, 49.0, lambda c: -0.002)

    assert course([[few]]).reason == "pending"
    found = course([[few], [enough]])
    assert found.reason == "not_regressed"
    assert (found.rulings[0].low, found.rulings[0].high) == pytest.approx((0.0, 0.008))
    assert found.rulings[0].corrected == 0.0


def test_bounds_stand_at_the_critical_value_of_their_look() -> None:
    found = course([[at(-1.0)], [at(-3.2)]])
    half = spread_of_level(critical(2), DF) * 0.05

    assert found.rulings[0].high == pytest.approx(MARGIN - 3.2 * 0.05 + half)
    assert found.rulings[0].corrected > found.rulings[0].d  # towards the margin


def test_a_look_at_which_an_arm_drifts_by_itself_gives_nothing_up_and_is_provisional() -> None:
    drifting = replace(at(0.0), order="drift")
    found = course([[drifting] for _ in range(9)])

    assert (found.reason, len(found.looks)) == ("pending", 9)
    assert found.rulings[0].provisional
    assert course([[drifting], [at(9.0)]]).rulings[0].provisional
    assert not course([[at(9.0)]]).rulings[0].provisional
