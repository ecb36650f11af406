"""`rtbench runs mark`: an event of a run in progress."""

from typing import Annotated

from bench.base.clock import utc_ns
from rtbench.cli.options import argument


def mark(
    name: Annotated[str, argument("Name of the event, such as deploy.", "NAME")],
    run: Annotated[
        str, argument("Folder or name of the run (default: the run in progress).", "RUN")
    ] = "",
) -> None:
    """Mark this instant as an event of a run in progress, such as the start of a deploy.

    The report of the run states what the event did to callers, as for `--event` of `rtbench run`.
    A second event with the same name gets a number.
    """
    at_ns = utc_ns()
    from bench.load.events.planned import check_name
    from bench.record.marks import Mark, add_mark
    from bench.record.presence import runs_folder
    from bench.record.run_list import resolve_run, run_in_progress

    check_name(name, "rtbench runs mark")
    runs = runs_folder()
    folder = resolve_run(run, runs) if run else run_in_progress(runs)
    print(f"{name}: {add_mark(folder, Mark(name, at_ns)):.1f} s after the start of {folder}")
