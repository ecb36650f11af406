"""Invented runs, items and checks for the tests of the gate."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bench.metrics import CATALOGUE
from reports.gate.baselines import Baseline, baseline_of, save
from reports.gate.items import Checked, Item
from reports.runs import RunFrames
from reports.sides.side import Side, targets_of
from reports.thresholds import Threshold, parse
from tests.reports import synthetic
from tests.reports.shared import frames_of
from tests.reports.synthetic import Plan

ENOUGH = Plan(sessions=60, turns=10, failed=0.01)
STORED = ("ttfa", "stall_duration", "response_total")
PAIRED = replace(ENOUGH, sessions=120, paired=True, targets=("before", "after"))


def run(folder: Path, plan: Plan = ENOUGH, **document: Any) -> Path:
    """A run's folder; `document`: other values in run.json."""
    folder.mkdir(parents=True, exist_ok=True)
    synthetic.write(folder, plan)
    whole = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    whole |= {"run_id": folder.name, "interleaved": plan.paired} | document
    (folder / "run.json").write_text(json.dumps(whole), encoding="utf-8")
    return folder


def read(plan: Plan = ENOUGH, **document: Any) -> RunFrames:
    """A run that was read; its rows are those of all tests with the same plan."""
    return frames_of(plan, **{"run_id": "now", "interleaved": plan.paired} | document)


def stored(folder: Path, name: str, plan: Plan = ENOUGH, **document: Any) -> Path:
    """A folder of baselines with one more run of this name."""
    for baseline in _baselines(name, plan, json.dumps(document)):
        save(baseline, folder)
    return folder


@cache
def _baselines(name: str, plan: Plan, document: str) -> list[Baseline]:
    """Of one run, measured once for all tests, and by the metrics alone that any of them asks for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reports.gate.baselines.CATALOGUE", {name: CATALOGUE[name] for name in STORED})
        return [baseline_of(side) for side in sides(plan, run_id=name, **json.loads(document))]


def store(folder: Path, count: int, *, plan: Plan = ENOUGH, step: float = 0.0) -> Path:
    """So many runs stored, whose medians lie `step` apart (as a share)."""
    for number in range(count):
        other = replace(plan, seed=100 + number, median_ms=plan.median_ms * (1 + step * (number - count // 2)))
        stored(folder / "baselines", f"made-{number}", other)
    return folder / "baselines"


def sides(plan: Plan = ENOUGH, **document: Any) -> tuple[Side, ...]:
    """The targets of such a run."""
    return targets_of(read(plan, **document))


def thresholds(*written: str) -> list[Threshold]:
    """`ttfa: p(95)<800`."""
    return [parse(*one.split(": ", 1)) for one in written]


KEPT = Item(
    "ttfa: p(95)<800", "ttfa p95", "sim", "ms", "pass", None, 640.0, 590.0, 690.0, limit=800.0, turns=600, sessions=60
)
BROKEN = replace(KEPT, result="fail", value=940.0, low=880.0, high=1010.0)
UNSURE = replace(KEPT, threshold="ttfa: med<500", title="ttfa p50", result="inconclusive", reason="too few turns")
NO_DATA = replace(KEPT, result="not_evaluated", value=None, low=None, high=None, reason="nothing was measured")
REGRESSED = Item(
    "ttfa: p(95)<+20%", "ttfa p95", "after", "ms", "fail", "regressed", 2640.0, 0.47, 0.87,
    baseline=1600.0, difference=0.65, margin="+20\u00a0%",
)  # fmt: skip


def check(*items: Item, **changes: Any) -> Checked:
    """A check of a valid run."""
    return replace(Checked("r1", "voice_turns", True, "valid", items, (), (), (), ""), **changes)
