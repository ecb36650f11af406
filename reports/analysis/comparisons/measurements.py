"""The measured differences between a baseline and a candidate: for each metric spec, and at each
percentile. Pure.

All quantiles of one metric are resampled together. Each metric has its own random generator, made
from the seed of the comparison, so that no verdict depends on the other metrics.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec
import numpy as np

from reports.analysis.summary.distributions import PercentileCurve, curve_of
from reports.analysis.targets.compared_target import (
    ComparedTarget,
    Targets,
    uncertain_reason,
    unscored_reason,
)
from reports.analysis.targets.mix import ComparedTargets, changed_lengths
from reports.analysis.targets.moved import extremes
from reports.analysis.targets.named import matched_to_the_first
from reports.data.samples import Events
from reports.data.turns import TurnArrays
from reports.engine.evaluate import RatesByPart, rate_of_clusters
from reports.engine.judge import Judged
from reports.formatting import join_words, nines
from reports.metrics.metric_spec import POINTS, MetricSpec, by_sample
from reports.metrics.rate_metrics import MIN_RATE_UNITS, RATES
from reports.metrics.statistic_types.quantile import Quantile
from reports.metrics.statistic_types.typical_change import by_change, step_latencies, step_sample
from reports.results.value import BaselineFinding, Reason, Subject, Value
from reports.statistics.autocorrelation import rate_by_order
from reports.statistics.differences import (
    Better,
    Difference,
    Inference,
    Margin,
    quantile_differences,
)
from reports.statistics.quantiles import Sample, quantile
from reports.statistics.rates import ClusterTotals, PerCluster
from reports.statistics.threshold_estimate import of_sample
from reports.statistics.typical_change import WORST_STEP_MARGIN, worst_step
from reports.statistics.verdicts import BEYOND, verdicts


def step_changes(
    base: ComparedTarget, cand: ComparedTarget, about: MetricSpec, how: Inference
) -> list[Judged]:
    """Compare the p50 of each step that has enough turns. The first result is the step most likely
    to be worse.

    Return [] if the targets are not paired, if their sessions differ in length, or if fewer than
    two steps have enough turns. `about` is a spec that has the metric and the stratum to compare.
    """
    if not base.paired or changed_lengths(base, cand):
        return []
    spec = MetricSpec(
        about.metric, Quantile(0.5), Margin(ratio=WORST_STEP_MARGIN), stratum=about.stratum
    )
    latencies = step_latencies(base, spec), step_latencies(cand, spec)
    rng = np.random.default_rng(how.seed)
    medians = worst_step(*latencies, base.sessions, rng, draws=min(how.resamples, STEP_DRAWS))
    if len(medians) < 2:
        return []
    labels = [base.step_names[median.step] for median in medians]
    samples = [(step_sample(base, spec, label), step_sample(cand, spec, label)) for label in labels]
    differences = []
    for median, (first, second) in zip(medians, samples, strict=True):
        values = quantile(first.values, 0.5), quantile(second.values, 0.5)
        differences.append(by_change(median.change, base.sessions, values, spec.margin, how.level))
    decided = verdicts(differences, [True] * len(labels), [None] * len(labels), level=how.level)
    return [
        Judged(
            spec=replace(spec, step=label),
            target=cand.label,
            difference=difference,
            cluster="pair",
            targets=(of_sample(first), of_sample(second)),
            verdict=verdict,
            baseline=base.label,
        )
        for label, difference, verdict, (first, second) in zip(
            labels, differences, decided, samples, strict=True
        )
    ]


STEP_DRAWS = 2_000
"""The number of resamples for the standard error of a step's median."""


def measured(
    base: ComparedTarget, cand: ComparedTarget, specs: Sequence[MetricSpec], how: Inference
) -> list[Judged]:
    """Return the difference between the candidate and the baseline for each metric spec, in the
    order of `specs`.

    If the metric is uncertain in a run, the bounds of the difference allow for the maximum error of
    each value, and if turns are unscored, for each score of them. If the errors, or these scores,
    may change any difference, the result has none.
    """
    by_spec: dict[MetricSpec, Judged] = {}
    sources = ComparedTargets(base, cand)
    for group in by_sample(dict.fromkeys(specs)):
        counts, differences = group[0].statistic.compare(sources, group, how)
        uncertain = uncertain_reason((base, cand), group[0])
        unscored = unscored_reason((base, cand), group[0])
        widened_by = ""
        if uncertain or unscored:
            differences, widened_by = _bounded(base, cand, group, differences, how)
        notes = [Reason("widened", {"errors": widened_by})] if widened_by else []
        notes += [unscored] if unscored else []
        for spec, difference in zip(group, differences, strict=True):
            by_spec[spec] = Judged(
                spec=spec,
                target=cand.label,
                targets=counts,
                difference=difference,
                baseline=base.label,
                unfit=(unscored or uncertain) if difference is None else None,
                cluster="pair" if base.paired else "session",
                notes=tuple(notes),
            )
    return [by_spec[spec] for spec in specs]


