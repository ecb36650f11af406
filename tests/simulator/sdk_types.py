"""A check of server events against the types of the official SDK (`openai`)."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import TypeAdapter

from rtbench_simulator.behaviour import WireDialect
from rtbench_simulator.server_events import GA


@cache
def _types(ga: bool) -> TypeAdapter[Any]:
    from openai.types import realtime  # takes a second, and every worker imports this module
    from openai.types.beta import realtime as beta

    return TypeAdapter(realtime.RealtimeServerEvent if ga else beta.RealtimeServerEvent)


def assert_typed(dialect: WireDialect, events: list[dict[str, Any]]) -> None:
    """Assert that every field of each event is valid for the SDK's type of the event."""
    for event in events:
        typed = _types(dialect.names is GA).validate_python(event)
        assert typed.type == event["type"]
