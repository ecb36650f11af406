"""What a vendor's SDK hands out of a connection."""

from __future__ import annotations

from typing import Any


async def until(connection: Any, last: str) -> list[Any]:
    """The events up to and with the first of type `last`; an error event fails the test."""
    events = []
    async for event in connection:
        assert event.type != "error", event
        events.append(event)
        if event.type == last:
            break
    assert events[-1].type == last
    return events
