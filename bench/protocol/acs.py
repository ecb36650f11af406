"""The dialect of agents behind Azure Communication Services: bidirectional audio streaming of Call Automation.

Messages: Azure's "Audio streaming quickstart", and `StreamingData` of the package @azure/communication-call-automation:
`AudioMetadata` first, then `AudioData` (PCM, 16 or 24 kHz, one channel, 20 ms) both ways, `DtmfData` to the agent, and
`StopAudio` from it, which drops what was not played. Agents write keys and kinds with small letters first, as that
package makes them (`audioData`), or with capitals: both are read. The instants of what is sent (`timestamp`) count from
the beginning of 1970, where the call begins.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from bench.protocol.agent import CALL_ID, FRAME_MS, Agent, NamedCall
from bench.protocol.audio import PCM16, PCM16_16K, AudioFormat, AudioFormatName, by_name
from bench.protocol.base import Act, Awaited, ClientMessage, Provider
from bench.protocol.events import EMPTY, Event, Kind, base64_bytes
from bench.protocol.settings import SessionSettings
from bench.untrusted.values import LONGEST_ID

METADATA, AUDIO, DTMF, STOP = "AudioMetadata", "AudioData", "DtmfData", "StopAudio"
HEADERS = tuple((f"x-ms-call-{id}-id", CALL_ID.decode()) for id in ("connection", "correlation"))
CALLER = f"4:+1555{'0' * 7}"
"""The caller, a phone number that nobody has (`participantRawID`)."""


class _Audio(msgspec.Struct):
    data: msgspec.Raw = EMPTY
    capital_data: msgspec.Raw = msgspec.field(name="Data", default=EMPTY)


class _Wire(msgspec.Struct):
    """What is looked at of a message."""

    kind: str = ""
    capital_kind: str = msgspec.field(name="Kind", default="")
    audio: _Audio | None = msgspec.field(name="audioData", default=None)
    capital_audio: _Audio | None = msgspec.field(name="AudioData", default=None)


_decode_wire = msgspec.json.Decoder(_Wire).decode


class TimedCall(NamedCall):
    """A `bench.protocol.base.CallWords`: says of its audio when it was recorded."""

    def __init__(self, call_id: str) -> None:
        super().__init__(call_id)
        self._audio_ms = 0

    def written(self, act: Act, data: bytes) -> bytes:
        if act is not Act.APPEND:
            return super().written(act, data)
        minutes, milliseconds = divmod(self._audio_ms, 60_000)
        hours, minutes = divmod(minutes, 60)
        self._audio_ms += FRAME_MS
        instant = f"1970-01-{1 + hours // 24:02}T{hours % 24:02}:{minutes:02}:{milliseconds / 1000:06.3f}Z"
        head = f'{{"kind":"{AUDIO}","audioData":{{"timestamp":"{instant}",'
        return b"".join((head.encode(), data, b"}"))


class Acs(Agent):
    """A `bench.protocol.base.Dialect`: what Azure Communication Services says to an agent, and the agent to it."""

    name = "acs"
    title = "an agent behind Azure Communication Services"
    settings = Agent.settings - {"extra"}
    provider: Provider | None = Provider(TimedCall, FRAME_MS, HEADERS)
    input_formats: Mapping[AudioFormatName, AudioFormat] = by_name(PCM16_16K, PCM16)
    output_formats = input_formats
    acts: Mapping[str, Act] = MappingProxyType({AUDIO: Act.APPEND})
    audio_in = frozenset({"audioData", "AudioData"}), frozenset({"data", "Data"})

    def set_up(self, settings: SessionSettings, event_id: str) -> Sequence[ClientMessage | Awaited]:
        format = self.hears(settings)
        metadata = {
            "subscriptionId": CALL_ID.decode(),
            "encoding": "PCM",
            "sampleRate": format.rate_hz,
            "channels": 1,
            "length": format.bytes_per_s * FRAME_MS // 1000,
        }
        return (_message(METADATA, metadata),)

    def raw(self, event: Mapping[str, Any], event_id: str) -> ClientMessage:
        return _message(DTMF, {"data": event["digit"]})

    def append(self, audio: bytes, event_id: str) -> ClientMessage:
        said = {"participantRawID": CALLER, "data": base64.b64encode(audio).decode(), "silent": not any(audio)}
        return ClientMessage(Act.APPEND, AUDIO, msgspec.json.encode(said)[1:])

    def read_text(self, message: bytes) -> Event:
        wire = _decode_wire(message)
        name, audio = (wire.kind or wire.capital_kind)[:LONGEST_ID], wire.audio or wire.capital_audio or _Audio()
        kind = name[:1].upper() + name[1:]
        if kind == AUDIO:
            payload = audio.data if len(audio.data) else audio.capital_data
            return Event(Kind.AUDIO_DELTA, name, payload_bytes=base64_bytes(payload), payload=payload)
        return Event(Kind.CLEARED if kind == STOP else Kind.UNKNOWN, name)


def _message(kind: str, fields: Mapping[str, Any]) -> ClientMessage:
    said = {"kind": kind, kind[0].lower() + kind[1:]: fields}
    return ClientMessage(Act.RAW, kind, msgspec.json.encode(said))


ACS = Acs()
