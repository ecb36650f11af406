"""Run folders from other people. Commands refuse invalid content before it uses much memory or
time.
"""

from __future__ import annotations

import base64
import os
import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.record import folder as files
from bench.record.folder import SCHEMAS, open_rows
from bench.record.spool import WORKERS
from reports.data.export import LOG
from tests.examples import some
from tests.reports import synthetic
from tests.system.attack.steering import PLAN, output_of, unsafe_text_in
from tests.system.record.parts import build_part

MIB = 1 << 20
Spoil = Callable[[Path], object]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return synthetic.write(tmp_path / "runs" / "run", PLAN)


def commands(run: Path, scratch: Path) -> list[tuple[object, ...]]:
    """Return the commands that read rows, histograms or other files of a run."""
    limits = scratch / "ci.yaml"
    limits.write_text("ttfa:\n  - p(95)<2500\n")
    return [
        ("report", run),
        ("report", "--open", run),
        ("check", run, "--thresholds", limits),
        ("runs", "merge", run, "-o", scratch / "merged"),
        ("runs", "export", run, "--format", "csv", "--out", scratch / "csv"),
        ("runs", "export", run, "--format", "hlog", "--out", scratch / "hlog"),
        ("runs", run.parent),
    ]


def check_refused(run: Path, scratch: Path, most_mib: int = 400) -> None:
    """Assert that commands refuse the run in one line, and use no more memory than for a valid run.

    In the small circle, `report` and two other commands run; in the full circle, all commands run.
    """
    report, *others = commands(run, scratch)
    this = zlib.crc32(os.environ["PYTEST_CURRENT_TEST"].encode())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    output = {words[0]: output_of(*words) for words in (report, *some(others, 2, this))}
    assert not any(map(unsafe_text_in, output.values()))
    assert "Traceback" not in "".join(output.values())
    assert output["report"].startswith("rtbench: ")
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < most_mib


# Paths in a run folder that are not files, or that lead to another place.

NAMES = ("run.json", "turns.parquet", "sessions.parquet", "seconds.parquet", "histograms.hlog")
"""The files of a run that its report reads, without the uncertainties."""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "made",
    [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)],
    ids=["pipe", "folder", "device"],
)
def test_a_pipe_folder_or_device_instead_of_a_file_is_refused_in_one_line(
    run: Path, tmp_path: Path, name: str, made: Spoil
) -> None:
    (run / name).unlink()
    made(run / name)

    check_refused(run, tmp_path)


@pytest.mark.parametrize("names", [("spool",), ("export", "events", "workers")], ids=" and ".join)
@pytest.mark.parametrize("state", ["ended", "running"])
def test_a_linked_folder_is_not_written_to(
    run: Path, tmp_path: Path, names: tuple[str, ...], state: str
) -> None:
    mine = tmp_path / "mine"
    for name in names:
        (mine / name).mkdir(parents=True)
        (mine / name / "kept").write_text("of another user")
        (run / name).symlink_to(mine / name)
    before = sorted(mine.rglob("*"))

    files.write_document(
        run,
        files.read_document(run)
        | {
            "state": state,
            "writer": {"host": os.uname().nodename, "pid": 2**22 + 1},
        },
    )

    this = zlib.crc32(os.environ["PYTEST_CURRENT_TEST"].encode())
    reading = some(commands(run, tmp_path), 3, this)
    output = "".join(
        output_of(*words) for words in (*reading, ("runs", "export", run, "--format", "csv"))
    )

    assert sorted(mine.rglob("*")) == before
    assert "Traceback" not in output


