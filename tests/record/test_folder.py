"""The run folder: its name, its document, and its tables before and after the run ended."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.base.errors import UsageError
from bench.files.safe_io import AppendFile
from bench.record import folder as files
from bench.record.document import SCHEMA_VERSION, HostEntry
from bench.record.finalize import finalize
from bench.record.provenance import named_host
from bench.record.recorder import Recorder
from bench.record.spool import BatchWriter, Spool, columns_of, path_of, rows_of
from tests.helpers import MS, build_observation, build_session
from tests.record.builders import BEGAN_NS as RUN_BEGAN_NS
from tests.record.builders import build_run, labels

BEGAN_NS = int(datetime(2026, 11, 20, 8, 23, 45, tzinfo=UTC).timestamp()) * 1_000_000_000


def test_an_unwritable_folder_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")

    with pytest.raises(UsageError, match=r"--runs-dir"):
        files.create(tmp_path / "runs", "x", BEGAN_NS)


def test_the_document_is_replaced_atomically_and_read_back(tmp_path: Path) -> None:
    document = {"schema": SCHEMA_VERSION, "note": "grüße"}
    files.write_document(tmp_path, {"schema": SCHEMA_VERSION})
    files.write_document(tmp_path, document)

    assert files.read_document(tmp_path) == document
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "is not a run folder"),
        ("{", "cannot be read"),
        ("[]", "no schema version"),
        ("{}", "no schema version"),
        ('{"schema": "1"}', "no schema version"),
        (json.dumps({"schema": SCHEMA_VERSION + 1}), "newer rtbench"),
    ],
)
def test_an_invalid_run_json_is_refused(tmp_path: Path, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)

    with pytest.raises(UsageError, match=says):
        files.read_document(tmp_path)


def spool(folder: Path, table: files.TableName, worker: int, rows: int) -> None:
    stream = AppendFile(path_of(folder, worker, rows_of(table)))
    spooling = BatchWriter(stream, files.SCHEMAS[table], columns_of, lambda *_: None)
    for number in range(rows):
        spooling.append({"worker": worker, "target": f"t{number}"})
    spooling.flush()
    spooling.close()


@pytest.mark.parametrize("closed", [False, True])
def test_columns_of_small_and_large_tables_are_read_equally(
    closed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = files.create(tmp_path, "x", BEGAN_NS)
    spool(folder, "turns", worker=0, rows=3)
    if closed:
        pq.write_table(files.read_table(folder, "turns"), folder / "turns.parquet")
    columns = ["worker", "outcome"]
    at_once = files.row_reader(folder)("turns", columns)
    monkeypatch.setattr(files, "SMALL_BYTES", 0)
    reads: list[object] = []
    read_table = files.read_table
    monkeypatch.setattr(
        files, "read_table", lambda *values: reads.append(values) or read_table(*values)
    )
    column_by_column = files.row_reader(folder)
    assert reads == []

    assert column_by_column("turns", columns) == at_once
    assert reads == [(folder, "turns", columns)]
    assert at_once.column_names == columns


@pytest.mark.parametrize("row_group", [400, 100])
def test_a_column_above_the_memory_limit_is_refused(
    row_group: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "seconds.parquet"
    pq.write_table(
        pa.table({"second": range(400)}), path, row_group_size=row_group, use_dictionary=False
    )
    monkeypatch.setattr(files, "GROWTH", 0)
    schema = pa.schema([files.SCHEMAS["seconds"].field("second")])
    monkeypatch.setattr(files, "ANY_BYTES", 4_000)
    with files.open_rows(path, schema):
        pass
    monkeypatch.setattr(files, "ANY_BYTES", 3_000)
    with (
        pytest.raises(pa.ArrowInvalid, match=r"the column second .* is too large for a run"),
        files.open_rows(path, schema),
    ):
        pass


# The hosts of a run: the number of workers on each host, and the delays of their processes.


def run_on(parent: Path, *names: str) -> Path:
    """Return a finalized run that had one worker on each host.

    The event loop of worker number n had a delay of n + 1 ms.
    """
    folder, _ = build_run(parent, 0)
    for number, name in enumerate(names):
        recorder = Recorder(
            Spool(folder, number),
            RUN_BEGAN_NS,
            host=named_host() | {"name": name, "niceness": number},
        )
        record = recorder.session(labels(0, worker=number))
        record.turn_started()
        record.turn_ended(build_observation())
        record.session_ended(build_session())
        for _ in range(100):
            recorder.event_loop_delay((number + 1) * MS)
        recorder.close()
    finalize(folder)
    return folder


def test_each_row_has_the_host_that_recorded_it(tmp_path: Path) -> None:
    folder = run_on(tmp_path, "red", "blue", "red")
    for table in files.SCHEMAS:
        assert files.read_table(folder, table, ["host"])["host"].to_pylist() == [
            "red",
            "blue",
            "red",
        ]


def test_the_document_has_the_workers_and_delays_of_each_host(tmp_path: Path) -> None:
    hosts = files.read_document(run_on(tmp_path, "red", "blue", "red"))["hosts"]
    delays = [
        (host["name"], host["workers"], host["niceness"], round(host["event_loop_delay_p99_ms"]))
        for host in hosts
    ]
    assert delays == [("blue", 1, 1, 2), ("red", 2, 0, 3)]
    assert msgspec.convert(hosts, list[HostEntry]) == hosts
