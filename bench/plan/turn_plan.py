"""The facts of a turn that its observation needs: its plan, its expected words, and its
interruption. Pure.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from bench.wire.audio import AudioFormatName
from bench.wire.settings import ONLY_TRANSCRIPT, Output


@dataclass(frozen=True, slots=True)
class TurnReference:
    """The expected content of a turn. An empty field means that this content is unknown.

    `words` are the words of the caller. `reply` are the words that the reply should have. The turn
    has done its task if the regular expression `matches` is found in its reply, and if the reply
    contains each text in `contains`.
    """

    words: str = ""
    reply: str = ""
    matches: str = ""
    contains: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError if `matches`, perhaps from another person's log, is not a regular
        expression.
        """
        try:
            re.compile(self.matches)
        except re.error as error:
            raise ValueError(f"{self.matches!r} is not a regular expression: {error}") from None

    @property
    def has_task(self) -> bool:
        """True if the reference defines when the task of the turn is done."""
        return bool(self.matches or self.contains)

    @property
    def is_of_reply(self) -> bool:
        """True if the words of the reply are scored."""
        return self.has_task or bool(self.reply)


NO_REFERENCE = TurnReference()
MAILBOX = "mailbox"
PERSONS = ("person", "late_person")
"""The kinds of callees in whose calls it is known whom the agent takes them for."""
SuccessPredicate = Callable[[Any], object]
"""A Python function that gets the observation of a successful turn, and returns whether the task
is done."""


@dataclass(frozen=True, slots=True)
class TurnPlan:
    """The facts of a turn that its observation needs.

    `event_prefix` is the start of the ids of all client events of the turn. `vad` is True if the
    service detects the end of the caller's speech. `service_responds` is True if the service then
    also starts the response. `end_tolerance_ns` is a tolerance: if a VAD reports the end of speech
    at most this long before its real end, it has processed all of the speech, and not only the part
    before a pause. `audio` is the name of the file that is played, and `pause_ns` the length of
    each pause between its parts, or of the longest stated pause; None without. `out_of_band` is
    True if the response is not a part of the conversation. `names_requests` is the attribute of the
    dialect. `functions` is True if the session declares functions. `mcp_servers` maps each MCP
    server that the session declares to whether the client approves its calls; None if the session
    declares none. `expected_calls` is the number of calls that the script expects of each function;
    None if the script does not specify calls. `reference` has the expected words of the turn.
    `instructed` is True if the request for the response has its own instructions. `fillers` is True
    if the session requests fillers during delays. `usage_follows` is the attribute of the dialect.
    `greeting` is True if the service speaks first, without a request. `answer_min_ns` is used if
    the service sends no turn events. It is the minimum duration of a sound that counts as the
    answer; shorter sounds before the answer are fillers. It is 0 if the script does not distinguish
    them. `interpreted` is the attribute `interprets` of the dialect. `only_transcribed` is True if
    the turn gets no reply: it ends with the transcript of the caller's audio. `callee` is the kind
    of callee in the first turn of a call that the agent makes. A MAILBOX hangs up when it has
    recorded for `record_ns` after its beep. `mark` is the mark of the call in the caller's speech
    (`bench.sound.marks`); None without one.
    """

    number: int
    step: str
    event_prefix: str
    request_event_id: str
    wants_audio: bool = True
    transcription_due: bool = False
    vad: bool = False
    service_responds: bool = False
    end_tolerance_ns: int = 0
    audio: str = ""
    pause_ns: int | None = None
    speech_format: AudioFormatName = "pcm16"
    reply_format: AudioFormatName = "pcm16"
    jitter_buffer_ns: int = 0
    out_of_band: bool = False
    names_requests: bool = False
    only_transcribed: bool = False
    functions: bool = False
    mcp_servers: Mapping[str, bool] | None = None
    expected_calls: Mapping[str, int] | None = None
    reference: TurnReference = NO_REFERENCE
    instructed: bool = False
    fillers: bool = False
    usage_follows: bool = False
    greeting: bool = False
    answer_min_ns: int = 0
    interpreted: bool = False
    callee: str = ""
    record_ns: int = 0
    mark: int | None = None

    def owns(self, event_id: str) -> bool:
        """Return whether the turn sent the client event with this id."""
        return event_id.startswith(self.event_prefix)

    @property
    def has_reply(self) -> bool:
        """True if the turn gets a reply."""
        return not self.only_transcribed

    @property
    def output(self) -> Output:
        """The output of the reply; `transcript` if the turn gets no reply."""
        if not self.has_reply:
            return ONLY_TRANSCRIPT
        return "audio" if self.wants_audio else "text"


SoundKind = Literal["backchannel", "noise", "talking_to_others"]
"""The kinds of sounds that should not interrupt: a word of assent, a noise, and words to another
person."""
InterruptionKind = Literal["speech", "client", "backchannel", "noise", "talking_to_others"]
WATCH_NS = 2_000_000_000
"""The minimum wait for a reply after a sound in silence (τ-voice, arXiv 2603.13686). A begun
reply extends it."""
SOUNDS: frozenset[str] = frozenset(get_args(SoundKind))


@dataclass(frozen=True)
class InterruptTrigger:
    """The cue for an interruption: a duration or share of the reply that must be played, or
    words in its transcript.
    """

    after_ns: int = 0
    share: float | None = None
    text: str = ""
