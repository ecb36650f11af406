"""`--vary`: settings whose values are compared in one run. Each combination of values makes a
variant of each target. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import msgspec

from bench.base.errors import UsageError
from bench.files.sanitize import excerpt
from bench.files.validation import struct_of
from bench.files.yaml_file import PythonValue
from bench.target.target_settings import VariantSettings
from bench.wire.settings import merged

OPTION = "--vary"
SESSION = "session."
STEPS = "steps."
"""The beginning of the key of a pause of the script, by its name."""
MAX_SETTINGS = 24
"""The maximum number of combinations: each is a target, and all are called at the same time."""
OF_TARGET = ("deployment", "model", "network", "from")
FORM = "KEY=VALUE,VALUE,…, as in session.turn_detection.silence_duration_ms=200,400,700"


@dataclass(frozen=True)
class Setting:
    """One combination of values: `values` by key, and what they change in a target."""

    values: Mapping[str, Any]
    changes: VariantSettings

    @property
    def label(self) -> str:
        """The name of the combination, such as `silence_duration_ms=200`."""
        return ",".join(f"{key.rpartition('.')[2]}={value}" for key, value in self.values.items())

    @property
    def session(self) -> dict[str, Any]:
        """What the combination changes in a script: settings of its session, and its `steps`."""
        steps = {key.removeprefix(STEPS): self.values[key] for key in self.values if _is_step(key)}
        return (self.changes.session or {}) | ({"steps": steps} if steps else {})


def settings_of(text: str) -> list[Setting]:
    """Return each combination of the values in the text of `--vary`. Its keys are separated by
    semicolons. Raise UsageError.
    """
    of_keys: dict[str, list[Any]] = {}
    for entry in text.split(";"):
        key, _, listed = entry.strip().partition("=")
        values = [_value(each.strip()) for each in listed.split(",")]
        if "" in values or len(values) < 2:
            raise UsageError(f"{OPTION} {excerpt(entry)!r} must be {FORM}")
        repeated = [each for each in values if values.count(each) > 1]
        if repeated:
            raise UsageError(f"{OPTION} {excerpt(key)} has the value {repeated[0]!s:.40} twice")
        if key in of_keys:
            raise UsageError(f"{OPTION} names {excerpt(key)} twice: list its values once")
        is_known = key in OF_TARGET or key.startswith((SESSION, STEPS))
        if not is_known or not all(key.split(".")):
            known = ", ".join(OF_TARGET)
            raise UsageError(
                f"{OPTION} {excerpt(key)}: a key must begin with {SESSION} or {STEPS}, or be one of"
                f" {known}"
            )
        of_keys[key] = values
    combined = [dict(zip(of_keys, values, strict=True)) for values in product(*of_keys.values())]
    if len(combined) > MAX_SETTINGS:
        raise UsageError(
            f"{OPTION} has {len(combined)} combinations, which are called at the same time; the"
            f" maximum is {MAX_SETTINGS}"
        )
    return [Setting(values, _changes(values)) for values in combined]


def _is_step(key: str) -> bool:
    return key.startswith(STEPS)


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _changes(values: Mapping[str, Any]) -> VariantSettings:
    changed: dict[str, Any] = {}
    for key, value in values.items():
        for name in reversed(() if _is_step(key) else key.split(".")):
            value = {name: value}
        changed = changed if _is_step(key) else merged(changed, value)
    try:
        return struct_of(VariantSettings).read(PythonValue(OPTION, changed))
    except UsageError as error:
        raise UsageError(f"{OPTION}: {error}") from None
