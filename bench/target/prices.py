"""The price table: what tokens and minutes of each model cost, dated, with where each figure is from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from pathlib import Path

import msgspec

from bench.money import Prices, cost_usd
from bench.protocol.events import Usage
from bench.shapes import ByName, Day, Field, Text, key, table_of
from bench.target.target_settings import PricesShape
from bench.yaml_file import read_yaml

GIVE_PRICES = "give the target `prices:` in targets.yaml, or name a file that has them: --prices FILE"


@dataclass(frozen=True)
class PriceTable:
    """Prices by model. `as_of`: the figures' day, YYYY-MM-DD; `name`: of the file; `sources`: a line for each model."""

    as_of: str
    name: str
    sources: tuple[str, ...]
    models: Mapping[str, Prices]


@dataclass(frozen=True)
class PricedModel:
    """What a model costs. `source`: where the figures are from, in words."""

    prices: Prices
    source: str


def _priced(source: str = "", **prices: float) -> PricedModel:
    return PricedModel(Prices(**prices), source)


PRICED = PricesShape(_priced, {"source": Field(Text(blank=True), "Where the figures are from, in words.")})


@dataclass(frozen=True)
class PriceFile:
    """A file of prices."""

    as_of: date = key(Day(), "The day of the figures.", required=True)
    models: dict[str, PricedModel] = key(ByName("[!-~]{1,100}", PRICED), "Prices by model.", required=True)


def load_price_table(path: Path | None) -> PriceTable:
    """The table in a file; None: the one that comes with the tool. Raises ScriptError, which names file and line."""
    if path is None:
        return _shipped()
    return _loaded(path)


@cache
def _shipped() -> PriceTable:
    with resources.as_file(resources.files("bench.target") / "prices.yaml") as path:
        return _loaded(path)


def _loaded(path: Path) -> PriceTable:
    file = table_of(PriceFile).read(read_yaml(path, "the file"))
    models = {name: model.prices for name, model in file.models.items()}
    sources = tuple(f"{name}: {model.source}" for name, model in file.models.items() if model.source)
    return PriceTable(file.as_of.isoformat(), path.name, sources, models)


def usage_usd(prices: Prices, usage: Usage) -> float:
    """What some tokens cost."""
    return float(cost_usd(prices, msgspec.structs.asdict(usage)))
