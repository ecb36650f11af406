"""What compare, check and decide say alike: of runs that may not be used, and of one difference."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from reports.comparisons import outputs
from reports.comparisons import sentences as compare_sentences
from reports.comparisons.comparison import Comparison, compared
from reports.finding import Arm, Finding
from reports.finding_rows import row
from reports.gate import outputs as check_comment
from reports.gate import outputs as check_text
from reports.gate import sentences as check_sentences
from reports.gate.check import checked
from reports.gate.items import Checked, compared_item
from reports.gate.sentences import interval_text, limit_text
from reports.numbers import NBSP, change, ms, three
from reports.question import Question, Stratum
from reports.sides.side import sides_of
from reports.statistics.differences import Margin, estimated
from reports.statistics.verdicts import Verdict
from reports.summary.drift import PoolDrift
from reports.wording import verdicts
from reports.wording.remarks import drift_suspected
from reports.wording.words import interval
from tests.reports import shared, synthetic
from tests.reports.forms import comparison_html, comparison_markdown
from tests.reports.synthetic import Plan

pytestmark = pytest.mark.usefixtures("few_draws")


PAIRS = Plan(sessions=80, turns=5, targets=("old", "new"), paired=True)


LATE = "audio was sent late (send_delay p99 14.2 ms, limit 10 ms"


RULE = f"Do not use these results: the run is INVALID: {LATE}"


@cache
def both(plan: Plan) -> tuple[Comparison, Checked]:
    """The targets of one run, compared and checked."""
    folder = synthetic.write(shared.folder(), plan, interleaved=True)
    return compared(sides_of([folder])), checked(folder)


def plain(said: str) -> str:
    return " ".join(re.sub(r"<(style|svg|script).*?</\1>|<title>.*?</title>|<[^>]+>", " ", said, flags=re.S).split())


@pytest.mark.parametrize(
    ("changes", "begins", "mark"),
    [
        ({"valid": False}, RULE, "✕ INVALID"),
        ({"valid": None}, "Do not use these results: the run has no verdict: ", "? NO VERDICT"),
        (
            {"valid": None, "warmup_s": 60.0},
            "Do not use these results: the run has no verdict: the warm-up of 1 min took all 400 turns",
            "? NO VERDICT",
        ),
    ],
)
def test_compare_and_check_say_the_same_of_a_run_that_may_not_be_used(
    changes: dict[str, Any], begins: str, mark: str
) -> None:
    comparison, check = both(replace(PAIRS, **changes))
    reason = compare_sentences.comparison_headline(comparison).rstrip(".")
    headline = check_sentences.check_headline(check)

    assert reason.replace(NBSP, " ").startswith(begins)
    assert headline.startswith(reason)
    assert check_sentences.check_badges(check)[0] == outputs.badges_of(comparison)[0][0] == mark
    assert (comparison.exit_status, check.exit_status) == (4, 4)


def test_compare_and_check_of_one_run_say_the_same_headline() -> None:
    comparison, check = both(PAIRS)

    assert check_sentences.check_headline(check) == compare_sentences.comparison_headline(comparison).rstrip(".")


def test_a_reason_stands_once_in_every_output() -> None:
    comparison, check = both(replace(PAIRS, valid=False))
    texts = {
        "compare": outputs.comparison_text(comparison),
        "compare.md": comparison_markdown(comparison).replace("\\", ""),
        "compare.html": plain(comparison_html(comparison)),
        "check": check_text.check_text(check),
        "check.md": check_comment.check_markdown(check).replace("\\", ""),
    }

    assert {name: " ".join(said.split()).count(LATE) for name, said in texts.items()} == dict.fromkeys(texts, 1)
    assert {name: "– not evaluated" in said for name, said in texts.items()} == dict.fromkeys(texts, True)


ENOUGH = Arm(4000, 200, 10), Arm(4000, 200, 12)


OPEN = math.inf


def plain_of_words_of_differences(text: str) -> str:
    return text.replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("question", "d", "low", "high", "apart", "ends", "margin"),
    [
        (Question("ttfa", "quantile", Margin(plus=1500), 0.95), 1.65, 1.47, 1.87, "+65 %", "+47 to +87 %", "1,500 ms"),
        (
            Question("ttfa", "quantile", Margin(0.2, plus=30), 0.5, stratum=Stratum("speech_end")),
            *(0.96, 0, 1.12, "−4 %", "up to +12 %", "20 % and 30 ms"),
        ),
        (Question("audio_speed", "mean", Margin(1 / 0.9 - 1)), 0.9, 0.8, 1.01, "−10 %", "−20 to +1 %", "10 %"),
        (Question("ttfa", "quantile", Margin(0.2), 0.9), 1.1, 0, OPEN, "+10 %", "unbounded", "20 %"),
    ],
)
def test_a_ratio_reads_the_same_wherever_it_is_told(
    question: Question, d: float, low: float, high: float, apart: str, ends: str, margin: str
) -> None:
    logs = [math.log(end) if 0 < end < OPEN else (end or -OPEN) for end in (d, low, high)]
    _alike(question, (1000, 1000 * d), logs, apart, ends, margin)


def test_a_rate_reads_the_same_wherever_it_is_told() -> None:
    question = Question("failure_rate", "rate", Margin(points=0.01))

    _alike(question, (0.01, 0.022), [0.012, -0.0005, 0.0246], "+1.20 points", "−0.05 to +2.46", "1 point")


def _alike(question: Question, values: tuple[float, float], d: list[float], apart: str, ends: str, margin: str) -> None:
    difference = estimated(verdicts.scale_of(question), *values, *d)
    finding = Finding(question, "new", difference, Verdict("not_regressed"), ENOUGH)
    compared, item = row(finding, 1), compared_item("as written", finding)

    assert (plain_of_words_of_differences(compared.told), plain_of_words_of_differences(compared.margin_text)) == (
        f"{apart} ({ends})",
        margin,
    )
    assert plain_of_words_of_differences(interval_text(item)) == f"{apart} ({ends})"
    assert plain_of_words_of_differences(limit_text(item)).replace("+", "").removeprefix("−") == margin
    assert item.title == verdicts.figure(question)


@pytest.mark.parametrize(
    ("low", "high", "write", "said"),
    [
        (969.2, 1010, three, "969 to 1,010"),
        (462, 501, ms, "462 to 501 ms"),
        (640, 1240, ms, "640 ms to 1.24 s"),
        (-math.inf, 501, ms, "up to 501 ms"),
        (462, None, ms, "from 462 ms, no upper bound"),
        (-math.inf, math.inf, ms, "unbounded"),
        (0.93, 1.18, change, "−7 to +18 %"),
    ],
)
def test_an_interval_has_its_unit_once_and_says_where_it_has_no_end(
    low: float | None, high: float | None, write: Callable[[float], str], said: str
) -> None:
    assert plain_of_words_of_differences(interval(low, high, write)) == said


@pytest.mark.parametrize(("low", "high", "said"), [(1.02, 1.18, "+2 to +18 %"), (0.0, 1.18, "up to +18 %")])
def test_a_drift_is_told_as_any_other_difference(low: float, high: float, said: str) -> None:
    found = PoolDrift("ttfa", "speech_end", "", "sim", True, 1.1, low, high, label="sim")

    assert f"sim +10 % ({said})" in plain_of_words_of_differences(drift_suspected([found]))


def test_a_metric_that_does_not_begin_with_the_response_is_of_turns_that_do() -> None:
    question = Question("voice_to_voice", "quantile", Margin(0.1), 0.5, stratum=Stratum("request_sent"))

    assert verdicts.figure(question) == "voice_to_voice p50 of turns from request sent"


def test_nothing_left_of_a_wait_is_no_timeout() -> None:
    gone = estimated("ratio", 120.0, 0.0, -math.inf, -math.inf, -math.inf)
    ended = estimated("ratio", math.inf, 300.0, -math.inf, -math.inf, -math.inf)

    assert plain_of_words_of_differences(verdicts.difference(gone)) == "−100 %"
    assert plain_of_words_of_differences(verdicts.difference(ended)) == "was ∞"
