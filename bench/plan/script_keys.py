"""The keys of a script except its steps, and the permitted values of each key.

`docs/scripts.md` describes them in full. YAML, Python classes of tasks and the JSON Schema use this
table, and `steps.py`.
"""

# A validator reads a value and gives its part of the JSON Schema, so a key cannot be documented
# differently from how it is read. Keys that only some services have are declared by these
# (`Dialect.setting_keys`), and are joined to the tables here. So this module names no service. A
# key of another service is no spelling error: it gets an error of its own, when the script is
# compiled for the target.

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, get_args

import msgspec

from bench.catalogue.threshold_form import THRESHOLD
from bench.catalogue.timeouts import Timeouts
from bench.catalogue.words import normalized_words
from bench.files.validation import (
    AnyJson,
    Boolean,
    Choice,
    Converted,
    Field,
    Integer,
    InvalidCombinationError,
    JsonObject,
    MapOf,
    Number,
    OneKeyOf,
    OneOrMore,
    OrKeyword,
    OrStruct,
    RegexString,
    Schema,
    String,
    StructOf,
    Validator,
    either,
    one_of_tables,
)
from bench.files.yaml_file import LocatedValue
from bench.plan.conversation import ReadOnce, file_of, load_history
from bench.plan.functions import ScriptFunction
from bench.plan.random_choices import (
    MAX_PAUSE_S,
    LogNormalTimes,
    ThinkTime,
    load_rows,
    load_think_times,
)
from bench.plan.recordings import BackgroundNoise, load_pcm
from bench.services.registry import DIALECTS
from bench.wire.audio import AudioFormatName
from bench.wire.settings import (
    DETECTION_FIELDS,
    FULL_DUPLEX,
    LEVEL_FIELDS,
    Effort,
    FunctionTool,
    InputTranscription,
    McpServer,
    NoiseReduction,
    Output,
    ResponseSettings,
    SessionSettings,
    TurnDetection,
    TypedMapValidator,
    detector,
    texts,
)

SECONDS = Number(0.001, MAX_PAUSE_S, "of seconds")
FORMAT = Choice(get_args(AudioFormatName))


def _with_word(value: LocatedValue, text: str) -> str:
    if not normalized_words(text):
        raise value.refuse("has no word in it")
    return text


WORDS = Converted(String(), _with_word)
VARIABLE = RegexString("[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable")

MAX_WAVS = 1_000
"""The maximum number of recordings in memory, more than any task has. Some tasks write a WAV for
each turn."""
load_wav = ReadOnce(load_pcm, MAX_WAVS)
WAV = file_of(load_wav)
ROWS = file_of(load_rows)
THINK_TIMES = file_of(load_think_times)
HISTORY = file_of(load_history)
THRESHOLDS = MapOf(
    r"\S[^\n]*",
    OneOrMore(THRESHOLD),
    "a table (`metric: threshold`), as in ttfa: p(95)<800",
    1,
)
"""The thresholds of a run. `reports.metrics.thresholds` defines the permitted metrics and the
form of a threshold."""
MAX_TOKENS = 1_000_000
TOKENS = OrKeyword(Integer(1, MAX_TOKENS, "of tokens (or inf)"), "inf")

SETTING_KEYS = tuple(dict.fromkeys(dialect.setting_keys for dialect in DIALECTS.values()))


def detection_keys(name: str) -> dict[str, Field[Any]]:
    """Return the keys of a type of turn detection that only some services have."""
    return {
        key: field for keys in SETTING_KEYS for key, field in keys.detection.get(name, {}).items()
    }


RESPONSE_FIELDS = {
    "output": Field(Choice(("audio", "text")), "Whether the answer is audio or text."),
    "instructions": Field(String(), "The system prompt."),
    "max_output_tokens": Field(
        TOKENS, "Maximum tokens of an answer; inf: the model's own maximum."
    ),
    "tool_choice": Field(
        String(), "auto, none, required, or the name of the function that must be called."
    ),
}

RESPONSE = StructOf(RESPONSE_FIELDS, ResponseSettings)

SERVER_FIELDS = {
    **LEVEL_FIELDS,
    "idle_timeout_ms": Field(
        Integer(5_000, 30_000), "Silence after which the service speaks by itself, in ms. GA only."
    ),
    **detection_keys("server_vad"),
    **DETECTION_FIELDS,
}
SEMANTIC_FIELDS = {
    "eagerness": Field(
        Choice(("low", "medium", "high", "auto")), "How soon a turn counts as finished."
    ),
    **detection_keys("semantic_vad"),
    **DETECTION_FIELDS,
}
DETECTION_TABLES = {
    "server_vad": detector("server_vad", "Detection by loudness.", SERVER_FIELDS),
    "semantic_vad": detector("semantic_vad", "Detection by meaning.", SEMANTIC_FIELDS),
    FULL_DUPLEX: detector(
        FULL_DUPLEX,
        "Full duplex: caller and service always listen. Not of turn-based services.",
        {},
    ),
    **{name: table for keys in SETTING_KEYS for name, table in keys.detectors.items()},
}


