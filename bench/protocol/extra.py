"""Settings that this tool does not know, merged into the update of a session; what it goes by cannot be set so. Pure.

Each dialect has its own names for what the harness relies on (which audio it sends, who ends a turn, what a reply is);
`extra` that named it otherwise would be measured as something that it is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.protocol.base import SettingsRefusal

Keys = tuple[str, ...]


def merged(settings: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with `extra` in them: mappings merge key by key, anything else replaces what is there."""
    return dict(settings) | {key: _replaced(settings.get(key), value) for key, value in extra.items()}


def _replaced(old: object, new: object) -> object:
    return merged(old, new) if isinstance(old, Mapping) and isinstance(new, Mapping) else new


def conflict(
    settings: Mapping[str, Any], extra: Mapping[str, Any], kept: Mapping[Keys, str]
) -> tuple[Keys, str] | None:
    """(where in `extra` it sets what this tool goes by, what to do instead); None where it does not.

    `settings`: the update without `extra`. What is switched off there cannot be refined, for that would switch it on.
    """
    places = ((_meeting(settings, extra, path), remedy) for path, remedy in kept.items())
    return next(((place, remedy) for place, remedy in places if place is not None), None)


def undone(settings: Mapping[str, Any], extra: Mapping[str, Any], kept: Mapping[Keys, str]) -> SettingsRefusal | None:
    """Why `extra` cannot be merged, with what to do; None where it can. Arguments as of `conflict`."""
    conflicting = conflict(settings, extra, kept)
    if conflicting is None:
        return None
    path, remedy = conflicting
    return SettingsRefusal(
        ("extra", *path), f"extra must not set {'.'.join(path)}, which this tool relies on: {remedy}"
    )


def _meeting(settings: Any, extra: Any, path: Keys) -> Keys | None:
    """How far down the path `extra` takes the place of what is at its end; None where it leaves that as it is."""
    for depth, key in enumerate(path):
        if not isinstance(extra, Mapping) or not isinstance(settings, Mapping):
            return path[:depth]
        if key not in extra:
            return None
        settings, extra = settings.get(key), extra[key]
    return path
