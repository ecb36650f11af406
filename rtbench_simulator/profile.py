"""The simulator's profile: a small YAML file with the delays and other properties of the simulated
service.

Delays have distributions (`delay.py`). They are drawn from a generator with a seed per session.
"""

# A key is declared once, with its validator, its note, and its default. Reading, the located
# errors, the JSON schema, and the table of the documentation follow from the declaration.
#
# A file has only what differs from `profiles/quiet.yaml`. Nested tables are replaced as a whole,
# except the delays, of which each has its own default.

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from bench.base.errors import UsageError, see
from bench.base.suggestions import no_such_file
from bench.base.units import NS_PER_MS
from bench.files.validation import (
    ENTRY,
    Boolean,
    Choice,
    Converted,
    Field,
    Integer,
    InvalidCombinationError,
    Number,
    OneOrMore,
    OrStruct,
    Schema,
    String,
    StructOf,
    Validator,
    field_key,
    struct_of,
)
from bench.files.yaml_file import YAML_SUFFIXES, LocatedValue, PythonValue, read_yaml
from bench.wire.audio import AudioFormatName
from rtbench_simulator.delay import DELAY, Delay, DelayDrift, LogNormal
from rtbench_simulator.faults.kinds import FAULTS, Fault
from rtbench_simulator.overload import OverloadRules
from rtbench_simulator.quota import UNLIMITED, QuotaLimits
from rtbench_simulator.server_events import GA_FORMATS

RATE_LIMITS = ("none", "after_created", "after_done", "both")
EFFORTS = ("minimal", "low", "medium", "high", "xhigh")
SESSION_CAP_S = 3600.0
MAX_CALLS = 20  # per response


# A share that is not set draws nothing, so a key that is added to the simulator changes no number
# of the profiles without it.
def is_drawn(share: float, rng: np.random.Generator) -> bool:
    """Return True with probability `share`. If `share` is 0 or 1, no random number is drawn."""
    return share == 1 or (share > 0 and bool(rng.random() < share))


@dataclass(frozen=True)
class Delays:
    """The delays of a service. The comments in profiles/quiet.yaml state where each delay starts
    and ends.
    """

    session_created: Delay
    session_updated: Delay
    item_created: Delay
    committed: Delay
    speech_started: Delay
    speech_stopped: Delay
    semantic_end: Delay
    vad_committed: Delay
    input_transcribed: Delay
    input_transcript_lag: Delay
    response_created: Delay
    first_text: Delay
    first_audio: Delay
    function_named: Delay
    answer_pause: Delay
    transcript_lead: Delay
    response_done: Delay
    cancelled: Delay
    rate_limits_updated: Delay


@dataclass(frozen=True)
class SpanValidator(Validator[tuple[int, int]]):
    """The validator of a list [MIN, MAX]. MIN and MAX are integers from `min_value` to
    `max_value`.
    """

    min_value: int
    max_value: int

    def read(self, value: LocatedValue) -> tuple[int, int]:
        items = value.content()
        if not isinstance(items, list) or len(items) != 2:
            raise value.type_error("[MIN, MAX]")
        minimum = Integer(self.min_value, self.max_value).read(items[0])
        return minimum, Integer(minimum, self.max_value).read(items[1])

    def schema(self) -> Schema:
        return {
            "type": "array",
            "items": Integer(self.min_value, self.max_value).schema(),
            "minItems": 2,
            "maxItems": 2,
        }


SHARE = Number(0, 1)


STATISTICS: StructOf[dict[str, Any]] = StructOf(
    {name: Field(Number(0.001, 600_000), "In ms.") for name in ("mean", "p50", "p95", "p99")},
    dict,
    nothing=False,
)