@dataclass(frozen=True)
class TurnDetectionValidator(Validator[TurnDetection | None]):
    """A validator of how turns end: a word, or a table whose `type` determines its other keys."""

    words: tuple[str, ...] = ("none", *DETECTION_TABLES)

    def read(self, value: LocatedValue) -> TurnDetection | None:
        content = value.content()
        if isinstance(content, dict):
            if "type" not in content:
                raise value.refuse(f"needs `type`: {either(DETECTION_TABLES)}")
            chosen = Choice(tuple(DETECTION_TABLES)).read(content["type"])
            # a key of another type is not a spelling error, and gets an error of its own
            for key, entry in content.items():
                owners = [name for name, table in DETECTION_TABLES.items() if key in table.fields]
                if owners and chosen not in owners:
                    raise entry.refuse(f"needs {owners[0]}; {chosen} does not support it")
            return DETECTION_TABLES[chosen].read(value)
        if content not in self.words:
            raise value.type_error(f"{either(self.words)}, or a table with a `type`")
        return None if content == "none" else DETECTION_TABLES[str(content)].build(type=content)

    def schema(self) -> Schema:
        tables = one_of_tables(
            "type", {name: table.schema() for name, table in DETECTION_TABLES.items()}
        )
        return {"if": {"type": "object"}, "then": tables, "else": {"enum": list(self.words)}}


VOICE = OrStruct(
    String(),
    TypedMapValidator(
        {kind: table for keys in SETTING_KEYS for kind, table in keys.voices.items()}
    ),
)
REASONING = StructOf(
    {"effort": Field(Choice(get_args(Effort)), "More effort increases latency.", required=True)},
    lambda effort: {"effort": effort},
)
RETENTION = StructOf(
    {
        "retention_ratio": Field(
            Number(0, 1), "The share of the conversation that is retained.", required=True
        ),
        "post_instructions": Field(
            Integer(0, MAX_TOKENS), "Maximum tokens of the conversation, without instructions."
        ),
    },
    lambda retention_ratio, post_instructions=None: (
        {"type": "retention_ratio", "retention_ratio": retention_ratio}
        | (
            {}
            if post_instructions is None
            else {"token_limits": {"post_instructions": post_instructions}}
        )
    ),
)
TRUNCATION = OrStruct(Choice(("auto", "disabled")), RETENTION)

TRANSCRIPTION = StructOf(
    {
        "model": Field(String(), "The model; on Azure GA its deployment.", required=True),
        "language": Field(String(), "The language of the caller, as in en."),
        "languages": Field(texts(), "The languages that the caller may speak, as in en."),
        "delay": Field(
            Choice(get_args(Effort)), "The delay of the text. A longer one may be more accurate."
        ),
        "keywords": Field(texts(), "Words that the caller may say."),
        "prompt": Field(String(), "A text that guides the model."),
    },
    InputTranscription,
)
INPUT_TRANSCRIPTION: Validator[InputTranscription] = Converted(
    OrStruct(String(), TRANSCRIPTION),
    lambda _, value: InputTranscription(model=value) if isinstance(value, str) else value,
)
OUTPUT = Field(
    Choice(get_args(Output)),
    "Whether the answer is audio or text; transcript: there are no answers.",
)

SESSION = StructOf(
    RESPONSE_FIELDS
    | {
        "output": OUTPUT,
        "voice": Field(VOICE, "A voice of the service; for Voice Live also a table."),
        "temperature": Field(Number(0.6, 1.2), "Preview and Voice Live only."),
        "input_transcription": Field(
            INPUT_TRANSCRIPTION,
            "Model that transcribes the caller's audio, on Azure GA its deployment; or a table.",
        ),
        "turn_detection": Field(
            TurnDetectionValidator(),
            "How the end of a caller's turn is detected; none: this tool commits it.",
        ),
        "input_format": Field(FORMAT, "The format of the caller's audio."),
        "output_format": Field(FORMAT, "The format of the answers' audio."),
        "noise_reduction": Field(
            Choice(get_args(NoiseReduction)), "How noise behind the caller is reduced."
        ),
        "reasoning": Field(REASONING, "How much the model reasons. Not for preview."),
        "truncation": Field(
            TRUNCATION,
            "How a conversation that becomes too long is shortened, if the service can do it.",
        ),
        **{name: key for keys in SETTING_KEYS for name, key in keys.session.items()},
        "extra": Field(
            JsonObject(),
            "More settings, in the service's own format, which are merged into session.update"
            " last.",
        ),
    },
    SessionSettings,
)
TIMEOUTS = StructOf(
    {
        name: Field(SECONDS, f"Seconds until `timeout:{name}`.", default=default)
        for name, default in vars(Timeouts()).items()
        if name != "patience"
    },
    Timeouts,
)
BACKGROUND_NOISE = StructOf(
    {
        "file": Field(WAV, "A WAV of noise, which is repeated.", required=True),
        "snr_db": Field(
            Number(-10, 60),
            "Signal-to-noise ratio: by how many dB speech is louder.",
            required=True,
        ),
    },
    lambda file, snr_db: BackgroundNoise(file, snr_db),
)


