"""Adds up what the sessions of one process cost so far, and says when that is too much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from bench.money import Prices, Tariff, Terms, dollars, tariff_of
from bench.protocol.events import Usage
from bench.target.prices import GIVE_PRICES, usage_usd
from bench.units import NS_PER_MINUTE


class Spending:
    """Adds up what turns cost, as they end, what belongs to no turn, as its session ends, and minutes, as they pass.

    `terms`: of each target, by its label.
    """

    def __init__(self, table: Mapping[str, Prices], terms: Mapping[str, Terms]) -> None:
        self._table, self._terms = table, terms
        self._tariffs: dict[tuple[str, str | None], Tariff] = {}
        self._open: Counter[float] = Counter()
        """Sessions that are open, by what a minute of them costs."""
        self._opened_ns: Counter[float] = Counter()
        """The sum of the instants at which these were opened."""
        self.usd = 0.0
        """Without the minutes of sessions that are open."""
        self.unpriced = 0
        """How many turns, and sessions for what belongs to no turn, told tokens and are in no amount."""
        self.unread = 0
        """How many of these told tokens that cannot be read."""
        self.silent = 0
        """How many turns told no tokens."""
        self.unknown_models: set[str] = set()

    def add(self, target: str, model: str | None, usage: Usage | None) -> None:
        """Add a turn that has ended. `model`: as the session named it, None where it did not."""
        if usage is None:
            self.silent += 1
        else:
            self._spend(target, model, usage)

    def add_stray(self, target: str, model: str | None, usage: Usage | None) -> None:
        """Add a session that has ended. `usage`: that of its responses that belong to no turn."""
        if usage is not None:
            self._spend(target, model, usage)

    def open(self, target: str, model: str | None, opened_ns: int) -> None:
        """Count the minutes of a session from this instant on, where it is paid by the minute."""
        if usd_per_minute := self._usd_per_minute(target, model):
            self._open[usd_per_minute] += 1
            self._opened_ns[usd_per_minute] += opened_ns

    def close(self, target: str, model: str | None, opened_ns: int, ended_ns: int) -> None:
        """Add the minutes of a session that was opened, and has ended."""
        if usd_per_minute := self._usd_per_minute(target, model):
            self._open[usd_per_minute] -= 1
            self._opened_ns[usd_per_minute] -= opened_ns
            self.usd += usd_per_minute * (ended_ns - opened_ns) / NS_PER_MINUTE

    def usd_at(self, now_ns: int) -> float:
        """All that is spent by an instant, the minutes of open sessions included."""
        open_ns = ((usd, count * now_ns - self._opened_ns[usd]) for usd, count in self._open.items())
        return self.usd + sum(usd_per_minute * length_ns for usd_per_minute, length_ns in open_ns) / NS_PER_MINUTE

    def _usd_per_minute(self, target: str, model: str | None) -> float:
        prices = self._tariff(target, model).prices
        return prices.usd_per_minute if prices else 0.0

    def _spend(self, target: str, model: str | None, usage: Usage) -> None:
        tariff = self._tariff(target, model)
        if tariff.prices is not None and not tariff.prices.of_tokens:
            return
        if usage.unread:
            self.unread += 1
            self.unpriced += 1
        elif tariff.prices is None:
            self.unpriced += 1
            self.unknown_models.add(tariff.model)
        else:
            self.usd += usage_usd(tariff.prices, usage)

    def _tariff(self, target: str, model: str | None) -> Tariff:
        tariff = self._tariffs.get((target, model))
        if tariff is None:
            tariff = tariff_of(self._table, self._terms.get(target, Terms()), model)
            self._tariffs[target, model] = tariff
        return tariff


def over_budget(budget_usd: float | None, usd: float) -> str:
    """Say why a run must start no more turns; "" while it may."""
    if budget_usd is None or usd < budget_usd:
        return ""
    return f"the budget of {dollars(budget_usd)} USD is spent: {dollars(usd)} USD"


def unknown_price(spending: Spending) -> str:
    """Say why a budget cannot be kept where something told has no price, and what to do, in one line."""
    if not spending.unknown_models:
        return "--budget cannot be kept, for the service tells tokens that cannot be read: leave --budget out"
    named = ", ".join(sorted(filter(None, spending.unknown_models)))
    which = f"no price of {named} is known" if named else "the service names no model, so no price is known"
    return f"--budget cannot be kept, for {which}: {GIVE_PRICES}"
