"""Sessions with a Gemini Live server in memory, for tests: its messages, scripts, and how a
session ends.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import msgspec

from bench.services.gemini.dialect import GEMINI
from bench.services.gemini.replies import SessionReader
from bench.wire.events import ServerEvent
from tests.helpers import MS
from tests.memory_transport import PeerAnswer
from tests.services import talk
from tests.services.talk import LOUD, Peer

VAD: dict[str, Any] = {"turn_detection": "server_vad"}


def content(**fields: Any) -> bytes:
    return msgspec.json.encode({"serverContent": fields})


def sound(data: str = LOUD, mime_type: str = "audio/pcm;rate=24000") -> bytes:
    return content(modelTurn={"parts": [{"inlineData": {"mimeType": mime_type, "data": data}}]})


def said(text: str, **more: Any) -> bytes:
    return content(outputTranscription={"text": text, **more})


GENERATED, INTERRUPTED = content(generationComplete=True), content(interrupted=True)
USAGE = {
    "promptTokenCount": 30,
    "promptTokensDetails": [
        {"modality": "TEXT", "tokenCount": 10},
        {"modality": "AUDIO", "tokenCount": 20},
    ],
    "responseTokenCount": 25,
    "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 25}],
    "thoughtsTokenCount": 4,
}
OVER = msgspec.json.encode({"serverContent": {"turnComplete": True}, "usageMetadata": USAGE})
READY = msgspec.json.encode({"setupComplete": {"sessionId": "s-1"}})
CALL = {"id": "call-1", "name": "find_parcel", "args": {"number": "7"}}
TOOL_CALL = msgspec.json.encode({"toolCall": {"functionCalls": [CALL]}})
GO_AWAY = msgspec.json.encode({"goAway": {"timeLeft": "50s"}})
REPLY: Sequence[PeerAnswer] = (
    (300 * MS, sound()),
    (310 * MS, said("It is ")),
    (320 * MS, sound()),
    (330 * MS, said("on its way.")),
    (340 * MS, GENERATED),
    (900 * MS, OVER),
)


def google(*replies: Sequence[PeerAnswer]) -> Peer:
    """Return a service that accepts the set-up, and sends the next of these replies after each
    request.
    """
    left = list(replies)

    def answer(message: bytes) -> Iterable[PeerAnswer]:
        match msgspec.json.decode(message):
            case {"setup": _}:
                yield 30 * MS, READY
            case (
                {"realtimeInput": {"text": _}}
                | {"realtimeInput": {"activityEnd": _}}
                | {"toolResponse": _}
            ):
                yield from left.pop(0) if left else REPLY

    return answer


compiled = partial(talk.compiled_for, GEMINI)


class Talk(talk.Talk):
    @property
    def sent(self) -> list[Any]:
        return [msgspec.json.decode(data) for _, data in self.transport.sent]

    def sent_keys(self) -> list[str]:
        """Return the name of each message, without the silence of an open microphone."""
        contents = [message.get("realtimeInput", message) for message in self.sent]
        silent = [
            not any(base64.b64decode(found["audio"]["data"])) if "audio" in found else False
            for found in contents
        ]
        return [
            next(iter(found))
            for found, is_silent in zip(contents, silent, strict=True)
            if not is_silent
        ]


def decoded(*messages: bytes) -> list[ServerEvent]:
    reader = SessionReader()
    return [event for message in messages for event in reader.decode(message)]
