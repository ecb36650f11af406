"""The progress of a run in one process, which reports it once a second.

A report contains counts since the start of the process, so a missing or repeated report does no
harm. It also contains the times of the turns that ended since the previous report. Results are
computed from rows, and not from reports. `bench.load.runners.live_totals` adds up the reports of
all processes.
"""

# A report costs the same whether a process has ten sessions or thousands: numbers are added when
# something ends, and minutes of open sessions are computed from sums. The times of turns are the
# only part that grows, and each is reported once. They are grouped by target and step, because
# quantiles of different steps are not pooled.
#
# Costs are those that the budget needs while the run lasts. Each process checks its own, and the
# leader checks those of all processes once a second (`over_budget`). A run therefore exceeds its
# budget by what is under way at that time.

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, NamedTuple

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_MINUTE, NS_PER_S, NS_PER_US
from bench.catalogue.metrics import (
    CAN_DECIDE,
    CATALOGUE,
    MEASURED_FROM,
    TRANSCRIPT_METRICS,
    awaited,
)
from bench.catalogue.outcomes import OutcomeClass, is_own_limit, is_throttled, outcome_class, parsed
from bench.catalogue.pricing import (
    BilledModel,
    Prices,
    PricingTerms,
    TurnPricing,
    dollars,
    minutes_usd,
    tariff_of,
    token_model,
)
from bench.observe.observation import SessionObservation, TurnObservation
from bench.record.histograms import Histograms, StepLabels, turn_step, worst_p99_ms
from bench.record.recorder import NO_TRAFFIC, Traffic
from bench.target.price_table import GIVE_PRICES, usage_usd
from bench.wire.events import TokenUsage

WAIT: Final = "wait"
"""The role of times that are the latency of a turn's first delta."""
VALUE: Final = "value"
"""The role of times that are values of a headline metric. Each has a known uncertainty."""
BOUND: Final = "bound"
"""The role of times that are the uncertainties of a headline metric's values."""


class LiveMetricKey(NamedTuple):
    """The key under which live views collect times. Times with different `measured_from` have
    different keys.
    """

    role: Literal["wait", "value", "bound"]
    metric: str
    measured_from: str


JUDGED = {
    measured_from: tuple(
        (
            CATALOGUE[name],
            LiveMetricKey(VALUE, name, measured_from),
            LiveMetricKey(BOUND, name, measured_from),
        )
        for name in CAN_DECIDE
    )
    for measured_from in MEASURED_FROM
}
"""The headline metrics by `measured_from`, each with the key of its values and the key of its
uncertainties."""

Times = dict[str, dict[str, list[tuple[LiveMetricKey, list[int]]]]]
"""Times in microseconds, by target and step. The list of a step contains each key once, with all
times of this key."""
StepKey = tuple[str, str]
"""The name of a script, and the name of one of its steps."""
Failures = dict[str, list[tuple[LiveMetricKey | None, int]]]
"""The failed turns of each target, by key. A turn is counted under the keys of all headline metrics
of its step, and under the key of the first delta for which it waited; this is None if no turn of
its step has received one yet.
"""
Outcomes = dict[str, dict[str, dict[str, int]]]
"""The numbers of turns, by target, by step, and by the part of the outcome before the colon."""