@dataclass(frozen=True)
class FunctionCalls:
    """Settings of the function calls that the model makes."""

    share: float = field_key(
        SHARE, "Share of the caller's turns with function calls, if the model may choose.", 1.0
    )
    parallel: tuple[int, int] = field_key(
        SpanValidator(1, MAX_CALLS), "Minimum and maximum number of calls in a response.", (1, 1)
    )
    rounds: int = field_key(
        Integer(1, 100), "Consecutive responses with calls before one answers.", 1
    )
    preamble: float = field_key(SHARE, "Share of the responses with calls that speak first.", 0.0)
    wrong_name: float = field_key(SHARE, "Share of the calls of an undeclared function.", 0.0)
    wrong_arguments: float = field_key(SHARE, "Share of the calls with wrong arguments.", 0.0)
    arguments_tokens_per_s: float = field_key(
        Number(0.1, 100_000), "Tokens of arguments generated per second.", 60.0
    )


@dataclass(frozen=True)
class PreambleSettings:
    """Settings of the commentaries that precede answers. `phases`: True if messages contain their
    phase.

    `phases` has an effect only if `share` is above 0.
    """

    share: float = field_key(SHARE, "Share of the answers that begin with a commentary.", 0.0)
    phases: bool = field_key(Boolean(), "Whether messages contain their phase.", True)


@dataclass(frozen=True)
class TokenCache:
    """Settings of the cache for the tokens that a response shares with the context of an earlier
    response.
    """

    min_tokens: int = field_key(
        Integer(0, 1_000_000), "Minimum number of equal tokens at the start.", 0
    )
    block_tokens: int = field_key(Integer(1, 1_000_000), "Number of tokens in a cached block.", 64)


@dataclass(frozen=True)
class ContextLatency:
    """The time that the service takes to read the context, before any output."""

    ms_per_1000_tokens: float = field_key(
        Number(0, 600_000), "Time for 1,000 tokens that are not cached.", 0.0
    )
    ms_per_1000_cached_tokens: float = field_key(
        Number(0, 600_000), "Time for 1,000 cached tokens.", 0.0
    )

    def ns(self, tokens: int, cached_tokens: int) -> int:
        """Return the time to read `tokens`, of which `cached_tokens` are cached."""
        fresh_ms = (tokens - cached_tokens) * self.ms_per_1000_tokens
        return round((fresh_ms + cached_tokens * self.ms_per_1000_cached_tokens) / 1000 * NS_PER_MS)


@dataclass(frozen=True)
class SpeechDetection:
    """The rule by which the VAD ignores some sounds, although they reach its threshold."""

    min_speech_ms: int = field_key(Integer(0, 10_000), "Shorter sounds are not speech.", 0)


@dataclass(frozen=True)
class TurnTakingSettings:
    """The rules by which a service takes turns with its caller. `turn_taking.py` applies them."""

    yield_ms: Delay | None = field_key(
        DELAY,
        "Time from the start of speech during a reply until the reply stops. None: `speech_started`"
        " of `delays`.",
    )
    no_reply_share: float = field_key(SHARE, "Share of the spoken turns that get no reply.", 0.0)
    cut_in_share: float = field_key(
        SHARE,
        "Share of the spoken turns in which the service replies while the caller speaks.",
        0.0,
    )
    cut_in_ms: Delay = field_key(
        DELAY,
        "Time from the start of speech to the cut-in. Shorter speech has none.",
        absent=LogNormal(1000, 1500),
    )
    ignored_backchannel_share: float = field_key(
        SHARE, "Share of the short utterances during a reply that are ignored.", 0.0
    )
    backchannel_ms: int = field_key(
        Integer(1, 600_000), "Duration below which an utterance is short.", 500
    )


@dataclass(frozen=True)
class LatencyGrowth:
    """The increase of response delays within a session. A new session starts without it."""

    per_min: float = field_key(
        Number(0, 100), "Increase per minute of the session; 0.5 is 50 %.", required=True
    )
    max_factor: float = field_key(Number(1, 100), "Maximum factor on the delays.", 10.0)

    def factor(self, minutes: float) -> float:
        return min(1 + self.per_min * minutes, self.max_factor)


