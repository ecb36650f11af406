"""The validity checks and their limits. They detect runs in which the load generator was the
bottleneck.

One check is about the agent: in calls with RTP, its packets determine how certain the start of a
reply is.

A run without any measured turn has no verdict.
"""

# A check compares one value of the run with one limit. The verdict follows from the checks: one
# that fails makes the run invalid. A run whose most important value has no known uncertainty, or
# that measured nothing, has no verdict, because finding no fault is no proof. Otherwise the run is
# valid.
#
# Uncertain metrics are another matter: they make one metric of one target unusable, and not the
# run.

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from msgspec import structs

from bench.catalogue.metrics import (
    CATALOGUE,
    FIRST_DELTAS,
    HEADLINE,
    OF_TRANSCRIPTS,
    TRANSCRIPT_METRICS,
)
from bench.catalogue.outcomes import STARVED
from bench.record.document import Check, CheckName, UncertainMetric, Validity
from bench.record.histograms import SPEECH_END
from bench.record.rtp_streams import RtpStreams

MAX_UNCERTAINTY_MS = 1.0
MAX_UNCERTAINTY_SHARE = 0.01
"""The limits of the p99 of `timestamp_uncertainty`, of which the larger applies: in ms, and as a
share of the median.

The check is made separately for each target, each metric, and each instant from which the metric is
measured.
"""
MAX_LOOP_DELAY_MS = 5.0
MAX_LOOP_DELAY_SHARE = 0.05
MAX_USER_TIMESTAMPS_SHARE = 0.01
"""The limits of the p99 of `event_loop_delay`, of which the larger applies: in ms, and as a share
of the lowest median latency of a first delta. The check is made if more than this share of the
timestamps come from user space.
"""
MAX_CHUNK_SHARE = 0.5
"""A limit of the p99 of `send_delay`, as a share of the duration of a chunk.

A jitter buffer holds at least one chunk, and the network path needs the other half of it. Audio
that is sent late also delays replies, so the limit of each headline metric that is measured from
the end of speech applies, too. The smallest of these limits decides. docs/accuracy.md has the
derivation.
"""
MAX_START_DELAY_MS = 5.0
MAX_START_DELAY_SHARE = 0.05
"""The limits of the p99 of `start_delay`, of which the larger applies: in ms, and as a share of
the service time."""
MAX_PREVENTED_PERCENT = 1.0
"""The limit of `own_limits`: the maximum share of calls or turns that a limit of this machine
prevented."""
MAX_DROPPED_PERCENT = 1.0
"""The limit of `dropped_packets`: the maximum share of calls of which the kernel of this machine
dropped packets.

A socket holds the packets of more than a second, so a single dropped packet shows that the process
stood still.
"""
MAX_MISSING_PERCENT = 1.0
"""The limit of `missing_data`: the maximum share of turns whose end is unknown (`missing_share`,
`starved_share`)."""

MAX_EARLY_PERCENT = 1.0
"""The maximum percentage of replies that start before their question ends.

If certainly more replies start early, a latency may have been measured with the reply to another
question.
"""
EARLY_REPLIES: Final = "early_replies"
Z = 1.959964
"""The quantile of the normal distribution at 97.5 %."""

MERGE_MISSING = "merge the missing data when it is available, or repeat the run"
MORE_PROCESSES = "lower the load, free a core of the machine, or use more --processes"


