"""The cost of a run's tokens and minutes, at the prices of `bench.catalogue.pricing`.

It includes all turns and sessions, also those of the warm-up, because all are billed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from msgspec import convert

from bench.base.units import NS_PER_MINUTE, NS_PER_S, S_PER_MINUTE
from bench.catalogue.columns import token_column
from bench.catalogue.pricing import (
    BilledModel,
    Prices,
    PricingTerms,
    TurnPricing,
    audio_out_usd,
    cost_usd,
    minutes_usd,
    tariff_of,
)
from bench.record.metric_values import floats
from bench.services.registry import dialect_of
from reports.analysis.summary.example_turns import BYTES_PER_S
from reports.analysis.summary.transcription import are_answered
from reports.data.runs import RunFrames, part_of, scripts_of, target_entries
from reports.data.turns import position_of, values_of
from reports.results.json_entries import Count, JsonEntry, Known, Rounded
from reports.statistics.counting import Flags, Floats, Integers, count_nonzero, distinct

KINDS = (
    "text_in",
    "cached_text_in",
    "audio_in",
    "cached_audio_in",
    "image_in",
    "cached_image_in",
    "cache_write_in",
    "text_out",
    "audio_out",
)
"""The types of tokens that `bench.catalogue.pricing` distinguishes. Cached tokens, and tokens that
were written into the cache, are also counted as input tokens."""
KINDLESS = ("kindless_in", "kindless_out")
"""The tokens that count as text although they may be audio, because the service did not report
their kind."""


class UsageArrays(NamedTuple):
    """The usage that may be billed, as arrays of equal length.

    The arrays have one entry for each turn of the run, and then one entry for each session. The
    entry of a session has the usage of this session that belongs to no turn.

    - `unattributed` is True for the entries of sessions.
    - `target` is the index of a target.
    - `token_group` is the pair of a target and the model whose tokens are billed: the session's
      model or, if the target delegates, its backend.
    - `minute_group` is the pair of a target and the model whose minutes may be billed, that of the
      session.
    - `needs_no_tokens` is True for turns in which a session with a backend delegated nothing to it.
    - `session` is an index into `ids`.

    The pair of the target t and the model m of `models` is t × the number of models + m.
    """

    run: RunFrames
    unattributed: Flags
    target: Integers
    token_group: Integers
    minute_group: Integers
    needs_no_tokens: Flags
    session: Integers
    models: list[BilledModel]
    ids: pd.Index[str]

    def tokens(self, kind: str) -> Floats:
        """Return the tokens of one type of KINDS or KINDLESS. An entry is NaN if the service
        reported no usage.
        """
        return _tokens(self.run, kind)

    @property
    def unplayed(self) -> tuple[Integers, Floats, Floats]:
        """The audio that interrupted turns received but did not play: the turns, the duration in
        ns, and the tokens.
        """
        wasted_ns = floats(self.run.turns, "unplayed_audio_ns")
        stopped = np.flatnonzero(~np.isnan(wasted_ns))
        wasted_ns = wasted_ns[stopped]
        received_ns = floats(self.run.turns, "received_audio_ns")[stopped]
        share: Floats = np.divide(
            wasted_ns, received_ns, out=np.zeros_like(wasted_ns), where=wasted_ns != 0
        )
        return stopped, wasted_ns, share * _column(self.run.turns, "audio_out")[stopped]

    @property
    def are_answered(self) -> bool:
        """False if the sessions only transcribe. Their service reports no tokens of responses."""
        return are_answered(scripts_of(self.run.metadata))

    @property
    def minutes(self) -> Floats:
        """The billable minutes of each session, as the service reported them.

        If it reported none, they are the minutes for which the session was open, and at least those
        that its creation billed. If sessions only transcribe, they are the minutes of the audio
        that was sent. Entries of turns are 0; so are those of sessions that never opened.
        """
        sessions = self.run.sessions
        if not self.are_answered:
            scripts = scripts_of(self.run.metadata)
            formats = {
                script.get("name"): script.get("input_format") or "pcm16" for script in scripts
            }
            bytes_per_s = sessions["script"].map(
                {name: BYTES_PER_S[format] for name, format in formats.items()}
            )
            sent = sessions["audio_bytes_sent"].to_numpy(float, na_value=0.0)
            audio_s = sent / bytes_per_s.to_numpy(float)
            of_audio: Floats = np.r_[np.zeros(len(self.run.turns)), audio_s / S_PER_MINUTE]
            return of_audio
        open_ns = (sessions["ended_at_ns"] - sessions["opened_at_ns"]).where(
            sessions["session_updated_at_ns"].notna()
        )
        prepaid_ns = sessions["target"].map(
            {
                label: dialect_of(entry).prepaid_s * NS_PER_S
                for label, entry in target_entries(self.run.metadata).items()
            }
        )
        at_least_ns = open_ns.where(open_ns.isna() | (open_ns > prepaid_ns), prepaid_ns)
        return self._of_sessions(sessions["billed_ns"].fillna(at_least_ns)) / NS_PER_MINUTE

    @property
    def standby_minutes(self) -> Floats:
        """The billable minutes of each session in standby; 0 for turns, and if the service
        reported none.
        """
        return self._of_sessions(self.run.sessions["paused_ns"]) / NS_PER_MINUTE

    @property
    def unconfirmed(self) -> Flags:
        """True for each session whose billable minutes the service did not report; False for turns.
        It is also False if the sessions only transcribe, because their audio is billed.
        """
        return self._of_sessions(self.run.sessions["billed_ns"].isna() & self.are_answered).astype(
            bool
        )

    def _of_sessions(self, values: pd.Series[Any]) -> Floats:
        of_all: Floats = np.r_[np.zeros(len(self.run.turns)), values.to_numpy(float, na_value=0.0)]
        return of_all

    def conversation_minutes(self, sessions: Integers) -> float:
        theirs = self.run.sessions[["ended_at_ns", "opened_at_ns"]]
        theirs = theirs[self.run.sessions["session_id"].isin(self.ids[sessions]).to_numpy()]
        return float((theirs["ended_at_ns"] - theirs["opened_at_ns"]).sum()) / NS_PER_MINUTE


def bills_of(run: RunFrames, targets: Sequence[str]) -> UsageArrays:
    """Return the usage of a run. The index of a target is its position in `targets`."""
    turns = run.turns
    sessions = run.sessions
    own = pd.Index(sessions["session_id"].astype(object))
    ids = turns["session_id"].cat.categories.union(own, sort=False)
    session = np.r_[turns["session_id"].cat.codes.to_numpy(), ids.get_indexer(own)].astype(np.int32)
    target = np.r_[
        position_of(turns["target"], tuple(targets)),
        position_of(sessions["target"], tuple(targets)),
    ]
    models, minute_models, backends = _models(run, ids)
    delegates = np.array([terms.has_backend for terms in terms_of(run, targets)], bool)[target]
    delegated = np.r_[floats(turns, "delegations") > 0, np.zeros(len(sessions), bool)]
    has_backend = np.array([bool(model.is_backend and model.name) for model in models])[
        backends[session]
    ]
    unattributed = np.arange(session.size) >= len(turns)
    return UsageArrays(
        run=run,
        unattributed=unattributed,
        target=target,
        token_group=target * len(models)
        + np.where(delegates, backends[session], minute_models[session]),
        minute_group=target * len(models) + minute_models[session],
        needs_no_tokens=delegates & ~unattributed & ~(delegated & has_backend),
        session=session,
        models=models,
        ids=ids,
    )


def _tokens(run: RunFrames, kind: str) -> Floats:
    of_kind = _of_cached if kind.startswith("cached_") else _column
    return np.concatenate([of_kind(run.turns, kind), of_kind(run.sessions, kind)])


def _of_cached(frame: pd.DataFrame, kind: str) -> Floats:
    """Return the cached tokens of one type in each row. A service may report cached tokens without
    their type. They then count as cached text, up to the number of text tokens, and the rest as
    cached audio.
    """
    values = _column(frame, kind)
    cached = _column(frame, "cached_in")
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


def _models(run: RunFrames, ids: pd.Index[str]) -> tuple[list[BilledModel], Integers, Integers]:
    """Return all models, and the indices of the model and of the backend of each session in `ids`.
    Each array of indices has one more element at its end, for entries without a session.
    """
    models = list[BilledModel]()
    indices = list[Integers]()
    for column, is_backend in {"model": False, "backend_model": True}.items():
        named = (
            run.sessions[["session_id", column]]
            .set_index("session_id")[column]
            .astype("category")
            .cat
        )
        labels = [*map(str, named.categories), ""]
        code_of = pd.Series(named.codes.to_numpy(), index=named.codes.index.astype(object))
        codes = (
            code_of[~code_of.index.duplicated(keep="last")].reindex(ids, fill_value=-1).to_numpy()
        )
        index_of = {
            label: len(models) + index
            for index, label in enumerate(
                dict.fromkeys([*(labels[code] for code in pd.unique(codes)), ""])
            )
        }
        index_of_code = np.array([index_of.get(label, -1) for label in labels], np.int32)
        indices.append(index_of_code[np.append(codes, -1)])
        models += [BilledModel(label, is_backend) for label in index_of]
    return models, *indices  # type: ignore[return-value]


INPUT = ("text_in", "audio_in", "image_in")
OUTPUT = ("text_out", "audio_out")
CACHED = tuple(f"cached_{kind}" for kind in INPUT)
UNNAMED = "unnamed model"


class Charge(JsonEntry):
    """The tokens and minutes of one target and model, and their prices; null if there are no
    prices.
    """

    model: str
    is_backend: bool
    """it does tasks that another model delegates"""
    turns: Count
    source: Known
    """source of the prices: own, or table"""
    tokens: dict[str, Count]
    unattributed_tokens: dict[str, Count]
    """of tokens that belong to no turn"""
    unattributed_sessions: Count
    """sessions with such tokens"""
    minutes: Rounded
    """that the service reported as billable, or else of open sessions"""
    standby_minutes: Rounded
    """of these minutes, those in standby"""
    prices: Prices | None

    @property
    def usd(self) -> float:
        if self.prices is None:
            return 0.0
        tokens_usd = float(cost_usd(self.prices, self.tokens))
        return tokens_usd + minutes_usd(self.prices, self.minutes, self.standby_minutes)

    @property
    def stray_usd(self) -> float:
        return float(cost_usd(self.prices, self.unattributed_tokens)) if self.prices else 0.0


class UnplayedAudio(JsonEntry):
    """The audio of interrupted replies that was generated but not played."""

    replies: Count
    replies_with_usage: Count
    """those whose service reported tokens"""
    replies_priced: Count
    """those with a price"""
    seconds: Rounded
    audio_tokens: Count
    usd: Rounded
    usd_per_reply: Rounded
    """of one interruption"""


def _together(wastes: Sequence[UnplayedAudio]) -> UnplayedAudio:
    *parts, _ = UnplayedAudio.__struct_fields__
    sums = {name: sum(getattr(waste, name) for waste in wastes) for name in parts}
    return UnplayedAudio(**sums, usd_per_reply=_per(sums["usd"], sums["replies_priced"]))


class TargetCost(JsonEntry, kw_only=True):
    """The cost of one target's sessions; null if nothing has a price."""

    target: str
    usd: Rounded
    is_lower_bound: bool
    """minutes have a price, but tokens of the same sessions have none; or tokens have no kind"""
    usd_per_turn: Rounded
    usd_per_session: Rounded
    usd_per_minute: Rounded
    turns: Count
    """that are billed: turns with usage, or all turns if only time is billed"""
    turns_priced: Count
    turns_without_usage: Count
    """turns whose usage the service did not report, although tokens are billed"""
    turns_without_kinds: Count
    """turns with tokens that count as text although they may be audio: the service did not report a
    kind"""
    unattributed_usd: Rounded
    """what of it belongs to no turn"""
    unattributed_sessions: Count
    """sessions with such costs"""
    sessions: Count
    """those with a price"""
    minutes: Rounded
    """of conversation in them, from the opened connection to the end"""
    sessions_unconfirmed: Count
    """sessions billed by the minute whose billable duration the service did not report"""
    unplayed_audio: UnplayedAudio
    models: tuple[Charge, ...]

    def tokens(self, *kinds: str) -> int:
        return sum(charge.tokens[kind] for charge in self.models for kind in kinds)


