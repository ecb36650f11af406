"""The section of the page on whether its figures can be trusted. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from bench.measures import CATALOGUE
from bench.units import NS_PER_S
from reports.blocks import (
    Block,
    Cell,
    Column,
    Fold,
    Head,
    Inline,
    Line,
    Paragraph,
    Reading,
    Row,
    Section,
    Term,
    coded,
    table,
)
from reports.numbers import count, percent
from reports.page.pieces import note, of_target, quantiles
from reports.summary.curves import WHOLE_S
from reports.summary.events import measured_seconds
from reports.summary.summary import Summary
from reports.summary.verdict import RuleResult
from reports.wording import groups, remarks, validity, words

POOLED = (
    "{} hosts recorded this run. Figures elsewhere are of all of them together; where hosts differ, of the mixture. "
    "No latency depends on a host’s clock; seconds and blocks do, by its offset against the leader’s."
)
OF_HARNESS = ("stamp_error", "start_lag", "hub_delay", "send_lag")


def health(summary: Summary) -> Section:
    """Whether the figures can be trusted."""
    verdict, document = summary.verdict, summary.run.document
    line = {
        None: f"Not judged: {validity.verdict_reason(verdict)}.",
        True: f"Yes, as far as the load generator goes: {validity.verdict_count(verdict)}.",
        False: f"No: {validity.verdict_count(verdict)}.",
    }[verdict.valid]
    stamps = document.get("stamp_source")
    totals = document.get("totals") or {}
    said = [f"Stamps: {stamps}." if stamps else "The source of the stamps is not known."]
    if totals.get("events"):
        said.append(
            f"{count(totals['events'])} events{' of the whole run' if summary.window.warmup_s else ''}, "
            f"{count(totals.get('stamp_fallbacks') or 0)} without a kernel stamp."
        )
    seconds = measured_seconds(summary.run.seconds, summary.window.measured_from_s)
    cpu = seconds.loc[(seconds["length_ns"] >= WHOLE_S * NS_PER_S).to_numpy(), "cpu"]  # of a cut second it says little
    if cpu.notna().any():
        said.append(f"Processor of the busiest worker: {percent(float(cpu.max()), 1)} at most.")
    if summary.turns.rows.size:
        gaps = int(np.nansum(summary.turns.column("inexact_gaps")))
        said.append(f"{count(gaps)} gaps between deltas were left out as inexact.")
    said += validity.trusted(summary)
    blocks = [
        Paragraph(line),
        *_rules(verdict.rules),
        *_harness(summary),
        *_spreads(summary),
        *note(coded(" ".join(said))),
    ]
    return Section("health", "Harness health", "Can these figures be trusted?", blocks)


def hosts(summary: Summary) -> Section | None:
    """What each host recorded, and how far each can be trusted; None where one host recorded all."""
    if not summary.hosts:
        return None
    blocks: list[Block] = [Paragraph(POOLED.format(len(summary.hosts)))]
    for of in summary.waits_by("host"):
        blocks += groups.waits_blocks(of, summary.targets)
    own: list[Head] = ["host", "workers", *map(Term, OF_HARNESS), "clock offset", Column("calibrated", left=True)]
    blocks += [
        Paragraph("What each harness measured of itself: p99, in ms.", "q gap"),
        table(own, [[*words.host_facts(host)] for host in summary.hosts]),
    ]
    return Section("hosts", "Hosts", "Do the hosts agree?", blocks)


def _rules(rules: Sequence[RuleResult]) -> list[Block]:
    heads = (
        "check",
        Column("result", left=True),
        "figure",
        "limit",
        Column("used", left=True, style="narrowout", drawn=True),
    )
    what: list[Block] = [
        Paragraph("These checks decide whether a run is valid."),
        Reading("The mark on each bar is the limit."),
    ]
    return [*what, table(heads, [_rule(rule) for rule in rules])] if rules else []


def _rule(rule: RuleResult) -> Line:
    word, style = words.result(rule.passed, "– nothing to judge")
    about: Inline = (Term(rule.measure), f"{', ' if rule.measure and rule.note else ''}{rule.note}")
    return [
        Cell(f"({rule.rule}) {rule.name}" if rule.rule else rule.name, about),
        Cell(word, rule.remedy if rule.passed is False else "", style=f"{style}-ink"),
        rule.written(rule.figure),
        rule.written(rule.limit),
        _bar(rule),
    ]


def _bar(rule: RuleResult) -> Markup:
    """How much of the limit was used."""
    bar = Markup('<div class="bar{}"><i style="width:{}%"></i><b></b></div>')
    return bar.format(" x" if rule.passed is False else "", round(min(100.0, rule.used * 80), 1))


def _harness(summary: Summary) -> list[Block]:
    heads = ("measure", "n", "p50", "p90", "p95", "p99", "max", Column("what it is", left=True, style="narrowout"))
    rows: list[Row | Line] = [
        [Term(one.measure), count(one.n), *quantiles(one), Cell(CATALOGUE[one.measure].sentence, style="what")]
        for one in summary.harness
    ]
    body: list[Block] = [Paragraph("In ms, over all targets."), table(heads, rows)]
    return [Fold("What the harness measured of itself", body)] if rows else []


def _spreads(summary: Summary) -> list[Block]:
    """What says how large a comparison must be."""
    effect: Inline = (Term("design effect"), ", p50")
    rows: list[Row | Line] = [
        [
            words.named(f),
            of_target(summary, summary.targets.index(f.target), words.whose(f)),
            *remarks.spread_figures(spread),
        ]
        for f, spread in summary.spreads
    ]
    what = Paragraph("How the waits scatter, which is what the size of a comparison hangs on:", "q gap")
    heads = (
        "measure",
        Column("target", left=True),
        Term("sigma"),
        Term("ICC"),
        effect,
        "p95",
        Term("sessions count as"),
    )
    return [what, table(heads, rows)] if rows else []
