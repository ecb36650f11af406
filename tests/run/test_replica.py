"""A worker's part is copied whole, whatever becomes of the chunks on their way."""

from __future__ import annotations

import random
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.run import replica
from bench.run.replica import CHUNK_BYTES, BadChunkError, ChunkAck, PartChunk, PartReplica, PartSource, part_file
from bench.run.spool import prepare
from bench.run.worker_part import FACTS

NAMES = ("turns.arrows", "transcripts.jsonl", "events/w3-000001.jsonl", "histograms.hlog", FACTS)
WORKER, KEY = 3, b"a key of the worker's"


def folders(tmp_path: Path) -> tuple[Path, Path]:
    there, here = tmp_path / "there", tmp_path / "here"
    for folder in (there, here):
        folder.mkdir()
        prepare(folder)
        (folder / "events").mkdir()
    return there, here


def content(folder: Path) -> dict[str, bytes]:
    files = {name: part_file(folder, WORKER, name) for name in NAMES}
    return {name: path.read_bytes() for name, path in files.items() if path.exists()}


def append(folder: Path, name: str, data: bytes) -> None:
    with part_file(folder, WORKER, name).open("ab") as file:
        file.write(data)


def copy(source: PartSource, copied: PartReplica) -> int:
    """One round without any loss; how many chunks it took."""
    chunks = 0
    for chunk in source.chunks():
        source.note(copied.take(chunk))
        chunks += 1
    return chunks


def test_files_are_copied_in_pieces_and_then_as_far_as_they_have_grown(tmp_path: Path) -> None:
    there, here = folders(tmp_path)
    source, copied = PartSource(there, WORKER, KEY), PartReplica(here, WORKER, KEY)
    append(there, "turns.arrows", random.Random(1).randbytes(2 * CHUNK_BYTES + 5))
    part_file(there, WORKER, FACTS).write_text("{}")
    assert copy(source, copied) == 4
    assert copy(source, copied) == 0
    append(there, "turns.arrows", b"more")
    part_file(there, WORKER, FACTS).write_text('{"done": true}')
    assert copy(source, copied) == 2

    assert content(here) == content(there)


def test_the_facts_of_a_worker_that_is_done_come_after_all_that_it_recorded(tmp_path: Path) -> None:
    there, here = folders(tmp_path)
    source, copied = PartSource(there, WORKER, KEY), PartReplica(here, WORKER, KEY)
    append(there, "turns.arrows", b"first")
    part_file(there, WORKER, FACTS).write_text("not done")
    chunks = source.chunks()
    source.note(copied.take(next(chunks)))
    append(there, "turns.arrows", b" and last")
    part_file(there, WORKER, FACTS).write_text("done")
    for chunk in chunks:
        source.note(copied.take(chunk))

    assert content(here)[FACTS] == b"not done"
    copy(source, copied)
    assert content(here) == content(there)


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=400)), max_size=12),
    st.randoms(use_true_random=False),
)
def test_whatever_is_lost_comes_twice_or_late_the_copy_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[str, bytes]], chance: random.Random
) -> None:
    there, here = folders(tmp_path_factory.mktemp("replica"))
    source, copied = PartSource(there, WORKER, KEY), PartReplica(here, WORKER, KEY)
    late: list[PartChunk] = []
    source.chunk_bytes = 64
    for name, data in [*writes, *((name, b"the end") for name in NAMES)]:
        if name in replica.DOCUMENTS:
            part_file(there, WORKER, name).write_text(data.hex() * 3)
        else:
            append(there, name, data)
        for chunk in source.chunks():
            fate = chance.random()
            if fate < 0.2:
                break  # lost, and the worker starts anew
            if fate < 0.4:
                late.append(chunk)
            if fate < 0.3:
                break
            receipt = copied.take(chunk)
            if late and chance.random() < 0.5:
                copied.take(late.pop(chance.randrange(len(late))))
            if fate < 0.5:
                break  # the receipt was lost
            source.note(receipt)
    for chunk in late:
        copied.take(chunk)
    copy(source, copied)

    assert content(here) == content(there)


def test_a_worker_that_knows_nothing_any_more_is_told_how_far_the_copy_is(tmp_path: Path) -> None:
    there, here = folders(tmp_path)
    append(there, "turns.arrows", b"some rows")
    copied = PartReplica(here, WORKER, KEY)
    copy(PartSource(there, WORKER, KEY), copied)
    append(there, "turns.arrows", b", and more")
    chunk = next(PartSource(there, WORKER, KEY).chunks())

    assert copied.take(chunk) == ChunkAck("turns.arrows", 0, len(b"some rows, and more"))
    assert content(here) == content(there)


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
def test_what_no_worker_sends_is_refused_and_nothing_is_written(tmp_path: Path, chunk: PartChunk) -> None:
    here = folders(tmp_path)[1]
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadChunkError):
        PartReplica(here, WORKER, KEY).take(chunk)

    assert sorted(tmp_path.rglob("*")) == before


def test_a_chunk_beyond_the_end_of_the_copy_is_not_kept_but_answered(tmp_path: Path) -> None:
    here = folders(tmp_path)[1]
    receipt = PartReplica(here, WORKER, KEY).take(PartChunk.sealed(KEY, "turns.arrows", 0, 500, 0, packed(b"later")))

    assert receipt == ChunkAck("turns.arrows", 0, 0)
    assert content(here) == {"turns.arrows": b""}


@pytest.mark.parametrize(
    "forged",
    [
        {"data": packed(b"Some rows")},
        {"name": "sessions.arrows"},
        {"offset": 1},
        {"version": 1},
        {"seal": b""},
        {"seal": PartChunk.sealed(b"another's", "turns.arrows", 0, 0, 0, packed(b"some rows")).seal},
    ],
)
def test_a_chunk_that_is_not_as_its_worker_sent_it_is_refused_and_nothing_is_written(
    forged: dict[str, Any], tmp_path: Path
) -> None:
    here = folders(tmp_path)[1]
    whole = PartChunk.sealed(KEY, "turns.arrows", 0, 0, 0, packed(b"some rows"))
    with pytest.raises(BadChunkError, match="differs from what its worker sent"):
        PartReplica(here, WORKER, KEY).take(msgspec.structs.replace(whole, **forged))

    assert content(here) == {}


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
def test_any_chunk_is_taken_or_refused(tmp_path_factory: pytest.TempPathFactory, chunk: PartChunk) -> None:
    here = folders(tmp_path_factory.mktemp("replica"))[1]
    try:
        PartReplica(here, WORKER, KEY).take(msgspec.convert(msgspec.to_builtins(chunk), PartChunk))
    except BadChunkError:
        assert content(here) == {}
