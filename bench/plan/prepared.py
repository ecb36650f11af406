"""The encoding of everything that a session sends, before the first session opens. A session then
only paces and sends.

This module has the encoded turns, and the `ScriptEncoder`, which makes messages from texts and
recordings. The class of a step determines which messages the step needs (`steps.py`).
`compiled_script.py` chooses the messages of each session.
"""

# No session encodes audio. A recording is encoded once for each format (`_wires`), and cut into
# messages once for each turn that plays it, because their event ids name the turn. All sessions
# share these bytes, so memory does not grow with sessions.
#
# A chunk carries the instants that lie in it (`speech_start`, `speech_end`), as the time from each
# to the end of the chunk. A chunk is sent when a microphone would have recorded all of it, so the
# session subtracts this time from the instant of the send.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import msgspec
import numpy as np

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.timeouts import REPLY_SILENCE_MS, Timeouts
from bench.plan.functions import ExpectedFunctionCall, ScriptFunction
from bench.plan.random_choices import SessionChoices, fill_variables
from bench.plan.reconnect import Reconnect
from bench.plan.recordings import (
    RATE_HZ,
    AudioChunk,
    BackgroundNoise,
    Pcm,
    SpeechSpan,
    chunks,
    encoded,
    last_phrase,
    mixed,
    noise_alone,
    silence,
    with_mark,
)
from bench.plan.turn_plan import (
    InterruptTrigger,
    SoundKind,
    SuccessPredicate,
    TurnPlan,
    TurnReference,
)
from bench.wire.audio import AudioFormat
from bench.wire.dialect import (
    MESSAGE_ID,
    NO_INSTANTS,
    SET_UP_ID,
    SOUND,
    AwaitedEvent,
    ClientMessage,
    Dialect,
    Feature,
    SaidItem,
)
from bench.wire.events import FunctionCall
from bench.wire.settings import FunctionOutput, Message, ResponseSettings, SessionSettings, merged

Settings = TypeVar("Settings", SessionSettings, ResponseSettings)
InputKind = Literal["text", "none", "audio"]
AS_SESSION = ResponseSettings()
"""Response settings that change nothing: the settings of the session apply."""
OF_SPEECH = ("speech_start", "speech_end")
OF_SOUND = ("barge_in", "sound_end")
OF_MAILBOX = ("greeting_start", "beep_end")
"""The names of two instants, the start and the end: for the caller's speech, and for a sound."""
BETWEEN_S = 5.0  # the duration of the noise between turns, which is repeated
BETWEEN_ID = "between-turns"


@dataclass(frozen=True, slots=True)
class PreparedTurn:
    """One turn. The session sends `speech` at the rate of a microphone, then `inputs` at once, then
    `request`.

    `opening` precedes the speech; None if nothing does.

    `plan` has the facts of the turn that its observation needs. Its number counts from 1 in the
    session. The ids of all events of the turn begin with `event_prefix` of the plan, so the
    `event_id` of an error identifies the turn. `silence_chunks` is the audio that the microphone
    records after the speech. It is sent repeatedly, and is () if the microphone is switched off.
    `judge` returns whether the turn has done its task. `response` has the settings of the turn's
    responses. `calls` are the expected function calls; None if any call is accepted. `interrupts`
    is the trigger at which the turn interrupts the preceding reply; None if the turn waits for the
    end of that reply. `verifies` is True if the client checks that the service retains no part of
    that reply that was not played. `item` is the message of a text turn. `together` is the number
    of callers who end this turn at the same instant; 0 if they do not meet.
    """

    is_turn: ClassVar[Literal[True]] = True

    plan: TurnPlan
    kind: InputKind
    speech: tuple[ClientMessage, ...]
    silence_chunks: tuple[ClientMessage, ...]
    inputs: tuple[ClientMessage, ...]
    request: ClientMessage | None
    judge: SuccessPredicate | None = None
    response: ResponseSettings = AS_SESSION
    calls: tuple[ExpectedFunctionCall, ...] | None = None
    opening: ClientMessage | None = None
    interrupts: InterruptTrigger | None = None
    verifies: bool = False
    item: Message | None = None
    together: int = 0

    @property
    def speech_ns(self) -> int:
        """The time from the start of the first paced chunk to the end of speech; 0 without paced
        audio.
        """
        recorded_ns = 0
        for chunk in self.speech:
            recorded_ns += chunk.duration_ns or 0
            if (after_ns := chunk.instants.get("speech_end")) is not None:
                return recorded_ns - after_ns
        return recorded_ns

    @property
    def within_turn(self) -> bool:
        """True if the turn may be sent while the preceding turn is open."""
        return self.interrupts is not None

    @property
    def chunk_ns(self) -> int | None:
        """The duration of a paced chunk; None if the turn sends no paced audio."""
        return self.speech[0].duration_ns if self.speech else None


