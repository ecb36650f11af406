"""What a run that may end early was started with: `decision_plan` of its run.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bench.errors import UsageError
from reports.looks.gates import DRAWS
from reports.looks.sequence import Schedule
from reports.statistics.looks import SPENDING
from reports.thresholds.grammar import Threshold, parse


@dataclass(frozen=True)
class DecisionPlan:
    """Written before the first session. `gates`: thresholds as they were written, by measure."""

    pairs: int
    looks: tuple[int, ...]
    gates: Mapping[str, tuple[str, ...]]
    level: float
    spending: str
    draws: int

    @property
    def thresholds(self) -> tuple[Threshold, ...]:
        """Raises UsageError where one cannot be read, or sets no figure against the baseline's."""
        read = tuple(parse(measure, text) for measure, texts in self.gates.items() for text in texts)
        for one in read:
            if one.margin is None:
                raise UsageError(f"the decision's gate {one.text} is no margin: write one against the baseline, <+20%")
        return read

    def schedule(self, gates: int) -> Schedule:
        return Schedule(self.pairs, self.looks, gates, self.level)


def refuse_other_targets(gates: Iterable[Threshold], targets: Sequence[str]) -> None:
    """Raises UsageError for a gate that is of another target than the candidate. `targets`: it is the second of two."""
    baseline, candidate = targets
    for gate in gates:
        if gate.target not in ("", candidate):
            why = f"{baseline} is the baseline" if gate.target == baseline else f"there is no target {gate.target}"
            raise UsageError(f"{gate.written}: {why}; a gate may name the candidate alone, {candidate}, or no target")


def plan_of(document: Mapping[str, Any], run: str) -> DecisionPlan:
    """The plan in a run's document. `run`: how the user named it.

    Raises UsageError where there is none, or it cannot be followed.
    """
    written = document.get("decision_plan")
    if not isinstance(written, Mapping):
        raise UsageError(
            f"{run} was not planned to be decided while it runs: start one with --until-decided, "
            f"or compare its targets with `rtbench compare {run}`"
        )
    try:
        plan = DecisionPlan(
            pairs=int(written["pairs"]),
            looks=tuple(int(size) for size in written["looks"]),
            gates={str(name): tuple(map(str, texts)) for name, texts in written["gates"].items()},
            level=float(written.get("level", 0.05)),
            spending=str(written.get("spending", SPENDING)),
            draws=int(written.get("draws", DRAWS)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"the decision_plan in run.json of {run} cannot be read: {error!r}") from None
    sizes = (0, *plan.looks)
    rising = all(before < after for before, after in pairwise(sizes))
    if not plan.looks or not rising or plan.looks[-1] > plan.pairs or not 0 < plan.level < 0.5 or plan.draws < 2:
        raise UsageError(
            f"the decision_plan in run.json of {run} cannot be followed: its looks must rise up to its pairs"
        )
    if plan.spending != SPENDING:
        raise UsageError(f"{run} spends its error by {plan.spending}; this rtbench knows {SPENDING} alone")
    if not any(plan.gates.values()):
        raise UsageError(f"the decision_plan in run.json of {run} has no gates")
    return plan
