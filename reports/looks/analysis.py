"""A comparison that is looked at while it runs: which look decided it, and how; pure.

At look k, with the first g_k pairs in order of their start, every gate has a z: how many standard errors the candidate
lies beyond the margin. `c_k(a)` is the critical value of `reports.statistics.group_sequential`.

    regressed       z ≥ c_k(a / number of gates), the others by Holm's step-down          the run stops, exit status 1
    not regressed   the upper bound at c_k(a) lies below the margin; a pass is final      all of them: it stops, 0
    futile          it would stay inconclusive at N, and no arm drifts by itself          it stops, 3
    the last look   nothing of these                                                      it stops, 3
    invalid         the arms may not be compared, whatever the gates say                  it stops, 4
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from reports.statistics import group_sequential
from reports.statistics.interim import InterimStatistic
from reports.statistics.verdicts import InconclusiveReason, VerdictName, step_down

End = Literal[
    "regressed", "not_regressed", "futility", "final_analysis", "invalid", "pending", "stopped_by_user", "no_analysis"
]
"""Why there was no further look. `waiting`: there will be; `no look`: the run ended before the first was complete."""


@dataclass(frozen=True)
class AnalysisSchedule:
    """What was planned before the first session."""

    pairs: int
    sizes: tuple[int, ...]
    gates: int
    level: float = 0.05

    @property
    def shares(self) -> tuple[float, ...]:
        return tuple(size / self.pairs for size in self.sizes)


@dataclass(frozen=True)
class InterimAnalysis:
    """One look that was held. `c`: c_k(a); `c_first`: c_k(a / gates), which the first to be called worse must reach."""

    pairs: int
    seen: tuple[InterimStatistic, ...]
    c: float
    c_first: float


@dataclass(frozen=True)
class MetricDecision:
    """The answer of one gate: by which look (from 0), at which critical value; bounds and corrected estimate of d."""

    verdict: VerdictName
    reason: InconclusiveReason | None
    look: int
    d: float
    low: float
    high: float
    corrected: float
    provisional: bool = False
    """at a look that was held an arm drifted by itself"""


@dataclass(frozen=True)
class SequentialResult:
    """All looks that were held, the last one being the one that decided, and what came of them."""

    looks: tuple[InterimAnalysis, ...]
    reason: End
    rulings: tuple[MetricDecision, ...]

    @property
    def stopped(self) -> bool:
        return self.reason != "pending"


def run_looks(
    schedule: AnalysisSchedule,
    see: Callable[[int], Sequence[InterimStatistic]],
    complete: int,
    end: Literal["", "by hand", "blind"] = "",
    *,
    unfit: Callable[[int], object] = lambda pairs: False,
) -> SequentialResult:
    """Hold `complete` of the planned looks, one after another, until one decides. `see`: pairs → every gate; `unfit`:
    pairs → whether they may not be compared.

    `end`: why there will be no more of them; empty while the run goes on. "by hand": somebody who could see figures
    ended it, and only bounds that were crossed count. "blind": nobody chose the moment by them, and if no look has
    decided, the last complete one is the final one: it takes all of the error that is left.
    """
    if not complete:
        return SequentialResult((), "no_analysis" if end else "pending", ())
    seen = lru_cache(maxsize=None)(lambda pairs: tuple(see(pairs)))
    course = _evaluate_looks(schedule, seen, unfit, complete, schedule.shares, "stopped_by_user" if end else "pending")
    if end != "blind" or course.reason != "stopped_by_user":
        return course
    return _evaluate_looks(schedule, seen, unfit, complete, schedule.shares[:complete], "final_analysis")


def _evaluate_looks(
    schedule: AnalysisSchedule,
    see: Callable[[int], tuple[InterimStatistic, ...]],
    unfit: Callable[[int], object],
    complete: int,
    shares: Sequence[float],
    otherwise: End,
) -> SequentialResult:
    """Looks at these shares of N, of which the last one takes all that is left."""
    ladder = [group_sequential.critical_values(shares, schedule.level / rest) for rest in range(schedule.gates, 0, -1)]
    final = ladder[-1][-1], ladder[0][-1]  # of the last look: for a pass, and for the first to be worse
    held: list[InterimAnalysis] = []
    passed: list[int | None] = [None] * schedule.gates
    worse: frozenset[int] = frozenset()
    reason: End | None = None
    for k, pairs in enumerate(schedule.sizes[:complete]):
        look = InterimAnalysis(pairs, see(pairs), ladder[-1][k], ladder[0][k])
        held.append(look)
        passed = [
            k if at is None and not one.untested and one.upper(look.c) < 0 else at
            for at, one in zip(passed, look.seen, strict=True)
        ]
        # gates beyond their margin after Holm: the farthest against a / gates, the next against a / (gates − 1), …
        tested = [gate for gate, one in enumerate(look.seen) if not one.untested]
        beyond = step_down([look.seen[gate].z for gate in tested], [bound[k] for bound in ladder])
        worse = frozenset(gate for gate, is_beyond in zip(tested, beyond, strict=True) if is_beyond)
        reason = _reason(look, passed, worse, shares[k], last=k + 1 == len(shares), final=final)
        reason = "invalid" if unfit(pairs) else reason
        if reason is not None:
            break
    return _course(schedule, held, reason or otherwise, passed, worse, ladder)


def _reason(
    look: InterimAnalysis,
    passed: Sequence[int | None],
    worse: frozenset[int],
    t: float,
    *,
    last: bool,
    final: tuple[float, float],
) -> End | None:
    """Why this look ends the run; None where it does not."""
    if worse:
        return "regressed"
    if None not in passed:
        return "not_regressed"
    if last:
        return "final_analysis"
    if any(one.order for one in look.seen):
        return None  # what it will come to at N cannot be told from here
    chances = [group_sequential.UNKNOWN if one.untested else one.chances(t, *final) for one in look.seen]
    still_open = [one for one, at in zip(chances, passed, strict=True) if at is None]
    return "futility" if group_sequential.futile(still_open, chances) else None


def _course(
    schedule: AnalysisSchedule,
    held: Sequence[InterimAnalysis],
    reason: End,
    passed: Sequence[int | None],
    worse: frozenset[int],
    ladder: Sequence[Sequence[float]],
) -> SequentialResult:
    """`ladder`: critical values of the first gate to be called worse, of the next, …, and of one alone."""
    rulings = []
    for gate, at in enumerate(passed):
        k = len(held) - 1 if at is None or gate in worse else at
        seen, c = held[k].seen[gate], held[k].c
        verdict: VerdictName = "regressed" if gate in worse else "inconclusive" if at is None else "not_regressed"
        why = None
        if verdict == "inconclusive":
            futile = (
                InconclusiveReason("would_stay_inconclusive", needed=schedule.pairs) if reason == "futility" else None
            )
            why = seen.why_inconclusive(c) or futile
        drifted = any(look.seen[gate].order for look in held)
        stopped_by = ladder[0] if gate in worse else ladder[-1]  # what would have ended the run at an earlier look
        estimates = seen.estimates(c, schedule.shares[: k + 1], stopped_by[: k + 1])
        rulings.append(MetricDecision(verdict, why, k, seen.d, *estimates, provisional=drifted))
    return SequentialResult(tuple(held), reason, tuple(rulings))
