"""A script becomes ready messages: everything a session sends is encoded once, before the first session opens.

What is left for a session is to pace and to send. A `Repertoire` holds what all sessions of a script may say, and picks
from it what one session says: its row of variables, one recording where a step has several, and how long pauses last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, TypeVar

import msgspec
import numpy as np

from bench.errors import ScriptError, UsageError
from bench.interruptions import Cue, SoundKind
from bench.limits import Limits
from bench.plan.audio import RATE_HZ, Chunk, Pcm, chunks, encoded, silence
from bench.plan.background import mixed, noise_alone
from bench.plan.choices import Choices
from bench.plan.functions import ExpectedCall, Function
from bench.plan.reference import NO_REFERENCE, Judge, Reference
from bench.plan.rows import filled
from bench.plan.speech import Speech, last_stretch
from bench.plan.turns import (
    AddMessage,
    AskTurn,
    DrawnPause,
    Expect,
    Interrupt,
    Pause,
    Script,
    ScriptTurn,
    SendEvent,
    Sound,
    Step,
    TextTurn,
    WavTurn,
    features_of,
)
from bench.protocol.audio import AudioFormat, chosen
from bench.protocol.base import MESSAGE_ID, SET_UP_ID, Act, Awaited, ClientMessage, Dialect, Feature, SaidItem
from bench.protocol.events import FunctionCall
from bench.protocol.messages import FunctionOutput, Message
from bench.protocol.settings import ResponseSettings, SessionSettings
from bench.units import NS_PER_MS, NS_PER_S

Settings = TypeVar("Settings", SessionSettings, ResponseSettings)
InputKind = Literal["text", "none", "audio"]
NO_MOMENTS: Mapping[str, int] = {}
AS_SESSION = ResponseSettings()
"""Of a response that is as its session says."""
NO_ROW: Mapping[str, str] = {}
EVENLY = (5**0.5 - 1) / 2  # multiples of the golden ratio, modulo 1, are as even as can be whatever their number
OF_SPEECH, OF_SOUND = ("speech_begin", "speech_end"), ("barge_in", "sound_end")
"""The instants at which what the caller says begins and ends, and a sound."""
BETWEEN_S = 5.0  # of noise between turns; it is said again and again
BETWEEN_ID = "between-turns"


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """One client message, encoded. `name`: what its dialect calls it. `audio_bytes`: decoded audio inside.

    `duration_ns`: of audio that is sent as a microphone records it, due when its last sample is; None: sent at once.
    `moments`: instants of speech (`bench.run.folder`) inside it, each as ns before its last sample was recorded.
    `aside`: the event id of a message that is no turn's, although one may be under way; "" of all others. `item`:
    that a message is about which cuts one, after so many ms that were heard, or retrieves it.
    """

    act: Act
    name: str
    data: bytes = field(repr=False)
    duration_ns: int | None = None
    audio_bytes: int = 0
    moments: Mapping[str, int] = field(default_factory=lambda: NO_MOMENTS)
    aside: str = ""
    item: str = ""
    heard_ms: int = 0


@dataclass(frozen=True, slots=True)
class PreparedTurn:
    """One turn: first `speech`, paced; then `inputs`, at once; then `request`, which asks for the response.

    `number` counts from 1 in the session. The ids of all its events begin with `event_prefix`, so an error's `event_id`
    tells its turn. `vad`: the service finds the end of speech; without a `request` it also starts the response.
    `between`: what the microphone records from the end of the speech on, again and again; () where it is switched off.
    `tail_ns`: a VAD that has heard up to so much before the end of speech has heard more than up to the last pause.
    `out_of_band`: its response stands beside the conversation. `said`: the caller's words, of a turn in text.
    `response`: what its responses are to be. `calls`: the function calls that are expected; None where any will do.
    `interrupts`: when it interrupts the reply to the turn before; None where that is heard out. `verifies`: and it is
    checked that the service keeps nothing of that beyond what was heard.
    """

    plays_turn: ClassVar[Literal[True]] = True

    number: int
    label: str
    kind: InputKind
    event_prefix: str
    speech: tuple[OutgoingMessage, ...]
    between: tuple[OutgoingMessage, ...]
    inputs: tuple[OutgoingMessage, ...]
    request: OutgoingMessage | None
    wants_audio: bool
    vad: bool = False
    audio: str = ""
    tail_ns: int = 0
    out_of_band: bool = False
    reference: Reference = NO_REFERENCE
    judge: Judge | None = None
    instructed: bool = False
    """Whether its response is asked for with instructions of its own."""
    response: ResponseSettings = AS_SESSION
    calls: tuple[ExpectedCall, ...] | None = None
    interrupts: Cue | None = None
    verifies: bool = False
    said: Message | None = None

    @property
    def within_turn(self) -> bool:
        """Whether it is said while the turn before goes on."""
        return self.interrupts is not None

    @property
    def request_event_id(self) -> str:
        return _request_event_id(self.event_prefix)

    @property
    def chunk_ns(self) -> int | None:
        """Length of a paced chunk; None where nothing is paced."""
        return self.speech[0].duration_ns if self.speech else None

    @property
    def speech_ns(self) -> int:
        """How long the caller speaks, silence at both ends included."""
        return sum(message.duration_ns or 0 for message in self.speech)


@dataclass(frozen=True, slots=True)
class PreparedEvent:
    """A step that sends one message, which nothing is waited for of; `within_turn`: also while a turn is under way.

    `said`: what it adds to the conversation.
    """

    plays_turn: ClassVar[Literal[False]] = False

    within_turn: bool
    message: OutgoingMessage
    said: Message | None = None


@dataclass(frozen=True, slots=True)
class PreparedSound:
    """Something that is heard, paced, and is meant neither to interrupt a reply nor to get one.

    `cue`: when, during the reply to the turn before; None: while nothing is played.
    """

    plays_turn: ClassVar[Literal[False]] = False

    kind: SoundKind
    cue: Cue | None
    chunks: tuple[OutgoingMessage, ...]
    between: tuple[OutgoingMessage, ...]

    @property
    def within_turn(self) -> bool:
        """Whether it is heard while the turn before goes on."""
        return self.cue is not None


SpeechKey = tuple[str, Speech, int, bool, int]
PreparedStep = PreparedTurn | PreparedSound | Interrupt | Pause | Expect | PreparedEvent


@dataclass(frozen=True)
class PreparedScript:
    """What one session says, in the words of one dialect.

    `set_up`: what opens it, in this order: messages that are sent, and events that are waited for, none where the
    start is `pipelined`. `history`: what was said before the first turn, which is `said_before`, encoded.
    `renew_after_ns`: as `Script.renew_after_s`. `between`: what an open
    microphone records before the first turn. `phase_ns`: so long after the session is ready it begins, for the chunks
    of sessions that start together would else all be due in one instant. `variables_row`: from 1, None without
    variables.
    """

    name: str
    dialect: Dialect
    limits: Limits
    set_up: tuple[OutgoingMessage | Awaited, ...]
    settings: SessionSettings
    steps: tuple[PreparedStep, ...]
    between: tuple[OutgoingMessage, ...]
    jitter_buffer_ns: int
    phase_ns: int = 0
    variables_row: int | None = None
    history: tuple[OutgoingMessage, ...] = ()
    pipelined: bool = False
    functions: Mapping[str, Function] = field(default_factory=dict)
    choices: Choices = field(default_factory=lambda: Choices(0, 0))
    """What differs from other sessions and is drawn while it goes on: how long functions take."""
    said_before: tuple[SaidItem, ...] = ()
    renew_after_ns: int | None = None

    def after(self, said: Sequence[SaidItem]) -> PreparedScript:
        """The same for a session in which this was said before."""
        history = tuple(OutgoingMessage(*_said_again(item, self.dialect)) for item in said)
        return replace(self, history=history, said_before=tuple(said))

    @property
    def turns(self) -> tuple[PreparedTurn, ...]:
        return tuple(step for step in self.steps if step.plays_turn)

    @property
    def input_format(self) -> AudioFormat:
        """What the caller's audio is sent as."""
        return chosen(self.dialect.input_formats, self.settings.input_format)

    @property
    def output_format(self) -> AudioFormat:
        """What replies come as."""
        return chosen(self.dialect.output_formats, self.settings.output_format)

    @property
    def service_responds(self) -> bool:
        """Whether the service starts responses by itself."""
        return _service_responds(self.settings)

    @property
    def renewable(self) -> bool:
        """Whether a call goes on in another session once one is as old as it may be."""
        return self.renew_after_ns is not None