@dataclass(frozen=True)
class ProgressReport:
    """The progress report of one process, as plain data.

    `times_us` contains the times of turns that ended since the previous report. Other values count
    from the start of the process, if they do not describe the present. Latency and its uncertainty
    come only from measured turns.
    """

    calls_offered: int = 0
    calls_blocked: int = 0
    """Calls that were blocked, because no user was idle."""
    calls_backed_off: int = 0
    """Calls that were delayed because the caller's previous call was refused."""
    callers_backing_off: int = 0
    """Callers who wait now after a refused call."""
    own_delays: int = 0
    """Delays of starts after throttled requests whose length the service did not request."""
    sessions_open: int = 0
    """Sessions that are open now."""
    tokenless: int = 0
    """Sessions that wait now for a token."""
    sessions_done: int = 0
    sessions_renewed: int = 0
    """Ended sessions that were replaced by another session of the same call."""
    sessions_refused: int = 0
    """Sessions that failed before they were open, without throttled sessions. `sessions_done`
    includes them."""
    sessions_prevented: int = 0
    """Sessions that a limit of this machine prevented. `sessions_done` includes them."""
    pairs_done: int = 0
    """Measured pairs whose sessions have all ended."""
    turns_succeeded: int = 0
    turns_failed: int = 0
    throttled: int = 0
    """Throttled turns, which `turns_failed` includes, and throttled sessions, which
    `sessions_done` includes."""
    turns_stamped: int = 0
    turns_user_stamped: int = 0
    """Turns with timestamps that are not all from the kernel."""
    usd: float = 0.0
    kindless_usd: float = 0.0
    """What the tokens without a kind cost more if they are audio. A budget counts it."""
    unpriced: int = 0
    waiting_s: float = 0.0
    """The remaining delay of the next start."""
    event_loop_delay_p99_ms: float | None = None
    send_delay_p99_ms: float | None = None
    held_s: dict[str, float] = field(default_factory=dict)
    """The seconds for which each service has delayed starts, by the target's label, without
    targets without a delay."""
    simulated: bool = False
    targets: dict[str, dict[str, float]] = field(default_factory=dict)
    """The values named in TARGET_COUNTS, for each target, by the target's label."""
    failures: Failures = field(default_factory=dict)
    outcomes: Outcomes = field(default_factory=dict)
    times_us: Times = field(default_factory=dict)

    @property
    def sessions_over(self) -> int:
        """The number of sessions that are done. If a call had several sessions, they count as
        one.
        """
        return self.sessions_done - self.sessions_renewed


NOTHING_SENT: Mapping[str, Traffic] = {}
COUNTS = tuple(item.name for item in fields(ProgressReport) if item.type == "int")
"""The names of the counts. They are summed over processes."""
DESIGN = ("sessions_measured", "turns_measured", "turns_squared")
"""The numbers of measured sessions with an ended turn, of these turns, and the sum of their
squares by session."""
TARGET_COUNTS = (
    "sessions_open",
    "turns_succeeded",
    "turns_failed",
    *DESIGN,
    *Traffic._fields,
    "usd",
    "unpriced",
)
"""The names of the values that are reported for each target. Numbers of bytes are of bytes on
the network."""


