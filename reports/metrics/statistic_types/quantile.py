"""A quantile of a metric's values. A failed turn has an infinite value.

The bounds that are compared with a limit are order statistics with a design effect
(`reports.statistics.quantiles`). If sessions drift or events come in bursts, bounds are also
computed with parts of the run as clusters, and the wider bounds are used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from msgspec import structs

from bench.base.errors import UsageError
from bench.catalogue.metrics import CATALOGUE, SLOPE
from bench.catalogue.metrics import Better as Direction
from bench.files.sanitize import excerpt
from reports.metrics.metric_spec import (
    WRITTEN_NUMBER,
    MeasuredDifferences,
    MetricSpec,
    Source,
    Sources,
    Statistic,
    StoredComparison,
    better_direction,
)
from reports.metrics.strata import NO_STRATUM
from reports.results.value import Reason, Sign, too_few
from reports.statistics.autocorrelation import (
    FOUND,
    PARTS,
    by_order,
    by_parts,
    dependence_test,
    in_parts,
    latencies_by_order,
    part_variance,
)
from reports.statistics.differences import (
    Better,
    Inference,
    Margin,
    Order,
    excess_over_margin,
    log_ratio,
)
from reports.statistics.distributions import ndtr
from reports.statistics.quantiles import (
    CONFIDENCE,
    Sample,
    effective_size,
    fail_together,
    longest_failure,
    quantile,
    quantiles,
    sessions_needed,
    shortfall,
    upper_with_unseen,
)
from reports.statistics.threshold_estimate import (
    TAIL,
    TargetCounts,
    ThresholdEstimate,
    few_sessions,
    of_equal_sessions,
    of_sample,
    with_equal_weights,
)
from reports.statistics.unseen import upper_share
from reports.statistics.verdicts import BECAUSE_OF, floor_reason, turns_to_decide

if TYPE_CHECKING:
    from reports.metrics.stored import Baseline, StoredQuantiles
    from reports.statistics.arms import TwoSamples
    from reports.statistics.counting import Floats
    from reports.statistics.group_sequential import InterimStatistic
    from reports.statistics.power import Pilot
    from reports.statistics.rates import PerCluster

MARGINS = {0.5: 0.10, 0.9: 0.15, 0.95: 0.20, 0.99: 0.30}
"""The default margins by the level of the quantile. Other quantiles have the margin of the next
higher level."""
_WRITTEN = re.compile(rf"p\(\s*({WRITTEN_NUMBER})\s*\)")
MISSES = {"<": np.greater_equal, "<=": np.greater, ">": np.less_equal, ">=": np.less}
"""The comparison with a limit that is true for a value that misses it, for each sign of a
threshold."""
DRAWS = 2_000
"""The default number of resamples at an interim analysis."""
TAIL_FROM = 0.9
"""The lowest quantile that depends on failed sessions so rare that a run may have none."""
INFINITE = 0.01
"""The maximum share of resamples in which a quantile is infinite, because it lies among failed
turns. If the share is larger, the quantile is not tested."""


@dataclass(frozen=True)
class Quantile(Statistic):
    kind = "quantile"
    is_grouped = True
    per_stratum = True
    is_monotone = True
    has_extremes = True
    at: float

    @property
    def p(self) -> float:
        return self.at

    @property
    def aggregate(self) -> str:
        return f"p({self.p * 100:g})"

    @classmethod
    def aggregates(cls, unit: str, better: Direction) -> tuple[str, ...]:
        return () if unit == "share" else ("p(N)", "med")

    @classmethod
    def read(cls, aggregate: str) -> Quantile | None:
        if aggregate == "med":
            return Quantile(0.5)
        match = _WRITTEN.fullmatch(aggregate)
        if match is None:
            return None
        p = float(Fraction(match[1]) / 100)
        if not 0 < p < 1:
            raise UsageError(
                f'"{excerpt(aggregate, 60)}" is not a quantile: N of p(N) must be between 0 and 100'
            )
        return Quantile(p)

    def title(self, metric: str) -> str:
        return f"{metric} p{self.p * 100:g}"

    def counts(self, source: Source, spec: MetricSpec) -> TargetCounts:
        return of_sample(source.sample(spec))

    def value(self, source: Source, spec: MetricSpec) -> float:
        return quantile(source.sample(spec).values, self.p)

    def shortfall(self, metric: str, turns: int, sessions: int) -> Reason | None:
        return shortfall(self.p, turns, sessions)

    def compare(
        self, sources: Sources, group: Sequence[MetricSpec], inference: Inference
    ) -> MeasuredDifferences:
        from reports.statistics.typical_change import slope_differences

        samples = sources.targets(group[0])
        counts = of_sample(samples.base), of_sample(samples.cand)
        if not (counts[0].turns and counts[1].turns):
            return MeasuredDifferences(counts, [None] * len(group))
        differences = slope_differences if group[0].scale == "slope" else latencies_by_order
        return MeasuredDifferences(
            counts, differences(samples, _margins(group), better_direction(group[0]), inference)
        )

    def default_margin(self, metric: str) -> Margin:
        return margin_of(self.p, metric)

    def min_sessions(self, source: Source, spec: MetricSpec) -> int:
        from reports.statistics.group_sequential import pairs_needed

        sample = source.sample(spec)
        sessions_to_print = sessions_needed(self.p, np.bincount(sample.sessions))
        return max(pairs_needed(self.p, sample.n / source.sessions), sessions_to_print)

    def pilot(
        self, sources: Sequence[Source], spec: MetricSpec, effect: float, rng: np.random.Generator
    ) -> Pilot:
        from reports.statistics.power import Pilot, pilot_of_quantile

        samples = [source.sample(spec) for source in sources]
        if not all(sample.n for sample in samples):
            return Pilot(math.nan, sources[0].sessions)
        return pilot_of_quantile(samples, self.p, sources[0].sessions, rng)

    def estimate(self, source: Source, spec: MetricSpec, tail: float = TAIL) -> ThresholdEstimate:
        scope: Literal["turn", "session"] = (
            "session" if CATALOGUE[spec.metric].scope == "session" else "turn"
        )
        sample = source.sample(spec)
        return estimate_quantile(sample, self.p, int(np.unique(sample.sessions).size), scope, tail)

    def allowed_misses(self, sign: Sign, limit: float) -> float | None:
        return self.p if sign in (">", ">=") else round(1 - self.p, 9)

    def misses(self, source: Source, spec: MetricSpec, sign: Sign, limit: float) -> PerCluster:
        sample = source.sample(spec)
        late = MISSES[sign](sample.values, limit)
        of_session = partial(np.bincount, minlength=source.sessions)
        missed, turns = (
            of_session(sessions).astype(float)
            for sessions in (sample.sessions[late], sample.sessions)
        )
        return missed, turns

    def lost_shares(
        self, source: Source, spec: MetricSpec, limit: float
    ) -> tuple[float, float] | None:
        return lost_shares(source.sample(spec), self.p, limit)

    def interim(
        self, sources: Sources, group: Sequence[MetricSpec], inference: Inference, error: float
    ) -> list[InterimStatistic]:
        samples = sources.targets(group[0])
        return quantiles_seen(
            samples,
            _margins(group),
            better_direction(group[0]),
            np.random.default_rng(inference.seed),
            draws=inference.resamples,
            error=error,
        )

    def against_stored(
        self,
        source: Source,
        spec: MetricSpec,
        runs: Sequence[Baseline],
        inference: Inference,
    ) -> StoredComparison:
        from reports.metrics.stored import PS
        from reports.statistics.baselines import (
            StoredValue,
            against_stored,
            stored_quantile,
            vary_by_parts,
        )

        if CATALOGUE[spec.metric].unit == SLOPE:
            raise UsageError(
                f"{spec.name}: stored baselines contain no slopes; use a run as the baseline"
            )
        if self.p not in PS:
            known = ", ".join(f"p({p * 100:g})" for p in PS)
            raise UsageError(
                f"{spec.name}: stored baselines contain only {known}; use a run as the baseline"
            )
        sample = source.sample(spec)
        index = PS.index(self.p)
        counts = of_sample(sample)
        stratum = spec.stratum or NO_STRATUM
        rows = [
            row
            for run in runs
            for row in run.quantiles
            if (row.metric, row.stratum) == (spec.metric, stratum)
        ]
        # leave out a run that is too small for the quantile, unless all are
        rows = [row for row in rows if not floor_reason(self.p, (row.n,), (row.sessions,))] or rows
        kind: Order = "drift" if self.p == 0.5 else "bursts"
        order = dependence_test(sample, source.sessions, self.p) if sample.n else None
        if not order and vary_by_parts(
            [(row.variances[index] or 0.0, _by_parts_of(row, kind, index)) for row in rows], kind
        ):
            order = kind
        candidate = (
            stored_quantile(
                sample, self.p, source.sessions, np.random.default_rng(inference.seed), order=order
            )
            if sample.n
            else None
        )
        stored_values = [
            StoredValue(
                _log(row.values[index]),
                row.variances[index] or 0.0,
                row.infinite[index],
                by_parts=_by_parts_of(row, order, index),
            )
            for row in rows
        ]
        difference = None
        if candidate and stored_values:
            clusters = counts.effective_sessions, sum(row.sessions for row in rows)
            difference = against_stored(
                candidate,
                stored_values,
                clusters,
                spec.margin,
                better_direction(spec),
                inference,
                order,
            )
        smallest = of_equal_sessions(
            min((row.n for row in rows), default=0),
            min((row.sessions for row in rows), default=0),
            sum(row.failed for row in rows),
        )
        return StoredComparison(len(rows), (smallest, counts), difference)


def margin_of(p: float, metric: str = "") -> Margin:
    """Return the default margin of a quantile.

    If more is better, the limit is the baseline's value minus the share in MARGINS; otherwise plus
    it.
    """
    share = next((ratio for known, ratio in MARGINS.items() if p <= known), MARGINS[0.99])
    higher = metric in CATALOGUE and CATALOGUE[metric].better == "higher"
    return Margin(ratio=1 / (1 - share) - 1 if higher else share)


def _margins(group: Sequence[MetricSpec]) -> list[tuple[float, Margin]]:
    """Return the level of the quantile and the margin of each spec."""
    return [(spec.p, spec.margin) for spec in group if spec.p is not None]


def _log(value: float | None) -> float:
    """Return the log of a stored quantile.

    If the value is None, the quantile lies among failed turns, and the log is +inf. The log of 0 is
    −inf.
    """
    return math.inf if value is None else math.log(value) if value > 0 else -math.inf


def _ends_by_parts(
    sample: Sample,
    clusters: int,
    p: float,
    confidence: float,
    order: Order,
    ends: tuple[float, float],
) -> tuple[float, float]:
    """Return the wider of these ends and those with parts of the run as clusters.

    If consecutive sessions failed completely, the upper end allows for one more such sequence.
    """
    parts = quantiles(in_parts(sample, clusters, PARTS[order]), [p], confidence, unseen=False)[0]
    low = min(ends[0], parts.low)
    high = max(ends[1], parts.high)
    longest = longest_failure(sample, np.bincount(sample.sessions))
    if longest > 1 and sample.has_whole_sessions:
        blocks = in_parts(sample, clusters, max(PARTS[order], clusters // longest))
        high = upper_with_unseen(
            blocks, np.bincount(blocks.sessions), p, (1 - confidence) / 2, high
        )
    return low, high


def lost_shares(sample: Sample, p: float, limit: float) -> tuple[float, float] | None:
    """Return two shares of lost sessions, in which all turns fail, if a run without any may have
    passed by chance.

    If a share s of the sessions is lost, the p-quantile of all turns is the p/(1 − s)-quantile of
    the others. It is above the limit if s is above the first share. The second share is the upper
    bound of s. Return None if s cannot be above the first share, if the run lost a session, or if
    the sample has only some turns of its sessions.
    """
    of_session = np.bincount(sample.sessions)
    if not (sample.has_whole_sessions and sample.n) or fail_together(sample, of_session):
        return None
    first = 1 - p * sample.n / max(1, int(np.searchsorted(sample.values, limit, "right")))
    bound = upper_share(0.0, 0.0, sample.n / float(of_session.max()), TAIL)
    return (first, bound) if p >= TAIL_FROM and 0 < first < bound else None


def _by_parts_of(row: StoredQuantiles, order: Order | None, index: int) -> float:
    """Return a stored variance by parts of the run; NaN if it is unknown."""
    stored = (row.by_quarters if order == "drift" else row.by_sixths)[index : index + 1]
    return next((value for value in stored if value is not None), math.nan)


def estimate_quantile(
    sample: Sample,
    p: float,
    sessions: int,
    unit: Literal["turn", "session"] = "turn",
    tail: float = TAIL,
) -> ThresholdEstimate:
    """Return a quantile with its bounds.

    - `sample` has the codes of sessions in the order of their start.
    - `sessions` is the number of sessions with a value.
    - `unit` is "turn" if each turn has a value, "session" if each session has one.
    - `tail` is the type I error of each deciding bound.
    """
    clusters = int(sample.sessions.max(initial=-1)) + 1
    between_bounds = 1 - 2 * tail
    printed_estimate, estimate = (
        quantiles(sample, [p], confidence)[0] for confidence in (CONFIDENCE, between_bounds)
    )
    low, high = (printed_estimate.low, printed_estimate.high)
    lower, upper = (estimate.low, estimate.high)
    if order := dependence_test(sample, clusters, p):
        low, high = _ends_by_parts(sample, clusters, p, CONFIDENCE, order, (low, high))
        lower, upper = _ends_by_parts(sample, clusters, p, between_bounds, order, (lower, upper))
    counts = TargetCounts(
        sample.n,
        sessions,
        sample.failed,
        sample.completed_share,
        estimate.effective_sessions,
        math.nan,
    )
    required = sessions_needed(p, np.bincount(sample.sessions))
    reason = few_sessions(counts)
    if sessions < required:
        reason = too_few("session", required, [sessions], p=p)
    if 0 < sample.n < (turns := turns_to_decide(p)):
        deciding = max(required, math.ceil(turns * sessions / sample.n))
        reason = too_few(unit, turns, [sample.n], p=p)
        if unit == "turn":
            reason = Reason(reason.code, reason.numbers | {"about_sessions": deciding})
        required = deciding if sessions < required else required
    return ThresholdEstimate(
        estimate.value,
        low,
        high,
        lower,
        upper,
        counts,
        reason,
        not sample.succeeded.size,
        required,
        order,
        by_session=(
            with_equal_weights(sample.values, sample.sessions, p, CONFIDENCE)
            if printed_estimate.by_length
            else None
        ),
    )


def quantiles_seen(
    samples: TwoSamples,
    margins: Sequence[tuple[float, Margin]],
    better: Better,
    rng: np.random.Generator,
    *,
    draws: int = DRAWS,
    error: float = FOUND,
) -> list[InterimStatistic]:
    """Return the statistics of several quantiles of one metric at an interim analysis, from the
    same resampled pairs.

    `error` is the type I error of the tests for drift and bursts. Pairs without a value are also
    drawn, but they do not count in the degrees of freedom. If a target drifts, or its slow turns
    come in bursts, parts of the run are resampled too. With bursts, a quantile passes only if the
    share of turns beyond the margin allows it (`share_test`).
    """
    from reports.statistics.arms import target_resamples

    ps = [p for p, _ in margins]
    resamples = target_resamples(samples, ps, draws=draws, rng=rng)
    by_pairs = [
        _quantile_seen(samples, p, margin, (resamples[0][:, index], resamples[1][:, index]), better)
        for index, (p, margin) in enumerate(margins)
    ]
    orders = by_order(samples, ps, error)
    provisional = {
        index
        for indices in (by_order(samples, ps) if orders else orders).values()
        for index in indices
    }
    for order, indices in orders.items():
        of_parts = by_parts(samples, PARTS[order])
        resamples = target_resamples(
            of_parts, [ps[index] for index in indices], draws=draws, rng=rng
        )
        for column, index in enumerate(indices):
            excess = excess_over_margin(
                (resamples[0][:, column], resamples[1][:, column]), margins[index][1], better
            )
            statistic = _by_parts(by_pairs[index], excess, order)
            if ps[index] != 0.5 and not statistic.untested:
                upper = partial(_upper_with_share, statistic, of_parts, margins[index], better)
                statistic = structs.replace(statistic, upper=upper)
            by_pairs[index] = structs.replace(statistic, is_provisional=index in provisional)
    return by_pairs


def _upper_with_share(
    statistic: InterimStatistic,
    of_parts: TwoSamples,
    margin: tuple[float, Margin],
    better: Better,
    c: float,
) -> float:
    """Return the upper bound of `excess` at critical value `c`.

    It is the larger of two bounds: that of the standard error, and that of the share of slow turns.
    """
    from reports.statistics.share_test import share_difference

    by_share = share_difference(of_parts, *margin, better, Inference(level=float(ndtr(-c))))
    return max(statistic.upper(c), by_share.worse.high if by_share else -math.inf)


def _by_parts(statistic: InterimStatistic, excesses: Floats, order: Order) -> InterimStatistic:
    """Return the statistic with the larger of two standard errors: its own, and that computed from
    parts of the run.

    `excesses` is the distance beyond the margin in each resample of the parts. If too few of them
    are finite, the metric cannot be tested.
    """
    from reports.statistics.group_sequential import by_se, untestable

    se = math.sqrt(part_variance(excesses, PARTS[order]))
    if statistic.untested or math.isnan(se):
        untested = statistic if statistic.untested else untestable(BECAUSE_OF[order], statistic.d)
        return structs.replace(untested, order=order)
    return by_se(
        statistic.d,
        statistic.excess,
        max(se, statistic.se),
        PARTS[order] - 1,
        statistic.better,
        order=order,
    )


def _quantile_seen(
    samples: TwoSamples, p: float, margin: Margin, resamples: tuple[Floats, Floats], better: Better
) -> InterimStatistic:
    from reports.statistics.bootstrap import variance
    from reports.statistics.group_sequential import by_se, untestable

    of_targets = samples.base, samples.cand
    base, cand = (np.array([value]) for value in samples.values(p))
    d = float(log_ratio(cand, base)[0])
    effective_sessions = [effective_size(np.bincount(sample.sessions)) for sample in of_targets]
    sessions = [np.unique(sample.sessions).size for sample in of_targets]
    if reason := floor_reason(
        p,
        [sample.n for sample in of_targets],
        sessions,
        "pair",
        effective_sessions=effective_sessions,
    ):
        return untestable(reason, d)
    excess = float(excess_over_margin((base, cand), margin, better)[0])
    se = math.sqrt(variance(excess_over_margin(resamples, margin, better), 1 - INFINITE))
    if not math.isfinite(excess) or math.isnan(se):
        return untestable(Reason("failure_rate_decides"), d)
    together = effective_size(
        np.bincount(np.concatenate([sample.sessions for sample in of_targets]))
    )
    return by_se(d, excess, se, together - 1, 1 if better == "lower" else -1)
