"""The compiled form of a protocol file: what its audio is between, and what its received messages
mean. Pure.
"""

# A message is decoded once, into a struct that has only the values that the file names
# (`_struct_of`). So a value of another type makes the message unreadable, as with all dialects, and
# nothing of an unknown message costs memory.

import base64
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from bench.files.sanitize import slug
from bench.files.validation import InvalidCombinationError, either
from bench.files.values import MAX_ID_CHARACTERS, MAX_MESSAGE_CHARACTERS, string_in
from bench.services.pages.page import (
    BINARY_AUDIO,
    FIRST,
    OF_REPLIES,
    Awaited,
    Page,
    Path,
    ReceivedForm,
)
from bench.services.pages.template import OF_CALL, all_names, encoded, mark_of
from bench.wire.dialect import BINARY, CALL_ID
from bench.wire.events import (
    AUDIO_DELTA,
    EMPTY,
    ErrorScope,
    EventKind,
    ServerEvent,
    ServiceFailure,
    base64_bytes,
)

ERROR = EventKind.ERROR
AUDIO = "audio"
TEXT = "text"
"""The names of messages that have none."""
ITSELF = ""
"""The key of a table that is a text in other messages."""
KINDS: Mapping[str, EventKind] = {
    "clear": EventKind.CLEARED,
    "mark": EventKind.MARKED,
    "session_created": EventKind.SESSION_CREATED,
    "session_updated": EventKind.SESSION_UPDATED,
    "error": ERROR,
    "closing": EventKind.GOING_AWAY,
    **dict.fromkeys(OF_REPLIES, EventKind.NOTED),
    "speech_started": EventKind.SPEECH_STARTED,
    "speech_stopped": EventKind.SPEECH_STOPPED,
    "noted": EventKind.NOTED,
    "unknown": EventKind.UNKNOWN,
}
"""The kinds of the messages that are an event of one kind, perhaps with a text."""
ANNOUNCING = ("session_created", "session_updated")
"""The meanings of messages that the set-up may await."""
PREPARED = (AUDIO, "silent")
"""The values of a piece of audio that are known when a script is compiled."""
SECOND = mark_of("second")
"""The mark of the second of a piece of audio, in its time."""
Getter = Callable[[Any], Any]
Read = Callable[[Any, str], ServerEvent]


def forms_of(page: Page) -> dict[str, ReceivedForm]:
    """Return the received messages by each of their names."""
    messages = (page.receive.messages or {}).items()
    return {name: form for names, form in messages for name in names.split("|")}


class PageWire(NamedTuple):
    """How a text message is decoded. `name_of` finds its name in the decoded fields, and `texts`
    and `raws` the text, or the JSON, at each path. `binary_of` finds binary audio in the form that
    logs use; None if binary messages are no audio. `is_named` is False if messages have no names of
    their own.
    """

    decode: Callable[[bytes], Any]
    name_of: Getter
    texts: Mapping[Path, Getter]
    raws: Mapping[Path, Getter]
    binary_of: Getter | None
    is_named: bool


def wire_of(page: Page) -> PageWire:
    """Return how messages are decoded. Raise InvalidCombinationError."""
    received = page.receive
    forms = forms_of(page)
    names = received.name or ()
    if forms and not names:
        raise InvalidCombinationError("receive", "needs `name`: where the name of a message is")
    awaitable = set(ANNOUNCING)
    for step in page.send.open or ():
        if isinstance(step, Awaited):
            form = forms.get(step.await_)
            if form is None or form.means[0] not in awaitable:
                raise InvalidCombinationError(
                    "send",
                    f"awaits {step.await_}, which must be a message that means"
                    f" {either(ANNOUNCING)}; each can be awaited once",
                )
            awaitable.remove(form.means[0])
    is_named = len(names) == 1
    texts: list[Path] = [*names] if is_named else []
    raws: list[Path] = [] if is_named else [*names]
    texts += [received.kind] if received.kind else []
    if received.stream is not None:
        texts.append(received.stream.at)
    for form in forms.values():
        if form.answer and not is_named:
            raise InvalidCombinationError("receive", "needs one `name` for messages with an answer")
        texts += filter(None, (form.text, form.name))
        raws += filter(None, (form.audio, form.id, form.arguments, form.code))
    has_binary = received.binary == AUDIO
    binary: Path = ((BINARY,),)
    kind, text_at, raw_at = _struct_of(texts, [*raws, binary] if has_binary else raws)
    name_of = text_at[names[0]] if is_named else _name_of([raw_at[path] for path in names], forms)
    if received.kind:
        name_of = _with_kind(name_of, text_at[received.kind], forms)
    decode = msgspec.json.Decoder(kind).decode
    return PageWire(decode, name_of, text_at, raw_at, raw_at.get(binary), is_named)


