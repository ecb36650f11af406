"""The cost of a run's tokens and minutes, at the prices of `bench.pricing`.

It includes all turns and sessions, also those of the warm-up, because all are billed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import pandas as pd
from msgspec import convert

from bench.columns import token_column
from bench.pricing import UNLISTED_DIALECTS, Prices, PricingTerms, TurnPricing, audio_out_usd, cost_usd, tariff_of
from bench.run.metric_values import floats
from bench.units import NS_PER_MINUTE, NS_PER_S, S_PER_MINUTE
from reports.json_entries import Count, JsonEntry, Known, Rounded, about
from reports.runs import RunFrames
from reports.statistics.counting import Floats, Integers, distinct
from reports.summary.example_turns import BYTES_PER_S
from reports.summary.transcription import only_transcribes
from reports.turns import Flags, position_of, values_of

KINDS = (
    *("text_in", "cached_text_in", "audio_in", "cached_audio_in", "image_in", "cached_image_in"),
    *("text_out", "audio_out"),
)
"""The types of tokens that `bench.pricing` distinguishes. Cached tokens are also counted as input tokens."""


@dataclass(frozen=True)
class UsageArrays:
    """The usage that may be billed, as arrays of equal length.

    The arrays have one entry for each turn of the run, and then one entry for each session. The entry of a session has
    the usage of this session that belongs to no turn.

    - `unattributed` is True for the entries of sessions.
    - `target` is the index of a target.
    - `model` is an index into `models`.
    - `session` is an index into `ids`.
    """

    run: RunFrames
    unattributed: Flags
    target: Integers
    model: Integers
    session: Integers
    models: list[str]
    ids: pd.Index[str]

    def tokens(self, kind: str) -> Floats:
        """Return the tokens of one type, which is one of KINDS. An entry is NaN if the service reported no usage."""
        return _tokens(self.run, kind)

    @property
    def unplayed(self) -> tuple[Integers, Floats, Floats]:
        """The audio that interrupted turns received but did not play: the turns, the duration in ns, and the tokens."""
        wasted_ns = floats(self.run.turns, "unplayed_audio_ns")
        stopped = np.flatnonzero(~np.isnan(wasted_ns))
        wasted_ns = wasted_ns[stopped]
        received_ns = floats(self.run.turns, "received_audio_ns")[stopped]
        share: Floats = np.divide(wasted_ns, received_ns, out=np.zeros_like(wasted_ns), where=wasted_ns != 0)
        return stopped, wasted_ns, share * _column(self.run.turns, "audio_out")[stopped]

    @property
    def minutes(self) -> Floats:
        """The minutes of each session that may be billed, in the entry of the session.

        They are the minutes for which the session was open. If sessions only transcribe, they are the minutes of the
        audio that it sent. The entries of turns are 0.
        """
        sessions = self.run.sessions
        if only_transcribes(scripts := self.run.metadata.get("scripts") or []):
            formats = {script.get("name"): script.get("input_format") or "pcm16" for script in scripts}
            bytes_per_s = sessions["script"].map({name: BYTES_PER_S[format] for name, format in formats.items()})
            sent = sessions["audio_bytes_sent"].to_numpy(dtype=np.float64, na_value=0.0)
            audio_s = sent / bytes_per_s.to_numpy(dtype=np.float64)
            of_audio: Floats = np.r_[np.zeros(len(self.run.turns)), audio_s / S_PER_MINUTE]
            return of_audio
        open_ns = (sessions["ended_at_ns"] - sessions["opened_at_ns"]).where(sessions["session_updated_at_ns"].notna())
        of_sessions = open_ns.to_numpy(dtype=np.float64, na_value=0.0) / NS_PER_MINUTE
        minutes: Floats = np.r_[np.zeros(len(self.run.turns)), of_sessions]
        return minutes

    def conversation_minutes(self, sessions: Integers) -> float:
        theirs = self.run.sessions[self.run.sessions["session_id"].isin(self.ids[sessions]).to_numpy()]
        return float((theirs["ended_at_ns"] - theirs["opened_at_ns"]).sum()) / NS_PER_MINUTE


def bills_of(run: RunFrames, targets: Sequence[str]) -> UsageArrays:
    """Return the usage of a run. The index of a target is its position in `targets`."""
    turns, sessions = run.turns, run.sessions
    own = pd.Index(sessions["session_id"].astype(object))
    ids = turns["session_id"].cat.categories.union(own, sort=False)
    session = np.r_[turns["session_id"].cat.codes.to_numpy(), ids.get_indexer(own)].astype(np.int32)
    models, of_session = _models(run, ids)
    return UsageArrays(
        run=run,
        unattributed=np.arange(session.size) >= len(turns),
        target=np.r_[position_of(turns["target"], tuple(targets)), position_of(sessions["target"], tuple(targets))],
        model=of_session[session],
        session=session,
        models=models,
        ids=ids,
    )


def _tokens(run: RunFrames, kind: str) -> Floats:
    of_kind = _of_cached if kind.startswith("cached_") else _column
    return np.concatenate([of_kind(run.turns, kind), of_kind(run.sessions, kind)])


def _of_cached(frame: pd.DataFrame, kind: str) -> Floats:
    """Return the cached tokens of one type in each row.

    A service may report cached tokens without their type. They then count as cached text, up to the number of text
    tokens, and the rest as cached audio.
    """
    values, cached = _column(frame, kind), _column(frame, "cached_in")
    if kind == "cached_image_in":
        return values
    other = _column(frame, "cached_audio_in" if kind == "cached_text_in" else "cached_text_in")
    kindless = ~np.isnan(cached) & np.isnan(values) & np.isnan(other)
    if kindless.any():
        text = np.minimum(cached, np.nan_to_num(_column(frame, "text_in")))
        values = np.where(kindless, text if kind == "cached_text_in" else cached - text, values)
    return values


def _column(frame: pd.DataFrame, kind: str) -> Floats:
    return floats(frame, token_column(kind))


def _models(run: RunFrames, ids: pd.Index[str]) -> tuple[list[str], Integers]:
    """Return the names of the models, and the index of the model of each session in `ids`.

    The array of indices has one more element at its end, for entries without a session.
    """
    named = run.sessions[["session_id", "model"]].set_index("session_id")["model"].astype("category").cat
    labels = [*map(str, named.categories), ""]
    code_of = pd.Series(named.codes.to_numpy(), index=named.codes.index.astype(object))
    codes = code_of[~code_of.index.duplicated(keep="last")].reindex(ids, fill_value=-1).to_numpy()
    models = list(dict.fromkeys([*(labels[code] for code in pd.unique(codes)), ""]))
    index_of_code = np.array([models.index(label) if label in models else -1 for label in labels], dtype=np.int32)
    return models, index_of_code[np.append(codes, -1)]


INPUT, OUTPUT = ("text_in", "audio_in", "image_in"), ("text_out", "audio_out")
CACHED = tuple(f"cached_{kind}" for kind in INPUT)
UNNAMED = "a model that was not named"


class Charge(JsonEntry, frozen=True):
    """The tokens and minutes of one target and model, and their prices; null if there are no prices."""

    model: str
    turns: Count
    source: Annotated[Known, about("source of the prices: own, or table")]
    tokens: dict[str, Count]
    unattributed_tokens: Annotated[dict[str, Count], about("of tokens that belong to no turn")]
    unattributed_sessions: Annotated[Count, about("sessions with such tokens")]
    minutes: Rounded
    prices: Prices | None

    @property
    def usd(self) -> float:
        if self.prices is None:
            return 0.0
        return float(cost_usd(self.prices, self.tokens)) + self.minutes * self.prices.usd_per_minute

    @property
    def stray_usd(self) -> float:
        return float(cost_usd(self.prices, self.unattributed_tokens)) if self.prices else 0.0


class UnplayedAudio(JsonEntry, frozen=True):
    """The audio of interrupted replies that was generated but not played."""

    replies: Count
    replies_with_usage: Annotated[Count, about("those whose service reported tokens")]
    replies_priced: Annotated[Count, about("those with a price")]
    seconds: Rounded
    audio_tokens: Count
    usd: Rounded
    usd_per_reply: Annotated[Rounded, about("of one interruption")]


def _together(wastes: Sequence[UnplayedAudio]) -> UnplayedAudio:
    """Return the sum of several amounts of unplayed audio."""
    *parts, _ = UnplayedAudio.__struct_fields__
    sums = {name: sum(getattr(waste, name) for waste in wastes) for name in parts}
    return UnplayedAudio(**sums, usd_per_reply=_per(sums["usd"], sums["replies_priced"]))


class TargetCost(JsonEntry, frozen=True, kw_only=True):
    """The cost of one target's sessions; null if nothing has a price."""

    target: str
    usd: Rounded
    usd_per_turn: Rounded
    usd_per_session: Rounded
    usd_per_minute: Rounded
    turns: Annotated[Count, about("that are billed: turns with usage, or all turns if only time is billed")]
    turns_priced: Count
    turns_without_usage: Annotated[
        Count, about("turns whose usage the service did not report, although tokens are billed")
    ]
    unattributed_usd: Annotated[Rounded, about("what of it belongs to no turn")]
    unattributed_sessions: Annotated[Count, about("sessions with such costs")]
    sessions: Annotated[Count, about("those with a price")]
    minutes: Annotated[Rounded, about("of conversation in them, from the opened connection to the end")]
    unplayed_audio: UnplayedAudio
    models: tuple[Charge, ...]

    def tokens(self, *kinds: str) -> int:
        return sum(charge.tokens[kind] for charge in self.models for kind in kinds)


