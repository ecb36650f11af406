"""Our options on Locust's command line."""

from __future__ import annotations

import sys

import pytest

from tests import forked
from tests.simulator_process import ROOT


def with_locusts_parser(program: str) -> None:
    """Run a program that has Locust's own parser, with our options, in a process of its own: Locust patches sockets."""
    begin = """
from locust import events
from locust.argument_parser import get_parser, ui_extra_args_dict
from bench.load.planning.run_options import add_options, stay_on_loopback
events.init_command_line_parser.add_listener(add_options)
events.init_command_line_parser.add_listener(stay_on_loopback)
"""
    command = [sys.executable, "-c", begin + program]
    ended = forked.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("given", ["['--processes', '-1']", "[]"], ids=["option", "variable"])
def test_processes_of_minus_one_are_one_for_each_core_that_the_run_may_use(given: str) -> None:
    with_locusts_parser(f"""
import os
from bench.load.planning.run_options import fork_for_allowed_cores
events.init_command_line_parser.add_listener(fork_for_allowed_cores)
os.sched_getaffinity = lambda pid: range(3)
if not {given}:
    os.environ["LOCUST_PROCESSES"] = "-1"
assert get_parser().parse_args({given}).processes == 3
assert get_parser().parse_args(["--processes", "2"]).processes == 2
""")


def test_the_page_of_the_web_ui_does_not_hold_the_password_of_the_proxy() -> None:
    with_locusts_parser("""
shown = ui_extra_args_dict(["--proxy", "http://ann:her-password@proxy:1", "--seed", "77"])
assert "her-password" not in str(shown), shown
assert "77" in str(shown), shown
""")


def test_what_locust_opens_is_on_loopback_unless_told_otherwise() -> None:
    with_locusts_parser("""
quiet, told = get_parser().parse_args([]), get_parser().parse_args(["--web-host", "*", "--master-bind-host", "*"])
assert (quiet.web_host, quiet.master_bind_host) == ("127.0.0.1", "127.0.0.1"), quiet
assert (told.web_host, told.master_bind_host) == ("*", "*"), told
""")
