"""Shares of turns with the intervals that their sessions give them, and those that a column of turns tells; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from reports.lost import lost_of
from reports.question import OF_COLUMNS, TRIALS
from reports.samples import rate_counts
from reports.statistics.counting import distinct, packed
from reports.statistics.quantiles import LEVEL, Floats
from reports.statistics.rates import ratio_of
from reports.turns import CENSORED, FAILED, Flags, Turns, place_of, session_codes


@dataclass(frozen=True)
class Rate:
    """So many of a number, as a share with its interval; NaN of nothing."""

    count: int
    of: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class TurnRate:
    """One rate of one target, of the turns that count for it."""

    name: str
    target: str
    sessions: int
    share: Rate

    @property
    def published(self) -> bool:
        """Whether there are turns, or words, enough for more than two counts."""
        return self.share.of >= TRIALS


def turn_rates(turns: Turns) -> Iterable[TurnRate]:
    """Each rate of a column, of each target that has turns of it; turns of all strata together."""
    for rate in OF_COLUMNS:
        events, of = rate_counts(turns, rate.name)
        counted = ~np.isnan(of)
        for place, target in enumerate(turns.targets):
            mine = np.flatnonzero(counted & (turns.target == place))
            if mine.size:
                sessions = turns.session[mine]
                share = ratio_in(events[mine], of[mine], sessions, LEVEL)
                yield TurnRate(rate.name, target, distinct(sessions).size, share)


def failure_rates(turns: Turns, sessions: pd.DataFrame) -> Iterable[Rate]:
    """Failed and lost turns, of the turns wanted, of each target. `sessions`: those measured.

    A session that never began a turn is a session like others: all of its turns failed.
    """
    codes = session_codes(turns.frame, sessions)
    ended, lost, target = turns.kind != CENSORED, lost_of(sessions), place_of(sessions["target"], turns.targets)
    for place in range(len(turns.targets)):
        mine, theirs = ended & (turns.target == place), target == place
        events = np.concatenate([(turns.kind[mine] == FAILED).astype(np.float64), lost[theirs]])
        of = np.concatenate([np.ones(int(mine.sum())), lost[theirs]])
        yield ratio_in(events, of, np.concatenate([turns.session[mine], codes[theirs]]), LEVEL)


def rate_of(events: Flags, sessions: npt.NDArray[np.integer], level: float) -> Rate:
    """How many turns, or sessions, are events, with the interval that their sessions give it at this level."""
    return ratio_in(events, np.ones(events.size), sessions, level)


def ratio_in(events: Floats | Flags, of: Floats, sessions: npt.NDArray[np.integer], level: float) -> Rate:
    """The same where a turn, or a session, has several events, `of` so many."""
    if not events.size:
        return Rate(0, 0, math.nan, math.nan, math.nan)
    codes, _ = packed(sessions)
    ratio = ratio_of((np.bincount(codes, events).astype(np.float64), np.bincount(codes, of).astype(np.float64)))
    tail = (1 - level) / 2
    return Rate(int(events.sum()), int(of.sum()), ratio.value, ratio.lower(tail), ratio.upper(tail))
