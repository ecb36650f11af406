"""The output of GPT-Live: a stream of audio that never stops, in slices of 100 ms. Pure.

One slice is due for every 100 ms of input audio. It contains silence or a part of an utterance. One
utterance is spoken at a time, so an utterance that is due while another one is spoken follows it.
No utterance begins while the caller speaks.
"""

import base64
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np

from bench.wire.audio import AudioFormat
from rtbench_simulator.conversation.items import USER_AUDIO_TOKEN_MS, ConversationItem
from rtbench_simulator.recorded_replies import TOKEN_MS, RecordedReply, audible_byte, reply_samples
from rtbench_simulator.server_events import Json, OutgoingEvent


@dataclass(eq=False)
class Delegation:
    """One delegated task.

    `is_unanswered` is True if nothing is said after its result. `is_answered` is True after its
    answer has started. The backend uses the other fields: `items` is the task, its function calls
    and their outputs. `is_calling` is True from a function call until the response that continues
    the task.
    """

    id: str
    is_unanswered: bool
    is_answered: bool = False
    items: list[ConversationItem] = field(default_factory=list)
    is_calling: bool = False


SLICE_MS = 100
UtteranceKind = Literal["filler", "answer", "greeting"]


class OutputSlice(NamedTuple):
    """100 ms of output that is ready to send. `audible` is the offset of its first audible
    sample.
    """

    encoded: bytes
    size: int
    audible: int | None
    words: str


@dataclass(eq=False)
class Utterance:
    """Something that the service says, from its slice number `begin` on.

    `delegation` is the delegated task if the utterance is the filler or the answer of a task;
    otherwise None. `number` counts the utterances of the session from 1, in the order in which they
    start. `first_facts` are those of its first slice in the ground-truth log.
    """

    kind: UtteranceKind
    slices: list[OutputSlice]
    begin: int
    delegation: Delegation | None
    first_facts: Json
    number: int = 0

    def take_facts(self) -> Json:
        """Return the facts of the next slice in the ground-truth log."""
        facts: Json = {"utterance": self.kind} | self.first_facts
        if self.delegation:
            facts["delegation"] = self.delegation.id
        self.first_facts = {}
        return facts


class OutputStream:
    """The output of one session. `count` is the number of slices that are already planned."""

    def __init__(self, format: AudioFormat) -> None:
        self.count = 0
        self.caller_speaks = False
        self.paused_ms: float | None = None
        """The time in standby; None if the session has none."""
        self._format = format
        self._planned: list[Utterance] = []
        self._spoken: Utterance | None = None  # the utterance of which a part remains to be said
        self._utterance_count = self._spoken_ms = 0

    @property
    def is_speaking(self) -> bool:
        return self._spoken is not None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to say."""
        return self._spoken is None and not self._planned

    @property
    def end_ms(self) -> int:
        """The end of the planned output, on the clock of the input audio."""
        return self.count * SLICE_MS

    @property
    def usage(self) -> Json:
        seconds = self.end_ms // 1000
        if self.paused_ms is None:
            return {"seconds": seconds}
        paused = min(seconds, int(self.paused_ms) // 1000)
        return {"seconds": seconds, "active_seconds": seconds - paused, "paused_seconds": paused}

    @property
    def context_tokens(self) -> int:
        """The tokens of the input and of the speech so far."""
        return self.end_ms // USER_AUDIO_TOKEN_MS + self._spoken_ms // TOKEN_MS

    def say(
        self,
        kind: UtteranceKind,
        reply: RecordedReply,
        from_ms: int,
        delegation: Delegation | None = None,
        max_slices: int | None = None,
        **first_facts: Any,
    ) -> None:
        """Plan an utterance. It begins with the first slice that does not start before
        `from_ms`.
        """
        pieces = list(slices(reply, self._format)[:max_slices])
        begin = max(self.count, slice_number(from_ms))
        self._planned.append(Utterance(kind, pieces, begin, delegation, first_facts))
        self._planned.sort(key=lambda utterance: utterance.begin)

    # The result of a task was asked for and is still true, so its answer survives an interruption.
    def stop(self) -> None:
        """Drop the rest of the current utterance, and planned utterances except greetings and
        the answers to tasks.
        """
        self._spoken = None
        self._planned = [
            utterance
            for utterance in self._planned
            if utterance.kind == "greeting" or (utterance.kind == "answer" and utterance.delegation)
        ]

    def drop_fillers(self) -> None:
        """Drop planned fillers."""
        self._planned = [utterance for utterance in self._planned if utterance.kind != "filler"]

    def drop_answer(self, delegation: Delegation | None) -> None:
        """Drop the planned answer to a task."""
        self._planned = [
            utterance
            for utterance in self._planned
            if utterance.kind != "answer" or utterance.delegation is not delegation
        ]

    # An utterance begins here and nowhere else, so utterances never overlap, and their numbers are
    # in the order in which a caller hears them.
    def next(self) -> tuple[OutputSlice, Utterance | None]:
        """Return (the next slice, its utterance). The utterance is None for silence."""
        if (
            self._spoken is None
            and not self.caller_speaks
            and self._planned
            and self._planned[0].begin <= self.count
        ):
            self._spoken = self._planned.pop(0)
            self._utterance_count += 1
            self._spoken.number = self._utterance_count
            if self._spoken.delegation and self._spoken.kind == "answer":
                self._spoken.delegation.is_answered = True
        self.count += 1
        utterance = self._spoken
        if utterance is None:
            return silent(self._format), None
        self._spoken_ms += SLICE_MS
        piece = utterance.slices.pop(0)
        if not utterance.slices:
            self._spoken = None
        return piece, utterance


def slice_number(at_ms: int) -> int:
    """Return the number of the first slice that starts at `at_ms` or later."""
    return -(-at_ms // SLICE_MS)


def delta(piece: OutputSlice, utterance: Utterance | None, due_ns: int) -> OutgoingEvent:
    """Return a delta as the primary connection sends it, which has neither ids nor timestamps."""
    return OutgoingEvent(
        due_ns,
        "session.output_audio.delta",
        b'{"type":"session.output_audio.delta","delta":' + piece.encoded + b"}",
        audio_bytes=piece.size,
        audible_byte=piece.audible,
        facts=utterance.take_facts() if utterance else None,
        utterance=utterance.number if utterance else None,
    )


@cache
def silent(format: AudioFormat) -> OutputSlice:
    """Return a slice of silence."""
    return _slice(format.encode(np.zeros(format.rate_hz * SLICE_MS // 1000, np.int16)), format, "")


@cache
def slices(reply: RecordedReply, format: AudioFormat) -> tuple[OutputSlice, ...]:
    """Return a reply as slices, with its words distributed evenly over them."""
    encoded = format.encode(reply_samples(reply, format))
    size = format.bytes_per_s * SLICE_MS // 1000
    pieces = [
        encoded[start : start + size] for start in range(0, len(encoded) // size * size, size)
    ]
    shares = [round(len(reply.tokens) * number / len(pieces)) for number in range(len(pieces) + 1)]
    texts = ("".join(reply.tokens[start:end]) for start, end in pairwise(shares))
    return tuple(_slice(audio, format, text) for audio, text in zip(pieces, texts, strict=True))


def _slice(audio: bytes, format: AudioFormat, text: str) -> OutputSlice:
    return OutputSlice(
        b'"' + base64.b64encode(audio) + b'"', len(audio), audible_byte(audio, format), text
    )
