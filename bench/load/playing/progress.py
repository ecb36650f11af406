"""Counts how a run stands while it goes on: what each process reports once a second, and the sum over all of them.

A report holds counts from the process's start, so that one that is lost or comes twice does no harm, and the times of
the turns that ended since the report before. None of it is a figure of the run: those come from its rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.clock import monotonic_ns
from bench.load.playing.spending import Spending
from bench.measures import CATALOGUE, FIRST_DELTAS, HEADLINE
from bench.observe.observation import SessionObservation, TurnObservation
from bench.outcomes import OutcomeClass, is_throttled, outcome_class
from bench.run.histograms import Histograms, Key, quantile, worst_p99_ms
from bench.run.validity import Evidence, Exactness, judge
from bench.units import NS_PER_US, US_PER_MS

SINCE = {"requested": "", "speech_end": " after speech"}
"""Where the wait for a first delta counts from, behind its name: the two are never pooled."""
VALUE, BOUND = "value of ", "bound of "
INNER = (VALUE, BOUND)
"""How the names of times begin that the harness is judged by: of each headline measure, and how far it can be off."""
JUDGED = tuple((CATALOGUE[name], VALUE + name, BOUND + name) for name in HEADLINE)
HARNESS_OK, HARNESS_LATE = "harness ok", "harness late"
UNNAMED = ""
"""What a failed turn waited for, where no turn of its step has shown that yet."""
TURNS_NEEDED = {0.5: 5, 0.95: 100}
"""Ended turns of an arm from which on a quantile of its waits is told."""

Times = dict[str, dict[str, list[int]]]
"""Microseconds, by arm and name."""
StepKey = tuple[str, str]
"""A script's name and a label in it."""
Failures = dict[str, dict[str, int]]
"""Failed turns, by arm and by the name of what they waited for."""


@dataclass(frozen=True)
class ProgressReport:
    """What one process reports, in plain data: `ProgressReport(**asdict(standing))` is the same again.

    `sessions_open`, `tokenless`, those that wait for a token, and `waiting_s`, for which starts are still held back,
    are of this moment. `times_us` are of the turns that ended since the report before. All else is of everything up
    to now. What says how long callers waited, and how exact that is, is of measured turns alone.
    """

    calls: int = 0
    """Calls that arrived."""
    calls_blocked: int = 0
    """Those of them that found no free slot."""
    sessions_open: int = 0
    tokenless: int = 0
    sessions_done: int = 0
    sessions_renewed: int = 0
    """Those of the done whose place another session of their call took."""
    sessions_refused: int = 0
    """Those that failed before they were open and were not throttled; a part of the done."""
    pairs_done: int = 0
    """Measured pairs of which every session has ended."""
    turns_good: int = 0
    turns_failed: int = 0
    throttled: int = 0
    """Turns and sessions; of the turns a part of the failed, of the sessions a part of the done."""
    turns_stamped: int = 0
    turns_user_stamped: int = 0
    """Those whose stamps did not all come from the kernel."""
    usd: float = 0.0
    unpriced: int = 0
    waiting_s: float = 0.0
    hub_delay_p99_ms: float | None = None
    send_lag_p99_ms: float | None = None
    simulated: bool = False
    failures: Failures = field(default_factory=dict)
    times_us: Times = field(default_factory=dict)

    @property
    def sessions_over(self) -> int:
        """Sessions that are done, those of one call counted as one."""
        return self.sessions_done - self.sessions_renewed


COUNTS = ("calls", "calls_blocked", "sessions_open", "tokenless", "sessions_done", "sessions_renewed",
          "sessions_refused", "pairs_done", "turns_good", "turns_failed", "throttled", "turns_stamped",
          "turns_user_stamped", "unpriced")  # fmt: skip


