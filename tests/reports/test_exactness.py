"""Metrics that are uncertain in a run: they are marked, and nothing is decided by them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bench.errors import UsageError
from bench.run.evidence import early_replies
from bench.run.folder import TableName
from bench.run.validity import EARLY_REPLIES, EarlyReplies
from reports.exactness import Inexact
from reports.gate.baselines import baseline_of
from reports.gate.check import check_of, checked
from reports.gate.sentences import unsettled
from reports.looks.decide import look_at
from reports.sample_size import size_question, sized
from reports.summary.summary import summarise
from reports.text.terminal import report_text
from reports.wording.notices import inexact_line, notices
from reports.wording.verdicts import said
from tests.reports.comparisons.build import quick, two
from tests.reports.edited import edit
from tests.reports.gate.made import ENOUGH, read, run, sides, store, thresholds
from tests.reports.planned import TWO, planned_run
from tests.reports.shared import frames_of, summary_of
from tests.reports.synthetic import Plan, write

pytestmark = pytest.mark.usefixtures("few_draws")


LATE = Plan(sessions=60, turns=10, inexact=("response_total",))


NOTE = (
    "Timestamp uncertainty is too high for response_total: it is not compared, and thresholds on it leave room for it: "
    "response_total may be off by 31 ms (p99; limit 20 ms)."
)


WHY = "uncertain in this run: it may be off by 31 ms (p99; limit 20 ms)"


def off_by(folder: Path, milliseconds: int) -> Path:
    """The run, of which the end of each response can be off by so much, and nothing else."""
    bounds = {"response_done_uncertainty_ns": milliseconds * 1_000_000}
    exact = dict.fromkeys(("request_sent_uncertainty_ns", "speech_end_uncertainty_ns"), 0)
    return edit(folder, "uncertainty", lambda _, row: row | exact | bounds)


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def test_a_bound_is_told_with_its_limit() -> None:
    assert plain(Inexact("sim", "response_total", 31.0, 20.0, "ms").why) == WHY
    assert "off by an unknown amount" in Inexact("sim", "audio_speed", None, 0.04, "×").why


def test_only_the_target_is_marked_that_it_is_so_of() -> None:
    found = summary_of(replace(LATE, targets=("direct", "gateway")))

    assert {one.target for one in found.metrics if one.uncertain_because} == {"gateway"}
    assert NOTE.replace("total may", "total on gateway may") == plain(inexact_line(found.run))
    assert not any("uncertainty" in notice for notice in notices(found))


def test_a_comparison_leaves_it_out_and_says_why() -> None:
    comparison = quick(two(Plan(sessions=60, turns=10), replace(LATE, median_ms=1_200, seed=8)))
    found = next(one for one in comparison.findings if one.question.metric == "response_total")

    assert (found.verdict.word, found.difference) == ("inconclusive", None)
    assert plain(said(found.verdict.reason)) == f"{WHY} on sim (other)"
    assert comparison.exit_status == 1  # ttfa is exact, and regressed


@pytest.mark.parametrize("limit", ["med<9s", "med<1ms"])
def test_a_limit_of_it_is_neither_kept_nor_broken(tmp_path: Path, limit: str) -> None:
    found = checked(run(tmp_path, replace(ENOUGH, inexact=("response_total",))), thresholds(f"response_total: {limit}"))

    (item,) = found.thresholds
    assert (item.result, item.value, item.low, item.high) == ("inconclusive", None, None, None)
    assert plain(unsettled(item)) == f"response_total p50 of sim: {WHY}"
    assert found.exit_status == 3


def test_a_limit_leaves_room_for_how_far_it_can_be_off_where_that_is_known(tmp_path: Path) -> None:
    exact = checked(run(tmp_path / "exact"), thresholds("response_total: med<9s")).thresholds[0]
    assert exact.low is not None
    assert exact.high is not None
    limits = ("med<9s", "med<1ms", f"med<{exact.high + 20:.0f}")
    folder = off_by(run(tmp_path / "off", replace(ENOUGH, inexact=("response_total",))), 40)
    found = checked(folder, thresholds(*(f"response_total: {limit}" for limit in limits))).thresholds

    assert [item.result for item in found] == ["pass", "fail", "inconclusive"]
    for item in found:
        assert item.value == exact.value
        assert (item.low, item.high) == (pytest.approx(exact.low - 40), pytest.approx(exact.high + 40))
        assert "each end leaves room for 40 ms, by which it can be off" in plain(item.reason)


def test_stored_runs_neither_hold_it_nor_are_asked_for_it(tmp_path: Path) -> None:
    exact = replace(ENOUGH, turns=2)
    late = replace(exact, inexact=("response_total",))
    stored = [baseline_of(side) for side in sides(late)]
    assert "response_total" not in {one.metric for baseline in stored for one in baseline.quantiles}

    found = check_of(read(late), thresholds("response_total: med<+60%"), str(store(tmp_path, 5, plan=exact)))

    assert (found.thresholds[0].result, plain(found.thresholds[0].reason)) == ("inconclusive", WHY)


def test_a_look_does_not_decide_by_it(tmp_path: Path) -> None:
    gates = {"response_total": ["p(50)<+0.1%"]}
    late = replace(TWO, inexact=("response_total",))

    assert look_at(planned_run(tmp_path / "exact", gates)).exit_status == 1
    found = look_at(planned_run(tmp_path / "late", gates, late))
    assert (found.exit_status, found.course.rulings[0].word) == (3, "inconclusive")
    assert WHY in plain(said(found.course.rulings[0].reason))


def test_no_size_is_planned_with_it(tmp_path: Path) -> None:
    late = Plan(sessions=120, turns=8, seconds=600, inexact=("response_total",))

    with pytest.raises(UsageError, match="response_total p50 is uncertain in this run"):
        sized(write(tmp_path, late), size_question("response_total:p50", None, None, 0.9))
    assert sized(tmp_path, size_question("ttfa:p50", None, None, 0.9)).sessions[1] > 0


SPOKEN = Plan(sessions=60, turns=10, kinds=("vad",))


ENTRY = {"target": "sim", "metric": "voice_to_voice", "value": 4.25, "limit": 1.0, "unit": "%", "reason": EARLY_REPLIES}


VERDICT: dict[str, Any] = {"status": "valid", "uncertain_metrics": [ENTRY]}


def plain_of_early_replies(text: str) -> str:
    return " ".join(text.replace("\u00a0", " ").split())


def rows_of(cut_off: list[bool], *, early: list[bool] | None = None) -> Any:
    """A reader of turns that end their question at 1,000 and are answered at 1,500, or at 900 if `early`."""
    n = len(cut_off)
    turns = pa.table({
        "target": ["agent"] * n,
        "host": ["h"] * n,
        "phase": ["measurement"] * n,
        "outcome": ["ok"] * n,
        "measured_from": ["speech_end"] * n,
        "cut_off": cut_off,
        "speech_end_at_ns": [1_000] * n,
        "first_audible_at_ns": [900 if each else 1_500 for each in early or cut_off],
    })  # fmt: skip

    def read(_: TableName, columns: list[str]) -> pa.Table:
        missing = {name: pa.nulls(n, pa.int64()) for name in columns if name not in turns.column_names}
        whole = turns
        for name, column in missing.items():
            whole = whole.append_column(name, column)
        return whole.select(columns)

    return read


@pytest.mark.parametrize(
    ("duplex", "early", "percent"), [(True, [False, False], 50.0), (False, [True, False], 50.0), (False, None, 50.0)]
)
def test_early_replies_are_counted_by_target(duplex: bool, early: list[bool] | None, percent: float) -> None:
    document = {"targets": [{"name": "agent", "full_duplex": duplex}]}

    assert list(early_replies(rows_of([True, False], early=early), document)) == [
        EarlyReplies("agent", percent, ("voice_to_voice",))
    ]


def test_an_answer_to_a_pause_that_did_not_count_spoils_no_wait_of_a_service_with_events() -> None:
    document = {"targets": [{"name": "agent", "full_duplex": False}]}

    assert list(early_replies(rows_of([True, False], early=[False, False]), document)) == []


@pytest.mark.parametrize("limit", ["med<9s", "med<1ms"])
def test_no_threshold_on_the_wait_passes_or_fails(tmp_path: Path, limit: str) -> None:
    found = checked(write(tmp_path, SPOKEN, validity=VERDICT), thresholds(f"voice_to_voice: {limit}", "ttfa: med<9s"))

    assert [item.result for item in found.thresholds] == ["inconclusive", "pass"]
    assert "started before their question had ended" in plain_of_early_replies(found.thresholds[0].reason)
    assert found.exit_status == 3


def test_an_answer_that_the_script_defines_has_a_row_and_a_sentence_of_its_own() -> None:
    document = frames_of(SPOKEN).metadata
    scripts = [script | {"answer_min_ms": 700.0} for script in document["scripts"]]
    frames = frames_of(SPOKEN, scripts=scripts)
    frames.turns["answer_audible_at_ns"] = frames.turns["first_audible_at_ns"] + 2_000_000_000
    text = plain_of_early_replies(report_text(summarise(frames)))

    assert "Callers hear the answer 2." in text
    assert "answer_voice_to_voice" in text
