"""The table of the answer in so many columns of a terminal: what does not fit is left out, whole figures at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from reports.numbers import count, shortened, three
from reports.page.svg import glyph, tone
from reports.summary.summary import Answer, Summary
from reports.wording import words

NAME_LEAST, NAME_MOST = 9, 14
"""Letters of a label beside its figures."""
TARGETS = ("34", "33", "36", "37")
"""Colours of targets."""
GAP = 2
Column = tuple[str, Callable[[Answer], str]]
"""Its head and its cells."""
Ink = Callable[[str, str], str]


def _wide(p: float) -> Column:
    """A quantile with its interval, or why there is none."""
    return f"p{p * 100:g} (95 %)", lambda answer: _interval(answer, p)


def _interval(answer: Answer, p: float) -> str:
    estimate, shown = answer.figures.at(p), _figure(answer, p)
    if estimate.published:
        return f"{shown} ({words.interval(estimate).replace(' ', '')})"
    if not answer.figures.n:
        return f"{shown} (no turn)"
    reasons = {
        "too few turns": f" (needs {count(estimate.needs)})",
        "too few sessions": f" (needs {count(estimate.needs)} sessions)",
        "open": f" ({count(answer.figures.failed)} failed)",
    }
    return shown + reasons.get(estimate.status, "")


def _narrow(p: float) -> Column:
    """The quantile alone."""
    return f"p{p * 100:g}", lambda answer: _figure(answer, p)


def _figure(answer: Answer, p: float) -> str:
    estimate = answer.figures.at(p)
    return three(estimate.value) if estimate.published else "> timeout" if estimate.status == "failed share" else "n/a"


TURNS: Column = ("turns", lambda answer: count(answer.turns))
HIGH: Column = ("max", lambda answer: three(answer.figures.high))
FAILED: Column = ("failed", lambda answer: "  ".join(reversed(words.failures(answer))))
SHARE: Column = ("failed", lambda answer: words.failures(answer).figure)
LAYOUTS: tuple[tuple[Column, ...], ...] = (
    (TURNS, _wide(0.5), _wide(0.95), _narrow(0.99), HIGH, FAILED),
    (TURNS, _wide(0.5), _wide(0.95), _narrow(0.99), HIGH, SHARE),
    (TURNS, _wide(0.5), _narrow(0.95), _narrow(0.99), HIGH, SHARE),
    (TURNS, _wide(0.5), _narrow(0.95), _narrow(0.99), SHARE),
    (TURNS, _wide(0.5), _narrow(0.95), SHARE),
    (_wide(0.5), _narrow(0.95), SHARE),
    (_narrow(0.5), _narrow(0.95), SHARE),
    (_narrow(0.5), SHARE),
)
"""From the widest to the narrowest. What failed stays, for no figure may be read without it."""


def table(summary: Summary, width: int, ink: Ink) -> Iterable[str]:
    """Targets in rows under the measure that they are of."""
    groups = words.tables(summary)
    answers = [answer for group in groups for answer in group]
    names = 4 + _letters([words.whose(answer.figures) for answer in answers])
    columns, widths = _fitting(answers, width - names)
    yield ink(" " * names + _line([head for head, _ in columns], widths), "soft")
    for group in groups:
        yield ink(shortened(f"{words.named(group[0].figures)}, ms", width), "soft")
        for answer in group:
            row = _line([cell(answer) for _, cell in columns], widths)
            yield from _labelled(answer, summary.targets.index(answer.target), row, names, width, ink)


def _letters(names: Sequence[str]) -> int:
    return max(NAME_LEAST, *(len(name) for name in names if len(name) <= NAME_MOST), 0)


def _fitting(answers: Sequence[Answer], room: int) -> tuple[tuple[Column, ...], list[int]]:
    """The widest layout that fits, and the width of each of its columns."""
    for columns in LAYOUTS:
        widths = [GAP + max(len(head), *(len(cell(answer)) for answer in answers)) for head, cell in columns]
        if sum(widths) <= room:
            break
    return columns, widths


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))


def _labelled(answer: Answer, colour: int, row: str, names: int, width: int, ink: Ink) -> Iterable[str]:
    """A row; a label that is too long for its column has a line of its own above it."""
    key = f"  {glyph(colour)} {shortened(words.whose(answer.figures), width - 4)}"
    if len(key) > names:
        yield ink(key, TARGETS[tone(colour)])
        yield " " * names + row
    else:
        yield ink(key.ljust(names), TARGETS[tone(colour)]) + row
