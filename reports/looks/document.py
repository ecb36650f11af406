"""decision.json: what was planned, what every look saw, and what came of it; enough to compute it again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import field

from bench.errors import UsageError
from bench.run.disk import write_text
from reports.looks.decision import Decision, decision_sentence, outcome
from reports.looks.sequence import End, GateResult, Look
from reports.schemas.document import Closed, Known, Number, Values, about, data_of, text_of
from reports.statistics.differences import Scale
from reports.statistics.verdicts import Word
from reports.strata import NO_STRATUM
from reports.wording.reasons import said
from reports.wording.unusable import texts

SCHEMA = 1
NAME = "decision.json"


class Margin(Closed):
    """How much worse is accepted: a share of the baseline, a difference of shares, or so much in the measure's unit."""

    ratio: float
    points: float
    plus: float


class Plan(Closed):
    """What was written before the first session."""

    pairs: int
    looks: list[int]
    gates: dict[str, list[str]]
    level: float
    spending: str
    draws: int


class SeenGate(Closed):
    """What a look saw of one gate."""

    name: str
    d: Number
    excess: Number
    se: Number
    df: Number
    z: Number
    untested: Known
    drifts: Annotated[bool, about("an arm drifts by itself: the error is that of the quarters of the pairs")]


class HeldLook(Closed):
    """A look that was held."""

    pairs: int
    share: float
    c: Number = field(name="critical")
    c_first: Number = field(name="critical_first")
    gates: list[SeenGate]


class Gate(Closed, kw_only=True):
    """What came of one gate."""

    name: str
    measure: str
    kind: Literal["quantile", "mean", "rate"]
    p: float | None
    step: Known
    origin: Known
    traits: Known
    margin: Margin
    scale: Scale
    word: Word = field(name="verdict")
    reason: Known
    provisional: Annotated[bool, about("at a look that was held an arm drifted by itself")] = False
    look: int
    pairs: int
    d: Number
    low: Number
    high: Number
    corrected: Number


class DecisionDocument(Closed):
    """What was planned for a comparison that may end early, what every look saw, and what came of it.

    Differences are logs of ratios, of rates points (0.01 is one percentage point); null where open or unknown.
    """

    schema: Literal[1]
    run_id: str
    baseline: str
    candidate: str
    simulated: bool
    ended: Annotated[bool, about("whether the run had ended")]
    stopped: Annotated[bool, about("whether there is nothing more to be learned from the run")]
    status: Literal[0, 1, 3, 4]
    reason: End
    invalid: Known
    sentence: str
    outcome: Annotated[str, about("the same without the look that it was stopped at")]
    by_look: Annotated[bool, about("whether a look stopped it")]
    used: Annotated[int, about("in the verdict")] = field(name="pairs")
    after: Annotated[int, about("whole pairs that are not")] = field(name="pairs_after")
    plan: Plan
    seed: int
    looks: list[HeldLook]
    gates: list[Gate]


def write(decision: Decision, folder: Path) -> Path:
    """Write the file. Raises UsageError where the folder cannot be written to."""
    path = folder / NAME
    try:
        write_text(path, text_of(as_data(decision)))
    except OSError as error:
        raise UsageError(f"the decision cannot be written to {folder}: {error.strerror}") from None
    return path


def as_data(decision: Decision) -> dict[str, Any]:
    """The decision as lists, dictionaries, strings and numbers."""
    run, course = decision.run, decision.course
    baseline, candidate = decision.targets
    return data_of(
        DecisionDocument,
        Values(
            decision,
            schema=SCHEMA,
            run_id=str(run.document.get("run_id") or run.folder.name),
            baseline=baseline,
            candidate=candidate,
            simulated=run.simulated,
            reason=course.reason,
            invalid="; ".join(texts(decision.invalid)),
            sentence=decision_sentence(decision),
            outcome=outcome(decision),
            looks=[_look(decision, look) for look in course.looks],
            gates=[_gate(decision, at, ruling) for at, ruling in enumerate(course.rulings)],
        ),
    )


def _look(decision: Decision, look: Look) -> Values:
    gates = [
        Values(seen, name=gate.name, untested=said(seen.untested))
        for gate, seen in zip(decision.gates, look.seen, strict=True)
    ]
    return Values(look, share=look.pairs / decision.plan.pairs, gates=gates)


def _gate(decision: Decision, at: int, ruling: GateResult) -> Values:
    gate, pairs = decision.gates[at], decision.course.looks[ruling.look].pairs
    scale = "points" if gate.kind == "rate" else "ratio"
    told = {"scale": scale, "look": ruling.look + 1, "pairs": pairs, "reason": said(ruling.reason)}
    return Values(ruling, gate, gate.stratum or NO_STRATUM, **told)
