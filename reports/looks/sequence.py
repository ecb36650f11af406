"""A comparison that is looked at while it runs: which look decided it, and how; pure.

At look k, with the first g_k pairs in order of their start, every gate has a z: how many standard errors the candidate
lies beyond the margin. `c_k(a)` is the critical value of `reports.statistics.looks`.

    regressed       z ≥ c_k(a / number of gates), the others by Holm's step-down          the run stops, exit status 1
    not regressed   the upper bound at c_k(a) lies below the margin; a pass is kept       all of them: it stops, 0
    futile          it would stay inconclusive at N, and no arm drifts by itself          it stops, 3
    the last look   nothing of these                                                      it stops, 3
    invalid         the arms may not be compared, whatever the gates say                  it stops, 4
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.optimize import brentq  # type: ignore[import-untyped, unused-ignore]
from scipy.special import ndtr  # type: ignore[import-untyped, unused-ignore]

from reports.finding import none_seen
from reports.question import RATES
from reports.statistics import looks
from reports.statistics.arms import Arms, arm_draws
from reports.statistics.counting import Floats
from reports.statistics.differences import Better, Inference, Margin, Order, beyond, log_ratio
from reports.statistics.quantiles import Sample, kish, quantile
from reports.statistics.rates import (
    ArmSums,
    PerCluster,
    complement,
    upper_of_points,
)
from reports.statistics.resample import variance
from reports.statistics.serial import FOUND, PARTS, by_order, by_parts, mean_by_order, part_variance, rate_by_order
from reports.statistics.unseen import sessions_without
from reports.statistics.verdicts import BECAUSE_OF, NOT_AFTER_HOLM, Reason, Word, floor_reason, step_down

End = Literal[
    "regressed", "not_regressed", "futility", "final_analysis", "invalid", "pending", "stopped_by_user", "no_analysis"
]
"""Why there was no further look. `waiting`: there will be; `no look`: the run ended before the first was complete."""


REACH = 8.0
"""Critical values are looked for up to here."""
WIDER = 1e-6
"""So much nearer to 0 is what another bound says than what the standard error does."""


@dataclass(frozen=True)
class InterimStatistic:
    """One gate at one look, on the scale of its difference (log of a ratio, or points).

    `d`: candidate against baseline; `excess`: how far beyond the margin, on the bad side; `upper`: the upper bound of
    that at a critical value. `better`: 1 where less is better, −1 where more is. `untested`: why it cannot be tested
    yet, None where it can. `unsettled`: why it has not passed at a critical value, where the interval does not say it.
    `order`: found in an arm; then the error is that of parts of the run.
    """

    d: float
    excess: float
    se: float
    df: float
    upper: Callable[[float], float]
    better: int = 1
    untested: Reason | None = None
    unsettled: Callable[[float], Reason | None] = lambda c: None
    order: Order | None = None

    @property
    def z(self) -> float:
        """What the gate's standard error says, which is what makes it worse."""
        return math.nan if self.untested else looks.z_of(self.excess, self.se, self.df)

    @property
    def z_within(self) -> float:
        """What its upper bound says, which is what lets it pass: below −c where upper(c) lies below 0.

        It is z where the bound is the standard error's, and nearer to 0 for a rate with few failures.
        """
        if self.untested or self.z >= 0 or self.upper(REACH) < 0:
            return self.z
        return -float(brentq(self.upper, 0.0, REACH)) if self.upper(0.0) < 0 else 0.0


def by_se(
    d: float, excess: float, se: float, df: float, better: int = 1, *, order: Order | None = None
) -> InterimStatistic:
    """A gate whose upper bound is the standard error's."""
    return InterimStatistic(
        d, excess, se, df, lambda c: excess + looks.spread_of_level(c, df) * se, better, order=order
    )


def untestable(reason: Reason, d: float = math.nan) -> InterimStatistic:
    """A gate that cannot be tested at this look."""
    return InterimStatistic(d, math.nan, math.nan, math.nan, lambda c: math.inf, untested=reason)