def compared_rates(
    targets: Targets, rates_of: Callable[[TurnArrays], RatesByPart], how: Inference
) -> Iterator[BaselineFinding]:
    """Yield the difference of each rate that a feature has in each part of a run, for each
    candidate.

    A part that one run lacks has no turns there. Such rates get no verdict, because they have no
    margin.
    """
    parts = {
        id(turns): rates_of(turns)
        for turns in {id(target.turns): target.turns for target in targets}.values()
    }
    for base, cand in matched_to_the_first(targets):
        of_base = parts[id(base.turns)]
        of_cand = parts[id(cand.turns)]
        for subject, (_, rates) in {**of_base, **of_cand}.items():
            for name in rates:
                sums = _sums(base, of_base, subject, name), _sums(cand, of_cand, subject, name)
                if any(of.trials.any() or of.unscored.any() for of in sums):
                    against, value = (
                        rate_of_clusters(
                            msgspec.structs.replace(subject, target=target.label), name, totals
                        )
                        for target, totals in zip((base, cand), sums, strict=True)
                    )
                    yield _rate_finding(value, against, sums, how, paired=base.paired)


def _sums(target: ComparedTarget, parts: RatesByPart, subject: Subject, name: str) -> Events:
    if subject not in parts:
        return Events(*np.zeros((3, target.sessions)))
    turns, of_rates = parts[subject]
    return target.sums(of_rates[name], turns)


def _rate_finding(
    value: Value, against: Value, sums: tuple[Events, Events], how: Inference, *, paired: bool
) -> BaselineFinding:
    """Return the difference of two rates. `sums` are those of the baseline, then those of the
    candidate. The interval includes the worst cases of unscored turns.
    """
    difference: tuple[float | None, ...] = (None, None, None)
    if min(value.n, against.n) >= MIN_RATE_UNITS:
        better: Better = (
            "higher"
            if value.metric in RATES and RATES[value.metric].better == "higher"
            else "lower"
        )
        margin = Margin(points=POINTS)
        known, *worst = (
            rate_by_order(ClusterTotals(*totals, paired), margin, better, how)
            for totals in _possible_totals(*sums)
        )
        for each in worst:
            known = known.wider_of(each)
        difference = known.shares
    d, low, high = (math.nan if end is None else end for end in difference)
    return BaselineFinding(value=value, against=against, difference=d, low=low, high=high)


def _possible_totals(base: Events, cand: Events) -> Iterator[tuple[PerCluster, PerCluster]]:
    """Yield the totals of two targets without unscored turns, then those of the two worst cases:
    all unscored turns of one target had an event, and none of the other.
    """
    cases = [(base, cand)]
    if base.unscored.any() or cand.unscored.any():
        cases += ((base.scored_as(event), cand.scored_as(1 - event)) for event in (0.0, 1.0))
    for first, second in cases:
        yield (first.events, first.trials), (second.events, second.trials)


def _bounded(
    base: ComparedTarget,
    cand: ComparedTarget,
    group: Sequence[MetricSpec],
    differences: Sequence[Difference | None],
    how: Inference,
) -> tuple[list[Difference | None], str]:
    """Return the differences with bounds that allow for the maximum error of each value, and for
    each score of an unscored turn, and a text with the errors.

    The bounds are the widest of those with the values as they are, and with all values of one
    target lower and all of the other higher by their own maximum error; unscored turns then have
    the lowest and the highest value. A difference is None if no error is known, or if the errors
    are so large that a value may be 0 or infinite.
    """
    is_uncertain = uncertain_reason((base, cand), group[0]) is not None
    of_base = extremes(base, group[0], is_uncertain=is_uncertain)
    of_cand = extremes(cand, group[0], is_uncertain=is_uncertain)
    if of_base is None or of_cand is None:
        return [None] * len(group), ""
    wider = list(differences)
    for sources in (
        ComparedTargets(of_base.higher, of_cand.lower),
        ComparedTargets(of_base.lower, of_cand.higher),
    ):
        others = group[0].statistic.compare(sources, group, how).differences
        wider = [
            a.wider_of(b) if a and b and (math.isfinite(b.d) or not math.isfinite(a.d)) else None
            for a, b in zip(wider, others, strict=True)
        ]
    texts = [
        f"{of.text} on {target.label}"
        for of, target in ((of_base, base), (of_cand, cand))
        if of.text
    ]
    return wider, join_words(texts)


