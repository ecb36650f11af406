"""`rtbench overload`: a run with a peak of load, and the recovery after it."""

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from bench.base.errors import UsageError
from bench.base.standard_streams import print_notice
from bench.files.safe_io import JsonError, read_file, read_json
from bench.load.planning.stages import A_SPAN, span_s
from reports.formatting import percent
from rtbench.cli.options import argument, option
from rtbench.overload import OVERLOAD
from rtbench.run_process import become_run

MAX_CALLS = 100_000
MAX_PROBES = 1_000
MIN_SPACING_S = 0.1
MAX_SPACING_S = 1_800.0
"""A caller pauses for up to two spacings, and the maximum of a pause is an hour."""
MAX_SLOTS = 50_000
"""The maximum number of turns of a probe caller. What a run can show is simulated before it."""
P95 = 1.645
"""The quantile 0.95 of the normal distribution."""
LOCUST_FILE = Path(__file__).parents[1] / "overload" / "locustfile.py"


class _Numbers(msgspec.Struct, frozen=True):
    low: int = 0


class _Estimate(msgspec.Struct, frozen=True):
    numbers: _Numbers = _Numbers()


class _Plan(msgspec.Struct, frozen=True):
    """`by` is the unit of the loads, which searches before version 7 of the document had."""

    by: str = "concurrency"


class _Search(msgspec.Struct, frozen=True):
    """What is needed of a capacity.json."""

    plan: _Plan
    schema: int = 0
    highest_pass: int | None = None
    lowest_fail: int | None = None
    estimate: _Estimate | None = None

    @property
    def passed(self) -> int:
        """The highest load that passed; 0 if none did. A level shows more than an estimate."""
        low = self.estimate.numbers.low if self.estimate else 0
        is_refuted = self.lowest_fail is not None and self.lowest_fail <= low
        return self.highest_pass or (0 if is_refuted else low)


def overload(
    ctx: typer.Context,
    script: Annotated[str, argument("Script or Locust file that the callers play.", "SCRIPT")],
    load: Annotated[
        str, option("Concurrent calls before and after, or the folder of a capacity.", "N")
    ],
    peak: Annotated[int, option("Concurrent calls in the peak.", min=1, max=MAX_CALLS)],
    peak_time: Annotated[str, option("Duration of the peak.", "TIME")] = "60s",
    before: Annotated[str, option("Time before the peak.", "TIME")] = "4m",
    after: Annotated[str, option("Time after the peak.", "TIME")] = "5m",
    probes: Annotated[
        int, option("Probe callers, in addition to the load.", min=1, max=MAX_PROBES)
    ] = 8,
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
    from bench.load.planning.command_line import COMMAND, named_files, program

    (file,) = named_files([script])
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
    spacing_s = _spacing_s(probe_spacing)
    slots = (shape["before_s"] + shape["peak_s"] + shape["after_s"]) / spacing_s
    if slots > MAX_SLOTS:
        raise UsageError(
            f"a probe caller would have {slots:,.0f} turns, the maximum is {MAX_SLOTS:,}: use a"
            " longer --probe-spacing, or a shorter --before, --peak-time or --after"
        )
    probe = {"asks": str(file.resolve()), "fixed_count": probes, "spacing_s": spacing_s}
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


def _spacing_s(text: str) -> float:
    spacing_s = _span(text, "--probe-spacing")
    if not MIN_SPACING_S <= spacing_s <= MAX_SPACING_S:
        raise UsageError(
            f"--probe-spacing must be from {MIN_SPACING_S:g}s to {MAX_SPACING_S:.0f}s, not"
            f" {text!r:.40}"
        )
    return spacing_s


def _load(text: str) -> int:
    """Return the number of calls, or the highest load that passed in a finished search."""
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(MAX_CALLS))
    load = int(text) if is_number else load_of_search(Path(text))
    if not 0 < load < MAX_CALLS:
        raise UsageError(f"--load must be from 1 to {MAX_CALLS - 1:,} calls, not {load}")
    return load


def load_of_search(folder: Path) -> int:
    """Return the highest load that passed in a finished search. Raise UsageError."""
    from rtbench.capacity.document import SCHEMA_VERSION

    where = f"--load {str(folder)!r:.80}"
    neither = UsageError(
        f"{where} is neither a number of calls nor the folder of a capacity in calls at which the"
        " thresholds passed"
    )
    try:
        found: _Search = read_json(read_file(folder / "capacity.json"), _Search)
    except JsonError as error:
        raise UsageError(f"{where}: its capacity.json is damaged: {error}") from None
    except (OSError, ValueError):  # ValueError: a NUL in the name
        raise neither from None
    if found.schema > SCHEMA_VERSION:
        raise UsageError(f"{where}: a newer rtbench wrote its capacity.json")
    if not found.passed or found.plan.by != "concurrency":
        raise neither
    return found.passed
