"""The dialect of an agent that takes and gives its audio as it is, in binary messages: a plain WebSocket.

So do voicebench, pipecat with its serializer of Vonage's audio, and many agents that somebody made for themselves. No
standard says how. Text messages are JSON in no words that are known: they are kept in logs, and mark no instant. Only
`clear`, as an `action` (Vonage, "Audio Connector"), an `event` or a `type`, drops what was not played, as everywhere.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from bench.protocol.agent import Agent, NamedCall
from bench.protocol.audio import (
    G711_ALAW,
    G711_ULAW,
    PCM16,
    PCM16_8K,
    PCM16_16K,
    PCM16_48K,
    AudioFormat,
    AudioFormatName,
    by_name,
)
from bench.protocol.base import BINARY, Act, Awaited, BinaryMessage, ClientMessage, Provider
from bench.protocol.events import EMPTY, Event, Kind, base64_bytes
from bench.protocol.settings import SessionSettings

AUDIO, TEXT = "audio", "text"


CLEAR = b'"clear"'


class _Wire(msgspec.Struct):
    """What is looked at of a text message: `binary` where it is a binary one, as logs have it."""

    binary: msgspec.Raw = EMPTY
    action: msgspec.Raw = EMPTY
    event: msgspec.Raw = EMPTY
    type: msgspec.Raw = EMPTY


_decode_wire = msgspec.json.Decoder(_Wire).decode


class PcmAgent(Agent):
    """A `bench.protocol.base.Dialect`: binary messages of audio, both ways."""

    name = "pcm"
    title = "an agent on a plain WebSocket"
    one_format = False
    provider: Provider | None = Provider(NamedCall)
    input_formats: Mapping[AudioFormatName, AudioFormat] = by_name(
        PCM16_16K, PCM16_8K, PCM16, PCM16_48K, G711_ULAW, G711_ALAW
    )
    output_formats = input_formats
    acts: Mapping[str, Act] = MappingProxyType({AUDIO: Act.APPEND, TEXT: Act.RAW})

    def set_up(self, settings: SessionSettings, event_id: str) -> Sequence[ClientMessage | Awaited]:
        """What the script has under `extra` is the first message, for agents that want one."""
        return (self.raw(settings.extra, event_id),) if settings.extra else ()

    def refuses_event(self, event: Mapping[str, Any], settings: SessionSettings) -> str:
        return ""

    def raw(self, event: Mapping[str, Any], event_id: str) -> ClientMessage:
        return ClientMessage(Act.RAW, TEXT, msgspec.json.encode(event))

    def append(self, audio: bytes, event_id: str) -> ClientMessage:
        return ClientMessage(Act.APPEND, AUDIO, BinaryMessage(audio))

    def read_binary(self, message: BinaryMessage) -> Event:
        encoded = b'"' + binascii.b2a_base64(message, newline=False) + b'"'
        return Event(Kind.AUDIO_DELTA, AUDIO, payload_bytes=len(message), payload=msgspec.Raw(encoded))

    def read_text(self, message: bytes) -> Event:
        wire = _decode_wire(message)
        if len(wire.binary):
            return Event(Kind.AUDIO_DELTA, AUDIO, payload_bytes=base64_bytes(wire.binary), payload=wire.binary)
        clears = CLEAR in (bytes(wire.action), bytes(wire.event), bytes(wire.type))
        return Event(Kind.CLEARED if clears else Kind.NOTED, TEXT)

    def without_audio(self, message: bytes) -> bytes:
        return msgspec.json.encode({BINARY: ""}) if isinstance(message, BinaryMessage) else message


PCM = PcmAgent()
