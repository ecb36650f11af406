"""What the sessions of a run cost, in money and in time, as far as the run tells; NaN where it does not."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bench.money import Prices, cost_usd
from bench.units import NS_PER_S, S_PER_MINUTE
from reports.runs import Run
from reports.sides.side import Side
from reports.statistics.components import Price
from reports.statistics.quantiles import Floats, Integers
from reports.summary.bills import KINDS, bills_of
from reports.summary.money import money_of

UNKNOWN = Price(math.nan, math.nan)
NOTHING = Price(0.0, 0.0)


def usd_per_session(run: Run, sides: Sequence[Side]) -> float:
    """Of two arms: of both of these, or twice that of one."""
    costs = {cost.target: cost.per_session for cost in money_of(run, sides[0].turns.targets).costs}
    each = [costs.get(side.name, math.nan) for side in sides]
    return sum(each) * (2 / len(each))


def time_price(side: Side) -> Price:
    """Seconds from a session's start to its first turn, and from turn to turn, the mean of good sessions."""
    sessions = side.session_rows
    turns = side.turns.frame[["session_id", "start_utc_ns"]].iloc[side.turns.rows[side.here]]
    first_ns = turns.groupby(turns["session_id"].astype(object))["start_utc_ns"].min()
    opened = first_ns.reindex(sessions["session_id"].astype(object)).to_numpy(dtype=np.float64)
    opened -= sessions["start_utc_ns"].to_numpy(dtype=np.float64)
    begun = sessions["turns_begun"].to_numpy(dtype=np.float64)
    good = (sessions["outcome_class"] == "good").to_numpy() & (begun > 0) & ~np.isnan(opened)
    if not good.any():
        return UNKNOWN
    length = sessions["ended_at_ns"].to_numpy(dtype=np.float64)[good]
    opening = float(opened[good].mean())
    return _price(
        opening / NS_PER_S, (float(length.sum()) - opening * good.sum()) / float(begun[good].sum()) / NS_PER_S
    )


def usd_price(side: Side) -> Price:
    """What a session costs by its turns: their tokens, and the minutes that they take where these are paid for."""
    run, targets = side.run, side.turns.targets
    charges = next((cost.charges for cost in money_of(run, targets).costs if cost.target == side.name), ())
    prices = next((charge.prices for charge in charges if charge.prices), None)
    if prices is None:
        return UNKNOWN
    tokens = _tokens_price(side, prices) if prices.of_tokens else NOTHING
    seconds = time_price(side) if prices.usd_per_minute else NOTHING
    per_s = prices.usd_per_minute / S_PER_MINUTE
    return _price(tokens.session + per_s * seconds.session, tokens.turn + per_s * seconds.turn, tokens.history)


def _tokens_price(side: Side, prices: Prices) -> Price:
    """A straight line through what each turn cost by its number: the history that is billed again is its slope."""
    run, targets = side.run, side.turns.targets
    bills = bills_of(run, targets)
    usd: Floats = cost_usd(prices, {kind: np.nan_to_num(bills.tokens(kind)) for kind in KINDS})
    mine: Integers = bills.told & (bills.target == _place(side))
    told = mine & ~bills.stray
    number = np.r_[run.turns["turn"].to_numpy(dtype=np.float64, na_value=np.nan), np.zeros(len(run.sessions))][told]
    sessions = np.unique(bills.session[told]).size
    if np.unique(number).size < 2:
        return UNKNOWN
    history, turn = np.polyfit(number - 1, usd[told], 1)
    return _price(float(usd[mine & bills.stray].sum()) / sessions, float(turn), max(0.0, float(history)))


def _place(side: Side) -> int:
    """The place of a side's target among those of its run."""
    return side.turns.targets.index(side.name) if side.name in side.turns.targets else -1


def _price(session: float, turn: float, history: float = 0.0) -> Price:
    return Price(session, turn, history) if turn > 0 else UNKNOWN
