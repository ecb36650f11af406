"""Plays the sessions of one process: connects and records each, with an event log where one is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import gevent

from bench.clock import monotonic_ns
from bench.connect import HARNESS_FAULT, connected
from bench.load.planning.caller import Caller, act
from bench.load.planning.options import Options
from bench.load.planning.plays import Play
from bench.load.playing import dashboard
from bench.load.playing.arm import Arm
from bench.load.playing.call import Call, Leg
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

POLL_S = 0.05
"""How often a call whose session has ended looks whether the next one may be connected."""


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
    actor: Caller
    leaving: Callable[[], bool]


class Cut(gevent.GreenletExit):  # type: ignore[misc]  # gevent is not typed
    """Raised in a session that the end of the run cuts; its user lives on for Locust to stop."""

    def __init__(self, outcome: str = "abandoned", detail: str = "the run ended") -> None:
        super().__init__(outcome, detail)
        self.outcome, self.detail = outcome, detail


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
        """Play a call to its end. Returns what its task has to say to Locust, or a fault."""
        call = Call(assignment.script, _AssignedSwitchboard(self, assignment))
        self.active.add(gevent.getcurrent())
        try:
            return self._perform(assignment, call) if call.connect() else None
        except Cut:
            return None
        except Exception as error:  # it is recorded; whoever runs the session tells Locust
            return error
        finally:
            self.active.remove(gevent.getcurrent())
            call.end()
            call.hear_turn = None

    def _perform(self, assignment: Assignment, call: Call) -> Exception | None:
        """Play a call that is connected, from its opening to its close."""
        try:
            word = self._play_steps(assignment, call) if call.open() else None
            call.close()
        except gevent.GreenletExit as ended:
            cut = ended if isinstance(ended, Cut) else Cut()
            call.abandon(cut.outcome, cut.detail)
            raise
        except Exception as error:  # a fault of ours, or of the task, is seen as a failure, and never a missing sample
            call.abandon(HARNESS_FAULT, f"{type(error).__name__}: {error}")
            raise
        return word

    def _play_steps(self, assignment: Assignment, call: Call) -> Exception | None:
        """Play the steps of a call that is open. Returns what its task has to say to Locust."""
        play, script = assignment.play, assignment.script
        if play.improvised is None:
            perform_all(call, script.steps)
            return None
        choices = Choices(self._options.seed, assignment.number)
        performance = StepPlayer(call, play.repertoire, script, play.improvised.reader, choices)
        call.hear_turn = performance.turn_ended
        return act(assignment.actor, play.improvised.method, performance)

    # The sessions of a call.

    def leg(self, assignment: Assignment, number: int, turns_begun: int) -> Leg:
        """Begin the record of a session. `number`: in its call, from 1; `turns_begun`: in those before it."""
        labels, script = assignment.labels, assignment.script
        if number > 1:
            labels = replace(labels, session_id=f"{labels.session_id}.{number}")
        log = self._event_log(labels)
        labels = replace(labels, variables_row=script.variables_row, event_log=log is not None)
        record = self._recorder.session(labels)
        planned = {"intended_ns": assignment.intended_ns, "called_ns": assignment.called_ns} if number == 1 else {}
        timeline = self._timeline(script, labels, log, max(0, (assignment.play.turns or 0) - turns_begun), planned)
        played = RunListener(
            record, timeline, assignment.arm, self._progress, self._watcher, hide=self._hide, fire=self._fire
        )
        return Leg(timeline, played, log)

    def connect(self, assignment: Assignment, leg: Leg, script: PreparedScript) -> Session | None:
        """Connect a session; None where that fails."""
        transport = connected(assignment.arm.dialer, script.limits, leg.timeline, leg.played.connected)
        if transport is None:
            return None
        transport = LoggedTransport(transport, leg.log) if leg.log else transport
        return PatientSession(script, transport, leg.timeline, leg.played, lambda: self.ending(assignment))

    def ending(self, assignment: Assignment) -> bool:
        """Whether a call is to end."""
        return self._watcher.ending or assignment.leaving()

    def end(self, leg: Leg) -> None:
        """Write down what came of a session that is over."""
        leg.played.session_ended()
        self._close_log(leg.log)

    # Event logs.

    def _event_log(self, labels: Labels) -> EventLog | None:
        """A log for this session, where its pair is one of those that have them."""
        if self._log_broke or not labels.event_log:
            return None
        path = self._spool.events / f"{labels.session_id}.jsonl"
        return EventLog(path, hide=self._hide, keep_audio=self._options.keep_audio)

    def _timeline(
        self,
        script: PreparedScript,
        labels: Labels,
        log: EventLog | None,
        wanted: int,
        planned: Mapping[str, int | None],
    ) -> Timeline:
        """The timeline of a session. `wanted`: how many turns it has; `planned`: when it was meant to start."""
        start_ns, limits = monotonic_ns(), script.limits
        given: dict[str, Any] = {"service_responds": script.service_responds, "renewable": script.renewable, **planned}
        if log is None:
            return Timeline(start_ns, wanted, limits, script.dialect, **given)
        facts = about(self._spool.run_id, labels, script)
        return LoggedTimeline(start_ns, wanted, limits, script.dialect, **given, log=log, about=facts)

    def _close_log(self, log: EventLog | None) -> None:
        """After a log that could not be written, which has said so, there are no others."""
        if log is not None:
            log.close()
            self._log_broke = self._log_broke or log.problem is not None


class _AssignedSwitchboard:
    """A `bench.load.playing.call.Switchboard` for the call of one assignment."""

    def __init__(self, sessions: Sessions, assignment: Assignment) -> None:
        self._sessions, self._assignment = sessions, assignment
        self._booked_ns: int | None = None
        """When the next leg has its place among the starts of its arm."""

    def leg(self, number: int, turns_begun: int) -> Leg:
        self._booked_ns = None
        return self._sessions.leg(self._assignment, number, turns_begun)

    def may_renew(self, *, waits: bool) -> bool:
        while not self._place_has_come():
            if not waits or self.ending():
                return False
            gevent.sleep(POLL_S)
        return True

    def _place_has_come(self) -> bool:
        """Whether the next leg has its place among the starts now; one is booked where there is none."""
        pacer, now_ns = self._assignment.arm.pacer, monotonic_ns()
        if self._booked_ns is None:
            self._booked_ns = pacer.book(now_ns)
        return self._booked_ns is not None and pacer.is_due(self._booked_ns, now_ns)

    def connect(self, leg: Leg, script: PreparedScript) -> Session | None:
        return self._sessions.connect(self._assignment, leg, script)

    def end(self, leg: Leg) -> None:
        self._sessions.end(leg)

    def ending(self) -> bool:
        return self._sessions.ending(self._assignment)
