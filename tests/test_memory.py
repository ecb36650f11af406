"""The memory that must be left before libraries are imported."""

from __future__ import annotations

import importlib
import os
import sys

import pytest

from bench.base import memory


def test_a_library_is_not_imported_without_room_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    memory.prepare()
    monkeypatch.setitem(memory.ROOM_BYTES, "this_library_is_large", 1 << 60)
    with pytest.raises(MemoryError):
        importlib.import_module("this_library_is_large")


def test_a_library_is_searched_if_there_is_room_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    memory.prepare()
    monkeypatch.setitem(memory.ROOM_BYTES, "this_library_is_small", 1 << 12)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("this_library_is_small")


def test_openblas_gets_one_thread_however_often_a_process_is_prepared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "64")
    memory.prepare()
    memory.prepare()

    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
    assert sum(isinstance(finder, memory.RoomCheck) for finder in sys.meta_path) == 1
