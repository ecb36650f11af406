"""Plays the sessions of one process: connects and records each, with an event log where one is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import gevent

from bench.clock import monotonic_ns
from bench.connect import HARNESS_FAULT, connected
from bench.load.planning.options import Options
from bench.load.planning.plays import Play
from bench.load.planning.stage import OnStage, act
from bench.load.playing import dashboard
from bench.load.playing.arm import Arm
from bench.load.playing.patience import PatientSession
from bench.load.playing.played import RunListener, Watcher
from bench.load.playing.progress import Progress
from bench.load.playing.step_player import StepPlayer, perform_all
from bench.observe.timeline import Timeline
from bench.plan.choices import Choices
from bench.plan.frames import PreparedScript
from bench.run.event_log import EventLog, LoggedTimeline, LoggedTransport, about
from bench.run.recorder import Labels, Recorder
from bench.run.spool import Spool
from bench.session import Session


@dataclass(frozen=True)
class Assignment:
    """What one session of a pair is to play: a script at an arm.

    `number`: of the pair among those of its script. `actor` does its task, where that is written in Python; `leaving`
    says whether its user is to go.
    """

    arm: Arm
    play: Play
    script: PreparedScript
    number: int
    intended_ns: int
    called_ns: int | None
    labels: Labels
    actor: OnStage
    leaving: Callable[[], bool]


class Cut(gevent.GreenletExit):  # type: ignore[misc]  # gevent is not typed
    """Raised in a session that the end of the run cuts; its user lives on for Locust to stop."""


class Sessions:
    """Plays sessions and records them. `active`: the greenlets of those under way."""

    def __init__(
        self,
        spool: Spool,
        recorder: Recorder,
        options: Options,
        progress: Progress,
        watcher: Watcher,
        *,
        hide: Callable[[str], str],
        fire: dashboard.Fire,
    ) -> None:
        self._spool, self._recorder, self._options = spool, recorder, options
        self._progress, self._watcher = progress, watcher
        self._hide, self._fire = hide, fire
        self.active: set[gevent.Greenlet] = set()
        self._log_broke = False

    def play(self, assignment: Assignment) -> Exception | None:
        """Play a session to its end. Returns what its task has to say to Locust, or a fault."""
        arm, script, labels = assignment.arm, assignment.script, assignment.labels
        log = self._event_log(labels)
        labels = replace(labels, variables_row=script.variables_row, event_log=log is not None)
        record = self._recorder.session(labels)
        timeline = self._timeline(assignment, log)
        played = RunListener(record, timeline, arm, self._progress, self._watcher, hide=self._hide, fire=self._fire)
        self.active.add(gevent.getcurrent())
        try:
            transport = connected(arm.dialer, script.limits, timeline, record.connected)
            if transport is None:
                return None
            transport = LoggedTransport(transport, log) if log else transport
            ending = lambda: self._watcher.ending or assignment.leaving()  # noqa: E731
            session = PatientSession(script, transport, timeline, played, ending)
            return self._perform(assignment, session, timeline, played)
        except Cut:
            return None
        except Exception as error:  # it is recorded; whoever runs the session tells Locust
            return error
        finally:
            self.active.remove(gevent.getcurrent())
            played.session_ended()
            self._close_log(log)

    def _perform(
        self, assignment: Assignment, session: Session, timeline: Timeline, played: RunListener
    ) -> Exception | None:
        """Play a session that is connected, from its opening to its close."""
        try:
            session.open()
            played.note_opened()
            word = None if timeline.over else self._play_steps(assignment, session, played)
            session.close()
        except gevent.GreenletExit:
            session.abandon("abandoned", "the run ended")
            raise
        except Exception as error:  # a fault of ours, or of the task, is seen as a failure, and never a missing sample
            session.abandon(HARNESS_FAULT, f"{type(error).__name__}: {error}")
            raise
        return word

    def _play_steps(self, assignment: Assignment, session: Session, played: RunListener) -> Exception | None:
        """Play the steps of a session that is open. Returns what its task has to say to Locust."""
        play, script = assignment.play, assignment.script
        if play.improvised is None:
            perform_all(session, script.steps)
            return None
        choices = Choices(self._options.seed, assignment.number)
        performance = StepPlayer(session, play.repertoire, script, play.improvised.recordings, choices)
        played.hear_turn = performance.turn_ended
        return act(assignment.actor, play.improvised.method, performance)

    # Event logs.

    def _event_log(self, labels: Labels) -> EventLog | None:
        """A log for this session, where its pair is one of those that have them."""
        if self._log_broke or not labels.event_log:
            return None
        path = self._spool.events / f"{labels.session_id}.jsonl"
        return EventLog(path, hide=self._hide, keep_audio=self._options.keep_audio)

    def _timeline(self, assignment: Assignment, log: EventLog | None) -> Timeline:
        script, labels = assignment.script, assignment.labels
        start_ns, wanted, limits = monotonic_ns(), assignment.play.turns or 0, script.limits
        planned: dict[str, Any] = {
            "service_responds": script.service_responds,
            "intended_ns": assignment.intended_ns,
            "called_ns": assignment.called_ns,
        }
        if log is None:
            return Timeline(start_ns, wanted, limits, script.dialect, **planned)
        facts = about(self._spool.run_id, labels, script)
        return LoggedTimeline(start_ns, wanted, limits, script.dialect, **planned, log=log, about=facts)

    def _close_log(self, log: EventLog | None) -> None:
        """After a log that could not be written, which has said so, there are no others."""
        if log is not None:
            log.close()
            self._log_broke = self._log_broke or log.problem is not None