class PricesUsed(JsonEntry, frozen=True):
    """The prices that the run used."""

    name: Known
    as_of: Known


class RunCost(JsonEntry, frozen=True, kw_only=True):
    """The cost of the run, its budget and its estimate; null if nothing has a price."""

    usd: Rounded
    turns: Count
    turns_priced: Count
    turns_without_usage: Count
    unattributed_usd: Annotated[Rounded, about("what of it belongs to no turn")]
    unattributed_sessions: Count
    unplayed_audio: Annotated[UnplayedAudio | None, about("null if no reply was interrupted")]
    models_without_price: tuple[str, ...]
    prices: PricesUsed
    budget_usd: float | None
    estimate_usd: tuple[float, float] | None
    input_transcription_extra: Annotated[bool, about("the service transcribed the input, which is billed separately")]
    targets: tuple[TargetCost, ...]

    @property
    def has_images(self) -> bool:
        return any(cost.tokens("image_in") for cost in self.targets)

    @property
    def by_minute(self) -> bool:
        """True if any minute of a session had a price."""
        return any(charge.prices and charge.prices.usd_per_minute for cost in self.targets for charge in cost.models)

    @property
    def is_known(self) -> bool:
        return any(cost.models for cost in self.targets)

    @property
    def per_turn(self) -> float:
        return _per(self.usd, self.turns_priced)

    @property
    def per_minute(self) -> float:
        return _per(self.usd, sum(cost.minutes for cost in self.targets))


