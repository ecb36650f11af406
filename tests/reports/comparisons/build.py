"""Invented runs as sides, and their comparisons."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from reports.comparisons.comparison import Comparison, compare_targets
from reports.runs import document_of
from reports.sides.compared_target import ComparedTarget
from reports.sides.named import filtered_by, targets_of
from tests.reports import synthetic
from tests.reports.shared import folder as shared_folder
from tests.reports.shared import frames_of
from tests.reports.synthetic import Plan

DRAWS = 300
"""Enough for what is tested here; how exact intervals are is tested where they are made."""
RUN = Plan(sessions=40, turns=5)
PAIRED = Plan(sessions=80, turns=5, targets=("west", "east"), paired=True)


def run(folder: Path, plan: Plan = RUN, **changes: Any) -> str:
    """A run folder, whose name is the run's; `changes` replace keys of run.json."""
    return str(synthetic.write(folder, plan, **({"run_id": folder.name, "interleaved": plan.paired} | changes)))


def one_and_other(folder: Path, plan: Plan = RUN) -> list[Path]:
    """The folders of two runs, for tests that change them."""
    return [Path(run(folder / "one", plan)), Path(run(folder / "other", replace(plan, seed=8)))]


def two(first: Plan = RUN, second: Plan | None = None, **changes: Any) -> tuple[ComparedTarget, ...]:
    """The sides of two runs, `one` and `other`; `changes` replace keys of the other's run.json.

    The rows of a plan are read once for all tests, which change neither them nor a folder.
    """
    other = second or replace(first, seed=8)
    return filtered_by((*_targets("one", first, "{}"), *_targets("other", other, json.dumps(changes))))


def targets(plan: Plan = PAIRED, name: str = "run", **changes: Any) -> tuple[ComparedTarget, ...]:
    """The targets of one run as sides; its rows are read once as well."""
    return filtered_by(_targets(name, plan, json.dumps(changes)))


@lru_cache(64)
def _targets(name: str, plan: Plan, changes: str) -> tuple[ComparedTarget, ...]:
    folder = Path(run(shared_folder() / name, plan, **json.loads(changes)))
    return targets_of(replace(frames_of(plan), folder=folder, metadata=document_of(folder)))


def quick(sides: tuple[ComparedTarget, ...], **how: Any) -> Comparison:
    return compare_targets(sides, draws=DRAWS, **how)
