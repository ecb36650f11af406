"""The dialects for calls to agents: Azure Communication Services, Twilio, and a plain WebSocket.

The agent is the server. The load generator is both the agent's caller and the telephony provider.
The agent may speak at any time, and usually speaks first. Its audio waits in the caller's playout
queue (`bench.observe.reply_detector.PlayoutQueue`). A call is open as soon as its connection is
open.
"""

# Roles are reversed here. The agent is the server, and this tool is the telephony provider that
# calls it: it sends what Azure or Twilio would send, at their pace, and plays what the agent sends.
# The provider's page obliges each message, and an agent is tested with the messages that it will
# get. So the codec of a call numbers and stamps them as the provider does, even if most agents
# ignore that.
#
# Such an agent reports nothing about turns. Its audio is sound in a queue, and only `clear` (or
# `StopAudio`) drops what was not played. When a reply begins and ends is found in the audio
# (`bench.observe.reply_detector`). The dialects of tracks have no messages at all: the transport
# delivers packets as binary messages.

import base64
import binascii
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from bench.catalogue.causes import Code
from bench.catalogue.outcomes import ENDLESS, NO_MEDIA, NO_PATH, OutcomeRow, OwnRemedies
from bench.catalogue.refusals import HANDSHAKE
from bench.files.values import MAX_ID_CHARACTERS, MAX_MESSAGE_CHARACTERS
from bench.services.full_duplex import FullDuplexDialect
from bench.services.openai import track
from bench.wire.audio import (
    DECODED_OPUS,
    G711_ALAW,
    G711_ULAW,
    PCM16,
    PCM16_8K,
    PCM16_16K,
    PCM16_48K,
    by_name,
)
from bench.wire.dialect import (
    BINARY,
    CALL_ID,
    NOT_JSON,
    OTHER_STREAM,
    AwaitedEvent,
    BinaryMessage,
    CallCodec,
    ClientMessage,
    Dialect,
    Feature,
    MessageKind,
    Peer,
    decode_again,
)
from bench.wire.events import EMPTY, EventKind, ServerEvent, base64_bytes
from bench.wire.service import WEBRTC_AGENT, Service, Tracks
from bench.wire.settings import SessionSettings, UnsupportedSetting

OF_AGENTS = {
    "connect_failed:401": (
        "the agent requires a signature (X-Twilio-Signature) or a token, and none is sent:"
        " configure it to accept calls without one, or set a token in the target's `headers`"
    ),
    "connect_failed:404": NO_PATH,
    "connect_failed:tcp": (
        "no server listens on this port: check that the agent is running, and that it uses this"
        " port"
    ),
    "connect_failed:upgrade": (
        "the server does not accept this WebSocket: check the path, and the target's `subprotocols`"
    ),
    "protocol_error:json": (
        "the agent's messages are those of another provider: set --dialect to the dialect of that "
        "provider: acs, twilio, pcm"
    ),
    "closed:1000": (
        "the agent closed the connection: see its log for the reason; it may require a parameter"
        " (`extra`) or a header"
    ),
    "limit_exceeded:audio": ENDLESS,
}
"""The remedies for outcomes of a call that `rtbench doctor` makes with an agent."""
SAME = {"connect_failed:403": "connect_failed:401"} | dict.fromkeys(
    ("closed:1006", "closed:1008", "closed:1011", "closed:reset"), "closed:1000"
)
"""For some outcomes, another outcome that has the same remedy."""
CUTS = (
    "the server ends the connection before its answer is complete: check host and path, such as"
    " /api/offer, and its log"
)
REMEDIES = OwnRemedies(
    in_doctor=OF_AGENTS | {outcome: OF_AGENTS[same] for outcome, same in SAME.items()}
)

