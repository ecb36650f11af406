"""Reads the simulator's profile: a small YAML file of delays and of what the simulated service is like.

Delays have distributions (`delay.py`), and are drawn from a generator that is seeded per session.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import UsageError
from bench.manual import see
from bench.protocol.audio import AudioFormatName
from bench.protocol.openai import RATED_FORMATS
from bench.shapes import (
    Choice,
    Field,
    Flag,
    Number,
    OneOrMore,
    Schema,
    Shape,
    Table,
    Text,
    UnfitError,
    Whole,
    key,
    table_of,
)
from bench.simulator.delay import DELAY, Delay, DelayDrift, LogNormal
from bench.simulator.faults.kinds import FAULTS, Fault
from bench.simulator.quota import UNLIMITED, QuotaLimits
from bench.units import NS_PER_MS
from bench.yaml_file import Value, read_yaml

RATE_LIMITS = ("none", "after_created", "after_done", "both")
EFFORTS = ("minimal", "low", "medium", "high", "xhigh")
SESSION_CAP_S = 3600.0
MOST_CALLS = 20  # in a response


def drawn(share: float, rng: np.random.Generator) -> bool:
    """Whether it happens this time. Nothing is drawn where it always or never does."""
    return share == 1 or (share > 0 and bool(rng.random() < share))


@dataclass(frozen=True)
class Delays:
    """What each delay runs from and to: see profiles/default.yaml."""

    session_created: Delay
    session_updated: Delay
    item_created: Delay
    committed: Delay
    speech_started: Delay
    speech_stopped: Delay
    semantic_end: Delay
    vad_committed: Delay
    input_transcribed: Delay
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
class Span(Shape[tuple[int, int]]):
    """[MIN, MAX], whole numbers from `least` to `most`."""

    least: int
    most: int

    def read(self, value: Value) -> tuple[int, int]:
        items = value.content()
        if not isinstance(items, list) or len(items) != 2:
            raise value.unlike("[MIN, MAX]")
        least = Whole(self.least, self.most).read(items[0])
        return least, Whole(least, self.most).read(items[1])

    def schema(self) -> Schema:
        return {"type": "array", "items": Whole(self.least, self.most).schema(), "minItems": 2, "maxItems": 2}


SHARE = Number(0, 1)


@dataclass(frozen=True)
class FunctionCalls:
    """How the model calls the functions that a client declares."""

    share: float = key(SHARE, "Share of the caller's turns that make it call, where it may choose.", 1.0)
    parallel: tuple[int, int] = key(Span(1, MOST_CALLS), "Calls in a response, at least and at most.", (1, 1))
    rounds: int = key(Whole(1, 100), "Responses in a row that call before one answers.", 1)
    preamble: float = key(SHARE, "Share of the responses that call which speak first.", 0.0)
    wrong_name: float = key(SHARE, "Share of the calls of a function that nobody declared.", 0.0)
    wrong_arguments: float = key(SHARE, "Share of the calls whose arguments do not fit.", 0.0)
    arguments_tokens_per_s: float = key(Number(0.1, 100_000), "How fast arguments are written.", 60.0)


@dataclass(frozen=True)
class AnswerParts:
    """Which answers have a commentary ahead. `phases`: whether messages say which they are, where any have one."""

    share: float = key(SHARE, "Share of the answers that have a commentary ahead.", 0.0)
    phases: bool = key(Flag(), "Whether messages tell their phase.", True)

    @property
    def tell_phases(self) -> bool:
        """Whether messages tell their phase."""
        return self.phases and self.share > 0


@dataclass(frozen=True)
class TokenCache:
    """How much of what a response reads again comes from the cache."""

    min_tokens: int = key(Whole(0, 1_000_000), "So many have to be the same, from the first on.", 0)
    block_tokens: int = key(Whole(1, 1_000_000), "They are cached in blocks of so many.", 64)


@dataclass(frozen=True)
class ReadingTime:
    """How long it takes to read the context, before anything is said."""

    ms_per_1000_tokens: float = key(Number(0, 600_000), "Of 1,000 tokens that are not cached.", 0.0)
    ms_per_1000_cached_tokens: float = key(Number(0, 600_000), "Of 1,000 that are.", 0.0)

    def ns(self, tokens: int, cached_tokens: int) -> int:
        """The time for so many tokens, of which some are cached."""
        fresh_ms = (tokens - cached_tokens) * self.ms_per_1000_tokens
        return round((fresh_ms + cached_tokens * self.ms_per_1000_cached_tokens) / 1000 * NS_PER_MS)


@dataclass(frozen=True)
class SpeechDetection:
    """What the VAD takes for speech, besides what is loud enough."""

    min_speech_ms: int = key(Whole(0, 10_000), "What is shorter is none.", 0)
    ignored_barge_in_share: float = key(SHARE, "Share of what is said over a reply that it takes for none.", 0.0)


@dataclass(frozen=True)
class KnownWords:
    """What the caller's audio says, piece by piece of a session, and then again; without texts it is made up."""

    texts: tuple[str, ...] | None = key(OneOrMore(Text()), "Of each piece of a session what it says.")
    word_error_rate: float = key(SHARE, "Share of the words that are misheard.", 0.0)
    failure_rate: float = key(SHARE, "Share of the pieces that cannot be transcribed.", 0.0)

    def __post_init__(self) -> None:
        if self.word_error_rate and self.texts is None:
            raise UnfitError("word_error_rate", "needs `texts`")


