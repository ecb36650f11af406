"""Calls `rtbench` as a user does, in this process."""

from __future__ import annotations

from collections.abc import Mapping

from typer import testing

from bench.errors import UsageError
from rtbench.cli.app import app, commands

# The runner would make all commands of their signatures at each call, which takes longer than many a command.
testing._get_command = lambda _: commands()  # type: ignore[assignment, attr-defined]


def call(*words: object, env: Mapping[str, str | None] | None = None) -> testing.Result:
    """Call a command; `env` is put into the environment, without what is None there."""
    return testing.CliRunner().invoke(app, [*map(str, words)], env=env)


def call_or_raise(*words: object) -> tuple[int, str]:
    """Call a command, and return its exit status and output; a UsageError is raised, as `main` gets it."""
    found = call(*words)
    if isinstance(found.exception, UsageError):
        raise found.exception
    return found.exit_code, found.output
