"""Summaries of runs: the samples of metrics, sums of outcomes, values that are not pooled, and
the measured phase.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import rtbench
from bench.catalogue.outcomes import outcome_class, remedy_of
from bench.record.folder import SCHEMAS
from bench.record.histograms import MAX_STEPS, OTHER_STEP, Histograms
from reports.analysis.summary.outcomes import OutcomeCount, Outcomes, cause_of
from reports.analysis.summary.summary import Summary, summarise
from reports.analysis.targets.named import parse_targets
from reports.data.runs import RunFrames, load_for_report, session_frame, turn_frame
from reports.data.turns import measured_turns
from reports.pages.run_report.document import summary_data
from reports.statistics.quantiles import quantile
from reports.text.notices import decision_notice, notices
from reports.text.remarks import interleaved
from reports.text.validity import remedy_line, verdict_reason
from tests.reports import synthetic
from tests.reports.edited import Row, edit, edited
from tests.reports.forms import target_notices
from tests.reports.shared import figures, summary_in, summary_of
from tests.reports.synthetic import Plan


def test_values_equal_those_of_the_rows(tmp_path: Path) -> None:
    summary = summary_in(tmp_path, Plan(sessions=40, turns=5, targets=("a", "b"), failed=0.05))
    turns = rtbench.load(tmp_path).turns
    mine = turns[turns["target"] == "b"]
    endless = np.where(mine["outcome"] == "ok", mine["ttfa_ms"], np.inf)

    found = figures(summary, "ttfa", "b")
    assert found.n == 100
    assert found.failed == int((mine["outcome"] != "ok").sum()) > 0
    published = [estimate for estimate in found.quantiles if not estimate.has_too_few]
    assert {e.p: e.value for e in published} == {0.5: quantile(np.sort(endless), 0.5)}
    assert found.largest == mine.loc[mine["outcome"] == "ok", "ttfa_ms"].max()
    assert (
        sum(
            f.n
            for f in summary.turn_metrics
            if (f.metric, f.target) == ("ttfa", "b") and f.step != "all"
        )
        == 100
    )


def test_a_failed_turn_counts_if_successful_turns_of_its_step_have_the_metric(
    tmp_path: Path,
) -> None:
    """Only one of the steps requests text.

    A failed turn of this step has no ttfa, so it is not counted as an infinite ttfa.
    """
    synthetic.write(tmp_path, Plan(sessions=20, turns=4))

    def change(index: int, row: Row) -> Row:
        if row["step"] == "greeting":
            row |= {"first_text_at_ns": row["first_audio_at_ns"], "first_audio_at_ns": None}
        return row | ({"outcome": "timeout:response"} if index < 4 else {})

    summary = edited(tmp_path, change)
    assert (figures(summary, "ttfa").n, figures(summary, "ttfa").failed) == (60, 3)
    assert (figures(summary, "ttft").n, figures(summary, "ttft").failed) == (20, 1)
    assert {f.step for f in summary.turn_metrics if f.metric == "ttft"} == {"all", "greeting"}


def test_failed_turns_do_not_count_for_metrics_that_are_no_latency() -> None:
    summary = summary_of(Plan(sessions=40, failed=0.2))

    speed = figures(summary, "audio_speed")
    assert speed.failed > 0
    assert speed.n == summary.endings.started - speed.failed
    assert math.isfinite(speed.at(0.5).value)
    assert not any(estimate.in_failures for estimate in speed.quantiles)


def test_outcomes_add_up_to_started_turns_and_turns_not_started_are_separate() -> None:
    summary = summary_of(Plan(sessions=20, failed=0.3, abandoned=3, refused=2))
    outcomes, rows = summary.endings, rtbench.load(summary.run.folder)
    bad = {
        name
        for frame in (rows.turns, rows.sessions)
        for name in frame.loc[frame["outcome_class"] == "failed", "session_id"].astype(str)
    }

    (of_target,) = outcomes.targets

    assert of_target.sessions_with_failure == len(bad)
    assert sum(ending.counts[0] for ending in outcomes.turns) == outcomes.started == 80
    assert sum(ending.counts[0] for ending in outcomes.sessions) == outcomes.opened == 22
    assert (outcomes.not_started, outcomes.planned) == (8, 85)
    assert of_target.failure_rate == (of_target.turns_failed + 8) / 85
    assert [ending.kind for ending in outcomes.turns] == sorted(
        (ending.kind for ending in outcomes.turns), key=["success", "failed", "unfinished"].index
    )


def test_sessions_that_never_opened_are_infinite_connect_times() -> None:
    summary = summary_of(Plan(sessions=20, refused=4))
    found = {f.metric: f for f in summary.connect_phases}

    assert (found["connect_tcp"].failed, found["connect_tcp"].n) == (0, 24)
    assert (found["connect_total"].failed, found["connect_total"].n) == (4, 24)
    assert found["session_duration"].n == 20


def test_event_metrics_and_throughput_come_from_histograms() -> None:
    summary = summary_of(Plan(targets=("a", "b")))

    gaps = [d for d in summary.event_metrics if d.metric == "delta_gap"]
    assert [(d.target, d.n, d.negative) for d in gaps] == [("a", 300, 2), ("b", 300, 2)]
    assert all(20 < d.at(0.5) < d.at(0.9) < d.at(0.99) <= d.largest < 400 for d in gaps)
    assert {d.metric for d in summary.load_generator} == {
        "timestamp_uncertainty",
        "receive_delay",
        "send_delay",
        "event_loop_delay",
    }
    rates = {(t.metric, t.target): t for t in summary.throughput}
    assert len(rates) == 8
    assert rates["wire_sent", "a"].per_second.n == rates["wire_sent", "a"].per_session.n == 40
    assert rates["wire_sent", "a"].mean_bytes_per_s > rates["audio_sent", "a"].mean_bytes_per_s > 0


def test_a_killed_run_has_no_verdict(tmp_path: Path) -> None:
    summary = summarise(load_for_report(synthetic.write_killed(tmp_path, Plan(sessions=20))))

    assert (summary.validity.status, verdict_reason(summary.validity)) == (
        "no_verdict",
        "the run has not ended",
    )
    assert summary.duration_s > 0
    assert any("in progress" in notice for notice in notices(summary))


def test_missing_rows_cause_a_notice() -> None:
    totals = {"turns_started": 41, "timestamp_fallbacks": 2}
    printed = notices(summary_of(Plan(), totals=totals))

    assert any("41 turns started, but only 40" in notice for notice in printed)
    assert any("2 events had no usable kernel timestamp" in notice for notice in printed)


DAY_NS = 86_400 * 10**9


@pytest.mark.parametrize(
    "settings",
    [
        {"audio": {"input": {"transcription": {"model": "whisper-1"}}}},
        {"input_audio_transcription": {"model": "whisper-1"}},
    ],
)
def test_the_retirement_of_the_transcription_model_causes_a_notice(
    settings: Any, tmp_path: Path
) -> None:
    plan = Plan(simulated=False)
    changes = synthetic.target_keys(plan, service="openai") | {
        "started_utc_ns": synthetic.BEGAN_NS + 60 * DAY_NS
    }
    synthetic.write(tmp_path, plan, **changes)
    reported = {"effective_settings": json.dumps(settings), "model": None}
    printed = notices(edited(tmp_path, lambda _, row: row | reported, "sessions"))

    assert (
        sum(
            notice.startswith("whisper-1 is switched off on 2027-02-26, in 38 days (")
            for notice in printed
        )
        == 1
    )


ANSWER = {
    "end": "regressed",
    "invalid": [],
    "headline": "b regressed: ttfa p50 +44\u00a0%, margin 10\u00a0%.",
}
FUTILE = {
    "end": "futility",
    "invalid": [],
    "headline": "inconclusive, and would stay so at 200\u00a0pairs: ttfa p50.",
}
INVALID = {
    "end": "invalid",
    "invalid": [{"code": "throttled", "numbers": {"target": "b", "share": 0.03}}],
    "headline": "Do not use these results: b: 3 % was throttled.",
}
LOOKED = {
    "stopped_by_analysis": True,
    "analyses": [{}, {}, {}],
    "plan": {"analyses": [50, 100, 150, 200]},
    "pairs": 150,
}


@pytest.mark.parametrize(
    ("decision", "how", "outcome"),
    [
        (ANSWER | LOOKED, "Decided", "b regressed: ttfa p50 +44\u00a0%, margin 10\u00a0%."),
        (FUTILE | LOOKED, "Ended", "inconclusive, and would stay so at 200\u00a0pairs: ttfa p50."),
        (INVALID | LOOKED, "Ended", "Do not use these results: b: 3 % was throttled."),
    ],
)
def test_a_run_decided_by_interim_analysis_did_not_end_early(
    tmp_path: Path, decision: Any, how: str, outcome: str
) -> None:
    """A target may have any name, which may contain words of the reasons for an end. The tool
    must not confuse them.
    """
    tmp_path.joinpath("decision.json").write_text(json.dumps(decision))
    summary = summary_in(
        tmp_path, Plan(), stop_reason="whatever; stopped at a look", sequential_plan={"pairs": 200}
    )

    assert (
        decision_notice(summary.run)
        == f"{how} by interim analysis\u00a03 of 4, 150\u00a0pairs. {outcome}"
    )
    assert not any("ended early" in notice for notice in notices(summary))


@pytest.mark.parametrize(
    "written",
    [
        "{",
        "[]",
        "{}",
        json.dumps(FUTILE | LOOKED | {"end": "no_analysis", "stopped_by_analysis": False}),
    ],
)
def test_a_run_without_a_decision_has_a_notice_with_the_cause_of_its_end(
    tmp_path: Path, written: str
) -> None:
    tmp_path.joinpath("decision.json").write_text(written)
    summary = summary_in(
        tmp_path, Plan(), stop_reason="interrupted", sequential_plan={"pairs": 200}
    )

    assert decision_notice(summary.run) == ""
    assert "This run ended early: interrupted." in notices(summary)


def test_a_quantile_among_failed_turns_is_null_with_in_failures() -> None:
    answer = summary_data(summary_of(Plan(failed=1.0)))["results"][0]

    assert (answer["p50"]["value"], answer["p50"]["in_failures"], answer["p50"]["reported"]) == (
        None,
        True,
        False,
    )


def run_of(rows: list[dict[str, Any]]) -> RunFrames:
    known = {
        "session_id": "s1",
        "target": "sim",
        "outcome": "ok",
        "measured_from": "request_sent",
        "turn": 1,
    }
    turns = turn_frame(pa.Table.from_pylist([known | row for row in rows], schema=SCHEMAS["turns"]))
    no_sessions = session_frame(SCHEMAS["sessions"].empty_table())
    return RunFrames(
        Path("run"), {}, turns, no_sessions, pd.DataFrame(), Histograms(), finalized=True
    )


def test_the_most_common_step_labels_are_kept_and_the_others_are_combined() -> None:
    numbers = [number for number in range(40) for _ in range(1 + number)]
    found = measured_turns(
        run_of([{"script": "long", "step": f"step_{number}"} for number in numbers])
    )

    turns_by_step = Counter(found.steps[int(step)] for step in found.step)
    assert turns_by_step[OTHER_STEP] == sum(1 + number for number in range(40 - MAX_STEPS))
    assert {f"step_{number}": 1 + number for number in range(40 - MAX_STEPS, 40)} == {
        step: n for step, n in turns_by_step.items() if step != OTHER_STEP
    }
    assert found.frame["step"].nunique() == 40


def test_the_number_of_step_labels_is_limited_per_script() -> None:
    rows = [
        {"script": script, "step": f"{script}_{number}"}
        for script in "ab"
        for number in range(MAX_STEPS)
    ]

    assert len(measured_turns(run_of(rows)).steps) == 2 * MAX_STEPS


def test_step_labels_of_the_warm_up_do_not_count() -> None:
    rows = [
        {"script": "a", "step": f"cold_{number}", "phase": "warmup"} for number in range(MAX_STEPS)
    ]
    rows += [
        {"script": "a", "step": f"step_{number}", "phase": "measurement"}
        for number in range(MAX_STEPS)
    ]

    assert OTHER_STEP not in measured_turns(run_of(rows)).steps


SILENCE = "nothing came within 10 s (timeout `next_delta`)"


def rows(
    *details: str | None, outcome: str = "timeout:next_delta", kind: str = "failed"
) -> pd.DataFrame:
    return pd.DataFrame(
        {"outcome": outcome, "outcome_class": kind, "cause": pd.Series(details, dtype=object)}
    )


def test_a_detail_with_the_service_s_message_is_preferred_to_a_more_common_one() -> None:
    details = [
        f"{SILENCE}; the service reported: overloaded: request {number}" for number in (1, 2)
    ]

    assert cause_of(rows(SILENCE, SILENCE, SILENCE, *details)) == {"timeout:next_delta": details[0]}


def ending(outcome: str, count: int) -> OutcomeCount:
    return OutcomeCount(outcome, outcome_class(outcome), (count,))


def outcomes(turns: list[OutcomeCount], sessions: list[OutcomeCount]) -> Outcomes:
    return Outcomes(tuple(turns), tuple(sessions), (), (), (), {"a": {}})


def test_remedies_are_listed_once_with_all_their_outcomes_most_common_first() -> None:
    turns = [
        ending("ok", 50),
        ending("closed:1001", 2),
        ending("closed:1000", 5),
        ending("failed:x", 6),
    ]
    found = outcomes(turns, [ending("closed:1000", 5), ending("connect_failed:tcp", 9)]).remedies()

    assert [remedy.outcomes for remedy in found] == [
        ("connect_failed:tcp",),
        ("failed:x",),
        ("closed:1000", "closed:1001"),
    ]
    assert remedy_line(found[0]) == f"connect_failed:tcp: {remedy_of('connect_failed:tcp')}"


PLAN = Plan(
    sessions=240,
    turns=5,
    targets=("sweden", "eastus2"),
    seconds=300,
    paired=True,
    usage=True,
    limited=True,
    warmup_s=100,
    auth_waits=7,
)


def with_odd_warm_up(table: str, kept: bool, _: int, row: Row) -> Row | None:
    """Remove a row of the warm-up, or make its values slow, busy or uncertain."""
    if row["phase"] != "warmup" or not kept:
        return row if row["phase"] != "warmup" else None
    if table == "sessions":
        return row | {
            name: 10 * row[name]
            for name in row
            if name.endswith("_at_ns") and row[name] is not None
        }
    return row | ({"cpu": 0.99} if table == "seconds" else {"uncertain_gaps": 9})


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return two runs. They are equal, but the second one has no rows of the warm-up."""
    whole, measured = (tmp_path_factory.mktemp(name) for name in ("whole", "measured"))
    for folder in (whole, measured):
        synthetic.write(folder, PLAN, **synthetic.target_keys(PLAN))
        for table in ("turns", "sessions", "seconds"):
            edit(folder, table, partial(with_odd_warm_up, table, folder == whole))
    return whole, measured


@pytest.fixture(scope="module")
def summaries(folders: tuple[Path, Path]) -> tuple[Summary, Summary]:
    whole, measured = (summarise(load_for_report(folder)) for folder in folders)
    return whole, measured


def test_pairs_are_counted_like_in_a_comparison(
    summaries: tuple[Summary, Summary], folders: tuple[Path, Path]
) -> None:
    whole, measured = summaries
    sides = parse_targets([folders[0]])

    assert whole.interleaving is not None
    assert whole.interleaving == measured.interleaving
    assert whole.interleaving.pairs == sides[0].sessions == len(whole.sessions) / 2
    assert interleaved(whole.interleaving) in target_notices(sides)
    assert whole.target_settings == measured.target_settings


def test_cost_and_rate_limits_include_the_warm_up(summaries: tuple[Summary, Summary]) -> None:
    whole, measured = summaries

    assert whole.cost.usd > measured.cost.usd
    assert sum(one.throttled for one in whole.throttling.targets) >= sum(
        one.throttled for one in measured.throttling.targets
    )
    assert sum(one.counts.sum() for one in whole.throttling.targets) > sum(
        one.counts.sum() for one in measured.throttling.targets
    )
