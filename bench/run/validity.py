"""The validity checks and their limits: they detect a run whose load generator was the bottleneck.

A run without any measured turn has no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from msgspec import structs

from bench.metrics import FIRST_DELTAS, HEADLINE, STARVED
from bench.run.document import Check, CheckName, UncertainMetric, Validity

MAX_UNCERTAINTY_MS = 1.0
MAX_UNCERTAINTY_SHARE = 0.01
"""`timestamp_uncertainty`: p99 at most 1 ms, or 1 % of the median, for each target, metric, and instant that it is
measured from."""
MAX_LOOP_DELAY_MS = 5.0
MAX_LOOP_DELAY_SHARE = 0.05
"""`event_loop_delay`, if timestamps come from user space: p99 at most 5 ms, or 5 % of the lowest median latency of a
first delta."""
MAX_USER_TIMESTAMPS_SHARE = 0.01
MAX_CHUNK_SHARE = 0.1
"""`send_delay`: p99 at most a tenth of the chunk."""
MAX_START_DELAY_MS = 5.0
MAX_START_DELAY_SHARE = 0.05
"""`start_delay`, in an open loop: p99 at most 5 ms, or 5 % of the median service time."""
MAX_MISSING_PERCENT = 1.0
"""`missing_data`, if parts of a merged run could not be read, workers are missing, or processes did not run when a
timeout ended: the share of turns whose end is unknown."""

MAX_EARLY_PERCENT = 1.0
"""The limit of replies that start before their question ends: with more, latencies may be of another question."""
EARLY_REPLIES: Final = "early_replies"

MERGE_MISSING = "merge the missing data when it is available, or repeat the run"
MORE_PROCESSES = "lower the load, free a core of the machine, or use more --processes"


@dataclass(frozen=True)
class MetricUncertainty:
    """The uncertainty of one metric of one target: p99 of its bounds, and its median, in its unit; None if unknown.

    Neither targets nor `measured_from` are pooled: a slow one would give a fast one its limit.
    """

    target: str
    metric: str
    bound_p99: float | None
    p50: float | None
    unit: str = "ms"
    host: str = ""
    """The host of these rows; empty for those of all hosts."""
    timestamps_p99: float | None = None
    """p99 of the timestamps' uncertainty alone, if it includes that of a start detected in the audio."""
    measured_from: str = ""
    """The instant that latency is measured from (`bench.metrics.MEASURED_FROM`); empty if the metric has only one."""

    @property
    def limit(self) -> float:
        """The largest permitted uncertainty: 1 % of the median, and of times 1 ms at least."""
        return max(MAX_UNCERTAINTY_MS if self.unit != "×" else 0.0, MAX_UNCERTAINTY_SHARE * abs(self.p50 or 0.0))

    @property
    def used(self) -> float:
        return math.inf if not self.limit else (self.bound_p99 or 0.0) / self.limit

    @property
    def exact(self) -> bool:
        """True if it is within its limit; an unknown uncertainty counts as within."""
        return self.bound_p99 is None or self.bound_p99 <= self.limit


@dataclass(frozen=True)
class EarlyReplies:
    """The share of a target's replies that started before their question had ended, and the affected latencies."""

    target: str
    percent: float
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class ValidityData:
    """The data that the checks evaluate, all in ms; None if there was none of the kind.

    `metrics` are of the measured phase, by target; `user_stamps_share` is the share of turns with a timestamp that did
    not come from the kernel, `chunk` the shortest paced chunk, `paced_audio` whether any was sent. `start_delay_p99` is
    of calls that arrived, and so is `service_time_p50`.
    """

    metrics: tuple[MetricUncertainty, ...]
    user_stamps_share: float | None
    event_loop_delay_p99: float | None
    send_delay_p99: float | None
    chunk: float | None
    paced_audio: bool
    start_delay_p99: float | None = None
    service_time_p50: float | None = None
    host: str = ""
    """The host of these processes and rows; empty for those of all hosts."""
    missing_share: float | None = None
    """The maximum share of missing turns, with parts that were not merged and missing workers. NaN: unknown."""
    starved_share: float = 0.0
    """The share of measured turns without a known outcome, because their process did not run when a timeout ended."""
    busy_reason: str = ""
    """Programs that used the machine's cores, with what to do; empty if none used many, or if that is unknown."""
    failed: tuple[Check, ...] = ()
    """Checks that failed in the runs from which this one was merged."""
    early: tuple[EarlyReplies, ...] = ()
    """Targets with replies that started too early."""
    refused: str = ""
    """The problem that the user has to correct first, such as a worker of another version."""


