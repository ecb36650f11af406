"""`rtbench size --like RUN`: how many sessions a comparison needs, judged by a run that was like it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bench.plain import json_text


def size(
    like: Annotated[str, typer.Option(metavar="RUN", help="a run that is like the planned one, or RUN:TARGET")],
    measure: Annotated[str, typer.Option(help="ttfa:p95, response_total:p50, failures, …")] = "ttfa:p95",
    detect: Annotated[
        str | None, typer.Option(metavar="SHARE", help="the change to find: 20% (of rates: points, 3%)")
    ] = None,
    margin: Annotated[
        str | None, typer.Option(metavar="SHARE", help="how much worse is accepted: 10% (of rates: 1%)")
    ] = None,
    power: Annotated[float, typer.Option(help="how often the change must be found")] = 0.9,
    gates: Annotated[
        int, typer.Option(help="gates of the check that share its error (Holm); by default p50, p95 and failures")
    ] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Say how many sessions, how long and how much money it takes to find a change, as a range."""
    from reports.numbers import NBSP
    from reports.sizing.asked import asked
    from reports.sizing.document import as_data
    from reports.sizing.size import sized
    from reports.sizing.text import lines

    found = sized(like, asked(measure, detect, margin, power, gates))
    if as_json:
        print(json_text(as_data(found)))
        return
    for line in lines(found):
        sys.stdout.write(line.replace(NBSP, " ") + "\n")
