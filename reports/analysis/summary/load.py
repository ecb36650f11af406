"""Offered load in an open loop, the results of its calls, and the rate limits of the service. Pure.

The offered load includes only the measured phase, and only the time in which calls arrive. A load
is in erlangs: the mean number of calls in progress. A call lasts from the start of connecting to
its end. The mean duration of a call is the total duration of all calls, divided by the number of
calls that ended before the end of the run. The total includes calls that the end of the run
interrupted; without them, long calls would be left out.

Rate limits include the whole run with its warm-up.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.base.units import NS_PER_S
from bench.catalogue.outcomes import is_throttled
from bench.record.metric_values import floats
from reports.data.runs import RunFrames, by_label, part_of, scripts_of
from reports.data.turns import measured_rows, rows_of
from reports.formatting import time_step
from reports.results.json_entries import Count, JsonEntry, Number, Rounded
from reports.statistics.counting import Floats, Integers, count_nonzero, without_warnings
from reports.statistics.quantiles import quantile

BINS = 90


class OfferedLoad(JsonEntry):
    """The load of the calls that arrived at one target, in the measured phase. Every call has a
    session on each target, so several targets have the same calls.
    """

    target: str
    offered: Count
    blocked: Count
    """calls that found no free slot"""
    delayed: Count
    """calls delayed by the service or the connection rate limit"""
    started: Count
    """calls neither blocked nor cut, including delayed and refused ones"""
    not_started: Count
    """calls still waiting for their start when the run ended"""
    connect_failed: Count
    """did not open"""
    completed: Count
    duration_s: Number
    """duration of arrivals in the measured phase"""
    per_s: Rounded
    call_duration_s: Rounded
    """mean duration of a call; null if none ended"""
    offered_erlangs: Rounded
    carried_erlangs: Rounded
    """mean number of calls in progress"""
    max_concurrent: Count
    start_delay_p50_ms: Rounded
    start_delay_p99_ms: Rounded


class ArrivalSummary(JsonEntry):
    """The arrivals of calls."""

    pattern: str
    per_s: Number | None
    """the requested rate, if there was one"""
    think_s: tuple[Number, ...]
    """mean think time per call, by script"""
    targets: tuple[OfferedLoad, ...]


class CallBins(NamedTuple):
    """The numbers of calls that arrived, and of calls that were blocked, in bins of equal duration.
    The first bin begins at the start of the run.
    """

    bin_s: float
    calls: Floats
    blocked: Floats


def arriving_of(
    run: RunFrames, targets: Sequence[str], measured_from_s: float, ended_s: float
) -> ArrivalSummary | None:
    """Return the arrivals of calls; None in a closed loop. `measured_from_s` and `ended_s` are the
    start of the measured phase and the end of the run, in seconds since 1970.
    """
    arrivals = run.metadata.get("arrivals")
    if arrivals is None:
        return None
    began_s = int(arrivals.get("started_utc_ns") or 0) / NS_PER_S
    duration_s = arrivals.get("duration_s")
    start_s = max(began_s, measured_from_s)
    end_s = ended_s if duration_s is None else min(ended_s, began_s + float(duration_s))
    thinking = {
        float(s["think_s"]) for s in scripts_of(run.metadata) if s.get("think_s") is not None
    }
    offered = tuple(_offered(run, label, arrivals, start_s, end_s) for label in targets)
    return ArrivalSummary(
        str(arrivals.get("pattern")), arrivals.get("per_s"), tuple(sorted(thinking)), offered
    )


def _offered(
    run: RunFrames, label: str, arrivals: dict[str, Any], start_s: float, end_s: float
) -> OfferedLoad:
    seconds = rows_of(run.seconds, label)
    seconds = seconds[seconds["measured"].to_numpy()]
    all_sessions = rows_of(run.sessions, label)
    sessions = all_sessions.iloc[measured_rows(all_sessions)]
    kind = sessions["outcome_class"].to_numpy()
    is_first = sessions["call_arrival_at_ns"].notna().to_numpy()
    # a call may have several sessions, and only its last one ends the call
    is_last = ~sessions["renewed"].to_numpy(bool)
    lasted_s = floats(sessions, "session_duration_ms") / 1000
    ended = count_nonzero((kind != "unfinished") & is_last)
    opened = sessions["session_updated_at_ns"].notna().to_numpy()
    offered, blocked, delayed = (
        int(seconds[name].sum()) for name in ("calls_offered", "calls_blocked", "calls_delayed")
    )
    not_started = int(seconds["calls_not_started"].sum())
    start_delays_ms = np.sort(sessions["start_delay_ms"].dropna().to_numpy(float))
    duration_s = max(0.0, end_s - start_s)
    per_s = offered / duration_s if duration_s else math.nan
    call_s = float(np.nansum(lasted_s)) / ended if ended else math.nan
    from_s = floats(all_sessions, "start_utc_ns") / NS_PER_S
    to_s = from_s + floats(all_sessions, "ended_at_ns") / NS_PER_S
    within = np.clip(np.nan_to_num(to_s, nan=end_s), start_s, end_s) - np.clip(
        from_s, start_s, end_s
    )
    return OfferedLoad(
        target=label,
        offered=offered,
        blocked=blocked,
        delayed=delayed,
        started=offered - blocked - not_started,
        not_started=not_started,
        connect_failed=count_nonzero(is_first & ~opened & (kind == "failed")),
        completed=count_nonzero((kind == "success") & is_last),
        duration_s=duration_s,
        per_s=per_s,
        call_duration_s=call_s,
        offered_erlangs=per_s * call_s,
        carried_erlangs=float(within.sum()) / duration_s if duration_s else math.nan,
        max_concurrent=int(arrivals.get("max_concurrent") or 0),
        start_delay_p50_ms=quantile(start_delays_ms, 0.5),
        start_delay_p99_ms=quantile(start_delays_ms, 0.99),
    )


def call_bins(run: RunFrames) -> CallBins:
    """Return the calls in bins of time. Only the calls of the first target are counted, because all
    targets have the same calls.
    """
    seconds = run.seconds
    began_s = int(run.metadata.get("started_utc_ns") or 0) / NS_PER_S
    first = seconds["target"].iloc[:1]
    rows = rows_of(seconds, first.iloc[0]) if len(first) else seconds
    at_s = np.maximum(floats(rows, "second") - began_s, 0.0)
    bin_s = time_step(max(1.0, float(at_s.max(initial=0.0)) + 1), BINS)
    index = (at_s // bin_s).astype(int)
    bins = int(index.max(initial=0)) + 1
    calls, blocked = (
        np.bincount(index, rows[name].to_numpy(float, na_value=0.0), bins).astype(np.float64)
        for name in ("calls_offered", "calls_blocked")
    )
    return CallBins(bin_s, calls, blocked)


LIMITS = ("tokens", "requests")
OF_LIMITS = [f"{name}_{end}" for name in LIMITS for end in ("remaining", "limit")]
OF_SECOND = ["second", "target", "throttled", "calls_backed_off", *OF_LIMITS]


class RemainingLimit(NamedTuple):
    """The remaining share of a rate limit: the minimum in each time bin in which the service
    reported it.
    """

    limit: str
    at_s: Floats
    share: Floats


class RateLimits(JsonEntry):
    """The throttling by the service, and the minimum remaining share of each limit."""

    target: str
    throttled_turns: Count
    throttled_sessions: Count
    retry_after_count: Count
    retry_after_p50_s: Rounded
    retry_after_max_s: Rounded
    start_delay_s: Rounded
    calls_backed_off: Count
    """calls delayed after refused ones, in a closed loop"""
    min_remaining: dict[str, Rounded]


class Throttling(RateLimits, kw_only=True):
    """The rate limits of one target over the run.

    - `counts` is the number of throttled turns and sessions in each time bin.
    - `remaining` is the remaining share of each limit.
    """

    waits_s: tuple[float, ...]
    """The waiting times that the service requested, in ascending order."""
    counts: Floats
    remaining: tuple[RemainingLimit, ...]

    @property
    def throttled(self) -> int:
        return self.throttled_turns + self.throttled_sessions

    @property
    def any(self) -> bool:
        counted = self.throttled or self.waits_s or self.remaining
        return bool(counted or self.start_delay_s > 0 or self.calls_backed_off > 0)


class RateLimitSeries(NamedTuple):
    """The rate limits of all targets of a run, in time bins of equal duration. The first bin begins
    at the start of the run.
    """

    targets: tuple[Throttling, ...]
    bin_s: float
    duration_s: float

    @property
    def any(self) -> bool:
        return any(target.any for target in self.targets)

    @property
    def is_plottable(self) -> bool:
        return any(target.counts.any() or target.remaining for target in self.targets)


def rate_limits_of(
    run: RunFrames, targets: Sequence[str], started_utc_ns: int, length_s: float
) -> RateLimitSeries:
    """Return the rate limits of all targets. Totals are computed from the rows of turns and
    sessions, and values over time from the rows of seconds.
    """
    seconds = run.seconds[OF_SECOND]
    at_s = floats(seconds, "second") - started_utc_ns / NS_PER_S
    length_s = max(length_s, float(at_s.max(initial=0.0)) + 1, 1.0)
    bin_s = time_step(length_s, BINS)
    bin_index = np.maximum(at_s // bin_s, 0).astype(int)
    bins = int(length_s // bin_s) + 1
    start_delays_s = part_of(run.metadata, "start_delays_s")
    throttling = []
    for label in targets:
        mine = (seconds["target"] == label).to_numpy()
        rows = seconds[mine]
        bin_indices = bin_index[mine]
        counted = []
        pauses_ns = []
        for frame in (run.turns, run.sessions):
            of_target = (frame["target"] == label).to_numpy()
            retry_after_ns = floats(frame, "retry_after_ns")
            counted.append(
                int(by_label(frame["outcome"].cat, is_throttled, False, np.bool_)[of_target].sum())
            )
            pauses_ns.append(retry_after_ns[of_target & ~np.isnan(retry_after_ns)])
        waits_s = np.sort(np.concatenate(pauses_ns)) / NS_PER_S
        throttled = np.nan_to_num(floats(rows, "throttled"))
        remaining = tuple(_remaining(rows, bin_indices, bins, bin_s))
        throttling.append(
            Throttling(
                label,
                counted[0],
                counted[1],
                waits_s.size,
                quantile(waits_s, 0.5),
                quantile(waits_s, 1.0),
                start_delay_s=float(start_delays_s.get(label, math.nan)),
                calls_backed_off=int(np.nansum(floats(rows, "calls_backed_off"))),
                min_remaining={limit.limit: float(limit.share.min()) for limit in remaining},
                waits_s=tuple(waits_s.tolist()),
                counts=np.bincount(bin_indices, throttled, bins).astype(float),
                remaining=remaining,
            )
        )
    return RateLimitSeries(tuple(throttling), bin_s, length_s)


def _remaining(
    seconds: pd.DataFrame, bin_index: Integers, bins: int, bin_s: float
) -> Iterable[RemainingLimit]:
    for limit in LIMITS:
        with without_warnings():
            share = floats(seconds, f"{limit}_remaining") / floats(seconds, f"{limit}_limit")
        min_share = np.full(bins, np.inf)
        np.minimum.at(min_share, bin_index[np.isfinite(share)], share[np.isfinite(share)])
        if (reported_bins := np.flatnonzero(min_share < np.inf)).size:
            yield RemainingLimit(
                limit,
                (reported_bins.astype(float) + 0.5) * bin_s,
                np.clip(min_share[reported_bins], 0.0, 1.0),
            )