def _per(usd: float, number: float) -> float:
    return usd / number if number else math.nan


def money_of(run: RunFrames, targets: Sequence[str]) -> RunCost:
    document = run.metadata
    prices = document.get("prices") or {}
    estimate = document.get("estimate_usd")
    costs = tuple(_costs(run, targets))
    known_usd = [cost.usd for cost in costs if not math.isnan(cost.usd)]
    waste = _together([cost.unplayed_audio for cost in costs])
    return RunCost(
        usd=sum(known_usd) if known_usd else math.nan,
        turns=sum(cost.turns for cost in costs),
        turns_priced=sum(cost.turns_priced for cost in costs),
        turns_without_usage=sum(cost.turns_without_usage for cost in costs),
        unattributed_usd=sum(cost.unattributed_usd for cost in costs),
        unattributed_sessions=sum(cost.unattributed_sessions for cost in costs),
        unplayed_audio=waste if waste.replies else None,
        models_without_price=tuple(dict.fromkeys(c.model for cost in costs for c in cost.models if c.prices is None)),
        prices=PricesUsed(str(prices.get("name") or ""), str(prices.get("as_of") or "")),
        budget_usd=document.get("budget_usd"),
        estimate_usd=(estimate[0], estimate[1]) if estimate else None,
        input_transcription_extra=not only_transcribes(document.get("scripts") or [])
        and not bool(np.isnan(values_of(run.turns, "input_transcript")).all()),
        targets=costs,
    )


