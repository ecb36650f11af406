"""The simulated service lists and calls the tools of the MCP servers that a client declares."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from rtbench_simulator.behaviour import Behaviour, WireDialect
from rtbench_simulator.profile import FunctionCalls, McpSettings
from rtbench_simulator.services.azure import AZURE_GA
from rtbench_simulator.services.openai import OPENAI_GA
from rtbench_simulator.services.voice_live import VOICE_LIVE
from rtbench_simulator.services.xai import XAI
from tests.simulator.builders import (
    CREATE,
    MS,
    all_of,
    answers,
    begun,
    build_behaviour,
    constant,
    create,
    done,
    drain,
    one,
    session_update,
    types,
    user_text,
    without_deltas,
)
from tests.simulator.sdk_types import assert_typed

DOCS: dict[str, Any] = {
    "type": "mcp",
    "server_label": "docs",
    "server_url": "https://docs.example.com",
    "allowed_tools": ["find_page", "read_page"],
    "require_approval": "never",
}
CALL = ["response.output_item.added", "conversation.item.added", "response.mcp_call_arguments.done"]
END = ["conversation.item.done", "response.output_item.done"]


def declared(
    *servers: dict[str, Any], functions: Any = None, **mcp: Any
) -> tuple[Behaviour, list[dict[str, Any]]]:
    """Return a session with these MCP servers, and the events that follow its update."""
    settings = McpSettings(**{"listing_ms": constant(300), "call_ms": constant(500)} | mcp)
    behaviour = build_behaviour(mcp=settings, functions=functions or FunctionCalls())
    return behaviour, answers(behaviour, session_update(AZURE_GA, tools=list(servers or [DOCS])))


def strictly_typed(events: list[dict[str, Any]]) -> Counter[str]:
    """Return the number of events of each type. The SDK's types must have every field of the
    events of MCP servers.
    """
    # takes a second, and every worker imports this module
    from openai.types.realtime import RealtimeServerEvent

    assert_typed(AZURE_GA, events)
    adapter: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
    for event in events:
        if "mcp" in event["type"] or event.get("item", {}).get("type", "").startswith("mcp"):
            typed = adapter.validate_python(
                {key: value for key, value in event.items() if key != "due_ns"}
            )
            item = getattr(typed, "item", None)
            extra = [
                typed.model_extra,
                *([item.model_extra] if isinstance(item, BaseModel) else []),
            ]
            assert not any(extra), event
    return Counter(types(events))


def requested(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the only request for an approval."""
    items = (event["item"] for event in all_of(events, "conversation.item.done"))
    (request,) = (item for item in items if item["type"] == "mcp_approval_request")
    return request


def answered(request_id: str, *, approve: bool = True) -> dict[str, Any]:
    item = {
        "type": "mcp_approval_response",
        "id": "ours",
        "approval_request_id": request_id,
        "approve": approve,
    }
    return {"type": "conversation.item.create", "item": item}


def test_an_mcp_call_is_executed_after_its_response_and_its_result_is_read_by_the_next_one() -> (
    None
):
    behaviour, _ = declared()
    events = answers(behaviour, user_text(), CREATE)

    call = [name for name in without_deltas(events) if name != "rate_limits.updated"][2:]
    assert call == [
        "response.created",
        *CALL,
        "response.mcp_call.in_progress",
        "response.done",
        "response.mcp_call.completed",
        *END,
    ]
    ended, started = one(events, "mcp_call.completed"), one(events, "mcp_call.in_progress")
    assert ended["due_ns"] - started["due_ns"] == 500 * MS
    (announced,), finished = done(events)["output"], one(events, "output_item.done")["item"]
    assert announced["id"] == finished["id"] == ended["item_id"]
    assert (announced["output"], finished["error"]) == (None, None)
    assert finished["output"]
    assert finished["name"] in DOCS["allowed_tools"]
    assert strictly_typed(events)["response.mcp_call.completed"] == 1

    (answer,) = done(answers(behaviour, CREATE))["output"]
    assert answer["type"] == "message"


@pytest.mark.parametrize("setting", ["always", None, {"always": {"tool_names": ["find_page"]}}])
def test_a_call_waits_for_the_client_s_approval_unless_none_is_required(setting: Any) -> None:
    behaviour, _ = declared(
        {key: value for key, value in DOCS.items() if key != "require_approval"}
        | ({} if setting is None else {"require_approval": setting})
    )
    events = answers(behaviour, user_text(), CREATE)

    assert not all_of(events, "mcp_call.in_progress")
    request = requested(events)
    approved = answers(behaviour, answered(request["id"]))
    assert types(approved) == [
        "conversation.item.added",
        "conversation.item.done",
        "response.mcp_call.in_progress",
        "response.mcp_call.completed",
        *END,
    ]
    assert one(approved, "output_item.done")["item"]["approval_request_id"] == request["id"]
    assert strictly_typed(events + approved)["response.mcp_call.in_progress"] == 1

    again = one(answers(behaviour, answered(request["id"]) | {"event_id": "again"}), "error")[
        "error"
    ]
    assert (again["code"], again["param"]) == ("invalid_value", "item.approval_request_id")


def test_a_rejected_call_fails_without_an_execution() -> None:
    behaviour, _ = declared(DOCS | {"require_approval": "always"})
    events = answers(behaviour, user_text(), CREATE)
    request = requested(events)
    rejected = answers(behaviour, answered(request["id"], approve=False))

    assert types(rejected)[2:] == ["response.mcp_call.failed", *END]
    assert one(rejected, "output_item.done")["item"]["error"]["type"] == "tool_execution_error"
    assert strictly_typed(rejected)["response.mcp_call.failed"] == 1


