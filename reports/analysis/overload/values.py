"""What happened to callers before, in, and after a peak of load, as values.

A value that depends on a part of the run that cannot be used has a reason instead of numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace as with_fields

from reports.analysis.overload.parts import (
    AFTER,
    BEFORE,
    NO_CALLER,
    PARTS,
    PEAK,
    PROBE,
    CallsOfPeak,
    calls_of_peak,
)
from reports.data.runs import RunFrames
from reports.data.samples import MetricSamples
from reports.engine.evaluate import ChosenTurns, average, counted, share
from reports.results.json_entries import entry_from
from reports.results.reason import Reason
from reports.results.value import ENDS, MEDIAN, RATE, Group, Subject, Value
from reports.statistics.arms import TwoSamples
from reports.statistics.counting import Floats, dense_codes
from reports.statistics.differences import Inference, Margin, quantile_differences
from reports.statistics.quantiles import CONFIDENCE, sample
from reports.statistics.recovery import changes_of, recovery_of
from reports.statistics.target_counts import NO_TURNS, TargetCounts, of_turns
from reports.statistics.threshold_estimate import ThresholdEstimate, few_sessions, no_estimate

RECOVERY_TIME = "recovery_time"
REFUSED_SHARE = "refused_share"
HARM = "harm"
REFUSED = "calls_refused"
RETRY_AFTER = "retry_after"
PART = "part"
OUTCOME = "outcome"
CHANGE = "change"
"""The statistic that is a latency ÷ that before the peak, paired by caller."""
TAIL = (1 - CONFIDENCE) / 2
DRAWS = 2_000
ENDINGS = {math.inf: "not_recovered", 0.0: "never_left"}
"""What the upper end of a recovery time says."""


def overload_values(run: RunFrames, samples: MetricSamples) -> Iterator[Value]:
    """Yield the values of a run with a peak; nothing for other runs."""
    for target in range(len(samples.turns.targets)):
        if (of := calls_of_peak(run, samples, target)) is not None:
            yield from _calls(of)
            yield from _latencies(of) if of.metric else ()
            yield from (_reported(of, name) for name in REPORTED)


def _calls(of: CallsOfPeak) -> Iterator[Value]:
    calls = of.calls
    for part, name in enumerate(PARTS):
        subject = Subject(target=of.name, group=Group(by=PART, name=name))
        began = calls[calls["part"] == part]
        ended = calls[calls["end_part"] == part]
        counts = {
            "calls_offered": len(began),
            "calls_opened": began["is_open"].sum(),
            REFUSED: began["is_lost"].sum(),
            "calls_dropped": ended["is_dropped"].sum(),
            "calls_failed": ended["is_broken"].sum(),
        }
        for metric, number in counts.items():
            yield counted(subject, metric, int(number), int(number))
    for ending, refused in calls[calls["is_lost"]].groupby("ending"):
        subject = Subject(target=of.name, group=Group(by=OUTCOME, name=str(ending)))
        yield counted(subject, REFUSED, len(refused), len(refused))
        known = refused["retry_after_ms"].dropna()
        named = {"metric": RETRY_AFTER, "statistic": MEDIAN, "n": len(known)}
        yield entry_from(Value, subject, **named, value=known.median(), sessions=len(known))


def _latencies(of: CallsOfPeak) -> Iterator[Value]:
    """Yield the median latency of probe callers in each part, and its change since the part before
    the peak.
    """
    is_whole = of.reason(*range(len(PARTS))) is None
    changes = changes_of(of.probe_turns(), *of.peak.settings[:2]) if is_whole else None
    for part, name in enumerate(PARTS):
        subject = Subject(target=of.name, step=PROBE, group=Group(by=PART, name=name))
        chosen = of.turns_in(part) & of.is_probe
        value = average(of.turns, ChosenTurns(subject, chosen), of.metric, of.latency)
        failed = int(np.isinf(of.latency[chosen]).sum())
        yield with_fields(value, failed=failed, reason=of.reason(part))
        if changes is not None and part:
            named = {"metric": of.metric, "statistic": CHANGE, "n": value.n}
            ends = dict(zip(ENDS, changes[part - 1], strict=True))
            yield entry_from(Value, subject, **named, **ends, sessions=value.sessions)


def _reported(of: CallsOfPeak, name: str) -> Value:
    """Return one of REPORTED as a value. Without an end, the end is unknown."""
    found = overload_estimate(of, name, TAIL)
    reason = found.reason
    is_shown = reason is None or name == REFUSED_SHARE
    if name == RECOVERY_TIME and reason is None and found.high in ENDINGS:
        reason = Reason(ENDINGS[found.high])
    numbers = zip(ENDS, (found.value, found.low, found.high), strict=True)
    ends = {end: at if is_shown and math.isfinite(at) else math.nan for end, at in numbers}
    counts = {"n": found.counts.turns, "sessions": found.counts.sessions}
    named = {"metric": name, "statistic": REPORTED[name].statistic, "reason": reason}
    return entry_from(Value, Subject(target=of.name), **named, **ends, **counts)


def overload_estimate(of: CallsOfPeak | None, name: str, tail: float) -> ThresholdEstimate:
    """Return one of REPORTED, with its deciding bounds. `tail` is the type I error of each bound.

    A recovery time is in ms, and harm in %.
    """
    if of is None:
        return no_estimate()
    if reason := of.reason(*REPORTED[name].parts, is_count=name == REFUSED_SHARE):
        counts = of_turns(np.bincount(of.turns.session[of.mine]), 0)
        return replace(no_estimate(), counts=counts, reason=reason)
    (value, low, high), counts, reason = REPORTED[name].interval(of, TAIL)
    lower, upper = REPORTED[name].interval(of, tail)[0][1:]
    return ThresholdEstimate(value, low, high, lower, upper, counts, reason)


Interval = tuple[Sequence[float], TargetCounts, Reason | None]
"""A value with its interval, its counts, and why it decides nothing."""
NOTHING: Interval = ((math.nan, -math.inf, math.inf), NO_TURNS, None)


def _recovery(of: CallsOfPeak, tail: float) -> Interval:
    turns = of.probe_turns()
    outcome, *times_s = recovery_of(turns, *of.peak.settings, tail)
    counts = of_turns(np.bincount(turns.callers - NO_CALLER), int(np.isinf(turns.latency).sum()))
    reason = Reason("few_probe_turns") if outcome == "too_few" else None
    return [1000 * time_s for time_s in times_s], counts, reason


def _refused(of: CallsOfPeak, tail: float) -> Interval:
    refused = of.calls["is_lost"][of.calls["part"] == PEAK].to_numpy()
    if not refused.size:
        return NOTHING
    calls = np.arange(refused.size)
    found = share(Subject(target=of.name), REFUSED_SHARE, refused, calls, 1 - 2 * tail)
    counts = of_turns(np.ones(refused.size), 0)
    return (found.value, found.low, found.high), counts, few_sessions(counts)


def _harm(of: CallsOfPeak, tail: float) -> Interval:
    """Return the change of the p95 of calls that were in progress at the start of the peak, each
    turn divided by the median of its step before the peak, paired by call.
    """
    peak_ns = of.peak.peak_ns
    in_progress = (of.calls["began_ns"] < peak_ns) & (of.calls["ended_ns"] > peak_ns)
    rows = np.flatnonzero((of.run.sessions["target"] == of.name).to_numpy())
    relative = _by_step(of)
    is_peak = of.turns_in(PEAK)
    mine = (of.turns_in(BEFORE) | is_peak) & ~np.isnan(relative)
    mine &= np.isin(of.turns.session, of.turns.session_of_row[rows[in_progress]])
    clusters, size = dense_codes(of.turns.session[mine])
    values = relative[mine]
    during = is_peak[mine]
    if not during.any() or during.all():
        return NOTHING
    samples = [
        sample(values[each], clusters[each], failed=int(np.isinf(values[each]).sum()))
        for each in (~during, during)
    ]
    pair = TwoSamples(samples[0], samples[1], (size, size), paired=True)
    inference = Inference(tail, resamples=DRAWS)
    found = quantile_differences(pair, [(0.95, Margin())], "lower", inference)[0]
    counts = of_turns(np.bincount(clusters), samples[1].failed)
    ends = [100 * math.expm1(end) for end in (found.d, found.low, found.high)]
    return ends, counts, few_sessions(counts)


def _by_step(of: CallsOfPeak) -> Floats:
    """Return the latency of each turn ÷ the median of its step before the peak; NaN if unknown."""
    usual = np.full(len(of.turns.steps), np.nan)
    before = of.turns_in(BEFORE) & np.isfinite(of.latency)
    for step in np.unique(of.turns.step[before]):
        usual[step] = np.median(of.latency[before & (of.turns.step == step)])
    relative: Floats = of.latency / usual[of.turns.step]
    return relative


class Reported(NamedTuple):
    """A value that may have thresholds. `parts` are those of the run on which it depends. Each end
    of its interval has the type I error that it is given.
    """

    statistic: str
    parts: tuple[int, ...]
    interval: Callable[[CallsOfPeak, float], Interval]


REPORTED = {
    RECOVERY_TIME: Reported("value", (BEFORE, PEAK, AFTER), _recovery),
    REFUSED_SHARE: Reported(RATE, (PEAK,), _refused),
    HARM: Reported("p95", (BEFORE, PEAK), _harm),
}