@dataclass(frozen=True)
class MetricUncertainty:
    """The uncertainty of one metric of one target: its p99, and the metric's median, in its unit;
    None if unknown.

    The limit depends on the median. Targets are not pooled, because a slow one would raise the
    limit of a fast one.
    """

    target: str
    metric: str
    bound_p99: float | None
    p50: float | None
    unit: str = "ms"
    host: str = ""
    """The host that recorded these rows; empty for the rows of all hosts together."""
    timestamps_p99: float | None = None
    """The p99 that comes only from timestamps, if `bound_p99` includes the detection of a start
    in the audio."""
    measured_from: str = ""
    """The instant of MEASURED_FROM from which latency is measured; empty if the metric has only
    one."""
    sends_p99: float | None = None
    """The p99 that comes only from the metric's start; None if it is unknown."""

    @property
    def limit(self) -> float:
        """The largest permitted uncertainty: 1 % of the median, but at least 1 ms if the metric
        is a time.
        """
        return max(
            MAX_UNCERTAINTY_MS if self.unit != "×" else 0.0,
            MAX_UNCERTAINTY_SHARE * abs(self.p50 or 0.0),
        )

    @property
    def used(self) -> float:
        return math.inf if not self.limit else (self.bound_p99 or 0.0) / self.limit

    @property
    def exact(self) -> bool:
        """True if the uncertainty is within its limit, or unknown."""
        return self.bound_p99 is None or self.bound_p99 <= self.limit


@dataclass(frozen=True)
class EarlyReplies:
    """The number of a target's replies that started before their question had ended, of all
    `replies`; the number of calls with such a reply, of all `calls`; and the affected metrics.
    """

    target: str
    early: int
    replies: int
    early_calls: int
    calls: int
    metrics: tuple[str, ...]

    @property
    def percent(self) -> float:
        return 100 * self.early / self.replies

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the percentage (Newcombe 1998, Statistics in Medicine 17:857,
        method 4). It assumes that replies are independent.
        """
        n, p = self.replies, self.early / self.replies
        square = Z * Z
        low, high = (
            (2 * n * p + square + sign)
            + sign * Z * math.sqrt(square + 2 * sign - 1 / n + 4 * p * (n * (1 - p) - sign))
            for sign in (-1, 1)
        )
        scale = 100 / (2 * (n + square))
        return max(0.0, low * scale), 100.0 if self.early == n else min(100.0, high * scale)

    @property
    def is_certain(self) -> bool:
        """True if the percentage is known to be above its limit."""
        return self.interval[0] > MAX_EARLY_PERCENT


@dataclass(frozen=True)
class ValidityData:
    """The data that the validity checks evaluate. Times are in ms; a value is None if there is no
    data for it.

    `metrics` has the uncertainties of each target's metrics in the measured phase.
    `user_stamps_share` is the share of turns with a timestamp that did not come from the kernel.
    `chunk` is the duration of the shortest paced chunk. `paced_audio` is true if any paced chunk
    was sent. `start_delay_p99` and `service_time_p50` are computed only from calls that arrived.
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
    """The host whose processes and rows these are; empty for all hosts together."""
    missing_share: float | None = None
    """The maximum share of turns that are missing, because parts were not merged or workers are
    missing.

    It is None if nothing is missing, and NaN if the number of missing turns is unknown.
    """
    starved_share: float = 0.0
    """The share of measured turns without a known outcome, because their process did not run
    when a timeout ended."""
    prevented_share: float = 0.0
    """The share of measured sessions, or of measured turns if it is larger, that a limit of this
    machine prevented."""
    prevented_remedy: str = ""
    """What to do about the most frequent one of these limits."""
    dropped_share: float = 0.0
    """The share of measured calls of which this machine dropped packets, because they were not
    read in time."""
    busy_reason: str = ""
    """The programs that used many of the machine's cores, and what to do about them; empty if
    none, or unknown."""
    failed: tuple[Check, ...] = ()
    """The failed checks of the runs from which this run was merged."""
    streams: Mapping[str, RtpStreams] = field(default_factory=dict)
    """The RTP streams of each target whose calls have RTP."""
    early: tuple[EarlyReplies, ...] = ()
    """The targets that have replies that started before their question had ended."""
    refused: str = ""
    """A problem that the user has to correct first, such as a worker of another version; empty
    if there is none."""