class RunCost(JsonEntry, kw_only=True):
    """The cost of the run, its budget and its estimate; null if nothing has a price."""

    usd: Rounded
    turns: Count
    turns_priced: Count
    turns_without_usage: Count
    turns_without_kinds: Count
    unattributed_usd: Rounded
    """what of it belongs to no turn"""
    unattributed_sessions: Count
    unplayed_audio: UnplayedAudio | None
    """null if no reply was interrupted"""
    models_without_price: tuple[str, ...]
    price_table: Known
    """the name of the prices that the run used, and their date"""
    prices_as_of: Known
    budget_usd: float | None
    estimate_usd: tuple[float, float] | None
    input_transcription_extra: bool
    """the service transcribed the input, which is billed separately"""
    targets: tuple[TargetCost, ...]

    @property
    def has_images(self) -> bool:
        return any(cost.tokens("image_in") for cost in self.targets)

    @property
    def has_cache_writes(self) -> bool:
        return any(cost.tokens("cache_write_in") for cost in self.targets)

    @property
    def has_standby(self) -> bool:
        return any(charge.standby_minutes for cost in self.targets for charge in cost.models)

    @property
    def by_minute(self) -> bool:
        """True if any minute of a session had a price."""
        return any(
            charge.prices and charge.prices.usd_per_minute
            for cost in self.targets
            for charge in cost.models
        )

    @property
    def is_known(self) -> bool:
        return any(cost.models for cost in self.targets)

    @property
    def has_backends(self) -> bool:
        return any(charge.is_backend for cost in self.targets for charge in cost.models)

    @property
    def is_lower_bound(self) -> bool:
        """True if the sessions of a target cost more than is known."""
        return any(cost.is_lower_bound for cost in self.targets)

    @property
    def sessions_unconfirmed(self) -> int:
        return sum(cost.sessions_unconfirmed for cost in self.targets)

    @property
    def per_turn(self) -> float:
        return math.nan if self.is_lower_bound else _per(self.usd, self.turns_priced)

    @property
    def per_minute(self) -> float:
        return (
            math.nan
            if self.is_lower_bound
            else _per(self.usd, sum(cost.minutes for cost in self.targets))
        )


