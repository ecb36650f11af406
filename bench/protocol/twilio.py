"""The dialect of agents behind Twilio's Media Streams, in both directions (`<Connect><Stream>`).

Messages: Twilio, "Media Streams - WebSocket messages": `connected`, `start`, `media` (G.711 µ-law, 8 kHz, 20 ms),
`mark`, `dtmf` and `stop` to the agent; `media`, `mark` and `clear` from it. All but the first are numbered from 1, and
say which stream they are of. A mark is sent back once what came before it was played, or dropped by `clear`. What an
agent says of another stream, or of none, is dropped, as Twilio drops it (its warning 31951).

What the script has under `extra` are the stream's custom parameters, in which `{uuid}` is the id of the call. A request
of Twilio's is signed (`X-Twilio-Signature`) with a token that nobody else has: the upgrade here is not.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from bench.protocol.agent import CALL_ID, FRAME_MS, OTHER_STREAM, Agent, NamedCall
from bench.protocol.audio import G711_ULAW, AudioFormat, AudioFormatName, by_name
from bench.protocol.base import Act, Awaited, ClientMessage, Provider
from bench.protocol.events import EMPTY, Event, Kind, base64_bytes
from bench.protocol.settings import SessionSettings, SettingsRefusal
from bench.untrusted.values import LONGEST_ID, LONGEST_WORDS

CONNECTED, START, MEDIA, MARK, CLEAR, DTMF, STOP = "connected", "start", "media", "mark", "clear", "dtmf", "stop"
ROOM = CALL_ID.decode()
STREAM, CALL, ACCOUNT = f"MZ{ROOM}", f"CA{ROOM}", f"AC{0:032}"
"""The ids of a stream, of its call and of whose it is, which are a kind and 32 hexadecimal digits."""
NUMBER = b"{number}"
"""What stands for the number of a message."""
OF_STREAM = frozenset({Kind.AUDIO_DELTA, Kind.MARKED, Kind.CLEARED})
OF_CALL = {"accountSid": ACCOUNT, "callSid": CALL}


class _Media(msgspec.Struct):
    payload: msgspec.Raw = EMPTY


class _Mark(msgspec.Struct):
    name: str = ""


class _Wire(msgspec.Struct):
    """What is looked at of a message."""

    event: str = ""
    stream: str = msgspec.field(name="streamSid", default="")
    media: _Media | None = None
    mark: _Mark | None = None


_decode_wire = msgspec.json.Decoder(_Wire).decode


class NumberedCall(NamedCall):
    """A `bench.protocol.base.CallWords`: numbers what it says, and its audio by pieces and by time."""

    def __init__(self, call_id: str) -> None:
        super().__init__(call_id)
        self._stream = STREAM.replace(ROOM, call_id)
        self._said = self._pieces = self._audio_ms = 0

    def written(self, act: Act, data: bytes) -> bytes:
        if act is not Act.APPEND:
            named = super().written(act, data)
            if NUMBER not in named:
                return named
            self._said += 1
            return named.replace(NUMBER, str(self._said).encode(), 1)  # the first; others are words of somebody's
        self._said += 1
        self._pieces += 1
        head = (
            f'{{"event":"media","sequenceNumber":"{self._said}","media":{{"track":"inbound","chunk":"{self._pieces}",'
            f'"timestamp":"{self._audio_ms}","payload":"'
        )
        self._audio_ms += FRAME_MS
        return b"".join((head.encode(), data, f'"}},"streamSid":"{self._stream}"}}'.encode()))

    def heard(self, events: Sequence[Event]) -> Sequence[Event]:
        (event,) = events
        if event.session_id == self._stream or event.kind not in OF_STREAM:
            return events
        return (Event(Kind.UNKNOWN, f"{event.name}{OTHER_STREAM}"),)

    def played(self, mark: str) -> ClientMessage:
        name = msgspec.json.encode(mark).replace(b"{", b"\\u007b")  # an agent's words leave no room for ours
        return _message(MARK, {"name": msgspec.Raw(name)})

    def goodbye(self) -> ClientMessage:
        return _message(STOP, OF_CALL)


class Twilio(Agent):
    """A `bench.protocol.base.Dialect`: what Twilio says to an agent, and the agent to Twilio."""

    name = "twilio"
    title = "an agent behind Twilio"
    provider: Provider | None = Provider(NumberedCall, FRAME_MS)
    input_formats: Mapping[AudioFormatName, AudioFormat] = by_name(G711_ULAW)
    output_formats = input_formats
    acts: Mapping[str, Act] = MappingProxyType({MEDIA: Act.APPEND})
    audio_in = frozenset({MEDIA}), frozenset({"payload"})

    def refuses_own(self, settings: SessionSettings) -> SettingsRefusal | None:
        wrong = next((name for name, value in settings.extra.items() if not isinstance(value, str)), None)
        if wrong is None:
            return None
        return SettingsRefusal(("extra", wrong), f"extra must hold custom parameters, which are texts: quote {wrong}")

    def set_up(self, settings: SessionSettings, event_id: str) -> Sequence[ClientMessage | Awaited]:
        start = {
            **OF_CALL,
            "streamSid": STREAM,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": G711_ULAW.rate_hz, "channels": 1},
            "customParameters": settings.extra,
        }
        greeting = {"event": CONNECTED, "protocol": "Call", "version": "1.0.0"}
        return ClientMessage(Act.RAW, CONNECTED, msgspec.json.encode(greeting)), _message(START, start)

    def raw(self, event: Mapping[str, Any], event_id: str) -> ClientMessage:
        return _message(DTMF, {"track": "inbound_track", "digit": event["digit"]})

    def append(self, audio: bytes, event_id: str) -> ClientMessage:
        return ClientMessage(Act.APPEND, MEDIA, base64.b64encode(audio))

    def read_text(self, message: bytes) -> Event:
        wire = _decode_wire(message)
        name, stream = wire.event[:LONGEST_ID], wire.stream[:LONGEST_ID]
        if name == MEDIA:
            payload = EMPTY if wire.media is None else wire.media.payload
            size = base64_bytes(payload)
            return Event(Kind.AUDIO_DELTA, name, payload_bytes=size, payload=payload, session_id=stream)
        if name == MARK:
            return Event(Kind.MARKED, name, text=(wire.mark or _Mark()).name[:LONGEST_WORDS], session_id=stream)
        return Event(Kind.CLEARED if name == CLEAR else Kind.UNKNOWN, name, session_id=stream)


def _message(name: str, fields: Mapping[str, Any]) -> ClientMessage:
    """A message that is numbered, and says which stream it is of, once a call says it."""
    said = {"event": name, "sequenceNumber": NUMBER.decode(), name: fields, "streamSid": STREAM}
    return ClientMessage(Act.RAW, name, msgspec.json.encode(said))


TWILIO = Twilio()
