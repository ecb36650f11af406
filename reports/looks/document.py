"""decision.json, schema 1: what was planned, what every look saw, and what came of it; enough to compute it again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.run.disk import write_text
from reports.looks.decision import Decision
from reports.looks.sequence import Look, Ruling
from reports.looks.text import sentence
from reports.wording.unusable import texts

SCHEMA = 1
NAME = "decision.json"


def write(decision: Decision, folder: Path) -> Path:
    """Raises UsageError where the folder cannot be written to."""
    path = folder / NAME
    try:
        write_text(path, json.dumps(as_data(decision), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    except OSError as error:
        raise UsageError(f"the decision cannot be written to {folder}: {error.strerror}") from None
    return path


def as_data(decision: Decision) -> dict[str, Any]:
    """Differences are logs of ratios, of rates points (0.01 is one percentage point); null where open or unknown."""
    plan, course = decision.plan, decision.course
    return {
        "schema": SCHEMA,
        "run_id": str(decision.run.document.get("run_id") or decision.run.folder.name),
        "baseline": decision.targets[0],
        "candidate": decision.targets[1],
        "simulated": decision.run.simulated,
        "ended": decision.ended,
        "stopped": decision.stopped,
        "status": decision.status,
        "reason": course.reason,
        "invalid": "; ".join(texts(decision.invalid)) or None,
        "sentence": sentence(decision),
        "pairs": decision.used,
        "pairs_after": decision.after,
        "plan": {
            "pairs": plan.pairs,
            "looks": list(plan.looks),
            "gates": {measure: list(written) for measure, written in plan.gates.items()},
            "level": plan.level,
            "spending": plan.spending,
            "draws": plan.draws,
        },
        "seed": decision.seed,
        "looks": [_look(decision, look) for look in course.looks],
        "gates": [_gate(decision, at, ruling) for at, ruling in enumerate(course.rulings)],
    }


def _look(decision: Decision, look: Look) -> dict[str, Any]:
    return {
        "pairs": look.pairs,
        "share": look.pairs / decision.plan.pairs,
        "critical": _number(look.c),
        "critical_first": _number(look.c_first),
        "gates": [
            {
                "name": gate.name,
                "d": _number(seen.d),
                "excess": _number(seen.excess),
                "se": _number(seen.se),
                "df": _number(seen.df),
                "z": _number(seen.z),
                "untested": seen.untested or None,
                "drifts": seen.drifts,
            }
            for gate, seen in zip(decision.gates, look.seen, strict=True)
        ],
    }


def _gate(decision: Decision, at: int, ruling: Ruling) -> dict[str, Any]:
    gate = decision.gates[at]
    return {
        "name": gate.name,
        "measure": gate.measure,
        "kind": gate.kind,
        "p": gate.p,
        "step": gate.step or None,
        "origin": gate.origin or None,
        "margin": {"ratio": gate.margin.ratio, "points": gate.margin.points, "plus": gate.margin.plus},
        "scale": "points" if gate.kind == "rate" else "ratio",
        "verdict": ruling.word,
        "reason": ruling.reason or None,
        "provisional": ruling.provisional,
        "look": ruling.look + 1,
        "pairs": decision.course.looks[ruling.look].pairs,
        "d": _number(ruling.d),
        "low": _number(ruling.low),
        "high": _number(ruling.high),
        "corrected": _number(ruling.corrected),
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
