"""Invented runs as sides, and their comparisons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from reports.comparisons.comparison import Comparison, compared
from reports.sides.side import Side, sides_of
from tests.reports import synthetic
from tests.reports.synthetic import Plan

DRAWS = 300
"""Enough for what is tested here; how exact intervals are is tested where they are made."""
RUN = Plan(sessions=40, turns=5)
PAIRED = Plan(sessions=80, turns=5, targets=("west", "east"), paired=True)


def run(folder: Path, plan: Plan = RUN, **changes: Any) -> str:
    """A run folder, whose name is the run's; `changes` replace keys of run.json."""
    return str(synthetic.write(folder, plan, **({"run_id": folder.name, "interleaved": plan.paired} | changes)))


def two(folder: Path, first: Plan = RUN, second: Plan | None = None, **changes: Any) -> tuple[Side, ...]:
    """The sides of two runs, `one` and `other`; `changes` replace keys of the other's run.json."""
    return sides_of([run(folder / "one", first), run(folder / "other", second or replace(first, seed=8), **changes)])


def quick(sides: tuple[Side, ...], **how: Any) -> Comparison:
    return compared(sides, draws=DRAWS, **how)
