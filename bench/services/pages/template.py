"""Messages with values that are filled in. Pure.

A template is a JSON value. In its texts `{name}` is a part of the text. A text `=name` is the value
itself: a number, true, or a table. An entry is left out if its value is None, and so is a table
that contains nothing else. The key `=extra` adds the entries of a table.
"""

# A message is filled twice: when a script is compiled, for all calls, and when it is sent. What
# differs by call (`OF_CALL`) is a mark between two NUL bytes until then. No JSON text contains a
# NUL byte, so a script's text cannot contain such a mark. `{uuid}` alone is replaced in a script's
# texts, too.

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from bench.wire.dialect import CALL_ID

OF_CALL = ("number", "chunk", "audio_ms", "audio_time")
"""The values that a call counts: its messages with a number, its pieces of audio, and their time,
in ms and as an instant."""
COUNTED = ("number", "received", "audio_s")
"""The values that a call counts for its other messages: also the messages of the service, and the
time of the audio in seconds."""
TEXTS = ("audio", "audio_time")
UUID = CALL_ID[1:-1]
SPREAD = "=extra"
_SLOT = re.compile(r"\{(\w+)\}")
Values = Mapping[str, Any]


class ForeignText(str):
    """A text of the service. It is escaped, so that it cannot contain a placeholder."""

    __slots__ = ()


def names_in(text: str) -> list[str]:
    """Return the names of the values in a text of a template."""
    return [text[1:]] if text.startswith("=") else _SLOT.findall(text)


def all_names(template: Any) -> Iterator[str]:
    """Yield the names of all values in a template."""
    match template:
        case str():
            yield from names_in(template)
        case dict():
            for key, value in template.items():
                yield from names_in(key) if key == SPREAD else all_names(value)
        case list():
            for value in template:
                yield from all_names(value)


def mark_of(name: str) -> bytes:
    """Return the mark of a value that is filled in later."""
    return f"\0{name}\0".encode()


def encoded(template: Any, values: Values) -> bytes:
    """Return the message with these values, and the marks of all others."""
    return msgspec.json.encode(_filled(template, values))


def _filled(template: Any, values: Values) -> Any:
    match template:
        case str() if template.startswith("="):
            return _value(template[1:], values)
        case str():
            return _text(template, values)
        case dict():
            entries: dict[str, Any] = {}
            for key, inner in template.items():
                if key == SPREAD:
                    entries |= values["extra"]
                elif (value := _filled(inner, values)) is not None or inner is None:
                    entries[key] = value
            return entries if entries or not template else None
        case list():
            return [_filled(inner, values) for inner in template]
    return template


def _value(name: str, values: Values) -> Any:
    if name == UUID:
        return CALL_ID
    if name not in values:
        return msgspec.Raw(b'"%b"' % mark_of(name) if name in TEXTS else mark_of(name))
    value = values[name]
    if isinstance(value, ForeignText):
        return msgspec.Raw(b'"' + _inner(value) + b'"')
    if isinstance(value, msgspec.Raw):
        return msgspec.Raw(bytes(value).replace(CALL_ID.encode(), b"\\u007buuid}"))
    return value


def _text(template: str, values: Values) -> Any:
    pieces = _SLOT.split(template)
    if len(pieces) == 1:
        return template
    written = [_inner(piece) for piece in pieces]
    for place in range(1, len(pieces), 2):
        name = pieces[place]
        if name == UUID:
            written[place] = CALL_ID.encode()
        else:
            written[place] = _inner(values[name]) if name in values else mark_of(name)
    return msgspec.Raw(b'"' + b"".join(written) + b'"')


def _inner(value: Any) -> bytes:
    """Return a text between quotation marks in JSON, or another value as a part of such a text."""
    text = msgspec.json.encode(str(value))[1:-1]
    return text.replace(b"{", b"\\u007b") if isinstance(value, ForeignText) else text
