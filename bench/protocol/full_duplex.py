"""The dialects of services that send audio whenever they speak, without naming the turn that it answers.

The first of these services is GPT-Live. They have no responses to request, no turns to commit, and no items to
truncate: the caller and the service always listen. `bench.observe.reply_detector` detects turns in the audio alone.
Most of these dialects are for calls to agents (`agents.py`).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import msgspec

from bench.protocol.audio import G711_ALAW, G711_ULAW, PCM16, PCM16_16K, AudioFormat, by_name
from bench.protocol.base import AwaitedEvent, ClientMessage, Dialect, Feature, MessageKind
from bench.protocol.events import (
    EMPTY,
    ErrorScope,
    EventKind,
    ServerEvent,
    ServiceFailure,
    base64_bytes,
    text_characters,
)
from bench.protocol.openai import GPT_LIVE_NAME
from bench.protocol.openai_events import MAX_DURATION_CLOSE, failure_of
from bench.protocol.openai_ga import ga_format
from bench.protocol.settings import (
    FULL_DUPLEX,
    Keys,
    SessionSettings,
    TurnDetection,
    UnsupportedSetting,
    merged,
    undone,
    without_none,
)
from bench.untrusted.sanitize import slug
from bench.untrusted.values import MAX_ID_CHARACTERS, get_text, object_in, shortened_settings, string_in

UNSPEAKABLE = (
    *(Feature.IMAGE, Feature.OUT_OF_BAND, Feature.ASKED, Feature.MESSAGE, Feature.EXPECTATION, Feature.HISTORY),
    *(Feature.PIPELINED, Feature.RENEWAL, Feature.CUT),
)
"""The features that no full-duplex dialect has."""


class FullDuplexDialect(Dialect):
    """The common part of the full-duplex dialects.

    `title` is the name of the service for users, and `settings` are the session settings that it supports.
    `only_duplex` is the reason why its turn detection cannot be changed. `also_missing` are further features that it
    does not have. `one_format` is True if both directions have the same audio format.
    """

    title: ClassVar[str]
    settings: ClassVar[frozenset[str]]
    only_duplex: ClassVar[str]
    also_missing: ClassVar[tuple[Feature, ...]] = (Feature.INTERRUPTION, Feature.SOUND)
    one_format: ClassVar[bool] = True
    has_turn_events = takes_requests = False

    def __init__(self) -> None:
        problem = f"which {self.title} does not support"
        self.missing_features = dict.fromkeys((*UNSPEAKABLE, *self.also_missing), f"{problem}: remove it") | {
            Feature.TYPED: f"{problem}: use a recording instead (`audio`)"
        }

    def unsupported_setting(self, settings: SessionSettings) -> UnsupportedSetting | None:
        if settings.turn_detection != TurnDetection(type=FULL_DUPLEX):
            return UnsupportedSetting(("turn_detection",), f"turn_detection must be {FULL_DUPLEX}: {self.only_duplex}")
        if settings.output != "audio":
            return UnsupportedSetting(
                ("output",), f"output must be audio: {self.title} has no {settings.output} output"
            )
        unset = SessionSettings()
        for name in settings.__struct_fields__:
            if name not in self.settings and getattr(settings, name) != getattr(unset, name):
                return UnsupportedSetting((name,), f"{name} is not a setting of {self.title}: remove it")
        if refused := self.unknown_format(settings):
            return refused
        if self.one_format and self.input_format_for(settings) is not self.output_format_for(settings):
            problem = f"output_format must equal input_format: {self.title} has one format for both directions"
            return UnsupportedSetting(("output_format",), problem)
        return self.own_unsupported(settings)

    def own_unsupported(self, settings: SessionSettings) -> UnsupportedSetting | None:
        """Return the first setting that this dialect does not support although other full-duplex dialects may."""
        return None


FIRST_MODEL = "gpt-live-1"
START, APPEND = "session.start", "session.input_audio.append"
AUDIO_DELTA, TRANSCRIPT_DELTA = "session.output_audio.delta", "session.output_transcript.delta"
STARTED, CLOSED, ERROR = "session.started", "session.closed", "error"
DELEGATED = "session.delegation.created"
NOTED = frozenset(
    {
        "session.updated",
        "session.input_audio.muted",
        "session.input_audio.unmuted",
        "session.output_audio.fixture.playing",
        "session.output_audio.fixture.played",
        "session.instructions.appended",
        "session.thinking.appended",
        "session.commentary.appended",
        "session.input_transcript.delta",
        "session.usage.updated",
        "decision.event",
        "decision.item.created",
        "decision.item.deleted",
        "response.event",
        "info",
    }
)
"""Known events that set no instant."""
CLIENT = "client"
"""The default executor of a session's delegated tasks: the client.

