"""The cost of sessions: prices per kind of token and per minute, and the sum.

Pure arithmetic, the same before, during and after a run. Rows contain tokens, run.json contains prices with their day,
and the cost is computed when a run is read: a wrong price is corrected without a new run. A missing price is not zero:
such turns are counted as unpriced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

MILLION = 1_000_000
CENT = 0.01
UNLISTED_DIALECTS = frozenset({"voice-live"})
"""Dialects of services with price tiers of their own, which no price table of models contains."""
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}\Z", re.ASCII)

Tokens = TypeVar("Tokens")
"""A number, or a column of numbers."""


@dataclass(frozen=True)
class Prices:
    """US dollars per million tokens of a kind, and per minute of a session.

    Cached tokens are input that was read before. Images without a price of their own cost as much as text.
    """

    text_input: float
    text_cached_input: float
    text_output: float
    audio_input: float
    audio_cached_input: float
    audio_output: float
    image_input: float | None = None
    image_cached_input: float | None = None
    usd_per_minute: float = 0.0

    @property
    def of_tokens(self) -> bool:
        """True if tokens have a price; otherwise only time has one."""
        return any((self.text_input, self.text_output, self.audio_input, self.audio_output))


@dataclass(frozen=True)
class PricingTerms:
    """The facts about a target's prices that are known before it responds.

    `requested_model` is the requested model or deployment. `own` are the target's own prices. `listed` is True if the
    price table contains the prices of the target's service.
    """

    requested_model: str | None = None
    own: Prices | None = None
    listed: bool = True


@dataclass(frozen=True)
class TurnPricing:
    """The model and prices of a turn. `model` is "" if none is named. `prices` is None if they are unknown."""

    model: str
    prices: Prices | None
    source: Literal["own", "table", ""]


def tariff_of(table: Mapping[str, Prices], terms: PricingTerms, answered: str | None) -> TurnPricing:
    """Return the model and prices of a turn. This is the one rule, before, during and after a run.

    The model is the one that the service reported, otherwise the requested one. The target's own prices have priority
    over those of the table, for any model.
    """
    model = answered or terms.requested_model or ""
    if terms.own is not None:
        return TurnPricing(model, terms.own, "own")
    prices = prices_of(table, model) if terms.listed else None
    return TurnPricing(model, prices, "table" if prices else "")


def cost_usd(prices: Prices, tokens: Mapping[str, Tokens]) -> Tokens:
    """Return the price of `tokens`: text_in, audio_in, image_in, their cached_…_in, text_out, audio_out.

    Cached tokens are a part of the input (the service's `input_token_details`), so they are subtracted from it. The
    values may be numbers or columns of numbers.
    """
    text_cached, audio_cached, image_cached = (tokens[f"cached_{kind}_in"] for kind in ("text", "audio", "image"))
    image_in_usd = prices.text_input if prices.image_input is None else prices.image_input
    image_cached_usd = prices.text_cached_input if prices.image_cached_input is None else prices.image_cached_input
    total = (
        (tokens["text_in"] - text_cached) * prices.text_input  # type: ignore[operator]
        + text_cached * prices.text_cached_input  # type: ignore[operator]
        + tokens["text_out"] * prices.text_output  # type: ignore[operator]
        + (tokens["audio_in"] - audio_cached) * prices.audio_input  # type: ignore[operator]
        + audio_cached * prices.audio_cached_input  # type: ignore[operator]
        + tokens["audio_out"] * prices.audio_output  # type: ignore[operator]
        + (tokens["image_in"] - image_cached) * image_in_usd  # type: ignore[operator]
        + image_cached * image_cached_usd  # type: ignore[operator]
    )
    return total / MILLION  # type: ignore[no-any-return]


def audio_out_usd(prices: Prices, tokens: float) -> float:
    """Return the price of tokens of spoken replies."""
    return tokens * prices.audio_output / MILLION


def prices_of(table: Mapping[str, Prices], model: str) -> Prices | None:
    """Return the prices of a model by its name, or, if the table does not have it, by its name without the date.

    Return None if the table has neither: a newer model with a similar name is another model.
    """
    return table.get(model) or table.get(undated(model))


def undated(model: str) -> str:
    """Return the name of a model without the date of its version."""
    return _DATE.sub("", model)


def dollars(usd: float) -> str:
    """Return an amount without its unit: with cents, or two significant digits below one cent."""
    if usd >= CENT or usd <= 0:
        return f"{usd:,.2f}"
    return f"{usd:.2g}" if usd >= 0.0001 else "0.0001"