class Repertoire:
    """Everything that sessions of a script may say, in the words of one dialect.

    Raises ScriptError for what the dialect cannot say. The speech of the script's own turns is encoded here and kept.
    """

    def __init__(self, script: Script, dialect: Dialect) -> None:
        _refuse_unspeakable(script, dialect)
        self.script, self.dialect = script, dialect
        self._wires: dict[tuple[str, Speech], bytes] = {}
        self._speeches: dict[SpeechKey, tuple[OutgoingMessage, ...]] = {}
        self._sounds: dict[Sound, PreparedSound] = {}
        self._betweens: dict[tuple[str, Speech, int], tuple[OutgoingMessage, ...]] = {}
        said_before = script.history.messages if script.history else ()
        self._history = tuple(OutgoingMessage(*dialect.message(message, MESSAGE_ID)) for message in said_before)
        self._numbered = tuple(_numbered(script))
        for number, step in self._numbered:
            if isinstance(step, WavTurn):
                for pcm in step.audio:
                    self._speeches[_speech_key(step, pcm, number)] = self._speech(step, pcm, number)
                    self._between(step, pcm)
        varies = script.variables is not None or any(len(s.audio) > 1 for s in script.steps if isinstance(s, WavTurn))
        self._only = None if varies else self._session(0, Choices(0, 0))
        self._draws_pauses = any(isinstance(step, DrawnPause) for step in script.steps)

    def session(self, number: int, seed: int) -> PreparedScript:
        """What session `number` (from 0, over all processes) says."""
        choices = Choices(seed, number)
        prepared = self._with_pauses(self._only, choices) if self._only else self._session(number, choices)
        prepared = replace(prepared, choices=choices) if prepared.functions else prepared
        chunk_ns = prepared.between[0].duration_ns if prepared.between else None
        return replace(prepared, phase_ns=int(number * EVENLY % 1 * chunk_ns)) if chunk_ns else prepared

    def step(self, step: Step, number: int, choices: Choices, row: Mapping[str, str] = NO_ROW) -> PreparedStep:
        """A step as its session plays it. `number`: that of the turn, from 1, or of the last turn before a pause."""
        if step.plays_turn:
            return self.turn(step, number, choices.recording(), row)
        if isinstance(step, AddMessage):
            said = self._filled_message(step.message, row)
            return PreparedEvent(step.within_turn, OutgoingMessage(*self.dialect.message(said, MESSAGE_ID)), said)
        if isinstance(step, SendEvent):
            if problem := self.dialect.refuses_event(step.event, self.script.session):
                raise UsageError(f"send {problem}")
            event_id = str(step.event.get("event_id") or f"script-{number}-{step.event['type']}")
            return PreparedEvent(
                step.within_turn, OutgoingMessage(*self.dialect.raw(step.event, event_id), aside=event_id)
            )
        if isinstance(step, Sound):
            return self._sound(step)
        return choices.pause(step) if isinstance(step, DrawnPause) else step

    def turn(self, turn: ScriptTurn, number: int, choice: int = 0, row: Mapping[str, str] = NO_ROW) -> PreparedTurn:
        """One turn as the `number`th (from 1) of its session, with the recording and the variables of that session."""
        prefix = f"turn-{number}-"  # its last dash keeps turn 1 apart from turn 10
        prepared = PreparedTurn(
            number=number,
            label=turn.label,
            kind=_kind(turn),
            event_prefix=prefix,
            speech=(),
            between=(),
            inputs=(),
            request=None if self.dialect.duplex else self._request(turn.response, prefix, row),
            wants_audio=(turn.response.output or self.script.session.output) == "audio",
            out_of_band=turn.response.out_of_band,
            response=turn.response,
            calls=turn.calls,
            reference=self._reference(turn.reference, row),
            judge=turn.judge,
            instructed=turn.response.instructions is not None,
        )
        if isinstance(turn, WavTurn):
            return self._spoken(prepared, turn, choice % len(turn.audio))
        if isinstance(turn, TextTurn):
            said = Message(role="user", text=self._filled(turn.text, row), image=turn.image)
            item = OutgoingMessage(*self.dialect.message(said, f"{prefix}item"))
            return replace(prepared, inputs=(item,), said=said)
        return prepared

    def _session(self, number: int, choices: Choices) -> PreparedScript:
        script = self.script
        rows = script.variables.rows if script.variables else ()
        row = rows[number % len(rows)] if rows else NO_ROW
        instructions = script.session.instructions
        settings = script.session if instructions is None else _with(script.session, self._filled(instructions, row))
        steps = tuple(self.step(step, place, choices, row) for place, step in self._numbered)
        return PreparedScript(
            name=script.name,
            dialect=self.dialect,
            limits=script.limits,
            set_up=self._set_up(settings),
            settings=settings,
            steps=steps,
            between=next((step.between for step in steps if step.plays_turn and step.between), self._silence()),
            jitter_buffer_ns=round(script.jitter_buffer_ms * NS_PER_MS),
            variables_row=number % len(rows) + 1 if rows else None,
            functions={function.tool.name: function for function in script.tools},
            choices=choices,
            history=self._history,
            pipelined=script.pipelined,
            said_before=script.history.messages if script.history else (),
            renew_after_ns=None if script.renew_after_s is None else round(script.renew_after_s * NS_PER_S),
        )

    def _set_up(self, settings: SessionSettings) -> tuple[OutgoingMessage | Awaited, ...]:
        steps = self.dialect.set_up(settings, SET_UP_ID)
        awaits = not self.script.pipelined
        return tuple(
            step if isinstance(step, Awaited) else OutgoingMessage(*step)
            for step in steps
            if awaits or not isinstance(step, Awaited)
        )

    def _with_pauses(self, prepared: PreparedScript, choices: Choices) -> PreparedScript:
        """The session with pauses of its own, and the turns that it shares with all others."""
        if not self._draws_pauses:
            return prepared
        steps = zip(self.script.steps, prepared.steps, strict=True)
        drawn = tuple(choices.pause(step) if isinstance(step, DrawnPause) else ready for step, ready in steps)
        return replace(prepared, steps=drawn)

    def _filled(self, text: str, row: Mapping[str, str]) -> str:
        return text if self.script.variables is None else filled(text, row)

    def _filled_message(self, message: Message, row: Mapping[str, str]) -> Message:
        return msgspec.structs.replace(message, text=self._filled(message.text, row))

    def _reference(self, reference: Reference, row: Mapping[str, str]) -> Reference:
        contains = tuple(self._filled(text, row) for text in reference.contains)
        return replace(reference, reply=self._filled(reference.reply, row), contains=contains)

    def _request(self, response: ResponseSettings, prefix: str, row: Mapping[str, str]) -> OutgoingMessage:
        if response.instructions is not None:
            response = _with(response, self._filled(response.instructions, row))
        if response.input:
            filled_in = tuple(self._filled_message(message, row) for message in response.input)
            response = msgspec.structs.replace(response, input=filled_in)
        return OutgoingMessage(*self.dialect.request(response, _request_event_id(prefix)))

    # Speech.

    def _spoken(self, prepared: PreparedTurn, turn: WavTurn, choice: int) -> PreparedTurn:
        """The turn with its speech, one of its recordings: left to the service's VAD, or committed by us."""
        pcm, words = turn.audio[choice], turn.words[choice] if turn.words else ""
        messages = self._speech(turn, pcm, prepared.number)
        reference = replace(prepared.reference, words=words)
        prepared = replace(prepared, audio=pcm.path.name, reference=reference)
        prepared = replace(prepared, interrupts=turn.interrupts, verifies=turn.verifies)
        if self.script.session.turn_detection is not None:
            responds = _service_responds(self.script.session)
            return replace(
                prepared,
                speech=messages,
                between=self._between(turn, pcm),
                request=None if responds else prepared.request,
                vad=True,
                tail_ns=_tail_ns(pcm),
            )
        commit = OutgoingMessage(*self.dialect.commit(f"{prepared.event_prefix}commit"))
        if turn.paced:
            return replace(prepared, speech=messages, inputs=(commit,))
        return replace(prepared, inputs=(*messages, commit))

    def _speech(self, turn: WavTurn, pcm: Pcm, number: int) -> tuple[OutgoingMessage, ...]:
        kept = self._speeches.get(_speech_key(turn, pcm, number))
        if kept is not None:
            return kept
        vad = self.script.session.turn_detection is not None
        pieces = tuple(chunks(self._wire(pcm), self._format, turn.chunk_ms, whole=vad))
        return tuple(self._appends(pieces, pcm, f"turn-{number}-append", OF_SPEECH if turn.paced else None))

    def _sound(self, sound: Sound) -> PreparedSound:
        """A sound, encoded once."""
        if sound not in self._sounds:
            pieces = tuple(chunks(self._wire(sound.audio), self._format, sound.chunk_ms, whole=True))
            messages = tuple(self._appends(pieces, sound.audio, f"sound-{len(self._sounds)}", OF_SOUND))
            between = self._between(sound, sound.audio)
            self._sounds[sound] = PreparedSound(sound.kind, sound.cue, messages, between)
        return self._sounds[sound]

    def _between(self, turn: WavTurn | Sound, pcm: Pcm) -> tuple[OutgoingMessage, ...]:
        if self.script.session.turn_detection is None:
            return ()
        background = self.script.background
        if background is None:
            return self._silence(turn.chunk_ms)
        key = (pcm.digest, pcm.speech, turn.chunk_ms)
        if key not in self._betweens:
            noise = replace(pcm, data=noise_alone(pcm, background, BETWEEN_S))
            pieces = chunks(encoded(noise, self._format), self._format, turn.chunk_ms, whole=False)
            whole = [piece for piece in pieces if piece.duration_ns == turn.chunk_ms * NS_PER_MS]
            self._betweens[key] = tuple(self._append(piece, BETWEEN_ID, paced=True) for piece in whole)
        return self._betweens[key]

    def _silence(self, chunk_ms: int = 100) -> tuple[OutgoingMessage, ...]:
        if self.script.session.turn_detection is None:
            return ()
        return (self._append(silence(self._format, chunk_ms), BETWEEN_ID, paced=True),)

    def _wire(self, pcm: Pcm) -> bytes:
        key = (pcm.digest, pcm.speech)  # the speech sets the noise's level
        if key not in self._wires:
            noisy = pcm if self.script.background is None else mixed(pcm, self.script.background)
            self._wires[key] = encoded(noisy, self._format)
        return self._wires[key]

    def _appends(
        self, pieces: Sequence[Chunk], pcm: Pcm, event_id: str, instants: tuple[str, ...] | None
    ) -> Iterator[OutgoingMessage]:
        """The messages of a recording; those that hold an edge of its speech say where.

        `instants`: what its begin and its end are called; None where it is sent all at once.
        """
        recorded_ns, whole_ns, paced = 0, sum(chunk.duration_ns for chunk in pieces), instants is not None
        edges = dict(zip(instants or (), (_ns(pcm.speech.begin + 1), _ns(pcm.speech.end)), strict=False))
        edges = {name: min(at_ns, whole_ns) for name, at_ns in edges.items()}  # resampling may shorten by a sample
        for number, chunk in enumerate(pieces, 1):
            begin_ns, recorded_ns = recorded_ns, recorded_ns + chunk.duration_ns
            moments = {name: recorded_ns - at_ns for name, at_ns in edges.items() if begin_ns < at_ns <= recorded_ns}
            yield replace(self._append(chunk, f"{event_id}-{number}", paced=paced), moments=moments or NO_MOMENTS)

    def _append(self, chunk: Chunk, event_id: str, *, paced: bool) -> OutgoingMessage:
        message = self.dialect.append(chunk.data, event_id)
        return OutgoingMessage(*message, chunk.duration_ns if paced else None, audio_bytes=len(chunk.data))

    @property
    def _format(self) -> AudioFormat:
        return chosen(self.dialect.input_formats, self.script.session.input_format)


