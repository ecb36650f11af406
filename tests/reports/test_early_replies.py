"""Replies that began before their question had ended: the report says it first, and no wait of theirs decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bench.run.evidence import early_replies
from bench.run.folder import TableName
from bench.run.validity import EARLY_REPLIES, EarlyReplies
from reports.gate.check import checked
from reports.question import Question
from reports.statistics.differences import Margin
from reports.summary.summary import summarise
from reports.text.terminal import report_text
from reports.wording.verdicts import said
from tests.reports.comparisons.build import quick, two
from tests.reports.gate.made import thresholds
from tests.reports.shared import frames_of
from tests.reports.synthetic import Plan, write

pytestmark = pytest.mark.usefixtures("few_draws")

SPOKEN = Plan(sessions=60, turns=10, kinds=("vad",))
ENTRY = {"target": "sim", "metric": "voice_to_voice", "value": 4.25, "limit": 1.0, "unit": "%", "reason": EARLY_REPLIES}
VERDICT: dict[str, Any] = {"status": "valid", "uncertain_metrics": [ENTRY]}


def plain(text: str) -> str:
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
    assert "started before their question had ended" in plain(found.thresholds[0].reason)
    assert found.exit_status == 3


def test_nothing_is_compared_by_the_wait() -> None:
    asked = [Question("voice_to_voice", "quantile", Margin(ratio=0.1), 0.5, primary=True)]
    comparison = quick(two(SPOKEN, SPOKEN, validity=VERDICT), questions=asked)

    assert comparison.findings[0].difference is None
    assert "started before their question had ended" in plain(said(comparison.findings[0].verdict.reason))


def test_an_answer_that_the_script_defines_has_a_row_and_a_sentence_of_its_own() -> None:
    document = frames_of(SPOKEN).metadata
    scripts = [script | {"answer_min_ms": 700.0} for script in document["scripts"]]
    frames = frames_of(SPOKEN, scripts=scripts)
    frames.turns["answer_audible_at_ns"] = frames.turns["first_audible_at_ns"] + 2_000_000_000
    text = plain(report_text(summarise(frames)))

    assert "Callers hear the answer 2." in text
    assert "answer_voice_to_voice" in text
