"""The steps of a script: turns, and what stands between them.

Each kind of step says of itself how it goes with turns. `plays_turn`: it is a turn. `within_turn`: it belongs to the
turn before it, which goes on meanwhile, or to none; any other step waits until that turn has ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from bench.interruptions import Cue, SoundKind
from bench.limits import Limits
from bench.plan.audio import Pcm
from bench.plan.background import Background
from bench.plan.functions import ExpectedCall, Function
from bench.plan.messages import History
from bench.plan.reference import NO_REFERENCE, Judge, Reference
from bench.plan.rows import Rows
from bench.plan.think_times import ThinkTime
from bench.protocol.base import Feature
from bench.protocol.messages import Image, Message
from bench.protocol.settings import ResponseSettings, SessionSettings
from bench.units import NS_PER_S
from bench.yaml_file import Value

EXPECTED_EVENTS = (
    "speech_started",
    "speech_stopped",
    "committed",
    "response_created",
    "text_delta",
    "audio_delta",
    "transcript_delta",
    "audio_done",
    "transcript_done",
)
"""What a script can expect, by its name in `bench.protocol.events`."""


Expectations = tuple[ExpectedCall, ...] | None
"""The function calls that a script expects of a turn; None where any will do."""


@dataclass(frozen=True)
class TextTurn:
    """A turn of the caller's words as text, perhaps with an image."""

    plays_turn: ClassVar[Literal[True]] = True
    within_turn: ClassVar[bool] = False

    label: str
    text: str
    response: ResponseSettings
    image: Image | None = None
    reference: Reference = NO_REFERENCE
    judge: Judge | None = None
    calls: Expectations = None


@dataclass(frozen=True)
class AskTurn:
    """A turn without words of the caller: only a response is asked for."""

    plays_turn: ClassVar[Literal[True]] = True
    within_turn: ClassVar[bool] = False

    label: str
    response: ResponseSettings
    reference: Reference = NO_REFERENCE
    judge: Judge | None = None
    calls: Expectations = None


@dataclass(frozen=True)
class WavTurn:
    """A turn of the caller's words as audio: one of `audio` in each session, without any noise.

    `paced`: as a microphone would send, else all at once. `words`: of each of `audio` what is said in it; () where
    nobody wrote it down. `interrupts`: when they interrupt the reply to the turn before; None where that is heard out
    first. `verifies`: and it is checked that the service keeps nothing of that reply beyond what was heard.
    """

    plays_turn: ClassVar[Literal[True]] = True

    label: str
    audio: tuple[Pcm, ...]
    chunk_ms: int
    paced: bool
    response: ResponseSettings
    words: tuple[str, ...] = ()
    reference: Reference = NO_REFERENCE
    judge: Judge | None = None
    calls: Expectations = None
    interrupts: Cue | None = None
    verifies: bool = False

    @property
    def within_turn(self) -> bool:
        """Whether it is said while the turn before goes on."""
        return self.interrupts is not None


@dataclass(frozen=True)
class Interrupt:
    """A step by which the client interrupts the reply to the turn before, as if its caller had pressed a button.

    `verify`: it is checked that the service keeps nothing of the reply beyond what was heard.
    """

    plays_turn: ClassVar[Literal[False]] = False
    within_turn: ClassVar[bool] = True

    cue: Cue
    verify: bool = False


@dataclass(frozen=True)
class Sound:
    """A step in which something is heard that is meant neither to interrupt a reply nor to get one.

    `cue`: when, during the reply to the turn before; None: while nothing is played.
    """

    plays_turn: ClassVar[Literal[False]] = False

    kind: SoundKind
    audio: Pcm
    chunk_ms: int
    cue: Cue | None

    @property
    def within_turn(self) -> bool:
        """Whether it is heard while the turn before goes on."""
        return self.cue is not None


@dataclass(frozen=True)
class Pause:
    """A step in which the caller is silent."""

    plays_turn: ClassVar[Literal[False]] = False
    within_turn: ClassVar[bool] = False

    duration_ns: int

    @property
    def mean_s(self) -> float:
        """How long it is, in seconds."""
        return self.duration_ns / NS_PER_S


