"""`rtbench runs`, `rtbench open`, `rtbench merge`, `rtbench upload`: what is done with the folders of runs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.report import FOLDER, wants_colour
from bench.errors import INVALID_STATUS, UsageError
from bench.live_line import text_width
from bench.plain import json_text, one_line, printable


def runs(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="folder of the runs", envvar="LOCUST_RUNS_DIR")
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

    With --remove or --older-than remove runs instead, but none that is under way, and no other folders.
    """
    from bench.run.kept import kept_runs

    if remove or older_than:
        if as_json:
            raise UsageError("--json lists runs, --remove and --older-than remove them: leave one of them out")
        _remove(folder, remove or [], older_than, yes=yes)
    elif as_json:
        import msgspec

        print(json_text(msgspec.to_builtins(kept_runs(folder))))
    else:
        from bench.cli.runs_text import table

        sys.stdout.write(table(kept_runs(folder), text_width(), colour=wants_colour()))


def _remove(folder: Path, names: Sequence[str], older_than: str, *, yes: bool) -> None:
    """Raises UsageError where one of the names is no run, or may not go."""
    from bench.run.kept import check_removable, chosen_run, remove_run

    chosen: dict[Path, Path] = {}
    for name in names:
        run = chosen_run(name, folder)
        check_removable(run)
        chosen[run.resolve()] = run
    chosen |= {run.resolve(): run for run in _old(folder, older_than)}
    if not chosen:
        print("there is no run to remove")
    elif yes or _agreed([*chosen.values()]):
        for run in chosen.values():
            remove_run(run)
            print(f"removed {printable(str(run))}")
    else:
        print("nothing was removed")


def _old(folder: Path, older_than: str) -> Iterator[Path]:
    """The runs that are so old and may go; of others it is said why they stay."""
    from bench.clock import utc_ns
    from bench.run.kept import check_removable, kept_runs

    before_ns = before_utc_ns(older_than, utc_ns()) if older_than else 0
    for run in kept_runs(folder).runs:
        if run.started_utc_ns < before_ns:
            try:
                check_removable(folder / run.name)
            except UsageError as problem:
                print(f"stays: {one_line(str(problem))}")
            else:
                yield folder / run.name


def before_utc_ns(age: str, now_utc_ns: int) -> int:
    """The instant so many days ago (30d), or at which a day (2026-11-01, UTC) began. Raises UsageError for others."""
    from bench.units import NS_PER_S

    try:
        if days := re.fullmatch(r"(\d{1,5})d", age, re.ASCII):
            return now_utc_ns - int(timedelta(days=int(days[1])).total_seconds()) * NS_PER_S
        return int(datetime.strptime(age, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * NS_PER_S
    except ValueError:
        raise UsageError(f"--older-than must be days such as 30d, or a date such as 2026-11-01, not {age}") from None


def _agreed(chosen: Sequence[Path]) -> bool:
    for run in chosen:
        print(printable(str(run)))
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm the removal: add --yes")
    question = f"Remove {'this run' if len(chosen) == 1 else f'these {len(chosen)} runs'} for good? [y/N] "
    return input(question).strip().lower() in ("y", "yes")


def open_run(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="a run by its name or its folder; the newest by default")
    ] = "",
    runs_dir: Annotated[
        Path, typer.Option("--runs-dir", metavar="FOLDER", help="folder of the runs", envvar="LOCUST_RUNS_DIR")
    ] = FOLDER,
) -> None:
    """Open a run's report.html in the browser; without a browser, print its path.

    A killed run gets its report first. The last line is the path.
    """
    from bench.run.close import is_under_way
    from bench.run.folder import read_document
    from bench.run.kept import chosen_run

    path = chosen_run(run, runs_dir)
    page = path / "report.html"
    if not page.exists():
        if is_under_way(path, read_document(path)):
            raise UsageError(
                f"{path} is under way, and has no page yet: run `rtbench report` to make one of what is there"
            )
        from bench.cli.report import summarised
        from reports.text.document import write_report

        write_report(summarised(path))
    import webbrowser

    webbrowser.open(page.resolve().as_uri())
    print(printable(str(page)))


def merge(
    parts: Annotated[
        list[Path],
        typer.Argument(
            metavar="PART…", help="folders of runs, ended or killed; or a folder of such folders", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="the run folder to make", show_default=False)],
    exclude_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="a host to leave out, as often as needed")
    ] = None,
) -> None:
    """Merge runs into one: of load generators that ran alone, of several regions, or the parts of a killed run.

    Rows are put together, histograms added bucket by bucket; the result is a run folder like any other, and its parts
    stay as they are. Exit status 0; 4: the merged run is not valid. The last line is its path.
    """
    from bench.run.merging.merge import merge_runs

    try:
        document = merge_runs(parts, out, exclude_host or ())
    except KeyboardInterrupt:
        sys.stderr.write(f"rtbench: interrupted: nothing is left of {printable(str(out))}\n")
        raise
    for line in _lines(document):
        sys.stdout.write(f"{printable(line)}\n")
    sys.stdout.write(f"{printable(str(out))}\n")
    if document["validity"]["status"] != "valid":
        raise typer.Exit(INVALID_STATUS)


def _lines(document: dict[str, Any]) -> list[str]:
    """A line for each part, the notices, and what all of them come to."""
    totals, word = document["totals"], str(document["validity"]["status"]).replace("_", " ").upper()
    return [
        *(
            f"{part['run_id']}  {part['host']}  {'left out' if part['excluded_because'] else part['state']}  "
            f"{_size(part['sessions'], part['turns'])}"
            for part in document["parts"]
        ),
        *document["notices"],
        f"{word}: {_size(sum(totals['sessions'].values()), sum(totals['turns'].values()))} of {len(document['hosts'])} "
        f"{'host' if len(document['hosts']) == 1 else 'hosts'}",
    ]


def _size(sessions: int | None, turns: int | None) -> str:
    """12 sessions, 48 turns."""
    return "size not known" if sessions is None or turns is None else f"{sessions:,} sessions, {turns:,} turns"


def upload(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the run folder", show_default=False)],
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="https://ACCOUNT.blob.core.windows.net/CONTAINER, with ?SAS or signed in to; or any HTTPS server",
            envvar="LOCUST_UPLOAD",
            show_default=False,
        ),
    ],
) -> None:
    """Upload a run that ended or was killed, file by file, into a folder of its name. Existing files are replaced.

    A container without a signature (SAS) in its URL is signed in to by Entra ID. Links are not uploaded. The last line
    is the address.
    """
    from bench.run.upload import Uploader, destination_of

    for line in Uploader(destination_of(url, "URL")).upload(run).lines():
        sys.stdout.write(f"{line}\n")
