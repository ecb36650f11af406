"""A protocol file: its keys, their forms and errors, and its JSON Schema
(`python -m bench.services.pages.page` prints it, and writes `pages.json`).
"""

# `Page` is the content of a file whose every value is valid alone. `wire_of` in `reader.py` and
# `PageDialect` combine them, and refuse what contradicts itself at the key that must change.

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from bench.base.suggestions import did_you_mean
from bench.files.validation import (
    AnyJson,
    Choice,
    Converted,
    Integer,
    InvalidCombinationError,
    ListOf,
    MapOf,
    OneOrMore,
    OrKeyword,
    OrStruct,
    RegexString,
    Schema,
    String,
    StructOf,
    Validator,
    field_key,
    struct_of,
)
from bench.files.yaml_file import LocatedValue, read_yaml
from bench.services.pages.template import COUNTED, OF_CALL, SPREAD, UUID, names_in
from bench.wire.audio import ALL_FORMATS, AudioFormatName

Meaning = Literal[
    "audio",
    "clear",
    "mark",
    "session_created",
    "session_updated",
    "speech_started",
    "speech_stopped",
    "input_transcript",
    "output_transcript",
    "reply_started",
    "reply_done",
    "reply_cancelled",
    "function_call",
    "resumable",
    "error",
    "closing",
    "noted",
]
OF_SOUND = ("clear", "mark")
OF_REPLIES = (
    "speech_started",
    "speech_stopped",
    "input_transcript",
    "output_transcript",
    "reply_started",
    "reply_done",
    "reply_cancelled",
    "function_call",
    "resumable",
)
"""The meanings of services whose replies are found in their audio, and of those that report
them."""
NEEDS: Mapping[Meaning, tuple[str, ...]] = {
    "audio": ("audio",),
    "input_transcript": ("text",),
    "output_transcript": ("text",),
    "function_call": ("id", "name", "arguments"),
    "resumable": ("id",),
}
"""The keys of a message that a meaning needs."""
BINARY_AUDIO = "binary"
OF_SETTINGS = (
    "extra",
    "instructions",
    "voice",
    "model",
    "tools",
    "format",
    "rate_hz",
    "frame_bytes",
    "output_format",
    "output_rate_hz",
)
"""The values of a script's session in the messages that open a call."""
Path = tuple[tuple[str, ...], ...]
"""The keys that lead to a value, from the outermost one. Each has one or more spellings."""


@dataclass(frozen=True)
class TemplateValidator(Validator[Any]):
    """A validator of a message to send, which may contain the values `names`. If `is_table` is
    True, it is a table.
    """

    names: tuple[str, ...]

    def read(self, value: LocatedValue) -> Any:
        template = AnyJson().read(value)
        if not isinstance(template, dict) and template != SPREAD:
            raise value.type_error(f"a table (`key: value`), or {SPREAD}")
        self._check(value)
        return template

    def _check(self, value: LocatedValue) -> None:
        match value.content():
            case str() as text:
                for name in names_in(text):
                    if name not in self.names:
                        hint = did_you_mean(name, self.names) or ";"
                        allowed = ", ".join(self.names)
                        raise value.refuse(f"has the unknown value {name}{hint} allowed: {allowed}")
            case dict() as entries:
                for key, entry in entries.items():
                    if key == SPREAD and "extra" not in self.names:
                        raise entry.refuse("is only for messages of `open`")
                    self._check(entry)
            case list() as items:
                for item in items:
                    self._check(item)

    def schema(self) -> Schema:
        return {"type": ["object", "string"]}


def _path(value: LocatedValue, text: str) -> Path:
    return tuple(tuple(spellings.split("|")) for spellings in text.split("."))


_KEY = r"[^.|\s\"\\]{1,64}"
FIRST = "0"
"""The key of the first entry of a list, in a path."""
PATH = Converted(
    RegexString(
        rf"{_KEY}(\|{_KEY})*(\.{_KEY}(\|{_KEY})*){{0,4}}",
        "the keys that lead to a value, as in media.payload; kind|Kind are two spellings of a key,"
        " and 0 is the first entry of a list",
    ),
    _path,
)


def _template(*names: str) -> TemplateValidator:
    return TemplateValidator(tuple(dict.fromkeys((*names, UUID, *COUNTED))))


@dataclass(frozen=True)
class Awaited:
    """An event that the set-up awaits, by the name of its message."""

    await_: str = field_key(String(), "The name of a message.", required=True)


