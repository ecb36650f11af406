"""The limit of calls and approvals in a turn."""

from __future__ import annotations

import json

import pytest

import bench.observe.tool_calls
from tests.helpers import (
    Talk,
    created,
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
