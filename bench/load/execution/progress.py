"""Counts how a run stands in one process while it goes on, which that reports once a second.

A report holds counts from the process's start, so that one that is lost or comes twice does no harm, and the times of
the turns that ended since the report before. None of it is a figure of the run: those come from its rows.
`bench.load.runners.live_totals` adds up the reports of all processes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Final, Literal, NamedTuple

from bench.clock import monotonic_ns
from bench.metrics import CATALOGUE, FIRST_DELTAS, HEADLINE, ORIGINS, OutcomeClass, is_throttled, outcome_class
from bench.observe.observation import SessionObservation, TurnObservation
from bench.pricing import Prices, PricingTerms, TurnPricing, dollars, tariff_of
from bench.protocol.events import TokenUsage
from bench.run.histograms import Histograms, StepLabels, turn_step, worst_p99_ms
from bench.run.recorder import NO_TRAFFIC, Traffic
from bench.target.target_settings import GIVE_PRICES, usage_usd
from bench.units import NS_PER_MINUTE, NS_PER_US

LiveRole = Literal["wait", "value", "bound"]
WAIT: Final = "wait"
"""The role of what a caller waited for: the first delta."""
VALUE: Final = "value"
"""The role of a headline metric, whose bound is known."""
BOUND: Final = "bound"
"""The role of that bound: how far the value can be off."""


class LiveMetricKey(NamedTuple):
    """Says what times of live views are. Those of two origins are never pooled."""

    role: LiveRole
    metric: str
    measured_from: str


JUDGED = {
    measured_from: tuple(
        (CATALOGUE[name], LiveMetricKey(VALUE, name, measured_from), LiveMetricKey(BOUND, name, measured_from))
        for name in HEADLINE
    )
    for measured_from in ORIGINS
}
"""The headline metrics of turns of each origin, with the keys of their values and bounds."""

Times = dict[str, dict[str, list[tuple[LiveMetricKey, list[int]]]]]
"""Microseconds, by arm and step, each key once."""
StepKey = tuple[str, str]
"""A script's name and a label in it."""
Failures = dict[str, list[tuple[LiveMetricKey | None, int]]]
"""Failed turns by arm, each key once: a turn counts once with what it waited for first (None where no turn of its step
has shown that yet), and once with each headline metric that other turns of its step have."""
Outcomes = dict[str, dict[str, dict[str, int]]]
"""Turns, by arm, step and the first word of their outcome."""


@dataclass(frozen=True)
class ProgressReport:
    """What one process reports, in plain data: `msgspec.convert(asdict(standing), ProgressReport)` is the same again.

    `sessions_open`, `callers_backing_off`, who wait after a refused call, `tokenless`, sessions that wait for a token,
    and `waiting_s`, for which starts are still held back, are of this moment. `times_us` are of the turns that ended
    since the report before. All else is of everything up to now. What says how long callers waited, and how exact that
    is, is of measured turns alone.
    """

    calls: int = 0
    calls_blocked: int = 0
    """Calls that found no free slot."""
    calls_backed_off: int = 0
    """Calls that were held back because their caller's last one was refused."""
    callers_backing_off: int = 0
    sessions_open: int = 0
    tokenless: int = 0
    sessions_done: int = 0
    sessions_renewed: int = 0
    """Sessions that are done and whose place another session of their call took."""
    sessions_refused: int = 0
    """Sessions that failed before they were open and were not throttled; a part of the done."""
    pairs_done: int = 0
    """Measured pairs of which every session has ended."""
    turns_succeeded: int = 0
    turns_failed: int = 0
    throttled: int = 0
    """Turns and sessions; of the turns a part of the failed, of the sessions a part of the done."""
    turns_stamped: int = 0
    turns_user_stamped: int = 0
    """Turns whose stamps did not all come from the kernel."""
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
        """Sessions that are done, those of one call counted as one."""
        return self.sessions_done - self.sessions_renewed


