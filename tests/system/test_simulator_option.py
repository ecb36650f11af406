"""The option `--simulator` of real commands: the simulator that they start ends with them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from bench.base.installation import EXAMPLES
from bench.load.simulator_process import serves
from bench.target.target_settings import SIMULATOR_PORT
from tests import forked
from tests.system.end_to_end.locust_process import own_ports

PORT = re.compile(r"SIMULATED: the service is .* on port (\d+) of this machine(.*)")
COMMANDS = {
    "run": ("rtbench.cli.app", "run {scripts}/text_turns.yaml -u 1 --sessions 1", (0, 4)),
    "locust": (
        "locust",
        "-f {scenarios}/text_turns.py --headless -u 2 --sessions 2 --processes 2",
        (0, 4),
    ),
    "probe": ("rtbench.cli.app", "probe", (0,)),
    "doctor": ("rtbench.cli.app", "doctor", (0, 1)),
}
"""The module of each command, its words, and the exit statuses of success."""


def test_the_first_call_of_a_new_user_is_answered(tmp_path: Path) -> None:
    """A share of the turns gets no reply, as of real services. The first call has no such turn."""
    if serves(SIMULATOR_PORT):
        pytest.skip("another simulator has had its first calls")
    script = str(EXAMPLES / "scripts/voice_turns.yaml")
    command = [sys.executable, "-m", "rtbench.cli.app", "run", script, "-u", "1", "--sessions", "1"]
    ended = forked.run(
        [*command, "--simulator"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert "4 turns, 0 failed" in ended.stdout, ended.stdout


@pytest.mark.parametrize("option", ["--sessions=-5", "--users=0", "--run-time=-1s"])
def test_wrong_options_are_refused_before_a_simulator_starts(option: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rtbench.cli.app", "run", str(EXAMPLES / "text_turns.py")]
    ended = forked.run(
        [*command, "--simulator", option], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 2
    assert not PORT.search(ended.stderr), ended.stderr
    assert len(ended.stderr.splitlines()) == 1, ended.stderr


@pytest.mark.parametrize(
    ("name", "profile"), [("run", ""), ("locust", "quiet"), ("probe", ""), ("doctor", "")]
)
def test_a_command_calls_a_simulator_that_ends_with_it(
    name: str, profile: str, tmp_path: Path
) -> None:
    module, words, statuses = COMMANDS[name]
    given = words.format(scripts=EXAMPLES / "scripts", scenarios=EXAMPLES).split()
    found = not profile and serves(SIMULATOR_PORT)  # the machine of a developer may have one
    named = ("--simulator-profile", profile) if profile else ()
    command = [sys.executable, "-m", module, *given, "--simulator", *named, *own_ports(given)]
    ended = forked.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    notice = PORT.search(ended.stderr)

    assert ended.returncode in statuses, ended.stderr
    assert notice is not None, ended.stderr
    assert (int(notice[1]) == SIMULATOR_PORT) == found
    assert found or notice[2] == f", with the profile {profile or 'gpt-realtime'}"
    assert found or not serves(int(notice[1])), "it still runs"
