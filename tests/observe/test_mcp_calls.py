"""Turns in which the service calls the tools of MCP servers."""

from __future__ import annotations

from typing import Any

import pytest

import bench.observe.tool_calls
from bench.base.clock import Arrival
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.inputs import ApproveMcpCall, CallFunction, RequestContinuation
from bench.observe.timeline import Timeline
from bench.services.openai.dialect import GA
from bench.wire.connection import ReceivedMessage
from tests.helpers import (
    AT_NS,
    MS,
    Talk,
    after_ms,
    at,
    created,
    done,
    message,
    session_created,
    session_updated,
)
from tests.observe.function_calls import (
    audio,
    final_response,
    item,
)

NEVER_ASKED: dict[str, bool] = {"docs": False}


def mcp_item(item_id: str, tool: str = "search", **fields: Any) -> dict[str, Any]:
    return {"id": item_id, "type": "mcp_call", "server_label": "docs", "name": tool} | fields


def mcp_event(state: str, item_id: str = "m1") -> bytes:
    """Return the event for a state of the execution of an MCP call. It names only the item."""
    return message(f"response.mcp_call.{state}", item_id=item_id, output_index=0)


def calls(
    talk: Talk, at_ms: float = 100, response_id: str = "r1", *item_ids: str, tool: str = "search"
) -> None:
    """Receive a response that makes MCP calls, one every 10 ms.

    Each call is complete after 5 ms. The response is done 15 ms after its last call was added.
    """
    talk.hear(at_ms, created(response_id))
    for number, item_id in enumerate(item_ids or ("m1",), 1):
        added_ms = at_ms + 10 * number
        talk.hear(added_ms, item("added", response_id, item_id, **mcp_item(item_id, tool)))
        arguments = {
            "response_id": response_id,
            "item_id": item_id,
            "output_index": 0,
            "arguments": "{}",
        }
        talk.hear(added_ms + 5, message("response.mcp_call_arguments.done", **arguments))
    talk.hear(at_ms + 10 * len(item_ids or ("m1",)) + 15, done(response_id))


def ask(talk: Talk, at_ms: float = 0, number: int = 1, **changes: Any) -> None:
    talk.ask(at_ms, number, **{"mcp_servers": NEVER_ASKED} | changes)


def test_the_answer_is_requested_when_the_response_is_done_and_its_mcp_call_has_ended() -> None:
    talk = Talk()
    ask(talk, jitter_buffer_ns=50 * MS)
    calls(talk)
    talk.hear(130, mcp_event("in_progress"))
    assert not talk.work(131, RequestContinuation), "the call runs"
    talk.hear(630, mcp_event("completed"))
    assert talk.work(630, RequestContinuation)
    assert not talk.work(631, CallFunction), "the service executes the call"
    talk.send(631, "response.create")
    talk.hear(632, item("done", "r1", "m1", **mcp_item("m1", output="found", error=None)))
    turn = final_response(talk, 900)

    assert (turn.outcome, turn.turn_type, turn.response_id, turn.answer_response_id) == (
        "ok",
        "function_calls",
        "r1",
        "r2",
    )
    assert (turn.mcp_calls, turn.mcp_execution_ns, turn.mcp_call_failed, turn.mcp_error) == (
        1,
        500 * MS,
        False,
        "",
    )
    assert (turn.function_calls, turn.function_execution_ns) == (None, None), (
        "no function of the client was called"
    )
    assert turn.delegations == 1
    instants = ("function_call_added", "function_call_done", "mcp_call_started", "mcp_call_ended")
    assert [after_ms(turn, name) for name in instants] == [110, 115, 130, 630]
    metrics = {
        name: ns / MS
        for name, ns in turn.metrics_ns().items()
        if name.startswith(("function", "mcp"))
    }
    assert metrics == {
        "function_call_added": 110,
        "function_call_done": 115,
        "mcp_execution": 500,
        "function_answer_ttfa": 269,
        "function_call_to_answer": 840,
    }