NOTHING_SENT: Mapping[str, Traffic] = {}
COUNTS = tuple(each.name for each in fields(ProgressReport) if each.type == "int")
"""What is counted, and of several processes added up."""
DESIGN = ("sessions_measured", "turns_measured", "turns_squared")
"""Measured sessions with a turn that ended, these turns, and the sum of the squares of their numbers by session."""
TARGET_COUNTS = ("sessions_open", "turns_succeeded", "turns_failed", *DESIGN, *Traffic._fields, "usd", "unpriced")
"""What is counted by target, too; bytes are those on the wire."""


class ProgressCounter:
    """Counts what the sessions of one process came to so far."""

    def __init__(self, spending: CostMeter) -> None:
        self.spending = spending
        self._counts: Counter[str] = Counter()
        self._of_targets: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._failed: Counter[tuple[str, StepKey]] = Counter()
        self._awaited: dict[StepKey, LiveMetricKey] = {}
        self._headlines: defaultdict[StepKey, set[LiveMetricKey]] = defaultdict(set)
        """Which headline metrics turns of a step have."""
        self._steps = StepLabels()
        self._outcomes: Outcomes = {}
        self._times_us: dict[str, dict[str, dict[LiveMetricKey, list[int]]]] = {}

    def count(self, **more: int) -> None:
        """Add to counts of `ProgressReport`."""
        for name, number in more.items():
            self._counts[name] += number  # a number also of what is True: an empty counter's `update` keeps that

    def _count_at(self, arm: str, **more: int) -> None:
        self.count(**more)
        for name, number in more.items():
            self._of_targets[arm][name] += number

    def session_opened(self, arm: str, session: SessionObservation) -> None:
        """Count a session whose settings the service has taken. `arm`: the target's label."""
        self._count_at(arm, sessions_open=1)
        self.spending.open(arm, session.model, session.instants["opened"])

    def session_ended(self, arm: str, session: SessionObservation, *, opened: bool) -> None:
        """Count a session. `arm`: the target's label; `opened`: whether `session_opened` was called for it."""
        self.count(sessions_done=1, sessions_renewed=session.renewed)
        if opened:
            self._count_at(arm, sessions_open=-1)
            self.spending.close(arm, session.model, session.instants["opened"], session.instants["ended"])
        elif is_throttled(session.outcome):
            self.count(throttled=1)
        else:
            self.count(sessions_refused=outcome_class(session.outcome) == "failed")

    def turn_ended(self, arm: str, script: str, turn: TurnObservation, *, measured: bool = True) -> None:
        """Count a turn that is over. `arm`: the target's label; `script`: its name."""
        kind = outcome_class(turn.outcome)
        if kind == "success":
            self._count_at(arm, turns_succeeded=1)
        elif kind == "failed":
            self._count_at(arm, turns_failed=1)
            self.count(throttled=is_throttled(turn.outcome))
        if measured:
            self._note_measured(arm, (script, turn.step), kind, turn)

    def _note_measured(self, arm: str, step: StepKey, kind: OutcomeClass, turn: TurnObservation) -> None:
        """Count a measured turn: its timestamps, its times if it succeeded, its failure by its step.

        What a failed turn waited for may be known from a later turn of its step alone.
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
        name = turn_step(step[0], self._steps.counted(*step), turn.turn_type, None)
        outcomes, word = self._outcomes.setdefault(arm, {}).setdefault(name, {}), turn.outcome.partition(":")[0]
        outcomes[word] = outcomes.get(word, 0) + 1
        if kind == "success":
            times_us = self._times_us.setdefault(arm, {}).setdefault(name, {})
            self._headlines[step].update(_note_times(times_us, wait, turn))
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

    def standing(
        self,
        histograms: Histograms,
        traffic: Mapping[str, Traffic] = NOTHING_SENT,
        *,
        waiting_s: float = 0.0,
        tokenless: int = 0,
        simulated: bool = False,
    ) -> ProgressReport:
        """Make the next report. `histograms`, `traffic`: the recorder's."""
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


