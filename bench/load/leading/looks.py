"""Holds the looks at a run that ends once it is decided, while it goes on.

What a look says is computed by a child: `reports.looks` reads the run folder as everybody does, and never holds up the
loop of the sessions. Nobody here knows a figure; the plan and the looks alone decide.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gevent

from bench.load.leading.child import output_of
from bench.load.leading.lateness import LatenessWatch
from bench.load.planning.decision import LookPlan
from bench.spawn import python_command

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
