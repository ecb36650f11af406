"""Agents whose protocols are files (`bench/services/pages`), which this module reads from the other
side: it recognizes what is sent, and composes what is received.

It has no code of the client's: a file that the client misreads, or that it fills wrongly, makes an
agent that does not answer.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from functools import cache, partial
from importlib import resources
from typing import Any, cast

import msgspec

from bench.services.pages.page import COMPILED
from bench.wire.audio import ALL_FORMATS, AudioFormatName
from bench.wire.dialect import BinaryMessage
from rtbench_simulator.server_events import Json
from rtbench_simulator.services.agents import (
    WIRES,
    AgentInput,
    AgentWire,
    NamedBody,
    Wires,
    decoded,
    simulated,
)

SLOT = re.compile(r"\{(\w+)\}")
Found = dict[str, Any]
"""The values that a message has in place of the names of its template."""
OPTIONAL = frozenset({"=instructions", "=voice", "=model", "=tools"})
"""Settings whose keys a message lacks if they are not set."""
AT_START = frozenset({"session_created", "session_updated", "noted"})
"""The meanings of the messages, those with an example, that are sent when a call starts."""


@cache
def files() -> dict[str, Json]:
    """Return the contents of the files, by name."""
    contents: dict[str, Json] = msgspec.json.decode(
        resources.files("bench.services.pages").joinpath(COMPILED).read_bytes()
    )
    return contents


def found_in(template: Any, value: Any) -> Found | None:
    """Return the values that a message has in place of names; None if it has another form."""
    match template:
        case str() if template.startswith("="):
            return {template[1:]: value}
        case str() if isinstance(value, str):
            names = SLOT.findall(template)
            pattern = "(.*)".join(map(re.escape, SLOT.split(template)[::2]))
            found = re.fullmatch(pattern, value, re.DOTALL)
            return None if found is None else dict(zip(names, found.groups(), strict=True))
        case dict() if isinstance(value, dict):
            parts = [
                found_in(inner, value[key]) if key in value else None
                for key, inner in template.items()
                if not key.startswith("=") and (key in value or not _is_optional(inner))
            ]
            return _joined(parts)
        case list() if isinstance(value, list) and len(value) == len(template):
            return _joined([found_in(*pair) for pair in zip(template, value, strict=True)])
    return {} if template == value and type(template) is type(value) else None


def _is_optional(template: Any) -> bool:
    if isinstance(template, dict):
        return bool(template) and all(map(_is_optional, template.values()))
    return isinstance(template, str) and template in OPTIONAL


def _filled(template: Any, values: Mapping[str, Any]) -> Any:
    """Return an example with its values."""
    match template:
        case str() if template.startswith("="):
            return values[template[1:]]
        case str():
            return SLOT.sub(lambda slot: str(values[slot[1]]), template)
        case dict():
            return {key: _filled(inner, values) for key, inner in template.items()}
        case list():
            return [_filled(inner, values) for inner in template]
    return template


def _joined(parts: list[Found | None]) -> Found | None:
    """Return all values. The same name must have the same value everywhere."""
    joined: Found = {}
    for part in parts:
        if part is None or any(joined.get(name, value) != value for name, value in part.items()):
            return None
        joined |= part
    return joined


class DescribedWire(AgentWire):
    """The protocol of one call, which a file describes."""

    def __init__(self, name: str, format: AudioFormatName | None) -> None:
        page = files()[name]
        names = page["audio"]["formats"]
        names = [names] if isinstance(names, str) else list(names)
        super().__init__(cast("AudioFormatName", format if format in names else names[0]))
        self._formats = page["audio"]["formats"]
        self._sent: Json = page["send"]
        self._received: Json = page["receive"]
        self.forms = {
            means: (name, form)
            for name, form in self._messages()
            for means in ([form["means"]] if isinstance(form["means"], str) else form["means"])
        }
        """For each meaning, the last message that has it, with its name."""
        self.plain = self._sent["audio"] == "binary"
        self.clears = "clear" in self.forms
        self.waits = any("await" in step for step in self._sent.get("open", ()))
        self._number = self._sent_texts = self._sent_pieces = 0
        self._uuid: str | None = None

    def _messages(self) -> Iterator[tuple[str, Json]]:
        for names, form in self._received.get("messages", {}).items():
            yield names.split("|")[0], form

    def parse(self, event: Json) -> tuple[str, Found]:
        """Return the key of the file to whose template a message fits, and its values."""
        for role, template in self._templates():
            found = found_in(template, event)
            if found is not None and self._is_expected(found):
                self._take_format(found)
                return role, found
        return "invalid_event", {}

    def read(self, event: Json) -> AgentInput:
        role, found = self.parse(event)
        if role == "audio":
            return AgentInput(role, audio=decoded(found["audio"]))
        id = found.get("digit") or found.get("text") or self._uuid
        return AgentInput(role, id if found else None, opens=role == "open")

    def _templates(self) -> Iterator[tuple[str, Any]]:
        if not self.plain:
            yield "audio", self._sent["audio"]
        opening = [step for step in self._sent.get("open", ()) if "await" not in step]
        yield from (("open", step) for step in reversed(opening))
        for role in ("key", "text", "output", "resume", "close"):
            if role in self._sent:
                yield role, self._sent[role]
        answers = (form["answer"] for _, form in self._messages() if "answer" in form)
        yield from (("answer", template) for template in answers)

    def _is_expected(self, found: Found) -> bool:
        """Check the id of the call and the number of a message."""
        if "uuid" in found:
            self._uuid = self._uuid or found["uuid"]
            if found["uuid"] != self._uuid:
                return False
        if "number" in found:
            self._number += 1
            if str(found["number"]) != str(self._number):
                return False
        return int(found.get("received", 0)) <= self._sent_texts

    def _take_format(self, found: Found) -> None:
        """Use the format that the caller names."""
        if "rate_hz" not in found and "format" not in found:
            return
        names = self._formats if isinstance(self._formats, Mapping) else {}
        for name, format in ALL_FORMATS.items():
            facts = {"rate_hz": str(format.rate_hz), "format": names.get(name, name)}
            if (name in names or not names) and all(
                str(found[fact]) == facts[fact] for fact in facts.keys() & found.keys()
            ):
                self.format = format
                return

    # Messages to the caller.

    def opened(self) -> Iterator[NamedBody]:
        for name, form in self._messages():
            if "example" in form and form["means"] in AT_START:
                yield self._written(name, form)

    def audio_out(self, audio: bytes) -> NamedBody:
        self._sent_pieces += 1
        if self._received.get("binary") == "audio":
            return "audio", BinaryMessage(audio)
        return self.message("audio", audio=base64.b64encode(audio).decode())

    def clear(self) -> NamedBody | None:
        return self.message("clear") if self.clears else None

    def mark(self, name: str) -> NamedBody | None:
        if "mark" not in self.forms:
            return None
        _, form = self.forms["mark"]
        return self.message("mark", **{"text" if "text" in form else "id": name})

    def message(self, means: str, /, **values: Any) -> NamedBody:
        """Return a message that has this meaning."""
        return self._written(*self.forms[means], **values)

    def _written(self, name: str, form: Json, /, **values: Any) -> NamedBody:
        self._sent_texts += 1
        facts = {"uuid": self._uuid, "number": self._sent_texts, "received": self._number}
        message = _filled(self._received.get("example", {}) | form.get("example", {}), facts)
        at = self._received["name"]
        first, _, kind = name.partition("/")
        _put(message, at[0] if isinstance(at, list) else at, first)
        if kind:
            _put(message, self._received["kind"], kind)
        if "id" in form:
            values = {"id": self._sent_pieces} | values
        for key in form.keys() & values.keys():
            _put(message, form[key], values[key])
        if stream := self._received.get("stream"):
            _put(message, stream["at"], stream["is"].replace("{uuid}", self._uuid or ""))
        return name, msgspec.json.encode(message)


def _put(message: Json, path: str, value: Any) -> None:
    key, _, inner = path.partition(".")
    key = key.split("|")[0]
    if inner == "0" or inner.startswith("0."):
        entry = dict(zip("0", message.get(key, ()), strict=False)) or {"0": {}}
        _put(entry, inner, value)
        message[key] = [*entry.values()]
    elif inner:
        _put(message.setdefault(key, {}), inner, value)
    else:
        message[key] = value


DESCRIBED: Wires = {
    name: partial(DescribedWire, name)
    for name, page in files().items()
    if name not in WIRES and "turns" not in page
}
"""The protocols of the agents without a class of their own."""
SERVICE = simulated(DESCRIBED)
