"""How turns and sessions ended, per target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
from msgspec import field

from bench.metrics import GOOD as GOOD_OUTCOMES
from bench.metrics import SERVICE_SAID, is_throttled, outcome_class
from bench.remedies import remedy_of
from reports.records import Count, Record, Rounded, about
from reports.statistics.counting import Integers
from reports.summary.figures import ShareEstimate
from reports.turns import FAILED, UNFINISHED, Turns, lost_of

SAYING = ["outcome", "outcome_class", "detail"]
OF_SESSION = ["session_id", "target", *SAYING, "turns_not_started"]
"""Columns of sessions that their endings are counted by."""


@dataclass(frozen=True)
class Ending:
    """One outcome with its count for each target, and what was said most often of it: the service's own words."""

    outcome: str
    kind: str
    counts: tuple[int, ...]
    said: str = ""
    of_session: bool = False


@dataclass(frozen=True)
class Remedy:
    """What to do about some outcomes."""

    outcomes: tuple[str, ...]
    text: str


class TargetOutcomes(Record, frozen=True, kw_only=True):
    """How the turns and sessions of one target ended."""

    turns: dict[str, Count]
    sessions: dict[str, Count]
    service_message: dict[str, str] = field(default_factory=dict)
    turns_started: Count
    turns_failed: Count = 0
    turns_unfinished: Count = 0
    turns_not_started: Count = 0
    turns_planned: Count
    failure_rate: Rounded
    sessions_started: Count
    sessions_with_failure: Count = 0
    failure_rate_low: Annotated[Rounded, about("of the 95 % interval of failures")]
    failure_rate_high: Rounded


@dataclass(frozen=True)
class Outcomes:
    """All endings; each tuple has a number per target. The endings of turns sum to `begun`."""

    turns: tuple[Ending, ...]
    sessions: tuple[Ending, ...]
    begun: tuple[int, ...]
    failed: tuple[int, ...]
    unfinished: tuple[int, ...]
    lost: tuple[int, ...]
    """turns that were wanted and never begun, in sessions that the end of the run did not cut"""
    losses: tuple[Ending, ...]
    """the same by the outcome of their session"""
    opened: tuple[int, ...]
    """sessions begun"""
    with_failure: tuple[int, ...]
    """sessions with any failed turn, and sessions that failed themselves"""

    def of_target(self, place: int, failures: ShareEstimate) -> TargetOutcomes:
        endings = *self.turns, *self.sessions
        return TargetOutcomes(
            turns=by_outcome(self.turns, place),
            sessions=by_outcome(self.sessions, place),
            service_message={ending.outcome: ending.said for ending in endings if ending.said and ending.counts[place]},
            turns_started=self.begun[place],
            turns_failed=self.failed[place],
            turns_unfinished=self.unfinished[place],
            turns_not_started=self.lost[place],
            turns_planned=self.wanted[place],
            failure_rate=self.failures(place),
            failure_rate_low=failures.low,
            failure_rate_high=failures.high,
            sessions_started=self.opened[place],
            sessions_with_failure=self.with_failure[place],
        )

    def quoted(self) -> list[Ending]:
        """What failed and was given a reason, sessions first, each reason once."""
        found: dict[str, Ending] = {}
        for ending in (*self.sessions, *self.turns):
            if ending.kind == "failed" and ending.said:
                found.setdefault(ending.said, ending)
        return list(found.values())

    def remedies(self) -> list[Remedy]:
        """What to do about what failed, by what was said most often; each once, that of the commonest outcome first."""
        counted, said = Counter[str](), dict[str, str]()
        for ending in (*self.sessions, *self.turns):
            counted[ending.outcome] = max(counted[ending.outcome], sum(ending.counts))
            said[ending.outcome] = ending.said or said.get(ending.outcome, "")
        found: dict[str, list[str]] = {}
        for outcome, _ in counted.most_common():
            found.setdefault(remedy_of(outcome, said[outcome]), []).append(outcome)
        return [Remedy(tuple(outcomes), text) for text, outcomes in found.items() if text]

    @property
    def wanted(self) -> tuple[int, ...]:
        """Turns wanted, without abandoned ones: what `failures` is a share of."""
        return tuple(n - cut + lost for n, cut, lost in zip(self.begun, self.unfinished, self.lost, strict=True))

    @property
    def unmet(self) -> tuple[int, ...]:
        """Failed turns and lost ones: those of `failures`."""
        return tuple(map(sum, zip(self.failed, self.lost, strict=True)))

    def failures(self, target: int) -> float:
        """(failed turns + lost turns) / turns wanted; NaN where none were."""
        return self.unmet[target] / self.wanted[target] if self.wanted[target] else float("nan")

    def throttled(self, target: int) -> float:
        """The share of turns, or of sessions where that is more, whose rate the service limited."""
        return most_limited(by_outcome(self.turns, target), by_outcome(self.sessions, target))


def by_outcome(endings: Iterable[Ending], target: int) -> dict[str, int]:
    """How many of a target's turns, or sessions, ended so, by outcome."""
    return {ending.outcome: ending.counts[target] for ending in endings if ending.counts[target]}


def limited(endings: Mapping[str, int]) -> tuple[int, int]:
    """Return how many turns, or sessions, the service throttled, and how many ended, which unfinished ones did not."""
    throttled = sum(n for outcome, n in endings.items() if is_throttled(outcome))
    return throttled, sum(n for outcome, n in endings.items() if outcome_class(outcome) != "unfinished")


def most_limited(turns: Mapping[str, int], sessions: Mapping[str, int]) -> float:
    """The throttled share of turns, or of sessions if that is more; 0 of nothing."""
    counted = (limited(endings) for endings in (turns, sessions))
    return max(throttled / ended if ended else 0.0 for throttled, ended in counted)


def outcomes_of(turns: Turns, sessions: pd.DataFrame) -> Outcomes:
    """Count the endings of measured turns and sessions; of sessions it takes the columns OF_SESSION."""
    size = len(turns.targets)
    place = {label: index for index, label in enumerate(turns.targets)}
    of_session = np.array([place[str(label)] for label in sessions["target"]], dtype=np.int64)
    outcome = turns.frame["outcome"].cat
    codes = outcome.codes.to_numpy()[turns.rows]
    lost = lost_of(sessions)
    names = sessions["outcome"].cat
    labels, ends_as = list(names.categories), names.codes.to_numpy()
    said, said_of_sessions = said_of(turns.frame[SAYING].iloc[turns.rows]), said_of(sessions)
    return Outcomes(
        turns=_endings(list(outcome.categories), codes, turns.target, size, said),
        sessions=_endings(labels, ends_as, of_session, size, said_of_sessions, of_session=True),
        begun=_counts(turns.target, size),
        failed=_counts(turns.target[turns.kind == FAILED], size),
        unfinished=_counts(turns.target[turns.kind == UNFINISHED], size),
        lost=tuple(map(int, np.bincount(of_session, lost, minlength=size))),
        losses=_endings(labels, np.repeat(ends_as, lost), np.repeat(of_session, lost), size, {}),
        opened=_counts(of_session, size),
        with_failure=_with_failure(turns, sessions, of_session, size),
    )


def said_of(rows: pd.DataFrame) -> dict[str, str]:
    """Return the commonest `detail` of each failed outcome, first of those in the service's words. `rows`: SAYING."""
    failed = ((rows["outcome_class"] == "failed") & rows["detail"].notna()).to_numpy()
    if not failed.any():
        return {}
    counted = rows.loc[failed, ["outcome", "detail"]].groupby(["outcome", "detail"], observed=True).size()
    counted = counted.sort_values(ascending=False, kind="stable")
    said: dict[str, str] = {}
    for outcome, detail in sorted(counted.index, key=lambda pair: SERVICE_SAID not in str(pair[1])):
        said.setdefault(str(outcome), str(detail))
    return said


def _counts(codes: Integers, size: int) -> tuple[int, ...]:
    return tuple(int(n) for n in np.bincount(codes, minlength=size)[:size])


def _endings(
    names: list[str], codes: Integers, target: Integers, size: int, said: Mapping[str, str], *, of_session: bool = False
) -> tuple[Ending, ...]:
    """Return successes first, then failures by number, unfinished ones last; rows without an outcome are unfinished."""
    labels = [*names, "unfinished"]
    table = np.zeros((len(labels), size), dtype=np.int64)
    np.add.at(table, (np.where(codes < 0, len(names), codes), target), 1)
    totals = {label: table[[i for i, name in enumerate(labels) if name == label]].sum(axis=0) for label in set(labels)}
    found = [
        Ending(name, outcome_class(name), tuple(map(int, n)), said.get(name, ""), of_session)
        for name, n in totals.items()
        if n.any()
    ]
    order = {"success": 0, "failed": 1, "unfinished": 2}
    found.sort(key=lambda e: (order[e.kind], e.outcome not in GOOD_OUTCOMES, -sum(e.counts), e.outcome))
    return tuple(found)


def _with_failure(turns: Turns, sessions: pd.DataFrame, of_session: Integers, size: int) -> tuple[int, ...]:
    """Sessions that failed, or that have a failed turn, each once."""
    bad = (sessions["outcome_class"] == "failed").to_numpy()
    failed = turns.kind == FAILED
    codes, first = np.unique(turns.session[failed], return_index=True)
    ended_bad = turns.frame["session_id"].cat.categories.get_indexer(pd.Index(sessions["session_id"][bad]))
    already = np.isin(codes, ended_bad)  # a session without a turn is −1, and no code
    by_turn = np.bincount(turns.target[failed][first][~already], minlength=size)
    return tuple(map(int, by_turn + np.bincount(of_session[bad], minlength=size)))
