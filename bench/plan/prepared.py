"""Encoding of what a session sends, before the first session opens, so that a session only paces and sends.

This module has the encoded turns, and the `ScriptEncoder` that makes messages from texts and recordings. The class of a
step decides which messages the step needs (`steps.py`). `repertoire.py` chooses what one session sends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, TypeVar

import msgspec
import numpy as np

from bench.plan.functions import ExpectedFunctionCall, ScriptFunction
from bench.plan.random_choices import SessionChoices, fill_variables
from bench.plan.recordings import (
    RATE_HZ,
    AudioChunk,
    BackgroundNoise,
    Pcm,
    SpeechSpan,
    chunks,
    encoded,
    last_stretch,
    mixed,
    noise_alone,
    silence,
)
from bench.plan.turn_plan import InterruptTrigger, SoundKind, SuccessPredicate, TurnPlan, TurnReference
from bench.protocol.audio import AudioFormat
from bench.protocol.base import MESSAGE_ID, NO_INSTANTS, AwaitedEvent, ClientMessage, Dialect, SaidItem
from bench.protocol.events import FunctionCall
from bench.protocol.settings import FunctionOutput, Message, ResponseSettings, SessionSettings
from bench.timeouts import REPLY_SILENCE_MS, Timeouts
from bench.units import NS_PER_MS, NS_PER_S

Settings = TypeVar("Settings", SessionSettings, ResponseSettings)
InputKind = Literal["text", "none", "audio"]
AS_SESSION = ResponseSettings()
"""The settings of a response that is as its session says."""
NO_ROW: Mapping[str, str] = {}
OF_SPEECH, OF_SOUND = ("speech_start", "speech_end"), ("barge_in", "sound_end")
"""The instants at which what the caller says begins and ends, and a sound."""
BETWEEN_S = 5.0  # of noise between turns; it is said again and again
BETWEEN_ID = "between-turns"


@dataclass(frozen=True, slots=True)
class PreparedTurn:
    """One turn: first `speech`, paced; then `inputs`, at once; then `request`, which asks for the response.

    `plan`: what observing it needs; its number counts from 1 in the session, and the ids of all its events begin with
    its `event_prefix`, so an error's `event_id` tells its turn. `between`: what the microphone records from the end of
    the speech on, again and again; () where it is switched off. `said`: the caller's words, of a turn in text.
    `response`: what its responses are to be. `calls`: the function calls that are expected; None where any will do.
    `interrupts`: when it interrupts the reply to the turn before; None where that is heard out. `verifies`: and it is
    checked that the service keeps nothing of that beyond what was heard.
    """

    plays_turn: ClassVar[Literal[True]] = True

    plan: TurnPlan
    kind: InputKind
    speech: tuple[ClientMessage, ...]
    between: tuple[ClientMessage, ...]
    inputs: tuple[ClientMessage, ...]
    request: ClientMessage | None
    judge: SuccessPredicate | None = None
    response: ResponseSettings = AS_SESSION
    calls: tuple[ExpectedFunctionCall, ...] | None = None
    interrupts: InterruptTrigger | None = None
    verifies: bool = False
    said: Message | None = None

    @property
    def within_turn(self) -> bool:
        """Whether it is said while the turn before goes on."""
        return self.interrupts is not None

    @property
    def chunk_ns(self) -> int | None:
        """Length of a paced chunk; None where nothing is paced."""
        return self.speech[0].duration_ns if self.speech else None


@dataclass(frozen=True, slots=True)
class PreparedEvent:
    """A step that sends one message, which nothing is waited for of; `within_turn`: also while a turn is under way.

    `said`: what it adds to the conversation.
    """

    plays_turn: ClassVar[Literal[False]] = False

    within_turn: bool
    message: ClientMessage
    said: Message | None = None


@dataclass(frozen=True, slots=True)
class PreparedSound:
    """Something that is heard, paced, and is meant neither to interrupt a reply nor to get one.

    `cue`: when, during the reply to the turn before; None: while nothing is played.
    """

    plays_turn: ClassVar[Literal[False]] = False

    kind: SoundKind
    cue: InterruptTrigger | None
    chunks: tuple[ClientMessage, ...]
    between: tuple[ClientMessage, ...]

    @property
    def within_turn(self) -> bool:
        """Whether it is heard while the turn before goes on."""
        return self.cue is not None


@dataclass(frozen=True, slots=True)
class PreparedInterruption:
    """The client interrupts the reply to the turn before, as if its caller had pressed a button."""

    plays_turn: ClassVar[Literal[False]] = False
    within_turn: ClassVar[Literal[True]] = True

    cue: InterruptTrigger
    verify: bool = False


@dataclass(frozen=True, slots=True)
class PreparedPause:
    """The caller is silent for so long."""

    plays_turn: ClassVar[Literal[False]] = False
    within_turn: ClassVar[Literal[False]] = False

    duration_ns: int


@dataclass(frozen=True, slots=True)
class PreparedExpectation:
    """The turn before must get an event within so many seconds."""

    plays_turn: ClassVar[Literal[False]] = False
    within_turn: ClassVar[Literal[True]] = True

    event: str
    within_s: float


PreparedStep = PreparedTurn | PreparedSound | PreparedInterruption | PreparedPause | PreparedExpectation | PreparedEvent


@dataclass(frozen=True)
class PreparedScript:
    """What one session says, in the words of one dialect.

    `set_up`: what opens it, in this order: messages that are sent, and events that are waited for, none where the
    start is `pipelined`. `history`: what was said before the first turn, which is `said_before`, encoded.
    `renew_after_ns`: as `Script.renew_after`. `between`: what an open
    microphone records before the first turn. `phase_ns`: so long after the session is ready it begins, for the chunks
    of sessions that start together would else all be due in one instant. `variables_row`: from 1, None without
    variables.
    """

    name: str
    dialect: Dialect
    limits: Timeouts
    set_up: tuple[ClientMessage | AwaitedEvent, ...]
    settings: SessionSettings
    steps: tuple[PreparedStep, ...]
    between: tuple[ClientMessage, ...]
    jitter_buffer_ns: int
    phase_ns: int = 0
    variables_row: int | None = None
    history: tuple[ClientMessage, ...] = ()
    pipelined: bool = False
    functions: Mapping[str, ScriptFunction] = field(default_factory=dict)
    choices: SessionChoices = field(default_factory=lambda: SessionChoices(0, 0))
    """What differs from other sessions and is drawn while it goes on: how long functions take."""
    said_before: tuple[SaidItem, ...] = ()
    renew_after_ns: int | None = None
    reply_silence_ns: int = REPLY_SILENCE_MS * NS_PER_MS

    def after(self, said: Sequence[SaidItem]) -> PreparedScript:
        """The same for a session in which this was said before."""
        history = tuple(_said_again(item, self.dialect) for item in said)
        return replace(self, history=history, said_before=tuple(said))

    @property
    def turns(self) -> tuple[PreparedTurn, ...]:
        return tuple(step for step in self.steps if step.plays_turn)

    @property
    def input_format(self) -> AudioFormat:
        """What the caller's audio is sent as."""
        return self.dialect.hears(self.settings)

    @property
    def output_format(self) -> AudioFormat:
        """What replies come as."""
        return self.dialect.speaks(self.settings)

    @property
    def service_responds(self) -> bool:
        """Whether the service starts responses by itself."""
        return self.settings.service_responds

    @property
    def renewable(self) -> bool:
        """Whether a call goes on in another session once one is as old as it may be."""
        return self.renew_after_ns is not None