def evaluate_checks(pooled: ValidityData, *hosts: ValidityData) -> Validity:
    """Evaluate a run: `pooled` as a whole, and each of several `hosts`.

    A check passes if it does for the whole run, for every host, and for every part: pooling hides no uncertain host.
    """
    strata = (pooled, *hosts)
    checks = [_worst(of_check) for of_check in zip(*map(_checks, strata), strict=True)]
    checks = [_worst([check, *(other for other in pooled.failed if other.name == check.name)]) for check in checks]
    checks += _missing_data(pooled)
    failed = [check.name for check in checks if check.result == "fail"]
    unknown = ["timestamp_uncertainty"] if any(map(_of_unknown_bounds, strata)) else []
    if any(stratum.paced_audio and stratum.send_delay_p99 is None for stratum in strata):
        unknown.append("send_delay")
    if not any(metric.bound_p99 is not None for metric in _headline(pooled)):
        unknown = unknown or ["no_data"]
    return Validity(
        "invalid" if failed else "no_verdict" if unknown else "valid",
        [*(failed or unknown)],
        checks,
        uncertain_metrics((metric for stratum in strata for metric in stratum.metrics), pooled.early),
    )


def _checks(evidence: ValidityData) -> list[Check]:
    checks = [check(evidence) for check in LOAD_GENERATOR_CHECKS.values()]
    if evidence.busy_reason:  # a lower load would not help
        checks = [structs.replace(check, remedy=evidence.busy_reason) for check in checks]
    if evidence.host:
        host = f"on {evidence.host}"
        checks = [structs.replace(check, note=", ".join(filter(None, (check.note, host)))) for check in checks]
    return checks


def _worst(checks: Sequence[Check]) -> Check:
    """Return the check that failed, else the one that is nearest to its limit; the first of several."""
    return max(checks, key=lambda check: (check.result == "fail", check.result != "not_evaluated", check.used))


def _missing_data(evidence: ValidityData) -> list[Check]:
    """Return the check on turns whose end is unknown, missing and starved ones, if there are any."""
    missing, starved = evidence.missing_share, evidence.starved_share
    if missing is None and not starved:
        return []
    share = (missing or 0.0) + starved
    known = not math.isnan(share)
    again = f"{evidence.refused}; then repeat the run" if evidence.refused else MERGE_MISSING
    remedies = [*([again] if missing is not None else []), *([MORE_PROCESSES] if starved else [])]
    of_turns = "of all turns (upper bound)" if missing is not None else f"of the turns ended as {STARVED}"
    result: Literal["pass", "fail"] = "pass" if known and 100 * share <= MAX_MISSING_PERCENT else "fail"
    note = of_turns if known else "the missing share is unknown"
    percent = round(100 * share, 4) if known else None
    return [Check("missing_data", percent, MAX_MISSING_PERCENT, result, note, "; ".join(remedies), "%")]


def uncertain_metrics(metrics: Iterable[MetricUncertainty], early: Iterable[EarlyReplies]) -> list[UncertainMetric]:
    """Return the uncertain metrics of each target and host, by their worst turns or because of early replies."""
    worst: dict[tuple[str, ...], MetricUncertainty] = {}
    for one in metrics:
        key = (one.host, one.target, one.metric)
        if not one.exact and (key not in worst or one.used > worst[key].used):
            worst[key] = one
    spoilt: list[UncertainMetric] = [
        {
            "target": one.target,
            "metric": metric,
            "value": round(one.percent, 4),
            "limit": MAX_EARLY_PERCENT,
            "unit": "%",
            "reason": EARLY_REPLIES,
        }
        for one in early
        if one.percent > MAX_EARLY_PERCENT
        for metric in one.metrics
    ]
    return [*spoilt, *(_entry(one) for one in worst.values())]


