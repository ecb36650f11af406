"""The behaviour of one GPT-Live session, as far as the types of the official SDK (`openai.types.live`) define it. Pure.

The output is a stream that never stops: docs/simulator.md, "GPT-Live". The delay of a reply is counted on the clock of
the input audio. The ground-truth log contains the end of the caller's speech (`speech_at_byte` of
`session.input_transcript.delta`) and the first audible sample of each delta. Audio fixtures and appended context are
not simulated and are rejected. So a delegated task (`delegates`) is never completed, and its answer never follows.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from bench.protocol import gpt_live
from bench.protocol.audio import AudioFormat
from bench.protocol.base import SIMULATOR_VALUE
from bench.simulator.behaviour import ReceiptFields, SimulatedSession
from bench.simulator.conversation.client_items import audio_bytes
from bench.simulator.conversation.input_audio import InputAudio, SpeechEdge
from bench.simulator.profile import Profile, is_drawn
from bench.simulator.recorded_replies import RecordedReply, audible_byte, reply_samples
from bench.simulator.server_events import Ids, Json, Outbox, OutgoingEvent, RejectedError
from bench.simulator.session import checks
from bench.simulator.session.checks import EventPath
from bench.simulator.session.effective import EffectiveTurnDetection, InputSettings
from bench.units import NS_PER_MS

TICK_MS = 100
USAGE_MS = 10_000
DELEGATED_SLICES = 8
"""The number of slices of a reply that are sent if the answer is a delegated task."""
SILENCE_MS = 500
"""The silence that ends the caller's speech. The service has no such setting and does not report it."""
FORMATS = {tuple(gpt_live.wire_format(format).values()): format for format in gpt_live.GPT_LIVE.input_formats.values()}
CONFIG = frozenset(
    {"model", "instructions", "audio", "delegation", "input", "client", "safety_identifier", "store", "triggers"}
)


class OutputSlice(NamedTuple):
    """100 ms of output that is ready to send. `audible` is the offset of its first audible sample."""

    encoded: bytes
    size: int
    audible: int | None
    words: str