NO_OFFERS = "the server answers no offers in JSON here: check the path, such as /api/offer"
NEEDS_MEMBERS = (
    "the agent refuses the members of the offer: see its message; `extra` of the script's session"
    " sets further ones, for example `extra: {webrtc_id: '{uuid}'}`"
)
NEEDS_TOKEN = (
    "the agent requires a token, and none or another one is sent: set it in the target's `headers`"
)
NO_SLOT = (
    "the agent takes no more calls now: raise its limit of calls, or start fewer at a time (-u,"
    " --connect-rate)"
)
OF_OFFERS = {
    **track.REMEDIES.rows,
    **dict.fromkeys(("connect_failed:404", "connect_failed:405"), OutcomeRow(remedy=NO_OFFERS)),
    **dict.fromkeys(("connect_failed:400", "connect_failed:422"), OutcomeRow(remedy=NEEDS_MEMBERS)),
    **dict.fromkeys(("connect_failed:401", "connect_failed:403"), OutcomeRow(remedy=NEEDS_TOKEN)),
    "connect_failed:upgrade": OutcomeRow(
        remedy=NO_OFFERS,
        causes=dict.fromkeys(
            (Code.CUT_ANSWER, Code.CLOSED_WITHOUT_ANSWER, Code.CONNECTION_BROKE), CUTS
        ),
    ),
    "timeout:upgrade": OutcomeRow(
        remedy=(
            "the agent accepts the connection, and does not answer the offer in time: see its log,"
            " or raise `upgrade` among the script's `timeouts`"
        ),
    ),
    HANDSHAKE: OutcomeRow(remedy=NO_SLOT),
    NO_MEDIA: OutcomeRow(
        remedy=(
            "the agent sends no audio, although UDP passes (ICE and DTLS succeeded): check in its"
            " log whether its pipeline started; it may wait for a data channel that its own answer"
            " refuses, for a message or a member of the offer (`extra`), or for its caller (then"
            " remove `wait_for: greeting`), or refuse the certificate of an offer that a proxy"
            " changed"
        ),
    ),
}
REMEDIES_OF_OFFERS = OwnRemedies(OF_OFFERS, in_doctor=REMEDIES.in_doctor)

FRAME_MS = 20
"""The duration of each piece of audio that a telephony provider sends."""
SIMULATED_PATH = "/agent/"
"""The path prefix of the simulator's agents. The name of the dialect follows it."""
DIGITS = frozenset("0123456789*#ABCD")
"""The keys of a phone, including the four keys A to D of ITU-T Q.23, which few phones have."""
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class AgentDialect(FullDuplexDialect):
    """The dialects for agents. `audio_in` has the names of the objects with audio, and its keys
    in these objects.
    """

    audio_in: tuple[frozenset[str], frozenset[str]]
    usual_path: str
    """A regular expression for words in the paths of such agents."""
    settings = frozenset({"turn_detection", "input_format", "output_format", "extra"})
    peer = Peer.AGENT
    pauses = True
    codec = CallCodec
    remedies = REMEDIES
    only_duplex = (
        "an agent always receives its caller's audio, and decides by itself when to answer"
    )
    also_missing = (Feature.HISTORY,)
    has_binary_texts = False

    def __init__(self) -> None:
        super().__init__()
        self.missing_features = {
            **self.missing_features,
            Feature.CUE: "which an agent does not report: use `after`, in seconds",
        }

    def read_text(self, message: bytes) -> ServerEvent:
        """Return the event of a text message. Raise one of the errors in `NOT_JSON` if the
        message is unreadable.
        """
        raise NotImplementedError

    def read_binary(self, message: BinaryMessage) -> ServerEvent:
        """Return the event of a binary message. Raise the errors of `read_text` if it is a text."""
        if self.has_binary_texts:
            return self.read_text(message)
        return ServerEvent(
            EventKind.MALFORMED, reason="a binary message was received, but only text is expected"
        )

    def decode(self, message: bytes) -> Sequence[ServerEvent]:
        try:
            return (
                (
                    self.read_binary(message)
                    if isinstance(message, BinaryMessage)
                    else self.read_text(message)
                ),
            )
        except NOT_JSON as error:
            return decode_again(self.decode, message, error)

    def without_audio(self, message: bytes) -> bytes:
        objects, names = self.audio_in
        fields = _decode_fields(message)
        audio_names = [
            name for name in fields if name in objects and bytes(fields[name]).startswith(b"{")
        ]
        for name in audio_names:
            other_fields = {
                inner: value
                for inner, value in _decode_fields(fields[name]).items()
                if inner not in names
            }
            fields[name] = msgspec.Raw(msgspec.json.encode(other_fields))
        return msgspec.json.encode(fields) if audio_names else message

    def unsupported_event(self, event: Mapping[str, Any], settings: SessionSettings) -> str:
        if event["type"] == "dtmf" and event.get("digit") in DIGITS:
            return ""
        return "is not an event of a phone call: press a key with {type: dtmf, digit: '5'}"