@pytest.mark.parametrize("state", ["ended", "closing"])
def test_a_link_with_the_name_of_a_temporary_file_is_not_followed(
    tmp_path: Path, state: str
) -> None:
    """A file is first written under the name NAME.new.

    A killed command may leave a file with such a name, and the author of a folder may put a link
    there.
    """
    mine = tmp_path / "mine"
    mine.write_text("of another user")
    runs = tmp_path / "runs"
    run = synthetic.write(runs / "run", PLAN) if state == "ended" else build_part(runs, "run")
    (run / "export").mkdir()
    names = [
        f"{name}.new"
        for name in (*NAMES, "uncertainty.parquet", "transcripts.jsonl", "report.html", "report.md")
    ]
    places = [run / name for name in (*names, "summary.json.new")]
    places += [
        run / "export" / f"{name}.new" for name in ("turns.csv", "sessions.csv", "seconds.csv", LOG)
    ]
    if state == "closing":
        (run / WORKERS).mkdir()
        places += [run / WORKERS / "facts-0.json", run / WORKERS / "histograms-0.hlog"]
    for place in places:
        place.symlink_to(mine)

    output = [
        output_of("report", run),
        output_of("runs", "export", run, "--format", "csv"),
        output_of("runs", "export", run, "--format", "hlog"),
    ]

    assert mine.read_text() == "of another user"
    assert "Traceback" not in "".join(output)
    assert (run / "report.html").is_file()
    assert {path.name for path in (run / "export").iterdir() if not path.is_symlink()} >= {
        "turns.csv",
        LOG,
    }


# Rows.


@pytest.mark.parametrize(
    ("table", "column", "problem"),
    [
        ("sessions", "session_id", "twice"),
        ("turns", "turn", "twice"),
        ("turns", "session_id", "twice"),
        ("sessions", "session_id", "without session_id"),
        ("turns", "session_id", "without session_id"),
        ("sessions", "start_utc_ns", "without start_utc_ns"),
        ("seconds", "second", "without second"),
    ],
)
def test_duplicate_rows_and_rows_without_a_required_value_are_refused(
    run: Path, tmp_path: Path, table: str, column: str, problem: str
) -> None:
    path = run / f"{table}.parquet"
    rows = pq.read_table(path)
    place, field = rows.schema.get_field_index(column), rows.schema.field(column)
    value = rows[column][0].as_py() if problem == "twice" else None
    same = pa.array([value] * len(rows), field.type)
    pq.write_table(rows.set_column(place, field, same), path)

    check_refused(run, tmp_path)
    assert problem in output_of("report", run)


def retype(path: Path, kind: pa.DataType) -> None:
    """Change the type of every fourth column."""
    rows = pq.read_table(path)
    for place, field in enumerate(rows.schema):
        if field.type != kind and place % 4 == 0:
            rows = rows.set_column(place, pa.field(field.name, kind), pa.nulls(len(rows), kind))
    pq.write_table(rows, path)


@pytest.mark.parametrize("table", SCHEMAS)
@pytest.mark.parametrize(
    "kind",
    [pa.int64(), pa.string(), pa.list_(pa.int64()), pa.timestamp("ns"), pa.binary(), pa.float64()],
    ids=str,
)
def test_columns_of_wrong_types_are_refused(
    tmp_path: Path, table: files.TableName, kind: pa.DataType
) -> None:
    path = tmp_path / f"{table}.parquet"
    pq.write_table(synthetic.rows(PLAN)[table], path)
    retype(path, kind)

    with pytest.raises(pa.ArrowInvalid, match="must be"), open_rows(path, SCHEMAS[table]):
        pass


