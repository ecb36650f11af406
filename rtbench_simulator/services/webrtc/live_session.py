"""The session of a call to GPT-Live, whose audio is a track next to the data channel. Pure.

The offer starts the session, and `session.started` is its first event. The caller may not append
audio by events.
"""

from collections.abc import Iterator

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
from rtbench_simulator.simulated_session import EventReceipt, SessionParts, receipt_of

CLIENT_EVENTS = {name: event for name, event in EVENTS.items() if name not in (START, APPEND)}
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

    def open(self, at_ns: int) -> None:
        self.start({"session": self._settings}, at_ns)

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
