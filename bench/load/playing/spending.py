"""Adds up what the sessions of one process cost so far, and says when that is too much."""

from __future__ import annotations

from collections.abc import Mapping

from bench.money import Prices, Tariff, Terms, dollars, tariff_of
from bench.protocol.events import Usage
from bench.target.prices import GIVE_PRICES, usage_usd


class Spending:
    """Adds up what turns cost, as they end, and what belongs to no turn, as its session ends.

    `terms`: of each target, by its label.
    """

    def __init__(self, table: Mapping[str, Prices], terms: Mapping[str, Terms]) -> None:
        self._table, self._terms = table, terms
        self._tariffs: dict[tuple[str, str | None], Tariff] = {}
        self.usd = 0.0
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

    def _spend(self, target: str, model: str | None, usage: Usage) -> None:
        tariff = self._tariffs.get((target, model))
        if tariff is None:
            tariff = tariff_of(self._table, self._terms.get(target, Terms()), model)
            self._tariffs[target, model] = tariff
        if usage.unread:
            self.unread += 1
            self.unpriced += 1
        elif tariff.prices is None:
            self.unpriced += 1
            self.unknown_models.add(tariff.model)
        else:
            self.usd += usage_usd(tariff.prices, usage)


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
