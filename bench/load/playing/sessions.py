"""Plays the sessions of one process: connects and records each, with an event log where one is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import gevent
import numpy as np

from bench.clock import monotonic_ns
from bench.connect import HARNESS_FAULT, connected
from bench.load.planning.options import Options
from bench.load.planning.plays import Play
from bench.load.planning.stage import OnStage, act
from bench.load.playing import dashboard
from bench.load.playing.arm import Arm
from bench.load.playing.pairs import Pair
from bench.load.playing.patience import PatientSession
from bench.load.playing.performance import Performance, perform_all
from bench.load.playing.played import Played, Watcher
from bench.load.playing.standing import Progress
from bench.observe.timeline import Timeline
from bench.plan.frames import PreparedScript
from bench.run.event_log import EventLog, LoggedTimeline, LoggedTransport, about
from bench.run.recorder import Labels, Recorder
from bench.run.spool import Spool
from bench.session import Session

Steps = Callable[[Session], Exception | None]
"""Plays the steps of an open session; returns what its task has to say to Locust."""
Playing = Callable[[], Exception | None]
"""Plays a session that is prepared, to its end; returns what Locust is to be told of its task, or a fault."""


class Cut(gevent.GreenletExit):  # type: ignore[misc]  # gevent is not typed
    """Thrown into a session that the end of the run cuts; its user lives on for Locust to stop."""


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

    def prepared(
        self, arm: Arm, play: Play, pair: Pair, labels: Labels, actor: OnStage, leaving: Callable[[], bool]
    ) -> Playing:
        """A session of a pair, ready to begin. `actor`: who does its task; `leaving`: whether its user is to go."""
        script = play.repertoire.session(pair.of_script, self._options.seed)
        steps = self._steps(play, actor, script, pair.of_script)
        return lambda: self._play(arm, script, play.turns or 0, pair.intended_ns, labels, steps, leaving)

    def _play(
        self,
        arm: Arm,
        script: PreparedScript,
        wanted: int,
        intended_ns: int,
        labels: Labels,
        steps: Steps,
        leaving: Callable[[], bool],
    ) -> Exception | None:
        log = self._event_log(labels)
        labels = replace(labels, variables_row=script.variables_row, event_log=log is not None)
        record = self._recorder.session(labels)
        timeline = self._timeline(labels, script, wanted, intended_ns, log)
        played = Played(record, timeline, arm, self._progress, self._watcher, hide=self._hide, fire=self._fire)
        self.active.add(gevent.getcurrent())
        try:
            transport = connected(arm.dialer, script.limits, timeline, record.connected)
            if transport is None:
                return None
            transport = LoggedTransport(transport, log) if log else transport
            ending = lambda: self._watcher.ending or leaving()  # noqa: E731
            return self._perform(PatientSession(script, transport, timeline, played, ending), timeline, played, steps)
        except Cut:
            return None
        except Exception as error:  # it is recorded; whoever runs the session tells Locust
            return error
        finally:
            self.active.remove(gevent.getcurrent())
            played.session_ended()
            self._close_log(log)

    def _perform(self, session: Session, timeline: Timeline, played: Played, steps: Steps) -> Exception | None:
        """Play a session that is connected, from its opening to its close."""
        try:
            session.open()
            if timeline.reached("session_updated"):
                played.session_opened()
            word = None if timeline.over else steps(session)
            session.close()
        except gevent.GreenletExit:
            session.abandon("abandoned", "the run ended")
            raise
        except Exception as error:  # a fault of ours, or of the task, is seen as a failure, and never a missing sample
            session.abandon(HARNESS_FAULT, f"{type(error).__name__}: {error}")
            raise
        return word

    def _steps(self, play: Play, actor: OnStage, script: PreparedScript, number: int) -> Steps:
        """What plays the steps of a session that is open."""
        if play.improvised is None:
            return lambda session: perform_all(session, script.steps)
        method, recordings = play.improvised.method, play.improvised.recordings
        choices = np.random.default_rng([self._options.seed, number])
        return lambda session: act(actor, method, Performance(session, play.repertoire, script, recordings, choices))

    # Event logs.

    def _event_log(self, labels: Labels) -> EventLog | None:
        """A log for this session, where its pair is one of those that have them."""
        if self._log_broke or not labels.event_log:
            return None
        path = self._spool.events / f"{labels.session_id}.jsonl"
        return EventLog(path, hide=self._hide, keep_audio=self._options.keep_audio)

    def _timeline(
        self, labels: Labels, script: PreparedScript, wanted: int, intended_ns: int, log: EventLog | None
    ) -> Timeline:
        start_ns, limits, responds = monotonic_ns(), script.limits, script.service_responds
        if log is None:
            return Timeline(
                start_ns, wanted, limits, script.dialect, service_responds=responds, intended_ns=intended_ns
            )
        facts = about(self._spool.run_id, labels, script)
        return LoggedTimeline(
            start_ns,
            wanted,
            limits,
            script.dialect,
            service_responds=responds,
            intended_ns=intended_ns,
            log=log,
            about=facts,
        )

    def _close_log(self, log: EventLog | None) -> None:
        """After a log that could not be written, which has said so, there are no others."""
        if log is not None:
            log.close()
            self._log_broke = self._log_broke or log.problem is not None
