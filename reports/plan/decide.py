"""Whether a comparison that runs, or ran, is decided: run folder → `Decision`, and decision.json in the folder.

Nothing is remembered from look to look: every look is computed anew from the rows, with draws that are seeded by the
run's id, so the answer is the same whoever asks, and when.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench.errors import UsageError
from bench.measures import CATALOGUE
from reports import runs
from reports.compare.fairness import checks_of
from reports.compare.named import known_targets
from reports.compare.question import Question, by_origin
from reports.compare.sides import Side, counts_of, sample_of, totals_of
from reports.plan.decision import Decision
from reports.plan.document import write
from reports.plan.gates import mean_seen, quantiles_seen, rate_seen
from reports.plan.pairs import ARMS, leading, sides_of_pairs
from reports.plan.plan import DecisionPlan, plan_of
from reports.plan.sequence import Seen, follow
from reports.runs import Run
from reports.statistics.differences import Better
from reports.statistics.quantiles import Integers
from reports.statistics.resample import seed_of

BY_HAND = "interrupted"
"""What a run that is to be decided says where somebody cut it short, by whichever way."""


def look_at(folder: Path) -> Decision:
    """The decision of a run that is under way or has ended, which is written to decision.json as well.

    Raises UsageError where the folder is no run, was started without a plan, or cannot be written to.
    """
    decision = decision_of(runs.load(folder, everything=False), str(folder))
    write(decision, folder)
    return decision


def decision_of(run: Run, named: str = "the run") -> Decision:
    """The same of a run that was read; writes nothing."""
    plan = plan_of(run.document, named)
    targets = _targets(run, named)
    ended = run.document.get("state") in ("ended", "killed")
    pairs = leading(run.sessions, ended=run.document.get("state") == "ended")
    asked = _gates(run, targets, plan, pairs)
    seed = seed_of(str(run.document.get("run_id") or run.folder.name))
    complete = sum(size <= pairs.size for size in plan.looks)

    def see(size: int) -> list[Seen]:
        return _seen(sides_of_pairs(run, targets, pairs[:size]), asked, plan, np.random.default_rng([seed, size]))

    course = follow(plan.schedule(len(asked)), see, complete, end_of(run.document))
    invalid = _invalid(run, targets, pairs) if ended else ""
    return Decision(run, targets, plan, asked, course, int(pairs.size), seed, ended, invalid)


def end_of(document: dict[str, Any]) -> Literal["", "by hand", "blind"]:
    """How a run came to its end, as `follow` takes it. Nobody knows why one was killed, so it counts as by hand."""
    if document.get("state") not in ("ended", "killed"):
        return ""
    return "by hand" if document["state"] == "killed" or document.get("stopped") == BY_HAND else "blind"


def _targets(run: Run, named: str) -> tuple[str, str]:
    found = known_targets(run)
    if len(found) != ARMS or not run.document.get("interleaved"):
        raise UsageError(f"{named} is no run of two targets in pairs, and a decision is about two: it has {len(found)}")
    return found[0], found[1]


def _gates(run: Run, targets: tuple[str, str], plan: DecisionPlan, pairs: Integers) -> tuple[Question, ...]:
    """What is asked, of each origin that the pairs of the first look have; the same at every look."""
    asked = [threshold.question for threshold in plan.thresholds]
    first = pairs[: plan.looks[0]]
    if not first.size:
        return tuple(asked)
    sides = sides_of_pairs(run, targets, first)
    return tuple(one for question in asked for one in by_origin(question, sides))


def _seen(sides: Sequence[Side], gates: Sequence[Question], plan: DecisionPlan, rng: np.random.Generator) -> list[Seen]:
    """Every gate; the quantiles of one measure share their draws."""
    found: dict[Question, Seen] = {}
    base, cand = sides
    for gate in gates:
        if gate in found:
            continue
        if gate.kind == "rate":
            found[gate] = rate_seen(_floats(counts_of(base, gate)), _floats(counts_of(cand, gate)), gate.margin)
        elif gate.kind == "mean":
            totals = [_floats(totals_of(side, gate)) for side in sides]
            found[gate] = mean_seen(totals[0], totals[1], gate.margin, better_of(gate))
        else:
            alike = [one for one in gates if _same_sample(one, gate)]
            asked = [(one.p, one.margin) for one in alike if one.p is not None]
            seen = quantiles_seen(
                sample_of(base, gate),
                sample_of(cand, gate),
                asked,
                pairs=base.sessions,
                better=better_of(gate),
                rng=rng,
                draws=plan.draws,
            )
            found |= dict(zip(alike, seen, strict=True))
    return [found[gate] for gate in gates]


def _same_sample(one: Question, other: Question) -> bool:
    return (one.measure, one.kind, one.origin, one.step) == (other.measure, other.kind, other.origin, other.step)


def _floats(counts: tuple[Any, Any]) -> tuple[Any, Any]:
    return counts[0].astype(np.float64), counts[1].astype(np.float64)


def better_of(question: Question) -> Better:
    return "higher" if question.measure in CATALOGUE and CATALOGUE[question.measure].better == "higher" else "lower"


def _invalid(run: Run, targets: tuple[str, str], pairs: Integers) -> str:
    """Why a run that ended may not be used: it was overloaded, not judged, throttled, or has nothing to compare."""
    if not pairs.size:
        return "no pair of sessions ended"
    sides = sides_of_pairs(run, targets, pairs)
    broken = [check for check in checks_of(sides) if check.fair is False]
    return "; ".join(f"{check.name}: {', '.join(dict.fromkeys(check.texts))}" for check in broken)
