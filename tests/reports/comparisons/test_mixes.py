"""Two targets that played other shares of the same steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from reports.comparisons.measuring import measured
from reports.question import Question
from reports.sides.fairness import checks_of, notices_on
from reports.sides.mix import arms_of, changed_shares
from reports.sides.side import Side, sample_of
from reports.statistics.differences import Inference, Margin
from tests.reports.comparisons.build import DRAWS, quick, targets, two
from tests.reports.synthetic import STEPS, Plan

MIXED = Plan(sessions=150, turns=10, mix=(0.0, 0.0, 0.4, 0.0, 0.6), failed=0.01)
MORE_SLOW = replace(MIXED, mix=(0.0, 0.0, 0.6, 0.0, 0.4), seed=8)
P50 = Question("ttfa", "quantile", Margin(ratio=0.1), 0.5)


def test_a_candidate_with_more_of_a_slow_step_has_not_regressed() -> None:
    base, cand = two(MIXED, MORE_SLOW)
    (found,) = measured(base, cand, [P50], Inference(draws=DRAWS))
    assert found.difference is not None

    plain = sample_of(cand, P50)
    assert plain.succeeded[plain.n // 2] > 1.15 * found.difference.baseline
    assert abs(found.difference.d) < 0.05
    assert found.difference.low < 0 < found.difference.high


def test_the_shares_of_steps_are_stated() -> None:
    sides = two(MIXED, MORE_SLOW)
    step, checks = STEPS[2], checks_of(sides)

    assert [check.name for check in checks if check.name.startswith("same")] == ["same scripts"]
    assert next(check.texts for check in checks if check.name == "shares of steps") == (
        f"{step} 40.1\u00a0%",
        f"{step} 62.3\u00a0%",
    )
    (notice,) = (notice for notice in notices_on(sides) if "shares" in notice)
    assert notice.startswith(
        f"The shares of steps differ: {step} is 40.1\u00a0% of the turns of sim (one) and 62.3\u00a0% of those of sim "
        "(other)."
    )
    assert notice in quick(sides).notices


def test_shares_that_differ_by_chance_are_weighted_and_not_stated() -> None:
    base, cand = two(MIXED, replace(MIXED, seed=11))

    assert changed_shares(base, cand) == []
    assert arms_of(base, cand, P50, (sample_of(base, P50), sample_of(cand, P50))).steps is not None


@pytest.mark.parametrize("made", [two, targets, lambda: two(Plan(sessions=60, turns=3, refused=4))])
def test_the_same_steps_in_turn_are_not_weighted(made: Callable[[], tuple[Side, ...]]) -> None:
    base, cand = made()

    assert arms_of(base, cand, P50, (sample_of(base, P50), sample_of(cand, P50))).steps is None
    assert changed_shares(base, cand) == []


def test_a_question_about_one_step_and_one_of_sessions_have_no_shares() -> None:
    base, cand = two(MIXED, MORE_SLOW)

    for question in (replace(P50, step=STEPS[2]), replace(P50, metric="session_ready")):
        samples = sample_of(base, question), sample_of(cand, question)
        assert arms_of(base, cand, question, samples).steps is None


def test_the_steps_stand_beside_their_values() -> None:
    """Of a script with other latencies for each step, the values of a step are those of its own sample."""
    base, cand = two(replace(MIXED, refused=5), MORE_SLOW)
    samples = sample_of(base, P50), sample_of(cand, P50)
    arms = arms_of(base, cand, P50, samples)
    assert arms.steps is not None

    for side, sample, steps in zip((base, cand), samples, arms.steps, strict=True):
        of_step = sample_of(side, replace(P50, step=STEPS[2]))
        slow = steps[sample.values == of_step.values[0]][0]
        assert sample.values[steps == slow].tolist() == of_step.values.tolist()
