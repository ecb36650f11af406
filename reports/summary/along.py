"""The wait along a session, by the turn's number, by the session's age and by the conversation's tokens; pure.

Small aggregates whatever the number of turns; only measured turns, and of one stratum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd

from bench.units import NS_PER_S
from reports.numbers import NBSP, three
from reports.samples import Sampled
from reports.statistics.counting import order_of_codes
from reports.statistics.quantiles import Estimate, Floats, Integers, Sample, estimates
from reports.strata import NO_STRATUM, Stratum
from reports.turns import Pool, Turns

NUMBERED = 10
"""Turns after this number stand together."""
AGES = 12
CONTEXTS = (2_000, 4_000, 8_000, 16_000, 32_000)
"""Up to so many input tokens turns stand together; the last place is for more."""
TAIL = 4
"""Turns that must lie beyond a p95 before it is drawn."""
ALIKE = 0.9
"""From this correlation on, turn number and age are taken for one thing."""


@dataclass(frozen=True)
class Stop:
    """The turns of one target at one number or age; a quantile is +inf in the failed share."""

    place: int
    n: int
    failed: int
    p50: Estimate
    p95: Estimate

    @property
    def tail(self) -> float:
        """p95, NaN where too few turns lie beyond it."""
        return self.p95.value if self.n * 0.05 >= TAIL else np.nan


@dataclass(frozen=True)
class SessionCourse:
    """One target along its sessions; only where it has turns, and enough of them to bound their median."""

    label: str
    colour: int
    stops: tuple[Stop, ...]

    @property
    def told(self) -> tuple[Stop, ...]:
        """The stops whose median may be told."""
        return tuple(stop for stop in self.stops if stop.p50.bounded)

    @property
    def tails(self) -> tuple[Stop, ...]:
        """Those of them that have a p95; one alone is no line."""
        tails = tuple(stop for stop in self.told if not np.isnan(stop.tail))
        return tails if len(tails) > 1 else ()


@dataclass(frozen=True)
class Along:
    """A measure by the places along a session; `at` is where each place lies on the axis: turns, or seconds."""

    measure: str
    by: str
    """`turn`, `age` or `context`"""
    names: tuple[str, ...]
    at: tuple[float, ...]
    end: float
    courses: tuple[SessionCourse, ...]
    stratum: Stratum = NO_STRATUM

    @property
    def drawable(self) -> bool:
        """Whether any target has a median at two places."""
        return any(len(course.told) > 1 for course in self.courses)

    @property
    def thinned(self) -> bool:
        """Whether some place holds fewer than half as many turns as another: late ones hold only what survived."""
        return any(2 * min(s.n for s in c.stops) < max(s.n for s in c.stops) for c in self.courses if c.stops)


def alongs(
    turns: Turns, sessions: pd.DataFrame, samples: Mapping[str, Sampled], mains: Mapping[Stratum, str]
) -> Iterable[Along]:
    """By turn, age and context, of each stratum by its main measure; also those that are nothing to draw."""
    for stratum in turns.strata:
        for empty, place in (by_turn(turns), by_age(turns, sessions, stratum), *by_context(turns, stratum)):
            yield _along(turns, samples[mains[stratum]], stratum, empty, place)


def by_context(turns: Turns, stratum: Stratum) -> Iterable[tuple[Along, Integers]]:
    """The places by the input tokens of the turn's first response, and that of each turn; −1 where they are not known.

    Nothing where all turns of the stratum have the same place.
    """
    tokens = np.where(turns.steps_in(stratum)[turns.step], turns.column("context_tokens"), np.nan)
    place = np.where(np.isnan(tokens), -1, np.searchsorted(CONTEXTS, np.nan_to_num(tokens))).astype(np.int64)
    there = np.unique(place[place >= 0])
    if there.size > 1:
        most = int(there[-1]) + 1
        edges = [f"{edge // 1000}k" for edge in CONTEXTS]
        names = (f"to {edges[0]}", *(f"{low} to {high}" for low, high in pairwise(edges)), f"over {edges[-1]}")
        yield Along("", "context", names[:most], tuple(range(1, most + 1)), most, ()), place


def by_turn(turns: Turns) -> tuple[Along, Integers]:
    """The places by the turn's number in its session, those after the tenth together; and the place of each turn."""
    number = np.nan_to_num(turns.column("turn"))
    most = int(min(NUMBERED + 1, number.max(initial=1)))
    names = tuple(f"{n}+" if n > NUMBERED else str(n) for n in range(1, most + 1))
    place = np.clip(number, 1, most).astype(np.int64) - 1
    return Along("", "turn", names, tuple(range(1, most + 1)), most, ()), place


