"""The base class of all steps of a script, and the steps that are turns.

The class of a kind of step has everything about that kind: the keys of a script's file
(`field_key`), from which the reading of YAML, the calls of a task in Python, and the JSON Schema
are made; the features that it needs from a service; its rules, its duration and its messages.
"""

# A step exists in two forms. The fields of its class read the YAML file, or the call in Python, and
# know no target. `prepared` then makes the messages of one session for one dialect. Each subclass
# extends what its base class returns: `ScriptTurn` makes the plan and the request of the response,
# `AudioTurnBase` adds the speech, and `TextTurn` the text. So the order of messages is decided once
# for each kind of input.
#
# A plan (`TurnPlan`) is all that the timeline knows of a turn. It is stored in an event log, so
# that a log can be replayed without its script. What only the session needs to send the turn is in
# `PreparedTurn`.

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, NamedTuple

import msgspec

from bench.files.validation import (
    Boolean,
    Choice,
    Converted,
    Field,
    Integer,
    InvalidCombinationError,
    JsonObject,
    ListOf,
    MapOf,
    Number,
    OneKeyOf,
    OneOrMore,
    OrStruct,
    RegexString,
    String,
    StructOf,
    Validator,
    field_key,
    field_keys,
)
from bench.files.yaml_file import LocatedValue
from bench.plan.conversation import IMAGE, MESSAGE
from bench.plan.functions import ExpectedFunctionCall
from bench.plan.prepared import (
    AS_SESSION,
    InputKind,
    PreparedStep,
    PreparedTurn,
    ScriptEncoder,
    request_event_id,
)
from bench.plan.random_choices import SessionChoices
from bench.plan.recordings import MAX_MINUTES, RATE_HZ, Pcm, SpeechSpan, joined
from bench.plan.script_keys import NAME, RESPONSE, RESPONSE_FIELDS, WORDS
from bench.plan.synthesizer import AUDIO
from bench.plan.turn_plan import NO_REFERENCE, SuccessPredicate, TurnPlan, TurnReference
from bench.wire.dialect import SOUND, Dialect, Feature
from bench.wire.settings import (
    FULL_DUPLEX,
    ONLY_TRANSCRIPT,
    Image,
    Message,
    ResponseSettings,
    SessionSettings,
)

UNPACED = (
    "must be true with turn detection, because speech has no end if all of its audio is sent at"
    " once"
)


class Preparation(NamedTuple):
    """What a step is prepared from: the encoder of the script, and the choices and the variables
    (`row`) of a session.

    `number` is the number of the turn, from 1; for another step, that of the last turn before it.
    """

    encoder: ScriptEncoder
    number: int
    choices: SessionChoices
    row: Mapping[str, str]


# A new kind of step is one class: fields that are keys, and the methods below that differ from
# their defaults. The defaults are those of a step that waits for the turn before it, costs no time,
# needs no feature, and adds nothing to the conversation.
class Step(ABC):
    """A step of a session. `verb` is the key in a script that determines the kind of the step."""

    verb: ClassVar[str]
    is_first = False
    """True if there must be no turn before the step."""

    @property
    def is_turn(self) -> bool:
        """True if the step is a turn."""
        return False

    @property
    def within_turn(self) -> bool:
        """True if the step runs while the preceding turn is open. Otherwise it waits for the end
        of that turn.
        """
        return False

    @property
    def is_of_turn(self) -> bool:
        """True if the step belongs to the preceding turn. Such a step must follow a turn."""
        return self.within_turn

    @property
    def is_before_turn(self) -> bool:
        """True if there must be a turn after the step."""
        return False

    @property
    def draws(self) -> bool:
        """True if each session draws a random value for the step. `ScriptTurn.varies` is about
        recordings.
        """
        return False

    @property
    def recordings(self) -> tuple[Pcm, ...]:
        """The recordings of the step's audio. Each session plays one of them."""
        return ()

    @property
    def said(self) -> tuple[Message, ...]:
        """The messages that the step adds to the conversation."""
        return ()

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages in the step."""
        return self.said

    @property
    def images(self) -> tuple[Image, ...]:
        """The images in the step's messages."""
        return tuple(message.image for message in self.messages if message.image is not None)

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts in the step that may contain variables."""
        return tuple(message.text for message in self.messages)

    @property
    def think_s(self) -> float:
        """The caller's think time in seconds. A random think time counts with its mean."""
        return 0.0

    @property
    def lasts_s(self) -> float:
        """The maximum seconds of the caller's speech and think time, with the means of random
        durations.
        """
        return self.think_s

    def features(self) -> Iterator[Feature]:
        """Yield the features that the step needs from a service and that some services lack."""
        if self.images:
            yield Feature.IMAGE

    def problems(
        self, session: SessionSettings, turn: ScriptTurn | None
    ) -> Iterator[tuple[str, str]]:
        """Yield (key, problem) for each reason why the step is impossible. `turn` is the open
        turn.
        """
        yield from ()

    def unsupported_reason(self, dialect: Dialect, session: SessionSettings) -> str:
        """Return the reason why the dialect cannot express the step; "" if it can."""
        return ""

    def encode_ahead(self, encoder: ScriptEncoder, number: int) -> None:
        """Encode the parts of turn `number` that must not be encoded while sessions run."""
        return

    @abstractmethod
    def prepared(self, preparation: Preparation) -> PreparedStep:
        """Return the step in prepared form."""


