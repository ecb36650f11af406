"""What a script can say: every key, with what is allowed at it. `docs/scripts.md` says the same at length.

This is the one table of it. A YAML file, Python's calls (`script.py`) and the JSON Schema (`schema.py`) all go by it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, get_args

from bench.errors import UsageError
from bench.limits import Limits
from bench.plan.audio import MAX_MINUTES, RATE_HZ, Pcm, load_pcm
from bench.plan.background import Background
from bench.plan.rows import Rows, load_rows
from bench.plan.speech import Speech
from bench.plan.think_times import LONGEST_S, LogNormalTimes, RecordedTimes, ThinkTime, load_think_times
from bench.plan.turns import EXPECTED_EVENTS, AskTurn, DrawnPause, Expect, Pause, Step, TextTurn, WavTurn
from bench.protocol.audio import AudioFormatName
from bench.protocol.settings import ResponseSettings, SessionSettings, TurnDetection
from bench.shapes import (
    Choice,
    Field,
    Flag,
    JsonObject,
    Matching,
    Number,
    OneKeyOf,
    OneOrMore,
    OrTable,
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

T = TypeVar("T")
SECONDS = Number(0.001, LONGEST_S, "of seconds")
FORMAT = Choice(get_args(AudioFormatName))


@dataclass(frozen=True)
class File(Shape[T]):
    """The path of a file, seen from the script's folder; `load` makes of it what it holds."""

    load: Callable[..., T]

    def read(self, value: Value) -> T:
        path = Text().read(value)
        if not path.isprintable():
            raise value.unlike("the path of a file")
        try:
            return self.load(value.folder / path)
        except UsageError as error:
            raise value.refuse(str(error)) from None

    def schema(self) -> Schema:
        return Text().schema()


WAV = File[Pcm](load_pcm)
ROWS = File[Rows](load_rows)
THINK_TIMES = File[RecordedTimes](load_think_times)

RESPONSE_FIELDS: dict[str, Field[Any]] = {
    "output": Field(Choice(("audio", "text")), "What the answer consists of."),
    "instructions": Field(Text(), "The system prompt."),
    "max_output_tokens": Field(Whole(1, 4_096), "Longest answer."),
}

