"""What the shares of a run exclude, and the failures that may not be the service's, each reason
with its counts.

The list is the same for every run, so that a reader sees that nothing else was left out.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from bench.catalogue.outcomes import OWN_FAULT, STARVED, is_own_limit
from reports.analysis.summary.summary import Summary
from reports.data.runs import part_of
from reports.data.turns import UNFINISHED
from reports.results.json_entries import Count, JsonEntry, Known
from reports.statistics.counting import count_nonzero

BEFORE_SERVICE = tuple(
    f"{family}:{stage}"
    for family in ("connect_failed", "timeout")
    for stage in ("token", "proxy", "dns", "tcp", "tls")
)
"""The outcomes of sessions that failed before the service received a request. The network may be
the cause."""
Exclusion = Literal[
    "warm_up",
    "unfinished",
    "starved",
    "own_limits",
    "not_recorded",
    "missing_workers",
    "parts",
    "blocked",
    "load_generator",
    "network",
]
"""The reasons, in the order of the page. Those from `load_generator` on are included in the
failure rates."""
INCLUDED: frozenset[Exclusion] = frozenset({"load_generator", "network"})


class ExclusionEntry(JsonEntry, kw_only=True):
    """A reason, with the numbers of its turns and sessions; null if a number is unknown, or if
    there can be none.
    """

    reason: Exclusion
    turns: Count | None
    sessions: Count | None
    included: bool
    """true if they count in the failure rates; false if they are excluded"""
    note: Known = ""


def exclusions(summary: Summary) -> Iterable[ExclusionEntry]:
    """Yield every reason in its order, also with counts of 0."""
    run = summary.run
    turns = summary.turns
    sessions = summary.sessions
    document = summary.run.metadata
    outcome = turns.frame["outcome"].to_numpy()[turns.rows]
    of_session = sessions["outcome"].astype(object).to_numpy()
    starved = outcome == STARVED
    unfinished = turns.kind == UNFINISHED
    prevented, not_made = (
        np.fromiter(map(is_own_limit, outcomes.astype(str)), bool, count=len(outcomes))
        for outcomes in (outcome, of_session)
    )
    open_sessions = (sessions["outcome_class"] == "unfinished").to_numpy() & ~not_made
    yield _entry("warm_up", len(run.turns) - turns.rows.size, len(run.sessions) - len(sessions))
    ended_because = str(document.get("stop_reason") or "")
    yield _entry(
        "unfinished",
        count_nonzero(unfinished & ~starved & ~prevented),
        count_nonzero(open_sessions),
        ended_because,
    )
    yield _entry("starved", count_nonzero(starved), None)
    yield _entry("own_limits", count_nonzero(prevented), count_nonzero(not_made))
    started = part_of(document, "totals").get("turns_started")
    yield _entry(
        "not_recorded", max(0, started - len(run.turns)) if isinstance(started, int) else None, None
    )
    yield _missing_workers(document)
    yield _excluded_parts(document)
    arrivals = summary.arrivals
    blocked = (
        0
        if arrivals is None
        else max((target.offered - target.started for target in arrivals.targets), default=0)
    )
    yield _entry("blocked", None, blocked, "closed loop" if arrivals is None else "")
    own = count_nonzero(outcome == OWN_FAULT), count_nonzero(of_session == OWN_FAULT)
    yield _entry("load_generator", *own)
    yield _entry("network", None, count_nonzero(np.isin(of_session.astype(str), BEFORE_SERVICE)))


def _entry(
    reason: Exclusion, turns: int | None, sessions: int | None, note: str = ""
) -> ExclusionEntry:
    return ExclusionEntry(
        reason=reason, turns=turns, sessions=sessions, included=reason in INCLUDED, note=note
    )


def _missing_workers(document: Mapping[str, Any]) -> ExclusionEntry:
    workers = document.get("missing_workers") or []
    turns = [worker.get("turns") for worker in workers]
    note = f"{len(workers)} missing" if workers else ""
    return _entry("missing_workers", None if None in turns else sum(turns), None, note)


def _excluded_parts(document: Mapping[str, Any]) -> ExclusionEntry:
    parts = [part for part in document.get("parts") or [] if part.get("excluded_because")]
    counts = [[part.get(name) for part in parts] for name in ("turns", "sessions")]
    turns, sessions = (None if None in numbers else sum(numbers) for numbers in counts)
    return _entry("parts", turns, sessions, f"{len(parts)} not readable" if parts else "")
