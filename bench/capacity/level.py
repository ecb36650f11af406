"""Reads what the run of a level shows, while it goes on and when it is over."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.capacity.document import Interval, SloShare
from bench.capacity.judge import share_of
from bench.capacity.slo import Slo
from bench.measures import CATALOGUE
from bench.outcomes import is_throttled
from bench.run.evidence import worst_bound
from bench.units import NS_PER_S
from reports.lost import lost_of
from reports.question import Question
from reports.runs import Run, load_for_report
from reports.sides.clusters import Clusters
from reports.sides.side import Side, as_floats, counts_of, sample_of, targets_of
from reports.statistics.differences import Margin
from reports.statistics.quantiles import Estimate, Floats, Integers, estimates
from reports.statistics.rates import PerCluster, complement
from reports.summary.money import money_of
from reports.summary.quota import LIMITS, quota_of
from reports.thresholds.grammar import Sign
from reports.turns import Flags

FAILURES = Question("failures", "rate", Margin())
THROTTLED = Question("throttled", "rate", Margin())
DRAIN_SECONDS, DRAINED_SHARE, DRAINS_S = 5, 0.05, 600.0
"""A limit is being used up where, told in so many seconds at least, more than this share of it went, and nothing would
be left within so many seconds."""
SHOWN = 0.05
"""The error of an interval that is shown, of both ends together."""


@dataclass(frozen=True)
class SessionCounts:
    """What turns of a level have shown so far: of each objective the turns that missed it, by session.

    `complete`: of sessions that began before the oldest one still open; `known`: of all.
    """

    complete: Sequence[PerCluster]
    known: Sequence[PerCluster]


def seen(folder: Path, slos: Sequence[Slo]) -> SessionCounts:
    """What a run shows that goes on. Sessions of its warm-up do not count."""
    side = side_of(folder)
    whole = replace(side, clusters=complete(side))
    return SessionCounts([missed(whole, slo) for slo in slos], [missed(side, slo) for slo in slos])


def side_of(folder: Path) -> Side:
    """The only target of a level's run."""
    (side,) = targets_of(load_for_report(folder))
    return side