class GptLiveBehaviour(SimulatedSession):
    """One GPT-Live session. The arguments are those of `Behaviour`."""

    def __init__(
        self, model: str, expires_at_s: int, profile: Profile, replies: Sequence[RecordedReply],
        rng: np.random.Generator, ids: Ids,
    ) -> None:  # fmt: skip
        self.ids = ids
        self.session: Json = {}
        self._expires_at_s, self._profile = expires_at_s, profile
        self._replies, self._rng = replies, rng
        self._outbox = Outbox(ids, rng, obfuscated=False)
        self._audio = InputAudio()
        self._audio.silence_ms = SILENCE_MS
        self._speech_detected: InputSettings | None = None
        self._ticks = 0  # number of planned deltas
        self._reply: list[OutputSlice] = []
        self._reply_tick = 0  # number of the reply's first delta
        self._delegates = False  # True if a task is delegated when the reply starts
        self._reply_count = 0

    def open(self, at_ns: int) -> None:
        """Do nothing: the client sends session.start first."""

    def end(self) -> None:
        for component in (self._outbox, self):
            vars(component).clear()

    # Client events

    def _handle(self, event: Json, at_ns: int) -> ReceiptFields:
        match event.get("type"):
            case gpt_live.START:
                self._start(event, at_ns)
            case gpt_live.APPEND:
                if self._speech_detected is None:
                    raise RejectedError("session_not_started", "Send session.start first.", "type")
                audio, start_byte = audio_bytes(event.get("audio"), EventPath("audio")), self._audio.end.byte
                for speech in self._audio.append(audio, self._speech_detected):
                    self._on_speech(speech, at_ns)
                while (self._ticks + 1) * TICK_MS <= self._audio.clock_ms:
                    self._tick(at_ns, self._speech_detected.format)
                return {"from_byte": start_byte, "to_byte": self._audio.end.byte}
            case "session.close" if self._speech_detected:
                fields = {"reason": "close_requested", "session": self.session, "usage": self._usage}
                self._answer(gpt_live.CLOSED, fields, at_ns)
            case "session.input_audio.mute" | "session.input_audio.unmute" as name if self._speech_detected:
                self._answer(f"{name}d", {"client_event_id": event.get("event_id")}, at_ns)
            case name:
                raise RejectedError("invalid_value", f"Unknown or unexpected event: {name!r}.", "type")
        return {}

    def _start(self, event: Json, at_ns: int) -> None:
        session = event.get("session")
        if self._speech_detected or not isinstance(session, dict):
            raise RejectedError("invalid_value", "The session has started, or `session` is no object.", "session")
        if others := sorted(session.keys() - CONFIG):
            checks.unknown(None, EventPath("session").key(others[0]))
        model = session.get("model")
        if not isinstance(model, str) or not model:
            raise checks.missing(EventPath("session.model"))
        audio = session.get("audio") or {}
        output, format = _audio_of(audio) if isinstance(audio, dict) else ({}, None)
        if format is None:
            raise RejectedError("invalid_value", "Invalid value of session.audio.format.", "session.audio.format")
        detection = EffectiveTurnDetection("server_vad", silence_duration_ms=SILENCE_MS)
        self._speech_detected = InputSettings(format, detection, None)
        self.session = {"delegation": None, "input": [], "store": False, **session} | {
            "id": self.ids.session, "expires_at": self._expires_at_s, "status": "active", SIMULATOR_VALUE: True,
            "audio": {"format": gpt_live.wire_format(format), "output": output},
        }  # fmt: skip
        fields = {"session": self.session, "client_event_id": event.get("event_id")}
        self._answer(gpt_live.STARTED, fields, self._outbox.after(at_ns, self._profile.delays.session_created))

    def _on_speech(self, speech: SpeechEdge, at_ns: int) -> None:
        """Plan a reply when the caller's speech ends. When the speech starts, drop the rest of the current reply."""
        if speech.began:
            self._reply, self._delegates = [], False
            return
        reply = self._replies[self._reply_count % len(self._replies)]
        self._reply_count += 1
        ended_ms = speech.heard_ms - SILENCE_MS
        delay_ms = self._outbox.after(0, self._profile.delays.first_audio) // NS_PER_MS
        assert self._speech_detected is not None
        self._delegates = is_drawn(self._profile.delegates, self._rng)
        self._reply = slices(reply, self._speech_detected.format)[: DELEGATED_SLICES if self._delegates else None]
        self._reply_tick = max(self._ticks, -(-(ended_ms + delay_ms) // TICK_MS))
        fields = {"delta": "(speech)", "start_ms": speech.begin_ms, "end_ms": ended_ms}
        self._answer("session.input_transcript.delta", fields, at_ns, {"speech_at_byte": speech.byte})

    # Output stream

    def _tick(self, at_ns: int, format: AudioFormat) -> None:
        """Plan the next 100 ms of output."""
        piece = silent(format)
        if self._reply and self._ticks >= self._reply_tick:
            piece = self._reply.pop(0)
            if self._delegates:  # this reply only bridges the wait for the task
                self._delegates = False
                task = {"id": self.ids.new("del"), "target": gpt_live.CLIENT, "type": "delegation"}
                self._answer(gpt_live.DELEGATED, {"delegation": task, "offset_ms": self._ticks * TICK_MS}, at_ns)
        start_ms = self._ticks * TICK_MS
        self._ticks += 1
        if piece.words:
            fields = {"delta": piece.words, "start_ms": start_ms, "end_ms": start_ms + TICK_MS}
            self._answer(gpt_live.TRANSCRIPT_DELTA, fields, at_ns)
        self._outbox.plan([(at_ns, partial(_delta, piece))])
        if self._ticks * TICK_MS % USAGE_MS == 0:
            self._answer("session.usage.updated", {"usage": self._usage}, at_ns)

    @property
    def _usage(self) -> Json:
        return {"seconds": self._ticks * TICK_MS / 1000}

    def _answer(self, name: str, fields: Json, at_ns: int, facts: Json | None = None) -> None:
        self._outbox.plan([(at_ns, partial(self._outbox.event, name, fields, facts=facts))])

    def _reject(self, at_ns: int, rejected: RejectedError, event_id: str | None) -> None:
        error = {"type": "invalid_request_error", "code": rejected.code, "message": rejected.message}
        error |= {"param": rejected.param, "client_event_id": event_id}
        self._answer("error", {"error": error, "client_event_id": event_id}, at_ns)


def _audio_of(audio: Json) -> tuple[Json, AudioFormat | None]:
    """Return (output settings, audio format) that a client requests for a session.

    The format is None if it is unknown.
    """
    output, requested_format = (
        audio.get("output"),
        audio.get("format", gpt_live.wire_format(gpt_live.GPT_LIVE.input_formats["pcm16"])),
    )
    output_settings = output if isinstance(output, dict) else {}
    audio_format = isinstance(requested_format, dict) and FORMATS.get(
        (str(requested_format.get("type")), requested_format.get("rate"))
    )
    return {"voice": "marin"} | output_settings, audio_format or None


def _delta(piece: OutputSlice, due_ns: int) -> OutgoingEvent:
    """Return a delta of the primary connection, which has neither ids nor timestamps."""
    body = b'{"type":"' + gpt_live.AUDIO_DELTA.encode() + b'","delta":' + piece.encoded + b"}"
    return OutgoingEvent(due_ns, gpt_live.AUDIO_DELTA, body, audio_bytes=piece.size, audible_byte=piece.audible)


def silent(format: AudioFormat) -> OutputSlice:
    """Return 100 ms of silence."""
    return _slice(format.encode(np.zeros(format.rate_hz * TICK_MS // 1000, np.int16)), format, "")


def slices(reply: RecordedReply, format: AudioFormat) -> list[OutputSlice]:
    """Return a reply as deltas, with its words distributed evenly over them."""
    encoded = format.encode(reply_samples(reply, format))
    size = format.bytes_per_s * TICK_MS // 1000
    pieces = [encoded[start : start + size] for start in range(0, len(encoded) // size * size, size)]
    shares = [round(len(reply.tokens) * number / len(pieces)) for number in range(len(pieces) + 1)]
    texts = ("".join(reply.tokens[start:end]) for start, end in pairwise(shares))
    return [_slice(audio, format, text) for audio, text in zip(pieces, texts, strict=True)]


def _slice(audio: bytes, format: AudioFormat, text: str) -> OutputSlice:
    return OutputSlice(b'"' + base64.b64encode(audio) + b'"', len(audio), audible_byte(audio, format), text)