def evaluate_checks(pooled: ValidityData, *hosts: ValidityData) -> Validity:
    """Evaluate a run. `pooled` is the data of the whole run. `hosts` is the data of each host, if
    there are several.

    A check passes only if it passes for the whole run, for every host, and for every part. So a
    host with a large uncertainty cannot be hidden by the data of the other hosts.
    """
    strata = (pooled, *hosts)
    checks = [_worst(of_check) for of_check in zip(*map(_checks, strata), strict=True)]
    checks = [
        _worst([check, *(other for other in pooled.failed if other.name == check.name)])
        for check in checks
    ]
    checks = [
        check for check in checks if check.name != "rtp_stream" or check.result != "not_evaluated"
    ]
    checks = [*_own_limits(pooled), *checks, *_dropped_packets(pooled), *_missing_data(pooled)]
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
        uncertain_metrics(
            (metric for stratum in strata for metric in stratum.metrics), pooled.early
        ),
    )


def _checks(evidence: ValidityData) -> list[Check]:
    checks = [check(evidence) for check in LOAD_GENERATOR_CHECKS.values()]
    if evidence.busy_reason:  # a lower load would not help
        checks = [structs.replace(check, remedy=evidence.busy_reason) for check in checks]
    checks.insert(1, _rtp_stream(evidence))
    if evidence.host:
        host = f"on {evidence.host}"
        checks = [
            structs.replace(check, note=", ".join(filter(None, (check.note, host))))
            for check in checks
        ]
    return checks


def _worst(checks: Sequence[Check]) -> Check:
    """Return the check that failed, or else an evaluated one: the one with the largest share of
    its limit.
    """
    return max(
        checks,
        key=lambda check: (check.result == "fail", check.result != "not_evaluated", check.used),
    )


def _own_limits(evidence: ValidityData) -> list[Check]:
    """Return a list with the `own_limits` check; an empty list if no limit of this machine
    prevented a call.
    """
    if not evidence.prevented_share:
        return []
    percent = round(100 * evidence.prevented_share, 4)
    result: Literal["pass", "fail"] = "pass" if percent <= MAX_PREVENTED_PERCENT else "fail"
    note = "this machine could not make them, so they are no failures of the service"
    return [
        Check(
            "own_limits",
            percent,
            MAX_PREVENTED_PERCENT,
            result,
            note,
            evidence.prevented_remedy,
            "%",
        )
    ]


def _dropped_packets(evidence: ValidityData) -> list[Check]:
    """Return a list with the `dropped_packets` check; an empty list if this machine dropped no
    packets of a call.
    """
    if not evidence.dropped_share:
        return []
    percent = round(100 * evidence.dropped_share, 4)
    result: Literal["pass", "fail"] = "pass" if percent <= MAX_DROPPED_PERCENT else "fail"
    note = "this machine dropped packets of them, which are not in rtp_loss"
    remedy = evidence.busy_reason or MORE_PROCESSES
    return [Check("dropped_packets", percent, MAX_DROPPED_PERCENT, result, note, remedy, "%")]


def _missing_data(evidence: ValidityData) -> list[Check]:
    """Return a list with the `missing_data` check; an empty list if the end of each turn is
    known.
    """
    missing = evidence.missing_share
    starved = evidence.starved_share
    if missing is None and not starved:
        return []
    share = (missing or 0.0) + starved
    known = not math.isnan(share)
    merge_remedy = f"{evidence.refused}; then repeat the run" if evidence.refused else MERGE_MISSING
    remedies = [
        *([merge_remedy] if missing is not None else []),
        *([MORE_PROCESSES] if starved else []),
    ]
    turns_note = (
        "of all turns (upper bound)" if missing is not None else f"of the turns ended as {STARVED}"
    )
    result: Literal["pass", "fail"] = (
        "pass" if known and 100 * share <= MAX_MISSING_PERCENT else "fail"
    )
    note = turns_note if known else "the missing share is unknown"
    percent = round(100 * share, 4) if known else None
    return [
        Check("missing_data", percent, MAX_MISSING_PERCENT, result, note, "; ".join(remedies), "%")
    ]


