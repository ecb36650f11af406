"""compare.json: the comparison for programs. Versioned, see compare.schema.json; what does not exist is null."""

from __future__ import annotations

import json
import math
from typing import Any

from bench.measures import CATALOGUE
from reports.compare import sentences
from reports.compare.comparison import Comparison, run_id
from reports.compare.forest_rows import too_few
from reports.finding import Finding
from reports.looks.text import sentence
from reports.sides.fairness import definitions
from reports.sides.side import Side
from reports.statistics.differences import Difference
from reports.wording.differences import figure

COMPARE_VERSION = 1


def as_json(comparison: Comparison) -> str:
    """The file's text."""
    return json.dumps(as_data(comparison), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_data(comparison: Comparison) -> dict[str, Any]:
    """The comparison as lists, dictionaries, strings and numbers; an open or endless bound is null."""
    method = comparison.method
    return {
        "schema": COMPARE_VERSION,
        "status": comparison.status,
        "valid": not comparison.unfair,
        "simulated": comparison.simulated,
        "headline": sentences.headline(comparison),
        "definitions": definitions(comparison.sides[0]),
        "sides": [_side(side) for side in comparison.sides],
        "verdicts": dict(sentences.candidates(comparison)),
        "findings": [finding_data(finding, comparison) for finding in comparison.findings],
        "steps": [finding_data(finding, comparison) for finding in comparison.steps],
        "decision": _decision(comparison),
        "checks": [
            {"name": check.name, "texts": list(check.texts), "fair": check.fair, "remedy": check.remedy or None}
            for check in comparison.checks
        ],
        "method": {
            "design": method.design,
            "unit": method.unit,
            "draws": method.draws,
            "seed": method.seed,
            "level": method.level,
            "holm": method.holm,
            "run_sd": method.run_sd,
        },
        "notices": list(comparison.notices),
    }


def _decision(comparison: Comparison) -> dict[str, Any] | None:
    """What planned looks decided; null where there were none. decision.json has all of it."""
    found = comparison.decision
    if found is None:
        return None
    return {
        "sentence": sentence(found),
        "status": found.status,
        "look": len(found.course.looks),
        "looks": len(found.plan.looks),
        "pairs": found.used,
    }


def _side(side: Side) -> dict[str, Any]:
    return {
        "label": side.label,
        "target": side.name or None,
        "run_id": run_id(side),
        "folder": side.run.folder.name,
        "sessions": side.sessions,
        "turns": int(side.here.sum()),
        "pairs_cut": side.clusters.cut,
        "simulated": side.simulated,
    }


def finding_data(finding: Finding, comparison: Comparison) -> dict[str, Any]:
    """One finding; values in the unit of its measure, rates as shares."""
    question, verdict = finding.question, finding.verdict
    margin = question.margin
    numbers = {"turns": finding.turns, "sessions": finding.sessions, "failed": finding.failed}
    return {
        "candidate": finding.candidate,
        "figure": figure(question),
        "measure": question.measure,
        "kind": question.kind,
        "p": question.p,
        "origin": question.origin or None,
        "step": question.step or None,
        "unit": "share" if question.kind == "rate" else CATALOGUE[question.measure].unit,
        "gated": question.gated,
        "margin": {"ratio": margin.ratio, "points": margin.points, "plus": margin.plus},
        "verdict": verdict.word,
        "passes": verdict.passes,
        "provisional": verdict.provisional,
        "reason": verdict.reason or None,
        "more_sessions": verdict.more_sessions,
        "sentence": sentences.sentence(finding, comparison),
        "difference": None if too_few(finding) else difference_data(finding.difference),
        **{name: {"baseline": pair[0], "candidate": pair[1]} for name, pair in numbers.items()},
    }


def difference_data(found: Difference | None) -> dict[str, Any] | None:
    """`d`, `low`, `high`: logs of a ratio on the scale `ratio`, shares on the scale `points`."""
    if found is None:
        return None
    names = ("baseline", "candidate", "d", "low", "high", "se", "df", "worse_low", "worse_high", "better_low")
    return (
        {"scale": found.scale, "level": found.level}
        | {name: _finite(getattr(found, name)) for name in (*names, "p_worse", "p_better")}
        | {
            "baseline_in_failed_share": math.isinf(found.baseline),
            "candidate_in_failed_share": math.isinf(found.candidate),
        }
    )


def _finite(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
