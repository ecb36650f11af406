"""GA and preview, the dialects that are easily confused, because both have the same addresses. Pure.

A wrong dialect is recognized by the service's error messages, and by the form of its session.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bench.catalogue.outcomes import UNFINISHED
from bench.services.azure.service import PREVIEW_ROUTE
from bench.services.openai.ga import GA
from bench.services.openai.preview import PREVIEW
from bench.wire.dialect import Dialect

OWN_PARAMETERS: dict[Dialect, tuple[str, ...]] = {
    GA: ("type", "audio", "output_modalities"),
    PREVIEW: ("modalities", "voice", "input_audio_format", "output_audio_format", "input_audio_transcription",
              "input_audio_noise_reduction", "turn_detection", "temperature", "max_response_output_tokens"),
}  # fmt: skip
"""For each dialect, the top-level keys of a request's `session` or `response` that only this dialect has."""
OWN_SHAPE: dict[Dialect, tuple[str, ...]] = {
    GA: ("output_modalities", "audio"),
    PREVIEW: ("modalities", "input_audio_format", "output_audio_format"),
}
"""For each dialect, the top-level keys of a service's `session` object that only this dialect has."""
UNGREETED: Mapping[str, Any] = MappingProxyType({})
"""The session object if the service has not described its session."""
OTHER_CAUSES = UNFINISHED | {"ok", "throttled", "session_expired"}
"""The outcomes that a wrong dialect never causes. The text after the colon of an outcome is left out."""
REMEDIES: dict[Dialect, str] = {
    GA: "the service uses the GA dialect: use --dialect ga. This tool uses preview if --dialect, a target's "
    f"`dialect` or OPENAI_API_VERSION sets it, or if the path is {PREVIEW_ROUTE.path}",
    PREVIEW: "the service uses the preview dialect: use --dialect preview. This tool uses GA if --dialect or a "
    f"target's `dialect` sets it, if OPENAI_API_VERSION is not set, and for other paths than {PREVIEW_ROUTE.path}",
}
"""The remedies if the client uses the wrong dialect, by the dialect that the service uses."""
SIBLINGS: dict[Dialect, Dialect] = {GA: PREVIEW, PREVIEW: GA}
"""For each dialect, the dialect with which it is easily confused, because both have the same addresses."""
_PARAMETER = re.compile(r"'(?:session|response)\.(\w+)")


def shape_of(session: Mapping[str, Any]) -> Dialect | None:
    """Return the dialect in which a service described its session; None if the form fits both dialects, or neither."""
    shapes = [dialect for dialect, names in OWN_SHAPE.items() if any(name in session for name in names)]
    return shapes[0] if len(shapes) == 1 else None


def dialect_remedy(outcome: str, message: str, dialect: Dialect, greeting: Mapping[str, Any] = UNGREETED) -> str:
    """Return the remedy if the client's wrong dialect caused the outcome; otherwise "".

    `message` is the service's text, and `greeting` the session object in `session.created`.
    """
    other = SIBLINGS.get(dialect)
    if other is None:
        return ""
    stage, _, cause = outcome.partition(":")
    is_confused = stage not in OTHER_CAUSES and shape_of(greeting) is other
    match cause:
        case "dialect":
            is_confused = True
        case "missing_required_parameter":
            is_confused |= dialect is PREVIEW and "'session.type'" in message
        case "unknown_parameter" if match := _PARAMETER.search(message):
            is_confused |= match[1] in OWN_PARAMETERS[dialect]
    return REMEDIES[other] if is_confused else ""
