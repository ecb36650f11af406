"""One test run in one process: its target, its scripts, its recorder, and the sessions that its users play.

Made when Locust starts a test and closed when it stops one; a master makes the run's folder and closes the run, a
worker plays and records, a single process does both.
"""

from __future__ import annotations

import gc
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

import gevent
import gevent.socket
from greenlet import greenlet

from bench.clock import monotonic_ns, utc_ns
from bench.errors import ConnectError
from bench.load.pacer import Pacer
from bench.load.plays import Play
from bench.measures import outcome_class
from bench.observe.observation import SessionObservation, TurnObservation
from bench.observe.timeline import Timeline
from bench.run.recorder import Labels, Recorder, SessionRecord
from bench.session import Session
from bench.target.endpoint import Target
from bench.transport.base import Transport
from bench.transport.tcp import Phases, tls_context
from bench.transport.websocket import open_websocket

BEAT_NS = 10_000_000
TICK_S = 0.5
HISTOGRAMS_EVERY_S = 8.0
SECOND_NS = 1_000_000_000
POLL_S = 0.05
CUT_S = 5.0
ALL_DONE = "all sessions are done"
HARNESS_FAULT = "failed:harness"
HOPELESS = 10
"""So many connects that failed, and none that succeeded, end a run."""

Fire = Callable[..., None]


