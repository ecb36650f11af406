"""What a session costs by its number of turns, in seconds and in USD, from the sessions of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bench.money import Prices, cost_usd
from bench.units import NS_PER_S, S_PER_MINUTE
from reports.runs import RunFrames
from reports.sides.clusters import ABSENT
from reports.sides.side import Side
from reports.statistics.counting import Floats, Integers
from reports.statistics.power import SessionPrice
from reports.summary.money import KINDS, bills_of, money_of

UNKNOWN = SessionPrice(math.nan, math.nan)


def usd_per_session(run: RunFrames, sides: Sequence[Side]) -> float:
    """Return the cost of a session of each of two targets: the sum over both, or twice that of one."""
    costs = {cost.target: cost.usd_per_session for cost in money_of(run, sides[0].turns.targets).targets}
    each = [costs.get(side.name, math.nan) for side in sides]
    return sum(each) * (2 / len(each))


def price_in_seconds(side: Side) -> SessionPrice:
    """Return the seconds from a session's start to its first turn, and per turn: the means of successful sessions."""
    sessions = side.session_rows
    turns = side.turns.frame[["session_id", "start_utc_ns"]].iloc[side.turns.rows[side.here]]
    first_ns = turns.groupby(turns["session_id"].astype(object))["start_utc_ns"].min()
    opened = first_ns.reindex(sessions["session_id"].astype(object)).to_numpy(dtype=np.float64)
    opened -= sessions["start_utc_ns"].to_numpy(dtype=np.float64)
    started = sessions["turns_started"].to_numpy(dtype=np.float64)
    succeeded = (sessions["outcome_class"] == "success").to_numpy() & (started > 0) & ~np.isnan(opened)
    if not succeeded.any():
        return UNKNOWN
    ended = sessions["ended_at_ns"].to_numpy(dtype=np.float64)[succeeded]
    opening = float(opened[succeeded].mean())
    per_turn = (float(ended.sum()) - opening * succeeded.sum()) / float(started[succeeded].sum())
    return _price(opening / NS_PER_S, per_turn / NS_PER_S)


def price_in_usd(side: Side) -> SessionPrice:
    """Return the cost of a session by its turns: their tokens, and the minutes that they take if these are billed."""
    costs = [cost for cost in money_of(side.run, side.turns.targets).targets if cost.target == side.name]
    prices = next((charge.prices for cost in costs[:1] for charge in cost.models if charge.prices), None)
    if prices is None:
        return UNKNOWN
    tokens = _usd_of_tokens(side, prices) if prices.of_tokens else SessionPrice(0.0, 0.0)
    seconds = price_in_seconds(side) if prices.usd_per_minute else SessionPrice(0.0, 0.0)
    per_s = prices.usd_per_minute / S_PER_MINUTE
    return _price(tokens.session + per_s * seconds.session, tokens.turn + per_s * seconds.turn, tokens.history)


def _usd_of_tokens(side: Side, prices: Prices) -> SessionPrice:
    """Fit a line to the cost of turns by their number: its slope is the history that is billed again."""
    run, targets = side.run, side.turns.targets
    bills = bills_of(run, targets)
    usd: Floats = cost_usd(prices, {kind: np.nan_to_num(bills.tokens(kind)) for kind in KINDS})
    place = targets.index(side.name) if side.name in targets else ABSENT
    billed: Integers = bills.told & (bills.target == place)
    of_turns = billed & ~bills.unattributed
    number = np.r_[run.turns["turn"].to_numpy(dtype=np.float64, na_value=np.nan), np.zeros(len(run.sessions))][of_turns]
    sessions = np.unique(bills.session[of_turns]).size
    if np.unique(number).size < 2:
        return UNKNOWN
    history, turn = np.polyfit(number - 1, usd[of_turns], 1)
    return _price(float(usd[billed & bills.unattributed].sum()) / sessions, float(turn), max(0.0, float(history)))


def _price(session: float, turn: float, history: float = 0.0) -> SessionPrice:
    return SessionPrice(session, turn, history) if turn > 0 else UNKNOWN
