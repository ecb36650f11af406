"""A session's messages down the page, time across it: text for a terminal; pure.

     +12.4  ← response.created                   ░░░░●
     +31.0  ← audio delta × 11, 4,800–28,800 B   │   ░░░░████████

● a message · █ from the first to the last of several that are one row · ░ the wait for it · │ where time counts from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from reports.numbers import count
from reports.text.lines import inked

Direction = Literal["→", "←", "♪", "·"]
"""Sent, received, heard by the caller; or something that is no message."""

NAME_LEAST, BARS_LEAST = 20, 14
GAP = "   "
WHOLE_MS = 1_000.0
"""From so much time across on, offsets are whole milliseconds."""


@dataclass(frozen=True)
class WaterfallRow:
    """One or more messages of one name.

    `at_ms`, `until_ms`: of the first and of the last. `since_ms`: when the wait for the first began, None where nobody
    waits for it. `smallest`, `largest`: bytes of audio in one. `style`: a key of INKS, or nothing.
    """

    at_ms: float
    way: Direction
    name: str
    until_ms: float
    since_ms: float | None = None
    count: int = 1
    smallest: int = 0
    largest: int = 0
    style: str = ""

    @property
    def label(self) -> str:
        """audio delta × 11, 4,800–28,800 B."""
        times = f"{self.name} × {count(self.count)}" if self.count > 1 else self.name
        return f"{times}, {_sizes(self)}" if self.largest else times


def _sizes(row: WaterfallRow) -> str:
    if row.smallest == row.largest:
        return f"{count(row.largest)} B"
    return f"{count(row.smallest)}–{count(row.largest)} B"


def message(at_ms: float, way: Direction, name: str, audio_bytes: int = 0, style: str = "") -> WaterfallRow:
    """The row of a single message."""
    return WaterfallRow(at_ms, way, name, at_ms, smallest=audio_bytes, largest=audio_bytes, style=style)


def folded(rows: Iterable[tuple[object, WaterfallRow]]) -> list[WaterfallRow]:
    """Rows with one key become one, at the place of the first; a key of None stands for itself."""
    gathered: dict[object, WaterfallRow] = {}
    for number, (key, row) in enumerate(rows):
        place = ("alone", number) if key is None else key
        gathered[place] = _joined(gathered[place], row) if place in gathered else row
    return list(gathered.values())


def _joined(first: WaterfallRow, row: WaterfallRow) -> WaterfallRow:
    return replace(
        first,
        until_ms=row.until_ms,
        count=first.count + row.count,
        smallest=min(first.smallest, row.smallest),
        largest=max(first.largest, row.largest),
    )


def waterfall(rows: Sequence[WaterfallRow], width: int, *, colour: bool = False) -> list[str]:
    """The rows by their time, in lines of at most `width` columns; one that is cut ends in `…`."""
    if not rows:
        return []
    rows = sorted(rows, key=lambda row: row.at_ms)
    begin = min(0.0, rows[0].at_ms)
    end = max(0.0, *(row.until_ms for row in rows))
    offsets = [_offset(row.at_ms, whole=end - begin >= WHOLE_MS) for row in rows]
    left = max(map(len, offsets)) + len("  ← ")
    names = min(max(len(row.label) for row in rows), max(NAME_LEAST, width - left - len(GAP) - BARS_LEAST))
    scale = _Scale(begin, end, max(1, width - left - names - len(GAP)))
    lines = [
        f"{offset:>{left - 4}}  {row.way} {_cut(row.label, names):<{names}}{GAP}{scale.bar(row)}".rstrip()
        for offset, row in zip(offsets, rows, strict=True)
    ]
    return [inked(line, row.style, colour) for line, row in zip(lines, rows, strict=True)]


def _offset(ms: float, *, whole: bool) -> str:
    text = f"{ms:+,.0f}" if whole else f"{ms:+,.1f}"
    return text.lstrip("+-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def _cut(text: str, columns: int) -> str:
    return text if len(text) <= columns else text[: columns - 1] + "…"


@dataclass(frozen=True)
class _Scale:
    """Time from `begin` to `end` (ms) over so many columns."""

    begin: float
    end: float
    columns: int

    def place(self, ms: float) -> int:
        share = (ms - self.begin) / (self.end - self.begin) if self.end > self.begin else 0.0
        return round(min(max(share, 0.0), 1.0) * (self.columns - 1))

    def bar(self, row: WaterfallRow) -> str:
        cells = [" "] * self.columns
        cells[self.place(0.0)] = "│"
        first, last = self.place(row.at_ms), self.place(row.until_ms)
        if row.since_ms is not None:
            since = self.place(row.since_ms)
            cells[since:first] = "░" * (first - since)
        cells[first : last + 1] = "●" if row.count == 1 else "█" * (last - first + 1)
        return "".join(cells)