class ProgressCounter:
    """A counter of the results of all sessions of one process."""

    def __init__(self, spending: CostMeter) -> None:
        self.spending = spending
        self._counts: Counter[str] = Counter()
        self._of_targets: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._failed: Counter[tuple[str, StepKey]] = Counter()
        self._awaited: dict[StepKey, LiveMetricKey] = {}
        self._headlines: defaultdict[StepKey, set[LiveMetricKey]] = defaultdict(set)
        """The headline metrics that turns of each step have, by the step."""
        self._steps = StepLabels()
        self._outcomes: Outcomes = {}
        self._times_us: dict[str, dict[str, dict[LiveMetricKey, list[int]]]] = {}

    def count(self, **more: int) -> None:
        """Add numbers to counts of `ProgressReport`, by the names of the counts."""
        for name, number in more.items():
            # True becomes 1; `update` of an empty counter would keep True
            self._counts[name] += number

    def _count_at(self, target: str, **more: int) -> None:
        self.count(**more)
        for name, number in more.items():
            self._of_targets[target][name] += number

    def session_opened(self, target: str, session: SessionObservation) -> None:
        """Count a session when the service has accepted its settings."""
        self._count_at(target, sessions_open=1)
        if session.is_answered:  # billed by its audio (`CostMeter.add_audio`)
            self.spending.open(target, session.model, session.instants["opened"])

    def session_ended(self, target: str, session: SessionObservation, *, opened: bool) -> None:
        """Count a session when it has ended. `opened` is True if `session_opened` was called for
        it.
        """
        self.count(sessions_done=1, sessions_renewed=session.renewed)
        if opened:
            self._count_at(target, sessions_open=-1)
            if session.is_answered:
                opened_ns = session.instants["opened"]
                ended_ns = session.instants["ended"]
                billed_ns = session.billed_ns, session.paused_ns
                self.spending.close(target, session.model, opened_ns, ended_ns, *billed_ns)
        elif is_throttled(session.outcome):
            self.count(throttled=1)
        else:
            is_prevented = is_own_limit(session.outcome)
            self.count(
                sessions_refused=outcome_class(session.outcome) == "failed",
                sessions_prevented=is_prevented,
            )

    def turn_ended(
        self, target: str, script: str, turn: TurnObservation, *, measured: bool = True
    ) -> None:
        """Count a turn when it has ended."""
        kind = outcome_class(turn.outcome)
        if kind == "success":
            self._count_at(target, turns_succeeded=1)
        elif kind == "failed":
            self._count_at(target, turns_failed=1)
            self.count(throttled=is_throttled(turn.outcome))
        if measured:
            self._add_measured(target, (script, turn.step), kind, turn)

    def _add_measured(
        self, target: str, step: StepKey, kind: OutcomeClass, turn: TurnObservation
    ) -> None:
        """Count a measured turn: its timestamps, its outcome, its times if it succeeded, and its
        failure if it failed.

        Failures are counted by step, because the first delta for which a failed turn waited may
        become known only from a later turn of the same step.
        """
        if kind != "unfinished":
            of_target = self._of_targets[target]
            of_target["sessions_measured"] += turn.turn == 1
            of_target["turns_measured"] += 1
            # the first n odd numbers add up to n², so the sum over sessions is right at any time
            of_target["turns_squared"] += 2 * turn.turn - 1
        source = turn.receive_timestamp_source
        wait = _wait_us(turn)
        self.count(
            turns_stamped=source is not None, turns_user_stamped=source not in (None, "kernel")
        )
        if wait is not None:
            self._awaited[step] = wait[0]
        name = turn_step(step[0], self._steps.count(*step), turn.turn_type, None)
        outcomes = self._outcomes.setdefault(target, {}).setdefault(name, {})
        outcome_word = parsed(turn.outcome).family.value
        outcomes[outcome_word] = outcomes.get(outcome_word, 0) + 1
        if kind == "success":
            times_us = self._times_us.setdefault(target, {}).setdefault(name, {})
            self._headlines[step].update(_add_times(times_us, wait, turn))
        elif kind == "failed":
            self._failed[target, step] += 1

    def _targets(self, traffic: Mapping[str, Traffic]) -> dict[str, dict[str, float]]:
        usd = self.spending.usd_of_targets(monotonic_ns())
        return {
            label: (
                dict(self._of_targets[label])
                | traffic.get(label, NO_TRAFFIC)._asdict()
                | {
                    "usd": usd.get(label, 0.0),
                    "unpriced": self.spending.unpriced_of[label],
                }
            )
            for label in self._of_targets.keys() | traffic.keys()
        }

    def report(
        self, histograms: Histograms, traffic: Mapping[str, Traffic] = NOTHING_SENT, **others: Any
    ) -> ProgressReport:
        """Return the next report. `histograms` and `traffic` are those of the recorder. `others`
        are further fields.
        """
        times_us = self._times_us
        self._times_us = {}
        failed: defaultdict[str, Counter[LiveMetricKey | None]] = defaultdict(Counter)
        for (target, step), turns in self._failed.items():
            # a step that never succeeded has no metric yet: its failures count under None
            for key in (self._awaited.get(step), *self._headlines[step]):
                failed[target][key] += turns
        return ProgressReport(
            **others,
            **dict[str, Any](self._counts),
            usd=self.spending.usd_at(monotonic_ns()),
            kindless_usd=self.spending.kindless_usd,
            unpriced=self.spending.unpriced,
            event_loop_delay_p99_ms=worst_p99_ms(histograms, "event_loop_delay"),
            send_delay_p99_ms=worst_p99_ms(histograms, "send_delay"),
            targets=self._targets(traffic),
            failures={target: list(counts.items()) for target, counts in failed.items()},
            outcomes={
                target: {step: dict(by_outcome) for step, by_outcome in steps.items()}
                for target, steps in self._outcomes.items()
            },
            times_us={
                target: {step: list(times.items()) for step, times in steps.items()}
                for target, steps in times_us.items()
            },
        )