class Progress:
    """Counts what the sessions of one process came to so far."""

    def __init__(self, spending: Spending) -> None:
        self._spending = spending
        self._counts: Counter[str] = Counter()
        self._failed: Counter[tuple[str, StepKey]] = Counter()
        self._awaited: dict[StepKey, str] = {}
        self._times_us: Times = {}

    def call_arrived(self, *, blocked: bool) -> None:
        self._counts["calls"] += 1
        self._counts["calls_blocked"] += blocked

    def session_opened(self, arm: str, session: SessionObservation) -> None:
        """Count a session whose settings the service has taken. `arm`: the target's label."""
        self._counts["sessions_open"] += 1
        self._spending.open(arm, session.model, session.instants["upgrade_done"])

    def session_ended(self, arm: str, session: SessionObservation, *, opened: bool) -> None:
        """Count a session. `arm`: the target's label; `opened`: whether `session_opened` was called for it."""
        self._spending.add_stray(arm, session.model, session.stray_usage)
        self._counts["sessions_done"] += 1
        self._counts["sessions_renewed"] += session.renewed
        if opened:
            self._counts["sessions_open"] -= 1
            self._spending.close(arm, session.model, session.instants["upgrade_done"], session.instants["ended"])
        elif is_throttled(session.outcome):
            self._counts["throttled"] += 1
        else:
            self._counts["sessions_refused"] += outcome_class(session.outcome) == "failed"

    def pair_ended(self, *, measured: bool) -> None:
        """Count a pair all of whose sessions are over."""
        self._counts["pairs_done"] += measured

    def turn_ended(
        self, arm: str, script: str, model: str | None, turn: TurnObservation, *, measured: bool = True
    ) -> None:
        """Count a turn that is over.

        `arm`: the target's label; `script`: its name; `model`: as the session named it.
        """
        self._spending.add(arm, model, turn.usage)
        kind = outcome_class(turn.outcome)
        if kind == "good":
            self._counts["turns_good"] += 1
        elif kind == "failed":
            self._counts["turns_failed"] += 1
            self._counts["throttled"] += is_throttled(turn.outcome)
        if measured:
            self._note_measured(arm, (script, turn.step), kind, turn)

    def _note_measured(self, arm: str, step: StepKey, kind: OutcomeClass, turn: TurnObservation) -> None:
        """Count a measured turn: its stamps, its times where it is good, its failure by its step.

        What a failed turn waited for may be told by a later turn of its step alone.
        """
        source, wait = turn.stamp_source, _wait_us(turn)
        self._counts["turns_stamped"] += source is not None
        self._counts["turns_user_stamped"] += source not in (None, "kernel")
        if wait is not None:
            self._awaited[step] = wait[0]
        if kind == "good":
            self._note_times(arm, wait, turn)
        elif kind == "failed":
            self._failed[arm, step] += 1

    def _note_times(self, arm: str, wait: tuple[str, int] | None, turn: TurnObservation) -> None:
        """Note what the caller of a good turn waited; each headline measure, and how far that can be off."""
        times_us = self._times_us.setdefault(arm, {})
        if wait is not None:
            times_us.setdefault(wait[0], []).append(wait[1])
        for measure, value, bound in JUDGED:
            if measure.end not in turn.instants:  # as all of most turns but two or three, and quicker to see
                continue
            value_ns, bound_ns = turn.measure_ns(measure), turn.bound_ns(measure)
            if value_ns is not None and bound_ns is not None:
                times_us.setdefault(value, []).append(value_ns // NS_PER_US)
                times_us.setdefault(bound, []).append(bound_ns // NS_PER_US)

    def _failures(self) -> Failures:
        return _summed((arm, self._awaited.get(step, UNNAMED), count) for (arm, step), count in self._failed.items())

    def standing(
        self, histograms: Histograms, *, waiting_s: float = 0.0, tokenless: int = 0, simulated: bool = False
    ) -> ProgressReport:
        """Make the next report. `histograms`: the recorder's."""
        times_us, self._times_us = self._times_us, {}
        return ProgressReport(
            **self._counts,
            tokenless=tokenless,
            usd=self._spending.usd_at(monotonic_ns()),
            unpriced=self._spending.unpriced,
            waiting_s=waiting_s,
            hub_delay_p99_ms=worst_p99_ms(histograms, "hub_delay"),
            send_lag_p99_ms=worst_p99_ms(histograms, "send_lag"),
            simulated=simulated,
            failures=self._failures(),
            times_us=times_us,
        )


@dataclass(frozen=True)
class Wait:
    """How long the callers of an arm waited. `name`: for what, and since when.

    `turns`: good and failed ones. A failed turn waited without end, so a quantile that lands on one is infinite; None
    where there are too few turns for it.
    """

    arm: str
    name: str
    turns: int
    p50_ms: float | None
    p95_ms: float | None


class ProgressSum:
    """Adds up the progress reports of all processes. `chunk_ms`: the shortest paced chunk, None where none is paced."""

    def __init__(self, chunk_ms: float | None = None) -> None:
        self._chunk_ms = chunk_ms
        self._last: dict[int, ProgressReport] = {}
        self._times = Histograms()

    def add(self, worker: int, standing: ProgressReport) -> None:
        """Add a process's report."""
        self._last[worker] = standing
        for arm, times in standing.times_us.items():
            for name, values in times.items():
                self._times.record_all(Key(name, arm), np.array(values, dtype=np.int64))

    def last(self, worker: int) -> ProgressReport | None:
        """A process's last report."""
        return self._last.get(worker)

    @property
    def total(self) -> ProgressReport:
        """All processes as if they were one, without times."""
        return _total(self._last.values())

    def waits(self) -> list[Wait]:
        """What callers waited for: by name, that of most turns first, and then by arm."""
        good = Counter({key: self._good(key) for key, _ in self._times.items() if not key.measure.startswith(INNER)})
        failed = self._failed(_of_most(good))
        turns = _by_name(good + failed)
        keys = sorted(good + failed, key=lambda key: (-turns[key.measure], key.measure, key.target))
        return [self._wait(key, good[key], failed[key]) for key in keys]

    def health(self) -> str:
        """What the verdict would say of the harness if the run ended now; "" where there is nothing to judge yet."""
        rules = self._rules()
        if late := _first_broken(rules):
            return f"{HARNESS_LATE}: {late}"
        return HARNESS_OK if any(rule["passed"] for rule in rules) else ""

    def late(self) -> str:
        """Say by which figure the harness is late now, as `send_lag 14.2 ms > 10 ms`; empty where it keeps up."""
        return _first_broken(self._rules())

    def _rules(self) -> list[dict[str, Any]]:
        rules: list[dict[str, Any]] = judge(self._evidence())["rules"]
        return rules

    def _evidence(self) -> Evidence:
        total, arms = self.total, sorted({key.target for key, _ in self._times.items()})
        return Evidence(
            measures=tuple(one for arm in arms for name in HEADLINE if (one := self._exactness(arm, name))),
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
        return Exactness(arm, name, bound_p99, self._quantile_ms(Key(VALUE + name, arm), 0.5))

    def _failed(self, usual: str) -> Counter[Key]:
        """Failed turns. `usual`: what those waited for of which nothing is known; they are left out where it is ""."""
        failed: Counter[Key] = Counter()
        for arm, counts in self.total.failures.items():
            for name, count in counts.items():
                failed[Key(name or usual, arm)] += count
        return Counter({key: count for key, count in failed.items() if key.measure != UNNAMED})

    def _wait(self, key: Key, good: int, failed: int) -> Wait:
        p50, p95 = (self._wait_ms(key, p, good, failed) for p in TURNS_NEEDED)
        return Wait(key.target, key.measure, good + failed, p50, p95)

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
        value_us = quantile(histogram, p) if histogram else None
        return None if value_us is None else value_us / US_PER_MS


def _total(standings: Iterable[ProgressReport]) -> ProgressReport:
    every = list(standings)
    return ProgressReport(
        **{name: sum(getattr(standing, name) for standing in every) for name in COUNTS},
        usd=sum((standing.usd for standing in every), 0.0),
        failures=_summed(
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


def _summed(counts: Iterable[tuple[str, str, int]]) -> Failures:
    failures: Failures = {}
    for arm, name, count in counts:
        of_arm = failures.setdefault(arm, {})
        of_arm[name] = of_arm.get(name, 0) + count
    return failures


def _by_name(counts: Counter[Key]) -> Counter[str]:
    turns: Counter[str] = Counter()
    for key, count in counts.items():
        turns[key.measure] += count
    return turns


def _of_most(counts: Counter[Key]) -> str:
    """The name of most turns; "" where there are none."""
    return min(_by_name(counts).items(), key=lambda item: (-item[1], item[0]), default=(UNNAMED, 0))[0]


def _first_broken(rules: Iterable[dict[str, Any]]) -> str:
    broken = next((rule for rule in rules if rule["passed"] is False), None)
    return f"{broken['measure']} {_told(broken['figure'])} > {_told(broken['limit'])}" if broken else ""


def _told(value_ms: float) -> str:
    """A number in three digits, or in all of its own where it is larger."""
    return f"{value_ms:.3g} ms" if value_ms < 999.5 else f"{value_ms:,.0f} ms"


def _worst(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _wait_us(turn: TurnObservation) -> tuple[str, int] | None:
    """What a turn's caller waited for, and how long; None where it did not come."""
    instants, origin = turn.instants, turn.origin
    if origin is None:
        return None
    for awaited, name in FIRST_DELTAS.items():
        if awaited in instants:
            return name + SINCE[origin], (instants[awaited] - instants[origin]) // NS_PER_US
    return None
