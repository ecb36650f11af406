"""The interim analyses of a run that stops when its comparison is decided: their plan, and their
child processes.
"""

# `reports` plans the analyses and evaluates the run folder; this process computes no statistic.
# While the load generator is overloaded, no analysis starts. Overload means that the run would be
# invalid if it ended now. If the overload lasts for a tenth of the planned pairs (at least ten
# pairs), the run is ended as invalid. But no run is ended before its two targets together have 200
# turns. The reason is that the validity checks use p99, and p99 of fewer than 100 turns is their
# maximum.
#
# The critical values spend the type I error over the planned analyses (Lan and DeMets 1983;
# `reports.statistics.group_sequential`). So an analysis may come later than planned, and one that
# fails is left to the next one, but none may be added. The last planned analysis is that of the
# ended run.

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gevent

from bench.catalogue.metrics import TRANSCRIPT_METRICS
from bench.load.planning.run_options import Options
from bench.load.planning.workload import Workload, script_facts
from bench.load.runners import finalized_run
from bench.load.runners.evaluation import Evaluation
from bench.load.runners.finalized_run import ANSWER_S
from bench.record.document import SequentialPlanEntry
from bench.record.validity import MORE_PROCESSES

MIN_PAIRS = 10
MIN_TURNS = 200
"""A run is ended as invalid only after this many pairs during the overload, and this many turns
of both targets."""
MAX_OF_PLAN = 0.1


def scripts_of(workloads: Mapping[str, Workload]) -> list[dict[str, Any]]:
    """Return the scripts of each target as in run.json, and `steps`, the names of their turns;
    None for a method.
    """
    scripts = {
        compiled.script.name: compiled.script
        for workload in workloads.values()
        for compiled in workload.values()
    }
    labels = {
        name: None if script.task else [turn.name for turn in script.turns]
        for name, script in scripts.items()
    }
    return [fact | {"steps": labels[fact["name"]]} for fact in script_facts(workloads)]


def sequential_plan(
    evaluation: Evaluation,
    options: Options,
    pairs: int,
    scripts: Sequence[Mapping[str, Any]],
    *,
    lacking: Sequence[Mapping[str, Any] | None] = (),
    thresholds: Mapping[str, Sequence[str]] | None = None,
) -> SequentialPlanEntry:
    """Return the plan of a run's interim analyses. Raise UsageError if thresholds cannot be used.

    `scripts` is the result of `scripts_of`. `lacking` is what they can never measure. `thresholds`
    are theirs, unless the options have thresholds.
    """
    by_name = {
        fact["name"]: {key: fact[key] for key in ("name", "turns", "steps")} for fact in scripts
    }
    outputs = {fact["output"] for fact in scripts}
    # a target without turn events has no ttfa
    if any(fact.get("reply_silence_ms") is not None for fact in scripts):
        metric = "voice_to_voice"
    elif outputs == {"transcript"}:
        metric = TRANSCRIPT_METRICS[0]
    else:
        metric = "ttft" if outputs == {"text"} else "ttfa"
    request = {
        "metric": metric,
        "targets": list(dict.fromkeys(fact["target"] for fact in scripts)),
        "scripts": list(by_name.values()),
        "pairs": pairs,
        "every": options.interim_every,
        "lacking": lacking,
        "thresholds": options.thresholds,
        "of_scripts": thresholds or {},
    }
    plan: SequentialPlanEntry = finalized_run.child_output(
        evaluation.of_comparison("plan", json.dumps(request)),
        late=f"planning interim analyses took over {ANSWER_S:.0f} s",
        failed="the interim analyses could not be planned",
    )
    return plan


def plan_text(plan: SequentialPlanEntry) -> str:
    """Return a line that states which thresholds decide the run, and when they are analysed."""
    analyses = plan["analyses"]
    gates = thresholds_text(plan["primary_metrics"])
    sizes = ", ".join(str(size) for size in analyses[:2]) + (
        f" … {analyses[-1]}" if len(analyses) > 2 else ""
    )
    return (
        f"the run ends when these thresholds are decided: {gates}; interim analyses at {sizes}"
        " pairs"
    )


def thresholds_text(thresholds: Mapping[str, Sequence[str]]) -> str:
    """Return thresholds on one line. `thresholds` are their texts by metric, as in run.json."""
    return "; ".join(f"{metric} {', '.join(texts)}" for metric, texts in thresholds.items())


# Analyses during the run.


