"""The session of one call: the behaviour of OpenAI's GA, whose audio is a track next to the data
channel. Pure.

Audio deltas are not sent as events. Their audio goes into the output buffer, and the events
`output_audio_buffer.*` report when the audio of a response begins and ends. The caller may not
append audio by events.
"""

import base64
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

import msgspec

from bench.wire.audio import AudioFormatName
from rtbench_simulator.behaviour import EVENTS, Behaviour
from rtbench_simulator.server_events import GA, OutgoingEvent, event_bytes
from rtbench_simulator.services.openai import OPENAI_GA
from rtbench_simulator.services.webrtc.output_buffer import OutputBuffer, OutputFrame
from rtbench_simulator.simulated_session import EventReceipt, SessionParts, SimulatedSession

CLIENT_EVENTS = {
    name: event for name, event in EVENTS.items() if name != "input_audio_buffer.append"
}
DIALECT = replace(OPENAI_GA, name="openai-ga-webrtc", events=CLIENT_EVENTS)
AUDIO_DELTA = f"{GA.audio}.delta"
DONE = "response.done"
SPEECH_STARTED = "input_audio_buffer.speech_started"


class _Delta(msgspec.Struct):
    delta: str


_decode_delta = msgspec.json.Decoder(_Delta).decode


def audio_of(event: OutgoingEvent) -> bytes:
    """Return the audio of a delta."""
    return base64.b64decode(_decode_delta(event.body).delta)


class TrackSession(SimulatedSession):
    """The session of a call, whose audio is a track next to its events."""

    @abstractmethod
    def hear(self, audio: bytes, at_ns: int) -> EventReceipt:
        """Accept a piece of the caller's audio."""

    def report(self, frame: OutputFrame) -> None:
        """Plan the events about a frame that is sent, if there are any."""


# The behaviour does not know of the track. This class takes its audio deltas out of the events,
# puts them into the buffer, and adds the events about the buffer in the order of their instants.
class CallSession(Behaviour, TrackSession):
    """The session of one call, with audio in a format. `buffer` receives its audio."""

    def __init__(
        self, model: str, parts: SessionParts, audio: AudioFormatName, buffer: OutputBuffer
    ) -> None:
        super().__init__(
            replace(DIALECT, formats=tuple(dict.fromkeys((audio, "pcm16")))), model, parts
        )
        self._buffer = buffer
        self._reports: deque[OutgoingEvent] = deque()
        """The events about the output buffer that were not sent yet, in their order."""

    def report(self, frame: OutputFrame) -> None:
        for end, response_ids in (("started", frame.started), ("stopped", frame.stopped)):
            self._report(end, response_ids, frame.due_ns)

    def _report(self, end: str, response_ids: tuple[str, ...], due_ns: int) -> None:
        for response_id in response_ids:
            name = f"output_audio_buffer.{end}"
            body = event_bytes(name, self.ids.event(), {"response_id": response_id})
            self._reports.append(OutgoingEvent(due_ns, name, body, response_id))

    def next_due_ns(self) -> int | None:
        planned = [
            *([self._reports[0].due_ns] if self._reports else []),
            super().next_due_ns(),
        ]
        return min((due_ns for due_ns in planned if due_ns is not None), default=None)

    def due(self, now_ns: int) -> Iterator[OutgoingEvent]:
        for event in super().due(now_ns):
            yield from self._due_reports(event.due_ns)
            if event.type == AUDIO_DELTA:
                self._buffer.add(event.response_id or "", audio_of(event), event.due_ns)
                continue
            yield event
            if event.type == DONE:
                self._buffer.finish(event.response_id or "")
            elif event.type == SPEECH_STARTED and self._interrupts:
                self._report("cleared", self._buffer.clear(), event.due_ns)
        yield from self._due_reports(now_ns)

    @property
    def _interrupts(self) -> bool:
        detection = self.session.input.detection
        return detection is not None and detection.interrupt_response

    def _due_reports(self, until_ns: int) -> Iterator[OutgoingEvent]:
        while self._reports and self._reports[0].due_ns <= until_ns:
            yield self._reports.popleft()
