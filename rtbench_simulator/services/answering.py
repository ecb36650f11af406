"""What several simulated services share that answer the caller's speech with one reply at a time,
and whose error is the end of the session. Pure.
"""

# A service names its messages (`_name_of`), reads them (`_handle`), writes its own (`_body`), and
# says how it refuses one (`_refusal`). A reply is planned here: when it begins, whether it calls
# functions, and when its parts are due. The service says what is sent then (`_reply_steps`,
# `_call_steps`).

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

from bench.base.units import NS_PER_MS
from bench.wire.audio import AudioFormatName
from rtbench_simulator.caller_turns import SimulatedAsr
from rtbench_simulator.profile import is_drawn
from rtbench_simulator.recorded_replies import AudioBlock, RecordedReply
from rtbench_simulator.responses.function_calls import GeneratedCall, ResponseTools, calls_of
from rtbench_simulator.responses.response_plan import DeltaSchedule, audio_schedule, text_schedule
from rtbench_simulator.server_events import Json, OutboxStep, OutgoingEvent, PlannedSeries
from rtbench_simulator.session.effective import InputSettings
from rtbench_simulator.simulated_session import (
    EndingSession,
    EventReceipt,
    ReceiptFields,
    SessionParts,
    json_fields,
    receipt_of,
)
from rtbench_simulator.turn_taking import CallerSpeech, TurnTaking

AUDIO_DELTA = "audio.delta"
"""The name of a service's audio in the ground-truth log."""


class RefusedError(Exception):
    """A message that the service refuses. Its arguments are those of `_refusal`."""


def drop(series: PlannedSeries, _: int) -> None:
    """Send nothing more of a series."""
    series.dropped = True


class SpokenReply(NamedTuple):
    """A reply to plan. It was requested at `asked_ns`, and the service begins it at `start_ns`.

    `facts` are those of its first audio in the ground-truth log.
    """

    id: str
    recorded: RecordedReply
    schedule: DeltaSchedule
    asked_ns: int
    start_ns: int
    first_ns: int
    facts: Json


