"""The cost of sessions: prices per kind of token and per minute, and the sum.

The arithmetic is pure, and the same before, during and after a run. Rows contain the numbers of
tokens. run.json contains the prices and their date. The cost is computed when a run is read, so a
wrong price is corrected without a new run. A missing price is not zero: turns without a price are
counted as unpriced.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal, NamedTuple, TypeVar

# Three rules decide the price of a turn (`tariff_of`): the target's own prices precede those of the
# table; the model that answered precedes the one that was requested; and a name that the table does
# not have has no price, even if a similar name has one. A model with a date in its name that has no
# price of its own has that of the undated name.
#
# Costs are an upper bound where the service does not state the kind of its tokens
# (`TokenUsage.as_audio`).
MILLION = 1_000_000
CENT = 0.01
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}\Z", re.ASCII)

Tokens = TypeVar("Tokens")
"""A number, or a column of numbers."""


class Billing(Enum):
    """The way in which a service bills its sessions."""

    MODELS = auto()
    """Tokens or minutes of the model, at the prices of the table of models."""
    TIERS = auto()
    """Price tiers of the service, which no table of models contains."""
    BACKEND = auto()
    """Minutes for the model of the session. All tokens are those of a backend."""


@dataclass(frozen=True)
class Prices:
    """US dollars per million tokens, by kind of token, and per minute of a session.

    Cached tokens are input that the service has read before. Some services have a higher price for
    input that they write into their cache. If images have no price of their own, they cost as much
    as text. If minutes in standby have none, they cost as much as other minutes.
    """

    text_input: float
    text_cached_input: float
    text_output: float
    audio_input: float
    audio_cached_input: float
    audio_output: float
    image_input: float | None = None
    image_cached_input: float | None = None
    text_cache_write: float | None = None
    usd_per_minute: float = 0.0
    usd_per_standby_minute: float | None = None

    @property
    def of_tokens(self) -> bool:
        """True if tokens have a price; False if only time has a price."""
        return any((self.text_input, self.text_output, self.audio_input, self.audio_output))


@dataclass(frozen=True)
class PricingTerms:
    """The facts that determine a target's prices in advance: the requested model or deployment,
    own prices, and the shortest duration that a session is billed.
    """

    requested_model: str | None = None
    own: Prices | None = None
    billing: Billing = Billing.MODELS
    prepaid_s: float = 0.0

    @property
    def has_backend(self) -> bool:
        """True if the tokens are those of a backend, another model than that of the session."""
        return self.billing is Billing.BACKEND


class BilledModel(NamedTuple):
    """A model that the service reported, if it reported one. A backend's tokens are billed, but
    no minutes.
    """

    name: str | None
    is_backend: bool = False


@dataclass(frozen=True)
class TurnPricing:
    """The model and prices of a turn. `model` is "" if its name is unknown. `prices` is None if
    they are unknown.
    """

    model: str
    prices: Prices | None
    source: Literal["own", "table", ""]


def token_model(terms: PricingTerms, model: str | None, backend: str | None) -> BilledModel:
    """Return the model whose tokens a session reports: that of the session, or its backend."""
    return BilledModel(backend, is_backend=True) if terms.has_backend else BilledModel(model)


def tariff_of(
    table: Mapping[str, Prices], terms: PricingTerms, answered: BilledModel
) -> TurnPricing:
    """Return the model and prices of a turn, or of minutes. The same rule is used before, during
    and after a run.

    The model is `answered`, the model that the service reported; if there is none, it is the
    requested model. The target's own prices precede those of `table`, for any model. If a backend
    uses the tokens, own prices of minutes alone say nothing about tokens, and own prices of tokens
    alone say nothing about minutes.
    """
    model = answered.name or (not answered.is_backend and terms.requested_model) or ""
    own = terms.own
    if own is not None and (
        not terms.has_backend or (own.of_tokens if answered.is_backend else own.usd_per_minute)
    ):
        return TurnPricing(model, own, "own")
    prices = prices_of(table, model) if terms.billing is not Billing.TIERS else None
    if prices is not None and answered.is_backend and not prices.of_tokens:
        prices = None
    return TurnPricing(model, prices, "table" if prices else "")


def cost_usd(prices: Prices, tokens: Mapping[str, Tokens]) -> Tokens:
    """Return the cost of tokens in US dollars. `tokens` are the numbers of tokens, or columns of
    numbers, by kind.

    The kinds are text_in, audio_in, image_in, the cached_…_in of these three, cache_write_in,
    text_out, and audio_out. The service counts cached tokens in the input too
    (`input_token_details`), so they are subtracted from the input. Tokens that it writes into its
    cache are also a part of the input; all of them are text.
    """
    text_cached, audio_cached, image_cached = (
        tokens[f"cached_{kind}_in"] for kind in ("text", "audio", "image")
    )
    image_in_usd = prices.text_input if prices.image_input is None else prices.image_input
    image_cached_usd = (
        prices.text_cached_input if prices.image_cached_input is None else prices.image_cached_input
    )
    cache_write_usd = (
        prices.text_input if prices.text_cache_write is None else prices.text_cache_write
    )
    total = (
        (tokens["text_in"] - text_cached) * prices.text_input  # type: ignore[operator]
        + text_cached * prices.text_cached_input  # type: ignore[operator]
        + tokens["cache_write_in"] * (cache_write_usd - prices.text_input)  # type: ignore[operator]
        + tokens["text_out"] * prices.text_output  # type: ignore[operator]
        + (tokens["audio_in"] - audio_cached) * prices.audio_input  # type: ignore[operator]
        + audio_cached * prices.audio_cached_input  # type: ignore[operator]
        + tokens["audio_out"] * prices.audio_output  # type: ignore[operator]
        + (tokens["image_in"] - image_cached) * image_in_usd  # type: ignore[operator]
        + image_cached * image_cached_usd  # type: ignore[operator]
    )
    return total / MILLION  # type: ignore[no-any-return]


def minutes_usd(prices: Prices, minutes: float, standby: float) -> float:
    """Return the cost of minutes of sessions, in US dollars. `standby` are those of them that
    were in standby.
    """
    standby_usd = (
        prices.usd_per_minute
        if prices.usd_per_standby_minute is None
        else prices.usd_per_standby_minute
    )
    return minutes * prices.usd_per_minute + standby * (standby_usd - prices.usd_per_minute)


def audio_out_usd(prices: Prices, tokens: float) -> float:
    """Return the cost of the tokens of spoken replies, in US dollars."""
    return tokens * prices.audio_output / MILLION


def prices_of(table: Mapping[str, Prices], model: str) -> Prices | None:
    """Return the prices of a model, or of its undated name, and never those of a similar name;
    None if unknown.
    """
    return table.get(model) or table.get(undated(model))


def undated(model: str) -> str:
    """Return the name of a model without the date of its version."""
    return _DATE.sub("", model)


def dollars(usd: float) -> str:
    """Return an amount as text, without its unit: with cents, or with two significant digits
    below one cent.
    """
    if usd >= CENT or usd <= 0:
        return f"{usd:,.2f}"
    return f"{usd:.2g}" if usd >= 0.0001 else "0.0001"
