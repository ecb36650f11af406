"""Rates of turns and of words: how they are counted, compared and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import UsageError
from bench.run.folder import SCHEMAS
from reports.gate.by_limit import limit_results
from reports.looks.sequence import rate_seen
from reports.question import OF_COLUMNS, RATES, Question, better_of
from reports.records import data_of
from reports.runs import load_frames
from reports.sides.side import Side, counts_of, sides_of, targets_of
from reports.statistics.differences import Margin
from reports.statistics.rates import ArmSums, complement, rate_difference, ratio_of
from reports.summary.summary import summarise
from reports.text.terminal import report_text
from reports.thresholds import parse
from tests.reports import synthetic
from tests.reports.comparisons.build import quick, run
from tests.reports.edited import Row, edit, edited
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan

pytestmark = pytest.mark.usefixtures("few_draws")


PLAN = Plan(sessions=80, turns=5, targets=("west", "east"), paired=True)


POINT = Margin(points=0.01)


def interrupted(share: float) -> Any:
    """Two turns of each session are interrupted, and this share of them is yielded to, on `east` half of it."""

    def change(index: int, row: Row) -> Row:
        if row["turn"] not in (2, 4):
            return row
        wanted = share / 2 if row["target"] == "east" else share
        return row | {"yielded": (index * 0.618) % 1 < wanted, "interruption": "speech"}

    return change


def write(folder: Path, share: float = 0.9, plan: Plan = PLAN) -> str:
    name = run(folder, plan)
    edit(folder, "turns", interrupted(share))
    return name


def test_every_rate_of_a_column_has_one_of_flags_or_of_errors() -> None:
    types = {field.name: str(field.type) for field in SCHEMAS["turns"]}
    assert all(types[rate.column] == ("int64" if rate.words else "bool") for rate in OF_COLUMNS)
    assert all(rate.sentence.endswith(".") for rate in RATES.values())


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Side, ...]:
    return sides_of([write(tmp_path_factory.mktemp("rates"))])


def test_only_turns_of_which_something_is_said_are_counted(sides: tuple[Side, ...]) -> None:
    west, _ = sides
    events, trials = counts_of(west, Question("yield_rate", "rate", POINT))

    assert trials.tolist() == [2] * 40
    assert events.sum() == pytest.approx(0.9 * 80, abs=4)


def test_a_turn_whose_words_were_not_counted_has_no_share_of_wrong_ones(tmp_path: Path) -> None:
    rate = next(one for one in OF_COLUMNS if one.words)
    name = run(tmp_path, PLAN)
    edit(tmp_path, "turns", lambda index, row: row | {rate.column: 1, rate.words: 4 if row["turn"] == 1 else None})
    west, _ = sides_of([name])

    (told,) = (one for one in summarise(load_frames(name)).rates if one.target == "west")
    assert (told.count, told.total) == (40, 160)
    assert [sum(counts) for counts in counts_of(west, Question(rate.name, "rate", POINT))] == [40, 160]


def test_fewer_than_ten_turns_are_two_counts_and_decide_nothing(tmp_path: Path) -> None:
    synthetic.write(tmp_path, Plan(sessions=30, turns=5))
    few = edited(tmp_path, lambda i, row: row | ({"cut_off": i == 2} if i < 9 else {}))

    (row,) = map(data_of, few.rates)
    assert (row["count"], row["total"], row["value"]) == (1, 9, None)
    assert "cut_off_rate 1 of 9" in report_text(few).replace("\u00a0", " ")


def test_a_rate_of_which_more_is_better_regresses_downwards(sides: tuple[Side, ...]) -> None:
    comparison = quick(sides)
    finding = next(f for f in comparison.findings if f.question.metric == "yield_rate")

    assert finding.verdict.word == "regressed"
    assert finding.difference is not None
    assert finding.difference.baseline == pytest.approx(0.9, abs=0.05)
    assert finding.difference.d == pytest.approx(-0.45, abs=0.08)
    assert finding.difference.low < finding.difference.d < finding.difference.high < 0


@pytest.mark.parametrize("paired", [True, False])
def test_what_more_is_better_of_is_judged_as_what_it_leaves(paired: bool) -> None:
    rng = np.random.default_rng(3)
    base, cand = (((rng.random(60) < share).astype(float), np.ones(60)) for share in (0.9, 0.8))
    found = rate_difference(ArmSums(base, cand, paired=paired), POINT, better="higher")
    left = rate_difference(ArmSums(complement(base), complement(cand), paired=paired), POINT)

    assert (found.baseline, found.candidate) == pytest.approx((1 - left.baseline, 1 - left.candidate))
    assert (found.d, found.low, found.high) == (-left.d, -left.high, -left.low)
    assert (found.worse_low, found.worse_high, found.p_worse) == (left.worse_low, left.worse_high, left.p_worse)


def test_a_look_judges_what_more_is_better_of_as_what_it_leaves() -> None:
    rng = np.random.default_rng(5)
    base, cand = (((rng.random(80) < share).astype(float), np.ones(80)) for share in (0.9, 0.8))
    found = rate_seen(base, cand, POINT, "yield_rate", "higher")
    left = rate_seen(complement(base), complement(cand), POINT)

    assert (found.d, found.better) == (-left.d, -1)
    assert (found.excess, found.z, found.upper(1.64)) == (left.excess, left.z, left.upper(1.64))


def test_what_no_run_saw_fail_is_not_proved_never_to_fail(tmp_path: Path) -> None:
    west = sides_of([write(tmp_path, 1.1)])[0]
    (item,) = limit_results(parse("yield_rate", "rate>99%"), west)

    assert item.value == 1.0
    assert item.result == "inconclusive"


def test_limits_hold_on_the_right_side(sides: tuple[Side, ...]) -> None:
    west, east = sides
    more, less = parse("yield_rate", "rate>70%"), parse("yield_rate", "rate>=99.9%")

    assert [item.result for side in (west, east) for item in limit_results(more, side)] == ["pass", "fail"]
    assert [item.result for item in limit_results(less, west)] == ["fail"]


def test_a_limit_on_few_turns_is_not_decided_by_them(tmp_path: Path) -> None:
    name = run(tmp_path, Plan(sessions=30, turns=5))
    edit(tmp_path, "turns", lambda i, row: row | ({"cut_off": False} if i < 9 else {}))
    (side,) = targets_of(load_frames(name))
    (item,) = limit_results(parse("cut_off_rate", "rate<2%"), side)

    assert (item.result, item.value, item.required, item.available) == ("inconclusive", None, 10, 9)
    assert item.reason == "too few turns to decide: 0 of 9, and a rate needs 10"


@pytest.mark.parametrize(
    ("metric", "text", "said"),
    [
        ("yield_rate", "rate<90%", "more of it is better: write >"),
        ("cut_off_rate", "rate>2%", "less of it is better: write <"),
        ("yield_rate", "rate>+1pt", "write -1pt"),
        ("preamble_rate", "rate<+1pt", "no better direction"),
    ],
)
def test_what_cannot_be_asked_of_a_rate_is_refused(metric: str, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(metric, text)


def test_a_margin_of_a_rate_of_which_more_is_better_is_less() -> None:
    threshold = parse("yield_rate", "rate>-1pt")

    assert (threshold.margin, threshold.limit) == (POINT, None)
    assert better_of(threshold.question) == "higher"


def test_failures_have_the_interval_of_their_sessions_and_a_refused_session_is_one() -> None:
    summary = summary_of(Plan(sessions=40, turns=10, targets=("a", "b"), failed=0.05, refused=3))
    rates = summary.failures

    for place, rate in enumerate(rates):
        assert rate.share == summary.outcomes.failures(place)
        assert (rate.count, rate.total) == (summary.outcomes.unmet[place], summary.outcomes.wanted[place])
        assert 0 < rate.low < rate.share < rate.high < 1
    assert rates[0].high - rates[0].low > 1.5 * (rates[1].high - rates[1].low)


def test_a_run_without_a_turn_has_no_failure_rate() -> None:
    assert [rate.total for rate in summary_of(Plan(sessions=0)).failures] == []


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
