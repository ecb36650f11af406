"""The progress of all processes of a run together, for live views. The results of a run are
computed from its rows.
"""

# Each report of a process replaces the one before, because counts are totals since its start. Only
# the times of turns are new in each report, and go into histograms. So a lost report costs live
# latencies, and never a count. Failed turns have no time. They rank above all times, as in results:
# a quantile that falls among them is infinite.
#
# The verdict is that of the real checks (`record.validity`), with the values known now. It can
# differ from the final one, but it cannot have other rules.

import math
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from bench.base.units import NS_PER_S, US_PER_MS
from bench.catalogue.metrics import (
    CAN_DECIDE,
    CATALOGUE,
    MEASURED_FROM,
    MIN_EFFECTIVE_SESSIONS,
    TRANSCRIPT_METRICS,
    WAITS,
    sessions_to_publish,
)
from bench.load.execution.progress import (
    BOUND,
    COUNTS,
    DESIGN,
    TARGET_COUNTS,
    VALUE,
    WAIT,
    LiveMetricKey,
    ProgressReport,
)
from bench.record.document import Check, Validity, ValidityStatus
from bench.record.histograms import SPEECH_END, empty, quantile, record_values
from bench.record.recorder import Traffic
from bench.record.rtp_streams import RtpStreams
from bench.record.validity import MetricUncertainty, ValidityData, evaluate_checks, over_text

OK = "OK"
"""The text about the health of a load generator that is not overloaded."""
LIVE_VALUES = ("ttfa", "ttft", "transcript_first", "voice_to_voice", *TRANSCRIPT_METRICS)
"""The headline metrics for which live views show latency."""
EXPORTED = frozenset(
    LiveMetricKey(WAIT if metric in WAITS else VALUE, metric, measured_from)
    for metric in LIVE_VALUES
    for measured_from in MEASURED_FROM
)
"""The keys of the times that are exported as telemetry. A first delta, which also has the role
`value`, is a `wait`."""
RATE_REPORTS = 6
"""The number of reports of a process from which rates are computed. A process reports once a
second."""
SILENT_NS = 5 * NS_PER_S
"""A duration. If the last report of a process is older than this, the process does not count in
a rate."""


@dataclass(frozen=True)
class LiveLatency:
    """The latency of a target's turns, according to one metric.

    `turns` includes the `failed` turns, which count as infinite latency. A quantile is None if a
    report would not publish it, because there are too few sessions.
    """

    target: str
    metric: str
    measured_from: str
    turns: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None
    lacking: tuple[int, ...] = ()
    """For p50 and p95, the number of sessions that the quantile needs to be shown; 0 if there
    are enough sessions."""

    @property
    def name(self) -> str:
        """The metric's name, such as `ttfa` or `ttfa from end of speech`."""
        return (
            f"{self.metric} from end of speech" if self.measured_from == SPEECH_END else self.metric
        )

    @property
    def started_by(self) -> str:
        """The instant from which latency is measured, as reports call it."""
        spoken = SPEECH_END in (self.measured_from, CATALOGUE[self.metric].begin)
        return "end of speech" if spoken else "request sent"


@dataclass(frozen=True)
class TargetProgress:
    """The progress of one target.

    `rates` are means over the last few seconds, summed over the processes that reported in these.
    `usd` is None if unknown. `health` is a text about the load generator, by this target's values.
    `verdict` is a text about the validity that the run would have if it ended now, by the values of
    all targets.
    """

    target: str
    sessions_open: int
    turns_succeeded: int
    turns_failed: int
    latencies: tuple[LiveLatency, ...]
    rates: Traffic
    usd: float | None
    unpriced: int
    health: str
    verdict: str
    validity: ValidityStatus = "no_verdict"
    simulated: bool = False
    remedy: str = ""


