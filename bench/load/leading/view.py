"""Draws the live view of a run without a web UI: a line refreshed in place on a terminal, else a line now and then.

What the line says is pure and made to fit: its least important parts go first.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TextIO

from bench.load.leading.figures import FAILED, clock, milliseconds
from bench.load.leading.tally import HARNESS_LATE, HARNESS_OK, ProgressSum, TargetStanding, Wait
from bench.load.playing.progress import ProgressReport
from bench.money import dollars
from bench.plain import one_line

BETWEEN = " · "
MAX_ARMS = 4
"""So many have figures of their own in the line."""
HELD_S = 1.0
"""Starts that are held back for less are not worth a word."""
REDRAW_NS = 500_000_000
PLAIN_NS = 10_000_000_000
USUAL_COLUMNS, USUAL_ROWS = 80, 24
TABLE_NS = 1_000_000_000
ERASE_REST, ERASE_BELOW = "\x1b[K", "\x1b[J"
COLOURS = {"bad": "31", "sim": "35"}


@dataclass(frozen=True)
class Moment:
    """Where a run is. `left_s`: None where nobody can tell. `wanted`: sessions that its users keep open.

    `looks`: held and planned, of a run that ends once it is decided.
    """

    phase: str
    elapsed_s: float
    left_s: float | None = None
    wanted: int | None = None
    budget_usd: float | None = None
    looks: tuple[int, int] | None = None


@dataclass(frozen=True)
class LinePart:
    """A piece of the line: the same thing in fewer and fewer words, at last with something left out (`cut`).

    Where the line is too long words go first, of the parts of the highest `rank` before others; then whole parts. So
    trouble has low ranks, and stays when good news has gone.
    """

    rank: int
    forms: tuple[str, ...]
    style: str = ""
    cut: tuple[str, ...] = ()


def phase(total: ProgressReport, ending: str = "", *, warm_up: bool = False) -> str:
    """Name what goes on. `ending`: `draining` or `reporting`, once it is one of them; `warm_up`: whether that lasts."""
    if ending:
        return ending
    if total.sessions_open or total.turns_good or total.turns_failed:
        return "warm-up" if warm_up else "measure"
    return "holding" if total.waiting_s >= HELD_S else "connecting"


def left_s(elapsed_s: float, run_time_s: float | None, sessions: int | None, done: int) -> float | None:
    """The seconds that a run still takes: by its run time, or by the rate at which sessions end if that is sooner."""
    ends = [] if run_time_s is None else [run_time_s - elapsed_s]
    if sessions is not None and done:
        ends.append((sessions - done) * elapsed_s / done)
    return max(0.0, min(ends)) if ends else None


def line(tally: ProgressSum, moment: Moment, width: int | None = None, *, colour: bool = False) -> str:
    """The line, of `width` columns at most; None for no limit. Labels come without anything that a terminal obeys."""
    parts = list(_parts(tally, moment))
    while width is not None and parts and len(BETWEEN.join(part.forms[0] for part in parts)) > width:
        _shorten(parts)
    return BETWEEN.join(_inked(part.forms[0], part.style if colour else "") for part in parts)


def _shorten(parts: list[LinePart]) -> None:
    """One part in fewer words; where there are none, a part cut or left out."""
    wordy = [place for place, part in enumerate(parts) if len(part.forms) > 1]
    place = max(wordy or range(len(parts)), key=lambda place: parts[place].rank)
    part = parts[place]
    if wordy:
        parts[place] = replace(part, forms=part.forms[1:])
    elif part.cut:
        parts[place] = replace(part, forms=part.cut[:1], cut=part.cut[1:])
    else:
        del parts[place]


def _inked(text: str, style: str) -> str:
    return f"\x1b[{COLOURS[style]}m{text}\x1b[0m" if style else text


# The parts, in the order in which they stand.


def _parts(tally: ProgressSum, moment: Moment) -> Iterator[LinePart]:
    total, health = tally.total, tally.health()
    if total.simulated:
        yield LinePart(1, ("SIMULATED",), "sim")
    yield LinePart(0, (f"{moment.phase} {clock(moment.elapsed_s)}",))
    if total.waiting_s >= HELD_S:
        yield LinePart(7, (f"starts held {clock(total.waiting_s)}",))
    yield from _sessions(total, moment.wanted)
    if moment.looks is not None:
        held, planned = moment.looks
        yield LinePart(9, (f"look {held} of {planned} held",))
    if total.tokenless:
        yield LinePart(4, (f"{total.tokenless} wait for a token",), "bad")
    yield from _turns(total)
    yield from _waits(tally.waits())
    yield from _money(total, moment.budget_usd)
    if health == HARNESS_OK:
        yield LinePart(11, (health,))
    elif health:
        yield LinePart(2, (health, HARNESS_LATE), "bad")
    if moment.left_s is not None:
        yield LinePart(9, (f"{clock(moment.left_s)} left",))


def _sessions(total: ProgressReport, wanted: int | None) -> Iterator[LinePart]:
    open_ = f"{total.sessions_open}" if wanted is None else f"{total.sessions_open}/{wanted}"
    yield LinePart(8, (f"{open_} open {total.sessions_over} done", f"{open_} open"))
    if total.calls_blocked:
        yield LinePart(
            3, (f"{total.calls_blocked} of {total.calls} calls blocked", f"{total.calls_blocked} blocked"), "bad"
        )
    if total.sessions_refused:
        yield LinePart(3, (f"{total.sessions_refused} refused",), "bad")


def _turns(total: ProgressReport) -> Iterator[LinePart]:
    ended = total.turns_good + total.turns_failed
    if ended:
        good = _share(total.turns_good, ended)
        yield LinePart(6, (f"turns {ended} ok {good}", f"{ended} ok {good}"))
    if total.throttled:
        yield LinePart(4, (f"{total.throttled} throttled",), "bad")


def _share(part: int, whole: int) -> str:
    """100 % of all alone: a share that is not the whole is rounded down."""
    tenths = part * 1000 // whole
    return "100 %" if part == whole else f"{tenths // 10}.{tenths % 10} %"


def _waits(waits: Iterable[Wait]) -> Iterator[LinePart]:
    """What most turns wait for; the others where there is room. Nothing of what too few have waited for."""
    groups = [(name, list(group)) for name, group in groupby(waits, lambda wait: wait.name)]
    told = [(name, every) for name, every in groups if any(wait.p50_ms is not None for wait in every)]
    for rank, (name, every) in enumerate(told):
        place = 5 if rank == 0 else 11 + rank
        yield _one(place, every[0]) if len(every) == 1 else _several(place, name, every)


def _one(rank: int, wait: Wait) -> LinePart:
    p50, p95 = milliseconds(wait.p50_ms), milliseconds(wait.p95_ms)
    if wait.p95_ms is None:
        return LinePart(rank, (_in_ms(f"{wait.name} p50 {p50}"),))
    return LinePart(rank, (_in_ms(f"{wait.name} p50 {p50} p95 {p95}"), _in_ms(f"{wait.name} {p50}/{p95}")))


def _several(rank: int, name: str, waits: list[Wait]) -> LinePart:
    """The arms' p50 beside each other, and their p95 once one of them has it."""
    both = any(wait.p95_ms is not None for wait in waits)
    arms = [
        f"{_plain(wait.arm)} {milliseconds(wait.p50_ms)}" + (f"/{milliseconds(wait.p95_ms)}" if both else "")
        for wait in waits
    ]
    every, *fewer = (_in_ms(_listed(arms, count)) for count in range(min(MAX_ARMS, len(arms)), 0, -1))
    what = "p50/p95" if both else "p50"
    forms = f"{name} {what} {every}", f"{name.partition(' ')[0]} {every}", every
    return LinePart(rank, forms, cut=tuple(fewer))


