"""Runs of every schema that was ever written are still reported; `stored/` holds a small one of each.

They are what real runs against the simulator left, with the writer's name and paths taken out and summary.json without
its white space. Of the current schema there is one before it becomes an older one: it is what later versions must read.
"""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import reports
from bench.run.document import SCHEMA_VERSION
from bench.run.replay import replay_log
from reports.export import export_log, export_tables
from reports.summary.summary import Summary, summarise
from reports.text.document import SUMMARY_VERSION, summary_data, write_report

STORED = Path(__file__).parent / "stored"
MOST_BYTES = 200_000


def stored(schema: int) -> Path:
    return STORED / f"schema-{schema}"


@cache
def summary_of(schema: int) -> Summary:
    return summarise(reports.load(stored(schema)))


@pytest.mark.parametrize("schema", range(1, SCHEMA_VERSION + 1))
def test_a_run_of_every_schema_is_reported(tmp_path: Path, schema: int) -> None:
    folder = shutil.copytree(stored(schema), tmp_path / "run")
    run = reports.load(folder, everything=False)
    paths = write_report(run)

    assert run.document["schema"] == schema
    assert "VALID" in paths.markdown.read_text()
    assert sum(answer["turns"] for answer in json.loads(paths.json.read_text())["answers"]) == 16


@pytest.mark.parametrize("schema", range(1, SCHEMA_VERSION + 1))
def test_a_run_of_every_schema_is_exported(tmp_path: Path, schema: int) -> None:
    turns, _, _ = export_tables(stored(schema), "parquet", tmp_path)

    assert turns.count == 16
    assert export_log(stored(schema), tmp_path).count > 0


@pytest.mark.parametrize("schema", range(1, SCHEMA_VERSION + 1))
def test_a_stored_run_is_small(schema: int) -> None:
    assert sum(path.stat().st_size for path in stored(schema).rglob("*") if path.is_file()) < MOST_BYTES


def test_a_run_of_schema_1_has_the_measures_of_its_columns_and_no_others() -> None:
    summary = summary_of(1)

    assert {figures.measure for figures in summary.measures} == {
        *("ttfa", "transcript_first", "transcript_total", "transcript_lead", "response_total"),
        "audio_speed",
    }
    assert summary.answers[0].figures.n == 16
    assert not summary.heard
    assert not summary.breakdowns


def test_a_run_of_schema_2_has_two_targets_in_pairs_and_what_a_caller_heard() -> None:
    summary = summary_of(2)

    assert summary.targets == ("east", "west")
    assert summary.interleaving is not None
    assert summary.interleaving.pairs == 8
    assert [answer.turns for answer in summary.heard] == [8, 8]
    assert summary.money.usd > 0


@pytest.mark.parametrize(("schema", "known"), [(1, False), (2, False), (3, True)])
def test_how_late_sessions_began_is_known_since_schema_3(schema: int, known: bool) -> None:
    lag = summary_of(schema).run.sessions["start_delay_ms"]

    assert bool(lag.notna().all()) is known
    assert bool(lag.notna().any()) is known
    assert ("start_delay" in {one.measure for one in summary_of(schema).harness}) is known


def test_the_summary_that_was_written_says_of_a_run_what_is_said_of_it_now() -> None:
    written = json.loads((stored(2) / "summary.json").read_text(encoding="utf-8"))
    now = summary_data(summary_of(2))

    assert written["schema"] == 3 < SUMMARY_VERSION == now["schema"]
    assert written.keys() <= now.keys()
    assert [answer["turns"] for answer in written["answers"]] == [8, 8]
    for told in ("answers", "heard", "turn_measures", "session_measures"):
        assert [_figures(one) for one in written[told]] == [_figures(one) for one in now[told]]


def _figures(told: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(told[key] for key in ("measure", "target", "measured_from", "step", "n", "failed", "min", "max")) + tuple(
        told[quantile]["successes"] for quantile in ("p50", "p95")
    )


def test_the_event_log_of_a_stored_session_is_played_again() -> None:
    (log,) = (stored(2) / "events").iterdir()
    (turn,) = replay_log(log).turns
    row = summary_of(2).run.turns.query("session_id == 'w0-000000'").iloc[0]

    assert turn.outcome == row["outcome"] == "ok"
    assert turn.instants["first_audio"] - turn.start_ns == row["first_audio_at_ns"]