def _function(
    description: str = "",
    parameters: dict[str, Any] | None = None,
    returns: Any = None,
    delay: float | ThinkTime = 0.0,
) -> ScriptFunction:
    results = returns if isinstance(returns, list) and returns else [returns]
    compute = returns if callable(returns) else None
    return ScriptFunction(
        FunctionTool(name="", description=description, parameters=parameters or {}),
        results,
        compute,
        delay,
    )


def _log_normal(median: float, sigma: float, max: float) -> LogNormalTimes:
    if max < median:
        raise InvalidCombinationError("max", f"must not be below the median, which is {median:g} s")
    return LogNormalTimes(median, sigma, max)


def _with_quantiles(p50: float, p90: float) -> LogNormalTimes:
    if p90 < p50:
        raise InvalidCombinationError("p90", f"must not be below p50, which is {p50:g} s")
    return LogNormalTimes(p50, math.log(p90 / p50) / NormalDist().inv_cdf(0.9))


LOG_NORMAL = StructOf(
    {
        "median": Field(SECONDS, "Seconds; half of the pauses are shorter.", required=True),
        "sigma": Field(
            Number(0, 2), "Standard deviation of the pause's natural logarithm.", required=True
        ),
        "max": Field(
            SECONDS, "Seconds; longer pauses are cut to this length.", default=MAX_PAUSE_S
        ),
    },
    _log_normal,
)
QUANTILES = StructOf(
    {
        "p50": Field(SECONDS, "Seconds; half of the times are shorter.", required=True),
        "p90": Field(SECONDS, "Seconds; nine of ten times are shorter.", required=True),
    },
    _with_quantiles,
)
RECORDED = StructOf(
    {
        "file": Field(
            THINK_TIMES, "A number of seconds per line, all equally likely.", required=True
        )
    },
    lambda file: file,
)
DRAWN_TABLES = {"median": LOG_NORMAL, "p50": QUANTILES, "file": RECORDED}
DRAWN = OneKeyOf[ThinkTime](DRAWN_TABLES)


class ResultValidator(AnyJson):
    """A validator of the result of a function. The result is JSON or, in Python, a callable that
    gets the arguments.
    """

    def read(self, value: LocatedValue) -> Any:
        content = value.content()
        return content if callable(content) else super().read(value)


TOOL = StructOf(
    {
        "description": Field(String(), "Description of the function, for the model."),
        "parameters": Field(JsonObject(), "JSON Schema of its arguments."),
        "returns": Field(
            ResultValidator(),
            "Its result, JSON or a text; the calls use the items of a list in order.",
        ),
        "delay": Field(
            OrStruct(Number(0, MAX_PAUSE_S, "of seconds"), DRAWN),
            "Its duration in seconds.",
            default=0.0,
        ),
    },
    _function,
)
NAME = RegexString("[A-Za-z0-9_-]{1,64}", "1 to 64 of the characters A-Z a-z 0-9 _ -")

TOOLS: Validator[tuple[ScriptFunction, ...]] = Converted(
    MapOf(NAME.pattern, TOOL, "a table (`name of a function: its settings`)"),
    lambda _, functions: tuple(
        replace(function, tool=msgspec.structs.replace(function.tool, name=name))
        for name, function in functions.items()
    ),
)
"""The functions that a service may call, by name."""

MCP_SERVER = StructOf(
    {
        "url": Field(String(), "The URL of the server."),
        "connector_id": Field(String(), "A connector of the service, instead of a URL."),
        "tunnel_id": Field(String(), "A Secure MCP Tunnel of the service, instead of a URL."),
        "description": Field(String(), "Description of the server, for the model."),
        "allowed_tools": Field(texts(), "The tools that the model may call; by default, all."),
        "require_approval": Field(
            Choice(("always", "never")),
            "Whether the service asks before each call; by default, the service decides.",
        ),
        "approve": Field(
            Boolean(), "Whether this tool then approves the call. Otherwise the turn fails.", False
        ),
        "authorization_env": Field(VARIABLE, "The environment variable with the access token."),
    },
    lambda **settings: McpServer(label="", **settings),
)


def _labelled(value: LocatedValue, servers: Mapping[str, McpServer]) -> tuple[McpServer, ...]:
    """Return the servers with their labels. Each must have one address: a URL, a connector or a
    tunnel.
    """
    for label, server in servers.items():
        if (
            sum(
                address is not None
                for address in (server.url, server.connector_id, server.tunnel_id)
            )
            != 1
        ):
            problem = "needs exactly one of `url`, `connector_id` and `tunnel_id`"
            raise (value.within(label) or value).refuse(problem)
    return tuple(msgspec.structs.replace(server, label=label) for label, server in servers.items())


MCP_SERVERS: Validator[tuple[McpServer, ...]] = Converted(
    MapOf(NAME.pattern, MCP_SERVER, "a table (`label of a server: its settings`)"), _labelled
)
"""The MCP servers whose tools a service may call, by label."""
