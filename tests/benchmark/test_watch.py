"""Looking at a process from outside."""

from __future__ import annotations

import os

import pytest

from bench.cores import Cores, Reading
from bench.units import NS_PER_S
from tests.benchmark.watch import Sample, Watched, cores


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
