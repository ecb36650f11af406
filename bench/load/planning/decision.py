"""Has a child plan, before the first session, a run that ends once it is decided."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from bench.errors import UsageError
from bench.load.planning.facts import script_facts
from bench.load.planning.options import Options
from bench.load.planning.plays import Plays
from bench.plan.script import Script
from bench.spawn import own_environment, python_command
from bench.target.target import Target

MOST_PAIRS = 500
"""Pairs of a run that says no other number."""
PLAN = python_command("reports.looks", "plan")
PLAN_S = 120.0

LookPlan = Mapping[str, Any]
"""`pairs`, `looks` (sizes), `gates` (measure → thresholds), `level`, `spending`, `draws`; as in run.json.

`notices`: what to know before the run, where there is anything.
"""


def asked_sessions(options: Options) -> int | None:
    """How many sessions a run has with each target, as far as its options say; None for no limit."""
    return options.sessions or (MOST_PAIRS if options.until_decided else None)


def check_two(targets: Sequence[Target]) -> None:
    """Raises UsageError where there are not two targets."""
    if len(targets) != 2:
        named = ", ".join(target.label for target in targets)
        raise UsageError(f"--until-decided compares two targets, and this run has {named}: name two with --targets A,B")


def scripts_of(plays: Mapping[str, Plays]) -> list[dict[str, Any]]:
    """The scripts of each arm as in run.json, with the label of each turn: None where a method makes them up."""
    labels = {each.script.name: _labels(each.script) for arm in plays.values() for each in arm.values()}
    return [fact | {"steps": labels[fact["name"]]} for fact in script_facts(plays)]


def _labels(script: Script) -> list[str] | None:
    if script.task:
        return None
    return [turn.label for turn in script.turns]


def decision_plan(
    options: Options, pairs: int, scripts: Sequence[Mapping[str, Any]], *, command: Sequence[str] = PLAN
) -> LookPlan:
    """The plan of a run. `scripts`: as `scripts_of` has them. Raises UsageError for thresholds that cannot be used."""
    of_one = {fact["name"]: {key: fact[key] for key in ("name", "turns", "steps")} for fact in scripts}
    asked = {
        "measure": "ttft" if all(fact["output"] == "text" for fact in scripts) else "ttfa",
        "targets": list(dict.fromkeys(fact["target"] for fact in scripts)),
        "scripts": list(of_one.values()),
        "pairs": pairs,
        "every": options.look_every,
        "thresholds": str(options.thresholds) if options.thresholds else None,
    }
    called, environment = [*command, json.dumps(asked)], own_environment(os.environ)
    try:
        made = subprocess.run(called, capture_output=True, text=True, env=environment, check=False, timeout=PLAN_S)
    except subprocess.TimeoutExpired:
        raise UsageError(f"the plan of the decision was not made within {PLAN_S:.0f} s: is the machine busy?") from None
    if made.returncode != 0:
        errors = made.stderr.strip().splitlines() or ["the plan of the decision could not be made"]
        raise UsageError(errors[-1])
    plan: LookPlan = json.loads(made.stdout)
    return plan


def plan_words(plan: LookPlan) -> str:
    """What decides the run, in one line."""
    gates = "; ".join(f"{measure} {', '.join(texts)}" for measure, texts in plan["gates"].items())
    looks = plan["looks"]
    sizes = ", ".join(str(size) for size in looks[:2]) + (f" … {looks[-1]}" if len(looks) > 2 else "")
    return f"the run ends once it is decided: {gates}; looks at {sizes} pairs"