SUMMED = (
    "turns",
    "turns_priced",
    "turns_without_usage",
    "turns_without_kinds",
    "unattributed_usd",
    "unattributed_sessions",
)
"""The fields of `RunCost` that are the sums of those of its targets."""


def _per(usd: float, number: float) -> float:
    return usd / number if number else math.nan


def money_of(run: RunFrames, targets: Sequence[str]) -> RunCost:
    document = run.metadata
    prices = part_of(document, "prices")
    estimate = document.get("estimate_usd")
    costs = tuple(_costs(run, targets))
    known_usd = [cost.usd for cost in costs if not math.isnan(cost.usd)]
    waste = _together([cost.unplayed_audio for cost in costs])
    return RunCost(
        usd=sum(known_usd) if known_usd else math.nan,
        **{name: sum(getattr(cost, name) for cost in costs) for name in SUMMED},
        unplayed_audio=waste if waste.replies else None,
        models_without_price=tuple(
            dict.fromkeys(c.model for cost in costs for c in cost.models if c.prices is None)
        ),
        price_table=str(prices.get("name") or ""),
        prices_as_of=str(prices.get("as_of") or ""),
        budget_usd=document.get("budget_usd"),
        estimate_usd=(estimate[0], estimate[1]) if estimate else None,
        input_transcription_extra=are_answered(scripts_of(document))
        and not bool(np.isnan(values_of(run.turns, "input_transcript")).all()),
        targets=costs,
    )


