"""Adds up what the processes of a run report of how it stands: the one place that live views take their figures from.

None of it is a figure of the run: those come from its rows.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from bench.load.execution.progress import (
    BOUND,
    COUNTS,
    DESIGN,
    TARGET_COUNTS,
    VALUE,
    WAIT,
    Failures,
    LiveKey,
    ProgressReport,
)
from bench.metrics import CATALOGUE, FIRST_DELTAS, HEADLINE, LEAST_SESSIONS, ORIGINS, sessions_to_publish
from bench.run.document import Check, Validity, ValidityStatus
from bench.run.histograms import SPEECH_END, empty, quantile, record_values
from bench.run.recorder import Traffic
from bench.run.validity import Evidence, Exactness, judge
from bench.units import NS_PER_S, US_PER_MS

OK = "OK"
"""The health of a load generator that keeps up."""
LIVE_FIGURES = ("ttfa", "ttft", "transcript_first", "voice_to_voice")
"""What live views tell, of these headline metrics."""
EXPORTED = frozenset(
    LiveKey(WAIT if metric in FIRST_DELTAS.values() else VALUE, metric, measured_from)
    for metric in LIVE_FIGURES
    for measured_from in ORIGINS
)
"""Which times metrics are made of: those of LIVE_FIGURES, each turn's wait for a first delta once."""
QUANTILES = (0.5, 0.95)
RATE_REPORTS = 6
"""Rates are taken over so many reports, which come a second apart."""
SILENT_NS = 5 * NS_PER_S
"""A process that was not heard of for so long adds nothing to a rate."""


@dataclass(frozen=True)
class Wait:
    """How long the callers of an arm waited for what a metric is about, since an origin.

    `turns`: good and failed ones, `failed`: these. A failed turn waited without end, so a quantile
    that lands on one is infinite; None where a report would not publish it, for there are too few sessions.
    """

    arm: str
    metric: str
    measured_from: str
    turns: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None
    lacking: tuple[int, ...] = ()
    """Sessions that p50 and p95 need before they are told; 0 where they have them."""

    @property
    def name(self) -> str:
        """ttfa, or ttfa from end of speech."""
        return f"{self.metric} from end of speech" if self.measured_from == SPEECH_END else self.metric

    @property
    def started_by(self) -> str:
        """The instant that latency is measured from, in the words of a report."""
        spoken = SPEECH_END in (self.measured_from, CATALOGUE[self.metric].begin)
        return "end of speech" if spoken else "request sent"


@dataclass(frozen=True)
class TargetStanding:
    """How one target stands. Rates are of the last seconds, of all processes that were heard of in them.

    `waits`: of each of LIVE_FIGURES, by its origin. `usd` is None where nobody knows what anything cost. `health` and
    `verdict`: what the run's verdict would say of this target, and of all together, if the run ended now.
    """

    target: str
    sessions_open: int
    turns_succeeded: int
    turns_failed: int
    waits: tuple[Wait, ...]
    rates: Traffic
    usd: float | None
    unpriced: int
    health: str
    verdict: str
    validity: ValidityStatus = "no_verdict"
    simulated: bool = False
    remedy: str = ""
    """What to do if the run is invalid."""


class _Times:
    """The times of one key of an arm, without those of failed turns."""

    def __init__(self, metric: str) -> None:
        self.all_us = empty(metric)

    @property
    def count(self) -> int:
        return int(self.all_us.get_total_count())

    def add(self, values_us: list[int]) -> None:
        values = np.array(values_us, dtype=np.int64)
        record_values(self.all_us, values[values >= 0])

    def quantile_ms(self, p: float) -> float | None:
        value_us = quantile(self.all_us, p)
        return None if value_us is None else value_us / US_PER_MS