def test_a_column_whose_name_is_not_utf_8_is_refused(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "turns.parquet"
    pq.write_table(synthetic.rows(PLAN)["turns"], path)
    path.write_bytes(path.read_bytes().replace(b"cause", b"caus\xff"))

    with pytest.raises(pa.ArrowInvalid, match="not UTF-8"), open_rows(path, SCHEMAS["turns"]):
        pass


def bomb(path: Path, rows: int, columns: dict[str, Any]) -> None:
    """Write a table with many rows; each column has one value, which is built and written once."""
    schema = SCHEMAS[path.stem]  # type: ignore[index]
    once = pa.array(np.zeros(rows, np.int32))
    made = [
        (
            pa.DictionaryArray.from_arrays(once, pa.array([columns[f.name]]))
            if isinstance(columns.get(f.name), str)
            else pa.nulls(rows, f.type)
        )
        for f in schema
    ]
    table = pa.table(made, names=schema.names)
    pq.write_table(table, path, compression="zstd", row_group_size=rows, store_schema=False)


def test_a_file_with_too_many_rows_for_its_size_is_refused(run: Path, tmp_path: Path) -> None:
    path = run / "seconds.parquet"
    bomb(path, 300_000, {"target": "east"})
    assert path.stat().st_size < MIB

    check_refused(run, tmp_path)
    assert "rows in" in output_of("report", run)


@pytest.mark.parametrize("column", ["cause", "response_id", "response_headers"])
def test_a_column_with_a_long_repeated_text_is_refused(
    run: Path, tmp_path: Path, column: str
) -> None:
    """A text of 300 kB in each of 90,000 rows would be 27 GB."""
    table = "sessions" if column == "response_headers" else "turns"
    path = run / f"{table}.parquet"
    bomb(path, 90_000, {column: "x" * 300_000, "session_id": "s00000", "outcome": "ok"})
    assert path.stat().st_size < MIB

    check_refused(run, tmp_path)


def test_delta_encoded_text_columns_are_refused(run: Path, tmp_path: Path) -> None:
    rows = pq.read_table(run / "turns.parquet")
    pq.write_table(
        rows,
        run / "turns.parquet",
        use_dictionary=False,
        column_encoding={"cause": "DELTA_BYTE_ARRAY"},
    )

    check_refused(run, tmp_path)


@pytest.mark.parametrize(("rows", "refused"), [(0, 0), (1, 0), (11_000, 0), (1, 11_000)])
def test_files_written_by_rtbench_are_read_for_any_number_of_rows(
    tmp_path: Path, rows: int, refused: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If readers refused every file, the tests above would also succeed.

    The last case is the smallest run, in which every call was refused.
    """
    monkeypatch.setattr(files, "ANY_ROWS", files.ANY_ROWS // 10)
    monkeypatch.setattr(files, "ANY_BYTES", files.ANY_BYTES // 10)
    plan = synthetic.Plan(sessions=max(1, rows), turns=1, refused=refused)
    for table, whole in synthetic.rows(plan).items():
        path = tmp_path / f"{table}.parquet"
        with pq.ParquetWriter(path, SCHEMAS[table], compression="zstd") as writer:
            writer.write_table(whole.slice(0, rows + refused), row_group_size=5_000)
        with open_rows(path, SCHEMAS[table]) as file:
            read = sum(batch.num_rows for batch in file.iter_batches(10_000))
            assert read == min(rows + refused, len(whole))


def packed_zeros(mib: int) -> bytes:
    """Return `mib` MiB of zeros in zlib format. Only one MiB is compressed; the result is
    repeated.
    """
    press = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    one = press.compress(bytes(MIB)) + press.flush(zlib.Z_FULL_FLUSH)
    checksum = (mib * MIB % 65521) << 16 | 1
    return b"\x78\xda" + one * mib + press.flush() + struct.pack(">I", checksum)


def test_a_histogram_that_decompresses_to_gigabytes_is_refused(run: Path, tmp_path: Path) -> None:
    huge = packed_zeros(2_000)
    payload = base64.b64encode(struct.pack(">II", 0x1C849314, len(huge)) + huge).decode()
    whole = (run / "histograms.hlog").read_text().splitlines(keepends=True)
    line = next(line for line in whole if line.startswith("Tag="))
    (run / "histograms.hlog").write_text(
        "".join(whole[:5]) + ",".join([*line.split(",")[:4], payload]) + "\n"
    )
    assert (run / "histograms.hlog").stat().st_size < 4 * MIB

    check_refused(run, tmp_path)