@dataclass(frozen=True)
class AgentManners:
    """How agents are, beside their delays."""

    greets: bool = key(Flag(), "Whether it speaks first.", True)
    noise_dbfs: float | None = key(Number(-90, 0), "Level of the noise behind it, which never stops.")
    filler: float = key(SHARE, "Share of its answers that have a filler ahead.", 0.0)


@dataclass(frozen=True)
class Slowdown:
    """How delays of responses grow with the sessions that are open on the whole server."""

    sessions: int = key(Whole(0, 1_000_000), "So many make nothing slower.", required=True)
    per_session: float = key(Number(0, 100), "By so much each further one makes it: 0.01 is 1 %.", required=True)

    def factor(self, open_sessions: int) -> float:
        return 1 + self.per_session * max(0, open_sessions - self.sessions)


@dataclass(frozen=True)
class Profile:
    name: str
    delays: Delays
    generation_speed: float
    text_tokens_per_s: float
    transcript_lead_deltas: tuple[int, int]
    rate_limits_updated: str
    obfuscation: bool
    events_per_segment: int
    ping_interval_s: float
    faults: tuple[Fault, ...] = ()
    max_session_s: float = SESSION_CAP_S
    quota: QuotaLimits = UNLIMITED
    drift: DelayDrift | None = None
    slowdown: Slowdown | None = None
    max_concurrent_responses: int | None = None  # responses that are made at a time; None: any number
    functions: FunctionCalls = FunctionCalls()
    preamble: AnswerParts = AnswerParts()
    reasoning_ms: Mapping[str, Delay] = field(default_factory=dict)  # by effort
    cache: TokenCache = TokenCache()
    context_latency: ReadingTime = ReadingTime()
    context_limit_tokens: int | None = None  # of what a response reads
    vad: SpeechDetection = SpeechDetection()
    ignored_truncate_share: float = 0.0  # share of a client's truncates that are acknowledged and change nothing
    transcripts: KnownWords = KnownWords()
    agent: AgentManners = AgentManners()
    delegates: float = 0.0  # share of GPT-Live's answers for which it waits on its client
    formats: tuple[AudioFormatName, ...] | None = None  # of audio, in sessions of GA; None: OpenAI's

    def slowness(self, at_ns: int, open_sessions: int) -> float:
        """What the delays of a response are multiplied by that is asked for at `at_ns`, by the sessions open then."""
        drifted = 1.0 if self.drift is None else self.drift.factor(at_ns)
        return drifted if self.slowdown is None else drifted * self.slowdown.factor(open_sessions)

    def adjusted(
        self, *, ttfa_p50_ms: float | None = None, speed: float | None = None, faults: Iterable[Fault] = ()
    ) -> Profile:
        """This profile with another median of first audio (same relative spread) or speed, and with more faults."""
        changed = replace(self, faults=(*self.faults, *faults))
        if ttfa_p50_ms is not None:
            was = self.delays.first_audio
            if not isinstance(was, LogNormal):
                raise UsageError(f"--ttfa-p50-ms moves a log-normal first_audio; profile {self.name} has another one")
            spread = was.p95_ms / was.p50_ms
            first_audio = LogNormal(ttfa_p50_ms, ttfa_p50_ms * spread)
            changed = replace(changed, delays=replace(changed.delays, first_audio=first_audio))
        return changed if speed is None else replace(changed, generation_speed=speed)


