"""Every command in the README and in the documents is valid: its options and the files that it names exist."""

from __future__ import annotations

import re

import pytest
import typer

from rtbench.cli.app import app
from tests.docs.commands import ROOT, commands


def of(program: str) -> list[tuple[str, list[str]]]:
    """Return (page, arguments) for each command of the pages that calls this program."""
    return [(one.page, [*one.words[1:]]) for one in commands() if one.words[0] == program]


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
