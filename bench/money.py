"""Computes what tokens cost: prices per kind of token, and the sum.

Pure arithmetic, the same before, during and after a run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

MILLION = 1_000_000
CENT = 0.01
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}\Z", re.ASCII)

Tokens = TypeVar("Tokens")
"""A number, or a column of numbers."""


@dataclass(frozen=True)
class Prices:
    """US dollars per million tokens of a kind. Cached tokens are input that was read before."""

    text_in: float
    text_cached: float
    text_out: float
    audio_in: float
    audio_cached: float
    audio_out: float


@dataclass(frozen=True)
class Terms:
    """What is known of a target before it answers: the model or deployment that is asked for, prices of its own."""

    asked: str | None = None
    own: Prices | None = None


@dataclass(frozen=True)
class Tariff:
    """What a turn is priced by. `model`: "" where nobody named one; `prices`: None where they are not known."""

    model: str
    prices: Prices | None
    source: Literal["own", "table", ""]


def tariff_of(table: Mapping[str, Prices], terms: Terms, answered: str | None) -> Tariff:
    """By which model and prices a turn is paid for: the one way to say it, before, during and after a run.

    The model is the one that answered, as the service named it; where it named none, the one that was asked for. The
    target's own prices go before the table's, whatever the model.
    """
    model = answered or terms.asked or ""
    if terms.own is not None:
        return Tariff(model, terms.own, "own")
    prices = prices_of(table, model)
    return Tariff(model, prices, "table" if prices else "")


def cost_usd(prices: Prices, tokens: Mapping[str, Tokens]) -> Tokens:
    """The price of `tokens`: text_in, audio_in, cached_text_in, cached_audio_in, text_out, audio_out.

    Cached tokens are a part of the input (the service's `input_token_details`), so they are taken off it. Takes numbers
    and columns of numbers.
    """
    text_cached, audio_cached = tokens["cached_text_in"], tokens["cached_audio_in"]
    total = (
        (tokens["text_in"] - text_cached) * prices.text_in  # type: ignore[operator]
        + text_cached * prices.text_cached  # type: ignore[operator]
        + tokens["text_out"] * prices.text_out  # type: ignore[operator]
        + (tokens["audio_in"] - audio_cached) * prices.audio_in  # type: ignore[operator]
        + audio_cached * prices.audio_cached  # type: ignore[operator]
        + tokens["audio_out"] * prices.audio_out  # type: ignore[operator]
    )
    return total / MILLION  # type: ignore[no-any-return]


def prices_of(table: Mapping[str, Prices], model: str) -> Prices | None:
    """The prices of a model: those of its own name, else those of its name without the date of its version.

    None where the table has neither: a newer model of a similar name is another model.
    """
    return table.get(model) or table.get(_DATE.sub("", model))


def dollars(usd: float) -> str:
    """An amount without its unit: cents, two digits of what is less than one."""
    if usd >= CENT or usd <= 0:
        return f"{usd:,.2f}"
    return f"{usd:.2g}" if usd >= 0.0001 else "0.0001"
