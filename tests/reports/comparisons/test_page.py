"""compare.html: badges, the answer, figures, checks, definitions; of real comparisons and of ones made by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from typing import Any

import pytest

from reports.comparisons.comparison import Comparison
from reports.looks.sequence import End
from tests.reports.comparisons.build import quick, targets
from tests.reports.comparisons.invented import (
    CHECKS,
    UNFAIR,
    comparison,
    decision,
    finding,
    findings,
    points,
    ratio,
    sides,
)
from tests.reports.forms import comparison_html
from tests.reports.synthetic import Plan

NBSP = "\u00a0"
MADE: dict[str, Any] = {
    "verdicts": {},
    "invalid": {"checks": (UNFAIR, *CHECKS[1:])},
    "nothing": {"findings": (), "checks": ()},
    "ungated": {"findings": findings()[3:]},
    "rates alone": {"findings": (finding("failure_rate", None, "equivalent", points(0, 0, 0, 0), primary=True),)},
    "few turns": {"sides": sides("direct", "gateway", sessions=2)},
    "all failed": {"sides": sides("direct", "gateway", failed=1.0)},
    "notices": {"notices": ("2 pairs were not whole and do not count.",), "simulated": False},
}


def words(text: str) -> str:
    """What a reader sees: without elements, with plain spaces."""
    body = re.sub(r"<(style|script)>.*?</\1>", "", text, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).replace(NBSP, " ").split())


def badges(text: str) -> list[str]:
    return [words(found) for found in re.findall(r'<span class="badge.*?</span>', text)]


def judged(*verdicts: Any) -> Comparison:
    """A comparison whose primary metrics have these verdicts."""
    found = tuple(finding("ttfa", 0.5, word, ratio(600, 610, 0.98, 1.05), primary=True) for word in verdicts)
    return comparison(findings=found)


def test_few_turns_have_no_difference_by_percentile() -> None:
    text = words(comparison_html(comparison(**MADE["few turns"])))

    assert "Not shown: fewer than 20 turns of a target lie beyond its median." in text
    assert "Which turns got slower?" not in words(comparison_html(comparison(**MADE["all failed"])))


@pytest.mark.parametrize(
    ("reason", "word"), [("pending", "? PENDING"), ("futility", "? INCONCLUSIVE"), ("not_regressed", "✓ NOT")]
)
def test_a_decision_without_an_alarm_says_how_it_stands(reason: End, word: str) -> None:
    assert badges(comparison_html(replace(judged("equivalent"), decision=decision(reason=reason))))[0].startswith(word)


def test_a_decision_does_not_outvote_an_unfair_comparison() -> None:
    text = comparison_html(comparison(checks=(UNFAIR,), decision=decision()))

    assert badges(text)[0].startswith("✕ INVALID COMPARISON")
    assert "<h1>Do not use" in text


def test_what_was_compared_is_counted_in_whole_arms() -> None:
    """A run of typed and of spoken turns was said to have the sessions of the first figure alone."""
    sides = targets(Plan(sessions=120, turns=10, targets=("west", "east"), kinds=("typed", "vad"), paired=True))
    said = words(comparison_html(quick(sides)))

    assert "60 sessions and 600 turns per target" in said
