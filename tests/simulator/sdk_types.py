"""A check of server events against the types of the official SDK (`openai`)."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel, TypeAdapter

from rtbench_simulator.behaviour import WireDialect
from rtbench_simulator.server_events import GA


@cache
def _types(ga: bool) -> TypeAdapter[Any]:
    from openai.types import realtime  # takes a second, and every worker imports this module
    from openai.types.beta import realtime as beta

    return TypeAdapter(realtime.RealtimeServerEvent if ga else beta.RealtimeServerEvent)


def assert_typed(dialect: WireDialect, events: list[dict[str, Any]]) -> None:
    """Assert that every field of each event is valid for the SDK's type of the event.

    Events of MCP servers have no field that the SDK does not know. It has no type of
    transcription_session.created.
    """
    for event in events:
        if event["type"] == "transcription_session.created":
            continue
        if event["type"] == "transcription_session.updated":
            # the SDK documents that this key is absent if a session is updated by WebSocket
            secret = {"client_secret": {"value": "", "expires_at": 0}}
            event = event | {"session": event["session"] | secret}
        elif isinstance(event.get("session", {}).get("tool_choice"), dict):
            # the SDK's type of preview has only the words
            event = event | {"session": event["session"] | {"tool_choice": "auto"}}
        typed = _types(dialect.names is GA).validate_python(event)
        assert typed.type == event["type"]
        item = event.get("item") or {}
        if "mcp" in event["type"] or item.get("type", "").startswith("mcp"):
            models = [model for model in (typed, typed_item(typed)) if model is not None]
            extra = {name for model in models for name in model.model_extra or ()}
            assert extra <= {"due_ns"}, event


def typed_item(event: Any) -> BaseModel | None:
    item = getattr(event, "item", None)
    return item if isinstance(item, BaseModel) else None
