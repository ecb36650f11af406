"""Adds up what the sessions of one process cost so far, and says when that is too much."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from bench.money import Prices, Tariff, Terms, dollars, tariff_of
from bench.protocol.events import Usage
from bench.target.prices import GIVE_PRICES, usage_usd
from bench.units import NS_PER_MINUTE


class Spending:
    """Adds up what responses cost, as they are done, and minutes, as they pass.

    `terms`: of each target, by its label.
    """

    def __init__(self, table: Mapping[str, Prices], terms: Mapping[str, Terms]) -> None:
        self._table, self._terms = table, terms
        self._tariffs: dict[tuple[str, str | None], Tariff] = {}
        self._open: Counter[tuple[str, float]] = Counter()
        """Sessions that are open, by their target and what a minute of them costs."""
        self._opened_ns: Counter[tuple[str, float]] = Counter()
        """The sum of the instants at which these were opened."""
        self._usd: defaultdict[str, float] = defaultdict(float)
        """Spending by target, without the minutes of sessions that are open."""
        self.unpriced_of: Counter[str] = Counter()
        """How many responses told tokens and are in no amount; by target."""
        self.unknown_models: set[str] = set()

    def add(self, target: str, model: str | None, usage: Usage) -> None:
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
        """How many responses are in no amount."""
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

    def _tariff(self, target: str, model: str | None) -> Tariff:
        tariff = self._tariffs.get((target, model))
        if tariff is None:
            tariff = tariff_of(self._table, self._terms.get(target, Terms()), model)
            self._tariffs[target, model] = tariff
        return tariff


def over_budget(budget_usd: float | None, usd: float) -> str:
    """Say why a run must ask for no more responses; "" while it may."""
    if budget_usd is None or usd < budget_usd:
        return ""
    return f"the budget of {dollars(budget_usd)} USD is spent: {dollars(usd)} USD"


def unknown_price(spending: Spending) -> str:
    """Say why a budget cannot be kept where something told has no price, and what to do, in one line."""
    if not spending.unknown_models:
        return "--budget cannot be kept, because the service's token counts cannot be read: leave --budget out"
    named = ", ".join(sorted(filter(None, spending.unknown_models)))
    which = f"no price of {named} is known" if named else "the service names no model, so no price is known"
    return f"--budget cannot be kept, because {which}: {GIVE_PRICES}"
