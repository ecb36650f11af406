"""Looking at a process from outside."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.benchmark.watch import cores, looked_at, watched


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_living_process_has_memory_and_a_dead_one_no_sample() -> None:
    (sample,) = looked_at(os.getpid(), os.getpid(), cores())
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()

    assert sample.rss_bytes > 1_000_000
    assert looked_at(gone.pid, os.getpid(), cores()) == []
    assert looked_at(os.getpid(), gone.pid, cores()) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_who_takes_too_long_is_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

    assert watched(process, os.getpid(), cores(), 0.0) is None
    assert process.returncode is not None