class Tally:
    """Adds up the progress reports of all processes. `chunk_ms`: the shortest paced chunk, None where none is paced;
    `labels`: of the targets, in the order of the run."""

    def __init__(self, chunk_ms: float | None = None, labels: Sequence[str] = ()) -> None:
        self._chunk_ms, self._labels = chunk_ms, list(labels)
        self._heard: dict[int, deque[tuple[int, ProgressReport]]] = {}
        """The last reports of each process, without their times, and when they came."""
        self._times: defaultdict[str, dict[LiveKey, _Times]] = defaultdict(dict)
        """Times of turns by arm."""

    def add(self, worker: int, standing: ProgressReport, heard_ns: int = 0) -> None:
        """Add a process's report. `heard_ns`: when it came."""
        heard = self._heard.setdefault(worker, deque(maxlen=RATE_REPORTS))
        heard.append((heard_ns, replace(standing, times_us={})))
        for arm, steps in standing.times_us.items():
            for times in steps.values():
                for key, values_us in times:
                    self._kept(arm, key).add(values_us)

    def _kept(self, arm: str, key: LiveKey) -> _Times:
        of_arm = self._times[arm]
        if key not in of_arm:
            of_arm[key] = _Times(key.metric)
        return of_arm[key]

    def last(self, worker: int) -> ProgressReport | None:
        """A process's last report, without its times."""
        return self._heard[worker][-1][1] if worker in self._heard else None

    @property
    def total(self) -> ProgressReport:
        """All processes as if they were one, without times."""
        every = [heard[-1][1] for heard in self._heard.values()]
        return ProgressReport(
            **{name: sum(getattr(standing, name) for standing in every) for name in COUNTS},
            usd=sum((standing.usd for standing in every), 0.0),
            targets=_summed_targets(every),
            failures=_summed_failures(every),
            waiting_s=max((standing.waiting_s for standing in every), default=0.0),
            event_loop_delay_p99_ms=_worst(standing.event_loop_delay_p99_ms for standing in every),
            send_delay_p99_ms=_worst(standing.send_delay_p99_ms for standing in every),
            simulated=any(standing.simulated for standing in every),
        )

    def targets(self, now_ns: int) -> list[TargetStanding]:
        """How each target stands, in the order of the run."""
        total, waits, exact = self.total, self.waits(), self._exact()
        judged = judge(self._evidence(exact))
        failed = _first_failed(judged)
        return [
            TargetStanding(
                label,
                int(counts["sessions_open"]),
                int(counts["turns_succeeded"]),
                int(counts["turns_failed"]),
                tuple(self.figures(label, waits, total.failures)),
                self._rates(label, now_ns),
                None if counts["unpriced"] and not counts["usd"] else counts["usd"],
                int(counts["unpriced"]),
                _health(judge(self._evidence(metric for metric in exact if metric.target == label))),
                _verdict(judged),
                judged.status,
                total.simulated,
                failed.remedy if failed else "",
            )
            for label, counts in sorted(total.targets.items(), key=lambda one: (self._place(one[0]), one[0]))
        ]

    def _place(self, label: str) -> int:
        return self._labels.index(label) if label in self._labels else len(self._labels)

    def figures(self, arm: str, waits: Iterable[Wait], failures: Failures) -> list[Wait]:
        """What callers of an arm waited for, each of LIVE_FIGURES by its origin.

        A failed turn whose step has shown no such figure yet is counted with the wait for the first delta alone.
        """
        first = {(wait.metric, wait.measured_from): wait for wait in waits if wait.arm == arm}
        failed, figures = dict(failures.get(arm, ())), []
        for metric in LIVE_FIGURES:
            for measured_from in ORIGINS:
                value = LiveKey(VALUE, metric, measured_from)
                if (metric, measured_from) in first:
                    figures.append(first[metric, measured_from])
                elif self._good(arm, value) or value in failed:
                    figures.append(self._wait(arm, value, failed.get(value, 0)))
        return figures

    def _rates(self, label: str, now_ns: int) -> Traffic:
        """What went over the wire a second."""
        rates: defaultdict[str, float] = defaultdict(float)
        for heard in self._heard.values():
            (since_ns, first), (until_ns, last) = heard[0], heard[-1]
            if until_ns == since_ns or now_ns - until_ns > SILENT_NS:
                continue
            before, after = first.targets.get(label, {}), last.targets.get(label, {})
            for name in Traffic._fields:
                rates[name] += (after.get(name, 0) - before.get(name, 0)) * NS_PER_S / (until_ns - since_ns)
        return Traffic(**{name: round(rates[name]) for name in Traffic._fields})

    def waits(self) -> list[Wait]:
        """What callers waited for: by name, that of most turns first, and then by arm."""
        good = Counter(
            {
                (arm, key): times.count
                for arm, of_arm in self._times.items()
                for key, times in of_arm.items()
                if key.role == WAIT and times.count
            }
        )
        turns = _by_key(good)
        failed = self._failed(min(turns, key=lambda key: (-turns[key], key), default=None))
        turns = _by_key(good + failed)
        places = sorted(good + failed, key=lambda place: (-turns[place[1]], place[1], place[0]))
        return [self._wait(arm, key, failed[arm, key]) for arm, key in places]

    def health(self) -> str:
        """Return what the verdict would say of the load generator if the run ended now: OK, or why it is overloaded.

        Empty where there is nothing to judge yet.
        """
        return _health(judge(self._evidence(self._exact())))

    def late(self) -> str:
        """Return why the load generator is overloaded now, as `send_delay 14.2 ms > 10 ms`; empty if it keeps up."""
        failed = _first_failed(judge(self._evidence(self._exact())))
        return _over(failed) if failed else ""

    def _exact(self) -> list[Exactness]:
        exact = []
        for arm, of_arm in sorted(self._times.items()):
            for name, measured_from in product(HEADLINE, ORIGINS):
                bound, value = (of_arm.get(LiveKey(role, name, measured_from)) for role in (BOUND, VALUE))
                bound_p99_ms = bound.quantile_ms(0.99) if bound else None
                if bound_p99_ms is not None:
                    p50_ms = value.quantile_ms(0.5) if value else None
                    exact.append(Exactness(arm, name, bound_p99_ms, p50_ms, measured_from=measured_from))
        return exact

    def _evidence(self, metrics: Iterable[Exactness]) -> Evidence:
        total = self.total
        return Evidence(
            metrics=tuple(metrics),
            user_stamps_share=total.turns_user_stamped / total.turns_stamped if total.turns_stamped else None,
            event_loop_delay_p99=total.event_loop_delay_p99_ms,
            send_delay_p99=total.send_delay_p99_ms,
            chunk=self._chunk_ms,
            paced_audio=total.send_delay_p99_ms is not None,
        )

    def _failed(self, usual: LiveKey | None) -> Counter[tuple[str, LiveKey]]:
        """Failed turns. `usual`: what those waited for of which nothing is known; None: they are left out."""
        failed: Counter[tuple[str, LiveKey]] = Counter()
        for arm, counts in self.total.failures.items():
            for told, turns in counts:
                key = told or usual
                if key is not None and key.role == WAIT:
                    failed[arm, key] += turns
        return failed

    def _wait(self, arm: str, key: LiveKey, failed: int) -> Wait:
        times, turns = self._times[arm].get(key), self._good(arm, key) + failed
        lacking = tuple(self._lacking(arm, p, turns) for p in QUANTILES)
        p50, p95 = (
            None if lacks else self._wait_ms(times, p, turns) for p, lacks in zip(QUANTILES, lacking, strict=True)
        )
        return Wait(arm, key.metric, key.measured_from, turns, failed, p50, p95, lacking)

    def _lacking(self, arm: str, p: float, turns: int) -> int:
        """Sessions that a quantile of so many turns takes, as in a report; 0 where they are there.

        Of an arm whose turns are not all of one kind it counts as many sessions as their share: never more than there
        are with such turns.
        """
        told = [heard[-1][1].targets.get(arm, {}) for heard in self._heard.values()]
        sessions, measured, squares = (sum(counts.get(name, 0) for counts in told) for name in DESIGN)
        if not (sessions and squares and turns):
            return LEAST_SESSIONS
        share = min(1.0, turns / measured)
        needs = sessions_to_publish(p, turns, sessions * share, measured**2 / squares * share)
        return needs if sessions * share < needs else 0

    def _wait_ms(self, times: _Times | None, p: float, turns: int) -> float:
        """A quantile of all turns, of which those that are not among the times failed."""
        good, within = times.count if times else 0, math.ceil(p * turns - 1e-9)
        value_ms = times.quantile_ms(within / good) if times and within <= good else None
        return math.inf if value_ms is None else value_ms

    def _good(self, arm: str, key: LiveKey) -> int:
        times = self._times[arm].get(key)
        return times.count if times else 0


