"""Holds the facts of a turn that observing it needs: its plan, what its words are held against, how it interrupts.

Pure.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from bench.protocol.audio import AudioFormatName

_WORD = re.compile(r"\w+(?:'\w+)*")


@dataclass(frozen=True, slots=True)
class TurnReference:
    """What a turn is held against; of a field that is empty nothing is known.

    `words`: what the caller says. `reply`: what the reply should say. A turn has done its task where its reply matches
    the regular expression `matches` somewhere, and holds each text of `contains`.
    """

    words: str = ""
    reply: str = ""
    matches: str = ""
    contains: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError where `matches`, of a log that somebody sent, is no regular expression."""
        try:
            re.compile(self.matches)
        except re.error as error:
            raise ValueError(f"{self.matches!r} is no regular expression: {error}") from None

    @property
    def has_task(self) -> bool:
        """Whether it says when the turn's task is done."""
        return bool(self.matches or self.contains)


NO_REFERENCE = TurnReference()
SuccessPredicate = Callable[[Any], object]
"""A function of a Python program that says whether a turn that ended well has done its task, by its observation."""


@dataclass(frozen=True, slots=True)
class TurnPlan:
    """The facts of a turn that observing it needs. All of its client event ids begin with `event_prefix`.

    `vad`: the service finds the end of the caller's speech; `service_responds`: and starts the response by itself.
    `tail_ns`: a VAD that has heard up to so much before the end of speech has not just heard it to a pause.
    `audio`: the name of the file that is played. `out_of_band`: its response is no part of the conversation.
    `functions`: the session declares some; `expected_calls`: how often the script expects a call of each, None where it
    does not say. `reference`: what the turn's words are held against. `instructed`: its response is asked for with
    instructions of its own. `fillers`: the session asks for fillers while its caller waits.
    `has_turn_events`: as of the dialect; without them only what is audible of the turn is known.
    `greeting`: the service speaks first in it, and nobody asks. `answer_min_ns`: the least length of a sound that is
    the answer, if there are no events; shorter sounds before it are fillers. 0: the script does not tell them apart.
    """

    number: int
    step: str
    event_prefix: str
    request_event_id: str
    wants_audio: bool = True
    transcription_due: bool = False
    vad: bool = False
    service_responds: bool = False
    trailing_silence_ns: int = 0
    audio: str = ""
    speech_format: AudioFormatName = "pcm16"
    reply_format: AudioFormatName = "pcm16"
    jitter_buffer_ns: int = 0
    out_of_band: bool = False
    functions: bool = False
    expected_calls: Mapping[str, int] | None = None
    reference: TurnReference = NO_REFERENCE
    instructed: bool = False
    fillers: bool = False
    has_turn_events: bool = True
    greeting: bool = False
    answer_min_ns: int = 0


def normalized_words(text: str) -> list[str]:
    """The words of a text as they are compared: without case and punctuation, numbers as they are written.

    Unicode's compatibility forms (NFKC) are one word with what they stand for. A hyphen parts words, an apostrophe
    does not.
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text).replace("’", "'").casefold())


SoundKind = Literal["backchannel", "noise", "talking_to_others"]
"""What is not meant to interrupt: a word of assent, a noise, words to somebody else."""
InterruptionKind = Literal["speech", "client", "backchannel", "noise", "talking_to_others"]
WATCH_NS = 2_000_000_000
"""How long after a sound in silence a reply is waited for (τ-voice, arXiv 2603.13686), and while one is under way."""
SOUNDS: frozenset[str] = frozenset(get_args(SoundKind))


@dataclass(frozen=True)
class InterruptTrigger:
    """The cue for an interruption: so much, or such a share, of the reply was played, or a word of it came."""

    after_ns: int = 0
    share: float | None = None
    word: str = ""
