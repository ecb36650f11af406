"""Judges a step: good, too much, or nothing, because something other than the harness was at its limit; pure."""

from __future__ import annotations

from dataclasses import dataclass

from bench.run.calibration import LIMIT_MS, Outcome
from bench.simulator.lateness import LATE_MS

FULL = 0.95
"""The share of its cores from which on a process has no time left."""
OTHERS = 0.2
"""What other programs may take of the cores in use, in cores, before they are blamed for a step that is not good."""
FAILED_SHARE = 0.01
"""From here on p99 lies among turns that failed, or among those of which the truth is not known."""
OPEN_SHARE = 0.99
"""Of the sessions that were wanted, so many must be open all the time: no script ends within a step."""

DIED: tuple[Outcome, str] = ("late", "the simulator died")


@dataclass(frozen=True)
class StepEvidence:
    """The figures of a step by which it is judged. Times in ms; None where it is not known.

    `turns` were begun or lost, `failed` of them did not end well, and of `unjoined` good ones the truth does not tell.
    `sessions` were wanted, and never fewer than `open` were there. `worst`: the measure that is most wrong, and p99 of
    its error; None where no turn could be compared. `harness`: its share of its core; `simulator`: its share of each
    core that it has; `died`: whether it ended before it was told to; `others`: what other programs took, in cores.
    """

    turns: int
    failed: int
    unjoined: int
    sessions: int
    open: int
    valid: bool | None
    broken: str
    worst: tuple[str, float] | None
    late_p99: float | None
    harness: float | None
    simulator: float | None
    died: bool
    others: float | None


def judge(evidence: StepEvidence) -> tuple[Outcome, str]:
    """(outcome, why it is not good).

    A simulator that died or was late judges nobody, unless the harness was at its own limit: then it slows its peer.
    Other programs make figures worse, never better: what is good beside them is good, what is not may be their doing.
    """
    if evidence.died:
        return DIED
    late, wrong = _simulator(evidence), _wrong(evidence)
    if wrong and _full(evidence.harness):
        return "bad", f"{wrong}; the harness had no time left"
    if (late or wrong) and evidence.others is not None and evidence.others > OTHERS:
        return "busy", f"other programs took {evidence.others:.0%} of a core ({late or wrong})"
    if late:
        return "late", late
    return ("bad", wrong) if wrong else ("good", "")


def dead(why: str, *, simulator_died: bool) -> tuple[Outcome, str]:
    """Judge a run that did not come to its end: (outcome, why it is not good)."""
    return DIED if simulator_died else ("bad", why)


def _full(share: float | None) -> bool:
    return share is not None and share >= FULL


def _simulator(evidence: StepEvidence) -> str:
    """Why the simulator's truth is not to be used."""
    if evidence.late_p99 is not None and evidence.late_p99 > LATE_MS:
        return f"the simulator was late: p99 {evidence.late_p99:.2g} ms"
    if _full(evidence.simulator):
        return f"the simulator had no time left: {evidence.simulator:.0%} of its cores"
    if evidence.worst is None and evidence.unjoined:
        return "the simulator could not tell the truth of any turn"
    return ""


def _wrong(evidence: StepEvidence) -> str:
    """Say what is not good about the harness."""
    if evidence.open < OPEN_SHARE * evidence.sessions:
        return f"only {evidence.open} of {evidence.sessions} sessions were open"
    if evidence.failed > FAILED_SHARE * evidence.turns:
        return f"{evidence.failed} of {evidence.turns} turns failed or were lost"
    if evidence.worst is None:
        return "no turn could be compared with the truth"
    if evidence.unjoined > FAILED_SHARE * evidence.turns:
        return f"{evidence.unjoined} of {evidence.turns} turns could not be compared with the truth"
    if not evidence.valid:
        return evidence.broken or "the run was not judged"
    measure, p99 = evidence.worst
    return f"{measure} wrong by {p99:.2g} ms" if p99 > LIMIT_MS else ""
