"""Typed and spoken turns of one run: what is never pooled, what callers hear, what is counted beside it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import reports
from bench.errors import UsageError
from reports import render
from reports.sentences import headline, heard
from tests.reports import synthetic
from tests.reports.synthetic import Plan
from tests.reports.test_summary import build, figures, rewrite


def test_one_step_has_one_kind_of_origin(tmp_path: Path) -> None:
    synthetic.write(tmp_path, Plan())
    other = {"origin": "requested", "requested_at_ns": 1_400_000_000}

    with pytest.raises(UsageError, match="step 'greeting' mixes turns that count from different origins"):
        rewrite(tmp_path, lambda index, row: row | (other if index == 0 else {}))


def test_steps_of_another_origin_are_not_pooled_with_the_others(tmp_path: Path) -> None:
    synthetic.write(tmp_path, Plan())
    other = {"origin": "requested", "requested_at_ns": 1_400_000_000}
    summary = rewrite(tmp_path, lambda _, row: row | (other if row["step"] == "greeting" else {}))

    assert [(a.label, a.figures.n) for a in summary.answers] == [
        ("sim · from response.create", 10),
        ("sim · from the end of speech", 30),
    ]
    assert figures(summary, "ttfa", step="greeting").origin == "requested"


def test_what_a_failed_turn_counts_from_makes_no_difference(tmp_path: Path) -> None:
    """It may have ended before it was clear who would end it."""
    synthetic.write(tmp_path, Plan(kinds=("manual",)))
    cut = {"origin": "speech_end", "outcome": "closed:1006", "requested_at_ns": None}
    (answer,) = rewrite(tmp_path, lambda index, row: row | (cut if index == 0 else {})).answers

    assert (answer.origin, answer.figures.n, answer.figures.failed) == ("requested", 40, 1)


def test_no_turn_is_left_out_of_the_answer(tmp_path: Path) -> None:
    plan = Plan(sessions=30, turns=5, targets=("a", "b"), kinds=("vad", "typed"), failed=0.1, abandoned=4)
    summary = build(tmp_path, plan)

    assert len(summary.answers) == 4
    assert sum(answer.turns for answer in summary.answers) == sum(summary.outcomes.begun)
    assert sum(answer.failed for answer in summary.answers) == sum(summary.outcomes.failed)
    assert all(answer.figures.n == answer.ended for answer in summary.answers)


def test_each_origin_has_its_own_main_measure(tmp_path: Path) -> None:
    """Typed turns answer in text, spoken ones in audio: both are answered."""
    synthetic.write(tmp_path, Plan(kinds=("vad", "typed")))

    def change(_: int, row: dict[str, Any]) -> dict[str, Any]:
        in_text = {"first_text_at_ns": row["first_audio_at_ns"], "first_audio_at_ns": None}
        return row | (in_text if row["origin"] == "requested" else {})

    summary = rewrite(tmp_path, change)

    assert summary.mains == {"requested": "ttft", "speech_end": "ttfa"}
    assert [(a.figures.measure, a.figures.n) for a in summary.answers] == [("ttft", 20), ("ttfa", 20)]
    assert "Callers wait" in headline(summary)
    assert "The first text of the reply" in headline(summary)


def test_what_callers_hear_is_answered_where_turns_are_spoken(tmp_path: Path) -> None:
    mixed = build(tmp_path / "mixed", Plan(sessions=20, turns=5, kinds=("vad", "manual", "typed")))
    one = build(tmp_path / "one", Plan())

    labels = ("sim · turns with response.create", "sim · VAD turns")
    assert [(a.label, a.turns) for a in mixed.heard] == [(label, 40) for label in labels]
    assert [(a.label, a.turns) for a in one.heard] == [("sim", 40)]
    assert not build(tmp_path / "text", Plan(text=True)).heard
    assert "jitter buffer of 60\u00a0ms included" in heard(one)


def test_a_stall_is_no_wait_and_a_failed_turn_no_endless_one(tmp_path: Path) -> None:
    summary = build(tmp_path, Plan(sessions=40, failed=0.2))

    for measure in ("stall", "stalls", "vad_splits", "network_rtt", "retransmits"):
        found = figures(summary, measure)
        assert found.failed > 0
        assert all(math.isfinite(estimate.value) for estimate in found.quantiles)
    assert figures(summary, "turn_detection").n == figures(summary, "ttfa").n


def test_what_turn_detection_and_the_network_did_is_counted(tmp_path: Path) -> None:
    summary = build(tmp_path, Plan(sessions=20, kinds=("vad", "typed"), early=6, failed=0.1, stray_commits=2))
    turns = reports.load(tmp_path).turns
    (counts,) = summary.counts

    assert (counts.early, counts.split, counts.splits) == (3, 3, 3)
    assert counts.noticed == int(turns["speech_stopped_at_ns"].notna().sum())
    assert counts.replies == int((turns["stalls"].notna() & (turns["outcome"] == "ok")).sum())
    assert counts.stalled == int(((turns["stalls"] > 0) & (turns["outcome"] == "ok")).sum())
    assert (counts.watched, counts.resent) == (80, int(turns["retransmits"].sum()))
    assert "2 commits were made by no turn of the script: noise, or the idle timeout." in summary.notices


def test_the_chunk_of_vad_turns_is_explained(tmp_path: Path) -> None:
    summary, manual = build(tmp_path / "vad", Plan()), build(tmp_path / "manual", Plan(kinds=("manual",)))

    assert "up to one chunk (100\u00a0ms) of packetisation" in summary.setup.packetisation
    assert summary.setup.chunks in render.terminal(summary).replace(" ms", "\u00a0ms")
    assert not manual.setup.packetisation


def test_settings_that_an_older_run_lacks_are_not_known(tmp_path: Path) -> None:
    summary = build(tmp_path, Plan(), scripts=[{"name": "voice_turns", "chunk_ms": 100}])

    assert not summary.setup.packetisation
    assert "jitter buffer not recorded" in heard(summary)