def uncertain_metrics(
    metrics: Iterable[MetricUncertainty], early: Iterable[EarlyReplies]
) -> list[UncertainMetric]:
    """Return the uncertain metrics of each target and host.

    A metric is uncertain if its largest uncertainty is above its limit, or if certainly too many
    replies began early.
    """
    worst: dict[tuple[str, str, str], MetricUncertainty] = {}
    for uncertainty in metrics:
        key = (uncertainty.host, uncertainty.target, uncertainty.metric)
        if not uncertainty.exact and (key not in worst or uncertainty.used > worst[key].used):
            worst[key] = uncertainty
    entries = [
        UncertainMetric(
            replies.target,
            metric,
            round(replies.percent, 4),
            MAX_EARLY_PERCENT,
            "%",
            reason=EARLY_REPLIES,
        )
        for replies in early
        if replies.is_certain
        for metric in replies.metrics
    ]
    for (host, target, name), uncertainty in worst.items():
        bound = uncertainty.bound_p99
        value = None if bound is None or not math.isfinite(bound) else round(bound, 4)
        limit = round(uncertainty.limit, 4)
        entries.append(UncertainMetric(target, name, value, limit, uncertainty.unit, host or None))
    return entries


def _headline(evidence: ValidityData) -> list[MetricUncertainty]:
    """Return the uncertainties of the headline metrics; if no turn has a reply with them, of
    metrics of transcripts.

    If sessions have only greetings, return those of `connect_total`. The uncertainty of a greeting
    is not a property of the load generator alone: by telephone, it includes the jitter of the first
    packets.
    """
    has_greetings = any(uncertainty.metric == "greeting" for uncertainty in evidence.metrics)
    names = (HEADLINE, *OF_TRANSCRIPTS, ("connect_total",) if has_greetings else ())
    found = (
        [uncertainty for uncertainty in evidence.metrics if uncertainty.metric in among]
        for among in names
    )
    return next(filter(None, found), [])


def _of_unknown_bounds(evidence: ValidityData) -> list[str]:
    """Return the headline metrics that have values but whose uncertainty is unknown."""
    unknown = (
        uncertainty.metric
        for uncertainty in _headline(evidence)
        if uncertainty.bound_p99 is None and uncertainty.p50 is not None
    )
    return list(dict.fromkeys(unknown))


def _timestamp_uncertainty(evidence: ValidityData) -> Check:
    """Return the check of the timestamps. Those of arrivals in calls with RTP depend on the
    agent (`_rtp_stream`).
    """
    uncertainties = [
        (
            replace(uncertainty, bound_p99=uncertainty.sends_p99)
            if uncertainty.target in evidence.streams
            else uncertainty
        )
        for uncertainty in _of_timestamps(evidence)
    ]
    return _worst_uncertainty("timestamp_uncertainty", evidence, uncertainties)[0]


def _rtp_stream(evidence: ValidityData) -> Check:
    """Return the check of the agents' RTP. It is not evaluated if no call has RTP, or if
    timestamps are not exact.
    """
    of_rtp = [
        uncertainty
        for uncertainty in _of_timestamps(evidence)
        if uncertainty.target in evidence.streams
    ]
    check, worst = _worst_uncertainty("rtp_stream", evidence, of_rtp)
    if check.value is None:
        return check
    streams = evidence.streams[worst.target]
    return structs.replace(
        check, note=f"{check.note}: {streams.property_text}", remedy=streams.remedy
    )


def _of_timestamps(evidence: ValidityData) -> list[MetricUncertainty]:
    """Return the uncertainties of the headline metrics, without the detection of sound."""
    return [
        (
            uncertainty
            if uncertainty.timestamps_p99 is None
            else replace(uncertainty, bound_p99=uncertainty.timestamps_p99)
        )
        for uncertainty in _headline(evidence)
    ]