def _costs(run: RunFrames, targets: Sequence[str]) -> Iterable[TargetCost]:
    """Yield the cost of each target. Prices are linear, so the tokens of a target and model are
    added up before they are priced.
    """
    bills = bills_of(run, targets)
    tariffs = _tariffs(run, targets, bills.models)
    entries = _entries(bills, tariffs)
    charges = _charges(bills, tariffs, entries)
    wastes = _unplayed_audio(bills, tariffs)
    for index, label in enumerate(targets):
        groups = slice(index * len(bills.models), (index + 1) * len(bills.models))
        charged = tuple(charge for charge in charges[groups] if charge is not None)
        yield _cost(
            label, charged, bills, entries.of(bills.target == index), _together(wastes[groups])
        )


@dataclass(frozen=True)
class BilledEntries:
    """The entries of `UsageArrays` that are billed.

    - `has_tokens` is True if the service reported tokens.
    - `turns` are the turns that are billed: with tokens, or by time alone.
    - `unknown` are the turns whose tokens are billed, but were not reported.
    - `has_price` is True if all of an entry has a price.
    - `kindless` is True if tokens with a price have no kind.
    - `timed` are the sessions whose minutes have a price.
    """

    has_tokens: Flags
    turns: Flags
    unknown: Flags
    has_price: Flags
    kindless: Flags
    timed: Flags

    def of(self, rows: Flags) -> BilledEntries:
        """Return the entries of `rows` alone."""
        return BilledEntries(*(getattr(self, item.name) & rows for item in fields(self)))


