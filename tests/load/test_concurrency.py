"""How many sessions are open at a time, and what is said where a process gets more than it is trusted with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.planning.planned import (
    Concurrency,
    PlayingHost,
    concurrency,
    hosts_advice,
    peak_users,
    process_advice,
)

CITED = {"sessions": 350, "kind": "text", "date": "2026-11-20", "ended": "", "stale": []}


def of(users: int, runner: object = None, sessions: int | None = None, **options: int) -> Concurrency:
    parsed: Any = SimpleNamespace(num_users=users, **options)
    environment: Any = SimpleNamespace(parsed_options=parsed, shape_class=None, runner=runner)
    return concurrency(environment, users, sessions=sessions, arms=1)


def advice(users: int, cited: Any = CITED, *, arms: int = 1, processes: int = 1, cores: int = 8) -> str:
    """The line, "" where there is none."""
    return "".join(process_advice(Concurrency(users, arms, processes), cited, cores))


def test_the_fullest_process_counts() -> None:
    assert Concurrency(11, 2, 3).per_process == 8


@given(st.integers(1, 5_000), st.integers(1, 5), st.integers(1, 2_000))
def test_as_many_processes_as_are_needed_are_enough_and_one_fewer_is_not(users: int, arms: int, trusted: int) -> None:
    needed = Concurrency(users, arms, 1).processes_for(trusted)

    if needed is None:
        assert Concurrency(users, arms, users).per_process > trusted
    else:
        assert Concurrency(users, arms, needed).per_process <= trusted
        assert needed == 1 or Concurrency(users, arms, needed - 1).per_process > trusted


def test_processes_are_those_of_the_options_or_the_workers_that_are_there() -> None:
    assert of(8).processes == of(8, SimpleNamespace()).processes == 1
    assert of(8, processes=2).processes == of(8, expect_workers=2).processes == 2
    assert of(8, SimpleNamespace(worker_count=3), expect_workers=1).processes == 3
    assert of(8, SimpleNamespace(worker_count=0)).processes == 1
    assert of(8, sessions=5) == Concurrency(5, 1, 1)


def test_a_load_shape_asks_for_the_users_of_its_largest_stage() -> None:
    parsed = SimpleNamespace(num_users=5)
    stages = [
        {"duration": 60, "users": 20, "spawn_rate": 5},
        {"duration": 120, "users": 400},
        {"duration": 180, "users": None},
    ]

    assert peak_users(parsed, None) == peak_users(parsed, SimpleNamespace()) == 5
    assert peak_users(parsed, SimpleNamespace(stages=stages)) == 400
    assert peak_users(parsed, SimpleNamespace(stages="unlike Locust's")) == 5
    assert peak_users(SimpleNamespace(num_users=None), None) == 1


@pytest.mark.parametrize(("users", "processes"), [(350, 1), (700, 2), (1, 1)])
def test_nothing_is_said_where_every_process_is_trusted_with_its_sessions(users: int, processes: int) -> None:
    assert advice(users, processes=processes) == ""


def test_the_line_says_how_many_processes_are_enough_and_what_happens_otherwise() -> None:
    assert advice(1_000) == (
        "1,000 sessions in one process are more than this machine is trusted with: 350 text sessions (calibrated on "
        "2026-11-20); this load takes --processes 3; with fewer, values may be off by more than 1 ms and the run "
        "INVALID"
    )
    assert advice(1_000, processes=2).startswith("500 sessions in one process")
    assert "this load takes --processes 6;" in advice(1_000, arms=2)


@pytest.mark.parametrize(
    ("cores", "said"),
    [
        (3, "takes --processes 3;"),
        (2, "; this load takes 3 processes, on 2 machines with 2 cores each"),
        (1, "3 machines with 1 core each"),
    ],
)
def test_where_there_are_too_few_cores_the_line_says_how_many_machines_it_takes(cores: int, said: str) -> None:
    assert said in advice(1_000, cores=cores)


def test_the_line_says_what_has_changed_since_the_calibration_and_what_ended_it() -> None:
    line = advice(1_000, CITED | {"ended": "the simulator", "stale": ["with another kernel"]})

    assert "at least 350 text sessions (calibrated on 2026-11-20, with another kernel)" in line


@pytest.mark.parametrize(("trusted", "arms"), [(0, 1), (1, 2)])
def test_a_machine_that_is_not_trusted_with_one_user_is_told_of_no_processes(trusted: int, arms: int) -> None:
    line = advice(10, CITED | {"sessions": trusted}, arms=arms)

    assert "no number of processes is enough" in line
    assert "--processes" not in line


def test_a_calibration_is_asked_for_before_more_sessions_than_it_begins_with() -> None:
    assert "`rtbench calibrate`" in advice(101, None)
    assert advice(100, None) == advice(5, None) == advice(200, None, processes=2) == ""


def on(name: str, trusted: int | None, workers: int = 2, cores: int = 4) -> PlayingHost:
    return PlayingHost(name, workers, cores, None if trusted is None else {"sessions": trusted})


def test_hosts_that_carry_the_load_together_are_said_to() -> None:
    (line,) = hosts_advice(Concurrency(600, 1, 6), [on("east", 450), on("west", 100), on("south", 100)])

    assert line == "100 sessions in each of 6 processes on 3 hosts: each is trusted with as many"


def test_a_host_that_carries_less_or_that_nobody_knows_is_named() -> None:
    (line,) = hosts_advice(Concurrency(600, 1, 6), [on("east", 99), on("west", None), on("south", 450, 5)])

    assert "more than they are trusted with (east 99)" in line
    assert "west is not calibrated: run `rtbench calibrate` there" in line
    assert "too few cores: south has 4 for 5" in line