def _by_key(counts: Counter[tuple[str, LiveKey]]) -> Counter[LiveKey]:
    """Sum the counts of all arms."""
    turns: Counter[LiveKey] = Counter()
    for (_, key), count in counts.items():
        turns[key] += count
    return turns


def _health(validity: Validity) -> str:
    if failed := _first_failed(validity):
        return f"overloaded: {_over(failed)}"
    return OK if any(check.result == "pass" for check in validity.checks) else ""


def _verdict(validity: Validity) -> str:
    """What the run's verdict would be if it ended now. Whether sessions start on time is judged at the end alone."""
    failed = _first_failed(validity)
    return f"INVALID: {_over(failed)}" if failed else "VALID so far" if validity.status == "valid" else "NO VERDICT yet"


def _first_failed(validity: Validity) -> Check | None:
    return next((check for check in validity.checks if check.result == "fail"), None)


def _over(failed: Check) -> str:
    return f"{failed.name} {_told(failed.value or 0.0)} > {_told(failed.limit or 0.0)}"


def _told(value_ms: float) -> str:
    """A number in three digits, or in all of its own where it is larger."""
    return f"{value_ms:.3g} ms" if value_ms < 999.5 else f"{value_ms:,.0f} ms"


def _worst(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _summed_failures(standings: Iterable[ProgressReport]) -> Failures:
    turns: defaultdict[str, Counter[LiveKey | None]] = defaultdict(Counter)
    for standing in standings:
        for arm, counts in standing.failures.items():
            turns[arm].update(dict(counts))
    return {arm: list(counts.items()) for arm, counts in turns.items()}


def _summed_targets(standings: Iterable[ProgressReport]) -> dict[str, dict[str, float]]:
    targets: dict[str, Counter[str]] = {}
    for standing in standings:
        for label, counts in standing.targets.items():
            targets.setdefault(label, Counter(dict.fromkeys(TARGET_COUNTS, 0))).update(counts)
    return {label: dict(counts) for label, counts in targets.items()}
