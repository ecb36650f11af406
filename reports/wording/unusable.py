"""Why figures may not be used: the same words in compare, check and decide, on the terminal and in every file; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.numbers import listed
from reports.summary.verdict import RuleResult, RunVerdict, taken_by_warm_up
from reports.wording.words import rule_said

LEAD = "Do not use these figures"
RUN = "the run"


@dataclass(frozen=True)
class Cause:
    """A clause that names what it is true of, and what to do. `folder`: the run whose own it is, None of none."""

    text: str
    remedy: str = ""
    folder: Path | None = None

    @property
    def line(self) -> str:
        """the run is INVALID by rule (c), audio chunks were sent late: …. Lower the load."""
        return " ".join(filter(None, (f"{self.text.rstrip('.')}.", remedies([self]))))


def of_run(verdict: RunVerdict, document: Mapping[str, Any], folder: Path, whose: str = RUN) -> tuple[Cause, ...]:
    """Why a run's figures may not be used, a cause for each broken rule; none of a valid one. `whose`: its name."""
    if verdict.valid:
        return ()
    if verdict.valid is None:
        return (Cause(f"{whose} is {verdict.word}: {verdict.reason}", _to_be_judged(document), folder),)
    broken = [Cause(f"{whose} is {verdict.word} by {_rule(rule)}", rule.remedy, folder) for rule in verdict.broken]
    return tuple(broken) or (Cause(f"{whose} is {verdict.word}: {verdict.reason}", "", folder),)


def _rule(rule: RuleResult) -> str:
    """rule (c), audio chunks were sent late: send_lag was 14.2 ms, the limit is 10 ms (p99, a tenth of a chunk)."""
    note = f" ({rule.note})" if rule.note else ""
    named = f"rule ({rule.rule}), " if rule.rule else ""
    figures = f"{rule.measure} was {rule.written(rule.figure)}, the limit is {rule.written(rule.limit)}{note}"
    return f"{named}{rule_said(rule)}: {figures}"


def _to_be_judged(document: Mapping[str, Any]) -> str:
    if taken_by_warm_up(dict(document)):
        return ""  # which says what to do
    return "see how its turns ended: rtbench report" if document.get("state") == "ended" else "run it again, to its end"


def run_word(verdict: str, *, usable: bool) -> str:
    """INVALID or NOT JUDGED of the run itself; of one that is valid INVALID COMPARISON where it is not usable.

    `verdict`: the run's, as a word.
    """
    return "INVALID COMPARISON" if verdict == "VALID" and not usable else verdict


def do_not_use(causes: Sequence[Cause]) -> str:
    """Do not use these figures: …, with every cause once."""
    return f"{LEAD}: {'; '.join(texts(causes))}."


def texts(causes: Iterable[Cause]) -> list[str]:
    """Each clause once."""
    return list(dict.fromkeys(cause.text for cause in causes))


def remedies(causes: Iterable[Cause]) -> str:
    """What to do, as sentences; empty where nobody knows."""
    known = dict.fromkeys(cause.remedy.rstrip(". ") for cause in causes if cause.remedy)
    return " ".join(f"{remedy[:1].upper()}{remedy[1:]}." for remedy in known)


def run_called(labels: Sequence[str], *, only: bool) -> str:
    """How a run is called: the run; the run of new, where there are others."""
    return RUN if only else f"{RUN} of {listed(list(labels))}"
