"""The settings of a session that the service reports otherwise than they were requested. Pure.

A service confirms an update of a session with the settings that it uses. Some ignore parts of it.
Then the run measures something else than its script states, and its failures have another cause
than the script: a service that keeps its turn detection answers in pauses.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from bench.wire.settings import NOT_COMPARED, Keys

# A difference is named only if it is certain. A service may leave a setting out, add defaults,
# choose a value for `auto`, round numbers, or write the same value in another form. A form that is
# not known here, such as a name in place of an object, is no difference.
OTHER_FORMS: Mapping[Keys, tuple[Keys, str]] = {
    # (the setting, where others have it, its key in scripts)
    ("audio", "input", "turn_detection"): (("turn_detection",), "turn_detection"),
    ("audio", "input", "transcription"): (("input_audio_transcription",), "input_transcription"),
    ("audio", "input", "noise_reduction"): (("input_audio_noise_reduction",), "noise_reduction"),
    ("audio", "input", "format"): (("input_audio_format",), "input_format"),
    ("audio", "output", "format"): (("output_audio_format",), "output_format"),
    ("audio", "output", "voice"): (("voice",), "voice"),
    ("output_modalities",): (("modalities",), "output"),
}
FORMS = {
    form: (other, key)
    for path, (old_path, key) in OTHER_FORMS.items()
    for form, other in ((path, old_path), (old_path, path))
}
OFF_IF_NULL = frozenset({"turn_detection", "input_transcription", "noise_reduction"})
"""The settings that are off if the service reports null. Another one is unknown then."""
CHOSEN_BY_SERVICE = frozenset({"auto", "inf"})
MAX_NAME_CHARACTERS = 100
TOLERANCE = 1e-3
_MISSING: Any = object()


class Unapplied(NamedTuple):
    """A setting with its key in scripts, and the texts of what was requested and is reported."""

    name: str
    requested: str
    reported: str


def unapplied_settings(
    requested: Mapping[str, Any], reported: Mapping[str, Any]
) -> Iterator[Unapplied]:
    """Yield the settings that a service certainly reports otherwise than they were requested.

    Both are the settings of a session, as its update and its confirmation have them.
    """
    return _of_table(requested, reported, reported, (), "")


def _of_table(
    table: Mapping[str, Any], found: Any, reported: Mapping[str, Any], path: Keys, name: str
) -> Iterator[Unapplied]:
    """Yield the differences of a table of settings at `path` from the one that was `found` there.
    `name` is the key in scripts of the setting to which the table belongs; "" if there is none.
    """
    for word, value in table.items():
        own = (*path, word)
        other, key = FORMS.get(own, ((), f"{name}.{word}" if name else word))
        there = _at(found, (word,))
        if there is _MISSING and other:
            there = _at(reported, other)
        if word in NOT_COMPARED or own == ("type",):  # that of the session, which is its name
            continue
        if isinstance(value, Mapping) and (isinstance(there, Mapping) or there is _MISSING):
            kind, other_kind = value.get("type"), _at(there, ("type",))
            if own in FORMS and _differ("type", kind, other_kind):
                yield Unapplied(key, _text(kind), _text(other_kind))
            else:
                inner = key if own in FORMS or name else ""
                yield from _of_table(value, there, reported, own, inner)
        elif there is _MISSING:
            continue
        elif key in OFF_IF_NULL and (value is None) is not (there is None):
            table_of = value if value is not None else there
            kinds = _at(table_of, ("type",)), _at(table_of, ("model",))
            if any(isinstance(kind, str) and kind != "none" for kind in kinds):
                yield Unapplied(key, _text(value), _text(there))
        elif _differ(word, value, there):
            yield Unapplied(key, _text(value), _text(there))


def _at(reported: Any, path: Keys) -> Any:
    for word in path:
        reported = reported.get(word, _MISSING) if isinstance(reported, Mapping) else _MISSING
    return reported


def _differ(word: str, requested: Any, reported: Any) -> bool:
    """Return whether two values, neither of which is an object, are certainly different."""
    if isinstance(requested, bool) or isinstance(reported, bool):
        both = isinstance(requested, bool) and isinstance(reported, bool)
        return both and requested is not reported
    match requested, reported:
        case (int() | float(), int() | float()):
            return not math.isclose(requested, reported, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        case (int() | float(), "inf"):
            return True
        case (str(), str()):
            return requested not in CHOSEN_BY_SERVICE and _differ_in_name(word, requested, reported)
        case (list(), list()) if word.endswith("modalities"):
            return ("audio" in requested) is not ("audio" in reported)
        case (list(), list()):
            return not all(entry in reported for entry in requested)
    return False


def _differ_in_name(word: str, requested: str, reported: str) -> bool:
    one, other = requested.casefold().strip(), reported.casefold().strip()
    if max(len(one), len(other)) > MAX_NAME_CHARACTERS:
        return False
    if word == "model":  # a snapshot has a longer name, and a deployment has any
        return one.partition("-")[0] == other.partition("-")[0] and not (
            one in other or other in one
        )
    return one != other


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        value = value.get("type") or value.get("model") or json.dumps(dict(value))
    return value if isinstance(value, str) else json.dumps(value)