def _said_again(item: SaidItem, dialect: Dialect) -> ClientMessage:
    match item:
        case Message():
            return dialect.message(item, MESSAGE_ID)
        case FunctionCall():
            return dialect.function_call(item, MESSAGE_ID)
        case FunctionOutput():
            return dialect.function_output(item, MESSAGE_ID)


def _speech_key(turn: WavTurn, pcm: Pcm, number: int) -> SpeechKey:
    return pcm.digest, pcm.speech, turn.chunk_ms, turn.paced, number


def _refuse_unspeakable(script: Script, dialect: Dialect) -> None:
    """Raise ScriptError for settings and steps that the dialect cannot say, and for events that undo settings."""
    refused = dialect.refuses(script.session)
    if refused is not None:
        raise _at(script, ("session", *refused.setting), refused.problem)
    for key, name, feature in _wanted_features(script):
        if feature in dialect.lacks:
            raise _at(script, (key,), f"{name} {feature.value}, {dialect.lacks[feature]}")
    for number, step in enumerate(script.steps, 1):
        problem = dialect.refuses_event(step.event, script.session) if isinstance(step, SendEvent) else ""
        if problem:
            raise _at(script, ("steps",), f"send of step {number} {problem}")


def _at(script: Script, keys: tuple[str, ...], problem: str) -> UsageError:
    """The error of a script at the value that stands at the end of these keys."""
    if script.written is None:
        return ScriptError(script.path, None, problem)
    return script.written.nearest(*keys).error(problem)


