"""The texts and figures of runs, comparisons, checks and trends of every type, compared with stored
snapshots. Each page is complete.

RTBENCH_SNAPSHOTS=renew pytest tests/reports/test_snapshots.py

This command renews the snapshots. Before you commit them, read the differences, and look at the
figures in a browser. Other tests check whether the numbers are right.
"""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from reports.analysis.check.check import check_of
from reports.analysis.check.results import CheckResult
from reports.analysis.comparisons.comparison import Comparison
from reports.analysis.sample_size import power_spec, sample_size
from reports.analysis.sequential.analysis import End
from reports.analysis.sequential.decide import Decision
from reports.analysis.trends.trend import trend_of_points
from reports.analysis.trends.trend_point import TrendPoint
from reports.engine.judge import Judged
from reports.pages.check.report import check_page, with_sentences
from reports.pages.comparisons.interim import z_scores
from reports.pages.comparisons.page import comparison_page
from reports.pages.run_report.report import run_page
from reports.pages.sample_size import sample_size_blocks
from reports.pages.trends.page import trend_page
from reports.render.html import render_html
from reports.render.markdown import render_markdown
from reports.render.terminal import essentials, render_lines, render_page
from reports.results.value import Reason, VerdictName
from reports.text.check_sentences import result_line
from reports.text.decision_sentences import decision_sentence
from reports.text.sentences import run_essentials, run_headline
from rtbench.capacity.document import LevelEntry
from rtbench.capacity.page import capacity_page
from tests.capacity.searched import LEVELS, searched
from tests.examples import some
from tests.reports import synthetic
from tests.reports.check import examples
from tests.reports.comparisons import invented
from tests.reports.comparisons.build import quick, targets, two
from tests.reports.every_run import DRAWN, RISING, RUNS, decided
from tests.reports.forms import (
    comparison_html,
    comparison_markdown,
    comparison_text,
    run_html,
    trend_html,
)
from tests.reports.planned import LOOSE, TIGHT, UNDECIDED
from tests.reports.shared import folder, summary_of
from tests.reports.synthetic import Plan, target_keys
from tests.reports.trends.examples import entry, invalid, nights, stepped

FOLDER = Path(__file__).parent / "snapshots"
FULL = (
    "rich",
    "mixed",
    "eventful",
    "a target without a turn",
    "two places",
    "calls that arrive",
    "rising load",
)
"""The runs whose complete Markdown is stored.

For all other runs, only the part before the folded sections is stored.
"""


@cache
def forms_of(name: str) -> tuple[str, str, str, str, str]:
    """Return a report of a run: its headline, its last line, its text on the terminal, its
    Markdown, and its HTML.
    """
    summary = RUNS[name]()
    page = run_page(summary)
    first = run_headline(summary), run_essentials(summary)
    return *first, render_page(page), render_markdown(page), render_html(page)


def html_of(name: str) -> str:
    return forms_of(name)[-1]


def run_words(name: str) -> str:
    _, last_line, terminal, markdown, html = forms_of(name)
    # without every instant of each slow turn
    whole = re.sub(r'<section id="slow".*?</section>', "", html, flags=re.S)
    return joined(
        {
            "last line": last_line,
            "terminal": terminal,
            "page": words(whole if name == "rich" else whole.partition("<section")[0]),
            "markdown": markdown if name in FULL else markdown.partition("<details>")[0],
        }
    )


@pytest.mark.parametrize("name", RUNS)
def test_the_headline_is_one_short_sentence_in_every_form(name: str) -> None:
    """It has no name of a metric, nor of an outcome."""
    headline, last_line, *forms = forms_of(name)
    plain = " ".join(headline.split())

    assert headline.endswith(".")
    assert len(headline.split()) <= 18
    assert not re.search(r"[a-z]_[a-z]|[a-z]:[a-z]|VAD|p95|\. [A-Z]", headline)
    for form in (f"{last_line}.".replace(" ·", ". ·"), *forms):
        assert plain in " ".join(unescape(form).split())