def _note_times(
    times_us: dict[LiveMetricKey, list[int]], wait: tuple[LiveMetricKey, int] | None, turn: TurnObservation
) -> list[LiveMetricKey]:
    """Note what the caller of a good turn waited; each headline metric, whose keys it returns, and its bound."""
    if wait is not None:
        times_us.setdefault(wait[0], []).append(wait[1])
    keys = []
    for metric, value, bound in JUDGED.get(turn.measured_from or "", ()):
        if metric.end not in turn.instants:  # as all of most turns but two or three, and quicker to see
            continue
        value_ns, bound_ns = turn.metric_ns(metric), turn.bound_ns(metric)
        if value_ns is not None and bound_ns is not None:
            times_us.setdefault(value, []).append(value_ns // NS_PER_US)
            times_us.setdefault(bound, []).append(bound_ns // NS_PER_US)
            keys.append(value)
    return keys


def _wait_us(turn: TurnObservation) -> tuple[LiveMetricKey, int] | None:
    """What a turn's caller waited for, and how long; None where it did not come."""
    instants, measured_from = turn.instants, turn.measured_from
    if measured_from is None:
        return None
    for awaited, metric in FIRST_DELTAS.items():
        if awaited in instants:
            return LiveMetricKey(WAIT, metric, measured_from), (
                instants[awaited] - instants[measured_from]
            ) // NS_PER_US
    return None


class CostMeter:
    """Adds up what responses cost, as they are done, and minutes, as they pass. `terms`: by the target's label."""

    def __init__(self, table: Mapping[str, Prices], terms: Mapping[str, PricingTerms]) -> None:
        self._table, self._terms = table, terms
        self._tariffs: dict[tuple[str, str | None], TurnPricing] = {}
        self._open: Counter[tuple[str, float]] = Counter()
        """Sessions that are open, by their target and what a minute of them costs."""
        self._opened_ns: Counter[tuple[str, float]] = Counter()
        """The sum of the instants at which these were opened."""
        self._usd: defaultdict[str, float] = defaultdict(float)
        """Spending by target, without the minutes of sessions that are open."""
        self.unpriced_of: Counter[str] = Counter()
        """How many responses told tokens and are in no amount; by target."""
        self.unknown_models: set[str] = set()

    def add(self, target: str, model: str | None, usage: TokenUsage) -> None:
        """Add a response that is done. `model`: as the session named it, None where it did not."""
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

    def open(self, target: str, model: str | None, opened_ns: int) -> None:
        """Count the minutes of a session from this instant on, where it is paid by the minute."""
        if usd_per_minute := self._usd_per_minute(target, model):
            self._open[target, usd_per_minute] += 1
            self._opened_ns[target, usd_per_minute] += opened_ns

    def close(self, target: str, model: str | None, opened_ns: int, ended_ns: int) -> None:
        """Add the minutes of a session that was opened, and has ended."""
        if usd_per_minute := self._usd_per_minute(target, model):
            self._open[target, usd_per_minute] -= 1
            self._opened_ns[target, usd_per_minute] -= opened_ns
            self._usd[target] += usd_per_minute * (ended_ns - opened_ns) / NS_PER_MINUTE

    @property
    def unpriced(self) -> int:
        return self.unpriced_of.total()

    def usd_at(self, now_ns: int) -> float:
        """All that is spent by an instant, the minutes of open sessions included."""
        return sum(self.usd_of_targets(now_ns).values())

    def usd_of_targets(self, now_ns: int) -> dict[str, float]:
        """The same for each target that cost something."""
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
    """Say why a run must ask for no more responses; "" while it may."""
    if budget_usd is None or usd < budget_usd:
        return ""
    return f"the budget of {dollars(budget_usd)} USD is spent: {dollars(usd)} USD"


def unknown_price(spending: CostMeter) -> str:
    """Say why a budget cannot be kept where something told has no price, and what to do, in one line."""
    if not spending.unknown_models:
        return "--budget cannot be enforced, because the service's token counts cannot be read: leave --budget out"
    named = ", ".join(sorted(filter(None, spending.unknown_models)))
    which = f"no price of {named} is known" if named else "the service names no model, so no price is known"
    return f"--budget cannot be enforced, because {which}: {GIVE_PRICES}"
