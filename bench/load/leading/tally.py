"""Adds up what the processes of a run report of how it stands: the one place that live views take their figures from.

None of it is a figure of the run: those come from its rows.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from bench.load.playing.progress import BOUND, COUNTS, SINCE, TARGET_COUNTS, UNNAMED, VALUE, ProgressReport, summed
from bench.measures import HEADLINE
from bench.run.histograms import Histograms, Key, empty, quantile
from bench.run.recorder import Traffic
from bench.run.validity import Evidence, Exactness, judge
from bench.units import NS_PER_S, US_PER_MS

HARNESS_OK, HARNESS_LATE = "harness ok", "harness late"
LIVE_FIGURES = ("ttfa", "ttft", "transcript_first", "voice_to_voice")
"""What live views tell, of these headline measures."""
TURNS_NEEDED = {0.5: 5, 0.95: 100}
"""Ended turns of an arm from which on a quantile of its waits is told."""
TREND_SAMPLES = 24
RATE_REPORTS = 6
"""Rates are taken over so many reports, which come a second apart."""
SILENT_NS = 5 * NS_PER_S
"""A process that was not heard of for so long adds nothing to a rate."""


@dataclass(frozen=True)
class Wait:
    """How long the callers of an arm waited. `name`: for what, and since when.

    `turns`: good and failed ones, `failed`: these. A failed turn waited without end, so a quantile
    that lands on one is infinite; None where there are too few turns for it.
    """

    arm: str
    name: str
    turns: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None
    trend_ms: tuple[float, ...] = ()
    """The p95 of the last hundred turns, as it was at each `sample` of late; infinite where that was a failed one."""


@dataclass(frozen=True)
class TargetStanding:
    """How one target stands. Rates are of the last seconds, of all processes that were heard of in them.

    `waits`: of each of LIVE_FIGURES, by its origin. `usd` is None where nobody knows what anything cost. `health` and
    `verdict`: what the run's verdict would say of this target, and of all together, if the run ended now.
    """

    target: str
    sessions_open: int
    turns_good: int
    turns_failed: int
    waits: tuple[Wait, ...]
    rates: Traffic
    usd: float | None
    unpriced: int
    health: str
    verdict: str


class ProgressSum:
    """Adds up the progress reports of all processes. `chunk_ms`: the shortest paced chunk, None where none is paced."""

    def __init__(self, chunk_ms: float | None = None) -> None:
        self._chunk_ms = chunk_ms
        self._heard: dict[int, deque[tuple[int, ProgressReport]]] = {}
        """The last reports of each process, without their times, and when they came."""
        self._times = Histograms()
        self._recent_us: defaultdict[Key, deque[float]] = defaultdict(partial(deque, maxlen=TURNS_NEEDED[0.95]))
        """The waits of the last turns; infinite of those that failed."""
        self._trends: defaultdict[tuple[str, str], deque[float]] = defaultdict(partial(deque, maxlen=TREND_SAMPLES))

    def add(self, worker: int, standing: ProgressReport, heard_ns: int = 0) -> None:
        """Add a process's report. `heard_ns`: when it came."""
        before = self.last(worker) or ProgressReport()
        heard = self._heard.setdefault(worker, deque(maxlen=RATE_REPORTS))
        heard.append((heard_ns, replace(standing, times_us={})))
        for arm, steps in standing.times_us.items():
            for times in steps.values():
                for name, values in times.items():
                    self._times.record_all(Key(name, arm), np.array(values, dtype=np.int64))
                    if not name.startswith(BOUND):
                        self._recent_us[Key(name, arm)].extend(values)
        for arm, counts in standing.failures.items():
            for name, count in counts.items():
                more = count - before.failures.get(arm, {}).get(name, 0)
                self._recent_us[Key(name, arm)].extend([math.inf] * more)

    def sample(self) -> None:
        """Note how long callers waited of late, for the trends of `figures`."""
        for key, recent in self._recent_us.items():
            name = key.measure.removeprefix(VALUE)
            told_twice = name != key.measure and Key(name, key.target) in self._recent_us
            if len(recent) == recent.maxlen and not told_twice:
                p95_us = sorted(recent)[math.ceil(0.95 * len(recent)) - 1]
                self._trends[key.target, name].append(p95_us / US_PER_MS)

    def last(self, worker: int) -> ProgressReport | None:
        """A process's last report, without its times."""
        return self._heard[worker][-1][1] if worker in self._heard else None

    @property
    def total(self) -> ProgressReport:
        """All processes as if they were one, without times."""
        return _total(self._lasts)

    @property
    def _lasts(self) -> list[ProgressReport]:
        return [heard[-1][1] for heard in self._heard.values()]

    def targets(self, now_ns: int) -> list[TargetStanding]:
        """How each target stands, by its label."""
        total, waits, exact = self.total, self.waits(), self._exact()
        verdict = _verdict(judge(self._evidence(exact)), simulated=total.simulated)
        return [
            TargetStanding(
                label,
                int(counts["sessions_open"]),
                int(counts["turns_good"]),
                int(counts["turns_failed"]),
                tuple(self._figures(label, waits, total.failures.get(label, {}))),
                self._rates(label, now_ns),
                None if counts["unpriced"] and not counts["usd"] else counts["usd"],
                int(counts["unpriced"]),
                _health(judge(self._evidence(measure for measure in exact if measure.target == label))),
                verdict,
            )
            for label, counts in sorted(total.targets.items())
        ]

    def figures(self, arm: str) -> list[Wait]:
        """What callers of an arm waited for, each of LIVE_FIGURES by its origin.

        A failed turn whose step has shown no such figure yet is counted with the wait for the first delta alone.
        """
        return self._figures(arm, self.waits(), self.total.failures.get(arm, {}))

    def _figures(self, arm: str, waits: Iterable[Wait], failed: Mapping[str, int]) -> list[Wait]:
        of_arm = {wait.name: wait for wait in waits if wait.arm == arm}
        for name in (name + since for name in LIVE_FIGURES for since in SINCE.values()):
            good = self._good(key := Key(VALUE + name, arm))
            if name not in of_arm and (good or key.measure in failed):
                of_arm[name] = replace(self._wait(key, good, failed.get(key.measure, 0)), name=name)
        told = [replace(wait, trend_ms=tuple(self._trends[arm, wait.name])) for wait in of_arm.values()]
        return sorted(told, key=lambda wait: (LIVE_FIGURES.index(wait.name.split()[0]), wait.name))

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
            {key: self._good(key) for key, _ in self._times.items() if not key.measure.startswith((VALUE, BOUND))}
        )
        failed = self._failed(_of_most(good))
        turns = _by_name(good + failed)
        keys = sorted(good + failed, key=lambda key: (-turns[key.measure], key.measure, key.target))
        return [self._wait(key, good[key], failed[key]) for key in keys]

    def health(self) -> str:
        """What the verdict would say of the harness if the run ended now; "" where there is nothing to judge yet."""
        return _health(judge(self._evidence(self._exact())))

    def late(self) -> str:
        """Say by which figure the harness is late now, as `send_lag 14.2 ms > 10 ms`; empty where it keeps up."""
        return _first_broken(judge(self._evidence(self._exact()))["rules"])

    def _exact(self) -> list[Exactness]:
        arms = sorted({key.target for key, _ in self._times.items()})
        return [exactness for arm in arms for name in HEADLINE if (exactness := self._exactness(arm, name))]

    def _evidence(self, measures: Iterable[Exactness]) -> Evidence:
        total = self.total
        return Evidence(
            measures=tuple(measures),
            user_stamps_share=total.turns_user_stamped / total.turns_stamped if total.turns_stamped else None,
            hub_delay_p99=total.hub_delay_p99_ms,
            send_lag_p99=total.send_lag_p99_ms,
            chunk=self._chunk_ms,
            paced_audio=total.send_lag_p99_ms is not None,
        )

    def _exactness(self, arm: str, name: str) -> Exactness | None:
        bound_p99 = self._quantile_ms(Key(BOUND + name, arm), 0.99)
        if bound_p99 is None:
            return None
        return Exactness(arm, name, bound_p99, self._median_ms(arm, name))

    def _median_ms(self, arm: str, name: str) -> float | None:
        """Of a headline measure, whatever its origin, as the verdict has it."""
        known = [self._times.get(Key(VALUE + name + since, arm)) for since in SINCE.values()]
        first, *others = [histogram for histogram in known if histogram] or [empty(name)]
        if others:  # hardly ever, and adding takes a millisecond
            pooled = empty(name)
            for histogram in (first, *others):
                pooled.add(histogram)
            first = pooled
        return _in_ms(quantile(first, 0.5))

    def _failed(self, usual: str) -> Counter[Key]:
        """Failed turns. `usual`: what those waited for of which nothing is known; they are left out where it is ""."""
        failed: Counter[Key] = Counter()
        for arm, counts in self.total.failures.items():
            for name, count in counts.items():
                failed[Key(name or usual, arm)] += count
        return Counter(
            {key: count for key, count in failed.items() if not key.measure.startswith(VALUE) and key.measure}
        )

    def _wait(self, key: Key, good: int, failed: int) -> Wait:
        p50, p95 = (self._wait_ms(key, p, good, failed) for p in TURNS_NEEDED)
        return Wait(key.target, key.measure, good + failed, failed, p50, p95)

    def _wait_ms(self, key: Key, p: float, good: int, failed: int) -> float | None:
        turns = good + failed
        if turns < TURNS_NEEDED[p]:
            return None
        within = math.ceil(p * turns - 1e-9)
        return self._quantile_ms(key, within / good) if within <= good else math.inf

    def _good(self, key: Key) -> int:
        histogram = self._times.get(key)
        return int(histogram.get_total_count()) if histogram else 0

    def _quantile_ms(self, key: Key, p: float) -> float | None:
        histogram = self._times.get(key)
        return _in_ms(quantile(histogram, p)) if histogram else None