def test_a_list_a_call_or_its_end_can_fail() -> None:
    _, unlisted = declared(failed_listings=1.0)
    failing, _ = declared(failed_calls=1.0)
    endless, _ = declared(endless_calls=1.0)
    failed = answers(failing, user_text(), CREATE)
    started = answers(endless, user_text(), CREATE)

    assert types(unlisted)[-2:] == ["mcp_list_tools.failed", "conversation.item.done"]
    assert one(unlisted, "item.done")["item"]["tools"] == []
    assert one(failed, "output_item.done")["item"]["error"]["code"] == 503
    assert types(all_of(started, "in_progress")) == ["response.mcp_call.in_progress"]
    assert not all_of(started, "output_item.done")
    assert strictly_typed(unlisted + failed + started)["response.mcp_call.failed"] == 1


@pytest.mark.parametrize("end", ["cancel", "cap"])
def test_a_call_without_all_of_its_arguments_is_not_executed(end: str) -> None:
    behaviour, _ = declared()
    if end == "cap":
        events = answers(behaviour, user_text(), create(max_output_tokens=2))
    else:
        events, now_ns = begun(behaviour, "arguments.delta", user_text(), CREATE)
        behaviour.receive({"type": "response.cancel"}, now_ns)
        events += drain(behaviour)

    assert not all_of(events, "mcp_call.in_progress")
    assert one(events, "output_item.done")["item"]["type"] == "mcp_call"
    assert done(events)["status"] == ("incomplete" if end == "cap" else "cancelled")
    strictly_typed(events)


@pytest.mark.parametrize(
    ("dialect", "tools", "verdict"),
    [
        (OPENAI_GA, [DOCS, DOCS], "session.tools[1].server_label"),
        (OPENAI_GA, [DOCS | {"connector_id": "connector_gmail"}], "session.tools[0]"),
        (OPENAI_GA, [DOCS | {"tunnel_id": "tunnel_7"}], "session.tools[0]"),
        (OPENAI_GA, [{"type": "mcp", "server_label": "docs"}], "session.tools[0]"),
        (OPENAI_GA, [{"type": "mcp", "server_url": "https://x"}], "session.tools[0].server_label"),
        (
            OPENAI_GA,
            [DOCS | {"require_approval": "sometimes"}],
            "session.tools[0].require_approval",
        ),
        (OPENAI_GA, [DOCS | {"odd": 1}], "session.tools[0].odd"),
        (XAI, [DOCS], "session.tools[0].type"),
        (VOICE_LIVE, [DOCS | {"tunnel_id": "tunnel_7"}], "session.tools[0].tunnel_id"),
    ],
)
def test_an_invalid_server_is_refused_and_not_listed(
    dialect: WireDialect, tools: Any, verdict: str
) -> None:
    behaviour = build_behaviour(dialect)
    events = answers(behaviour, session_update(dialect, tools=tools))

    assert [event["error"]["param"] for event in events if event["type"] == "error"] == [verdict]
    assert len(events) == 1


TUNNELLED = {
    "type": "mcp",
    "server_label": "stock",
    "tunnel_id": "tunnel_7",
    "require_approval": "never",
}


def chosen(**choice: str) -> dict[str, Any]:
    return {"type": "mcp", **choice}


@pytest.mark.parametrize(
    ("choice", "tools"),
    [
        (chosen(server_label="stock"), {"search"}),
        (chosen(server_label="docs", name="read_page"), {"read_page"}),
    ],
)
def test_a_response_calls_the_server_or_the_tool_that_it_must_call(
    choice: Any, tools: set[str]
) -> None:
    behaviour, _ = declared(DOCS, TUNNELLED, functions=FunctionCalls(share=0.0))
    events = answers(behaviour, user_text(), create(tool_choice=choice))

    calls = done(events)["output"]
    assert {(call["server_label"], call["name"]) for call in calls} == {
        (choice["server_label"], *tools)
    }
    assert strictly_typed(events)["response.mcp_call.completed"] == 1


@pytest.mark.parametrize(
    "choice", [chosen(server_label="mail"), chosen(server_label="docs", name="write_page")]
)
def test_an_unknown_server_or_tool_cannot_be_chosen(choice: Any) -> None:
    behaviour, _ = declared()
    error = one(answers(behaviour, user_text(), create(tool_choice=choice)), "error")["error"]

    assert (error["code"], error["param"]) == ("invalid_value", "tool_choice")


def test_a_server_whose_tools_are_not_listed_is_not_called() -> None:
    behaviour, _ = declared(failed_listings=1.0)
    events = answers(behaviour, user_text(), create(tool_choice=chosen(server_label="docs")))

    assert [item["type"] for item in done(events)["output"]] == ["message"]


def test_a_response_with_own_tools_calls_only_the_servers_among_them() -> None:
    behaviour, _ = declared(DOCS, TUNNELLED)
    events = answers(behaviour, user_text(), create(tools=[TUNNELLED], tool_choice="required"))
    without = answers(behaviour, user_text(), create(tools=[]))

    assert {call["server_label"] for call in done(events)["output"]} == {"stock"}
    assert [item["type"] for item in done(without)["output"]] == ["message"]
