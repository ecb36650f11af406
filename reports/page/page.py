"""report.html: the summary and its frames as a page of blocks. Nothing is computed here."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from bench.measures import CATALOGUE, DEFINITIONS_VERSION
from reports.blocks import (
    MARKS,
    MEASURED_AGAINST,
    SIMULATED,
    Alarm,
    Badge,
    Block,
    Bullets,
    Code,
    Definitions,
    Fold,
    Inline,
    Page,
    Paragraph,
    Reading,
    Section,
    Strong,
    coded,
    table,
)
from reports.numbers import moment, plural
from reports.page import accounts, answers, calls, health, sections
from reports.page.html import poured
from reports.page.markdown import markdown_text
from reports.question import RATES
from reports.summary.summary import Summary
from reports.summary.verdict import RuleResult
from reports.wording import remarks, sentences, settings, words
from reports.wording.notices import decided, inexact_line, notices
from reports.wording.validity import verdict_count

METHOD = {
    "service time": "Latency that counts from the turn's origin, not from when a schedule wanted the turn to begin.",
    "interval": "95 %: order statistics with a design effect. Sessions, not turns, are the unit, "
    "because turns of one session resemble each other more than those of different sessions.",
    "failed turns": "Counted as endlessly slow in every percentile of a wait. "
    "Turns cut by the end of the run are left out, and counted.",
    "sigma": "Standard deviation of the logarithm of successful waits: 0.5 is a factor of 1.65 to either side.",
    "ICC": "The share of that variance which lies between sessions: at 0 the turns of a session resemble each other "
    "no more than any others, at 1 a session says the same with every turn.",
    "design effect": "By how much sessions instead of independent turns widen the variance of a percentile: at 2, "
    "2,000 turns say as much as 1,000 independent ones.",
    "sessions count as": "(Σn)² ÷ Σn² of sessions with n turns: so many sessions of one length would tell as much. Of "
    "sixty of which one has half of the turns that is 4.",
    "drift": "The second half of the measured phase against the first. It is suspected where the 99 % interval of the "
    "ratio of the medians excludes 1 and they lie more than 5 % apart; each half needs 20 sessions.",
    "n/a": "A percentile is published only with sessions enough to bound it: with ten turns each p90 takes 20, p95 40, "
    "p99 198; with one turn each 50, 100, 500; more where sessions differ much.",
    "lost turns": "Wanted by the script and never begun, because their session had ended.",
    "failures": "(failed turns + lost turns) ÷ turns wanted, those cut by the end of the run left out.",
}

NOTED = 2
"""Number of remarks below the first table; others are folded away."""
OPEN = {"spread", "calls", "time", "segments", "heard", "outcomes", "incidents"}
"""The sections that a reader sees without asking: the page without the others is a few screens long."""
DOUBTED = OPEN | {"health"}
"""The same of a run that is not valid."""


def run_html(summary: Summary) -> str:
    """The page: one file that needs nothing else."""
    return poured(run_page(summary))


def run_markdown(summary: Summary) -> str:
    """The same page without its figures."""
    return markdown_text(run_page(summary))


def run_page(summary: Summary) -> Page:
    """What the page says, in the order of a reader's questions."""
    shown = list(sections_of(summary))
    definitions = _definitions(summary, flow=any(section.anchor == "flow" for section in shown))
    opened = OPEN if summary.verdict.valid else DOUBTED
    title = f"{summary.scenario}, {moment(summary.window.began_utc_ns)}"
    return Page(
        title=f"{summary.verdict.word}{' · SIMULATED' if summary.simulated else ''} · {title}",
        badges=[_badge(summary), *([SIMULATED] if summary.simulated else [])],
        beside=f"{summary.called} · {moment(summary.window.began_utc_ns)} · {words.lasted(summary)}",
        headline=sentences.run_headline(summary),
        lead=_lead(summary),
        answer=_answer(summary),
        sections=[replace(one, folded=one.anchor not in opened) for one in (*shown, _how(summary, definitions))],
        definitions=definitions,
        footer=_footer(summary),
        targets=summary.targets if len(summary.targets) > 1 else (),
    )


def _badge(summary: Summary) -> Badge:
    verdict = summary.verdict
    word = verdict.word if verdict.word == "NOT JUDGED" else f"{verdict.word} RUN"
    return Badge(MARKS[verdict.word].badge, verdict.glyph, word, verdict_count(verdict))


def _lead(summary: Summary) -> list[Block]:
    """What forbids the figures, then what went wrong, and what to do about it."""
    second = " ".join(filter(None, (sentences.heard(summary), sentences.run_second(summary))))
    texts = (decided(summary.run), second, sentences.way_out(summary))
    alarm = [Alarm([line for rule in summary.verdict.broken for line in _broken(rule)])]
    return [*(alarm if summary.verdict.broken else []), *(Paragraph(coded(text), "lead") for text in texts if text)]


