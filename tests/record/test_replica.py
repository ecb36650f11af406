"""The copy of a worker's part. It becomes complete even if some chunks are lost or arrive late."""

from __future__ import annotations

import random
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.record import replica
from bench.record.replica import (
    CHUNK_BYTES,
    BadChunkError,
    PartChunk,
    PartReplica,
    PartSource,
    part_file,
)
from bench.record.spool import FACTS, prepare

NAMES = ("turns.arrows", "transcripts.jsonl", "events/w3-000001.jsonl", "histograms.hlog", FACTS)
WORKER, KEY = 3, b"a key of the worker's"


def folders(tmp_path: Path) -> tuple[Path, Path]:
    source_folder, copy_folder = tmp_path / "there", tmp_path / "here"
    for folder in (source_folder, copy_folder):
        folder.mkdir()
        prepare(folder)
        (folder / "events").mkdir()
    return source_folder, copy_folder


def content(folder: Path) -> dict[str, bytes]:
    files = {name: part_file(folder, WORKER, name) for name in NAMES}
    return {name: path.read_bytes() for name, path in files.items() if path.exists()}


def append(folder: Path, name: str, data: bytes) -> None:
    with part_file(folder, WORKER, name).open("ab") as file:
        file.write(data)


def copy(source: PartSource, copied: PartReplica) -> int:
    """Copy the part once, without the loss of a chunk. Return the number of chunks."""
    chunks = 0
    for chunk in source.chunks():
        source.add(copied.receive(chunk))
        chunks += 1
    return chunks


def test_files_are_copied_in_chunks_and_then_incrementally(tmp_path: Path) -> None:
    source_folder, copy_folder = folders(tmp_path)
    source, copied = PartSource(source_folder, WORKER, KEY), PartReplica(copy_folder, WORKER, KEY)
    append(source_folder, "turns.arrows", random.Random(1).randbytes(2 * CHUNK_BYTES + 5))
    part_file(source_folder, WORKER, FACTS).write_text("{}")
    assert copy(source, copied) == 4
    assert copy(source, copied) == 0
    append(source_folder, "turns.arrows", b"more")
    part_file(source_folder, WORKER, FACTS).write_text('{"done": true}')
    assert copy(source, copied) == 2

    assert content(copy_folder) == content(source_folder)


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=400)), max_size=12),
    st.randoms(use_true_random=False),
)
def test_the_copy_is_equal_with_lost_duplicate_and_late_chunks(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[str, bytes]], chance: random.Random
) -> None:
    source_folder, copy_folder = folders(tmp_path_factory.mktemp("replica"))
    source, copied = PartSource(source_folder, WORKER, KEY), PartReplica(copy_folder, WORKER, KEY)
    late: list[PartChunk] = []
    source.chunk_bytes = 64
    for name, data in [*writes, *((name, b"the end") for name in NAMES)]:
        if name in replica.DOCUMENTS:
            part_file(source_folder, WORKER, name).write_text(data.hex() * 3)
        else:
            append(source_folder, name, data)
        for chunk in source.chunks():
            fate = chance.random()
            if fate < 0.2:
                break  # the chunk is lost, and the worker starts again
            if fate < 0.4:
                late.append(chunk)
            if fate < 0.3:
                break
            receipt = copied.receive(chunk)
            if late and chance.random() < 0.5:
                copied.receive(late.pop(chance.randrange(len(late))))
            if fate < 0.5:
                break  # the receipt is lost
            source.add(receipt)
    for chunk in late:
        copied.receive(chunk)
    copy(source, copied)

    assert content(copy_folder) == content(source_folder)


def packed(data: bytes) -> bytes:
    return zlib.compress(data)


@pytest.mark.parametrize(
    "chunk",
    [
        PartChunk.sealed(KEY, "../run.json", 0, 0, 0, packed(b"x")),
        PartChunk.sealed(KEY, "events/../../x.jsonl", 0, 0, 0, packed(b"x")),
        PartChunk.sealed(KEY, "events/w0-1.jsonl/../x", 0, 0, 0, packed(b"x")),
        PartChunk.sealed(KEY, "run.json", 1, 0, 1, packed(b"x")),
        PartChunk.sealed(KEY, "turns.arrows", 0, 0, 0, b"no zlib"),
        PartChunk.sealed(KEY, "turns.arrows", 0, 0, 0, packed(b"x" * 100)[:-3]),
        PartChunk.sealed(KEY, "turns.arrows", 0, 0, 0, packed(b"\0" * (CHUNK_BYTES + 1))),
        PartChunk.sealed(KEY, FACTS, 1, 0, 1 << 40, packed(b"x")),
        PartChunk.sealed(KEY, FACTS, 1, -5, 3, packed(b"x")),
    ],
)
def test_an_invalid_chunk_is_refused_and_nothing_is_written(
    tmp_path: Path, chunk: PartChunk
) -> None:
    copy_folder = folders(tmp_path)[1]
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadChunkError):
        PartReplica(copy_folder, WORKER, KEY).receive(chunk)

    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "forged",
    [
        {"data": packed(b"Some rows")},
        {"name": "sessions.arrows"},
        {"offset": 1},
        {"version": 1},
        {"seal": b""},
        {
            "seal": PartChunk.sealed(
                b"another's", "turns.arrows", 0, 0, 0, packed(b"some rows")
            ).seal
        },
    ],
)
def test_a_modified_chunk_is_refused_and_nothing_is_written(
    forged: dict[str, Any], tmp_path: Path
) -> None:
    copy_folder = folders(tmp_path)[1]
    whole = PartChunk.sealed(KEY, "turns.arrows", 0, 0, 0, packed(b"some rows"))
    with pytest.raises(BadChunkError, match="differs from what its worker sent"):
        PartReplica(copy_folder, WORKER, KEY).receive(msgspec.structs.replace(whole, **forged))

    assert content(copy_folder) == {}


@given(
    st.builds(
        PartChunk.sealed,
        st.just(KEY),
        st.text(max_size=9),
        st.integers(),
        st.integers(),
        st.integers(),
        st.binary(max_size=30),
    )
)
def test_any_chunk_is_accepted_or_refused(
    tmp_path_factory: pytest.TempPathFactory, chunk: PartChunk
) -> None:
    copy_folder = folders(tmp_path_factory.mktemp("replica"))[1]
    try:
        PartReplica(copy_folder, WORKER, KEY).receive(
            msgspec.convert(msgspec.to_builtins(chunk), PartChunk)
        )
    except BadChunkError:
        assert content(copy_folder) == {}
