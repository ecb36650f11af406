"""The command line: the commands, gathered from files by theme. A command imports its work when it is called."""

from __future__ import annotations

import io
import os
import sys
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

from bench import former
from bench.cli.report import export, report
from bench.cli.runs import merge, open_run, runs, upload
from bench.cli.searches import calibrate, capacity
from bench.cli.service import doctor, probe, replay
from bench.cli.simulate import simulate
from bench.cli.start import init, options, quickstart
from bench.cli.verdicts import baseline, check, compare, decide, sample_size, trend
from bench.errors import INTERRUPTED_STATUS, USAGE_STATUS, BenchError, UsageError
from bench.plain import one_line

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

COMMAND_LINE_ERROR: Any = typer.BadParameter.__base__
"""Click's error for a command line that cannot be read, which Typer holds without a name of its own."""


class Commands(TyperGroup):
    """The commands, which know their former names."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As Click does. Raises UsageError for a former name."""
        if new := former.COMMANDS.get(args[0]):
            raise UsageError(f"No such command '{args[0]}'; it is '{new}' now.")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="rtbench",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        from bench.installation import tool_version

        print(f"rtbench {tool_version()}")
        raise typer.Exit


@app.callback()
def rtbench(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Load testing and latency benchmarking for voice on the Realtime API of Azure OpenAI, OpenAI and others."""
    former.refuse_variables(os.environ)


app.command()(quickstart)
app.command()(init)
app.command()(calibrate)
app.command()(capacity)
app.command()(simulate)
app.command()(doctor)
app.command()(probe)
app.command()(replay)
app.command()(options)
app.command()(report)
app.command("open")(open_run)
app.command()(runs)
app.command()(check)
app.add_typer(baseline)
app.command()(compare)
app.command()(decide)
app.command()(trend)
app.command()(merge)
app.command()(upload)
app.command("sample-size")(sample_size)
app.command()(export)


@cache
def commands() -> Any:
    """The commands as Click runs them, made of the signatures of them all."""
    return typer.main.get_command(app)


class ForgivingStream(io.FileIO):
    """Standard output or stderr, whose reader may leave: what is written then goes nowhere.

    `rtbench check RUN | head -1` closes the pipe after a line; the exit status is still the verdict's.
    """

    def write(self, data: ReadableBuffer, /) -> int:
        """As FileIO, without BrokenPipeError."""
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes


def forgiving(stream: TextIO | None) -> TextIO:
    """The same stream, whose reader may leave, or was never there (`>&-`); one that is no file is left as it is."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper) or stream not in (sys.__stdout__, sys.__stderr__):
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(ForgivingStream(stream.fileno(), "wb", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or stream.isatty(),
        write_through=stream.write_through,
    )


def _new_option(error: Any) -> str:
    """The name that an unknown option has now; "" if it never was one of the command's."""
    _, command, *_ = [*error.ctx.command_path.split(), ""] if error.ctx else ("", "")
    return former.COMMAND_OPTIONS.get(command, {}).get(getattr(error, "option_name", ""), "")


def main() -> None:
    """Run a command. What the user can mend becomes one line on stderr and exit status 2."""
    sys.stdout, sys.stderr = forgiving(sys.stdout), forgiving(sys.stderr)
    try:
        sys.exit(commands()(standalone_mode=False))
    except BenchError as error:
        print(f"rtbench: {one_line(str(error))}", file=sys.stderr)
        sys.exit(USAGE_STATUS)
    except COMMAND_LINE_ERROR as error:
        said = one_line(" ".join(error.format_message().replace("Value error, ", "").split()))
        if new := _new_option(error):
            print(f"rtbench: No such option: {error.option_name}; it is {new} now.", file=sys.stderr)
        elif error.ctx is None or not said:  # no command was named: the message is the help
            error.show()
        else:
            print(f"rtbench: {said.rstrip('.')}; see {error.ctx.command_path} --help", file=sys.stderr)
        sys.exit(USAGE_STATUS)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED_STATUS)


if __name__ == "__main__":
    main()
