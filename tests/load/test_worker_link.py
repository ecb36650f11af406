"""The difference between the clocks of a worker and its master, and the connection between them."""

from __future__ import annotations

import fcntl
import os
import zlib
from pathlib import Path
from typing import Any

import gevent
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.runners import worker_link
from bench.load.runners.worker_link import (
    MIN_BYTES,
    ClockOffset,
    MasterLiveness,
    PartSender,
    best,
    offset_of,
)
from bench.record.replica import CHUNK_BYTES, ChunkAck, PartChunk, PartSource, part_file

TIMES = st.integers(0, 10**12)


@given(st.integers(-(10**15), 10**15), TIMES, TIMES, TIMES, st.integers(0, 10**18))
def test_the_error_of_a_clock_offset_is_within_its_bound(
    ahead_ns: int, there_ns: int, answering_ns: int, back_ns: int, sent_ns: int
) -> None:
    received_ns = sent_ns + there_ns + ahead_ns
    answered_ns = received_ns + answering_ns
    offset = offset_of(sent_ns, received_ns, answered_ns, answered_ns - ahead_ns + back_ns)

    assert abs(offset.ahead_ns - ahead_ns) <= offset.uncertainty_ns
    assert offset.uncertainty_ns <= (there_ns + back_ns) // 2 + 1


def test_the_best_clock_offset_has_the_smallest_bound() -> None:
    assert best([ClockOffset(5, 90), ClockOffset(7, 3), ClockOffset(1, 40)]) == ClockOffset(7, 3)
    assert best([]) is None


# A worker detects that its master is dead.


def test_a_master_that_exceeds_the_patience_is_lost() -> None:
    line = MasterLiveness()
    line.patience_s = 3
    polls = [line.is_lost() for _ in range(3)]
    line.on_message()
    polls += [line.is_lost() for _ in range(4)]

    assert polls == [False] * 6 + [True]


def test_a_master_that_releases_its_lock_is_lost_after_a_folder_move(tmp_path: Path) -> None:
    folder, line = tmp_path / "run", MasterLiveness()
    folder.mkdir()
    master = os.open(folder, os.O_RDONLY)
    fcntl.flock(master, fcntl.LOCK_EX)
    line.tie(folder)
    folder.rename(tmp_path / "elsewhere")
    assert not line.is_lost()
    os.close(master)
    assert line.is_lost()


def test_a_worker_without_a_shared_lock_detects_only_silence(tmp_path: Path) -> None:
    line = MasterLiveness()
    line.tie(tmp_path)
    line.tie(None)

    assert not line.is_lost()


# A worker sends its parts even if receipts are late or missing.


@pytest.fixture
def source(tmp_path: Path) -> PartSource:
    path = part_file(tmp_path, 0, "turns.arrows")
    path.parent.mkdir()
    path.write_bytes(bytes(CHUNK_BYTES))
    return PartSource(tmp_path, 0, b"key")


def test_chunks_shrink_without_receipts_and_finish_returns_after_its_timeout(
    source: PartSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_link, "AGAIN_S", 0.002)
    sent: list[dict[str, Any]] = []
    shipper = PartSender(source, sent.append)

    assert gevent.with_timeout(60, shipper.finish, 1.0, timeout_value=None) is False
    assert source.chunk_bytes == MIN_BYTES
    assert all(chunk["offset"] == 0 for chunk in sent)


def test_giving_up_ends_the_wait_for_receipts(source: PartSource) -> None:
    shipper = PartSender(source, lambda _: None)
    gevent.spawn_later(0.05, shipper.give_up)

    assert gevent.with_timeout(60, shipper.finish, 1e6, timeout_value=None) is False


def test_chunks_grow_again_with_receipts(source: PartSource) -> None:
    source.chunk_bytes = MIN_BYTES

    def send(chunk: dict[str, Any]) -> None:
        taken = msgspec.convert(chunk, PartChunk, builtin_types=(bytes,))
        size = taken.offset + len(zlib.decompress(taken.data))
        gevent.spawn(
            shipper.receipt, msgspec.to_builtins(ChunkAck(taken.name, taken.version, size))
        )

    shipper = PartSender(source, send)

    assert gevent.with_timeout(60, shipper.finish, 1e6, timeout_value=None) is True
    assert source.chunk_bytes > MIN_BYTES
