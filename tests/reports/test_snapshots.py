"""The texts and figures of runs, comparisons, checks and trends of every type, compared with stored snapshots.

RTBENCH_SNAPSHOTS=renew pytest tests/reports/test_snapshots.py

This command renews the snapshots. Before you commit them, read the differences, and look at the figures in a browser.
Other tests check whether the numbers are right.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from html import unescape
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from bench.record.validity import EARLY_REPLIES
from reports.analysis.check.check import check_of
from reports.analysis.check.results import CheckResult, ThresholdResult
from reports.analysis.comparisons.comparison import Comparison
from reports.analysis.sample_size import power_spec, sample_size
from reports.analysis.sequential.analysis import End
from reports.analysis.sequential.decide import decision_of
from reports.analysis.sequential.decision import Decision
from reports.analysis.summary.summary import Summary, summarise
from reports.analysis.trends.trend import trend_of_points
from reports.data.runs import load_for_report
from reports.pages.check.report import check_page, with_sentences
from reports.pages.comparisons.interim import z_scores
from reports.pages.comparisons.page import comparison_page
from reports.pages.run_report.report import run_page
from reports.pages.sample_size import sample_size_blocks
from reports.pages.trends.page import trend_page
from reports.render.html import render_html
from reports.render.markdown import render_markdown
from reports.render.terminal import essentials, render_lines, render_page
from reports.results.reason import Reason
from reports.results.verdict import VerdictName
from reports.text.check_sentences import result_line
from reports.text.decision_sentences import decision_sentence
from reports.text.sentences import run_essentials
from tests.reports import synthetic
from tests.reports.check import examples
from tests.reports.comparisons import invented
from tests.reports.comparisons.build import quick, targets, two
from tests.reports.edited import Row, edit
from tests.reports.forms import comparison_html, comparison_markdown, comparison_text, run_html, trend_html
from tests.reports.planned import LOOSE, TIGHT, TWO, UNDECIDED, planned
from tests.reports.shared import folder, frames_of, summary_of
from tests.reports.synthetic import BEGAN_NS, Plan, target_keys
from tests.reports.trends.examples import entry, invalid, nights, stepped

FOLDER = Path(__file__).parent / "snapshots"
PAIR = ("direct", "gateway")
DRAWN = Plan(sessions=60, turns=6, targets=PAIR, paired=True, usage=True, limited=True, failed=0.03, seconds=200,
             warmup_s=20.0)  # fmt: skip
RICH = Plan(sessions=120, turns=10, targets=PAIR, failed=0.02, seconds=300, warmup_s=40, paired=True, usage=True,
            limited=True, refused=2, auth_waits=3)  # fmt: skip
HOST = {"name": "red", "workers": 1, "kernel": "Linux", "clock_offset_ns": None, "clock_offset_uncertainty_ns": None}
TAKEN = {"cores": 4, "load_start": 7.2, "load_end": 14.6, "this_run": 0.031, "all_programs": 0.641, "steal": 0.12,
         "total_max": 0.998, "steal_max": 0.2}  # fmt: skip
CITED = {"date": "2026-11-20", "kind": "voice", "sessions": 2, "events_per_s": 9000.0, "exact_sessions": 100,
         "ended": "", "tls": True, "file": "calibration.json", "stale": ["with another kernel"]}  # fmt: skip
INCIDENTS = [{"at_utc_ns": BEGAN_NS + n * 10**9, "worker": n, "kind": "auth_refresh", "text": "the endpoint: 500"}
             for n in range(4)]  # fmt: skip
SPENT = {"budget_usd": 50.0, "estimate_usd": [4.0, 11.0]}
ARRIVALS = {"pattern": "poisson", "per_s": 1.5, "stages": None, "digest": None, "max_concurrent": 20,
            "started_utc_ns": BEGAN_NS + 10**9, "duration_s": None}  # fmt: skip
MS = 1_000_000


def edited_run(plan: Plan, sessions: Any = None, turns: Any = None, seconds: Any = None, **document: Any) -> Summary:
    """Return the summary of a run in which some rows have been changed."""
    path = synthetic.write(folder() / "run", plan, **document)
    for table, change in (("sessions", sessions), ("turns", turns), ("seconds", seconds)):
        if change:
            edit(path, table, change)
    return summarise(load_for_report(path))


def eventful(index: int, row: Row) -> Row:
    """Add context tokens to every turn. Depending on the number of the turn, also add one of three events.

    The events are a function call, an interruption, and word errors.
    """
    origin = row["speech_end_at_ns"]
    of = {
        2: {"turn_type": "function_calls", "function_call_added_at_ns": origin + 300 * MS, "function_call_done_at_ns":
            origin + 310 * MS, "function_execution_ns": 50 * MS},
        3: {"barge_in_at_ns": 3_000 * MS, "barge_in_silent_at_ns": (3_100 + index % 40) * MS,
            "yielded": index // 6 % 7 > 0, "interruption": "speech", "unplayed_audio_ns": 3_000 * MS,
            "received_audio_ns": 4_000 * MS},
        4: {"input_words": 20, "input_word_errors": index // 6 % 3, "cut_off": index // 6 % 9 == 0},
    }  # fmt: skip
    tokens = {"context_tokens": 300 + 1_500 * row["turn"], "context_cached_tokens": 750 * (row["turn"] - 1)}
    return row | tokens | (of.get(row["turn"], {}) if origin else {})


def refused(target: str, index: int, row: Row) -> Row:
    """Change a session of the target `target` to a session that did not open."""
    never = {"opened_at_ns": None, "session_created_at_ns": None, "update_sent_at_ns": None, "turns_started": 0}
    gone = never | {"outcome": "connect_failed:tcp", "turns_not_started": row["turns_planned"]}
    return row | (gone if row["target"] == target else {})


def two_places(index: int, row: Row) -> Row:
    """Distribute the sessions over two hosts and two regions. The sessions of one host are 400 ms slower."""
    red = int(row["session_id"][1:]) % 3 == 0
    named = {"host": "red" if red else "blue"} | ({"region": "Sweden Central" if red else "East US 2"}
                                                 if "region" in row else {})  # fmt: skip
    late = ("first_audio_at_ns", "first_audible_at_ns", "response_done_at_ns", "ended_at_ns")
    slow = red and "first_audio_at_ns" in row
    return row | named | ({name: row[name] and row[name] + 400 * MS for name in late} if slow else {})


def arriving() -> Summary:
    """Return an open-loop run. Each call starts 40 ms after it arrives, but four calls of one second are blocked."""
    plan = Plan(sessions=120, turns=2, seconds=100, refused=5)
    begun = {"call_arrival_at_ns": -40 * MS, "connect_start_at_ns": 0, "intended_start_at_ns": -3 * MS}
    replied = {"first_reply_at_ns": 900 * MS, "caller_time_ns": 400 * MS}
    path = synthetic.write(folder() / "run", plan, arrivals=ARRIVALS, workers=4)
    calls = Counter(at // 10**9 for at in pq.read_table(path / "sessions.parquet")["start_utc_ns"].to_pylist())
    edit(path, "sessions", lambda _, row: row | begun | (replied if row["outcome"] == "ok" else {}))
    edit(path, "seconds", lambda at, row: row | {"calls_offered": calls[row["second"]] + 4 * (at == 50),
                                                 "calls_blocked": 4 * (at == 50), "calls_delayed": 0})  # fmt: skip
    return summarise(load_for_report(path))


RISING = Plan(turns=6, targets=PAIR, failed=0.02, refused=3, seconds=240, slower=1 / 39,
              stages=((60, 5), (60, 15), (60, 25), (60, 40)))  # fmt: skip
DEAD = Plan(sessions=80, turns=4, targets=("a", "dead"), paired=True)
RUNS: dict[str, Callable[[], Summary]] = {
    "small": lambda: edited_run(Plan()),
    "rich": lambda: edited_run(RICH, **target_keys(RICH, deflate=True) | SPENT, calibration=CITED, incidents=INCIDENTS,
                               labels={"commit": "1a2b3c"}, settings={"num_users": 8}),
    "mixed": lambda: edited_run(Plan(sessions=60, turns=5, kinds=("vad", "typed", "manual"), targets=("a", "b"),
                                     early=40, unattributed_commits=3, proxied=("b",), failed=0.05)),
    "text": lambda: edited_run(Plan(sessions=60, text=True, tls=False, simulated=False), calibration=None),
    "invalid": lambda: edited_run(Plan(valid=False), hosts=[HOST | {"cpu_use": TAKEN}]),
    "not judged": lambda: edited_run(Plan(valid=None), validity=None, state="killed"),
    "failed": lambda: edited_run(Plan(failed=1.0)),
    "half failed": lambda: edited_run(Plan(sessions=40, failed=0.6, refused=3, abandoned=2)),
    "refused": lambda: edited_run(Plan(sessions=0, refused=3)),
    "nothing": lambda: edited_run(Plan(sessions=0)),
    "one turn": lambda: edited_run(Plan(sessions=1, turns=1)),
    "cut": lambda: edited_run(Plan(sessions=1, turns=2, abandoned=2)),
    "warm-up alone": lambda: edited_run(Plan(warmup_s=60, valid=None)),
    "a target without a turn": lambda: edited_run(
        DEAD, partial(refused, "dead"), lambda _, row: row if row["target"] == "a" else None, interleaved=True),
    "eventful": lambda: edited_run(Plan(sessions=60, turns=6, usage=True, simulated=False),
                                   turns=eventful, **target_keys(Plan())),
    "two places": lambda: edited_run(Plan(sessions=120, turns=6, kinds=("manual",), seconds=120), two_places,
                                     two_places, hosts=[HOST, HOST | {"name": "blue", "clock_offset_ns": 1_200_000,
                                                                      "clock_offset_uncertainty_ns": 300_000}]),
    "early replies": lambda: edited_run(Plan(sessions=60, turns=10), validity={
        "status": "valid", "uncertain_metrics": [{"target": "sim", "metric": "voice_to_voice", "value": 4.25,
                                                  "limit": 1.0, "unit": "%", "reason": EARLY_REPLIES}]}),
    "uncertain": lambda: edited_run(Plan(sessions=60, turns=10, targets=PAIR, inexact=("response_total", "ttfa"))),
    "six targets": lambda: edited_run(Plan(sessions=240, turns=5, targets=("s", "e", "s.quick", "s.alloy", "w", "j"),
                                           failed=0.03, seconds=300)),
    "calls that arrive": arriving,
    "rising load": lambda: edited_run(RISING),
}  # fmt: skip
FULL = ("rich", "mixed", "eventful", "a target without a turn", "two places", "calls that arrive", "rising load")
"""The runs whose complete Markdown is stored.

