"""The evaluation of one level: it runs the level, reads its results during and after the run,
and judges them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd

from bench.base.clock import monotonic_ns
from bench.base.cpu import core_count
from bench.base.errors import UsageError
from bench.base.units import NS_PER_S
from bench.catalogue.causes import decoded
from bench.catalogue.columns import CAUSE
from bench.catalogue.outcomes import detail_text, is_throttled, remedy_of
from bench.load.planning.run_plan import Concurrency, process_advice
from bench.services.registry import dialect_of
from reports.analysis.sequential.decide import leading, run_of_pairs
from reports.analysis.summary.cost import money_of
from reports.analysis.summary.load import LIMITS, rate_limits_of
from reports.analysis.targets.compared_target import ComparedTarget
from reports.analysis.targets.metric_specs import by_stratum, specs_of_thresholds
from reports.analysis.targets.moved import extremes, moved
from reports.analysis.targets.named import targets_of
from reports.data.runs import RunFrames, detail_of, load_for_report, stated_validity
from reports.data.samples import ALWAYS
from reports.data.turns import not_started_of
from reports.engine.evaluate import quantile_values
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.statistic_types.quantile import Quantile
from reports.metrics.statistic_types.rate import FAILINGS, FAILURES, Rate
from reports.metrics.strata import NO_STRATUM
from reports.metrics.thresholds import Threshold
from reports.results.value import LimitFinding, Reason, Result, Subject, Value
from reports.statistics.counting import Integers, count_nonzero
from reports.statistics.group_sequential import spending
from reports.statistics.rates import PerCluster
from rtbench.capacity.document import CRASHED, LevelEntry, SearchPlan
from rtbench.capacity.level_run import (
    NO_LIMIT_NS,
    FinishedLevel,
    LevelTask,
    LocustCommand,
    run_level,
    worker_count,
)
from rtbench.capacity.load_thresholds import (
    GIVEN_UP,
    GIVEN_UP_LAST,
    ShareBounds,
    allowed_share,
    analysis_result,
    is_futile,
    threshold_result,
    too_few,
    violation_share,
)
from rtbench.capacity.verification import (
    AFTER_RAMP_S,
    ANALYSES,
    FUTILE_FROM,
    Level,
    min_ramp_s,
)

CARRIED_SHARE = 0.9
"""The share of a level's calls that must be in progress, if the service delayed starts, so that
the level can pass."""


class SearchConfig(NamedTuple):
    """The configuration of a search.

    - `connect_rate` is the maximum number of new connections per minute; None if there is no limit.
    - `ramps_until_ns` is the planned end of its ramps, and `until_ns` the end of the search, at
      which a run is killed, on CLOCK_MONOTONIC.
    """

    plan: SearchPlan
    thresholds: Sequence[Threshold]
    locust: LocustCommand
    connect_rate: float | None = None
    ramps_until_ns: int = NO_LIMIT_NS
    until_ns: int = NO_LIMIT_NS


class Analysis(NamedTuple):
    """An analysis of a level: its turns, the thresholds, and the bounds of their shares."""

    target: ComparedTarget
    thresholds: Sequence[Threshold]
    bounds: ShareBounds

    @property
    def allowed(self) -> list[float]:
        return list(map(allowed_share, self.thresholds))

    def result(self, complete: Sequence[PerCluster], known: Sequence[PerCluster]) -> Result:
        return analysis_result(complete, known, self.allowed, self.bounds)

    def is_conclusive(self, answer: Result) -> bool:
        """Return whether the answer would be the same if every timestamp were wrong by its maximum
        uncertainty.
        """
        if answer not in ("pass", "fail"):
            return True
        possible = [
            with_errors(self.target, threshold, worse=answer == "pass")
            for threshold in self.thresholds
        ]
        return self.result(possible, possible) == answer

    def doubt(self) -> Reason | None:
        """Return the reason that a level which seems to pass does not; None if it passes."""
        return self._backed_off() or _drains(self.target)

    def _backed_off(self) -> Reason | None:
        """Return the reason if callers waited after refused calls, so that a level may only seem to
        pass.

        A caller who waits makes no calls that could be refused. So the part of the callers' time in
        which they wait counts as turns that violated the threshold.
        """
        waiting = callers_backing_off(self.target.run)
        callers = self.bounds.callers
        waiting_share = waiting / callers
        if not waiting_share or all(
            share.value.high + waiting_share * (1 - share.value.high) < share.limit
            for share in self.shares()
        ):
            return None
        return Reason("callers_waited", {"waiting": waiting, "callers": callers})

    def shares(self, complete: Sequence[PerCluster] | None = None) -> list[LimitFinding]:
        """Return, for each threshold, the share of turns that violated it, against the allowed
        share.

        `complete` is the violations of completed sessions, which can show that a level passes; None
        if all are completed.
        """
        known = known_counts(self.target, self.thresholds)
        worst = counts_of(self.target, self.thresholds)
        return [
            self._share(threshold, missed, most, ended)
            for threshold, missed, most, ended in zip(
                self.thresholds, known, worst, complete or worst, strict=True
            )
        ]

    def _share(
        self, threshold: Threshold, missed: PerCluster, most: PerCluster, ended: PerCluster
    ) -> LimitFinding:
        """Return the share of turns that violated a threshold, with the counts of its violations:
        if no unscored turn violated it, if all did, and in completed sessions.
        """
        target = self.target
        share = violation_share(target.name, missed, self.bounds)
        if unscored := unscored_reason(target, threshold):
            high = violation_share(target.name, most, self.bounds).high
            (of,) = unscored.numbers["metrics"]
            share = msgspec.structs.replace(share, high=high, unscored=of["unscored"])
        failed = share.events if threshold.metric in FAILINGS else 0
        if threshold.statistic.is_monotone:
            infinite = [
                count_nonzero(np.isinf(target.sample(spec).values))
                for spec in specs_of(target, threshold)
            ]
            failed = min(share.events, sum(infinite))
        allowed = allowed_share(threshold)
        result = threshold_result(ended, missed, allowed, self.bounds)
        return LimitFinding(
            threshold=threshold.source_text,
            value=msgspec.structs.replace(share, failed=failed),
            operator="<",
            limit=allowed,
            result=result,
            reason=(too_few(ended) or unscored) if result == "inconclusive" else None,
        )


def evaluate_level(search: SearchConfig, number: int, level: Level) -> LevelEntry:
    """Run a level and judge it. `number` is that of its run in the search."""
    start_ns = monotonic_ns()
    # the time until all users have connected
    paced_s = level.load * 60 / search.connect_rate if search.connect_rate else 0
    warm_s = max(min_ramp_s(level.load_s), paced_s) + AFTER_RAMP_S
    if warm_s > level.load_s / 2:
        numbers = {"load": level.load, "warm_s": warm_s, "level_s": level.load_s}
        return _silent(level, Reason("slow_connections", numbers))
    try:
        entry = _run_level(search, number, level, warm_s)
    except UsageError as error:
        entry = _silent(level, Reason(CRASHED, {"message": str(error)}))
    return msgspec.structs.replace(entry, duration_s=(monotonic_ns() - start_ns) / NS_PER_S)


def _run_level(search: SearchConfig, number: int, level: Level, warm_s: float) -> LevelEntry:
    parts = [(fraction * level.load_s - warm_s) / (level.load_s - warm_s) for fraction in ANALYSES]
    monitor = _LevelMonitor(search.thresholds, spending(ANALYSES, level.error), parts, level)
    name = f"{number:02d}-level-{level.load}"
    ramp_s = warm_s - AFTER_RAMP_S
    task = LevelTask(name, level.load, level.load_s, ramp_s, level.budget_usd)
    run = run_level(search.locust, task, monitor.is_clear, search.until_ns, search.until_ns)
    if run.died:
        if monotonic_ns() >= search.until_ns:
            return _silent(level, Reason("time_over"), run.folder.name, "inconclusive")
        return _silent(level, Reason(CRASHED, {"message": run.died}), run.folder.name)
    return _evaluated(search, level, run, monitor)


def _silent(
    level: Level, why: Reason, run: str = "", answer: Result = "not_evaluated"
) -> LevelEntry:
    return LevelEntry(first=level.load, load=level.load, result=answer, why=why, run=run)


@dataclass
class _LevelMonitor:
    """The interim analyses of a level while it runs.

    - `answer` is the result of the analyses; None if only the final analysis decides.
    - `parts` is the part of the measured time that is over at each analysis. It is below 0 during
      the warm-up.
    """

    thresholds: Sequence[Threshold]
    errors: Sequence[float]
    parts: Sequence[float]
    level: Level
    answer: Result | None = None

    def bounds(self, number: int) -> ShareBounds:
        return ShareBounds(self.errors[number], self.level.load, len(self.thresholds))

    def analysis(self, target: ComparedTarget, number: int) -> Analysis:
        return Analysis(target, self.thresholds, self.bounds(number))

    def is_clear(self, folder: Path, number: int) -> bool:
        """Return whether the level may end: its answer is clear, or no answer can be expected at
        its end.
        """
        target = target_of(folder)
        analysis = self.analysis(target, number)
        counts = completed_counts(target, self.thresholds), known_counts(target, self.thresholds)
        answer = analysis.result(*counts)
        if answer == "pass" and analysis.doubt():
            answer = "inconclusive"
        elapsed = self.parts[number]
        if answer != "inconclusive":
            self.answer = answer
        elif elapsed >= FUTILE_FROM:
            doubt = GIVEN_UP_LAST if self.level.is_last else GIVEN_UP
            if is_futile(*counts, analysis.allowed, elapsed, self.bounds(-1), doubt):
                self.answer = "inconclusive"
        return self.answer is not None


def _evaluated(
    search: SearchConfig, level: Level, run: FinishedLevel, monitor: _LevelMonitor
) -> LevelEntry:
    target = target_of(run.folder)
    check_opened(target.run)
    document = target.run.metadata
    thresholds = search.thresholds
    analysis = monitor.analysis(target, -1 if monitor.answer is None else run.analyses - 1)
    complete = (completed_counts if run.was_stopped else counts_of)(target, thresholds)
    answer = monitor.answer or analysis.result(complete, known_counts(target, thresholds))
    calls = in_progress(target.run)
    fault = generator_fault(document, level.load, sure=analysis.is_conclusive(answer))
    reason = None
    if answer == "pass":
        reason = _held_back(document, target.name, level, calls) or analysis.doubt()
    if reason:
        answer = "inconclusive"
    elif answer == "inconclusive":
        futile = Reason("futile") if monitor.answer == "inconclusive" else None
        unscored = next(filter(None, (unscored_reason(target, of) for of in thresholds)), None)
        reason = next(filter(None, map(too_few, complete)), unscored or futile)
    main = next(iter(target.main_metrics.values()), ALWAYS)
    latency_p50, latency_p95 = latencies_of(target, search.plan.metric or main)
    return LevelEntry(
        first=level.load,
        load=level.load,
        result="not_evaluated" if fault else answer,
        why=fault or reason,
        run=run.folder.name,
        sessions=target.sessions,
        turns=count_nonzero(target.turn_mask),
        in_progress=calls,
        throttled=throttled_turns(target),
        violations=analysis.shares(complete),
        latency_p50=latency_p50,
        latency_p95=latency_p95,
        failure_rate=failures_of(target),
        rate_limits_remaining=rate_limits_remaining(target.run, target.name),
        simulated=target.simulated,
        usd=usd_of(target.run, target.name),
    )


def check_opened(run: RunFrames) -> None:
    """Raise UsageError if calls failed, none opened, and none was throttled: this shows nothing
    about any load.
    """
    refused = run.sessions[run.sessions["outcome_class"] == "failed"]
    opened = run.sessions["session_ready_ms"].notna().any()
    if refused.empty or opened or any(is_throttled(str(outcome)) for outcome in refused["outcome"]):
        return
    outcome, cause = commonest_end(refused)
    detail = detail_of(cause)
    ended = f"{outcome}: {detail_text(outcome, detail).rstrip('.')}" if detail else outcome
    remedy = remedy_of(outcome, decoded(cause), dialect_of(run.metadata["targets"][0]).remedies)
    text = "; ".join(filter(None, [ended, remedy]))
    raise UsageError(
        f"none of {len(refused):,} calls to {run.metadata['targets'][0]['url']} opened: {text}"
    )


def commonest_end(failed: pd.DataFrame) -> tuple[str, str]:
    """Return the most frequent outcome of some sessions or turns, and its cause, as in rows; "" if
    it has none.
    """
    ends = Counter(
        zip(failed["outcome"].astype(str), failed[CAUSE].astype(object).fillna(""), strict=True)
    )
    ((outcome, cause), _), *_ = ends.most_common(1)
    return outcome, cause


def _held_back(document: Any, target: str, level: Level, calls: float | None) -> Reason | None:
    """Return the reason if the service delayed starts, so that a level did not reach its load."""
    delayed_s = float((document.get("start_delays_s") or {}).get(target) or 0.0)
    if not delayed_s or calls is None or calls >= CARRIED_SHARE * level.load:
        return None
    return Reason("starts_delayed", {"delayed_s": delayed_s, "in_progress": calls})


def _drains(target: ComparedTarget) -> Reason | None:
    """Return the reason if a limit of the service is being used up, so that the level would not
    pass for long.
    """
    exhausting = exhausting_limit(target.run, target.name)
    return exhausting and Reason(
        "limit_exhausted", {"limit": exhausting[0], "left_s": exhausting[1]}
    )


def with_errors(target: ComparedTarget, threshold: Threshold, *, worse: bool) -> PerCluster:
    """Return the violations if every value were worse, or better, by its maximum error. Rates use
    no timestamps.

    If no error is known, all turns violate the threshold, or none does.
    """
    if not threshold.statistic.is_monotone:
        return violations(target, threshold, worse=worse)
    targets = moved(target, threshold.about)
    if targets is None:
        turns = violations(target, threshold, worse=worse)[1]
        return (turns if worse else np.zeros_like(turns)), turns
    possible = [
        violations(part, threshold, worse=worse) for part in (targets.lower, targets.higher)
    ]
    return (max if worse else min)(possible, key=lambda counts: counts[0].sum())


def generator_fault(document: Any, calls: int, *, sure: bool) -> Reason | None:
    """Return why a run shows nothing about the service. `sure`: its answer does not depend on
    uncertain timestamps.
    """
    concurrency = Concurrency(calls, 1, worker_count(document))
    failed = [
        check
        for check in stated_validity(document).checks
        if check.result == "fail"
        and not (sure and check.name in ("timestamp_uncertainty", "rtp_stream"))
    ]
    if failed:
        check = {
            name: getattr(failed[0], name) for name in ("name", "value", "unit", "limit", "remedy")
        }
        load = {"calls_per_process": concurrency.per_process, "processes": concurrency.processes}
        return Reason("check_failed", check | load)
    cited = document.get("calibration")
    advice = (
        []
        if cited is None or cited.get("ended")
        else process_advice(concurrency, cited, core_count())
    )
    return Reason("above_calibration", {"message": "".join(advice)}) if advice else None


THROTTLED = MetricSpec("throttle_rate", Rate())
DRAIN_SECONDS = 5
DRAINED_SHARE = 0.05
DRAINS_S = 600.0
"""A limit of the service is being used up if it was reported in at least `DRAIN_SECONDS` different
seconds, its remaining share fell by more than `DRAINED_SHARE`, and nothing will be left within
`DRAINS_S` at this rate.
"""
VALUES_ALPHA = 0.05
"""The probability that a displayed interval, counting both of its ends, does not contain the
true value."""


def counts_of(target: ComparedTarget, thresholds: Sequence[Threshold]) -> list[PerCluster]:
    """Return the violations of each threshold. Unscored turns violate it, so these can show that a
    level passes.
    """
    return [violations(target, threshold, worse=True) for threshold in thresholds]


def known_counts(target: ComparedTarget, thresholds: Sequence[Threshold]) -> list[PerCluster]:
    """Return the violations of each threshold. Unscored turns violate none, so these can show that
    a level fails.
    """
    return [violations(target, threshold, worse=False) for threshold in thresholds]


def unscored_reason(target: ComparedTarget, threshold: Threshold) -> Reason | None:
    """Return the reason that turns to which a threshold applies could not be scored; None if all
    were.
    """
    reasons = (target.unscored_reason(spec) for spec in specs_of(target, threshold))
    return next(filter(None, reasons), None)


def completed_counts(target: ComparedTarget, thresholds: Sequence[Threshold]) -> list[PerCluster]:
    """Return the counts of the sessions before the oldest open one."""
    (completed,) = targets_of(run_of_pairs(target.run, completed_pairs(target.run)))
    return counts_of(completed, thresholds)


def target_of(folder: Path) -> ComparedTarget:
    (target,) = targets_of(load_for_report(folder))
    return target


def completed_pairs(run: RunFrames) -> Integers:
    """Return the numbers of the sessions that started before the oldest open session of their
    worker.

    A worker numbers its sessions from 0. In a run that has ended, the end of the run abandoned the
    open sessions.
    """
    workers = worker_count(run.metadata)
    ended = run.metadata.get("state") == "ended"
    of_worker = run.sessions["pair"] % workers
    by_worker = run.sessions.assign(pair=run.sessions["pair"] // workers)
    return np.concatenate(
        [
            leading(by_worker[of_worker == worker], ended=ended, targets=1) * workers + worker
            for worker in range(workers)
        ]
    )


def violations(target: ComparedTarget, threshold: Threshold, *, worse: bool = True) -> PerCluster:
    """Return two numbers for each session: the turns that violate a threshold, and the turns to
    which it applies. If `worse`, all unscored turns violate it, and otherwise none does.
    """
    events = np.zeros(target.clusters.count)
    turns = np.zeros(target.clusters.count)
    assert threshold.limit is not None, f"{threshold.source_text} is relative"
    for spec in specs_of(target, threshold):
        possible = [
            threshold.statistic.misses(of, spec, threshold.sign, threshold.limit)
            for of in possible_targets(target, spec)
        ]
        of_spec = (max if worse else min)(possible, key=lambda counts: counts[0].sum())
        events = events + of_spec[0]
        turns = turns + of_spec[1]
    return events, turns


def possible_targets(target: ComparedTarget, spec: MetricSpec) -> list[ComparedTarget]:
    """Return the target with the lowest and the highest scores of unscored turns; the target
    itself if all are scored.
    """
    possible = extremes(target, spec, is_uncertain=False)
    if possible is None or possible.lower is target:
        return [target]
    return [possible.lower, possible.higher]


def specs_of(target: ComparedTarget, threshold: Threshold) -> list[MetricSpec]:
    """Return the specs of the turns of a threshold: one for each stratum, if it names an instant
    of measurement.
    """
    about = threshold.about
    return specs_of_thresholds(threshold, about, [target]) if threshold.measured_from else [about]


def throttled_turns(target: ComparedTarget) -> int:
    """Return the planned turns that the service throttled. The run must have ended."""
    # a limit of the service also ended sessions, so their turns that did not start count as well
    sessions = target.session_rows
    limited = np.array([is_throttled(str(outcome)) for outcome in sessions["outcome"]], bool)
    return int(target.counts(THROTTLED)[0].sum()) + int(not_started_of(sessions)[limited].sum())


def latencies_of(target: ComparedTarget, metric: str) -> list[Value]:
    """Return p50 and p95 with 95 % intervals as a report publishes them, of the stratum with
    most turns.
    """
    samples = [
        (spec, target.sample(spec))
        for spec in by_stratum(MetricSpec(metric, Quantile(0.5)), [target])
    ]
    spec, sample = max(samples, key=lambda of: of[1].n)
    subject = Subject(target=target.name, **(spec.stratum or NO_STRATUM)._asdict())
    return [*quantile_values(subject, metric, sample, [0.5, 0.95], 1 - VALUES_ALPHA)]


def failures_of(target: ComparedTarget) -> Value:
    """Return the share of turns that failed or were not started, with its 95 % interval."""
    bounds = ShareBounds(VALUES_ALPHA / 2, math.inf)
    return violation_share(target.name, target.counts(FAILURES), bounds, FAILURES.metric)


def in_progress(run: RunFrames) -> float | None:
    """Return the median number of calls in progress in the measured phase; None if that phase
    has no seconds.
    """
    by_second = _measured_seconds(run, "sessions_active")
    return float(by_second.median()) if len(by_second) else None


def _measured_seconds(run: RunFrames, column: str) -> pd.Series[float]:
    """Return the sums of a column over targets and processes, by second of the measured phase."""
    seconds = run.seconds[run.seconds["measured"].to_numpy()]
    return seconds[column].fillna(0).groupby(seconds["second"]).sum()


def median_call_s(run: RunFrames) -> float | None:
    """Return the median duration of the successful calls, in seconds.

    Return None if there are none, or if the end of the run cut more calls, because the long ones
    are then missing.
    """
    sessions = run.sessions
    durations_ms = sessions["session_duration_ms"][sessions["outcome_class"] == "success"].dropna()
    cut = count_nonzero(sessions["outcome_class"] == "unfinished")
    return float(durations_ms.median()) / 1000 if len(durations_ms) >= max(1, cut) else None


def callers_backing_off(run: RunFrames) -> float:
    """Return the mean number of callers who waited after a refused call, over the seconds of the
    measured phase.
    """
    by_second = _measured_seconds(run, "callers_backing_off")
    return float(by_second.mean()) if len(by_second) else 0.0


def rate_limits_remaining(run: RunFrames, target: str) -> dict[str, float]:
    """Return the lowest remaining share, during the run, of each limit that the service
    reported.
    """
    limits = rate_limits_of(run, [target], int(run.metadata["started_utc_ns"]), 0.0)
    return limits.targets[0].min_remaining


def exhausting_limit(run: RunFrames, target: str) -> tuple[str, float] | None:
    """Return (a limit of the service that is being used up, seconds until nothing is left); None if
    there is none.

    A quota per minute is full when a level starts, so a load that exceeds the quota succeeds at
    first.
    """
    seconds = run.seconds[
        run.seconds["measured"].to_numpy() & (run.seconds["target"] == target).to_numpy()
    ]
    for limit in LIMITS:
        left = (
            (seconds[f"{limit}_remaining"] / seconds[f"{limit}_limit"])
            .groupby(seconds["second"])
            .min()
            .dropna()
        )
        if len(left) < DRAIN_SECONDS:
            continue
        at_s = left.index.to_numpy(float)
        share = left.to_numpy(float)
        pace = float(np.polyfit(at_s, share, 1)[0])
        fallen = float(share[0] - share[-1])
        if pace < 0 and fallen > DRAINED_SHARE and (left_s := float(share[-1]) / -pace) < DRAINS_S:
            return limit, left_s
    return None


def usd_of(run: RunFrames, target: str) -> float | None:  # None if a price is unknown
    money = money_of(run, [target])
    return money.usd if math.isfinite(money.usd) and not money.models_without_price else None
