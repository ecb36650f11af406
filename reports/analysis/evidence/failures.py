"""The failed turns and sessions of a run as a service's support needs them: instants, IDs, and errors as received.

A page lists only some of them. Every kind of failure has an example, and the examples are distributed over the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from bench.catalogue.columns import DETAIL_CHARACTERS
from bench.catalogue.outcomes import OWN_FAULT, refusal_status
from bench.files.safe_io import JsonError, read_json
from bench.files.sanitize import excerpt
from reports.analysis.evidence.secrets import without_credentials
from reports.analysis.summary.example_turns import sessions_of, text_in
from reports.analysis.summary.summary import Summary
from reports.data.runs import records, response_ids
from reports.data.turns import FAILED
from reports.results.json_entries import Count, JsonEntry, Known, described
from reports.statistics.counting import Integers

MAX_LISTED = 100
"""The maximum number of failures that are listed."""
ID_HEADERS = (
    *("x-request-id", "apim-request-id", "x-ms-request-id", "x-ms-client-request-id", "request-id"),
    *("x-ms-region", "x-azure-ref", "azureml-model-session", "cf-ray", "x-amzn-requestid", "x-amzn-trace-id"),
    *("x-amz-cf-id", "traceparent", "x-trace-id", "x-correlation-id", "x-served-by", "date"),
)
"""The headers of the answer to the upgrade that are listed. They identify a request, or the place that answered it."""
HEADER_CHARACTERS = 120
OF_SESSION = [
    *("session_id", "service_session_id", "request_id", "region", "response_headers", "close_code", "close_reason"),
    "opened_at_ns",
]
OF_TURN = ["session_id", "step", "turn", "start_utc_ns", "ended_at_ns", "outcome", "detail"]
WITH_CONTENT = frozenset({"wrong_function_call"})
"""The outcomes whose detail may contain words of the conversation, which are no part of the evidence."""
Scope = Literal["turn", "session"]


class FailureEntry(JsonEntry, frozen=True, kw_only=True):
    """A failed turn, or a failed session without such a turn, with its instants in UTC and its IDs; null if unknown."""

    scope: Scope
    target: str
    step: Known = ""
    turn: Annotated[Count | None, described("number of the turn in its session, from 1; null for a session")] = None
    started_utc_ns: Count
    failed_utc_ns: Annotated[Count | None, described("when it ended; null if that was not recorded")]
    outcome: str
    http_status: Annotated[Count | None, described("of the answer to the upgrade")]
    close_code: Count | None
    close_reason: Known
    message: Annotated[Known, described("of the service, as received; credentials are hidden")]
    message_is_cut: Annotated[bool, described("true if only the first characters of the message were stored")]
    context_tokens: Annotated[Count | None, described("input tokens of the turn's first response")] = None
    context_is_lower_bound: bool = False
    session: Annotated[str, described("this tool's ID of the session")]
    service_session: Known
    response: Known = ""
    request: Known
    region: Known
    headers: Annotated[dict[str, str], described("of the answer to the upgrade: IDs, region, date")]


@dataclass(frozen=True)
class Failures:
    """The failures that are listed, and the number of all failures.

    A kind of failure is a target, with an outcome of turns or of sessions.
    """

    examples: tuple[FailureEntry, ...]
    """An example of each kind, the most frequent kind first. With more kinds than entries, the last have none."""
    others: tuple[FailureEntry, ...]
    """Further failures by time."""
    total: int
    kinds: int

    @property
    def not_listed(self) -> int:
        return self.total - len(self.examples) - len(self.others)


@dataclass(frozen=True)
class _Group:
    """The failures of one kind. `positions` are indexes of measured turns, or of measured sessions, by time."""

    scope: Scope
    target: int
    positions: Integers


def failures_of(summary: Summary, most: int = MAX_LISTED) -> Failures:
    """Return the failures of a run. An example of each kind is first, then others by time.

    A failed session is listed only if none of its turns failed with the same outcome, because it is the same failure.
    """
    groups = sorted(
        [*_groups_of_turns(summary), *_groups_of_sessions(summary)], key=lambda group: -group.positions.size
    )
    chosen: dict[Scope, list[int]] = {"turn": [], "session": []}
    examples: list[tuple[Scope, int]] = []
    for group, slots in zip(groups, allocated([group.positions.size for group in groups], most), strict=True):
        positions = distributed(group.positions, slots).tolist()
        chosen[group.scope] += positions
        examples += [(group.scope, position) for position in positions[:1]]
    entries: dict[tuple[Scope, int], FailureEntry] = {
        **{("turn", place): entry for place, entry in _turn_entries(summary, chosen["turn"])},
        **{("session", place): entry for place, entry in _session_entries(summary, chosen["session"])},
    }
    return Failures(
        examples=tuple(entries.pop(key) for key in examples),
        others=tuple(sorted(entries.values(), key=lambda entry: entry.started_utc_ns)),
        total=sum(group.positions.size for group in groups),
        kinds=len(groups),
    )


def allocated(sizes: Sequence[int], most: int) -> list[int]:
    """Return how many of each group are listed: at most `most` together, the same number of each if possible.

    If there are more groups than that, the last ones have none.
    """
    slots, left = [0] * len(sizes), most
    while left and any(slot < size for slot, size in zip(slots, sizes, strict=True)):
        for index, size in enumerate(sizes):
            if left and slots[index] < size:
                slots[index], left = slots[index] + 1, left - 1
    return slots


def distributed(positions: Integers, number: int) -> Integers:
    """Return `number` of the positions, the first one and others at equal distances."""
    return positions[np.arange(number) * positions.size // max(1, number)]


def _groups_of_turns(summary: Summary) -> list[_Group]:
    turns = summary.turns
    outcome = turns.frame["outcome"].cat
    codes = outcome.codes.to_numpy()[turns.rows]
    own = list(outcome.categories).index(OWN_FAULT) if OWN_FAULT in outcome.categories else -1
    failed = np.flatnonzero((turns.kind == FAILED) & (codes != own))
    at_ns = turns.frame["start_utc_ns"].to_numpy(dtype=np.int64)[turns.rows[failed]]
    return _by_kind("turn", failed[np.argsort(at_ns, kind="stable")], codes, turns.target)


def _groups_of_sessions(summary: Summary) -> list[_Group]:
    turns, sessions = summary.turns, summary.sessions
    failed_turns = turns.frame[["session_id", "outcome"]].iloc[turns.rows[turns.failed]].astype(str)
    of_turns = set(failed_turns.itertuples(index=False, name=None))
    failed = (sessions["outcome_class"] == "failed").to_numpy() & (sessions["outcome"] != OWN_FAULT).to_numpy()
    named = sessions[["session_id", "outcome"]].astype(str).itertuples(index=False, name=None)
    alone = np.flatnonzero(failed & np.fromiter((pair not in of_turns for pair in named), bool, len(sessions)))
    at_ns = sessions["start_utc_ns"].to_numpy(dtype=np.int64)[alone]
    target = np.array([summary.targets.index(name) for name in sessions["target"].astype(str)], dtype=np.int64)
    codes = sessions["outcome"].cat.codes.to_numpy()
    return _by_kind("session", alone[np.argsort(at_ns, kind="stable")], codes, target)


def _by_kind(scope: Scope, positions: Integers, outcome: Integers, target: Integers) -> list[_Group]:
    kinds = dict.fromkeys(zip(target[positions].tolist(), outcome[positions].tolist(), strict=True))
    return [
        _Group(scope, of_target, positions[(target[positions] == of_target) & (outcome[positions] == code)])
        for of_target, code in kinds
    ]


def _turn_entries(summary: Summary, chosen: Sequence[int]) -> Iterable[tuple[int, FailureEntry]]:
    """Yield the entries of measured turns, each with the index of its turn."""
    if not chosen:
        return
    run, turns = summary.run, summary.turns
    tokens, is_bound = turns.context
    rows = turns.rows[list(chosen)]
    stored = records(turns.frame[OF_TURN].iloc[rows])
    sessions = sessions_of(run, stored, OF_SESSION)
    for place, row, response in zip(chosen, stored, response_ids(run, rows.tolist()), strict=True):
        context = tokens[place]
        yield (
            place,
            FailureEntry(
                scope="turn",
                target=turns.targets[int(turns.target[place])],
                step=turns.steps[int(turns.step[place])],
                turn=int(np.nan_to_num(row["turn"])),
                response=without_credentials(response),
                context_tokens=None if np.isnan(context) else int(context),
                context_is_lower_bound=bool(is_bound[place]),
                **_shared(row, sessions.get(str(row["session_id"]), {})),
            ),
        )


def _session_entries(summary: Summary, chosen: Sequence[int]) -> Iterable[tuple[int, FailureEntry]]:
    """Yield the entries of measured sessions, each with the index of its session."""
    columns = [*OF_SESSION, "target", "start_utc_ns", "ended_at_ns", "outcome", "detail"]
    stored = records(summary.sessions[columns].iloc[list(chosen)]) if chosen else []
    for place, row in zip(chosen, stored, strict=True):
        yield place, FailureEntry(scope="session", target=str(row["target"]), **_shared(row, row))


def _shared(row: Mapping[str, Any], session: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an entry that turns and sessions have. `session` is the row of the session."""
    outcome, detail, headers = str(row["outcome"]), text_in(row, "detail"), session.get("response_headers")
    return {
        "started_utc_ns": int(row["start_utc_ns"]),
        "failed_utc_ns": None if np.isnan(row["ended_at_ns"]) else int(row["start_utc_ns"] + row["ended_at_ns"]),
        "outcome": without_credentials(outcome),
        "http_status": _status(outcome, session),
        "close_code": int(code) if (code := session.get("close_code", np.nan)) == code else None,
        "close_reason": without_credentials(text_in(session, "close_reason")),
        "message": "" if outcome in WITH_CONTENT else without_credentials(detail),
        "message_is_cut": outcome not in WITH_CONTENT and len(detail) >= DETAIL_CHARACTERS,
        "session": str(row["session_id"]),
        "headers": id_headers(headers if isinstance(headers, str) else ""),
        **{
            name: without_credentials(text_in(session, column))
            for name, column in (
                ("service_session", "service_session_id"),
                ("request", "request_id"),
                ("region", "region"),
            )
        },
    }


def _status(outcome: str, session: Mapping[str, Any]) -> int | None:
    """Return the HTTP status of the answer to the upgrade; None if it is unknown. A session that opened has 101."""
    opened = session.get("opened_at_ns", np.nan)
    return refusal_status(outcome) or (101 if opened == opened else None)


def id_headers(text: str) -> dict[str, str]:
    """Return the headers of ID_HEADERS in a stored JSON object of headers, made safe to show; {} if it has none."""
    try:
        headers = read_json(text) if text else {}
    except JsonError:
        return {}
    if not isinstance(headers, Mapping):
        return {}
    known = {str(name).lower(): value for name, value in headers.items()}
    return {
        name: without_credentials(excerpt(value, HEADER_CHARACTERS))
        for name in ID_HEADERS
        if isinstance(value := known.get(name), str) and value
    }