def _listed(arms: list[str], count: int) -> str:
    more = f" +{len(arms) - count}" if len(arms) > count else ""
    return ", ".join(arms[:count]) + more


def _money(total: ProgressReport, budget_usd: float | None) -> Iterator[LinePart]:
    if not total.usd and not total.unpriced and budget_usd is None:
        return
    if total.unpriced and not total.usd:  # nobody knows what it cost: 0.00 would be a figure
        yield LinePart(
            7 if budget_usd is not None else 10, (f"cost unknown ({total.unpriced} unpriced)", "cost unknown")
        )
        return
    spent = f"{dollars(total.usd)} USD"
    of = f"{spent} of {dollars(budget_usd)}" if budget_usd is not None else spent
    unpriced = f" ({total.unpriced} unpriced)" if total.unpriced else ""
    yield LinePart(7 if budget_usd is not None else 10, (of + unpriced, of, spent))


def _in_ms(figures: str) -> str:
    """Figures with their unit, unless the last one is none."""
    return figures if figures.endswith(FAILED) else f"{figures} ms"


def _plain(label: str) -> str:
    return "".join(letter if "!" <= letter <= "~" else "_" for letter in label)


class View:
    """Shows the line on a stream, and is one itself: what is written to it does not run into the line.

    `table`: below the line, where that is drawn in place, stands a table with a row for each target.
    """

    def __init__(
        self, stream: TextIO, environ: Mapping[str, str], *, prefix: str = "rtbench: ", table: bool = False
    ) -> None:
        self._stream, self._prefix = stream, prefix
        self._in_place = stream.isatty() and environ.get("TERM") != "dumb"
        self._colour = self._in_place and not environ.get("NO_COLOR")
        self._table = table and self._in_place
        self._drawn = 0
        """How many lines stand there to be drawn over."""
        self._phase, self._shown_ns = "", 0

    def show(self, tally: ProgressSum, moment: Moment, now_ns: int) -> None:
        """Draw the line where it is due: at a new phase; in place twice a second, a table once; every 10 s in a log."""
        every_ns = TABLE_NS if self._table else REDRAW_NS if self._in_place else PLAIN_NS
        if moment.phase == self._phase and now_ns < self._shown_ns + every_ns:
            return
        if not _takes(self._stream):
            return
        self._phase, self._shown_ns = moment.phase, now_ns
        if self._in_place:
            width = _columns(self._stream) - 1
            lines = [line(tally, moment, width, colour=self._colour)]
            if self._table:
                lines += self._board(tally.targets(now_ns), width)
            self._put(self._back + (ERASE_REST + "\n").join(lines) + self._erase)
            self._drawn = len(lines)
        else:
            self._put(f"{self._prefix}{line(tally, moment)}\n")

    def _board(self, targets: list[TargetStanding], width: int) -> list[str]:
        """The rows that there is room for."""
        from bench.load.leading.board import board_lines  # rich takes its time to import

        return board_lines(targets, width, colour=self._colour)[: _rows(self._stream) - 2]

    @property
    def _erase(self) -> str:
        return ERASE_REST + (ERASE_BELOW if self._table else "")

    @property
    def _back(self) -> str:
        """The way to the begin of what is drawn."""
        return "\r" + (f"\x1b[{self._drawn - 1}A" if self._drawn > 1 else "")

    def say(self, text: str) -> None:
        """Show a line that stays."""
        self.write(f"{self._prefix}{one_line(text)}\n")

    def write(self, text: str) -> None:
        """Write as a stream does, in the place of the line, which comes back when it is due."""
        self.clear()
        self._put(text)

    def flush(self) -> None:
        """Do nothing, for nothing is held back here: a stream has it."""

    def clear(self) -> None:
        """Take the line away, before somebody else writes."""
        if self._drawn:
            self._put(self._back + self._erase)
            self._drawn = 0

    def _put(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more: a run goes on without its view
            self._stream.write(text)
            self._stream.flush()


def _takes(stream: TextIO) -> bool:
    """Whether a stream takes a line now: a terminal that was stopped (Ctrl-S) would hold up the whole process."""
    try:
        return bool(select.select([], [stream], [], 0)[1])
    except (OSError, ValueError):  # no file behind it: memory
        return True


def _columns(stream: TextIO) -> int:
    return _size(stream).columns or USUAL_COLUMNS


def _rows(stream: TextIO) -> int:
    return _size(stream).lines or USUAL_ROWS


def _size(stream: TextIO) -> os.terminal_size:
    try:
        return os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return os.terminal_size((USUAL_COLUMNS, USUAL_ROWS))
