"""Watches whether the harness of a run to be decided is late: no look is held then, and at a limit the run is given up.

Whether the harness is late is what its verdict would say if the run ended now, so it may still become valid. Where it
does not for a tenth of the planned pairs in a row (ten at least), the rest of them would be paid for in vain. The rules
are about p99, which of fewer than 100 turns is the worst of them: until both arms have so many, nothing is given up.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from bench.run.validity import MORE_PROCESSES

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
