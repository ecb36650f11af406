"""Rows on disk during a run: the rows that remain after a file was truncated, and after the disk
was full.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.catalogue.columns import ADDED
from bench.files.safe_io import AppendFile
from bench.record import folder as files
from bench.record.spool import BATCH_ROWS, BatchWriter, columns_of, path_of, with_columns_of

SCHEMA = pa.schema([("number", pa.int64()), ("word", pa.string())])


def row(number: int) -> dict[str, Any]:
    return {"number": number, "word": f"word {number}" if number % 3 else None}


def fail_on_dropped(column: str, row: Mapping[str, Any], why: str) -> None:
    raise AssertionError(f"{column} was refused: {why}")


def read(path: Path) -> list[int]:
    """Return the rows that the reader of run folders finds in the stream at `path`.

    This path is the place of the turns of worker 0.
    """
    return [
        number
        for batch in files.spooled_batches(path.parents[1], "turns")
        for number in batch["number"].to_pylist()
    ]


@pytest.fixture(autouse=True, scope="module")
def small_rows() -> Iterator[None]:
    """Replace the schema of turns by a smaller one, so that the tests are faster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(files.SCHEMAS, "turns", SCHEMA)
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return spool_path(tmp_path)


def spool_path(folder: Path) -> Path:
    (folder / "spool").mkdir()
    return path_of(folder, 0, "turns.arrows")


def written_batches(path: Path, *batches: int) -> tuple[BatchWriter, list[int]]:
    """Return a spool in which each flush wrote a given number of rows, and the size of its file
    after each flush.
    """
    spool, ends, number = BatchWriter(AppendFile(path), SCHEMA, columns_of, fail_on_dropped), [], 0
    for rows in batches:
        for _ in range(rows):
            spool.append(row(number))
            number += 1
        spool.flush()
        ends.append(path.stat().st_size)
    return spool, ends


def test_rows_are_readable_as_soon_as_they_are_flushed(path: Path) -> None:
    spool, _ = written_batches(path, 3, 1)

    assert read(path) == [0, 1, 2, 3]
    assert (len(spool), spool.written) == (0, 4)
    spool.append(row(4))
    assert (len(spool), read(path)) == (1, [0, 1, 2, 3])
    spool.close()


def test_many_rows_are_written_in_several_batches(path: Path) -> None:
    spool, _ = written_batches(path, 2 * BATCH_ROWS + 1)
    spool.close()

    assert [batch.num_rows for batch in files.spooled_batches(path.parents[1], "turns")] == [
        BATCH_ROWS,
        BATCH_ROWS,
        1,
    ]
    assert read(path) == list(range(2 * BATCH_ROWS + 1))


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "number": st.none() | st.integers() | st.text(max_size=3),
                "word": st.text() | st.integers(),
            }
        ),
        max_size=20,
    )
)
def test_each_row_reaches_the_disk_with_unconvertible_values_as_null(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    path, dropped = spool_path(tmp_path_factory.mktemp("run")), []
    spool = BatchWriter(
        AppendFile(path), SCHEMA, columns_of, lambda column, row, why: dropped.append((column, row))
    )
    for one in rows:
        spool.append(one)
    spool.flush()
    spool.close()

    found = [
        one
        for batch in files.spooled_batches(path.parents[1], "turns")
        for one in batch.to_pylist()
    ]
    expected = [one | {column: None for column, other in dropped if other == one} for one in rows]
    assert found == expected


def test_a_truncated_file_has_its_complete_batches(path: Path) -> None:
    spool, ends = written_batches(path, 2, 3, 1)
    spool.close()
    whole = path.read_bytes()

    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        kept = sum(rows for rows, end in zip((2, 3, 1), ends, strict=True) if end <= length)
        assert read(path)[:kept] == list(range(kept)), f"cut after {length} bytes"
        assert read(path) == list(range(len(read(path))))


class FullDisk:
    """A replacement of `os.write` that accepts `room` more bytes, and then raises an error.

    If `room` is None, it accepts any number of bytes.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._write = os.write
        self.room: int | None = None
        monkeypatch.setattr("bench.files.safe_io.os.write", self)

    def __call__(self, file: int, data: Any) -> int:
        if self.room is None:
            return self._write(file, data)
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = self._write(file, bytes(data)[: self.room])
        self.room -= taken
        return taken


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 300), st.none() | st.integers(0, 9_000)), min_size=1, max_size=6
    ),
)
def test_a_full_disk_neither_loses_nor_duplicates_rows(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int | None]]
) -> None:
    """Each step appends rows and flushes them to a disk that has room for some bytes. None means
    unlimited room.
    """
    with pytest.MonkeyPatch.context() as monkeypatch:
        disk = FullDisk(monkeypatch)
        path = spool_path(tmp_path_factory.mktemp("run"))
        spool, number = BatchWriter(AppendFile(path), SCHEMA, columns_of, fail_on_dropped), 0
        for rows, room in [*steps, (1, None)]:
            for _ in range(rows):
                spool.append(row(number))
                number += 1
            disk.room = room
            with suppress(OSError):
                spool.flush()
            assert read(path) == list(range(spool.written))
            assert spool.written + len(spool) == number
        spool.close()

    assert read(path) == list(range(number))


def test_a_spool_file_is_never_overwritten(path: Path) -> None:
    spool, _ = written_batches(path, 1)
    spool.close()

    with pytest.raises(FileExistsError):
        BatchWriter(AppendFile(path), SCHEMA, columns_of, fail_on_dropped)


def test_a_spool_of_an_older_tool_is_read_with_null_columns() -> None:
    schema = files.SCHEMAS["turns"]
    batch = pa.RecordBatch.from_pylist([{"number": 3}], schema=schema)
    old = batch.select([name for name in schema.names if name not in ADDED])

    assert with_columns_of(old, schema).equals(batch)
    with pytest.raises(ValueError, match="number is missing"):
        with_columns_of(old.drop_columns(["number"]), schema)
