"""The evaluation of one level: it runs the level, reads its results during and after the run, and judges them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import convert

from bench.base.clock import monotonic_ns
from bench.base.cpu import core_count
from bench.base.errors import UsageError
from bench.base.units import NS_PER_S
from bench.catalogue.outcomes import is_throttled, remedy_of
from bench.load.planning.run_plan import Concurrency, process_advice
from bench.record.document import Validity
from bench.services.registry import dialect_of
from reports.analysis.summary.cost import money_of
from reports.analysis.summary.load import LIMITS, rate_limits_of
from reports.analysis.targets.clusters import Clusters
from reports.analysis.targets.compared_target import ComparedTarget
from reports.analysis.targets.metric_specs import by_stratum, specs_of_thresholds
from reports.analysis.targets.moved import moved
from reports.analysis.targets.named import targets_of
from reports.data.runs import RunFrames, load_for_report
from reports.data.samples import ALWAYS
from reports.data.turns import Flags, not_started_of
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.statistic_types.quantile import Quantile
from reports.metrics.statistic_types.rate import Rate
from reports.metrics.thresholds import Sign, Threshold
from reports.statistics.counting import Integers
from reports.statistics.quantiles import quantiles
from reports.statistics.rates import PerCluster, complement
from rtbench.capacity.level_run import NO_LIMIT_NS, FinishedLevel, LevelTask, LocustCommand, run_level, worker_count
from rtbench.capacity.search import (
    AFTER_RAMP_S,
    ANALYSES,
    FUTILE_FROM,
    Answer,
    Interval,
    LevelBudget,
    LevelEntry,
    SearchPlan,
    SloEntry,
    alpha_per_analysis,
    min_ramp_s,
)
from rtbench.capacity.slo import (
    GIVEN_UP,
    GIVEN_UP_LAST,
    Slo,
    ViolationShare,
    analysis_result,
    is_futile,
    too_few,
    violation_share,
)
from rtbench.load_search import NextLevel

BLOCKED_SHARE = 0.01
"""The share of blocked calls above which a level did not deliver its nominal load."""

FUTILE_TEXT = "ended early, because its remaining time was unlikely to decide it"
TIME_OVER = "the search's time ended before this level's run was finalized"
CARRIED_SHARE = 0.9
"""The minimum number of calls in progress, as a share of a level's calls.

