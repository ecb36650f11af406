"""Invented points of a trend, and small run folders that have a summary."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from reports.analysis.trends.trend_point import MetricKey, RunValue, TrendPoint
from reports.metrics.strata import NO_STRATUM, Stratum
from reports.results.value import Reason
from tests.reports import synthetic
from tests.reports.shared import folder as shared_folder
from tests.reports.shared import write_summary
from tests.reports.synthetic import BEGAN_NS, Plan

DAY_NS = 86_400 * 10**9
SPREAD = 0.04
SMALL = Plan(sessions=40, turns=5)
WORKLOAD = {
    "service": "azure",
    "model": "gpt-realtime",
    "region": "swedencentral",
    "api_version": "ga",
    "voice": "marin",
    "client_version": "0.1.0",
    "simulated": "no",
    "definitions": "1",
    "scripts": "voice_turns",
    "digest": "0f1e2d",
    "warmup_s": "0",
    "num_users": "10",
}


def run_value(value: float, spread: float = 0.05) -> RunValue:
    return RunValue(
        value, value * math.exp(-2 * spread), value * math.exp(2 * spread), spread**2, 400
    )


def entry(number: int, p50: float = 600.0, failures: float = 0.0, **changes: Any) -> TrendPoint:
    """Return the point of the run of one night. `conditions` are added to the conditions that
    all points have.
    """
    made: dict[str, Any] = {
        "run_id": f"run-{number:03}",
        "name": f"run-{number:03}",
        "started_utc_ns": BEGAN_NS + number * DAY_NS,
        "scenario": "voice_turns",
        "target": "gateway",
        "validity": "valid",
        "excluded": (),
        "labels": {},
        "quantiles": {
            MetricKey("ttfa", changes.pop("stratum", NO_STRATUM)): {
                0.5: run_value(p50),
                0.95: run_value(2 * p50),
            }
        },
        "rates": {"failure_rate": RunValue(failures, n=400)},
    }
    return TrendPoint(**(made | changes | {"conditions": WORKLOAD | changes.get("conditions", {})}))


def nights(levels: Sequence[float], seed: int = 1, **changes: Any) -> list[TrendPoint]:
    """Return one point for each of these mean values. The values of the points vary randomly
    around these means.
    """
    own = np.exp(np.random.default_rng(seed).normal(0, SPREAD, len(levels)))
    return [
        entry(number, level * by, **changes)
        for number, (level, by) in enumerate(zip(levels, own, strict=True))
    ]


def stepped(before: int, after: int, times: float = 1.4, **changes: Any) -> list[TrendPoint]:
    return nights([600.0] * before + [600.0 * times] * after, **changes)


def invalid(number: int, p50: float = 600.0, **changes: Any) -> TrendPoint:
    return entry(
        number,
        p50,
        **(
            {"validity": "invalid", "excluded": (Reason("send_delay", text="audio was sent late"),)}
            | changes
        ),
    )


TYPED = Stratum("", "function_calls")


def folder_of(path: Path, number: int = 0, plan: Plan = SMALL, **document: Any) -> Path:
    """Write a run folder that has its summary and an empty page. Return the folder."""
    synthetic.write(
        path, plan, run_id=path.name, started_utc_ns=BEGAN_NS + number * DAY_NS, **document
    )
    write_summary(path)
    (path / "report.html").touch()
    return path


@cache
def shared_run(plan: Plan = SMALL) -> Path:
    """Return the folder of a run. It is written once for all tests, so tests must not change it."""
    return folder_of(shared_folder() / "run", plan=plan)


def many(folder: Path, numbers: Iterable[int], plan: Plan = SMALL) -> list[Path]:
    """Write run folders that contain only run.json and summary.json. All of these runs have the
    same values.
    """
    made = []
    for number in numbers:
        run = folder / f"run-{number:03}"
        run.mkdir(parents=True)
        document = json.loads((shared_run(plan) / "run.json").read_text(encoding="utf-8"))
        document |= {"run_id": run.name, "started_utc_ns": BEGAN_NS + number * DAY_NS}
        (run / "run.json").write_text(json.dumps(document), encoding="utf-8")
        (run / "summary.json").write_bytes((shared_run(plan) / "summary.json").read_bytes())
        made.append(run)
    return made
