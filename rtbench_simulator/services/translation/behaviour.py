"""The simulated Realtime translation: OpenAI's `/v1/realtime/translations`, and Azure's path. Pure.

The forms are those of openai-python 3.57 (`types/realtime/realtime_translation_*`). The service
reads frames of 200 ms, and sends as much audio for each: silence, or a part of a translation. Thus
the output is due on the clock of the input audio.

The speech is translated in segments. A segment ends with a pause of `SILENCE_MS`, or after
`SEGMENT_MS` without one, so that the translation of a long speech overlaps it. Its translation is a
recorded reply, at most as long as the segment. It begins one delay (`first_audio`) after the end of
the segment, or after the translation before it. The ground-truth log has the end of the segment
(`speech_at_byte`) in the first delta of its translation.
"""

# An interpreter is duplex too: input is its clock, and output never stops, as at GPT-Live. It has
# no replies to the caller's turns. A segment is closed by a pause or by its length, and its
# translation is an utterance of the output stream, where utterances never overlap, so a long one
# delays the next.
#
# `session.close` sends the queue at once, because no further audio will make time pass.

from functools import partial

import msgspec

from bench.base.units import NS_PER_MS
from bench.files.validation import OrNull
from bench.wire.audio import PCM16
from bench.wire.dialect import SIMULATOR_VALUE
from rtbench_simulator import refusals
from rtbench_simulator.conversation.client_items import AUDIO
from rtbench_simulator.conversation.input_audio import InputAudio, SpeechEdge
from rtbench_simulator.server_events import Json, OutgoingEvent, event_bytes
from rtbench_simulator.services.gpt_live.output_stream import (
    SLICE_MS,
    OutputSlice,
    OutputStream,
    Utterance,
    delta,
)
from rtbench_simulator.serving.service import (
    AcceptedUpgrade,
    SimulatedService,
    UpgradeRequest,
    websocket_urls,
)
from rtbench_simulator.session import checks
from rtbench_simulator.session.effective import InputSettings
from rtbench_simulator.session.session_schema import NOISE_KINDS
from rtbench_simulator.simulated_session import (
    DuplexSession,
    ReceiptFields,
    SessionParts,
    client_event,
)

APPEND = "session.input_audio_buffer.append"
AUDIO_DELTA = "session.output_audio.delta"
CLOSED = "session.closed"
NORMAL_CLOSURE = 1000
MS_PER_MIN = 60_000
FRAME_MS = 200
"""The audio that the engine reads at once (the SDK's text on appends)."""
SILENCE_MS = 500
SEGMENT_MS = 4_000
"""The pause that ends a segment, and the longest segment. The service has no such settings. Both
are assumptions."""
INPUT = InputSettings(PCM16)
PLACES = {
    APPEND: "input",
    "session.created": "session",
    "session.updated": "settings",
    "session.input_transcript.delta": "speech",
}
"""The place of faults that each event is."""
SETTINGS = checks.settings_of(
    {
        "audio": {
            "input": {
                "noise_reduction": OrNull(
                    checks.object_of({"type": NOISE_KINDS, "strength": checks.number(0, 1)}, "type")
                ),
                "transcription": OrNull(checks.object_of({"model": checks.short(512)}, "model")),
            },
            "output": {"language": checks.short(64)},
        }
    }
)