For all other runs, only the part before the folded sections is stored.
"""


@cache
def forms_of(name: str) -> tuple[str, str, str, str]:
    """Return a report of a run: its last line, its text on the terminal, its Markdown, and its HTML."""
    summary = RUNS[name]()
    page = run_page(summary)
    return run_essentials(summary), render_page(page), render_markdown(page), render_html(page)


def run_words(name: str) -> str:
    last_line, terminal, markdown, html = forms_of(name)
    # without every instant of each slow turn
    whole = re.sub(r'<section id="slow".*?</section>', "", html, flags=re.S)
    return joined({
        "last line": last_line, "terminal": terminal,
        "page": words(whole if name == "rich" else whole.partition("<section")[0]),
        "markdown": markdown if name in FULL else markdown.partition("<details>")[0],
    })  # fmt: skip


def comparison_words(made_of: Comparison) -> str:
    return first_words(made_of) + joined({
        "page": words(comparison_html(made_of)), "markdown": comparison_markdown(made_of),
    })  # fmt: skip


def first_words(made_of: Comparison) -> str:
    """Return the text of a comparison on the terminal, and the text at the top of its page."""
    return joined({
        "last line": essentials(comparison_page(made_of)), "terminal": comparison_text(made_of),
        "top of the page": words(comparison_html(made_of).partition("<section")[0]),
    })  # fmt: skip


def check_words(found: CheckResult) -> str:
    return joined({"terminal": render_page(check_page(found)), "markdown": render_markdown(check_page(found))})


def checked_words(result: ThresholdResult, **changes: Any) -> str:
    """Return the part of a report above its results, on the terminal and on the page."""
    summary = RUNS["invalid" if changes else "small"]()
    page = run_page(summary, with_sentences(examples.check(result, examples.PASSED, **changes)))
    return joined({
        "last line": run_essentials(summary, result_line(with_sentences(examples.check(result, **changes)))),
        "terminal": render_page(page, explain=True).partition("In ms")[0],
        "page": words(render_html(page).partition("In ms")[0]),
    })  # fmt: skip


def decision_words(found: Decision) -> str:
    return joined({"sentence": decision_sentence(found), "terminal": render_lines([z_scores(found)])})


def decided(primary: dict[str, list[str]], **document: Any) -> Decision:
    return decision_of(frames_of(TWO, **(target_keys(TWO) | {"sequential_plan": planned(primary)} | document)))


def judged(*verdicts: VerdictName) -> Comparison:
    all_compared = [invented.compared("ttfa", 0.5, word, invented.ratio(600, 610, 0.98, 1.05), primary=True)
                for word in verdicts]  # fmt: skip
    return invented.comparison(comparisons=tuple(all_compared))


def decided_words(end: End) -> str:
    return first_words(replace(judged("equivalent"), decision=invented.decision(reason=end)))


def page_words(name: str) -> str:
    return first_words(invented.comparison(**invented.PAGES[name]()))


def size_words(metric: str) -> str:
    path = synthetic.write(
        folder() / "pilot", Plan(sessions=120, turns=8, seconds=600, usage=True), **target_keys(Plan())
    )
    size = sample_size(str(path), power_spec(metric, None, None, 0.9))
    return joined({"terminal": render_lines(sample_size_blocks(size))})


EVERY = (examples.PASSED, examples.FAILED, examples.REGRESSED, examples.INCONCLUSIVE, examples.NO_DATA)
OTHERS: dict[str, Callable[[], str]] = {
    "comparison": lambda: comparison_words(invented.comparison()),
    "comparison, three targets": lambda: first_words(invented.comparison("gateway", "canary", checks=())),
    "comparison, invalid": lambda: comparison_words(
        invented.comparison(checks=(invented.UNFAIR, *invented.CHECKS[1:]))),
    "comparison, improved": lambda: first_words(judged("improved", "not_regressed")),
    "comparison, inconclusive": lambda: first_words(judged("inconclusive", "equivalent")),
    "comparison, not regressed": lambda: first_words(judged("not_regressed", "equivalent")),
    "comparison, equivalent": lambda: first_words(judged("equivalent")),
    "comparison, no primary metric": lambda: first_words(invented.comparison(comparisons=invented.all_compared()[3:])),
    "comparison, analyses": lambda: comparison_words(replace(judged("inconclusive"), decision=invented.decision())),
    **{f"comparison, {end}": partial(decided_words, end) for end in ("pending", "futility", "not_regressed")},
    **{f"comparison, {name}": partial(page_words, name)
       for name in ("few turns", "all failed", "rates alone")},
    "comparison, invalid though decided": lambda: first_words(
        invented.comparison(checks=(invented.UNFAIR,), decision=invented.decision())),
    "comparison, typed and spoken": lambda: first_words(quick(targets(
        Plan(sessions=120, turns=10, targets=("west", "east"), kinds=("typed", "vad"), paired=True)))),
    "comparison, two runs": lambda: comparison_words(
        quick(two(Plan(sessions=60, turns=10), Plan(sessions=40, turns=10, failed=0.1), labels={"commit": "1a2b"}))),
    "check": lambda: check_words(examples.check(*EVERY, baseline="before", warnings=("33 % failed",))),
    "check, invalid": lambda: check_words(
        examples.check(examples.PASSED, examples.FAILED,
                   causes=(Reason("aborted", {"because": "the run was not evaluated: it was killed"}),))),
    "check, other conditions": lambda: check_words(
        examples.check(examples.PASSED, examples.REGRESSED,
                   differs=(Reason("condition_differs", text="sim: model: a here, b in the baseline"),))),
    "check, pass": lambda: check_words(examples.check(examples.PASSED)),
    "check, failed": lambda: check_words(examples.check(examples.FAILED, examples.FAILED)),
    "check, regressed": lambda: check_words(examples.check(examples.REGRESSED)),
    "check, inconclusive": lambda: check_words(examples.check(examples.INCONCLUSIVE)),
    "check, analyses": lambda: check_words(check_of(decided(TIGHT).run)),
    "check, accepted": lambda: check_words(
        examples.check(examples.PASSED, examples.INCONCLUSIVE, on_inconclusive="warn")),
    "check, targets": lambda: check_words(
        check_of(
            examples.read(examples.PAIRED),
            examples.thresholds("ttfa: med<5s", "ttfa: p(95)<+50%", "failure_rate: rate<2%"),
        )),
    **{f"report, {result.result}": partial(checked_words, result)
       for result in (examples.PASSED, examples.FAILED, examples.INCONCLUSIVE, examples.NO_DATA)},
    "report, invalid": lambda: checked_words(examples.FAILED, causes=(Reason("check_failed"),), status="invalid"),
    "decision, passed": lambda: decision_words(decided(LOOSE)),
    "decision, failed": lambda: decision_words(decided(TIGHT)),
    "decision, invalid": lambda: decision_words(decided(LOOSE, validity={"status": "invalid"})),
    "decision, by hand": lambda: decision_words(decided(UNDECIDED, stop_reason="interrupted")),
    "trend": lambda: trend_words([*stepped(12, 12), invalid(30)]),
    "trend, two loads": lambda: trend_words([entry(0), entry(1, conditions={"num_users": "50"})]),
    "trend, few runs": lambda: trend_words(nights([600.0] * 3, conditions={"simulated": "yes"})),
    "size of a latency": lambda: size_words("ttfa:p95"),
    "size of a rate": lambda: size_words("failure_rate"),
}  # fmt: skip


def trend_words(entries: list[Any]) -> str:
    trend = trend_of_points(entries)
    page = trend_page(trend, Path("/runs"))
    return joined({"terminal": render_page(page), "page": words(render_html(page))})


def words(page: str) -> str:
    """Return the text of a page without its figures. Each element that has text gives one line."""
    text = re.sub(r"<(style|script|svg).*?</\1>|<head>.*?</head>", "", page, flags=re.S)
    inline = re.sub(r"</?(a|b|code|small|span)\b[^>]*>", " ", text)
    lines = (" ".join(line.split()) for line in re.sub(r"<[^>]*>", "\n", inline).splitlines())
    return unescape("\n".join(line for line in lines if line))


def joined(forms: dict[str, str]) -> str:
    """Return all formats as one text. All spaces are plain spaces, and all temporary folders have the same name."""
    whole = "".join(f"=== {name}\n{text.rstrip()}\n" for name, text in forms.items())
    return re.sub(r"(/\S*)?\btmp\w{8}\b", "of-the-test", whole.replace("\u00a0", " "))


CLIMBING = replace(RISING, paired=True, slower=0.03)
PAGES: dict[str, tuple[Callable[[], str], str]] = {
    # (page, names of its stored figures)
    "": (lambda: run_html(summary_of(DRAWN)), ""),
    "climbing ": (lambda: run_html(summary_of(CLIMBING)), "load-"),
    "eventful ": (lambda: forms_of("eventful")[-1], "context-1|heard-1|segments-1"),
    "arriving ": (lambda: forms_of("calls that arrive")[-1], "calls-"),
    "six targets ": (lambda: forms_of("six targets")[-1], "spread-1"),
    "comparison ": (lambda: comparison_html(invented.comparison("gateway", "canary", checks=())), ""),
    "trend ": (lambda: trend_html(trend_of_points([*stepped(12, 12), invalid(30)]), Path("/runs")), ""),
}
NUMBER = re.compile(r"-?\d+\.\d+")
ATTRIBUTE = re.compile(r' (?:d|x|y|x1|x2|y1|y2|cx|cy|r|width|height|points)="[^"]*"')


def drawn(page: str) -> Iterator[tuple[str, str]]:
    """Yield all figures of a page with their names.

    A name consists of a section and the figure's number in this section.
    """
    section, place = "answer", 0
    for entered, svg in re.findall(r'<section id="(\w+)">|(<svg.*?</svg>)', page, re.DOTALL):
        section, place = (entered, 0) if entered else (section, place + 1)
        if svg:
            yield f"{section}-{place}", svg


def normal(svg: str) -> str:
    """Return the figure with one element per line. All lengths are in whole pixels.

    The last digits of the lengths would depend on the processor.
    """
    whole = ATTRIBUTE.sub(lambda found: NUMBER.sub(lambda n: f"{float(n[0]):.0f}".replace("-0", "0"), found[0]), svg)
    return whole.replace("><", ">\n<") + "\n"


def check_snapshot(name: str, text: str) -> None:
    file = FOLDER / name.replace(", ", "-").replace(" ", "-")
    if os.environ.get("RTBENCH_SNAPSHOTS") == "renew":
        file.write_text(text, encoding="utf-8")
    assert text.splitlines() == file.read_text(encoding="utf-8").splitlines(), f"{name}: see the head of this file"


@pytest.mark.parametrize("name", PAGES)
def test_every_figure_equals_its_snapshot(name: str) -> None:
    page, pattern = PAGES[name]
    figures = {at: svg for at, svg in drawn(page()) if re.match(pattern, at)}

    assert figures
    for at, svg in figures.items():
        check_snapshot(f"{'' if at.startswith('load-') else name}{at}.svg", normal(svg))


@pytest.mark.parametrize("name", RUNS)
def test_all_texts_of_runs_equal_their_snapshots(name: str) -> None:
    check_snapshot(f"{name}.txt", run_words(name))


@pytest.mark.parametrize("name", OTHERS)
def test_all_texts_equal_their_snapshots(name: str) -> None:
    check_snapshot(f"{name}.txt", OTHERS[name]())
