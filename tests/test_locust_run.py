"""Runs that a command starts: the environment variables that a run does not inherit, its last
lines, and its start.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from bench.base.clock import monotonic_ns, utc_ns
from bench.base.units import NS_PER_S
from bench.load.simulator_process import last_lines
from bench.record.document import SCHEMA_VERSION
from rtbench.locust_run import LocustRun, environment_without, without_proxies

ENVIRON = {
    "HTTPS_PROXY": "a",
    "all_proxy": "b",
    "NO_PROXY": "c",
    "PATH": "d",
    "LOCUST_USERS": "9",
    "LOCUST_URL": "e",
}


def test_connections_to_the_simulator_use_no_proxy() -> None:
    assert without_proxies(ENVIRON) == {"PATH": "d", "LOCUST_USERS": "9", "LOCUST_URL": "e"}


def test_a_run_does_not_inherit_environment_variables_for_other_runs() -> None:
    assert environment_without(ENVIRON, "LOCUST_").keys() == ENVIRON.keys() - {
        "LOCUST_USERS",
        "LOCUST_URL",
    }
    assert environment_without(ENVIRON, "LOCUST_USERS", "PATH").keys() == ENVIRON.keys() - {
        "LOCUST_USERS",
        "PATH",
    }


@pytest.mark.parametrize(
    ("printed", "reported"),
    [
        ("", "it printed nothing"),
        (" \n", "it printed nothing"),
        ("rtbench: no such file\n", "no such file"),
        ("Traceback\n  here\nValueError: x\n\n", "ValueError: x"),
        (f"rtbench: {'long ' * 100}end", f"{'long ' * 100}end"[-300:]),
    ],
)
def test_the_last_line_that_a_process_printed_is_reported(printed: str, reported: str) -> None:
    assert last_lines(printed) == reported


@pytest.mark.parametrize("step_s", [-3600, 0, 30, 3600])
def test_a_run_begins_after_its_process_start_even_if_the_wall_clock_steps(
    step_s: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawned_ns = monotonic_ns() - 2 * NS_PER_S
    (tmp_path / "run.json").write_text(
        json.dumps({"schema": SCHEMA_VERSION, "started_utc_ns": utc_ns() - NS_PER_S})
    )
    monkeypatch.setattr("time.time_ns", lambda: utc_ns() + step_s * NS_PER_S)
    began_ns = LocustRun(cast(Any, None), spawned_ns=spawned_ns).started_ns(tmp_path)

    assert spawned_ns <= began_ns <= monotonic_ns()
    assert step_s or began_ns >= spawned_ns + NS_PER_S // 2
