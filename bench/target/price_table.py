"""The forms of prices in files, and the price table: the prices of each model, with their date
and sources.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bench.catalogue.pricing import Prices, cost_usd
from bench.files.validation import (
    Date,
    Field,
    MapOf,
    Number,
    OrStruct,
    Schema,
    String,
    StructOf,
    Validator,
    field_key,
    struct_of,
)
from bench.files.yaml_file import LocatedValue, read_yaml
from bench.wire.events import TokenUsage

T = TypeVar("T")
# Prices come from a target, from a file, or from the shipped table, in the same form
# (`PricesValidator`). They are stored in run.json with their date and sources, so a report of an
# old run shows the costs of its time.
PRICE_FILE = "prices.yaml"
DOLLARS = Number(0, 100_000, "of US dollars")
PER_MINUTE_OF_SESSION = "usd_per_minute"
OF_TOKENS = {
    "text_input": Field(DOLLARS, "Per million tokens: input text.", required=True),
    "text_cached_input": Field(DOLLARS, "Cached input text.", required=True),
    "text_output": Field(DOLLARS, "Output text.", required=True),
    "audio_input": Field(DOLLARS, "Input audio.", required=True),
    "audio_cached_input": Field(DOLLARS, "Cached input audio.", required=True),
    "audio_output": Field(DOLLARS, "Output audio.", required=True),
}
NOT_TOKENS = {
    "image_input": Field(DOLLARS, "Input images; default: the price of text."),
    "image_cached_input": Field(DOLLARS, "Cached input images; default: the price of text."),
    "text_cache_write": Field(
        DOLLARS, "Input text that is written into the cache; default: the price of input text."
    ),
    PER_MINUTE_OF_SESSION: Field(
        DOLLARS, "Per minute of a session. Prices of tokens are then optional."
    ),
}
OF_STANDBY = {
    "usd_per_standby_minute": Field(
        DOLLARS, "Per minute of a session in standby; default: as other minutes."
    )
}


@dataclass(frozen=True)
class PricesValidator(Validator[T]):
    """The validator of prices. If there is a price of minutes, each omitted price of tokens is
    0.
    """

    build: Callable[..., T]
    extra_keys: Mapping[str, Field[Any]] = field(default_factory=dict)

    def read(self, value: LocatedValue) -> T:
        entries = value.content()
        by_minute = isinstance(entries, dict) and PER_MINUTE_OF_SESSION in entries
        return self._table(by_minute=by_minute).read(value)

    def schema(self) -> Schema:
        of_tokens, by_minute = (
            self._table(by_minute=by_minute).schema() for by_minute in (False, True)
        )
        return {"if": {"required": [PER_MINUTE_OF_SESSION]}, "then": by_minute, "else": of_tokens}

    def _table(self, *, by_minute: bool) -> StructOf[T]:
        of_tokens = OF_TOKENS
        extra_keys = NOT_TOKENS
        if by_minute:
            of_tokens = {
                name: replace(entry, required=False, default=0.0)
                for name, entry in OF_TOKENS.items()
            }
            extra_keys = extra_keys | {
                PER_MINUTE_OF_SESSION: replace(extra_keys[PER_MINUTE_OF_SESSION], required=True)
            }
            extra_keys |= OF_STANDBY
        return StructOf({**of_tokens, **extra_keys, **self.extra_keys}, self.build, nothing=False)


PRICES = OrStruct(
    String("the name of a model of the price table, or a table of prices"), PricesValidator(Prices)
)
GIVE_PRICES = "add `prices:` to the target in targets.yaml, or use a price file: --prices FILE"


@dataclass(frozen=True)
class PriceTable:
    """Prices as of a date, YYYY-MM-DD, from the file `name`. `sources` has a line for each
    model.
    """

    as_of: str
    name: str
    sources: tuple[str, ...]
    models: Mapping[str, Prices]


@dataclass(frozen=True)
class PricedModel:
    """The prices of one model. `source` describes where they come from."""

    prices: Prices
    source: str


def _priced(source: str = "", **prices: float) -> PricedModel:
    return PricedModel(Prices(**prices), source)


PRICED = PricesValidator(
    _priced, {"source": Field(String(blank=True), "The source of the prices, in words.")}
)


@dataclass(frozen=True)
class PriceFileValidator:
    """The validator of a file of prices."""

    as_of: date = field_key(Date(), "The date of the prices.", required=True)
    models: dict[str, PricedModel] = field_key(
        MapOf("[!-~]{1,100}", PRICED), "Prices by model.", required=True
    )


def load_price_table(path: Path | None) -> PriceTable:
    """Return the price table in a file; the built-in one if `path` is None. Raise ScriptError
    with the line.
    """
    if path is None:
        return _shipped()
    file = struct_of(PriceFileValidator).read(read_yaml(path, "the file"))
    models = {name: model.prices for name, model in file.models.items()}
    sources = tuple(
        f"{name}: {model.source}" for name, model in file.models.items() if model.source
    )
    return PriceTable(file.as_of.isoformat(), path.name, sources, models)


@cache
def _shipped() -> PriceTable:
    """Return the built-in table, with the prices in the folders of services."""
    with resources.as_file(resources.files("bench")) as folder:
        table = load_price_table(folder / "target" / PRICE_FILE)
        for path in sorted((folder / "services").glob(f"*/{PRICE_FILE}")):
            own = load_price_table(path)
            table = replace(
                table, models={**table.models, **own.models}, sources=(*table.sources, *own.sources)
            )
    return table


def usage_usd(prices: Prices, usage: TokenUsage) -> float:
    """Return the cost of these tokens in US dollars."""
    return float(cost_usd(prices, msgspec.structs.asdict(usage)))