def complete(side: Side) -> Clusters:
    """The sessions that began before the oldest one that is still open, of each worker; they are numbered from 0 on.

    A run that is over has no more open sessions but those that its end cut.
    """
    sessions, workers = side.run.sessions, int(side.run.document.get("workers") or 1)
    number = sessions["pair"].to_numpy(dtype=np.int64)
    ended = (sessions["outcome_class"] != "censored").to_numpy()
    over = ended & ~sessions["renewed"].to_numpy(dtype=bool)  # of a call that goes on in another session not yet
    open_from = [_first_open(number[over & (number % workers == worker)] // workers) for worker in range(workers)]
    rows = side.clusters.rows
    kept = ended[rows] & (number[rows] // workers < np.array(open_from)[number[rows] % workers])
    of_code = np.full_like(side.clusters.of_code, -1)
    place = np.full(side.clusters.count, -1, dtype=np.int64)
    place[side.clusters.of_row[kept]] = np.arange(int(kept.sum()))
    there = side.clusters.of_code >= 0
    of_code[there] = place[side.clusters.of_code[there]]
    return Clusters(int(kept.sum()), of_code, rows[kept], np.arange(int(kept.sum())))


def _first_open(ended: Integers) -> int:
    """The first number that is missing among those of sessions that have ended."""
    gaps = np.flatnonzero(np.sort(ended) != np.arange(ended.size))
    return int(gaps[0]) if gaps.size else ended.size


def missed(side: Side, slo: Slo, worse: float = 0.0) -> PerCluster:
    """By session: the turns that miss an objective, and all that it is about.

    `worse`: as if each figure were by so much worse than it was measured, in the unit of the measure.
    """
    threshold = slo.threshold
    if threshold.kind == "rate":
        counts = as_floats(counts_of(side, threshold.about))
        return complement(counts) if threshold.sign in (">", ">=") else counts
    sample = sample_of(side, threshold.about)
    late = _misses(sample.values, slo, worse)
    sizes = side.clusters.count
    return (
        np.bincount(sample.sessions[late], minlength=sizes).astype(np.float64),
        np.bincount(sample.sessions, minlength=sizes).astype(np.float64),
    )


def worst_bounds(folder: Path, slos: Sequence[Slo]) -> list[float]:
    """How far a figure that each objective is about can be off at most; 0 for rates, which hang on no stamp."""
    quantiles = (slo.threshold.kind == "quantile" for slo in slos)
    return [
        worst_bound(folder, CATALOGUE[slo.threshold.measure]) if is_quantile else 0.0
        for slo, is_quantile in zip(slos, quantiles, strict=True)
    ]


def _misses(values: Floats, slo: Slo, worse: float) -> Flags:
    """Which values do not keep the limit."""
    limit = slo.threshold.limit
    assert limit is not None, f"{slo.written} is relative"
    limit += worse if slo.threshold.sign in (">", ">=") else -worse
    missed: dict[Sign, Flags] = {"<": values >= limit, "<=": values > limit, ">": values <= limit, ">=": values < limit}
    return missed[slo.threshold.sign]


def shares_of(side: Side, slos: Sequence[Slo], error: float, callers: float) -> list[SloShare]:
    """The shares of a run that is over."""
    return [_share(side, slo, error, len(slos), callers) for slo in slos]


def _share(side: Side, slo: Slo, error: float, objectives: int, callers: float) -> SloShare:
    by_session = missed(side, slo)
    share = share_of(by_session, error, objectives, callers)
    missing, threshold = int(by_session[0].sum()), slo.threshold
    failed = 0
    if threshold.kind == "quantile":
        failed = min(missing, int(np.isinf(sample_of(side, threshold.about).values).sum()))
    elif threshold.measure in ("failures", "throttled"):
        failed = missing
    return SloShare(
        slo.written,
        slo.allowed,
        None if math.isnan(share.value) else share.value,
        share.low,
        share.high,
        share.turns,
        share.sessions,
        slow=missing - failed,
        failed=failed,
        throttled=min(_throttled(side), failed),
        deff=share.deff,
    )


def _throttled(side: Side) -> int:
    """Turns that a limit of the service's ended, and those that were lost with a session that it ended."""
    sessions = side.session_rows
    limited = np.array([is_throttled(str(outcome)) for outcome in sessions["outcome"]], dtype=bool)
    return int(counts_of(side, THROTTLED)[0].sum()) + int(lost_of(sessions)[limited].sum())


def wait_of(side: Side, measure: str) -> tuple[Interval, Interval]:
    """p50 and p95 of a measure with their 95 % intervals."""
    sample = sample_of(side, Question(measure, "quantile", Margin(), 0.5))
    p50, p95 = estimates(sample, [0.5, 0.95], 1 - SHOWN)
    return _interval_of(p50), _interval_of(p95)


def _interval_of(estimate: Estimate) -> Interval:
    return interval(estimate.value, estimate.low, estimate.high)


def interval(value: float, low: float, high: float) -> Interval:
    """A figure with its ends, of which those that are not finite are not known."""
    known = [figure if math.isfinite(figure) else None for figure in (value, low, high)]
    return Interval(*known)


def failures_of(side: Side) -> Interval:
    """The share of turns that failed or were lost, with its 95 % interval."""
    share = share_of(as_floats(counts_of(side, FAILURES)), SHOWN / 2, 1, math.inf)
    return interval(share.value, share.low, share.high)


def in_progress(run: Run) -> float | None:
    """The calls in progress, in half of the seconds of the measured phase at least so many."""
    seconds = run.seconds[run.seconds["measured"].to_numpy()]
    by_second = seconds.groupby("second")["sessions_active"].sum()
    return float(by_second.median()) if len(by_second) else None


def limits_left(run: Run, target: str) -> dict[str, float]:
    """The least share that was left of each limit that the service told."""
    began_ns, ended_ns = int(run.document["began_utc_ns"]), int(run.document.get("ended_utc_ns") or 0)
    quota = quota_of(run, [target], began_ns, max(0.0, (ended_ns - began_ns) / NS_PER_S))
    return {left.limit: float(left.share.min()) for of in quota.targets for left in of.remaining}


def draining(run: Run, target: str) -> tuple[str, float] | None:
    """(a limit of the service's that is being used up, seconds until nothing is left of it at this pace); None where
    none is, within DRAINS_S.

    A quota of a minute is there at once when a level begins, so that a load which it cannot carry goes well at first.
    """
    seconds = run.seconds[run.seconds["measured"].to_numpy() & (run.seconds["target"] == target).to_numpy()]
    for limit in LIMITS:
        left = (seconds[f"{limit}_remaining"] / seconds[f"{limit}_limit"]).groupby(seconds["second"]).min().dropna()
        if len(left) < DRAIN_SECONDS:
            continue
        at_s, share = left.index.to_numpy(dtype=np.float64), left.to_numpy(dtype=np.float64)
        pace, fallen = float(np.polyfit(at_s, share, 1)[0]), float(share[0] - share[-1])
        if pace < 0 and fallen > DRAINED_SHARE and (left_s := float(share[-1]) / -pace) < DRAINS_S:
            return limit, left_s
    return None


def usd_of(run: Run, target: str) -> float | None:
    """What the tokens of the run cost; None where no price is known."""
    money = money_of(run, [target])
    return money.usd if math.isfinite(money.usd) and not money.unpriced else None


def blocked(run: Run) -> int:
    """Calls that arrived and found no free slot."""
    return int(run.seconds["calls_blocked"].fillna(0).sum()) if len(run.seconds) else 0
