"""One test run in one process: its target, its scripts, its recorder, and the sessions that its users play.

Made when Locust starts a test and closed when it stops one; a master makes the run's folder and closes the run, a
worker plays and records, a single process does both.
"""

from __future__ import annotations

import gc
import math
import ssl
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import gevent
import gevent.socket
import numpy as np
from greenlet import greenlet

from bench.clock import monotonic_ns
from bench.errors import ConnectError
from bench.load import dashboard
from bench.load.options import Options
from bench.load.pacer import Pacer
from bench.load.plays import Play
from bench.load.stage import OnStage, Performance, act, perform_all
from bench.load.upkeep import SECOND_NS, TICK_S, Upkeep
from bench.measures import outcome_class
from bench.observe.observation import SessionObservation, reason
from bench.observe.timeline import Timeline
from bench.plan.frames import PreparedScript
from bench.run.event_log import EventLog, LoggedTimeline, LoggedTransport, about
from bench.run.recorder import Labels, Recorder, SessionRecord
from bench.session import Session
from bench.target.credentials import Credential
from bench.target.target import Target
from bench.transport.base import Transport
from bench.transport.tcp import Phases, tls_context, warm_up
from bench.transport.websocket import open_websocket

POLL_S = 0.05
CUT_S = 5.0
ALL_DONE = "all sessions are done"
HARNESS_FAULT = "failed:harness"
EVENTS = "events"
"""The part of a run folder that holds event logs."""
HOPELESS = 10
"""So many connects that failed, and none that succeeded, end a run."""


Steps = Callable[[Session], Exception | None]
"""Plays the steps of an open session; returns what its task has to say to Locust."""


class Caller(OnStage, Protocol):
    """A user, as sessions see it."""

    def is_leaving(self) -> bool:
        """Whether it is asked to go: its session ends after the turn that is under way."""