class LiveTotals:
    """The totals of the progress reports of all processes.

    `chunk_ms` is the duration of the shortest paced audio chunk, if any. `labels` are those of the
    targets, in order; `with_rtp` are those of which each call has RTP.
    """

    def __init__(
        self,
        chunk_ms: float | None = None,
        labels: Sequence[str] = (),
        with_rtp: Collection[str] = (),
    ) -> None:
        self._chunk_ms = chunk_ms
        self._labels = list(labels)
        self._with_rtp = with_rtp
        self._reports: dict[int, deque[tuple[int, ProgressReport]]] = {}
        """The last reports of each process, each with the instant at which it arrived. Their
        times are removed."""
        self._times: dict[tuple[str, LiveMetricKey], Any] = {}
        """Histograms of the times of successful turns, by target and key."""

    def add(self, worker: int, report: ProgressReport, arrival_ns: int = 0) -> None:
        """Add the report of a process. `arrival_ns` is the instant at which the report arrived."""
        reports = self._reports.setdefault(worker, deque(maxlen=RATE_REPORTS))
        reports.append((arrival_ns, replace(report, times_us={})))
        for target, steps in report.times_us.items():
            for key, values_us in (of_key for times in steps.values() for of_key in times):
                if (target, key) not in self._times:
                    self._times[target, key] = empty(key.metric)
                values = np.array(values_us, int)
                record_values(self._times[target, key], values[values >= 0])

    def last(self, worker: int) -> ProgressReport | None:
        """Return the last report of a process, without its times; None if the process has not
        reported.
        """
        return self._reports[worker][-1][1] if worker in self._reports else None

    @property
    def _last(self) -> list[ProgressReport]:
        return [reports[-1][1] for reports in self._reports.values()]

    @property
    def total(self) -> ProgressReport:
        """The sum of the last reports of all processes; of delays, the maximum. It contains no
        times.
        """
        reports = self._last
        targets = dict[str, Counter[str]]()
        held_s = dict[str, float]()
        failures: defaultdict[str, Counter[LiveMetricKey | None]] = defaultdict(Counter)
        for report in reports:
            for label, counts in report.targets.items():
                targets.setdefault(label, Counter(dict.fromkeys(TARGET_COUNTS, 0))).update(counts)
            for target, failed in report.failures.items():
                failures[target].update(dict(failed))
            held_s |= {
                label: max(seconds, held_s.get(label, 0.0))
                for label, seconds in report.held_s.items()
            }
        return ProgressReport(
            **{name: sum(getattr(report, name) for report in reports) for name in COUNTS},
            usd=sum((report.usd for report in reports), 0.0),
            kindless_usd=sum((report.kindless_usd for report in reports), 0.0),
            targets={label: dict(counts) for label, counts in targets.items()},
            failures={target: list(counts.items()) for target, counts in failures.items()},
            held_s=held_s,
            waiting_s=max((report.waiting_s for report in reports), default=0.0),
            event_loop_delay_p99_ms=_worst(report.event_loop_delay_p99_ms for report in reports),
            send_delay_p99_ms=_worst(report.send_delay_p99_ms for report in reports),
            simulated=any(report.simulated for report in reports),
        )

    def targets(self, now_ns: int) -> list[TargetProgress]:
        total = self.total
        judged = self._with_verdict()
        failed = next((check for check in judged.checks if check.result == "fail"), None)
        positions = {label: position for position, label in enumerate(self._labels)}
        return [
            TargetProgress(
                label,
                int(counts["sessions_open"]),
                int(counts["turns_succeeded"]),
                int(counts["turns_failed"]),
                tuple(self.values(label)),
                self._rates(label, now_ns),
                None if counts["unpriced"] and not counts["usd"] else counts["usd"],
                int(counts["unpriced"]),
                _health(self._with_verdict(label)),
                # The punctuality of session starts is judged only at the end.
                f"INVALID: {over_text(failed)}" if failed else _NOT_FAILED[judged.status],
                judged.status,
                total.simulated,
                failed.remedy if failed else "",
            )
            for label, counts in sorted(
                total.targets.items(),
                key=lambda item: (positions.get(item[0], len(positions)), item[0]),
            )
        ]

    def _rates(self, label: str, now_ns: int) -> Traffic:
        """Return the events and bytes per second that a target's sessions send and receive."""
        rates: defaultdict[str, float] = defaultdict(float)
        for reports in self._reports.values():
            since_ns, first = reports[0]
            until_ns, last = reports[-1]
            if until_ns == since_ns or now_ns - until_ns > SILENT_NS:
                continue
            before = first.targets.get(label, {})
            after = last.targets.get(label, {})
            for name in Traffic._fields:
                rates[name] += (
                    (after.get(name, 0) - before.get(name, 0)) * NS_PER_S / (until_ns - since_ns)
                )
        return Traffic(**{name: round(rates[name]) for name in Traffic._fields})

    # Latency.

    def values(self, target: str) -> list[LiveLatency]:
        """Return the latencies of a target: one for each metric of LIVE_VALUES and each
        `measured_from`.

        A failed turn counts in the latency of the first delta. It also counts in another metric as
        soon as a successful turn of the same step has a value of this metric.
        """
        succeeded, failed = self._turns()
        keys = [
            [LiveMetricKey(role, metric, measured_from) for role in (WAIT, VALUE)]
            for metric, measured_from in product(LIVE_VALUES, MEASURED_FROM)
        ]
        known = [
            next((key for key in roles if (succeeded + failed)[target, key]), None)
            for roles in keys
        ]
        return [
            self._latency(target, key, succeeded[target, key], failed[target, key])
            for key in known
            if key is not None
        ]

    def latencies(self) -> list[LiveLatency]:
        """Return the latencies of the first delta, by metric and target. The metric with the
        most turns comes first.
        """
        succeeded, failed = self._turns()
        target_keys = [
            target_key for target_key in succeeded + failed if target_key[1].role == WAIT
        ]
        turns: Counter[LiveMetricKey] = Counter()
        for target_key in target_keys:
            turns[target_key[1]] += succeeded[target_key] + failed[target_key]
        target_keys.sort(
            key=lambda target_key: (-turns[target_key[1]], target_key[1], target_key[0])
        )
        return [
            self._latency(*target_key, succeeded[target_key], failed[target_key])
            for target_key in target_keys
        ]

    def _turns(
        self,
    ) -> tuple[Counter[tuple[str, LiveMetricKey]], Counter[tuple[str, LiveMetricKey]]]:
        """Return the numbers of successful turns and of failed turns, both by target and key.

        If a failed turn has no key, it is counted with the key of the first delta that most
        successful turns have.
        """
        succeeded = Counter(
            {target_key: int(times.get_total_count()) for target_key, times in self._times.items()}
        )
        waited: Counter[LiveMetricKey] = Counter()
        for (_, waited_for), count in succeeded.items():
            if waited_for.role == WAIT and count:
                waited[waited_for] += count
        usual = min(waited, key=lambda key: (-waited[key], key), default=None)
        failed: Counter[tuple[str, LiveMetricKey]] = Counter()
        for target, counts in self.total.failures.items():
            for known_key, turns in counts:
                if (key := known_key or usual) is not None:
                    failed[target, key] += turns
        return succeeded, failed

    def _latency(self, target: str, key: LiveMetricKey, succeeded: int, failed: int) -> LiveLatency:
        turns = succeeded + failed
        lacking = []
        quantiles_ms = []
        for p in (0.5, 0.95):
            lacking.append(self._lacking(target, p, turns))
            # the rank among all turns; failed turns rank last and are not among the times
            within = math.ceil(p * turns - 1e-9)
            value_ms = (
                self._quantile_ms(target, key, within / succeeded) if within <= succeeded else None
            )
            quantiles_ms.append(None if lacking[-1] else math.inf if value_ms is None else value_ms)
        p50_ms, p95_ms = quantiles_ms
        return LiveLatency(
            target, key.metric, key.measured_from, turns, failed, p50_ms, p95_ms, tuple(lacking)
        )

    def _quantile_ms(self, target: str, key: LiveMetricKey, p: float) -> float | None:
        times = self._times.get((target, key))
        value_us = None if times is None else quantile(times, p)
        return None if value_us is None else value_us / US_PER_MS

    def _lacking(self, target: str, p: float, turns: int) -> int:
        """Return the number of sessions that a quantile needs to be published, as in a report; 0 if
        there are enough.

        `turns` have the metric. Sessions count by the same share, which is never more than those
        with such turns.
        """
        target_counts = [report.targets.get(target, {}) for report in self._last]
        sessions, measured, squares = (
            sum(counts.get(name, 0) for counts in target_counts) for name in DESIGN
        )
        if not (sessions and squares and turns):
            return MIN_EFFECTIVE_SESSIONS
        share = min(1.0, turns / measured)
        needs = sessions_to_publish(p, turns, sessions * share, measured**2 / squares * share)
        return needs if sessions * share < needs else 0

    # The verdict of the run if it ended now.

    def health(self, *, brief: bool = False) -> str:
        """Return `OK`, or a text about the overload or the delay of the load generator; "" if there
        is no data yet.

        Uncertain timestamps are a delay: a process that reads late causes them, even if it uses
        little CPU time. If `brief` is True, the text does not contain the failed check.
        """
        return _health(self._with_verdict(), brief=brief)

    def overload_text(self) -> str:
        """Return why the load generator is overloaded, as in `send_delay 14.2 ms > 10 ms`; "" if
        it is not.
        """
        failed = _first_own_failure(self._with_verdict())
        return over_text(failed) if failed else ""

    def _with_verdict(self, target: str | None = None) -> Validity:
        """Return the validity that the run would have if it ended now, by the values of a
        target, or of all targets.
        """
        total = self.total
        metrics = []
        for label in sorted({label for label, _ in self._times} if target is None else {target}):
            for name, measured_from in product(CAN_DECIDE, MEASURED_FROM):
                bound_ms = self._quantile_ms(label, LiveMetricKey(BOUND, name, measured_from), 0.99)
                p50_ms = self._quantile_ms(label, LiveMetricKey(VALUE, name, measured_from), 0.5)
                if bound_ms is not None:
                    metrics.append(
                        MetricUncertainty(
                            label, name, bound_ms, p50_ms, measured_from=measured_from
                        )
                    )
        validity_data = ValidityData(
            metrics=tuple(metrics),
            user_stamps_share=(
                total.turns_user_stamped / total.turns_stamped if total.turns_stamped else None
            ),
            event_loop_delay_p99=total.event_loop_delay_p99_ms,
            send_delay_p99=total.send_delay_p99_ms,
            chunk=self._chunk_ms,
            paced_audio=total.send_delay_p99_ms is not None,
            streams=dict.fromkeys(self._with_rtp, RtpStreams()),
        )
        return evaluate_checks(validity_data)


_NOT_FAILED: dict[ValidityStatus, str] = {
    "valid": "VALID so far",
    "no_verdict": "NO VERDICT yet",
    "invalid": "NO VERDICT yet",
}


def _health(validity: Validity, *, brief: bool = False) -> str:
    if failed := _first_own_failure(validity):
        problem = "delayed" if failed.name == "timestamp_uncertainty" else "overloaded"
        return problem if brief else f"{problem}: {over_text(failed)}"
    return OK if any(check.result == "pass" for check in validity.checks) else ""


def _first_own_failure(validity: Validity) -> Check | None:
    """Return the first failed check of the load generator. An agent's RTP is no property of it."""
    return next(
        (
            check
            for check in validity.checks
            if check.result == "fail" and check.name != "rtp_stream"
        ),
        None,
    )


def _worst(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
