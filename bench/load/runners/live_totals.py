"""The progress of all processes of a run together, for live views. The results of a run come from its rows instead."""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

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
from bench.metrics import (
    CATALOGUE,
    HEADLINE,
    MEASURED_FROM,
    MIN_EFFECTIVE_SESSIONS,
    TRANSCRIPT_METRICS,
    WAITS,
    sessions_to_publish,
)
from bench.run.document import Check, Validity, ValidityStatus
from bench.run.histograms import SPEECH_END, empty, quantile, record_values
from bench.run.recorder import Traffic
from bench.run.validity import MetricUncertainty, ValidityData, evaluate_checks
from bench.units import NS_PER_S, US_PER_MS

OK = "OK"
"""The health of a load generator that keeps up."""
LIVE_VALUES = ("ttfa", "ttft", "transcript_first", "voice_to_voice", *TRANSCRIPT_METRICS)
"""The headline metrics that live views show."""
EXPORTED = frozenset(
    LiveMetricKey(WAIT if metric in WAITS else VALUE, metric, measured_from)
    for metric in LIVE_VALUES
    for measured_from in MEASURED_FROM
)
"""The keys of LIVE_VALUES that telemetry exports. The latency of a first delta is exported with the role `wait`, and
not
again with the role `value`.
"""
RATE_REPORTS = 6
"""The number of reports over which rates are computed. Reports come once a second."""
SILENT_NS = 5 * NS_PER_S
"""A process whose last report is older than this adds nothing to a rate."""


@dataclass(frozen=True)
class LiveLatency:
    """The latency of a target's turns, by one metric.

    `turns` includes the `failed` turns. A failed turn has infinite latency, so a quantile among them is infinite. A
    quantile is None if a report would not publish it, because there are too few sessions.
    """

    target: str
    metric: str
    measured_from: str
    turns: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None
    lacking: tuple[int, ...] = ()
    """The number of sessions that p50 and p95 need before they are shown; 0 if there are enough."""

    @property
    def name(self) -> str:
        """The metric's name, such as `ttfa` or `ttfa from end of speech`."""
        return f"{self.metric} from end of speech" if self.measured_from == SPEECH_END else self.metric

    @property
    def started_by(self) -> str:
        """The instant from which latency is measured, in the wording of a report."""
        spoken = SPEECH_END in (self.measured_from, CATALOGUE[self.metric].begin)
        return "end of speech" if spoken else "request sent"


