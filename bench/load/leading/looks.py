"""Holds the looks at a run that ends once it is decided, while it goes on.

What a look says is computed by a child: `reports.looks` reads the run folder as everybody does, and never holds up the
loop of the sessions. Nobody here knows a figure; the plan and the looks alone decide.

While the harness is late no look is held, and at a limit the run is given up. Whether it is late is what its verdict
would say if the run ended now, so it may still become valid. Where it does not for a tenth of the planned pairs in a
row (ten at least), the rest of them would be paid for in vain. The rules are about p99, which of fewer than 100 turns
is the worst of them: until both arms have so many, nothing is given up.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gevent

from bench.load.leading.child import output_of
from bench.load.planning.decision import LookPlan
from bench.run.validity import MORE_PROCESSES
from bench.spawn import python_command

LEAST_PAIRS, LEAST_TURNS = 10, 200
"""The turns are those of both arms."""
MOST_OF_PLAN = 0.1
GIVEN_UP = "do not use these figures: "
"""How what a run says of its end begins where it was given up; those who read it later look for that."""


class LatenessWatch:
    """Watches a run that is planned for so many pairs. `say` tells, `stop` ends the run, with the reason."""

    def __init__(self, pairs: int, *, say: Callable[[str], None], stop: Callable[[str], None]) -> None:
        self._most = max(LEAST_PAIRS, math.ceil(pairs * MOST_OF_PLAN - 1e-9))
        self._say, self._stop = say, stop
        self._since: int | None = None
        self._given_up = False

    def consider(self, late: str, pairs: int, turns: int) -> bool:
        """Whether the harness is late. `late`: by which figure, empty where by none; `pairs`, `turns`: that ended."""
        if not late:
            if self._since is not None:
                self._say("the load generator keeps up again, so looks go on")
            self._since = None
            return False
        if self._since is None:
            self._since = pairs
            self._say(
                f"the load generator is late ({late}), so no look is held; the run ends if this lasts for {self._most} "
                f"pairs; {MORE_PROCESSES}"
            )
        if pairs - self._since >= self._most and turns >= LEAST_TURNS and not self._given_up:
            self._given_up = True
            self._stop(f"{GIVEN_UP}the load generator was late for {pairs - self._since} pairs in a row ({late})")
        return True


LOOK = python_command("reports.looks", "look")


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
        plan: LookPlan,
        *,
        stop: Callable[[str], None],
        say: Callable[[str], None],
        command: Sequence[str] = LOOK,
    ) -> None:
        self._folder, self._sizes, self._command = folder, list(plan["looks"]), command
        self._stop, self._say = stop, say
        self._known = self._tried = self._held = 0
        self._lateness = LatenessWatch(self._sizes[-1], say=say, stop=stop)
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
        """End looking; a look under way is cut."""
        self._sizes = self._sizes[-1:]
        if self._looking is not None:
            self._looking.kill()


def _told(command: Sequence[str]) -> dict[str, Any]:
    """Read the last line that a child prints. Raises OSError where it fails, ValueError where that is no JSON."""
    lines = output_of(command).strip().splitlines()
    said: dict[str, Any] = json.loads(lines[-1] if lines else "")
    return said
