"""`rtbench run`: runs scripts and Locust files with Locust, and checks the run against its
thresholds.

Locust reads the command line (`bench.load.run_files`). The help shows the most important options
from its tables.
"""

import inspect
import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.base.standard_streams import text_width
from rtbench.cli.options import Command, plain_switches
from rtbench.run_process import ALL_OPTIONS, HELP_OPTIONS, become_run, names_no_file

INTRODUCTION = (
    "A run has these options in addition to Locust's own, which `locust --help` lists. Set an"
    " option on the command line, in locust.conf (without the dashes), or by the environment"
    " variable at the end of its description."
)
INDENT = 28
LOAD = "Load"
VERDICT = "Verdict"
SERVICE = "The service and the connection to it"
OUTPUT = "Output"
HELP = "Help"
OF_LOCUST = (
    (
        "--users",
        "-u",
        "N",
        "concurrent users; each starts a call when its last one has ended (default: 1)",
    ),
    ("--run-time", "-t", "TIME", "duration of the run: 90s, 10m, 1h30m"),
    ("--spawn-rate", "-r", "N", "users to start per second (default: all, up to 100)"),
    ("--processes", "", "N", "processes that share the users; -1: one per core"),
)
"""The options of Locust that the help shows. Each is (name, short form, value, purpose)."""
DISPLAYED_OPTIONS = {
    LOAD: (
        "sessions",
        "arrival_rate",
        "max_concurrent",
        "stages",
        "warmup",
        "until_decided",
        "yes",
        "budget",
    ),
    VERDICT: ("thresholds", "baseline", "on_inconclusive", "write", "junit", "explain"),
    SERVICE: (
        "targets",
        "target_file",
        "url",
        "simulator",
        "dialect",
        "protocol",
        "api_key_env",
        "auth",
    ),
    OUTPUT: ("live", "name", "label", "runs_dir", "record_events", "record_transcripts"),
}
"""The options of rtbench that the help shows, in groups. The names are those in the tables of
options."""


@cache
def displayed_parameters() -> list[Any]:
    """Return the parameters that the help shows, and that Typer does not parse."""
    from bench.load.planning.run_options import OF_CHECK, OF_PROCESSES, RUN_OPTIONS
    from bench.target.target_settings import OPTIONS

    flags = {
        option.flag[2:].replace("-", "_"): option
        for option in (*RUN_OPTIONS.values(), *OF_CHECK, *OF_PROCESSES, *OPTIONS.values())
    }
    help_text = "YAML scripts, Locust files (.py), or the word reference or reference-typed"
    files = Annotated[list[Path], typer.Argument(metavar="FILE", help=help_text)]
    listed = [_parameter("files", files)]
    for flag, short, metavar, note in OF_LOCUST:
        listed.append(_option(flag, note, metavar, LOAD, *filter(None, [short])))
    listed.append(
        _option(ALL_OPTIONS, "print all options that this tool adds to Locust's own", None, HELP)
    )
    for panel, names in DISPLAYED_OPTIONS.items():
        for name in names:
            option = flags[name]
            value = None if option.is_switch else option.metavar or name.upper()
            listed.append(_option(option.flag, option.note, value, panel))

    def run(**_: Any) -> None: ...

    run.__signature__ = inspect.Signature(listed)  # type: ignore[attr-defined]  # typer reads it
    app = typer.Typer(add_completion=False)
    app.command()(run)
    command: Any = typer.main.get_command(app)
    return list(command.params)


def all_options() -> str:
    """Return the options of a run that this tool adds to Locust's own, with their variables and
    purposes.
    """
    from bench.load.planning.run_options import add_options
    from reports.render.blocks import Fact, Paragraph
    from reports.render.terminal import render_lines
    from rtbench.cli.report import wants_colour

    listed = OptionCollector()
    add_options(listed)
    rows = (
        Fact(name, [f"{purpose}. {variable}"], indent=INDENT) for name, variable, purpose in listed
    )
    return render_lines([[Paragraph(INTRODUCTION)], rows], text_width(), wants_colour())


class OptionCollector(list[tuple[str, str, str]]):
    """A list of (the name and value of an option, its variable, its purpose) that is filled as
    Locust's parser is.
    """

    def add_argument(self, name: str, **settings: Any) -> None:
        """Add an option. `settings` are those of argparse, and `env_var` as in Locust."""
        value = settings.get("metavar", "" if "action" in settings else name[2:].upper())
        purpose = settings["help"] + (
            f"; one of {', '.join(settings['choices'])}" if "choices" in settings else ""
        )
        usage = f"{name} {value}".rstrip()
        self.append((usage.replace("%%", "%"), settings["env_var"], purpose.replace("%%", "%")))


def _option(
    flag: str, note: str, metavar: str | None, panel: str, *short: str
) -> inspect.Parameter:
    sentence = f"{note[0].upper()}{note[1:]}.".replace("%%", "%")
    value = (metavar or "").replace("%%", "%") or None
    option = typer.Option(
        flag, *short, help=sentence, metavar=value, rich_help_panel=panel, show_default=False
    )
    kind = Annotated[bool, option] if metavar is None else Annotated[str, option]
    return _parameter(flag[2:].replace("-", "_"), kind, False if metavar is None else "")


def _parameter(name: str, kind: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)


class WithRunOptions(Command):
    """A command whose other options are those of `rtbench run`."""

    ignore_unknown_options = True
    allow_extra_args = True


class ReadByLocust(Command):
    """A command that passes its arguments on unchanged. It handles only a request for help
    itself.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        return [*plain_switches(displayed_parameters()), *super().get_params(ctx)]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not HELP_OPTIONS.isdisjoint(args):
            print(self.get_help(ctx))
            ctx.exit()
        if ALL_OPTIONS in args:
            sys.stdout.write(all_options())
            ctx.exit()
        ctx.args = args
        return args


def run(ctx: typer.Context) -> None:
    """Run a script, print the report, and check the run against its thresholds.

    `rtbench run mine.yaml -u 4 --sessions 50` runs 50 calls, 4 at a time. --sessions or --run-time
    ends a run.

    These are the most important options; `rtbench run --help-all` and `locust --help` list the
    others, which also work here.

    Exit status: 0 pass, 1 fail, 3 inconclusive, 4 invalid; without thresholds 1 if a turn failed;
    130 interrupted.
    """
    from bench.load.planning.command_line import run_arguments

    if names_no_file(ctx.args):
        run_arguments(ctx.args, ())  # raises the error, before Locust is imported
    become_run(ctx.args)