@dataclass(frozen=True)
class OpeningValidator(Validator[Any]):
    """A validator of a step of the set-up: a message, or `{await: NAME}`."""

    message: TemplateValidator

    def read(self, value: LocatedValue) -> Any:
        content = value.content()
        is_awaited = isinstance(content, dict) and content.keys() == {"await"}
        return (struct_of(Awaited) if is_awaited else self.message).read(value)

    def schema(self) -> Schema:
        return self.message.schema()


FORMAT = Choice(tuple(ALL_FORMATS))
FORMATS: Validator[dict[AudioFormatName, str]] = Converted(
    OrStruct(
        OneOrMore(FORMAT),
        MapOf("|".join(map(re.escape, ALL_FORMATS)), String(), minimum=1),
    ),
    lambda _, read: read if isinstance(read, dict) else {name: name for name in read},
)


@dataclass(frozen=True)
class PageAudio:
    """The formats and the pace of audio."""

    formats: Mapping[AudioFormatName, str] = field_key(
        FORMATS,
        "Formats of the caller's audio, the default first; or a table with the name of each in the"
        " protocol.",
        required=True,
    )
    output_formats: Mapping[AudioFormatName, str] | None = field_key(
        FORMATS, "Formats of the answers' audio, if they may differ from that of the caller's."
    )
    frame_ms: int | None = field_key(
        Integer(5, 1_000, "of ms"), "Duration of each piece of the caller's audio."
    )


@dataclass(frozen=True)
class PageKey:
    """How a service gets its key."""

    env: str = field_key(
        RegexString("[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable"),
        "The variable that contains the key.",
        required=True,
    )
    header: str = field_key(
        RegexString("[A-Za-z0-9-]{1,64}", "the name of a header"), "Its header.", "Authorization"
    )
    scheme: str = field_key(
        String(blank=True), "The word before the key in the header.", absent="Bearer"
    )


@dataclass(frozen=True)
class SentMessages:
    """The messages to the service."""

    audio: Any = field_key(
        OrKeyword(TemplateValidator(("audio", "silent", UUID, *OF_CALL)), BINARY_AUDIO),
        "A piece of the caller's audio; binary: a binary message of nothing else.",
        required=True,
    )
    open: tuple[Any, ...] | None = field_key(
        ListOf(OpeningValidator(_template(*OF_SETTINGS))),
        "What is sent when the connection is open, in order; {await: NAME} awaits a message.",
    )
    key: Any = field_key(
        _template("digit", "audio_ms"), "A phone key; without it, scripts may send any message."
    )
    text: Any = field_key(_template("text"), "A typed text, which the service answers.")
    output: Any = field_key(
        _template("call_id", "name", "output"), "The output of a function that was called."
    )
    resume: Any = field_key(
        _template("id"),
        "The first message of a session that continues another one, by the `id` of `resumable`.",
    )
    close: Any = field_key(_template(), "The last message of a call.")


@dataclass(frozen=True)
class ReceivedForm:
    """What a message of the service means, and where its values are."""

    means: tuple[Meaning, ...] = field_key(
        OneOrMore(Choice(get_args(Meaning))),
        "The meaning of the message, or several, in their order.",
        required=True,
    )
    audio: Path | None = field_key(PATH, "Where its audio is, in base64.")
    text: Path | None = field_key(
        PATH, "Where the words or the reason are, or the text that `answer` repeats."
    )
    id: Path | None = field_key(
        PATH,
        "Where the id of a function's call is, the service's id of the session in its description,"
        " the number of audio, or the value of any type that `answer` repeats. Audio is dropped if"
        " its number is not larger than that of the last `clear`.",
    )
    name: Path | None = field_key(PATH, "Where the name of a called function is.")
    arguments: Path | None = field_key(PATH, "Where its arguments are: a table, or JSON.")
    code: Path | None = field_key(PATH, "Where the code of an error is.")
    answer: Any = field_key(
        _template("text", "id"),
        "What is sent back at once; after a mark, when the audio before it was played.",
    )
    example: Any = field_key(_template(), "The rest of the message, which the simulator sends.")

    def __post_init__(self) -> None:
        for meaning in self.means:
            for key in NEEDS.get(meaning, ()):
                if getattr(self, key) is None:
                    raise InvalidCombinationError("means", f"needs `{key}`: where it is")
        if self.text and self.id:
            raise InvalidCombinationError("id", "and `text` are two values: omit one")


@dataclass(frozen=True)
class PageStream:
    """The stream that each message must name. Others are dropped and counted."""

    at: Path = field_key(PATH, "Where the id of the stream is.", required=True)
    is_: str = field_key(
        RegexString(rf"[^{{}}]*\{{{UUID}\}}[^{{}}]*", "a text with {uuid}"),
        "The id, with {uuid} for that of the call.",
        required=True,
    )