def test_mcp_calls_at_the_same_time_count_once_in_the_execution() -> None:
    talk = Talk()
    ask(talk)
    calls(talk, 100, "r1", "m1", "m2")
    talk.hear(200, mcp_event("in_progress", "m1"))
    talk.hear(300, mcp_event("in_progress", "m2"))
    talk.hear(400, mcp_event("completed", "m1"))
    assert not talk.work(401, RequestContinuation), "the other call runs"
    talk.hear(600, mcp_event("completed", "m2"))
    assert talk.work(600, RequestContinuation)
    talk.send(601, "response.create")
    calls(talk, 700, "r2", "m3")
    talk.hear(800, mcp_event("in_progress", "m3"))
    talk.hear(900, mcp_event("completed", "m3"))
    talk.send(901, "response.create")
    turn = final_response(talk, 1_200, "r3")

    assert (turn.outcome, turn.mcp_calls, turn.mcp_execution_ns) == ("ok", 3, (400 + 100) * MS)
    assert (after_ms(turn, "mcp_call_started"), after_ms(turn, "mcp_call_ended")) == (200, 400), (
        "of the first call"
    )
    assert after_ms(turn, "answer_request_sent") == 901


@pytest.mark.parametrize(
    ("reported", "error"),
    [
        (
            {"type": "http_error", "code": 503, "message": "Busy"},
            "docs.search: http_error 503: Busy",
        ),
        (
            {"type": "tool_execution_error", "message": "No index"},
            "docs.search: tool_execution_error: No index",
        ),
        (None, "docs.search"),
    ],
)
def test_a_failed_mcp_call_is_counted_and_named_and_the_turn_continues(
    reported: Any, error: str
) -> None:
    talk = Talk()
    ask(talk)
    calls(talk)
    talk.hear(130, mcp_event("in_progress"))
    talk.hear(330, mcp_event("failed"))
    assert talk.work(330, RequestContinuation)
    talk.send(331, "response.create")
    talk.hear(332, item("done", "r1", "m1", **mcp_item("m1", error=reported)))
    turn = final_response(talk, 900)

    assert (turn.outcome, turn.mcp_calls, turn.mcp_call_failed, turn.mcp_error) == (
        "ok",
        1,
        True,
        error,
    )
    assert turn.mcp_execution_ns == 200 * MS


@pytest.mark.parametrize("is_done", [True, False])
def test_an_mcp_call_that_never_ends_times_out_with_its_name(is_done: bool) -> None:
    talk = Talk(response=40, first_delta=5, next_delta=5)
    ask(talk)
    talk.hear(100, created("r1"), item("added", "r1", "m1", **mcp_item("m1")))
    talk.hear(130, mcp_event("in_progress"), *([done("r1")] if is_done else []))
    assert talk.timeline.next_deadline_ns == at(40_130)
    talk.timeline.expire(at(40_130))

    turn = talk.only()
    assert (turn.outcome, turn.mcp_calls, turn.mcp_call_failed) == ("timeout:response", 1, None)
    assert turn.detail == "the MCP call did not end within 40 s (timeout `response`): docs.search"


def approval_requested(item_id: str = "a1", server: str = "docs") -> bytes:
    request = {
        "id": item_id,
        "type": "mcp_approval_request",
        "server_label": server,
        "name": "search",
    }
    return message(
        "conversation.item.done", previous_item_id="m1", item=request | {"arguments": "{}"}
    )


def test_each_requested_approval_is_given_once() -> None:
    talk = Talk()
    ask(talk, mcp_servers={"docs": True})
    calls(talk)
    talk.hear(130, approval_requested(), approval_requested())
    assert talk.work(130, ApproveMcpCall) == [ApproveMcpCall("a1", "turn-1-approval-1")]
    talk.hear(131, approval_requested("a2"))
    assert talk.work(131, ApproveMcpCall) == [ApproveMcpCall("a2", "turn-1-approval-2")]
    assert not talk.work(132, RequestContinuation)
    talk.hear(200, mcp_event("in_progress"))
    talk.hear(300, mcp_event("completed"))
    assert talk.work(300, RequestContinuation)


