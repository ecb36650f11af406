"""Looking at a process from outside."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench.calibrate.machine import Cores, Reading
from bench.units import NS_PER_S
from tests.benchmark.watch import Sample, Watched, cores, looked_at, watched


def test_figures_between_two_looks_are_interpolated() -> None:
    found = Watched([Sample(Reading(at * NS_PER_S, at * 0.5, at * 0.25, at * 1.0), at * 100) for at in range(4)])

    assert found.cpu_s(0.5 * NS_PER_S, 2.5 * NS_PER_S) == pytest.approx(1.0)
    assert found.rss_bytes(1.5 * NS_PER_S) == pytest.approx(150)
    assert found.others_share(1 * NS_PER_S, 3 * NS_PER_S) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("usable", "simulator", "clients"),
    [({5}, 5, {5}), ({0, 1}, 0, {1}), ({0, 1, 2}, 0, {1, 2}), ({2, 3, 4, 5}, 2, {4, 5})],
)
def test_the_simulator_shares_its_core_only_where_there_is_no_other(
    monkeypatch: pytest.MonkeyPatch, usable: set[int], simulator: int, clients: set[int]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: usable, raising=False)

    assert cores(2) == Cores(frozenset(clients), frozenset({simulator}))


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
