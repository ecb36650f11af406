"""Events of a run, such as a deploy: what happened to callers, and when it was over, as values.

Each event is compared with the time before the first event of the run, so that what happens without
an event is no harm. The entry `events` of run.json states when the events happened.

    before ──────────────┬── event ────────────┬── next event, or the end of the run
      control │ window   │ window   │ followed │
              └ followed ┘          └ new calls that failed, turns that failed
                                               └ dropped calls

A share of an event has the calls in progress at the event, or the calls or turns that began within
a window from it on. Calls are followed until they end, or until the next event. The control has
the same calls before the first event. Both are compared in the time for which both are followed.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from msgspec.structs import replace

from bench.base.units import NS_PER_MS, NS_PER_S
from reports.analysis.calls_in_time import calls_of, latencies_of
from reports.analysis.overload import CHANGE, DRAWS, RECOVERY_TIME
from reports.data.parts import START, Parts, unusable
from reports.data.runs import RunFrames
from reports.data.samples import MetricSamples
from reports.data.turns import FAILED, UNFINISHED, TurnArrays, rows_of
from reports.engine.evaluate import counted, share
from reports.results.value import (
    LEVEL_NAMES,
    TYPICAL_LEVELS,
    Group,
    Reason,
    Subject,
    Value,
    some_unscored,
)
from reports.statistics.arms import TwoSamples
from reports.statistics.counting import Flags, Floats, count_nonzero, dense_codes
from reports.statistics.differences import Inference, Margin, quantile_differences
from reports.statistics.quantiles import sample
from reports.statistics.rates import newcombe, ratio_of
from reports.statistics.recovery import MIN_BEFORE, MIN_SLOTS, ProbeTurns, recovery_of
from reports.statistics.recovery import TAIL as SHOWN_TAIL
from reports.statistics.threshold_estimate import (
    ThresholdEstimate,
    few_sessions,
    no_estimate,
    of_turns,
)

BEFORE = "before the events"
"""The name of the part of a run before its events. No event has such a name."""
EVENT, BEFORE_EVENT = "event", "before_event"
"""The keys of the groups of an event, and of its control."""
WINDOW_S = 60.0
"""The longest window, in seconds."""
MARGIN = 0.1
"""The share by which latency may exceed that before the events when it is as before."""
TURNS_PER_SLOT = 4
MIN_SLOT_S = 1.0
TAIL = 0.01
"""The type I error of each end of an interval. An event has five values that may show harm: of runs
without harm, at most 5 % show any."""
CONFIDENCE = 1 - 2 * TAIL
MIN_CALLS = 5
"""The minimum number of calls, or turns, of a share and of its control."""
DIFFERENCE = "difference"
"""The statistic that is a share minus its control."""
DROPPED, NEW_FAILED, FAILED_TURNS = "dropped_share", "new_failed_share", "failed_turn_share"
SHARES = (DROPPED, NEW_FAILED, FAILED_TURNS)
LATENCY = "latency"
"""The main latency of each turn, relative to that of its step before the events."""
LONGEST_SILENCE = "longest_silence"


class Happened(NamedTuple):
    """An event that happened, at an instant in ns, UTC."""

    name: str
    at_ns: float


@dataclass(frozen=True)
class EventsOfTarget:
    """The calls and turns of one target in a run with events. `begun_ns` is its first instant.

    `latency` is the main latency of each turn of the run, in ms (`latencies_of`). `mine` are the
    ended turns of the target. `unscored` is why latencies are known only within bounds; None if
    all successful turns that should have one do.
    """

    run: RunFrames
    target: str
    events: tuple[Happened, ...]
    begun_ns: float
    calls: pd.DataFrame
    turns: TurnArrays
    mine: Flags
    latency: Floats
    unscored: Reason | None

    @cached_property
    def parts(self) -> Parts:
        """The times before, and from each event on."""
        edges_ns = self.begun_ns, *(event.at_ns for event in self.events), math.inf
        return Parts((BEFORE, *(event.name for event in self.events)), edges_ns)

    @cached_property
    def problems(self) -> dict[str, str]:
        return self.parts.problems(self.run, self.target)

    @cached_property
    def ended_ns(self) -> float:
        """When the last call ended."""
        ended_ns = self.calls["ended_ns"]
        return float(ended_ns[np.isfinite(ended_ns)].max())

    @property
    def first_ns(self) -> float:
        """When the first event happened."""
        return self.events[0].at_ns

    @cached_property
    def relative(self) -> Floats:
        """The latency of each turn, divided by the median of its step before the events."""
        before = self.mine & (self.turns.column(START) < self.first_ns) & np.isfinite(self.latency)
        usual = pd.Series(self.latency[before]).groupby(self.turns.step[before]).median()
        relative: Floats = self.latency / usual.reindex(self.turns.step).to_numpy()
        return relative

    def until_ns(self, at_ns: float) -> float:
        """Return when the next event after an instant happened; inf if there is none."""
        return next((event.at_ns for event in self.events if event.at_ns > at_ns), math.inf)

    def compared_ns(self, event: Happened) -> float:
        """Return for how long the calls of an event, and of its control, are compared."""
        # at the start of the run, few calls are in progress
        end_ns = min(self.until_ns(event.at_ns), self.ended_ns)
        return max(0.0, min((self.first_ns - self.begun_ns) / 2, end_ns - event.at_ns))

    def window_ns(self, event: Happened) -> float:
        """Return the length of the window of an event, and of its control."""
        return min(WINDOW_S * NS_PER_S, self.compared_ns(event))

    def arm(self, event: Happened, metric: str, at_ns: float, until_ns: float) -> Flags:
        """Return to which of the calls, or turns, of a share from an instant on it happened. Calls
        are followed until `until_ns`.
        """
        calls = self.calls
        end_ns = at_ns + self.window_ns(event)
        if metric == FAILED_TURNS:
            began_ns = self.turns.column(START)
            ended_ns = began_ns + self.turns.instant("ended")
            open_turns = (began_ns < at_ns) & (ended_ns > at_ns)
            # silence may end a turn after the window
            later = (began_ns >= at_ns) & (began_ns < end_ns) & (ended_ns <= self.until_ns(at_ns))
            failed: Flags = (self.turns.kind == FAILED)[self.mine & (open_turns | later)]
            return failed
        has_failed = calls["refused"] | calls["dropped"] | calls["failed"]
        if metric == NEW_FAILED:
            chosen = calls["offered"] & (calls["began_ns"] >= at_ns) & (calls["began_ns"] < end_ns)
        else:
            is_call = calls["opened"] | calls["offered"]  # some may be connecting
            chosen = is_call & (calls["began_ns"] < at_ns) & (calls["ended_ns"] > at_ns)
        return (has_failed & (calls["ended_ns"] <= until_ns))[chosen].to_numpy()


def events_of_target(run: RunFrames, samples: MetricSamples, target: int) -> EventsOfTarget | None:
    """Return the calls and turns of a target; None without an event that happened."""
    instants = [(each["name"], each["at_utc_ns"]) for each in run.metadata.get("events") or ()]
    events = tuple(Happened(name, at_ns) for name, at_ns in instants if at_ns is not None)
    if not events:
        return None
    turns = samples.turns
    name = turns.targets[target]
    calls = calls_of(rows_of(run.sessions, name), Parts((), (0.0, math.inf)))
    if calls.empty:
        return None
    mine = (turns.target == target) & (turns.kind != UNFINISHED)
    latency, lacking = latencies_of(samples, target)
    unscored = some_unscored(LATENCY, lacking, count_nonzero(mine), "turns") if lacking else None
    begun_ns = float(calls["began_ns"].min())
    ordered = tuple(sorted(events, key=lambda event: event.at_ns))
    return EventsOfTarget(run, name, ordered, begun_ns, calls, turns, mine, latency, unscored)


def event_values(run: RunFrames, samples: MetricSamples) -> Iterator[Value]:
    """Yield the values of each event of a run."""
    for target in range(len(samples.turns.targets)):
        if (of := events_of_target(run, samples, target)) is not None:
            for event in of.events:
                yield from _of_event(of, event)


def _of_event(of: EventsOfTarget, event: Happened) -> Iterator[Value]:
    group = Group(by=EVENT, name=event.name)
    subject = Subject(target=of.target, group=group)
    for metric in SHARES:
        yield from _shares(of, event, subject, metric)
    yield _longest_silence(of, event, subject)
    reason = unusable(of.problems, (BEFORE, event.name)) or of.unscored
    for level, value in zip(TYPICAL_LEVELS, _changes(of, event, subject), strict=True):
        statistic = f"{LEVEL_NAMES[level]} {CHANGE}"
        yield replace(value, statistic=statistic, reason=reason or value.reason)
    recovered = _recovery(of, event, subject)
    yield replace(recovered, reason=reason or recovered.reason)


def _shares(of: EventsOfTarget, event: Happened, subject: Subject, metric: str) -> Iterator[Value]:
    """Yield a share of an event, that of its control, and the difference of both."""
    at_ns, compared_ns = event.at_ns, of.compared_ns(event)
    control = of.arm(event, metric, of.first_ns - compared_ns, of.first_ns)
    compared = of.arm(event, metric, at_ns, at_ns + compared_ns)
    found = of.arm(event, metric, at_ns, of.until_ns(at_ns))
    before = replace(subject, group=Group(by=BEFORE_EVENT, name=event.name))
    value, _ = values = [
        replace(
            share(of_arm, metric, arm, np.arange(arm.size), CONFIDENCE),
            unit="turns" if metric == FAILED_TURNS else "calls",
        )
        for of_arm, arm in ((subject, found), (before, control))
    ]
    yield from values
    if min(control.size, found.size) < MIN_CALLS:
        reason = Reason("few_before_event" if control.size < MIN_CALLS else "few_at_event")
        yield _no_value(subject, metric, DIFFERENCE, reason)
        return
    ratios = [ratio_of((arm.astype(float), np.ones(arm.size))) for arm in (control, compared)]
    low, high = newcombe(ratios[0], ratios[1], TAIL)
    difference = ratios[1].value - ratios[0].value
    later = count_nonzero(found) - count_nonzero(compared)
    numbers = {"calls": later, "after_s": compared_ns / NS_PER_S}
    yield replace(
        value,
        statistic=DIFFERENCE,
        value=difference,
        low=low,
        high=high,
        reason=Reason("failed_later", numbers) if later and low <= 0 else None,
    )


def _no_value(subject: Subject, metric: str, statistic: str, reason: Reason) -> Value:
    empty = counted(subject, metric, 0)
    return replace(empty, statistic=statistic, value=math.nan, reason=reason)


def _longest_silence(of: EventsOfTarget, event: Happened, subject: Subject) -> Value:
    """Return the longest time without a reply that a caller of a turn in progress, or of a turn in
    the window, heard. A turn that failed counts until its end: the silence was at least so long.
    """
    began_ns = of.turns.column(START)
    length_ns = of.turns.instant("ended")
    end_ns = event.at_ns + of.window_ns(event)
    near = of.mine & (began_ns < end_ns) & (began_ns + length_ns > event.at_ns)
    silence = np.where(np.isinf(of.latency), length_ns / NS_PER_MS, of.latency)[near]
    known = silence[~np.isnan(silence)]
    longest = float(known.max()) if known.size else math.nan
    value = counted(subject, LONGEST_SILENCE, known.size)
    is_open = bool(np.isinf(of.latency[near]).any())
    return replace(value, statistic="max", value=longest, low=longest if is_open else math.nan)


def _changes(of: EventsOfTarget, event: Happened, subject: Subject) -> Iterator[Value]:
    """Yield the change of each of TYPICAL_LEVELS in the window of an event, in %. A turn is
    relative to the usual latency of its step.
    """
    relative = of.relative
    began_ns = of.turns.column(START)
    is_known = of.mine & ~np.isnan(relative)
    before = is_known & (began_ns < of.first_ns)
    later = is_known & (began_ns >= event.at_ns) & (began_ns < event.at_ns + of.window_ns(event))
    if min(count_nonzero(before), count_nonzero(later)) < MIN_CALLS:
        few = Reason("few_before_event" if count_nonzero(before) < MIN_CALLS else "few_at_event")
        for _ in TYPICAL_LEVELS:
            yield _no_value(subject, LATENCY, CHANGE, few)
        return
    samples, sizes = [], []
    for turns in (before, later):
        clusters, size = dense_codes(of.turns.session[turns])
        values = relative[turns]
        samples.append(sample(values, clusters, failed=count_nonzero(np.isinf(values))))
        sizes.append(size)
    pair = TwoSamples(samples[0], samples[1], (sizes[0], sizes[1]), paired=False)
    margins = [(level, Margin()) for level in TYPICAL_LEVELS]
    inference = Inference(TAIL, resamples=DRAWS)
    for found in quantile_differences(pair, margins, "lower", inference):
        value, low, high = (100 * math.expm1(end) for end in (found.d, found.low, found.high))
        counts = counted(subject, LATENCY, count_nonzero(later), sizes[1])
        yield replace(counts, value=value, low=low, high=high, failed=samples[1].failed)


def _recovery(of: EventsOfTarget, event: Happened, subject: Subject) -> Value:
    """Return when latency was as before, in ms after an event."""
    found = _recovered(of, event, SHOWN_TAIL)
    counts = replace(counted(subject, RECOVERY_TIME, found.counts.turns), statistic="value")
    if math.isfinite(found.high):
        return replace(counts, value=found.value, low=found.low, high=found.high)
    reason = found.reason or Reason("not_recovered_event")
    return replace(counts, value=math.nan, low=found.low, reason=reason)


def _recovered(of: EventsOfTarget, event: Happened, tail: float) -> ThresholdEstimate:
    """Return when latency was as before, in ms after an event, from the turns of all callers until
    the next event. Turns are compared by step. The upper end is infinite if it is not shown.
    """
    began_ns = of.turns.column(START)
    is_before = began_ns < of.first_ns
    chosen = of.mine & ~np.isnan(of.latency)
    chosen &= is_before | ((began_ns >= event.at_ns) & (began_ns < of.until_ns(event.at_ns)))
    gap_ns = event.at_ns - of.first_ns
    at_s = (began_ns + np.where(is_before, gap_ns, 0) - event.at_ns)[chosen] / NS_PER_S
    probes = ProbeTurns(at_s, of.latency[chosen], of.turns.step[chosen])
    lasted_s = float(np.ptp(at_s)) if at_s.size else 0.0
    slot_s = max(MIN_SLOT_S, TURNS_PER_SLOT * lasted_s / max(1, at_s.size))
    outcome, *times_s = recovery_of(probes, 0.0, slot_s, MARGIN, tail)
    value, low, high = (1000 * time_s for time_s in times_s)
    failed = count_nonzero(np.isinf(probes.latency))
    counts = of_turns(np.bincount(of.turns.session[chosen]), failed)
    needed = {
        f"{name}_{unit}": slots * size
        for name, slots in (("before", MIN_BEFORE), ("after", MIN_SLOTS))
        for unit, size in (("turns", TURNS_PER_SLOT), ("s", MIN_SLOT_S))
    }
    reason = Reason("few_turns_of_event", needed) if outcome == "too_few" else None
    return ThresholdEstimate(value, low, high, low, high, counts, reason)


def event_estimate(
    run: RunFrames, samples: MetricSamples, target: int, metric: str, tail: float
) -> ThresholdEstimate:
    """Return one of SHARES, or the recovery time in ms, of the event at which it is worst, with its
    deciding bounds. `tail` is the type I error of each bound. An unknown value is the worst.
    """
    of = events_of_target(run, samples, target)
    if of is None:
        return no_estimate()
    found = [
        [_estimate(of, event, metric, error) for error in (SHOWN_TAIL, tail / len(of.events))]
        for event in of.events
    ]
    shown, deciding = max(found, key=lambda pair: (pair[0].reason is not None, pair[1].high))
    missed = [each["name"] for each in run.metadata["events"] if each["at_utc_ns"] is None]
    reason = Reason("part_not_run", {"part": missed[0]}) if missed else shown.reason
    return dataclasses.replace(shown, lower=deciding.low, upper=deciding.high, reason=reason)


def _estimate(of: EventsOfTarget, event: Happened, metric: str, tail: float) -> ThresholdEstimate:
    is_share = metric in SHARES
    reason = unusable(of.problems, (BEFORE, event.name), is_count=is_share)
    if not is_share:
        found = _recovered(of, event, tail)
        return dataclasses.replace(found, reason=reason or of.unscored or found.reason)
    arm = of.arm(event, metric, event.at_ns, of.until_ns(event.at_ns))
    value = share(Subject(target=of.target), metric, arm, np.arange(arm.size), 1 - 2 * tail)
    counts = of_turns(np.ones(arm.size), 0)
    ends = value.low, value.high
    return ThresholdEstimate(value.value, *ends, *ends, counts, reason or few_sessions(counts))


def harmed(values: Mapping[str, Value]) -> list[str]:
    """Return the names of the values of an event that show harm."""
    shown = {name: values[name] for name in HARM if name in values and not values[name].reason}
    return [name for name, value in shown.items() if value.low > 0]


HARM = (
    *(f"{metric} {DIFFERENCE}" for metric in SHARES),
    *(f"{LATENCY} {LEVEL_NAMES[level]} {CHANGE}" for level in TYPICAL_LEVELS),
)
"""The values of which each shows harm if its interval is above 0."""