# Azure Communication Services

METADATA = "AudioMetadata"
AUDIO_DATA = "AudioData"
DTMF_DATA = "DtmfData"
STOP_AUDIO = "StopAudio"
HEADERS = tuple((f"x-ms-call-{id}-id", CALL_ID) for id in ("connection", "correlation"))
CALLER = f"4:+1555{'0' * 7}"
"""The caller's id (`participantRawID`). It is a phone number that is not in use."""


class _AcsAudio(msgspec.Struct):
    data: msgspec.Raw = EMPTY
    capital_data: msgspec.Raw = msgspec.field(name="Data", default=EMPTY)


class _AcsWire(msgspec.Struct):
    """The decoded fields of a message. The other two dialects of this module have a similar
    class.
    """

    kind: str = ""
    capital_kind: str = msgspec.field(name="Kind", default="")
    audio: _AcsAudio | None = msgspec.field(name="audioData", default=None)
    capital_audio: _AcsAudio | None = msgspec.field(name="AudioData", default=None)


_decode_acs = msgspec.json.Decoder(_AcsWire).decode


class AcsCallCodec(CallCodec):
    """The codec of one call. It adds the recording timestamp to each piece of the caller's
    audio.
    """

    def __init__(self, call_id: str) -> None:
        super().__init__(call_id)
        self._audio_ms = 0
        self._head = b""
        """The start of the messages of the current second. A frame does not extend beyond a
        second."""

    def encode(self, kind: MessageKind, data: bytes) -> bytes:
        if kind is not MessageKind.APPEND:
            return super().encode(kind, data)
        seconds, milliseconds = divmod(self._audio_ms, 1_000)
        if not milliseconds:
            minutes = seconds // 60
            hours = seconds // 3_600
            instant = (
                f"1970-01-{1 + hours // 24:02}T{hours % 24:02}:{minutes % 60:02}:{seconds % 60:02}."
            )
            self._head = f'{{"kind":"{AUDIO_DATA}","audioData":{{"timestamp":"{instant}'.encode()
        self._audio_ms += FRAME_MS
        # hundreds of calls have fifty frames a second each, so a frame is composed of three parts
        return b'%b%03dZ",%b}' % (self._head, milliseconds, data)