If a backend executes them, it is billed separately.
"""
UNCOUNTED = "the tokens of that backend are not counted, so its cost is neither in `cost` nor in `--budget`: remove it"
ASKED_TO_CLOSE, EXPIRED = "close_requested", "expired"
STORED: Mapping[Keys, str] = MappingProxyType(
    {
        ("model",): "use `model`",
        ("instructions",): "use `instructions`",
        ("audio", "format"): "use `input_format`",
        ("input",): "a history is not supported",
    }
)


class _Wire(msgspec.Struct):
    """The decoded fields of an event."""

    type: str = ""
    delta: msgspec.Raw = EMPTY
    session: msgspec.Raw = EMPTY
    error: msgspec.Raw = EMPTY
    reason: msgspec.Raw = EMPTY
    delegation: msgspec.Raw = EMPTY


_decode_wire = msgspec.json.Decoder(_Wire).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class GptLive(FullDuplexDialect):
    """GPT-Live, a model that listens while it speaks: OpenAI's /v1/live/sessions, Azure's /openai/v1/live/sessions.

    Names and fields: the Live API's client and server events, as in openai-python 3.51 to 3.54 (`types/live`). Audio,
    including silence, is sent continuously for as long as the caller's is. There are no response ids, no events of turn
    detection, and nothing to commit, to cancel or to truncate.
    """

    name = GPT_LIVE_NAME
    title = "GPT-Live"
    settings = frozenset(
        {"output", "instructions", "voice", "turn_detection", "input_format", "output_format", "model", "extra"}
    )
    only_duplex = "GPT-Live decides by itself when to speak, and does not accept commits"
    input_formats = output_formats = by_name(PCM16, PCM16_16K, G711_ULAW, G711_ALAW)
    message_kinds = MappingProxyType({START: MessageKind.SET_UP, APPEND: MessageKind.APPEND})

    def own_unsupported(self, settings: SessionSettings) -> UnsupportedSetting | None:
        if not (settings.voice is None or isinstance(settings.voice, str)):
            return UnsupportedSetting(("voice",), "voice must be the name of a GPT-Live voice")
        if (backend := _backend(settings.extra)) is not None:
            key, problem = backend
            return UnsupportedSetting(("extra", key), f"extra must not set {problem}")
        return undone(self._session(settings), settings.extra, STORED)

    # Sent messages.

    def setup_messages(self, settings: SessionSettings, event_id: str) -> Sequence[ClientMessage | AwaitedEvent]:
        """Return the set-up. The client sends the first message."""
        start = self._message(
            MessageKind.SET_UP, START, event_id, session=merged(self._session(settings), settings.extra)
        )
        return start, AwaitedEvent(EventKind.SESSION_UPDATED, STARTED)

    def _session(self, settings: SessionSettings) -> dict[str, Any]:
        output = {"output": {"voice": settings.voice}} if settings.voice else {}
        return without_none(
            {
                "model": settings.model or FIRST_MODEL,
                "instructions": settings.instructions,
                "audio": {"format": wire_format(self.input_format_for(settings)), **output},
            }
        )

    def unsupported_event(self, event: Mapping[str, Any], settings: SessionSettings) -> str:
        session = event.get("session")
        backend = _backend(session) if isinstance(session, Mapping) else None
        if backend is not None:
            return f"must not set {backend[1]}"
        return "starts another session" if event["type"] == START else ""

    def append(self, audio: bytes, event_id: str) -> ClientMessage:
        return self._message(MessageKind.APPEND, APPEND, event_id, audio=base64.b64encode(audio).decode("ascii"))

    def _message(self, kind: MessageKind, name: str, event_id: str, **fields: Any) -> ClientMessage:
        return ClientMessage(kind, name, msgspec.json.encode({"type": name, "event_id": event_id} | fields))

    # Received messages.

    def decode(self, message: bytes) -> Sequence[ServerEvent]:
        try:
            wire = _decode_wire(message)
            name = wire.type[:MAX_ID_CHARACTERS]
            if name == AUDIO_DELTA:
                return (
                    ServerEvent(
                        EventKind.AUDIO_DELTA, name, payload_bytes=base64_bytes(wire.delta), payload=wire.delta
                    ),
                )
            if name == TRANSCRIPT_DELTA:
                size = text_characters(wire.delta)
                return (ServerEvent(EventKind.TRANSCRIPT_DELTA, name, payload_bytes=size, payload=wire.delta),)
            if name == STARTED:
                session = shortened_settings(object_in(wire.session), len(wire.session)) or None
                kinds = (EventKind.SESSION_CREATED, EventKind.SESSION_UPDATED)
                return tuple(
                    ServerEvent(kind, STARTED, session=session, session_id=get_text(session or {}, "id"))
                    for kind in kinds
                )
            if name == CLOSED:
                return (_closed(wire),)
            if name == DELEGATED:
                return (_delegated(wire),)
            if name == ERROR:
                return (
                    ServerEvent(EventKind.ERROR, name, failure=failure_of(object_in(wire.error), "client_event_id")),
                )
            return (ServerEvent(EventKind.NOTED if name in NOTED else EventKind.UNKNOWN, name),)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return (ServerEvent(EventKind.MALFORMED, reason=str(error)[:200]),)

    def without_audio(self, message: bytes) -> bytes:
        (event, *_) = self.decode(message)
        if event.kind is not EventKind.AUDIO_DELTA and event.name != APPEND:
            return message
        fields = _decode_fields(message)
        return msgspec.json.encode({name: value for name, value in fields.items() if name not in ("audio", "delta")})

    def is_expiry(self, code: int, reason: str) -> bool:
        close_code, text = MAX_DURATION_CLOSE
        return code == close_code and text in reason


def wire_format(format: AudioFormat) -> dict[str, Any]:
    """Return a session's format, the same for both directions."""
    return ga_format(format) | {"rate": format.rate_hz}


