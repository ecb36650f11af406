"""compare.html: a comparison in the words and cells of the template; verdicts are taken, never made here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reports.compare import curves, forest, path, sentences
from reports.compare.comparison import Comparison
from reports.compare.forest_rows import Panel, Row, panels, with_unit
from reports.compare.page_definitions import VERDICTS, definitions, method
from reports.compare.page_head import opening
from reports.numbers import NBSP, count, three
from reports.page.charts import percentiles
from reports.page.page import environment
from reports.page.pieces import drawn
from reports.page.svg import HALF, glyph
from reports.question import Question
from reports.sides.fairness import Check
from reports.wording.words import since


def html(comparison: Comparison, decision: Mapping[str, Any] | None = None) -> str:
    """The page: one file that needs nothing else. `decision`: decision.json of a run that was judged while it ran."""
    return environment().get_template("compare.html.j2").render(context(comparison, decision))


def context(comparison: Comparison, decision: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the template names."""
    found = panels(comparison)
    rows = [row for panel in found for row in panel.rows]
    return {
        **opening(comparison, decision),
        **_answer(comparison, found, rows),
        **_shift(comparison),
        "path": _path(decision),
        "checks": [_check(check) for check in comparison.checks],
        "sides": list(_sides(comparison)),
        "defs": definitions(comparison),
        "method": method(comparison),
        "tabs": [],
    }


def _answer(comparison: Comparison, found: Sequence[Panel], rows: Sequence[Row]) -> dict[str, Any]:
    """The forest plots, how to read them, and their numbers."""
    several = len(comparison.sides) > 2
    return {
        "panels": [
            {"title": panel.title, "named": panel.axis != "lower"} | drawn(forest.forest(panel)) for panel in found
        ],
        "reading": forest.reading(found) if found else "",
        "worst": sentences.worst_steps(comparison),
        "interval": f"{three(100 * (1 - 2 * comparison.method.level))}{NBSP}%",
        "several": several,
        "figures": list(dict.fromkeys(row.finding.question.measure for row in rows)),
        "verdicts": list(_named(rows)),
        "table": [_numbers(row) for row in rows],
    }


def _named(rows: Sequence[Row]) -> Iterable[str]:
    """The words of these rows that have a definition."""
    yield from (word for word in VERDICTS if any(row.word == word for row in rows))
    yield from ("margin", "interval")
    if any(row.verdict.endswith("(Holm)") for row in rows):
        yield "Holm"
    if any(row.finding.verdict.provisional for row in rows):
        yield "provisional"


def _path(decision: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The estimates over the looks; None where a run was not looked at, or no look has one."""
    found = path.paths(decision) if decision else []
    if not decision or not found:
        return None
    figures = [{"name": one.name, "line": one.line} | drawn(path.path(one)) for one in found]
    return {"line": path.reason(decision), "figures": figures}


def _numbers(row: Row) -> dict[str, Any]:
    """A line of the table of numbers."""
    finding = row.finding
    measure = finding.question.measure
    return {
        "measure": measure,
        "rest": row.name.removeprefix(measure) if row.name.startswith(measure) else "",
        "beside": row.beside,
        "candidate": row.candidate,
        "colour": row.colour,
        "cells": [*(with_unit(value, row.unit) for value in row.values), row.change, row.interval],
        "margin": row.margin_text,
        "style": row.word.replace(" ", "-"),
        "verdict": row.judged,
        "why": row.why,
        "counts": [" / ".join(map(count, numbers)) for numbers in (finding.turns, finding.sessions, finding.failed)],
    }


def _shift(comparison: Comparison) -> dict[str, Any]:
    """Both curves and the difference by percentile, of the main figure; no figures where it has no good turn."""
    parts: dict[str, Any] = {"curve": None, "shift": None, "measure": "", "since": "", "beyond": curves.BEYOND}
    question = curves.main_question(comparison)
    if question is None:
        return parts
    found, measure = curves.samples(comparison, question), question.measure
    arms = curves.overlaid(comparison, found)
    if not any(arm.n > arm.failed for arm in arms):
        return parts
    ratios = curves.ratios(comparison, question, found)
    shown = [ratio for ratio in ratios if any(math.isfinite(one.d) for one in ratio.differences)]
    curve = drawn(percentiles(arms, measure, HALF))
    shift = drawn(curves.by_percentile(shown, measure)) | {"line": curves.told(shown)} if shown else None
    return parts | {"measure": measure, "since": _since(comparison, question), "curve": curve, "shift": shift}


def _since(comparison: Comparison, question: Question) -> str:
    """What the measure counts from, and which step it is of."""
    origins = {origin for side in comparison.sides for origin in side.turns.origins}
    origin = question.origin or (origins.pop() if len(origins) == 1 else "")
    counted = since(question.measure, origin) if origin else ""
    return f"{counted}, {question.step}" if question.step else counted


def _check(check: Check) -> dict[str, Any]:
    word, style = {
        None: ("for information", "soft"),
        True: ("✓ passed", "good"),
        False: ("✕ failed", "bad"),
    }[check.fair]
    remedy = check.remedy if check.fair is not True else ""
    return {"name": check.name, "texts": check.texts, "word": word, "style": style, "remedy": remedy}


def _sides(comparison: Comparison) -> Iterable[dict[str, str]]:
    for place, side in enumerate(comparison.sides):
        role = "baseline" if place == 0 else "candidate"
        yield {"label": side.label, "glyph": glyph(place), "role": f"{role}, {side.run.folder.resolve().name}"}
