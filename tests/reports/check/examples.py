"""Synthetic runs, and invented threshold results and checks, for the tests of checks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.catalogue.metrics import CATALOGUE
from reports.analysis.check.baselines import baseline_of, save
from reports.analysis.check.results import CheckResult, check_result
from reports.analysis.targets.compared_target import ComparedTarget
from reports.analysis.targets.named import targets_of
from reports.api.verdicts import finding_row
from reports.data.runs import RunFrames
from reports.engine.judge import Judged
from reports.metrics.stored import Baseline
from reports.metrics.thresholds import Threshold, parse
from reports.results.value import Reason, Result
from reports.statistics.threshold_estimate import (
    NO_TURNS,
    TargetCounts,
    ThresholdEstimate,
    no_estimate,
    of_equal_sessions,
)
from reports.statistics.verdicts import Verdict
from tests.reports import synthetic
from tests.reports.comparisons.invented import ratio
from tests.reports.shared import frames_of
from tests.reports.synthetic import Plan

ENOUGH = Plan(sessions=60, turns=10, failed=0.01)
STORED = ("ttfa", "stall_duration", "response_total")
PAIRED = replace(ENOUGH, sessions=120, paired=True, targets=("before", "after"))


def run(folder: Path, plan: Plan = ENOUGH, **document: Any) -> Path:
    """Write a run folder and return its path. `document` replaces keys of run.json."""
    folder.mkdir(parents=True, exist_ok=True)
    synthetic.write(folder, plan)
    whole = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    whole |= {"run_id": folder.name, "interleaved": plan.paired} | document
    (folder / "run.json").write_text(json.dumps(whole), encoding="utf-8")
    return folder


def read(plan: Plan = ENOUGH, **document: Any) -> RunFrames:
    """Return a loaded run. All tests share the rows of a plan."""
    return frames_of(plan, **{"run_id": "now", "interleaved": plan.paired} | document)


def stored(folder: Path, name: str, plan: Plan = ENOUGH, **document: Any) -> Path:
    """Add a run with the ID `name` to a folder of baselines, and return the folder."""
    for baseline in _baselines(name, plan, json.dumps(document)):
        save(baseline, folder)
    return folder


@cache
def _baselines(name: str, plan: Plan, document: str) -> list[Baseline]:
    """Return the baselines of one run, which contain only the metrics that tests use. All tests
    share them.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "reports.analysis.check.baselines.CATALOGUE", {name: CATALOGUE[name] for name in STORED}
        )
        return [
            baseline_of(side) for side in targets_of_plan(plan, run_id=name, **json.loads(document))
        ]


def store(folder: Path, count: int, *, plan: Plan = ENOUGH, step: float = 0.0) -> Path:
    """Store this many runs. From run to run, the median grows by the share `step` of the median
    of `plan`.
    """
    for number in range(count):
        other = replace(
            plan, seed=100 + number, median_ms=plan.median_ms * (1 + step * (number - count // 2))
        )
        stored(folder / "baselines", f"made-{number}", other)
    return folder / "baselines"


SIXTY = of_equal_sessions(600, 60, 0)


def targets_of_plan(plan: Plan = ENOUGH, **document: Any) -> tuple[ComparedTarget, ...]:
    return targets_of(read(plan, **document))


def thresholds(*written: str) -> list[Threshold]:
    """Parse thresholds, which are written like `ttfa: p(95)<800`."""
    return [parse(*one.split(": ", 1)) for one in written]


def limited(
    threshold: str,
    ends: tuple[float, float, float],
    result: Result = "pass",
    reason: Reason | None = None,
    counts: TargetCounts = SIXTY,
    **changes: Any,
) -> Judged:
    """Return the result of an absolute threshold on `sim`. `ends` are the value and the two ends of
    its interval.

    The one-sided bounds equal the ends of the interval.
    """
    (asked,) = thresholds(threshold)
    assert asked.limit is not None
    estimate = replace(ThresholdEstimate(*ends, *ends[1:], counts), **changes)
    return Judged(
        spec=asked.about,
        target="sim",
        targets=(counts,),
        threshold=asked.source_text,
        operator=asked.sign,
        limit=asked.limit,
        estimate=estimate,
        verdict=Verdict(result, reason, estimate.order is not None),
    )


MEASURED = (640.0, 590.0, 690.0)
PASSED = limited("ttfa: p(95)<800", MEASURED)
FAILED = limited("ttfa: p(95)<800", (940.0, 880.0, 1010.0), "fail")
INCONCLUSIVE = limited(
    "ttfa: med<500", MEASURED, "inconclusive", Reason("too_few", text="too few turns")
)
NO_DATA = replace(
    PASSED,
    targets=(NO_TURNS,),
    estimate=no_estimate(),
    verdict=Verdict("not_evaluated", Reason("nothing_measured")),
)
REGRESSED = Judged(
    spec=replace(thresholds("ttfa: p(95)<+20%")[0].spec, primary=True),
    target="after",
    threshold="ttfa: p(95)<+20%",
    difference=ratio(1600, 2640, 1.47, 1.87),
    targets=(SIXTY, SIXTY),
    verdict=Verdict("regressed"),
    baseline="before",
)


def flat(one: Judged) -> SimpleNamespace:
    """Return the row for a result in the frame of a check."""
    return SimpleNamespace(**finding_row(one))


def verdicts(found: CheckResult) -> list[str]:
    """Return the verdict of each relative threshold, and the result of each absolute threshold."""
    return [row.verdict or row.result for row in map(flat, found.thresholds)]


def check(
    *items: Judged, baseline: str = "", warnings: Sequence[str] = (), **changes: Any
) -> CheckResult:
    """Return a check of a valid run that has these threshold results, this baseline and these
    warnings.
    """
    return check_result(
        items,
        run_id="r1",
        scenario="voice_turns",
        labels={},
        simulated=True,
        recorded=False,
        observed_s=0.0,
        rows=0,
        run=None,
        against=Reason("other_run", text=baseline) if baseline else None,
        compared=(),
        notes=(),
        data_notes=None,
        alerts=tuple(Reason("interrupted", text=text) for text in warnings),
        **changes,
    )
