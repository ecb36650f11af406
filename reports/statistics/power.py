"""Sample size by power, from a pilot run, without assuming a distribution. Pure.

G is the number of sessions that each target needs. The candidate is assumed to be truly worse by
`effect`, and otherwise like the baseline. SE_0 is the standard error of the metric in a pilot run
of one target, with G_0 sessions:

    G = 2 · G_0 · SE_0² · s² / (effect − margin)²          quantiles: all on the log scale

s is the required distance from the margin to the effect, in standard errors. For a rate, s is
z_{1−a} + z_power. A latency is tested for drift. 4.5 % of runs without drift test positive, and
their quarters then decide. So the s of a latency is the solution of:

    power = 95.5 % · Φ(s − z_{1−a}) + 4.5 % · P(t_3(s) > t_{3, 1−a})         t_3(s): noncentral

From p90 on, a latency is also tested for bursts. 2.7 % of runs without bursts test positive, and
their sixths then decide (t_5). a is 5 % / m for m primary metrics: the strictest error of Holm's
correction. It is used because it is unknown which metric is rejected first.

If the pilot has both targets in pairs, 2 · SE_0² is replaced by the variance of their difference. A
plan is as uncertain as its pilot, and too small a plan loses more power than too large a plan
gains. So G of a latency is multiplied by 1.1 · (1 + 2.5 / m). m is the number of sessions that have
a value above the quantile: where the turns of a session are alike, few sessions decide a p95.

One-way analysis of variance splits the variance of a run into v_s between sessions and v_t between
the turns of a session. There are G sessions with N values in total. Session g has n_g values, and
their mean is x_g:

    v_t = ΣΣ(x − x_g)² / (N − G)     v_s = (Σ n_g (x_g − x̄)² / (G − 1) − v_t) / n₀
    n₀ = (N − Σ n_g² / N) / (G − 1)

A negative v_s is set to 0. The ICC is v_s / (v_s + v_t).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reports.statistics.autocorrelation import BATCHES, QUARTERS
from reports.statistics.bootstrap import resample_weights, variance
from reports.statistics.counting import Floats, Integers, dense_codes, without_warnings
from reports.statistics.differences import LEVEL
from reports.statistics.distributions import nctdtr, ndtr, ndtri, stdtrit
from reports.statistics.rates import ratio_of
from reports.statistics.verdicts import SESSIONS

if TYPE_CHECKING:
    from reports.statistics.quantiles import Sample

PRIMARY_METRICS = 3
"""The default number of primary metrics of a check: p50, p95 and the failure rate."""
ORDERED = 0.045
BURSTING = 0.027
"""The shares of runs that test positive although they have no autocorrelation. ORDERED is the share
of the test for drift; BURSTING is the share of the test for bursts."""
MAX_DISTANCE = 35.0
"""The largest distance between a margin and an effect that the search considers, in standard
errors."""
TAIL_FROM = 0.9
RESERVE = 1.1
"""The factor of the size of a latency's plan."""
RESERVE_OF_TAIL = 2.5
"""This divided by the number of sessions above the quantile is added to 1, as a further factor."""
BETTER_SESSIONS = 200
DRAWS = 2_000
FINITE = 0.9
"""The minimum share of finite resamples. If a quantile is infinite in more resamples, no sample
size can be planned for it."""
FEW_EVENTS = 5
"""The minimum number of failures. With fewer, it is unknown how failures cluster in sessions, and a
correlation is assumed."""
ASSUMED = 0.2
"""The assumed correlation of failures within sessions."""


class Pilot(NamedTuple):
    """The result of a pilot run: the variance of a difference.

    - `variance` is the variance of the difference if each target had one session, or if there were
      one pair. NaN if it is unknown.
    - `sessions` is the number of sessions of the pilot.
    - `tail` is True for a quantile from p90 on, which is also tested for bursts.
    - `drifts` is True for a latency, which is tested for drift.
    - `above` is the number of sessions with a value above the quantile.
    """

    variance: float
    sessions: int
    tail: bool = False
    drifts: bool = True
    above: float = math.inf

    def needed(self, distance: float, power: float, level: float = LEVEL) -> int:
        """Return the number of sessions that each target needs.

        `distance` is the distance from the margin to the effect; it must be above 0.
        """
        # imported here because the import takes a tenth of the time of a small run's report, which
        # needs no sample size
        from scipy.optimize import brentq  # type: ignore[import-untyped, unused-ignore]

        shift = float(brentq(lambda shift: self._power_at(shift, level) - power, 0, MAX_DISTANCE))
        size = self.variance * (shift / distance) ** 2 * self._inflation
        return max(SESSIONS, math.ceil(size - 1e-9))

    def power(self, sessions: int, distance: float, level: float = LEVEL) -> float:
        """Return the power if each target has this many sessions.

        `distance` is the distance from the margin to the effect.
        """
        se = math.sqrt(self.variance * self._inflation / sessions)
        return self._power_at(min(distance / se, MAX_DISTANCE), level) if se > 0 else 1.0

    @property
    def _inflation(self) -> float:
        """The factor by which the number of sessions is multiplied because the pilot is
        uncertain.
        """
        return RESERVE * (1 + RESERVE_OF_TAIL / max(1, self.above)) if self.drifts else 1.0

    def _power_at(self, shift: float, level: float) -> float:
        """Return the power to detect an effect that is `shift` standard errors beyond the
        margin.
        """
        plain = float(ndtr(shift - float(ndtri(1 - level))))
        ordered = (
            {}
            if not self.drifts
            else {QUARTERS: ORDERED} | ({BATCHES: BURSTING} if self.tail else {})
        )
        of_ordered = sum(
            share * (1 - float(nctdtr(parts - 1, shift, float(stdtrit(parts - 1, 1 - level)))))
            for parts, share in ordered.items()
        )
        return (1 - sum(ordered.values())) * plain + of_ordered