class ScriptEncoder:
    """Encodes what callers say in the words of one dialect, each recording once.

    `fills`: there are variables, so `${name}` in a text stands for one. `jitter_buffer_ns`: audio that the simulated
    player gathers first. `answer_min_ns`: as of `TurnPlan`.
    """

    def __init__(
        self,
        dialect: Dialect,
        session: SessionSettings,
        background: BackgroundNoise | None = None,
        *,
        jitter_buffer_ns: int = 0,
        answer_min_ns: int = 0,
        fills: bool = False,
    ) -> None:
        self.dialect, self.session, self._background, self._fills = dialect, session, background, fills
        self.jitter_buffer_ns, self.answer_min_ns = jitter_buffer_ns, answer_min_ns
        self.input_format = dialect.hears(session)
        self.output_format = dialect.speaks(session)
        self._wires: dict[tuple[str, SpeechSpan], bytes] = {}
        self._encoded: dict[tuple[Any, ...], tuple[ClientMessage, ...]] = {}
        """Messages of recordings by what they are and what they are made of."""
        self._sounds = 0
        self._tails_ns: dict[tuple[str, SpeechSpan], int] = {}

    @property
    def detects(self) -> bool:
        """Whether the service finds the end of speech."""
        return self.session.turn_detection is not None

    def filled(self, text: str, row: Mapping[str, str]) -> str:
        """A text with the variables of a session."""
        return fill_variables(text, row) if self._fills else text

    def message(self, message: Message, row: Mapping[str, str]) -> Message:
        """A message with the variables of a session."""
        return msgspec.structs.replace(message, text=self.filled(message.text, row))

    def with_instructions(self, settings: Settings, row: Mapping[str, str]) -> Settings:
        """Settings, of which the instructions have the variables of a session."""
        if settings.instructions is None:
            return settings
        return msgspec.structs.replace(settings, instructions=self.filled(settings.instructions, row))

    def reference(self, reference: TurnReference, row: Mapping[str, str]) -> TurnReference:
        """What a turn is held against, with the variables of its session."""
        contains = tuple(self.filled(text, row) for text in reference.contains)
        return replace(reference, reply=self.filled(reference.reply, row), contains=contains)

    def request(self, response: ResponseSettings, prefix: str, row: Mapping[str, str]) -> ClientMessage | None:
        """What asks for a response; None where the model speaks whenever it wants to."""
        if not self.dialect.takes_requests:
            return None
        response = self.with_instructions(response, row)
        if response.input:
            response = msgspec.structs.replace(
                response, input=tuple(self.message(said, row) for said in response.input)
            )
        return self.dialect.request(response, request_event_id(prefix))

    def speech(
        self, pcm: Pcm, chunk_ms: int, *, paced: bool, number: int, keep: bool = False
    ) -> tuple[ClientMessage, ...]:
        """A recording as the speech of turn `number`. `keep`: it is one that many sessions say."""
        chunk_ms = self._piece_ms(chunk_ms)
        key = ("speech", pcm.digest, pcm.speech, chunk_ms, paced, number)
        if key in self._encoded:
            return self._encoded[key]
        pieces = tuple(chunks(self._wire(pcm), self.input_format, chunk_ms, whole=self.detects))
        messages = tuple(self._appends(pieces, pcm, f"turn-{number}-append", OF_SPEECH if paced else None))
        if keep:
            self._encoded[key] = messages
        return messages

    def sound(self, pcm: Pcm, chunk_ms: int) -> tuple[ClientMessage, ...]:
        """A recording that is no turn's."""
        chunk_ms = self._piece_ms(chunk_ms)
        key = ("sound", pcm.digest, pcm.speech, chunk_ms)
        if key not in self._encoded:
            pieces = tuple(chunks(self._wire(pcm), self.input_format, chunk_ms, whole=True))
            self._encoded[key] = tuple(self._appends(pieces, pcm, f"sound-{self._sounds}", OF_SOUND))
            self._sounds += 1
        return self._encoded[key]

    def between(self, pcm: Pcm, chunk_ms: int) -> tuple[ClientMessage, ...]:
        """What an open microphone records after a recording: the noise that was behind it; () where it is closed."""
        if not self.detects or self._background is None:
            return self.silence(chunk_ms)
        chunk_ms = self._piece_ms(chunk_ms)
        key = ("between", pcm.digest, pcm.speech, chunk_ms)
        if key not in self._encoded:
            noise = replace(pcm, data=noise_alone(pcm, self._background, BETWEEN_S))
            pieces = chunks(encoded(noise, self.input_format), self.input_format, chunk_ms, whole=False)
            whole = [piece for piece in pieces if piece.duration_ns == chunk_ms * NS_PER_MS]
            self._encoded[key] = tuple(self._append(piece, BETWEEN_ID, paced=True) for piece in whole)
        return self._encoded[key]

    def silence(self, chunk_ms: int = 100) -> tuple[ClientMessage, ...]:
        """What an open microphone records where nothing is heard; () where it is closed."""
        if not self.detects:
            return ()
        return (self._append(silence(self.input_format, self._piece_ms(chunk_ms)), BETWEEN_ID, paced=True),)

    def tail_ns(self, pcm: Pcm) -> int:
        """Return half of the length of what is said after the last pause."""
        key = (pcm.digest, pcm.speech)
        if key not in self._tails_ns:
            last = last_stretch(np.frombuffer(pcm.data, "<i2"), pcm.speech, RATE_HZ)
            self._tails_ns[key] = _ns(last.end - last.begin) // 2
        return self._tails_ns[key]

    def _piece_ms(self, chunk_ms: int) -> int:
        """How long pieces of audio are, which a provider may cut for itself."""
        provider = self.dialect.provider
        return chunk_ms if provider is None or provider.frame_ms is None else provider.frame_ms

    def _wire(self, pcm: Pcm) -> bytes:
        key = (pcm.digest, pcm.speech)  # the speech sets the noise's level
        if key not in self._wires:
            noisy = pcm if self._background is None else mixed(pcm, self._background)
            self._wires[key] = encoded(noisy, self.input_format)
        return self._wires[key]

    def _appends(
        self, pieces: Sequence[AudioChunk], pcm: Pcm, event_id: str, instants: tuple[str, ...] | None
    ) -> Iterator[ClientMessage]:
        """The messages of a recording; those that hold an edge of its speech say where.

        `instants`: what its begin and its end are called; None where it is sent all at once.
        """
        recorded_ns, whole_ns, paced = 0, sum(chunk.duration_ns for chunk in pieces), instants is not None
        edges = dict(zip(instants or (), (_ns(pcm.speech.begin + 1), _ns(pcm.speech.end)), strict=False))
        edges = {name: min(at_ns, whole_ns) for name, at_ns in edges.items()}  # resampling may shorten by a sample
        for number, chunk in enumerate(pieces, 1):
            begin_ns, recorded_ns = recorded_ns, recorded_ns + chunk.duration_ns
            moments = {name: recorded_ns - at_ns for name, at_ns in edges.items() if begin_ns < at_ns <= recorded_ns}
            yield replace(self._append(chunk, f"{event_id}-{number}", paced=paced), instants=moments or NO_INSTANTS)

    def _append(self, chunk: AudioChunk, event_id: str, *, paced: bool) -> ClientMessage:
        message = self.dialect.append(chunk.data, event_id)
        return replace(message, duration_ns=chunk.duration_ns if paced else None, audio_bytes=len(chunk.data))


def request_event_id(prefix: str) -> str:
    """The id of the event that asks for a turn's response."""
    return f"{prefix}response"


def _said_again(item: SaidItem, dialect: Dialect) -> ClientMessage:
    match item:
        case Message():
            return dialect.message(item, MESSAGE_ID)
        case FunctionCall():
            return dialect.function_call(item, MESSAGE_ID)
        case FunctionOutput():
            return dialect.function_output(item, MESSAGE_ID)


def _ns(samples: int) -> int:
    """How long so many samples take to record."""
    return samples * NS_PER_S // RATE_HZ
