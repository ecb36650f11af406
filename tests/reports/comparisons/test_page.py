"""compare.html: badges, the answer, figures, checks, definitions; of real comparisons and of ones made by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from html import unescape
from typing import Any

import pytest
from msgspec import structs

from reports.comparisons import sentences
from reports.comparisons.comparison import Comparison
from reports.comparisons.forest_rows import panels
from reports.looks.sequence import End
from reports.question import Question
from tests.reports.comparisons.build import quick, targets, two
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


@cache
def made_html() -> str:
    return comparison_html(comparison())


@cache
def unfair_html() -> str:
    return comparison_html(comparison(checks=(UNFAIR, *CHECKS[1:])))


def judged(*verdicts: Any) -> Comparison:
    """A comparison whose primary metrics have these verdicts."""
    found = tuple(finding("ttfa", 0.5, word, ratio(600, 610, 0.98, 1.05), primary=True) for word in verdicts)
    return comparison(findings=found)


@pytest.mark.parametrize(
    ("verdicts", "badge"),
    [
        (("regressed", "improved", "inconclusive"), "✕ REGRESSED 1 of 3 primary metrics"),
        (("inconclusive", "equivalent"), "? INCONCLUSIVE 1 of 2 primary metrics"),
        (("improved", "not_regressed"), "+ IMPROVED 1 of 2 primary metrics"),
        (("not_regressed", "equivalent"), "✓ NOT REGRESSED 2 of 2 primary metrics"),
        (("equivalent",), "≈ EQUIVALENT 1 of 1 primary metric"),
    ],
)
def test_the_verdict_is_the_first_badge(verdicts: tuple[str, ...], badge: str) -> None:
    text = comparison_html(judged(*verdicts))

    assert badges(text) == [
        badge,
        "✓ VALID COMPARISON 2 checks passed",
        "◇ SIMULATED rtbench simulate, no real service",
    ]
    assert f"<title>{badge.split(' ', 1)[1].rpartition(' primary')[0].rsplit(' ', 3)[0]} · SIMULATED" in text


def test_the_answer_is_the_sentences() -> None:
    made, text = comparison(), made_html()

    assert f"<h1>{sentences.comparison_headline(made)}</h1>" in unescape(text)
    assert sentences.comparison_second(made).replace(NBSP, " ") in words(text)


def test_an_invalid_comparison_has_no_verdict_and_forbids_its_figures() -> None:
    text = unfair_html()

    assert badges(text)[0] == "✕ INVALID COMPARISON 1 of 2 checks failed"
    assert not any("REGRESSED" in badge for badge in badges(text))
    assert "Do not use these results: the run is INVALID: audio was sent late, audio was sent late." in text
    assert '<div class="alarm" role="alert"><b>What to do:</b> Run with --processes 2.</div>' in text
    assert "What to do: Run with --processes 2." in words(text)
    assert '<main class="struck">' in text
    assert '<main class="struck">' not in made_html()


def test_a_provisional_verdict_says_what_was_assumed() -> None:
    made = comparison()
    found = tuple(replace(f, verdict=replace(f.verdict, provisional=True)) for f in made.findings)
    text = comparison_html(
        replace(made, findings=found, method=structs.replace(made.method, design="sessions", run_sd=0.05))
    )

    assert "provisional" in badges(text)[0]
    assert "a spread of 5 % of latencies and 30 % of rates was assumed" in words(text)


def test_secondary_metrics_are_folded_away_with_their_drawings() -> None:
    open_, fold, folded = made_html().partition("secondary metrics</summary>")
    secondary = [row.name for panel in panels(comparison()) for row in panel.rows if not row.finding.question.primary]

    assert fold
    assert secondary
    assert open_.count('aria-label="Differences with their margins. ') < made_html().count(
        'aria-label="Differences with their margins. '
    )
    drawn = re.findall(r'aria-label="(Differences with their margins\..*?)"', open_)
    assert not any(f"; {name}: " in label or f". {name}: " in label for label in drawn for name in secondary)
    assert all(name in words(folded) for name in secondary)


def test_metrics_that_are_all_secondary_are_drawn_unfolded() -> None:
    assert "Differences with their margins. " in comparison_html(comparison(**MADE["ungated"]))


def test_the_numbers_are_those_of_the_bars() -> None:
    made, text = comparison(), words(made_html())

    for panel in panels(made):
        for row in panel.rows:
            assert row.change.replace(NBSP, " ") in text
            assert row.verdict in text
            assert row.why in text


def test_each_check_stands_with_a_text_for_each_side() -> None:
    text = words(unfair_html())

    assert "run valid ✓ VALID ✕ INVALID ✕ fail run with --processes 2" in text
    assert "throttled turns, limit 1 % 0 % 0.1 % ✓ pass" in text
    assert "what differs gateway 1.8.4 gateway 1.9.0 – informational" in text


def test_every_figure_and_verdict_has_its_definition() -> None:
    text = made_html()

    for name in (
        "ttfa",
        "failure_rate",
        "regressed",
        "not-regressed",
        "equivalent",
        "improved",
        "inconclusive",
        "margin",
    ):
        assert f'<dt id="def-{name}">' in text
        assert f'<a class="d" href="#def-{name}">' in text


def test_the_method_is_enough_to_compute_it_again() -> None:
    text = words(made_html())

    assert "Seed 7, 10,000 resamples of pairs (60), 95 % confidence one-sided, Holm over 3 primary metrics." in text
    assert "Definitions of metrics: version 1." in text


def test_few_turns_have_no_difference_by_percentile() -> None:
    text = words(comparison_html(comparison(**MADE["few turns"])))

    assert "Not shown: fewer than 20 turns of a target lie beyond its median." in text
    assert "Which turns got slower?" not in words(comparison_html(comparison(**MADE["all failed"])))


def test_a_decision_is_the_verdict_and_shows_its_path() -> None:
    text = comparison_html(replace(judged("inconclusive"), decision=decision()))

    assert badges(text)[0] == "✕ SLOWER analysis 3 of 5"
    headline = "gateway is slower than direct: one turn in twenty takes longer than 2.35 s, 47 % more than on direct"
    assert f"<h1>{headline} (ttfa p95).</h1>" in unescape(text).replace(NBSP, " ")
    assert "When was it decided?" in text
    assert "Stopped at analysis 3 of 5, at 150 pairs." in words(text)
    assert "When was it decided?" not in comparison_html(judged("inconclusive"))


@pytest.mark.parametrize(
    ("reason", "word"), [("pending", "? PENDING"), ("futility", "? INCONCLUSIVE"), ("not_regressed", "✓ NOT")]
)
def test_a_decision_without_an_alarm_says_how_it_stands(reason: End, word: str) -> None:
    assert badges(comparison_html(replace(judged("equivalent"), decision=decision(reason=reason))))[0].startswith(word)


def test_a_decision_does_not_outvote_an_unfair_comparison() -> None:
    text = comparison_html(comparison(checks=(UNFAIR,), decision=decision()))

    assert badges(text)[0].startswith("✕ INVALID COMPARISON")
    assert "<h1>Do not use" in text


@pytest.mark.parametrize(
    ("named", "asked"), [(("direct", "gateway"), None), (("a", "b", "c", "d", "e", "f"), [findings()[0].question])]
)
def test_an_interleaved_run_has_a_page(named: tuple[str, ...], asked: list[Question] | None) -> None:
    plan = Plan(sessions=20 * len(named), turns=5, targets=named, paired=True, failed=0.01, seconds=600)

    assert re.search(r"\bVALID COMPARISON", comparison_html(quick(targets(plan), questions=asked)))


def test_two_runs_have_a_page() -> None:
    text = comparison_html(quick(two()))

    assert "resamples of sessions" in words(text)
    assert "provisional" in badges(text)[0]


def test_what_was_compared_is_counted_in_whole_arms() -> None:
    """A run of typed and of spoken turns was said to have the sessions of the first figure alone."""
    sides = targets(Plan(sessions=120, turns=10, targets=("west", "east"), kinds=("typed", "vad"), paired=True))
    said = words(comparison_html(quick(sides)))

    assert "60 sessions and 600 turns per target" in said


def test_arms_of_different_sizes_are_each_counted() -> None:
    sides = two(Plan(sessions=30, turns=4), Plan(sessions=25, turns=4))

    assert "30 and 25 sessions, 120 and 100 turns" in words(comparison_html(quick(sides)))