@dataclass(frozen=True)
class Schedule:
    """What was planned before the first session."""

    pairs: int
    sizes: tuple[int, ...]
    gates: int
    level: float = 0.05

    @property
    def shares(self) -> tuple[float, ...]:
        return tuple(size / self.pairs for size in self.sizes)


@dataclass(frozen=True)
class Look:
    """One look that was held. `c`: c_k(a); `c_first`: c_k(a / gates), which the first to be called worse must reach."""

    pairs: int
    seen: tuple[InterimStatistic, ...]
    c: float
    c_first: float


@dataclass(frozen=True)
class GateResult:
    """The answer of one gate: by which look (from 0), at which critical value; bounds and corrected estimate of d."""

    word: Word
    reason: Reason | None
    look: int
    d: float
    low: float
    high: float
    corrected: float
    provisional: bool = False
    """at a look that was held an arm drifted by itself"""


@dataclass(frozen=True)
class LookCourse:
    """All looks that were held, the last one being the one that decided, and what came of them."""

    looks: tuple[Look, ...]
    reason: End
    rulings: tuple[GateResult, ...]

    @property
    def stopped(self) -> bool:
        return self.reason != "pending"


def run_looks(
    schedule: Schedule,
    see: Callable[[int], Sequence[InterimStatistic]],
    complete: int,
    end: Literal["", "by hand", "blind"] = "",
    *,
    unfit: Callable[[int], object] = lambda pairs: False,
) -> LookCourse:
    """Hold `complete` of the planned looks, one after another, until one decides. `see`: pairs → every gate; `unfit`:
    pairs → whether they may not be compared.

    `end`: why there will be no more of them; empty while the run goes on. "by hand": somebody who could see figures
    ended it, and only bounds that were crossed count. "blind": nobody chose the moment by them, and if no look has
    decided, the last complete one is the final one: it takes all of the error that is left.
    """
    if not complete:
        return LookCourse((), "no_analysis" if end else "pending", ())
    seen = lru_cache(maxsize=None)(lambda pairs: tuple(see(pairs)))
    course = _evaluate_looks(schedule, seen, unfit, complete, schedule.shares, "stopped_by_user" if end else "pending")
    if end != "blind" or course.reason != "stopped_by_user":
        return course
    return _evaluate_looks(schedule, seen, unfit, complete, schedule.shares[:complete], "final_analysis")


def _evaluate_looks(
    schedule: Schedule,
    see: Callable[[int], tuple[InterimStatistic, ...]],
    unfit: Callable[[int], object],
    complete: int,
    shares: Sequence[float],
    otherwise: End,
) -> LookCourse:
    """Looks at these shares of N, of which the last one takes all that is left."""
    ladder = [looks.critical_values(shares, schedule.level / rest) for rest in range(schedule.gates, 0, -1)]
    final = ladder[-1][-1], ladder[0][-1]  # of the last look: for a pass, and for the first to be worse
    held: list[Look] = []
    passed: list[int | None] = [None] * schedule.gates
    worse: frozenset[int] = frozenset()
    reason: End | None = None
    for k, pairs in enumerate(schedule.sizes[:complete]):
        look = Look(pairs, see(pairs), ladder[-1][k], ladder[0][k])
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
    look: Look,
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
    chances = [looks.UNKNOWN if one.untested else _chances(one, t, final) for one in look.seen]
    still_open = [one for one, at in zip(chances, passed, strict=True) if at is None]
    return "futility" if looks.futile(still_open, chances) else None


def _chances(seen: InterimStatistic, t: float, final: tuple[float, float]) -> looks.ConditionalPower:
    """Of passing by what the upper bound says, of red by what the standard error says."""
    passing, red = (looks.chances(z, t, *final) for z in (seen.z_within, seen.z))
    return looks.ConditionalPower(passing.passing, red.red)