def _pattern(value: LocatedValue, text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise value.refuse(f"is not a regular expression: {error}") from None
    return text


PATTERN = Converted(String(), _pattern, {"format": "regex"})
STEP_NAME = RegexString("[A-Za-z0-9._-]{1,64}", "1 to 64 of the characters A-Z a-z 0-9 . _ -")
MATCHES = Field(PATTERN, "A regular expression that the reply's text must contain.", required=True)
CONTAINS = Field(
    OneOrMore(WORDS), "Words that the reply must contain, all of several.", required=True
)
SUCCESS = OneKeyOf[TurnReference](
    {
        "reply_matches": StructOf(
            {"reply_matches": MATCHES}, lambda reply_matches: TurnReference(matches=reply_matches)
        ),
        "reply_contains": StructOf(
            {"reply_contains": CONTAINS},
            lambda reply_contains: TurnReference(contains=reply_contains),
        ),
    }
)
REFERENCE = StructOf(
    {
        "expected_reply": Field(WORDS, "The reference of the reply, for its word error rate."),
        "success": Field(SUCCESS, "The condition for the turn's task success."),
    },
    lambda expected_reply="", success=NO_REFERENCE: replace(success, reply=expected_reply),
)
CALL = StructOf(
    {
        "name": Field(NAME, "The function's name.", required=True),
        "arguments": Field(JsonObject(), "Arguments that the call must have; others are allowed."),
    },
    lambda name, arguments=None: ExpectedFunctionCall(name, arguments or {}),
)

CALLS: Validator[tuple[ExpectedFunctionCall, ...]] = Converted(
    OneOrMore(OrStruct(NAME, CALL)),
    lambda _, calls: tuple(
        ExpectedFunctionCall(call) if isinstance(call, str) else call for call in calls
    ),
)
"""The validator of one function call or several. Each call is a name, or a name with arguments."""


def undeclared(function: str) -> str:
    """Return the error text for a call of a function that the script does not declare."""
    return f"names the function {function}, which is not in `tools`"


@dataclass(frozen=True, kw_only=True)
class ScriptTurn(Step):
    """A turn: the caller's input, and what is expected of the reply."""

    kind: ClassVar[InputKind]

    name: str = field_key(STEP_NAME, "The turn's name in reports.", absent="")
    reference: TurnReference = field_keys(REFERENCE)
    expected_calls: tuple[ExpectedFunctionCall, ...] | None = field_key(
        CALLS, "All function calls that this turn must cause."
    )
    """The function calls that the turn expects; None if any calls are accepted."""
    together: int = field_key(
        Integer(2, 10_000),
        "The number of callers who end their input to this turn at the same instant.",
        0,
    )
    judge: SuccessPredicate | None = None

    @property
    def is_turn(self) -> bool:
        return True

    @property
    @abstractmethod
    def response(self) -> ResponseSettings:
        """The settings of the turn's responses."""

    @property
    def transcript(self) -> tuple[str, ...]:
        """The words of each recording of the turn, as the script states them; () if it does not."""
        return ()

    @property
    def expected_words(self) -> tuple[str, ...]:
        """The words of each recording of the turn; () if they are unknown, "" for a recording
        with unknown words.
        """
        return self.transcript

    @property
    def varies(self) -> bool:
        """True if the turn differs between sessions although the script has no variables."""
        return len(self.recordings) > 1

    @property
    def texts(self) -> tuple[str, ...]:
        instructions = filter(None, [self.response.instructions])
        return (*super().texts, *instructions, self.reference.reply, *self.reference.contains)

    def features(self) -> Iterator[Feature]:
        yield from super().features()
        judged = self.judge is not None
        if (
            self.response != AS_SESSION
            or self.expected_calls is not None
            or judged
            or self.reference != NO_REFERENCE
        ):
            yield Feature.REPLY

    def requested_output(self, session: SessionSettings) -> str:
        """Return which output the turn requests: `audio` or `text`, or `transcript` if there is
        no reply.
        """
        return self.response.output or session.output

    def unsupported_reason(self, dialect: Dialect, session: SessionSettings) -> str:
        own = msgspec.structs.asdict(self.response)
        name = next((name for name, value in own.items() if value is not None), None)
        if name is None or dialect.takes_response_settings:
            return ""
        return (
            f"sets {name}, which this service has only for the whole session: set it in `session`"
        )

    def problems(
        self, session: SessionSettings, turn: ScriptTurn | None
    ) -> Iterator[tuple[str, str]]:
        if self.together and (self.is_first or self.within_turn):
            yield "together", "is only for a turn that the caller begins after a reply"
        known = {tool.name for tool in session.tools}
        for call in self.expected_calls or ():
            if call.name not in known:  # such a call makes its turn fail
                yield "expected_calls", undeclared(call.name)

    def prepared(self, preparation: Preparation) -> PreparedStep:
        return self.prepared_turn(preparation, preparation.choices.recording())

    def prepared_turn(self, preparation: Preparation, choice: int) -> PreparedTurn:
        """Return the turn. `choice` selects the recording."""
        encoder, number, _, row = preparation
        prefix = f"turn-{number}-"  # the final dash distinguishes turn 1 from turn 10
        dialect = encoder.dialect
        output = encoder.session.output
        plan = TurnPlan(
            number=number,
            step=self.name,
            event_prefix=prefix,
            request_event_id=request_event_id(prefix),
            wants_audio=self.requested_output(encoder.session) == "audio",
            transcription_due=encoder.session.input_transcription is not None
            and dialect.turn_source is not SOUND
            and self.kind == "audio",
            speech_format=encoder.input_format.name,
            reply_format=encoder.output_format.name,
            jitter_buffer_ns=encoder.jitter_buffer_ns,
            answer_min_ns=encoder.answer_min_ns if dialect.turn_source is SOUND else 0,
            interpreted=dialect.interprets and self.kind == "audio",
            out_of_band=self.response.out_of_band,
            names_requests=dialect.names_requests,
            only_transcribed=output == ONLY_TRANSCRIPT,
            functions=bool(encoder.session.tools),
            mcp_servers={server.label: server.approve for server in encoder.session.mcp_servers}
            or None,
            expected_calls=(
                None
                if self.expected_calls is None
                else Counter(call.name for call in self.expected_calls)
            ),
            reference=encoder.reference(self.reference, row),
            instructed=self.response.instructions is not None,
            fillers=dialect.fillers(encoder.session) is not None,
            usage_follows=dialect.usage_follows,
        )
        return PreparedTurn(
            plan=plan,
            kind=self.kind,
            speech=(),
            silence_chunks=(),
            inputs=(),
            request=(
                None if output == ONLY_TRANSCRIPT else encoder.request(self.response, prefix, row)
            ),
            judge=self.judge,
            response=self.response,
            calls=self.expected_calls,
            together=self.together,
        )


@dataclass(frozen=True)
class TextTurn(ScriptTurn):
    """A turn in which the caller sends a text, with an optional image."""

    verb = "text"
    kind = "text"

    text: str = field_key(String(), "The caller's words, as text.", required=True)
    image: Image | None = field_key(IMAGE, "A PNG or JPEG image with it. GA only.")
    response: ResponseSettings = field_keys(RESPONSE)

    @property
    def said(self) -> tuple[Message, ...]:
        return (Message(role="user", text=self.text, image=self.image),)

    def features(self) -> Iterator[Feature]:
        yield from super().features()
        yield Feature.TYPED

    def prepared_turn(self, preparation: Preparation, choice: int) -> PreparedTurn:
        turn = super().prepared_turn(preparation, choice)
        encoder = preparation.encoder
        message = encoder.message(self.said[0], preparation.row)
        inputs, request = encoder.dialect.typed_input(
            message, turn.request, encoder.session, turn.plan.event_prefix
        )
        return replace(turn, inputs=tuple(inputs), request=request, item=message)


METADATA = MapOf(
    ".{1,64}",
    RegexString(".{0,512}", "at most 512 characters"),
    "a table of at most 15 texts",
    maximum=15,
)
ASKED = StructOf(
    RESPONSE_FIELDS
    | {
        "conversation": Field(
            Choice(("auto", "none")), "none: the answer is not added to the conversation."
        ),
        "input": Field(
            ListOf(MESSAGE), "The input of the answer, instead of the conversation; []: none."
        ),
        "metadata": Field(
            METADATA, "Up to 15 texts that identify the response, which the service returns."
        ),
    },
    ResponseSettings,
)


@dataclass(frozen=True)
class RequestTurn(ScriptTurn):
    """A turn that only requests a response. The caller sends no input."""

    verb = "request_response"
    kind = "none"

    request_response: ResponseSettings = field_key(
        ASKED, "Requests a response without new input.", required=True
    )

    @property
    def response(self) -> ResponseSettings:
        return self.request_response

    @property
    def messages(self) -> tuple[Message, ...]:
        return self.request_response.input or ()

    def features(self) -> Iterator[Feature]:
        yield from super().features()
        yield Feature.ASKED
        if self.request_response.out_of_band or self.request_response.input is not None:
            yield Feature.OUT_OF_BAND


NOT_ASKED = (
    f"needs `turn_detection: {FULL_DUPLEX}`: for other services request a greeting with"
    " `request_response`"
)
NOT_FIRST = "must be the first turn: put it first"


@dataclass(frozen=True)
class GreetingTurn(ScriptTurn):
    """A turn in which the service speaks first, without a request."""

    verb = "wait_for"
    kind = "none"
    is_first = True
    response: ClassVar = AS_SESSION

    wait_for: str = field_key(
        Choice(("greeting",)), "The caller is silent until the service has greeted.", required=True
    )

    def problems(
        self, session: SessionSettings, turn: ScriptTurn | None
    ) -> Iterator[tuple[str, str]]:
        yield from super().problems(session, turn)
        if session.turn_detection is None or session.turn_detection.type != FULL_DUPLEX:
            yield self.verb, NOT_ASKED

    def prepared_turn(self, preparation: Preparation, choice: int) -> PreparedTurn:
        turn = super().prepared_turn(preparation, choice)
        # no filler precedes a greeting, so no sound in it is too short
        return replace(turn, plan=replace(turn.plan, greeting=True, answer_min_ns=0))


CHUNK = Integer(20, 200)
CHUNK_NOTE = (
    "Milliseconds of audio per message (default: 100, or 20 if a target of the run prescribes it)."
)
POSITION = Number(0, MAX_MINUTES * 60, "of seconds")


def _speech(start: float, end: float, pauses: tuple[tuple[float, ...], ...] = ()) -> SpeechSpan:
    return SpeechSpan(
        round(start * RATE_HZ),
        round(end * RATE_HZ),
        tuple((round(first * RATE_HZ), round(last * RATE_HZ)) for first, last in pauses),
    )


def _pause(value: LocatedValue, ends: tuple[float, ...]) -> tuple[float, ...]:
    if len(ends) != 2:
        raise value.refuse("must be the start and the end of a pause, as in [0.8, 1.3]")
    return ends


SPAN = StructOf(
    {
        "start": Field(POSITION, "The start of speech in the WAV, in seconds.", required=True),
        "end": Field(POSITION, "The end of speech in the WAV, in seconds.", required=True),
        "pauses": Field(
            ListOf(Converted(ListOf(POSITION), _pause, {"minItems": 2, "maxItems": 2})),
            "The start and the end of each pause in the speech, in seconds.",
        ),
    },
    _speech,
)
SPEECH = OneOrMore(SPAN)
SPEECH_NOTE = (
    "Start, end and pauses of the speech in each WAV, instead of a detected start and end."
)


def check_speech(audio: tuple[Pcm, ...], speech: tuple[SpeechSpan, ...]) -> None:
    """Raise InvalidCombinationError if the given speech is not that of the recordings."""
    if speech and len(audio) != len(speech):
        count = f"`audio` has {len(audio)}, `speech` has {len(speech)}"
        raise InvalidCombinationError("speech", f"must have one entry per WAV: {count}")
    for pcm, span in zip(audio, speech, strict=False):
        if problem := span.problem(pcm):
            raise InvalidCombinationError("speech", problem)


def with_speech(audio: tuple[Pcm, ...], speech: tuple[SpeechSpan, ...]) -> tuple[Pcm, ...]:
    """Return the recordings, with the given speech in place of the detected speech."""
    pairs = zip(audio, speech, strict=False)
    return (
        tuple(replace(pcm, speech=span, pause_ns=span.longest_pause_ns) for pcm, span in pairs)
        or audio
    )


MAX_PAUSE_MS = 5_000


@dataclass(frozen=True)
class ContinuedSpeech:
    """The parts of the caller's speech after the first, and the pauses, of which each session
    uses one.
    """

    audio: tuple[Pcm, ...]
    pauses_ms: tuple[int, ...]


CONTINUED = StructOf(
    {
        "audio": Field(
            OneOrMore(AUDIO), "The further parts of the speech, in this order.", required=True
        ),
        "pauses_ms": Field(
            OneOrMore(Integer(50, MAX_PAUSE_MS, "of milliseconds")),
            "The pause before each part: one for all sessions, or several, of which each session"
            " uses one.",
            required=True,
        ),
    },
    ContinuedSpeech,
)


# Speech is sent in one of three ways. With turn detection, it is followed by silence until the
# service ends the turn: nothing is committed, and a response is requested only if the service does
# not respond by itself. Without turn detection, the speech is paced, then committed, and then the
# response is requested. If it is not paced, all messages are sent at once, like those of a text.
# Such a turn has no instants of speech, because no microphone could have recorded it so fast.
@dataclass(frozen=True, kw_only=True)
class AudioTurnBase(ScriptTurn):
    """A turn in which the caller sends audio. Each session plays one of its recordings. The
    encoder may add noise.
    """

    kind = "audio"

    chunk_ms: int | None = field_key(CHUNK, CHUNK_NOTE)
    response: ResponseSettings = field_keys(RESPONSE)

    @property
    def is_paced(self) -> bool:
        """True if the audio is sent at the rate of a microphone; False if it is sent all at
        once.
        """
        return True

    @property
    def lasts_s(self) -> float:
        return max((pcm.seconds for pcm in self.recordings), default=0.0) if self.is_paced else 0.0

    @property
    def expected_words(self) -> tuple[str, ...]:
        synthesized = tuple(pcm.text for pcm in self.recordings)
        return self.transcript or (synthesized if any(synthesized) else ())

    def encode_ahead(self, encoder: ScriptEncoder, number: int) -> None:
        for pcm in self.recordings:
            encoder.speech(pcm, self.chunk_ms, paced=self.is_paced, number=number, keep=True)
            encoder.silence_chunks(pcm, self.chunk_ms)

    def prepared_turn(self, preparation: Preparation, choice: int) -> PreparedTurn:
        turn = super().prepared_turn(preparation, choice)
        # a session draws one number for each turn, however many recordings the turn has: so another
        # recording in one turn changes the choice in no other turn
        encoder = preparation.encoder
        choice = choice % len(self.recordings)
        pcm = self.recordings[choice]
        words = self.expected_words[choice] if self.expected_words else ""
        messages = encoder.speech(
            pcm, self.chunk_ms, paced=self.is_paced, number=preparation.number
        )
        plan = replace(
            turn.plan,
            audio=pcm.path.name,
            mark=encoder.mark,
            pause_ns=pcm.pause_ns,
            reference=replace(turn.plan.reference, words=words),
        )
        if encoder.detects_turns:  # the service's VAD ends the speech
            request = None if encoder.session.service_responds else turn.request
            silence_chunks = encoder.silence_chunks(pcm, self.chunk_ms)
            responds = request is None and encoder.session.output != ONLY_TRANSCRIPT
            tolerance_ns = encoder.end_tolerance_ns(pcm)
            plan = replace(plan, vad=True, service_responds=responds, end_tolerance_ns=tolerance_ns)
            return replace(
                turn, plan=plan, speech=messages, silence_chunks=silence_chunks, request=request
            )
        turn = replace(turn, plan=plan)
        opening = encoder.dialect.speech_opening
        commit = encoder.dialect.commit(f"{turn.plan.event_prefix}commit")
        before, after = (() if message is None else (message,) for message in (opening, commit))
        if self.is_paced:
            return replace(turn, speech=messages, opening=opening, inputs=after)
        return replace(turn, inputs=(*before, *messages, *after))


@dataclass(frozen=True)
class AudioTurn(AudioTurnBase):
    """A spoken turn that starts after the preceding reply was played."""

    verb = "audio"

    audio: tuple[Pcm, ...] = field_key(
        OneOrMore(AUDIO),
        "The caller's speech: a WAV or a text to say, or several, of which one is chosen.",
        required=True,
    )
    transcript: tuple[str, ...] = field_key(
        OneOrMore(WORDS),
        "The text of the WAV, or of each: for the word error rate. Default: `say`.",
        absent=(),
    )
    speech: tuple[SpeechSpan, ...] = field_key(SPEECH, SPEECH_NOTE, absent=())
    then: ContinuedSpeech | None = field_key(CONTINUED, "How the speech continues after a pause.")
    paced: bool = field_key(
        Boolean(), "Send at the speed of speech, as a microphone does; false: all at once.", True
    )

    def __post_init__(self) -> None:
        if self.then is not None and len(self.audio) != 1:
            raise InvalidCombinationError(
                "then", f"is for one WAV, but `audio` has {len(self.audio)}"
            )
        if self.transcript and len(self.transcript) != len(self.audio):
            count = f"`audio` has {len(self.audio)}, `transcript` has {len(self.transcript)}"
            raise InvalidCombinationError("transcript", f"must have one text per WAV: {count}")
        check_speech(self.audio, self.speech)

    @property
    def is_paced(self) -> bool:
        return self.paced

    @property
    def expected_words(self) -> tuple[str, ...]:
        # the words do not depend on the pause
        return super().expected_words * (1 if self.then is None else len(self.then.pauses_ms))

    @cached_property
    def recordings(self) -> tuple[Pcm, ...]:
        audio = with_speech(self.audio, self.speech)
        if self.then is None:
            return audio
        # joined before the run, so that each pause is exact to the sample, and is sent like other
        # speech
        return tuple(
            joined(audio[0], self.then.audio, pause_ms) for pause_ms in self.then.pauses_ms
        )

    def prepared(self, preparation: Preparation) -> PreparedStep:
        if self.then is None and len(self.speech) < 2:
            return super().prepared(preparation)
        choice = preparation.choices.speech_pause(len(self.recordings))
        return self.prepared_turn(preparation, choice)

    def after(self, before: Pcm, pause_ms: int, preparation: Preparation) -> PreparedTurn:
        """Return the turn with other speech before its own."""
        choice = preparation.choices.recording() % len(self.recordings)
        pcm = joined(before, (self.recordings[choice],), pause_ms)
        return replace(self, audio=(pcm,), speech=(), then=None, transcript=()).prepared_turn(
            preparation, 0
        )

    def problems(
        self, session: SessionSettings, turn: ScriptTurn | None
    ) -> Iterator[tuple[str, str]]:
        yield from super().problems(session, turn)
        # otherwise the VAD detects no end of speech
        if session.turn_detection is not None and not self.paced:
            yield "paced", UNPACED
