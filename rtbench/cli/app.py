"""The command line: all commands, grouped by theme. Only the module of the command that runs is
imported, and this module imports what the command needs when it runs.
"""

import sys
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.base import standard_streams
from bench.base.errors import (
    INTERRUPTED_STATUS,
    PASS_STATUS,
    USAGE_STATUS,
    RtbenchError,
    each_error,
)
from bench.base.suggestions import near_options, nearest
from bench.files.sanitize import one_line
from rtbench.cli import print_version
from rtbench.cli.options import Command, Group, help_of, option

COMMAND_LINE_ERROR: Any = typer.BadParameter.__base__
"""Click's error for an invalid command line, of which Typer exports only a subclass."""


class Commands(Group):
    """The commands of the command line. Shell completion shows the group of each command."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*MODULES]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return command(cmd_name) if cmd_name in MODULES else None

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Return Click's completions, with the group of each command before its help."""
        completed = super().shell_complete(ctx, incomplete)
        for item in completed:
            if found := self.get_command(ctx, item.value):
                item.help = f"{found.rich_help_panel} · {item.help}"
        return completed

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return Click's result. Raise its error for an unknown command, with the command that
        was probably meant.
        """
        name = args[0]
        if name not in MODULES and not name.startswith("-"):
            from bench.load.planning.command_line import FILE_SUFFIXES

            is_script = Path(name).suffix in FILE_SUFFIXES
            meant = f"run {name}" if is_script else _meant_command(name.lower())
            hint = (
                f"did you mean rtbench {meant}?"
                if meant
                else f"the commands are {', '.join(MODULES)}"
            )
            ctx.fail(f"there is no command {name!r}; {hint}")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="rtbench", cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False
)


def _print_version(requested: bool) -> None:
    if requested:
        print_version()
        raise typer.Exit


@app.callback()
def rtbench(
    version: Annotated[
        bool, option("Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Load testing and latency benchmarking for voice on the Realtime API of Azure OpenAI, OpenAI
    and others.

    `rtbench run FILE` runs a script. `locust -f FILE` has the same options, for Locust's web page
    and several machines.
    """


GROUPS: Mapping[str, Mapping[str, str]] = {
    "Run": {
        "quickstart": "start",
        "init": "start",
        "run": "run",
        "capacity": "searches",
        "overload": "overload",
        "sweep": "sweep",
        "docs": "docs",
    },
    "Judge a run": {
        "check": "verdicts",
        "compare": "verdicts",
        "baseline": "verdicts",
        "sample-size": "verdicts",
    },
    "Look at runs": {
        "report": "report",
        "runs": "runs",
        "trend": "verdicts",
    },
    "Check the setup": {
        "validate": "validate",
        "doctor": "service",
        "probe": "service",
        "calibrate": "searches",
    },
    "Simulate a service": {"simulate": "simulate"},
}
"""The headings of groups and their commands, in the order of use, in which the help and the
documents show them. Each command has the module of `rtbench.cli` that contains it."""
MODULES = {name: module for members in GROUPS.values() for name, module in members.items()}
OTHER_COMMANDS = {
    **dict.fromkeys(("attack", "bench", "exec", "load", "play", "start", "test"), "run"),
    **dict.fromkeys(("export", "import", "mark", "merge", "replay", "upload"), "runs"),
    **dict.fromkeys(("history", "list", "ls", "results"), "runs"),
    **dict.fromkeys(("diff", "ab"), "compare"),
    **dict.fromkeys(("assert", "gate", "judge", "verify"), "check"),
    **dict.fromkeys(("html", "open", "show", "summary"), "report"),
    **dict.fromkeys(("mock", "serve", "server"), "simulate"),
    **dict.fromkeys(("lint", "synthesize"), "validate"),
    **dict.fromkeys(("ping", "diagnose", "status"), "doctor"),
    **dict.fromkeys(("create", "new", "setup"), "init"),
    **dict.fromkeys(("help", "man", "manual"), "docs"),
    **dict.fromkeys(("limit", "max", "stress"), "capacity"),
    **dict.fromkeys(("demo", "try"), "quickstart"),
    **dict.fromkeys(("power", "size"), "sample-size"),
}
"""The commands by words that other tools, earlier versions and users have for them. A word that is
a subcommand is shown with its command."""


def _meant_command(name: str) -> str:
    """Return the command that an unknown word probably means; "" if none is similar."""
    meant = OTHER_COMMANDS.get(name) or nearest(name, MODULES) or ""
    is_subcommand = meant == "runs" and name in command("runs").commands
    return f"{meant} {name}" if is_subcommand else meant


