"""Spoken calls with any simulated service, on a virtual clock: no socket, and no waiting.

A caller sends speech and silence at the pace of a microphone. The times of a call are in ms from
its start.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from typing import Any

import msgspec

from bench.wire.audio import ALL_FORMATS, AudioFormatName
from rtbench_simulator.behaviour import Behaviour
from rtbench_simulator.profile import Profile
from rtbench_simulator.recorded_replies import RecordedReply, load_replies
from rtbench_simulator.server_events import OutgoingEvent
from rtbench_simulator.services.agents import AgentBehaviour, PcmWire, TelephoneWire
from rtbench_simulator.services.azure import AZURE_GA
from rtbench_simulator.services.deepgram import DeepgramBehaviour
from rtbench_simulator.services.gemini.behaviour import GeminiBehaviour
from rtbench_simulator.services.gpt_live.behaviour import GptLiveBehaviour
from rtbench_simulator.simulated_session import EventReceipt, SessionParts, SimulatedSession
from rtbench_simulator.turn_taking import TurnDecision
from tests.simulator.builders import AT_NS, MS, hearing, session_parts, sound

CHUNK_MS = 100
SILENCE_MS = 500
"""The silence that ends a turn, at every service."""
DETECTION = {"type": "server_vad", "silence_duration_ms": SILENCE_MS}


def _encoded(audio: bytes) -> str:
    return base64.b64encode(audio).decode()


@dataclass(frozen=True)
class SpokenService:
    """How a caller opens a session and sends audio.

    `stop_event`: the event by which the caller's player stops; empty if the service itself stops
    its audio. `format` and `output`: the formats of the caller's and of the service's audio.
    """

    build: Callable[[SessionParts], SimulatedSession]
    append: Callable[[Any, bytes, int], EventReceipt]
    setup: Mapping[str, Any] | None = None
    stop_event: str = ""
    format: AudioFormatName = "pcm16"
    output: AudioFormatName = "pcm16"


SERVICES = {
    "realtime": SpokenService(
        lambda parts: Behaviour(AZURE_GA, "gpt-realtime", parts),
        lambda session, audio, at_ns: session.receive(
            {"type": "input_audio_buffer.append", "audio": _encoded(audio)}, at_ns
        ),
        hearing(AZURE_GA, DETECTION),
        "input_audio_buffer.speech_started",
    ),
    "agent": SpokenService(
        lambda parts: AgentBehaviour(PcmWire("pcm16@16000"), parts),
        lambda session, audio, at_ns: session.receive_binary(audio, at_ns),
        format="pcm16@16000",
        output="pcm16@16000",
    ),
    "telephone": SpokenService(
        lambda parts: AgentBehaviour(TelephoneWire("g711_ulaw"), parts),
        lambda session, audio, at_ns: session.receive_binary(audio, at_ns),
        format="g711_ulaw",
        output="g711_ulaw",
    ),
    "gemini": SpokenService(
        lambda parts: GeminiBehaviour(parts),
        lambda session, audio, at_ns: session.receive(
            {
                "realtimeInput": {
                    "audio": {"data": _encoded(audio), "mimeType": "audio/pcm;rate=16000"}
                }
            },
            at_ns,
        ),
        {
            "setup": {
                "model": "models/gemini-live",
                "realtimeInputConfig": {
                    "automaticActivityDetection": {"silenceDurationMs": SILENCE_MS}
                },
            }
        },
        "interrupted",
        "pcm16@16000",
    ),
    "deepgram": SpokenService(
        lambda parts: DeepgramBehaviour(parts),
        lambda session, audio, at_ns: session.receive_binary(audio, at_ns),
        {
            "type": "Settings",
            "audio": {},
            "agent": {"think": {"provider": {"type": "open_ai", "model": "gpt-4o-mini"}}},
        },
        "UserStartedSpeaking",
    ),
    "gpt_live": SpokenService(
        lambda parts: GptLiveBehaviour(parts),
        lambda session, audio, at_ns: session.receive(
            {"type": "session.input_audio.append", "audio": _encoded(audio)}, at_ns
        ),
        {"type": "session.start", "session": {"model": "gpt-live-1"}},
    ),
}


@cache
def recordings() -> tuple[RecordedReply, ...]:
    return load_replies()


@cache
def _chunks(parts_ms: tuple[int, ...], name: AudioFormatName, chunk_ms: int) -> tuple[bytes, ...]:
    audio, size = sound(*parts_ms, name=name), ALL_FORMATS[name].bytes_per_s * chunk_ms // 1000
    return tuple(audio[begin : begin + size] for begin in range(0, len(audio), size))


@dataclass
class SpokenCall:
    """One call. `decisions`: the decisions of the service, in order. `sent`: everything that the
    service has sent.
    """

    service: SpokenService
    profile: Profile
    seed: int = 1
    sent: list[OutgoingEvent] = field(default_factory=list)
    decisions: list[TurnDecision] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = self.service.build(session_parts(self.profile, recordings(), seed=self.seed))
        self.now_ns = AT_NS
        self.session.open(AT_NS)
        if self.service.setup is not None:
            self.pass_ms(CHUNK_MS)
            self.session.receive_text(msgspec.json.encode(self.service.setup), self.now_ns)
        self.pass_ms(CHUNK_MS)

    @property
    def now_ms(self) -> float:
        return (self.now_ns - AT_NS) / MS

    def pass_ms(self, duration_ms: float) -> None:
        until_ns = self.now_ns + round(duration_ms * MS)
        while (due_ns := self.session.next_due_ns()) is not None and due_ns <= until_ns:
            self.now_ns = max(self.now_ns, due_ns)
            self.sent += self.session.due(self.now_ns)
        self.now_ns = until_ns

    def speak(self, *parts_ms: int, chunk_ms: int = CHUNK_MS) -> None:
        """Send speech and silence, alternating. The durations are multiples of `chunk_ms`."""
        for chunk in _chunks(parts_ms, self.service.format, chunk_ms):
            self.pass_ms(chunk_ms)
            self.decisions += self.service.append(self.session, chunk, self.now_ns).decisions or ()
            self.pass_ms(0)

    def listen(self, duration_ms: int, chunk_ms: int = CHUNK_MS) -> None:
        """Send silence."""
        self.speak(0, duration_ms, chunk_ms=chunk_ms)

    @property
    def audio(self) -> list[OutgoingEvent]:
        return [event for event in self.sent if event.audio_bytes]

    def first_audible_ms(self, from_ms: float) -> float | None:
        """Return when the first audible sample is played that was sent after `from_ms`; None if
        there is none.
        """
        later = [event for event in self.audio if self._at_ms(event) > from_ms]
        bytes_per_ms = self._bytes_per_ms
        begins = [0, *accumulate(event.audio_bytes for event in later)]
        for event, begin in zip(later, begins, strict=False):
            if event.audible_byte is not None:
                return self._at_ms(later[0]) + (begin + event.audible_byte) / bytes_per_ms
        return None

    @property
    def _bytes_per_ms(self) -> float:
        return ALL_FORMATS[self.service.output].bytes_per_s / 1000

    def stopped_ms(self, from_ms: float, until_ms: float) -> float | None:
        """Return when the reply ends for its listener, because the caller has spoken; None if it
        does not.
        """
        if self.service.stop_event:
            stops = [
                self._at_ms(event) for event in self.sent if event.type == self.service.stop_event
            ]
            return next((at_ms for at_ms in stops if from_ms < at_ms < until_ms), None)
        streams = isinstance(self.session, GptLiveBehaviour)  # silence is audio, too
        spoken = [event for event in self.audio if event.utterance is not None or not streams]
        before = [event for event in spoken if self._at_ms(event) < until_ms]
        return (
            self._at_ms(before[-1]) + before[-1].audio_bytes / self._bytes_per_ms
            if before
            else None
        )

    def _at_ms(self, event: OutgoingEvent) -> float:
        return (event.due_ns - AT_NS) / MS