def _course(
    schedule: Schedule,
    held: Sequence[Look],
    reason: End,
    passed: Sequence[int | None],
    worse: frozenset[int],
    ladder: Sequence[Sequence[float]],
) -> LookCourse:
    """`ladder`: critical values of the first gate to be called worse, of the next, …, and of one alone."""
    rulings = []
    for gate, at in enumerate(passed):
        k = len(held) - 1 if at is None or gate in worse else at
        seen, c = held[k].seen[gate], held[k].c
        word: Word = "regressed" if gate in worse else "inconclusive" if at is None else "not_regressed"
        why = None if word != "inconclusive" else _why(seen, c, reason, schedule)
        drifted = any(look.seen[gate].order for look in held)
        stopped_by = ladder[0] if gate in worse else ladder[-1]  # what would have ended the run at an earlier look
        estimates = _estimates(seen, c, schedule.shares[: k + 1], stopped_by[: k + 1])
        rulings.append(GateResult(word, why, k, seen.d, *estimates, provisional=drifted))
    return LookCourse(tuple(held), reason, tuple(rulings))


def _why(seen: InterimStatistic, c: float, end: End, schedule: Schedule) -> Reason | None:
    """Why a gate is inconclusive, where its interval does not say it all."""
    if seen.untested:
        return seen.untested
    if seen.z >= c:
        return NOT_AFTER_HOLM
    if why := seen.unsettled(c):
        return why
    return Reason("would stay", needed=schedule.pairs) if end == "futility" else None


def _estimates(
    seen: InterimStatistic, c: float, t: Sequence[float], bounds: Sequence[float]
) -> tuple[float, float, float]:
    """Lower and upper bound of d, which agree with the verdict, and its corrected estimate."""
    if seen.untested:
        return -math.inf, math.inf, math.nan
    margin = seen.better * seen.d - seen.excess
    low, high = seen.excess - looks.spread_of_level(c, seen.df) * seen.se, seen.upper(c)
    ends = sorted(seen.better * (end + margin) for end in (low, high))
    if not math.isfinite(seen.excess):
        return ends[0], ends[1], seen.d
    moved = min(max(_corrected(seen, t, bounds), low), high)
    return ends[0], ends[1], seen.better * (moved + margin)


def _corrected(seen: InterimStatistic, t: Sequence[float], bounds: Sequence[float]) -> float:
    """The corrected excess: as many times smaller as the corrected deviate is, so that nothing else is moved.

    What passes by a bound that is wider than the standard error's hardly stops on a lucky day, and is not corrected.
    """
    z = seen.z
    if not z or not math.isfinite(z) or seen.z_within - z > WIDER:
        return seen.excess
    return looks.distance(z, seen.excess / z, t, bounds)


DRAWS = 2_000
ENDLESS = 0.01
"""Share of endless draws from which on a quantile is not tested."""


def quantiles_seen(
    arms: Arms,
    asked: Sequence[tuple[float, Margin]],
    better: Better,
    rng: np.random.Generator,
    *,
    draws: int = DRAWS,
    error: float = FOUND,
) -> list[InterimStatistic]:
    """Quantiles of one metric, with the standard errors of the same resampled pairs.

    Pairs without a value are drawn too, and are not counted in the degrees of freedom. If an arm drifts, or
    its tail comes in bursts, parts of the run are drawn; `error` is that of the tests of it.
    """
    ps = [p for p, _ in asked]
    drawn = arm_draws(arms, ps, draws=draws, rng=rng)
    by_pairs = [
        _quantile_seen((arms.base, arms.cand), p, margin, (drawn[0][:, at], drawn[1][:, at]), better)
        for at, (p, margin) in enumerate(asked)
    ]
    for order, places in by_order(arms, ps, error).items():
        drawn = arm_draws(by_parts(arms, PARTS[order]), [ps[at] for at in places], draws=draws, rng=rng)
        for column, at in enumerate(places):
            apart = beyond((drawn[0][:, column], drawn[1][:, column]), asked[at][1], better)
            by_pairs[at] = _by_parts(by_pairs[at], apart, order)
    return by_pairs