def _backend(session: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return (key, error) of a setting that delegates work to a backend whose tokens are not counted."""
    delegation = session.get("delegation")
    target = delegation.get("type") if isinstance(delegation, Mapping) else None
    if target not in (None, CLIENT):
        return "delegation", f"delegation to {target}: {UNCOUNTED}"
    return ("triggers", f"triggers: {UNCOUNTED}") if session.get("triggers") else None


def _delegated(wire: _Wire) -> ServerEvent:
    """Return the fatal error for a delegated task. Speech of the service until the task is done is not an answer."""
    target = slug(get_text(object_in(wire.delegation), "target")) or "unknown"
    problem = "this tool does not do tasks" if target == CLIENT else "its tokens are not counted"
    message = (
        f"the service delegated a task (to: {target}), and {problem}: what it says next does not answer the caller"
    )
    return ServerEvent(
        EventKind.ERROR, DELEGATED, failure=ServiceFailure("delegation", "delegation", message, effect=ErrorScope.FATAL)
    )


def _closed(wire: _Wire) -> ServerEvent:
    """Return the event for the end of a session, which the client requested or the service caused."""
    reason = slug(string_in(wire.reason)[:MAX_ID_CHARACTERS]) or "unknown"
    if reason == ASKED_TO_CLOSE:
        return ServerEvent(EventKind.NOTED, CLOSED)
    effect = ErrorScope.EXPIRED if reason == EXPIRED else ErrorScope.FATAL
    message = f"the service closed the session: {reason}"
    return ServerEvent(
        EventKind.ERROR, CLOSED, failure=ServiceFailure("session_closed", reason, message, effect=effect)
    )


GPT_LIVE = GptLive()
