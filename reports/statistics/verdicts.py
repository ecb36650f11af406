"""Verdicts from differences: minimum numbers of turns and sessions, and multiple testing. Pure.

A metric *regressed* if its lower bound lies beyond the margin. For a primary metric this must also
hold after Holm's correction, because with many metrics, chance alone could move one of them over
its margin. A metric is *not regressed* if its upper bound lies below the margin. A bound exactly on
the margin is not enough, because with a coarse clock many resamples may lie there. *Not regressed*
needs no correction, because a build passes only if all metrics do. *Improved* is the opposite of
regressed. *Equivalent* means that the difference is smaller than the margin in both directions. A
metric passes if it is not regressed, improved, or equivalent. Otherwise it is inconclusive: finding
no difference is not a pass.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from reports.results.value import IN_FAILURES, RESULTS, Reason, VerdictName, too_few
from reports.statistics.differences import LEVEL, Difference, Order

LATE = {"turn": "late turn", "session": "late session"}
"""The name of the events that a share by a deadline must exclude, as the `metric` of a reason,
by what it counts."""
NOT_AFTER_HOLM = Reason("after_holm")
BECAUSE_OF: dict[Order, Reason] = {"drift": Reason("drift"), "bursts": Reason("bursts")}

SESSIONS = 20
BEYOND = 20
"""The minimum number of turns beyond a quantile in each target, with which the quantile can
decide: n(1−p) ≥ 20."""


@dataclass(frozen=True)
class Verdict:
    """A verdict on one metric.

    - `reason` is the reason why it is inconclusive; None if it is not, or if the interval shows the
      reason.
    - `provisional` is True if run-to-run variation was assumed, or if a target drifted or had
      bursts.
    - `more_sessions` is the approximate number of additional sessions per target with which the
      metric could be decided.
    """

    name: VerdictName
    reason: Reason | None = None
    provisional: bool = False
    more_sessions: int | None = None

    @property
    def passes(self) -> bool:
        """True if the metric did not get worse by more than the margin."""
        return RESULTS[self.name] == "pass"


def floor_reason(
    p: float | None,
    turns: Sequence[int],
    sessions: Sequence[int],
    unit: Literal["session", "pair"] = "session",
    targets: Sequence[str] = (),
    effective_sessions: Sequence[float] = (),
) -> Reason | None:
    """Return the reason if a target has too few turns or sessions to decide; None if all targets
    have enough.

    - `p` is the level of a quantile. It is None for a rate or a mean, which need only sessions.
    - `turns` is the number of turns of each target.
    - `sessions` is the number of sessions or pairs of each target.
    - `targets` are the names of the targets.
    - `effective_sessions` is Kish's effective number of sessions of each target. It is empty if
      sessions are equally long.
    """
    if min(sessions) < SESSIONS:
        return too_few(unit, SESSIONS, sessions, targets)
    if effective_sessions and round(min(effective_sessions)) < SESSIONS:
        session_count = sessions[effective_sessions.index(min(effective_sessions))]
        counts = {
            "needed": SESSIONS,
            "there": [session_count],
            "effective_sessions": min(effective_sessions),
        }
        return Reason("unequal", {"unit": unit} | counts)
    if p is not None and min(turns) < turns_to_decide(p):
        return too_few("turn", turns_to_decide(p), turns, targets, p)
    return None


def turns_to_decide(p: float) -> int:
    """Return the minimum number of turns per target with which a quantile can be decided.

    p50 needs 40 turns, p90 200, p95 400, p99 2,000. p5 needs as many as p95.
    """
    return math.ceil(BEYOND / min(p, 1 - p) - 1e-9)


def both_infinite(difference: Difference) -> bool:
    """Return whether the quantile lies among failed turns in both targets. Then the failure rate
    decides instead.
    """
    return math.isinf(difference.baseline) and math.isinf(difference.candidate)


def holm(p_values: Sequence[float], level: float = LEVEL) -> list[bool]:
    """Return whether Holm's step-down test rejects each null hypothesis.

    Compare the smallest p-value with level/m, the next with level/(m−1), and so on. At the first
    p-value that is too large, stop: all others are not rejected.
    """
    return step_down(
        [-p for p in p_values], [-level / left for left in range(len(p_values), 0, -1)]
    )


def step_down(evidence: Sequence[float], bounds: Sequence[float]) -> list[bool]:
    """Return, for each item, whether its evidence reaches its bound, in a step-down test.

    Compare the strongest evidence with the first bound, the next with the second, and so on. At the
    first evidence below its bound, stop: all others do not count as reached.
    """
    reached = [False] * len(evidence)
    for index, bound in zip(
        sorted(range(len(evidence)), key=lambda i: -evidence[i]), bounds, strict=False
    ):
        if evidence[index] < bound:
            break
        reached[index] = True
    return reached


def verdicts(
    differences: Sequence[Difference | None],
    primary: Sequence[bool],
    floors: Sequence[Reason | None],
    *,
    level: float = LEVEL,
) -> list[Verdict]:
    """Return the verdict of each difference.

    - `primary` is True for each primary metric.
    - `floors` is the reason (`floor_reason`) why a metric cannot be decided; None if it can.

    Holm's correction includes the primary metrics that can be decided. Each other metric is decided
    by its own interval.
    """
    tested = {
        index: difference
        for index, (difference, is_primary, floor) in enumerate(
            zip(differences, primary, floors, strict=True)
        )
        if difference is not None and is_primary and not floor
    }
    worse = dict(
        zip(
            tested, holm([difference.worse.p for difference in tested.values()], level), strict=True
        )
    )
    better = dict(
        zip(
            tested,
            holm([difference.better.p for difference in tested.values()], level),
            strict=True,
        )
    )
    decided = []
    for index, (difference, floor) in enumerate(zip(differences, floors, strict=True)):
        verdict = _verdict(difference, floor, worse.get(index, True), better.get(index, True))
        # the error from parts of a run is too small if the dependence is slower than a part
        if difference is not None and difference.order:
            reason = verdict.reason or (
                BECAUSE_OF[difference.order] if verdict.name == "inconclusive" else None
            )
            verdict = replace(verdict, provisional=True, reason=reason)
        decided.append(verdict)
    return decided


def _verdict(
    difference: Difference | None, floor: Reason | None, worse: bool, better: bool
) -> Verdict:
    """Return the verdict from a difference.

    `worse` is True if the metric is significantly worse after Holm's correction; `better` is True
    if it is significantly better. Both are True for a metric that is not corrected.
    """
    if difference is None:
        return Verdict("inconclusive", floor or Reason("no_value"))
    if both_infinite(difference):  # before the floor, because more turns would not change it
        return Verdict("inconclusive", IN_FAILURES)
    if floor:
        return Verdict("inconclusive", floor)
    if difference.worse.low > 0:
        return Verdict("regressed") if worse else Verdict("inconclusive", NOT_AFTER_HOLM)
    if difference.better.low > 0 and better:
        return Verdict("improved")
    if difference.worse.high < 0:
        return Verdict("equivalent" if difference.better.high < 0 else "not_regressed")
    return Verdict("inconclusive", more_sessions=difference.more_sessions)
