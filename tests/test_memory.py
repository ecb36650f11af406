"""The memory that must be left before libraries are imported."""

from __future__ import annotations

import importlib
import os
import sys

import pytest

from bench.base import memory


@pytest.mark.parametrize(
    ("room_bytes", "error"), [(1 << 60, MemoryError), (1 << 12, ModuleNotFoundError)]
)
def test_a_library_is_searched_only_if_there_is_room_for_it(
    monkeypatch: pytest.MonkeyPatch, room_bytes: int, error: type[Exception]
) -> None:
    memory.prepare()
    monkeypatch.setitem(memory.ROOM_BYTES, "this_is_no_library", room_bytes)
    with pytest.raises(error):
        importlib.import_module("this_is_no_library")


def test_openblas_gets_one_thread_however_often_a_process_is_prepared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "64")
    memory.prepare()
    memory.prepare()

    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
    assert sum(isinstance(finder, memory.RoomCheck) for finder in sys.meta_path) == 1
