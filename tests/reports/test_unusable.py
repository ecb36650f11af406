"""A run that may not be used is called so in the same words, wherever it is looked at, and each reason stands once."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from reports.comparisons import outputs
from reports.comparisons import sentences as compare_sentences
from reports.comparisons.comparison import Comparison, compared
from reports.gate import outputs as check_comment
from reports.gate import outputs as check_text
from reports.gate import sentences as check_sentences
from reports.gate.check import checked
from reports.gate.items import Checked
from reports.numbers import NBSP
from reports.sides.side import sides_of
from tests.reports import shared, synthetic
from tests.reports.edited import edit
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


def test_what_is_true_of_one_arm_is_said_of_that_arm_alone(tmp_path: Path) -> None:
    """The candidate alone was throttled; the baseline is not named."""
    synthetic.write(tmp_path, PAIRS, interleaved=True)
    edit(tmp_path, "turns", lambda _, row: row | ({"outcome": "throttled:response"} if row["target"] == "new" else {}))
    comparison, check = compared(sides_of([tmp_path]), draws=200), checked(tmp_path)
    said = "new: 100 % was throttled, the limit is 1 %"

    assert [cause.text.replace(NBSP, " ") for cause in comparison.causes] == [said]
    assert check_sentences.check_headline(check).replace(NBSP, " ").startswith(f"Do not use these results: {said}")
    assert outputs.badges_of(comparison)[0][0] == check_sentences.check_badges(check)[0] == "✕ INVALID COMPARISON"