If the service delayed starts, and fewer calls are in progress, the level cannot pass.
"""


@dataclass(frozen=True)
class SearchConfig:
    """The configuration of a search.

    - `max_concurrent` is the maximum number of arriving calls in progress (the number of slots).
    - `connect_rate` is the maximum number of new connections per minute; None if there is no limit.
    - `until_ns` is the end of the search, on CLOCK_MONOTONIC.
    """

    plan: SearchPlan
    slos: Sequence[Slo]
    locust: LocustCommand
    max_concurrent: int | None = None
    connect_rate: float | None = None
    until_ns: int = NO_LIMIT_NS


def evaluate_level(search: SearchConfig, number: int, step: NextLevel, budget: LevelBudget) -> LevelEntry:
    """Run a level and judge it. Raise UsageError if the first level of the search was refused."""
    start_ns = monotonic_ns()
    paced = step.load * 60 / search.connect_rate if search.connect_rate and search.plan.by == "concurrency" else 0
    warm_s = max(min_ramp_s(budget.load_s), paced) + AFTER_RAMP_S  # the time until all users have connected
    if warm_s > budget.load_s / 2:
        reason = (
            f"{step.load:,} calls need {warm_s:.0f} s to connect at this rate of connections, but the level lasts "
            f"{budget.load_s:.0f} s: use a longer --max-time, or `-- --connect-rate N`"
        )
        return _silent(step, budget, "load_generator", reason)
    try:
        level = _run_level(search, number, step, budget, warm_s)
    except UsageError as error:
        if number == 1:
            raise
        level = _silent(step, budget, "crashed", str(error))
    return msgspec.structs.replace(level, duration_s=(monotonic_ns() - start_ns) / NS_PER_S)


def _run_level(search: SearchConfig, number: int, step: NextLevel, budget: LevelBudget, warm_s: float) -> LevelEntry:
    parts = [(fraction * budget.load_s - warm_s) / (budget.load_s - warm_s) for fraction in ANALYSES]
    callers = step.load if search.plan.by == "concurrency" else math.inf
    monitor = _LevelMonitor(
        search.slos, alpha_per_analysis(budget.error), parts, callers, step.confirmation_run, step.last
    )
    name = f"{number:02d}-{'hold' if step.confirmation_run else 'level'}-{step.load}"
    ramp_s = warm_s - AFTER_RAMP_S
    task = LevelTask(name, step.load, budget.load_s, ramp_s, search.max_concurrent, budget.budget_usd)
    run = run_level(search.locust, task, monitor.is_clear, search.until_ns)
    if run.died:
        if monotonic_ns() >= search.until_ns:
            return _silent(step, budget, "inconclusive", TIME_OVER, run.folder.name)
        return _silent(step, budget, "crashed", run.died, run.folder.name)
    return _evaluated(search, step, budget, run, monitor)


def _silent(step: NextLevel, budget: LevelBudget, answer: Answer, reason: str, run: str = "") -> LevelEntry:
    """Return the entry of a level that gives no information about the service."""
    return LevelEntry(step.load, step.confirmation_run, answer, reason, run, 0.0, budget.error)


@dataclass
class _LevelMonitor:
    """The interim analyses of a level while it runs.

    - `answer` is the result of the analyses; None if only the final analysis decides.
    - `parts` has a value for each analysis: the part of the measured time that is over. It is below 0 during the
    warm-up.
    - `hold` is True for a confirmation run, which ends early only if it fails.
    - `last` is True if no other level needs the time.
    """

    slos: Sequence[Slo]
    errors: Sequence[float]
    parts: Sequence[float]
    callers: float
    hold: bool
    last: bool = False
    answer: Answer | None = None

    def is_clear(self, folder: Path, number: int) -> bool:
        """Return whether the level may end after this analysis.

        It may end if its answer is clear, or if no answer can be expected at its end.
        """
        target = target_of(folder)
        counts, allowed = interim_counts(target, self.slos), [slo.allowed for slo in self.slos]
        answer = analysis_result(counts.completed, counts.known, allowed, self.errors[number], self.callers)
        backed_off = partial(_backed_off, target, self.slos, self.errors[number], self.callers)
        if answer == "pass" and (self.hold or _drains(target) or backed_off()):
            answer = "inconclusive"
        if answer != "inconclusive":
            self.answer = answer
        elif not self.hold and self.parts[number] >= FUTILE_FROM:
            elapsed, doubt = self.parts[number], GIVEN_UP_LAST if self.last else GIVEN_UP
            if is_futile(counts.completed, counts.known, allowed, elapsed, self.errors[-1], self.callers, doubt):
                self.answer = "inconclusive"
        return self.answer is not None


def _evaluated(
    search: SearchConfig, step: NextLevel, budget: LevelBudget, run: FinishedLevel, monitor: _LevelMonitor
) -> LevelEntry:
    """Return the entry of a level whose run has ended."""
    target = target_of(run.folder)
    check_opened(target.run)
    document, slos = target.run.metadata, search.slos
    error = monitor.errors[-1 if monitor.answer is None else run.analyses - 1]
    known = [violations(target, slo) for slo in slos]
    complete = (
        [violations(replace(target, clusters=completed_sessions(target)), slo) for slo in slos]
        if run.was_stopped
        else known
    )
    answer = monitor.answer or analysis_result(complete, known, [slo.allowed for slo in slos], error, monitor.callers)
    calls, blocked_calls = in_progress(target.run), blocked(target.run)
    arrived = blocked_calls + len(target.run.sessions)
    sure = _is_conclusive(answer, target, slos, error, monitor.callers)
    ours = _ours(document, step.load if search.plan.by == "concurrency" else round(calls or 0), sure=sure)
    if not ours and answer != "fail" and blocked_calls > BLOCKED_SHARE * arrived:
        ours = f"{blocked_calls:,} of {arrived:,} calls found no free slot: raise --max-concurrent"
    reason = (
        _held_back(document, target.name, step, calls) if search.plan.by == "concurrency" and answer == "pass" else ""
    )
    if answer == "pass":
        reason = reason or _backed_off(target, slos, error, monitor.callers) or _drains(target)
    if reason:
        answer = "inconclusive"
    elif answer == "inconclusive":
        reason = next(filter(None, map(too_few, complete)), FUTILE_TEXT if monitor.answer == "inconclusive" else "")
    main = next(iter(target.main_metrics.values()), ALWAYS)
    latency_p50, latency_p95 = latencies_of(target, search.plan.metric or main)
    return LevelEntry(
        load=step.load,
        confirmation_run=step.confirmation_run,
        result="load_generator" if ours else answer,
        why=ours or reason,
        run=run.folder.name,
        duration_s=0.0,
        error=budget.error,
        sessions=target.sessions,
        turns=int(target.turn_mask.sum()),
        call_s=median_call_s(target.run),
        in_progress=calls,
        slo_violations=shares_of(target, slos, error, monitor.callers),
        latency_p50=latency_p50,
        latency_p95=latency_p95,
        failure_rate=failures_of(target),
        rate_limits_remaining=rate_limits_remaining(target.run, target.name),
        blocked=blocked_calls,
        simulated=target.simulated,
        workers=worker_count(document),
        usd=usd_of(target.run, target.name),
    )


def check_opened(run: RunFrames) -> None:
    """Raise UsageError if calls failed, no call opened, and no call was throttled.

    A level whose calls end in this way shows nothing about any load.
    """
    refused = run.sessions[run.sessions["outcome_class"] == "failed"]
    opened = run.sessions["session_ready_ms"].notna().any()
    if refused.empty or opened or any(is_throttled(str(outcome)) for outcome in refused["outcome"]):
        return
    ends = Counter(zip(refused["outcome"].astype(str), refused["detail"].astype(object).fillna(""), strict=True))
    ((outcome, detail), _), *_ = ends.most_common(1)
    ended = f"{outcome}: {detail.rstrip('.')}" if detail else outcome
    remedy = remedy_of(outcome, detail, dialect_of(run.metadata["targets"][0]).remedies)
    text = "; ".join(filter(None, [ended, remedy]))
    raise UsageError(f"none of {len(refused):,} calls to {run.metadata['targets'][0]['url']} opened: {text}")


def _held_back(document: Any, target: str, step: NextLevel, calls: float | None) -> str:
    """Return a text if the service delayed starts, so that a level did not reach its load; otherwise ""."""
    delayed_s = float((document.get("start_delays_s") or {}).get(target) or 0.0)
    if not delayed_s or calls is None or calls >= CARRIED_SHARE * step.load:
        return ""
    return (
        f"starts were delayed for {delayed_s:.0f} s because of the service's quota: "
        f"only {calls:.0f} calls were in progress"
    )


def _backed_off(target: ComparedTarget, slos: Sequence[Slo], error: float, callers: float) -> str:
    """Return why a level does not pass although the shares of its turns pass; otherwise "".

    The reason is that callers waited after refused calls. A caller who waits makes no calls that could be refused. So
    the part of the callers' time in which they wait counts as turns that missed the objective.
    """
    waiting = callers_backing_off(target.run)
    waiting_share = waiting / callers
    if not waiting_share or all(
        share.high + waiting_share * (1 - share.high) < share.allowed
        for share in shares_of(target, slos, error, callers)
    ):
        return ""
    return (
        f"calls were refused, and on average {waiting:.2g} of {callers:,.0f} callers waited before their next call: "
        "if they had called, more turns than allowed might have missed the objective"
    )


def _drains(target: ComparedTarget) -> str:
    """Return a text if a limit of the service is being used up, so that the level would not pass for long; otherwise
    "".
    """
    exhausting = exhausting_limit(target.run, target.name)
    if exhausting is None:
        return ""
    limit, left_s = exhausting
    return f"the service's limit of {limit} was being used up: at this rate it is exhausted in {left_s:.0f} s"


def _is_conclusive(answer: Answer, target: ComparedTarget, slos: Sequence[Slo], error: float, callers: float) -> bool:
    """Return whether the answer would be the same if every timestamp were wrong by its maximum uncertainty."""
    if answer not in ("pass", "fail"):
        return True
    extremes = [_with_errors(target, slo, worse=answer == "pass") for slo in slos]
    return analysis_result(extremes, extremes, [slo.allowed for slo in slos], error, callers) == answer


def _with_errors(target: ComparedTarget, slo: Slo, *, worse: bool) -> PerCluster:
    """Return the violations if every value were wrong by its maximum error, in the worse or in the better direction.

    If no error is known, all turns miss the objective, or none does. Rates use no timestamps.
    """
    if slo.threshold.statistic.kind == "rate":
        return violations(target, slo)
    targets = moved(target, slo.threshold.about)
    if targets is None:
        turns = violations(target, slo)[1]
        return (turns if worse else np.zeros_like(turns)), turns
    extremes = [violations(part, slo) for part in (targets.lower, targets.higher)]
    return (max if worse else min)(extremes, key=lambda counts: counts[0].sum())


def _ours(document: Any, calls: int, *, sure: bool) -> str:
    """Return why a run shows nothing about the service, and the remedy; "" if it shows something about the service.

    `sure` is True if the answer does not depend on the uncertainty of the timestamps.
    """
    concurrency = Concurrency(calls, 1, worker_count(document))
    failed = [
        check
        for check in convert(document.get("validity") or {"status": "no_verdict"}, Validity).checks
        if check.result == "fail" and not (sure and check.name == "timestamp_uncertainty")
    ]
    if failed:
        check = failed[0]
        return (
            f"INVALID: {check.name} was {check.value:.3g} {check.unit} (limit {check.limit:.3g}) with "
            f"{concurrency.per_process:,} calls per process; "
            f"free cores of this machine, and add `-- --processes {2 * concurrency.processes}` or more"
        )
    cited = document.get("calibration")
    return "" if cited is None or cited.get("ended") else "".join(process_advice(concurrency, cited, core_count()))


FAILURES = MetricSpec("failure_rate", Rate())
THROTTLED = MetricSpec("throttle_rate", Rate())
DRAIN_SECONDS, DRAINED_SHARE, DRAINS_S = 5, 0.05, 600.0
"""The conditions under which a limit of the service is being used up. All three must be true.