def comparison_words(made_of: Comparison) -> str:
    return first_words(made_of) + joined(
        {
            "page": words(comparison_html(made_of)),
            "markdown": comparison_markdown(made_of),
        }
    )


def first_words(made_of: Comparison) -> str:
    """Return the text of a comparison on the terminal, and the text at the top of its page."""
    return joined(
        {
            "last line": essentials(comparison_page(made_of)),
            "terminal": comparison_text(made_of),
            "top of the page": words(comparison_html(made_of).partition("<section")[0]),
        }
    )


def check_words(found: CheckResult) -> str:
    return joined(
        {"terminal": render_page(check_page(found)), "markdown": render_markdown(check_page(found))}
    )


def checked_words(result: Judged, **changes: Any) -> str:
    """Return the part of a report above its results, on the terminal and on the page."""
    summary = RUNS["invalid" if changes else "small"]()
    page = run_page(summary, with_sentences(examples.check(result, examples.PASSED, **changes)))
    return joined(
        {
            "last line": run_essentials(
                summary, result_line(with_sentences(examples.check(result, **changes)))
            ),
            "terminal": render_page(page, explain=True).partition("In ms")[0],
            "page": words(render_html(page).partition("In ms")[0]),
        }
    )


def decision_words(found: Decision) -> str:
    return joined(
        {"sentence": decision_sentence(found), "terminal": render_lines([z_scores(found)])}
    )


def judged(*verdicts: VerdictName) -> Comparison:
    all_compared = [
        invented.compared("ttfa", 0.5, word, invented.ratio(600, 610, 0.98, 1.05), primary=True)
        for word in verdicts
    ]
    return invented.comparison(comparisons=tuple(all_compared))


def decided_words(end: End) -> str:
    return first_words(replace(judged("equivalent"), decision=invented.decision(reason=end)))


def page_words(name: str) -> str:
    return first_words(invented.comparison(**invented.PAGES[name]()))


def invented_html(name: str) -> str:
    return comparison_html(invented.comparison(**invented.PAGES[name]()))


def size_words(metric: str) -> str:
    path = synthetic.write(
        folder() / "pilot",
        Plan(sessions=120, turns=8, seconds=600, usage=True),
        **target_keys(Plan()),
    )
    size = sample_size(str(path), power_spec(metric, None, None, 0.9))
    return joined({"terminal": render_lines(sample_size_blocks(size))})


@cache
def typed_and_spoken() -> Comparison:
    pair, kinds = ("west", "east"), ("typed", "vad")
    return quick(targets(Plan(sessions=120, turns=10, targets=pair, kinds=kinds, paired=True)))


@cache
def two_runs() -> Comparison:
    first, second = Plan(sessions=60, turns=10), Plan(sessions=40, turns=10, failed=0.1)
    return quick(two(first, second, labels={"commit": "1a2b"}))


