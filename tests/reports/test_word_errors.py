"""Word error rates: errors of the corpus by its words, with intervals by sessions, in reports, compare and check."""

from __future__ import annotations

import numpy as np
import pytest

from reports.gate.by_limit import limit_results
from reports.question import Question
from reports.sides.side import counts_of, sides_of
from reports.statistics.differences import Margin
from reports.statistics.rates import ArmSums, rate_difference, ratio_of
from reports.thresholds import parse
from tests.reports.comparisons.build import run
from tests.reports.edited import Row, edit
from tests.reports.synthetic import Plan

PLAN = Plan(sessions=80, turns=5, targets=("west", "east"), paired=True)
WER = Question("input_wer", "rate", Margin(points=0.01))


def misheard(index: int, row: Row) -> Row:
    """A turn of two words and one of forty in each session; `east` mishears three times as many of the forty."""
    words = {2: 2, 4: 40}.get(row["turn"])
    if words is None:
        return row
    errors = 1 if words == 2 else (6 if row["target"] == "east" else 2) + row["pair"] % 2
    return row | {"input_words": words, "input_word_errors": errors}


@pytest.fixture(scope="module")
def name(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("misheard")
    name = run(folder, PLAN)
    edit(folder, "turns", misheard)
    return name


def test_errors_and_words_are_those_of_all_turns_together(name: str) -> None:
    west, _ = sides_of([name])
    errors, words = counts_of(west, WER)

    assert words.tolist() == [42] * 40
    assert errors.sum() / words.sum() == pytest.approx((1 + 2.5) / 42)  # and not the mean of 1/2 and 1/16


@pytest.mark.parametrize(("limit", "words"), [("12%", ["pass", "fail"]), ("30%", ["pass", "pass"])])
def test_a_limit_is_held_against_the_rate_of_words(name: str, limit: str, words: list[str]) -> None:
    threshold = parse("input_wer", f"rate<{limit}")

    assert [item.result for side in sides_of([name]) for item in limit_results(threshold, side)] == words


def test_more_errors_than_words_have_an_interval_too() -> None:
    rng = np.random.default_rng(4)
    words = rng.integers(5, 40, 60).astype(float)
    base, cand = (rng.poisson(words * rate).astype(float) for rate in (1.1, 1.3))
    rate = ratio_of((cand, words))
    difference = rate_difference(ArmSums((base, words), (cand, words), paired=False), Margin(points=0.01))

    assert rate.lower(0.05) < rate.value < rate.upper(0.05)
    assert difference.low < difference.d < difference.high
    assert difference.d == pytest.approx(0.2, abs=0.1)