@dataclass(frozen=True)
class TranscriptSettings:
    """Settings of the transcripts of the caller's audio.

    The segments of a session have the `texts` in order. After the last text, the first one follows
    again. If no texts are given, the simulator invents the transcripts.
    """

    texts: tuple[str, ...] | None = field_key(
        OneOrMore(String()), "The transcript of each segment of a session."
    )
    word_error_rate: float = field_key(
        SHARE, "Share of the words that are transcribed wrongly.", 0.0
    )
    failure_rate: float = field_key(SHARE, "Share of the segments that cannot be transcribed.", 0.0)
    words_per_s: float = field_key(
        Number(0.1, 100),
        "Words per second of the caller, for models that transcribe while the caller speaks.",
        2.5,
    )

    def __post_init__(self) -> None:
        if self.word_error_rate and self.texts is None:
            raise InvalidCombinationError("word_error_rate", "needs `texts`")


@dataclass(frozen=True)
class AgentSettings:
    """Properties of agents, except their delays."""

    greets: bool = field_key(Boolean(), "Whether the agent speaks first.", True)
    greeting_pause_ms: Delay | None = field_key(
        DELAY, "Silence between two phrases of the greeting. None: one phrase."
    )
    noise_dbfs: float | None = field_key(
        Number(-90, 0), "Level of the background noise, which never stops."
    )
    filler: float = field_key(SHARE, "Share of the answers that begin with a filler.", 0.0)
    crossed_share: float | None = field_key(
        SHARE,
        "The agent repeats the caller's words; in this share of the calls those of another caller.",
    )


@dataclass(frozen=True)
class PacketPathSettings:
    """Properties of the network path of telephone calls (RTP), of which `PacketPath` describes the
    delays.
    """

    loss: float = field_key(SHARE, "Share of the packets that are dropped, in each direction.", 0.0)
    jitter_ms: float = field_key(
        Number(0, 10_000), "Maximum of the random delay of a sent packet.", 0.0
    )
    reorder: float = field_key(
        SHARE, "Share of the sent packets that arrive after the next one.", 0.0
    )
    duplicate: float = field_key(SHARE, "Share of the sent packets that are sent twice.", 0.0)
    set_up_ms: Delay | None = field_key(
        DELAY, "Time from a telephone call's INVITE to its answer. None: at once."
    )


NETWORK_PATHS = {
    "carrier": PacketPathSettings(loss=0.000_01, jitter_ms=5.8, set_up_ms=LogNormal(384, 460))
}
"""The network paths with a name.

`carrier`: a live trunk of Twilio, measured in 60 calls (thevoiceguy/siphon-ai, results of its load
test of 21 Aug 2026): jitter (RFC 3550 §6.4.1) p50 1.94 and p95 2.17 ms, loss 0.001 %, set-up p50
384 and p95 460 ms. Independent uniform delays up to j have the jitter j / 3.
"""
NETWORK_PATH: Validator[PacketPathSettings] = OrStruct(
    Converted(Choice(tuple(NETWORK_PATHS)), lambda value, name: NETWORK_PATHS[name]),
    struct_of(PacketPathSettings),
)


@dataclass(frozen=True)
class Slowdown:
    """The increase of response delays with the number of sessions that are open on the whole
    server.
    """

    sessions: int = field_key(
        Integer(0, 1_000_000), "Number of open sessions without a slowdown.", required=True
    )
    per_session: float = field_key(
        Number(0, 100), "Increase per further session; 0.01 is 1 %.", required=True
    )

    def factor(self, open_sessions: int) -> float:
        return 1 + self.per_session * max(0, open_sessions - self.sessions)


SLOWER_PER_SESSION = 0.1
"""The increase of response delays per session above the capacity of `rtbench simulate
--capacity`."""


