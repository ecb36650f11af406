"""The kinds of steps of a script, their rules, and the reading of steps. Steps that are turns
are in `turns.py`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeGuard, get_args

import msgspec

from bench.base.errors import Mistakes, UsageError
from bench.base.suggestions import did_you_mean
from bench.base.units import NS_PER_S
from bench.files.sanitize import excerpt
from bench.files.validation import (
    Boolean,
    Choice,
    Converted,
    Field,
    InvalidCombinationError,
    JsonObject,
    Number,
    OneKeyOf,
    OneOrMore,
    OrStruct,
    Schema,
    StructOf,
    Validator,
    either,
    field_key,
    field_keys,
    struct_of,
)
from bench.files.yaml_file import LocatedValue, PythonValue
from bench.plan.conversation import MESSAGE
from bench.plan.prepared import (
    PreparedEvent,
    PreparedExpectation,
    PreparedInterruption,
    PreparedPause,
    PreparedSound,
    PreparedStep,
    PreparedTurn,
)
from bench.plan.random_choices import MAX_PAUSE_S, ThinkTime
from bench.plan.recordings import Pcm, SpeechSpan
from bench.plan.script_keys import DRAWN, SECONDS, WORDS
from bench.plan.synthesizer import AUDIO, SpeechSource
from bench.plan.turn_plan import WATCH_NS, InterruptTrigger, SoundKind
from bench.plan.turns import (
    CHUNK,
    CHUNK_NOTE,
    NOT_FIRST,
    SPEECH,
    SPEECH_NOTE,
    STEP_NAME,
    AudioTurn,
    AudioTurnBase,
    GreetingTurn,
    Preparation,
    RequestTurn,
    ScriptTurn,
    Step,
    TextTurn,
    check_speech,
    with_speech,
)
from bench.wire.dialect import MESSAGE_ID, Dialect, Feature
from bench.wire.settings import ONLY_TRANSCRIPT, Message, SessionSettings

# A step is refused before the run if its session can never fulfil it (`problems`) or its service
# lacks something (`features`). Both are checked for the whole script, so that no session is paid
# for one that could not succeed. What only a reply can show, such as a cue after words that are not
# said, is an outcome.
OF_SPEECH = ("speech_started", "speech_stopped")
OF_AUDIO = (*OF_SPEECH, "committed")
OF_SPOKEN_ANSWER = ("audio_delta", "transcript_delta", "audio_done", "transcript_done")
EXPECTED_EVENTS = (*OF_AUDIO, "response_created", "text_delta", *OF_SPOKEN_ANSWER)
"""The events that a script can expect. Each name is a name in `bench.wire.events`."""
NEEDS_VAD = (
    "needs `turn_detection` in the session: without it the service processes only committed audio"
)
UNPLAYED = "needs a reply with audio, but the turn before requests text"
NO_ROW: Mapping[str, str] = {}


# Steps during the playback of a reply.


def _cue(
    after: float | None = None, after_share: float | None = None, after_text: str | None = None
) -> InterruptTrigger | None:
    """Return the cue that is defined by one of these keys; None if none of the keys is given."""
    times = {"after": after, "after_share": after_share, "after_text": after_text}
    keys = [name for name, value in times.items() if value is not None]
    if len(keys) > 1:
        raise InvalidCombinationError(
            keys[1],
            f"sets the instant, and so does {keys[0]}: use only one of after, after_share and"
            " after_text",
        )
    return (
        InterruptTrigger(round((after or 0) * NS_PER_S), after_share, after_text or "")
        if keys
        else None
    )


CUE = StructOf(
    {
        "after": Field(
            Number(0, MAX_PAUSE_S, "of seconds"),
            "After this many seconds of the reply were played.",
        ),
        "after_share": Field(
            Number(0, 1), "After this share of the reply was played: 0.5 is half of it."
        ),
        "after_text": Field(WORDS, "After the reply's transcript contains these words."),
    },
    _cue,
)
AT_ONCE = InterruptTrigger()


def _cue_features(cue: InterruptTrigger | None) -> Iterator[Feature]:
    if cue is not None and (cue.text or cue.share is not None):
        yield Feature.CUE


@dataclass(frozen=True, kw_only=True)
class InterruptSettings:
    """The keys inside `interrupt`."""

    audio: tuple[Pcm, ...] = field_key(
        OneOrMore(AUDIO),
        "The caller's speech; without it the client interrupts (`response.cancel`).",
        absent=(),
    )
    speech: tuple[SpeechSpan, ...] = field_key(SPEECH, SPEECH_NOTE, absent=())
    verify_truncation: bool = field_key(
        Boolean(), "Check that the service retains only what was played.", False
    )
    cue: InterruptTrigger | None = field_keys(CUE)

    def __post_init__(self) -> None:
        check_speech(self.audio, self.speech)


@dataclass(frozen=True)
class InterruptStep(AudioTurnBase):
    """An interruption of the preceding reply, by the caller's speech, which is a turn, or by the
    client.
    """

    verb = "interrupt"
    within_turn = True

    interrupt: InterruptSettings = field_key(
        struct_of(InterruptSettings, nulls=False),
        "When the reply is interrupted, and by what speech.",
        required=True,
    )

    def __post_init__(self) -> None:
        if self.interrupt.audio:
            return
        of_turn = {
            "name": self.name,
            "expected_calls": self.expected_calls,
            "expected_reply": self.reference.reply,
            "success": self.reference.has_task,
            **msgspec.structs.asdict(self.response),
        }
        problem = (
            "belongs to a turn, but an interruption without speech is not a turn: add `audio` under"
            " `interrupt`"
        )
        for name, value in of_turn.items():
            if value:
                raise InvalidCombinationError(name, problem)

    @property
    def is_turn(self) -> bool:
        return bool(self.interrupt.audio)

    @property
    def recordings(self) -> tuple[Pcm, ...]:
        return with_speech(self.interrupt.audio, self.interrupt.speech)

    def features(self) -> Iterator[Feature]:
        yield from super().features()
        yield Feature.INTERRUPTION
        yield from _cue_features(self.interrupt.cue)
        if not self.is_turn or self.interrupt.verify_truncation:
            yield Feature.CUT

    def problems(
        self, session: SessionSettings, turn: ScriptTurn | None
    ) -> Iterator[tuple[str, str]]:
        yield from super().problems(session, turn)
        if turn is not None and turn.requested_output(session) == "text":
            yield self.verb, UNPLAYED
        elif self.is_turn and session.turn_detection is None:
            yield self.verb, NEEDS_VAD

    def prepared(self, preparation: Preparation) -> PreparedStep:
        if not self.is_turn:
            return PreparedInterruption(
                self.interrupt.cue or AT_ONCE, self.interrupt.verify_truncation
            )
        return super().prepared(preparation)

    def prepared_turn(self, preparation: Preparation, choice: int) -> PreparedTurn:
        turn = super().prepared_turn(preparation, choice)
        return replace(
            turn,
            interrupts=self.interrupt.cue or AT_ONCE,
            verifies=self.interrupt.verify_truncation,
        )


@dataclass(frozen=True, kw_only=True)
class SoundSettings:
    """The keys inside `sound`."""

    audio: Pcm = field_key(AUDIO, "A WAV of the sound, or a text to say.", required=True)
    kind: SoundKind = field_key(
        Choice(get_args(SoundKind)),
        "A backchannel (uh-huh), a noise, or speech to another person.",
        required=True,
    )
    during: Literal["reply", "silence"] = field_key(
        Choice(("reply", "silence")),
        "Whether it is played during a reply or during silence.",
        "reply",
    )
    chunk_ms: int | None = field_key(CHUNK, CHUNK_NOTE)
    cue: InterruptTrigger | None = field_keys(CUE)

    def __post_init__(self) -> None:
        if self.during == "silence" and self.cue is not None:
            key = (
                "after_share"
                if self.cue.share is not None
                else "after_text"
                if self.cue.text
                else "after"
            )
            raise InvalidCombinationError(
                key, "needs a reply, but there is none during silence: remove one of the two"
            )


@dataclass(frozen=True)
class SoundStep(Step):
    """A sound that should neither interrupt a reply nor cause one."""

    verb = "sound"

    sound: SoundSettings = field_key(
        struct_of(SoundSettings, nulls=False), "A sound that should not interrupt.", required=True
    )

    @property
    def within_turn(self) -> bool:
        return self.sound.during == "reply"

    @property
    def is_before_turn(self) -> bool:
        return not self.within_turn

    @property
    def recordings(self) -> tuple[Pcm, ...]:
        return (self.sound.audio,)

    @property
    def lasts_s(self) -> float:
        return 0.0 if self.within_turn else self.sound.audio.seconds + WATCH_NS / NS_PER_S

    def features(self) -> Iterator[Feature]:
        yield Feature.SOUND
        yield from _cue_features(self.sound.cue)

    def problems(
        self, session: SessionSettings, turn: ScriptTurn | None
    ) -> Iterator[tuple[str, str]]:
        if self.within_turn and turn is not None and turn.requested_output(session) == "text":
            yield self.verb, UNPLAYED
        elif session.turn_detection is None:
            yield self.verb, NEEDS_VAD

    def prepared(self, preparation: Preparation) -> PreparedStep:
        encoder = preparation.encoder
        sound = self.sound
        trigger = (self.sound.cue or AT_ONCE) if self.within_turn else None
        chunks = encoder.sound(sound.audio, sound.chunk_ms)
        return PreparedSound(
            sound.kind, trigger, chunks, encoder.silence_chunks(sound.audio, sound.chunk_ms)
        )


# Steps that are not turns.


@dataclass(frozen=True)
class PauseStep(Step):
    """A pause, in which the caller is silent: a duration in seconds, or a distribution from
    which sessions draw.
    """

    verb = "pause"

    pause: float | ThinkTime = field_key(
        OrStruct(SECONDS, DRAWN),
        "Seconds of silence of the caller, or a distribution from which each session draws.",
        required=True,
    )
    name: str = field_key(
        STEP_NAME, "The name by which `rtbench sweep --vary steps.NAME=…` sets it.", absent=""
    )

    @property
    def draws(self) -> bool:
        return isinstance(self.pause, ThinkTime)

    @property
    def think_s(self) -> float:
        return self.pause.mean_s if isinstance(self.pause, ThinkTime) else self.pause

    def prepared(self, preparation: Preparation) -> PreparedStep:
        pause = self.pause
        return PreparedPause(
            preparation.choices.pause_ns(pause)
            if isinstance(pause, ThinkTime)
            else round(pause * NS_PER_S)
        )


WITHIN = (
    "Timeout in seconds, from the sending of the step before; after a WAV from its end, trailing"
    " silence included; after another expect from its event."
)


@dataclass(frozen=True)
class ExpectSettings:
    """The keys inside `expect`."""

    event: str = field_key(
        Choice(EXPECTED_EVENTS),
        "The event that the turn before must receive, or has already received.",
        required=True,
    )
    within: float = field_key(SECONDS, WITHIN, required=True)


@dataclass(frozen=True)
class ExpectStep(Step):
    """An event that must arrive for the preceding turn."""

    verb = "expect"
    within_turn = True

    expect: ExpectSettings = field_key(
        struct_of(ExpectSettings, nulls=False),
        "An event that the turn before must receive.",
        required=True,
    )

    def features(self) -> Iterator[Feature]:
        yield Feature.EXPECTATION

    def problems(
        self, session: SessionSettings, turn: ScriptTurn | None
    ) -> Iterator[tuple[str, str]]:
        if turn is None:
            return
        event = self.expect.event
        output = turn.requested_output(session)
        reasons = {
            "has no audio": event in OF_AUDIO and turn.kind != "audio",
            "is committed by this tool, as there is no turn detection": (
                event in OF_SPEECH and session.turn_detection is None
            ),
            "requests an answer in text": event in OF_SPOKEN_ANSWER and output == "text",
            "gets no reply": event not in OF_AUDIO and output == ONLY_TRANSCRIPT,
            "requests audio, whose words arrive as transcript_delta": (
                event == "text_delta" and output == "audio"
            ),
        }
        for reason, applies in reasons.items():
            if applies:
                yield "event", f"{event} can never be received: the turn before it {reason}"

    def prepared(self, preparation: Preparation) -> PreparedStep:
        return PreparedExpectation(self.expect.event, self.expect.within)


@dataclass(frozen=True)
class MessageStep(Step):
    """A message that is added to the conversation. No response is requested for it."""

    verb = "message"

    message: Message = field_key(
        MESSAGE, "A message without a request for an answer.", required=True
    )

    @property
    def said(self) -> tuple[Message, ...]:
        return (self.message,)

    def features(self) -> Iterator[Feature]:
        yield from super().features()
        yield Feature.MESSAGE

    def prepared(self, preparation: Preparation) -> PreparedStep:
        encoder = preparation.encoder
        item = encoder.message(self.message, preparation.row)
        message = encoder.dialect.message(item, MESSAGE_ID)
        return PreparedEvent(self.within_turn, message, item)


def _typed(value: LocatedValue, event: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(event.get("type"), str) or not event["type"]:
        raise value.refuse("needs `type`, a text: the name of the event")
    return event


TYPED = {"type": {"type": "string", "minLength": 1}}
EVENT = Converted(
    JsonObject(), _typed, {"type": "object", "properties": TYPED, "required": ["type"]}
)
"""A validator of an event in the service's own format. It checks only the event's `type`."""


@dataclass(frozen=True)
class SendStep(Step):
    """An event in the service's own format, sent at once. It belongs to no turn, even if it
    requests a response.
    """

    verb = "send"
    within_turn = True
    is_of_turn = False

    send: Mapping[str, Any] = field_key(
        EVENT, "An event in the service's own format.", required=True
    )

    def unsupported_reason(self, dialect: Dialect, session: SessionSettings) -> str:
        return dialect.unsupported_event(self.send, session)

    def prepared(self, preparation: Preparation) -> PreparedStep:
        given_id = self.send.get("event_id")
        event_id = str(given_id or f"script-{preparation.number}-{self.send['type']}")
        message = preparation.encoder.dialect.raw(self.send, event_id)
        return PreparedEvent(self.within_turn, replace(message, untracked=event_id))


KINDS: tuple[type[Step], ...] = (
    TextTurn,
    AudioTurn,
    RequestTurn,
    GreetingTurn,
    InterruptStep,
    SoundStep,
    PauseStep,
    ExpectStep,
    MessageStep,
    SendStep,
)


def step_table(kind: type[Step]) -> StructOf[Step]:
    """Return the keys of a kind of step: first its verb, and then the keys that may occur next
    to the verb.
    """
    table = struct_of(kind, nulls=False)
    return replace(table, fields={kind.verb: table.fields[kind.verb]} | dict(table.fields))


STEP_TABLES = {kind.verb: step_table(kind) for kind in KINDS}
STEP = OneKeyOf[Step](STEP_TABLES)
TURN_KEYS = ("text", "audio", "request_response", "wait_for")
NO_TURN_BEFORE = (
    f"must come after a turn: put it after a {either(f'`{verb}`' for verb in TURN_KEYS)}"
)
NO_TURN_AFTER = (
    "during silence needs a turn after it, and there is none: add a `text`, `audio` or"
    " `request_response` step"
)
AMBIGUOUS_NAME = (
    "is the name of a text turn and of a voice turn, which are measured from different instants:"
    " use different names"
)


def is_turn(step: Step) -> TypeGuard[ScriptTurn]:
    return step.is_turn


def step_of(
    verb: str, folder: Path = Path(), source: SpeechSource | None = None, **values: Any
) -> Step:
    """Return the step that a script's file with these keys would have. Keys whose value is None are
    ignored.

    Paths are relative to `folder`. `source` is the script's synthesized speech. A name that is no
    key next to the verb is taken as a key inside the verb's table. Raise UsageError for anything
    that would also be an error in a file.
    """
    table = STEP_TABLES[verb]
    values = {name: value for name, value in values.items() if value is not None}
    if verb not in values:
        step_keys = {name for name in values if name in table.fields}
        nested = {name: values.pop(name) for name in values.keys() - step_keys}
        values = {verb: nested} | values
    return table.read(PythonValue(verb, values, folder, context=source))


# A step is checked at four times, each when enough is known. Its validators check single values.
# `__post_init__` checks keys that exclude each other. `problems` checks it within the session: the
# settings, and the turn that is open. `features` and `unsupported_reason` check it against the
# dialect, in `CompiledScript`. A task in Python goes through the same checks, step by step.
def with_pauses(steps: tuple[Step, ...], pauses: Mapping[str, float]) -> tuple[Step, ...]:
    """Return steps with other pauses, in seconds, by the name of the step. Raise UsageError for a
    name that no pause has.
    """
    known = {step.name for step in steps if isinstance(step, PauseStep)} - {""}
    for name in pauses:
        if name not in known:
            raise UsageError(
                f"steps.{excerpt(name)}: no pause has this name{did_you_mean(name, known)}; name a"
                " pause, as in {pause: 60, name: idle}"
            )
    return tuple(
        replace(step, pause=pauses[step.name])
        if isinstance(step, PauseStep) and step.name in pauses
        else step
        for step in steps
    )


class StepRules:
    """The rules for the order of a session's steps, in YAML and in Python, which checks them
    during the session.
    """

    def __init__(self, session: SessionSettings) -> None:
        self._session = session
        self._turn: ScriptTurn | None = None
        """The turn that is open; None if no turn is open."""
        self._kinds: dict[str, bool] = {}
        """The kind of each turn, by the turn's name: True for a voice turn, False for any other
        turn."""

    def problems(self, step: Step) -> Iterator[tuple[str, str]]:
        """Yield (key, problem) for each rule that the next step violates. `step` is this next
        step.
        """
        if step.is_of_turn and self._turn is None:
            yield step.verb, NO_TURN_BEFORE
        if step.is_first and self._kinds:
            yield step.verb, NOT_FIRST
        yield from step.problems(self._session, self._turn)
        if is_turn(step):
            spoken = step.kind == "audio"
            if self._kinds.setdefault(step.name, spoken) is not spoken:
                yield "name", AMBIGUOUS_NAME
            self._turn = step
        elif not step.within_turn:
            self._turn = None


@dataclass(frozen=True)
class StepsValidator(Validator[tuple[Step, ...]]):
    """A validator of a list of steps, of which one or more are turns. A turn without a name
    becomes `turn_<number>`.
    """

    def read(self, value: LocatedValue) -> tuple[Step, ...]:
        content = value.content()
        if not isinstance(content, list):
            raise value.type_error("a list")
        steps = list[Step]()
        turns = 0
        mistakes = Mistakes()
        for number, item in enumerate(content, 1):
            with mistakes.gather():
                step = STEP.read(item.renamed(f"step {number}"))
                turns += step.is_turn
                steps.append(
                    replace(step, name=step.name or f"turn_{turns}") if is_turn(step) else step
                )
        mistakes.refuse()
        if not turns:
            raise value.refuse(f"has no turn: it needs a {either(f'`{key}`' for key in TURN_KEYS)}")
        return tuple(steps)

    def schema(self) -> Schema:
        turn = {"anyOf": [{"required": [key]} for key in TURN_KEYS]}
        return {"type": "array", "items": STEP.schema(), "contains": turn}


MAX_RETAINED = 64
"""The maximum number of steps with files in memory, for tasks that repeat them. Others are
quickly read again."""


class StepReader:
    """A reader of a task's steps in Python, with paths relative to `folder`. Steps with files
    are cached.
    """

    def __init__(self, folder: Path, source: SpeechSource | None = None) -> None:
        self._folder = folder
        self._source = source
        self._kept: dict[str, Step] = {}

    def read(self, verb: str, **values: Any) -> Step:
        """Return a step, as `step_of` does. A cached step is not read again."""
        name = repr((verb, sorted(values.items())))
        step = self._kept.pop(name, None) or step_of(verb, self._folder, self._source, **values)
        if step.recordings or "file" in values:
            self._kept[name] = step  # at the end, because it is the last one used
            if len(self._kept) > MAX_RETAINED:
                del self._kept[next(iter(self._kept))]
        return step
