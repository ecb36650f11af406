"""Every command line of the README and of the documents is one: its options exist, and the files that it names."""

from __future__ import annotations

import os
import re
import shlex
import sys

import pytest
import typer

from bench.cli.app import app
from tests import forked
from tests.docs.commands import ROOT, commands

PARSE = """
import shlex, sys
from locust.argument_parser import get_parser
import bench.load.user
parser = get_parser(default_config_files=[])
for line in sys.stdin:
    print(parser.parse_args(shlex.split(line)).locustfile)
"""
YOURS = {"mine.py", "calls.py"}
"""Scenarios that a page tells its reader to write."""


def of(program: str) -> list[tuple[str, list[str]]]:
    """(page, arguments) of every command of a program."""
    return [(one.page, [*one.words[1:]]) for one in commands() if one.words[0] == program]


def test_every_locust_command_parses_and_names_files_that_are_there() -> None:
    lines = [shlex.join(arguments) for _, arguments in of("locust")]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    parsed = forked.run(
        [sys.executable, "-c", PARSE], words="\n".join(lines), capture_output=True, text=True, env=clean, check=False
    )

    named = parsed.stdout.splitlines()
    assert parsed.returncode == 0, parsed.stderr
    assert len(named) == len(lines) >= 20
    assert not [p for line in named for p in line.split(",") if p not in YOURS and not (ROOT / p).is_file()]


@pytest.mark.parametrize(
    ("page", "arguments"), of("rtbench"), ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_every_rtbench_command_parses(page: str, arguments: list[str]) -> None:
    name, *rest = arguments
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    if "--help" not in rest:
        command.make_context(name, rest).close()


def test_every_make_command_is_a_target() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {words[0] for _, words in of("make") if words}

    assert named <= targets
