"""The progress of a run in one process, which reports it once a second.

A report contains counts since the start of the process, so a missing or repeated report does no harm. It also contains
the times of the turns that ended since the previous report. None of these values is a result of the run: results come
from its rows. `bench.load.runners.live_totals` adds up the reports of all processes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Final, Literal, NamedTuple

from bench.clock import monotonic_ns
from bench.metrics import (
    CATALOGUE,
    HEADLINE,
    MEASURED_FROM,
    TRANSCRIPT_METRICS,
    OutcomeClass,
    awaited,
    is_throttled,
    outcome_class,
)
from bench.observe.observation import SessionObservation, TurnObservation
from bench.pricing import Prices, PricingTerms, TurnPricing, dollars, tariff_of
from bench.protocol.events import TokenUsage
from bench.run.histograms import Histograms, StepLabels, turn_step, worst_p99_ms
from bench.run.recorder import NO_TRAFFIC, Traffic
from bench.target.target_settings import GIVE_PRICES, usage_usd
from bench.units import NS_PER_MINUTE, NS_PER_US

LiveRole = Literal["wait", "value", "bound"]
WAIT: Final = "wait"
"""The role of times that are the latency of the first delta."""
VALUE: Final = "value"
"""The role of times that are a headline metric with a known uncertainty."""
BOUND: Final = "bound"
"""The role of times that are the uncertainty of a headline metric."""


class LiveMetricKey(NamedTuple):
    """The key of times in live views. Times with different `measured_from` are never pooled."""

    role: LiveRole
    metric: str
    measured_from: str


JUDGED = {
    measured_from: tuple(
        (CATALOGUE[name], LiveMetricKey(VALUE, name, measured_from), LiveMetricKey(BOUND, name, measured_from))
        for name in (*HEADLINE, *TRANSCRIPT_METRICS)
    )
    for measured_from in MEASURED_FROM
}
"""The headline metrics of turns, with and without a reply, by `measured_from`, with the keys of their values and
uncertainties.
"""

Times = dict[str, dict[str, list[tuple[LiveMetricKey, list[int]]]]]
"""Times in microseconds, by target and step. Within a step, each key occurs once, with its times."""
StepKey = tuple[str, str]
"""The name of a script and of a step in it."""
Failures = dict[str, list[tuple[LiveMetricKey | None, int]]]
"""The failed turns of each target. Each key occurs once, with its number of turns.

