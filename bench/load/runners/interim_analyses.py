"""The interim analyses of a run that ends once it is decided: their plan, and the children that compute them.

`reports.looks` plans them and reads the run folder; this process computes no statistic. No analysis is started while
the load generator is overloaded, and the run is given up if that lasts for a tenth of the planned pairs in a row (at
least ten). Whether it is overloaded is what the validity of the run would be if it ended now. The checks are about p99,
which is the worst of fewer than 100 turns: until both targets have so many, no run is given up.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gevent

from bench.installation import python_command
from bench.load.planning.run_options import Options
from bench.load.planning.workload import Workload, script_facts
from bench.load.runners import children
from bench.load.runners.children import ANSWER_S
from bench.run.validity import MORE_PROCESSES

LEAST_PAIRS, LEAST_TURNS = 10, 200
"""The turns are those of both arms."""
MOST_OF_PLAN = 0.1
PLAN, ANALYSIS = python_command("reports.looks", "plan"), python_command("reports.looks", "look")

SequentialPlan = Mapping[str, Any]
"""`pairs`, `analyses` (sizes), `primary_metrics` (metric → thresholds), `level`, `spending`, `draws`; as in run.json.

`notices`: what to know before the run, if there is anything.
"""


def scripts_of(plays: Mapping[str, Workload]) -> list[dict[str, Any]]:
    """The scripts of each arm as in run.json, with the label of each turn: None where a method makes them up."""
    scripts = {each.script.name: each.script for arm in plays.values() for each in arm.values()}
    labels = {name: None if of.task else [turn.name for turn in of.turns] for name, of in scripts.items()}
    return [fact | {"steps": labels[fact["name"]]} for fact in script_facts(plays)]


def sequential_plan(
    options: Options,
    pairs: int,
    scripts: Sequence[Mapping[str, Any]],
    *,
    lacking: Sequence[Mapping[str, Any] | None] = (),
    thresholds: Mapping[str, Sequence[str]] | None = None,
) -> SequentialPlan:
    """Return the plan of a run. `scripts`: as `scripts_of` has them; `lacking`: what they can never show.

    `thresholds`: those of the scripts, which a file replaces.

    Raises UsageError for thresholds that cannot be used.
    """
    by_name = {fact["name"]: {key: fact[key] for key in ("name", "turns", "steps")} for fact in scripts}
    asked = {
        "metric": "ttft" if all(fact["output"] == "text" for fact in scripts) else "ttfa",
        "targets": list(dict.fromkeys(fact["target"] for fact in scripts)),
        "scripts": list(by_name.values()),
        "pairs": pairs,
        "every": options.interim_every,
        "lacking": lacking,
        "thresholds": str(options.thresholds) if options.thresholds else None,
        "of_scripts": thresholds or {},
    }
    plan: SequentialPlan = children.child_answer(
        [*PLAN, json.dumps(asked)],
        late=f"planning interim analyses took over {ANSWER_S:.0f} s",
        failed="the interim analyses could not be planned",
    )
    return plan


def plan_words(plan: SequentialPlan) -> str:
    """What decides the run, in one line."""
    gates = "; ".join(f"{metric} {', '.join(texts)}" for metric, texts in plan["primary_metrics"].items())
    looks = plan["analyses"]
    sizes = ", ".join(str(size) for size in looks[:2]) + (f" … {looks[-1]}" if len(looks) > 2 else "")
    return f"the run ends once it is decided: {gates}; interim analyses at {sizes} pairs"


# Looks at the run while it goes on.


class OverloadWatch:
    """Watches a run that is planned for so many pairs. `say` tells, `give_up` ends the run as invalid, and says why."""

    def __init__(self, pairs: int, *, say: Callable[[str], None], give_up: Callable[[str], None]) -> None:
        self._most = max(LEAST_PAIRS, math.ceil(pairs * MOST_OF_PLAN - 1e-9))
        self._say, self._give_up = say, give_up
        self._since: int | None = None
        self._given_up = False

    def consider(self, late: str, pairs: int, turns: int) -> bool:
        """Whether the harness is late. `late`: by which figure, empty where by none; `pairs`, `turns`: that ended."""
        if not late:
            if self._since is not None:
                self._say("the load generator keeps up again; interim analyses continue")
            self._since = None
            return False
        if self._since is None:
            self._since = pairs
            self._say(
                f"the load generator is overloaded ({late}), so interim analyses are suspended; the run ends if this "
                f"lasts for {self._most} pairs: {MORE_PROCESSES}"
            )
        if pairs - self._since >= self._most and turns >= LEAST_TURNS and not self._given_up:
            self._given_up = True
            self._give_up(f"the load generator was overloaded for {pairs - self._since} pairs in a row ({late})")
        return True


def is_due(looks: Sequence[int], held: int, pairs: int, tried: int) -> bool:
    """Whether a look may be held. `tried`: pairs at the last attempt. The last planned look is at the end."""
    return held < len(looks) - 1 and pairs >= looks[held] and pairs > tried


class InterimAnalyses:
    """Looks at a run while it goes on, one at a time.

    `stop` ends it, with the reason; `give_up` ends it as invalid, with the cause; `say` tells of trouble.
    """

    def __init__(
        self,
        folder: Path,
        plan: SequentialPlan,
        *,
        stop: Callable[[str], None],
        give_up: Callable[[str], None],
        say: Callable[[str], None],
        command: Sequence[str] = ANALYSIS,
    ) -> None:
        self._folder, self._sizes, self._command = folder, list(plan["analyses"]), command
        self._stop, self._say = stop, say
        self._known = self._tried = self._held = 0
        self._lateness = OverloadWatch(self._sizes[-1], say=say, give_up=give_up)
        self._late, self._ended, self._trouble = False, False, ""
        self._looking: gevent.Greenlet | None = None

    @property
    def standing(self) -> tuple[int, int]:
        """Return how many looks were held and how many are planned, also after the run was decided."""
        return self._held, len(self._sizes)

    def consider(self, pairs: int, turns: int = 0, late: str = "") -> None:
        """Start a look where one is due, by the complete `pairs` of the call before, whose rows are on the disk by now.

        `late`: why the load generator is overloaded, by so many `turns`; then no look is held.
        """
        known, self._known = self._known, pairs
        self._late = self._lateness.consider(late, pairs, turns)
        if self._late or self._ended:
            return
        if not self._looking and is_due(self._sizes, self._held, known, self._tried):
            self._tried = known
            self._looking = gevent.spawn(self._look)

    def _look(self) -> None:
        try:
            lines = children.output_of([*self._command, str(self._folder)]).strip().splitlines()
            said: dict[str, Any] = json.loads(lines[-1] if lines else "")
            self._held = max(self._held, int(said["analysis"]))
        except (OSError, ValueError, KeyError) as error:
            trouble = f"an interim analysis failed: {error}"
            if trouble != self._trouble:  # once of each kind; the run goes on, and the next look is as good
                self._trouble = trouble
                self._say(trouble)
            return
        if said["stopped"] and not self._late:  # else the next look finds the same
            self._stop(str(said["sentence"]))

    def end(self) -> None:
        self._ended = True
        if self._looking is not None:
            self._looking.kill()