def reader_of(page: Page) -> Callable[[bytes], ServerEvent]:
    """Return the function that reads a text message alone. It raises one of the errors in
    `NOT_JSON` if the message is unreadable. Raise InvalidCombinationError.
    """
    received = page.receive
    wire = wire_of(page)
    decode, name_of, binary_of = wire.decode, wire.name_of, wire.binary_of
    stream_of = None if received.stream is None else wire.texts[received.stream.at]
    fixed = "" if wire.is_named else TEXT
    reads: dict[str, Read] = {}
    for name, form in forms_of(page).items():
        if form.audio is not None:
            reads[name] = _audio(wire.raws[form.audio], stream_of, wire.raws.get(form.id or ()))
        else:
            kind = KINDS[form.means[0]]
            reads[name] = _simple(kind, form, wire, stream_of, fixed)
    other = _simple(KINDS[received.others], ReceivedForm(()), wire, stream_of, fixed)

    def read(message: bytes) -> ServerEvent:
        fields = decode(message)
        if binary_of is not None and len(payload := binary_of(fields)):
            return ServerEvent(AUDIO_DELTA, AUDIO, "", "", base64_bytes(payload), payload)
        name = name_of(fields)
        return reads.get(name, other)(fields, name)

    return read


def _name_of(alternatives: Sequence[Getter], names: Iterable[str]) -> Getter:
    """Return the function that finds a known name at one of several keys; "" if there is none."""
    words = {msgspec.json.encode(name): name for name in names}

    def name_of(fields: Any) -> str:
        found = (words.get(bytes(get(fields))) for get in alternatives)
        return next(filter(None, found), "")

    return name_of


def _with_kind(name_of: Getter, kind_of: Getter, names: Container[str]) -> Getter:
    """Return the function that finds the name with its kind if that is known, else the name."""

    def find(fields: Any) -> Any:
        name = name_of(fields)
        whole = f"{name}/{kind_of(fields)}"
        return whole if whole in names else name

    return find


# Nearly all messages are audio, so its reader calls as little as possible.
def _audio(payload_of: Getter, stream_of: Getter | None, number_of: Getter | None) -> Read:
    def read(fields: Any, name: str) -> ServerEvent:
        payload = payload_of(fields)
        size = base64_bytes(payload)
        if number_of is not None:
            number = raw_text(number_of(fields))
            stream = stream_of(fields)[:MAX_ID_CHARACTERS] if stream_of else ""
            return ServerEvent(AUDIO_DELTA, name, "", "", size, payload, number, session_id=stream)
        if stream_of is None:
            return ServerEvent(AUDIO_DELTA, name, "", "", size, payload)
        stream = stream_of(fields)[:MAX_ID_CHARACTERS]
        return ServerEvent(AUDIO_DELTA, name, "", "", size, payload, session_id=stream)

    return read


def raw_text(raw: msgspec.Raw) -> str:
    """Return a value as JSON; null if it is missing or too long."""
    value = bytes(raw)
    return value.decode() if 0 < len(value) <= MAX_MESSAGE_CHARACTERS else "null"


def _word_getter(find: Getter) -> Getter:
    return lambda fields: word_at(find(fields))


def word_at(raw: msgspec.Raw) -> str:
    """Return a text, or another value as JSON; "" if it is missing."""
    return string_in(raw) or bytes(raw).decode()


def _simple(
    kind: EventKind,
    form: ReceivedForm,
    wire: PageWire,
    stream: Getter | None,
    fixed: str,
) -> Read:
    text = wire.texts.get(form.text or ())
    id = wire.raws.get(form.id or ())
    code = _word_getter(wire.raws[form.code]) if form.code else None
    session_id = _word_getter(id) if id and form.means[0] in ANNOUNCING else stream

    def read(fields: Any, name: str) -> ServerEvent:
        said = text(fields)[:MAX_MESSAGE_CHARACTERS] if text else ""
        return ServerEvent(
            kind,
            fixed or name[:MAX_ID_CHARACTERS],
            text=raw_text(id(fields)) if id else said,
            session_id=session_id(fields)[:MAX_ID_CHARACTERS] if session_id else "",
            failure=failure_of(code(fields) if code else "", said) if kind is ERROR else None,
        )

    return read


def failure_of(code: str, text: str) -> ServiceFailure:
    """Return an error, which ends the session."""
    word = slug(code[:MAX_ID_CHARACTERS].lower()) or "unknown"
    return ServiceFailure(word, word, text[:MAX_MESSAGE_CHARACTERS], effect=ErrorScope.FATAL)


# The struct of a message.


# What is a text in one message may be a table or audio in another. Such a value stays JSON in the
# struct, and is decoded when it is needed.
def _struct_of(
    texts: Iterable[Path], raws: Iterable[Path]
) -> tuple[type[msgspec.Struct], Mapping[Path, Getter], Mapping[Path, Getter]]:
    """Return (the struct that has the values at these paths, a function for each that finds a text
    in the struct, and one for each other value). A missing text is "", and another missing value
    `EMPTY`.
    """
    uses = [*((path, "") for path in texts), *((path, EMPTY) for path in raws)]
    tree: dict[str, Any] = {}
    for path, default in uses:
        _add(tree, path, default)
    found = [{path: _getter(tree, path, of) for path, of in uses if of is it} for it in ("", EMPTY)]
    return _struct(tree), *found