A turn counts once with the first delta that it waited for (None if no turn of its step has received one yet), and once
with each headline metric that other turns of its step have.
"""
Outcomes = dict[str, dict[str, dict[str, int]]]
"""The numbers of turns, by target, step and first word of the outcome."""


@dataclass(frozen=True)
class ProgressReport:
    """The report of one process, in plain data, so that `msgspec.convert(asdict(report), ProgressReport)` returns an
    equal
    report.

    Current values are `sessions_open`, `callers_backing_off` (callers who wait after a refused call), `tokenless`
    (sessions that wait for a token), and `waiting_s` (the remaining delay of starts). `times_us` contains the times of
    turns that ended since the previous report. All other values are cumulative. Latency and its uncertainty come only
    from measured turns.
    """

    calls: int = 0
    calls_blocked: int = 0
    """Calls that found no free slot."""
    calls_backed_off: int = 0
    """Calls that were delayed because the last call of their caller was refused."""
    callers_backing_off: int = 0
    sessions_open: int = 0
    tokenless: int = 0
    sessions_done: int = 0
    sessions_renewed: int = 0
    """Sessions that have ended and were replaced by another session of the same call."""
    sessions_refused: int = 0
    """Sessions that failed before they were open and were not throttled. They are included in `sessions_done`."""
    pairs_done: int = 0
    """Measured pairs whose sessions have all ended."""
    turns_succeeded: int = 0
    turns_failed: int = 0
    throttled: int = 0
    """Throttled turns, which are included in `turns_failed`, and sessions, which are included in `sessions_done`."""
    turns_stamped: int = 0
    turns_user_stamped: int = 0
    """Turns whose timestamps are not all from the kernel."""
    usd: float = 0.0
    unpriced: int = 0
    waiting_s: float = 0.0
    event_loop_delay_p99_ms: float | None = None
    send_delay_p99_ms: float | None = None
    simulated: bool = False
    targets: dict[str, dict[str, float]] = field(default_factory=dict)
    """TARGET_COUNTS of each target, by its label."""
    failures: Failures = field(default_factory=dict)
    outcomes: Outcomes = field(default_factory=dict)
    times_us: Times = field(default_factory=dict)

    @property
    def sessions_over(self) -> int:
        """The number of sessions that are done; sessions of one call count as one."""
        return self.sessions_done - self.sessions_renewed


NOTHING_SENT: Mapping[str, Traffic] = {}
COUNTS = tuple(each.name for each in fields(ProgressReport) if each.type == "int")
"""The counts, which are summed over processes."""
DESIGN = ("sessions_measured", "turns_measured", "turns_squared")
"""The number of measured sessions with a turn that ended, the number of these turns, and the sum of the squared numbers
of
turns per session.
"""
TARGET_COUNTS = ("sessions_open", "turns_succeeded", "turns_failed", *DESIGN, *Traffic._fields, "usd", "unpriced")
"""The values per target. Bytes are those on the wire."""


class ProgressCounter:
    """The counter of the results of one process's sessions."""

    def __init__(self, spending: CostMeter) -> None:
        self.spending = spending
        self._counts: Counter[str] = Counter()
        self._of_targets: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._failed: Counter[tuple[str, StepKey]] = Counter()
        self._awaited: dict[StepKey, LiveMetricKey] = {}
        self._headlines: defaultdict[StepKey, set[LiveMetricKey]] = defaultdict(set)
        """The headline metrics that turns of a step have."""
        self._steps = StepLabels()
        self._outcomes: Outcomes = {}
        self._times_us: dict[str, dict[str, dict[LiveMetricKey, list[int]]]] = {}

    def count(self, **more: int) -> None:
        """Add to counts of `ProgressReport`."""
        for name, number in more.items():
            self._counts[name] += number  # True becomes 1; `update` of an empty counter would keep True

    def _count_at(self, arm: str, **more: int) -> None:
        self.count(**more)
        for name, number in more.items():
            self._of_targets[arm][name] += number

    def session_opened(self, arm: str, session: SessionObservation) -> None:
        """Count a session whose settings the service has accepted. `arm`: the target's label."""
        self._count_at(arm, sessions_open=1)
        if not session.only_transcribes:  # billed by its audio (`CostMeter.add_audio`)
            self.spending.open(arm, session.model, session.instants["opened"])

    def session_ended(self, arm: str, session: SessionObservation, *, opened: bool) -> None:
        """Count an ended session. `arm`: the target's label; `opened`: True if `session_opened` was called for it."""
        self.count(sessions_done=1, sessions_renewed=session.renewed)
        if opened:
            self._count_at(arm, sessions_open=-1)
            if not session.only_transcribes:
                self.spending.close(arm, session.model, session.instants["opened"], session.instants["ended"])
        elif is_throttled(session.outcome):
            self.count(throttled=1)
        else:
            self.count(sessions_refused=outcome_class(session.outcome) == "failed")

    def turn_ended(self, arm: str, script: str, turn: TurnObservation, *, measured: bool = True) -> None:
        """Count a turn that is over. `arm`: the target's label; `script`: the script's name."""
        kind = outcome_class(turn.outcome)
        if kind == "success":
            self._count_at(arm, turns_succeeded=1)
        elif kind == "failed":
            self._count_at(arm, turns_failed=1)
            self.count(throttled=is_throttled(turn.outcome))
        if measured:
            self._add_measured(arm, (script, turn.step), kind, turn)

    def _add_measured(self, arm: str, step: StepKey, kind: OutcomeClass, turn: TurnObservation) -> None:
        """Count a measured turn: its timestamps, its times if it succeeded, its failure by step.

        The first delta that a failed turn waited for may be known only from a later turn of its step.
        """
        if kind != "unfinished":
            of_target = self._of_targets[arm]
            of_target["sessions_measured"] += turn.turn == 1
            of_target["turns_measured"] += 1
            of_target["turns_squared"] += 2 * turn.turn - 1
        source, wait = turn.receive_timestamp_source, _wait_us(turn)
        self.count(turns_stamped=source is not None, turns_user_stamped=source not in (None, "kernel"))
        if wait is not None:
            self._awaited[step] = wait[0]
        name = turn_step(step[0], self._steps.count(*step), turn.turn_type, None)
        outcomes, word = self._outcomes.setdefault(arm, {}).setdefault(name, {}), turn.outcome.partition(":")[0]
        outcomes[word] = outcomes.get(word, 0) + 1
        if kind == "success":
            times_us = self._times_us.setdefault(arm, {}).setdefault(name, {})
            self._headlines[step].update(_add_times(times_us, wait, turn))
        elif kind == "failed":
            self._failed[arm, step] += 1

    def _targets(self, traffic: Mapping[str, Traffic]) -> dict[str, dict[str, float]]:
        usd = self.spending.usd_of_targets(monotonic_ns())
        return {
            label: dict(self._of_targets[label])
            | traffic.get(label, NO_TRAFFIC)._asdict()
            | {"usd": usd.get(label, 0.0), "unpriced": self.spending.unpriced_of[label]}
            for label in self._of_targets.keys() | traffic.keys()
        }

    def report(
        self,
        histograms: Histograms,
        traffic: Mapping[str, Traffic] = NOTHING_SENT,
        *,
        waiting_s: float = 0.0,
        tokenless: int = 0,
        simulated: bool = False,
    ) -> ProgressReport:
        """Return the next report. `histograms`, `traffic`: those of the recorder."""
        times_us, self._times_us = self._times_us, {}
        failed: defaultdict[str, Counter[LiveMetricKey | None]] = defaultdict(Counter)
        for (arm, step), turns in self._failed.items():
            for key in (self._awaited.get(step), *self._headlines[step]):
                failed[arm][key] += turns
        return ProgressReport(
            **self._counts,
            tokenless=tokenless,
            usd=self.spending.usd_at(monotonic_ns()),
            unpriced=self.spending.unpriced,
            waiting_s=waiting_s,
            event_loop_delay_p99_ms=worst_p99_ms(histograms, "event_loop_delay"),
            send_delay_p99_ms=worst_p99_ms(histograms, "send_delay"),
            simulated=simulated,
            targets=self._targets(traffic),
            failures={arm: list(counts.items()) for arm, counts in failed.items()},
            outcomes={
                arm: {step: dict(words) for step, words in steps.items()} for arm, steps in self._outcomes.items()
            },
            times_us={
                arm: {step: list(times.items()) for step, times in steps.items()} for arm, steps in times_us.items()
            },
        )


