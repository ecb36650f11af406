"""One test run in one process: its target, its scripts, its recorder, and the sessions that its users play.

Made when Locust starts a test and closed when it stops one; a master makes the run's folder and closes the run, a
worker plays and records, a single process does both.
"""

from __future__ import annotations

import gc
import ssl
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gevent
import gevent.socket

from bench.clock import monotonic_ns, utc_ns
from bench.errors import ConnectError
from bench.load.pacer import Pacer
from bench.measures import outcome_class
from bench.observe.observation import SessionObservation, TurnObservation
from bench.observe.timeline import Timeline
from bench.plan.frames import PreparedScript
from bench.run.recorder import Labels, Recorder, SessionRecord
from bench.session import Session
from bench.target.endpoint import Target
from bench.transport.tcp import Phases, tls_context
from bench.transport.websocket import open_websocket

BEAT_S = 0.01
TICK_S = 0.5
HISTOGRAMS_EVERY_S = 8.0
DRAIN_SPARE_S = 5.0
SECOND_NS = 1_000_000_000
POLL_S = 0.05
HOPELESS = 10
"""So many connects that failed, and none that succeeded, end a run."""

Fire = Callable[..., None]


@dataclass(frozen=True)
class Play:
    """What the users of one class play."""

    scenario: str
    script: PreparedScript


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
        self._recorder = Recorder(folder, folder.name, worker, began_utc_ns)
        self._context: ssl.SSLContext | None = (
            tls_context(str(target.ca) if target.ca else None) if target.tls else None
        )
        self._pacer = Pacer(per_minute)
        self._left, self._fire, self._stop = sessions, fire, stop
        self.ending = self.closed = False
        self._started = self._connected = self._failed = 0
        self._active: dict[gevent.Greenlet, Timeline] = {}
        self.problem: str | None = None
        _warm_up()
        self._greenlets = [gevent.spawn(self._beat), gevent.spawn(self._tick)]

    # Sessions.

    def play_session(self, play: Play) -> None:
        """Open one session, play it, record it. Does nothing once the run is ending or its sessions are spent."""
        if not self._take_session() or not self._await_start():
            return
        self._started += 1
        labels = Labels(f"w{self._worker}-{self._started:06d}", self.target.label, play.scenario, play.script.name)
        record = self._recorder.session(labels)
        record.on_turn = lambda turn: self._fire_turn(play, turn)
        timeline = Timeline(monotonic_ns(), len(play.script.turns), play.script.limits)
        self._active[gevent.getcurrent()] = timeline
        try:
            self._connect_and_play(play, timeline, record)
        except Cut:
            pass
        finally:
            del self._active[gevent.getcurrent()]
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

    def _connect_and_play(self, play: Play, timeline: Timeline, record: SessionRecord) -> None:
        phases = Phases()
        try:
            transport = open_websocket(self.target.url, self._headers, self._context, play.script.limits, phases)
        except ConnectError as error:
            record.connected(error.headers)
            timeline.connected(phases.instants, error.headers)
            timeline.fail(error.outcome, monotonic_ns(), error.detail)
            return
        except gevent.GreenletExit:
            timeline.connected(phases.instants, {})
            timeline.fail("abandoned", monotonic_ns(), "the run ended")
            raise
        record.connected(transport.handshake.headers)
        timeline.connected(transport.handshake.instants, transport.handshake.headers)
        session = Session(play.script, transport, timeline, record, lambda: self.ending)
        try:
            session.play()
        except BaseException:
            session.abandon()
            raise

    def _note_session(self, session: SessionObservation) -> None:
        opened = "session_updated" in session.instants
        self._connected += opened
        failed = not opened and outcome_class(session.outcome) == "failed"
        self._failed += failed
        self._fire_connect(session, failed=failed)
        if failed and self._failed == HOPELESS and not self._connected:
            self._stop(
                f"{HOPELESS} sessions failed to open and none succeeded; the last: {session.outcome}: {session.detail}"
            )
        elif self._left == 0 and not self._active:
            self._stop("all sessions are done")

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
            exception=None if kind == "good" else TurnError(f"{turn.outcome}"),
            context={},
        )

    def _fire_connect(self, session: SessionObservation, *, failed: bool) -> None:
        waited_ns = session.measures_ns().get("connect_total")
        if waited_ns is None and not failed:
            return
        ended_ns = session.instants.get("ended", session.start_ns)
        self._fire(
            request_type="connect",
            name=self.target.label,
            response_time=(ended_ns - session.start_ns if waited_ns is None else waited_ns) / 1e6,
            response_length=0,
            exception=ConnectError(session.outcome, session.detail) if failed else None,
            context={},
        )

    # Health and the disk.

    def _beat(self) -> None:
        """A 10 ms timer that says how late it ran."""
        while True:
            due_ns = monotonic_ns() + int(BEAT_S * 1e9)
            gevent.sleep(BEAT_S)
            self._recorder.hub_delay(monotonic_ns() - due_ns)

    def _tick(self) -> None:
        """Rows to disk within a second, histograms within ten, a slice at a time."""
        ticks, tick_ns = 0, int(TICK_S * 1e9)
        second = utc_ns() // SECOND_NS
        while True:
            gevent.sleep((tick_ns - utc_ns() % tick_ns) / 1e9)
            ticks += 1
            if utc_ns() // SECOND_NS > second:
                second = utc_ns() // SECOND_NS
                self._recorder.end_second()
            try:
                self._recorder.flush()
                if ticks % int(HISTOGRAMS_EVERY_S / TICK_S) == 0:
                    for _ in self._recorder.histogram_slices():
                        gevent.sleep(0)
            except OSError as error:
                self._disk_problem(error)

    def _disk_problem(self, error: OSError) -> None:
        """The run ends in order; rows stay in memory and every later attempt writes them."""
        if self.problem is None:
            self.problem = f"cannot write the run folder: {error.strerror}; make room, or choose another with --runs"
            print(f"rtbench: {self.problem}", file=sys.stderr)
            self._stop(self.problem)

    # The end.

    @property
    def active(self) -> int:
        return len(self._active)

    @property
    def longest_turn_s(self) -> float:
        """How long what is in flight may take at most by its own limits."""
        limits = [timeline.limits for timeline in self._active.values()]
        return max((limit.first_delta + limit.done for limit in limits), default=0.0) + DRAIN_SPARE_S

    def drain(self, hurry: Callable[[], bool]) -> None:
        """No new turns; wait for those in flight, each to its own limit, then abandon the rest."""
        self.ending = True
        until_ns = monotonic_ns() + int(self.longest_turn_s * 1e9)
        while self._active and not hurry() and monotonic_ns() < until_ns:
            gevent.sleep(POLL_S)
        for user in list(self._active):
            gevent.kill(user, Cut)
        while self._active:
            gevent.sleep(POLL_S)

    def close(self) -> None:
        """The last rows and counts. Says so where the disk still takes no more."""
        if self.closed:
            return
        self.closed = True
        gevent.killall(self._greenlets)
        try:
            self._recorder.close()
        except OSError as error:
            rows = self._recorder.unwritten_rows
            self.problem = f"cannot write the run folder: {error.strerror}; {rows} rows are lost"
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


def target_facts(target: Target) -> dict[str, Any]:
    """What run.json says of a target: nothing secret."""
    return {
        "label": target.label,
        "url": target.public_url,
        "dialect": target.dialect.value,
        "service": target.service,
        "loopback": target.loopback,
    }


def script_facts(plays: Mapping[str, Play]) -> list[dict[str, Any]]:
    """What run.json says of the scripts."""
    return [
        {
            "name": play.script.name,
            "scenario": play.scenario,
            "digest": play.script.digest,
            "dialect": play.script.dialect.value,
            "turns": len(play.script.turns),
            "chunk_ms": min((t.chunk_ns // 1_000_000 for t in play.script.turns if t.chunk_ns), default=None),
            "output": "audio" if any(turn.wants_audio for turn in play.script.turns) else "text",
            "limits": asdict(play.script.limits),
        }
        for play in plays.values()
    ]