OWN_FORM = {"run": "ReadByLocust", "overload": "WithRunOptions", "sweep": "WithRunOptions"}
"""The commands of which Locust reads all options, or some, with their classes in
`rtbench.cli.run`."""


@cache
def command(name: str) -> Any:
    """Return a command as a Click command. Typer makes it from the signature of its function."""
    module = import_module(f"rtbench.cli.{MODULES[name]}")
    member = getattr(module, name.replace("-", "_"))
    group = next(group for group, members in GROUPS.items() if name in members)
    only = typer.Typer(add_completion=False)
    if isinstance(member, typer.Typer):
        only.add_typer(member, name=name, rich_help_panel=group)
    else:
        run = import_module("rtbench.cli.run")
        cls = getattr(run, OWN_FORM[name]) if name in OWN_FORM else Command
        only.command(name, cls=cls, rich_help_panel=group, help=help_of(member))(member)
    return typer.main.get_group(only).commands[name]


@cache
def commands() -> Any:
    """Return all commands as a Click group."""
    return typer.main.get_command(app)


FILE_OPTIONS = ("-f", "--locustfile")
"""The options with which Locust's command line names a file."""


def _takes_files(error: Any) -> str:
    """Return the problem if a command got `-f FILE`, but takes files without an option;
    otherwise "".
    """
    if getattr(error, "option_name", None) not in FILE_OPTIONS or error.ctx is None:
        return ""
    takes = any(
        (argument.metavar or "").startswith("FILE") for argument in error.ctx.command.params
    )
    path = error.ctx.command_path
    return f"{path} takes files without {error.option_name}: {path} mine.yaml" if takes else ""


def _problem(error: Any) -> str:
    """Return an error of the command line on one line, with the option that the user probably
    meant.
    """
    if name := getattr(error, "option_name", None):
        from bench.load.planning.command_line import option_of_other_tool, secret_option

        if problem := secret_option(name):
            return problem
        known = (
            [flag for parameter in error.ctx.command.params for flag in parameter.opts]
            if error.ctx
            else []
        )
        meant = option_of_other_tool(name)
        error.possibilities = (
            [meant] if meant in known else near_options(name, error.possibilities or ())
        )
    return one_line(" ".join(error.format_message().split()))


PRINTING_COMMANDS = {"baseline", "docs", "run", "runs", "sample-size"}
"""The commands whose only result is the text that they print. They fail if it cannot be printed.
`rtbench run` prints only its help in this process."""
WRITING_SUBCOMMANDS = {"export", "import", "mark", "merge", "upload"}
"""The subcommands of `PRINTING_COMMANDS` that have another result."""


def _only_prints(words: Sequence[str]) -> bool:
    """Return whether the text that a command line prints is its only result."""
    return not PRINTING_COMMANDS.isdisjoint(words[:1]) and WRITING_SUBCOMMANDS.isdisjoint(
        words[1:2]
    )


def main() -> None:
    """Run a command. If the user can fix an error, print it as one line on stderr.

    The status is 2 after any error, because 1 is the status of a failed threshold.
    """
    standard_streams.prepare()
    try:
        status = commands()(standalone_mode=False)
        is_lost = standard_streams.lost_output() and _only_prints(sys.argv[1:])
        sys.exit(status or (USAGE_STATUS if is_lost else PASS_STATUS))
    except RtbenchError as error:
        for problem in each_error(error):
            standard_streams.print_notice(one_line(str(problem)))
        sys.exit(USAGE_STATUS)
    except COMMAND_LINE_ERROR as error:
        message = _takes_files(error) or _problem(error)
        if error.ctx is None or not message:  # no command was given: the message is the help
            error.show()
        else:
            end = " " if message.endswith("?") else "; "
            standard_streams.print_notice(
                f"{message.rstrip('.')}{end}see {error.ctx.command_path} --help"
            )
        sys.exit(USAGE_STATUS)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED_STATUS)
    except Exception as error:
        # needed only here, and slow to import
        from bench.transport.own_limits import MORE_MEMORY, full_disk_text, limit_text

        limit = limit_text(error, "the command could not run", MORE_MEMORY)
        if (text := limit or full_disk_text(error)) is not None:
            standard_streams.print_notice(one_line(text))
        else:
            traceback.print_exc()
        sys.exit(USAGE_STATUS)


if __name__ == "__main__":
    main()
