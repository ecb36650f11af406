"""Reads lengths of time as users write them. Pure."""

from __future__ import annotations

import re

SPAN = r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?"
A_SPAN = "a time such as 90, 90s, 2m or 1m30s"


def span_s(text: str) -> float | None:
    """The seconds of a length of time, as of A_SPAN; None where the text is none."""
    match = re.fullmatch(SPAN, text, re.ASCII)
    if not text or match is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds
