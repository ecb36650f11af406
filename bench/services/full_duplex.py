"""The dialects of services that send audio whenever they speak, without naming the turn that it
answers.

GPT-Live is such a service, and so are agents. They have no responses to request, no turns to
commit, and no items to truncate: caller and service always listen. `bench.observe.reply_detector`
detects turns in the audio alone.
"""

# These dialects share what they lack. Where a client can request nothing, most steps of a script
# have no meaning, and a script with such a step is refused before the run. A step that is ignored
# would measure another conversation than the script states.

import base64
from typing import Any

import msgspec

from bench.base.units import NS_PER_S
from bench.catalogue.turn_detection import DetectorName
from bench.files.values import get_text, object_in, shortened_settings
from bench.wire.dialect import ClientMessage, Dialect, Feature, MessageKind, TurnSource
from bench.wire.events import EMPTY, EventKind, ServerEvent
from bench.wire.settings import (
    FULL_DUPLEX,
    SessionSettings,
    TurnDetection,
    UnsupportedSetting,
    foreign_setting,
)

UNSPEAKABLE = (
    Feature.IMAGE,
    Feature.OUT_OF_BAND,
    Feature.ASKED,
    Feature.MESSAGE,
    Feature.EXPECTATION,
    Feature.PIPELINED,
    Feature.RENEWAL,
    Feature.CUT,
)
"""The features that no full-duplex dialect has."""
AUDIO_DELTA = "session.output_audio.delta"
TRANSCRIPT_DELTA = "session.output_transcript.delta"
CLOSE = "session.close"
CLOSED = "session.closed"
ERROR = "error"
"""Names of events that all services of OpenAI without turns have."""
MAX_SESSION_S = 1_000_000.0


class OpenAIWire(msgspec.Struct):
    """The decoded fields of the events that all services of OpenAI without turns have."""

    type: str = ""
    delta: msgspec.Raw = EMPTY
    session: msgspec.Raw = EMPTY
    error: msgspec.Raw = EMPTY
    usage: msgspec.Raw = EMPTY


_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class FullDuplexDialect(Dialect):
    """The common part of the full-duplex dialects.

    `title` is the name of the service for users, and `settings` are the session settings that it
    supports. `only_duplex` is the reason why its turn detection cannot be changed. `also_missing`
    are further features that it does not have. `one_format` is True if both directions have the
    same audio format.
    """

    title: str
    settings: frozenset[str]
    only_duplex: str
    also_missing: tuple[Feature, ...] = (Feature.INTERRUPTION, Feature.SOUND)
    one_format = True
    turn_source = TurnSource.SOUND
    only_detection: DetectorName | None = FULL_DUPLEX

    def __init__(self) -> None:
        problem = f"which {self.title} does not support"
        self.missing_features = dict.fromkeys(
            (*UNSPEAKABLE, *self.also_missing), f"{problem}: remove it"
        ) | {Feature.TYPED: f"{problem}: use a recording instead (`audio`)"}

    def unsupported_setting(self, settings: SessionSettings) -> UnsupportedSetting | None:
        if settings.turn_detection != TurnDetection(type=FULL_DUPLEX):
            return UnsupportedSetting(
                ("turn_detection",), f"turn_detection must be {FULL_DUPLEX}: {self.only_duplex}"
            )
        if settings.output != "audio":
            return UnsupportedSetting(
                ("output",), f"output must be audio: {self.title} has no {settings.output} output"
            )
        if refused := foreign_setting(settings, self.settings, self.title) or self.unknown_format(
            settings
        ):
            return refused
        if (
            self.one_format
            and self.input_format_for(settings).name != self.output_format_for(settings).name
        ):
            problem = (
                f"output_format must equal input_format: {self.title} has one format for both"
                " directions"
            )
            return UnsupportedSetting(("output_format",), problem)
        return self.own_unsupported(settings)

    def own_unsupported(self, settings: SessionSettings) -> UnsupportedSetting | None:
        """Return the first setting that this dialect does not support although other full-duplex
        dialects may.
        """
        return None


class OpenAIDuplexDialect(FullDuplexDialect):
    """The common part of OpenAI's services without turns. `append_name` is the name of the message
    with the caller's audio.
    """

    append_name: str

    def append(self, audio: bytes, event_id: str) -> ClientMessage:
        encoded = base64.b64encode(audio).decode("ascii")
        return client_message(MessageKind.APPEND, self.append_name, event_id, audio=encoded)

    def close(self, event_id: str) -> ClientMessage:
        return client_message(MessageKind.CLOSE, CLOSE, event_id)

    def without_audio(self, message: bytes) -> bytes:
        event, *_ = self.decode(message)
        names = (AUDIO_DELTA, self.append_name)
        if event.kind is not EventKind.AUDIO_DELTA and event.name not in names:
            return message
        fields = _decode_fields(message)
        return msgspec.json.encode(
            {name: value for name, value in fields.items() if name not in ("audio", "delta")}
        )


def client_message(kind: MessageKind, name: str, event_id: str, **fields: Any) -> ClientMessage:
    """Return a client's message."""
    return ClientMessage(
        kind, name, msgspec.json.encode({"type": name, "event_id": event_id} | fields)
    )


def described(kind: EventKind, name: str, wire: OpenAIWire) -> ServerEvent:
    """Return the event with the settings of the session."""
    session = shortened_settings(object_in(wire.session), len(wire.session)) or None
    return ServerEvent(kind, name, session=session, session_id=get_text(session or {}, "id"))


def reported_ns(seconds: Any) -> int | None:
    """Return a reported duration; None if it is not a number of seconds."""
    valid = (
        isinstance(seconds, int | float)
        and not isinstance(seconds, bool)
        and 0 <= seconds < MAX_SESSION_S
    )
    return round(seconds * NS_PER_S) if valid else None