def _costs(run: RunFrames, targets: Sequence[str]) -> Iterable[TargetCost]:
    """Yield the cost of each target.

    Prices are linear, so the tokens of a target and model are added up before they are priced.
    """
    bills = bills_of(run, targets)
    models = len(bills.models)
    size, group = len(targets) * models, bills.target * models + bills.model
    tariffs = _tariffs(run, targets, bills.models)
    prices = [tariff.prices for tariff in tariffs]
    timed = np.array([known is not None and not known.of_tokens for known in prices], dtype=bool)
    by_minute = np.array([known is not None and known.usd_per_minute > 0 for known in prices], dtype=bool)
    has_usage, lasted = timed[group] & ~bills.unattributed, bills.minutes
    if only_transcribes(run.metadata.get("scripts") or []):  # the service reports no tokens of responses
        has_usage |= ~bills.unattributed
    minutes = np.bincount(group, lasted, size)
    sums, of_stray, first = dict[str, Floats](), dict[str, Floats](), len(run.turns)
    for kind in KINDS:
        tokens = bills.tokens(kind)
        has_usage |= ~np.isnan(tokens)
        sums[kind], of_stray[kind] = _summed(tokens, group, size), _summed(tokens[first:], group[first:], size)
    turns, strays = (
        np.bincount(group[has_usage & rows], minlength=size) for rows in (~bills.unattributed, bills.unattributed)
    )
    wastes = _unplayed_audio(bills, group, prices)
    paid = has_usage | (by_minute[group] & (lasted > 0))
    for index, label in enumerate(targets):
        groups = range(index * models, (index + 1) * models)
        charged = [g for g in groups if turns[g] or strays[g] or (by_minute[g] and minutes[g])]
        charges = tuple(
            Charge(
                *(tariffs[g].model or UNNAMED, int(turns[g]), tariffs[g].source),
                {kind: int(values[g]) for kind, values in sums.items()},
                {kind: int(values[g]) for kind, values in of_stray.items()},
                *(int(strays[g]), float(minutes[g]), tariffs[g].prices),
            )
            for g in charged
        )
        sessions = distinct(bills.session[paid & np.isin(group, [g for g in charged if tariffs[g].prices])])
        without_usage = int(((bills.target == index) & ~has_usage & ~bills.unattributed).sum())
        yield _cost(
            *(label, charges, without_usage, sessions.size, bills.conversation_minutes(sessions)),
            _together([wastes[g] for g in groups]),
        )


def _cost(
    target: str, charges: tuple[Charge, ...], without_usage: int, sessions: int, minutes: float, waste: UnplayedAudio
) -> TargetCost:
    """Return the cost of a target.

    - `charges` has one entry for each model.
    - `without_usage` is the number of turns without reported usage.
    - `sessions` is the number of sessions that have a price. `minutes` is how long these sessions were open.
    - `waste` is the audio that was not played.
    """
    paid = [charge for charge in charges if charge.prices]
    usd, priced = sum(charge.usd for charge in paid) if paid else math.nan, sum(charge.turns for charge in paid)
    return TargetCost(
        target=target,
        usd=usd,
        usd_per_turn=_per(usd, priced),
        usd_per_session=_per(usd, sessions),
        usd_per_minute=_per(usd, minutes),
        turns=sum(charge.turns for charge in charges),
        turns_priced=priced,
        turns_without_usage=without_usage,
        unattributed_usd=sum(charge.stray_usd for charge in charges),
        unattributed_sessions=sum(charge.unattributed_sessions for charge in paid),
        sessions=sessions,
        minutes=minutes,
        unplayed_audio=waste,
        models=charges,
    )


def _unplayed_audio(bills: UsageArrays, group: Integers, prices: Sequence[Prices | None]) -> list[UnplayedAudio]:
    (stopped, wasted_ns, tokens), size = bills.unplayed, len(prices)
    group, has_tokens = group[stopped], ~np.isnan(tokens)
    replies, with_tokens = (np.bincount(groups, minlength=size) for groups in (group, group[has_tokens]))
    seconds, sums = np.bincount(group, wasted_ns / NS_PER_S, size), _summed(tokens, group, size).round()
    wastes = []
    for g, known in enumerate(prices):
        counts = int(replies[g]), int(with_tokens[g]), int(with_tokens[g]) if known else 0
        usd = audio_out_usd(known, sums[g]) if known else 0.0
        wastes.append(UnplayedAudio(*counts, float(seconds[g]), int(sums[g]), usd, _per(usd, counts[-1])))
    return wastes


def _tariffs(run: RunFrames, targets: Sequence[str], models: Sequence[str]) -> list[TurnPricing]:
    """Return the pricing of turns for each combination of target and model.

    The order is: all models of the first target, all models of the second target, and so on.
    """
    entries = {entry.get("name"): entry for entry in run.metadata.get("targets") or []}
    priced = (run.metadata.get("prices") or {}).get("models") or {}
    table = {name: _prices(entry) for name, entry in priced.items()}
    tariffs = []
    for entry in (entries.get(label, {}) for label in targets):
        own = _prices(entry["prices"]) if entry.get("prices") else None
        terms = PricingTerms(str(entry.get("model") or ""), own, entry.get("dialect") not in UNLISTED_DIALECTS)
        tariffs += [tariff_of(table, terms, model) for model in models]
    return tariffs


def _prices(entry: Mapping[str, Any]) -> Prices:
    # `convert` does not write defaults into the instance, so JSON would lack them
    return replace(convert(entry, Prices))


def _summed(values: Floats, group: Integers, size: int) -> Floats:
    """Return the sum of the values in each group. Values that were not reported count as 0."""
    return np.bincount(group, np.nan_to_num(values), size).astype(np.float64)
