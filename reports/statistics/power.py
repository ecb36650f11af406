"""How many sessions a question needs, from a pilot run and without assuming any distribution; pure.

For two equal arms, a candidate that is truly worse by `effect`, a margin of `margin` and the standard error SE_0 of one
arm's figure over the G_0 sessions of a pilot:

    G = 2 · G_0 · SE_0² · s² / (effect − margin)²          quantiles: all on the log scale

s is how many standard errors the effect must lie beyond the margin. Of a rate it is z_{1−a} + z_power. Of a wait there
is a test for drift, which takes 4.5 % of runs without any for ordered, and these are judged by their quarters:

    power = 95.5 % · Φ(s − z_{1−a}) + 4.5 % · P(t_3(s) > t_{3, 1−a})         t_3(s): noncentral

From p90 on there is also one for bursts, which takes 2.7 % for ordered; these are judged by their sixths (t_5).

a is the error that the strictest of m gates has after Holm, 5 % / m: which of them turns red first is not known before.

Where the pilot has both arms in pairs, 2 · SE_0² is the variance of their difference. Of a wait the result is taken
× 1.1, because a plan that came out small loses more power than one that came out large wins, and from p90 on × 1.25,
for the standard error of a tail is itself estimated too low. A plan scatters as its pilot does, so it is a
range: the same for the pilot's sessions drawn anew, 5 to 95 %. For this the standard error is that of order statistics
one standard error apart on either side of the quantile, which needs no resampling within resamples.

A run's spread lies between sessions and between the turns of one: one-way variance components by the analysis of
variance, for sessions of n_g values with means x_g, N of them in all:

    v_t = ΣΣ(x − x_g)² / (N − G)     v_s = (Σ n_g (x_g − x̄)² / (G − 1) − v_t) / n₀     n₀ = (N − Σ n_g² / N) / (G − 1)

A negative v_s is 0. The components of a quantile are those of its influence values p − 1{x ≤ q}; the density that
belongs to them falls out of every ratio. A constant changes no variance, so 1{x > q} serves as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq  # type: ignore[import-untyped, unused-ignore]
from scipy.special import nctdtr, ndtr, ndtri, stdtrit  # type: ignore[import-untyped, unused-ignore]

from reports.statistics.arms import Arms, arm_draws
from reports.statistics.counting import Floats, Integers, packed
from reports.statistics.quantiles import QuantileEstimate, Sample, quantile
from reports.statistics.rates import ratio_of
from reports.statistics.resample import quantile_draws, variance, weights
from reports.statistics.serial import BATCHES, QUARTERS

LEVEL = 0.05
GATES = 3
"""Number of gates of a check by default: p50, p95 and failures."""
ORDERED, BURSTING = 0.045, 0.027
"""The shares of runs without any drift, and without any burst, that are taken for ordered."""
FARTHEST = 35.0
"""Standard errors up to which an effect is looked for."""
TAIL_FROM, TAIL, MIDDLE = 0.9, 1.25, 1.1
LEAST_SESSIONS = 20
BETTER_SESSIONS = 200
DRAWS, REDRAWN = 2_000, 200
FINITE = 0.9
"""The least share of draws that must be finite: a quantile that is endless in more of them cannot be planned for."""
RANGE = (0.05, 0.95)
FEW_EVENTS = 5
"""With fewer failures nothing was seen of how they cluster, and a correlation is assumed."""
ASSUMED = 0.2
"""The assumed correlation. The range of a plan takes it from 0 (failures alone) to 1 (whole sessions)."""


@dataclass(frozen=True)
class Pilot:
    """What a pilot says of a difference: its variance if both arms had one session (or there were one pair).

    `redrawn`: the same for the pilot's sessions drawn anew. NaN where there is none.
    """

    variance: float
    redrawn: Floats
    sessions: int
    tail: bool = False
    waits: bool = True
    """of waits, which are searched for drift, and not of a rate"""

    def needed(self, distance: float, power: float, level: float = LEVEL) -> tuple[int, int, int]:
        """Sessions in each arm: least, likely, most. `distance`: from the margin to the effect, above 0."""
        beyond = float(brentq(lambda shift: self._found(shift, level) - power, 0, FARTHEST))
        factor = (beyond / distance) ** 2 * self._more
        likely = self.variance * factor
        ends = (
            np.quantile(self.redrawn[np.isfinite(self.redrawn)], RANGE) * factor if self.redrawn.size else [likely] * 2
        )
        least, most = min(likely, float(ends[0])), max(likely, float(ends[1]))
        return tuple(max(LEAST_SESSIONS, math.ceil(size - 1e-9)) for size in (least, likely, most))  # type: ignore[return-value]

    def power(self, sessions: int, distance: float, level: float = LEVEL) -> float:
        """The chance that so many sessions in each arm find it."""
        se = math.sqrt(self.variance * self._more / sessions)
        return self._found(min(distance / se, FARTHEST), level) if se > 0 else 1.0

    @property
    def _more(self) -> float:
        """Factor on the number of sessions for the uncertainty of the pilot itself."""
        return (TAIL if self.tail else MIDDLE) if self.waits else 1.0

    def _found(self, shift: float, level: float) -> float:
        """The chance to call an effect so many standard errors beyond its margin."""
        plain = float(ndtr(shift - float(ndtri(1 - level))))
        ordered = {} if not self.waits else {QUARTERS: ORDERED} | ({BATCHES: BURSTING} if self.tail else {})
        few = sum(
            share * (1 - float(nctdtr(of - 1, shift, float(stdtrit(of - 1, 1 - level)))))
            for of, share in ordered.items()
        )
        return (1 - sum(ordered.values())) * plain + few


def distance_of(effect: float, margin: float) -> float:
    """From a ratio's margin to its effect, on the log scale; both as shares, 0.1 is 10 %."""
    return math.log1p(effect) - math.log1p(margin)


