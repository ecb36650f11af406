"""report.html, report.md and the terminal: structure, escaping, sentences."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

import reports
from bench.metrics import STARVED
from reports.page import calls, sections
from reports.page.page import run_page as page_as_data
from reports.text.document import write_report
from reports.text.terminal import report_text
from reports.wording import words
from reports.wording.sentences import next_step, run_headline, run_second
from reports.wording.validity import ended_as
from reports.wording.words import cell
from tests.reports import synthetic
from tests.reports.forms import run_html, section_html
from tests.reports.shared import markdown_of, page_of, summary_of
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


def test_every_figure_is_drawn_once_and_can_be_scrolled() -> None:
    page = page_of(TWO)
    drawn = [figure for figure in figures(page) if figure.get("class") == "figure"]
    labels = [figure.get("aria-label") for figure in drawn]

    assert page.count('<div class="pan"><svg class="figure"') == len(drawn) >= 7
    assert len(set(labels)) == len(labels)


def test_each_question_of_a_caller_has_its_figure() -> None:
    labels = {figure.get("aria-label", "").split(".")[0] for figure in figures(page_of(TWO))}

    assert {
        "Histogram of ttfa from end of speech",
        "Percentile curve of ttfa from end of speech",
        "ttfa over time",
        "Breakdown of voice_to_voice",
        "Speech timeline",
        "ttfa by step",
        "ttfa by turn number in the session",
        "ttfa by age of the session at the turn’s start",
    } <= labels


def test_a_figure_does_not_grow_with_the_turns() -> None:
    """Beyond the numbers of turns and sessions that are drawn one by one."""
    sizes = [len(page_of(Plan(sessions=n, turns=3, seconds=600))) for n in (2100, 4200)]

    assert sizes[1] == pytest.approx(sizes[0], rel=0.03)


def test_a_run_says_how_its_waits_scatter() -> None:
    summary = summary_of(TWO)

    assert [figures.target for figures, _ in summary.spreads] == ["direct", "gateway"]
    assert all(0.3 < spread.sigma < 0.8 and 0 < spread.icc < 1 for _, spread in summary.spreads)
    assert '<dt id="def-sigma">' in page_of(TWO)
    assert "How latencies scatter" in markdown_of(TWO)


def test_marks_stay_inside_their_figure() -> None:
    for figure in figures(page_of(TWO)):
        width, height = float(figure.get("width", 0)), float(figure.get("height", 0))
        for mark in figure.iter():
            if mark.tag.endswith("circle"):
                assert 0 <= float(mark.get("cx", 0)) <= width
                assert 0 <= float(mark.get("cy", 0)) <= height


def test_an_invalid_run_forbids_its_figures() -> None:
    summary, page = summary_of(Plan(valid=False)), page_of(Plan(valid=False))

    assert run_headline(summary) == "Do not use these results: the load generator could not keep up."
    assert "Check failed: audio was sent late" in page
    assert f"send_delay p99 14.2{NBSP}ms, limit 10{NBSP}ms" in page
    assert '<table class="answer struck" role="table">' in page
    assert "INVALID" in report_text(summary)
    markdown = markdown_of(Plan(valid=False))
    assert markdown.startswith("### ✕ Do not use these results")
    assert "~~" in markdown


def test_the_figure_and_the_limit_of_a_rule_stand_before_what_to_do() -> None:
    """What to do is long, and would push them off the page."""
    (rules,) = [each for each in re.findall(r"<thead.*?</thead>", page_of(Plan(valid=False)), re.S)
                if ">limit<" in each]  # fmt: skip

    assert re.findall(r">(\w+)</th>", rules) == ["check", "value", "limit", "used", "result"]


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


HOST = {"name": "red", "workers": 1, "kernel": "Linux", "clock_offset_ns": None, "clock_offset_uncertainty_ns": None}
TAKEN = {
    "cores": 4, "load_start": 7.2, "load_end": 14.6, "this_run": 0.031, "all_programs": 0.641, "steal": 0.12,
    "total_max": 0.998, "steal_max": 0.2,
}  # fmt: skip
UNTOLD = dict.fromkeys(TAKEN) | {"cores": 8, "load_end": 3.0}
FOLD = re.compile(r"<details(?! open)[^>]*>(?:(?!<details).)*?</details>", re.S)
"""A fold without a fold in it."""


@pytest.mark.parametrize(
    ("processors", "said"),
    [
        (TAKEN, "load 7.2 to 14.6 on 4 cores; other programs had 61 % of them (the simulator among them, where it ran "
                "here), this run 3.1 %, the hypervisor took 12 % (20 % in its worst seconds); in the worst seconds all "
                "together had 99.8 %."),
        (UNTOLD, "load 3 on 8 cores; who had them is not known on this system."),
    ],
)  # fmt: skip
def test_an_invalid_run_says_first_who_else_had_the_machine(processors: dict[str, Any], said: str) -> None:
    """In every form; a valid one keeps it for programs."""
    changes = {"hosts": [HOST | {"cpu_use": processors}]}
    few = Plan(sessions=2, turns=1)
    summary = summary_of(replace(few, valid=False), **changes)
    told, paths = f"{said[:1].upper()}{said[1:]}", write_report(summary)
    terminal, page, markdown = (
        " ".join(text.split()) for text in (report_text(summary), paths.html.read_text(), paths.markdown.read_text())
    )

    assert terminal.index(told) < terminal.index("Check failed")
    assert page.index(told) < page.index("Throughput")
    assert markdown.index(told) < markdown.index("Throughput")
    (machine,) = json.loads(paths.json.read_text())["machines"]
    others = None if processors["this_run"] is None else pytest.approx(0.61)
    assert machine == {"host": "red", "other_programs": others} | processors
    assert "\nmachine " not in report_text(summary_of(few, **changes))


def test_a_run_that_was_not_judged_says_why() -> None:
    summary = summary_of(Plan(sessions=2, turns=1), validity=None, state="killed")

    assert "NO VERDICT" in run_html(summary)
    assert "Not judged: the run was killed before it was judged." in run_second(summary)


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


def test_what_went_wrong_is_counted() -> None:
    said = run_second(summary_of(Plan(refused=3, failed=0.15, abandoned=2))).replace(NBSP, " ")

    assert said == (
        "17 of 50 planned turns failed (34 %): 5 of those started, most often as timeout:first_delta (3); "
        "12 not started, their sessions ended as connect_failed:401. 2 were cut by the end of the run and left out."
    )


def test_turns_that_were_starved_are_not_said_to_have_been_cut_by_the_end_of_the_run() -> None:
    summary = summary_of(Plan(abandoned=2))
    turns = (replace(e, outcome=STARVED) if e.outcome == "unfinished" else e for e in summary.outcomes.turns)
    summary.__dict__["outcomes"] = replace(summary.outcomes, turns=tuple(turns))
    said = run_second(summary)

    assert "2 were left out, because the load generator did not run when a limit ended" in said
    assert "cut by the end" not in said


def test_what_the_headline_has_counted_is_not_said_twice() -> None:
    every = summary_of(Plan(failed=1.0))
    cut = summary_of(Plan(sessions=1, turns=2, abandoned=2))

    assert run_second(every).startswith("Most often as ")
    assert "failed" not in run_second(cut)
    assert run_second(summary_of(Plan(failed=1.0, valid=False))).startswith("40 of 40")


def test_each_head_says_what_its_metric_counts_from() -> None:
    """A run of VAD turns and one of manual turns must not look comparable."""
    for plan, heads in (
        (Plan(), ["from end of speech"]),
        (PLANS["manual"], ["from request sent"]),
        (TWO_ORIGINS, ["from request sent", "from end of speech"]),
    ):
        summary, page = summary_of(plan), page_of(plan)
        terminal = report_text(summary).splitlines()
        above = [
            next(line for line in reversed(terminal[:at]) if line.endswith(", ms"))
            for at, line in enumerate(terminal)
            if line.startswith("  ttfa ")
        ]
        assert [line.removeprefix("sim, ") for line in above] == [f"{head}, ms" for head in heads]
        table = markdown_of(plan).partition("<details>")[0]
        rows = [table.index(f"| ttfa {head} ") for head in heads]
        assert rows == sorted(rows)
        assert all(f'<h3 class="gap">ttfa {head}</h3>' in page for head in heads)


def test_the_metrics_that_matter_stand_in_one_table_with_one_scale() -> None:
    """A row for each metric of one target; of several a row for each target below each metric."""
    for plan, rows in ((TWO_ORIGINS, 5), (replace(TWO_ORIGINS, targets=("direct", "gateway")), 10)):
        page = page_of(plan)
        (table,) = re.findall(r'<table class="answer.*?</table>', page, re.S)
        heads = re.findall(r"<th[^>]*>.*?(ttfa|transcript_first|voice_to_voice)</a>", table)

        assert heads == ["voice_to_voice", "ttfa", "transcript_first", "ttfa", "transcript_first"]
        assert table.count('class="big') == 4 * rows  # no p99: nobody has one
        assert len(re.findall(r'<svg class="strip" viewBox="0 0 \d+ 16"', page)) == 1


def test_how_many_ended_as_what_is_said_where_there_are_several_outcomes() -> None:
    assert ended_as({"connect_failed:401": 3}).replace(NBSP, " ") == "3 sessions ended as connect_failed:401"
    said = ended_as({"connect_failed:401": 3, "connect_failed:dns": 2}).replace(NBSP, " ")
    assert said == "5 sessions ended as 3 × connect_failed:401 and 2 × connect_failed:dns"


def test_what_a_reader_does_next_is_said_of_what_the_run_lacks() -> None:
    few, two, bad = summary_of(Plan()), summary_of(TWO), summary_of(Plan(valid=False))
    fewer, failed = summary_of(Plan(sessions=4, turns=4)), summary_of(Plan(failed=1.0))

    assert re.match(r"For p95 play `--sessions \d+` or more\. `rtbench check ", next_step(few))
    assert next_step(two).startswith("`rtbench compare ")
    assert next_step(bad) == next_step(failed) == ""
    assert next_step(fewer) == "For a median play `--sessions 6` or more, for p95 play `--sessions 45` or more."


def test_segments_say_what_of_them_is_a_setting_and_what_may_be_compared() -> None:
    for text in (page_of(Plan()), markdown_of(Plan()).replace("\\_", "_")):
        said = text.replace(NBSP, " ")
        assert "End-of-turn detection (VAD) contains the 500 ms of silence_duration_ms that the script sets." in said
        assert (
            "Leading silence + jitter buffer is the jitter buffer of 60 ms and the reply’s own opening silence." in said
        )
        assert "ttfa cannot be compared" in said


def test_the_ids_of_a_slow_turn_may_be_cut_nowhere() -> None:
    summary, page = summary_of(Plan()), page_of(Plan())

    for slow in summary.slowest:
        for name in filter(None, (slow.session, slow.request, slow.response, slow.service_session, slow.event_log)):
            assert f"<code>{name}</code>" in page


def test_a_cell_says_why_there_is_no_figure() -> None:
    small = summary_of(Plan()).answers[0].figures
    failing = summary_of(Plan(sessions=60, turns=10, failed=0.08)).answers[0].figures

    assert cell(small, 0.99) == ("n/a", f"10{NBSP}sessions; needs 225")
    assert cell(failing, 0.95).figure == "∞"
    assert re.fullmatch(r"\d+ of 600 failed; successes [\d,]+", cell(failing, 0.95).below)


def test_the_terminal_keeps_its_width_and_colours_on_demand() -> None:
    summary = summary_of(TWO)
    for width in (60, 80, 100):
        lines = report_text(summary, width).splitlines()
        assert all(len(line) <= width for line in lines)
    assert "\x1b[" not in report_text(summary)
    coloured = report_text(summary, colour=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == report_text(summary)


def test_the_terminal_shows_the_answer() -> None:
    text = report_text(summary_of(TWO))

    assert "✓ VALID     ◇ SIMULATED" in text
    assert re.search(r"● direct +\d+ +\d+ \([\d,]+–[\d,]+\)", text)
    assert "outcomes        ok " in text
    assert "load generator  timestamps may be off by 0.11 ms (p99; limit 6.2 ms)" in text


def test_markdown_folds_its_detail() -> None:
    text = markdown_of(TWO)

    assert text.startswith("### ✓ Callers hear the reply")
    assert text.splitlines()[1].startswith(
        "**✓ VALID RUN** the load generator kept up · **◇ SIMULATED** rtbench simulate"
    )
    assert text.split("<details>")[0].count("\n| ") == 10
    told = page_as_data(summary_of(TWO)).sections
    assert {s.anchor for s in told if f"<summary>{s.heading}</summary>" not in text} == {"along", "distribution", "how"}
    assert text.count("<details") == text.count("</details>")


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


def test_settings_and_definitions_are_on_the_page() -> None:
    page = page_of(Plan())

    assert "Settings of this run" in page
    assert "packages locust 2.47" in page
    assert '<dt id="def-ttfa">ttfa</dt><dd>Time to first audio delta: from the turn&#39;s origin' in page


def test_what_only_some_readers_need_is_folded_and_all_the_rest_is_not() -> None:
    page = page_of(TWO)
    unfolded = FOLD.sub("", FOLD.sub("", page))  # of folds in a fold the inner ones first

    for text in ('id="def-ttfa"', "<dt>scripts", "connect_upgrade</a>", "wire_sent</a>", "timestamp_uncertainty</a>"):
        assert text not in unfolded, text
    for text in ('class="answer', "sessions with any failure", 'id="how"', "<b>Throughput</b>", "<b>Next</b>"):
        assert text in unfolded, text
    assert "timestamp_uncertainty</a>" in FOLD.sub("", FOLD.sub("", page_of(Plan(valid=False))))


def test_a_fold_says_in_a_line_what_it_holds() -> None:
    summary, page = summary_of(TWO), page_of(TWO).replace(NBSP, " ")
    ready = [f.at(0.5).value for f in summary.connecting if f.metric == "session_ready"]

    assert f"session.created, p50: direct {ready[0]:.0f} ms, gateway {ready[1]:.0f} ms." in page
    assert re.search(r"[\d.]+ MB of decoded audio sent, [\d.]+ MB received; [\d.]+ MB of WebSocket frames sent", page)
    assert re.search(r"\d+ metrics: \d+ of turns and sessions", page)
    assert "From the start of connecting to session.created, p50" not in page_of(Plan(sessions=0))


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


def test_a_p99_that_nobody_has_is_no_column_and_is_said_once() -> None:
    first = markdown_of(TWO).split("<details>")[0]

    assert "intervals over sessions; p99 needs 198 sessions" in " ".join(first.split())
    assert "| metric | p50 | p95 | max | failed turns |" in first
    assert "n/a" not in first
