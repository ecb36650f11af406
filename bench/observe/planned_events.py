"""The interruptions, sounds and expectations of one session's script: how many were planned, and how many took place.

A planned event does not take place if its cue never comes: the reply ends earlier, or has no such words. An expectation
takes place if its event arrives in time. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from bench.catalogue.metrics import PLANNED_COLUMNS, PlannedEvent
from bench.observe.observation import NO_TURNS_MISSING
from bench.plan.turn_plan import SOUNDS, InterruptionKind


class PlannedEvents:
    """The planned events of one session. `planned` is the number of each in the script; 0 if it is unknown."""

    __slots__ = ("_awaited", "_occurred", "_planned", "_reached")

    def __init__(self, planned: Mapping[str, int]) -> None:
        self._planned, self._reached, self._occurred = planned, Counter[str](), Counter[str]()
        self._awaited: PlannedEvent | None = None
        """The interruption or sound whose cue is awaited; also that of the last missed cue."""

    def reach(self, event: PlannedEvent) -> None:
        """Count an event that the session has come to in its script."""
        self._reached[event] += 1

    def occur(self, event: PlannedEvent, number: int = 1) -> None:
        """Count events that took place."""
        self._occurred[event] += number

    def await_cue(self, kind: InterruptionKind) -> None:
        """Count an interruption or sound whose cue the session now waits for."""
        self._awaited = "sounds" if kind in SOUNDS else "interruptions"
        self.reach(self._awaited)

    def begin_awaited(self) -> None:
        """Count the awaited interruption or sound, which has begun while the reply is played."""
        if self._awaited is not None:
            self.occur(self._awaited)
            self._awaited = None

    def withdraw(self, event: PlannedEvent, number: int) -> None:
        """Do not count events that the session has come to, because the end of the run prevented them."""
        self._reached[event] -= number

    def withdraw_awaited(self) -> None:
        """Do not count the awaited interruption or sound, which the end of the run prevented."""
        if self._awaited is not None:
            self.withdraw(self._awaited, 1)
            self._awaited = None

    def counts(self, outcome: str) -> dict[str, Any]:
        """Return the columns of a session that has ended: the planned events, and those that did not take place.

        If the session failed, this includes the events that it did not come to.
        """
        columns: dict[str, Any] = {}
        is_complete = outcome in NO_TURNS_MISSING
        for event, (planned_column, missed_column) in PLANNED_COLUMNS.items():
            planned = self._reached[event]
            if not is_complete:
                planned = max(planned, self._planned.get(event, 0))
            columns[planned_column], columns[missed_column] = planned, planned - self._occurred[event]
        return columns
