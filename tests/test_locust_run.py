"""What does not reach a run that a command starts, and what is told of its words."""

from __future__ import annotations

import pytest

from bench.locust_run import environment_without, last_words, without_proxies

ENVIRON = {"HTTPS_PROXY": "a", "all_proxy": "b", "NO_PROXY": "c", "PATH": "d", "LOCUST_USERS": "9", "LOCUST_URL": "e"}


def test_no_proxy_stands_before_the_simulator() -> None:
    assert without_proxies(ENVIRON) == {"PATH": "d", "LOCUST_USERS": "9", "LOCUST_URL": "e"}


def test_what_is_set_for_other_runs_does_not_reach_a_run() -> None:
    assert environment_without(ENVIRON, "LOCUST_").keys() == ENVIRON.keys() - {"LOCUST_USERS", "LOCUST_URL"}
    assert environment_without(ENVIRON, "LOCUST_USERS", "PATH").keys() == ENVIRON.keys() - {"LOCUST_USERS", "PATH"}


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        ("", "it printed nothing"),
        (" \n", "it printed nothing"),
        ("rtbench: no such file\n", "no such file"),
        ("Traceback\n  here\nValueError: x\n\n", "ValueError: x"),
        (f"rtbench: {'long ' * 100}end", f"{'long ' * 100}end"[-300:]),
    ],
)
def test_of_what_a_process_printed_the_last_line_is_told(printed: str, told: str) -> None:
    assert last_words(printed) == told