def _worst_uncertainty(
    name: CheckName, evidence: ValidityData, uncertainties: Sequence[MetricUncertainty]
) -> tuple[Check, MetricUncertainty]:
    """Return the check of the uncertainty that uses most of its limit, and that uncertainty."""
    known = [metric for metric in uncertainties if metric.bound_p99 is not None]
    worst = max(
        known, key=lambda metric: metric.used, default=MetricUncertainty("", "", None, None)
    )
    target_text = (
        f" of {worst.target}"
        if len({uncertainty.target for uncertainty in evidence.metrics}) > 1
        else ""
    )
    from_text = (
        f" from {worst.measured_from}"
        if len(
            {
                uncertainty.measured_from
                for uncertainty in known
                if uncertainty.metric == worst.metric
            }
        )
        > 1
        else ""
    )
    value = worst.bound_p99
    absent = "no turn had a latency"
    if worst.exact and (unknown := _of_unknown_bounds(evidence)):
        value = None
        absent = f"the uncertainty of {', '.join(unknown)} is unknown in more than 1 % of its turns"
    return (
        _check(name, value, worst.limit, f"{worst.metric}{from_text}{target_text}", absent),
        worst,
    )


def _event_loop_delay(evidence: ValidityData) -> Check:
    names = {metric.metric for metric in _headline(evidence)}
    waits = names & {*FIRST_DELTAS.values(), *TRANSCRIPT_METRICS}
    medians = [
        metric.p50
        for metric in evidence.metrics
        if metric.metric in waits and metric.p50 is not None
    ]
    fastest = min(medians, default=0.0)
    limit = max(MAX_LOOP_DELAY_MS, MAX_LOOP_DELAY_SHARE * fastest)
    is_needed = (
        evidence.user_stamps_share is not None
        and evidence.user_stamps_share > MAX_USER_TIMESTAMPS_SHARE
    )
    delay = evidence.event_loop_delay_p99 if is_needed else None
    return _check(
        "event_loop_delay", delay, limit, "", "not needed: the kernel sets the timestamps"
    )


def _send_delay(evidence: ValidityData) -> Check:
    limit = None
    note = ""
    if evidence.chunk is not None:
        of_values = (
            (uncertainty.limit, f"the limit of {uncertainty.metric}")
            for uncertainty in _headline(evidence)
            if uncertainty.p50 is not None
            and SPEECH_END in (uncertainty.measured_from, CATALOGUE[uncertainty.metric].begin)
        )
        limit, note = min([(MAX_CHUNK_SHARE * evidence.chunk, "half a chunk"), *of_values])
    absent = (
        "unknown: the run was killed before its first counts were saved"
        if evidence.paced_audio
        else "no paced audio was sent"
    )
    return _check("send_delay", evidence.send_delay_p99, limit, note, absent)


def _start_delay(evidence: ValidityData) -> Check:
    limit = max(MAX_START_DELAY_MS, MAX_START_DELAY_SHARE * (evidence.service_time_p50 or 0.0))
    absent = "closed loop: a session starts when its user is free"
    return _check("start_delay", evidence.start_delay_p99, limit, "open-loop arrivals", absent)


def over_text(check: Check) -> str:
    """Return the name, value and limit of a failed check, such as `send_delay 14 ms > 10 ms` or
    `missing_data unknown, limit 1 %`, with three digits; from 1,000 on, as whole numbers.
    """
    value, limit = (
        "unknown"
        if number is None
        else f"{number:.3g} {check.unit}"
        if number < 999.5
        else f"{number:,.0f} {check.unit}"
        for number in (check.value, check.limit)
    )
    than = ", limit" if check.value is None else " >"
    return f"{check.name} {value}{than} {limit}"


LOAD_GENERATOR_CHECKS: Mapping[CheckName, Callable[[ValidityData], Check]] = {
    "timestamp_uncertainty": _timestamp_uncertainty,
    "event_loop_delay": _event_loop_delay,
    "send_delay": _send_delay,
    "start_delay": _start_delay,
}


def _check(
    name: CheckName, value: float | None, limit: float | None, note: str, absent: str
) -> Check:
    """Return a check of the load generator. `absent` is the note if there is no value or no
    limit.
    """
    if value is None or limit is None or math.isnan(value):
        return Check(name, None, None, "not_evaluated", absent, MORE_PROCESSES)
    result: Literal["pass", "fail"] = "pass" if value <= limit else "fail"
    return Check(name, round(value, 4), round(limit, 4), result, note, MORE_PROCESSES)