@dataclass(frozen=True)
class ReceivedMessages:
    """The messages of the service."""

    name: tuple[Path, ...] | None = field_key(
        OneOrMore(PATH),
        "Where the name of a message is. A list: a message has any of these keys with the name.",
    )
    messages: Mapping[str, ReceivedForm] | None = field_key(
        MapOf(r"\S.{0,127}", struct_of(ReceivedForm), "a table (`name: {means: …}`)"),
        "The messages, by name; A|B are two names of one message.",
    )
    kind: Path | None = field_key(
        PATH,
        "Where a second name is: the message A/B has the names A and B, and A is any other A.",
    )
    binary: Literal["audio", "text"] | None = field_key(
        Choice(("audio", "text")),
        "What binary messages are; without it, a binary message ends the session.",
    )
    others: Literal["noted", "unknown"] = field_key(
        Choice(("noted", "unknown")), "What other messages are.", "unknown"
    )
    example: Any = field_key(_template(), "What the simulator adds to each of its texts.")
    stream: PageStream | None = field_key(
        struct_of(PageStream), "The id of the stream, if messages name it."
    )


@dataclass(frozen=True)
class Page:
    """The content of a protocol file."""

    protocol: str = field_key(
        RegexString("[a-z][a-z0-9-]{0,31}", "a name of a-z, 0-9 and -"),
        "The name of the protocol in rows and reports.",
        required=True,
    )
    title: str = field_key(
        String(), "Its name in sentences, as in: an agent behind Twilio.", required=True
    )
    audio: PageAudio = field_key(struct_of(PageAudio), "The audio.", required=True)
    send: SentMessages = field_key(struct_of(SentMessages), "What is sent.", required=True)
    receive: ReceivedMessages = field_key(
        struct_of(ReceivedMessages), "What is received.", required=True
    )
    turns: Literal["sound", "replies"] = field_key(
        Choice(("sound", "replies")),
        "Where replies begin and end: found in the audio, or as messages report.",
        "sound",
    )
    url: str | None = field_key(String(), "The usual address.")
    path: str | None = field_key(String(), "A regular expression for words in usual addresses.")
    key: PageKey | None = field_key(struct_of(PageKey), "The key of the service.")
    headers: Mapping[str, str] | None = field_key(
        MapOf("[A-Za-z0-9-]{1,64}", String()),
        "Headers of the upgrade; {uuid} is the id of the call.",
    )
    extra: Literal["texts"] | None = field_key(
        Choice(("texts",)), "texts: `extra` of a script may contain only texts."
    )
    remedies: Mapping[str, str] | None = field_key(
        MapOf(r"[a-z_]+(:\S+)?", String(), "a table (`outcome: remedy`)"),
        "What to do after an outcome, by its name.",
    )

    def __post_init__(self) -> None:
        refused = OF_REPLIES if self.turns == "sound" else OF_SOUND
        meanings = [m for form in (self.receive.messages or {}).values() for m in form.means]
        if wrong := next((meaning for meaning in meanings if meaning in refused), None):
            other = "replies" if self.turns == "sound" else "sound"
            raise InvalidCombinationError("receive", f"has {wrong}, which needs `turns: {other}`")
        if "audio" not in meanings and self.receive.binary != "audio":
            needed = "a message that means audio, or `binary: audio`"
            raise InvalidCombinationError("receive", f"needs {needed}")
        if self.turns == "replies" and "reply_done" not in meanings:
            raise InvalidCombinationError("receive", "needs a message that means reply_done")
        if self.turns == "replies" and self.receive.stream:
            raise InvalidCombinationError("receive", "has a `stream`, for `turns: sound` only")
        if self.turns == "sound" and (self.send.text or self.send.output):
            raise InvalidCombinationError("send", "has texts or outputs, for `turns: replies` only")


PAGE: StructOf[Page] = struct_of(Page)
FOLDER = pathlib.Path(__file__).parent
COMPILED = "pages.json"
"""The folder of this tool's protocol files, and the file with the content of all of them."""


def page_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of a protocol file."""
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A protocol of Realtime Bench",
    }
    return head | PAGE.schema()


def compiled() -> dict[str, Any]:
    """Return the content of each of this tool's protocol files."""
    files = sorted(FOLDER.glob("*.yaml"))
    return {path.stem: AnyJson().read(read_yaml(path, "the file")) for path in files}


if __name__ == "__main__":
    print(json.dumps(page_schema(), indent=2))
    (FOLDER / COMPILED).write_text(json.dumps(compiled(), indent=1) + "\n", encoding="utf-8")
