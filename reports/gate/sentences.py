"""A check in sentences: the verdict first, then what an exit status means; the same words on every output."""

from __future__ import annotations

from reports.comparisons.forest_rows import NOT_JUDGED
from reports.gate.items import FAILED, INCONCLUSIVE, PASSED, VOID, Checked, Grade, Item
from reports.gate.written import corrected_text, few_text, interval_text, limit_text, reached_text, scale_of, value_text
from reports.numbers import count, plural
from reports.wording import unusable
from reports.wording.differences import within

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
        if why := _why_void(checked):
            return f"{unusable.LEAD if checked.void else 'no verdict'}: {_first(why, 'reason')}"
        return f"no verdict: {_first([said(item) for item in checked.of('void')], 'threshold')}"
    if failed := checked.of("failed"):
        return _first([said(item) for item in failed], "threshold")
    if unsure := checked.of("unsure"):
        return f"inconclusive: {_first([unsettled(item) for item in unsure], 'threshold')}"
    if len(checked.items) == 1:
        return "passed: the one threshold is kept"
    return f"passed: all of {plural(len(checked.items), 'threshold')} are kept"


def said(item: Item) -> str:
    """One item in a sentence without its full stop: ttfa p95 of b regressed: +65 % (+47 to +87 %), margin +20 %."""
    word = f"is {'over' if item.sign in ('<', '<=') else 'under'} its limit" if item.word == "broken" else item.word
    if item.word == "no data":
        return f"{item.figure} of {item.target} has no data: {item.reason}"
    why = f" ({item.reason})" if item.reason else ""
    return f"{item.figure} of {item.target} {word}{why}: {figures(item)}{more(item)}"


def figures(item: Item) -> str:
    """1,580 ms (1,420 to 1,690 ms), limit < 800 ms; +65 % (+47 to +87 %), margin +20 %.

    Of a run that was ended by a look with the corrected difference.
    """
    if item.needs:
        return f"{few_text(item)}, {'margin' if item.relative else 'limit'} {limit_text(item)}"
    if item.relative:
        corrected = f", corrected {corrected_text(item)}" if corrected_text(item) else ""
        return f"{interval_text(item)}{corrected}, margin {limit_text(item)}"
    return f"{value_text(item)} ({interval_text(item)}), limit {limit_text(item)}"


def unsettled(item: Item) -> str:
    """ttfa p95 of b, too few turns to decide: p95 needs 400, this run has 120."""
    why = item.reason or figures(item)
    return f"{item.figure} of {item.target}: {why}{more(item)}"


def more(item: Item) -> str:
    """How many more sessions would settle it, where the reason does not say it."""
    if item.more_sessions is None or item.reason or item.grade != "unsure":
        return ""
    sessions = "session" if item.more_sessions == 1 else "sessions"
    return f"; about {count(item.more_sessions)} more {sessions} in each arm would settle it"


def reason(item: Item) -> str:
    """Why an item is what it is, where its figures do not say it; empty else."""
    corrected = f"corrected {corrected_text(item)}, look {item.look}" if corrected_text(item) else ""
    reached = "" if item.reached in (None, 1.0) else f"reached by {reached_text(item)} of what was wanted"
    return "; ".join(filter(None, (corrected, f"{item.reason}{more(item)}".removeprefix("; "), reached)))


def ending(checked: Checked) -> str:
    """exit code 1: regressed, or over a threshold."""
    unsure, meaning = len(checked.of("unsure")), MEANINGS[checked.status]
    if checked.status == PASSED and unsure == len(checked.items):
        meaning = f"nothing decided, let through by --on-inconclusive {checked.on_inconclusive}"
    elif checked.status == PASSED and unsure:
        meaning = f"passed, {count(unsure)} undecided and let through by --on-inconclusive {checked.on_inconclusive}"
    return f"exit code {checked.status}: {meaning}"


def remarks(checked: Checked) -> list[str]:
    """Why a check says nothing, and what else to know."""
    return [*_why_void(checked), *checked.notices]


def beside(checked: Checked) -> list[str]:
    """What to know beside the headline, which tells the first reason of a check that says nothing."""
    return [*_why_void(checked)[1:], *checked.notices]


def is_judged(item: Item, checked: Checked) -> bool:
    """Whether an item counts at all: of a run that is invalid, or was not compared fairly, none does.

    Where stored baselines were made under other conditions, limits still do.
    """
    return not (checked.void or (checked.differs and item.relative))


def mark(item: Item, checked: Checked) -> str:
    """✓ equivalent (within 40 %); – not judged, where the run says nothing."""
    if not is_judged(item, checked):
        return NOT_JUDGED
    accepted = limit_text(item).removeprefix("+").removeprefix("−")
    return f"{GLYPHS[item.grade]} {item.word}{within(item.word, item.difference, scale_of(item), accepted)}"


def _why_void(checked: Checked) -> list[str]:
    return [*checked.void, *_differing(checked)]


def badges(checked: Checked) -> list[str]:
    """✓ VALID, ◇ SIMULATED."""
    usable = not (checked.void and checked.against)
    return [unusable.mark(checked.verdict, usable=usable), *(["◇ SIMULATED"] if checked.simulated else [])]


def _differing(checked: Checked) -> list[str]:
    if not checked.differs:
        return []
    return [
        "The stored baselines were made under other conditions: "
        f"{'; '.join(checked.differs)}. Save new ones, or allow it"
    ]


def _first(texts: list[str], noun: str) -> str:
    """The first of several, and how many more there are of what."""
    rest = f" (and {plural(len(texts) - 1, f'more {noun}')})" if len(texts) > 1 else ""
    return f"{texts[0].rstrip('.') if texts else 'there is nothing to judge'}{rest}"
