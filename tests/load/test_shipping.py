"""How parts are shipped where receipts come late or not at all."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import gevent
import msgspec
import pytest

from bench.load.leading import link
from bench.load.leading.link import LEAST_BYTES, Shipper
from bench.run.replica import CHUNK_BYTES, PartChunk, Receipt, Source, part_file


@pytest.fixture
def source(tmp_path: Path) -> Source:
    path = part_file(tmp_path, 0, "turns.arrows")
    path.parent.mkdir()
    path.write_bytes(bytes(CHUNK_BYTES))
    return Source(tmp_path, 0, b"key")


def test_chunks_grow_small_where_no_receipt_comes_and_the_end_is_as_long_as_was_said(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "AGAIN_S", 0.002)
    sent: list[dict[str, Any]] = []
    shipper = Shipper(source, sent.append)

    assert gevent.with_timeout(60, shipper.finish, 1.0, timeout_value=None) is False
    assert source.chunk_bytes == LEAST_BYTES
    assert all(chunk["offset"] == 0 for chunk in sent)


def test_who_has_lost_its_master_waits_for_no_receipt(source: Source) -> None:
    shipper = Shipper(source, lambda _: None)
    gevent.spawn_later(0.05, shipper.give_up)

    assert gevent.with_timeout(60, shipper.finish, 1e6, timeout_value=None) is False


def test_chunks_grow_again_with_receipts(source: Source) -> None:
    source.chunk_bytes = LEAST_BYTES

    def send(chunk: dict[str, Any]) -> None:
        taken = msgspec.convert(chunk, PartChunk, builtin_types=(bytes,))
        size = taken.offset + len(zlib.decompress(taken.data))
        gevent.spawn(shipper.receipt, msgspec.to_builtins(Receipt(taken.name, taken.version, size)))

    shipper = Shipper(source, send)

    assert gevent.with_timeout(60, shipper.finish, 1e6, timeout_value=None) is True
    assert source.chunk_bytes > LEAST_BYTES
