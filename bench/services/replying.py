"""The dialects of services whose messages name no reply, and the decoders of their sessions. Pure.

Such a service speaks one reply at a time, so the decoder of a session numbers the replies. All
settings are in the set-up, and cannot change later.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.files.validation import Field, String
from bench.files.values import MAX_TEXT_CHARACTERS
from bench.wire.dialect import NOT_JSON, Dialect, Feature, TurnSource, decode_again
from bench.wire.events import EventKind, ServerEvent, ServiceFailure
from bench.wire.settings import (
    Keys,
    SessionSettings,
    SettingKeys,
    TurnDetection,
    UnsupportedSetting,
    foreign_setting,
    undone,
)


class Transcript:
    """The parts of a text that is not complete, which `separator` joins."""

    __slots__ = ("_parts", "_room", "_separator", "begun")

    def __init__(self, separator: str = "") -> None:
        self._separator = separator
        self._parts: list[str] = []
        self._room = MAX_TEXT_CHARACTERS
        self.begun = False
        """True if a part, or a preliminary text, has arrived."""

    def add(self, part: str) -> str:
        """Add a part. Return what there is room for."""
        text = part[: self._room]
        self.begun = True
        self._room -= len(text)
        if text:
            self._parts.append(text)
        return text

    def take(self) -> str:
        """Return the text, and begin another one."""
        text = self._separator.join(self._parts)
        self._parts = []
        self._room = MAX_TEXT_CHARACTERS
        self.begun = False
        return text


class ReplyReader:
    """The decoder of one session. `decode` gets its messages in the order of their arrival."""

    __slots__ = ("_heard", "_inputs", "_is_replying", "_replies", "_said")

    def __init__(self, said: Transcript | None = None, heard: Transcript | None = None) -> None:
        self._replies = self._inputs = 0
        self._is_replying = False
        self._said = said or Transcript(" ")
        self._heard = heard or Transcript()

    @property
    def _reply_id(self) -> str:
        return f"reply-{self._replies}"

    @property
    def _input_id(self) -> str:
        return f"input-{self._inputs + 1}"

    def decode(self, message: bytes) -> Sequence[ServerEvent]:
        """Return the events of a message."""
        try:
            return tuple(self._events(message))
        except NOT_JSON as error:
            return decode_again(self.decode, message, error)

    @abstractmethod
    def _events(self, message: bytes) -> Iterator[ServerEvent]:
        """Yield the events of a message. Raise one of `NOT_JSON` if it is unreadable."""

    def _end_input(self, name: str = "") -> Iterator[ServerEvent]:
        """Yield the event for the transcript of the caller's input, if there is one. `name` is ""
        if the service does not report its end.
        """
        if self._heard.begun:
            item_id = self._input_id
            text = self._heard.take()
            self._inputs += 1
            yield ServerEvent(EventKind.INPUT_TRANSCRIBED, name, item_id=item_id, text=text)

    def _of_reply(
        self, kind: EventKind, name: str, reply_id: str = "", **fields: Any
    ) -> ServerEvent:
        """Return an event of the reply in progress, or of the one with this id."""
        reply_id = reply_id or self._reply_id
        return ServerEvent(kind, name, reply_id, reply_id, **fields)

    def _done(self, name: str, status: str, reason: str = "", reply_id: str = "") -> ServerEvent:
        """Return the end of a reply."""
        self._is_replying = False
        return self._of_reply(
            EventKind.RESPONSE_DONE,
            name,
            reply_id,
            text=self._said.take(),
            status=status,
            reason=reason,
            failure=ServiceFailure(reason) if status == "failed" else None,
        )


COMMON_SETTINGS = frozenset(
    {
        "output",
        "instructions",
        "voice",
        "temperature",
        "turn_detection",
        "model",
        "extra",
        "input_transcription",
        "input_format",
        "output_format",
        "tools",
        "history",
    }
)
"""The settings of a session that all of these services have."""
LACKED = (Feature.IMAGE, Feature.OUT_OF_BAND, Feature.ASKED, Feature.MCP, Feature.CUT)
"""The features that none of these services has."""


def lacking(title: str, *more: Feature) -> dict[Feature, str]:
    """Return the features that a service lacks, each with the end of its error message."""
    return dict.fromkeys((*LACKED, *more), f"which {title} does not support: remove it")


class ReplyingDialect(Dialect):
    """The common part of these dialects.

    `title` is the name of the service for users, `known` the settings that it has, and `stored`
    those in `extra` that this tool sets. `voice_form` describes the names of its voices.
    """

    title: str
    known = COMMON_SETTINGS
    stored: Mapping[Keys, str]
    voice_form: str
    reader: type[ReplyReader]
    turn_source = TurnSource.REPLIES
    takes_response_settings = False
    continues_calls = has_history_in_settings = True
    setting_keys = SettingKeys(
        {"model": Field(String(), "The model, if it is a setting of the session.")}
    )

    def __init__(self) -> None:
        self.session_decoder = lambda: self.reader().decode

    def decode(self, message: bytes) -> Sequence[ServerEvent]:
        return self.reader().decode(message)

    def set_up(self, settings: SessionSettings) -> dict[str, Any]:
        """Return the settings in the set-up of a session, without `extra`."""
        raise NotImplementedError

    def unsupported_setting(self, settings: SessionSettings) -> UnsupportedSetting | None:
        return (
            foreign_setting(settings, self.known, self.title)
            or self._unsupported(settings)
            or self.unknown_format(settings, f" for {self.title}")
            or self._unsupported_detection(settings.turn_detection)
            or undone(self.set_up(settings), settings.extra, self.stored)
        )

    def _unsupported(self, settings: SessionSettings) -> UnsupportedSetting | None:
        if not (settings.voice is None or isinstance(settings.voice, str)):
            return UnsupportedSetting(("voice",), f"voice must be the name of a {self.voice_form}")
        if settings.max_output_tokens == "inf":
            return UnsupportedSetting(
                ("max_output_tokens",), "max_output_tokens must be a number: remove it"
            )
        return None

    def _unsupported_detection(self, detection: TurnDetection | None) -> UnsupportedSetting | None:
        return None


class AnsweringDialect(ReplyingDialect):
    """The dialects of services that always detect turns, and answer each of them by speech.

    `options` states where the options of their turn detection are. `of_transcription` are the
    settings of the transcription that they have.
    """

    options: str
    of_transcription: frozenset[str]
    only_detection = "server_vad"
    has_requests = False

    def _unsupported(self, settings: SessionSettings) -> UnsupportedSetting | None:
        detection = settings.turn_detection
        heard = settings.input_transcription
        if settings.output != "audio":
            return UnsupportedSetting(
                ("output",), f"output must be audio: {self.title} always speaks"
            )
        if detection is None or detection.explicit != {"type": "server_vad"}:
            return UnsupportedSetting(
                ("turn_detection",),
                f"turn_detection must be server_vad without options: {self.title} always detects"
                f" turns; {self.options}",
            )
        if refused := super()._unsupported(settings):
            return refused
        explicit = () if heard is None else heard.explicit
        if name := next((n for n in explicit if n not in self.of_transcription), None):
            return UnsupportedSetting(
                ("input_transcription", name), f"{name} is not a setting of {self.title}: remove it"
            )
        return None
