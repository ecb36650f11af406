"""Words from intervals: what Holm lets be said, what floors forbid, and what passes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.statistics.differences import Difference
from reports.statistics.verdicts import (
    FAILED_SHARE,
    NOT_AFTER_HOLM,
    Reason,
    Verdict,
    both_infinite,
    floor_reason,
    holm,
    too_few,
    verdicts,
)
from reports.wording.verdicts import said

p_values = st.lists(st.floats(0, 1), max_size=12)


def build_difference(low: float = -0.02, high: float = 0.02, margin: float = 0.1, **changes: Any) -> Difference:
    values: dict[str, Any] = {
        "scale": "ratio", "baseline": 600.0, "candidate": 610.0, "d": (low + high) / 2, "low": low, "high": high,
        "se": 0.01, "df": 100.0, "worse_low": low - margin, "worse_high": high - margin, "better_low": -high - margin,
        "better_high": -low - margin, "p_worse": 0.001 if low > margin else 0.9,
        "p_better": 0.001 if high < -margin else 0.9,
    }  # fmt: skip
    return Difference(**{**values, **changes})


def judge(*found: Difference | None, primary: bool = True, floor: Reason | None = None) -> list[Verdict]:
    return verdicts(found, [primary] * len(found), [floor] * len(found))


@pytest.mark.parametrize(
    ("low", "high", "word", "passes"),
    [
        (0.11, 0.3, "regressed", False),
        (0.05, 0.15, "inconclusive", False),
        (-0.3, 0.3, "inconclusive", False),
        (-0.05, 0.05, "equivalent", True),
        (-0.1, 0.1, "inconclusive", False),
        (-0.15, 0.05, "not_regressed", True),
        (-0.3, -0.11, "improved", True),
        (math.inf, math.inf, "regressed", False),
        (-math.inf, math.inf, "inconclusive", False),
        (0.0, math.inf, "inconclusive", False),
    ],
)
def test_the_interval_and_the_margin_make_the_word(low: float, high: float, word: str, passes: bool) -> None:
    (verdict,) = judge(build_difference(low, high))

    assert (verdict.word, verdict.passes, verdict.reason) == (word, passes, None)


def test_exactly_on_the_margin_is_not_below_it() -> None:
    assert [verdict.word for verdict in judge(build_difference(-0.3, 0.1), build_difference(-0.1, 0.05))] == [
        "inconclusive",
        "not_regressed",
    ]


def test_what_is_inconclusive_says_how_many_more_sessions_would_settle_it() -> None:
    (open_,) = judge(build_difference(-0.2, 0.2, more_sessions=120))
    (settled,) = judge(build_difference(-0.05, 0.05, more_sessions=120))

    assert open_.more_sessions == 120
    assert settled.more_sessions is None


@pytest.mark.parametrize(
    ("values", "rejected"),
    [
        ([0.01, 0.04, 0.03], [True, False, False]),  # 0.03 > 0.05/2
        ([0.016, 0.04, 0.024], [True, True, True]),
        ([0.02, 0.001, 0.03], [True, True, True]),
        ([0.017, 0.017, 0.017], [False, False, False]),  # 0.017 > 0.05/3
        ([0.05], [True]),
        ([], []),
    ],
)
def test_holm_steps_down_from_the_smallest(values: list[float], rejected: list[bool]) -> None:
    assert holm(values) == rejected


@given(p_values, st.randoms())
def test_holm_rejects_no_less_than_bonferroni_and_whatever_the_order(values: list[float], random: Any) -> None:
    rejected = holm(values)
    order = list(range(len(values)))
    random.shuffle(order)
    found = sorted((values[index], flag) for index, flag in zip(order, holm([values[i] for i in order]), strict=True))

    assert all(flag for flag, p in zip(rejected, values, strict=True) if p <= 0.05 / max(1, len(values)))
    assert not any(flag for flag, p in zip(rejected, values, strict=True) if p > 0.05)
    assert sum(flag for _, flag in found) == sum(rejected)


def test_a_gated_figure_over_its_margin_has_regressed_only_after_holm() -> None:
    over = build_difference(0.11, 0.3, p_worse=0.04)
    rest = [build_difference(), build_difference()]
    found = judge(over, *rest)

    assert (found[0].word, found[0].reason) == ("inconclusive", NOT_AFTER_HOLM)
    assert [verdict.word for verdict in found[1:]] == ["equivalent", "equivalent"]
    assert judge(over)[0].word == "regressed"


def test_figures_that_are_not_gated_are_judged_alone_and_cost_the_others_nothing() -> None:
    over = build_difference(0.11, 0.3, p_worse=0.04)
    found = verdicts([over, over, build_difference()], [True, False, False], [None] * 3)

    assert [verdict.word for verdict in found] == ["regressed", "regressed", "equivalent"]


def test_figures_below_their_floor_cost_the_others_nothing() -> None:
    over, few = (build_difference(0.11, 0.3, p_worse=0.04), too_few("turn", 400, (120, 120), p=0.95))
    found = verdicts([over, over], [True, True], [None, few])

    assert found == [Verdict("regressed"), Verdict("inconclusive", few)]


def test_an_improvement_is_claimed_only_after_holm_and_passes_without() -> None:
    under = build_difference(-0.3, -0.11, p_better=0.04)
    found = judge(under, build_difference(), build_difference())

    assert found[0].word == "not_regressed"
    assert judge(under)[0].word == "improved"


def test_a_quantile_among_the_failed_turns_of_both_arms_decides_nothing() -> None:
    both = build_difference(-math.inf, math.inf, baseline=math.inf, candidate=math.inf)

    assert both_infinite(both)
    assert not both_infinite(build_difference(candidate=math.inf))
    assert judge(both) == [Verdict("inconclusive", FAILED_SHARE)]


def test_a_figure_that_an_arm_lacks_is_inconclusive_never_green() -> None:
    assert judge(None) == [Verdict("inconclusive", Reason("no figure"))]
    assert judge(None, floor=FAILED_SHARE) == [Verdict("inconclusive", FAILED_SHARE)]


def said_of(*counts: Any, **arms: Any) -> str:
    return said(floor_reason(*counts, **arms))


def test_floors_are_in_sessions_first_and_then_in_turns_beyond_the_quantile() -> None:
    assert said_of(0.95, (400, 500), (20, 40)) == ""
    assert said_of(0.95, (399, 500), (20, 40)) == "too few turns to decide: p95 needs 400 per target, 399 measured"
    assert said_of(0.95, (400, 500), (20, 19)) == "too few sessions to decide: 20 needed per target, 19 measured"
    assert said_of(0.95, (400, 500), (12, 12), "pair") == "too few pairs to decide: 20 needed, 12 measured"
    assert (
        said_of(0.99, (2000, 1999), (200, 200)) == "too few turns to decide: p99 needs 2,000 per target, 1,999 measured"
    )
    assert said_of(0.9, (200, 200), (20, 20)) == ""
    assert said_of(0.05, (399, 500), (20, 40)) == "too few turns to decide: p5 needs 400 per target, 399 measured"
    assert said_of(None, (20, 20), (20, 20)) == ""
    assert said_of(0.95, (400, 96), (20, 40), "pair", ("old", "new")).endswith("per target, 96 on new")
    assert said_of(0.95, (96, 97), (20, 40), arms=("old", "new")).endswith("96 on old and 97 on new")
    assert said_of(None, (), (20, 8), arms=("old", "new")).endswith("per target, 8 on new")
    assert said_of(None, (20, 20), (19, 20)) == "too few sessions to decide: 20 needed per target, 19 measured"