def _entries(bills: UsageArrays, tariffs: Sequence[TurnPricing]) -> BilledEntries:
    group = bills.token_group
    minute_group = bills.minute_group
    has_prices = _flags(tariffs, lambda _: True)
    of_time_alone = _flags(tariffs, lambda prices: not prices.of_tokens)[group] & (
        group == minute_group
    )
    has_tokens = np.logical_or.reduce([~np.isnan(bills.tokens(kind)) for kind in KINDS])
    has_kindless = np.logical_or.reduce([bills.tokens(kind) > 0 for kind in KINDLESS])
    has_usage = has_tokens | of_time_alone | bills.needs_no_tokens | (not bills.are_answered)
    return BilledEntries(
        has_tokens=has_tokens,
        turns=has_usage & ~bills.unattributed,
        unknown=~has_usage & ~bills.unattributed,
        has_price=has_prices[minute_group] & (has_prices[group] | ~has_tokens),
        kindless=has_kindless & _flags(tariffs, lambda prices: prices.of_tokens)[group],
        timed=_flags(tariffs, lambda prices: prices.usd_per_minute > 0)[minute_group]
        & (bills.minutes > 0),
    )


def _flags(tariffs: Sequence[TurnPricing], true_of: Callable[[Prices], bool]) -> Flags:
    """Return for each tariff whether it has prices of which `true_of` is True; False if it has
    no prices.
    """
    return np.array(
        [tariff.prices is not None and true_of(tariff.prices) for tariff in tariffs], bool
    )


def _charges(
    bills: UsageArrays, tariffs: Sequence[TurnPricing], entries: BilledEntries
) -> list[Charge | None]:
    """Return the charge of each pair of a target and a model; None if nothing is billed."""
    group = bills.token_group
    minute_group = bills.minute_group
    size = len(tariffs)
    # one kind after another, because the tokens of a million turns take 9 MB
    sums = {kind: _token_sums(bills, kind, size) for kind in KINDS}
    # a turn with a backend may be billed twice: by the backend's tokens, and by the session's
    # minutes
    is_backed = group != minute_group
    turns = np.bincount(group[entries.turns & (entries.has_tokens | ~is_backed)], minlength=size)
    turns += np.bincount(minute_group[entries.turns & is_backed], minlength=size)
    strays = np.bincount(group[entries.has_tokens & bills.unattributed], minlength=size)
    minutes = np.bincount(minute_group, bills.minutes, size)
    standby = np.bincount(minute_group, bills.standby_minutes, size)
    timed = np.bincount(minute_group[entries.timed], minlength=size)
    return [
        (
            Charge(
                tariff.model or UNNAMED,
                bills.models[g % len(bills.models)].is_backend,
                int(turns[g]),
                tariff.source,
                {kind: int(of_all[g]) for kind, (of_all, _) in sums.items()},
                {kind: int(of_stray[g]) for kind, (_, of_stray) in sums.items()},
                int(strays[g]),
                float(minutes[g]),
                float(standby[g]),
                tariff.prices,
            )
            if turns[g] or strays[g] or timed[g]
            else None
        )
        for g, tariff in enumerate(tariffs)
    ]


