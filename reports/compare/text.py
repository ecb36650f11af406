"""What `rtbench compare` prints: at most so many columns, colour only where it is wanted."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence

from bench.errors import INVALID_STATUS
from reports.compare import sentences
from reports.compare.comparison import Check, Comparison
from reports.compare.forest_rows import GLYPHS, Row, row_of, with_unit
from reports.labels import all_called, labels_of
from reports.numbers import NBSP, count, listed, percent, plural
from reports.page.svg import glyph
from reports.statistics.verdicts import Word
from reports.text.terminal import COLOURS
from reports.wording.differences import figure

STYLES: dict[Word, str] = {
    "regressed": "bad",
    "improved": "good",
    "not regressed": "good",
    "equivalent": "good",
    "inconclusive": "warn",
}
INDENT = 12
GAP = 2
Ink = Callable[[str, str], str]
Column = tuple[str, Callable[[Row], str]]
"""Its head and its cells."""

NAME_LEAST, ENDING = 16, 6
"""Letters of a figure's name where there is no room for it, and those of them that are its end."""


def terminal(comparison: Comparison, width: int = 100, colour: bool = False) -> str:
    """The comparison as text: the verdict first."""

    def ink(text: str, code: str) -> str:
        return f"\x1b[{COLOURS[code]}m{text}\x1b[0m" if colour else text

    parts = (_opening(comparison, width, ink), _tables(comparison, width, ink), _closing(comparison, width, ink))
    text = "\n\n".join("\n".join(lines) for part in parts if (lines := list(part)))
    return text.replace(NBSP, " ") + "\n"


def essentials(comparison: Comparison) -> str:
    """✕ REGRESSED · ✓ VALID · ◇ SIMULATED · gateway against direct: the comparison in one line."""
    base, *others = [side.label for side in comparison.sides]
    badges = [text for text, _ in badges_of(comparison)]
    return " · ".join([*badges, f"{listed(others)} against {base}"]).replace(NBSP, " ")


def badges_of(comparison: Comparison) -> list[tuple[str, str]]:
    """Each badge with its style: the verdict, whether it may be used, simulated, provisional."""
    if comparison.unfair or (comparison.status == INVALID_STATUS and comparison.decision is not None):
        found = [(sentences.unusable_mark(comparison), "bad")]
    else:
        word = sentences.verdict(comparison)
        verdict = [(f"{GLYPHS[word]} {word.upper()}", STYLES[word])] if word else [("? NO VERDICT", "warn")]
        found = [*verdict, ("✓ VALID", "good")]
    simulated = [("◇ SIMULATED", "sim")] if comparison.simulated else []
    doubted = any(finding.verdict.provisional for finding in comparison.gated) and not comparison.unfair
    assumed = [("PROVISIONAL", "warn")] if doubted else []
    return [*found, *simulated, *assumed]


def _opening(comparison: Comparison, width: int, ink: Ink) -> Iterable[str]:
    badges = badges_of(comparison)
    for line in _wrapped(sentences.headline(comparison), width):
        yield ink(ink(line, badges[0][1]), "bold")
    left = "     ".join(text for text, _ in badges)
    right = design(comparison).replace(NBSP, " ")
    inked = "     ".join(ink(text, style) for text, style in badges)
    if len(left) + 3 + len(right) <= width:
        yield inked + " " * (width - len(left) - len(right)) + right
    else:
        yield from (inked, *_wrapped(right, width))
    yield from _wrapped(sentences.second(comparison), width)


def design(comparison: Comparison) -> str:
    """200 pairs, interleaved in one run; 100 sessions in each arm; 100 and 120 sessions."""
    sizes = [side.sessions for side in comparison.sides]
    if comparison.method.design == "pairs":
        return f"{plural(sizes[0], 'pair')}, interleaved in one run"
    if len(set(sizes)) == 1:
        return f"{plural(sizes[0], 'session')} in each arm"
    return f"{listed([count(size) for size in sizes])} sessions"


def _tables(comparison: Comparison, width: int, ink: Ink) -> Iterable[str]:
    """For each candidate the gated figures, then the others."""
    base, columns = comparison.sides[0], _columns(comparison)
    every = [row_of(finding, comparison) for finding in comparison.findings]
    if not every:
        return
    shown, widths = _fitting(columns, every, width)
    places = {side.label: place for place, side in enumerate(comparison.sides)}
    for turn, (label, _) in enumerate(sentences.candidates(comparison)):
        mine = [one for one in every if one.candidate == label]
        yield from [""] if turn else []
        yield from _wrapped(f"{glyph(places[label])} {label} against {glyph(0)} {base.label}", width)
        yield ink(_line([head for head, _ in shown], widths), "soft")
        for gated in (True, False):
            rows = [one for one in mine if one.finding.question.gated == gated]
            yield from [ink("not gated", "soft")] if rows and not gated else []
            for one in rows:
                *cells, verdict = [cell(one) for _, cell in shown]
                line = _line([*cells, verdict], widths)
                yield line[: -len(verdict)] + ink(verdict, STYLES[one.word] if gated else "soft")