The service reported the limit in at least `DRAIN_SECONDS` different seconds. The remaining share of the limit fell by
more than `DRAINED_SHARE`. At this rate, nothing will be left within `DRAINS_S` seconds.
"""
VALUES_ALPHA = 0.05
"""The probability that a displayed interval does not contain the true value. It is for both ends together."""


class SessionCounts(NamedTuple):
    """The counts of turns of a level that is still running.

    Each field has a pair of numbers for each objective and session: the turns that missed the objective, and all turns.

    - `completed` is for the sessions that started before the oldest session that is still open.
    - `known` is for all sessions.
    """

    completed: Sequence[PerCluster]
    known: Sequence[PerCluster]


def interim_counts(target: ComparedTarget, slos: Sequence[Slo]) -> SessionCounts:
    """Return the counts of a run in progress. The sessions that started in its warm-up do not count."""
    completed = replace(target, clusters=completed_sessions(target))
    return SessionCounts([violations(completed, slo) for slo in slos], [violations(target, slo) for slo in slos])


def target_of(folder: Path) -> ComparedTarget:
    """Return the only target of a level's run."""
    (target,) = targets_of(load_for_report(folder))
    return target


def completed_sessions(target: ComparedTarget) -> Clusters:
    """Return the sessions that started before the oldest session that is still open. This is determined for each
    worker.

    A worker numbers its sessions from 0. In a run that has ended, the only open sessions are those that the end of the
    run abandoned.
    """
    sessions, workers = target.run.sessions, int(target.run.metadata.get("workers") or 1)
    number = sessions["pair"].to_numpy(dtype=np.int64)
    ended = (sessions["outcome_class"] != "unfinished").to_numpy()
    # if a session was renewed, its call continues in another session and is not over
    over = ended & ~sessions["renewed"].to_numpy(dtype=bool)
    open_from = [_first_open(number[over & (number % workers == worker)] // workers) for worker in range(workers)]
    rows = target.clusters.rows
    is_complete = ended[rows] & (number[rows] // workers < np.array(open_from)[number[rows] % workers])
    of_code = np.full_like(target.clusters.of_code, -1)
    new_code = np.full(target.clusters.count, -1, dtype=np.int64)
    new_code[target.clusters.of_row[is_complete]] = np.arange(int(is_complete.sum()))
    has_code = target.clusters.of_code >= 0
    of_code[has_code] = new_code[target.clusters.of_code[has_code]]
    return Clusters(int(is_complete.sum()), of_code, rows[is_complete], np.arange(int(is_complete.sum())))


def _first_open(ended: Integers) -> int:
    """Return the lowest session number that is missing in `ended`, the numbers of the ended sessions. Numbers begin at
    0.
    """
    gaps = np.flatnonzero(np.sort(ended) != np.arange(ended.size))
    return int(gaps[0]) if gaps.size else ended.size


def violations(target: ComparedTarget, slo: Slo) -> PerCluster:
    """Return two numbers for each session: the turns that miss an objective, and the turns to which it applies."""
    events, turns = np.zeros(target.clusters.count), np.zeros(target.clusters.count)
    for spec in specs_of(target, slo.threshold):
        of_spec = _violations(target, slo, spec)
        events, turns = events + of_spec[0], turns + of_spec[1]
    return events, turns


def specs_of(target: ComparedTarget, threshold: Threshold) -> list[MetricSpec]:
    """Return the specs of the turns of an objective: those of each stratum, if it names an instant of measurement."""
    return specs_of_thresholds(threshold, threshold.about, [target]) if threshold.measured_from else [threshold.about]


def _violations(target: ComparedTarget, slo: Slo, spec: MetricSpec) -> PerCluster:
    threshold = slo.threshold
    if threshold.statistic.deadline_ms is not None:
        return complement(target.in_time(spec, threshold.statistic.deadline_ms))
    if threshold.p is None:
        counts = target.counts(spec)
        return complement(counts) if threshold.sign in (">", ">=") else counts
    sample = target.sample(spec)
    values, limit = sample.values, threshold.limit
    assert limit is not None, f"{slo.source_text} is relative"
    misses: dict[Sign, Flags] = {"<": values >= limit, "<=": values > limit, ">": values <= limit, ">=": values < limit}
    late = misses[threshold.sign]
    sizes = target.clusters.count
    return (
        np.bincount(sample.sessions[late], minlength=sizes).astype(np.float64),
        np.bincount(sample.sessions, minlength=sizes).astype(np.float64),
    )


def shares_of(target: ComparedTarget, slos: Sequence[Slo], error: float, callers: float) -> list[SloEntry]:
    """Return the share of turns that missed an objective, for each objective. The run must have ended."""
    # a limit of the service also ended sessions, so their turns that did not start count as well
    sessions = target.session_rows
    limited = np.array([is_throttled(str(outcome)) for outcome in sessions["outcome"]], dtype=bool)
    throttled = int(target.counts(THROTTLED)[0].sum()) + int(not_started_of(sessions)[limited].sum())
    return [
        _share(target, slo, violation_share(violations(target, slo), error, len(slos), callers), throttled)
        for slo in slos
    ]


def _share(target: ComparedTarget, slo: Slo, share: ViolationShare, throttled: int) -> SloEntry:
    missing, threshold = int(violations(target, slo)[0].sum()), slo.threshold
    failed = 0
    if threshold.statistic.kind != "rate":
        failed = min(missing, sum(int(np.isinf(target.sample(of).values).sum()) for of in specs_of(target, threshold)))
    elif threshold.metric in ("failure_rate", "throttle_rate"):
        failed = missing
    causes = {"slow": missing - failed, "failed": failed, "throttled": min(throttled, failed)}
    value = None if math.isnan(share.value) else share.value
    return SloEntry(slo.source_text, slo.allowed, **share._asdict() | {"value": value} | causes)


def latencies_of(target: ComparedTarget, metric: str) -> tuple[Interval, Interval]:
    """Return p50 and p95 of a metric, with 95 % intervals, of the stratum with most turns.

    If a report would not publish a percentile, its values are null.
    """
    samples = [target.sample(spec) for spec in by_stratum(MetricSpec(metric, Quantile(0.5)), [target])]
    sample = max(samples, key=lambda sample: sample.n)
    p50, p95 = (
        interval(estimate.value, estimate.low, estimate.high) if estimate.has_interval else Interval(None, None, None)
        for estimate in quantiles(sample, [0.5, 0.95], 1 - VALUES_ALPHA)
    )
    return p50, p95


def interval(value: float, low: float, high: float) -> Interval:
    """Return a value with its interval. A number that is not finite becomes null."""
    known = [number if math.isfinite(number) else None for number in (value, low, high)]
    return Interval(*known)


def failures_of(target: ComparedTarget) -> Interval:
    """Return the share of turns that failed or were not started, with its 95 % interval."""
    share = violation_share(target.counts(FAILURES), VALUES_ALPHA / 2, 1, math.inf)
    return interval(share.value, share.low, share.high)


def in_progress(run: RunFrames) -> float | None:
    """Return the median number of calls in progress in the measured phase; None if that phase has no seconds."""
    seconds = run.seconds[run.seconds["measured"].to_numpy()]
    by_second = seconds.groupby("second")["sessions_active"].sum()
    return float(by_second.median()) if len(by_second) else None


def median_call_s(run: RunFrames) -> float | None:
    """Return the median duration of the successful calls, in seconds; None if there are none.

    Also return None if the end of the run cut more calls than that, because the long calls are then missing.
    """
    sessions = run.sessions
    durations_ms = sessions["session_duration_ms"][sessions["outcome_class"] == "success"].dropna()
    cut = int((sessions["outcome_class"] == "unfinished").sum())
    return float(durations_ms.median()) / 1000 if len(durations_ms) >= max(1, cut) else None


def callers_backing_off(run: RunFrames) -> float:
    """Return the mean number of callers who waited after a refused call, over the seconds of the measured phase."""
    seconds = run.seconds[run.seconds["measured"].to_numpy()]
    by_second = seconds["callers_backing_off"].fillna(0).groupby(seconds["second"]).sum()
    return float(by_second.mean()) if len(by_second) else 0.0


def rate_limits_remaining(run: RunFrames, target: str) -> dict[str, float]:
    """Return a mapping from each limit that the service reported to its lowest remaining share during the run."""
    started_ns, ended_ns = int(run.metadata["started_utc_ns"]), int(run.metadata.get("ended_utc_ns") or 0)
    quota = rate_limits_of(run, [target], started_ns, max(0.0, (ended_ns - started_ns) / NS_PER_S))
    return {left.limit: float(left.share.min()) for target_quota in quota.targets for left in target_quota.remaining}


def exhausting_limit(run: RunFrames, target: str) -> tuple[str, float] | None:
    """Return (a limit of the service that is being used up, seconds until nothing is left at this rate).

    Return None if no limit would be used up within `DRAINS_S` seconds. A quota per minute is full when a level starts,
    so a load that exceeds the quota succeeds at first.
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


def usd_of(run: RunFrames, target: str) -> float | None:
    """Return the cost of the run's tokens; None if a price is unknown."""
    money = money_of(run, [target])
    return money.usd if math.isfinite(money.usd) and not money.models_without_price else None


def blocked(run: RunFrames) -> int:
    """Return the number of calls that arrived when no slot was free."""
    return int(run.seconds["calls_blocked"].fillna(0).sum()) if len(run.seconds) else 0
