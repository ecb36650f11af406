"""Sessions with a Deepgram Voice Agent in memory, for tests: its messages, and a good service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import msgspec

from bench.services.deepgram.dialect import DEEPGRAM
from bench.services.deepgram.replies import DeepgramReader
from bench.wire.dialect import BinaryMessage
from bench.wire.events import ServerEvent
from tests.helpers import MS
from tests.memory_transport import PeerAnswer
from tests.services.talk import LOUD_PCM, Talk, compiled_for

VAD: dict[str, Any] = {"turn_detection": "server_vad"}
SOUND = BinaryMessage(LOUD_PCM)
compiled = partial(compiled_for, DEEPGRAM)


def message(type: str, **fields: Any) -> bytes:
    return msgspec.json.encode({"type": type} | fields)


def said(content: str, role: str = "assistant") -> bytes:
    return message("ConversationText", role=role, content=content)


WELCOME, READY = message("Welcome", request_id="r-1"), message("SettingsApplied")
STARTED, DONE = message("UserStartedSpeaking"), message("AgentAudioDone")
REPLY: Sequence[PeerAnswer] = (
    (300 * MS, SOUND),
    (310 * MS, said("It is")),
    (320 * MS, SOUND),
    (330 * MS, said("on its way.")),
    (340 * MS, DONE),
)
FUNCTION = {
    "id": "call-1",
    "name": "find_parcel",
    "arguments": '{"number": "7"}',
    "client_side": True,
}
CALL = message("FunctionCallRequest", functions=[FUNCTION])
RESULT = message("FunctionCallResponse", id="call-1", name="find_parcel", content="{}")


def service(
    *replies: Sequence[PeerAnswer], speech_chunks: int = 2
) -> Callable[[bytes], Iterable[PeerAnswer]]:
    """Return a service that applies settings, and sends the next of these replies, else REPLY, to
    each input.

    An input is a text, the result of a function, or `speech_chunks` pieces of audio that are not
    silence.
    """
    left, heard = list(replies), [0]

    def answer(sent: bytes) -> Iterable[PeerAnswer]:
        if isinstance(sent, BinaryMessage):
            heard[0] += any(sent)
            is_input = any(sent) and heard[0] % speech_chunks == 0
        else:
            kind = msgspec.json.decode(sent)["type"]
            is_input = kind != "Settings"
            if not is_input:
                yield 30 * MS, READY
        if is_input:
            yield from left.pop(0) if left else REPLY

    return answer


GREETING: Sequence[PeerAnswer] = ((5 * MS, WELCOME),)
talk = partial(Talk, greeting=GREETING)


def sent_types(talk: Talk) -> list[str]:
    """Return the type of each message, without the silence of an open microphone."""
    data = [sent for _, sent in talk.transport.sent]
    return [
        "audio" if isinstance(sent, BinaryMessage) else msgspec.json.decode(sent)["type"]
        for sent in data
        if not isinstance(sent, BinaryMessage) or any(sent)
    ]


def decoded(*messages: bytes) -> list[ServerEvent]:
    reader = DeepgramReader()
    return [event for message in messages for event in reader.decode(message)]