def distance_of(effect: float, margin: float) -> float:
    """Return the distance from a margin to an effect on the log scale. Both are relative: 0.1 is
    10 %.
    """
    return math.log1p(effect) - math.log1p(margin)


def pilot_of_quantile(
    samples: Sequence[Sample], p: float, clusters: int, rng: np.random.Generator
) -> Pilot:
    """Return the pilot of a quantile. `samples` has one target, or both targets of pairs.

    With one target, its variance is doubled, because the comparison will have two targets. Both
    targets of pairs are resampled with the same draws.
    """
    logs = [
        np.log(quantiles[:, 0])
        for quantiles in resample_weights(samples, (p,), clusters, DRAWS, rng)
    ]
    with without_warnings():
        log_ratios = logs[1] - logs[0] if len(logs) == 2 else logs[0]
    session_variance = (1 if len(logs) == 2 else 2) * clusters * variance(log_ratios, FINITE)
    above = min(np.unique(each.sessions[int(p * each.n) :]).size for each in samples)
    return Pilot(session_variance, clusters, p >= TAIL_FROM, above=above)


def pilot_of_rate(events: Floats, turns: Floats, effect: float) -> Pilot:
    """Return the pilot of a rate, for a candidate whose rate is higher by `effect` (points).

    `events` and `turns` are the numbers of events and turns in each session of one target. If a
    rate is near 0, a sample underestimates its variance. So the variance is computed as r (1 − r) ·
    deff / turns, at the rates of both targets. deff is the design effect of the pilot. If the pilot
    has fewer than FEW_EVENTS events, deff is 1 + 0.2 (k −
    1) for sessions of k turns.
    """
    size = events.size
    n = float(turns.sum())
    x = float(events.sum())
    deff = _rate_deff(events, turns)
    return Pilot(_rate_variance(x / n, effect) * deff / n * size, size, drifts=False)


def _rate_variance(rate: float, effect: float) -> float:
    """Return the sum of two variances: of one turn of the baseline, and of one turn of the
    candidate.
    """
    rates = np.clip([rate, rate + effect], 0.0, 1.0)
    return float((rates * (1 - rates)).sum())


def _rate_deff(events: Floats, turns: Floats) -> float:
    """Return the design effect of a rate, at least 1.

    It is the factor by which the correlation within sessions increases the variance.
    """
    n = float(turns.sum())
    x = float(events.sum())
    return (
        1 + ASSUMED * (n / events.size - 1)
        if x < FEW_EVENTS or x == n
        else ratio_of((events, turns)).deff
    )


class Variability(NamedTuple):
    """The variability of a run, which determines the sample size. A value is NaN if it is unknown.

    - `sigma` is the sd of the log of successful latencies.
    - `icc` is the share of the variance that is between sessions.
    """

    sigma: float
    icc: float


def icc(values: Floats, clusters: Integers) -> float:
    """Return the share of the variance of `values` that lies between sessions; NaN if it is
    unknown.

    `clusters` is the session of each value, as a code.
    """
    code, groups = dense_codes(clusters)
    sizes = np.bincount(code)
    n = values.size
    if groups < 2 or n <= groups:
        return math.nan
    mean = np.bincount(code, values) / sizes
    of_turns = float(((values - mean[code]) ** 2).sum()) / (n - groups)
    between = float((sizes * (mean - values.mean()) ** 2).sum()) / (groups - 1)
    typical = (n - float((sizes.astype(float) ** 2).sum()) / n) / (groups - 1)
    of_sessions = max(0.0, (between - of_turns) / typical)
    total = of_sessions + of_turns
    return of_sessions / total if total > 0 else math.nan


def variability_of(sample: Sample) -> Variability:
    """Return the variability of a sample.

    Latencies of 0 and failures are left out, because they have no log.
    """
    positive = np.isfinite(sample.values) & (sample.values > 0)
    logs = np.log(sample.values[positive])
    sigma = float(logs.std(ddof=1)) if logs.size > 1 else math.nan
    return Variability(sigma, icc(logs, sample.sessions[positive]))