@dataclass(frozen=True, slots=True)
class PreparedEvent:
    """A step that sends one message and does not wait, also while a turn is open if `within_turn`
    is True.

    `item` is the item that the message adds to the conversation.
    """

    is_turn: ClassVar[Literal[False]] = False

    within_turn: bool
    message: ClientMessage
    item: Message | None = None


@dataclass(frozen=True, slots=True)
class PreparedSound:
    """A paced sound that should neither interrupt a reply nor cause one. `trigger` is None if it
    is in silence.
    """

    is_turn: ClassVar[Literal[False]] = False

    kind: SoundKind
    trigger: InterruptTrigger | None
    chunks: tuple[ClientMessage, ...]
    silence_chunks: tuple[ClientMessage, ...]

    @property
    def within_turn(self) -> bool:
        """True if the sound is played while the preceding turn is still open."""
        return self.trigger is not None


@dataclass(frozen=True, slots=True)
class PreparedInterruption:
    """An interruption of the preceding reply by the client, as if the caller had pressed a
    button.
    """

    is_turn: ClassVar[Literal[False]] = False
    within_turn: ClassVar[Literal[True]] = True

    trigger: InterruptTrigger
    verify: bool = False


@dataclass(frozen=True, slots=True)
class PreparedPause:
    """A pause, in which the caller is silent."""

    is_turn: ClassVar[Literal[False]] = False
    within_turn: ClassVar[Literal[False]] = False

    duration_ns: int


@dataclass(frozen=True, slots=True)
class PreparedExpectation:
    """An event that must arrive for the preceding turn. `within_s` is the time limit in seconds."""

    is_turn: ClassVar[Literal[False]] = False
    within_turn: ClassVar[Literal[True]] = True

    event: str
    within_s: float


PreparedStep = (
    PreparedTurn
    | PreparedSound
    | PreparedInterruption
    | PreparedPause
    | PreparedExpectation
    | PreparedEvent
)


class PreparedCallee(NamedTuple):
    """The kind of callee that answers a call of the agent, and the duration of its ringing. A
    mailbox records for `record_ns` after its beep.
    """

    kind: str
    ring_ns: int
    record_ns: int


