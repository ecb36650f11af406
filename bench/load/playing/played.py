"""Hears of one session in a run: its recorder first, then whoever acts on what its turns and its end came to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bench.errors import ConnectError
from bench.load.playing import dashboard
from bench.load.playing.arm import Arm, was_opened
from bench.load.playing.progress import Progress
from bench.observe.observation import SessionObservation, TurnObservation
from bench.observe.timeline import Timeline
from bench.protocol.events import Usage
from bench.run.histograms import MEASURED
from bench.run.recorder import SessionRecord


class Watcher(Protocol):
    """Decides on the run by what its sessions come to."""

    ending: bool

    spent: bool
    """Whether the run's money is spent, or nobody can say: turns under way take no further response."""

    def keep_budget(self) -> None:
        """Tokens of this process are counted: end the run where its money is spent."""

    def session_ended(self, arm: Arm, session: SessionObservation) -> ConnectError | None:
        """A session of an arm has ended. Returns why it did not open, where it failed to."""


class RunListener:
    """A `bench.session.Listener` that passes on what a session does: to its record before anyone else.

    `hide` takes secrets out of what Locust's dashboard shows, `fire` shows it.
    """

    def __init__(
        self,
        record: SessionRecord,
        timeline: Timeline,
        arm: Arm,
        progress: Progress,
        watcher: Watcher,
        *,
        hide: Callable[[str], str],
        fire: dashboard.Fire,
    ) -> None:
        self._record, self._timeline, self._arm = record, timeline, arm
        self._progress, self._watcher = progress, watcher
        self._hide, self._fire = hide, fire
        self.received, self.received_deltas, self.sent = record.received, record.received_deltas, record.sent
        self.turn_began, self.connected = record.turn_began, record.connected
        self.hear_turn: Callable[[TurnObservation], None] | None = None
        """Hears of each turn first: the call that the session is a part of."""
        self._opened = False

    def note_opened(self) -> None:
        """Tell, once, that the service has taken the session's settings, where it has."""
        if not self._opened and self._timeline.ready:
            self._opened = True
            session = self._timeline.session()
            self._progress.session_opened(self._arm.label, session)
            self._arm.session_opened(session.start_ns)

    def turn_ended(self, turn: TurnObservation) -> None:
        """Tell of a turn: its row, the pace of starts, Locust's dashboard, the live line."""
        self.note_opened()  # of a pipelined start it was not known before
        if self.hear_turn is not None:
            self.hear_turn(turn)
        labels = self._record.labels
        self._record.turn_ended(turn)
        self._arm.turn_ended(turn)
        dashboard.show_turn(self._fire, labels.script, turn, self._hide)
        measured = self._record.phase == MEASURED
        self._progress.turn_ended(self._arm.label, labels.script, turn, measured=measured)

    def paid(self, usage: Usage) -> None:
        """Count what responses cost, which may end the run."""
        self._progress.paid(self._arm.label, self._timeline.model, usage)
        self._watcher.keep_budget()

    def may_ask(self) -> bool:
        """Whether the turn under way may take another response."""
        return not self._watcher.spent

    def session_ended(self) -> None:
        """Tell of the session, which is over: its row, the live line, what may end the run, Locust's dashboard."""
        self.note_opened()
        session = self._timeline.session()
        self._record.session_ended(session)
        self._progress.session_ended(self._arm.label, session, opened=was_opened(session))
        problem = self._watcher.session_ended(self._arm, session)
        dashboard.show_session(self._fire, self._arm.label, self._record.labels.script, session, problem)
