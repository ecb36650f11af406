"""The session of a call to GPT-Live, whose audio is a track next to the data channel. Pure.

The offer starts the session, and `session.started` is its first event. The caller may not append
audio by events. With `idle_timeout_s` and `wake_policy` the session has standby, whose minutes are
those of silence: the service neither hears nor delegates then.
"""

import math
from collections.abc import Iterator

import numpy as np

from bench.base.units import NS_PER_MS
from bench.wire.audio import AudioFormat
from rtbench_simulator.server_events import Json, OutgoingEvent
from rtbench_simulator.services.gpt_live.behaviour import (
    APPEND,
    AUDIO_DELTA,
    EVENTS,
    START,
    GptLiveBehaviour,
)
from rtbench_simulator.services.webrtc.output_buffer import OutputBuffer
from rtbench_simulator.services.webrtc.session import TrackSession, audio_of
from rtbench_simulator.simulated_session import (
    EventReceipt,
    ReceiptFields,
    SessionParts,
    receipt_of,
)

CLIENT_EVENTS = {name: event for name, event in EVENTS.items() if name not in (START, APPEND)}
STANDBY = {"idle_timeout_s", "wake_policy"}
"""The settings of standby, which the service does not repeat."""
WAKE_MS = 300
"""The time from the caller's speech to the end of standby, in which the service does not hear its
words. An assumption."""
LOUD = 500
"""The amplitude of samples that are speech for a service in standby. An assumption."""
LEAD_NS = 40 * NS_PER_MS
"""The time for which speech waits in the output buffer. The caller's audio, by whose clock it is
due, may be late."""


class LiveCallSession(GptLiveBehaviour, TrackSession):
    """The session of one call, with settings that its offer had. `buffer` receives its audio."""

    def __init__(
        self, parts: SessionParts, settings: Json, audio: AudioFormat, buffer: OutputBuffer
    ) -> None:
        super().__init__(parts, audio)
        self.events = CLIENT_EVENTS
        self._settings = settings
        self._buffer = buffer
        self._utterance = ""
        has_standby = settings.keys() >= STANDBY
        self._idle_ms = settings["idle_timeout_s"] * 1_000 if has_standby else math.inf
        self._active_ms = 0.0  # the end of the last activity, on the audio clock
        self._wakes_ms: float | None = None  # None if the session listens

    def append(self, event: Json, at_ns: int) -> ReceiptFields:
        assert self._input
        begin_ms, audio = self._audio.clock_ms, event["audio"]
        if self._wakes_ms is not None:
            samples = self._input.format.decode(audio)
            if (
                self._wakes_ms == math.inf
                and np.abs(samples.astype(np.int32)).max(initial=0) > LOUD
            ):
                self._wakes_ms = begin_ms + WAKE_MS
            audio = self._input.format.encode(np.zeros_like(samples))
        fields = super().append({"audio": audio}, at_ns)
        now_ms = self._audio.clock_ms
        if self._wakes_ms is not None:
            self._stream.paused_ms = (self._stream.paused_ms or 0) + now_ms - begin_ms
            if now_ms >= self._wakes_ms:
                self._wakes_ms, self._active_ms = None, now_ms
                self._send("session.resumed", {}, at_ns)
        elif self._turn or self._stream.caller_speaks or not self._stream.is_empty:
            self._active_ms = now_ms
        elif now_ms - self._active_ms >= self._idle_ms:
            self._wakes_ms = math.inf
            self._send("session.paused", {}, at_ns)
        return fields

    def open(self, at_ns: int) -> None:
        session = {name: each for name, each in self._settings.items() if name not in STANDBY}
        self.start({"session": session}, at_ns)

    def hear(self, audio: bytes, at_ns: int) -> EventReceipt:
        return receipt_of("audio", {} if self._is_closing else self.append({"audio": audio}, at_ns))

    # The stream of GPT-Live never stops, so the end of an utterance is known when the next one
    # begins.
    def due(self, now_ns: int) -> Iterator[OutgoingEvent]:
        for event in super().due(now_ns):
            if event.type != AUDIO_DELTA:
                yield event
            elif event.utterance is not None:  # otherwise it is silence, which the buffer has
                self._speak(str(event.utterance), event)

    def _speak(self, utterance: str, event: OutgoingEvent) -> None:
        if utterance != self._utterance:
            self._buffer.finish(self._utterance)
            self._utterance = utterance
        self._buffer.add(utterance, audio_of(event), event.due_ns + LEAD_NS)