@dataclass(frozen=True)
class DelegationSettings:
    """Properties of the tasks that a full-duplex model delegates. The default delays are
    assumptions.
    """

    filler: float = field_key(
        SHARE, "Share of the delegated turns in which the service says a filler first.", 1.0
    )
    backend_ms: Delay = field_key(
        DELAY,
        "Duration of each response of the backend, from its request.",
        absent=LogNormal(1200, 2500),
    )
    answer_ms: Delay = field_key(
        DELAY,
        "Time from the accepted result to the start of its answer.",
        absent=LogNormal(900, 1500),
    )
    unanswered: float = field_key(SHARE, "Share of the results after which nothing is said.", 0.0)


@dataclass(frozen=True)
class McpSettings:
    """Properties of the MCP servers that clients declare. The default delays are assumptions."""

    listing_ms: Delay = field_key(
        DELAY,
        "Time from session.updated to the end of each list of tools.",
        absent=LogNormal(400, 1200),
    )
    call_ms: Delay = field_key(DELAY, "Duration of each call.", absent=LogNormal(600, 2000))
    failed_listings: float = field_key(SHARE, "Share of the lists of tools that fail.", 0.0)
    failed_calls: float = field_key(SHARE, "Share of the calls that fail.", 0.0)
    endless_calls: float = field_key(SHARE, "Share of the calls that never end.", 0.0)


@dataclass(frozen=True)
class PublishedValues:
    """Published values of the real service that are no keys of their own. Benchmarks compare the
    simulator with them.

    `voice_to_voice_ms` and `yield_ms`: by statistic, such as p50.
    """

    voice_to_voice_ms: Mapping[str, float] = field(
        default_factory=dict, metadata={ENTRY: Field(STATISTICS, "In ms.")}
    )
    yield_ms: Mapping[str, float] = field(
        default_factory=dict, metadata={ENTRY: Field(STATISTICS, "In ms.")}
    )
    between_sessions: float | None = field_key(
        SHARE, "Share of the variance of log latencies between sessions."
    )


SEE_PROFILE = f"See {see('simulator', 'the-profile')}."
QUOTA = Field(Integer(1, 1_000_000_000), SEE_PROFILE)
QUOTAS = StructOf({limit.name: QUOTA for limit in fields(QuotaLimits)}, QuotaLimits, nothing=False)
REASONING: StructOf[dict[str, Any]] = StructOf(
    {effort: Field(DELAY, SEE_PROFILE) for effort in EFFORTS}, dict, nothing=False
)