DETECTION_FIELDS: dict[str, Field[Any]] = {
    "create_response": Field(Flag(), "Whether the service answers by itself when it has noticed the end of speech."),
    "interrupt_response": Field(Flag(), "Whether speech stops an answer that is under way."),
}
DETECTION_TABLES = {
    "server_vad": Table(
        {
            "type": Field(Choice(("server_vad",)), "Detection by loudness.", required=True),
            "threshold": Field(Number(0, 1), "How sure the service must be that it hears speech."),
            "prefix_padding_ms": Field(Whole(0, 5_000), "Audio that is kept from before the speech."),
            "silence_duration_ms": Field(Whole(0, 10_000), "Silence that ends a turn."),
            "idle_timeout_ms": Field(Whole(5_000, 30_000), "Silence after which the service speaks up. GA only."),
            **DETECTION_FIELDS,
        },
        TurnDetection,
    ),
    "semantic_vad": Table(
        {
            "type": Field(Choice(("semantic_vad",)), "Detection by meaning.", required=True),
            "eagerness": Field(Choice(("low", "medium", "high", "auto")), "How soon a turn counts as finished."),
            **DETECTION_FIELDS,
        },
        TurnDetection,
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


SESSION = Table(
    RESPONSE_FIELDS
    | {
        "voice": Field(Text(), "A voice of the service."),
        "temperature": Field(Number(0.6, 1.2), "Preview dialect only."),
        "input_transcription": Field(Text(), "Model that transcribes the caller's audio; on Azure GA its deployment."),
        "turn_detection": Field(DetectionShape(), "Who ends a turn of the caller's; none: this tool commits it."),
        "input_format": Field(FORMAT, "How the caller's audio is sent."),
        "output_format": Field(FORMAT, "How answers come."),
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


def _text_turn(say: str, label: str = "", **response: Any) -> TextTurn:
    return TextTurn(label, say, ResponseSettings(**response))


def _ask_turn(respond: ResponseSettings, label: str = "") -> AskTurn:
    return AskTurn(label, respond)


def _wav_turn(
    play: tuple[Pcm, ...], chunk_ms: int, paced: bool, label: str = "", speech: Speech | None = None, **response: Any
) -> WavTurn:
    audio = play if speech is None else (_with_speech(play, speech),)
    return WavTurn(label, audio, chunk_ms, paced, ResponseSettings(**response))


def _pause(pause: float | ThinkTime) -> Pause | DrawnPause:
    return DrawnPause(pause) if isinstance(pause, ThinkTime) else Pause(round(pause * NS_PER_S))


def _log_normal(median: float, sigma: float, most: float) -> LogNormalTimes:
    if most < median:
        raise UnfitError("most", f"must not be below the median, which is {median:g} s")
    return LogNormalTimes(median, sigma, most)


def _expect(expect: Expect) -> Expect:
    return expect


def _with_speech(play: tuple[Pcm, ...], speech: Speech) -> Pcm:
    if len(play) > 1:
        raise UnfitError("speech", f"is that of one WAV, and `play` has {len(play)}")
    if not speech.begin < speech.end <= play[0].samples:
        length = f"{play[0].path} lasts {play[0].seconds:.3f} s"
        raise UnfitError("speech", f"must begin before it ends, and end with the WAV at the latest; {length}")
    return replace(play[0], speech=speech)


# What a step does is its one key of these; beside it stand the keys that go with it. An empty label: none was given.
LABEL = Matching("[A-Za-z0-9._-]{1,64}", "1 to 64 of the characters A-Z a-z 0-9 . _ -")
LABEL_FIELD: dict[str, Field[Any]] = {"label": Field(LABEL, "The turn's name in reports.")}
SAY = Table(
    {"say": Field(Text(), "The caller's words, as text.", required=True), **LABEL_FIELD, **RESPONSE_FIELDS}, _text_turn
)
RESPOND = Table(
    {
        "respond": Field(Table(RESPONSE_FIELDS, ResponseSettings), "An answer is asked for, no more.", required=True),
        **LABEL_FIELD,
    },
    _ask_turn,
)
PLAY = Table(
    {
        "play": Field(OneOrMore(WAV), "The caller's words: a WAV, or one of several.", required=True),
        **LABEL_FIELD,
        "speech": Field(SPEECH, "Where speech is, instead of what is found in the WAV."),
        "chunk_ms": Field(Whole(20, 200), "Milliseconds of audio in a message.", default=100),
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
STEP_TABLES: dict[str, Table[Any]] = {"say": SAY, "respond": RESPOND, "play": PLAY, "pause": PAUSE, "expect": EXPECT}
STEP = OneKeyOf[Step](STEP_TABLES)
TURN_KEYS = ("say", "respond", "play")
OF_NO_TURN = "expects an event of no turn: it must follow a `say`, `respond` or `play`"


def follows_no_turn(before: Sequence[Step]) -> bool:
    """Whether no turn is under way after these steps, for a step that belongs to one."""
    return not before or not (before[-1].plays_turn or before[-1].within_turn)


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
        if step.within_turn and follows_no_turn(before):
            raise value.refuse(OF_NO_TURN)
        if not step.plays_turn:
            return step
        number = 1 + sum(other.plays_turn for other in before)
        return replace(step, label=step.label or f"turn_{number}")

    def schema(self) -> Schema:
        turn = {"anyOf": [{"required": [key]} for key in TURN_KEYS]}
        return {"type": "array", "items": STEP.schema(), "contains": turn}


SETTING_FIELDS: dict[str, Field[Any]] = {
    "session": Field(SESSION, "Sent once, as session.update."),
    "limits": Field(LIMITS, "How long each stage may take."),
    "variables": Field(ROWS, "A .csv or .jsonl file, one row of which fills ${name} in a session's texts."),
    "background": Field(BACKGROUND, "Noise behind the caller's voice."),
    "jitter_buffer_ms": Field(Number(0, 2_000), "Audio that the simulated player gathers first.", default=50.0),
}
SETTINGS = Table(SETTING_FIELDS, lambda **settings: settings)
SCRIPT = Table(
    SETTING_FIELDS | {"steps": Field(Steps(), "What the caller does, in this order.", required=True)},
    lambda **parts: parts,
)