QUOTA = Whole(1, 1_000_000_000)
DRIFT = Table(
    {
        "sd": Field(Number(0, 2), "Standard deviation of the logarithm.", required=True),
        "time_constant_s": Field(Number(0.001, 1_000_000), "How long it is remembered.", required=True),
        "seed": Field(Whole(0, 1 << 32), "Of the generator.", required=True),
    },
    DelayDrift,
)
DELAYS: Table[dict[str, Any]] = Table(
    {each.name: Field(DELAY, "See profiles/default.yaml.") for each in fields(Delays)}, dict, nothing=False
)
SEE_PROFILE = f"See {see('simulator', 'the-profile')}."
QUOTAS: Table[dict[str, Any]] = Table(
    {each.name: Field(QUOTA, SEE_PROFILE) for each in fields(QuotaLimits)},
    dict,
    nothing=False,
)
REASONING: Table[dict[str, Any]] = Table({effort: Field(DELAY, SEE_PROFILE) for effort in EFFORTS}, dict, nothing=False)
PROFILE: Table[dict[str, Any]] = Table(
    {
        "delays_ms": Field(DELAYS, "Delays, each by its distribution."),
        "generation_speed": Field(Number(0.1, 1_000), "Seconds of audio made in a second."),
        "text_tokens_per_s": Field(Number(0.1, 100_000), "How fast text is written."),
        "transcript_lead_deltas": Field(Span(0, 100), "Deltas of the transcript before the first audio."),
        "rate_limits_updated": Field(Choice(RATE_LIMITS), "When rate_limits.updated comes."),
        "obfuscation": Field(Flag(), "Whether deltas of text are padded."),
        "events_per_segment": Field(Whole(1, 1_000), "Events in a TCP segment."),
        "ping_interval_s": Field(Number(0.1, 3_600), "Seconds between pings."),
        "faults": Field(FAULTS, "What goes wrong, where and when."),
        "max_session_s": Field(Number(0.01, 86_400), "How long a session may last."),
        "quota": Field(QUOTAS, "Of the whole server, a minute."),
        "drift": Field(DRIFT, "How delays wander."),
        "slowdown": Field(table_of(Slowdown), "How open sessions make responses slower."),
        "max_concurrent_responses": Field(Whole(1, 100_000), "Responses that are made at a time; others are queued."),
        "functions": Field(table_of(FunctionCalls), "Function calls."),
        "preamble": Field(table_of(AnswerParts), "Answers that have a commentary ahead."),
        "vad": Field(table_of(SpeechDetection), "What is taken for speech."),
        "cache": Field(table_of(TokenCache), "What is read again from the cache."),
        "context_latency": Field(table_of(ReadingTime), "How long it takes to read the context."),
        "context_limit_tokens": Field(Whole(1, 100_000_000), "Tokens that a response can read."),
        "ignored_truncate_share": Field(SHARE, "Share of truncates that are acknowledged and change nothing."),
        "reasoning_ms": Field(REASONING, "What reasoning takes, by effort."),
        "transcripts": Field(table_of(KnownWords), "What the caller's audio says."),
        "agent": Field(table_of(AgentManners), "How agents are that are called."),
        "delegates": Field(SHARE, "Share of GPT-Live's answers that it delegates to its client."),
        "formats": Field(OneOrMore(Choice(tuple(RATED_FORMATS))), "Of audio, in sessions of GA; the first is its own."),
    },
    dict,
    nothing=False,
)


PRESETS = ("default", "busy", "gpt-realtime-2.1")
"""Profiles that come with the tool; where each is from stands in its file."""


@cache
def default_profile() -> Profile:
    settings = _preset_settings("default")
    return Profile(name="default", delays=Delays(**settings.pop("delays_ms")), **settings)


def preset(name: str) -> Profile:
    """One of PRESETS."""
    return default_profile() if name == "default" else _merged(default_profile(), name, _preset_settings(name))


def _preset_settings(name: str) -> dict[str, Any]:
    with resources.as_file(resources.files("bench.simulator") / "profiles" / f"{name}.yaml") as path:
        return PROFILE.read(read_yaml(path, "the profile"))


def load_profile(path: Path) -> Profile:
    """The profile in `path`, or the preset of that name where there is no such file.

    What it leaves out is as in the default profile. Raises UsageError with its place.
    """
    if str(path) in PRESETS and not path.exists():
        return preset(str(path))
    return _merged(default_profile(), path.stem, PROFILE.read(read_yaml(path, "the profile")))


def _merged(base: Profile, name: str, settings: dict[str, Any]) -> Profile:
    delays = replace(base.delays, **settings.pop("delays_ms", {}))
    quota = QuotaLimits(**settings.pop("quota", {}))
    return replace(base, name=name, delays=delays, quota=quota, **settings)
