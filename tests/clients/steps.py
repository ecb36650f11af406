"""The steps of the test of a client.

The steps use only methods that both the openai SDK and the client of Voice Live have, and no other
package.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

BYTES_PER_MS, CHUNK_BYTES = 48, 4800  # pcm16, 100 ms
WAVE = b"".join(
    (3277 if place // 200 else -3277).to_bytes(2, "little", signed=True) for place in range(400)
)
"""A period of a square wave of −20 dBFS."""
VAD = {"type": "server_vad", "silence_duration_ms": 200}
Json = dict[str, Any]
NUMBER: Json = {"type": "string", "example": "RX 17"}
PARCEL: Json = {
    "type": "function",
    "name": "find_parcel",
    "parameters": {"type": "object", "properties": {"number": NUMBER}, "required": ["number"]},
}


class Spelling(NamedTuple):
    """The settings and events that the steps need, in one dialect.

    `text` contains the fields of a request for a text response.
    """

    manual: Json
    caller: Json
    text: Json
    text_delta: str
    audio_delta: str
    tools: Json = {"tools": [PARCEL]}  # noqa: RUF012


PREVIEW = Spelling(
    {"turn_detection": None},
    {"turn_detection": VAD},
    {"modalities": ["text"]},
    "response.text.delta",
    "response.audio.delta",
)
GA = Spelling(
    {"type": "realtime", "audio": {"input": {"turn_detection": None}}},
    {"type": "realtime", "audio": {"input": {"turn_detection": VAD}}},
    {"output_modalities": ["text"]},
    "response.output_text.delta",
    "response.output_audio.delta",
)


class Talk:
    """A session of one client. `as_item` is a function that converts an item to the client's
    type.
    """

    def __init__(
        self, connection: Any, spelling: Spelling, as_item: Callable[[Json], Any] = dict
    ) -> None:
        self.connection, self.spelling, self._as_item = connection, spelling, as_item

    async def until(self, last: str) -> list[Json]:
        """Return the next events, up to and including the first of type `last`.

        Fail if an event before it is an error.
        """
        events = []
        async for event in self.connection:
            events.append(event.as_dict() if hasattr(event, "as_dict") else event.to_dict())
            if events[-1]["type"] == last:
                break
            assert events[-1]["type"] != "error", events[-1]
        assert events[-1]["type"] == last
        return events

    async def done(self) -> tuple[Json, list[Json]]:
        """Wait for the end of the next response. Return this response, and all events up to its
        end.
        """
        events = await self.until("response.done")
        return events[-1]["response"], events

    async def settle(self, *settings: Json) -> None:
        await self.connection.session.update(
            session={k: v for each in settings for k, v in each.items()}
        )
        await self.until("session.updated")

    async def ask(self, **response: Any) -> None:
        content = [{"type": "input_text", "text": "Where is my parcel?"}]
        await self.create_item({"type": "message", "role": "user", "content": content})
        await self.connection.response.create(**response)

    async def create_item(self, item: Json) -> None:
        await self.connection.conversation.item.create(item=self._as_item(item))

    async def speak(self, *parts_ms: int) -> None:
        """Send input audio of these parts. The first part is noise, the second is silence, and
        so on.
        """
        lengths = [ms * BYTES_PER_MS for ms in parts_ms]
        parts = [
            bytes(n) if place % 2 else (WAVE * (n // len(WAVE) + 1))[:n]
            for place, n in enumerate(lengths)
        ]
        audio = b"".join(parts)
        for begin in range(0, len(audio), CHUNK_BYTES):
            chunk = base64.b64encode(audio[begin : begin + CHUNK_BYTES]).decode()
            await self.connection.input_audio_buffer.append(audio=chunk)


async def connect(talk: Talk) -> None:
    assert (await talk.until("session.created"))[-1]["session"]["id"]


async def text(talk: Talk) -> None:
    await talk.settle(talk.spelling.manual)
    await talk.ask(response=talk.spelling.text)
    response, events = await talk.done()
    words = "".join(event["delta"] for event in events if event["type"] == talk.spelling.text_delta)
    assert response["status"] == "completed"
    assert response["output"][0]["content"][0]["text"] == words != ""
    assert response["usage"]["output_tokens"] > 0


async def manual_audio(talk: Talk) -> None:
    await talk.settle(talk.spelling.manual)
    await talk.speak(1000)
    await talk.connection.input_audio_buffer.commit()
    await talk.connection.response.create()
    response, events = await talk.done()
    assert response["status"] == "completed"
    assert response["usage"]["input_token_details"]["audio_tokens"] == 10
    words = "".join(
        event["delta"] for event in events if event["type"].endswith("audio_transcript.delta")
    )
    assert response["output"][0]["content"][0]["transcript"] == words != ""
    assert (
        response["usage"]["output_token_details"]["audio_tokens"]
        == len(audio_of(talk, events)) // 2400
        > 0
    )


async def vad(talk: Talk) -> None:
    await talk.settle(talk.spelling.caller)
    await talk.speak(0, 100, 400, 400)
    response, events = await talk.done()
    received = [
        event["type"] for event in events if event["type"].startswith("input_audio_buffer.")
    ]
    assert received == [
        f"input_audio_buffer.{name}" for name in ("speech_started", "speech_stopped", "committed")
    ]
    assert response["status"] == "completed"
    assert audio_of(talk, events)


async def interruption(talk: Talk) -> None:
    await talk.settle(talk.spelling.caller)
    await talk.ask()
    item_id = (await talk.until(talk.spelling.audio_delta))[-1]["item_id"]
    await talk.speak(300)
    response, _ = await talk.done()
    assert response["status"] == "cancelled"
    assert response["status_details"]["reason"] == "turn_detected"
    await talk.connection.conversation.item.truncate(
        item_id=item_id, content_index=0, audio_end_ms=60
    )
    assert (await talk.until("conversation.item.truncated"))[-1]["audio_end_ms"] == 60
    await talk.connection.conversation.item.retrieve(item_id=item_id)
    (kept,) = (await talk.until("conversation.item.retrieved"))[-1]["item"]["content"]
    assert (len(base64.b64decode(kept["audio"])), kept.get("transcript")) == (60 * 48, None)


async def function_call(talk: Talk) -> None:
    await talk.settle(talk.spelling.manual, talk.spelling.tools)
    await talk.ask()
    (call,) = (await talk.done())[0]["output"]
    assert (call["type"], call["name"], call["arguments"]) == (
        "function_call",
        "find_parcel",
        '{"number":"RX 17"}',
    )
    output = {
        "type": "function_call_output",
        "call_id": call["call_id"],
        "output": "It is on its way.",
    }
    await talk.create_item(output)
    await talk.connection.response.create()
    assert [item["type"] for item in (await talk.done())[0]["output"]] == ["message"]


async def cancel(talk: Talk) -> None:
    await talk.settle(talk.spelling.manual)
    await talk.ask()
    await talk.until(talk.spelling.audio_delta)
    await talk.connection.response.cancel()
    response, _ = await talk.done()
    assert response["status"] == "cancelled"
    assert response["status_details"]["reason"] == "client_cancelled"


async def invalid_event(talk: Talk) -> None:
    await talk.connection.send({"type": "conversation.item.invent", "event_id": "mine"})
    error = (await talk.until("error"))[-1]["error"]
    assert (error["type"], error["event_id"]) == ("invalid_request_error", "mine")
    await text(talk)


def audio_of(talk: Talk, events: list[Json]) -> bytes:
    return b"".join(
        base64.b64decode(event["delta"])
        for event in events
        if event["type"] == talk.spelling.audio_delta
    )


PLAYED: dict[str, Callable[[Talk], Awaitable[None]]] = {
    "connect": connect,
    "text": text,
    "manual audio": manual_audio,
    "VAD": vad,
    "interruption": interruption,
    "function call": function_call,
    "cancel": cancel,
    "invalid event": invalid_event,
}