EVERY = (
    examples.PASSED,
    examples.FAILED,
    examples.REGRESSED,
    examples.INCONCLUSIVE,
    examples.NO_DATA,
)
OTHERS: dict[str, Callable[[], str]] = {
    "comparison": lambda: comparison_words(invented.comparison()),
    "comparison, three targets": lambda: first_words(
        invented.comparison("gateway", "canary", checks=())
    ),
    "comparison, invalid": lambda: comparison_words(
        invented.comparison(checks=(invented.UNFAIR, *invented.CHECKS[1:]))
    ),
    "comparison, improved": lambda: first_words(judged("improved", "not_regressed")),
    "comparison, inconclusive": lambda: first_words(judged("inconclusive", "equivalent")),
    "comparison, not regressed": lambda: first_words(judged("not_regressed", "equivalent")),
    "comparison, equivalent": lambda: first_words(judged("equivalent")),
    "comparison, no primary metric": lambda: first_words(
        invented.comparison(comparisons=invented.all_compared()[3:])
    ),
    "comparison, analyses": lambda: comparison_words(
        replace(judged("inconclusive"), decision=invented.decision())
    ),
    **{
        f"comparison, {end}": partial(decided_words, end)
        for end in ("pending", "futility", "not_regressed")
    },
    **{
        f"comparison, {name}": partial(page_words, name)
        for name in ("few turns", "all failed", "rates alone")
    },
    "comparison, invalid though decided": lambda: first_words(
        invented.comparison(checks=(invented.UNFAIR,), decision=invented.decision())
    ),
    "comparison, typed and spoken": lambda: first_words(typed_and_spoken()),
    "comparison, two runs": lambda: comparison_words(two_runs()),
    "check": lambda: check_words(
        examples.check(*EVERY, baseline="before", warnings=("33 % failed",))
    ),
    "check, invalid": lambda: check_words(
        examples.check(
            examples.PASSED,
            examples.FAILED,
            causes=(Reason("aborted", {"because": "the run was not evaluated: it was killed"}),),
        )
    ),
    "check, other conditions": lambda: check_words(
        examples.check(
            examples.PASSED,
            examples.REGRESSED,
            differs=(Reason("condition_differs", text="sim: model: a here, b in the baseline"),),
        )
    ),
    "check, pass": lambda: check_words(examples.check(examples.PASSED)),
    "check, failed": lambda: check_words(examples.check(examples.FAILED, examples.FAILED)),
    "check, regressed": lambda: check_words(examples.check(examples.REGRESSED)),
    "check, inconclusive": lambda: check_words(examples.check(examples.INCONCLUSIVE)),
    "check, analyses": lambda: check_words(check_of(decided(TIGHT).run)),
    "check, accepted": lambda: check_words(
        examples.check(examples.PASSED, examples.INCONCLUSIVE, on_inconclusive="warn")
    ),
    "check, targets": lambda: check_words(
        check_of(
            examples.read(examples.PAIRED),
            examples.thresholds("ttfa: med<5s", "ttfa: p(95)<+50%", "failure_rate: rate<2%"),
        )
    ),
    **{
        f"report, {result.result}": partial(checked_words, result)
        for result in (examples.PASSED, examples.FAILED, examples.INCONCLUSIVE, examples.NO_DATA)
    },
    "report, invalid": lambda: checked_words(
        examples.FAILED, causes=(Reason("check_failed"),), status="invalid"
    ),
    "decision, passed": lambda: decision_words(decided(LOOSE)),
    "decision, failed": lambda: decision_words(decided(TIGHT)),
    "decision, invalid": lambda: decision_words(decided(LOOSE, validity={"status": "invalid"})),
    "decision, by hand": lambda: decision_words(decided(UNDECIDED, stop_reason="interrupted")),
    "trend": lambda: trend_words([*stepped(12, 12), invalid(30)]),
    "trend, two loads": lambda: trend_words([entry(0), entry(1, conditions={"num_users": "50"})]),
    "trend, few runs": lambda: trend_words(nights([600.0] * 3, conditions={"simulated": "yes"})),
    "size of a latency": lambda: size_words("ttfa:p95"),
    "size of a rate": lambda: size_words("failure_rate"),
}


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
    """Return all formats as one text. All spaces are plain spaces, and all temporary folders
    have the same name.
    """
    whole = "".join(f"=== {name}\n{text.rstrip()}\n" for name, text in forms.items())
    return re.sub(r"(/\S*)?\btmp\w{8}\b", "of-the-test", whole.replace("\u00a0", " "))


