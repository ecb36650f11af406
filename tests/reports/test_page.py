"""report.html, report.md and the terminal: structure, escaping, sentences."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

import reports
from bench.metrics import STARVED
from reports.page import calls, sections
from reports.text.document import write_report
from reports.wording import words
from reports.wording.sentences import run_headline, run_second
from reports.wording.validity import ended_as
from reports.wording.words import cell
from tests.reports import synthetic
from tests.reports.forms import section_html
from tests.reports.shared import page_of, summary_of
from tests.reports.synthetic import Plan

TWO = Plan(sessions=120, turns=10, targets=("direct", "gateway"), failed=0.02, seconds=300, warmup_s=40)
TWO_ORIGINS = Plan(sessions=20, kinds=("vad", "typed"))
PLANS = {
    "small": Plan(),
    "failure_rate": Plan(failed=1.0),
    "one": Plan(sessions=1, turns=1),
    "refused": Plan(sessions=0, refused=3),
    "nothing": Plan(sessions=0),
    "text": Plan(text=True, tls=False),
    "two": TWO,
    "five": Plan(sessions=50, targets=("a", "b", "c", "d", "e"), failed=0.1),
    "manual": Plan(sessions=20, kinds=("manual",)),
    "mixed": Plan(sessions=30, kinds=("vad", "typed", "manual"), targets=("a", "b"), early=40, unattributed_commits=3),
    "arms": Plan(
        sessions=30,
        targets=("a", "b", "a.f"),
        failed=0.1,
        seconds=200,
        paired=True,
        usage=True,
        limited=True,
        proxied=("b",),
        auth_waits=2,
    ),
    "many turns": Plan(sessions=100, turns=15, failed=0.01, seconds=200),
}
NBSP = "\u00a0"


def figures(page: str) -> list[ET.Element]:
    """The drawings of a page, each parsed as XML."""
    return [ET.fromstring(text) for text in re.findall(r"<svg.*?</svg>", page, re.S)]


def test_a_figure_does_not_grow_with_the_turns() -> None:
    """Beyond the numbers of turns and sessions that are drawn one by one."""
    sizes = [len(page_of(Plan(sessions=n, turns=3, seconds=600))) for n in (2100, 4200)]

    assert sizes[1] == pytest.approx(sizes[0], rel=0.03)


def test_marks_stay_inside_their_figure() -> None:
    for figure in figures(page_of(TWO)):
        width, height = float(figure.get("width", 0)), float(figure.get("height", 0))
        for mark in figure.iter():
            if mark.tag.endswith("circle"):
                assert 0 <= float(mark.get("cx", 0)) <= width
                assert 0 <= float(mark.get("cy", 0)) <= height


def test_the_headline_says_how_far_inexact_figures_can_be_off() -> None:
    check = {"name": "timestamp_uncertainty", "value": 446.0, "limit": 6.05, "unit": "ms", "result": "fail",
             "note": "transcript_first", "remedy": ""}  # fmt: skip
    summary = summary_of(Plan(), validity={"status": "invalid", "checks": [check]})

    assert run_headline(summary) == (
        "Do not use these results: the load generator fell behind incoming data, and transcript_first may be off by "
        f"446{NBSP}ms (p99; limit 6.05{NBSP}ms)."
    )


def test_what_helps_against_several_broken_rules_is_said_once() -> None:
    (rule,) = summary_of(Plan(valid=False)).validity.failed
    other = structs.replace(rule, remedy="start fewer sessions")

    assert [said for _, said in words.with_remedies([rule, structs.replace(rule), other])] == [
        "", f"{rule.remedy}.", "start fewer sessions.",
    ]  # fmt: skip


FOLD = re.compile(r"<details(?! open)[^>]*>(?:(?!<details).)*?</details>", re.S)
"""A fold without a fold in it."""


def test_a_document_with_next_to_nothing_is_enough(tmp_path: Path) -> None:
    folder = synthetic.write_killed(tmp_path, Plan(sessions=10))
    paths = write_report(reports.load(folder))

    assert [path.name for path in paths] == ["report.html", "report.md", "summary.json"]
    assert "no verdict" in paths.markdown.read_text().lower()


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (Plan(),
         "Callers hear the reply 674 ms after they stop speaking (median voice_to_voice). The largest part of the "
         "median, 331 ms, is the service generating its first audio."),
        (TWO,
         "Callers hear the reply 0.69 s on direct and 0.79 s on gateway after they stop speaking "
         "(median voice_to_voice); one turn in twenty takes longer than "),
        (Plan(kinds=("manual",)), "Callers hear the reply 676 ms after they stop speaking (median voice_to_voice). "),
        (Plan(kinds=("typed",)), "The first audio of the reply comes "),
        (Plan(sessions=40, kinds=("vad", "typed")),
         "Callers hear the reply 805 ms after they stop speaking (median voice_to_voice). "),
        (Plan(sessions=8, turns=2, kinds=("vad", "typed")),
         "Too few sessions for a median (8 turns in 8 sessions; it takes 9 sessions); their first audio came "),
        (Plan(text=True, sessions=60), "The first text of the reply comes "),
        (Plan(failed=1.0), "All turns failed: 40 of 40."),
        (Plan(sessions=40, failed=0.6), "Half of the turns or more failed: "),
        (Plan(sessions=1, turns=1),
         "Too few sessions for a median (1 turn in 1 session; it takes 6 sessions); its first audio came 505 ms "),
        (Plan(sessions=0, refused=3), "No turn started: 3 sessions ended as connect_failed:401."),
        (Plan(sessions=0), "This run holds no turns and no sessions."),
        (Plan(warmup_s=60, valid=None),
         "Nothing was measured: the warm-up of 1 min took all 40 turns: no session started after it; "
         "run longer, or with --warmup 0."),
        (Plan(sessions=1, turns=2, abandoned=2), "None of the turns came to an end: 2 were cut by the end of the run."),
    ],
)  # fmt: skip
def test_the_answer_is_a_sentence(plan: Plan, sentence: str) -> None:
    assert run_headline(summary_of(plan)).replace(NBSP, " ").startswith(sentence)


def test_turns_that_were_starved_are_not_said_to_have_been_cut_by_the_end_of_the_run() -> None:
    summary = summary_of(Plan(abandoned=2))
    turns = (replace(e, outcome=STARVED) if e.outcome == "unfinished" else e for e in summary.outcomes.turns)
    summary.__dict__["outcomes"] = replace(summary.outcomes, turns=tuple(turns))
    said = run_second(summary)

    assert "2 were left out, because the load generator did not run when a limit ended" in said
    assert "cut by the end" not in said


def test_how_many_ended_as_what_is_said_where_there_are_several_outcomes() -> None:
    assert ended_as({"connect_failed:401": 3}).replace(NBSP, " ") == "3 sessions ended as connect_failed:401"
    said = ended_as({"connect_failed:401": 3, "connect_failed:dns": 2}).replace(NBSP, " ")
    assert said == "5 sessions ended as 3 × connect_failed:401 and 2 × connect_failed:dns"


def test_a_cell_says_why_there_is_no_figure() -> None:
    small = summary_of(Plan()).answers[0].figures
    failing = summary_of(Plan(sessions=60, turns=10, failed=0.08)).answers[0].figures

    assert cell(small, 0.99) == ("n/a", f"10{NBSP}sessions; needs 225")
    assert cell(failing, 0.95).figure == "∞"
    assert re.fullmatch(r"\d+ of 600 failed; successes [\d,]+", cell(failing, 0.95).below)


def test_a_run_of_failures_shows_when_they_happened() -> None:
    page = page_of(Plan(failed=1.0))

    assert "When did turns fail?" in page
    assert "Dots: turns" not in page
    assert 'class="pane' not in page


def test_few_turns_are_dots_and_many_are_shades() -> None:
    few, many = (section_html(sections.time(summary_of(PLANS[name]))) for name in ("small", "many turns"))

    assert few.count('class="speck s0"') == 40
    assert 'class="cell s0 k5"' in many
    assert 'class="speck s0"' not in many


def test_what_only_some_readers_need_is_folded_and_all_the_rest_is_not() -> None:
    page = page_of(TWO)
    unfolded = FOLD.sub("", FOLD.sub("", page))  # of folds in a fold the inner ones first

    for text in ('id="def-ttfa"', "<dt>scripts", "connect_upgrade</a>", "wire_sent</a>", "timestamp_uncertainty</a>"):
        assert text not in unfolded, text
    for text in ('class="answer', "sessions with any failure", 'id="how"', "<b>Throughput</b>", "<b>Next</b>"):
        assert text in unfolded, text
    assert "timestamp_uncertainty</a>" in FOLD.sub("", FOLD.sub("", page_of(Plan(valid=False))))


def test_of_each_group_of_tabs_one_is_chosen() -> None:
    """Radio buttons of one name are one group: of two figures with tabs one would show nothing."""
    page = page_of(TWO_ORIGINS)
    chosen = Counter[str](re.findall(r'type="radio" name="([^"]+)" value="[^"]+" checked', page))

    assert sum(name.startswith("slow") for name in chosen) == 2
    assert set(chosen.values()) == {1}


def test_only_the_first_table_of_slow_turns_is_unfolded() -> None:
    section = section_html(calls.slowest(summary_of(PLANS["mixed"])))

    assert section.count("<table") > 1
    assert section.count("<summary>The slowest by ") == len(re.findall('class="pane slow-[0-9]+-all"', section)) - 1
