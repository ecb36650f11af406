"""A small run that the tool wrote: spoken turns at two targets in pairs. A folder of another format is refused.

It is the folder of a real run against the simulator, without the names of the machine that played it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import reports
from bench.errors import UsageError
from bench.run.document import SCHEMA_VERSION
from bench.run.replay import replay_log
from reports.export import export_log, export_tables
from reports.summary.summary import summarise
from reports.text.document import write_report

STORED = Path(__file__).parent / "stored"
MAX_BYTES = 200_000


def test_a_stored_run_is_reported(tmp_path: Path) -> None:
    folder = shutil.copytree(STORED, tmp_path / "run")
    paths = write_report(reports.load(folder, all_columns=False))

    assert "VALID" in paths.markdown.read_text()
    assert sum(answer["turns"] for answer in json.loads(paths.json.read_text())["results"]) == 16


def test_a_stored_run_is_exported(tmp_path: Path) -> None:
    turns, _, _ = export_tables(STORED, "parquet", tmp_path)

    assert turns.count == 16
    assert export_log(STORED, tmp_path).count > 0


def test_a_stored_run_is_small() -> None:
    assert sum(path.stat().st_size for path in (STORED).rglob("*") if path.is_file()) < MAX_BYTES


def test_the_paired_run_has_two_targets_in_pairs_and_what_a_caller_heard() -> None:
    summary = summarise(reports.load(STORED))

    assert summary.targets == ("east", "west")
    assert summary.interleaving is not None
    assert summary.interleaving.pairs == 8
    assert [answer.turns for answer in summary.heard] == [8, 8]
    assert summary.money.usd > 0


@pytest.mark.parametrize(
    ("schema", "writer"), [(4, "before its first release"), (SCHEMA_VERSION + 1, "a newer rtbench")]
)
def test_a_folder_of_another_format_is_refused(tmp_path: Path, schema: int, writer: str) -> None:
    folder = shutil.copytree(STORED, tmp_path / "run")
    document = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    (folder / "run.json").write_text(json.dumps(document | {"schema": schema}), encoding="utf-8")

    with pytest.raises(UsageError, match=writer):
        reports.load(folder)


def test_the_event_log_of_a_stored_session_is_played_again() -> None:
    (log,) = (STORED / "events").iterdir()
    (turn,) = replay_log(log).turns
    row = reports.load(STORED).turns.query("session_id == 'w0-000000'").iloc[0]

    assert turn.outcome == row["outcome"] == "ok"
    assert turn.instants["first_audio"] - turn.start_ns == row["first_audio_at_ns"]
