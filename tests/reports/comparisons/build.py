"""The targets of synthetic runs, and comparisons of these targets."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from reports.analysis.comparisons.comparison import Comparison, compare_targets
from reports.analysis.targets.compared_target import ComparedTarget
from reports.analysis.targets.named import filtered_by, targets_of
from reports.data.runs import document_of
from tests.reports import synthetic
from tests.reports.shared import folder as shared_folder
from tests.reports.shared import frames_of
from tests.reports.synthetic import Plan

DRAWS = 300
"""The number of resamples. It is large enough for these tests. Other tests check how exact
intervals are."""
RUN = Plan(sessions=40, turns=5)
PAIRED = Plan(sessions=80, turns=5, targets=("west", "east"), paired=True)


def run(folder: Path, plan: Plan = RUN, **changes: Any) -> str:
    """Write a run folder and return its path. The run ID is the name of the folder.

    `changes` replace keys of run.json.
    """
    return str(
        synthetic.write(
            folder, plan, **({"run_id": folder.name, "interleaved": plan.paired} | changes)
        )
    )


def one_and_other(folder: Path, plan: Plan = RUN) -> list[Path]:
    """Write the folders of two runs, which only the calling test uses. So the test may change
    the folders.
    """
    return [Path(run(folder / "one", plan)), Path(run(folder / "other", replace(plan, seed=8)))]


def two(
    first: Plan = RUN, second: Plan | None = None, **changes: Any
) -> tuple[ComparedTarget, ...]:
    """Return the targets of two runs, which are named `one` and `other`.

    `changes` replace keys in the run.json of `other`. The rows of a plan are read once for all
    tests, so tests must change neither the rows nor the folders.
    """
    other = second or replace(first, seed=8)
    return filtered_by(
        (*_targets("one", first, "{}"), *_targets("other", other, json.dumps(changes)))
    )


def targets(plan: Plan = PAIRED, name: str = "run", **changes: Any) -> tuple[ComparedTarget, ...]:
    """Return the targets of one run. The rows of a plan are read once for all tests."""
    return filtered_by(_targets(name, plan, json.dumps(changes)))


@lru_cache(64)
def _targets(name: str, plan: Plan, changes: str) -> tuple[ComparedTarget, ...]:
    folder = Path(run(shared_folder() / name, plan, **json.loads(changes)))
    return targets_of(replace(frames_of(plan), folder=folder, metadata=document_of(folder)))


def quick(sides: tuple[ComparedTarget, ...], **how: Any) -> Comparison:
    return compare_targets(sides, draws=DRAWS, **how)
