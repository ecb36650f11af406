"""Our options on Locust's command line."""

from __future__ import annotations

import sys

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


def test_the_page_of_the_web_ui_does_not_hold_the_password_of_the_proxy() -> None:
    with_locusts_parser("""
shown = ui_extra_args_dict(["--proxy", "http://ann:her-password@proxy:1", "--seed", "77"])
assert "her-password" not in str(shown), shown
assert "77" in str(shown), shown
""")
