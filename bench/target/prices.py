"""The price table: what a million tokens of each model cost, dated, with where each figure is from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from bench.money import Prices
from bench.target.settings import NAMED, PriceSettings, key
from bench.target.yaml_file import YamlFile

ModelName = Annotated[str, Meta(pattern=r"^[!-~]{1,100}$(?!\n)")]


@dataclass(frozen=True)
class PriceTable:
    """Prices by model. `as_of`: the figures' day, YYYY-MM-DD; `name`: of the file; `sources`: a line for each model."""

    as_of: str
    name: str
    sources: tuple[str, ...]
    models: Mapping[str, Prices]


class PricedModel(PriceSettings, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What a model's tokens cost."""

    source: Annotated[str, key("Where the figures are from, in words.", "text")] = ""


class PriceFile(Struct, forbid_unknown_fields=True, frozen=True):
    """A file of prices."""

    as_of: Annotated[date, key("The day of the figures.", "a date, as in 2026-11-01")]
    models: Annotated[dict[ModelName, PricedModel], key("Prices by model.", NAMED)]


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
    file = YamlFile(path)
    read = file.read(PriceFile)
    models = {name: model.prices for name, model in read.models.items()}
    sources = tuple(f"{name}: {model.source}" for name, model in read.models.items() if model.source)
    return PriceTable(read.as_of.isoformat(), path.name, sources, models)