def _by_parts(seen: InterimStatistic, drawn: Floats, order: Order) -> InterimStatistic:
    """Return the same gate by the error of parts of the run, if that is the larger one."""
    se = math.sqrt(part_variance(drawn, PARTS[order]))
    if seen.untested or math.isnan(se):
        return replace(seen if seen.untested else untestable(BECAUSE_OF[order], seen.d), order=order)
    return by_se(seen.d, seen.excess, max(se, seen.se), PARTS[order] - 1, seen.better, order=order)


def _quantile_seen(
    arms: tuple[Sample, Sample], p: float, margin: Margin, drawn: tuple[Floats, Floats], better: Better
) -> InterimStatistic:
    base, cand = (np.array([quantile(arm.values, p)]) for arm in arms)
    d = float(log_ratio(cand, base)[0])
    effective_sessions = [kish(np.bincount(arm.sessions)) for arm in arms]
    sessions = [np.unique(arm.sessions).size for arm in arms]
    if few := floor_reason(p, [arm.n for arm in arms], sessions, "pair", effective_sessions=effective_sessions):
        return untestable(few, d)
    excess = float(beyond((base, cand), margin, better)[0])
    se = math.sqrt(variance(beyond(drawn, margin, better), 1 - ENDLESS))
    if not math.isfinite(excess) or math.isnan(se):
        return untestable(Reason("failed share, decides"), d)
    together = kish(np.bincount(np.concatenate([arm.sessions for arm in arms])))
    return by_se(d, excess, se, together - 1, 1 if better == "lower" else -1)


def rate_seen(
    base: PerCluster,
    cand: PerCluster,
    margin: Margin,
    metric: str = "failure_rate",
    better: Better = "lower",
    error: float = FOUND,
) -> InterimStatistic:
    """A rate; one of which more is better by what it leaves.

    Few failures make its standard error too small, so its upper bound is that of the rule for rates.
    """
    if few := _few_clusters(base, cand):
        return untestable(few)
    if better == "higher":
        left = rate_seen(complement(base), complement(cand), margin, metric, error=error)
        return replace(left, d=-left.d, better=-1, unsettled=lambda c: None)
    words = bool(RATES[metric].words)
    sums = ArmSums(base, cand, paired=True, words=words)
    difference, (one, other) = rate_by_order(sums, margin, "lower", Inference(), error), sums.ratios

    def upper(c: float) -> float:
        return upper_of_points(one, other, difference.se, difference.df, float(ndtr(-c))) - margin.points

    def unsettled(c: float) -> Reason | None:
        if other.value:
            return None
        level = float(ndtr(-c))
        needed = None if one.value else sessions_without(margin.points, level, other.clusters / other.longest)
        return none_seen(metric, other.clusters, level, needed, other.longest)

    return InterimStatistic(
        difference.d,
        difference.d - margin.points,
        difference.se,
        difference.df,
        upper,
        unsettled=unsettled,
        order=difference.order,
    )


def mean_seen(
    base: PerCluster, cand: PerCluster, margin: Margin, better: Better, error: float = FOUND
) -> InterimStatistic:
    """A mean of good turns."""
    if few := _few_clusters(base, cand):
        return untestable(few)
    difference = mean_by_order(ArmSums(base, cand, paired=True), margin, better, Inference(), error)
    arms = np.array([difference.baseline]), np.array([difference.candidate])
    excess = float(beyond(arms, margin, better)[0])
    if not math.isfinite(excess):
        return untestable(Reason("not positive"), difference.d)
    return by_se(
        difference.d, excess, difference.se, difference.df, 1 if better == "lower" else -1, order=difference.order
    )


def _few_clusters(base: PerCluster, cand: PerCluster) -> Reason | None:
    """A rate or a mean needs pairs that have turns in both arms."""
    arms = base[1], cand[1]
    return floor_reason(
        None, (), [int(np.count_nonzero(n)) for n in arms], "pair", effective_sessions=[kish(n) for n in arms]
    )