class AnsweringSession(EndingSession):
    """A session whose service answers speech after a silence, and speaks one reply at a time."""

    def __init__(self, parts: SessionParts, silence_ms: int = 0) -> None:
        super().__init__(parts)
        self._turn_taking = TurnTaking(self._profile, parts.rng, parts.servers)
        self._turn_taking.audio.silence_ms = silence_ms
        self._asr = SimulatedAsr(self._profile.transcripts)
        self._input: InputSettings | None = None  # None until the caller's audio may begin
        self._output: AudioFormatName = "pcm16"
        self._functions: Sequence[Json] = ()
        self._replies = self._rounds = 0
        """The number of replies, and of consecutive ones with function calls."""
        self._open_calls: set[str] = set()
        self._reply: PlannedSeries | None = None  # what remains of the reply in progress
        self._played_ns = 0  # when a listener has played the last reply

    @property
    def _reply_id(self) -> str:
        return f"reply-{self._replies}"

    @property
    def _speaks(self) -> bool:
        """Whether replies are spoken, and not written."""
        return True

    def _is_replying(self, at_ns: int) -> bool:
        return self._reply is not None or at_ns < self._played_ns

    # Messages of the client.

    def receive_text(self, message: bytes | bytearray, at_ns: int) -> EventReceipt:
        return self.receive(json_fields(message), at_ns)

    def receive(self, event: Json, at_ns: int) -> EventReceipt:
        fields = {}
        try:
            fields = {} if self._is_closed else self._handle(event, at_ns)
        except RefusedError as refused:
            self._outbox.plan_step(at_ns, partial(self._refusal, *refused.args))
        return receipt_of(self._name_of(event)[:128], fields)

    @abstractmethod
    def _name_of(self, event: Json) -> str:
        """Return the name of a message of the client."""

    @abstractmethod
    def _handle(self, event: Json, at_ns: int) -> ReceiptFields:
        """Process a message of the client. Raise RefusedError if it is invalid."""

    @abstractmethod
    def _body(self, name: str, fields: Json) -> bytes:
        """Return a message of the service."""

    def _event(self, name: str, fields: Json, reply_id: str | None, due_ns: int) -> OutgoingEvent:
        return OutgoingEvent(due_ns, name, self._body(name, fields), reply_id)

    def _plan(self, due_ns: int, name: str, fields: Json, reply_id: str | None = None) -> None:
        self._outbox.plan_step(due_ns, partial(self._event, name, fields, reply_id))

    @abstractmethod
    def _refusal(self, code: str | int, reason: str, due_ns: int) -> OutgoingEvent:
        """Return the event with which the service refuses a message, and ends the session."""

    def _hear(self, audio: bytes, settings: InputSettings, at_ns: int) -> ReceiptFields:
        return self._turn_taking.append(
            audio, settings, at_ns, self._on_speech, is_replying=self._is_replying(at_ns)
        )

    def _end_call(self, call_id: str, at_ns: int) -> ReceiptFields:
        """Accept the output of a function. After the last one, the service speaks about them."""
        was_open = call_id in self._open_calls
        self._open_calls.discard(call_id)
        if was_open and not self._open_calls and self._reply is None:
            self._plan_reply(at_ns, {})
        return {"call": call_id}

    # The caller's speech.

    def _on_speech(self, speech: CallerSpeech, at_ns: int) -> None:
        delays = self._profile.delays
        edge = speech.edge
        if edge.began:
            self._on_start(speech)
            return
        stopped_ns = self._outbox.after(
            self._outbox.after(at_ns, delays.speech_stopped), delays.vad_committed
        )
        self._transcribe(edge.end_ms - edge.begin_ms, stopped_ns)
        if speech.is_answered:
            answer_ns = self._turn_taking.answer_ns(stopped_ns)
            self._respond({"speech_at_byte": edge.byte}, answer_ns)

    @abstractmethod
    def _on_start(self, speech: CallerSpeech) -> None:
        """React to the start of the caller's speech."""

    @abstractmethod
    def _transcribe(self, audio_ms: float, at_ns: int) -> None:
        """Plan the transcript of speech whose end the service notices at an instant."""

    def _respond(self, facts: Json, at_ns: int) -> None:
        """Answer speech. `facts` are those of the first audio."""
        self._answer(at_ns, facts)

    # Replies.

    def _answer(self, at_ns: int, facts: Json) -> ReceiptFields:
        """Plan a reply to the caller. Return the fields of the receipt."""
        self._rounds = 0
        if self._reply is None:  # else the service speaks about the result of a function
            self._plan_reply(at_ns, facts)
        return {}

    def _plan_reply(self, at_ns: int, facts: Json) -> None:
        profile = self._profile
        delays = profile.delays
        start_ns = self._servers.begin_ns(at_ns)
        slowness = self._turn_taking.slowness(start_ns)
        calls = self._drawn_calls()
        spoken = delays.first_audio if self._speaks else delays.first_text
        delay = delays.function_named if calls else spoken
        first_ns = start_ns + int(delay.draw_ns(self._rng) * slowness)
        self._begin_reply(start_ns)
        if calls:
            self._rounds += 1
            self._servers.occupy(first_ns)
            self._reply = self._outbox.plan(self._call_steps(calls, first_ns))
            return
        reply = self._next_reply()
        schedule_of = audio_schedule if self._speaks else text_schedule
        schedule = schedule_of(profile, reply, start_ns, first_ns, self._rng)
        self._servers.occupy(schedule.done_ns)
        played_ns = first_ns + reply.audio_ms * NS_PER_MS if self._speaks else 0
        self._played_ns = max(schedule.done_ns, played_ns)
        said = SpokenReply(self._reply_id, reply, schedule, at_ns, start_ns, first_ns, facts)
        self._reply = self._outbox.plan(self._reply_steps(said))

    def _drawn_calls(self) -> list[GeneratedCall]:
        """Return the calls of the next reply; [] if it speaks."""
        habits = self._profile.functions
        may_call = bool(self._functions) and self._rounds < habits.rounds
        if not may_call or not is_drawn(habits.share, self._rng):
            return []
        return calls_of(ResponseTools(self._functions, "required", True), (), habits, self._rng)

    def _begin_reply(self, due_ns: int) -> None:
        """Count a reply, and plan what the service sends before it."""
        self._replies += 1

    @abstractmethod
    def _reply_steps(self, reply: SpokenReply) -> Iterable[OutboxStep]:
        """Return the events of a spoken reply."""

    @abstractmethod
    def _sound_body(self, block: AudioBlock) -> bytes:
        """Return the message with a block of audio."""

    def _sound(self, block: AudioBlock, reply_id: str, facts: Json, due_ns: int) -> OutgoingEvent:
        return OutgoingEvent(
            due_ns,
            AUDIO_DELTA,
            self._sound_body(block),
            reply_id,
            audio_bytes=block.audio_bytes,
            audible_byte=block.audible_byte,
            facts=facts or None,
        )

    def _call_steps(self, calls: Sequence[GeneratedCall], due_ns: int) -> Iterable[OutboxStep]:
        """Return the events of a reply that calls functions: one event with all of them."""
        requested = [self._requested(self.ids.new("call"), call) for call in calls]
        return [(due_ns, partial(self._call, requested))]

    def _requested(self, call_id: str, call: GeneratedCall) -> Json:
        """Return a call as the service requests it."""
        raise NotImplementedError

    def _call(self, calls: list[Json], due_ns: int) -> OutgoingEvent:
        """Return the event that requests these calls, and which ends the reply."""
        raise NotImplementedError