class Acs(AgentDialect):
    """Bidirectional audio streaming of Call Automation, for agents behind Azure Communication
    Services.

    The sources of the messages are Azure's "Audio streaming quickstart", and `StreamingData` of
    @azure/communication-call-automation. The agent receives `AudioMetadata` first, and later
    `DtmfData`. `AudioData` (PCM, 16 or 24 kHz, one channel, 20 ms) is sent in both directions. The
    agent may send `StopAudio`, which drops unplayed audio. Agents write keys and kinds with a small
    first letter, as that package does (`audioData`), or with a capital letter. Both are accepted.
    The timestamps of sent audio (`timestamp`) begin at the start of 1970, which is the start of the
    call.
    """

    name = "acs"
    title = "an agent behind Azure Communication Services"
    usual_path = r"\bacs\b|call-?automation|communication-?services"
    settings = AgentDialect.settings - {"extra"}
    codec = AcsCallCodec
    frame_ms = FRAME_MS
    upgrade_headers = HEADERS
    input_formats = output_formats = by_name(PCM16_16K, PCM16)
    message_kinds = MappingProxyType({AUDIO_DATA: MessageKind.APPEND})
    audio_in = frozenset({"audioData", "AudioData"}), frozenset({"data", "Data"})

    def setup_messages(
        self, settings: SessionSettings, event_id: str
    ) -> Sequence[ClientMessage | AwaitedEvent]:
        format = self.input_format_for(settings)
        metadata = {
            "subscriptionId": CALL_ID,
            "encoding": "PCM",
            "sampleRate": format.rate_hz,
            "channels": 1,
            "length": format.bytes_per_s * FRAME_MS // 1000,
        }
        return (_acs_message(METADATA, metadata),)

    def raw(self, event: Mapping[str, Any], event_id: str) -> ClientMessage:
        return _acs_message(DTMF_DATA, {"data": event["digit"]})

    def append(self, audio: bytes, event_id: str) -> ClientMessage:
        audio_data = {
            "participantRawID": CALLER,
            "data": base64.b64encode(audio).decode(),
            "silent": not any(audio),
        }
        return ClientMessage(MessageKind.APPEND, AUDIO_DATA, msgspec.json.encode(audio_data)[1:])

    def read_text(self, message: bytes) -> ServerEvent:
        wire = _decode_acs(message)
        name = (wire.kind or wire.capital_kind)[:MAX_ID_CHARACTERS]
        audio = wire.audio or wire.capital_audio or _AcsAudio()
        kind = name[:1].upper() + name[1:]
        if kind == AUDIO_DATA:
            payload = audio.data if len(audio.data) else audio.capital_data
            return ServerEvent(
                EventKind.AUDIO_DELTA, name, payload_bytes=base64_bytes(payload), payload=payload
            )
        return ServerEvent(EventKind.CLEARED if kind == STOP_AUDIO else EventKind.UNKNOWN, name)


def _acs_message(kind: str, fields: Mapping[str, Any]) -> ClientMessage:
    message = {"kind": kind, kind[0].lower() + kind[1:]: fields}
    return ClientMessage(MessageKind.RAW, kind, msgspec.json.encode(message))


ACS = Acs()


# Twilio

CONNECTED = "connected"
START = "start"
MEDIA = "media"
MARK = "mark"
CLEAR = "clear"
DTMF = "dtmf"
STOP = "stop"
STREAM = f"MZ{CALL_ID}"
CALL = f"CA{CALL_ID}"
ACCOUNT = f"AC{0:032}"
"""The ids of a stream, of the stream's call and of the account. Each is two letters and 32
hexadecimal digits."""
NUMBER = b"{number}"
"""The placeholder for the sequence number of a message."""
OF_STREAM = frozenset({EventKind.AUDIO_DELTA, EventKind.MARKED, EventKind.CLEARED})
OF_CALL = {"accountSid": ACCOUNT, "callSid": CALL}


class _Media(msgspec.Struct):
    payload: msgspec.Raw = EMPTY


class _Mark(msgspec.Struct):
    name: str = ""


class _TwilioWire(msgspec.Struct):
    event: str = ""
    stream: str = msgspec.field(name="streamSid", default="")
    media: _Media | None = None
    mark: _Mark | None = None


_MEDIA = (
    b'{"event":"media","sequenceNumber":"%d","media":{"track":"inbound","chunk":"%d",'
    b'"timestamp":"%d","payload":"%b"},"streamSid":"%b"}'
)
_decode_twilio = msgspec.json.Decoder(_TwilioWire).decode