def _cost(
    target: str,
    charges: tuple[Charge, ...],
    bills: UsageArrays,
    entries: BilledEntries,
    waste: UnplayedAudio,
) -> TargetCost:
    """Return the cost of a target.

    - `charges` has one entry for each model, and one for each backend.
    - `entries` are those of the target.
    - `waste` is the audio that was not played.
    """
    paid = [charge for charge in charges if charge.prices]
    is_backend_unpriced = 0 < len(paid) < len(charges) and any(
        charge.is_backend for charge in charges
    )
    is_lower_bound = is_backend_unpriced or bool(entries.kindless.any())
    usd = sum(charge.usd for charge in paid) if paid else math.nan
    rated_usd = math.nan if is_lower_bound else usd
    sessions = distinct(
        bills.session[((entries.turns | entries.has_tokens) & entries.has_price) | entries.timed]
    )
    minutes = bills.conversation_minutes(sessions)
    priced = count_nonzero(entries.turns & entries.has_price)
    return TargetCost(
        target=target,
        usd=usd,
        is_lower_bound=is_lower_bound,
        usd_per_turn=_per(rated_usd, priced),
        usd_per_session=_per(rated_usd, sessions.size),
        usd_per_minute=_per(rated_usd, minutes),
        turns=count_nonzero(entries.turns),
        turns_priced=priced,
        turns_without_usage=count_nonzero(entries.unknown),
        turns_without_kinds=count_nonzero(entries.kindless & ~bills.unattributed),
        unattributed_usd=sum(charge.stray_usd for charge in charges),
        unattributed_sessions=sum(charge.unattributed_sessions for charge in paid),
        sessions=sessions.size,
        minutes=minutes,
        sessions_unconfirmed=count_nonzero(entries.timed & bills.unconfirmed),
        unplayed_audio=waste,
        models=charges,
    )


def _unplayed_audio(bills: UsageArrays, tariffs: Sequence[TurnPricing]) -> list[UnplayedAudio]:
    stopped, wasted_ns, tokens = bills.unplayed
    size = len(tariffs)
    group = bills.token_group[stopped]
    has_tokens = ~np.isnan(tokens)
    replies, with_tokens = (
        np.bincount(groups, minlength=size) for groups in (group, group[has_tokens])
    )
    seconds = np.bincount(group, wasted_ns / NS_PER_S, size)
    sums = _summed(tokens, group, size).round()
    wastes = []
    for g, known in enumerate(tariff.prices for tariff in tariffs):
        counts = int(replies[g]), int(with_tokens[g]), int(with_tokens[g]) if known else 0
        usd = audio_out_usd(known, sums[g]) if known else 0.0
        wastes.append(
            UnplayedAudio(*counts, float(seconds[g]), int(sums[g]), usd, _per(usd, counts[-1]))
        )
    return wastes


def terms_of(run: RunFrames, targets: Sequence[str]) -> list[PricingTerms]:
    """Return the pricing terms of each target, as the run stored them."""
    entries = target_entries(run.metadata)
    return [
        PricingTerms(
            str(entry.get("model") or ""),
            _prices(entry["prices"]) if entry.get("prices") else None,
            dialect_of(entry).billing,
        )
        for entry in (entries.get(label, {}) for label in targets)
    ]


def _tariffs(
    run: RunFrames, targets: Sequence[str], models: Sequence[BilledModel]
) -> list[TurnPricing]:
    """Return the pricing of each combination of target and model. The order is: all models of the
    first target, all models of the second target, and so on.
    """
    priced = part_of(run.metadata, "prices").get("models") or {}
    table = {name: _prices(entry) for name, entry in priced.items()}
    return [tariff_of(table, terms, model) for terms in terms_of(run, targets) for model in models]


def _prices(entry: Mapping[str, Any]) -> Prices:
    # `convert` does not write defaults into the instance, so JSON would lack them
    return replace(convert(entry, Prices))


def _token_sums(bills: UsageArrays, kind: str, size: int) -> tuple[Floats, Floats]:
    """Return the tokens of one type in each group: those of all entries, and those of no turn."""
    tokens = bills.tokens(kind)
    group = bills.token_group
    first = len(bills.run.turns)
    return _summed(tokens, group, size), _summed(tokens[first:], group[first:], size)


def _summed(values: Floats, group: Integers, size: int) -> Floats:
    """Return the sum of the values in each group. Values that were not reported count as 0."""
    return np.bincount(group, np.nan_to_num(values), size).astype(float)
