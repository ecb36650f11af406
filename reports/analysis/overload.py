"""A load with a peak: its parts, and what happened to callers before, in, and after the peak, as
values.

The entry `overload` of run.json states when the parts began. A part that has not begun, because the
run ended before, begins at infinity.

A part is usable if the load generator made and measured it, by the rules of the validity of runs.
What is wrong in one part does not void the others. A value that depends on a part that cannot be
used has a reason instead of numbers.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, get_args

import numpy as np
import pandas as pd
from msgspec import Struct, ValidationError, convert
from msgspec.structs import replace as replace_fields

from bench.base.errors import UsageError
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.outcomes import Family, is_own_limit, parsed
from bench.record import folder as files
from bench.record.document import RowCheck, TimestampCheck
from bench.record.metric_values import floats
from bench.record.validity import ValidityData, evaluate_checks
from bench.record.validity_data import metric_uncertainties
from reports.data.runs import RunFrames, stated_validity
from reports.data.samples import ALWAYS, MetricSamples
from reports.data.turns import FAILED, UNFINISHED, TurnArrays, rows_of
from reports.engine.evaluate import counted, share
from reports.formatting import time_step
from reports.results.json_entries import entry_from
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
from reports.statistics.counting import (
    Flags,
    Floats,
    Integers,
    count_nonzero,
    dense_codes,
    distinct,
)
from reports.statistics.differences import Inference, Margin, quantile_differences
from reports.statistics.quantiles import sample
from reports.statistics.recovery import TAIL, ProbeTurns, changes_of, recovery_of
from reports.statistics.threshold_estimate import (
    NO_TURNS,
    TargetCounts,
    ThresholdEstimate,
    few_sessions,
    no_estimate,
    of_turns,
)

PROBE = "probe"
"""The name of the step that probe callers ask."""
BEFORE, PEAK, AFTER = range(3)
PARTS = ("before", "peak", "after")
MAX_CPU = 0.9
"""The share of a core above which a process of the load generator is its own limit."""
REACHED_S = 3.0
REACHED_SHARE = 0.1
"""The time within which all callers of the peak must have started: in seconds, and as a share of
the peak. The larger one applies."""
MAX_PART_NS = 60 * NS_PER_S
"""The longest time of which the load generator may stand still for REACHED_SHARE."""
NOT_RUN = "not_run"
START = "start_utc_ns"
STATUS = r"^((?:HTTP|SIP) \d+)"
"""The status with which the service refused a call, in the detail of its outcome."""
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
    def edges(self) -> tuple[float, ...]:
        """The instants between which the parts are."""
        return self.begun_ns, self.peak_ns, self.after_ns, math.inf

    def part(self, at_ns: Floats) -> Integers:
        """Return the index in PARTS of the part in which each instant lies."""
        return np.searchsorted([self.peak_ns, self.after_ns], at_ns, "right")


@dataclass(frozen=True)
class CallsOfPeak:
    """The calls and the ended turns of one target.

    - `calls` has a row for each call: the parts in which it began and ended; how it ended: refused
      (the service did not open it), dropped (the service closed it), failed (otherwise, after it
      opened) or ""; and whether it opened, was prevented by a limit of this machine, or is of a
      probe caller
    - `latency` is the main latency of each turn of the run, in ms: inf if the turn failed, NaN if
      it has none. `part` is the index in PARTS in which it began; -1: not of the target, or
      unfinished. `is_probe` is a mask of turns. `metric` is that of probe callers, "" without any
      of their turns.
    - `unscored` is why latencies are known only within bounds; None if all successful turns that
      should have one do
    """

    run: RunFrames
    peak: Peak
    name: str
    calls: pd.DataFrame
    turns: TurnArrays
    metric: str
    began_ns: Floats
    latency: Floats
    part: Integers
    is_probe: Flags
    unscored: Reason | None

    def probe_turns(self) -> ProbeTurns:
        """Return the turns of probe callers, relative to the end of the peak. A probe call that did
        not open is a failed turn.
        """
        is_lost = (self.calls["ending"] == "refused") & self.calls["is_probe"]
        lost_ns = self.calls["began_ns"][is_lost].to_numpy()
        at_ns = np.append(self.began_ns[self.is_probe], lost_ns)
        return ProbeTurns(
            (at_ns - self.peak.after_ns) / NS_PER_S,
            np.append(self.latency[self.is_probe], np.full(lost_ns.size, np.inf)),
            np.append(self.turns.session[self.is_probe], np.full(lost_ns.size, NO_CALLER)),
        )

    @cached_property
    def problems(self) -> tuple[str, ...]:
        """Why each of PARTS cannot be used; "" if it can."""
        checks = stated_validity(self.run.metadata).checks
        failed = [check.name for check in checks if check.result == "fail"]
        of_all = next((name for name in failed if name not in get_args(RowCheck)), "")
        return tuple(of_all or self._problem(part) for part in range(len(PARTS)))

    def reason(self, *parts: int, is_count: bool = False) -> Reason | None:
        """Return why a value of these parts cannot be used; None if it can. A count needs no
        timestamps.
        """
        for part in parts:
            cause = self.problems[part]
            if cause and not (is_count and cause in get_args(TimestampCheck)):
                of_part = {"part": PARTS[part], "cause": cause}
                return Reason("part_not_run" if cause == NOT_RUN else "part_invalid", of_part)
        return None if is_count else self.unscored

    def _problem(self, part: int) -> str:
        """Return why the load generator did not make a part, or not measure it; "" without."""
        begin_ns, end_ns = self.peak.edges[part : part + 2]
        if math.isinf(begin_ns):
            return NOT_RUN
        allowed_ns = max(REACHED_S, REACHED_SHARE * self.peak.peak_s) * NS_PER_S
        if part == PEAK and math.isfinite(end_ns) and self.peak.reached_ns > begin_ns + allowed_ns:
            return "late"
        seconds = self.run.seconds
        ended_ns = (floats(seconds, "second") + 1) * NS_PER_S
        stood_ns = seconds["event_loop_delay_max_ns"].to_numpy(float, na_value=0.0)
        longest_ns = min(end_ns - begin_ns, MAX_PART_NS)
        in_part = (ended_ns > begin_ns) & (ended_ns - np.maximum(stood_ns, NS_PER_S) < end_ns)
        if stood_ns[in_part].max(initial=0.0) > REACHED_SHARE * longest_ns:
            return "blocked"
        if (seconds[in_part].groupby("worker")["cpu"].mean() > MAX_CPU).any():
            return "cpu"
        return next(iter(self._failed_checks(part)), "")

    def _failed_checks(self, part: int) -> list[str]:
        """Return the failed ones of `RowCheck`, made with the rows of a part only."""
        whole = files.row_reader(self.run.folder)

        def read(table: files.TableName, columns: list[str]) -> Any:
            rows = whole(table, [*columns, START])
            began_ns = rows[START].to_numpy().astype(float)
            return rows.filter(self.peak.part(began_ns) == part).select(columns)

        mine = [each for each in metric_uncertainties(read) if each.target == self.name]
        prevented = self.calls["is_prevented"][self.calls["part"] == part]
        evidence = ValidityData(tuple(mine), None, None, None, None, paced_audio=False)
        share = float(prevented.mean()) if len(prevented) else 0.0
        validity = evaluate_checks(replace(evidence, prevented_share=share))
        return validity.reasons if validity.status == "invalid" else []


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
    latency = np.full(turns.rows.size, np.nan)
    for index, stratum in enumerate(turns.strata):
        of_stratum = turns.stratum[turns.step] == index
        latency[of_stratum] = turns.value(samples.mains[stratum])[of_stratum]
    latency[turns.kind == FAILED] = np.inf
    mine = (turns.target == target) & (turns.kind != UNFINISHED)
    of_probes = turns.frame["script"].isin(peak.probes).to_numpy(bool)[turns.rows]
    is_probe = mine & of_probes & turns.steps_named(PROBE)[turns.step] & ~np.isnan(latency)
    strata = turns.stratum[turns.step[is_probe]]
    metric = samples.mains[turns.strata[strata[0]]] if strata.size else ""
    calls = _calls(rows_of(run.sessions, name), peak)
    began_ns = turns.column(START)
    part = np.where(mine, peak.part(began_ns), -1)
    lacking = sum(
        samples[main].unscored_of(target, turns.steps_in(stratum)).size
        for stratum, main in samples.mains.items()
    )
    ended = count_nonzero(mine)
    unscored = some_unscored(metric or ALWAYS, lacking, ended, "turns") if lacking else None
    return CallsOfPeak(
        run, peak, name, calls, turns, metric, began_ns, latency, part, is_probe, unscored
    )


def _calls(rows: pd.DataFrame, peak: Peak) -> pd.DataFrame:
    """Return the calls of a target (`CallsOfPeak`) from the rows of its sessions."""
    began_ns = floats(rows, START)
    ended_ns = began_ns + rows["ended_at_ns"].to_numpy(float, na_value=np.inf)
    outcomes = rows["outcome"].astype(str)
    is_open = rows["session_updated_at_ns"].notna()
    families = outcomes.map(lambda outcome: parsed(outcome).family)
    is_prevented = outcomes.map(is_own_limit).astype(bool)
    endings = {
        "refused": ~is_open & ~is_prevented,
        "dropped": is_open & (families == Family.CLOSED),
        "failed": is_open,
    }
    has_failed = rows["outcome_class"] == "failed"
    ended_so = [has_failed & is_so for is_so in endings.values()]
    return pd.DataFrame(
        {
            "began_ns": began_ns,
            "ended_ns": ended_ns,
            "part": peak.part(began_ns),
            "end_part": peak.part(ended_ns),
            "ending": np.select(ended_so, list(endings), ""),
            "status": rows["detail"].astype(str).str.extract(STATUS, expand=False).fillna(outcomes),
            "retry_after_ms": rows["retry_after_ns"].astype(float) / NS_PER_MS,
            "is_open": is_open,
            "is_prevented": is_prevented,
            "is_probe": rows["script"].isin(peak.probes),
        }
    )


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
        subject = Subject(target=of.name, group=Group(by="part", name=name))
        began = calls[calls["part"] == part]
        ended = calls[calls["end_part"] == part]
        counts = {
            "calls_offered": len(began),
            "calls_opened": began["is_open"].sum(),
            REFUSED: (began["ending"] == "refused").sum(),
            "calls_dropped": (ended["ending"] == "dropped").sum(),
            "calls_failed": (ended["ending"] == "failed").sum(),
        }
        for metric, number in counts.items():
            yield counted(subject, metric, int(number), int(number))
    for status, refused in calls[calls["ending"] == "refused"].groupby("status"):
        subject = Subject(target=of.name, group=Group(by="outcome", name=str(status)))
        yield counted(subject, REFUSED, len(refused), len(refused))
        known = refused["retry_after_ms"].dropna()
        named = {"metric": RETRY_AFTER, "statistic": MEDIAN, "n": len(known)}
        yield entry_from(Value, subject, **named, value=known.median(), sessions=len(known))


def _latencies(of: CallsOfPeak) -> Iterator[Value]:
    """Yield the median latency of probe callers in each part, and its change since the part before
    the peak.
    """
    is_whole = of.reason(*range(len(PARTS))) is None
    peak = of.peak
    changes = changes_of(of.probe_turns(), peak.peak_s, peak.spacing_s) if is_whole else None
    for part, name in enumerate(PARTS):
        subject = Subject(target=of.name, step=PROBE, group=Group(by="part", name=name))
        chosen = (of.part == part) & of.is_probe
        latency = pd.Series(of.latency[chosen])
        sessions = distinct(of.turns.session[chosen]).size
        named = {"metric": of.metric, "n": latency.size, "sessions": sessions}
        usual = {"value": latency.median(), "failed": count_nonzero(np.isinf(latency))}
        yield entry_from(Value, subject, **named, **usual, statistic=MEDIAN, reason=of.reason(part))
        if changes is not None and part:
            ends = dict(zip(ENDS, changes[part - 1], strict=True))
            yield entry_from(Value, subject, **named, **ends, statistic=CHANGE)


def _reported(of: CallsOfPeak, name: str) -> Value:
    """Return one of REPORTED as a value. Without an end, the end is unknown."""
    found = overload_estimate(of, name, TAIL)
    reason = found.reason
    is_shown = reason is None or name == REFUSED_SHARE
    if name == RECOVERY_TIME and reason is None and found.high in (0, math.inf):
        reason = Reason("not_recovered" if found.high else "never_left")
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
        counts = of_turns(np.bincount(of.turns.session[of.part >= 0]), 0)
        return replace(no_estimate(), counts=counts, reason=reason)
    (value, low, high), counts, reason = REPORTED[name].interval(of, TAIL)
    lower, upper = REPORTED[name].interval(of, tail)[0][1:]
    return ThresholdEstimate(value, low, high, lower, upper, counts, reason)


Interval = tuple[Sequence[float], TargetCounts, Reason | None]
"""A value with its interval, its counts, and why it decides nothing."""
NOTHING: Interval = ((math.nan, -math.inf, math.inf), NO_TURNS, None)


def _recovery(of: CallsOfPeak, tail: float) -> Interval:
    turns = of.probe_turns()
    peak = of.peak
    outcome, *times_s = recovery_of(turns, peak.peak_s, peak.spacing_s, peak.margin, tail)
    counts = of_turns(
        np.bincount(turns.callers - NO_CALLER), count_nonzero(np.isinf(turns.latency))
    )
    reason = Reason("few_probe_turns") if outcome == "too_few" else None
    return [1000 * time_s for time_s in times_s], counts, reason


def _refused(of: CallsOfPeak, tail: float) -> Interval:
    refused = (of.calls["ending"][of.calls["part"] == PEAK] == "refused").to_numpy()
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
    is_usual = (of.part == BEFORE) & np.isfinite(of.latency)
    usual = pd.Series(of.latency[is_usual]).groupby(of.turns.step[is_usual]).median()
    relative = of.latency / usual.reindex(of.turns.step).to_numpy()
    mine = np.isin(of.part, (BEFORE, PEAK)) & ~np.isnan(relative)
    mine &= np.isin(of.turns.session, of.turns.session_of_row[of.calls.index[in_progress]])
    clusters, size = dense_codes(of.turns.session[mine])
    values = relative[mine]
    during = of.part[mine] == PEAK
    if not during.any() or during.all():
        return NOTHING
    samples = [
        sample(values[each], clusters[each], failed=count_nonzero(np.isinf(values[each])))
        for each in (~during, during)
    ]
    pair = TwoSamples(samples[0], samples[1], (size, size), paired=True)
    inference = Inference(tail, resamples=DRAWS)
    found = quantile_differences(pair, [(0.95, Margin())], "lower", inference)[0]
    counts = of_turns(np.bincount(clusters), samples[1].failed)
    ends = [100 * math.expm1(end) for end in (found.d, found.low, found.high)]
    return ends, counts, few_sessions(counts)


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
    instants = (of.calls["began_ns"].to_numpy(), of.began_ns[of.is_probe], np.array(peak.edges))
    calls_s, turns_s, edges_s = ((ns - peak.begun_ns) / NS_PER_S for ns in instants)
    length_s = float(max(calls_s.max(initial=1.0), turns_s.max(initial=1.0)))
    bin_s = max(time_step(length_s, BINS), peak.spacing_s)
    bins = np.arange(length_s // bin_s + 1)
    offered, opened = (
        np.histogram(chosen_s.clip(0), np.append(bins, bins.size) * bin_s)[0]
        for chosen_s in (calls_s, calls_s[of.calls["is_open"]])
    )
    medians = np.array(latency.groupby(turns_s // bin_s).median().reindex(bins), float)
    _, begin_s, end_s, _ = edges_s.tolist()
    usual = float(latency[turns_s < begin_s].median())
    band = usual, usual * (1 + peak.margin)
    at_s = (bins + 0.5) * bin_s
    return PeakSeries(at_s, offered, opened, medians, band, (begin_s, end_s))