class TwilioCallCodec(CallCodec):
    """The codec of one call. It numbers the messages and the pieces of audio, and adds the times
    of these pieces.
    """

    def __init__(self, call_id: str) -> None:
        super().__init__(call_id)
        self._stream = STREAM.replace(CALL_ID, call_id)
        self._stream_id = self._stream.encode()
        self._sequence_number = self._chunks = self._audio_ms = 0

    def encode(self, kind: MessageKind, data: bytes) -> bytes:
        if kind is not MessageKind.APPEND:
            encoded = super().encode(kind, data)
            if NUMBER not in encoded:
                return encoded
            self._sequence_number += 1
            # replaces only the first placeholder; others are part of a user's text
            return encoded.replace(NUMBER, str(self._sequence_number).encode(), 1)
        self._sequence_number += 1
        self._chunks += 1
        at_ms = self._audio_ms
        self._audio_ms = self._audio_ms + FRAME_MS
        return _MEDIA % (self._sequence_number, self._chunks, at_ms, data, self._stream_id)

    def decode(self, events: Sequence[ServerEvent]) -> Sequence[ServerEvent]:
        (event,) = events
        if event.session_id == self._stream or event.kind not in OF_STREAM:
            return events
        return (ServerEvent(EventKind.UNKNOWN, f"{event.name}{OTHER_STREAM}"),)

    def acknowledge(self, mark: str) -> ClientMessage:
        # escaped, so that the agent's text cannot contain our placeholder
        name = msgspec.json.encode(mark).replace(b"{", b"\\u007b")
        return _twilio_message(MARK, {"name": msgspec.Raw(name)})

    def goodbye(self) -> ClientMessage:
        return _twilio_message(STOP, OF_CALL)


class Twilio(AgentDialect):
    """Twilio's Media Streams, in both directions (`<Connect><Stream>`).

    The source of the messages is Twilio, "Media Streams - WebSocket messages". The agent receives
    `connected`, `start`, `media` (G.711 µ-law, 8 kHz, 20 ms), `mark`, `dtmf` and `stop`. The agent
    sends `media`, `mark` and `clear`. All messages to the agent except `connected` have a number,
    from 1, and the id of their stream. A mark is returned after all earlier audio was played, or
    dropped by `clear`. If an agent's message has the id of another stream, or no id, the message is
    dropped, as Twilio drops it (its warning 31951).

    The script's `extra` contains the custom parameters of the stream. In them, `{uuid}` is the id
    of the call. Twilio signs its requests (`X-Twilio-Signature`) with a secret token. The upgrade
    of this dialect is not signed.
    """

    name = "twilio"
    title = "an agent behind Twilio"
    usual_path = "twilio|media-?stream"
    codec = TwilioCallCodec
    frame_ms = FRAME_MS
    input_formats = output_formats = by_name(G711_ULAW)
    message_kinds = MappingProxyType({MEDIA: MessageKind.APPEND})
    audio_in = frozenset({MEDIA}), frozenset({"payload"})

    def own_unsupported(self, settings: SessionSettings) -> UnsupportedSetting | None:
        parameter = next(
            (name for name, value in settings.extra.items() if not isinstance(value, str)), None
        )
        if parameter is None:
            return None
        return UnsupportedSetting(
            ("extra", parameter),
            f"extra must contain custom parameters, which are texts: put {parameter} in quotes",
        )

    def setup_messages(
        self, settings: SessionSettings, event_id: str
    ) -> Sequence[ClientMessage | AwaitedEvent]:
        start = {
            **OF_CALL,
            "streamSid": STREAM,
            "tracks": ["inbound"],
            "mediaFormat": {
                "encoding": "audio/x-mulaw",
                "sampleRate": G711_ULAW.rate_hz,
                "channels": 1,
            },
            "customParameters": settings.extra,
        }
        greeting = {"event": CONNECTED, "protocol": "Call", "version": "1.0.0"}
        return ClientMessage(
            MessageKind.RAW, CONNECTED, msgspec.json.encode(greeting)
        ), _twilio_message(START, start)

    def raw(self, event: Mapping[str, Any], event_id: str) -> ClientMessage:
        return _twilio_message(DTMF, {"track": "inbound_track", "digit": event["digit"]})

    def append(self, audio: bytes, event_id: str) -> ClientMessage:
        return ClientMessage(MessageKind.APPEND, MEDIA, base64.b64encode(audio))

    def read_text(self, message: bytes) -> ServerEvent:
        wire = _decode_twilio(message)
        name = wire.event[:MAX_ID_CHARACTERS]
        stream = wire.stream[:MAX_ID_CHARACTERS]
        if name == MEDIA:
            payload = EMPTY if wire.media is None else wire.media.payload
            size = base64_bytes(payload)
            return ServerEvent(
                EventKind.AUDIO_DELTA, name, payload_bytes=size, payload=payload, session_id=stream
            )
        if name == MARK:
            return ServerEvent(
                EventKind.MARKED,
                name,
                text=(wire.mark or _Mark()).name[:MAX_MESSAGE_CHARACTERS],
                session_id=stream,
            )
        return ServerEvent(
            EventKind.CLEARED if name == CLEAR else EventKind.UNKNOWN, name, session_id=stream
        )


