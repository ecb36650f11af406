"""A load with a peak: what happened to callers before, in, and after the peak, as values.

The entry `overload` of run.json states when these parts of the run began. A value that depends on a
part that cannot be used has a reason instead of numbers.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from msgspec import Struct, ValidationError, convert
from msgspec.structs import replace as replace_fields

from bench.base.errors import UsageError
from bench.base.units import NS_PER_S
from reports.analysis.calls_in_time import calls_of, latencies_of
from reports.data.parts import START, Parts, unusable
from reports.data.runs import RunFrames
from reports.data.samples import ALWAYS, MetricSamples
from reports.data.turns import UNFINISHED, TurnArrays, rows_of
from reports.engine.evaluate import ChosenTurns, average, by_part, counted, of_part, share
from reports.formatting import time_step
from reports.results.value import (
    ENDS,
    MEDIAN,
    RATE,
    Group,
    Reason,
    Subject,
    Value,
    some_unscored,
)
from reports.statistics.arms import TwoSamples
from reports.statistics.counting import Flags, Floats, Integers, count_nonzero, dense_codes
from reports.statistics.differences import Inference, Margin, quantile_differences
from reports.statistics.quantiles import sample
from reports.statistics.recovery import TAIL, ProbeTurns, changes_of, recovery_of
from reports.statistics.threshold_estimate import (
    ThresholdEstimate,
    few_sessions,
    no_estimate,
    of_turns,
)

PROBE = "probe"
"""The name of the step that probe callers ask."""
PARTS = BEFORE, PEAK, AFTER = ("before", "peak", "after")
CALLS = {"offered": "part", "opened": "part", "refused": "part"} | dict.fromkeys(
    ("dropped", "failed"), "end_part"
)
"""The counts of calls, and whether they count in the part in which they began, or ended."""
REACHED_S = 3.0
REACHED_SHARE = 0.1
"""The time within which all callers of the peak must have started: in seconds, and as a share of
the peak. The larger one applies."""
MIN_SPACING_S = 0.01
"""The shortest slot of probe callers, in seconds."""
NO_CALLER = -1
BINS = 60
"""The maximum number of bins of a picture."""
RECOVERY_TIME = "recovery_time"
REFUSED_SHARE = "refused_share"
REFUSED = "calls_refused"
RETRY_AFTER = "retry_after"
CHANGE = "change"
"""The statistic that is a latency ÷ that before the peak, paired by caller."""
DRAWS = 2_000


class Peak(Struct, frozen=True, rename=lambda name: name.replace("_ns", "_utc_ns")):
    """The peak of a run. `probes` are the scripts of probe callers. Instants are in ns, UTC."""

    margin: float
    spacing_s: float
    probes: list[str]
    begun_ns: float
    peak_ns: float = math.inf
    reached_ns: float = math.inf
    after_ns: float = math.inf

    @property
    def peak_s(self) -> float:
        return (self.after_ns - self.peak_ns) / NS_PER_S

    @property
    def parts(self) -> Parts:
        allowed_ns = max(REACHED_S, REACHED_SHARE * self.peak_s) * NS_PER_S
        is_late = math.isfinite(self.after_ns) and self.reached_ns > self.peak_ns + allowed_ns
        edges_ns = self.begun_ns, self.peak_ns, self.after_ns, math.inf
        return Parts(PARTS, edges_ns, late=(PEAK,) if is_late else ())


@dataclass(frozen=True)
class CallsOfPeak:
    """The calls and the ended turns of one target.

    - `calls` is as `calls_of` returns it, with whether each call is of a probe caller
    - `latency` is the main latency of each turn of the run, in ms: inf if the turn failed, NaN if
      it has none. `metric` is that of probe callers, "" without any of their turns.
    - `parts` has the ended turns of the target in each of PARTS, `is_probe` those of probe callers
    - `unscored` is why latencies are known only within bounds; None if all successful turns that
      should have one do
    """

    run: RunFrames
    peak: Peak
    name: str
    calls: pd.DataFrame
    turns: TurnArrays
    metric: str
    latency: Floats
    parts: dict[str, ChosenTurns]
    is_probe: Flags
    unscored: Reason | None

    def probe_turns(self) -> ProbeTurns:
        """Return the turns of probe callers, relative to the end of the peak. A probe call that did
        not open is a failed turn.
        """
        lost_ns = self.calls["began_ns"][self.calls["refused"] & self.calls["is_probe"]].to_numpy()
        at_ns = np.append(self.turns.column(START)[self.is_probe], lost_ns)
        return ProbeTurns(
            (at_ns - self.peak.after_ns) / NS_PER_S,
            np.append(self.latency[self.is_probe], np.full(lost_ns.size, np.inf)),
            np.append(self.turns.session[self.is_probe], np.full(lost_ns.size, NO_CALLER)),
        )

    @cached_property
    def problems(self) -> dict[str, str]:
        """Why each of PARTS cannot be used; "" if it can."""
        return self.peak.parts.problems(self.run, self.name)

    def reason(self, *parts: str, is_count: bool = False) -> Reason | None:
        """Return why a latency, or a count, of these parts decides nothing; None if it does."""
        unscored = None if is_count else self.unscored
        return unusable(self.problems, parts, is_count=is_count) or unscored


def calls_of_peak(run: RunFrames, samples: MetricSamples, target: int) -> CallsOfPeak | None:
    """Return the calls of a target; None if the load of the run has no peak. Raise UsageError if
    the peak in run.json is damaged.
    """
    if "overload" not in run.metadata:
        return None
    try:
        peak = convert(run.metadata["overload"], Peak)
    except ValidationError as error:
        raise UsageError(f"the overload in run.json is damaged: {error}") from None
    peak = replace_fields(peak, spacing_s=max(peak.spacing_s, MIN_SPACING_S))
    turns = samples.turns
    name = turns.targets[target]
    latency, lacking = latencies_of(samples, target)
    mine = ChosenTurns(Subject(target=name), (turns.target == target) & (turns.kind != UNFINISHED))
    is_probe = mine.turns & turns.labelled("script", *peak.probes)
    is_probe &= turns.steps_named(PROBE)[turns.step] & ~np.isnan(latency)
    strata = turns.stratum[turns.step[is_probe]]
    metric = samples.mains[turns.strata[strata[0]]] if strata.size else ""
    ended = count_nonzero(mine.turns)
    unscored = some_unscored(metric or ALWAYS, lacking, ended, "turns") if lacking else None
    parts = dict(zip(PARTS, by_part(mine, peak.parts, turns.column(START)), strict=True))
    rows = rows_of(run.sessions, name)
    calls = calls_of(rows, peak.parts).assign(is_probe=rows["script"].isin(peak.probes))
    return CallsOfPeak(run, peak, name, calls, turns, metric, latency, parts, is_probe, unscored)


def overload_values(run: RunFrames, samples: MetricSamples) -> Iterator[Value]:
    """Yield the values of a run with a peak; nothing for other runs."""
    for target in range(len(samples.turns.targets)):
        if (of := calls_of_peak(run, samples, target)) is not None:
            yield from _counts(of)
            yield from _latencies(of) if of.metric else ()
            yield from (_reported(of, name) for name in REPORTED)


def _counts(of: CallsOfPeak) -> Iterator[Value]:
    calls = of.calls
    for part, name in enumerate(PARTS):
        for call, place in CALLS.items():
            number = count_nonzero(calls[call] & (calls[place] == part))
            yield counted(of_part(Subject(target=of.name), name), f"calls_{call}", number, number)
    for status, refused in calls[calls["refused"]].groupby("status"):
        subject = Subject(target=of.name, group=Group(by="outcome", name=str(status)))
        yield counted(subject, REFUSED, len(refused), len(refused))
        known = refused["retry_after_ms"].dropna()
        value = counted(subject, RETRY_AFTER, len(known), len(known))
        yield replace_fields(value, statistic=MEDIAN, value=known.median())


def _latencies(of: CallsOfPeak) -> Iterator[Value]:
    """Yield the median latency of probe callers in each part, and its change since the part before
    the peak.
    """
    peak = of.peak
    is_whole = of.reason(*PARTS) is None
    changes = changes_of(of.probe_turns(), peak.peak_s, peak.spacing_s) if is_whole else None
    for part, (name, (subject, turns)) in enumerate(of.parts.items()):
        probes = ChosenTurns(replace_fields(subject, step=PROBE), turns & of.is_probe)
        value = average(of.turns, probes, of.metric, of.latency)
        failed = count_nonzero(np.isinf(of.latency[probes.turns]))
        yield replace_fields(value, failed=failed, reason=of.reason(name))
        if changes is not None and part:
            ends = dict(zip(ENDS, changes[part - 1], strict=True))
            yield replace_fields(value, **ends, statistic=CHANGE)


def _reported(of: CallsOfPeak, name: str) -> Value:
    """Return one of REPORTED as a value. Without an end, the end is unknown."""
    found = overload_estimate(of, name, TAIL)
    reason = found.reason
    is_shown = reason is None or name == REFUSED_SHARE
    if name == RECOVERY_TIME and reason is None and found.high in (0, math.inf):
        reason = Reason("not_recovered" if found.high else "never_left")
    value, low, high = (
        end if is_shown and math.isfinite(end) else math.nan
        for end in (found.value, found.low, found.high)
    )
    return Value(
        target=of.name,
        metric=name,
        statistic=REPORTED[name].statistic,
        value=value,
        low=low,
        high=high,
        n=found.counts.turns,
        sessions=found.counts.sessions,
        reason=reason,
    )


def overload_estimate(of: CallsOfPeak | None, name: str, tail: float) -> ThresholdEstimate:
    """Return one of REPORTED, with its deciding bounds. `tail` is the type I error of each bound.

    A recovery time is in ms, and harm in %.
    """
    if of is None:
        return no_estimate()
    _, parts, estimate = REPORTED[name]
    if reason := of.reason(*parts, is_count=name == REFUSED_SHARE):
        ended = np.any([part.turns for part in of.parts.values()], axis=0)
        counts = of_turns(np.bincount(of.turns.session[ended]), 0)
        return replace(no_estimate(), counts=counts, reason=reason)
    deciding = estimate(of, tail)
    return replace(estimate(of, TAIL), lower=deciding.low, upper=deciding.high)


NOTHING = replace(no_estimate(), reason=None)


def _recovery(of: CallsOfPeak, tail: float) -> ThresholdEstimate:
    turns = of.probe_turns()
    peak = of.peak
    outcome, *times_s = recovery_of(turns, peak.peak_s, peak.spacing_s, peak.margin, tail)
    value, low, high = (1000 * time_s for time_s in times_s)
    failed = count_nonzero(np.isinf(turns.latency))
    counts = of_turns(np.bincount(turns.callers - NO_CALLER), failed)
    reason = Reason("few_probe_turns") if outcome == "too_few" else None
    return ThresholdEstimate(value, low, high, low, high, counts, reason)


def _refused(of: CallsOfPeak, tail: float) -> ThresholdEstimate:
    refused = of.calls["refused"][of.calls["part"] == PARTS.index(PEAK)].to_numpy()
    if not refused.size:
        return NOTHING
    calls = np.arange(refused.size)
    found = share(Subject(target=of.name), REFUSED_SHARE, refused, calls, 1 - 2 * tail)
    counts = of_turns(np.ones(refused.size), 0)
    ends = found.low, found.high
    return ThresholdEstimate(found.value, *ends, *ends, counts, few_sessions(counts))


def _harm(of: CallsOfPeak, tail: float) -> ThresholdEstimate:
    """Return the change of the p95 of calls that were in progress at the start of the peak, each
    turn divided by the median of its step before the peak, paired by call.
    """
    peak_ns = of.peak.peak_ns
    in_progress = (of.calls["began_ns"] < peak_ns) & (of.calls["ended_ns"] > peak_ns)
    before, during = (of.parts[name].turns for name in (BEFORE, PEAK))
    is_usual = before & np.isfinite(of.latency)
    usual = pd.Series(of.latency[is_usual]).groupby(of.turns.step[is_usual]).median()
    relative = of.latency / usual.reindex(of.turns.step).to_numpy()
    mine = (before | during) & ~np.isnan(relative)
    mine &= np.isin(of.turns.session, of.turns.session_of_row[of.calls.index[in_progress]])
    clusters, size = dense_codes(of.turns.session[mine])
    values = relative[mine]
    is_later = during[mine]
    if not is_later.any() or is_later.all():
        return NOTHING
    samples = [
        sample(values[each], clusters[each], failed=count_nonzero(np.isinf(values[each])))
        for each in (~is_later, is_later)
    ]
    pair = TwoSamples(samples[0], samples[1], (size, size), paired=True)
    inference = Inference(tail, resamples=DRAWS)
    found = quantile_differences(pair, [(0.95, Margin())], "lower", inference)[0]
    counts = of_turns(np.bincount(clusters), samples[1].failed)
    value, low, high = (100 * math.expm1(end) for end in (found.d, found.low, found.high))
    return ThresholdEstimate(value, low, high, low, high, counts, few_sessions(counts))


class Reported(NamedTuple):
    """A value that may have thresholds. `parts` are those of the run on which it depends. Each end
    of its interval has the type I error that `estimate` is given.
    """

    statistic: str
    parts: tuple[str, ...]
    estimate: Callable[[CallsOfPeak, float], ThresholdEstimate]


REPORTED = {
    RECOVERY_TIME: Reported("value", PARTS, _recovery),
    REFUSED_SHARE: Reported(RATE, (PEAK,), _refused),
    "harm": Reported("p95", (BEFORE, PEAK), _harm),
}


class PeakSeries(NamedTuple):
    """The values of bins of equal duration. `at_s` are their middles, in seconds after the start of
    the load. `latency` is a median in ms: +inf if it failed, NaN without turns. `band` is the
    median before the peak, and the margin above it.
    """

    at_s: Floats
    offered: Integers
    opened: Integers
    latency: Floats
    band: tuple[float, float]
    peak_s: tuple[float, float]


def peak_series(of: CallsOfPeak) -> PeakSeries:
    """Return the series of a target. A call counts in the bin in which it began."""
    peak = of.peak
    latency = pd.Series(of.latency[of.is_probe])
    instants = (
        of.calls["began_ns"].to_numpy(),
        of.turns.column(START)[of.is_probe],
        np.array(peak.parts.edges_ns),
    )
    calls_s, turns_s, (_, begin_s, end_s, _) = ((ns - peak.begun_ns) / NS_PER_S for ns in instants)
    length_s = float(max(calls_s.max(initial=1.0), turns_s.max(initial=1.0)))
    bin_s = max(time_step(length_s, BINS), peak.spacing_s)
    bins = np.arange(length_s // bin_s + 1)
    offered, opened = (
        np.histogram(chosen_s.clip(0), np.append(bins, bins.size) * bin_s)[0]
        for chosen_s in (calls_s, calls_s[of.calls["opened"]])
    )
    medians = np.array(latency.groupby(turns_s // bin_s).median().reindex(bins), float)
    usual = float(latency[turns_s < begin_s].median())
    band = usual, usual * (1 + peak.margin)
    at_s = (bins + 0.5) * bin_s
    return PeakSeries(at_s, offered, opened, medians, band, (float(begin_s), float(end_s)))
