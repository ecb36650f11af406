"""The one table of how a verdict is shown: the sign before its word, the badge on a page, the ink on a terminal."""

from __future__ import annotations

from typing import NamedTuple


class Mark(NamedTuple):
    """A sign, the style of a badge on a page, and that of a word on a terminal."""

    glyph: str
    badge: str
    ink: str


GOOD, BAD, UNSURE = Mark("✓", "ok", "good"), Mark("✕", "no", "bad"), Mark("?", "hm", "warn")
MARKS = {
    # of a figure that is compared
    **{"regressed": BAD, "improved": Mark("+", "in", "good"), "not regressed": GOOD},
    **{"equivalent": Mark("≈", "eq", "good"), "inconclusive": UNSURE},
    # of a run, of a comparison
    **{"VALID": GOOD, "INVALID": BAD, "NOT JUDGED": UNSURE, "THROTTLED": UNSURE},
    **{"VALID COMPARISON": GOOD, "INVALID COMPARISON": BAD, "NO VERDICT": UNSURE, "NOT DECIDED YET": UNSURE},
    # of a threshold, of a check
    **{"passed": GOOD, "failed": BAD, "unsure": UNSURE, "void": BAD},
}


def marked(word: str) -> str:
    """A verdict with its sign: ✓ VALID."""
    return f"{MARKS[word].glyph} {word}"
