"""The outcomes of turns and sessions, per target."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from msgspec import field

from bench.catalogue.causes import Cause, decoded, report_in
from bench.catalogue.columns import CAUSE
from bench.catalogue.outcomes import SUCCESSFUL as GOOD_OUTCOMES
from bench.catalogue.outcomes import OwnRemedies, is_throttled, outcome_class, remedy_of
from reports.analysis.summary.ignored_settings import (
    IgnoredSetting,
    ignored_settings,
    remedies_with,
)
from reports.data.runs import Document, detail_of, target_entries
from reports.data.samples import Events
from reports.data.turns import (
    FAILED,
    UNFINISHED,
    TurnArrays,
    not_started_of,
    position_of,
    session_codes,
)
from reports.engine.evaluate import by_target, rate
from reports.results.json_entries import Count, JsonEntry, Rounded
from reports.results.value import Value
from reports.statistics.counting import Integers, count_nonzero

WITH_CAUSE = ["outcome", "outcome_class", CAUSE]
OF_SESSION = [
    "session_id",
    "target",
    "script",
    *WITH_CAUSE,
    "turns_not_started",
    "effective_settings",
]


@dataclass(frozen=True)
class OutcomeCount:
    """One outcome, with its count for each target. `cause` is its most frequent cause, as in rows.
    Those with words of the service have priority over others.
    """

    outcome: str
    kind: str
    counts: tuple[int, ...]
    cause: str = ""
    of_session: bool = False

    @property
    def message(self) -> str:
        return detail_of(self.cause)

    @property
    def causes(self) -> tuple[Cause, ...]:
        return decoded(self.cause)


class Remedy(NamedTuple):
    """A remedy, and the outcomes that it applies to."""

    outcomes: tuple[str, ...]
    text: str


class OutcomesEntry(JsonEntry, kw_only=True):
    """The outcomes of the turns and sessions of one target."""

    turns_failed: Count
    turns_not_started: Count
    """planned turns that did not start"""
    turns_planned: Count
    """planned turns, started or not, without unfinished ones"""
    turns: dict[str, Count]
    sessions: dict[str, Count]
    service_message: dict[str, str] = field(default_factory=dict)
    turns_started: Count
    turns_unfinished: Count = 0
    failure_rate: Rounded
    sessions_started: Count
    sessions_with_failure: Count = 0
    failure_rate_low: Rounded
    """of the 95 % interval of failures"""
    failure_rate_high: Rounded

    @property
    def failed_or_not_started(self) -> int:
        """The number of planned turns that failed or did not start."""
        return self.turns_failed + self.turns_not_started

    @property
    def throttled(self) -> float:
        """The share of throttled turns, or of throttled sessions if that is larger."""
        counted = (limited(endings) for endings in (self.turns, self.sessions))
        return max(throttled / ended if ended else 0.0 for throttled, ended in counted)


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of a run, for all targets together and for each target.

    The counts of `turns` add up to `started`.

    """

    turns: tuple[OutcomeCount, ...]
    sessions: tuple[OutcomeCount, ...]
    not_started_turns: tuple[OutcomeCount, ...]
    """The outcomes of the sessions that have turns that did not start. Each such turn counts once.
    If the end of the run interrupted a session, it has no outcome."""
    targets: tuple[OutcomesEntry, ...]
    ignored: tuple[IgnoredSetting, ...]
    """The settings that a target confirmed otherwise than they were requested."""
    described: Mapping[str, Mapping[str, Any]]
    """The entry of each target in run.json, by the name of the target."""

    @cached_property
    def own_remedies(self) -> tuple[OwnRemedies, ...]:
        """The remedies of each target's dialect, and of the settings that it ignores."""
        from bench.services.registry import dialect_of

        return tuple(
            remedies_with(
                [one for one in self.ignored if one.target == target],
                dialect_of(entry).remedies,
                entry,
            )
            for target, entry in self.described.items()
        )

    @property
    def started(self) -> int:
        return sum(entry.turns_started for entry in self.targets)

    @property
    def failed(self) -> int:
        return sum(entry.turns_failed for entry in self.targets)

    @property
    def not_started(self) -> int:
        return sum(entry.turns_not_started for entry in self.targets)

    @property
    def failed_or_not_started(self) -> int:
        return sum(entry.failed_or_not_started for entry in self.targets)

    @property
    def planned(self) -> int:
        return sum(entry.turns_planned for entry in self.targets)

    @property
    def opened(self) -> int:
        return sum(entry.sessions_started for entry in self.targets)

    def quoted(self) -> list[OutcomeCount]:
        """Return the failed outcomes that have a message, those of sessions first. If outcomes have
        the same message, return only the first.
        """
        by_message: dict[str, OutcomeCount] = {}
        for ending in (*self.sessions, *self.turns):
            if ending.kind == "failed" and ending.message:
                by_message.setdefault(ending.message, ending)
        return list(by_message.values())

    def remedies(self) -> list[Remedy]:
        """Return the remedies of all outcomes. The remedy of the most frequent outcome is the
        first. Each remedy is returned once. It depends on the outcome, on its most frequent
        cause, and on the dialect.
        """
        counted = Counter[tuple[str, OwnRemedies]]()
        causes = dict[str, tuple[Cause, ...]]()
        for ending in (*self.sessions, *self.turns):
            numbers = Counter[tuple[str, OwnRemedies]]()
            for own, n in zip(self.own_remedies, ending.counts, strict=True):
                numbers[ending.outcome, own] += n
            counted |= numbers  # the maximum of each count
            causes[ending.outcome] = ending.causes or causes.get(ending.outcome, ())
        by_remedy: dict[str, dict[str, None]] = {}
        for (outcome, own), _ in counted.most_common():
            remedy = remedy_of(outcome, causes[outcome], own)
            by_remedy.setdefault(remedy, {})[outcome] = None
        return [Remedy(tuple(outcomes), text) for text, outcomes in by_remedy.items() if text]


