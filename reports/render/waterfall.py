"""The messages of a session for a terminal: one below the other, with time from left to right.

    +12.4  ← response.created                   ░░░░●
    +31.0  ← audio delta × 11, 4,800–28,800 B   │   ░░░░████████

● is a message. █ lasts from the first to the last of several messages in one row. ░ is the wait for
the (first) message. │ is the origin of time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from reports.formatting import count
from reports.render.terminal import coloured

Direction = Literal["→", "←", "♪", "·"]
"""The direction of a message: sent, received, or played to the caller. A dot is an entry that is
not a message."""

MIN_NAME_WIDTH = 20
MIN_BARS_WIDTH = 14
LABEL_GAP = "   "
WHOLE_MS = 1_000.0
"""The minimum time span of a waterfall whose offsets are rounded to whole milliseconds."""


@dataclass(frozen=True)
class WaterfallRow:
    """One message, or several messages of one name: the times of the first and the last one, and
    their bytes of audio.

    `since_ms` is when the wait for the first one began; None if there was no wait. `style` is a key
    of COLOURS, or "".
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
        """The name with the counts of messages and bytes, such as `audio delta × 11,
        4,800–28,800 B`.
        """
        times = f"{self.name} × {count(self.count)}" if self.count > 1 else self.name
        lower = "" if self.smallest == self.largest else f"{count(self.smallest)}–"
        return f"{times}, {lower}{count(self.largest)} B" if self.largest else times


def message(
    at_ms: float, direction: Direction, name: str, audio_bytes: int = 0, style: str = ""
) -> WaterfallRow:
    return WaterfallRow(
        at_ms, direction, name, at_ms, smallest=audio_bytes, largest=audio_bytes, style=style
    )


def folded(rows: Iterable[tuple[object, WaterfallRow]]) -> list[WaterfallRow]:
    """Merge the rows that have the same key, unless it is None, at the position of the first
    one.
    """
    gathered: dict[object, WaterfallRow] = {}
    for number, (key, row) in enumerate(rows):
        merge_key = ("alone", number) if key is None else key
        if (first := gathered.get(merge_key)) is not None:
            smallest = min(first.smallest, row.smallest)
            largest = max(first.largest, row.largest)
            both = first.count + row.count
            row = replace(
                first, until_ms=row.until_ms, count=both, smallest=smallest, largest=largest
            )
        gathered[merge_key] = row
    return list(gathered.values())


def waterfall(rows: Sequence[WaterfallRow], width: int, *, colour: bool = False) -> list[str]:
    """Return the rows, sorted by time, in lines of at most `width` columns. A shortened name
    ends in `…`.
    """
    if not rows:
        return []
    rows = sorted(rows, key=lambda row: row.at_ms)
    start = min(0.0, rows[0].at_ms)
    end = max(0.0, *(row.until_ms for row in rows))
    offsets: list[str] = []
    for row in rows:
        text = f"{row.at_ms:+,.0f}" if (end - start >= WHOLE_MS) else f"{row.at_ms:+,.1f}"
        offsets.append(
            text.lstrip("+-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")
        )
    left = max(map(len, offsets)) + len("  ← ")
    room = width - left - len(LABEL_GAP)
    names = min(max(len(row.label) for row in rows), max(MIN_NAME_WIDTH, room - MIN_BARS_WIDTH))
    columns = max(1, room - names)

    def column(ms: float) -> int:
        share = (ms - start) / (end - start) if end > start else 0.0
        return round(min(max(share, 0.0), 1.0) * (columns - 1))

    lines = []
    for offset, row in zip(offsets, rows, strict=True):
        cells = [" "] * columns
        cells[column(0.0)] = "│"
        first = column(row.at_ms)
        last = column(row.until_ms)
        if row.since_ms is not None:
            since = column(row.since_ms)
            cells[since:first] = "░" * (first - since)
        cells[first : last + 1] = "●" if row.count == 1 else "█" * (last - first + 1)
        label = row.label if len(row.label) <= names else f"{row.label[: names - 1]}…"
        line = f"{offset:>{left - 4}}  {row.way} {label:<{names}}{LABEL_GAP}{''.join(cells)}"
        lines.append(coloured(line.rstrip(), row.style, colour))
    return lines
