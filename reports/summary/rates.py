"""Shares of turns with the intervals that their sessions give them, and those that a column of turns tells; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from msgspec import field

from reports.question import OF_COLUMNS, TRIALS
from reports.samples import rate_counts
from reports.schemas.document import Count, Record, Rounded, about
from reports.statistics.counting import Floats, distinct, packed
from reports.statistics.quantiles import LEVEL
from reports.statistics.rates import ratio_of
from reports.turns import CENSORED, FAILED, Flags, Turns, lost_of, place_of, session_codes


class Rate(Record, frozen=True):
    """So many of a number, as a share with its interval; null of nothing."""

    count: Count
    of: Count
    value: Rounded = field(name="share")
    low: Rounded
    high: Rounded


class TurnRate(Record, frozen=True):
    """A share of one target's turns, or words, with its 95 % interval over sessions; null where there are too few."""

    name: str = field(name="rate")
    target: str
    events: Count
    of: Count
    trials: Literal["turns", "words"]
    sessions: Count
    value: Rounded
    low: Rounded
    high: Rounded

    @property
    def published(self) -> bool:
        """Whether there are turns, or words, enough for more than two counts."""
        return self.of >= TRIALS


def turn_rates(turns: Turns) -> Iterable[TurnRate]:
    """Each rate of a column, of each target that has turns of it; turns of all strata together."""
    for rate in OF_COLUMNS:
        events, of = rate_counts(turns, rate.name)
        counted = ~np.isnan(of)
        for place, target in enumerate(turns.targets):
            mine = np.flatnonzero(counted & (turns.target == place))
            if mine.size:
                sessions = turns.session[mine]
                one = ratio_in(events[mine], of[mine], sessions, LEVEL)
                shown = (one.value, one.low, one.high) if one.of >= TRIALS else (math.nan,) * 3
                yield TurnRate(
                    rate.name, target, one.count, one.of, rate.trials, distinct(sessions).size, *shown
                )  # fmt: skip


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


CANCELLED_SPLIT = "cancelled:turn_detected"
"""The service answered a pause and cancelled the answer; the turn is over before its second commit."""


class Counts(Record, frozen=True):
    """How one target's measured turns sounded, what turn detection did, what TCP sent again."""

    target: str
    replies: Annotated[Count, about("good turns whose reply the simulated player played")]
    stalled: Annotated[Count, about("of these, those that fell silent within the reply")]
    noticed: Annotated[Count, about("turns in which the service noticed an end of speech, whatever became of them")]
    early: Annotated[Count, about("of these, those in which it did so before the caller had ended")]
    split: Annotated[Count, about("turns that the service cut in two or more")]
    splits: Annotated[Count, about("commits beyond the first, of all turns")]
    watched: Annotated[Count, about("turns of which the kernel told its retransmissions")]
    resent: Annotated[Count, about("TCP segments of ours that were sent again")]
    with_resent: Annotated[Count, about("turns in which any were")]

    @property
    def any(self) -> bool:
        return bool(self.replies or self.noticed or self.split or self.watched)


def turn_counts(turns: Turns) -> tuple[Counts, ...]:
    """One for each target."""
    return tuple(_counts(turns))


def _counts(turns: Turns) -> Iterable[Counts]:
    good, stalls = turns.good, turns.value("stalls")
    by_a_sound = turns.column("false_yield") > 0
    cancelled = (turns.frame["outcome"] == CANCELLED_SPLIT).to_numpy()[turns.rows] & ~by_a_sound
    detection, splits, resent = (turns.value(name) for name in ("turn_detection", "vad_splits", "retransmits"))
    for index, label in enumerate(turns.targets):
        mine = turns.target == index
        yield Counts(
            target=label,
            replies=int((mine & good & ~np.isnan(stalls)).sum()),
            stalled=int((mine & good & (stalls > 0)).sum()),
            noticed=int((mine & ~np.isnan(detection)).sum()),
            early=int((mine & (detection < 0)).sum()),
            split=int((mine & (cancelled | (splits > 0))).sum()),
            splits=int(np.nansum(splits[mine])),
            watched=int((mine & ~np.isnan(resent)).sum()),
            resent=int(np.nansum(resent[mine])),
            with_resent=int((mine & (resent > 0)).sum()),
        )