@dataclass(frozen=True)
class TargetProgress:
    """The progress of one target. Rates are averages over the last seconds, summed over all processes that reported in
    them.

    `latencies`: the latency by each of LIVE_VALUES and `measured_from`. `usd`: None if no cost is known. `health`: the
    health of the load generator, judged by this target's values. `verdict`: the verdict on all targets together if the
    run ended now.
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
    """The sum of the progress reports of all processes.

    `chunk_ms`: the duration of the shortest audio chunk, None if no audio is paced. `labels`: the labels of the
    targets, in the order of the run.
    """

    def __init__(self, chunk_ms: float | None = None, labels: Sequence[str] = ()) -> None:
        self._chunk_ms, self._labels = chunk_ms, list(labels)
        self._reports: dict[int, deque[tuple[int, ProgressReport]]] = {}
        """The last reports of each process, without their times, and the instants of their arrival."""
        self._times: dict[tuple[str, LiveMetricKey], Any] = {}
        """Histograms of the times of turns that did not fail, by target and key."""

    def add(self, worker: int, standing: ProgressReport, heard_ns: int = 0) -> None:
        """Add a process's report. `heard_ns`: when it arrived."""
        heard = self._reports.setdefault(worker, deque(maxlen=RATE_REPORTS))
        heard.append((heard_ns, replace(standing, times_us={})))
        for arm, steps in standing.times_us.items():
            for key, values_us in (of_key for times in steps.values() for of_key in times):
                if (arm, key) not in self._times:
                    self._times[arm, key] = empty(key.metric)
                values = np.array(values_us, dtype=np.int64)
                record_values(self._times[arm, key], values[values >= 0])

    def last(self, worker: int) -> ProgressReport | None:
        """Return a process's last report, without its times; None if there is none."""
        return self._reports[worker][-1][1] if worker in self._reports else None

    @property
    def _last(self) -> list[ProgressReport]:
        return [heard[-1][1] for heard in self._reports.values()]

    @property
    def total(self) -> ProgressReport:
        """The sum of the last reports of all processes, without times."""
        every, targets = self._last, dict[str, Counter[str]]()
        failures: defaultdict[str, Counter[LiveMetricKey | None]] = defaultdict(Counter)
        for standing in every:
            for label, counts in standing.targets.items():
                targets.setdefault(label, Counter(dict.fromkeys(TARGET_COUNTS, 0))).update(counts)
            for arm, failed in standing.failures.items():
                failures[arm].update(dict(failed))
        return ProgressReport(
            **{name: sum(getattr(standing, name) for standing in every) for name in COUNTS},
            usd=sum((standing.usd for standing in every), 0.0),
            targets={label: dict(counts) for label, counts in targets.items()},
            failures={arm: list(counts.items()) for arm, counts in failures.items()},
            waiting_s=max((standing.waiting_s for standing in every), default=0.0),
            event_loop_delay_p99_ms=_worst(standing.event_loop_delay_p99_ms for standing in every),
            send_delay_p99_ms=_worst(standing.send_delay_p99_ms for standing in every),
            simulated=any(standing.simulated for standing in every),
        )

    def targets(self, now_ns: int) -> list[TargetProgress]:
        total, judged = self.total, self._with_verdict()
        failed = _first_failed(judged)
        places = {label: place for place, label in enumerate(self._labels)}
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
                f"INVALID: {_over(failed)}" if failed else _NOT_FAILED[judged.status],
                judged.status,
                total.simulated,
                failed.remedy if failed else "",
            )
            for label, counts in sorted(total.targets.items(), key=lambda of: (places.get(of[0], len(places)), of[0]))
        ]

    def _rates(self, label: str, now_ns: int) -> Traffic:
        """Return the traffic on the wire, per second."""
        rates: defaultdict[str, float] = defaultdict(float)
        for heard in self._reports.values():
            (since_ns, first), (until_ns, last) = heard[0], heard[-1]
            if until_ns == since_ns or now_ns - until_ns > SILENT_NS:
                continue
            before, after = first.targets.get(label, {}), last.targets.get(label, {})
            for name in Traffic._fields:
                rates[name] += (after.get(name, 0) - before.get(name, 0)) * NS_PER_S / (until_ns - since_ns)
        return Traffic(**{name: round(rates[name]) for name in Traffic._fields})

    # Latency.

    def values(self, arm: str) -> list[LiveLatency]:
        """Return the latency of a target, by each of LIVE_VALUES and `measured_from`.

        Until a turn of a step has had a value of a metric, the step's failed turns count only in its first-delta
        latency.
        """
        good, failed = self._turns()
        keys = [
            [LiveMetricKey(role, metric, measured_from) for role in (WAIT, VALUE)]
            for metric, measured_from in product(LIVE_VALUES, MEASURED_FROM)
        ]
        known = [next((key for key in roles if (good + failed)[arm, key]), None) for roles in keys]
        return [self._latency(arm, key, good[arm, key], failed[arm, key]) for key in known if key is not None]

    def latencies(self) -> list[LiveLatency]:
        """Return the latencies of the first delta. The metric with the most turns comes first; within a metric, they
        are sorted
        by target.
        """
        good, failed = self._turns()
        places = [place for place in good + failed if place[1].role == WAIT]
        turns: Counter[LiveMetricKey] = Counter()
        for place in places:
            turns[place[1]] += good[place] + failed[place]
        places.sort(key=lambda place: (-turns[place[1]], place[1], place[0]))
        return [self._latency(*place, good[place], failed[place]) for place in places]

    def _turns(self) -> tuple[Counter[tuple[str, LiveMetricKey]], Counter[tuple[str, LiveMetricKey]]]:
        """Return the numbers of successful and of failed turns, by target and key.

        A failed turn without a key counts with the first delta of most turns.
        """
        good = Counter({place: int(times.get_total_count()) for place, times in self._times.items()})
        waited: Counter[LiveMetricKey] = Counter()
        for (_, waited_for), count in good.items():
            if waited_for.role == WAIT and count:
                waited[waited_for] += count
        usual = min(waited, key=lambda key: (-waited[key], key), default=None)
        failed: Counter[tuple[str, LiveMetricKey]] = Counter()
        for arm, counts in self.total.failures.items():
            for told, turns in counts:
                if (key := told or usual) is not None:
                    failed[arm, key] += turns
        return good, failed

    def _latency(self, arm: str, key: LiveMetricKey, good: int, failed: int) -> LiveLatency:
        turns, lacking, quantiles_ms = good + failed, [], []
        for p in (0.5, 0.95):
            lacking.append(self._lacking(arm, p, turns))
            # the rank among all turns; failed turns rank last and are not among the times
            within = math.ceil(p * turns - 1e-9)
            value_ms = self._quantile_ms(arm, key, within / good) if within <= good else None
            quantiles_ms.append(None if lacking[-1] else math.inf if value_ms is None else value_ms)
        p50_ms, p95_ms = quantiles_ms
        return LiveLatency(arm, key.metric, key.measured_from, turns, failed, p50_ms, p95_ms, tuple(lacking))

    def _quantile_ms(self, arm: str, key: LiveMetricKey, p: float) -> float | None:
        times = self._times.get((arm, key))
        value_us = None if times is None else quantile(times, p)
        return None if value_us is None else value_us / US_PER_MS

    def _lacking(self, arm: str, p: float, turns: int) -> int:
        """Return the number of sessions that a quantile of `turns` turns needs, as in a report; 0 if there are enough.

        If only a share of a target's turns is of this kind, the same share of its sessions counts. That is never more
        than the number of sessions with such turns.
        """
        of_arm = [standing.targets.get(arm, {}) for standing in self._last]
        sessions, measured, squares = (sum(counts.get(name, 0) for counts in of_arm) for name in DESIGN)
        if not (sessions and squares and turns):
            return MIN_EFFECTIVE_SESSIONS
        share = min(1.0, turns / measured)
        needs = sessions_to_publish(p, turns, sessions * share, measured**2 / squares * share)
        return needs if sessions * share < needs else 0

    # The verdict of the run if it ended now.

    def health(self) -> str:
        """Return OK, or why the load generator is overloaded; empty if there is no data to judge yet."""
        return _health(self._with_verdict())

    def overload_text(self) -> str:
        """Return why the load generator is overloaded now, as `send_delay 14.2 ms > 10 ms`; empty if it keeps up."""
        failed = _first_failed(self._with_verdict())
        return _over(failed) if failed else ""

    def _with_verdict(self, target: str | None = None) -> Validity:
        """Return the validity of the run if it ended now, judged by the values of a target, or of all targets if it is
        None.
        """
        total, metrics = self.total, []
        for arm in sorted({arm for arm, _ in self._times} if target is None else {target}):
            for name, measured_from in product((*HEADLINE, *TRANSCRIPT_METRICS), MEASURED_FROM):
                bound_ms = self._quantile_ms(arm, LiveMetricKey(BOUND, name, measured_from), 0.99)
                p50_ms = self._quantile_ms(arm, LiveMetricKey(VALUE, name, measured_from), 0.5)
                if bound_ms is not None:
                    metrics.append(MetricUncertainty(arm, name, bound_ms, p50_ms, measured_from=measured_from))
        evidence = ValidityData(
            metrics=tuple(metrics),
            user_stamps_share=total.turns_user_stamped / total.turns_stamped if total.turns_stamped else None,
            event_loop_delay_p99=total.event_loop_delay_p99_ms,
            send_delay_p99=total.send_delay_p99_ms,
            chunk=self._chunk_ms,
            paced_audio=total.send_delay_p99_ms is not None,
        )
        return evaluate_checks(evidence)


_NOT_FAILED: dict[ValidityStatus, str] = {
    "valid": "VALID so far",
    "no_verdict": "NO VERDICT yet",
    "invalid": "NO VERDICT yet",
}


def _health(validity: Validity) -> str:
    if failed := _first_failed(validity):
        return f"overloaded: {_over(failed)}"
    return OK if any(check.result == "pass" for check in validity.checks) else ""


def _first_failed(validity: Validity) -> Check | None:
    return next((check for check in validity.checks if check.result == "fail"), None)


def _over(failed: Check) -> str:
    """Return the value and the limit of a check: with three digits, or, from 1,000 ms on, as integers."""
    value_ms, limit_ms = (
        f"{ms:.3g} ms" if ms < 999.5 else f"{ms:,.0f} ms" for ms in (failed.value or 0.0, failed.limit or 0.0)
    )
    return f"{failed.name} {value_ms} > {limit_ms}"


def _worst(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
