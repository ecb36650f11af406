"""Whether a run's figures may be used, as its document says it."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from bench.units import NS_PER_S
from reports.blocks import MARKS
from reports.numbers import NBSP, count, listed, plural, span, three
from reports.runs import RunFrames, hosts_of
from reports.schemas.document import Record, Rounded

STATES = {"running": "the run has not ended", "closing": "the run has not been closed"}
"""Why a run in such a state has no verdict."""


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


class RunVerdict(Record, frozen=True):
    """Whether the figures may be used; null: not judged, the reason says why."""

    valid: bool | None
    reason: str
    rules: tuple[RuleResult, ...]

    @property
    def word(self) -> RunWord:
        return "NOT JUDGED" if self.valid is None else "VALID" if self.valid else "INVALID"

    @property
    def glyph(self) -> str:
        return MARKS[self.word].glyph

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


NOT_CALIBRATED = "not calibrated: `rtbench calibrate` says how wrong this machine's figures are"
BUSIEST = 10
"""A run is held against its calibration in so many of its seconds, those with the most events."""
ABOVE_MEAN = 1.1
"""Its busiest seconds may have so many times the events that the calibration had in the mean of all."""


def trust(run: RunFrames) -> list[str]:
    """calibrated on 2026-11-20: errors p99 ≤ 1 ms up to 700 listening sessions per process; this run went beyond it: ….

    Nothing of a run that was made before there were calibrations.
    """
    hosts = hosts_of(run.document)
    if len(hosts) > 1:
        return [line for host in hosts for line in _trust_on(host, run.seconds)]
    if "calibration" not in run.document:
        return []
    cited = run.document["calibration"]
    return [cited_line(cited), *beyond_calibration(cited, run.seconds)] if cited else [NOT_CALIBRATED]


def _trust_on(host: dict[str, Any], seconds: pd.DataFrame) -> list[str]:
    """What of a host's load was more than was calibrated there; which hosts are calibrated has its own table."""
    cited, mine = host.get("calibration"), seconds[(seconds["host"] == host["name"]).to_numpy()]
    return [f"{host['name']}: {line}" for line in beyond_calibration(cited, mine)] if cited else []


def cited_line(cited: dict[str, Any]) -> str:
    """What the calibration says, and how this run differs from it: calibrated on 2026-11-20, with another kernel: …."""
    stale = f", {listed(cited['stale'])}" if cited["stale"] else ""
    sessions = f"{'at least ' if cited.get('ended') else ''}{count(cited['sessions'])} {cited['kind']} sessions"
    return (
        f"calibrated on {cited['date']}{stale}: error p99 ≤ 1 ms up to {sessions} per process, "
        f"{count(cited['events_per_s'])} events/s"
    )


def beyond_calibration(cited: dict[str, Any], seconds: pd.DataFrame) -> list[str]:
    """What of the run's load in one process was more than was calibrated, and what ended the calibration there."""
    sessions, events_per_s = busiest(seconds)
    more = [
        f"{count(was)} {what}"
        for was, known, what in (
            (sessions, cited["sessions"], "sessions"),
            (events_per_s, cited["events_per_s"] * ABOVE_MEAN, "events/s"),
        )
        if was > known
    ]
    ended = f" ({cited['ended']}, not the harness, ended it)" if cited.get("ended") else ""
    return [f"this run went beyond its calibration{ended}: {listed(more)} in one process"] if more else []


def busiest(seconds: pd.DataFrame) -> tuple[float, float]:
    """(most sessions that a process had open, events a second in its busiest seconds), of the busiest process."""
    if not len(seconds):
        return 0.0, 0.0
    rate = seconds["events"] / seconds["length_ns"].clip(lower=1) * NS_PER_S
    by_second = seconds.assign(rate=rate.where(seconds["length_ns"] > 5e8, 0.0)).groupby(["worker", "second"])
    totals = by_second[["sessions_active", "rate"]].sum()
    rates = [np.sort(of["rate"].to_numpy())[-BUSIEST:].mean() for _, of in totals.groupby("worker")]
    return float(totals["sessions_active"].max()), float(max(rates))
