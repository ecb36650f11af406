"""The commands of all other pages run unchanged."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from tests import forked
from tests.docs.commands import PAGES, ROOT, commands
from tests.simulator_process import Ready
from tests.system.docs.reader import ABOUT_AGENTS, FIRST, NOT_HERE, blocks, run_block


@pytest.mark.parametrize("lines", blocks({page.name for page in PAGES} - FIRST - ABOUT_AGENTS))
def test_a_block_of_commands_runs(
    lines: list[tuple[str, ...]], place: Path, simulator: Ready
) -> None:
    run_block(lines, place, simulator)


PARSE = """
import shlex, sys
from locust.argument_parser import get_parser
import rtbench.locust_user
parser = get_parser(default_config_files=[])
for line in sys.stdin:
    print(parser.parse_args(shlex.split(line)).locustfile)
"""


def test_each_locust_command_is_valid_and_names_existing_files() -> None:
    lines = [
        shlex.join(command.words[1:]) for command in commands() if command.words[0] == "locust"
    ]
    parsed = forked.run(
        [sys.executable, "-c", PARSE],
        words="\n".join(lines),
        capture_output=True,
        text=True,
        check=False,
    )

    named = parsed.stdout.splitlines()
    assert parsed.returncode == 0, parsed.stderr
    assert named
    assert len(named) == len(lines)
    assert not [p for line in named for p in line.split(",") if not (ROOT / p).is_file()]


def test_each_command_that_does_not_run_here_is_on_a_page() -> None:
    written = [" ".join(command.words) for command in commands()]

    assert [
        begin for begin in NOT_HERE if not any(line.startswith(begin) for line in written)
    ] == []
