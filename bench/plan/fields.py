"""What a script can say: every key, with what is allowed at it. `docs/scripts.md` says the same at length.

This is the one table of it. A YAML file, Python's calls (`script.py`) and the JSON Schema (`schema.py`) all go by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, get_args

from bench.interruptions import Cue, SoundKind
from bench.limits import Limits
from bench.plan.audio import MAX_MINUTES, RATE_HZ, Pcm, load_pcm
from bench.plan.background import Background
from bench.plan.files import File
from bench.plan.functions import ExpectedCall, Function
from bench.plan.messages import IMAGE_FIELD, MESSAGE, History, load_history
from bench.plan.reference import NO_REFERENCE, Reference, words_of
from bench.plan.rows import Rows, load_rows
from bench.plan.speech import Speech
from bench.plan.think_times import LONGEST_S, LogNormalTimes, RecordedTimes, ThinkTime, load_think_times
from bench.plan.turns import (
    EXPECTED_EVENTS,
    AddMessage,
    AskTurn,
    DrawnPause,
    Expect,
    Interrupt,
    Pause,
    SendEvent,
    Sound,
    Step,
    TextTurn,
    WavTurn,
)
from bench.protocol.audio import AudioFormatName
from bench.protocol.messages import Image, Message
from bench.protocol.settings import (
    FULL_DUPLEX,
    EchoCancellation,
    Effort,
    FunctionTool,
    NoiseReduction,
    ResponseSettings,
    SessionSettings,
    TurnDetection,
)
from bench.shapes import (
    AnyJson,
    ByName,
    Choice,
    Field,
    Flag,
    JsonObject,
    ListOf,
    Matching,
    Number,
    OneKeyOf,
    OneOrMore,
    OrTable,
    OrWord,
    Schema,
    Shape,
    Table,
    Text,
    UnfitError,
    Whole,
    either,
)
from bench.units import NS_PER_S
from bench.yaml_file import Value

SECONDS = Number(0.001, LONGEST_S, "of seconds")
FORMAT = Choice(get_args(AudioFormatName))


@dataclass(frozen=True)
class WordsShape(Shape[str]):
    """Text with a word in it."""

    def read(self, value: Value) -> str:
        text = Text().read(value)
        if not words_of(text):
            raise value.refuse("has no word in it")
        return text

    def schema(self) -> Schema:
        return Text().schema()


@dataclass(frozen=True)
class PatternShape(Shape[str]):
    """A regular expression."""

    def read(self, value: Value) -> str:
        text = Text().read(value)
        try:
            re.compile(text)
        except re.error as error:
            raise value.refuse(f"is no regular expression: {error}") from None
        return text

    def schema(self) -> Schema:
        return {**Text().schema(), "format": "regex"}


WAV = File[Pcm](load_pcm)
ROWS = File[Rows](load_rows)
THINK_TIMES = File[RecordedTimes](load_think_times)
HISTORY = File[History](load_history)
MOST_TOKENS = 1_000_000
TOKENS = OrWord(Whole(1, MOST_TOKENS, "of tokens (or inf)"), "inf")

RESPONSE_FIELDS: dict[str, Field[Any]] = {
    "output": Field(Choice(("audio", "text")), "What the answer consists of."),
    "instructions": Field(Text(), "The system prompt."),
    "max_output_tokens": Field(TOKENS, "Longest answer; inf: as long as the model can make it."),
    "tool_choice": Field(Text(), "auto, none, required, or the name of the function that is to be called."),
}

NO_FIELDS: Mapping[str, Field[Any]] = {}


@dataclass(frozen=True)
class Texts(Shape[list[str]]):
    """One text or several, as the list that services want."""

    shape: Shape[str] = field(default_factory=Text)

    def read(self, value: Value) -> list[str]:
        return list(OneOrMore(self.shape).read(value))

    def schema(self) -> Schema:
        return OneOrMore(self.shape).schema()


@dataclass(frozen=True)
class TypedTable(Shape[dict[str, Any]]):
    """A table whose `type` says which other keys it has; it is kept as it is written."""

    fields: Mapping[str, Mapping[str, Field[Any]]]

    def read(self, value: Value) -> dict[str, Any]:
        content = value.content()
        if not isinstance(content, dict) or "type" not in content:
            raise value.refuse(f"needs `type`: {either(self.fields)}")
        return self._tables[Choice(tuple(self.fields)).read(content["type"])].read(value)

    def schema(self) -> Schema:
        return {"oneOf": [table.schema() for table in self._tables.values()]}

    @property
    def _tables(self) -> dict[str, Table[dict[str, Any]]]:
        return {
            name: Table(
                {"type": Field(Choice((name,)), "Which one.", required=True), **more}, lambda **settings: settings
            )
            for name, more in self.fields.items()
        }


DETECTION_FIELDS: dict[str, Field[Any]] = {
    "create_response": Field(Flag(), "Whether the service answers by itself when it has noticed the end of speech."),
    "interrupt_response": Field(Flag(), "Whether speech stops an answer that is under way."),
}
LEVEL_FIELDS: dict[str, Field[Any]] = {
    "threshold": Field(Number(0, 1), "How sure the service must be that it hears speech."),
    "prefix_padding_ms": Field(Whole(0, 5_000), "Audio that is kept from before the speech."),
    "silence_duration_ms": Field(Whole(0, 10_000), "Silence that ends a turn."),
}
END_OF_UTTERANCE = Table(
    {
        "model": Field(
            Choice(tuple(f"semantic_detection_v1{variant}" for variant in ("", "_en", "_multilingual"))),
            "Which model says that an utterance is over.",
            required=True,
        ),
        "threshold_level": Field(Choice(("low", "medium", "high", "default")), "How sure it must be."),
        "timeout_ms": Field(Whole(0, 60_000), "How long it waits at most."),
    },
    lambda **settings: settings,
)
OF_VOICE_LIVE: dict[str, Field[Any]] = {
    "end_of_utterance_detection": Field(END_OF_UTTERANCE, "A model that says when a turn is over. Voice Live only."),
    "auto_truncate": Field(Flag(), "Whether the service cuts an answer that speech stops. Voice Live only."),
}
AZURE_FIELDS: dict[str, Field[Any]] = {
    **LEVEL_FIELDS,
    "speech_duration_ms": Field(Whole(0, 60_000), "The least speech that begins a turn."),
    "remove_filler_words": Field(Flag(), "Whether an um or a so is no speech."),
    **OF_VOICE_LIVE,
    **DETECTION_FIELDS,
}
LANGUAGES: dict[str, Field[Any]] = {
    "languages": Field(Texts(), "The languages that are spoken, as in en-US."),
}


def _azure_detector(name: str, note: str, more: Mapping[str, Field[Any]] = NO_FIELDS) -> Table[TurnDetection]:
    named = {"type": Field(Choice((name,)), f"{note}. Voice Live only.", required=True)}
    return Table({**named, **AZURE_FIELDS, **more}, TurnDetection)


DETECTION_TABLES = {
    "server_vad": Table(
        {
            "type": Field(Choice(("server_vad",)), "Detection by loudness.", required=True),
            **LEVEL_FIELDS,
            "idle_timeout_ms": Field(Whole(5_000, 30_000), "Silence after which the service speaks up. GA only."),
            **OF_VOICE_LIVE,
            **DETECTION_FIELDS,
        },
        TurnDetection,
    ),
    "semantic_vad": Table(
        {
            "type": Field(Choice(("semantic_vad",)), "Detection by meaning.", required=True),
            "eagerness": Field(Choice(("low", "medium", "high", "auto")), "How soon a turn counts as finished."),
            "auto_truncate": OF_VOICE_LIVE["auto_truncate"],
            **DETECTION_FIELDS,
        },
        TurnDetection,
    ),
    FULL_DUPLEX: Table(
        {"type": Field(Choice((FULL_DUPLEX,)), "The model listens while it speaks. GPT-Live only.", required=True)},
        TurnDetection,
    ),
    "azure_semantic_vad": _azure_detector("azure_semantic_vad", "Detection by meaning", LANGUAGES),
    "azure_semantic_vad_en": _azure_detector("azure_semantic_vad_en", "The same for English"),
    "azure_semantic_vad_multilingual": _azure_detector(
        "azure_semantic_vad_multilingual", "The same for many languages", LANGUAGES
    ),
}


@dataclass(frozen=True)
class DetectionShape(Shape[TurnDetection | None]):
    """The setting that says who ends a turn: a word, or a table whose `type` says which keys it has."""

    words: tuple[str, ...] = ("none", *DETECTION_TABLES)

    def read(self, value: Value) -> TurnDetection | None:
        content = value.content()
        if isinstance(content, dict):
            return _detection(value, content)
        if content not in self.words:
            raise value.unlike(f"{either(self.words)}, or a table with a `type`")
        return None if content == "none" else DETECTION_TABLES[str(content)].build(type=content)

    def schema(self) -> Schema:
        return {"oneOf": [{"enum": list(self.words)}, *(table.schema() for table in DETECTION_TABLES.values())]}


def _detection(value: Value, entries: dict[str, Value]) -> TurnDetection:
    """Read a table of detection. A key of another type is refused as such, so that nobody looks for a typing error."""
    if "type" not in entries:
        raise value.refuse(f"needs `type`: {either(DETECTION_TABLES)}")
    chosen = Choice(tuple(DETECTION_TABLES)).read(entries["type"])
    for key, entry in entries.items():
        owners = [name for name, table in DETECTION_TABLES.items() if key in table.fields]
        if owners and chosen not in owners:
            raise entry.refuse(f"is a setting of {owners[0]}, {chosen} has none")
    return DETECTION_TABLES[chosen].read(value)


NAMED: dict[str, Field[Any]] = {"name": Field(Text(), "The voice's name.", required=True)}
AZURE_VOICE: dict[str, Field[Any]] = {
    **NAMED,
    "temperature": Field(Number(0, 1), "How much it varies, of a voice in high definition."),
    "locale": Field(Text(), "The language that it speaks, as in en-US."),
    "prefer_locales": Field(Texts(), "Accents that it prefers, as in en-GB."),
    **{
        key: Field(Text(), note)
        for key, note in (
            ("style", "A style, as in cheerful."),
            ("pitch", "How high it is, as in SSML."),
            ("rate", "How fast it speaks, as in SSML."),
            ("volume", "How loud it is, as in SSML."),
            ("custom_lexicon_url", "Where a lexicon of pronunciations is."),
            ("custom_text_normalization_url", "Where rules of normalization are."),
        )
    },
}
VOICE = OrTable(
    Text(),
    TypedTable(
        {
            "openai": NAMED,
            "azure-standard": AZURE_VOICE,
            "azure-custom": {
                **AZURE_VOICE,
                "endpoint_id": Field(Text(), "The endpoint that has the voice.", required=True),
            },
            "azure-personal": {**AZURE_VOICE, "model": Field(Text(), "The model that speaks.", required=True)},
            "azure-realtime-native": NAMED,
        }
    ),
)
INTERIM: dict[str, Field[Any]] = {
    "triggers": Field(Texts(Choice(("latency", "tool"))), "A long wait, a function that runs."),
    "latency_threshold_ms": Field(Whole(0, 600_000), "How long a wait is long."),
}
INTERIM_RESPONSE = TypedTable(
    {
        "static_interim_response": {**INTERIM, "texts": Field(Texts(), "What is said, one of these.")},
        "llm_interim_response": {
            **INTERIM,
            "model": Field(Text(), "The model that says it."),
            "instructions": Field(Text(), "What that is told."),
            "max_completion_tokens": Field(Whole(1, 1_000_000), "The longest filler, in tokens."),
        },
    }
)
REASONING = Table(
    {"effort": Field(Choice(get_args(Effort)), "More effort takes longer.", required=True)},
    lambda effort: {"effort": effort},
)
RETENTION = Table(
    {
        "retention_ratio": Field(Number(0, 1), "The share of the conversation that is kept.", required=True),
        "post_instructions": Field(Whole(0, MOST_TOKENS), "Longest conversation, in tokens, without instructions."),
    },
    lambda retention_ratio, post_instructions=None: (
        {"type": "retention_ratio", "retention_ratio": retention_ratio}
        | ({} if post_instructions is None else {"token_limits": {"post_instructions": post_instructions}})
    ),
)
TRUNCATION = OrTable(Choice(("auto", "disabled")), RETENTION)


@dataclass(frozen=True)
class EventShape(Shape[dict[str, Any]]):
    """An event in the words of the service, of which only its `type` is looked at."""

    def read(self, value: Value) -> dict[str, Any]:
        event = JsonObject().read(value)
        if not isinstance(event.get("type"), str) or not event["type"]:
            raise value.refuse("needs `type`, as text: which event it is")
        return event

    def schema(self) -> Schema:
        named = {"type": {"type": "string", "minLength": 1}}
        return {"type": "object", "properties": named, "required": ["type"]}


SESSION = Table(
    RESPONSE_FIELDS
    | {
        "voice": Field(VOICE, "A voice of the service; of Voice Live also a table."),
        "temperature": Field(Number(0.6, 1.2), "Preview and Voice Live only."),
        "input_transcription": Field(Text(), "Model that transcribes the caller's audio; on Azure GA its deployment."),
        "turn_detection": Field(DetectionShape(), "Who ends a turn of the caller's; none: this tool commits it."),
        "model": Field(Text(), "The model that answers, where the session says it. GPT-Live only."),
        "input_format": Field(FORMAT, "How the caller's audio is sent."),
        "output_format": Field(FORMAT, "How answers come."),
        "noise_reduction": Field(Choice(get_args(NoiseReduction)), "What is done about noise behind the caller."),
        "echo_cancellation": Field(
            Choice(get_args(EchoCancellation)), "Its own voice is no speech to the service. Voice Live only."
        ),
        "interim_response": Field(INTERIM_RESPONSE, "Fillers while the caller waits. Voice Live only."),
        "reasoning": Field(REASONING, "How much a model that reasons does so. Not in preview."),
        "truncation": Field(TRUNCATION, "What is dropped of a conversation that grows too long. GA only."),
        "extra": Field(JsonObject(), "Further settings in the service's own words, merged into session.update last."),
    },
    SessionSettings,
)
LIMITS = Table(
    {
        name: Field(SECONDS, f"Seconds until `timeout:{name}`.", default=default)
        for name, default in vars(Limits()).items()
    },
    Limits,
)
BACKGROUND = Table(
    {
        "noise": Field(WAV, "A WAV of noise, played again and again.", required=True),
        "snr_db": Field(Number(-10, 60), "How many dB speech stands above it.", required=True),
    },
    Background,
)
WITHIN = (
    "Seconds that it may take, from when the step before was sent; after a WAV from its end, with the silence that it "
    "ends in; after another expect from when that was met."
)
EXPECTED = Table(
    {
        "event": Field(Choice(EXPECTED_EVENTS), "What the turn before must get, or has already.", required=True),
        "within": Field(SECONDS, WITHIN, required=True),
    },
    lambda event, within: Expect(event, within),
)
POSITION = Number(0, MAX_MINUTES * 60, "of seconds")
SPEECH = Table(
    {
        "begin": Field(POSITION, "Where speech begins in the WAV, in seconds.", required=True),
        "end": Field(POSITION, "Where it ends.", required=True),
    },
    lambda begin, end: Speech(round(begin * RATE_HZ), round(end * RATE_HZ)),
)


class WantedInterruption(NamedTuple):
    """What stands under `interrupt`: when, what is said, and whether it is checked what the service keeps."""

    cue: Cue
    audio: tuple[Pcm, ...]
    verify: bool


NamedCalls = tuple[str | ExpectedCall, ...] | None


def _calls(calls: NamedCalls) -> tuple[ExpectedCall, ...] | None:
    """The calls that are expected, of which some are given by name alone."""
    if calls is None:
        return None
    return tuple(ExpectedCall(call) if isinstance(call, str) else call for call in calls)


def _matching(reply_matches: str) -> Reference:
    return Reference(matches=reply_matches)


def _containing(reply_contains: tuple[str, ...]) -> Reference:
    return Reference(contains=reply_contains)


def _text_turn(
    say: str,
    label: str = "",
    image: Image | None = None,
    expected_reply: str = "",
    success: Reference = NO_REFERENCE,
    calls: NamedCalls = None,
    **response: Any,
) -> TextTurn:
    reference = replace(success, reply=expected_reply)
    return TextTurn(label, say, ResponseSettings(**response), image, reference, calls=_calls(calls))


def _ask_turn(
    respond: ResponseSettings,
    label: str = "",
    expected_reply: str = "",
    success: Reference = NO_REFERENCE,
    calls: NamedCalls = None,
) -> AskTurn:
    return AskTurn(label, respond, replace(success, reply=expected_reply), calls=_calls(calls))


def _wav_turn(
    play: tuple[Pcm, ...],
    chunk_ms: int,
    paced: bool,
    label: str = "",
    speech: Speech | None = None,
    words: tuple[str, ...] = (),
    expected_reply: str = "",
    success: Reference = NO_REFERENCE,
    calls: NamedCalls = None,
    **response: Any,
) -> WavTurn:
    if words and len(words) != len(play):
        raise UnfitError("words", f"must be those of each WAV: `play` has {len(play)}, and there are {len(words)}")
    audio = play if speech is None else (_with_speech(play, speech),)
    reference = replace(success, reply=expected_reply)
    return WavTurn(label, audio, chunk_ms, paced, ResponseSettings(**response), words, reference, calls=_calls(calls))


def _interrupt(interrupt: WantedInterruption, chunk_ms: int, **turn: Any) -> Interrupt | WavTurn:
    cue, audio, verify = interrupt
    if audio:
        return replace(_wav_turn(audio, chunk_ms, True, **turn), interrupts=cue, verifies=verify)
    if turn:
        raise UnfitError(
            next(iter(turn)),
            "belongs to a turn, and an interruption without words is none: give `play` under `interrupt`",
        )
    return Interrupt(cue, verify)


def _cue(after: float | None = None, share: float | None = None, word: str | None = None) -> Cue:
    given = [name for name, value in (("after", after), ("share", share), ("word", word)) if value is not None]
    if len(given) > 1:
        raise UnfitError(given[1], f"sets the instant, and so does {given[0]}: give one of after, share and word")
    return Cue(round((after or 0) * NS_PER_S), share, word or "")


def _interruption(verify: bool, play: tuple[Pcm, ...] = (), **cue: Any) -> WantedInterruption:
    return WantedInterruption(_cue(**cue), play, verify)


def _sound(play: Pcm, kind: SoundKind, during: str, chunk_ms: int, **cue: Any) -> Sound:
    if during == "reply":
        return Sound(kind, play, chunk_ms, _cue(**cue))
    if cue:
        raise UnfitError(next(iter(cue)), "needs a reply, and during silence there is none: remove one of the two")
    return Sound(kind, play, chunk_ms, None)


def _heard(sound: Sound) -> Sound:
    return sound


def _function(
    description: str = "",
    parameters: dict[str, Any] | None = None,
    returns: Any = None,
    delay: float | ThinkTime = 0.0,
) -> Function:
    several = returns if isinstance(returns, list) and returns else [returns]
    compute = returns if callable(returns) else None
    return Function(
        FunctionTool(name="", description=description, parameters=parameters or {}), several, compute, delay
    )


def _pause(pause: float | ThinkTime) -> Pause | DrawnPause:
    return DrawnPause(pause) if isinstance(pause, ThinkTime) else Pause(round(pause * NS_PER_S))


def _log_normal(median: float, sigma: float, most: float) -> LogNormalTimes:
    if most < median:
        raise UnfitError("most", f"must not be below the median, which is {median:g} s")
    return LogNormalTimes(median, sigma, most)


def _expect(expect: Expect) -> Expect:
    return expect


def _add_message(message: Message) -> AddMessage:
    return AddMessage(message)


def _send_event(send: Mapping[str, Any]) -> SendEvent:
    return SendEvent(send)


def _with_speech(play: tuple[Pcm, ...], speech: Speech) -> Pcm:
    if len(play) > 1:
        raise UnfitError("speech", f"is for one WAV, and `play` has {len(play)}")
    if not speech.begin < speech.end <= play[0].samples:
        length = f"{play[0].path} lasts {play[0].seconds:.3f} s"
        raise UnfitError("speech", f"must begin before it ends, and end with the WAV at the latest; {length}")
    return replace(play[0], speech=speech)


# What a step does is its one key of these; beside it stand the keys that go with it. An empty label: none was given.
LABEL = Matching("[A-Za-z0-9._-]{1,64}", "1 to 64 of the characters A-Z a-z 0-9 . _ -")
METADATA = ByName(".{1,64}", Matching(".{0,512}", "at most 512 characters"), "at most 15 words by their names", most=15)
MATCHES = Field(PatternShape(), "A regular expression that is searched for in the reply's words.", required=True)
CONTAINS = Field(OneOrMore(WordsShape()), "Words that stand in the reply, all of several.", required=True)
SUCCESS = OneKeyOf[Reference](
    {
        "reply_matches": Table({"reply_matches": MATCHES}, _matching),
        "reply_contains": Table({"reply_contains": CONTAINS}, _containing),
    }
)
NAME = Matching("[A-Za-z0-9_-]{1,64}", "1 to 64 of the characters A-Z a-z 0-9 _ -")
CALL = Table(
    {
        "name": Field(NAME, "The function's name.", required=True),
        "arguments": Field(JsonObject(), "Arguments that it must have among others."),
    },
    lambda name, arguments=None: ExpectedCall(name, arguments or {}),
)
CALLS = OneOrMore(OrTable(NAME, CALL))
TURN_FIELDS: dict[str, Field[Any]] = {
    "label": Field(LABEL, "The turn's name in reports."),
    "expected_reply": Field(WordsShape(), "What the reply should say: its word error rate is held against this."),
    "success": Field(SUCCESS, "When the turn has done its task."),
    "calls": Field(CALLS, "The function calls that this turn must lead to, and no others."),
}
CHUNK_FIELD: dict[str, Field[Any]] = {
    "chunk_ms": Field(Whole(20, 200), "Milliseconds of audio in a message.", default=100),
}
CUE_FIELDS: dict[str, Field[Any]] = {
    "after": Field(Number(0, LONGEST_S, "of seconds"), "Once so many seconds of the reply were played."),
    "share": Field(Number(0, 1), "Once such a share of the reply was played: 0.5 for half of it."),
    "word": Field(Text(), "Once this came in the reply's transcript."),
}
INTERRUPTION = Table(
    {
        "play": Field(OneOrMore(WAV), "What the caller says; without it the client interrupts."),
        "verify": Field(Flag(), "Check that the service keeps nothing beyond what was heard.", default=False),
        **CUE_FIELDS,
    },
    _interruption,
)
SOUND = Table(
    {
        "play": Field(WAV, "A WAV of what is heard.", required=True),
        "kind": Field(Choice(get_args(SoundKind)), "A word of assent, a noise, words to somebody else.", required=True),
        "during": Field(Choice(("reply", "silence")), "While a reply is played, or nothing is.", default="reply"),
        **CHUNK_FIELD,
        **CUE_FIELDS,
    },
    _sound,
)
SAY = Table(
    {
        "say": Field(Text(), "The caller's words, as text.", required=True),
        **IMAGE_FIELD,
        **TURN_FIELDS,
        **RESPONSE_FIELDS,
    },
    _text_turn,
)
ASKED_FIELDS: dict[str, Field[Any]] = RESPONSE_FIELDS | {
    "conversation": Field(Choice(("auto", "none")), "none: the answer becomes no part of the conversation."),
    "input": Field(ListOf(MESSAGE), "What is answered, instead of the conversation; [] for nothing."),
    "metadata": Field(METADATA, "Up to 15 words to know the response by, which the service gives back."),
}
RESPOND = Table(
    {
        "respond": Field(Table(ASKED_FIELDS, ResponseSettings), "An answer is asked for, no more.", required=True),
        **TURN_FIELDS,
    },
    _ask_turn,
)
PLAY = Table(
    {
        "play": Field(OneOrMore(WAV), "The caller's words: a WAV, or one of several.", required=True),
        **TURN_FIELDS,
        "words": Field(OneOrMore(WordsShape()), "What is said in the WAV, or in each: for the word error rate."),
        "speech": Field(SPEECH, "Where speech is, instead of what is found in the WAV."),
        **CHUNK_FIELD,
        "paced": Field(Flag(), "Send as a microphone would, else all at once.", default=True),
        **RESPONSE_FIELDS,
    },
    _wav_turn,
)
LOG_NORMAL = Table(
    {
        "median": Field(SECONDS, "Seconds; half of the pauses are shorter.", required=True),
        "sigma": Field(Number(0, 2), "Standard deviation of the pause's natural logarithm.", required=True),
        "most": Field(SECONDS, "Seconds; a pause that would be longer lasts so long.", default=LONGEST_S),
    },
    _log_normal,
)
RECORDED = Table(
    {"file": Field(THINK_TIMES, "A number of seconds a line; each is as likely as any other.", required=True)},
    lambda file: file,
)
DRAWN_TABLES: dict[str, Table[Any]] = {"median": LOG_NORMAL, "file": RECORDED}
DRAWN = OneKeyOf[ThinkTime](DRAWN_TABLES)
SILENCE = "Seconds in which the caller says nothing, or how they are drawn for each session."
PAUSE = Table({"pause": Field(OrTable(SECONDS, DRAWN), SILENCE, required=True)}, _pause)
EXPECT = Table({"expect": Field(EXPECTED, "An event that the turn before must get.", required=True)}, _expect)
ADD_MESSAGE = Table({"message": Field(MESSAGE, "A message that asks for no answer.", required=True)}, _add_message)
SEND_EVENT = Table({"send": Field(EventShape(), "An event in the service's own words.", required=True)}, _send_event)
INTERRUPT = Table(
    {
        "interrupt": Field(INTERRUPTION, "When the reply is interrupted, and by what words.", required=True),
        **CHUNK_FIELD,
        **TURN_FIELDS,
        **RESPONSE_FIELDS,
    },
    _interrupt,
)
HEARD = Table({"sound": Field(SOUND, "What is heard, and is no interruption.", required=True)}, _heard)
STEP_TABLES: dict[str, Table[Any]] = {
    "say": SAY,
    "respond": RESPOND,
    "play": PLAY,
    "interrupt": INTERRUPT,
    "sound": HEARD,
    "pause": PAUSE,
    "expect": EXPECT,
    "message": ADD_MESSAGE,
    "send": SEND_EVENT,
}
STEP = OneKeyOf[Step](STEP_TABLES)
TURN_KEYS = ("say", "respond", "play")
OF_NO_TURN = "is about no turn: it must follow a `say`, `respond` or `play`"


@dataclass(frozen=True)
class Steps(Shape[tuple[Step, ...]]):
    """A list of steps, at least one of which is a turn."""

    def read(self, value: Value) -> tuple[Step, ...]:
        content = value.content()
        if not isinstance(content, list):
            raise value.unlike("a list")
        steps: list[Step] = []
        for number, item in enumerate(content, 1):
            steps.append(self._step(item.called(f"step {number}"), steps))
        if not any(step.plays_turn for step in steps):
            raise value.refuse(f"has no turn: it needs a {either(f'`{key}`' for key in TURN_KEYS)}")
        return tuple(steps)

    def _step(self, value: Value, before: list[Step]) -> Step:
        step = STEP.read(value)
        if not step.plays_turn:
            return step
        number = 1 + sum(other.plays_turn for other in before)
        return replace(step, label=step.label or f"turn_{number}")

    def schema(self) -> Schema:
        turn = {"anyOf": [{"required": [key]} for key in TURN_KEYS]}
        return {"type": "array", "items": STEP.schema(), "contains": turn}


@dataclass(frozen=True)
class Returns(Shape[Any]):
    """What a function returns: JSON, or in Python something to call with its arguments."""

    def read(self, value: Value) -> Any:
        content = value.content()
        return content if callable(content) else AnyJson().read(value)

    def schema(self) -> Schema:
        return AnyJson().schema()


TOOL = Table(
    {
        "description": Field(Text(), "What the function does, for the model."),
        "parameters": Field(JsonObject(), "JSON Schema of its arguments."),
        "returns": Field(Returns(), "What it returns, JSON or a text; of a list the calls take one after another."),
        "delay": Field(OrTable(Number(0, LONGEST_S, "of seconds"), DRAWN), "Seconds that it takes.", default=0.0),
    },
    _function,
)


TOOLS = ByName(NAME.pattern, TOOL, "made of `name of a function: its settings`")


SETTING_FIELDS: dict[str, Field[Any]] = {
    "session": Field(SESSION, "Sent once, as session.update."),
    "limits": Field(LIMITS, "How long each stage may take."),
    "variables": Field(ROWS, "A .csv or .jsonl file, one row of which fills ${name} in a session's texts."),
    "background": Field(BACKGROUND, "Noise behind the caller's voice."),
    "tools": Field(TOOLS, "Functions that the service may call, and what they return."),
    "jitter_buffer_ms": Field(Number(0, 2_000), "Audio that the simulated player gathers first.", default=50.0),
    "history": Field(HISTORY, "A .jsonl file of messages that were said before the first turn."),
    "pipelined": Field(Flag(), "Send the settings and the first turn before the service greets.", default=False),
    "renew_after": Field(SECONDS, "The age at which a session goes on in a new one, or when the service ends it."),
}
SETTINGS = Table(SETTING_FIELDS, lambda **settings: settings)
SCRIPT = Table(
    SETTING_FIELDS | {"steps": Field(Steps(), "What the caller does, in this order.", required=True)},
    lambda **parts: parts,
)
