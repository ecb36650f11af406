"""`rtbench overload`: a run with a peak of load, and the recovery after it."""

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.base.errors import UsageError
from bench.base.standard_streams import print_notice
from bench.load.planning.stages import A_SPAN, span_s
from reports.formatting import percent
from rtbench.cli.options import Command, argument, option
from rtbench.cli.run import become_run
from rtbench.overload import OVERLOAD

P95 = 1.645
"""The quantile 0.95 of the normal distribution."""
LOCUST_FILE = Path(__file__).parents[1] / "overload" / "locustfile.py"


class WithRunOptions(Command):
    """A command whose other options are those of `rtbench run`."""

    ignore_unknown_options = True
    allow_extra_args = True


def overload(
    ctx: typer.Context,
    script: Annotated[Path, argument("YAML script that the callers play.", "SCRIPT")],
    load: Annotated[
        str, option("Concurrent calls before and after, or the folder of a capacity.", "N")
    ],
    peak: Annotated[int, option("Concurrent calls in the peak.", min=1)],
    peak_time: Annotated[str, option("Duration of the peak.", "TIME")] = "60s",
    before: Annotated[str, option("Time before the peak.", "TIME")] = "4m",
    after: Annotated[str, option("Time after the peak.", "TIME")] = "5m",
    probes: Annotated[int, option("Probe callers, in addition to the load.", min=1)] = 8,
    probe_spacing: Annotated[str, option("Time between their turns.", "TIME")] = "2s",
    margin: Annotated[
        float, option("Share by which latency may exceed that before the peak.", min=0.01, max=10)
    ] = 0.1,
) -> None:
    """Run a steady load, a peak and the steady load again; print what happened to callers, and
    when the service had recovered.

    `rtbench overload mine.yaml --load 20 --peak 60` also has the options of `rtbench run`, such as
    --thresholds, --targets, --simulator and --yes, and its exit status.
    """
    from bench.load.planning.command_line import COMMAND, program

    if not script.is_file():
        raise UsageError(f"{script}: no such script")
    shape = {
        "load": _load(load),
        "peak": peak,
        "before_s": _span(before, "--before"),
        "peak_s": _span(peak_time, "--peak-time"),
        "after_s": _span(after, "--after"),
        "margin": margin,
    }
    if peak <= shape["load"]:
        raise UsageError(f"--peak {peak} must be more than the load, {shape['load']}")
    asks = str(script.resolve())
    spacing_s = _span(probe_spacing, "--probe-spacing")
    probe = {"asks": asks, "fixed_count": probes, "spacing_s": spacing_s}
    print_notice(_what_shows(shape, probe))
    # an address may contain a secret
    is_public = not any("://" in word for word in sys.argv)
    variables = {
        COMMAND: json.dumps([program("rtbench"), *sys.argv[1:]] if is_public else []),
        OVERLOAD: json.dumps({"probe": probe, "peak": shape}),
    }
    become_run([str(LOCUST_FILE), *ctx.args], **variables)


def _what_shows(shape: Mapping[str, Any], probe: Mapping[str, Any]) -> str:
    """Return how little latency must vary so that the run can show that the service recovered."""
    from reports.statistics.recovery import tolerable_sd

    before, after = (int(shape[name] / probe["spacing_s"]) for name in ("before_s", "after_s"))
    sd = tolerable_sd(probe["fixed_count"], before, after, shape["margin"])
    how = f"if their p95 is below {math.exp(P95 * sd):.1f} × their p50, else" if sd else "only with"
    return (
        f"probe callers show a recovery to within {percent(shape['margin'], 1)} in this time"
        f" {how} longer --before and --after, more --probes or a larger --margin"
    )


def _span(text: str, flag: str) -> float:
    seconds = span_s(text)
    if not seconds:
        raise UsageError(f"{flag} {text!r:.40} is not {A_SPAN}")
    return seconds


def _load(text: str) -> int:
    """Return the number of calls, or the highest load that passed in a finished search."""
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    try:
        found = json.loads((Path(text) / "capacity.json").read_bytes())
        passed = found["highest_pass"] or found["estimate"]["numbers"]["low"]
        return int({"concurrency": passed}[found["plan"]["by"]] or "")
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(
            f"--load {text!r:.80} is neither a number of calls nor the folder of a capacity in"
            " calls at which the thresholds passed"
        ) from None