def _columns(comparison: Comparison) -> dict[str, Column]:
    interval = percent(1 - 2 * comparison.method.level, 1)
    return {
        "figure": ("  figure", lambda one: f"  {figure(one.finding.question)}"),
        "baseline": ("baseline", lambda one: _with_unit(one, 0)),
        "candidate": ("candidate", lambda one: _with_unit(one, 1)),
        "difference": (f"difference ({interval})", lambda one: one.told),
        "change": ("difference", lambda one: one.change),
        "margin": ("margin", lambda one: one.margin_text),
        "judged": ("verdict", lambda one: one.judged),
        "verdict": ("verdict", lambda one: one.verdict),
    }


LAYOUTS = (
    ("figure", "baseline", "candidate", "difference", "margin", "judged"),
    ("figure", "baseline", "candidate", "difference", "margin", "verdict"),
    ("figure", "baseline", "candidate", "difference", "verdict"),
    ("figure", "difference", "margin", "verdict"),
    ("figure", "difference", "verdict"),
    ("figure", "change", "verdict"),
)
"""From the widest to the narrowest."""
LEFT = ("figure", "judged", "verdict")


def _with_unit(one: Row, arm: int) -> str:
    return with_unit(one.values[arm], one.unit).replace(NBSP, " ")


def _fitting(columns: dict[str, Column], rows: Sequence[Row], width: int) -> tuple[list[Column], list[int]]:
    """The widest layout that fits, and the width of each column: below 0 for text, which stands on the left.

    Where none fits, names of figures are shortened.
    """
    for names in LAYOUTS:
        shown = [columns[name] for name in names]
        sizes = [max(len(head), *(len(cell(one)) for one in rows)) for head, cell in shown]
        if sum(sizes) + GAP * (len(sizes) - 1) <= width:
            break
    else:
        sizes[0] = max(NAME_LEAST, width - sum(sizes[1:]) - GAP * (len(sizes) - 1))
        shown[0] = _shortened(shown[0], sizes[0])
    return shown, [-size if name in LEFT else size for name, size in zip(names, sizes, strict=True)]


def _shortened(column: Column, room: int) -> Column:
    """Cells without their middle: figures of several origins differ at their ends."""
    head, cell = column
    return head, lambda one: text if len(text := cell(one)) <= room else f"{text[: room - ENDING - 1]}…{text[-ENDING:]}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.ljust(-size) if size < 0 else cell.rjust(size) for cell, size in zip(cells, widths, strict=True)]
    return (" " * GAP).join(padded).rstrip()


def _closing(comparison: Comparison, width: int, ink: Ink) -> Iterable[str]:
    """Why gated figures are not settled; whether it was fair; what differs; what to know."""
    rows = [row_of(finding, comparison) for finding in comparison.gated]
    several = len(comparison.sides) > 2
    for one in rows:
        if one.why and comparison.decision is None:
            whose = f" on {one.candidate}" if several else ""
            yield from _named("unsettled", f"{figure(one.finding.question)}{whose}: {one.why}", width)
    for worst in sentences.worst_steps(comparison):
        yield from _named("worst step", worst, width)
    documents = [side.run.document for side in comparison.sides]
    if any(labels_of(document) for document in documents):
        yield from _named("of", listed(all_called(documents)), width)
    passed = [check.name for check in comparison.checks if check.fair]
    if passed:
        yield from _named("fair", " · ".join(f"✓ {name}".replace(" ", NBSP) for name in passed), width)
    if comparison.unfair:
        broken = " · ".join(f"✕ {check.name}".replace(" ", NBSP) for check in comparison.unfair)
        yield from (ink(line, "bad") for line in _named("not fair", broken, width))
    for check in comparison.checks:
        if check.fair is None and len(set(check.texts)) > 1:
            yield from _named("differs", _told(check, comparison), width)
    for notice in filter(None, (sentences.provisional(comparison), *comparison.notices)):
        yield from _named("note", notice, width)


def _told(check: Check, comparison: Comparison) -> str:
    """model: a gpt-realtime, b gpt-realtime-mini."""
    texts = [f"{side.label} {text}" for side, text in zip(comparison.sides, check.texts, strict=True)]
    return f"{check.name}: {', '.join(texts)}"


def _named(name: str, text: str, width: int) -> Iterable[str]:
    """`name   text`, further lines under the first."""
    for place, line in enumerate(_wrapped(text, width - INDENT)):
        yield f"{name if place == 0 else '':<{INDENT}}{line}"


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of whole words; no-break spaces hold."""
    return textwrap.wrap(text, max(20, width), break_on_hyphens=False)
