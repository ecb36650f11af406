"""A rate: a share of turns, or of words.

A few events do not show how events cluster in sessions. So the bound on the bad side is the wider
of two: one from the standard error between sessions, and one that allows for another, unseen
session (`reports.statistics.unseen`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs

from bench.base.errors import UsageError
from bench.catalogue.metrics import CATALOGUE
from bench.catalogue.metrics import Better as Direction
from bench.files.sanitize import excerpt
from reports.metrics.metric_spec import (
    POINTS,
    WRITTEN_NUMBER,
    MetricSpec,
    Source,
    Sources,
    Statistic,
    StoredComparison,
    better_direction,
)
from reports.metrics.rate_metrics import MIN_RATE_UNITS, RATES
from reports.results.value import Counted, Reason, Scale, Sign, too_few_to_print
from reports.statistics.autocorrelation import (
    BATCHES,
    FOUND,
    by_part,
    rate_by_order,
    rates_burst,
    shares_burst,
    with_sixths,
)
from reports.statistics.differences import Better, Difference, Inference, Margin, Order
from reports.statistics.distributions import ndtr
from reports.statistics.quantiles import CONFIDENCE
from reports.statistics.rates import (
    ClusterTotals,
    PerCluster,
    RatioEstimate,
    complement,
    ratio_of,
    upper_of_points,
)
from reports.statistics.threshold_estimate import (
    TAIL,
    TargetCounts,
    ThresholdEstimate,
    few_sessions,
    no_estimate,
    of_equal_sessions,
    of_turns,
)
from reports.statistics.unseen import sessions_without, upper_share
from reports.statistics.verdicts import LATE

if TYPE_CHECKING:
    from reports.metrics.stored import Baseline
    from reports.statistics.group_sequential import InterimStatistic
    from reports.statistics.power import Pilot

FAILINGS = ("throttle_rate", "failure_rate")
"""The rates that count failed turns as events."""


@dataclass(frozen=True)
class Rate(Statistic):
    """A rate: events divided by turns, or by words."""

    kind = "rate"
    has_extremes = True

    @classmethod
    def aggregates(cls, unit: str, better: Direction) -> tuple[str, ...]:
        return ("rate",) if unit == "share" else ()

    @classmethod
    def read(cls, aggregate: str) -> Rate | None:
        return cls() if aggregate == "rate" else None

    def title(self, metric: str) -> str:
        return metric

    def unit(self, metric: str) -> str:
        return "share"

    def shown_unit(self, metric: str) -> str:
        return "%"

    def better(self, metric: str) -> Direction:
        return RATES[metric].better

    def scale(self, metric: str) -> Scale:
        return "points"

    def of_words(self, metric: str) -> bool:
        """Return whether the denominator is words."""
        return bool(RATES[metric].words_column)

    def bad_event(self, metric: str) -> str:
        return metric if self.better(metric) == "lower" else ""

    def events(self, source: Source, spec: MetricSpec) -> PerCluster:
        """Return for each cluster the events and the trials."""
        return source.counts(spec)

    def counts(self, source: Source, spec: MetricSpec) -> TargetCounts:
        events, turns = self.events(source, spec)
        return of_turns(turns, int(events.sum()) if spec.metric in FAILINGS else 0)

    def value(self, source: Source, spec: MetricSpec) -> float:
        events, turns = self.events(source, spec)
        return float(events.sum() / turns.sum()) if turns.any() else math.nan

    def shortfall(self, metric: str, turns: int, sessions: int) -> Reason | None:
        rate = RATES[metric]
        unit: Counted = "word" if rate.words_column else "turn"
        return (
            too_few_to_print(unit, MIN_RATE_UNITS, turns)
            if rate.column and turns < MIN_RATE_UNITS
            else None
        )

    def differences(
        self, sources: Sources, group: Sequence[MetricSpec], inference: Inference
    ) -> Sequence[Difference | None]:
        base, candidate = (self.events(source, group[0]) for source in sources.weighted)
        sums = ClusterTotals(base, candidate, sources.base.paired, self.of_words(group[0].metric))
        return [
            rate_by_order(sums, spec.margin, better_direction(spec), inference) for spec in group
        ]

    def nothing_seen(
        self, spec: MetricSpec, difference: Difference, candidate: TargetCounts
    ) -> Reason | None:
        event = self.bad_event(spec.metric)
        if not event or self._bad_share(spec.metric, difference.candidate):
            return None
        needed = candidate.sessions + difference.more_sessions if difference.more_sessions else None
        longest = candidate.sessions_if_all_longest
        return none_seen(event, candidate.sessions, difference.level, needed, longest)

    def default_margin(self, metric: str) -> Margin:
        return Margin(points=POINTS)

    def sessions_to_pass(self, margin: Margin, error: float) -> int | None:
        return sessions_without(margin.points, error)

    def pilot(
        self, sources: Sequence[Source], spec: MetricSpec, effect: float, rng: np.random.Generator
    ) -> Pilot:
        from reports.statistics.power import Pilot, pilot_of_rate

        counts = self.events(sources[0], spec)
        events, turns = complement(counts) if better_direction(spec) == "higher" else counts
        if not turns.any():
            return Pilot(math.nan, sources[0].sessions)
        return pilot_of_rate(events, turns, effect)

    def estimate(self, source: Source, spec: MetricSpec, tail: float = TAIL) -> ThresholdEstimate:
        rate = estimate_rate(self.events(source, spec), self.better(spec.metric), tail)
        all_failed = spec.metric in FAILINGS and rate.counts.failed == rate.counts.turns
        return replace(rate, nothing_succeeded=all_failed)

    def allowed_misses(self, sign: Sign, limit: float) -> float | None:
        return 1 - limit if sign in (">", ">=") else limit

    def misses(self, source: Source, spec: MetricSpec, sign: Sign, limit: float) -> PerCluster:
        counts = self.events(source, spec)
        return complement(counts) if sign in (">", ">=") else counts

    def explain_limit(
        self, spec: MetricSpec, estimate: ThresholdEstimate, limit: float
    ) -> Reason | None:
        event = self.bad_event(spec.metric)
        if not event or self._bad_share(spec.metric, estimate.value):
            return None
        sessions = estimate.counts.sessions
        longest = estimate.counts.sessions_if_all_longest
        needed = sessions_without(self._bad_share(spec.metric, limit), TAIL, sessions / longest)
        return Reason("no_event", none_seen(event, sessions, TAIL, needed, longest).numbers)

    def _bad_share(self, metric: str, rate: float) -> float:
        """Return the share of bad events: the rate, or its complement if more is better."""
        return 1 - rate if self.better(metric) == "higher" else rate

    def interim(
        self, sources: Sources, group: Sequence[MetricSpec], inference: Inference, error: float
    ) -> list[InterimStatistic]:
        base, candidate = (self.events(source, group[0]) for source in sources.weighted)
        event = self.bad_event(group[0].metric)
        words = self.of_words(group[0].metric)
        return [
            rate_seen(
                base, candidate, spec.margin, event, better_direction(spec), error, words=words
            )
            for spec in group
        ]

    def against_stored(
        self,
        source: Source,
        spec: MetricSpec,
        runs: Sequence[Baseline],
        inference: Inference,
    ) -> StoredComparison:
        from reports.statistics.baselines import rate_against_stored, vary_by_parts

        words = self.of_words(spec.metric)
        rows = [rate for run in runs for rate in run.rates if rate.name == spec.metric]
        totals = source.counts(spec)
        candidate = with_sixths(totals, words=words)
        stored_rates = [
            RatioEstimate(
                row.share,
                math.nan if row.variance is None else row.variance,
                row.n,
                row.sessions,
                words=words,
                by_sixths=math.nan if row.by_sixths is None else row.by_sixths,
            )
            for row in rows
        ]
        bursts = shares_burst(totals) or vary_by_parts(
            [(rate.variance, rate.by_sixths) for rate in stored_rates], "bursts"
        )
        difference = None
        if rows and candidate.turns:
            difference = rate_against_stored(
                candidate,
                stored_rates,
                spec.margin,
                better=better_direction(spec),
                inference=inference,
                bursts=bursts,
            )
        smallest = of_equal_sessions(
            min((row.n for row in rows), default=0),
            min((row.sessions for row in rows), default=0),
            0,
        )
        failed = round(candidate.value * candidate.turns) if candidate.turns else 0
        counts = of_turns(totals[1], failed)
        return StoredComparison(len(rows), (smallest, counts), difference)


FAILURES = MetricSpec("failure_rate", Rate())


def estimate_rate(
    totals: PerCluster, better: Direction = "lower", tail: float = TAIL
) -> ThresholdEstimate:
    """Return a rate with its bounds. `totals` is the number of events and the number of turns of
    each session.

    `tail` is the type I error of each deciding bound.
    """
    rate = ratio_of(totals)
    if not rate.turns:
        return no_estimate()
    order: Order | None = "bursts" if shares_burst(totals) else None
    of_sessions = rate.reach(tail)
    reach = (
        max(of_sessions, ratio_of(by_part(totals, BATCHES)).reach(tail)) if order else of_sessions
    )
    lower = rate.value - reach
    upper = rate.value + reach
    if better != "higher":
        upper = max(upper, rate.upper(tail))
    if better != "lower":
        lower = min(lower, rate.lower(tail))
    upper = upper if rate.value > 1 else min(1.0, upper)  # there may be more word errors than words
    counts = of_turns(totals[1], int(totals[0].sum()))
    printed = (1 - CONFIDENCE) / 2
    return ThresholdEstimate(
        rate.value,
        rate.lower(printed),
        rate.upper(printed),
        max(0.0, lower),
        upper,
        counts,
        few_sessions(counts),
        order=order,
        by_parts=reach > of_sessions,
    )


def none_seen(
    event: str, sessions: int, level: float, needed: int | None, longest: float
) -> Reason:
    """Return the reason why a rate without any event is inconclusive: its true value may be above
    0.

    - `event` is the name of the events: a rate, or a name of LATE.
    - `needed` is the number of sessions for a conclusive result; None if no number is enough.
    - `longest` is the number of turns divided by that of the longest session.
    """
    upper = upper_share(0.0, 0.0, longest, level)
    enough = {} if needed is None else {"needed": needed}
    return Reason("none_seen", {"metric": event, "there": [sessions], "upper": upper} | enough)


def rate_seen(
    base: PerCluster,
    cand: PerCluster,
    margin: Margin,
    event: str = "failure_rate",
    better: Better = "lower",
    error: float = FOUND,
    *,
    words: bool = False,
) -> InterimStatistic:
    """Return the statistic of a rate at an interim analysis. If more is better, test the complement
    of the rate.

    With few failures the standard error is too small. So the upper bound is computed by
    `upper_of_points`.

    - `event` is the name of the bad events; "" if they have none
    - `words` is True for a rate over words
    """
    from reports.statistics.group_sequential import InterimStatistic, few_pairs, untestable

    if reason := few_pairs(base, cand):
        return untestable(reason)
    if better == "higher":
        complements = rate_seen(
            complement(base), complement(cand), margin, event, error=error, words=words
        )
        return structs.replace(complements, d=-complements.d, better=-1)
    sums = ClusterTotals(base, cand, paired=True, words=words)
    difference = rate_by_order(sums, margin, "lower", Inference(), error)
    base_rate, cand_rate = sums.ratios

    def upper(c: float) -> float:
        return (
            upper_of_points(base_rate, cand_rate, difference.se, difference.df, float(ndtr(-c)))
            - margin.points
        )

    def unsettled(c: float) -> Reason | None:
        if cand_rate.value or not event:
            return None
        level = float(ndtr(-c))
        needed = (
            None
            if base_rate.value
            else sessions_without(
                margin.points, level, cand_rate.clusters / cand_rate.sessions_if_all_longest
            )
        )
        return none_seen(
            event, cand_rate.clusters, level, needed, cand_rate.sessions_if_all_longest
        )

    return InterimStatistic(
        d=difference.d,
        excess=difference.d - margin.points,
        se=difference.se,
        df=difference.df,
        upper=upper,
        untested=None,
        unsettled=unsettled,
        order=difference.order,
        is_provisional=difference.order is not None and rates_burst(sums),
    )


_WRITTEN = re.compile(rf"within\(\s*({WRITTEN_NUMBER})\s*(ms|s)?\s*\)")


@dataclass(frozen=True)
class Within(Rate):
    """The share of turns (or sessions) that have a metric by a deadline in ms, such as the turns
    that were answered within 2 s.

    It is a rate, of which more is better, so its inference is that of rates. A turn that failed or
    did not start is late, as in quantiles. So p(95)<2000 and within(2000)>0.95 ask the same, but
    they print a time and a share.
    """

    kind = "within"
    per_stratum = True
    is_monotone = True
    deadline: float

    @property
    def deadline_ms(self) -> float:
        return self.deadline

    @property
    def aggregate(self) -> str:
        return f"within({self.deadline:.12g})"

    @classmethod
    def aggregates(cls, unit: str, better: Direction) -> tuple[str, ...]:
        return ("within(N)",) if (unit, better) == ("ms", "lower") else ()

    @classmethod
    def read(cls, aggregate: str) -> Within | None:
        match = _WRITTEN.fullmatch(aggregate)
        if match is None:
            return None
        deadline = float(Fraction(match[1]) * (1000 if match[2] == "s" else 1))
        if not deadline:
            raise UsageError(
                f'"{excerpt(aggregate, 60)}" is not a deadline: N of within(N) must be more than'
                " 0 ms"
            )
        return Within(deadline)

    def title(self, metric: str) -> str:
        return f"{metric} within {self.deadline:,.12g} ms"

    def better(self, metric: str) -> Direction:
        return "higher"

    def of_words(self, metric: str) -> bool:
        return False

    def bad_event(self, metric: str) -> str:
        return LATE[CATALOGUE[metric].scope]

    def events(self, source: Source, spec: MetricSpec) -> PerCluster:
        return source.in_time(spec, self.deadline)

    def counts(self, source: Source, spec: MetricSpec) -> TargetCounts:
        return of_turns(self.events(source, spec)[1], source.sample(spec).failed)

    def shortfall(self, metric: str, turns: int, sessions: int) -> Reason | None:
        unit: Counted = "session" if CATALOGUE[metric].scope == "session" else "turn"
        return too_few_to_print(unit, MIN_RATE_UNITS, turns) if turns < MIN_RATE_UNITS else None

    def estimate(self, source: Source, spec: MetricSpec, tail: float = TAIL) -> ThresholdEstimate:
        estimate = super().estimate(source, spec, tail)
        return replace(estimate, counts=replace(estimate.counts, failed=source.sample(spec).failed))

    def against_stored(
        self,
        source: Source,
        spec: MetricSpec,
        runs: Sequence[Baseline],
        inference: Inference,
    ) -> StoredComparison:
        raise UsageError(
            f"{spec.name}: stored baselines contain no shares by a deadline; use a run as the"
            " baseline, or a threshold on a quantile"
        )
