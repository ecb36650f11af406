"""A run that ends once it is decided: its plan, made before the first session, and the looks at it while it goes on.

What a look says is computed by children: `reports.looks` reads the run folder as everybody does, and never holds up the
loop of the sessions. Nobody here knows a figure; the plan and the looks alone decide.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gevent

from bench.errors import UsageError
from bench.load.child import output_of
from bench.load.facts import script_facts
from bench.load.lateness import Lateness
from bench.load.options import Options
from bench.load.plays import Play, Plays
from bench.plan.turns import Expect, Pause
from bench.spawn import own_environment, python_command
from bench.target.target import Target

MOST_PAIRS = 500
"""Pairs of a run that says no other number."""
PLAN = python_command("bench.cli.decision_plan")
LOOK = python_command("reports.looks")

Plan = Mapping[str, Any]
"""`pairs`, `looks` (sizes), `gates` (measure → thresholds), `level`, `spending`, `draws`; as in run.json.

`notices`: what to know before the run, where there is anything.
"""


# The plan.


def asked_sessions(options: Options) -> int | None:
    """How many sessions a run has with each target, as far as its options say; None for no limit."""
    return options.sessions or (MOST_PAIRS if options.until_decided else None)


def check_two(targets: Sequence[Target]) -> None:
    """Raises UsageError where there are not two targets."""
    if len(targets) != 2:
        named = ", ".join(target.label for target in targets)
        raise UsageError(f"--until-decided is about two targets, and this run has {named}: name two with --targets A,B")


def scripts_of(plays: Mapping[str, Plays]) -> list[dict[str, Any]]:
    """The scripts of each arm as in run.json, with the label of each turn: None where a method makes them up."""
    labels = {play.script.name: _labels(play) for arm in plays.values() for play in arm.values()}
    return [fact | {"steps": labels[fact["name"]]} for fact in script_facts(plays)]


def _labels(play: Play) -> list[str] | None:
    if play.improvised:
        return None
    return [step.label for step in play.script.steps if not isinstance(step, Pause | Expect)]


def decision_plan(
    options: Options, pairs: int, scripts: Sequence[Mapping[str, Any]], *, command: Sequence[str] = PLAN
) -> Plan:
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
    made = subprocess.run(
        [*command, json.dumps(asked)], capture_output=True, text=True, env=own_environment(os.environ), check=False
    )
    if made.returncode != 0:
        said = made.stderr.strip().splitlines() or ["the plan of the decision could not be made"]
        raise UsageError(said[-1].removeprefix("rtbench: "))
    plan: Plan = json.loads(made.stdout)
    return plan


def plan_words(plan: Plan) -> str:
    """What decides the run, in one line."""
    gates = "; ".join(f"{measure} {', '.join(texts)}" for measure, texts in plan["gates"].items())
    looks = plan["looks"]
    sizes = ", ".join(str(size) for size in looks[:2]) + (f" … {looks[-1]}" if len(looks) > 2 else "")
    return f"the run ends once it is decided: {gates}; looks at {sizes} pairs"


# The looks.


def is_due(looks: Sequence[int], held: int, pairs: int, tried: int) -> bool:
    """Whether a look may be held, with so many pairs complete. `tried`: pairs at the last attempt.

    The last of the planned looks is at the run's own end.
    """
    return held < len(looks) - 1 and pairs >= looks[held] and pairs > tried


class Looks:
    """Looks at a run while it goes on, one at a time. `stop` ends it, with the reason; `say` tells of trouble."""

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        *,
        stop: Callable[[str], None],
        say: Callable[[str], None],
        command: Sequence[str] = LOOK,
    ) -> None:
        self._folder, self._sizes, self._command = folder, list(plan["looks"]), command
        self._stop, self._say = stop, say
        self._known = self._tried = self._held = 0
        self._lateness = Lateness(self._sizes[-1], say=say, stop=stop)
        self._late = False
        self._looking: gevent.Greenlet | None = None
        self._trouble = ""

    @property
    def standing(self) -> tuple[int, int]:
        """Looks that were held, and that are planned."""
        return self._held, len(self._sizes)

    def consider(self, pairs: int, turns: int = 0, late: str = "") -> None:
        """Start a look where one is due. `pairs`: that are complete; asked again and again, a second apart.

        It goes by the number of the time before: their rows are on the disk by now. `late`: by which figure of so many
        `turns` the harness is late; then no look is held.
        """
        known, self._known = self._known, pairs
        self._late = self._lateness.consider(late, pairs, turns)
        if self._late:
            return
        if not self._looking and is_due(self._sizes, self._held, known, self._tried):
            self._tried = known
            self._looking = gevent.spawn(self._look)

    def _look(self) -> None:
        try:
            said = _told([*self._command, str(self._folder)])
            self._held = max(self._held, int(said["look"]))
        except (OSError, ValueError, KeyError) as error:
            self._tell(f"a look could not be held: {error}")
            return
        if said["stopped"] and not self._late:  # else the next look finds the same
            self._stop(str(said["sentence"]))

    def _tell(self, trouble: str) -> None:
        """Once of each kind; the run goes on, and the next look is as good."""
        if trouble != self._trouble:
            self._trouble = trouble
            self._say(trouble)

    def end(self) -> None:
        """No more looks; one under way is cut."""
        self._sizes = self._sizes[-1:]
        if self._looking is not None:
            self._looking.kill()


def _told(command: Sequence[str]) -> dict[str, Any]:
    """What a child says in its last line. Raises OSError where it fails, ValueError where that is no JSON."""
    lines = output_of(command).strip().splitlines()
    said: dict[str, Any] = json.loads(lines[-1] if lines else "")
    return said