@dataclass(frozen=True)
class PreparedScript:
    """The content of one session, encoded for one dialect.

    `setup_messages` are the messages to send and the events to wait for, in this order, to set the
    session up. They contain no events if `pipelined` is True. `history_items` is the conversation
    before the first turn. `history` is the same conversation in encoded form. `renew_after_ns` is
    `Script.renew_after` in ns. `silence_chunks` is the audio that an open microphone records before
    the first turn. `phase_ns` is the time from the instant at which the session is ready to the
    start of the microphone. It differs between sessions. Otherwise the chunks of sessions that
    start together would be due at the same instant. `variables_row` is the number of the row of
    variables, from 1.
    """

    name: str
    dialect: Dialect
    limits: Timeouts
    setup_messages: tuple[ClientMessage | AwaitedEvent, ...]
    settings: SessionSettings
    steps: tuple[PreparedStep, ...]
    silence_chunks: tuple[ClientMessage, ...]
    jitter_buffer_ns: int
    phase_ns: int = 0
    variables_row: int | None = None
    history: tuple[ClientMessage, ...] = ()
    pipelined: bool = False
    functions: Mapping[str, ScriptFunction] = field(default_factory=dict)
    choices: SessionChoices = field(default_factory=lambda: SessionChoices(0, 0))
    """The random choices that are made while the session runs: the delays of function calls."""
    history_items: tuple[SaidItem, ...] = ()
    renew_after_ns: int | None = None
    reconnect: Reconnect | None = None
    reply_silence_ns: int = REPLY_SILENCE_MS * NS_PER_MS
    callee: PreparedCallee | None = None

    def after(self, items: Sequence[SaidItem]) -> PreparedScript:
        """Return the same script for a session that starts after the conversation `items`."""
        history = tuple(_repeated_item(item, self.dialect) for item in items)
        return replace(self, history=history, history_items=tuple(items))

    def continued(self, items: Sequence[SaidItem], handle: str) -> PreparedScript:
        """Return the same script for a session that continues another one: by a handle of the
        service, after the conversation `items`, or without it if the service can do neither.
        """
        if handle:
            return self.resumed(handle)
        missing = self.dialect.missing_features_of(self.settings)
        return self if Feature.RENEWAL in missing else self.after(items)

    def resumed(self, handle: str) -> PreparedScript:
        """Return the same script for a session that continues another one, by a handle of the
        service.
        """
        assert self.dialect.resumption is not None, "only such a dialect has handles"
        extra = merged(self.settings.extra, self.dialect.resumption(handle))
        settings = msgspec.structs.replace(self.settings, extra=extra, history=())
        return replace(
            self, setup_messages=tuple(self.dialect.setup_messages(settings, SET_UP_ID)), history=()
        )

    @property
    def turns(self) -> tuple[PreparedTurn, ...]:
        return tuple(step for step in self.steps if step.is_turn)

    @property
    def offer_members(self) -> Mapping[str, Any]:
        """The further members of an offer in JSON. In their texts, `{uuid}` is the id of the
        call.
        """
        return self.settings.extra if self.dialect.has_extra_in_offer else {}

    @property
    def input_format(self) -> AudioFormat:
        """The format of the audio that the caller sends."""
        return self.dialect.input_format_for(self.settings)

    @property
    def output_format(self) -> AudioFormat:
        """The format of the audio in replies."""
        return self.dialect.output_format_for(self.settings)

    @property
    def service_responds(self) -> bool:
        """True if the service starts responses without a request."""
        return self.settings.service_responds

    @property
    def renewable(self) -> bool:
        """True if a call continues in a new session when its session has reached the maximum
        age.
        """
        return self.renew_after_ns is not None

    @property
    def may_continue(self) -> bool:
        """True if a call may have several sessions, one after the other."""
        return self.renewable or self.reconnect is not None


CHUNK_MS = 100
"""The duration of a chunk if neither the script nor a target of the run prescribes one."""