class LiveRun:
    """The sessions of one process. `stop` asks whoever drives the test to end it, with the reason."""

    def __init__(
        self,
        folder: Path,
        worker: int,
        began_utc_ns: int,
        target: Target,
        *,
        sessions: int | None,
        per_minute: float | None,
        pause_s: float,
        fire: Fire,
        stop: Callable[[str], None],
    ) -> None:
        self.target, self.pause_s, self._worker = target, pause_s, worker
        credential = target.credential
        self._headers = [*target.headers, *([credential.header()] if credential else [])]
        self._hide = credential.hide if credential else str
        self._recorder = Recorder(folder, folder.name, worker, began_utc_ns, hide=self._hide)
        self._context: ssl.SSLContext | None = (
            tls_context(str(target.ca) if target.ca else None) if target.tls else None
        )
        self._pacer = Pacer(per_minute)
        self._left, self._fire, self._stop = sessions, fire, stop
        self.ending = self.closed = False
        self._open = self._started = self._connected = self._failed = 0
        self._active: set[gevent.Greenlet] = set()
        self.problem: str | None = None
        _warm_up()
        self._greenlets = [gevent.spawn(work) for work in (self._beat, self._tick, self._keep_histograms)]
        if sessions == 0:
            self._stop(ALL_DONE)

    # Sessions.

    def play_session(self, play: Play, leaving: Callable[[], bool]) -> bool:
        """Open one session, play it, record it; False where the run is ending or its sessions are spent.

        `leaving()`: the user is asked to go, so the session ends after the turn that is under way.
        """
        if not self._take_session():
            return False
        self._open += 1
        try:
            if self._await_start():
                self._play(play, leaving)
        finally:
            self._open -= 1
            if self._left == 0 and not self._open:
                self._stop(ALL_DONE)
        return True

    def _play(self, play: Play, leaving: Callable[[], bool]) -> None:
        self._started += 1
        labels = Labels(f"w{self._worker}-{self._started:06d}", self.target.label, play.scenario, play.script.name)
        record = self._recorder.session(labels)
        record.on_turn = lambda turn: self._fire_turn(play, turn)
        timeline = Timeline(monotonic_ns(), len(play.script.turns), play.script.limits)
        self._active.add(gevent.getcurrent())
        try:
            self._connect_and_play(play, timeline, record, leaving)
        except Cut:
            pass
        finally:
            self._active.remove(gevent.getcurrent())
            session = timeline.session()
            record.session_ended(session)
            self._note_session(session)

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

    def _connect_and_play(
        self, play: Play, timeline: Timeline, record: SessionRecord, leaving: Callable[[], bool]
    ) -> None:
        transport = self._connected_transport(play, timeline, record)
        if transport is None:
            return
        session = Session(play.script, transport, timeline, record, lambda: self.ending or leaving())
        try:
            session.play()
        except gevent.GreenletExit:
            session.abandon("abandoned", "the run ended")
            raise
        except Exception as error:  # a fault of ours is a failure that is seen, and never a missing sample
            session.abandon(HARNESS_FAULT, f"{type(error).__name__}: {error}")
            raise

    def _connected_transport(self, play: Play, timeline: Timeline, record: SessionRecord) -> Transport | None:
        """An open connection; None where it was refused, which the timeline knows then."""
        phases = Phases()
        try:
            transport = open_websocket(self.target.url, self._headers, self._context, play.script.limits, phases)
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
        detail = self._hide(session.detail)
        if failed and self._failed == HOPELESS and not self._connected:
            last = f"{session.outcome}: {detail}"
            self._stop(f"{HOPELESS} sessions failed to open and none succeeded; the last: {last}")
        self._fire_connect(session, ConnectError(session.outcome, detail) if failed else None)

    # Locust's own statistics: a dashboard.

    def _fire_turn(self, play: Play, turn: TurnObservation) -> None:
        kind = outcome_class(turn.outcome)
        if kind == "censored":
            return
        measures = turn.measures_ns()
        waited_ns = measures.get("ttfa") or measures.get("ttft") or turn.instants["ended"] - turn.start_ns
        self._fire(
            request_type=play.script.name,
            name=turn.step,
            response_time=waited_ns / 1e6,
            response_length=turn.audio_bytes_received,
            exception=None if kind == "good" else TurnError(self._hide(f"{turn.outcome} {turn.detail}".strip())),
            context={},
        )

    def _fire_connect(self, session: SessionObservation, error: ConnectError | None) -> None:
        waited_ns = session.measures_ns().get("connect_total")
        if waited_ns is None and error is None:
            return
        ended_ns = session.instants.get("ended", session.start_ns)
        self._fire(
            request_type="connect",
            name=self.target.label,
            response_time=(ended_ns - session.start_ns if waited_ns is None else waited_ns) / 1e6,
            response_length=0,
            exception=error,
            context={},
        )

    # Health and the disk.

    def _beat(self) -> None:
        """A 10 ms timer on a fixed schedule that says how late it ran: a stall makes all of its beats late."""
        due_ns = monotonic_ns() + BEAT_NS
        while True:
            gevent.sleep(max(0, due_ns - monotonic_ns()) / SECOND_NS)
            now_ns = monotonic_ns()
            while due_ns <= now_ns:
                self._recorder.hub_delay(now_ns - due_ns)
                due_ns += BEAT_NS

    def _tick(self) -> None:
        """Rows to disk within a second; a row of `seconds` whenever one of the wall clock is over."""
        tick_ns = int(TICK_S * SECOND_NS)
        second = utc_ns() // SECOND_NS
        while True:
            gevent.sleep((tick_ns - utc_ns() % tick_ns) / SECOND_NS)
            if utc_ns() // SECOND_NS != second:
                second = utc_ns() // SECOND_NS
                self._recorder.end_second()
            self._guarded(self._recorder.flush)

    def _keep_histograms(self) -> None:
        """Histograms to disk within ten seconds, a slice at a time."""
        while True:
            gevent.sleep(HISTOGRAMS_EVERY_S)
            self._guarded(self._write_histograms)

    def _write_histograms(self) -> None:
        for _ in self._recorder.histogram_slices():
            gevent.sleep(0)

    def _guarded(self, write: Callable[[], None]) -> None:
        """The run ends in order when it cannot be recorded; rows stay in memory and every later attempt writes them."""
        try:
            write()
        except OSError as error:
            self._trouble(f"cannot write the run folder: {error.strerror}; make room, or choose another with --runs")
        except Exception as error:  # whatever it is, what was recorded must reach the disk
            self._trouble(f"cannot record the run: {type(error).__name__}: {error}")

    def _trouble(self, problem: str) -> None:
        if self.problem is None:
            self.problem = problem
            print(f"rtbench: {problem}", file=sys.stderr)
            self._stop(problem)

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

    def close(self) -> None:
        """The last rows and counts. Says so where the disk still takes no more."""
        if self.closed:
            return
        self.closed = True
        gevent.killall(self._greenlets)
        try:
            self._recorder.close()
        except Exception as error:  # as in _guarded; there is no later attempt
            rows = self._recorder.unwritten_rows
            self.problem = f"cannot write the run folder: {error}; {rows} rows are lost"
            print(f"rtbench: {self.problem}", file=sys.stderr)


def _warm_up() -> None:
    """Pay now for what would slow the first sessions: the resolver's thread, a garbage collector that walks it all."""
    gevent.socket.getaddrinfo("localhost", 0)
    gc.collect()
    gc.freeze()


class Cut(gevent.GreenletExit):  # type: ignore[misc]  # gevent is not typed
    """Thrown into a user whose session the end of the run cuts; the user itself lives on for Locust to stop."""


class TurnError(Exception):
    """A turn's outcome, as Locust's statistics show it."""
