"""Sessions with a Gemini Live server in memory, for tests: its messages, scripts, and how a session ends."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bench.files.yaml_file import PythonValue
from bench.observe.inputs import SessionStart
from bench.observe.observation import SessionObservation, TurnObservation
from bench.plan.compiled_script import CompiledScript
from bench.plan.functions import ScriptFunction
from bench.plan.recordings import Pcm, SpeechSpan
from bench.plan.script import Script
from bench.plan.script_keys import SESSION
from bench.plan.steps import InterruptSettings, InterruptStep
from bench.plan.turn_plan import InterruptTrigger
from bench.plan.turns import AudioTurn, Step
from bench.record.event_log import EventLog, LoggedTimeline, LoggedTransport, about
from bench.record.recorder import RowContext
from bench.record.replay import replay_log
from bench.services.gemini.dialect import GEMINI
from bench.services.gemini.replies import SessionReader
from bench.session.session import Session
from bench.wire.dialect import AwaitedEvent, ClientMessage
from bench.wire.events import ServerEvent
from bench.wire.settings import FunctionTool, SessionSettings
from tests.helpers import MS, Listening, build_script, say
from tests.memory_transport import MemoryTransport, PeerAnswer

LOUD = base64.b64encode(b"\xff\x3f" * 2_400).decode()
"""100 ms of audio of the service, which is audible from its first sample."""
VAD: dict[str, Any] = {"turn_detection": "server_vad"}
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


def content(**fields: Any) -> bytes:
    return msgspec.json.encode({"serverContent": fields})


def sound(data: str = LOUD, mime_type: str = "audio/pcm;rate=24000") -> bytes:
    return content(modelTurn={"parts": [{"inlineData": {"mimeType": mime_type, "data": data}}]})


def said(text: str, **more: Any) -> bytes:
    return content(outputTranscription={"text": text, **more})


GENERATED, INTERRUPTED = content(generationComplete=True), content(interrupted=True)
USAGE = {
    "promptTokenCount": 30,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 10}, {"modality": "AUDIO", "tokenCount": 20}],
    "responseTokenCount": 25,
    "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 25}],
    "thoughtsTokenCount": 4,
}
OVER = msgspec.json.encode({"serverContent": {"turnComplete": True}, "usageMetadata": USAGE})
READY = msgspec.json.encode({"setupComplete": {"sessionId": "s-1"}})
CALL = {"id": "call-1", "name": "find_parcel", "args": {"number": "7"}}
TOOL_CALL = msgspec.json.encode({"toolCall": {"functionCalls": [CALL]}})
GO_AWAY = msgspec.json.encode({"goAway": {"timeLeft": "50s"}})
REPLY: Sequence[PeerAnswer] = (
    (300 * MS, sound()),
    (310 * MS, said("It is ")),
    (320 * MS, sound()),
    (330 * MS, said("on its way.")),
    (340 * MS, GENERATED),
    (900 * MS, OVER),
)


def google(*replies: Sequence[PeerAnswer]) -> Peer:
    """Return a service that accepts the set-up, and sends the next of these replies after each request."""
    left = list(replies)

    def answer(message: bytes) -> Iterable[PeerAnswer]:
        match msgspec.json.decode(message):
            case {"setup": _}:
                yield 30 * MS, READY
            case {"realtimeInput": {"text": _}} | {"realtimeInput": {"activityEnd": _}} | {"toolResponse": _}:
                yield from left.pop(0) if left else REPLY

    return answer


def compiled(*steps: Step, tools: tuple[ScriptFunction, ...] = (), **session: Any) -> CompiledScript:
    script = build_script(*steps)
    settings = msgspec.structs.replace(settings_of(**session), tools=tuple(function.tool for function in tools))
    talk = Script(
        name=script.name,
        path=Path("talk.yaml"),
        digest="d1",
        session=settings,
        timeouts=script.limits,
        steps=steps,
        tools=tools,
    )
    return CompiledScript(talk, GEMINI)


class Talk:
    """A session that has run to its end over a transport without a network, and its replay."""

    def __init__(self, folder: Path, script: CompiledScript, peer: Peer) -> None:
        prepared, self.transport, listening = script.prepare_session(0, 0), MemoryTransport(peer), Listening()
        path = folder / "log.jsonl"
        log = EventLog(path, hide=str, record_audio=False)
        facts = about("run", RowContext("s", "here", "talk", prepared.name), prepared)
        start = SessionStart(
            self.transport.now_ns(), len(prepared.turns), prepared.limits, service_responds=prepared.service_responds
        )
        timeline = LoggedTimeline(start, GEMINI, log=log, about=facts)
        Session(prepared, LoggedTransport(self.transport, log), timeline, listening, lambda: False).run()
        log.close()
        self.session: SessionObservation = timeline.session()
        self.turns: list[TurnObservation] = listening.turns
        again = replay_log(path)
        assert (again.session, list(again.turns)) == (self.session, self.turns)
        assert LOUD not in path.read_text()

    @property
    def outcomes(self) -> list[str]:
        return [turn.outcome for turn in self.turns]

    @property
    def sent(self) -> list[Any]:
        return [msgspec.json.decode(data) for _, data in self.transport.sent]

    def sent_keys(self) -> list[str]:
        """Return the name of each message, without the silence of an open microphone."""
        contents = [message.get("realtimeInput", message) for message in self.sent]
        silent = [
            not any(base64.b64decode(found["audio"]["data"])) if "audio" in found else False for found in contents
        ]
        return [next(iter(found)) for found, is_silent in zip(contents, silent, strict=True) if not is_silent]


def parcels() -> ScriptFunction:
    return ScriptFunction(FunctionTool(name="find_parcel"), [{"state": "on its way"}], None, 0.0)


def decoded(*messages: bytes) -> list[ServerEvent]:
    reader = SessionReader()
    return [event for message in messages for event in reader.decode(message)]


def interrupted_by_speech(after_ms: int) -> tuple[Step, ...]:
    spoken = speak()
    cue = InterruptTrigger(after_ms * MS)
    return say(), InterruptStep(interrupt=InterruptSettings(audio=spoken.audio, cue=cue), name="barge_in")