def by_age(turns: Turns, sessions: pd.DataFrame, stratum: Stratum) -> tuple[Along, Integers]:
    """By how long ago the session began when the turn did: twelve equal bins up to the oldest of this stratum, and the
    place of each turn; −1 for those of other strata.
    """
    age_s = np.where(turns.steps_in(stratum)[turns.step], ages(turns, sessions), np.nan)
    end = max(1e-3, float(np.nanmax(age_s, initial=0.0)))
    place = np.where(np.isnan(age_s), -1, np.minimum(np.nan_to_num(age_s) / end * AGES, AGES - 1)).astype(np.int64)
    edges = np.linspace(0.0, end, AGES + 1)
    names = tuple(f"{three(low)} to {three(high)}{NBSP}s" for low, high in pairwise(edges))
    middles = tuple(float(middle) for middle in (edges[:-1] + edges[1:]) / 2)
    return Along("", "age", names, middles, end, ()), place


def ages(turns: Turns, sessions: pd.DataFrame) -> Floats:
    """Of each measured turn: seconds from its session's start to its own; NaN where the session has no row."""
    began = pd.Series(sessions["start_utc_ns"].to_numpy(dtype=np.float64), index=sessions["session_id"].astype(str))
    of_category = began[~began.index.duplicated()].reindex(turns.frame["session_id"].cat.categories.astype(str))
    # whole numbers of ns exceed what a float holds exactly by some 100 ns: nothing to an age in seconds
    age_s: Floats = (turns.column("start_utc_ns") - of_category.to_numpy()[turns.session]) / NS_PER_S
    return np.maximum(age_s, 0.0)


def one_thing(turns: Turns, sessions: pd.DataFrame) -> bool:
    """Whether turn number and session age go together so closely that no figure can tell which of them matters."""
    number, age_s = turns.column("turn"), ages(turns, sessions)
    known = np.isfinite(number) & np.isfinite(age_s)
    if known.sum() < 3 or np.ptp(number[known]) == 0 or np.ptp(age_s[known]) == 0:
        return False
    return float(np.corrcoef(number[known], age_s[known])[0, 1]) >= ALIKE


def _along(turns: Turns, measured: Sampled, stratum: Stratum, empty: Along, place: Integers) -> Along:
    pools = [pool for pool in turns.pools if pool.stratum == stratum]
    courses = [
        SessionCourse(turns.targets[pool.target], pool.target, tuple(_stops(measured, pool, place))) for pool in pools
    ]
    return replace(empty, measure=measured.measure.name, courses=tuple(c for c in courses if c.stops), stratum=stratum)


def _stops(one: Sampled, pool: Pool, place: Integers) -> Iterable[Stop]:
    """The pool's values are ascending, and stay so within each place."""
    ascending, index = one.part(pool.target, pool.steps)
    order = order_of_codes(place[index] + 1)  # −1 is the place of turns of other strata
    at = place[index][order]
    for begin, end in _runs(at):
        if at[begin] >= 0:
            here = order[begin:end]
            values = ascending[here]
            failed = int(np.isinf(values).sum())
            quantiles = estimates(Sample(values, one.turns.session[index[here]], failed), (0.5, 0.95))
            yield Stop(int(at[begin]), values.size, failed, *quantiles)


def _runs(ascending: Integers) -> Iterable[tuple[int, int]]:
    """(begin, end) of each run of equal values."""
    if not ascending.size:
        return ()
    starts = np.flatnonzero(np.r_[True, np.diff(ascending) > 0]).tolist()
    return zip(starts, [*starts[1:], ascending.size], strict=True)