FIRST = 0.05
"""The first percentile, which is p11, expressed as −log₁₀(1 − p)."""
STEPS = 24
DRAWS = 2_000


class RatioCurve(NamedTuple):
    """The quantiles of one candidate as multiples of the baseline's quantiles, with their
    intervals.
    """

    candidate: str
    colour: int
    ps: tuple[float, ...]
    differences: tuple[Difference, ...]

    def at(self, p: float) -> Difference | None:
        return next(
            (d for q, d in zip(self.ps, self.differences, strict=True) if abs(p - q) < 1e-9), None
        )


class Shift(NamedTuple):
    """The values of all targets at each percentile of a metric, and the candidates' differences
    from the baseline.
    """

    spec: MetricSpec
    curves: tuple[PercentileCurve, ...]
    """The percentile curves of the targets that have turns. The first curve is that of the
    baseline."""
    ratios: tuple[RatioCurve, ...]
    """The curves of multiples, for the candidates with at least one finite difference."""


def shift_of(targets: Targets, comparisons: Sequence[Judged], how: Inference) -> Shift | None:
    """Return the differences at each percentile, for the main metric of these comparisons.

    Return None if no comparison is about a quantile, or if no turn with the metric succeeded.
    """
    spec = main_spec(comparisons)
    if spec is None:
        return None
    samples = [target.sample(spec) for target in targets]
    both = zip(targets, samples, strict=True)
    curves = tuple(
        curve_of(target.label, index, sample)
        for index, (target, sample) in enumerate(both)
        if sample.n
    )
    if not any(curve.n > curve.failed for curve in curves):
        return None
    required_ps = [
        one.spec.p for one in comparisons if one.spec.p and one.spec.metric == spec.metric
    ]
    ratios = ratio_curves(targets, spec, samples, required_ps, how)
    return Shift(
        spec,
        curves,
        tuple(ratio for ratio in ratios if any(math.isfinite(d.d) for d in ratio.differences)),
    )


def main_spec(comparisons: Sequence[Judged]) -> MetricSpec | None:
    """Return the metric spec of the first primary quantile; if there is none, of the first
    quantile, or None.
    """
    quantiles = [one.spec for one in comparisons if one.spec.p is not None]
    return next((spec for spec in quantiles if spec.primary), next(iter(quantiles), None))


def grid(n: int, required_ps: Sequence[float]) -> tuple[float, ...]:
    """Return 24 percentiles that are equidistant in −log₁₀(1 − p). BEYOND of the n turns lie beyond
    the last one.

    Each of `required_ps` replaces the percentile that is nearest to it. Return () if n is too small
    for the median.
    """
    last = 1 - BEYOND / n if n else 0.0
    if last < 0.5:
        return ()
    ps = 1 - 10.0 ** -np.linspace(FIRST, nines(last), STEPS)
    for p in required_ps:
        if p <= last:
            ps[np.abs(nines(p) + np.log10(1 - ps)).argmin()] = p
    return tuple(float(p) for p in np.unique(ps))


def ratio_curves(
    targets: Targets,
    spec: MetricSpec,
    samples: Sequence[Sample],
    required_ps: Sequence[float],
    how: Inference,
) -> Iterable[RatioCurve]:
    """Compare each candidate with the baseline at each percentile of `grid`, by the method that
    verdicts use.
    """
    for index, (target, sample) in enumerate(zip(targets[1:], samples[1:], strict=True), start=1):
        ps = grid(min(samples[0].n, sample.n), required_ps)
        if ps:
            two_samples = ComparedTargets(targets[0], target).targets(spec)
            settings = replace(how, resamples=min(DRAWS, how.resamples))
            differences = quantile_differences(
                two_samples, [(p, Margin()) for p in ps], "lower", settings
            )
            yield RatioCurve(target.label, index, ps, tuple(differences))
