"""A check in sentences: the verdict first, then what an exit status means; the same words on every output."""

from __future__ import annotations

from reports.gate.items import (
    FAILED,
    INCONCLUSIVE,
    PASSED,
    VOID,
    Checked,
    Grade,
    Item,
    corrected_text,
    interval_text,
    limit_text,
    value_text,
)
from reports.wording.numbers import count, plural

GLYPHS: dict[Grade, str] = {"passed": "✓", "failed": "✕", "unsure": "?", "void": "✕"}
MEANINGS = {
    PASSED: "passed",
    FAILED: "regressed, or over a threshold",
    INCONCLUSIVE: "inconclusive",
    VOID: "invalid, or without data",
}


def glyph(checked: Checked) -> str:
    """Of the whole check."""
    if checked.status in (VOID, FAILED):
        return "✕"
    return "?" if checked.of("unsure") else "✓"


def headline(checked: Checked) -> str:
    """One sentence that tells the verdict."""
    if checked.status == VOID:
        why = [*checked.void, *_differing(checked)] or [said(item) for item in checked.of("void")]
        return f"no verdict: {_first(why)}"
    if failed := checked.of("failed"):
        return _first([said(item) for item in failed])
    if unsure := checked.of("unsure"):
        return f"inconclusive: {_first([unsettled(item) for item in unsure])}"
    many = plural(len(checked.items), "threshold")
    return f"passed: {many}, {'it holds' if len(checked.items) == 1 else 'all of them hold'}"


def said(item: Item) -> str:
    """One item in a sentence without its full stop: ttfa p95 of b regressed: +65 % (+47 to +87 %), margin +20 %."""
    word = {"broken": "is over its limit" if "<" in item.threshold else "is under its limit"}.get(item.word, item.word)
    if item.word == "no data":
        return f"{item.figure} of {item.target} has no data: {item.reason}"
    why = f" ({item.reason})" if item.reason else ""
    return f"{item.figure} of {item.target} {word}{why}: {figures(item)}{more(item)}"


def figures(item: Item) -> str:
    """1,580 ms (1,420 to 1,690 ms), limit < 800 ms; +65 % (+47 to +87 %), margin +20 %.

    Of a run that was ended by a look with the corrected difference.
    """
    if item.relative:
        corrected = f", corrected {corrected_text(item)}" if corrected_text(item) else ""
        return f"{interval_text(item)}{corrected}, margin {limit_text(item)}"
    return f"{value_text(item)} ({interval_text(item)}), limit {limit_text(item)}"


def unsettled(item: Item) -> str:
    """ttfa p95 of b, too few turns: p95 needs 400, this run has 120."""
    why = item.reason or figures(item)
    return f"{item.figure} of {item.target}: {why}{more(item)}"


def more(item: Item) -> str:
    """How many more sessions would settle it."""
    if item.more_sessions is None or item.grade != "unsure":
        return ""
    sessions = "session" if item.more_sessions == 1 else "sessions"
    return f"; about {count(item.more_sessions)} more {sessions} in each arm would settle it"


def reason(item: Item) -> str:
    """Why an item is what it is, where its figures do not say it; empty else."""
    corrected = f"corrected {corrected_text(item)}, look {item.look}" if corrected_text(item) else ""
    return "; ".join(filter(None, (corrected, f"{item.reason}{more(item)}".removeprefix("; "))))


def ending(checked: Checked) -> str:
    """exit code 1: regressed, or over a threshold."""
    unsure = " (some are inconclusive)" if checked.status == PASSED and checked.of("unsure") else ""
    return f"exit code {checked.status}: {MEANINGS[checked.status]}{unsure}"


def remarks(checked: Checked) -> list[str]:
    """What to know beside the items."""
    return [*checked.void, *_differing(checked), *checked.notices]


def badges(checked: Checked) -> list[str]:
    """✓ VALID, ◇ SIMULATED."""
    mark = {"VALID": "✓", "INVALID": "✕"}.get(checked.verdict, "?")
    return [f"{mark} {checked.verdict}", *(["◇ SIMULATED"] if checked.simulated else [])]


def _differing(checked: Checked) -> list[str]:
    if not checked.differs:
        return []
    return [
        "The stored baselines were made under other conditions: "
        f"{'; '.join(checked.differs)}. Save new ones, or allow it"
    ]


def _first(texts: list[str]) -> str:
    rest = f" (and {count(len(texts) - 1)} more)" if len(texts) > 1 else ""
    return f"{texts[0].rstrip('.') if texts else 'there is nothing to judge'}{rest}"