def _wanted_features(script: Script) -> Iterator[tuple[str, str, Feature]]:
    """(key of the script, in words where, what is wanted there) of what not every service has."""
    if script.history and any(message.image for message in script.history.messages):
        yield "history", "history", Feature.IMAGE
    for key, wanted, feature in (
        ("history", script.history, Feature.HISTORY),
        ("pipelined", script.pipelined, Feature.PIPELINED),
        ("renew_after", script.renew_after_s, Feature.RENEWAL),
    ):
        if wanted:
            yield key, "the script", feature
    for number, step in enumerate(script.steps, 1):
        for feature in features_of(step):
            yield "steps", f"step {number}", feature


def _service_responds(settings: SessionSettings) -> bool:
    return settings.turn_detection is not None and settings.turn_detection.service_responds


def _numbered(script: Script) -> Iterator[tuple[int, Step]]:
    """The steps, each turn with its number in the session."""
    number = 0
    for step in script.steps:
        number += step.plays_turn
        yield number, step


def _request_event_id(prefix: str) -> str:
    return f"{prefix}response"


def _kind(turn: ScriptTurn) -> InputKind:
    match turn:
        case TextTurn():
            return "text"
        case AskTurn():
            return "none"
        case WavTurn():
            return "audio"


def _with(settings: Settings, instructions: str) -> Settings:
    return msgspec.structs.replace(settings, instructions=instructions)


def _tail_ns(pcm: Pcm) -> int:
    """Half of the length of what is said after the last pause."""
    last = last_stretch(np.frombuffer(pcm.data, "<i2"), pcm.speech, RATE_HZ)
    return _ns(last.end - last.begin) // 2


def _ns(samples: int) -> int:
    """How long so many samples take to record."""
    return samples * NS_PER_S // RATE_HZ
