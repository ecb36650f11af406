"""Tells by what a service says that it was spoken to in the wrong dialect, and what to do. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bench.protocol.base import Dialect
from bench.protocol.openai_ga import GA
from bench.protocol.openai_preview import PREVIEW
from bench.target.address import AZURE_PREVIEW

OWN_PARAMETERS: dict[Dialect, tuple[str, ...]] = {
    GA: ("type", "audio", "output_modalities"),
    PREVIEW: ("modalities", "voice", "input_audio_format", "output_audio_format", "input_audio_transcription",
              "input_audio_noise_reduction", "turn_detection", "temperature", "max_response_output_tokens"),
}  # fmt: skip
"""What stands at the top of a `session` or `response` in one dialect, and is unknown to the other."""
OWN_SHAPE: dict[Dialect, tuple[str, ...]] = {
    GA: ("output_modalities", "audio"),
    PREVIEW: ("modalities", "input_audio_format", "output_audio_format"),
}
"""What stands at the top of a service's `session` in one dialect alone."""
UNGREETED: Mapping[str, Any] = MappingProxyType({})
OTHER_CAUSES = frozenset({"ok", "throttled", "expired", "abandoned"})
"""Outcomes that no dialect is the cause of, without what follows their colon."""
REMEDIES: dict[Dialect, str] = {
    GA: "the service speaks the GA dialect: use --dialect ga. Preview is spoken where --dialect, a target's "
    f"`dialect` or OPENAI_API_VERSION asks for it, or the path is {AZURE_PREVIEW}",
    PREVIEW: "the service speaks the preview dialect: use --dialect preview. GA is spoken where --dialect or a "
    f"target's `dialect` asks for it, where OPENAI_API_VERSION is not set, and at other paths than {AZURE_PREVIEW}",
}
"""By the dialect that the service speaks."""
SIBLINGS: dict[Dialect, Dialect] = {GA: PREVIEW, PREVIEW: GA}
"""The dialects that a service may be spoken to in by mistake for each other: they have their addresses in common."""
_PARAMETER = re.compile(r"'(?:session|response)\.(\w+)")


def shape_of(session: Mapping[str, Any]) -> Dialect | None:
    """The dialect in whose shape a service describes a session; None where that of both, or of neither."""
    shapes = [dialect for dialect, names in OWN_SHAPE.items() if any(name in session for name in names)]
    return shapes[0] if len(shapes) == 1 else None


def dialect_remedy(outcome: str, words: str, spoken: Dialect, greeting: Mapping[str, Any] = UNGREETED) -> str:
    """What to do about an outcome that came of speaking the other dialect than the service; "" for any other one.

    `greeting`: the session as `session.created` described it.
    """
    other = SIBLINGS.get(spoken)
    if other is None:
        return ""
    stage, _, cause = outcome.partition(":")
    misled = stage not in OTHER_CAUSES and shape_of(greeting) is other
    return REMEDIES[other] if misled or _is_foreign(cause, words, spoken) else ""


def _is_foreign(cause: str, words: str, spoken: Dialect) -> bool:
    named = _PARAMETER.search(words)
    match cause:
        case "dialect":
            return True
        case "missing_required_parameter":
            return spoken is PREVIEW and "'session.type'" in words
        case "unknown_parameter":
            return named is not None and named[1] in OWN_PARAMETERS[spoken]
    return False
