"""The keys of a script's `session` that only some services have, and what such keys have in common.

A dialect declares its own keys (`Dialect.setting_keys`). `bench.plan.script_keys` has the keys of all services.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.files.validation import (
    Boolean,
    Choice,
    Converted,
    Field,
    Integer,
    Number,
    OneOrMore,
    Schema,
    String,
    StructOf,
    Validator,
    either,
    one_of_tables,
)
from bench.files.yaml_file import LocatedValue
from bench.wire.settings import TurnDetection


@dataclass(frozen=True, eq=False)
class SettingKeys:
    """The keys of `session` that only one service has.

    `detection` has keys by type of turn detection, `detectors` more such types, and `voices` types of voices.
    """

    session: Mapping[str, Field[Any]] = field(default_factory=dict)
    detection: Mapping[str, Mapping[str, Field[Any]]] = field(default_factory=dict)
    detectors: Mapping[str, StructOf[TurnDetection]] = field(default_factory=dict)
    voices: Mapping[str, Mapping[str, Field[Any]]] = field(default_factory=dict)


NO_KEYS = SettingKeys()


def texts(shape: Validator[str] = String()) -> Validator[list[str]]:  # noqa: B008  # a shape is frozen
    """Return a validator that accepts one text or a list of texts. The value becomes a list, as services require."""
    return Converted(OneOrMore(shape), lambda _, texts: list(texts))


@dataclass(frozen=True)
class TypedMapValidator(Validator[dict[str, Any]]):
    """A validator of a table whose `type` determines its other keys. The values stay unchanged."""

    fields: Mapping[str, Mapping[str, Field[Any]]]

    def read(self, value: LocatedValue) -> dict[str, Any]:
        content = value.content()
        if not isinstance(content, dict) or "type" not in content:
            raise value.refuse(f"needs `type`: {either(self.fields)}")
        return self._tables[Choice(tuple(self.fields)).read(content["type"])].read(value)

    def schema(self) -> Schema:
        return one_of_tables("type", {name: table.schema() for name, table in self._tables.items()})

    @property
    def _tables(self) -> dict[str, StructOf[dict[str, Any]]]:
        types = {name: {"type": Field(Choice((name,)), "The type.", required=True)} for name in self.fields}
        return {name: StructOf({**types[name], **more}, dict) for name, more in self.fields.items()}


DETECTION_FIELDS: dict[str, Field[Any]] = {
    "create_response": Field(
        Boolean(), "Whether the service answers by itself when it has detected the end of speech."
    ),
    "interrupt_response": Field(Boolean(), "Whether speech stops an answer in progress."),
}
LEVEL_FIELDS: dict[str, Field[Any]] = {
    "threshold": Field(Number(0, 1), "The service's confidence from which it takes sound for speech."),
    "prefix_padding_ms": Field(Integer(0, 5_000), "Audio before the start of speech that is included, in ms."),
    "silence_duration_ms": Field(Integer(0, 10_000), "Silence that ends a turn, in ms."),
}


def detector(name: str, note: str, more: Mapping[str, Field[Any]]) -> StructOf[TurnDetection]:
    """Return the table of a type of turn detection."""
    return StructOf({"type": Field(Choice((name,)), note, required=True), **more}, TurnDetection)