def _add_times(
    times_us: dict[LiveMetricKey, list[int]],
    wait: tuple[LiveMetricKey, int] | None,
    turn: TurnObservation,
) -> list[LiveMetricKey]:
    """Add the first delta's latency, and the values and uncertainties of a successful turn's
    headline metrics.

    Return the keys of these metrics.
    """
    if wait is not None:
        times_us.setdefault(wait[0], []).append(wait[1])
    keys = []
    for metric, value, bound in JUDGED.get(turn.measured_from or "", ()):
        if metric.end not in turn.instants:  # true of most metrics of a turn, and a faster check
            continue
        if metric.name in TRANSCRIPT_METRICS and (
            wait is None or wait[0].metric not in TRANSCRIPT_METRICS
        ):
            continue  # a turn with a reply
        value_ns = turn.value(metric)
        bound_ns = turn.bound_ns(metric)
        if value_ns is not None and bound_ns is not None:
            times_us.setdefault(value, []).append(value_ns // NS_PER_US)
            times_us.setdefault(bound, []).append(bound_ns // NS_PER_US)
            keys.append(value)
    return keys


def _wait_us(turn: TurnObservation) -> tuple[LiveMetricKey, int] | None:
    """Return the key and the latency of a turn's first delta, or of its transcript; None if
    neither was received.
    """
    instants = turn.instants
    measured_from = turn.measured_from
    if measured_from is None:
        return None
    first = awaited(instants)
    if first is None:
        return None
    instant, metric = first
    of_transcript = metric in TRANSCRIPT_METRICS  # its metrics begin at an instant of their own
    wait_ns = (
        turn.value(CATALOGUE[metric])
        if of_transcript
        else instants[instant] - instants[measured_from]
    )
    return (
        None
        if wait_ns is None
        else (LiveMetricKey(WAIT, metric, measured_from), wait_ns // NS_PER_US)
    )


NO_TERMS = PricingTerms()


# Open sessions are paid until now. The sum of their durations is the number of sessions times now,
# minus the sum of the instants at which they were opened, so no list of sessions is needed. Prices
# per minute are a part of the key, because sessions of one target may have different models.
class CostMeter:
    """A meter of the cost of one process: of responses when they are done, and of minutes as they
    pass.

    `table` are the prices by model. `terms` are the pricing terms by the target's label.
    """

    def __init__(self, table: Mapping[str, Prices], terms: Mapping[str, PricingTerms]) -> None:
        self._table = table
        self._terms = terms
        self._tariffs: dict[tuple[str, BilledModel], TurnPricing] = {}
        self._open: Counter[tuple[str, float]] = Counter()
        """The number of open sessions, by target and price per minute."""
        self._opened_ns: Counter[tuple[str, float]] = Counter()
        """The sum of the instants at which the open sessions were opened, by target and price
        per minute."""
        self._usd: defaultdict[str, float] = defaultdict(float)
        """The cost of each target, without the minutes of open sessions."""
        self.kindless_usd = 0.0
        """What the tokens without a kind cost more if they are audio."""
        self.unpriced_of: Counter[str] = Counter()
        """The number of responses of each target that have token usage but no known cost."""
        self.unknown_models: set[str] = set()

    def add(
        self, target: str, model: str | None, usage: TokenUsage, backend: str | None = None
    ) -> None:
        """Add the cost of a response that is done.

        `model` and `backend` are the models of the session and of its backend, as the service
        reported them; None if it reported none.
        """
        tariff = self._tariff(target, token_model(self._terms_of(target), model, backend))
        # billed by the minute only
        if tariff.prices is not None and not tariff.prices.of_tokens:
            return
        if usage.unread:
            self.unpriced_of[target] += 1
        elif tariff.prices is None:
            self.unpriced_of[target] += 1
            self.unknown_models.add(tariff.model)
        else:
            usd = usage_usd(tariff.prices, usage)
            self._usd[target] += usd
            self.kindless_usd += max(0.0, usage_usd(tariff.prices, usage.as_audio) - usd)

    def add_audio(self, target: str, model: str | None, audio_ns: int) -> None:
        """Add the audio of a turn, in a session that only transcribes and so is billed by the
        minute of audio.
        """
        tariff = self._tariff(target, BilledModel(model))
        if tariff.prices is None or tariff.prices.of_tokens:
            self.unpriced_of[target] += 1
            self.unknown_models.add(tariff.model)
        else:
            self._usd[target] += tariff.prices.usd_per_minute * audio_ns / NS_PER_MINUTE

    def open(self, target: str, model: str | None, opened_ns: int) -> None:
        """Count the minutes of a session from `opened_ns` on, if sessions with this model are
        billed by the minute.
        """
        if prices := self._minute_prices(target, model):
            usd_per_minute = prices.usd_per_minute
            self._open[target, usd_per_minute] += 1
            self._opened_ns[target, usd_per_minute] += opened_ns

    def close(
        self,
        target: str,
        model: str | None,
        opened_ns: int,
        ended_ns: int,
        billed_ns: int | None = None,
        paused_ns: int | None = None,
    ) -> None:
        """Add the cost of the minutes of a session that has ended.

        `billed_ns` is the billable duration that the service reported, and `paused_ns` the part of
        it in standby. If the service reported none, the duration is that from `opened_ns` to
        `ended_ns`, at least what the creation of a session bills.
        """
        if prices := self._minute_prices(target, model):
            self._open[target, prices.usd_per_minute] -= 1
            self._opened_ns[target, prices.usd_per_minute] -= opened_ns
            if billed_ns is None:
                billed_ns = max(ended_ns - opened_ns, self._prepaid_ns(target))
            minutes = billed_ns / NS_PER_MINUTE
            self._usd[target] += minutes_usd(prices, minutes, (paused_ns or 0) / NS_PER_MINUTE)

    @property
    def unpriced(self) -> int:
        return self.unpriced_of.total()

    def usd_at(self, now_ns: int) -> float:
        """Return the total cost until an instant, including the minutes of open sessions."""
        return sum(self.usd_of_targets(now_ns).values())

    def usd_of_targets(self, now_ns: int) -> dict[str, float]:
        """Return the cost of each target that has one, until an instant, including the minutes
        of open sessions.
        """
        spent = self._usd.copy()
        for (target, usd_per_minute), count in self._open.items():
            open_ns = count * now_ns - self._opened_ns[target, usd_per_minute]
            open_ns = max(open_ns, count * self._prepaid_ns(target))
            spent[target] += usd_per_minute * open_ns / NS_PER_MINUTE
        return dict(spent)

    def _minute_prices(self, target: str, model: str | None) -> Prices | None:
        """Return the prices of a session's minutes; None if its minutes have no price."""
        prices = self._tariff(target, BilledModel(model)).prices
        return prices if prices and prices.usd_per_minute else None

    def _prepaid_ns(self, target: str) -> int:
        return round(self._terms_of(target).prepaid_s * NS_PER_S)

    def _terms_of(self, target: str) -> PricingTerms:
        return self._terms.get(target, NO_TERMS)

    def _tariff(self, target: str, model: BilledModel) -> TurnPricing:
        if (target, model) not in self._tariffs:
            self._tariffs[target, model] = tariff_of(self._table, self._terms_of(target), model)
        return self._tariffs[target, model]


def over_budget(budget_usd: float | None, usd: float, kindless_usd: float) -> str:
    """Return why the run must not request further responses; "" if it may request them."""
    if budget_usd is None or usd + kindless_usd < budget_usd:
        return ""
    spent = f"{dollars(usd)}{f' to {dollars(usd + kindless_usd)}' if kindless_usd else ''}"
    return f"the budget of {dollars(budget_usd)} USD is spent: {spent} USD"


def unknown_price(spending: CostMeter) -> str:
    """Return a line that states why the budget cannot be enforced, and what to do."""
    if not spending.unknown_models:
        return (
            "--budget cannot be enforced, because the service's token counts cannot be read: omit"
            " --budget"
        )
    names = ", ".join(sorted(filter(None, spending.unknown_models)))
    cause = (
        f"no price of {names} is known"
        if names
        else "the service names no model, so no price is known"
    )
    return f"--budget cannot be enforced, because {cause}: {GIVE_PRICES}"