class ScriptEncoder:
    """An encoder of a script's texts and recordings for one dialect, each recording once.

    `fills` is True if texts have variables. `jitter_buffer_ns` is the audio that the simulated
    player buffers before it plays. `mark` and `answer_min_ns` are those of `TurnPlan`. `chunk_ms`
    is the duration of a chunk if the script does not set it.
    """

    def __init__(
        self,
        dialect: Dialect,
        session: SessionSettings,
        background: BackgroundNoise | None = None,
        mark: int | None = None,
        *,
        jitter_buffer_ns: int = 0,
        answer_min_ns: int = 0,
        fills: bool = False,
        chunk_ms: int = CHUNK_MS,
    ) -> None:
        self.dialect = dialect
        self.session = session
        self._background = background
        self.mark = mark
        self._fills = fills
        self._default_chunk_ms = chunk_ms
        self.jitter_buffer_ns = jitter_buffer_ns
        self.answer_min_ns = answer_min_ns
        self.input_format = dialect.input_format_for(session)
        self.output_format = dialect.output_format_for(session)
        self._wires: dict[tuple[str, SpeechSpan], bytes] = {}
        self._encoded: dict[tuple[Any, ...], tuple[ClientMessage, ...]] = {}
        """The messages of recordings. The key is the recording with the parameters of its
        encoding."""
        self._sounds = 0
        self._end_tolerances_ns: dict[tuple[str, SpeechSpan], int] = {}

    @property
    def detects_turns(self) -> bool:
        """True if the service detects the end of speech."""
        return self.session.turn_detection is not None

    def fill_variables(self, text: str, row: Mapping[str, str]) -> str:
        """Return a text in which the values of `row` replace the variables. `row` has the
        variables of a session.
        """
        return fill_variables(text, row) if self._fills else text

    def message(self, message: Message, row: Mapping[str, str]) -> Message:
        """Return a message in whose text the values of `row` replace the variables."""
        return msgspec.structs.replace(message, text=self.fill_variables(message.text, row))

    def with_instructions(self, settings: Settings, row: Mapping[str, str]) -> Settings:
        """Return settings in whose instructions the values of `row` replace the variables."""
        if settings.instructions is None:
            return settings
        return msgspec.structs.replace(
            settings, instructions=self.fill_variables(settings.instructions, row)
        )

    def reference(self, reference: TurnReference, row: Mapping[str, str]) -> TurnReference:
        """Return the reference of a turn. The values of `row` replace the variables in its
        texts.
        """
        contains = tuple(self.fill_variables(text, row) for text in reference.contains)
        return replace(
            reference, reply=self.fill_variables(reference.reply, row), contains=contains
        )

    def request(
        self, response: ResponseSettings, prefix: str, row: Mapping[str, str]
    ) -> ClientMessage | None:
        """Return the request for a response; None if the service decides when to speak, or has
        no requests.
        """
        if self.dialect.turn_source is SOUND or not self.dialect.has_requests:
            return None
        response = self.with_instructions(response, row)
        if response.input:
            response = msgspec.structs.replace(
                response, input=tuple(self.message(message, row) for message in response.input)
            )
        return self.dialect.request(response, request_event_id(prefix))

    def speech(
        self, pcm: Pcm, given_ms: int | None, *, paced: bool, number: int, keep: bool = False
    ) -> tuple[ClientMessage, ...]:
        """Return the messages of the speech of turn `number`. `keep` stores them for other
        sessions.
        """
        chunk_ms = self._chunk_ms(given_ms)
        key = ("speech", pcm.digest, pcm.speech, chunk_ms, paced, number)
        if key in self._encoded:
            return self._encoded[key]
        pieces = tuple(chunks(self._wire(pcm), self.input_format, chunk_ms, pad=self.detects_turns))
        messages = tuple(
            self._appends(pieces, pcm, f"turn-{number}-append", OF_SPEECH if paced else None)
        )
        if keep:
            self._encoded[key] = messages
        return messages

    def mailbox(self, pcm: Pcm) -> tuple[ClientMessage, ...]:
        """Return the messages of the greeting of a mailbox, which ends with its beep."""
        key = ("mailbox", pcm.digest)
        if key not in self._encoded:
            pieces = tuple(
                chunks(self._wire(pcm), self.input_format, self._chunk_ms(None), pad=True)
            )
            self._encoded[key] = tuple(self._appends(pieces, pcm, "mailbox", OF_MAILBOX))
        return self._encoded[key]

    def sound(self, pcm: Pcm, given_ms: int | None) -> tuple[ClientMessage, ...]:
        """Return the messages of a recording that belongs to no turn."""
        chunk_ms = self._chunk_ms(given_ms)
        key = ("sound", pcm.digest, pcm.speech, chunk_ms)
        if key not in self._encoded:
            pieces = tuple(chunks(self._wire(pcm), self.input_format, chunk_ms, pad=True))
            self._encoded[key] = tuple(
                self._appends(pieces, pcm, f"sound-{self._sounds}", OF_SOUND)
            )
            self._sounds += 1
        return self._encoded[key]

    def silence_chunks(self, pcm: Pcm, given_ms: int | None) -> tuple[ClientMessage, ...]:
        """Return the noise or silence that an open microphone records after a recording; () if
        it is closed.
        """
        if not self.detects_turns or self._background is None:
            return self.silence(given_ms)
        chunk_ms = self._chunk_ms(given_ms)
        key = ("between", pcm.digest, pcm.speech, chunk_ms)
        if key not in self._encoded:
            noise = replace(pcm, data=noise_alone(pcm, self._background, BETWEEN_S))
            pieces = chunks(
                encoded(noise, self.input_format), self.input_format, chunk_ms, pad=False
            )
            complete = [piece for piece in pieces if piece.duration_ns == chunk_ms * NS_PER_MS]
            self._encoded[key] = tuple(
                self._append(piece, BETWEEN_ID, paced=True) for piece in complete
            )
        return self._encoded[key]

    def silence(self, given_ms: int | None = None) -> tuple[ClientMessage, ...]:
        """Return the audio that an open microphone records in silence; () if the microphone is
        closed.
        """
        if not self.detects_turns:
            return ()
        return (
            self._append(
                silence(self.input_format, self._chunk_ms(given_ms)), BETWEEN_ID, paced=True
            ),
        )

    def end_tolerance_ns(self, pcm: Pcm) -> int:
        """Return half of the duration of the last phrase, which is the speech after the last
        pause of a recording.
        """
        key = (pcm.digest, pcm.speech)
        if key not in self._end_tolerances_ns:
            last = last_phrase(np.frombuffer(pcm.data, "<i2"), pcm.speech, RATE_HZ)
            self._end_tolerances_ns[key] = _ns(last.end - last.begin) // 2
        return self._end_tolerances_ns[key]

    def _chunk_ms(self, given_ms: int | None) -> int:
        """Return the duration of a chunk in ms: that of the script, unless the provider or the
        codec prescribes one.
        """
        return self.dialect.frame_ms or given_ms or self._default_chunk_ms

    def _wire(self, pcm: Pcm) -> bytes:
        key = (pcm.digest, pcm.speech)  # the speech determines the level of the noise
        if key not in self._wires:
            marked = pcm if self.mark is None else with_mark(pcm, self.mark)
            noisy = marked if self._background is None else mixed(marked, self._background)
            self._wires[key] = encoded(noisy, self.input_format)
        return self._wires[key]

    def _appends(
        self,
        pieces: Sequence[AudioChunk],
        pcm: Pcm,
        event_id: str,
        instants: tuple[str, ...] | None,
    ) -> Iterator[ClientMessage]:
        """Yield the messages of a recording. If the speech starts or ends in a message, the message
        has that position.

        `instants` are the names of the start and the end; None if the recording is sent all at
        once.
        """
        recorded_ns = 0
        total_ns = sum(chunk.duration_ns for chunk in pieces)
        paced = instants is not None
        # a sample is recorded at its end, so speech starts one sample after its first position
        boundaries_ns = dict(
            zip(instants or (), (_ns(pcm.speech.begin + 1), _ns(pcm.speech.end)), strict=False)
        )
        # resampling may shorten the audio by a sample
        boundaries_ns = {name: min(at_ns, total_ns) for name, at_ns in boundaries_ns.items()}
        for number, chunk in enumerate(pieces, 1):
            start_ns = recorded_ns
            recorded_ns = recorded_ns + chunk.duration_ns
            moments = {
                name: recorded_ns - at_ns
                for name, at_ns in boundaries_ns.items()
                if start_ns < at_ns <= recorded_ns
            }
            yield replace(
                self._append(chunk, f"{event_id}-{number}", paced=paced),
                instants=moments or NO_INSTANTS,
            )

    def _append(self, chunk: AudioChunk, event_id: str, *, paced: bool) -> ClientMessage:
        message = self.dialect.append(chunk.data, event_id)
        return replace(
            message, duration_ns=chunk.duration_ns if paced else None, audio_bytes=len(chunk.data)
        )


def request_event_id(prefix: str) -> str:
    """Return the id of the event that requests a turn's response."""
    return f"{prefix}response"


def _repeated_item(item: SaidItem, dialect: Dialect) -> ClientMessage:
    match item:
        case Message():
            return dialect.message(item, MESSAGE_ID)
        case FunctionCall():
            return dialect.function_call(item, MESSAGE_ID)
        case FunctionOutput():
            return dialect.function_output(item, MESSAGE_ID)


def _ns(samples: int) -> int:
    """Return the duration of this number of samples, in ns."""
    return samples * NS_PER_S // RATE_HZ