class OverloadWatch:
    """A detector of overload during the planned `pairs`. `give_up` ends the run as invalid, for
    a reason.
    """

    def __init__(
        self, pairs: int, *, say: Callable[[str], None], give_up: Callable[[str], None]
    ) -> None:
        self._max_pairs = max(MIN_PAIRS, math.ceil(pairs * MAX_OF_PLAN - 1e-9))
        self._say = say
        self._give_up = give_up
        self._since: int | None = None
        self._given_up = False

    def consider(self, late: str, pairs: int, turns: int) -> bool:
        """Return whether the load generator is overloaded. If the overload has lasted too long, end
        the run as invalid.

        `late` is the text of the failed check, if any. `pairs` and `turns` have ended.
        """
        if not late:
            if self._since is not None:
                self._say("the load generator keeps up again; interim analyses continue")
            self._since = None
            return False
        if self._since is None:
            self._since = pairs
            self._say(
                f"the load generator is overloaded ({late}), so interim analyses are suspended; the"
                f" run ends if the overload lasts for {self._max_pairs} pairs: {MORE_PROCESSES}"
            )
        if pairs - self._since >= self._max_pairs and turns >= MIN_TURNS and not self._given_up:
            self._given_up = True
            self._give_up(
                f"the load generator was overloaded for {pairs - self._since} pairs in a row"
                f" ({late})"
            )
        return True


def is_due(analyses: Sequence[int], analyses_made: int, pairs: int, tried: int) -> bool:
    """Return whether an analysis is due after `pairs`, if the last attempt was at `tried`. The last
    is after the run.

    `analyses` are the planned numbers of pairs at the analyses.
    """
    return analyses_made < len(analyses) - 1 and pairs >= analyses[analyses_made] and pairs > tried


class ChildAnalyses(ABC):
    """Interim analyses by child processes, one at a time. `stop` ends the run, for a reason.
    `say` prints a problem.
    """

    def __init__(self, *, stop: Callable[[str], None], say: Callable[[str], None]) -> None:
        self._stop = stop
        self._say = say
        self._ended = False
        self._error = ""
        self._running: gevent.Greenlet | None = None
        self.answer = ""
        """The sentence of the analysis that requested the end of the run; "" if none did."""

    @abstractmethod
    def _sentence(self, result: dict[str, Any]) -> str:
        """Store the result of an analysis. Return the sentence with which the run ends; "" if it
        continues.
        """

    def _start(self, command: Sequence[str]) -> None:
        self._running = gevent.spawn(self._run, command)

    def _run(self, command: Sequence[str]) -> None:
        try:
            lines = finalized_run.output_of(command).strip().splitlines()
            sentence = self._sentence(json.loads(lines[-1] if lines else ""))
        except (OSError, ValueError, KeyError) as error:
            trouble = f"an interim analysis failed: {error}"
            # repeats are not shown; the run continues, and the next analysis replaces this one
            if trouble != self._error:
                self._error = trouble
                self._say(trouble)
            return
        if sentence:
            self.answer = sentence
            self._stop(sentence)

    def end(self) -> None:
        self._ended = True
        if self._running is not None:
            self._running.kill()


class InterimAnalyses(ChildAnalyses):
    """The interim analyses during a run, made one at a time. `sizes` are the planned numbers of
    pairs at the analyses.

    `stop` ends the run, for a reason. `give_up` ends the run as invalid, with the cause. `say`
    prints a problem.
    """

    def __init__(
        self,
        folder: Path,
        sizes: Sequence[int],
        *,
        stop: Callable[[str], None],
        give_up: Callable[[str], None],
        say: Callable[[str], None],
        command: Sequence[str],
    ) -> None:
        super().__init__(stop=stop, say=say)
        self._folder = folder
        self._sizes = sizes
        self._command = command
        self._known = self._tried = self._analyses_made = 0
        self._overload = OverloadWatch(self._sizes[-1], say=say, give_up=give_up)
        self._late = False

    @property
    def progress(self) -> tuple[int, int]:
        """The number of analyses that were made, and the planned number. It does not change when
        the run is decided.
        """
        return self._analyses_made, len(self._sizes)

    def consider(self, pairs: int, turns: int = 0, late: str = "") -> None:
        """Start an analysis if one is due for the pairs of the previous call, whose rows are on the
        disk by now.

        The arguments are as in `OverloadWatch.consider`. During an overload, no analysis starts.
        """
        known = self._known
        self._known = pairs
        self._late = self._overload.consider(late, pairs, turns)
        if self._late or self._ended:
            return
        if not self._running and is_due(self._sizes, self._analyses_made, known, self._tried):
            self._tried = known
            self._start([*self._command, str(self._folder)])

    def _sentence(self, result: dict[str, Any]) -> str:
        self._analyses_made = max(self._analyses_made, int(result["analysis"]))
        # during an overload nothing is decided: the next analysis comes to the same result
        return str(result["sentence"]) if result["stopped"] and not self._late else ""
