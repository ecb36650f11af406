"""Servers of MCP that a session declares: their tools are listed, called, and approved."""

from __future__ import annotations

from typing import Any

import pytest

from bench.simulator.behaviour import Behaviour
from bench.simulator.profile import McpBehaviour
from bench.simulator.wire import AZURE_GA, OPENAI_GA
from tests.simulator.builders import (
    CREATE,
    MS,
    all_of,
    answers,
    begun,
    done,
    drain,
    function,
    listening,
    one,
    session_update,
    squeezed,
    types,
    user_text,
)
from tests.simulator.sdk_types import assert_typed

DOCS = {"type": "mcp", "server_label": "docs", "server_url": "https://mcp.example.com", "require_approval": "never"}
ASKED = DOCS | {"require_approval": "always"}
DELAYS = {"mcp_listed": 400, "mcp_called": 600, "first_audio": 500}
CALL = ["response.created", "response.output_item.added", "conversation.item.added",
        "response.mcp_call_arguments.delta", "response.mcp_call_arguments.done", "response.output_item.done",
        "response.mcp_call.in_progress", "response.done", "rate_limits.updated",
        "response.mcp_call.completed", "conversation.item.done"]  # fmt: skip


def with_servers(*tools: dict[str, Any], choice: Any = "auto", **mcp: Any) -> Behaviour:
    """A session whose servers have said what tools they have."""
    behaviour = listening(None, delays=DELAYS, mcp=McpBehaviour(**mcp))
    answers(behaviour, session_update(AZURE_GA, tools=list(tools), tool_choice=choice))
    return behaviour


def called(behaviour: Behaviour) -> list[dict[str, Any]]:
    """What follows from a question."""
    events = answers(behaviour, user_text(), CREATE)
    assert_typed(OPENAI_GA, events)
    return events[2:]


def approval(request: dict[str, Any], approve: bool) -> dict[str, Any]:
    response = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": approve}
    return {"type": "conversation.item.create", "item": {"id": "approved", **response}}


def test_a_server_says_what_tools_it_has_behind_the_update_that_declares_it() -> None:
    behaviour = listening(None, delays=DELAYS, mcp=McpBehaviour(tools=("search", "fetch")))
    events = answers(behaviour, session_update(AZURE_GA, tools=[DOCS]))

    assert types(events) == ["session.updated", "conversation.item.added", "mcp_list_tools.in_progress",
                             "mcp_list_tools.completed", "conversation.item.done"]  # fmt: skip
    added, response = (event["item"] for event in (events[1], events[4]))
    assert (added["tools"], added["server_label"]) == ([], "docs")
    assert [tool["name"] for tool in response["tools"]] == ["search", "fetch"]
    assert {event["item_id"] for event in all_of(events, "mcp_list_tools.completed")} == {response["id"]}
    assert events[3]["due_ns"] - events[2]["due_ns"] == 400 * MS
    assert_typed(OPENAI_GA, events)


def test_each_server_is_asked_once() -> None:
    behaviour = with_servers(DOCS)
    again = answers(behaviour, session_update(AZURE_GA, tools=[DOCS, DOCS | {"server_label": "more"}]))

    assert one(again, "conversation.item.done")["item"]["server_label"] == "more"


def test_a_client_allows_some_of_its_tools() -> None:
    servers = [DOCS | {"server_label": name, "allowed_tools": allowed}
               for name, allowed in (("a", ["fetch"]), ("b", {"tool_names": ["search"]}))]  # fmt: skip
    behaviour = listening(None, mcp=McpBehaviour(tools=("search", "fetch")))
    events = answers(behaviour, session_update(AZURE_GA, tools=servers))

    items = [event["item"] for event in all_of(events, "conversation.item.done")]
    listed = {item["server_label"]: [tool["name"] for tool in item["tools"]] for item in items}
    assert listed == {"a": ["fetch"], "b": ["search"]}


def test_a_server_that_does_not_answer_fails_and_has_no_tools() -> None:
    behaviour = listening(None, mcp=McpBehaviour(list_failed=1.0))
    events = answers(behaviour, session_update(AZURE_GA, tools=[DOCS]))

    assert one(events, "mcp_list_tools.failed")["item_id"] == one(events, "item.done")["item"]["id"]
    assert one(events, "item.done")["item"]["tools"] == []
    assert_typed(OPENAI_GA, events)
    assert [item["type"] for item in done(called(behaviour))["output"]] == ["message"]


def test_a_call_is_written_and_run_and_ends_behind_its_response() -> None:
    events = called(with_servers(DOCS))

    assert squeezed(types(events)) == CALL
    written = "".join(event["delta"] for event in all_of(events, "arguments.delta"))
    assert written == one(events, "arguments.done")["arguments"] == "{}"
    (item,) = done(events)["output"]
    assert (item["type"], item["name"], item["server_label"], item["output"]) == ("mcp_call", "search", "docs", None)
    assert "response_id" not in one(events, "mcp_call.completed")
    ended = one(events, "conversation.item.done")["item"]
    assert ended["id"] == item["id"]
    assert ended["output"]
    assert one(events, "mcp_call.completed")["due_ns"] - one(events, "mcp_call.in_progress")["due_ns"] == 600 * MS