class TranslationBehaviour(DuplexSession):
    """One translation session."""

    fault_places = PLACES

    def __init__(self, model: str, parts: SessionParts) -> None:
        super().__init__(parts)
        self.session: Json = {
            "id": parts.ids.session,
            "type": "translation",
            "model": model,
            "expires_at": parts.expires_at_s,
            "audio": {
                "input": {"noise_reduction": None, "transcription": None},
                "output": {"language": None},
            },
            SIMULATOR_VALUE: True,
        }
        self._audio = InputAudio(parts.profile.vad.min_speech_ms)
        self._audio.silence_ms = SILENCE_MS
        self._stream = OutputStream(PCM16)
        self._from_ms = 0
        """The instant before which the last translation does not begin, on the audio clock."""
        self.events = EVENTS

    def open(self, at_ns: int) -> None:
        self._outbox.answer(
            at_ns,
            self._profile.delays.session_created,
            ("session.created", {"session": self.session}),
        )

    # Client events

    def _update(self, event: Json, at_ns: int) -> None:
        self.session = SETTINGS.merged(self.session, SETTINGS.read(event["session"]))
        self._outbox.answer(
            at_ns,
            self._profile.delays.session_updated,
            ("session.updated", {"session": self.session}),
        )

    def _append(self, event: Json, at_ns: int) -> ReceiptFields:
        start_byte = self._audio.end.byte
        # A long segment is ended as a cut-in ends speech: the rest is the next segment.
        self._audio.cut_in_ms = SEGMENT_MS
        for edge in self._audio.append(event["audio"], INPUT):
            if not edge.began:
                self._translate(edge, at_ns)
        while self._stream.end_ms + FRAME_MS <= self._audio.clock_ms:
            self._send_frame(at_ns)
        return {"from_byte": start_byte, "to_byte": self._audio.end.byte}

    def _close(self, event: Json, at_ns: int) -> None:
        """Send what remains of the translations at once, and close."""
        self._is_closing = True
        while not self._stream.is_empty:
            self._send_frame(at_ns)
        due_ns = max(at_ns, self._outbox.answered_ns)
        self._outbox.plan_step(due_ns, self._closed)

    # Translation

    def _translate(self, segment: SpeechEdge, at_ns: int) -> None:
        """Plan the translation of a segment, which has ended."""
        delay_ms = self._outbox.after(0, self._profile.delays.first_audio) / NS_PER_MS
        if self._profile.growth is not None:
            delay_ms *= self._profile.growth.factor(segment.end_ms / MS_PER_MIN)
        self._from_ms = max(self._from_ms, segment.end_ms + round(delay_ms))
        longest = max(1, (segment.end_ms - segment.begin_ms) // SLICE_MS)
        self._stream.say(
            "answer", self._next_reply(), self._from_ms, None, longest, speech_at_byte=segment.byte
        )
        if self.session["audio"]["input"]["transcription"] is not None:
            fields = {"delta": "(speech)", "elapsed_ms": self._stream.end_ms}
            self._send("session.input_transcript.delta", fields, at_ns)

    def _send_frame(self, at_ns: int) -> None:
        elapsed_ms = self._stream.end_ms
        for _ in range(FRAME_MS // SLICE_MS):
            piece, utterance = self._stream.next()
            if piece.words:
                fields = {"delta": piece.words, "elapsed_ms": elapsed_ms}
                self._send("session.output_transcript.delta", fields, at_ns)
            self._outbox.plan_step(at_ns, partial(self._delta, piece, utterance, elapsed_ms))

    def _delta(
        self, piece: OutputSlice, utterance: Utterance | None, elapsed_ms: int, due_ns: int
    ) -> OutgoingEvent:
        body = _delta_bytes(self.ids.event(), piece.encoded, elapsed_ms)
        return msgspec.structs.replace(delta(piece, utterance, due_ns), body=body)

    # Server events

    def _closed(self, due_ns: int) -> OutgoingEvent:
        usage = {"type": "duration", "input_seconds": self._audio.clock_ms / 1000}
        body = event_bytes(CLOSED, self.ids.event(), {"usage": usage})
        return OutgoingEvent(due_ns, CLOSED, body, close=(NORMAL_CLOSURE, ""))


def _delta_bytes(event_id: str, encoded: bytes, elapsed_ms: int) -> bytes:
    """Return a delta. `encoded` is its audio as a JSON string."""
    return b'{"type":"%s","event_id":"%s","delta":%s,"elapsed_ms":%d%s}' % (
        AUDIO_DELTA.encode(),
        event_id.encode(),
        encoded,
        elapsed_ms,
        b',"format":"pcm16","sample_rate":24000,"channels":1',
    )


EVENTS = {
    "session.update": client_event(TranslationBehaviour._update, "session", session=checks.LATER),
    APPEND: client_event(TranslationBehaviour._append, "audio", audio=AUDIO),
    "session.close": client_event(TranslationBehaviour._close),
}
PATH = "/v1/realtime/translations"
PATHS = (PATH, f"/openai{PATH}")


def _answer(request: UpgradeRequest) -> AcceptedUpgrade | None:
    if request.path not in PATHS:
        return None
    complaint = None if request.model else refusals.MISSING_MODEL
    return AcceptedUpgrade(TranslationBehaviour, request.model, complaint)


SERVICE = SimulatedService(
    _answer,
    websocket_urls(translation=f"{PATH}?model=gpt-realtime-translate"),
    "event",
    refusals.BAD_OPENAI_KEY,
    limits_headers=True,
    titles={"translation": "Realtime translation"},
)
