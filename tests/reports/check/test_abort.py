"""Interim analyses of thresholds with `abort`, and the check of a run that one of them stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bench.record.document import AbortAnalysisEntry
from reports.analysis.check.abort import (
    ANALYSES,
    LEVEL,
    AbortAnalysis,
    analyse,
    error_of,
    plan_abort,
)
from reports.analysis.check.check import check_of
from reports.analysis.sequential.decide import end_of
from reports.data.runs import load_for_report
from reports.metrics.thresholds import Threshold, read_thresholds
from reports.pages.check.__main__ import analyse as answer
from reports.pages.check.report import check_page
from reports.render.markdown import render_markdown
from tests.reports import synthetic
from tests.reports.edited import edit, waiting
from tests.reports.shared import frames_of
from tests.reports.synthetic import Plan
from tools.benchmarks import aborts
from tools.benchmarks.on_the_margin import error
from tools.schemas import schemas

CALLS = Plan(sessions=120, turns=10, seconds=300, paired=True)
"""A run of which 120 calls have ended. The median of ttfa is about 600 ms."""
SLOW, FINE = (
    'ttfa: {threshold: "p(95)<800", abort: true}\n',
    'ttfa: {threshold: "p(95)<20s", abort: true}\n',
)


def planned(folder: Path, text: str, **changes: Any) -> dict[str, Any]:
    """Return the plan of the thresholds in this text, as run.json of a run of at most 400 calls
    stores it.
    """
    (folder / "ci.yaml").write_text(text)
    plan = plan_abort(read_thresholds(folder / "ci.yaml"))
    assert plan is not None
    return {**plan, "sessions": 400} | changes


def analysis_of(
    folder: Path, text: str, *, share: float = 0.3, plan: Plan = CALLS, made: Any = ()
) -> AbortAnalysis:
    """Return an analysis of a run that continues."""
    document = synthetic.target_keys(plan) | {"state": "running", "abort": planned(folder, text)}
    return analyse(frames_of(plan, **document), made, share)


def stopped_run(folder: Path, text: str = SLOW, plan: Plan = CALLS, **changes: Any) -> Path:
    """Write a run that was stopped by an analysis of its first 60 calls."""
    abort = planned(folder, text)
    keys = synthetic.target_keys(plan)
    sixty = edit(
        synthetic.write(folder / "sixty", plan, **(keys | {"state": "running", "abort": abort})),
        "sessions",
        lambda _, row: row if row["pair"] < 60 else None,
    )
    result = answer(str(sixty), json.dumps({"made": [], "share": 0.2}))
    abort |= {"made": [{"sessions": result["sessions"], "share": 0.2}], "reason": result["reason"]}
    document = {
        "abort": abort,
        "stop_reason": result["sentence"],
        "thresholds": abort["thresholds"],
    }
    return synthetic.write(folder / "run", plan, **(keys | document | changes))


def test_a_service_that_is_clearly_too_slow_stops_the_run(tmp_path: Path) -> None:
    analysis = analysis_of(tmp_path, SLOW)

    assert (analysis.sessions, [item.result for item in analysis.failed]) == (120, ["fail"])
    assert analysis.reason is not None
    assert analysis.reason.numbers["planned"] == 400


def test_a_service_within_its_limits_does_not_stop_the_run(tmp_path: Path) -> None:
    assert analysis_of(tmp_path, FINE) == AbortAnalysis(120)


def test_an_analysis_needs_the_calls_that_printing_the_value_needs(tmp_path: Path) -> None:
    few = replace(CALLS, sessions=30)

    assert not analysis_of(tmp_path, SLOW, plan=few).failed
    assert analysis_of(tmp_path, SLOW.replace("95", "50").replace("800", "200"), plan=few).failed
    assert analysis_of(tmp_path, SLOW, plan=replace(CALLS, sessions=19)) == AbortAnalysis(0)


def test_an_analysis_without_further_calls_is_not_made(tmp_path: Path) -> None:
    assert analysis_of(tmp_path, SLOW, made=[{"sessions": 120, "share": 0.2}]) == AbortAnalysis(0)


def test_an_analysis_uses_the_calls_before_the_first_that_has_not_ended(tmp_path: Path) -> None:
    folder = synthetic.write(
        tmp_path / "run",
        CALLS,
        **(synthetic.target_keys(CALLS) | {"state": "running", "abort": planned(tmp_path, SLOW)}),
    )
    edit(folder, "sessions", lambda _, row: None if row["pair"] == 70 else row)

    assert analyse(load_for_report(folder), [], 0.3).sessions == 70


def test_an_outage_stops_the_run_by_every_threshold(tmp_path: Path) -> None:
    outage = replace(CALLS, failed=1.0)
    analysis = analysis_of(
        tmp_path, SLOW + 'failure_rate: {threshold: "rate<2%", abort: true}\n', plan=outage
    )

    assert {item.spec.metric for item in analysis.failed} == {"ttfa", "failure_rate"}


def test_a_share_by_a_deadline_stops_the_run_only_if_it_is_too_small(tmp_path: Path) -> None:
    text = 'ttfa: {threshold: "within(800)>SHARE", abort: true}\n'

    assert analysis_of(tmp_path, text.replace("SHARE", "0.99")).failed
    assert not analysis_of(tmp_path, text.replace("SHARE", "0.50")).failed


def test_thresholds_without_abort_never_stop_the_run(tmp_path: Path) -> None:
    (tmp_path / "ci.yaml").write_text("ttfa: p(95)<800\n")

    assert plan_abort(read_thresholds(tmp_path / "ci.yaml")) is None


def made_at(*analyses: tuple[int, float]) -> Sequence[AbortAnalysisEntry]:
    return [{"sessions": sessions, "share": share} for sessions, share in analyses]


def test_all_tests_of_a_run_share_its_error() -> None:
    first = made_at((40, 0.1))

    assert error_of(first, LEVEL, 1) == pytest.approx(LEVEL * 0.1**2)
    assert error_of(first, LEVEL, 5) == pytest.approx(LEVEL * 0.1**2 / 5)


def test_the_check_of_a_stopped_run_has_the_result_of_the_analysis(tmp_path: Path) -> None:
    folder = stopped_run(tmp_path)
    # calls after the analysis
    waiting(folder, lambda row: 0.01 if int(row["session_id"][1:]) >= 60 else 1.0)
    run = load_for_report(folder)
    checked = check_of(run)

    assert checked.exit_status == 1
    (item,) = checked.thresholds
    assert (item.result, item.counts.sessions, item.notes[0].code) == ("fail", 60, "decided_early")
    not_stopped = replace(
        run, metadata=run.metadata | {"abort": run.metadata["abort"] | {"reason": None}}
    )
    assert check_of(not_stopped).thresholds[0].result != "fail"


def both(folder: Path, text: str) -> tuple[Threshold, ...]:
    """Return the threshold that stopped the run, and the thresholds in this text."""
    (folder / "both.yaml").write_text(SLOW + text)
    return read_thresholds(folder / "both.yaml")


def test_other_thresholds_of_a_stopped_run_are_checked_with_all_of_its_calls(
    tmp_path: Path,
) -> None:
    checked = check_of(
        stopped_run(tmp_path), both(tmp_path, "failure_rate: rate<50%\nttft: p(50)<60s\n")
    )

    assert [item.result for item in checked.thresholds] == ["fail", "pass", "not_evaluated"]
    assert [item.counts.sessions for item in checked.thresholds] == [60, 120, 0]
    assert checked.exit_status == 1, "a metric may be unmeasured because the run was stopped"
    assert [alert.code for alert in checked.alerts] == ["checked_until_stop"]


def test_a_check_with_other_thresholds_warns_that_the_run_was_stopped(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("failure_rate: rate<50%\n")
    checked = check_of(stopped_run(tmp_path), read_thresholds(tmp_path / "other.yaml"))

    assert (checked.exit_status, [alert.code for alert in checked.alerts]) == (
        0,
        ["checked_until_stop"],
    )


def test_the_page_and_the_files_of_a_stopped_run_state_the_analysis(tmp_path: Path) -> None:
    folder = stopped_run(tmp_path)
    page = render_markdown(check_page(check_of(folder)))

    assert "stopped at call 60 of 400: ttfa: p(95)<800 cannot pass" in " ".join(
        page.replace("&lt;", "<").split()
    )
    jsonschema.validate(json.loads((folder / "run.json").read_text()), schemas()["run"])


def test_interim_analyses_of_a_comparison_are_not_final_if_a_limit_stopped_the_run() -> None:
    stopped = {
        "state": "ended",
        "stop_reason": "stopped at call 60",
        "abort": {"reason": {"code": "stopped_early"}},
    }

    assert end_of(stopped) == "by hand"
    assert end_of(stopped | {"abort": {"reason": None}}) == "blind"


def test_few_runs_of_a_service_at_its_limit_stop_and_a_slow_service_saves_half_of_the_calls() -> (
    None
):
    truth, shape, runs = aborts.true_quantile(0.5), (60, 5), 100
    at_limit = aborts.stops_of_quantile(0.5, truth, *shape, runs)
    too_slow = aborts.stops_of_quantile(0.5, truth / aborts.SLOWER, *shape, 20)
    failing = aborts.stops_of_failures(aborts.FAILED, aborts.FAILED, 0.1, *shape, runs)

    for stops in (at_limit, failing):
        assert sum(stop.is_stopped for stop in stops) / runs <= LEVEL + 3 * error(LEVEL, runs)
    assert sum(stop.used for stop in too_slow) / 20 <= aborts.MAX_USED
    assert all(stop.is_stopped for stop in too_slow)
    assert ANALYSES == 10
