"""decision.json: what was planned, what every look saw, and what came of it; enough to compute it again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import field

from bench.errors import UsageError
from bench.run.disk import write_text
from reports.finding import ExitStatus
from reports.looks.decision import Decision, decision_sentence, outcome
from reports.looks.sequence import End, GateResult, Look
from reports.question import Kind
from reports.schemas.document import Closed, Known, Number, about, data_of, text_of
from reports.statistics.differences import Margin, Scale
from reports.statistics.verdicts import Word
from reports.strata import NO_STRATUM
from reports.wording.reasons import said, texts

SCHEMA: Literal[1] = 1
NAME = "decision.json"


class PlannedLooks(Closed, frozen=True):
    """What was written before the first session."""

    pairs: int
    looks: list[int]
    gates: dict[str, list[str]]
    level: float
    spending: str
    draws: int


class SeenGate(Closed, frozen=True):
    """What a look saw of one gate."""

    name: str
    d: Number
    excess: Number
    se: Number
    df: Number
    z: Number
    untested: Known
    drifts: Annotated[bool, about("an arm drifts by itself: the error is that of the quarters of the pairs")]


class HeldLook(Closed, frozen=True):
    """A look that was held."""

    pairs: int
    share: float
    c: Number = field(name="critical")
    c_first: Number = field(name="critical_first")
    gates: list[SeenGate]


class DecidedGate(Closed, frozen=True, kw_only=True):
    """What came of one gate."""

    name: str
    measure: str
    kind: Kind
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


class DecisionDocument(Closed, frozen=True):
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
    status: ExitStatus
    reason: End
    invalid: Known
    sentence: str
    outcome: Annotated[str, about("the same without the look that it was stopped at")]
    by_look: Annotated[bool, about("whether a look stopped it")]
    used: Annotated[int, about("in the verdict")] = field(name="pairs")
    after: Annotated[int, about("whole pairs that are not")] = field(name="pairs_after")
    plan: PlannedLooks
    seed: int
    looks: list[HeldLook]
    gates: list[DecidedGate]


def write_decision(decision: Decision, folder: Path) -> Path:
    """Write the file. Raises UsageError where the folder cannot be written to."""
    path = folder / NAME
    try:
        write_text(path, text_of(decision_data(decision)))
    except OSError as error:
        raise UsageError(f"the decision cannot be written to {folder}: {error.strerror}") from None
    return path


def decision_data(decision: Decision) -> dict[str, Any]:
    """The decision as lists, dictionaries, strings and numbers."""
    run, course, plan = decision.run, decision.course, decision.plan
    baseline, candidate = decision.targets
    return data_of(
        DecisionDocument(
            schema=SCHEMA,
            run_id=str(run.document.get("run_id") or run.folder.name),
            baseline=baseline,
            candidate=candidate,
            simulated=run.simulated,
            ended=decision.ended,
            stopped=decision.stopped,
            status=decision.status,
            reason=course.reason,
            invalid="; ".join(texts(decision.invalid)),
            sentence=decision_sentence(decision),
            outcome=outcome(decision),
            by_look=decision.by_look,
            used=decision.used,
            after=decision.after,
            plan=PlannedLooks(
                plan.pairs, list(plan.looks), {name: list(of) for name, of in plan.gates.items()}, plan.level,
                plan.spending, plan.draws,
            ),
            seed=decision.seed,
            looks=[_look(decision, look) for look in course.looks],
            gates=[_gate(decision, at, ruling) for at, ruling in enumerate(course.rulings)],
        )
    )  # fmt: skip


def _look(decision: Decision, look: Look) -> HeldLook:
    gates = [
        SeenGate(
            gate.name, seen.d, seen.excess, seen.se, seen.df, seen.z, untested=said(seen.untested), drifts=seen.drifts
        )
        for gate, seen in zip(decision.gates, look.seen, strict=True)
    ]
    return HeldLook(look.pairs, look.pairs / decision.plan.pairs, look.c, look.c_first, gates)


def _gate(decision: Decision, at: int, ruling: GateResult) -> DecidedGate:
    gate, stratum = decision.gates[at], decision.gates[at].stratum or NO_STRATUM
    return DecidedGate(
        name=gate.name,
        measure=gate.measure,
        kind=gate.kind,
        p=gate.p,
        step=gate.step,
        origin=stratum.origin,
        traits=stratum.traits,
        margin=gate.margin,
        scale="points" if gate.kind == "rate" else "ratio",
        word=ruling.word,
        reason=said(ruling.reason),
        provisional=ruling.provisional,
        look=ruling.look + 1,
        pairs=decision.course.looks[ruling.look].pairs,
        d=ruling.d,
        low=ruling.low,
        high=ruling.high,
        corrected=ruling.corrected,
    )