def test_what_follows_a_call_is_the_answer_and_has_read_what_the_tool_returned() -> None:
    behaviour = with_servers(DOCS)
    first = done(called(behaviour))
    second = done(answers(behaviour, CREATE))

    assert [item["type"] for item in second["output"]] == ["message"]
    assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"]


def test_a_call_that_fails_says_so_and_has_an_error() -> None:
    events = called(with_servers(DOCS, call_failed=1.0))

    assert one(events, "mcp_call.failed")["item_id"] == one(events, "conversation.item.done")["item"]["id"]
    ended = one(events, "conversation.item.done")["item"]
    assert (ended["output"], ended["error"]["type"]) == (None, "tool_execution_error")


@pytest.mark.parametrize("required", ["always", None, {"always": {"tool_names": ["search"]}}])
def test_a_call_is_asked_for_unless_the_client_says_otherwise(required: Any) -> None:
    events = called(with_servers(DOCS | {"require_approval": required}))

    (request,) = done(events)["output"]
    assert request["type"] == "mcp_approval_request"
    assert (request["name"], request["arguments"]) == ("search", "{}")
    assert squeezed(types(events))[:5] == ["response.created", "response.output_item.added", "conversation.item.added",
                                           "conversation.item.done", "response.output_item.done"]  # fmt: skip
    assert not [name for name in types(events) if "mcp_call" in name]


def test_named_tools_need_no_approval() -> None:
    events = called(with_servers(DOCS | {"require_approval": {"never": {"tool_names": ["search"]}}}))

    assert all_of(events, "mcp_call.completed")


def test_a_call_that_was_approved_is_run() -> None:
    behaviour = with_servers(ASKED)
    (request,) = done(called(behaviour))["output"]
    events = answers(behaviour, approval(request, True))

    assert types(events) == ["conversation.item.added", "conversation.item.done", "conversation.item.added",
                             "response.mcp_call.in_progress", "response.mcp_call.completed",
                             "conversation.item.done"]  # fmt: skip
    assert events[0]["item"]["type"] == "mcp_approval_response"
    call = events[-1]["item"]
    assert (call["type"], call["approval_request_id"], call["arguments"]) == ("mcp_call", request["id"], "{}")
    assert call["output"]
    assert_typed(OPENAI_GA, events)
    answer = done(answers(behaviour, CREATE))["output"]
    assert [item["type"] for item in answer] == ["message"]


def test_a_call_that_was_not_approved_is_not_run() -> None:
    behaviour = with_servers(ASKED)
    (request,) = done(called(behaviour))["output"]

    assert types(answers(behaviour, approval(request, False))) == ["conversation.item.added", "conversation.item.done"]


@pytest.mark.parametrize("choice", [{"type": "mcp", "server_label": "docs"},
                                    {"type": "mcp", "server_label": "docs", "name": "fetch"}, "required"])  # fmt: skip
def test_a_server_that_is_chosen_is_called(choice: Any) -> None:
    tools = [DOCS] if choice == "required" else [function(), DOCS]
    behaviour = with_servers(*tools, choice=choice, tools=("search", "fetch"))
    (item,) = done(answers(behaviour, CREATE))["output"]

    assert (item["type"], item["server_label"]) == ("mcp_call", "docs")
    if isinstance(choice, dict) and "name" in choice:
        assert item["name"] == "fetch"


def test_a_server_whose_tools_are_not_listed_yet_is_not_called_but_may_be_chosen() -> None:
    choice = {"type": "mcp", "server_label": "docs"}
    behaviour = listening(None, delays=DELAYS)
    events = answers(behaviour, session_update(AZURE_GA, tools=[DOCS], tool_choice=choice), CREATE)

    assert [item["type"] for item in done(events)["output"]] == ["message"]


def test_a_server_that_is_not_known_cannot_be_chosen() -> None:
    behaviour = with_servers(DOCS, choice={"type": "mcp", "server_label": "nobody"})
    (error,) = answers(behaviour, CREATE)

    assert (error["error"]["code"], error["error"]["param"]) == ("invalid_value", "tool_choice")


def test_a_call_that_is_cancelled_while_it_is_written_is_not_run() -> None:
    behaviour = with_servers(DOCS)
    events, now_ns = begun(behaviour, "output_item.added", user_text(), CREATE)
    behaviour.receive({"type": "response.cancel"}, now_ns)
    events += drain(behaviour)

    assert done(events)["status"] == "cancelled"
    assert not all_of(events, "mcp_call.in_progress")