def _add_times(
    times_us: dict[LiveMetricKey, list[int]], wait: tuple[LiveMetricKey, int] | None, turn: TurnObservation
) -> list[LiveMetricKey]:
    """Record the times of a successful turn. Return the keys of its headline metrics.

    The times are the latency of the first delta, and each headline metric with its uncertainty.
    """
    if wait is not None:
        times_us.setdefault(wait[0], []).append(wait[1])
    keys = []
    for metric, value, bound in JUDGED.get(turn.measured_from or "", ()):
        if metric.end not in turn.instants:  # true of most metrics of a turn, and a faster check
            continue
        if metric.name in TRANSCRIPT_METRICS and (wait is None or wait[0].metric not in TRANSCRIPT_METRICS):
            continue  # a turn with a reply
        value_ns, bound_ns = turn.metric_ns(metric), turn.bound_ns(metric)
        if value_ns is not None and bound_ns is not None:
            times_us.setdefault(value, []).append(value_ns // NS_PER_US)
            times_us.setdefault(bound, []).append(bound_ns // NS_PER_US)
            keys.append(value)
    return keys


def _wait_us(turn: TurnObservation) -> tuple[LiveMetricKey, int] | None:
    """Return the key and the latency of a turn's first delta, or of its transcript; None if none came."""
    instants, measured_from = turn.instants, turn.measured_from
    if measured_from is None:
        return None
    first = awaited(instants)
    if first is None:
        return None
    instant, metric = first
    of_transcript = metric in TRANSCRIPT_METRICS  # its metrics begin at an instant of their own
    wait_ns = turn.metric_ns(CATALOGUE[metric]) if of_transcript else instants[instant] - instants[measured_from]
    return None if wait_ns is None else (LiveMetricKey(WAIT, metric, measured_from), wait_ns // NS_PER_US)


class CostMeter:
    """The cost of a process. Responses are added when they are done, and minutes as they pass. `terms`: the pricing
    terms of
    each target, by its label.
    """

    def __init__(self, table: Mapping[str, Prices], terms: Mapping[str, PricingTerms]) -> None:
        self._table, self._terms = table, terms
        self._tariffs: dict[tuple[str, str | None], TurnPricing] = {}
        self._open: Counter[tuple[str, float]] = Counter()
        """The number of open sessions, by target and cost of a minute."""
        self._opened_ns: Counter[tuple[str, float]] = Counter()
        """The sum of the instants at which these sessions opened."""
        self._usd: defaultdict[str, float] = defaultdict(float)
        """The cost by target, without the minutes of open sessions."""
        self.unpriced_of: Counter[str] = Counter()
        """The number of responses with token usage but without a known cost, by target."""
        self.unknown_models: set[str] = set()

    def add(self, target: str, model: str | None, usage: TokenUsage) -> None:
        """Add a response that is done. `model`: the model that the session reported; None if it reported none."""
        tariff = self._tariff(target, model)
        if tariff.prices is not None and not tariff.prices.of_tokens:
            return
        if usage.unread:
            self.unpriced_of[target] += 1
        elif tariff.prices is None:
            self.unpriced_of[target] += 1
            self.unknown_models.add(tariff.model)
        else:
            self._usd[target] += usage_usd(tariff.prices, usage)

    def add_audio(self, target: str, model: str | None, audio_ns: int) -> None:
        """Add the audio of a turn, in a session that only transcribes and so is billed by the minute of audio."""
        tariff = self._tariff(target, model)
        if tariff.prices is None or tariff.prices.of_tokens:
            self.unpriced_of[target] += 1
            self.unknown_models.add(tariff.model)
        else:
            self._usd[target] += tariff.prices.usd_per_minute * audio_ns / NS_PER_MINUTE

    def open(self, target: str, model: str | None, opened_ns: int) -> None:
        """Count the minutes of a session from this instant on, if it is billed by the minute."""
        if usd_per_minute := self._usd_per_minute(target, model):
            self._open[target, usd_per_minute] += 1
            self._opened_ns[target, usd_per_minute] += opened_ns

    def close(self, target: str, model: str | None, opened_ns: int, ended_ns: int) -> None:
        """Add the minutes of a session that was opened and has ended."""
        if usd_per_minute := self._usd_per_minute(target, model):
            self._open[target, usd_per_minute] -= 1
            self._opened_ns[target, usd_per_minute] -= opened_ns
            self._usd[target] += usd_per_minute * (ended_ns - opened_ns) / NS_PER_MINUTE

    @property
    def unpriced(self) -> int:
        return self.unpriced_of.total()

    def usd_at(self, now_ns: int) -> float:
        """Return the total cost up to an instant, including the minutes of open sessions."""
        return sum(self.usd_of_targets(now_ns).values())

    def usd_of_targets(self, now_ns: int) -> dict[str, float]:
        """Return the cost up to an instant of each target that has one."""
        spent = self._usd.copy()
        for (target, usd_per_minute), count in self._open.items():
            open_ns = count * now_ns - self._opened_ns[target, usd_per_minute]
            spent[target] += usd_per_minute * open_ns / NS_PER_MINUTE
        return dict(spent)

    def _usd_per_minute(self, target: str, model: str | None) -> float:
        prices = self._tariff(target, model).prices
        return prices.usd_per_minute if prices else 0.0

    def _tariff(self, target: str, model: str | None) -> TurnPricing:
        if (target, model) not in self._tariffs:
            self._tariffs[target, model] = tariff_of(self._table, self._terms.get(target, PricingTerms()), model)
        return self._tariffs[target, model]


def over_budget(budget_usd: float | None, usd: float) -> str:
    """Return why a run must request no more responses; "" while it may."""
    if budget_usd is None or usd < budget_usd:
        return ""
    return f"the budget of {dollars(budget_usd)} USD is spent: {dollars(usd)} USD"


def unknown_price(spending: CostMeter) -> str:
    """Return a line that explains why a budget cannot be enforced without a price, and what to do."""
    if not spending.unknown_models:
        return "--budget cannot be enforced, because the service's token counts cannot be read: omit --budget"
    named = ", ".join(sorted(filter(None, spending.unknown_models)))
    which = f"no price of {named} is known" if named else "the service names no model, so no price is known"
    return f"--budget cannot be enforced, because {which}: {GIVE_PRICES}"
