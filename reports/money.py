"""What a run's tokens cost, by `bench.money`; pure.

All turns count, those of warm-up and failed ones too: all are billed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.money import Prices, cost_usd, prices_of
from reports.runs import Run
from reports.statistics import Floats, Integers
from reports.turns import place_of

KINDS = ("text_in", "cached_text_in", "audio_in", "cached_audio_in", "text_out", "audio_out")
"""Kinds of tokens as `bench.money` names them; cached ones are a part of the input."""
INPUT, CACHED, OUTPUT = ("text_in", "audio_in"), ("cached_text_in", "cached_audio_in"), ("text_out", "audio_out")
UNNAMED = "a model that was not named"


@dataclass(frozen=True)
class Charge:
    """The tokens of one target and model, and their prices; `prices` None where nobody gave any."""

    model: str
    turns: int
    tokens: Mapping[str, int]
    prices: Prices | None
    source: str
    """own, table, or nothing"""

    @property
    def usd(self) -> float:
        return float(cost_usd(self.prices, self.tokens)) if self.prices else 0.0


@dataclass(frozen=True)
class Cost:
    """What one target's turns cost."""

    target: str
    charges: tuple[Charge, ...]
    silent: int
    """turns whose usage the service did not tell"""
    sessions: int
    """those with a priced turn"""
    minutes: float
    """of conversation in them: from the finished upgrade to the end"""

    @property
    def turns(self) -> int:
        """Turns with usage."""
        return sum(charge.turns for charge in self.charges)

    @property
    def priced(self) -> int:
        return sum(charge.turns for charge in self.charges if charge.prices)

    @property
    def usd(self) -> float:
        """NaN where no turn could be priced."""
        return sum(charge.usd for charge in self.charges) if self.priced else float("nan")

    @property
    def per_turn(self) -> float:
        return _per(self.usd, self.priced)

    @property
    def per_session(self) -> float:
        return _per(self.usd, self.sessions)

    @property
    def per_minute(self) -> float:
        return _per(self.usd, self.minutes)

    def tokens(self, *kinds: str) -> int:
        """Tokens of these kinds together."""
        return sum(charge.tokens[kind] for charge in self.charges for kind in kinds)


