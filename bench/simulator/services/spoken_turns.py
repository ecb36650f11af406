"""A simulated agent that detects its caller's turns, and speaks one reply at a time. Pure.

It answers speech after a silence of 500 ms, which is an assumption, and each text. A service is a subclass, which has
the messages. The ground-truth log has the message `audio.delta`, whatever its form. The first one of a reply has the
byte at which the caller's speech ended (`speech_at_byte`). Replies are numbered, as `reply-1`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import cycle
from typing import ClassVar

import msgspec

from bench.base.units import NS_PER_MS
from bench.files.safe_io import JsonError, read_json
from bench.simulator.caller_turns import SimulatedAsr
from bench.simulator.conversation.input_audio import InputAudio, SpeechEdge
from bench.simulator.profile import is_drawn
from bench.simulator.recorded_replies import AudioBlock, RecordedReply
from bench.simulator.responses.function_calls import ResponseTools, calls_of
from bench.simulator.responses.response_plan import audio_schedule
from bench.simulator.server_events import Json, Outbox, OutboxStep, OutgoingEvent, PlannedSeries
from bench.simulator.session.effective import EffectiveTurnDetection, InputSettings
from bench.simulator.simulated_session import EventReceipt, ReceiptFields, SessionParts, SimulatedSession
from bench.wire.audio import ALL_FORMATS, AudioFormatName

SILENCE_MS = 500
AUDIO = "audio.delta"


class RefusedError(Exception):
    """A message that the service refuses: the code and the text of its error."""


class SpokenTurns(SimulatedSession):
    """One session. `until_played` is True if a reply can be interrupted until it could have been played."""

    until_played: ClassVar[bool]

    def __init__(self, parts: SessionParts) -> None:
        self.ids, self._profile, self._rng = parts.ids, parts.profile, parts.rng
        self._quota, self._servers = parts.quota, parts.servers
        self._servers.sessions += 1
        self._next_reply = cycle(parts.replies).__next__
        self._outbox = Outbox(parts.ids, parts.rng, obfuscated=False)
        self._audio, self._asr = InputAudio(self._profile.vad.min_speech_ms), SimulatedAsr(self._profile.transcripts)
        self._audio.silence_ms = SILENCE_MS
        self._input: InputSettings | None = None  # None until the session is set up
        self._output: AudioFormatName = "pcm16"
        self._functions: Sequence[Json] = ()
        self._is_closed = False
        self._series: PlannedSeries | None = None  # what remains of the reply
        self._replies = self._rounds = 0  # `_rounds`: consecutive replies with function calls
        self._open_calls: set[str] = set()

    # The messages of the service.

    @abstractmethod
    def sound(self, block: AudioBlock) -> bytes:
        """Return the message with a block of audio."""

    @abstractmethod
    def texts(self, reply: RecordedReply) -> Sequence[bytes]:
        """Return a message for each token of a reply, if the message is sent with this token, else b""."""

    @abstractmethod
    def heard(self, text: str) -> bytes:
        """Return the message with the caller's words."""

    @abstractmethod
    def calls(self, calls: Sequence[Json]) -> Sequence[bytes]:
        """Return the messages for function calls, each with `id`, `name` and `arguments`, a JSON text."""

    def began(self, at_ns: int, first_ns: int) -> Sequence[bytes]:
        """Return the messages after the first audio of a reply, whose input was complete at `at_ns`."""
        return ()

    @abstractmethod
    def ended(self) -> Sequence[bytes]:
        """Return the messages after the last audio of a reply."""

    @abstractmethod
    def interrupted(self, *, while_speaking: bool) -> Sequence[bytes]:
        """Return the messages when the caller begins to speak."""

    @abstractmethod
    def refusal(self, code: str, text: str) -> bytes:
        """Return the message after which the service closes the connection."""

    # The session.

    def end(self) -> None:
        self._servers.sessions -= 1
        for component in (self._outbox, self):
            vars(component).clear()

    def due(self, now_ns: int) -> Iterator[OutgoingEvent]:
        for event in super().due(now_ns):
            yield event
            if event.close:
                self._is_closed = True
                return

    def next_due_ns(self) -> int | None:
        return None if self._is_closed else super().next_due_ns()

    def receive_text(self, message: bytes | bytearray, at_ns: int) -> EventReceipt:
        try:
            fields = read_json(bytes(message), numbers=False)
        except JsonError:
            fields = None
        return self.receive(fields if isinstance(fields, dict) else {}, at_ns)

    def receive(self, event: Json, at_ns: int) -> EventReceipt:
        receipt: ReceiptFields = {}
        try:
            receipt = {} if self._is_closed else self._handle(event, at_ns) or {}
        except RefusedError as refused:
            body, close = self.refusal(*refused.args), (1000, "")
            self._outbox.plan([(at_ns, lambda due_ns: OutgoingEvent(due_ns, "error", body, close=close))])
        return EventReceipt(
            type=str(event.get("type", next(iter(event), "invalid_json")))[:128],
            event_id=None,
            response=None,
            **receipt,
        )

    def plan(self, due_ns: int, *bodies: bytes, reply_id: str | None = None) -> None:
        """Plan messages of JSON, whose names in the log are their types."""
        self._outbox.plan([(due_ns, partial(_event, body, reply_id)) for body in bodies])

    # Input.

    def hear(self, audio: bytes, at_ns: int) -> ReceiptFields:
        assert self._input is not None, "the session is set up before any other message"
        start = self._audio.end.byte
        for edge in self._audio.append(audio, self._input):
            self._on_speech(edge, at_ns)
        return {"from_byte": start, "to_byte": self._audio.end.byte}

    def detects(self, format: AudioFormatName) -> None:
        """Detect the caller's turns in audio of this format."""
        self._input = InputSettings(ALL_FORMATS[format], EffectiveTurnDetection("server_vad"), None)

    def _on_speech(self, edge: SpeechEdge, at_ns: int) -> None:
        delays = self._profile.delays
        if edge.began:
            is_ignored = self._series is not None and is_drawn(self._profile.vad.ignored_barge_in_share, self._rng)
            if not is_ignored:
                self.interrupt(self._outbox.after(at_ns, delays.speech_started))
            return
        stopped_ns = self._outbox.after(self._outbox.after(at_ns, delays.speech_stopped), delays.vad_committed)
        text = self._asr.transcribe(edge.heard_ms - self._audio.silence_ms - edge.begin_ms)
        self.plan(self._outbox.after(stopped_ns, delays.input_transcribed), self.heard(text))
        self.answer(stopped_ns, {"speech_at_byte": edge.byte})

    def interrupt(self, due_ns: int) -> None:
        """Report the begin of the caller's speech. Stop the reply in progress, of which a part may still be sent."""
        series, self._series = self._series, None
        reply_id = f"reply-{self._replies}" if series else None
        self.plan(due_ns, *self.interrupted(while_speaking=series is not None), reply_id=reply_id)
        self._open_calls.clear()
        if series is not None:
            dropped = series

            def drop(_: int) -> None:
                dropped.dropped = True

            self._outbox.plan([(self._outbox.after(due_ns, self._profile.delays.cancelled), drop)])

    # Replies.

    def answer(self, at_ns: int, facts: Json) -> None:
        self._rounds = 0
        if self._series is None:  # else the service has ignored the caller's speech
            self._plan_reply(at_ns, facts)

    def returned(self, call_id: str, at_ns: int) -> ReceiptFields:
        """Continue, if all called functions have returned."""
        was_open = call_id in self._open_calls
        self._open_calls.discard(call_id)
        if was_open and not self._open_calls and self._series is None:
            self._plan_reply(at_ns, {})
        return {"call": call_id}

    def _plan_reply(self, at_ns: int, facts: Json) -> None:
        profile, start_ns = self._profile, self._servers.begin_ns(at_ns)
        slowness, calls = profile.slowness(start_ns, self._servers.sessions), self._drawn_calls()
        delay = profile.delays.function_named if calls else profile.delays.first_audio
        first_ns = start_ns + int(delay.draw_ns(self._rng) * slowness)
        self._replies += 1
        reply_id = f"reply-{self._replies}"
        steps: list[OutboxStep] = []
        if calls:
            self._rounds += 1
            self._servers.occupy(first_ns)
            steps += [(first_ns, partial(_event, body, reply_id)) for body in self.calls(calls)]
            steps.append((first_ns, partial(self._called, {call["id"] for call in calls})))
        else:
            reply = self._next_reply()
            schedule = audio_schedule(profile, reply, start_ns, first_ns, self._rng)
            blocks, texts = iter(reply.blocks[self._output]), iter(self.texts(reply))
            opening = [facts]
            for delta in schedule.deltas:
                bodies = self.began(at_ns, first_ns) if delta.audio and opening else ()
                if delta.audio:
                    found = opening.pop() if opening else {}
                    steps.append((delta.due_ns, partial(self._sounded, next(blocks), reply_id, found)))
                elif body := next(texts):
                    bodies = (body,)
                steps += [(delta.due_ns, partial(_event, body, reply_id)) for body in bodies]
            steps += [(schedule.done_ns, partial(_event, body, reply_id)) for body in self.ended()]
            played_ns = first_ns + reply.audio_ms * NS_PER_MS if self.until_played else 0
            steps.append((max(schedule.done_ns, played_ns), self._over))
            self._servers.occupy(schedule.done_ns)
        self._series = self._outbox.plan(steps)

    def _drawn_calls(self) -> list[Json]:
        habits = self._profile.functions
        if not self._functions or self._rounds >= habits.rounds or not is_drawn(habits.share, self._rng):
            return []
        generated = calls_of(ResponseTools(self._functions, "required", True), (), habits, self._rng)
        return [
            {"id": self.ids.new("call"), "name": call.name, "arguments": "".join(call.tokens)} for call in generated
        ]

    def _called(self, ids: set[str], _: int) -> None:
        self._series, self._open_calls = None, ids

    def _over(self, _: int) -> None:
        self._series = None

    def _sounded(self, block: AudioBlock, reply_id: str, facts: Json, due_ns: int) -> OutgoingEvent:
        return OutgoingEvent(
            due_ns,
            AUDIO,
            self.sound(block),
            reply_id,
            audio_bytes=block.audio_bytes,
            audible_byte=block.audible_byte,
            facts=facts or None,
        )


def _event(body: bytes, reply_id: str | None, due_ns: int) -> OutgoingEvent:
    return OutgoingEvent(due_ns, msgspec.json.decode(body)["type"], body, reply_id)
