"""Makes of others' words what may be kept: nothing secret, audio only where it is asked for, one line each. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from bench.observe.inputs import NO_JSON
from bench.plain import printable
from bench.protocol.base import Dialect
from bench.protocol.events import WITH_AUDIO, Event

Hide = Callable[[str], str]
HIDDEN_SETTINGS = frozenset({"client_secret"})
LONGEST_SENT = 4096
"""A client event that is longer is left out, unless it is its audio that makes it long and audio is kept."""
LINE_BREAKS = bytes.maketrans(b"\r\n", b"  ")
UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)


def sent_event(message: bytes, dialect: Dialect, hide: Hide, *, keep_audio: bool) -> msgspec.Raw:
    """A client event as JSON; nothing where it is long."""
    without_audio = dialect.without_audio(message) if message else message
    if not message or len(without_audio) > LONGEST_SENT:
        return NO_JSON
    return clean(message if keep_audio else without_audio, hide)


def received_events(
    events: Sequence[Event], message: bytes, dialect: Dialect, hide: Hide, *, keep_audio: bool
) -> msgspec.Raw:
    """A server's message as JSON; of one with audio that is cut, what tells whose it is."""
    has_audio = any(event.kind in WITH_AUDIO or event.foreign for event in events)
    return clean(message if keep_audio or not has_audio else dialect.without_audio(message), hide)


def clean(raw: bytes, hide: Hide) -> msgspec.Raw:
    """JSON on one line, as it came unless there is a secret in it: wherever it stands, and however it is escaped."""
    try:
        value = msgspec.json.decode(raw)
        shown = without_secrets(value, hide)
        raw = raw if shown == value else msgspec.json.encode(shown)
    except UNREADABLE:  # in a part that nobody looks at, or it would be no event
        raw = hide(raw.decode("utf-8", "replace")).encode()
    return msgspec.Raw(raw.translate(LINE_BREAKS))


def without_secrets(value: Any, hide: Hide) -> Any:
    """What JSON stands for, without secrets: dumped, a secret with a quotation mark would not be known for one."""
    match value:
        case str():
            return hide(value)
        case list():
            return [without_secrets(part, hide) for part in value]
        case dict():
            return {hide(k): None if k in HIDDEN_SETTINGS else without_secrets(part, hide) for k, part in value.items()}
    return value


FOREIGN = frozenset({
    "outcome", "detail", "close_reason", "service_session_id", "response_id", "answer_response_id", "item_id",
    "model", "region", "request_id", "said", "replied",
})  # fmt: skip
"""Columns with words of a service, or of an exception in a user's code; all others are ours, and stay as they are."""
SPOKEN = frozenset({"said", "replied"})
"""The columns of what was said, which stays as it was said: JSON holds it."""
CUT = frozenset({"detail", "close_reason"})
DETAIL_CHARACTERS = 300


class Words:
    """Cleans the texts of columns. `hide` takes secrets out, wherever in a text they stand."""

    def __init__(self, hide: Hide) -> None:
        self._hide = hide

    def cleaned(self, column: str, text: str) -> str:
        """Hide secrets, and only then escape and cut: a secret that was cut or escaped would not be known for one."""
        text = text.encode("utf-8", "replace").decode()
        shown = self._hide(text) if column in FOREIGN else text
        shown = printable(shown) if column in FOREIGN - SPOKEN else shown
        return shown[:DETAIL_CHARACTERS] if column in CUT else shown

    def cleaned_row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row with all of its texts cleaned."""
        return {
            column: self.cleaned(column, value) if isinstance(value, str) else value for column, value in row.items()
        }

    def cleaned_column(self, column: str, texts: Sequence[str | None]) -> Sequence[str | None]:
        """As `cleaned` makes them one by one; all together first, for hardly ever is there anything to be done."""
        together = " ".join(filter(None, texts))
        if not together or self.cleaned(column, together) == together:
            return texts
        return [text and self.cleaned(column, text) for text in texts]