def _entry(exactness: MetricUncertainty) -> UncertainMetric:
    """Return an entry of run.json; an uncertainty without a bound is null."""
    bound = exactness.bound_p99
    entry: UncertainMetric = {
        "target": exactness.target,
        "metric": exactness.metric,
        "value": None if bound is None or not math.isfinite(bound) else round(bound, 4),
        "limit": round(exactness.limit, 4),
        "unit": exactness.unit,
    }
    return {**entry, "host": exactness.host} if exactness.host else entry


def _headline(evidence: ValidityData) -> list[MetricUncertainty]:
    return [exactness for exactness in evidence.metrics if exactness.metric in HEADLINE]


def _of_unknown_bounds(evidence: ValidityData) -> list[str]:
    """Return the headline metrics whose uncertainty is unknown."""
    unknown = (one.metric for one in _headline(evidence) if one.bound_p99 is None and one.p50 is not None)
    return list(dict.fromkeys(unknown))


def _timestamp_uncertainty(evidence: ValidityData) -> Check:
    headline = _headline(evidence)
    stamped = (one if one.timestamps_p99 is None else replace(one, bound_p99=one.timestamps_p99) for one in headline)
    known = [metric for metric in stamped if metric.bound_p99 is not None]
    worst = max(known, key=lambda metric: metric.used, default=MetricUncertainty("", "", None, None))
    of_target = f" of {worst.target}" if len({one.target for one in evidence.metrics}) > 1 else ""
    since = (
        f" from {worst.measured_from}"
        if len({one.measured_from for one in known if one.metric == worst.metric}) > 1
        else ""
    )
    figure, absent = worst.bound_p99, "no turn received a first delta"
    if worst.exact and (unknown := _of_unknown_bounds(evidence)):
        figure, absent = None, f"the uncertainty of {', '.join(unknown)} is unknown in more than 1 % of its turns"
    return _check("timestamp_uncertainty", figure, worst.limit,
                 note=f"{worst.metric}{since}{of_target}",
                 absent=absent, remedy=MORE_PROCESSES)  # fmt: skip


def _event_loop_delay(evidence: ValidityData) -> Check:
    waits = [wait.p50 for wait in evidence.metrics if wait.metric in FIRST_DELTAS.values() and wait.p50 is not None]
    fastest = min(waits, default=0.0)
    limit = max(MAX_LOOP_DELAY_MS, MAX_LOOP_DELAY_SHARE * fastest)
    needed = evidence.user_stamps_share is not None and evidence.user_stamps_share > MAX_USER_TIMESTAMPS_SHARE
    return _check("event_loop_delay", evidence.event_loop_delay_p99 if needed else None, limit,
                 note="", absent="not needed: the kernel sets the timestamps", remedy=MORE_PROCESSES)  # fmt: skip


def _send_delay(evidence: ValidityData) -> Check:
    limit = None if evidence.chunk is None else MAX_CHUNK_SHARE * evidence.chunk
    absent = (
        "unknown: the run was killed before its first counts were saved"
        if evidence.paced_audio
        else "no paced audio was sent"
    )
    return _check("send_delay", evidence.send_delay_p99 if limit else None, limit,
                 note="a tenth of a chunk", absent=absent, remedy=MORE_PROCESSES)  # fmt: skip


def _start_delay(evidence: ValidityData) -> Check:
    limit = max(MAX_START_DELAY_MS, MAX_START_DELAY_SHARE * (evidence.service_time_p50 or 0.0))
    figure = evidence.start_delay_p99
    return _check("start_delay", figure, None if figure is None else limit,
                 note="open-loop arrivals", absent="closed loop: a session starts when its user is free",
                 remedy=MORE_PROCESSES)  # fmt: skip


LOAD_GENERATOR_CHECKS: Mapping[CheckName, Callable[[ValidityData], Check]] = {
    "timestamp_uncertainty": _timestamp_uncertainty,
    "event_loop_delay": _event_loop_delay,
    "send_delay": _send_delay,
    "start_delay": _start_delay,
}


def _check(name: CheckName, value: float | None, limit: float | None, *, note: str, absent: str, remedy: str) -> Check:
    if value is None or limit is None or math.isnan(value):
        return Check(name, None, None, "not_evaluated", absent, remedy)
    result: Literal["pass", "fail"] = "pass" if value <= limit else "fail"
    return Check(name, round(value, 4), round(limit, 4), result, note, remedy)
