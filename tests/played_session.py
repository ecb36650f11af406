"""Run one session on its real transport, without Locust. Record the session as a run does."""

from __future__ import annotations

import signal
from collections.abc import Container, Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from bench.base.clock import monotonic_ns, utc_ns
from bench.catalogue.timeouts import Timeouts
from bench.observe.inputs import SessionStart
from bench.observe.observation import SessionObservation, TurnObservation
from bench.observe.timeline import Timeline
from bench.plan.prepared import PreparedScript, PreparedTurn
from bench.record import folder as files
from bench.record.recorder import Recorder, RowContext, SessionRecorder
from bench.record.spool import Spool
from bench.session.dial import Dialer, connect
from bench.session.meetings import Meeting
from bench.session.session import Session
from bench.transport import websocket
from bench.wire.events import TokenUsage
from tests.simulator_process import GUARD_S

SHORT_S = 0.4
LONG = Timeouts(**dict.fromkeys(vars(Timeouts()), GUARD_S))
"""Timeouts that no correct session reaches. The default timeouts are too short for a handshake
on a busy machine."""


def short_at(stages: Container[str]) -> Timeouts:
    """Return timeouts that are short for these stages and long for all others."""
    return replace(LONG, **{name: SHORT_S for name in vars(Timeouts()) if name in stages})


def played(
    dialer: Dialer, script: PreparedScript, folder: Path
) -> tuple[SessionObservation, list[TurnObservation]]:
    """Run a session. Return the observation of the session and the observations of its turns.

    The rows of the session are written to the spool in `folder`.
    """
    (folder / "spool").mkdir(parents=True)
    recorder = Recorder(Spool(folder, 0), utc_ns())
    record = recorder.session(RowContext("s", dialer.target.label, "scenario", "script"))
    timeline = Timeline(
        SessionStart(
            monotonic_ns(),
            len(script.turns),
            script.limits,
            service_responds=script.service_responds,
        ),
        script.dialect,
        reply_format=script.output_format.name,
    )
    listener = Recorded(record, timeline)
    transport = connect(dialer, script, timeline, record.connected)
    if transport is not None:
        Session(script, transport, timeline, listener, lambda: False).run()
    session = timeline.session()
    record.session_ended(session)
    recorder.close()
    return session, listener.turns


class Recorded:
    """A listener that records a session and its turns.

    When the first turn has ended, it sets the timeouts to `LONG`.
    """

    def __init__(self, record: SessionRecorder, timeline: Timeline) -> None:
        self._record, self._timeline = record, timeline
        self.received, self.received_deltas = record.received, record.received_deltas
        self.sent, self.turn_started = record.sent, record.turn_started
        self.turns: list[TurnObservation] = []

    def turn_ended(self, turn: TurnObservation) -> None:
        self._record.turn_ended(turn)
        self._timeline.limits = LONG
        self.turns.append(turn)

    def usage_reported(self, usage: TokenUsage) -> None:
        pass

    def may_request(self) -> bool:
        return True

    def meet(self, turn: PreparedTurn, now_ns: int) -> Meeting:
        raise AssertionError("the scripts of these tests have no meetings")


@pytest.fixture
def hang_guard(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Raise TimeoutError in a test that hangs, even if its event loop is blocked.

    Shorten the waits at the end of a session too.
    """
    monkeypatch.setattr(websocket, "GOODBYE_NS", 50_000_000)
    monkeypatch.setattr(websocket, "BODY_NS", 100_000_000)

    def hangs(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"nothing has ended this for {GUARD_S} s")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(int(GUARD_S))
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def rows(folder: Path, table: files.TableName) -> list[dict[str, Any]]:
    """Return the rows of this table in the spool."""
    return [row for batch in files.spooled_batches(folder, table) for row in batch.to_pylist()]
