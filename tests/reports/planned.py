"""Plans of interim analyses in the form in which run.json stores them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.reports import synthetic
from tests.reports.synthetic import Plan

TWO = Plan(sessions=240, turns=10, targets=("east", "west"), seconds=300, paired=True)
"""A run of 120 pairs of sessions. The target `west` is 13 % slower than the target `east`."""
LOOSE = {"ttfa": ["p(50)<+60%", "p(95)<+90%"], "failure_rate": ["rate<+10pt"]}
TIGHT = {"ttfa": ["p(50)<+0.1%"]}
UNDECIDED = {"ttfa": ["p(50)<+12%"]}


def planned(
    primary: dict[str, list[str]], at: Sequence[int] = (40, 80, 120), **changes: Any
) -> dict[str, Any]:
    """Return a plan that tests the primary metrics `primary`.

    Each entry of `at` is the number of pairs at an analysis.
    """
    plan = {
        "pairs": at[-1],
        "analyses": [*at],
        "primary_metrics": primary,
        "alpha": 0.05,
        "spending": "a t^2",
    }
    return plan | {"bootstrap_samples": 300} | changes


def planned_run(
    folder: Path, primary: dict[str, list[str]], plan: Plan = TWO, **changes: Any
) -> Path:
    """Write the folder of a run that has a plan for the primary metrics `primary`."""
    return synthetic.write(
        folder,
        plan,
        **(synthetic.target_keys(plan) | {"sequential_plan": planned(primary)} | changes),
    )
