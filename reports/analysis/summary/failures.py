"""Failed turns and sessions as a service's support needs them: instants, IDs, and errors as
received.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from msgspec import field

from bench.catalogue.columns import DETAIL_CHARACTERS
from bench.catalogue.outcomes import refusal_status
from bench.files.safe_io import JsonError, read_json
from bench.files.sanitize import excerpt
from reports.analysis.summary.example_turns import ids_of, sessions_of, text_in
from reports.analysis.summary.groups import GroupDifference
from reports.data.runs import RunFrames, records, response_ids
from reports.data.turns import FAILED, TurnArrays
from reports.results.json_entries import Count, JsonEntry, Known

ID_HEADERS = (
    "x-request-id",
    "apim-request-id",
    "x-ms-request-id",
    "x-ms-client-request-id",
    "request-id",
    "x-ms-region",
    "x-azure-ref",
    "azureml-model-session",
    "cf-ray",
    "x-amzn-requestid",
    "x-amzn-trace-id",
    "x-amz-cf-id",
    "traceparent",
    "x-trace-id",
    "x-correlation-id",
    "x-served-by",
    "date",
)
"""The headers of the answer to the upgrade that are listed. They identify a request, or the
place that answered it."""
HEADER_CHARACTERS = 120
OF_SESSION = [
    "session_id",
    "service_session_id",
    "request_id",
    "region",
    "response_headers",
    "close_code",
    "close_reason",
    "opened_at_ns",
    "event_log",
]
OF_FAILURE = ["session_id", "start_utc_ns", "ended_at_ns", "outcome", "detail"]
WITH_CONTENT = frozenset({"wrong_function_call"})
"""The outcomes whose detail is not listed, because it may contain words of the conversation."""
OF_CONTEXT = 3
"""The maximum number of failed turns that are reported for each target and stratum."""
Scope = Literal["turn", "session"]


class FailureEntry(JsonEntry, kw_only=True):
    """A failed turn, or a failed session without such a turn, with its instants in UTC and its
    IDs; null if unknown.
    """

    scope: Scope
    target: str
    step: Known = ""
    turn: Count | None = None
    """number of the turn in its session, from 1; null for a session"""
    started_utc_ns: Count
    failed_utc_ns: Count | None
    """when it ended; null if that was not recorded"""
    outcome: str
    http_status: Count | None
    """of the answer to the upgrade"""
    close_code: Count | None
    close_reason: Known
    message: Known
    """of the service, as received"""
    message_is_cut: bool
    """true if only the first characters of the message were stored"""
    context_tokens: Count | None = None
    """input tokens of the turn's first response"""
    is_bound: bool = field(name="context_is_lower_bound", default=False)
    """true if these are the input tokens of an earlier turn of the session, so a lower bound"""
    session: str
    """this tool's ID of the session"""
    service_session: Known
    response: Known = ""
    request: Known
    region: Known
    headers: dict[str, str]
    """of the answer to the upgrade: IDs, region, date"""
    event_log: Known
    """of the session, relative to the run's folder"""


def failed_turns(run: RunFrames, turns: TurnArrays, chosen: Sequence[int]) -> list[FailureEntry]:
    """Return the entries of measured turns. `chosen` is their indexes."""
    if not chosen:
        return []
    tokens, is_bound = turns.context
    rows = turns.rows[list(chosen)]
    stored = records(turns.frame[[*OF_FAILURE, "turn"]].iloc[rows])
    sessions = sessions_of(run, stored, OF_SESSION)
    return [
        FailureEntry(
            scope="turn",
            target=turns.targets[int(turns.target[index])],
            step=turns.steps[int(turns.step[index])],
            turn=int(np.nan_to_num(row["turn"])),
            context_tokens=None if np.isnan(tokens[index]) else int(tokens[index]),
            is_bound=bool(is_bound[index]),
            **_shared(row, sessions.get(str(row["session_id"]), {}), response),
        )
        for index, row, response in zip(
            chosen, stored, response_ids(run, rows.tolist()), strict=True
        )
    ]


def failed_sessions(sessions: pd.DataFrame, chosen: Sequence[int]) -> list[FailureEntry]:
    """Return the entries of measured sessions. `chosen` is their positions."""
    columns = dict.fromkeys([*OF_SESSION, *OF_FAILURE, "target"])
    stored = records(sessions[list(columns)].iloc[list(chosen)])
    return [
        FailureEntry(scope="session", target=str(row["target"]), **_shared(row, row))
        for row in stored
    ]


def failures_by_context(
    run: RunFrames, turns: TurnArrays, differences: Iterable[GroupDifference]
) -> tuple[FailureEntry, ...]:
    """Return failed turns of the pools that fail more often from some context length on.

    They are those with the shortest contexts from there on, each of another session.
    """
    chosen: list[int] = []
    tokens, _ = turns.context
    for difference in differences:
        if (difference.of.by, difference.what) == ("context", "failed"):
            of = difference.of
            is_of_pool = (turns.target == of.colour) & turns.steps_in(of.stratum)[turns.step]
            failed = np.flatnonzero(
                is_of_pool & (turns.kind == FAILED) & (tokens > difference.larger.bin.start)
            )
            failed = failed[np.argsort(tokens[failed], kind="stable")]
            _, first_of_session = np.unique(turns.session[failed], return_index=True)
            chosen += failed[np.sort(first_of_session)[:OF_CONTEXT]].tolist()
    return tuple(failed_turns(run, turns, chosen))


def _shared(
    row: Mapping[str, Any], session: Mapping[str, Any], response: str = ""
) -> dict[str, Any]:
    """Return the fields of an entry that turns and sessions have. `session` is the row of the
    session.
    """
    outcome = str(row["outcome"])
    detail = text_in(row, "detail")
    headers = session.get("response_headers")
    opened, code = (session.get(name, np.nan) for name in ("opened_at_ns", "close_code"))
    has_content = outcome in WITH_CONTENT
    return ids_of(str(row["session_id"]), session, response) | {
        "started_utc_ns": int(row["start_utc_ns"]),
        "failed_utc_ns": (
            None if np.isnan(row["ended_at_ns"]) else int(row["start_utc_ns"] + row["ended_at_ns"])
        ),
        "outcome": outcome,
        # a session that opened has 101
        "http_status": refusal_status(outcome) or (101 if opened == opened else None),
        "close_code": int(code) if code == code else None,
        "close_reason": text_in(session, "close_reason"),
        "message": "" if has_content else detail,
        "message_is_cut": not has_content and len(detail) >= DETAIL_CHARACTERS,
        "headers": id_headers(headers if isinstance(headers, str) else ""),
    }


def id_headers(text: str) -> dict[str, str]:
    """Return the headers of ID_HEADERS in a stored JSON object of headers, made safe to show; {}
    if it has none.
    """
    try:
        headers = read_json(text) if text else {}
    except JsonError:
        return {}
    if not isinstance(headers, Mapping):
        return {}
    known = {str(name).lower(): value for name, value in headers.items()}
    return {
        name: excerpt(value, HEADER_CHARACTERS)
        for name in ID_HEADERS
        if isinstance(value := known.get(name), str) and value
    }