def pilot_of_quantile(sample: Sample, p: float, clusters: int, rng: np.random.Generator) -> Pilot:
    """From one arm: two arms have twice its variance."""
    drawn = np.log(quantile_draws(sample, (p,), clusters=clusters, draws=DRAWS, rng=rng)[:, 0])
    anew = _redrawn((sample,), p, clusters, rng)
    itself = 2 * clusters * variance(drawn, FINITE)
    return Pilot(itself, itself * anew, clusters, p >= TAIL_FROM)


def pilot_of_pairs(base: Sample, cand: Sample, p: float, pairs: int, rng: np.random.Generator) -> Pilot:
    """From both arms of a run whose sessions began in pairs, under the same draws."""
    low, high = arm_draws(Arms(base, cand, (pairs, pairs), paired=True), (p,), draws=DRAWS, rng=rng)
    with np.errstate(invalid="ignore"):
        drawn = (np.log(high) - np.log(low))[:, 0]
    anew = _redrawn((base, cand), p, pairs, rng)
    itself = pairs * variance(drawn, FINITE)
    return Pilot(itself, itself * anew, pairs, p >= TAIL_FROM)


def pilot_of_rate(events: Floats, turns: Floats, effect: float, rng: np.random.Generator) -> Pilot:
    """For a rate that rises by `effect` (points); `events` and `turns` of each session of one arm.

    A rate near 0 says little of how it varies, so the variance is that of a share, r (1 − r) · deff / turns, at both
    arms' rates; deff is the pilot's, or 1 + 0.2 (k − 1) where it saw next to no event. Then sessions drawn anew would
    be as innocent: the correlation is drawn evenly from 0 to 1, and the rate from the Beta distribution that is left,
    with n / deff turns.
    """
    size, n, x, deff = events.size, float(turns.sum()), float(events.sum()), _rate_deff(events, turns)
    if x < FEW_EVENTS:
        deffs = 1 + rng.random(REDRAWN) * (n / size - 1)
        rates = rng.beta(x + 0.5, np.maximum(0.0, n / deffs - x) + 0.5)
        drawn = [_rate_variance(rate, effect) * one / n * size for rate, one in zip(rates, deffs, strict=True)]
    else:
        drawn = [
            _rate_variance(one.sum() / of.sum(), effect) * _rate_deff(one, of) / of.sum() * size
            for chosen in rng.integers(0, size, (REDRAWN, size))
            for one, of in [(events[chosen], turns[chosen])]
        ]
    return Pilot(_rate_variance(x / n, effect) * deff / n * size, np.array(drawn), size, waits=False)


def _rate_variance(rate: float, effect: float) -> float:
    """Of one turn of either arm."""
    rates = np.clip([rate, rate + effect], 0.0, 1.0)
    return float((rates * (1 - rates)).sum())


def _rate_deff(events: Floats, turns: Floats) -> float:
    """How much wider than independent turns sessions make a rate; at least 1."""
    n, x = float(turns.sum()), float(events.sum())
    return 1 + ASSUMED * (n / events.size - 1) if x < FEW_EVENTS or x == n else ratio_of((events, turns)).deff


def _redrawn(arms: tuple[Sample, ...], p: float, clusters: int, rng: np.random.Generator) -> Floats:
    """The variance of the pilot's sessions drawn anew, as multiples of that of the pilot itself.

    Arms of pairs are drawn together; their variances are added up, for what they share is a part of both.
    """
    itself = sum(_order_variance(arm, p, np.ones(clusters)) for arm in arms)
    drawn = [
        sum(_order_variance(arm, p, chosen.astype(np.float64)) for arm in arms) / itself if itself > 0 else math.nan
        for rows in weights(clusters, REDRAWN, rng, portion=REDRAWN)
        for chosen in rows
    ]
    return np.array(drawn)