@dataclass(frozen=True)
class Money:
    """The cost of a run and what it was set against."""

    costs: tuple[Cost, ...]
    table: str
    as_of: str
    budget_usd: float | None
    estimate_usd: tuple[float, float] | None
    transcribed: bool
    """whether the service transcribed what it heard, which is billed apart"""

    @property
    def usd(self) -> float:
        """NaN where nothing could be priced."""
        told = [cost.usd for cost in self.costs if cost.priced]
        return sum(told) if told else float("nan")

    @property
    def turns(self) -> int:
        return sum(cost.turns for cost in self.costs)

    @property
    def priced(self) -> int:
        return sum(cost.priced for cost in self.costs)

    @property
    def silent(self) -> int:
        return sum(cost.silent for cost in self.costs)

    @property
    def per_turn(self) -> float:
        return _per(self.usd, self.priced)

    @property
    def per_minute(self) -> float:
        return _per(self.usd, sum(cost.minutes for cost in self.costs))

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Models without a price."""
        return tuple(dict.fromkeys(c.model for cost in self.costs for c in cost.charges if c.prices is None))


def _per(usd: float, number: float) -> float:
    return usd / number if number else float("nan")


def money_of(run: Run, targets: Sequence[str]) -> Money:
    """Tokens and cost of every turn of the run."""
    document, frame = run.document, run.turns
    prices = document.get("prices") or {}
    estimate = document.get("estimate_usd")
    return Money(
        costs=tuple(_costs(run, targets)),
        table=str(prices.get("name") or ""),
        as_of=str(prices.get("as_of") or ""),
        budget_usd=_number(document.get("budget_usd")),
        estimate_usd=(float(estimate[0]), float(estimate[1]))
        if isinstance(estimate, list) and len(estimate) == 2
        else None,
        transcribed=bool(len(frame)) and bool(frame["input_transcript_ms"].notna().any()),
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _costs(run: Run, targets: Sequence[str]) -> Iterable[Cost]:
    """Tokens are summed for each target and model in one pass, and the sums are priced: a price is linear."""
    columns = _tokens(run.turns)
    told = np.any([~np.isnan(values) for values in columns.values()], axis=0)
    target = place_of(run.turns["target"], tuple(targets))
    models, model, session = _models(run)
    size, group = len(targets) * len(models), target * len(models) + model
    group = group[told]
    turns = np.bincount(group, minlength=size)
    sums = {kind: np.bincount(group, np.nan_to_num(values[told]), size) for kind, values in columns.items()}
    entries = {str(e.get("label")): e for e in run.document.get("targets") or [] if isinstance(e, dict)}
    for place, label in enumerate(targets):
        groups = [place * len(models) + code for code in range(len(models))]
        named = [
            (models[g % len(models)] or str(entries.get(label, {}).get("model") or ""), g) for g in groups if turns[g]
        ]
        charges = tuple(
            Charge(name or UNNAMED, int(turns[g]), {k: int(v[g]) for k, v in sums.items()}, *_prices(run, label, name))
            for name, g in named
        )
        bought = np.isin(
            model, [g % len(models) for (_, g), charge in zip(named, charges, strict=True) if charge.prices]
        )
        sessions = np.unique(session[told & bought & (target == place)])
        silent = int(((target == place) & ~told).sum())
        yield Cost(label, charges, silent, sessions.size, _minutes(run, sessions))


def _tokens(frame: pd.DataFrame) -> dict[str, Floats]:
    """Columns by kind, NaN where no usage was told. Where cached tokens have no kind, text is cached before audio."""
    columns = {kind: frame[f"tokens_{kind}"].to_numpy(dtype=np.float64) for kind in KINDS}
    cached = frame["tokens_cached_in"].to_numpy(dtype=np.float64)
    kindless = ~np.isnan(cached) & np.isnan(columns["cached_text_in"]) & np.isnan(columns["cached_audio_in"])
    if kindless.any():
        text = np.minimum(cached, np.nan_to_num(columns["text_in"]))
        columns["cached_text_in"] = np.where(kindless, text, columns["cached_text_in"])
        columns["cached_audio_in"] = np.where(kindless, cached - text, columns["cached_audio_in"])
    return columns


def _models(run: Run) -> tuple[list[str], Integers, Integers]:
    """Models, and of each turn the place of its session's model and the code of its session."""
    ids = run.turns["session_id"].cat
    of_session = dict(zip(run.sessions["session_id"].astype(object), run.sessions["model"].astype(object), strict=True))
    said = [of_session.get(name) for name in ids.categories]
    names = [name if isinstance(name, str) else "" for name in said]
    models = list(dict.fromkeys([*names, ""]))
    place = {name: code for code, name in enumerate(models)}
    codes: Integers = np.array([*(place[name] for name in names), place[""]], dtype=np.int64)
    session = ids.codes.to_numpy().astype(np.int64)
    return models, codes[session], session


def _minutes(run: Run, sessions: npt.NDArray[np.int64]) -> float:
    """How long these sessions, by their codes, were open."""
    names = run.turns["session_id"].cat.categories[sessions]
    mine = run.sessions[run.sessions["session_id"].isin(names).to_numpy()]
    return float((mine["ended_at_ns"] - mine["upgrade_done_at_ns"]).sum()) / 60e9


def _prices(run: Run, label: str, model: str) -> tuple[Prices | None, str]:
    """The target's own prices, else the table's for the model."""
    for entry in run.document.get("targets") or []:
        if isinstance(entry, dict) and entry.get("label") == label and (own := as_prices(entry.get("prices"))):
            return own, "own"
    table = (run.document.get("prices") or {}).get("models") or {}
    known = {str(name): found for name, entry in table.items() if (found := as_prices(entry))}
    found = prices_of(known, model)
    return found, "table" if found else ""


def as_prices(entry: object) -> Prices | None:
    """Six numbers by name; None where they are not all there."""
    names = [field.name for field in fields(Prices)]
    if not isinstance(entry, dict) or not all(_number(entry.get(name)) is not None for name in names):
        return None
    return Prices(**{name: float(entry[name]) for name in names})