def _total(standings: Iterable[ProgressReport]) -> ProgressReport:
    every = list(standings)
    return ProgressReport(
        **{name: sum(getattr(standing, name) for standing in every) for name in COUNTS},
        usd=sum((standing.usd for standing in every), 0.0),
        targets=_summed_targets(every),
        failures=summed(
            (arm, name, count)
            for standing in every
            for arm, counts in standing.failures.items()
            for name, count in counts.items()
        ),
        waiting_s=max((standing.waiting_s for standing in every), default=0.0),
        hub_delay_p99_ms=_worst(standing.hub_delay_p99_ms for standing in every),
        send_lag_p99_ms=_worst(standing.send_lag_p99_ms for standing in every),
        simulated=any(standing.simulated for standing in every),
    )


def _by_name(counts: Counter[Key]) -> Counter[str]:
    turns: Counter[str] = Counter()
    for key, count in counts.items():
        turns[key.measure] += count
    return turns


def _of_most(counts: Counter[Key]) -> str:
    """The name of most turns; "" where there are none."""
    return min(_by_name(counts).items(), key=lambda item: (-item[1], item[0]), default=(UNNAMED, 0))[0]


def _health(judged: dict[str, Any]) -> str:
    if late := _first_broken(judged["rules"]):
        return f"{HARNESS_LATE}: {late}"
    return HARNESS_OK if any(rule["passed"] for rule in judged["rules"]) else ""


