"""Settings that this tool does not know, merged into the update of a session; what it goes by cannot be set so. Pure.

Each dialect has its own names for what the harness relies on (which audio it sends, who ends a turn, what a reply is);
`extra` that named it otherwise would be measured as something that it is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Keys = tuple[str, ...]

KEPT_OF_PREVIEW: Mapping[Keys, str] = {
    ("modalities",): "use `output`",
    ("instructions",): "use `instructions`",
    ("input_audio_format",): "use `input_format`",
    ("input_audio_sampling_rate",): "use `input_format`, which says the rate",
    ("output_audio_format",): "use `output_format`",
    ("max_response_output_tokens",): "use `max_output_tokens`",
    ("turn_detection", "create_response"): "use `turn_detection`",
    ("input_audio_transcription", "model"): "use `input_transcription`",
}
KEPT_OF_GA: Mapping[Keys, str] = {
    ("type",): "only realtime sessions are played",
    ("output_modalities",): "use `output`",
    ("instructions",): "use `instructions`",
    ("audio", "input", "format"): "use `input_format`",
    ("audio", "output", "format"): "use `output_format`",
    ("max_output_tokens",): "use `max_output_tokens`",
    ("audio", "input", "turn_detection", "create_response"): "use `turn_detection`",
    ("audio", "input", "transcription", "model"): "use `input_transcription`",
}
"""Where in an update this tool's own settings stand → what to do instead of setting them by `extra`."""


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


def _meeting(settings: Any, extra: Any, path: Keys) -> Keys | None:
    """How far down the path `extra` takes the place of what is at its end; None where it leaves that as it is."""
    for depth, key in enumerate(path):
        if not isinstance(extra, Mapping) or not isinstance(settings, Mapping):
            return path[:depth]
        if key not in extra:
            return None
        settings, extra = settings.get(key), extra[key]
    return path
