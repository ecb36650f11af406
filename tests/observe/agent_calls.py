"""Calls of agents whose audio is known: what the caller hears of their reply, in every dialect
without turn events.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.inputs import SessionStart, received_sound
from bench.observe.observation import TurnObservation
from bench.observe.timeline import Timeline
from bench.record.event_log import EventLog, LoggedTimeline
from bench.services.registry import DIALECTS
from bench.wire.audio import AudioFormat, AudioFormatName, Samples, resolve_format
from bench.wire.connection import ReceivedMessage
from bench.wire.dialect import BinaryMessage, Peer
from bench.wire.events import EventKind, ServerEvent
from tests.helpers import AT_NS, at, build_turn
from tools.benchmarks.onsets import FRAME_MS

CONNECTED_MS, JITTER_MS = 100, 50
NOT_LATE: Mapping[int, float] = MappingProxyType({})
FORMATS: dict[str, AudioFormatName] = {
    "pcm": "pcm16@8000",
    "acs": "pcm16@16000",
    "twilio": "g711_ulaw",
    "sip": "g711_ulaw",
    "webrtc": "pcm16",
    "gpt-live": "g711_ulaw",
    "gpt-live-webrtc": "pcm16",
}


class Heard(NamedTuple):
    """An instant at which the caller heard something, in ms after the playback of the first
    frame, and its error.
    """

    after_ms: float
    bound_ms: float


class Call:
    """A call that was connected at `CONNECTED_MS`. The caller waits for a greeting, or has spoken
    before the reply.

    `early` is the audio before the answer. Without a log, several frames are applied at a time.
    """

    def __init__(
        self,
        dialect: str = "pcm",
        *,
        early: Samples | None = None,
        log: EventLog | None = None,
        greeting: bool = True,
    ) -> None:
        self.dialect, self._is_logged = DIALECTS[dialect], log is not None
        self.audio: AudioFormat = resolve_format(self.dialect.output_formats, FORMATS[dialect])
        name = self.audio.name
        start = SessionStart(AT_NS, 2, Timeouts(), service_responds=True)
        if log is None:
            self.timeline = Timeline(start, self.dialect, reply_format=name)
        else:
            about = {"dialect": dialect, "input_format": name, "output_format": name}
            self.timeline = LoggedTimeline(start, self.dialect, log=log, about=about)
        is_service = self.dialect.peer is Peer.SERVICE
        audio = b"" if early is None else self.audio.encode(early)
        opened = {"opened": at(0 if is_service else CONNECTED_MS)}
        connected = inputs.Connected(opened, {}, early_audio=audio, early_end_ns=at(CONNECTED_MS))
        self.timeline.apply(connected)
        if is_service:
            started = ServerEvent(EventKind.SESSION_CREATED, "session.started")
            message = ReceivedMessage(b"", Arrival(at(CONNECTED_MS)), 0)
            self.timeline.apply(inputs.Received((started,), message))
        self._plan = build_turn(
            reply_format=name,
            speech_format=name,
            jitter_buffer_ns=JITTER_MS * NS_PER_MS,
            service_responds=True,
            greeting=greeting,
            vad=not greeting,
        )
        self.timeline.apply(inputs.TurnStarted(at(CONNECTED_MS), self._plan))
        if not greeting:
            said = {"speech_start": 0, "speech_end": 0}
            self.timeline.apply(
                inputs.Sent("audio", at(CONNECTED_MS), 9, audio_bytes=320, instants=said)
            )

    def hear(
        self,
        samples: Samples,
        after_ms: float,
        error_ms: float = 0,
        interrupted_after: int | None = None,
        late_ms: Mapping[int, float] = NOT_LATE,
    ) -> TurnObservation:
        """Return the turn after this audio. Its first frame arrives `after_ms` after the
        connection.

        The caller interrupts the reply after so many samples. `late_ms` states how late frames are.
        """
        self._first_ms = CONNECTED_MS + after_ms + JITTER_MS
        size = self.audio.rate_hz * FRAME_MS // 1_000
        waiting = list[inputs.AnyInput]()
        for number, place in enumerate(range(0, len(samples), size)):
            audio = self.audio.encode(samples[place : place + size])
            at_ms = CONNECTED_MS + after_ms + number * FRAME_MS + late_ms.get(number, 0)
            if interrupted_after is not None and place <= interrupted_after < place + size:
                self.timeline.apply(*waiting)
                waiting.clear()
                self._interrupt(at_ms)
            payload = msgspec.Raw(msgspec.json.encode(base64.b64encode(audio).decode()))
            event = ServerEvent(
                EventKind.AUDIO_DELTA, "audio", payload_bytes=len(audio), payload=payload
            )
            arrival = Arrival(at(at_ms), round(error_ms * NS_PER_MS))
            message = ReceivedMessage(BinaryMessage(audio), arrival, len(audio))
            sound = None if self._is_logged else received_sound((event,), message, arrival.at_ns)
            waiting.append(sound or inputs.Received((event,), message))
            if number % 3 == 0:
                self.timeline.apply(*waiting)
                waiting.clear()
        self.timeline.apply(*waiting)
        self.timeline.expire(at(60_000))
        return self.timeline.pop_turns(at(120_000))[0]

    def _interrupt(self, at_ms: float) -> None:
        self.timeline.apply(inputs.InterruptionAwaited("speech"))
        plan = replace(self._plan, number=2, event_prefix="turn-2-", vad=True, greeting=False)
        self.timeline.apply(inputs.TurnStarted(at(at_ms), plan))
        self.timeline.apply(
            inputs.Sent("audio", at(at_ms), 9, audio_bytes=320, instants={"speech_start": 0})
        )

    def heard(self, turn: TurnObservation, instant: str = "first_audible") -> Heard:
        after_ns = turn.instants[instant] - at(self._first_ms)
        return Heard(after_ns / NS_PER_MS, turn.uncertainties_ns[instant] / NS_PER_MS)
