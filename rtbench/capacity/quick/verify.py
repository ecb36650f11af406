"""The command that verifies the answer of a quick search, with its minutes and its cost."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bench.base.units import S_PER_MINUTE
from bench.catalogue.pricing import dollars
from bench.load.planning.command_line import program
from reports.results.reason import Reason
from rtbench.capacity.level_run import max_calls
from rtbench.capacity.quick.ramp import Estimate
from rtbench.capacity.search import SearchPlan, min_time_s

DEFAULT_MINUTES = 30


def verified(
    plan: SearchPlan,
    estimate: Estimate | None,
    forecast: Mapping[str, Any],
    command: Sequence[Sequence[str]],
) -> Reason:
    """Return the note on a search from the lower end of the estimate on. `command` is its words,
    before and after its own options.
    """
    first = max(1, estimate.low if estimate else plan.first)
    top = max(first, 2 * (estimate.high if estimate and estimate.high else plan.max))
    wanted = msgspec.structs.replace(plan, first=first, max=top, time_s=math.inf)
    minutes = max(DEFAULT_MINUTES, math.ceil(min_time_s(wanted) / S_PER_MINUTE))
    before, after = command
    own = ["--from", str(first), "--to", str(top), "--max-time", f"{minutes}m"]
    for option, given in (("--require", plan.required), ("--budget", plan.budget_usd)):
        own += [] if given is None else [option, f"{given:g}"]
    words = [program("rtbench"), "capacity", *before, *own]
    time_s = minutes * S_PER_MINUTE
    numbers: dict[str, Any] = {
        "time_s": time_s,
        "cost": "",
        "command": shlex.join([*words, *after]),
    }
    calls = max_calls(plan.by, top, time_s, forecast.get("session_s") or 0.0)
    if (
        forecast.get("session_usd") is not None
        and calls is not None
        and not forecast["targets"][0]["loopback"]
    ):
        numbers["cost"] = f"at most {dollars(calls * forecast['session_usd'][1])} USD"
    return Reason("verify", numbers)