def _twilio_message(name: str, fields: Mapping[str, Any]) -> ClientMessage:
    """Return a message with placeholders for its number and the stream's id, which the codec of
    a call replaces.
    """
    message = {"event": name, "sequenceNumber": NUMBER.decode(), name: fields, "streamSid": STREAM}
    return ClientMessage(MessageKind.RAW, name, msgspec.json.encode(message))


TWILIO = Twilio()


# A plain WebSocket

AUDIO = "audio"
TEXT = "text"
CLEAR_WORD = b'"clear"'


class _PcmWire(msgspec.Struct):
    """The decoded fields of a text message. `binary` is the audio of a binary message, in the
    form that logs use.
    """

    binary: msgspec.Raw = EMPTY
    action: msgspec.Raw = EMPTY
    event: msgspec.Raw = EMPTY
    type: msgspec.Raw = EMPTY


_decode_pcm = msgspec.json.Decoder(_PcmWire).decode


class PcmAgent(AgentDialect):
    """Binary messages of raw audio in both directions, on a plain WebSocket.

    voicebench, many self-made agents, and pipecat with its serializer for Vonage use this format.
    No standard defines it. Text messages are JSON without a known vocabulary: they are stored in
    logs and set no instant. As an exception, a text message whose `action` (Vonage, "Audio
    Connector"), `event` or `type` is `clear` drops the audio that was not played.
    """

    name = "pcm"
    title = "an agent on a plain WebSocket"
    usual_path = r"\bpcm\b|vonage"
    one_format = False
    input_formats = output_formats = by_name(
        PCM16_16K, PCM16_8K, PCM16, PCM16_48K, G711_ULAW, G711_ALAW
    )
    message_kinds = MappingProxyType({AUDIO: MessageKind.APPEND, TEXT: MessageKind.RAW})
    binary_sound = ServerEvent(EventKind.AUDIO_DELTA, AUDIO)

    def setup_messages(
        self, settings: SessionSettings, event_id: str
    ) -> Sequence[ClientMessage | AwaitedEvent]:
        """Return the script's `extra` as the first message, for agents that need a first
        message.
        """
        return (self.raw(settings.extra, event_id),) if settings.extra else ()

    def unsupported_event(self, event: Mapping[str, Any], settings: SessionSettings) -> str:
        return ""

    def raw(self, event: Mapping[str, Any], event_id: str) -> ClientMessage:
        return ClientMessage(MessageKind.RAW, TEXT, msgspec.json.encode(event))

    def append(self, audio: bytes, event_id: str) -> ClientMessage:
        return ClientMessage(MessageKind.APPEND, AUDIO, BinaryMessage(audio))

    def read_binary(self, message: BinaryMessage) -> ServerEvent:
        encoded = b'"' + binascii.b2a_base64(message, newline=False) + b'"'
        return msgspec.structs.replace(
            self.binary_sound, payload_bytes=len(message), payload=msgspec.Raw(encoded)
        )

    def read_text(self, message: bytes) -> ServerEvent:
        wire = _decode_pcm(message)
        if len(wire.binary):
            return ServerEvent(
                EventKind.AUDIO_DELTA,
                AUDIO,
                payload_bytes=base64_bytes(wire.binary),
                payload=wire.binary,
            )
        clears = CLEAR_WORD in (bytes(wire.action), bytes(wire.event), bytes(wire.type))
        return ServerEvent(EventKind.CLEARED if clears else EventKind.NOTED, TEXT)

    def without_audio(self, message: bytes) -> bytes:
        return msgspec.json.encode({BINARY: ""}) if isinstance(message, BinaryMessage) else message


