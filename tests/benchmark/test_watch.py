"""Looking at a process from outside."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.benchmark.watch import Sample, Watched, core_times, cores, looked_at, watched

SECOND_NS = 1_000_000_000
STAT = """cpu  30 0 30 100 0 0 0 5 0 0
cpu1 10 1 20 50 3 4 5 5 0 0
cpu11 99 99 99 99 99 99 99 99 0 0
intr 1
"""


def test_what_a_core_did_is_all_but_idling() -> None:
    ticks_per_s = os.sysconf("SC_CLK_TCK")

    assert core_times(STAT, 1) == (40 / ticks_per_s, 5 / ticks_per_s)


def test_figures_between_two_looks_are_interpolated() -> None:
    found = Watched([Sample(at * SECOND_NS, at * 0.5, at * 100, at * 0.75, 0.0) for at in range(4)])

    assert found.cpu_s(0.5 * SECOND_NS, 2.5 * SECOND_NS) == pytest.approx(1.0)
    assert found.rss_bytes(1.5 * SECOND_NS) == pytest.approx(150)
    assert found.others_share(1 * SECOND_NS, 3 * SECOND_NS) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("usable", "simulator", "clients"),
    [({5}, 5, [5]), ({0, 1}, 0, [1]), ({0, 1, 2}, 0, [1, 2]), ({2, 3, 4, 5}, 2, [4, 5])],
)
def test_the_simulator_shares_its_core_only_where_there_is_no_other(
    monkeypatch: pytest.MonkeyPatch, usable: set[int], simulator: int, clients: list[int]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: usable, raising=False)

    assert cores(2) == (simulator, clients)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_living_process_has_memory_and_a_dead_one_no_sample() -> None:
    (core, *_) = os.sched_getaffinity(0)
    (sample,) = looked_at(os.getpid(), core)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()

    assert sample.rss_bytes > 1_000_000
    assert looked_at(gone.pid, core) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_who_takes_too_long_is_ended() -> None:
    (core, *_) = os.sched_getaffinity(0)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

    assert watched(process, core, 0.0) is None
    assert process.returncode is not None