def _broken(rule: RuleResult) -> Iterable[Inline]:
    """A rule that the run broke, and what to do about it."""
    yield Strong(words.rule_line(rule)), f" {words.rule_figure(rule)}"
    if remedy := words.remedy(rule):
        yield Strong("What to do:"), f" {remedy}"


def _answer(summary: Summary) -> list[Block]:
    """The figures that the run was made for, what belongs to them in a line each, and what to know beside them."""
    facts = {
        "Machine": remarks.machine(summary),
        "Throughput": "; ".join(remarks.throughput(summary)),
        "Cost": ", ".join(accounts.whole_cost(summary)),
        "Differences": "; ".join(remarks.against(summary)),
        "Next": sentences.next_step(summary),
    }
    inexact = inexact_line(summary.run)
    noted = [notice for notice in notices(summary) if notice != inexact]
    more = [Fold(f"{plural(len(noted) - NOTED, 'more note')}", [Bullets(noted[NOTED:])], style="note")]
    return [
        *answers.answers(summary),
        *(Paragraph((Strong(name), " ", *coded(said)), "fact") for name, said in facts.items() if said),
        *([Fold(inexact, [table(words.INEXACT_HEADS, words.inexact_rows(summary))], style="note")] if inexact else []),
        *([Bullets(noted[:NOTED])] if noted else []),
        *(more if len(noted) > NOTED else []),
    ]


def _how(summary: Summary, definitions: dict[str, str]) -> Section:
    """Every definition, and the settings of the run."""
    blocks: list[Block] = [
        Reading("A word with a dotted line says it where it stands; here are all of them."),
        Fold(f"{len(definitions)} definitions", [Definitions(list(definitions.items()))]),
        Fold("Settings of this run", [Definitions(list(run_settings(summary)), linked=False)]),
    ]
    return Section("how", "Definitions", "What do the words mean?", blocks)


def _footer(summary: Summary) -> Inline:
    made_from: Inline = ("Made from the run folder ", Code(summary.run.folder.resolve().name))
    files: Inline = (Code("summary.json"), "; ", Code("turns.parquet"), " has a row per turn")
    version = summary.run.document.get("definitions") or DEFINITIONS_VERSION
    simulated = MEASURED_AGAINST if summary.simulated else ""
    ends = f". Every session was a WebSocket connection. Definitions version {version}. All times UTC."
    return (simulated, made_from, ". The same figures are in ", files, ends)


def sections_of(summary: Summary) -> Iterable[Section]:
    """The page below its answer, in the order of a reader's questions; without those that this run has no answer to."""
    each = (
        answers.spread(summary),
        sections.arriving(summary),
        sections.time(summary),
        calls.by_load(summary),
        calls.segments(summary),
        calls.hearing(summary),
        calls.interruptions(summary),
        calls.functions(summary),
        sections.rates(summary),
        sections.steps(summary),
        calls.along(summary),
        calls.context(summary),
        sections.outcomes(summary),
        accounts.quota(summary),
        accounts.money(summary),
        sections.connect(summary),
        calls.network(summary),
        sections.flow(summary),
        sections.others(summary),
        *calls.by_others(summary),
        health.hosts(summary),
        health.health(summary),
        accounts.incidents(summary),
        calls.slowest(summary),
        accounts.arms(summary),
    )
    return filter(None, each)


def _definitions(summary: Summary, *, flow: bool) -> dict[str, str]:
    """Definitions of the measures on this page, in the words of the catalogue."""
    shown = {f.measure for f in (*summary.measures, *summary.connecting, *summary.slopes)}
    shown |= {distribution.measure for distribution in (*summary.harness, *summary.events)}
    shown |= {rate.measure for rate in summary.throughput if rate.total_bytes and flow}
    shown |= {rule.measure for rule in summary.verdict.rules}
    shown |= set(summary.mains.values())
    measures = {name: measure.sentence for name, measure in CATALOGUE.items() if name in shown}
    chunked = settings.packetisation(summary.setup)
    grown = {"packetisation": chunked} if chunked else {}
    rates = {rate.name: RATES[rate.name].sentence for rate in summary.rates}
    return measures | rates | METHOD | grown


KEYS = (
    "run_id",
    "scenario",
    "labels",
    "state",
    "stopped",
    "tool",
    "targets",
    "scripts",
    "settings",
    "host",
    "workers",
    "part_of",
    "parts",
)
"""The parts of run.json that the page shows as they are."""


def run_settings(summary: Summary) -> Iterable[tuple[str, str]]:
    """What was run, flattened: one line for each part of the document."""
    document = summary.run.document
    for key in KEYS:
        value = document.get(key)
        for index, entry in enumerate(value if isinstance(value, list) else [value]):
            if entry not in (None, "", {}, []):
                yield key if index == 0 else "", _flat(entry)


def _flat(value: object) -> str:
    if isinstance(value, dict):
        parts = ((key, _flat(entry)) for key, entry in value.items() if entry not in (None, "", {}, []))
        return ", ".join(f"{key} {text}" for key, text in parts)
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
