"""Every frame of `rtbench`.

Its dtypes do not depend on its data, and it is unchanged after it was stored as Parquet.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pandas as pd
import pytest

import rtbench
from tests.examples import some
from tests.reports import synthetic
from tests.reports.edited import edit
from tests.reports.shared import write_summary
from tests.reports.synthetic import Plan

COLUMNS = [
    "host",
    "turn",
    "vad_splits",
    "simulated",
    "start",
    "audio_speed",
    "response_id",
    "detail",
    "false_reply",
]
"""Columns of turns. All dtypes occur in these columns."""
WHOLE = Plan(sessions=40, turns=3, targets=("a", "b"), paired=True, usage=True, failed=0.1)
PLANS = {
    "everything": WHOLE,
    "text, everything failed": Plan(
        sessions=20, text=True, failed=1.0, targets=("a", "b"), paired=True
    ),
    "turns not started": Plan(sessions=40, turns=2, targets=("a", "b"), paired=True, refused=4),
    "a nearly empty run": Plan(sessions=2, turns=1, targets=("a", "b"), paired=True),
}
FRAMES: dict[str, Callable[[rtbench.Run], pd.DataFrame]] = {
    "turns": lambda run: run.turns,
    "sessions": lambda run: run.sessions,
    "seconds": lambda run: run.seconds,
    "uncertainty": lambda run: run.uncertainty,
    "quantiles": lambda run: run.quantiles("ttfa"),
    "quantiles of nothing": lambda run: run.quantiles("barge_in_yield", by=COLUMNS),
    "quantiles of sessions": lambda run: run.quantiles(
        "session_ready", by=["host", "region", "turns_not_started", "start"]
    ),
    "slopes": lambda run: run.quantiles("latency_slope", by="host"),
    "rates": lambda run: run.rates(by=COLUMNS),
    "quantiles by step": lambda run: run.quantiles("ttfa", by="step"),
    "quantiles by columns": lambda run: run.quantiles("ttfa", by=COLUMNS),
    "summary": rtbench.Run.summary,
    "outcomes": rtbench.Run.outcomes,
    "cost": rtbench.Run.cost,
    "distributions": rtbench.Run.distributions,
    "comparison": lambda run: rtbench.compare(run).to_frame(),
    "check": lambda run: rtbench.check(
        run,
        {"ttfa": ["p(95)<800", "med<+10%"], "failure_rate": "rate<0.01"},
        baseline=f"{run.folder}:a",
    ).to_frame(),
    "trend": lambda run: rtbench.trend(run).to_frame(),
}


Made = Callable[[str, str], pd.DataFrame]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return a function that returns the frame with a given name, of the run with a given plan.

    Each frame is computed once for all tests.
    """
    folder, runs = tmp_path_factory.mktemp("frames"), {}
    for number, (name, plan) in enumerate(PLANS.items()):
        path = synthetic.write(folder / str(number), plan, interleaved=True)
        if plan is WHOLE:  # one value of each column is missing
            edit(
                path,
                "turns",
                lambda place, row: (
                    row if place else row | {"vad_splits": None, "response_id": None}
                ),
            )
            edit(path, "sessions", lambda place, row: row if place else row | {"region": None})
        write_summary(path)
        runs[name] = rtbench.load(path)
    return cache(lambda plan, name: FRAMES[name](runs[plan]))


def dtypes(frame: pd.DataFrame) -> dict[str, str]:
    return {str(name): dtype.name.removesuffix("[pyarrow]") for name, dtype in frame.dtypes.items()}


@pytest.mark.parametrize("name", some([*FRAMES], 9))
def test_the_dtypes_of_a_frame_do_not_depend_on_the_run(made: Made, name: str) -> None:
    found = [dtypes(made(plan, name)) for plan in PLANS]

    assert found == [found[0]] * len(found)
    assert "object" not in found[0].values()


@pytest.mark.parametrize("name", FRAMES)
def test_a_missing_text_is_missing_in_every_frame(name: str, made: Made) -> None:
    for plan in PLANS:
        frame = made(plan, name)
        for column in frame.select_dtypes(["category", "string"]):
            assert not (frame[column].astype(object) == "").any(), column