def by_outcome(endings: Iterable[OutcomeCount], target: int) -> dict[str, int]:
    """Return the number of one target's turns (or sessions) for each outcome. `target` is the
    index of the target.
    """
    return {ending.outcome: ending.counts[target] for ending in endings if ending.counts[target]}


def limited(endings: Mapping[str, int]) -> tuple[int, int]:
    """Return two numbers of turns (or sessions): those that were throttled, and those that ended.
    Unfinished turns and sessions do not count as ended.
    """
    throttled = sum(n for outcome, n in endings.items() if is_throttled(outcome))
    return throttled, sum(
        n for outcome, n in endings.items() if outcome_class(outcome) != "unfinished"
    )


def outcomes_of(turns: TurnArrays, sessions: pd.DataFrame, document: Document) -> Outcomes:
    """Count the outcomes of measured turns and sessions. `sessions` needs the columns OF_SESSION.
    `document` is the content of run.json.
    """
    size = len(turns.targets)
    of_session = position_of(sessions["target"], turns.targets)
    outcome = turns.frame["outcome"].cat
    names = sessions["outcome"].cat
    not_started = not_started_of(sessions)
    codes = outcome.codes.to_numpy()[turns.rows]
    ends_as = names.codes.to_numpy()
    labels = list(names.categories)
    causes = cause_of(turns.frame[WITH_CAUSE].iloc[turns.rows])
    of_turns = _endings(list(outcome.categories), codes, turns.target, size, causes)
    of_sessions = _endings(labels, ends_as, of_session, size, cause_of(sessions), of_session=True)
    of_not_started = _endings(
        labels, np.repeat(ends_as, not_started), np.repeat(of_session, not_started), size, {}
    )
    with_failure = _with_failure(turns, sessions, of_session, size)
    rates = failure_rates(turns, sessions)
    targets = []
    for index, failures in enumerate(rates):
        kinds = turns.kind[turns.target == index]
        endings = (*of_turns, *of_sessions)
        entry = OutcomesEntry(
            turns=by_outcome(of_turns, index),
            sessions=by_outcome(of_sessions, index),
            service_message={
                ending.outcome: ending.message
                for ending in endings
                if ending.message and ending.counts[index]
            },
            turns_started=kinds.size,
            turns_failed=count_nonzero(kinds == FAILED),
            turns_unfinished=count_nonzero(kinds == UNFINISHED),
            turns_not_started=int(not_started[of_session == index].sum()),
            turns_planned=failures.n,
            failure_rate=failures.value,
            failure_rate_low=failures.low,
            failure_rate_high=failures.high,
            sessions_started=count_nonzero(of_session == index),
            sessions_with_failure=with_failure[index],
        )
        targets.append(entry)
    entries = target_entries(document)
    ignored = ignored_settings(document, sessions)
    described = {target: entries.get(target, {}) for target in turns.targets}
    return Outcomes(of_turns, of_sessions, of_not_started, tuple(targets), ignored, described)


