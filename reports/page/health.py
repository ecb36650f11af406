"""The section of the page on whether its figures can be trusted. Nothing is computed here."""

from __future__ import annotations

from typing import Any

import numpy as np

from reports.numbers import count, percent
from reports.page.frames import WHOLE_S
from reports.page.sections import event_row
from reports.statistics.components import Spread
from reports.summary.events import measured_seconds
from reports.summary.figures import Figures
from reports.summary.spread import figures_of
from reports.summary.summary import Summary
from reports.summary.trust import trust
from reports.summary.verdict import Rule
from reports.wording import words


def health(summary: Summary) -> dict[str, Any]:
    """Whether the figures can be trusted."""
    verdict, document = summary.verdict, summary.run.document
    line = {
        None: f"Not judged: {verdict.reason}.",
        True: f"Yes, as far as the load generator goes: {verdict.count}.",
        False: f"No: {verdict.count}.",
    }[verdict.valid]
    stamps = document.get("stamp_source")
    totals = document.get("totals") or {}
    said = [f"Stamps: {stamps}." if stamps else "Where stamps came from is not known."]
    if totals.get("events"):
        said.append(
            f"{count(totals['events'])} events{' of the whole run' if summary.window.warmup_s else ''}, "
            f"{count(totals.get('stamp_fallbacks') or 0)} without a kernel stamp."
        )
    seconds = measured_seconds(summary.run.seconds, summary.window.measured_from_s)
    cpu = seconds.loc[(seconds["length_ns"] >= WHOLE_S * 1e9).to_numpy(), "cpu"]  # of a cut second it says little
    if cpu.notna().any():
        said.append(f"Processor of the busiest worker: {percent(float(cpu.max()), 1)} at most.")
    if summary.turns.rows.size:
        gaps = int(np.nansum(summary.turns.column("inexact_gaps")))
        said.append(f"{count(gaps)} gaps between deltas were left out as inexact.")
    said += [words.sentence(line) for line in trust(summary.run)]
    return {
        "spreads": [_spread(summary, figures, spread) for figures, spread in summary.spreads],
        "line": line,
        "rules": [_rule(rule) for rule in verdict.rules],
        "lines": [event_row(summary, one) for one in summary.harness],
        "note": " ".join(said),
    }


def _spread(summary: Summary, figures: Figures, spread: Spread) -> dict[str, Any]:
    """A line of the table that says how large a comparison must be."""
    return {
        "measure": words.named(figures),
        "colour": summary.targets.index(figures.target),
        "label": words.whose(figures),
        "cells": figures_of(spread),
    }


def _rule(rule: Rule) -> dict[str, Any]:
    word, style = {
        None: ("– nothing to judge", "soft"),
        True: ("✓ passed", "good"),
        False: ("✕ failed", "bad"),
    }[rule.passed]
    return {
        "title": f"({rule.rule}) {rule.name}" if rule.rule else rule.name,
        "measure": rule.measure,
        "note": rule.note,
        "figure": rule.written(rule.figure),
        "limit": rule.written(rule.limit),
        "width": round(min(100.0, rule.used * 80), 1),
        "passed": rule.passed,
        "word": word,
        "style": style,
        "remedy": rule.remedy if rule.passed is False else "",
    }
