"""The interim analyses of a run that ends when it is decided: their plan, and the child processes that compute them.

`reports.sequential` plans the analyses and reads the run folder; this process computes no statistic. No analysis starts
while the load generator is overloaded. If the overload lasts for a tenth of the planned pairs in a row (at least ten),
the run is ended as invalid. Overload means that the run would be invalid if it ended now. The validity checks use p99,
which is the maximum of fewer than 100 turns. So no run is ended before there are that many turns per target.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import gevent

from bench.installation import python_command
from bench.load.planning.run_options import Options
from bench.load.planning.workload import Workload, script_facts
from bench.load.runners import children
from bench.load.runners.children import ANSWER_S
from bench.metrics import TRANSCRIPT_METRICS
from bench.run.validity import MORE_PROCESSES

MIN_PAIRS, MIN_TURNS = 10, 200
"""The minimum number of pairs during an overload, and of turns of both targets together, before a run is ended as
invalid."""
MAX_OF_PLAN = 0.1
PLAN, ANALYSIS = python_command("reports.sequential", "plan"), python_command("reports.sequential", "look")

SequentialPlan = Mapping[str, Any]
"""The plan of interim analyses, with the keys of run.json: `pairs`, `analyses` (the number of pairs at each),
`primary_metrics` (metric → thresholds), `level`, `spending`, `draws`.

`notices`: notices to show before the run, if there are any.
"""


def scripts_of(plays: Mapping[str, Workload]) -> list[dict[str, Any]]:
    """Return the scripts of each target as in run.json. `steps` of a script: the name of each turn.

    `steps` is None if a method chooses the steps during the session.
    """
    scripts = {each.script.name: each.script for arm in plays.values() for each in arm.values()}
    labels = {name: None if of.task else [turn.name for turn in of.turns] for name, of in scripts.items()}
    return [fact | {"steps": labels[fact["name"]]} for fact in script_facts(plays)]


def _main_metric(outputs: Collection[str]) -> str:
    """Return the metric that decides, from the outputs of the scripts."""
    if outputs == {"transcript"}:
        return TRANSCRIPT_METRICS[0]
    return "ttft" if outputs == {"text"} else "ttfa"


def sequential_plan(
    options: Options,
    pairs: int,
    scripts: Sequence[Mapping[str, Any]],
    *,
    lacking: Sequence[Mapping[str, Any] | None] = (),
    thresholds: Mapping[str, Sequence[str]] | None = None,
) -> SequentialPlan:
    """Return the plan of a run. Raises UsageError for thresholds that cannot be used.

    `scripts`: the result of `scripts_of`. `lacking`: what turns and sessions of these scripts can never have.
    `thresholds`: the thresholds of the scripts; a file of thresholds replaces them.
    """
    by_name = {fact["name"]: {key: fact[key] for key in ("name", "turns", "steps")} for fact in scripts}
    asked = {
        "metric": _main_metric({fact["output"] for fact in scripts}),
        "targets": list(dict.fromkeys(fact["target"] for fact in scripts)),
        "scripts": list(by_name.values()),
        "pairs": pairs,
        "every": options.interim_every,
        "lacking": lacking,
        "thresholds": str(options.thresholds) if options.thresholds else None,
        "of_scripts": thresholds or {},
    }
    plan: SequentialPlan = children.child_output(
        [*PLAN, json.dumps(asked)],
        late=f"planning interim analyses took over {ANSWER_S:.0f} s",
        failed="the interim analyses could not be planned",
    )
    return plan


def plan_text(plan: SequentialPlan) -> str:
    """Return a line that states what decides the run."""
    gates = "; ".join(f"{metric} {', '.join(texts)}" for metric, texts in plan["primary_metrics"].items())
    looks = plan["analyses"]
    sizes = ", ".join(str(size) for size in looks[:2]) + (f" … {looks[-1]}" if len(looks) > 2 else "")
    return f"the run ends when these thresholds are decided: {gates}; interim analyses at {sizes} pairs"


# Analyses during the run.


class OverloadWatch:
    """The detector of an overloaded load generator, in a run of `pairs` planned pairs.

    `say` prints a notice. `give_up` ends the run as invalid, with the reason.
    """

    def __init__(self, pairs: int, *, say: Callable[[str], None], give_up: Callable[[str], None]) -> None:
        self._most = max(MIN_PAIRS, math.ceil(pairs * MAX_OF_PLAN - 1e-9))
        self._say, self._give_up = say, give_up
        self._since: int | None = None
        self._given_up = False

    def consider(self, late: str, pairs: int, turns: int) -> bool:
        """Return whether the load generator is overloaded.

        `late`: the failed check, empty if none failed. `pairs`, `turns`: the numbers of pairs and turns that have
        ended.
        """
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
        if pairs - self._since >= self._most and turns >= MIN_TURNS and not self._given_up:
            self._given_up = True
            self._give_up(f"the load generator was overloaded for {pairs - self._since} pairs in a row ({late})")
        return True


def is_due(looks: Sequence[int], held: int, pairs: int, tried: int) -> bool:
    """Return whether an analysis is due during the run; the last one is made after the run.

    `tried`: the number of pairs at the last attempt.
    """
    return held < len(looks) - 1 and pairs >= looks[held] and pairs > tried


class InterimAnalyses:
    """The interim analyses during a run, which are made one at a time.

    `stop` ends the run, with the reason. `give_up` ends it as invalid, with the cause. `say` prints a notice of a
    problem.
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
        self._known = self._tried = self._analyses_made = 0
        self._overload = OverloadWatch(self._sizes[-1], say=say, give_up=give_up)
        self._late, self._ended, self._error = False, False, ""
        self._running: gevent.Greenlet | None = None

    @property
    def progress(self) -> tuple[int, int]:
        """The number of analyses made and planned, also after the run was decided."""
        return self._analyses_made, len(self._sizes)

    def consider(self, pairs: int, turns: int = 0, late: str = "") -> None:
        """Start an analysis if the number of pairs in the previous call makes one due. The rows of these pairs are on
        the disk by
        now.

        `pairs`, `turns`: the numbers of pairs and turns that have ended. `late`: why the load generator is overloaded;
        if it is not empty, no analysis starts.
        """
        known, self._known = self._known, pairs
        self._late = self._overload.consider(late, pairs, turns)
        if self._late or self._ended:
            return
        if not self._running and is_due(self._sizes, self._analyses_made, known, self._tried):
            self._tried = known
            self._running = gevent.spawn(self._start_analysis)

    def _start_analysis(self) -> None:
        try:
            lines = children.output_of([*self._command, str(self._folder)]).strip().splitlines()
            said: dict[str, Any] = json.loads(lines[-1] if lines else "")
            self._analyses_made = max(self._analyses_made, int(said["analysis"]))
        except (OSError, ValueError, KeyError) as error:
            trouble = f"an interim analysis failed: {error}"
            # repeats are not shown; the run continues, and the next analysis replaces this one
            if trouble != self._error:
                self._error = trouble
                self._say(trouble)
            return
        if said["stopped"] and not self._late:  # else the next analysis comes to the same result
            self._stop(str(said["sentence"]))

    def end(self) -> None:
        self._ended = True
        if self._running is not None:
            self._running.kill()
