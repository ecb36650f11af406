"""Lays out the table of `--live`: a row for each target, with the trend of its p95."""

from __future__ import annotations

import io
from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.load.leading.figures import UNKNOWN, milliseconds, sparkline
from bench.load.leading.tally import OK, TargetStanding, Wait
from bench.measures import FIRST_DELTAS
from bench.money import dollars
from bench.plain import printable

COLUMNS = ("target", "open", "turns", "failed", "wait", "p50 ms", "p95 ms", "p95 of late", "events/s", "USD", "harness")
TEXTS = frozenset({"target", "wait", "p95 of late", "harness"})
NO_WAIT = Wait("", UNKNOWN, "", 0, 0, None, None)


def board_lines(targets: Iterable[TargetStanding], width: int, *, colour: bool) -> list[str]:
    """The table, its lines at most `width` columns wide."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in TEXTS else "right", no_wrap=True, overflow="ellipsis")
    for target in targets:
        late = target.health not in ("", OK)
        failed = bool(target.turns_failed)
        table.add_row(*map(Text, _cells(target)), style="red" if late else "yellow" if failed else "")
    screen = io.StringIO()
    console = Console(file=screen, width=width, force_terminal=colour, color_system="standard" if colour else None)
    console.print(table)
    return [line.rstrip() for line in screen.getvalue().splitlines() if line.strip()]


def _cells(target: TargetStanding) -> tuple[str, ...]:
    """What stands in the columns. The wait is that of most turns for a first delta."""
    first = [wait for wait in target.waits if wait.measure in FIRST_DELTAS.values()]
    wait = max(first, key=lambda wait: wait.turns, default=NO_WAIT)
    return (
        printable(target.target),
        f"{target.sessions_open}",
        f"{target.turns_good + target.turns_failed}",
        f"{target.turns_failed}",
        wait.name,
        milliseconds(wait.p50_ms),
        milliseconds(wait.p95_ms),
        sparkline(wait.trend_ms),
        f"{target.rates.events_received}",
        UNKNOWN if target.usd is None else dollars(target.usd),
        target.health or UNKNOWN,
    )
