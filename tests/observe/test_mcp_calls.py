"""The lists of the tools of MCP servers, and the limit of calls in a turn."""

from __future__ import annotations

import json

import pytest

import bench.observe.tool_calls
from bench.base.clock import Arrival
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.timeline import Timeline
from bench.services.openai.dialect import GA
from bench.wire.connection import ReceivedMessage
from tests.helpers import (
    AT_NS,
    Talk,
    at,
    created,
    message,
    session_created,
    session_updated,
)

# How a response calls a function, calls a tool, and asks for an approval. `{}` is a number.
ENDLESS = {
    "function calls": {
        "type": "response.function_call_arguments.done",
        "response_id": "r1",
        "call_id": "c{}",
    },
    "MCP calls": {
        "type": "response.output_item.added",
        "response_id": "r1",
        "item": {"id": "m{}", "type": "mcp_call", "server_label": "docs", "name": "search"},
    },
    "approvals": {
        "type": "conversation.item.done",
        "item": {"id": "a{}", "type": "mcp_approval_request", "server_label": "docs"},
    },
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_too_many_calls_or_approvals_end_the_session(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.observe.tool_calls, "MAX_CALLS", 3)
    talk, event = Talk(wanted=1), json.dumps(ENDLESS[kind])
    talk.ask(0, functions=True, mcp_servers={"docs": True})
    talk.hear(100, created("r1"))
    for number in range(4):
        assert not talk.timeline.is_over
        talk.hear(101 + number, event.replace("{}", str(number)).encode())

    assert (talk.only().outcome, talk.timeline.session().outcome) == (
        "limit_exceeded:calls",
        "limit_exceeded:calls",
    )


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