def failure_rates(turns: TurnArrays, sessions: pd.DataFrame) -> Iterator[Value]:
    """Yield, for each target, the share of its planned turns that failed or did not start.
    Unfinished turns do not count. `sessions` are the measured sessions.
    """
    codes = session_codes(turns.frame, sessions)
    not_started = not_started_of(sessions).astype(float)
    of_session = position_of(sessions["target"], turns.targets)
    for index, (subject, mine) in enumerate(by_target(turns)):
        ended = mine & (turns.kind != UNFINISHED)
        others = of_session == index
        events = np.concatenate([(turns.kind[ended] == FAILED).astype(float), not_started[others]])
        planned = np.concatenate([np.ones(count_nonzero(ended)), not_started[others]])
        yield rate(
            subject,
            "failure_rate",
            Events(events, planned, np.zeros(planned.size)),
            np.append(turns.session[ended], codes[others]),
        )


def cause_of(rows: pd.DataFrame) -> dict[str, str]:
    """Return the most frequent cause of each failed outcome. Those with words of the service have
    priority. `rows` is a frame with the columns WITH_CAUSE.
    """
    failed = ((rows["outcome_class"] == "failed") & rows[CAUSE].notna()).to_numpy()
    if not failed.any():
        return {}
    counted = rows.loc[failed, ["outcome", CAUSE]].groupby(["outcome", CAUSE], observed=True).size()
    counted = counted.sort_values(ascending=False, kind="stable")
    causes: dict[str, str] = {}
    for outcome, cause in sorted(
        counted.index, key=lambda pair: report_in(decoded(str(pair[1]))) is None
    ):
        causes.setdefault(str(outcome), str(cause))
    return causes


def _endings(
    names: list[str],
    codes: Integers,
    target: Integers,
    size: int,
    causes: Mapping[str, str],
    *,
    of_session: bool = False,
) -> tuple[OutcomeCount, ...]:
    """Return the outcomes with their counts: successes, failures by decreasing count, and
    unfinished ones.

    `codes` is the index in `names` for each row; a row with a negative code has no outcome, and
    counts as unfinished. `target` is the index of the target for each row. `size` is the number of
    targets.
    """
    labels = [*names, "unfinished"]
    table = np.zeros((len(labels), size), int)
    np.add.at(table, (np.where(codes < 0, len(names), codes), target), 1)
    totals = {
        label: table[[i for i, name in enumerate(labels) if name == label]].sum(axis=0)
        for label in set(labels)
    }
    outcomes = [
        OutcomeCount(
            name, outcome_class(name), tuple(map(int, n)), causes.get(name, ""), of_session
        )
        for name, n in totals.items()
        if n.any()
    ]
    order = {"success": 0, "failed": 1, "unfinished": 2}
    outcomes.sort(
        key=lambda e: (order[e.kind], e.outcome not in GOOD_OUTCOMES, -sum(e.counts), e.outcome)
    )
    return tuple(outcomes)


def _with_failure(
    turns: TurnArrays, sessions: pd.DataFrame, of_session: Integers, size: int
) -> tuple[int, ...]:
    """Return, for each of `size` targets, the number of sessions that failed or have at least
    one failed turn.
    """
    bad = (sessions["outcome_class"] == "failed").to_numpy()
    failed = turns.kind == FAILED
    codes, first = np.unique(turns.session[failed], return_index=True)
    ended_bad = turns.frame["session_id"].cat.categories.get_indexer(
        pd.Index(sessions["session_id"][bad])
    )
    # a session without a turn has the code −1, which `codes` does not contain
    already = np.isin(codes, ended_bad)
    by_turn = np.bincount(turns.target[failed][first][~already], minlength=size)
    return tuple(map(int, by_turn + np.bincount(of_session[bad], minlength=size)))
