"""report.html: the summary and its frames in the words and cells of the template. Nothing is computed here."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from bench.measures import CATALOGUE, DEFINITIONS_VERSION
from reports.blocks import Panes, Section, kinds
from reports.numbers import moment
from reports.page import accounts, answers, calls, health, sections
from reports.page.pieces import grown
from reports.page.svg import GLYPHS
from reports.summary.summary import Summary
from reports.wording import failings, remarks, sentences, words

METHOD = {
    "service time": "Latency that counts from the turn's origin, not from when a schedule wanted the turn to begin.",
    "interval": "95 %: order statistics with a design effect. Sessions, not turns, are the unit, "
    "for turns of one session resemble each other more than those of different sessions.",
    "failed turns": "Counted as endlessly slow in every percentile of a wait. "
    "Turns cut by the end of the run are left out, and counted.",
    "sigma": "Standard deviation of the logarithm of successful waits: 0.5 is a factor of 1.65 to either side.",
    "ICC": "The share of that variance which lies between sessions: at 0 the turns of a session resemble each other "
    "no more than any others, at 1 a session says the same with every turn.",
    "design effect": "By how much sessions instead of independent turns widen the variance of a percentile: at 2, "
    "2,000 turns say as much as 1,000 independent ones.",
    "drift": "The second half of the measured phase against the first. It is suspected where the 99 % interval of the "
    "ratio of the medians excludes 1 and they lie more than 5 % apart; each half needs 20 sessions.",
    "n/a": "A percentile is published only with sessions enough to bound it: with ten turns each p90 takes 20, p95 40, "
    "p99 198; with one turn each 50, 100, 500; more where sessions differ much.",
    "lost turns": "Wanted by the script and never begun, because their session had ended.",
    "failures": "(failed turns + lost turns) ÷ turns wanted, those cut by the end of the run left out.",
}


@cache
def environment() -> Environment:
    """Templates of this package; everything is escaped, what is missing is an error."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    made.filters["kind"] = kinds
    made.globals["glyphs"] = GLYPHS
    return made


def html(summary: Summary) -> str:
    """The page: one file that needs nothing else."""
    return environment().get_template("run.html.j2").render(context(summary))


def context(summary: Summary) -> dict[str, Any]:
    """What the template names."""
    sections = list(sections_of(summary))
    measured = any(section.anchor == "flow" for section in sections)
    return _opening(summary) | {
        "sections": sections,
        "tabs": [key for s in sections for block in s.blocks if isinstance(block, Panes) for key, _, _ in block.panes],
        "apart": accounts.apart(summary),
        "cost": accounts.whole_cost(summary),
        "defs": _definitions(summary, flow=measured),
    }


def sections_of(summary: Summary) -> Iterable[Section]:
    """The page below its answer, in the order of a reader's questions; without those that this run has no answer to."""
    found = (
        answers.spread(summary),
        sections.time(summary),
        calls.segments(summary),
        calls.hearing(summary),
        sections.steps(summary),
        calls.along(summary),
        sections.outcomes(summary),
        accounts.quota(summary),
        accounts.money(summary),
        sections.connect(summary),
        calls.network(summary),
        sections.flow(summary),
        sections.others(summary),
        health.health(summary),
        accounts.incidents(summary),
        calls.slowest(summary),
        accounts.arms(summary),
    )
    return filter(None, found)


def _opening(summary: Summary) -> dict[str, Any]:
    verdict = summary.verdict
    style = "hm" if verdict.valid is None else "ok" if verdict.valid else "no"
    title = f"{summary.scenario}, {moment(summary.window.began_utc_ns)}"
    return {
        "title": f"{verdict.word}{' · SIMULATED' if summary.simulated else ''} · {title}",
        "badge": {"style": style, "glyph": verdict.glyph, "word": verdict.word, "count": verdict.count},
        "simulated": summary.simulated,
        "invalid": verdict.valid is False,
        "scenario": summary.called,
        "began": moment(summary.window.began_utc_ns),
        "lasted": words.lasted(summary),
        "headline": sentences.headline(summary),
        "decided": summary.decided,
        "throughput": "; ".join(remarks.throughput(summary)),
        "second": " ".join(filter(None, (sentences.heard(summary), failings.second(summary)))),
        "broken": [
            {"line": words.rule_line(r), "figure": words.rule_figure(r), "remedy": words.remedy(r)}
            for r in verdict.broken
        ],
        "answers": list(answers.answers(summary)),
        "targets": summary.targets,
        "notices": summary.notices,
        "settings": list(settings(summary)),
        "grown": grown(summary),
        "folder": summary.run.folder.resolve().name,
        "definitions": f"version {summary.run.document.get('definitions') or DEFINITIONS_VERSION}",
    }


def _definitions(summary: Summary, *, flow: bool) -> dict[str, str]:
    """Of the measures on this page, in the words of the catalogue."""
    shown = {f.measure for f in (*summary.measures, *summary.connecting)}
    shown |= {one.measure for one in (*summary.harness, *summary.events)}
    shown |= {rate.measure for rate in summary.throughput if rate.total_bytes and flow}
    shown |= {rule.measure for rule in summary.verdict.rules}
    shown |= set(summary.mains.values())
    said = {name: measure.sentence for name, measure in CATALOGUE.items() if name in shown}
    grown = {"packetisation": summary.setup.packetisation} if summary.setup.packetisation else {}
    return said | METHOD | grown


KEYS = ("run_id", "scenario", "labels", "state", "stopped", "tool", "targets", "scripts", "settings", "host", "workers")
"""The parts of run.json that the page shows as they are."""


def settings(summary: Summary) -> Iterable[tuple[str, str]]:
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
