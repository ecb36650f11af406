"""Summaries and pages of invented runs, made once per process for all tests that only read them."""

from __future__ import annotations

import atexit
import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.metrics import CATALOGUE
from reports.runs import RunFrames, load_for_report
from reports.summary.metrics import MetricSummary
from reports.summary.summary import Summary, summarise
from reports.text.document import summary_json
from tests.reports import synthetic
from tests.reports.forms import run_html
from tests.reports.synthetic import Plan


def summary_of(plan: Plan, **changes: Any) -> Summary:
    """Return the summary of a run from `synthetic.write`. Its folder is shared, so change no table in it."""
    return _kept_summary(plan, json.dumps(changes)) if plan.is_small else _summary(plan, json.dumps(changes))


def summary_in(folder: Path, plan: Plan, **changes: Any) -> Summary:
    """Write a run into the folder and return its summary."""
    return summarise(load_for_report(synthetic.write(folder, plan, **changes)))


def page_of(plan: Plan, **changes: Any) -> str:
    """Return the HTML page of the same run."""
    return _kept_page(plan, json.dumps(changes)) if plan.is_small else run_html(summary_of(plan, **changes))


def frames_of(plan: Plan, **document: Any) -> RunFrames:
    """Return the loaded run. `document` changes its metadata. All tests share its rows, so do not change them."""
    kept = _kept_frames(plan)
    return replace(kept, metadata=kept.metadata | document)


def figures(summary: Summary, metric: str, target: str = "sim", step: str = "all") -> MetricSummary:
    """Return the summary of a metric over all turns, or over those of a step."""
    wanted = (metric, target, step)
    return next(f for f in summary.metrics if (f.metric, f.target, f.step) == wanted)


def folder() -> Path:
    """Return a folder that exists until the tests end, because a summary reads a few texts of its rows later."""
    made = TemporaryDirectory()
    atexit.register(made.cleanup)
    return Path(made.name)


def write_summary(run: Path) -> None:
    """Write summary.json, which later commands read."""
    (run / "summary.json").write_text(summary_json(summarise(load_for_report(run))), encoding="utf-8")


@lru_cache(32)
def _kept_frames(plan: Plan) -> RunFrames:
    return load_for_report(synthetic.write(folder() / "now", plan))


@lru_cache(32)
def _kept_summary(plan: Plan, changes: str) -> Summary:
    return _summary(plan, changes)


@lru_cache(32)
def _kept_page(plan: Plan, changes: str) -> str:
    return run_html(_kept_summary(plan, changes))


def _summary(plan: Plan, changes: str) -> Summary:
    summary = summary_in(folder(), plan, **json.loads(changes))
    summary.run.histograms.discard(CATALOGUE)  # No test needs them later, and those of six targets take 14 MB.
    return summary
