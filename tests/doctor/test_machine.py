"""What a machine can bear, from its figures; and that this one can be looked at."""

from __future__ import annotations

import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cores import Priority
from bench.doctor.surroundings import (
    clock_resolution,
    installation,
    judged_wall_clock,
    local_ports,
    open_files,
    priority,
    processors,
    stamps,
)
from bench.installation import tool_version


@pytest.mark.parametrize(("compiled", "state"), [(True, "pass"), (False, "warning")])
def test_an_installation_without_what_is_compiled_is_a_warning(compiled: bool, state: str) -> None:
    found = installation(compiled=compiled)

    assert found.result == state
    assert tool_version() in found.message
    assert bool(found.remedy) != compiled


@pytest.mark.parametrize(
    ("soft", "hard", "state", "said"),
    [
        (1_024, 4_096, "pass", "about 960 sessions"),
        (256, 4_096, "warning", "about 192 sessions"),
        (10, 10, "warning", "about 0 sessions"),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, "pass", "no limit"),
    ],
)
def test_open_files_say_how_many_sessions_they_allow(soft: int, hard: int, state: str, said: str) -> None:
    found = open_files(soft, hard)

    assert (found.result, said in found.message) == (state, True)
    assert bool(found.remedy) == (state == "warning")


def test_a_remedy_says_how_many_files_the_hard_limit_allows() -> None:
    assert "up to 4,096" in open_files(256, 4_096).remedy
    assert "any number" in open_files(256, -1).remedy


@pytest.mark.parametrize(
    ("first", "last", "used", "state"),
    [(32_768, 60_999, 100, "pass"), (32_768, 60_999, 28_000, "warning"), (0, 0, 0, "skipped")],
)
def test_ports_that_are_left_limit_the_connections(first: int, last: int, used: int, state: str) -> None:
    assert local_ports(first, last, used).result == state


def test_few_ports_left_have_a_remedy_that_widens_the_range() -> None:
    found = local_ports(50_000, 50_099, 90)

    assert "10 more connections" in found.message
    assert "ip_local_port_range" in found.remedy


@pytest.mark.parametrize(("resolution_s", "state"), [(1e-9, "pass"), (1e-5, "pass"), (0.015, "warning")])
def test_a_coarse_clock_is_a_warning(resolution_s: float, state: str) -> None:
    assert clock_resolution(resolution_s).result == state


@given(st.floats(-1e6, 1e6))
def test_a_wall_clock_that_is_stepped_is_a_warning(moved_ms: float) -> None:
    assert judged_wall_clock(moved_ms).result == ("pass" if abs(moved_ms) <= 5 else "warning")


@pytest.mark.parametrize(("cpus", "load", "state"), [(2, 0.5, "pass"), (2, 1.9, "warning"), (64, 10.0, "pass")])
def test_a_busy_machine_is_a_warning(cpus: int, load: float, state: str) -> None:
    assert processors(cpus, load).result == state


@pytest.mark.parametrize(
    ("got", "result", "said"),
    [
        (Priority(-10), "pass", "niceness -10"),
        (Priority(0, "is not permitted", "permit it"), "skipped", "`--priority` of a run is not permitted"),
    ],
)
def test_the_doctor_says_whether_a_run_may_have_priority_and_how(got: Priority, result: str, said: str) -> None:
    finding = priority(got)

    assert (finding.result, finding.remedy) == (result, got.remedy)
    assert said in finding.message


def test_stamps_are_tried_on_a_connection_of_this_machine() -> None:
    found = stamps()

    assert found.name == "kernel timestamps"
    assert found.result in ("pass", "warning")
    assert (found.result == "pass") == (not found.remedy)
