"""The sides of a comparison: targets of runs, and their samples by session or by pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reports.compare.question import Question
from reports.runs import Run
from reports.statistics.quantiles import Sample
from reports.turns import Turns


@dataclass(frozen=True)
class Side:
    """A target of a run. `label`: as it is shown; `codes`: how its sessions are numbered, see `sides_of`."""

    run: Run
    turns: Turns
    target: int
    label: str


def sides_of(named: Sequence[str | Path]) -> tuple[Side, ...]:
    """The sides that a user names: `RUN` (all of its targets), `RUN:TARGET`. The first one is the baseline.

    Raises UsageError where a run or target is unknown, or fewer than two are named.
    """
    raise NotImplementedError


def sample_of(side: Side, question: Question) -> Sample:
    """The values of a quantile's measure, ascending, failed ones as +inf, with the code of each value's cluster."""
    raise NotImplementedError