class LiveRun:
    """The sessions of one process: `worker`, from 0, of so many `workers`.

    `stop` asks whoever drives the test to end it, with the reason.
    """

    def __init__(
        self,
        folder: Path,
        worker: int,
        workers: int,
        began_utc_ns: int,
        target: Target,
        options: Options,
        *,
        sessions: int | None,
        per_minute: float | None,
        fire: dashboard.Fire,
        stop: Callable[[str], None],
    ) -> None:
        self.target, self._options = target, options
        self._folder, self._worker, self._workers = folder, worker, workers
        credential = target.auth if isinstance(target.auth, Credential) else None
        self._headers = [*target.headers, *([credential.header()] if credential else [])]
        self._hide = credential.hide if credential else str
        self._recorder = Recorder(
            folder, folder.name, worker, began_utc_ns, hide=self._hide, transcripts=options.transcripts
        )
        self._context: ssl.SSLContext | None = (
            tls_context(str(target.way.ca) if target.way.ca else None) if target.tls else None
        )
        self._pacer = Pacer(per_minute)
        self._left, self._fire, self._stop = sessions, fire, stop
        self.ending = self.closed = False
        self._open = self._started = self._connected = self._failed = 0
        self._played: Counter[str] = Counter()
        self._active: set[gevent.Greenlet] = set()
        self._log_broke = False
        _warm_up()
        self._upkeep = Upkeep(self._recorder, stop)
        if sessions == 0:
            self._stop(ALL_DONE)

    # Sessions.

    def play_session(self, play: Play, caller: Caller) -> bool:
        """Open one session, play it, record it; False where the run is ending or its sessions are spent."""
        if not self._take_session():
            return False
        self._open += 1
        try:
            if self._await_start():
                self._play(play, caller)
        finally:
            self._open -= 1
            if self._left == 0 and not self._open:
                self._stop(ALL_DONE)
        return True

    def _play(self, play: Play, caller: Caller) -> None:
        number, own = self._started * self._workers + self._worker, self._number_of(play)
        self._started += 1
        name = f"w{self._worker}-{self._started:06d}"
        script = play.repertoire.session(own, self._options.seed)
        log = self._event_log(name, number)
        labels = Labels(
            name,
            self.target.label,
            play.scenario,
            script.name,
            variables_row=script.variables_row,
            event_log=log is not None,
        )
        record = self._recorder.session(labels)
        record.on_turn = lambda turn: dashboard.show_turn(self._fire, script.name, turn, self._hide)
        timeline = self._timeline(labels, script, play.turns or 0, log)
        self._active.add(gevent.getcurrent())
        try:
            transport = self._connected_transport(script, timeline, record)
            if transport is not None:
                transport = LoggedTransport(transport, log) if log else transport
                session = Session(script, transport, timeline, record, lambda: self.ending or caller.is_leaving())
                self._perform(session, timeline, self._steps(play, caller, script, own))
        except Cut:
            pass
        finally:
            self._active.remove(gevent.getcurrent())
            observed = timeline.session()
            record.session_ended(observed)
            self._note_session(observed)
            self._close_log(log)

    def _take_session(self) -> bool:
        if self.ending or self._left == 0:
            return False
        if self._left is not None:
            self._left -= 1
        return True

    def _await_start(self) -> bool:
        """Wait for this connection's turn to start; False where the run ended meanwhile."""
        start_ns = self._pacer.reserve(monotonic_ns())
        while not self.ending:
            wait_s = (start_ns - monotonic_ns()) / 1e9
            if wait_s <= 0:
                return True
            gevent.sleep(min(wait_s, TICK_S))
        return False

    def _number_of(self, play: Play) -> int:
        """Which session of its script this is, from 0, over all processes: by that it takes its row and recordings."""
        name = play.repertoire.script.name
        self._played[name] += 1
        return (self._played[name] - 1) * self._workers + self._worker

    def _steps(self, play: Play, caller: Caller, script: PreparedScript, number: int) -> Steps:
        """What plays the steps of a session that is open."""
        if play.improvised is None:
            return lambda session: perform_all(session, script.steps)
        method, recordings = play.improvised.method, play.improvised.recordings
        choices = np.random.default_rng([self._options.seed, number])
        return lambda session: act(caller, method, Performance(session, play.repertoire, script, recordings, choices))

    def _perform(self, session: Session, timeline: Timeline, steps: Steps) -> None:
        """Play a session that is connected, from its opening to its close."""
        try:
            session.open()
            word = None if timeline.over else steps(session)
            session.close()
        except gevent.GreenletExit:
            session.abandon("abandoned", "the run ended")
            raise
        except Exception as error:  # a fault of ours, or of the task, is seen as a failure, and never a missing sample
            session.abandon(HARNESS_FAULT, f"{type(error).__name__}: {error}")
            raise
        if word is not None:
            raise word

    def _connected_transport(
        self, script: PreparedScript, timeline: Timeline, record: SessionRecord
    ) -> Transport | None:
        """An open connection; None where it was refused, which the timeline knows then."""
        phases = Phases()
        try:
            transport = open_websocket(self.target.url, self._headers, self._context, script.limits, phases)
        except ConnectError as error:
            record.connected(error.headers)
            timeline.connected(phases.instants, error.headers)
            timeline.fail(error.outcome, monotonic_ns(), error.detail)
            return None
        except gevent.GreenletExit:
            timeline.connected(phases.instants, {})
            timeline.fail("abandoned", monotonic_ns(), "the run ended")
            raise
        except Exception as error:  # as above
            timeline.connected(phases.instants, {})
            timeline.fail(HARNESS_FAULT, monotonic_ns(), f"{type(error).__name__}: {error}")
            raise
        record.connected(transport.handshake.headers)
        timeline.connected(transport.handshake.instants, transport.handshake.headers)
        return transport

    def _note_session(self, session: SessionObservation) -> None:
        opened = "session_updated" in session.instants
        self._connected += opened
        failed = not opened and outcome_class(session.outcome) == "failed"
        self._failed += failed
        detail = self._hide(reason(session.outcome, session.detail))
        error = ConnectError(session.outcome, detail) if failed else None
        if failed and self._failed == HOPELESS and not self._connected:
            self._stop(f"{HOPELESS} sessions failed to open and none succeeded; the last: {error}")
        dashboard.show_connect(self._fire, self.target.label, session, error)

    # Event logs.

    def _event_log(self, session_id: str, number: int) -> EventLog | None:
        """A log for this session, where it is one of those that have one."""
        if self._log_broke or not is_sampled(number, self._options.record_events):
            return None
        path = self._folder / EVENTS / f"{session_id}.jsonl"
        return EventLog(path, hide=self._hide, keep_audio=self._options.keep_audio)

    def _timeline(self, labels: Labels, script: PreparedScript, wanted: int, log: EventLog | None) -> Timeline:
        start_ns, responds = monotonic_ns(), script.service_responds
        if log is None:
            return Timeline(start_ns, wanted, script.limits, service_responds=responds)
        facts = about(self._folder.name, labels, script)
        return LoggedTimeline(start_ns, wanted, script.limits, service_responds=responds, log=log, about=facts)

    def _close_log(self, log: EventLog | None) -> None:
        """After a log that could not be written, which has said so, there are no others."""
        if log is not None:
            log.close()
            self._log_broke = self._log_broke or log.problem is not None

    # The end.

    @property
    def active(self) -> int:
        return len(self._active)

    def drain(self, longest_s: float, hurry: Callable[[], bool]) -> None:
        """No new turns; wait for those in flight, `longest_s` at most, then cut the rest."""
        self.ending = True
        until_ns = monotonic_ns() + int(longest_s * SECOND_NS)
        while self._active and not hurry() and monotonic_ns() < until_ns:
            gevent.sleep(POLL_S)
        for user in list(self._active):  # gevent.kill would take the greenlet for dead, and Locust with it
            gevent.get_hub().loop.run_callback(greenlet.throw, user, Cut)
        until_ns = monotonic_ns() + int(CUT_S * SECOND_NS)
        while self._active and monotonic_ns() < until_ns:
            gevent.sleep(POLL_S)

    @property
    def problem(self) -> str | None:
        """What kept the run from being recorded."""
        return self._upkeep.problem

    def close(self) -> None:
        """The last rows and counts."""
        if not self.closed:
            self.closed = True
            self._upkeep.close()


def is_sampled(number: int, share: Fraction) -> bool:
    """Whether session `number` (from 0) is one of a share of all, evenly spread; the first one is, of any share."""
    return math.ceil((number + 1) * share) > math.ceil(number * share)


def _warm_up() -> None:
    """Pay now for what would slow the first sessions: the resolver's thread, a garbage collector that walks it all."""
    warm_up()
    gc.collect()
    gc.freeze()


class Cut(gevent.GreenletExit):  # type: ignore[misc]  # gevent is not typed
    """Thrown into a user whose session the end of the run cuts; the user itself lives on for Locust to stop."""
