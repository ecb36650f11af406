"""How a worker knows that its master is lost."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from bench.load.leading.link import Lifeline


def test_a_master_that_is_silent_for_longer_than_a_worker_is_patient_is_lost() -> None:
    line = Lifeline()
    line.patience_s = 3
    looks = [line.is_cut() for _ in range(3)]
    line.heard()
    looks += [line.is_cut() for _ in range(4)]

    assert looks == [False] * 6 + [True]


def test_a_master_that_lets_go_of_its_lock_is_lost_though_its_folder_was_moved(tmp_path: Path) -> None:
    folder, line = tmp_path / "run", Lifeline()
    folder.mkdir()
    master = os.open(folder, os.O_RDONLY)
    fcntl.flock(master, fcntl.LOCK_EX)
    line.tie(folder)
    folder.rename(tmp_path / "elsewhere")
    assert not line.is_cut()
    os.close(master)
    assert line.is_cut()


def test_a_worker_on_another_host_goes_by_silence_alone(tmp_path: Path) -> None:
    line = Lifeline()
    line.tie(tmp_path)
    line.tie(None)

    assert not line.is_cut()
