"""Summaries and pages of synthetic runs. Tests that only read them share them within a process."""

from __future__ import annotations

import atexit
import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.catalogue.metrics import CATALOGUE
from reports.analysis.summary.metrics import MetricSummary
from reports.analysis.summary.summary import Summary, summarise
from reports.data.runs import RunFrames, load_for_report
from reports.pages.run_report.document import summary_json
from tests.reports import synthetic
from tests.reports.forms import run_html
from tests.reports.synthetic import Plan


def summary_of(plan: Plan, **changes: Any) -> Summary:
    """Return the summary of a synthetic run. Its folder is shared, so change no table in the
    folder.
    """
    return (
        _kept_summary(plan, json.dumps(changes))
        if plan.is_small
        else _summary(plan, json.dumps(changes))
    )


def summary_in(folder: Path, plan: Plan, **changes: Any) -> Summary:
    """Write a run into the folder, and return the summary of the run."""
    return summarise(load_for_report(synthetic.write(folder, plan, **changes)))


def page_of(plan: Plan, **changes: Any) -> str:
    """Return the HTML page of a synthetic run."""
    return (
        _kept_page(plan, json.dumps(changes))
        if plan.is_small
        else run_html(summary_of(plan, **changes))
    )


def frames_of(plan: Plan, **document: Any) -> RunFrames:
    """Return a loaded run. All tests share its rows, so do not change them.

    `document` replaces keys of the run's metadata.
    """
    kept = _kept_frames(plan)
    return replace(kept, metadata=kept.metadata | document)


def figures(summary: Summary, metric: str, target: str = "sim", step: str = "all") -> MetricSummary:
    """Return the summary of a metric over the turns of one step, or over all turns."""
    wanted = (metric, target, step)
    return next(f for f in summary.turn_metrics if (f.metric, f.target, f.step) == wanted)


def folder() -> Path:
    """Return a folder that exists until the tests end.

    A summary may read some texts of its rows from the folder later.
    """
    made = TemporaryDirectory()
    atexit.register(made.cleanup)
    return Path(made.name)


def write_summary(run: Path) -> None:
    """Write the summary.json of a run, because later commands read this file."""
    (run / "summary.json").write_text(
        summary_json(summarise(load_for_report(run))), encoding="utf-8"
    )


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
    # No test needs them later, and those of six targets take 14 MB.
    summary.run.histograms.discard(CATALOGUE)
    return summary
