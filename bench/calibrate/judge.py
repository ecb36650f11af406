"""What a step shows: good, too much, or nothing, because something other than the harness was at its limit; pure."""

from __future__ import annotations

from dataclasses import dataclass

from bench.run.calibration import LIMIT_MS, Outcome

LATE_MS = 0.5
"""p99 of how late the simulator may be: beyond, it does not do what it is asked to."""
FULL = 0.95
"""The share of its cores from which on the simulator has no time left."""
OTHERS = 0.2
"""What other programs may take of the cores in use, in cores, before they are blamed for a step that is not good."""
FAILED_SHARE = 0.01
"""From here on p99 lies among turns that failed."""


@dataclass(frozen=True)
class Evidence:
    """What is judged. Times in ms; None where it is not known.

    `worst`: the measure that is most wrong, and p99 of its error; None where no turn could be compared.
    `simulator`: its share of each core that it has; `others`: what other programs took, in cores.
    """

    turns: int
    failed: int
    valid: bool | None
    broken: str
    worst: tuple[str, float] | None
    late_p99: float | None
    simulator: float | None
    others: float | None


def judge(evidence: Evidence) -> tuple[Outcome, str]:
    """(outcome, why it is not good).

    A simulator that was late judges nobody. Other programs make figures worse, never better: what is good beside them
    is good, and what is not may be their doing.
    """
    late, wrong = _simulator(evidence), _wrong(evidence)
    if (late or wrong) and evidence.others is not None and evidence.others > OTHERS:
        return "busy", f"other programs took {evidence.others:.0%} of a core ({late or wrong})"
    if late:
        return "late", late
    return ("bad", wrong) if wrong else ("good", "")


def _simulator(evidence: Evidence) -> str:
    """Why the simulator's truth is not to be used."""
    if evidence.late_p99 is not None and evidence.late_p99 > LATE_MS:
        return f"the simulator was late: p99 {evidence.late_p99:.2g} ms"
    if evidence.simulator is not None and evidence.simulator > FULL:
        return f"the simulator had no time left: {evidence.simulator:.0%} of its cores"
    return ""


def _wrong(evidence: Evidence) -> str:
    """What is not good about the harness."""
    if evidence.worst is None:
        return "no turn could be compared with the truth"
    if evidence.failed > FAILED_SHARE * evidence.turns:
        return f"{evidence.failed} of {evidence.turns} turns failed"
    if not evidence.valid:
        return evidence.broken or "the run was not judged"
    measure, p99 = evidence.worst
    return f"{measure} wrong by {p99:.2g} ms" if p99 > LIMIT_MS else ""
