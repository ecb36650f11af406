"""`rtbench merge PART… -o RUN`: one run of several that were played apart, or of what a killed one has left."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.errors import INVALID_STATUS
from bench.plain import printable


def merge(
    parts: Annotated[
        list[Path],
        typer.Argument(
            metavar="PART…", help="folders of runs, ended or killed; or a folder of such folders", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="the run folder to make", show_default=False)],
    without_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="a host to leave out, as often as needed")
    ] = None,
) -> None:
    """Make one run of several: of engines that ran alone, of several regions, or of what a killed run has left.

    Rows are put together, histograms added bucket by bucket; the result is a run folder like any other, and its parts
    stay as they are. Exit status 0; 4: the merged run is not valid. The last line is its path.
    """
    from bench.run.merging.merge import merge_runs

    try:
        document = merge_runs(parts, out, without_host or ())
    except KeyboardInterrupt:
        sys.stderr.write(f"rtbench: interrupted: nothing is left of {out}\n")
        raise
    for line in _lines(document):
        sys.stdout.write(f"{printable(line)}\n")
    sys.stdout.write(f"{printable(str(out))}\n")
    if document["verdict"]["valid"] is not True:
        raise typer.Exit(INVALID_STATUS)


def _lines(document: dict[str, Any]) -> list[str]:
    """A line for each part, the notices, and what all of them come to."""
    totals, valid = document["totals"], document["verdict"]["valid"]
    word = "NOT JUDGED" if valid is None else "VALID" if valid else "INVALID"
    return [
        *(_part(entry) for entry in document["parts"]),
        *document["notices"],
        f"{word}: {_size(sum(totals['sessions'].values()), sum(totals['turns'].values()))} of {len(document['hosts'])} "
        f"{'host' if len(document['hosts']) == 1 else 'hosts'}",
    ]


def _part(entry: dict[str, Any]) -> str:
    state = "left out" if entry["left_out"] else entry["state"]
    return f"{entry['run_id']}  {entry['host']}  {state}  {_size(entry['sessions'], entry['turns'])}"


def _size(sessions: int | None, turns: int | None) -> str:
    """12 sessions, 48 turns."""
    return "size not known" if sessions is None or turns is None else f"{sessions:,} sessions, {turns:,} turns"
