"""A service that was spoken to in the wrong dialect: what gives it away, and what to do. Pure."""

from __future__ import annotations

import re

from bench.protocol.dialects import Dialect
from bench.target.address import AZURE_PREVIEW

OWN_PARAMETERS = {
    Dialect.GA: ("type", "audio", "output_modalities"),
    Dialect.PREVIEW: ("modalities", "voice", "input_audio_format", "output_audio_format", "input_audio_transcription",
                      "input_audio_noise_reduction", "turn_detection", "temperature", "max_response_output_tokens"),
}  # fmt: skip
"""What stands at the top of a `session` or `response` in one dialect, and is unknown to the other."""
REMEDIES = {
    Dialect.GA: "the service speaks the GA dialect: use --dialect ga. Preview is spoken where --dialect, a target's "
    f"`dialect` or OPENAI_API_VERSION asks for it, or the path is {AZURE_PREVIEW}",
    Dialect.PREVIEW: "the service speaks the preview dialect: use --dialect preview. GA is spoken where --dialect or a "
    f"target's `dialect` asks for it, where OPENAI_API_VERSION is not set, and at other paths than {AZURE_PREVIEW}",
}
"""By the dialect that the service speaks."""
_PARAMETER = re.compile(r"'(?:session|response)\.(\w+)")


def dialect_remedy(outcome: str, words: str, spoken: Dialect) -> str:
    """What to do about an outcome that came of speaking the other dialect than the service; "" for any other one."""
    if not _is_foreign(outcome.partition(":")[2], words, spoken):
        return ""
    return REMEDIES[Dialect.GA if spoken is Dialect.PREVIEW else Dialect.PREVIEW]


def _is_foreign(cause: str, words: str, spoken: Dialect) -> bool:
    named = _PARAMETER.search(words)
    match cause:
        case "dialect":
            return True
        case "missing_required_parameter":
            return spoken is Dialect.PREVIEW and "'session.type'" in words
        case "unknown_parameter":
            return named is not None and named[1] in OWN_PARAMETERS[spoken]
    return False
