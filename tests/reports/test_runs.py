"""Reading of run folders: derived metrics, ended and killed runs, nearly empty documents, and a
stored run.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rtbench
from bench.base.errors import UsageError
from bench.catalogue.causes import Cause, Code, Limit, encoded, text_of
from bench.catalogue.columns import ADDED, UNCERTAINTY_COLUMNS
from bench.catalogue.outcomes import NO_REPLY, remedy_of
from bench.record import folder as run_folder
from bench.record.document import SCHEMA_VERSION
from bench.record.folder import SCHEMAS
from bench.record.histograms import HistogramKey
from bench.record.replay import replay_log
from bench.record.spool import FACTS, HISTOGRAMS, path_of
from reports.analysis.summary.summary import summarise
from reports.data import runs
from reports.data.runs import (
    SESSION_METRICS,
    TURN_METRICS,
    load_for_report,
    response_ids,
    turn_frame,
)
from reports.data.turns import column_of, measured_turns
from reports.pages.run_report.document import summary_json
from tests.reports import synthetic
from tests.reports.synthetic import Plan


def one_row(table: run_folder.TableName, **values: object) -> pa.Table:
    """Return a table of one row, in which only the columns `values` are set."""
    return pa.Table.from_pylist([values], schema=SCHEMAS[table])


def test_metrics_are_the_differences_of_their_instants(tmp_path: Path) -> None:
    run = rtbench.load(synthetic.write(tmp_path, Plan(failed=0.2)))

    for metric in TURN_METRICS:
        if not metric.column:
            begin, end = run.turns[f"{metric.begin}_at_ns"], run.turns[f"{metric.end}_at_ns"]
            less = run.turns[metric.less] if metric.less else 0
            np.testing.assert_array_equal(
                run.turns[f"{metric.name}_ms"], (end - begin - less) / 1e6
            )
    for metric in SESSION_METRICS:
        if metric.of:
            share = 100 * run.sessions[metric.column] / run.sessions[metric.of]
            np.testing.assert_array_equal(run.sessions[metric.name], share)
            continue
        if metric.column:
            name, scale = (f"{metric.name}_ms", 1e6) if metric.unit == "ms" else (metric.name, 1)
            np.testing.assert_array_equal(run.sessions[name], run.sessions[metric.column] / scale)
            continue
        begin, end = run.sessions[f"{metric.begin}_at_ns"], run.sessions[f"{metric.end}_at_ns"]
        less = run.sessions[metric.less] if metric.less else 0
        np.testing.assert_array_equal(run.sessions[f"{metric.name}_ms"], (end - begin - less) / 1e6)


@pytest.mark.parametrize(
    ("measured_from", "expected"), [("request_sent", 300.0), ("speech_end", 500.0), (None, None)]
)
def test_latency_is_measured_from_the_instant_that_the_row_names(
    measured_from: str | None, expected: float | None
) -> None:
    instants = {
        "speech_end_at_ns": 1_000_000_000,
        "request_sent_at_ns": 1_200_000_000,
        "first_audio_at_ns": 1_500_000_000,
    }
    frame = turn_frame(one_row("turns", measured_from=measured_from, outcome="ok", **instants))

    assert frame["ttfa_ms"].tolist() == [expected] or (
        expected is None and frame["ttfa_ms"].isna().all()
    )


def test_without_tls_connect_upgrade_counts_from_tcp(tmp_path: Path) -> None:
    run = rtbench.load(synthetic.write(tmp_path, Plan(tls=False)))

    assert run.sessions["connect_tls_ms"].isna().all()
    expected = (run.sessions["opened_at_ns"] - run.sessions["tcp_done_at_ns"]) / 1e6
    np.testing.assert_array_equal(run.sessions["connect_upgrade_ms"], expected)


@pytest.mark.parametrize("write", [synthetic.write, synthetic.write_killed])
def test_a_report_is_the_same_from_narrow_and_from_all_columns(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    folder = write(
        tmp_path,
        Plan(sessions=30, turns=2, targets=("east", "west"), failed=0.1, usage=True, warmup_s=3),
    )
    narrow = summary_json(summarise(load_for_report(folder)))

    for everything in (True, False):
        assert summary_json(summarise(runs.load_frames(folder, all_columns=everything))) == narrow


def test_a_single_metric_equals_that_of_the_frame(tmp_path: Path) -> None:
    plan = Plan(
        sessions=40,
        targets=("east", "west"),
        kinds=("vad", "manual", "typed"),
        failed=0.2,
        proxied=("west",),
    )
    folder = synthetic.write(tmp_path, plan)
    frame, turns = rtbench.load(folder).turns, measured_turns(load_for_report(folder))

    for metric in TURN_METRICS:
        expected = frame[column_of(metric.name)].to_numpy(dtype=np.float64, na_value=np.nan)
        np.testing.assert_array_equal(turns.value(metric.name), expected)


@pytest.mark.parametrize("end", [2**7, 2**15, 2**31, 2**63])
def test_a_narrow_column_preserves_every_integer(tmp_path: Path, end: int) -> None:
    ends = {"speech_end_at_ns": -end, "input_text_tokens": end - 1} | (
        {"output_text_tokens": end} if end < 2**63 else {}
    )
    numbers = [-end, -1, None, 0, end - 1]
    each = {
        "session_id": "w0-000000",
        "target": "sim",
        "outcome": "ok",
        "start_utc_ns": 0,
        "ended_at_ns": 1,
    }
    rows = [
        {**each, **ends, "turn": turn, "committed_at_ns": number}
        for turn, number in enumerate(numbers)
    ]
    run_folder.write_document(
        tmp_path, {"schema": SCHEMA_VERSION, "run_id": "ends", "started_utc_ns": synthetic.BEGAN_NS}
    )
    for name, schema in SCHEMAS.items():
        table = pa.Table.from_pylist(rows if name == "turns" else [], schema=schema)
        pq.write_table(table, tmp_path / f"{name}.parquet")

    turns = load_for_report(tmp_path).turns
    assert [
        None if pd.isna(number) else int(number) for number in turns["committed_at_ns"]
    ] == numbers
    assert {name: int(turns[name].iloc[0]) for name in ends} == ends


@pytest.mark.parametrize("together", [1, 1000])
def test_a_table_does_not_depend_on_how_many_columns_are_read_at_once(
    tmp_path: Path, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthetic.write(tmp_path, Plan(usage=True))
    every = turn_frame(run_folder.read_table(tmp_path, "turns"))
    monkeypatch.setattr("reports.data.runs.TOGETHER", together)

    run = rtbench.load(tmp_path)
    pd.testing.assert_frame_equal(run.turns, every.drop(columns=list(UNCERTAINTY_COLUMNS)))
    pd.testing.assert_frame_equal(
        run.uncertainty[list(UNCERTAINTY_COLUMNS)], every[list(UNCERTAINTY_COLUMNS)]
    )


def test_a_report_reads_the_sessions_of_the_run_though_columns_without_values_share_memory(
    tmp_path: Path,
) -> None:
    synthetic.write(tmp_path, Plan(usage=True))
    of_report = load_for_report(tmp_path).sessions

    pd.testing.assert_frame_equal(
        of_report, rtbench.load(tmp_path).sessions[list(of_report.columns)]
    )


def test_a_killed_run_is_read_up_to_its_last_complete_batch(tmp_path: Path) -> None:
    run = rtbench.load(synthetic.write_killed(tmp_path, Plan(sessions=20, turns=4)))

    assert not run.finalized
    assert 0 < len(run.turns) < 80
    assert len(run.turns) % 20 == 0
    assert len(run.sessions) == 20
    assert run.histograms.get(HistogramKey("delta_gap", "sim")) is not None


def test_the_histograms_of_workers_are_added_up(tmp_path: Path) -> None:
    synthetic.write_killed(tmp_path, Plan())
    first = path_of(tmp_path, 0, HISTOGRAMS)
    path_of(tmp_path, 1, HISTOGRAMS).write_text(first.read_text())
    path_of(tmp_path, 0, FACTS).write_text('{"negative": {"delta_gap": 3}}')
    path_of(tmp_path, 1, FACTS).write_text('{"negative": {"delta_')
    found = rtbench.load(tmp_path).histograms

    histogram = found.get(HistogramKey("delta_gap", "sim"))
    assert histogram is not None
    assert histogram.get_total_count() == 600
    assert found.negative["delta_gap"] == 3


@pytest.mark.parametrize(
    "read", [lambda run: response_ids(run, [0]), runs.bounds_of], ids=["ids", "bounds"]
)
def test_damaged_columns_that_are_read_later_are_refused(
    tmp_path: Path, read: Callable[[runs.RunFrames], object]
) -> None:
    run = rtbench.load(synthetic.write(tmp_path, Plan(sessions=3)), all_columns=False)
    for file, name in (("turns", "response_id"), ("uncertainty", "first_audio_uncertainty_ns")):
        path = run.folder / f"{file}.parquet"
        rows = pq.read_table(path)
        rows = rows.set_column(rows.column_names.index(name), name, pa.array([True] * len(rows)))
        pq.write_table(rows, path)

    with pytest.raises(UsageError, match=r"cannot be read: the column .* is bool, but must be"):
        read(run)


def test_a_run_is_simulated_if_its_document_or_any_row_says_so(tmp_path: Path) -> None:
    plan = Plan(simulated=False)
    assert not rtbench.load(synthetic.write(tmp_path / "real", plan)).simulated
    assert rtbench.load(synthetic.write(tmp_path / "document", plan, simulated=True)).simulated
    rows = synthetic.write(tmp_path / "rows", replace(plan, simulated=True), simulated=None)
    assert rtbench.load(rows).simulated


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"incidents": [{"worker": -1}]}, "Expected `int` >= 0 - at `$.incidents[0].worker`"),
        ({"incidents": [{"worker": 2**63}]}, f"{2**63} is too large for a number"),
        (
            {"hosts": [{"calibration": {"kind": 7}}]},
            "Expected `str`, got `int` - at `$.hosts[0].calibration.kind`",
        ),
        ({"targets": None}, "Expected `array`, got `null` - at `$.targets`"),
    ],
)
def test_a_document_with_an_invalid_value_is_refused_in_one_line(
    tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(f"run.json is damaged: {problem}")):
        rtbench.load(synthetic.write(tmp_path, Plan(), **change))


def test_a_document_may_omit_keys_and_optional_keys_may_be_null(tmp_path: Path) -> None:
    missing = {
        "targets": [{"name": "sim"}],
        "validity": {"status": "valid", "checks": [{"name": "send_delay"}]},
    }
    null = {"hosts": None, "labels": None, "prices": {"models": {"a": {"usd_per_minute": None}}}}

    assert len(rtbench.load(synthetic.write(tmp_path, Plan(), **missing, **null)).turns)


def test_a_run_without_rows_can_be_loaded(tmp_path: Path) -> None:
    run_folder.write_document(
        tmp_path,
        {"schema": SCHEMA_VERSION, "run_id": "empty", "started_utc_ns": synthetic.BEGAN_NS},
    )
    for name, schema in SCHEMAS.items():
        pq.write_table(schema.empty_table(), tmp_path / f"{name}.parquet")
    run = rtbench.load(tmp_path)

    assert (len(run.turns), len(run.sessions), len(run.seconds)) == (0, 0, 0)


def test_a_large_file_read_in_parts_gives_the_same_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = synthetic.write(tmp_path, Plan(sessions=20, failed=0.1))
    for read in (runs.load_frames, load_for_report):
        at_once = read(folder).turns
        with monkeypatch.context() as patch:
            patch.setattr(run_folder, "SMALL_BYTES", 0)
            in_parts = read(folder).turns

        pd.testing.assert_frame_equal(in_parts, at_once, check_like=True)


STORED = Path(__file__).parent / "stored"


def test_the_stored_paired_run_has_two_targets_in_pairs_and_voice_to_voice() -> None:
    summary = summarise(rtbench.load(STORED))

    assert summary.targets == ("east", "west")
    assert summary.interleaving is not None
    assert summary.interleaving.pairs == 8
    assert [answer.turns for answer in summary.voice_to_voice] == [8, 8]
    assert summary.cost.usd > 0


@pytest.mark.parametrize("small_bytes", [run_folder.SMALL_BYTES, 0])
def test_columns_that_an_older_tool_did_not_write_are_null(
    small_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder, "SMALL_BYTES", small_bytes)
    assert not ADDED.intersection(pq.read_schema(STORED / "turns.parquet").names)
    (batch,) = run_folder.stored_batches(STORED, "turns", ["input_characters"], 1_000)
    batches = [batch, *run_folder.stored_batches(STORED, "turns", SCHEMAS["turns"].names, 1_000)]

    assert all(batch["input_characters"].null_count == len(batch) == 16 for batch in batches)
    assert run_folder.read_values(STORED, "sessions", "rtp_restarts", [0]) == [None]
    assert rtbench.load(STORED).turns["input_characters"].isna().all()
    assert {name for schema in SCHEMAS.values() for name in schema.names} >= ADDED


def test_the_texts_that_an_older_tool_wrote_have_the_words_and_remedies_of_causes(
    tmp_path: Path,
) -> None:
    silent = Cause(Code.NOTHING_AUDIBLE, {"limit": Limit(12, "first_delta")})
    causes = (
        silent.because(Cause(Code.NO_MESSAGE)),
        Cause(Code.SERVICE_REPORTED, {"text": "x: y"}),
    )
    path = shutil.copytree(STORED, tmp_path / "older") / "turns.parquet"
    rows = pq.read_table(path)
    texts = pa.array([text_of(causes)] * 2 + [None] * 14)
    failed = pa.array([NO_REPLY] * 2 + ["ok"] * 14)
    older = rows.drop_columns(["detail", "outcome"])
    older = older.append_column("outcome", failed).append_column("detail", texts)
    pq.write_table(older, path)
    shutil.copytree(path.parent, tmp_path / "newer")
    newer = older.drop_columns("detail").append_column(
        "cause", pa.array([encoded(causes)] * 2 + [None] * 14)
    )
    pq.write_table(newer, tmp_path / "newer" / "turns.parquet")

    (batch,) = run_folder.stored_batches(path.parent, "turns", ["turn", "cause"], 1_000)
    read = run_folder.read_values(path.parent, "turns", "cause", [1, 2])
    runs = [rtbench.load(tmp_path / name) for name in ("older", "newer")]
    one, other = (run.outcomes().drop(columns="run_id") for run in runs)

    assert batch.to_pylist()[0]["cause"] == read[0] == text_of(causes)
    assert read[1] is None
    assert [list(run.turns["detail"].dropna()) for run in runs] == [[text_of(causes)] * 2] * 2
    assert "no message was received" in text_of(causes)
    pd.testing.assert_frame_equal(one, other)
    assert remedy_of(NO_REPLY, causes) in set(one["remedy"])


def test_a_run_without_another_column_is_damaged(tmp_path: Path) -> None:
    folder = shutil.copytree(STORED, tmp_path / "run")
    rows = pq.read_table(folder / "turns.parquet")
    pq.write_table(rows.drop_columns("outcome"), folder / "turns.parquet")

    with pytest.raises(UsageError, match=r"turns\.parquet has no column outcome"):
        rtbench.load(folder)


@pytest.mark.parametrize(
    ("schema", "writer"), [(4, "before its first release"), (SCHEMA_VERSION + 1, "a newer rtbench")]
)
def test_a_folder_of_another_schema_version_is_refused(
    tmp_path: Path, schema: int, writer: str
) -> None:
    folder = shutil.copytree(STORED, tmp_path / "run")
    document = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    (folder / "run.json").write_text(json.dumps(document | {"schema": schema}), encoding="utf-8")

    with pytest.raises(UsageError, match=writer):
        rtbench.load(folder)


def test_the_event_log_of_a_stored_session_can_be_replayed() -> None:
    (log,) = (STORED / "events").iterdir()
    (turn,) = replay_log(log).turns
    row = rtbench.load(STORED).turns.query("session_id == 'w0-000000'").iloc[0]

    assert turn.outcome == row["outcome"] == "ok"
    assert turn.instants["first_audio"] - turn.start_ns == row["first_audio_at_ns"]
