"""The assignment of processes to CPU cores, and the CPU time of each process."""

from __future__ import annotations

import os
import sys
import time

import pytest

from bench.base.cpu import (
    CpuAssignment,
    CpuReading,
    allowed_cores,
    assign_cores,
    cpu_usage,
    peak_rss_bytes,
    read_cpu,
)

needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")


def test_the_load_generator_and_the_simulator_have_separate_cores() -> None:
    two, many = assign_cores(frozenset({2, 5})), assign_cores(frozenset(range(16)))

    assert two == CpuAssignment(frozenset({5}), frozenset({2}))
    assert many == CpuAssignment(frozenset({15}), frozenset({11, 12, 13, 14}))
    assert (two.workers, many.workers, two.shared) == (1, 4, False)
    assert many.used == {11, 12, 13, 14, 15}


def test_the_load_generator_and_the_simulator_share_a_single_core() -> None:
    assert assign_cores(frozenset({3})).shared
    assert assign_cores(frozenset()).shared
    assert assign_cores(frozenset()).workers == 1


def test_cpu_usage_is_in_cores_and_the_remainder_belongs_to_others() -> None:
    begin, end = CpuReading(0, 1.0, 2.0, 10.0), CpuReading(2 * 10**9, 2.0, 2.5, 14.0)

    assert cpu_usage(begin, end) == (0.5, 0.25, 1.25)
    assert cpu_usage(begin, CpuReading(2 * 10**9, 2.0, 2.5, 11.0)).others == 0.0


def test_cpu_usage_is_unknown_if_the_system_does_not_report_it() -> None:
    unknown = CpuReading(0, None, None, None)

    assert cpu_usage(unknown, CpuReading(10**9, 1.0, 1.0, 1.0)) == (None, None, None)


@needs_proc
def test_the_cpu_time_of_a_process_is_measured() -> None:
    cores = allowed_cores()
    first = read_cpu(os.getpid(), os.getpid(), cores)
    begun = time.process_time()
    while time.process_time() < begun + 0.1:
        pass
    used = cpu_usage(first, read_cpu(os.getpid(), os.getpid(), cores))

    assert used.load_generator is not None
    assert used.load_generator > 0
    assert (peak_rss_bytes(os.getpid()) or 0) > 10**6
