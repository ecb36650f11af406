"""Event logs of conversations."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.observe.inputs import SessionStart
from bench.observe.observation import TurnObservation
from bench.plan.prepared import PreparedScript
from bench.record.event_log import EventLog, LoggedTimeline, LoggedTransport, about
from bench.record.recorder import RowContext
from bench.session.session import Session
from bench.wire.dialect import BinaryMessage
from tests.helpers import (
    MS,
    GuardedTransport,
    Listening,
    Service,
)
from tests.memory_transport import PeerAnswer, TransmitDelays

LABELS = RowContext("w0-000001", "simulator", "voice", "dialogue")


class BinaryTransport(GuardedTransport):
    """A transport whose peer sends its texts in binary frames."""

    def schedule(self, answers: Iterable[PeerAnswer]) -> None:
        super().schedule(
            (at, BinaryMessage(each) if isinstance(each, bytes) else each) for at, each in answers
        )


def logged(
    path: Path, script: PreparedScript, *, record_audio: bool = False, is_binary: bool = False
) -> tuple[list[TurnObservation], Any]:
    """Run a session over a transport without a network, and write its log.

    Return the observations of its turns, and the observation of the session.
    """
    transport, listening = (
        (BinaryTransport if is_binary else GuardedTransport)(Service(script.dialect)),
        Listening(),
    )
    transport.transmit = TransmitDelays(2_000, 20 * MS)
    log = EventLog(path, hide=str, record_audio=record_audio)
    start_ns, facts = transport.now_ns(), about("run", LABELS, script)
    timeline = LoggedTimeline(
        SessionStart(start_ns, len(script.turns), script.limits, intended_ns=start_ns - 3 * MS),
        script.dialect,
        log=log,
        about=facts,
    )
    Session(script, LoggedTransport(transport, log), timeline, listening, lambda: False).run()
    log.close()
    return listening.turns, timeline.session()
