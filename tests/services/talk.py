"""Sessions with a service in memory, for tests of dialects: scripts, and how a session ends,
also in its replay.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bench.base.units import NEVER_NS
from bench.files.yaml_file import PythonValue
from bench.observe.inputs import SessionStart
from bench.observe.observation import SessionObservation, TurnObservation
from bench.plan.compiled_script import CompiledScript
from bench.plan.functions import ScriptFunction
from bench.plan.recordings import Pcm, SpeechSpan
from bench.plan.script_keys import SESSION
from bench.plan.steps import InterruptSettings, InterruptStep
from bench.plan.turn_plan import InterruptTrigger
from bench.plan.turns import AudioTurn, Step
from bench.record.event_log import EventLog, LoggedTimeline, LoggedTransport, about
from bench.record.recorder import RowContext
from bench.record.replay import replay_log
from bench.session.session import Session
from bench.wire.dialect import AwaitedEvent, ClientMessage
from bench.wire.settings import FunctionTool, SessionSettings
from tests.helpers import MS, Listening, loud_pcm, say
from tests.memory_transport import MemoryTransport, PeerAnswer

LOUD_PCM = loud_pcm(4_800)
"""100 ms of audio of a service, which is audible from its first sample, at 24 kHz."""
LOUD = base64.b64encode(LOUD_PCM).decode()
SPEECH = np.where(np.arange(24 * 200) // 200 % 2, 3_000, -3_000).astype("<i2").tobytes()
"""200 ms of a caller's speech, at 24 kHz."""
Peer = Callable[[bytes], Iterable[PeerAnswer]]


def settings_of(**given: Any) -> SessionSettings:
    """Read the value of `session` in a script."""
    return SESSION.read(PythonValue("session", given))


def body(message: ClientMessage | AwaitedEvent) -> Any:
    assert isinstance(message, ClientMessage)
    return msgspec.json.decode(message.data)


def speak() -> AudioTurn:
    return AudioTurn((Pcm(Path("a.wav"), "speech", SPEECH, SpeechSpan(0, 24 * 200)),), name="speak")


def parcels() -> ScriptFunction:
    return ScriptFunction(FunctionTool(name="find_parcel"), [{"state": "on its way"}], None, 0.0)


def interrupted_by_speech(after_ms: int) -> tuple[Step, ...]:
    spoken = speak()
    cue = InterruptTrigger(after_ms * MS)
    return say(), InterruptStep(
        interrupt=InterruptSettings(audio=spoken.audio, cue=cue), name="barge_in"
    )


class _Line(msgspec.Struct):
    action: str = ""
    wire_bytes: int = 0


class Talk:
    """A session that has run to its end over a transport without a network, and its replay."""

    def __init__(
        self,
        folder: Path,
        script: CompiledScript,
        peer: Peer,
        greeting: Iterable[PeerAnswer] = (),
        *,
        ends_ms: float | None = None,
        transport: type[MemoryTransport] = MemoryTransport,
    ) -> None:
        prepared, listening = script.prepare_session(0, 0), Listening()
        self.transport = transport(peer, greeting)
        path = folder / "log.jsonl"
        log = EventLog(path, hide=str, record_audio=False)
        facts = about("run", RowContext("s", "here", "talk", prepared.name), prepared)
        start = SessionStart(
            self.transport.now_ns(),
            len(prepared.turns),
            prepared.limits,
            service_responds=prepared.service_responds,
        )
        timeline = LoggedTimeline(start, script.dialect, log=log, about=facts)
        ends_ns = start.start_ns + round(ends_ms * MS) if ends_ms is not None else NEVER_NS
        logged = LoggedTransport(self.transport, log)
        Session(
            prepared, logged, timeline, listening, lambda: self.transport.now_ns() > ends_ns
        ).run()
        log.close()
        self.session: SessionObservation = timeline.session()
        self.turns: list[TurnObservation] = listening.turns
        again = replay_log(path)
        assert (again.session, list(again.turns)) == (self.session, self.turns)
        assert LOUD not in path.read_text()
        lines = [msgspec.json.decode(line, type=_Line) for line in path.read_bytes().splitlines()]
        received = sum(line.wire_bytes for line in lines if line.action == "received")
        assert received == self.session.wire_bytes_received
