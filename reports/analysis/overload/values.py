"""What happened to callers before, in, and after a peak of load, as values.

The values of the peak, and those that depend on it, have no numbers if the load generator fell
behind in the peak. Those of the part before it stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from msgspec.structs import replace as with_fields

from bench.base.units import NS_PER_MS
from bench.catalogue.outcomes import Family, parsed
from reports.analysis.overload.parts import (
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
from reports.engine.evaluate import ChosenTurns, Events, average, counted, rate
from reports.results.json_entries import entry_from
from reports.results.reason import Reason
from reports.results.value import ENDS, Group, Subject, Value
from reports.statistics.arms import TwoSamples
from reports.statistics.counting import Floats, dense_codes
from reports.statistics.differences import Inference, Margin, quantile_differences
from reports.statistics.quantiles import CONFIDENCE, sample
from reports.statistics.recovery import changes_of, recovery_of
from reports.statistics.target_counts import TargetCounts, of_turns
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
REPORTED = {RECOVERY_TIME: "value", REFUSED_SHARE: "rate", HARM: "p95"}
"""The values that may have thresholds, with their statistics."""


def overload_values(run: RunFrames, samples: MetricSamples) -> Iterator[Value]:
    """Yield the values of a run with a peak; nothing for other runs."""
    for target in range(len(samples.turns.targets)):
        if (of := calls_of_peak(run, samples, target)) is not None:
            yield from _calls(of)
            yield from _latencies(of) if of.metric else ()
            yield from (_reported(of, name) for name in REPORTED)


def _calls(of: CallsOfPeak) -> Iterator[Value]:
    outcomes = of.calls["outcome"].astype(str).to_numpy()
    is_closed = np.array([parsed(name).family is Family.CLOSED for name in outcomes], dtype=bool)
    has_broken = of.has_failed & of.has_opened
    chosen = {
        "calls_offered": (of.began_ns, ~np.isnan(of.began_ns)),
        "calls_opened": (of.began_ns, of.has_opened),
        REFUSED: (of.began_ns, of.lost),
        "calls_dropped": (of.ended_ns, has_broken & is_closed),
        "calls_failed": (of.ended_ns, has_broken & ~is_closed),
    }
    for part, name in enumerate(PARTS):
        subject = Subject(target=of.name, group=Group(by=PART, name=name))
        for metric, (at_ns, is_chosen) in chosen.items():
            number = int((is_chosen & (of.peak.part(at_ns) == part)).sum())
            yield counted(subject, metric, number, number)
    waits_ms = of.calls["retry_after_ns"].to_numpy(dtype=np.float64, na_value=np.nan) / NS_PER_MS
    for outcome in sorted(set(outcomes[of.lost])):
        mine = of.lost & (outcomes == outcome)
        subject = Subject(target=of.name, group=Group(by=OUTCOME, name=outcome))
        yield counted(subject, REFUSED, int(mine.sum()), int(mine.sum()))
        known = waits_ms[mine & ~np.isnan(waits_ms)]
        value = float(np.median(known)) if known.size else math.nan
        named = {"metric": RETRY_AFTER, "statistic": "median", "n": known.size}
        yield entry_from(Value, subject, **named, value=value, sessions=known.size)


def _latencies(of: CallsOfPeak) -> Iterator[Value]:
    """Yield the median latency of probe callers in each part, and its change since the part before
    the peak.
    """
    peak = of.peak
    behind = of.behind()
    is_whole = not behind and math.isfinite(peak.after_ns)
    changes = changes_of(of.probe_turns(), *peak.settings[:2]) if is_whole else None
    for part, name in enumerate(PARTS):
        subject = Subject(target=of.name, step=PROBE, group=Group(by=PART, name=name))
        chosen = of.turns_in(part) & of.is_probe
        value = average(of.turns, ChosenTurns(subject, chosen), of.metric, of.latency)
        value = with_fields(value, failed=int(np.isinf(of.latency[chosen]).sum()))
        if part == PEAK and behind:
            value = with_fields(value, value=math.nan, reason=_because(behind))
        yield value
        if changes is not None and part:
            named = {"metric": of.metric, "statistic": CHANGE, "n": value.n}
            ends = dict(zip(ENDS, changes[part - 1], strict=True))
            yield entry_from(Value, subject, **named, **ends, sessions=value.sessions)


def _reported(of: CallsOfPeak, name: str) -> Value:
    """Return one of REPORTED as a value. Without an end, the end is unknown."""
    found = overload_estimate(of, name, TAIL)
    reason = found.reason
    is_shown = reason is None or (name == REFUSED_SHARE and bool(found.counts.turns))
    if name == RECOVERY_TIME and reason is None:
        outcome = recovery_of(of.probe_turns(), *of.peak.settings, TAIL)[0]
        reason = None if outcome == "recovered" else _because(outcome)
    numbers = zip(ENDS, (found.value, found.low, found.high), strict=True)
    ends = {end: at if is_shown and math.isfinite(at) else math.nan for end, at in numbers}
    counts = {"n": found.counts.turns, "sessions": found.counts.sessions}
    named = {"metric": name, "statistic": REPORTED[name], "reason": reason}
    return entry_from(Value, Subject(target=of.name), **named, **ends, **counts)


def overload_estimate(of: CallsOfPeak | None, name: str, tail: float) -> ThresholdEstimate:
    """Return one of REPORTED, with its deciding bounds. `tail` is the type I error of each bound.

    A recovery time is in ms, and harm in %.
    """
    if of is None:
        return no_estimate()
    if behind := of.behind():
        return _without(of, behind)
    return {RECOVERY_TIME: _recovery, REFUSED_SHARE: _refused, HARM: _harm}[name](of, tail)


def _because(cause: str) -> Reason:
    return Reason("overload", {"cause": cause})


def _without(of: CallsOfPeak, cause: str) -> ThresholdEstimate:
    """Return an estimate that decides nothing."""
    counts = of_turns(np.bincount(of.turns.session[of.mine]), 0)
    return replace(no_estimate(), counts=counts, reason=_because(cause))


def _estimate(
    ends: Sequence[float], counts: TargetCounts, reason: Reason | None = None
) -> ThresholdEstimate:
    value, low, high, lower, upper = ends
    return ThresholdEstimate(value, low, high, lower, upper, counts, reason)


def _recovery(of: CallsOfPeak, tail: float) -> ThresholdEstimate:
    if math.isinf(of.peak.after_ns):
        return _without(of, "no_after")
    turns = of.probe_turns()
    printed, decided = (recovery_of(turns, *of.peak.settings, each) for each in (TAIL, tail))
    if printed[0] == "too_few":
        return _without(of, printed[0])
    counts = of_turns(np.bincount(turns.callers - NO_CALLER), int(np.isinf(turns.latency).sum()))
    return _estimate([1000 * time_s for time_s in (*printed[1:], *decided[2:])], counts)


def _refused(of: CallsOfPeak, tail: float) -> ThresholdEstimate:
    refused = of.lost[of.peak.part(of.began_ns) == PEAK].astype(np.float64)
    if not refused.size:
        return no_estimate()
    calls = Events(refused, np.ones(refused.size))
    printed, decided = (
        rate(Subject(target=of.name), REFUSED_SHARE, calls, np.arange(refused.size), 1 - 2 * each)
        for each in (TAIL, tail)
    )
    counts = of_turns(calls.trials, 0)
    ends = [printed.value, printed.low, printed.high, decided.low, decided.high]
    return _estimate(ends, counts, few_sessions(counts))


def _harm(of: CallsOfPeak, tail: float) -> ThresholdEstimate:
    """Return the change of the p95 of calls that were in progress at the start of the peak, each
    turn divided by the median of its step before the peak, paired by call.
    """
    in_progress = (of.began_ns < of.peak.peak_ns) & (of.ended_ns > of.peak.peak_ns)
    rows = np.flatnonzero((of.run.sessions["target"] == of.name).to_numpy())
    relative = _by_step(of)
    mine = (of.turns_in(BEFORE) | of.turns_in(PEAK)) & ~np.isnan(relative)
    mine &= np.isin(of.turns.session, of.turns.session_of_row[rows[in_progress]])
    clusters, size = dense_codes(of.turns.session[mine])
    is_peak = of.turns_in(PEAK)[mine]
    if not is_peak.any() or is_peak.all():
        return no_estimate()
    values = relative[mine]
    base, during = (
        sample(values[rows], clusters[rows], failed=int(np.isinf(values[rows]).sum()))
        for rows in (~is_peak, is_peak)
    )
    pair = TwoSamples(base, during, (size, size), paired=True)
    printed, decided = (
        quantile_differences(pair, [(0.95, Margin())], "lower", Inference(each, resamples=DRAWS))[0]
        for each in (TAIL, tail)
    )
    counts = of_turns(np.bincount(clusters), during.failed)
    logs = [printed.d, printed.low, printed.high, decided.low, decided.high]
    return _estimate([100 * math.expm1(end) for end in logs], counts, few_sessions(counts))


def _by_step(of: CallsOfPeak) -> Floats:
    """Return the latency of each turn ÷ the median of its step before the peak; NaN if unknown."""
    usual = np.full(len(of.turns.steps), np.nan)
    before = of.turns_in(BEFORE) & np.isfinite(of.latency)
    for step in np.unique(of.turns.step[before]):
        usual[step] = np.median(of.latency[before & (of.turns.step == step)])
    relative: Floats = of.latency / usual[of.turns.step]
    return relative
