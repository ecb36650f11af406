"""How callers reach a simulated agent: what it understands of their messages, and how its own are written. Pure.

`pcm`: a plain WebSocket with audio in binary messages; its format is in the address. `twilio`: Twilio's Media Streams.
`acs`: the audio streaming of Azure Communication Services.
"""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from bench.protocol.audio import AudioFormat, AudioFormatName
from bench.protocol.base import Binary
from bench.protocol.openai import RATED_FORMATS
from bench.simulator.wire import Json, RejectedError

NamedBody = tuple[str, bytes]
"""Type and body of what is sent."""


class Understood(NamedTuple):
    """What a text message of the caller's line comes to."""

    audio: bytes = b""
    opens: bool = False


class AgentWire(ABC):
    """One call's wire. `clears`: whether the caller's line drops what was not played where it is asked to.

    `format`: of audio, both ways, which the address names where the wire leaves a choice.
    """

    opens_at_once = False
    clears = False
    format: AudioFormat

    @abstractmethod
    def __init__(self, format: AudioFormatName) -> None: ...

    def audio_in(self, message: bytes) -> bytes | None:
        """The audio of a binary message; None where none may come."""
        return None

    @abstractmethod
    def take(self, event: Json) -> Understood:
        """Understand a text message. Raises RejectedError."""

    @abstractmethod
    def name_of(self, event: Json) -> str:
        """What kind of message it is."""

    @abstractmethod
    def id_of(self, event: Json) -> str | None:
        """What a message names: the call that it opens, a mark, a key."""

    @abstractmethod
    def audio_out(self, audio: bytes) -> NamedBody:
        """A frame of what it says."""

    def clear(self) -> NamedBody | None:
        """What drops all that was not played; None where nothing does."""
        return None

    def mark(self, name: str) -> NamedBody | None:
        """What asks to be told once all before it was played; None where nothing does."""
        return None


class PcmWire(AgentWire):
    """Audio as it is, in binary messages; text is JSON, and an `id` in it names the call."""

    opens_at_once = True

    def __init__(self, format: AudioFormatName) -> None:
        self.format = RATED_FORMATS[format]

    def audio_in(self, message: bytes) -> bytes:
        return message

    def take(self, event: Json) -> Understood:
        return Understood()

    def name_of(self, event: Json) -> str:
        return "text"

    def id_of(self, event: Json) -> str | None:
        return _text(event, "id")

    def audio_out(self, audio: bytes) -> NamedBody:
        return "audio", Binary(audio)


class TwilioWire(AgentWire):
    """Media Streams: it answers on the stream that `start` named, and marks the end of whatever it says."""

    clears = True
    format = RATED_FORMATS["g711_ulaw"]

    def __init__(self, format: AudioFormatName) -> None:
        self._stream: str | None = None

    def take(self, event: Json) -> Understood:
        match event:
            case {"event": "start", "streamSid": str(stream), "start": {"mediaFormat": dict()}}:
                self._stream = stream
                return Understood(opens=True)
            case {"event": "media", "streamSid": stream, "media": {"payload": str(payload)}} if stream == self._stream:
                return Understood(_decoded(payload))
            case {"event": "connected" | "mark" | "dtmf" | "stop"}:
                return Understood()
        raise RejectedError("invalid_value", "This is no message of a media stream.")

    def name_of(self, event: Json) -> str:
        return _text(event, "event") or "invalid_event"

    def id_of(self, event: Json) -> str | None:
        match event:
            case {"event": "start", "streamSid": str(stream)}:
                return stream
            case {"event": "mark", "mark": {"name": str(name)}} | {"event": "dtmf", "dtmf": {"digit": str(name)}}:
                return name
        return None

    def audio_out(self, audio: bytes) -> NamedBody:
        return self._message("media", media={"payload": base64.b64encode(audio).decode()})

    def clear(self) -> NamedBody:
        return self._message("clear")

    def mark(self, name: str) -> NamedBody:
        return self._message("mark", mark={"name": name})

    def _message(self, name: str, **fields: Json) -> NamedBody:
        return name, msgspec.json.encode({"event": name, "streamSid": self._stream} | fields)


class AcsWire(AgentWire):
    """Audio streaming: `AudioMetadata` opens the call, and says at which rate its audio is."""

    clears = True

    def __init__(self, format: AudioFormatName) -> None:
        self.format = RATED_FORMATS["pcm16@16000"]

    def take(self, event: Json) -> Understood:
        match event:
            case {"kind": "AudioMetadata", "audioMetadata": {"sampleRate": 16_000 | 24_000 as rate, "encoding": "PCM"}}:
                self.format = RATED_FORMATS["pcm16" if rate == 24_000 else "pcm16@16000"]
                return Understood(opens=True)
            case {"kind": "AudioData", "audioData": {"data": str(data)}}:
                return Understood(_decoded(data))
            case {"kind": "DtmfData"}:
                return Understood()
        raise RejectedError("invalid_value", "This is no message of an audio stream.")

    def name_of(self, event: Json) -> str:
        return _text(event, "kind") or "invalid_event"

    def id_of(self, event: Json) -> str | None:
        match event:
            case {"kind": "AudioMetadata", "audioMetadata": {"subscriptionId": str(name)}}:
                return name
            case {"kind": "DtmfData", "dtmfData": {"data": str(digit)}}:
                return digit
        return None

    def audio_out(self, audio: bytes) -> NamedBody:
        body = {"kind": "AudioData", "audioData": {"data": base64.b64encode(audio).decode()}, "stopAudio": None}
        return "AudioData", msgspec.json.encode(body)

    def clear(self) -> NamedBody:
        return "StopAudio", msgspec.json.encode({"kind": "StopAudio", "audioData": None, "stopAudio": {}})


def _decoded(payload: str) -> bytes:
    try:
        return base64.b64decode(payload, validate=True)
    except ValueError:
        raise RejectedError("invalid_value", "The audio is no base64.") from None


def _text(fields: Json, key: str) -> str | None:
    value = fields.get(key)
    return value if isinstance(value, str) else None


WIRES: Mapping[str, type[AgentWire]] = {"pcm": PcmWire, "twilio": TwilioWire, "acs": AcsWire}
"""The wire of each kind, made of the format in the address."""