@dataclass(frozen=True)
class Profile:
    """The properties of the service: the keys of a profile.

    A property that `profiles/quiet.yaml` sets has no default in this class.
    """

    name: str
    delays: Delays
    generation_speed: float = field_key(
        Number(0.1, 1_000), "Seconds of audio generated per second.", required=True
    )
    text_tokens_per_s: float = field_key(
        Number(0.1, 100_000), "Tokens of text generated per second.", required=True
    )
    transcript_lead_deltas: tuple[int, int] = field_key(
        SpanValidator(0, 100), "Deltas of the transcript before the first audio.", required=True
    )
    rate_limits_updated: str = field_key(
        Choice(RATE_LIMITS), "When rate_limits.updated is sent.", required=True
    )
    obfuscation: bool = field_key(Boolean(), "Whether deltas of text are padded.", required=True)
    events_per_segment: int = field_key(
        Integer(1, 1_000), "Events in a TCP segment.", required=True
    )
    ping_interval_s: float = field_key(Number(0.1, 3_600), "Seconds between pings.", required=True)
    faults: tuple[Fault, ...] = field_key(
        FAULTS, "Injected faults, with their places and times.", absent=()
    )
    max_session_s: float = field_key(
        Number(0.01, 86_400), "Maximum duration of a session.", absent=SESSION_CAP_S
    )
    quota: QuotaLimits = field_key(
        QUOTAS, "Limits per minute, of the whole server.", absent=UNLIMITED
    )
    drift: DelayDrift | None = field_key(struct_of(DelayDrift), "Random drift of the delays.")
    slowdown: Slowdown | None = field_key(
        struct_of(Slowdown), "Increase of response delays with the open sessions."
    )
    max_concurrent_responses: int | None = field_key(
        Integer(1, 100_000),
        "Maximum number of concurrent responses; others are queued. None: any number.",
    )
    overload: OverloadRules | None = field_key(
        struct_of(OverloadRules), "What happens above max_concurrent_responses, and the recovery."
    )
    max_sessions: int | None = field_key(
        Integer(1, 100_000),
        "Maximum number of open sessions; others are refused (HTTP 503). None: any number.",
    )
    functions: FunctionCalls = field_key(
        struct_of(FunctionCalls), "Function calls.", absent=FunctionCalls()
    )
    mcp: McpSettings = field_key(struct_of(McpSettings), "MCP servers.", absent=McpSettings())
    preamble: PreambleSettings = field_key(
        struct_of(PreambleSettings),
        "Answers that begin with a commentary.",
        absent=PreambleSettings(),
    )
    reasoning_ms: Mapping[str, Delay] = field(
        default_factory=dict,
        metadata={ENTRY: Field(REASONING, "Duration of reasoning, by effort.")},
    )
    cache: TokenCache = field_key(
        struct_of(TokenCache), "Cache of tokens that are read again.", absent=TokenCache()
    )
    context_latency: ContextLatency = field_key(
        struct_of(ContextLatency), "Time to read the context.", absent=ContextLatency()
    )
    context_limit_tokens: int | None = field_key(
        Integer(1, 100_000_000), "Maximum number of tokens that a response can read."
    )
    vad: SpeechDetection = field_key(
        struct_of(SpeechDetection), "Detection of speech.", absent=SpeechDetection()
    )
    turn_taking: TurnTakingSettings = field_key(
        struct_of(TurnTakingSettings),
        "Interruptions, missing replies and cut-ins.",
        absent=TurnTakingSettings(),
    )
    session_sd: float = field_key(
        Number(0, 2),
        "Standard deviation of the logarithm of a session's factor on response delays.",
        absent=0.0,
    )
    growth: LatencyGrowth | None = field_key(
        struct_of(LatencyGrowth), "Increase of response delays within a session."
    )
    published: PublishedValues = field_key(
        struct_of(PublishedValues),
        "Published values of the real service.",
        absent=PublishedValues(),
    )
    ignored_truncate_share: float = field_key(
        SHARE, "Share of truncates that are acknowledged, but change nothing.", absent=0.0
    )
    transcripts: TranscriptSettings = field_key(
        struct_of(TranscriptSettings),
        "Transcripts of the caller's audio.",
        absent=TranscriptSettings(),
    )
    agent: AgentSettings = field_key(
        struct_of(AgentSettings), "Behaviour of agents.", absent=AgentSettings()
    )
    rtp: PacketPathSettings = field_key(
        NETWORK_PATH, "Network path of telephone calls, or its name.", absent=PacketPathSettings()
    )
    delegates: float = field_key(
        SHARE, "Share of the turns whose task a full-duplex model delegates.", absent=0.0
    )
    delegation: DelegationSettings = field_key(
        struct_of(DelegationSettings),
        "Tasks that a full-duplex model delegates.",
        absent=DelegationSettings(),
    )
    formats: tuple[AudioFormatName, ...] | None = field_key(
        OneOrMore(Choice(tuple(GA_FORMATS))),
        "Audio formats of GA sessions; the first is the default. None: those of the service.",
    )

    def __post_init__(self) -> None:
        if self.overload is not None and self.max_concurrent_responses is None:
            raise UsageError(
                f"profile {self.name}: `overload` needs `max_concurrent_responses`, the capacity"
            )

    def slowness(self, at_ns: int, open_sessions: int) -> float:
        """Return the factor on the delays of a response.

        The response starts at `at_ns`, while `open_sessions` sessions are open.
        """
        drifted = 1.0 if self.drift is None else self.drift.factor(at_ns)
        return drifted if self.slowdown is None else drifted * self.slowdown.factor(open_sessions)

    def adjusted(
        self,
        *,
        ttfa_p50_ms: float | None = None,
        speed: float | None = None,
        capacity: int | None = None,
        faults: Iterable[Fault] = (),
    ) -> Profile:
        """Return this profile with another median of first audio, another speed or capacity, or
        more faults.

        If the median changes, the ratios of the percentiles stay the same. Above the capacity, a
        number of open sessions, each session makes responses slower.
        """
        changed = replace(self, faults=(*self.faults, *faults))
        if capacity is not None:
            changed = replace(changed, slowdown=Slowdown(capacity, SLOWER_PER_SESSION))
        if ttfa_p50_ms is not None:
            # The option of the command moves one delay, and keeps its shape.
            first_audio = self.delays.first_audio.with_median(ttfa_p50_ms)
            changed = replace(changed, delays=replace(changed.delays, first_audio=first_audio))
        return changed if speed is None else replace(changed, generation_speed=speed)


