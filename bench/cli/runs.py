"""`rtbench runs [FOLDER]`: what runs there are, newest first; removes those that are named, or old."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from bench.plain import json_text, one_line, printable

FOLDER = Path("runs")


def runs(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="where runs are kept", envvar="LOCUST_RUNS")
    ] = FOLDER,
    remove: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="remove this run, by its name or its folder; may be repeated"),
    ] = None,
    older_than: Annotated[
        str,
        typer.Option(metavar="AGE", help="remove the runs that are older than this: 30d, or a date such as 2026-11-01"),
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="do not ask before runs are removed")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the list as JSON")] = False,
) -> None:
    """List the runs of a folder, newest first: targets, sessions, verdict, size on disk, labels.

    With --remove or --older-than remove runs instead, never one that is under way, and nothing that is no run folder.
    """
    from bench.errors import UsageError
    from bench.run.kept import kept_runs

    if remove or older_than:
        if as_json:
            raise UsageError("--json lists runs, --remove and --older-than remove them: leave one of them out")
        _remove(folder, remove or [], older_than, yes=yes)
    elif as_json:
        import msgspec

        print(json_text(msgspec.to_builtins(kept_runs(folder))))
    else:
        from bench.cli.report import wants_colour, width
        from bench.cli.runs_text import table

        sys.stdout.write(table(kept_runs(folder), width(), colour=wants_colour()))


def _remove(folder: Path, names: Sequence[str], older_than: str, *, yes: bool) -> None:
    from bench.run.kept import remove_run

    chosen = list({run.resolve(): run for run in (*_named(folder, names), *_old(folder, older_than))}.values())
    if not chosen:
        print("there is no run to remove")
    elif yes or _agreed(chosen):
        for run in chosen:
            remove_run(run)
            print(f"removed {printable(str(run))}")
    else:
        print("nothing was removed")


def _named(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Raises UsageError where one of them is no run, or may not go."""
    from bench.run.kept import check_removable, named_run

    for name in names:
        run = named_run(name, folder)
        check_removable(run)
        yield run


def _old(folder: Path, older_than: str) -> Iterator[Path]:
    """The runs that are so old and may go; of others it is said why they stay."""
    from bench.clock import utc_ns
    from bench.errors import UsageError
    from bench.run.kept import check_removable, kept_runs

    before_ns = before_utc_ns(older_than, utc_ns()) if older_than else 0
    for run in kept_runs(folder).runs:
        if run.began_utc_ns < before_ns:
            try:
                check_removable(folder / run.name)
            except UsageError as problem:
                print(f"stays: {one_line(str(problem))}")
            else:
                yield folder / run.name


def before_utc_ns(age: str, now_utc_ns: int) -> int:
    """The instant so many days ago (30d), or at which a day (2026-11-01, UTC) began. Raises UsageError for others."""
    from bench.errors import UsageError
    from bench.units import NS_PER_S

    try:
        if days := re.fullmatch(r"(\d{1,5})d", age, re.ASCII):
            return now_utc_ns - int(timedelta(days=int(days[1])).total_seconds()) * NS_PER_S
        return int(datetime.strptime(age, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * NS_PER_S
    except ValueError:
        raise UsageError(f"--older-than must be days such as 30d, or a date such as 2026-11-01, not {age}") from None


def _agreed(chosen: Sequence[Path]) -> bool:
    from bench.errors import UsageError

    for run in chosen:
        print(printable(str(run)))
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm the removal: add --yes")
    question = f"Remove {'this run' if len(chosen) == 1 else f'these {len(chosen)} runs'} for good? [y/N] "
    return input(question).strip().lower() in ("y", "yes")
