"""Functions that run `rtbench` commands in this process, with the arguments that a user would
type.
"""

from __future__ import annotations

from collections.abc import Mapping

from typer import testing

from bench.base.errors import UsageError
from rtbench.cli.app import app, commands

# At each invocation the runner would build all commands from their signatures. Building them takes
# longer than many commands.
testing._get_command = lambda _: commands()  # type: ignore[assignment, attr-defined]


def call(*words: object, env: Mapping[str, str | None] | None = None) -> testing.Result:
    """Run a command. `env` is added to the environment. If the value of a variable is None, the
    variable is removed.
    """
    return testing.CliRunner().invoke(app, [*map(str, words)], env=env)


def call_or_raise(*words: object) -> tuple[int, str]:
    """Run a command. Return its exit status and its output.

    Raise the UsageError of the command, which `main` would receive.
    """
    found = call(*words)
    if isinstance(found.exception, UsageError):
        raise found.exception
    return found.exit_code, found.output
