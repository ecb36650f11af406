"""The command line: one short file per command, gathered here. A command imports its work when it is called."""

from __future__ import annotations

import sys

import typer

from bench.cli.baseline import baseline
from bench.cli.bench import bench
from bench.cli.calibrate import calibrate
from bench.cli.check import check
from bench.cli.compare import compare
from bench.cli.decide import decide
from bench.cli.doctor import doctor
from bench.cli.export import export
from bench.cli.probe import probe
from bench.cli.replay import replay
from bench.cli.report import report
from bench.cli.simulate import simulate
from bench.cli.size import size
from bench.errors import USAGE_STATUS, BenchError

INTERRUPTED_STATUS = 130

app = typer.Typer(
    name="rtbench",
    help="Load testing and latency benchmarking for voice on the GPT-4o Realtime API.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(bench)
app.command()(calibrate)
app.command()(simulate)
app.command()(doctor)
app.command()(probe)
app.command()(replay)
app.command()(report)
app.command()(check)
app.add_typer(baseline)
app.command()(compare)
app.command()(decide)
app.command()(size)
app.command()(export)


def main() -> None:
    """Run a command. What the user can mend becomes one line on stderr and exit status 2."""
    try:
        app()
    except BenchError as error:
        print(f"rtbench: {error}", file=sys.stderr)
        sys.exit(USAGE_STATUS)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_STATUS)


if __name__ == "__main__":
    main()
