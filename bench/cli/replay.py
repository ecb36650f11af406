"""`rtbench replay LOG`: a recorded session again, from its event log."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.report import wants_colour, width

if TYPE_CHECKING:
    from bench.run.replay import Replayed
    from bench.target.target import Target


def replay(
    log: Annotated[Path, typer.Argument(help="an event log: events/*.jsonl of a run", show_default=False)],
) -> None:
    """Show a session's events as they came, and compute its measures anew from the log."""
    from bench.run.replay import replay

    show(replay(log), again=True)


def show(replayed: Replayed, *, again: bool = False, target: Target | None = None) -> None:
    """Print a session from close by; `again`: it was played before; `target`: who was called, if that is known."""
    from bench.cli.session_text import session_text

    for line in session_text(replayed, width(), colour=wants_colour(), again=again, target=target):
        sys.stdout.write(line + "\n")