def _order_variance(sample: Sample, p: float, weight: Floats) -> float:
    """Variance of the log of a weighted quantile: (half the distance of the values one standard error of F away)².

    At least half a rank is counted on either side, so that ties do not make it 0.
    """
    if not sample.n:
        return math.nan
    mine = weight[sample.sessions]
    reached = np.cumsum(mine)
    n = float(reached[-1])
    if n <= 0:
        return math.nan
    place = min(int(np.searchsorted(reached, p * n - 1e-9)), sample.n - 1)
    upto = np.searchsorted(sample.values, sample.values[place], side="right")
    turns = np.bincount(sample.sessions, minlength=weight.size)
    below = np.bincount(sample.sessions[:upto], minlength=weight.size)
    share = float((weight * below).sum()) / n
    spread = math.sqrt(float((weight * (below - share * turns) ** 2).sum())) / n
    ends = np.clip(np.searchsorted(reached, [(p - spread) * n, (p + spread) * n]), 0, sample.n - 1)
    low, high = (float(sample.values[end]) for end in ends)
    return (math.log(high / low) / 2) ** 2 if low > 0 and math.isfinite(high) else math.nan


@dataclass(frozen=True)
class VarianceComponents:
    """Variance between sessions, and between the turns of one; NaN where nothing can be said."""

    of_sessions: float
    of_turns: float

    @property
    def icc(self) -> float:
        """The share of the variance that lies between sessions."""
        whole = self.of_sessions + self.of_turns
        return self.of_sessions / whole if whole > 0 else math.nan


@dataclass(frozen=True)
class Spread:
    """What the size of a comparison hangs on; each report prints its own. NaN where there is too little to tell.

    `sigma`: sd of the log of successful waits; `icc`: the share of its square that lies between sessions; `deff50`,
    `deff95`: how much wider than independent turns the sessions make p50 and p95; `effective_sessions`: sessions by
    Kish.
    """

    sigma: float
    icc: float
    deff50: float
    deff95: float
    effective_sessions: float


def components(values: Floats, clusters: Integers) -> VarianceComponents:
    """Return those of values. `clusters`: the code of the session of each."""
    code, groups = packed(clusters)
    many, n = np.bincount(code), values.size
    if groups < 2 or n <= groups:
        return VarianceComponents(math.nan, math.nan)
    mean = np.bincount(code, values) / many
    of_turns = float(((values - mean[code]) ** 2).sum()) / (n - groups)
    between = float((many * (mean - values.mean()) ** 2).sum()) / (groups - 1)
    typical = (n - float((many.astype(np.float64) ** 2).sum()) / n) / (groups - 1)
    return VarianceComponents(max(0.0, (between - of_turns) / typical), of_turns)


def components_at(sample: Sample, p: float) -> VarianceComponents:
    """Components of variance of being above the p-quantile; infinite values are above it."""
    if not sample.n:
        return VarianceComponents(math.nan, math.nan)
    return components((sample.values > quantile(sample.values, p)).astype(np.float64), sample.sessions)


def spread_of(sample: Sample, p50: QuantileEstimate, p95: QuantileEstimate) -> Spread:
    """The figures for planning that a run has to offer, of a sample and two of its quantiles.

    Zeros and failures have no log, and are left out of it.
    """
    there = np.isfinite(sample.values) & (sample.values > 0)
    logs = np.log(sample.values[there])
    sigma = float(logs.std(ddof=1)) if logs.size > 1 else math.nan
    return Spread(sigma, components(logs, sample.sessions[there]).icc, p50.deff, p95.deff, p50.effective_sessions)


@dataclass(frozen=True)
class Price:
    """What a session of k turns costs, in any unit: `session` + `turn` · k + `history` · k (k − 1) / 2.

    `history`: what each turn adds to every later one, because the conversation so far is billed again.
    """

    session: float
    turn: float
    history: float = 0.0

    def of(self, turns: int) -> float:
        return self.session + self.turn * turns + self.history * turns * (turns - 1) / 2


def cheapest_turns(parts: VarianceComponents, price: Price, most: int = 10) -> int | None:
    """Turns per session at which a figure costs least for its precision: (v_s + v_t / k) · price(k) is smallest.

    At most `most`; None where the components or the price are not known.
    """
    costs = [(parts.of_sessions + parts.of_turns / turns) * price.of(turns) for turns in range(1, most + 1)]
    if not all(math.isfinite(cost) and cost > 0 for cost in costs):
        return None
    return int(np.argmin(costs)) + 1
