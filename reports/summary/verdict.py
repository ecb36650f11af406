"""Whether a run's figures may be used, as its document says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from bench.units import NS_PER_S
from reports.blocks import MARKS
from reports.numbers import NBSP, three
from reports.schemas.document import Record, Rounded

RunWord = Literal["VALID", "INVALID", "NOT JUDGED"]


class RuleResult(Record, frozen=True):
    """A rule of validity, its figure, its limit and what to do; null: it did not apply, or had no data."""

    rule: str
    name: str
    measure: str
    figure: Rounded | None
    limit: Rounded | None
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
class NotJudged:
    """Why a run has no verdict; `note`: in the words of a rule that had no data."""

    kind: Literal["running", "closing", "warm-up", "killed", "unknown", "nothing"]
    turns: int = 0
    """all of the run's, which were of the warm-up"""
    warmup_s: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class RunVerdict:
    """Whether the figures may be used; None: not judged, and why."""

    valid: bool | None
    rules: tuple[RuleResult, ...]
    not_judged: NotJudged | None = None

    @property
    def word(self) -> RunWord:
        return "NOT JUDGED" if self.valid is None else "VALID" if self.valid else "INVALID"

    @property
    def glyph(self) -> str:
        return MARKS[self.word].glyph

    @property
    def broken(self) -> tuple[RuleResult, ...]:
        return tuple(rule for rule in self.rules if rule.passed is False)


def verdict_of(document: dict[str, Any]) -> RunVerdict:
    """The document's verdict. Nothing that may be missing there is taken for granted."""
    found = document.get("verdict") or {}
    rules = tuple(_rule(entry) for entry in found.get("rules") or [] if isinstance(entry, dict))
    valid = found.get("valid")
    if valid is None:
        return RunVerdict(None, rules, _not_judged(document, rules))
    return RunVerdict(bool(valid), rules)


def _not_judged(document: dict[str, Any], rules: tuple[RuleResult, ...]) -> NotJudged:
    state = document.get("state")
    if state == "running" or state == "closing":
        return NotJudged(state)
    if taken := taken_by_warm_up(document):
        return taken
    if note := next((rule.note for rule in rules if rule.passed is None and rule.note), ""):
        return NotJudged("unknown", note=note)
    return NotJudged("killed" if state == "killed" else "nothing")


def taken_by_warm_up(document: dict[str, Any]) -> NotJudged | None:
    """That nothing was measured, where all turns were of the warm-up; None where there are others."""
    totals = document.get("totals") or {}
    turns = sum((totals.get("turns") or {}).values())
    if not turns or totals.get("warmup_turns") != turns:
        return None
    return NotJudged("warm-up", turns, document.get("warmup_s") or 0)


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


BUSIEST = 10
"""A run is held against its calibration in so many of its seconds, those with the most events."""


def busiest(seconds: pd.DataFrame) -> tuple[float, float]:
    """(most sessions that a process had open, events a second in its busiest seconds), of the busiest process."""
    if not len(seconds):
        return 0.0, 0.0
    rate = seconds["events"] / seconds["length_ns"].clip(lower=1) * NS_PER_S
    by_second = seconds.assign(rate=rate.where(seconds["length_ns"] > 5e8, 0.0)).groupby(["worker", "second"])
    totals = by_second[["sessions_active", "rate"]].sum()
    rates = [np.sort(of["rate"].to_numpy())[-BUSIEST:].mean() for _, of in totals.groupby("worker")]
    return float(totals["sessions_active"].max()), float(max(rates))
