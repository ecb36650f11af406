"""Whether a run's figures may be used, as its document says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from reports.numbers import NBSP, plural, span, three

STATES = {"running": "the run has not ended", "closing": "the run has not been closed"}
"""Why a run in such a state has no verdict."""


@dataclass(frozen=True)
class RuleResult:
    """One rule of validity: its figure, its limit and what to do. `passed` None: it did not apply or had no data."""

    rule: str
    name: str
    measure: str
    figure: float | None
    limit: float | None
    unit: str
    passed: bool | None
    note: str
    remedy: str

    @property
    def used(self) -> float:
        """The share of the limit that was used."""
        return self.figure / self.limit if self.figure is not None and self.limit else 0.0

    def written(self, value: float | None) -> str:
        """A figure in this rule's unit."""
        return "–" if value is None else f"{three(value)}{NBSP}{self.unit}".rstrip()


@dataclass(frozen=True)
class RunVerdict:
    """`valid` None: not judged, `reason` says why."""

    valid: bool | None
    reason: str
    rules: tuple[RuleResult, ...]

    @property
    def word(self) -> Literal["VALID", "INVALID", "NOT JUDGED"]:
        return "NOT JUDGED" if self.valid is None else "VALID" if self.valid else "INVALID"

    @property
    def glyph(self) -> str:
        return "?" if self.valid is None else "✓" if self.valid else "✕"

    @property
    def broken(self) -> tuple[RuleResult, ...]:
        return tuple(rule for rule in self.rules if rule.passed is False)

    @property
    def count(self) -> str:
        """3 of 3 checks passed."""
        judged = [rule for rule in self.rules if rule.passed is not None]
        if self.valid is None or not judged:
            return self.reason
        if self.broken:
            return f"{len(self.broken)} of {len(judged)} checks failed"
        return f"{len(judged)} of {len(judged)} checks passed"


def verdict_of(document: dict[str, Any]) -> RunVerdict:
    """The document's verdict. Nothing that may be missing there is taken for granted."""
    found = document.get("verdict") or {}
    rules = tuple(_rule(entry) for entry in found.get("rules") or [] if isinstance(entry, dict))
    valid = found.get("valid")
    valid = None if valid is None else bool(valid)
    return RunVerdict(valid, _reason(document, valid, rules), rules)


def _reason(document: dict[str, Any], valid: bool | None, rules: tuple[RuleResult, ...]) -> str:
    broken = [rule for rule in rules if rule.passed is False]
    if valid is False:
        return "; ".join(f"{rule.name}: no" for rule in broken) or "a check failed"
    if valid:
        return "every check that applies passed"
    if document.get("state") in STATES:
        return STATES[document["state"]]
    if taken := taken_by_warm_up(document):
        return taken
    notes = [rule.note for rule in rules if rule.passed is None and rule.note]
    if document.get("state") == "killed" and not notes:
        return "the run was killed before it was judged"
    return notes[0] if notes else "there is nothing to judge it by"


def taken_by_warm_up(document: dict[str, Any]) -> str:
    """Why nothing was measured, where all turns were of the warm-up, with what to do; empty where there are others."""
    totals = document.get("totals") or {}
    turns = sum((totals.get("turns") or {}).values())
    if not turns or totals.get("warmup_turns") != turns:
        return ""
    took = f"the warm-up of {span(document.get('warmup_s') or 0)} took {_all(turns)}"
    return f"{took}: no session began after it; run longer, or with --warmup 0"


def _all(turns: int) -> str:
    return "the only turn" if turns == 1 else f"all {plural(turns, 'turn')}"


def _rule(entry: dict[str, Any]) -> RuleResult:
    text = {key: str(entry.get(key) or "") for key in ("rule", "name", "measure", "unit", "note", "remedy")}
    passed = entry.get("passed")
    return RuleResult(
        figure=_number(entry.get("figure")),
        limit=_number(entry.get("limit")),
        passed=None if passed is None else bool(passed),
        **text,
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