@pytest.mark.parametrize("servers", [{"docs": False}, {"other": True}, None])
def test_a_turn_fails_if_its_script_does_not_approve_the_call(
    servers: dict[str, bool] | None,
) -> None:
    talk = Talk()
    ask(talk, mcp_servers=servers)
    calls(talk)
    talk.hear(130, approval_requested())

    turn = talk.only()
    detail = "the service asks for the approval of a call of docs.search"
    assert (turn.outcome, turn.detail, after_ms(turn, "ended")) == (
        "failed:mcp_approval",
        detail,
        130,
    )


@pytest.mark.parametrize("endless", ["calls", "approvals"])
def test_too_many_mcp_calls_or_approvals_end_the_session(
    endless: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.observe.tool_calls, "MAX_CALLS", 3)
    talk = Talk(wanted=1)
    ask(talk, mcp_servers={"docs": True})
    talk.hear(100, created("r1"))
    for number in range(4):
        assert not talk.timeline.is_over
        called = item("added", "r1", f"m{number}", **mcp_item(f"m{number}"))
        talk.hear(101 + number, called if endless == "calls" else approval_requested(f"a{number}"))

    assert (talk.only().outcome, talk.timeline.session().outcome) == (
        "limit_exceeded:calls",
        "limit_exceeded:calls",
    )


def test_the_mcp_calls_of_a_reply_to_a_pause_do_not_delay_the_answer() -> None:
    talk = Talk(service_responds=True)
    talk.begin_speech(0, mcp_servers=NEVER_ASKED)
    talk.hear(60, message("input_audio_buffer.speech_started", item_id="item_1"))
    for name in ("speech_stopped", "committed"):
        talk.hear(80, message(f"input_audio_buffer.{name}", item_id="item_1"))
    calls(talk, 100)
    talk.end_speech(200)
    for name in ("speech_started", "speech_stopped", "committed"):
        talk.hear(260, message(f"input_audio_buffer.{name}", item_id="item_2"))
    talk.hear(300, mcp_event("in_progress"))
    talk.hear(400, created("r2"), audio("r2", "i2"), done("r2"))

    (turn,) = talk.take(100_000)
    assert (turn.outcome, turn.mcp_calls, turn.answer_response_id) == ("ok", 0, "r2")


# Lists of tools.


class Listing:
    """A session that declares two MCP servers, `docs` and `crm`."""

    def __init__(self) -> None:
        self.timeline = Timeline(inputs.SessionStart(AT_NS, 1, Timeouts(), mcp_servers=2), GA)
        self.hear(0, session_created(), session_updated())
        for label in ("docs", "crm"):
            described = {"id": f"list_{label}", "type": "mcp_list_tools", "server_label": label}
            self.hear(1, message("conversation.item.added", item=described))

    def hear(self, at_ms: float, *messages: bytes) -> None:
        for data in messages:
            self.timeline.apply(
                inputs.Received(
                    GA.decode(data), ReceivedMessage(data, Arrival(at(at_ms)), len(data))
                )
            )

    def ends(self, at_ms: float, label: str, end: str = "completed") -> None:
        self.hear(at_ms, message(f"mcp_list_tools.{end}", item_id=f"list_{label}"))


def test_the_servers_are_listed_when_the_last_list_is_complete() -> None:
    listing = Listing()
    listing.ends(100, "crm")
    assert "mcp_listed" not in listing.timeline.facts.instants
    listing.ends(300, "docs")

    assert listing.timeline.session().instants["mcp_listed"] == at(300)
    assert not listing.timeline.is_over


def test_a_list_that_fails_ends_the_session_and_names_the_server() -> None:
    listing = Listing()
    listing.ends(100, "crm", "failed")

    session = listing.timeline.session()
    assert (session.outcome, session.detail) == (
        "failed:mcp_list_tools",
        "the tools of the MCP server crm were not listed",
    )


def test_items_of_mcp_servers_acknowledge_no_message_of_the_history() -> None:
    listing = Listing()
    listing.timeline.apply(inputs.HistoryStarted(at(10), 1))
    listed = {"id": "list_3", "type": "mcp_list_tools", "server_label": "late", "tools": []}
    listing.hear(20, message("conversation.item.added", item=listed))
    assert listing.timeline.facts.history_left == 1
    listing.hear(30, message("conversation.item.added", item={"id": "i", "type": "message"}))
    assert listing.timeline.facts.history_left == 0
