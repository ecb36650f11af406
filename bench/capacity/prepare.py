"""Gets ready for a search: the options that each run gets, what its calls may cost, and whether that is meant."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.capacity.conclude import unit
from bench.capacity.document import LoadUnit, SearchPlan
from bench.capacity.play import SHAPING, Locust, own_options
from bench.errors import UsageError
from bench.locust_run import environment_without, last_words
from bench.money import dollars
from bench.spawn import own_environment, python_command
from bench.target.options import ServiceOptions

FORECAST_S = 600.0


@dataclass(frozen=True)
class PreparedSearch:
    """How levels are played, and against what. `costs`: what to read before, in lines."""

    locust: Locust
    target: str
    scenario: str
    connects_per_min: float | None
    costs: tuple[str, ...]


def prepared(
    service_options: ServiceOptions, file: str, plan: SearchPlan, runs: Path, options: Sequence[str], *, yes: bool
) -> PreparedSearch:
    """Prepare a search. Raises UsageError for what cannot be, and where a service would be called that costs money."""
    _check(options)
    words = [*service_options.words(), *options, *(["--yes"] if yes else [])]
    forecast = _forecast(file, words)
    if len(forecast["targets"]) != 1:
        labels = ", ".join(target["label"] for target in forecast["targets"])
        raise UsageError(f"capacity searches one target, and these are several: {labels}; name one by --targets")
    (target,) = forecast["targets"]
    if not target["loopback"] and not yes:
        raise UsageError(
            f"a search opens hundreds of sessions to {target['url']}, which may cost money: add --yes if that is "
            "meant, and --budget USD for a limit"
        )
    costs = tuple(forecast["notices"]) if target["loopback"] else (*forecast["notices"], *cost_lines(forecast, plan))
    return PreparedSearch(
        Locust(file, plan.by, runs, words), target["label"], forecast["scenario"], forecast["connects_per_min"], costs
    )


def calls_most(by: LoadUnit, most: int, time_s: float, session_s: float) -> float | None:
    """How many calls a search may make at most, were all of its time spent at its largest level; None: not known."""
    if by == "arrivals":
        return most * time_s / 60
    return most * time_s / session_s if session_s else None


def cost_lines(forecast: dict[str, Any], plan: SearchPlan) -> list[str]:
    """What a call may cost, and the whole search."""
    lines = [str(forecast["cost"])]
    calls = calls_most(plan.by, plan.most, plan.time_s, forecast["session_s"])
    if forecast["session_usd"] is not None and calls is not None:
        usd = dollars(calls * forecast["session_usd"][1])
        lines.append(
            f"the search makes at most {calls:,.0f} calls for {usd} USD, if all of its time is spent at "
            f"{unit(plan.by, plan.most)}"
        )
    if plan.budget_usd is None:
        lines.append("--budget USD limits what it may cost")
    return lines


def _check(options: Sequence[str]) -> None:
    """Raises UsageError for an option that the search gives itself."""
    own = own_options()
    for word in options:
        name = word.partition("=")[0]
        if name in own or name in ("-u", "-r", "-t"):
            raise UsageError(f"{name} is an option that the search sets for each level: leave it out after --")


def _forecast(file: str, words: Sequence[str]) -> dict[str, Any]:
    """What a session takes, by the plan of a run. Raises UsageError where the run could not be."""
    command = python_command("bench.load.leading.forecast", "-f", file, "--headless", *words)
    environ = own_environment(environment_without(os.environ, *SHAPING))
    try:
        process = subprocess.run(command, capture_output=True, text=True, env=environ, check=False, timeout=FORECAST_S)
    except subprocess.TimeoutExpired:
        raise UsageError(f"{file} cannot be played: its plan was not made within {FORECAST_S:.0f} s") from None
    lines = process.stdout.strip().splitlines()
    if process.returncode or not lines:
        raise UsageError(f"{file} cannot be played: {last_words(process.stderr)}")
    forecast: dict[str, Any] = json.loads(lines[-1])
    return forecast
