"""`rtbench runs`: the list of runs, and the commands that read, join or move run folders."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.base.errors import INVALID_STATUS, UsageError
from bench.base.standard_streams import print_notice, text_width
from bench.files.sanitize import escape_control, to_safe_json
from bench.record.presence import FOLDER, is_run
from rtbench.cli.import_calls import import_calls
from rtbench.cli.mark import mark
from rtbench.cli.options import Command, Group, argument, help_of, option
from rtbench.cli.report import export, run_with_name, wants_colour
from rtbench.cli.service import replay


class ListedByDefault(Group):
    """Subcommands. Without the name of one, the runs are listed."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        is_named = bool(args) and (args[0] in self.commands or args[0] == "--help")
        parsed: list[str] = super().parse_args(ctx, args if is_named else ["list", *args])
        return parsed


runs = typer.Typer(
    cls=ListedByDefault,
    help="List the runs of a folder; export, import, mark, merge, replay and upload runs.",
)


def listing(
    folder: Annotated[
        Path, argument("Folder of the runs.", "FOLDER", show_default=True, envvar="LOCUST_RUNS_DIR")
    ] = FOLDER,
    as_json: Annotated[bool, option("Print the list as JSON.", "--json")] = False,
) -> None:
    """List the runs of a folder, newest first: targets, sessions, verdict, size on disk, labels."""
    from bench.record.run_list import list_runs

    if is_run(folder):
        raise UsageError(
            f"{folder} is one run, not a folder of runs: run `rtbench report {folder}`"
        )
    if as_json:
        import msgspec

        print(to_safe_json(msgspec.to_builtins(list_runs(folder))))
    else:
        from rtbench.cli.runs_table import runs_text

        sys.stdout.write(runs_text(list_runs(folder), text_width(), colour=wants_colour()))


def merge(
    parts: Annotated[
        list[Path],
        argument("Runs that ended or were killed, or a folder of such runs.", "PART…"),
    ],
    out: Annotated[
        Path, option("The run folder to create.", "--out", "-o", "RUN", show_default=False)
    ],
) -> None:
    """Merge several runs into one: runs of separate load generators, or of several regions.

    The parts must not share a session. They are not changed; a run that was killed is finalized
    first. A worker's own folder replaces what its master received from it. The result is a run
    folder like any other. Exit status 0; 4: the merged run is not valid. The last line is its path.
    """
    from bench.record.merging.merge import merge_runs
    from bench.record.run_list import run_or_path

    try:
        document = merge_runs([run_or_path(part) for part in parts], out)
    except KeyboardInterrupt:
        print_notice(f"interrupted: {escape_control(str(out))} was not written")
        raise
    for line in [*_lines(document), str(out)]:
        print(escape_control(line))
    if document["validity"]["status"] != "valid":
        raise typer.Exit(INVALID_STATUS)


def _lines(document: dict[str, Any]) -> list[str]:
    """Return the lines of the output: a line for each part, the notices, and the totals of all
    parts.
    """
    totals = document["totals"]
    word = str(document["validity"]["status"]).replace("_", " ").upper()
    return [
        *(
            f"{part['run_id']}  {part['host']} "
            f" {'excluded' if part['excluded_because'] else part['state']} "
            f" {_size(part['sessions'], part['turns'])}"
            for part in document["parts"]
        ),
        *document["notices"],
        (
            f"{word}: {_size(sum(totals['sessions'].values()), sum(totals['turns'].values()))} of"
            f" {len(document['hosts'])} {'host' if len(document['hosts']) == 1 else 'hosts'}"
        ),
    ]


def _size(sessions: int | None, turns: int | None) -> str:
    return (
        "size unknown"
        if sessions is None or turns is None
        else f"{sessions:,} sessions, {turns:,} turns"
    )


def upload(
    run: Annotated[str, argument("Folder or name of the run.", "RUN")],
    url: Annotated[
        str,
        argument(
            "https://ACCOUNT.blob.core.windows.net/CONTAINER, with ?SAS or with Entra ID; or any"
            " HTTPS server.",
            "URL",
            envvar="LOCUST_UPLOAD",
        ),
    ],
) -> None:
    """Upload the files of a run that ended or was killed to a folder of its name. Existing files
    are replaced.

    If the URL of a container has no signature (SAS), the command signs in with Entra ID. Symbolic
    links are not uploaded. The last line is the address.
    """
    from bench.record.upload import Uploader, destination_of

    for line in Uploader(destination_of(url, "URL")).upload(run_with_name(run)).lines():
        print(line)


SUBCOMMANDS: Mapping[str, Callable[..., None]] = {
    "list": listing,
    "export": export,
    "mark": mark,
    "replay": replay,
    "merge": merge,
    "upload": upload,
    "import": import_calls,
}
for name, command in SUBCOMMANDS.items():
    runs.command(name, cls=Command, help=help_of(command))(command)