CLIMBING = replace(RISING, paired=True, slower=0.03)
PAGES: dict[str, tuple[Callable[[], str], str]] = {
    # (page, names of its stored figures)
    "": (lambda: run_html(summary_of(DRAWN)), ""),
    "climbing ": (lambda: run_html(summary_of(CLIMBING)), "load-"),
    "eventful ": (partial(html_of, "eventful"), "context-1|heard-1|segments-1"),
    "arriving ": (partial(html_of, "calls that arrive"), "calls-"),
    "six targets ": (partial(html_of, "six targets"), "spread-1"),
    "comparison ": (
        lambda: comparison_html(invented.comparison("gateway", "canary", checks=())),
        "",
    ),
    "trend ": (
        lambda: trend_html(trend_of_points([*stepped(12, 12), invalid(30)]), Path("/runs")),
        "",
    ),
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
    whole = ATTRIBUTE.sub(
        lambda found: NUMBER.sub(lambda n: f"{float(n[0]):.0f}".replace("-0", "0"), found[0]), svg
    )
    return whole.replace("><", ">\n<") + "\n"


def check_snapshot(name: str, text: str) -> None:
    file = FOLDER / name.replace(", ", "-").replace(" ", "-")
    if os.environ.get("RTBENCH_SNAPSHOTS") == "renew":
        file.write_text(text, encoding="utf-8")
    assert text.splitlines() == file.read_text(encoding="utf-8").splitlines(), (
        f"{name}: see the head of this file"
    )


@pytest.mark.parametrize("name", PAGES)
def test_every_figure_equals_its_snapshot(name: str) -> None:
    page, pattern = PAGES[name]
    figures = {at: svg for at, svg in drawn(page()) if re.match(pattern, at)}

    assert figures
    for at, svg in figures.items():
        check_snapshot(f"{'' if at.startswith('load-') else name}{at}.svg", normal(svg))


def history(*entries: TrendPoint) -> str:
    return trend_html(trend_of_points(entries), Path("/runs"))


def search(*levels: LevelEntry) -> str:
    return render_html(capacity_page(searched(list(levels))))


WHOLE: dict[str, Callable[[], str]] = {
    **{f"run, {name}": partial(html_of, name) for name in RUNS},
    **{f"comparison, {name}": partial(invented_html, name) for name in invented.PAGES},
    "comparison of pairs": lambda: comparison_html(typed_and_spoken()),
    "comparison of runs": lambda: comparison_html(two_runs()),
    "trend": lambda: history(*stepped(12, 12)),
    "history of nothing valid": lambda: history(invalid(0)),
    "search": lambda: search(*LEVELS),
    "search without a level": search,
}


class Outline(HTMLParser):
    """A parser that collects the IDs, links and open elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.ids += [known["id"] or ""] if "id" in known else []
        self.links += [
            value or ""
            for name, value in attrs
            if name in ("href", "src", "srcset", "action", "data")
        ]
        if tag not in ("meta", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", some([*WHOLE], 12))
def test_a_page_is_complete_and_loads_nothing(name: str) -> None:
    page, outline = WHOLE[name](), Outline()
    outline.feed(page)

    assert not outline.open
    assert len(outline.ids) == len(set(outline.ids))
    assert {link[1:] for link in outline.links if link.startswith("#")} <= set(outline.ids)
    elsewhere = [link for link in outline.links if not link.startswith("#")]
    assert all(
        re.fullmatch(r"events/s\d+\.jsonl|run-\d+/report\.html", link) for link in elsewhere
    ), elsewhere
    assert "default-src 'none'" in page
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", page)
    assert "nan" not in re.sub(r"<[^>]*>", " ", page).lower().split()
    assert len(page) < 800_000
    check_figures([ET.fromstring(text) for text in re.findall(r"<svg.*?</svg>", page, re.S)], name)


DRAWN_TWICE = {"run, mixed": 1, "run, eventful": 1}
"""The number of figures with the label of another one: each instant of measurement has its own
steps."""


def check_figures(figures: list[ET.Element], name: str) -> None:
    """Assert that every figure is drawn, valid, and labelled, and that few have the same label."""
    labels = [figure.get("aria-label") for figure in figures if figure.get("class") == "figure"]

    assert len(labels) - len(set(labels)) == DRAWN_TWICE.get(name, 0)
    for figure in figures:
        assert figure.get("aria-label") or figure.get("aria-hidden") == "true"
        assert not re.search(r"\b(nan|inf)\b", ET.tostring(figure, encoding="unicode"))
        assert len(figure)


@pytest.mark.parametrize("name", RUNS)
def test_all_texts_of_runs_equal_their_snapshots(name: str) -> None:
    check_snapshot(f"{name}.txt", run_words(name))


@pytest.mark.parametrize("name", OTHERS)
def test_all_texts_equal_their_snapshots(name: str) -> None:
    check_snapshot(f"{name}.txt", OTHERS[name]())
