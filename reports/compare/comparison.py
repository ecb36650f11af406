"""A comparison in plain data: what compare.json, the terminal, the comment and the page say, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reports.compare.question import Question
from reports.compare.sides import Side
from reports.statistics.differences import Difference
from reports.statistics.verdicts import Verdict

Design = Literal["pairs", "sessions", "stored runs"]


@dataclass(frozen=True)
class Finding:
    """The answer to one question about one candidate. Counts are of the baseline and of the candidate."""

    question: Question
    candidate: str
    difference: Difference | None
    """None where an arm has no such figure"""
    verdict: Verdict
    turns: tuple[int, int]
    sessions: tuple[int, int]
    failed: tuple[int, int]


@dataclass(frozen=True)
class Check:
    """A line of "Was the comparison fair?": a text for each side. `fair` None: said for information."""

    name: str
    texts: tuple[str, ...]
    fair: bool | None
    remedy: str = ""


@dataclass(frozen=True)
class Method:
    """How it was computed: enough to compute it again."""

    design: Design
    unit: int
    """pairs, or sessions of the smaller arm"""
    draws: int
    seed: int
    level: float
    holm: int
    """gated questions that Holm's correction is over"""
    run_sd: float = 0.0
    """spread from run to run that was assumed, on the log scale; 0 for none"""


@dataclass(frozen=True)
class Comparison:
    """The first side is the baseline. Findings are those of every candidate, gated ones first."""

    sides: tuple[Side, ...]
    findings: tuple[Finding, ...]
    checks: tuple[Check, ...]
    method: Method
    notices: tuple[str, ...]
    simulated: bool

    @property
    def unfair(self) -> tuple[Check, ...]:
        """What makes it invalid."""
        return tuple(check for check in self.checks if check.fair is False)

    @property
    def gated(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.question.gated)

    @property
    def status(self) -> int:
        """As `rtbench check` exits: 4 invalid, 1 regressed, 3 inconclusive, 0 every gated figure passes."""
        if self.unfair or not self.gated:
            return 4
        if any(finding.verdict.word == "regressed" for finding in self.gated):
            return 1
        return 0 if all(finding.verdict.passes for finding in self.gated) else 3