DELAYS: StructOf[dict[str, Any]] = StructOf(
    {delay.name: Field(DELAY, "See profiles/quiet.yaml.") for delay in fields(Delays)},
    dict,
    nothing=False,
)
KEYS = {
    key.name: replace(key.metadata[ENTRY], required=False)
    for key in fields(Profile)
    if key.metadata
}
PROFILE: StructOf[dict[str, Any]] = StructOf(
    {"delays_ms": Field(DELAYS, "Delays, each by its distribution.")} | KEYS, dict, nothing=False
)


PROFILES = resources.files("rtbench_simulator") / "profiles"
PRESETS = tuple(
    sorted(
        file.name.removesuffix(".yaml")
        for file in PROFILES.iterdir()
        if file.name.endswith(".yaml")
    )
)
"""The profiles in the package. The file of each profile states the source of its values."""
USUAL = "gpt-realtime"
QUIET = "quiet"
"""The profile for tests of clients. It sets the keys that others leave out."""


@cache
def quiet_profile() -> Profile:
    settings = _preset_settings(QUIET)
    return Profile(name=QUIET, delays=Delays(**settings.pop("delays_ms")), **settings)


def usual_profile() -> Profile:
    """Return the profile of a simulator that is started without another one."""
    return _profile(USUAL, _preset_settings(USUAL))


def _preset_settings(name: str) -> dict[str, Any]:
    with resources.as_file(PROFILES / f"{name}.yaml") as path:
        return PROFILE.read(read_yaml(path, "the profile"))


def load_profile(path: Path) -> Profile:
    """Return the profile in the file `path`. If there is no such file, return the preset with that
    name.

    Missing keys have the values of `quiet`. Raise UsageError with the position of a mistake.
    """
    if str(path) in PRESETS and not path.exists():
        return _profile(str(path), _preset_settings(str(path)))
    if path.suffix not in YAML_SUFFIXES and not path.exists():
        problem = no_such_file(path, YAML_SUFFIXES, PRESETS)
        raise UsageError(f"{path}: {problem}; the presets are {', '.join(PRESETS)}")
    return _profile(path.stem, PROFILE.read(read_yaml(path, "the profile")))


def measured_profile(
    name: str, delays_ms: Mapping[str, Sequence[float]], generation_speed: float | None = None
) -> Profile:
    """Return the profile `quiet` with measured delays. `delays_ms`: the quantiles of each delay, at
    equally spaced shares.

    A delay without quantiles has its value in `quiet`.
    """
    settings: dict[str, Any] = {
        "delays_ms": {key: {"quantiles": values} for key, values in delays_ms.items() if values}
    }
    if generation_speed is not None:
        settings["generation_speed"] = generation_speed
    return _profile(name, PROFILE.read(PythonValue("the profile", settings)))


def _profile(name: str, settings: dict[str, Any]) -> Profile:
    base = quiet_profile()
    delays = replace(base.delays, **settings.pop("delays_ms", {}))
    return replace(base, name=name, delays=delays, **settings)
