"""The CPU cores on which processes run, and the CPU time that they used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.base.cpu import allowed_cores, pinned_to

needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")


@needs_proc
def test_child_processes_inherit_the_pinned_cores() -> None:
    before = allowed_cores()
    last = frozenset({max(before)})
    with pinned_to(last):
        child = subprocess.run(
            [sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"],
            capture_output=True,
            text=True,
            check=True,
        )

    assert {int(core) for core in child.stdout.split()} == last
    assert allowed_cores() == before
