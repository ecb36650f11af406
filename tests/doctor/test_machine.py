"""The findings about a machine. Some are computed from given values, others on the machine that
runs the test.
"""

from __future__ import annotations

import resource
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.cpu import Priority
from bench.base.installation import tool_version
from bench.doctor.machine_checks import (
    clock_resolution,
    installation,
    judged_wall_clock,
    local_ports,
    open_files,
    priority,
    processors,
    reader,
    timestamps,
)
from bench.transport.ring.choice import ReaderChoice
from bench.wire.findings import CheckFinding

FOUND: list[tuple[Callable[[], CheckFinding], str, str, str]] = [
    # (a finding; its result, its text, and its remedy)
    (lambda: installation(compiled=True), "pass", tool_version(), ""),
    (lambda: installation(compiled=False), "warning", tool_version(), "install a C compiler"),
    (lambda: open_files(1_024, 4_096), "pass", "about 960 sessions", ""),
    (lambda: open_files(256, 4_096), "warning", "about 192 sessions", "up to 4,096"),
    (
        lambda: open_files(256, resource.RLIM_INFINITY),
        "warning",
        "about 192 sessions",
        "any number",
    ),
    (lambda: open_files(10, 10), "warning", "about 0 sessions", "ulimit -n"),
    (lambda: open_files(resource.RLIM_INFINITY, resource.RLIM_INFINITY), "pass", "no limit", ""),
    (lambda: local_ports(32_768, 60_999, 100), "pass", "28,132 more connections", ""),
    (
        lambda: local_ports(50_000, 50_099, 90),
        "warning",
        "10 more connections",
        "ip_local_port_range",
    ),
    (lambda: local_ports(0, 0, 0), "skipped", "unknown", ""),
    (lambda: clock_resolution(1e-5), "pass", "", ""),
    (lambda: clock_resolution(0.015), "warning", "", "measure on another machine"),
    (lambda: processors(2, 0.5), "pass", "load 0.5", ""),
    (lambda: processors(64, 10.0), "pass", "load 10.0", ""),
    (lambda: processors(2, 1.9), "warning", "load 1.9", "stop them"),
    (lambda: reader(ReaderChoice("io_uring", "")), "pass", "io_uring", ""),
    (
        lambda: reader(ReaderChoice("epoll", "RTBENCH_READER=epoll")),
        "skipped",
        "RTBENCH_READER=epoll",
        "",
    ),
    (lambda: priority(Priority(-10)), "pass", "niceness -10", ""),
    (
        lambda: priority(Priority(0, "is not permitted", "permit it")),
        "skipped",
        "of a run is not permitted",
        "",
    ),
]


@pytest.mark.parametrize(("look", "result", "expected", "remedy"), FOUND)
def test_a_limit_of_the_machine_is_found_with_its_remedy(
    look: Callable[[], CheckFinding], result: str, expected: str, remedy: str
) -> None:
    found = look()

    assert found.result == result
    assert expected in found.message
    assert remedy in found.remedy
    assert bool(remedy) == bool(found.remedy)


@given(st.floats(-1e6, 1e6))
def test_a_wall_clock_step_of_more_than_5_ms_is_a_warning(moved_ms: float) -> None:
    assert judged_wall_clock(moved_ms).result == ("pass" if abs(moved_ms) <= 5 else "warning")


def test_kernel_timestamps_are_tested_on_a_local_connection() -> None:
    found = timestamps()

    assert found.name == "kernel timestamps"
    assert found.result in ("pass", "warning")
    assert (found.result == "pass") == (not found.remedy)
