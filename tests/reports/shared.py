"""Summaries and pages of invented runs, made once in a process for all tests that only read them."""

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
    """The summary of a run as `synthetic.write` writes it; its folder is shared, too: change no table in there."""
    return _kept_summary(plan, json.dumps(changes)) if plan.is_small else _summary(plan, json.dumps(changes))


def summary_in(folder: Path, plan: Plan, **changes: Any) -> Summary:
    """The summary of a run that is written there."""
    return summarise(load_for_report(synthetic.write(folder, plan, **changes)))


def page_of(plan: Plan, **changes: Any) -> str:
    """The page of the same run."""
    return _kept_page(plan, json.dumps(changes)) if plan.is_small else run_html(summary_of(plan, **changes))


def frames_of(plan: Plan, **document: Any) -> RunFrames:
    """The run as reports read it, with other values in its document; its rows are shared, too: change none of them."""
    kept = _kept_frames(plan)
    return replace(kept, metadata=kept.metadata | document)


def figures(summary: Summary, metric: str, target: str = "sim", step: str = "all") -> MetricSummary:
    """Those of a metric of all turns, or of those of a step."""
    wanted = (metric, target, step)
    return next(f for f in summary.metrics if (f.metric, f.target, f.step) == wanted)


def folder() -> Path:
    """One that stays as long as tests run: a summary reads a few texts of its rows when it is shown."""
    made = TemporaryDirectory()
    atexit.register(made.cleanup)
    return Path(made.name)


def write_summary(run: Path) -> None:
    """Write what later commands read of a report: summary.json."""
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
    summary.run.histograms.discard(CATALOGUE)  # nothing else asks for them, and of six targets they are 14 MB
    return summary