def _verdict(judged: dict[str, Any], *, simulated: bool) -> str:
    """What the run's verdict would be if it ended now. Whether sessions start on time is judged at the end alone."""
    late = _first_broken(judged["rules"])
    said = f"invalid: {late}" if late else "valid so far" if judged["valid"] else "not judged yet"
    return f"SIMULATED: {said}" if simulated else said


def _first_broken(rules: Iterable[dict[str, Any]]) -> str:
    broken = next((rule for rule in rules if rule["passed"] is False), None)
    return f"{broken['measure']} {_told(broken['figure'])} > {_told(broken['limit'])}" if broken else ""


def _told(value_ms: float) -> str:
    """A number in three digits, or in all of its own where it is larger."""
    return f"{value_ms:.3g} ms" if value_ms < 999.5 else f"{value_ms:,.0f} ms"


def _worst(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _in_ms(value_us: int | None) -> float | None:
    return None if value_us is None else value_us / US_PER_MS


def _summed_targets(standings: Iterable[ProgressReport]) -> dict[str, dict[str, float]]:
    targets: dict[str, Counter[str]] = {}
    for standing in standings:
        for label, counts in standing.targets.items():
            targets.setdefault(label, Counter(dict.fromkeys(TARGET_COUNTS, 0))).update(counts)
    return {label: dict(counts) for label, counts in targets.items()}
