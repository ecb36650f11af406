"""The failed turns and sessions of a run that a report lists, also for the service's support.

Every kind of failure has an example, and the examples are distributed over the run. Credentials in
their texts are hidden.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.catalogue.outcomes import OWN_FAULT
from reports.analysis.summary.failures import FailureEntry, failed_sessions, failed_turns
from reports.analysis.summary.secrets import hidden
from reports.data.runs import RunFrames
from reports.data.turns import FAILED, TurnArrays
from reports.results.json_entries import Count, JsonEntry
from reports.statistics.counting import Integers

MAX_LISTED = 100
"""The maximum number of failures that are listed."""
KIND = ["scope", "target", "outcome"]


class ListedFailures(JsonEntry):
    """The failures that are listed. A kind of failure is a target, with an outcome of turns or
    of sessions.
    """

    examples: tuple[FailureEntry, ...]
    """one of each kind, the most frequent first; at most 100, others included"""
    others: tuple[FailureEntry, ...]
    """further failures by time"""
    total: Count
    """all failures: turns, and sessions without such a turn"""
    kinds: Count

    @property
    def listed(self) -> tuple[FailureEntry, ...]:
        return (*self.examples, *self.others)


def listed_failures(
    run: RunFrames, turns: TurnArrays, sessions: pd.DataFrame, most: int = MAX_LISTED
) -> ListedFailures:
    """Return the failures of a run. An example of each kind is first, then others by time.
    `sessions` are the measured sessions.

    A failed session is listed only if none of its turns failed with the same outcome, because it is
    the same failure.
    """
    found = pd.concat([_failed_turns(turns), _failed_sessions(turns, sessions)], ignore_index=True)
    groups = [rows for _, rows in found.groupby(KIND, sort=False)["position"]]
    groups.sort(key=len, reverse=True)
    slots = allocated([len(rows) for rows in groups], most)
    chosen = [
        rows.index[distributed(len(rows), n)] for rows, n in zip(groups, slots, strict=True) if n
    ]
    listed = found.loc[np.concatenate([*chosen, np.zeros(0, int)])]
    of_turns, of_sessions = (
        listed[listed["scope"] == scope]["position"] for scope in ("turn", "session")
    )
    entries = dict(zip(of_turns.index, failed_turns(run, turns, of_turns.tolist()), strict=True))
    entries |= zip(of_sessions.index, failed_sessions(sessions, of_sessions.tolist()), strict=True)
    examples = [hidden(entries.pop(rows[0])) for rows in chosen]
    others = sorted(map(hidden, entries.values()), key=lambda entry: entry.started_utc_ns)
    return ListedFailures(tuple(examples), tuple(others), len(found), len(groups))


def allocated(sizes: Sequence[int], most: int) -> list[int]:
    """Return how many of each group are listed: at most `most` together, the same number of each if
    possible.

    If there are more groups than that, the last ones have none.
    """
    slots = [0] * len(sizes)
    left = most
    while left and any(slot < size for slot, size in zip(slots, sizes, strict=True)):
        for index, size in enumerate(sizes):
            if left and slots[index] < size:
                slots[index] = slots[index] + 1
                left = left - 1
    return slots


def distributed(size: int, number: int) -> Integers:
    """Return `number` indexes below `size`, the first one and others at equal distances."""
    return np.arange(number) * size // max(1, number)


def _failed_turns(turns: TurnArrays) -> pd.DataFrame:
    """Return the kind and the index of each failed turn by time, without the faults of the load
    generator.
    """
    rows = turns.frame[["outcome", "start_utc_ns"]].iloc[turns.rows]
    failed = np.flatnonzero((turns.kind == FAILED) & (rows["outcome"] != OWN_FAULT).to_numpy())
    targets = np.array(turns.targets, object)[turns.target[failed]]
    return _by_time("turn", failed, targets, rows.iloc[failed])


def _failed_sessions(turns: TurnArrays, sessions: pd.DataFrame) -> pd.DataFrame:
    """Return the kind and the index of each failed session by time, if none of its turns has the
    same outcome.
    """
    key = ["session_id", "outcome"]
    of_turns = turns.frame[key].iloc[turns.rows[turns.failed]]
    failed = np.flatnonzero(
        ((sessions["outcome_class"] == "failed") & (sessions["outcome"] != OWN_FAULT)).to_numpy()
    )
    of_sessions = sessions[[*key, "target", "start_utc_ns"]].iloc[failed]
    named, known = (
        pd.MultiIndex.from_frame(rows[key].astype(str)) for rows in (of_sessions, of_turns)
    )
    is_alone = ~named.isin(known)
    alone, listed = failed[is_alone], of_sessions[is_alone]
    return _by_time("session", alone, listed["target"].astype(str).to_numpy(), listed)


def _by_time(scope: str, position: Integers, targets: object, rows: pd.DataFrame) -> pd.DataFrame:
    outcomes = rows["outcome"].astype(str).to_numpy()
    order = np.argsort(rows["start_utc_ns"].to_numpy(), kind="stable")
    columns = {"scope": scope, "target": targets, "outcome": outcomes, "position": position}
    return pd.DataFrame(columns).iloc[order]