def _add(tree: dict[str, Any], path: Path, default: Any) -> None:
    (spellings, *inner) = path
    for key in spellings:
        branch = tree.setdefault(key, {})
        if inner:
            _add(branch, tuple(inner), default)
        else:
            branch.setdefault(ITSELF, []).append(default)


def _struct(tree: Mapping[str, Any]) -> Any:
    """Return the type of a table, or of a list."""
    if tree.keys() - {ITSELF} == {FIRST}:
        return list[_type(tree[FIRST])[0]]  # type: ignore[misc]
    fields = [(_field(key), *_type(inner)) for key, inner in tree.items() if key != ITSELF]
    return msgspec.defstruct("Fields", fields, rename={_field(key): key for key in tree})


def _type(branch: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the type of a value, and what stands for a missing one."""
    if ITSELF not in branch:
        return _struct(branch) | None, None
    is_text = len(branch) == 1 and EMPTY not in branch[ITSELF]
    return (str, "") if is_text else (msgspec.Raw, EMPTY)


def _field(key: str) -> str:
    """Return a name of a field for any key."""
    return f"f{key.encode().hex()}"


def _getter(tree: Mapping[str, Any], path: Path, default: Any) -> Getter:
    (spellings, *inner) = path
    found: Getter
    found, *others = [_value_getter(tree[key], key, tuple(inner), default) for key in spellings]
    for other in others:
        found = _either(found, other)
    return found


def _value_getter(branch: Mapping[str, Any], key: str, inner: Path, default: Any) -> Getter:
    kind, absent = _type(branch)
    find: Getter = (
        attrgetter(_field(key)) if key != FIRST else lambda held: held[0] if held else absent
    )
    if not inner:
        return find if kind is str or default is EMPTY else lambda wire: string_in(find(wire))
    rest = _getter(branch, inner, default)
    if kind is msgspec.Raw:
        table = msgspec.json.Decoder(_struct(branch)).decode

        def get_again(wire: Any) -> Any:
            raw = bytes(find(wire))
            return rest(table(raw)) if raw[:1] in (b"{", b"[") else default

        return get_again

    def get(wire: Any) -> Any:
        held = find(wire)
        return default if held is None else rest(held)

    return get


def _either(first: Getter, second: Getter) -> Getter:
    return lambda wire: first(wire) or second(wire)


# Sent audio.


class AudioForm(NamedTuple):
    """How a piece of audio becomes a message, with the name of the message.

    `prepared` is the part with the audio, which is encoded once for all calls. `whole` is the
    message around it, a format of bytes, with the id of the call as `{uuid}` and `SECOND`, and
    `values` are the names of the attributes of the codec in it.
    """

    name: str
    prepared: bytes
    whole: bytes
    values: Sequence[str]

    def data(self, audio: bytes) -> bytes:
        """Return the part with the audio."""
        data = self.prepared.replace(mark_of(AUDIO), base64.b64encode(audio))
        return data.replace(mark_of("silent"), b"false" if any(audio) else b"true")


def audio_form(page: Page) -> AudioForm | None:
    """Return the form of audio; None if it is in binary messages. Raise InvalidCombinationError."""
    template = page.send.audio
    if template == BINARY_AUDIO:
        return None
    names = list(all_names(template))
    if names.count(AUDIO) != 1:
        raise InvalidCombinationError("send", "needs {audio} once in its `audio`")
    if page.audio.frame_ms is None and any(name in OF_CALL[2:] for name in names):
        raise InvalidCombinationError("send", "needs `frame_ms` for the time of its `audio`")
    message = encoded(template, {})
    marks = [mark for mark in map(mark_of, PREPARED) if mark in message]
    start = min(message.index(mark) for mark in marks)
    end = max(message.rindex(mark) + len(mark) for mark in marks)
    prepared = message[start:end]
    if len(marks) == 1:
        prepared = marks[0]
    if any(mark in prepared for mark in (*map(mark_of, OF_CALL), CALL_ID.encode())):
        raise InvalidCombinationError(
            "send", f"has another value between {{{AUDIO}}} and {{silent}}: move it"
        )
    values: list[str] = []

    def put(mark: re.Match[bytes]) -> bytes:
        name = mark[1].decode()
        is_time = name == "audio_time"
        values.append("millisecond" if is_time else name)
        if is_time:
            return SECOND + b"%03dZ"
        return b"%b" if name == "data" else b"%d"

    around = message[:start] + mark_of("data") + message[end:]
    whole = re.sub(rb"\0(\w+)\0", put, around.replace(b"%", b"%%"))
    return AudioForm(name_of_sent(page, template, AUDIO), prepared, whole, values)


def name_of_sent(page: Page, template: Any, unnamed: str) -> str:
    """Return the name of a message to send, which is where messages of the service have theirs."""
    for path in page.receive.name or ():
        found: Any = template
        for spellings in path:
            keys = (key for key in spellings if isinstance(found, dict) and key in found)
            found = found.get(next(keys, "")) if isinstance(found, dict) else None
        if isinstance(found, str) and not list(all_names(found)):
            return found[:MAX_ID_CHARACTERS]
    return unnamed
