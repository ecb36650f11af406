"""The dialect of a protocol file, and the codec of a call."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import msgspec

from bench.catalogue.outcomes import OwnRemedies
from bench.services.full_duplex import FullDuplexDialect
from bench.services.pages.page import BINARY_AUDIO, Awaited, Page
from bench.services.pages.page import Path as KeyPath
from bench.services.pages.reader import (
    AUDIO,
    KINDS,
    SECOND,
    TEXT,
    audio_form,
    forms_of,
    name_of_sent,
    reader_of,
)
from bench.services.pages.remedies import REMEDIES
from bench.services.pages.template import SPREAD, ForeignText, all_names, encoded, mark_of
from bench.wire.audio import ALL_FORMATS, AudioFormat, AudioFormatName, by_name
from bench.wire.dialect import (
    BINARY,
    CALL_ID,
    NOT_JSON,
    OTHER_STREAM,
    AwaitedEvent,
    BinaryMessage,
    CallCodec,
    ClientMessage,
    Feature,
    MessageKind,
    Peer,
    decode_again,
)
from bench.wire.events import (
    AUDIO_DELTA,
    EventKind,
    ServerEvent,
    binary_payload,
)
from bench.wire.settings import (
    SessionSettings,
    UnsupportedSetting,
)

DIGITS = frozenset("0123456789*#ABCD")
"""The keys of a phone, including the four keys A to D of ITU-T Q.23, which few phones have."""
OF_STREAM = frozenset({EventKind.AUDIO_DELTA, EventKind.MARKED, EventKind.CLEARED})
MAX_DIGITS = 18
RESUMED = "\0resumed"
"""The key of `extra` with the session to continue, which no script can have."""
INTERRUPTED = " of an interrupted reply"
"""The suffix of the name of audio whose number a `clear` has dropped."""
APPEND = MessageKind.APPEND
NUMBER, AUDIO_MS, AUDIO_S, RECEIVED = map(mark_of, ("number", "audio_ms", "audio_s", "received"))
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class PageCodec(CallCodec):
    """The codec of one call. It counts the messages with a number, the received messages without
    audio, the pieces of audio, and their time.
    """

    def __init__(self, dialect: "PageDialect", call_id: str) -> None:
        super().__init__(call_id)
        self._dialect = dialect
        stream = dialect.page.receive.stream
        self._stream = None if stream is None else stream.is_.replace(CALL_ID, self.call_id)
        self.number = self.received = self.chunk = self.audio_ms = self.millisecond = 0
        self._cleared = -1
        self.data = b""
        self._second = -1
        self._frame_ms = dialect.frame_ms or 0
        form = dialect.form
        self._is_message = form is not None
        if form is not None:
            self._whole = form.whole.replace(CALL_ID.encode(), self.call_id.encode())
            self._format = self._whole
            self._values = attrgetter(*form.values)
            self._is_numbered = int("number" in form.values)
            self._is_counted = "number" in form.values or "chunk" in form.values
            self._is_timed = SECOND in form.whole

    def encode(self, kind: MessageKind, data: bytes) -> bytes:
        if kind is not APPEND:
            return self._counted(super().encode(kind, data))
        if not self._is_message:
            self.audio_ms += self._frame_ms
            return data
        self.data = data
        if self._is_counted:
            self.number += self._is_numbered
            self.chunk += 1
        if self._is_timed:
            # hundreds of calls have fifty frames a second each, so most of a time is written once a
            # second
            second, self.millisecond = divmod(self.audio_ms, 1_000)
            if second != self._second:
                self._second = second
                self._format = self._whole.replace(SECOND, _instant(second))
        message: bytes = self._format % self._values(self)
        self.audio_ms += self._frame_ms
        return message

    def _counted(self, message: bytes) -> bytes:
        """Return a message with the values that a call counts."""
        if b"\0" not in message or isinstance(message, BinaryMessage):
            return message
        self.number += NUMBER in message
        for mark, value in (
            (NUMBER, b"%d" % self.number),
            (RECEIVED, b"%d" % self.received),
            (AUDIO_MS, b"%d" % self.audio_ms),
            (AUDIO_S, b"%d.%03d" % divmod(self.audio_ms, 1_000)),
        ):
            message = message.replace(mark, value)
        return message

    def decode(self, events: Sequence[ServerEvent]) -> Sequence[ServerEvent]:
        if not events:
            return events
        event = events[0]  # services that name their stream have one event in each message
        is_other = self._stream is not None and event.session_id != self._stream
        if is_other and event.kind in OF_STREAM:
            return (ServerEvent(EventKind.UNKNOWN, f"{event.name}{OTHER_STREAM}"),)
        if event.text and self._is_dropped(event):
            return (ServerEvent(EventKind.UNKNOWN, f"{event.name}{INTERRUPTED}"),)
        if event.kind is AUDIO_DELTA:
            return events
        self.received += 1
        answer = self._dialect.answers.get(event.name)
        if answer is not None and event.kind is not EventKind.MARKED:
            self.answers.append(self._answer(answer, event.text))
        return events

    def _is_dropped(self, event: ServerEvent) -> bool:
        """Return whether this is audio whose number is not larger than that of the last `clear`."""
        number = event.text.strip('"')
        if len(number) > MAX_DIGITS or not number.isdecimal():
            return False
        if event.kind is EventKind.CLEARED:
            self._cleared = int(number)
        return event.kind is AUDIO_DELTA and int(number) <= self._cleared

    def acknowledge(self, mark: ServerEvent) -> ClientMessage | None:
        answer = self._dialect.answers.get(mark.name)
        return answer and self._answer(answer, mark.text)

    def _answer(self, template: Any, repeated: str) -> ClientMessage:
        values = {"text": ForeignText(repeated), "id": msgspec.Raw(repeated.encode())}
        return self._dialect.message_of(template, values)

    def goodbye(self) -> ClientMessage | None:
        template = self._dialect.page.send.close
        return template and self._dialect.message_of(template, {})


def _instant(second: int) -> bytes:
    """Return the begin of an instant, without its milliseconds. Audio begins at the start of
    1970.
    """
    minutes, hours = second // 60, second // 3_600
    date = f"1970-01-{1 + hours // 24:02}"
    return f"{date}T{hours % 24:02}:{minutes % 60:02}:{second % 60:02}.".encode()


class PageDialect(FullDuplexDialect):
    """The dialect that a protocol file describes."""

    peer = Peer.AGENT
    pauses = True
    only_duplex = (
        "an agent always receives its caller's audio, and decides by itself when to answer"
    )
    also_missing = (Feature.HISTORY,)
    codec: Callable[[str], CallCodec]

    def __init__(self, page: Page) -> None:
        self.page = page
        self.name = page.protocol
        self.title = page.title
        audio, sent, received = page.audio, page.send, page.receive
        self.form = audio_form(page)
        self.read = reader_of(page)
        """The function that reads a text message. It raises one of the errors in `NOT_JSON` if the
        message is unreadable."""
        used = {name for step in sent.open or () for name in all_names(step)}
        opening = (self._awaited(step) for step in sent.open or () if isinstance(step, Awaited))
        self.announced_by = tuple(step.kind for step in opening)
        self.settings = frozenset({"turn_detection", "input_format", "output_format"} | used)
        self.frame_ms = audio.frame_ms
        self.input_formats = _formats(audio.formats)
        self.output_formats = _formats(audio.output_formats or audio.formats)
        self.one_format = audio.output_formats is None
        self.upgrade_headers = tuple((page.headers or {}).items())
        name = AUDIO if self.form is None else self.form.name
        key = name_of_sent(page, sent.key, TEXT)
        self.message_kinds = MappingProxyType({name: APPEND, key: MessageKind.RAW})
        self.has_binary_texts = received.binary == TEXT
        if received.binary == AUDIO:
            self.binary_sound = ServerEvent(AUDIO_DELTA, AUDIO)
        forms = forms_of(page)
        self.answers = {name: form.answer for name, form in forms.items() if form.answer}
        has_codec = self.form or self.answers or sent.close or received.stream
        self.codec = partial(PageCodec, self) if has_codec else CallCodec
        if sent.resume:
            self.resumption = lambda handle: {RESUMED: ForeignText(handle)}
        self.remedies = OwnRemedies(in_doctor={**REMEDIES.in_doctor, **(page.remedies or {})})
        self._audio_at = [form.audio for form in forms.values() if form.audio]
        if sent.audio != BINARY_AUDIO:
            self._audio_at.append(_path_to(sent.audio))
        super().__init__()
        self.missing_features = {
            **self.missing_features,
            Feature.CUE: "which an agent does not report: use `after`, in seconds",
        }

    # Settings and sent messages.

    def own_unsupported(self, settings: SessionSettings) -> UnsupportedSetting | None:
        extra = settings.extra if self.page.extra == "texts" else {}
        name = next((name for name, value in extra.items() if not isinstance(value, str)), None)
        if name is None:
            return None
        return UnsupportedSetting(
            ("extra", name),
            f"extra must contain custom parameters, which are texts: put {name} in quotes",
        )

    def unsupported_event(self, event: Mapping[str, Any], settings: SessionSettings) -> str:
        return key_problem(event) if self.page.send.key else ""

    def setup_messages(
        self, settings: SessionSettings, event_id: str
    ) -> Sequence[ClientMessage | AwaitedEvent]:
        heard = self.input_format_for(settings)
        said = self.output_format_for(settings)
        audio = self.page.audio
        values = {
            "extra": settings.extra,
            "instructions": settings.instructions,
            "voice": settings.voice,
            "model": settings.model,
            "tools": [{"type": "function"} | msgspec.to_builtins(tool) for tool in settings.tools],
            "format": audio.formats[heard.name],
            "rate_hz": heard.rate_hz,
            "frame_bytes": heard.bytes_per_s * (self.frame_ms or 0) // 1000,
            "output_format": (audio.output_formats or audio.formats)[said.name],
            "output_rate_hz": said.rate_hz,
        }
        steps = self.page.send.open or ()
        if RESUMED in settings.extra:
            values["id"] = settings.extra[RESUMED]
            steps = (self.page.send.resume, *steps[1:])
        return tuple(
            self._awaited(step) if isinstance(step, Awaited) else self.message_of(step, values)
            for step in steps
            if step != SPREAD or settings.extra
        )

    def _awaited(self, step: Awaited) -> AwaitedEvent:
        form = forms_of(self.page)[step.await_]
        return AwaitedEvent(KINDS[form.means[0]], step.await_)

    def message_of(
        self, template: Any, values: Mapping[str, Any], unnamed: str = TEXT
    ) -> ClientMessage:
        """Return a message with these values. `unnamed` is its name if it has none."""
        name = name_of_sent(self.page, template, unnamed)
        return ClientMessage(MessageKind.RAW, name, encoded(template, values))

    def raw(self, event: Mapping[str, Any], event_id: str) -> ClientMessage:
        if key := self.page.send.key:
            return self.message_of(key, {"digit": event["digit"]})
        return ClientMessage(MessageKind.RAW, TEXT, msgspec.json.encode(event))

    def append(self, audio: bytes, event_id: str) -> ClientMessage:
        if self.form is None:
            return ClientMessage(APPEND, AUDIO, BinaryMessage(audio))
        return ClientMessage(APPEND, self.form.name, self.form.data(audio))

    # Received messages.

    def decode(self, message: bytes) -> Sequence[ServerEvent]:
        try:
            return (
                (
                    self.read_binary(message)
                    if isinstance(message, BinaryMessage)
                    else self.read(message)
                ),
            )
        except NOT_JSON as error:
            return decode_again(self.decode, message, error)

    def read_binary(self, message: BinaryMessage) -> ServerEvent:
        """Return the event of a binary message. Raise the errors of `read` if it is a text."""
        if self.has_binary_texts:
            return self.read(message)
        if self.binary_sound is not None:
            payload = binary_payload(message)
            return ServerEvent(AUDIO_DELTA, AUDIO, "", "", len(message), payload)
        return ServerEvent(
            EventKind.MALFORMED, reason="a binary message was received, but only text is expected"
        )

    def without_audio(self, message: bytes) -> bytes:
        if isinstance(message, BinaryMessage) and self.binary_sound is not None:
            return msgspec.json.encode({BINARY: ""})
        return _stripped(message, self._audio_at) if self._audio_at else message


def key_problem(event: Mapping[str, Any]) -> str:
    """Return why a script's event is no phone key, with a remedy; "" if it is one."""
    if event["type"] == "dtmf" and event.get("digit") in DIGITS:
        return ""
    return "is not an event of a phone call: press a key with {type: dtmf, digit: '5'}"


def _formats(names: Iterable[AudioFormatName]) -> dict[AudioFormatName, AudioFormat]:
    return by_name(*(ALL_FORMATS[name] for name in names))


def _path_to(template: Any) -> KeyPath:
    """Return the path to the audio in a template."""
    return next(
        ((key,), *(_path_to(value) if isinstance(value, dict) else ()))
        for key, value in template.items()
        if AUDIO in all_names(value)
    )


def _stripped(message: bytes, paths: Sequence[KeyPath]) -> bytes:
    """Return a message without the values at these paths."""
    fields = _decode_fields(message)
    is_changed = False
    for spellings, *inner in paths:
        for key in spellings:
            if key in fields and inner:
                if (raw := bytes(fields[key])).startswith(b"{"):
                    fields[key] = msgspec.Raw(_stripped(raw, [tuple(inner)]))
                    is_changed = True
            elif key in fields:
                del fields[key]
                is_changed = True
    return msgspec.json.encode(fields) if is_changed else message
