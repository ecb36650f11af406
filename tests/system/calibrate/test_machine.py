"""The CPU cores on which processes run, and the CPU time that they used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.base.cpu import allowed_cores, peak_rss_bytes, pinned_to, read_cpu

needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")


@needs_proc
def test_child_processes_inherit_the_pinned_cores() -> None:
    before = allowed_cores()
    last = frozenset({max(before)})
    with pinned_to(last):
        child = subprocess.run([sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"],
                               capture_output=True, text=True, check=True)  # fmt: skip

    assert {int(core) for core in child.stdout.split()} == last
    assert allowed_cores() == before


@needs_proc
def test_the_cpu_time_of_an_ended_process_is_unknown() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()

    assert peak_rss_bytes(child.pid) is None
    assert read_cpu(child.pid, child.pid, allowed_cores()).load_generator_s is None
