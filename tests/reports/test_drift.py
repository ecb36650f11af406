"""Drift within a run.

Drift is suspected if there is drift, and not suspected otherwise. If there are too few sessions,
nothing is reported.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from bench.services.translation.dialect import Translation
from reports.analysis.summary.drift import Drift, drifts, is_suspected
from reports.analysis.summary.summary import Summary, summarise
from reports.data.runs import load_for_report
from reports.data.samples import samples_of
from reports.pages.run_report.sections import latency
from reports.text import remarks
from tests.examples import trials
from tests.helpers import S
from tests.reports import synthetic
from tests.reports.edited import Row, edited, slowed
from tests.reports.forms import run_text, section_html
from tests.reports.shared import frames_of
from tests.reports.synthetic import Plan

PLAN = Plan(sessions=160, turns=5, targets=("direct", "gateway"), seconds=300)


def build(folder: Path, plan: Plan, later: float = 1.0) -> Summary:
    """Return the summary of a run.

    In its second half, the latencies of the target `gateway` are multiplied by `later`.
    """
    return summarise(load_for_report(slowed(synthetic.write(folder, plan), later, "gateway")))


def test_drift_is_suspected_of_the_target_that_has_it(tmp_path: Path) -> None:
    summary = build(tmp_path, PLAN, later=1.6)
    direct, gateway = summary.drift

    assert (direct.suspected, gateway.suspected) == (False, True)
    assert gateway.value / direct.value == pytest.approx(1.6, rel=0.2)
    assert "Drift is suspected on gateway" in section_html(latency.time(summary))
    printed = run_text(summary, width=200).replace("\u00a0", " ")
    assert (
        "\ndrift           suspected, later half of the turns compared with the earlier half, p50"
        " by step (98 %" in printed
    )
    assert " interval): gateway +" in printed


def drifts_in(plan: Plan, run_id: str, **document: Any) -> list[Drift]:
    run = frames_of(plan, run_id=run_id, **document)
    return list(drifts(run, samples_of(run)))


def test_at_most_one_stationary_run_in_fifty_is_suspected_of_drift() -> None:
    """If each pool of turns had an interval of 99 %, one in ten stationary runs of ten pools
    would be suspected.
    """
    targets = tuple("abcde")
    plans = [
        Plan(sessions=250, turns=4, targets=targets, kinds=("vad", "typed"), seconds=300, seed=seed)
        for seed in range(trials(6, 400))
    ]
    runs = [drifts_in(plan, f"{plan.seed}") for plan in plans]

    assert all(len(found) == 10 for found in runs)
    assert sum(any(one.suspected for one in found) for found in runs) <= binom.ppf(
        0.9999, len(runs), 0.02
    )


@pytest.mark.parametrize(
    ("ratio", "low", "high", "suspected"),
    [
        (1.2, 1.1, 1.3, True),
        (0.8, 0.7, 0.9, True),
        (1.04, 1.02, 1.06, False),
        (1.3, 0.9, 1.8, False),
        (1.3, 1.1, np.inf, True),
    ],
)
def test_drift_needs_more_than_five_percent_and_an_interval_that_excludes_one(
    ratio: float, low: float, high: float, suspected: bool
) -> None:
    assert is_suspected(ratio, low, high) == suspected


INTERPRETER = {"name": "sim", "url": "ws://127.0.0.1:8765", "dialect": Translation.name}


def test_an_interpreter_without_any_start_offset_is_counted(tmp_path: Path) -> None:
    plan = Plan(sessions=4, turns=4)
    summary = summarise(
        load_for_report(synthetic.write(tmp_path / "a", plan, targets=[INTERPRETER]))
    )
    other = summarise(load_for_report(synthetic.write(tmp_path / "b", plan)))

    assert "16 without a known start_offset" in remarks.interpreting(summary)[0]
    assert other.interpreting == ()


@pytest.mark.parametrize(("error_s", "verdict"), [(1, "it drifts"), (3, "no drift is shown")])
def test_the_lag_of_an_interpreter_drifts_if_its_growth_exceeds_its_error(
    tmp_path: Path, error_s: int, verdict: str
) -> None:
    """What has no value is counted."""

    def interpreted(index: int, row: Row) -> Row:
        is_early = index % 4 == 0
        return row | {
            "start_offset_ns": None if index % 8 == 1 else 3 * S,
            "cut_off": is_early,
            "late_chunks": 1,
            "transcript_lag_ns": None if index % 2 else 2 * S,
            "transcript_lag_growth_ns": None if index % 2 else 2 * S,
            "transcript_lag_growth_error_ns": None if index % 2 else error_s * S,
        }

    plan = Plan(sessions=4, turns=4)
    summary = edited(synthetic.write(tmp_path, plan, targets=[INTERPRETER]), interpreted)
    values = {value.name: value for value in summary.interpreting}
    text = remarks.interpreting(summary)[0].replace("\u00a0", " ")

    assert {name: value.n for name, value in values.items()} == {
        "segments": 16,
        "segments_early": 4,
        "segments_without_offset": 2,
        "segments_without_lag": 8,
        "segments_sent_late": 16,
        "transcript_lag_growth": 8,
    }
    assert text.startswith("16 segments: 4 heard before their end, so without voice_to_voice, 2 wi")
    assert f"8 of 20 s or more): {verdict}" in text