# Calls whose audio is a track


class TrackAgent(PcmAgent):
    """An agent whose audio is in packets. There are no messages."""

    has_track = True
    one_format = True
    settings = AgentDialect.settings - {"extra"}
    frame_ms = FRAME_MS
    message_kinds = MappingProxyType({AUDIO: MessageKind.APPEND})

    def setup_messages(
        self, settings: SessionSettings, event_id: str
    ) -> Sequence[ClientMessage | AwaitedEvent]:
        return ()

    def unsupported_event(self, event: Mapping[str, Any], settings: SessionSettings) -> str:
        return f"cannot be sent: {self.title} receives only audio"


class WebRtcAgent(TrackAgent):
    """An agent that answers an offer in JSON, as pipecat's `SmallWebRTCTransport` does. Its audio
    is Opus.

    The script's `extra` contains further members of the offer. The messages of its data channel
    have a vocabulary of their own, and no effect. One that is no JSON is an unknown event.
    """

    name = "webrtc"
    title = "an agent over WebRTC"
    settings = AgentDialect.settings
    has_extra_in_offer = True
    remedies = REMEDIES_OF_OFFERS
    input_formats = by_name(PCM16)
    output_formats = by_name(DECODED_OPUS)

    def own_unsupported(self, settings: SessionSettings) -> UnsupportedSetting | None:
        member = next((name for name in ("sdp", "type") if name in settings.extra), None)
        if member is None:
            return None
        return UnsupportedSetting(
            ("extra", member), f"extra must not contain {member}, which the offer has: remove it"
        )

    def read_text(self, message: bytes) -> ServerEvent:
        try:
            event = super().read_text(message)
        except NOT_JSON:
            return ServerEvent(EventKind.UNKNOWN, TEXT)
        return event if event.kind is EventKind.AUDIO_DELTA else ServerEvent(EventKind.NOTED, TEXT)


class WebRtcNarrowAgent(WebRtcAgent):
    """The same agent, whose audio is G.711."""

    name = "webrtc-g711"
    input_formats = output_formats = by_name(G711_ULAW)


PCM = PcmAgent()
OFFERED = WebRtcAgent()
AGENTS: tuple[AgentDialect, ...] = (TWILIO, ACS, PCM)
SERVICES = (
    *(
        Service(agent.name, agent.title, agent, "ws://localhost:5050/ws")
        for agent in (ACS, TWILIO, PCM)
    ),
    Service(
        OFFERED.name,
        OFFERED.title,
        OFFERED,
        "http://localhost:7860/api/offer",
        links=(WEBRTC_AGENT,),
    ),
)
TRACKS: Mapping[Dialect, Tracks] = {OFFERED: Tracks(WEBRTC_AGENT, OFFERED, WebRtcNarrowAgent())}
