"""Who runs where, and who took the time."""

from __future__ import annotations

import os
import sys
import time

import pytest

from bench.cores import Cores, Reading, allowed_cores, cores_of, peak_rss_bytes, reading, usage

needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")


def test_harness_and_simulator_have_cores_of_their_own() -> None:
    two, many = cores_of(frozenset({2, 5})), cores_of(frozenset(range(16)))

    assert two == Cores(frozenset({5}), frozenset({2}))
    assert many == Cores(frozenset({15}), frozenset({11, 12, 13, 14}))
    assert (two.workers, many.workers, two.shared) == (1, 4, False)
    assert many.used == {11, 12, 13, 14, 15}


def test_on_a_single_core_they_share_it() -> None:
    assert cores_of(frozenset({3})).shared
    assert cores_of(frozenset()).shared
    assert cores_of(frozenset()).workers == 1


def test_shares_are_of_one_core_and_others_are_what_is_left() -> None:
    begin, end = Reading(0, 1.0, 2.0, 10.0), Reading(2 * 10**9, 2.0, 2.5, 14.0)

    assert usage(begin, end) == (0.5, 0.25, 1.25)
    assert usage(begin, Reading(2 * 10**9, 2.0, 2.5, 11.0)).others == 0.0


def test_what_the_system_does_not_tell_is_not_known() -> None:
    unknown = Reading(0, None, None, None)

    assert usage(unknown, Reading(10**9, 1.0, 1.0, 1.0)) == (None, None, None)


@needs_proc
def test_time_that_a_process_takes_is_seen() -> None:
    cores = allowed_cores()
    first = reading(os.getpid(), os.getpid(), cores)
    begun = time.process_time()
    while time.process_time() < begun + 0.1:
        pass
    used = usage(first, reading(os.getpid(), os.getpid(), cores))

    assert used.harness is not None
    assert used.harness > 0
    assert (peak_rss_bytes(os.getpid()) or 0) > 10**6