@dataclass(frozen=True)
class DrawnPause:
    """A step in which the caller is silent for as long as is drawn for the session."""

    plays_turn: ClassVar[Literal[False]] = False
    within_turn: ClassVar[bool] = False

    length: ThinkTime

    @property
    def mean_s(self) -> float:
        """How long it is on average, in seconds."""
        return self.length.mean_s


@dataclass(frozen=True)
class Expect:
    """A step by which the turn before must get an event, one of EXPECTED_EVENTS, within so many seconds."""

    plays_turn: ClassVar[Literal[False]] = False
    within_turn: ClassVar[bool] = True

    event: str
    within_s: float


@dataclass(frozen=True)
class AddMessage:
    """A step that adds a message to the conversation, and asks for no response."""

    plays_turn: ClassVar[Literal[False]] = False
    within_turn: ClassVar[bool] = False

    message: Message


@dataclass(frozen=True)
class SendEvent:
    """A step that sends an event in the words of the dialect, at once; it is no turn's, whatever it asks for."""

    plays_turn: ClassVar[Literal[False]] = False
    within_turn: ClassVar[bool] = True

    event: Mapping[str, Any]


ScriptTurn = TextTurn | AskTurn | WavTurn
Step = ScriptTurn | Interrupt | Sound | Pause | DrawnPause | Expect | AddMessage | SendEvent


def messages_of(step: Step) -> tuple[Message, ...]:
    """The messages that a step holds, beside the words of its caller."""
    if isinstance(step, AddMessage):
        return (step.message,)
    return (step.response.input or ()) if isinstance(step, AskTurn) else ()


def images_of(step: Step) -> tuple[Image, ...]:
    """The images that a step holds."""
    own = [step.image] if isinstance(step, TextTurn) else []
    return tuple(image for image in (*own, *(message.image for message in messages_of(step))) if image is not None)


def features_of(step: Step) -> Iterator[Feature]:
    """What a step asks for that not every service has."""
    if images_of(step):
        yield Feature.IMAGE
    if isinstance(step, TextTurn):
        yield Feature.TYPED
    if isinstance(step, AskTurn):
        yield Feature.ASKED
    if isinstance(step, AddMessage):
        yield Feature.MESSAGE
    if isinstance(step, Interrupt) or (isinstance(step, WavTurn) and step.interrupts is not None):
        yield Feature.INTERRUPTION
    if isinstance(step, Sound):
        yield Feature.SOUND
    if isinstance(step, Expect):
        yield Feature.EXPECTATION
    if isinstance(step, AskTurn) and (step.response.out_of_band or step.response.input is not None):
        yield Feature.OUT_OF_BAND


@dataclass(frozen=True)
class Script:
    """What one session does. `digest`: SHA-256 over the file and every other file that it names, hex."""

    name: str
    path: Path
    session: SessionSettings
    limits: Limits
    steps: tuple[Step, ...]
    digest: str
    background: Background | None = None
    variables: Rows | None = None
    tools: tuple[Function, ...] = ()
    jitter_buffer_ms: float = 50.0
    """How much audio the simulated player gathers before it plays."""
    history: History | None = None
    """What was said before the first turn."""
    pipelined: bool = False
    """Whether the settings and the first turn are sent before the service has greeted the session."""
    renew_after_s: float | None = None
    """The age from which on another session takes the place of one, or when the service ends it; None: none does."""
    written: Value | None = field(default=None, repr=False, compare=False)
    """What its file holds, for the places of errors that are known once there is a dialect; None of one in Python."""

    @property
    def turns(self) -> tuple[ScriptTurn, ...]:
        """The steps that are turns."""
        return tuple(step for step in self.steps if step.plays_turn)

    @property
    def counts_words(self) -> bool:
        """Whether word errors of any turn are counted."""
        return any(turn.reference.reply or (isinstance(turn, WavTurn) and turn.words) for turn in self.turns)

    @property
    def think_s(self) -> float:
        """How long the caller is silent between turns in one session, in seconds; what is drawn counts by its mean."""
        return sum(step.mean_s for step in self.steps if isinstance(step, Pause | DrawnPause))
