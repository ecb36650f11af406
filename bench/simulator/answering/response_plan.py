"""Plans what a response is made of, and when: messages and function calls, one after the other.

    an answer                     [answer]
    an answer in parts            [commentary, answer]       a pause between them
    a response that calls         [calls]
    the same with a preamble      [commentary, calls]
    an answer that is late        [filler, answer]           where a session speaks fillers
    what is said during calls     [filler]

Reasoning comes behind the commentary. The delays of an answer's first events are drawn, and multiplied by the drift at
the instant that asks for it. Blocks of audio come when their audio has been generated at `generation_speed` × real
time, and the transcript runs ahead (docs/protocol.md, "Audio"). At last the plan is cut to the tokens that the response
may have. Pure arithmetic on integer nanoseconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from bench.protocol.audio import AudioFormatName
from bench.simulator.answering.function_calls import GeneratedCall
from bench.simulator.delay import Delay
from bench.simulator.profile import Profile
from bench.simulator.recorded_replies import TOKEN_MS, AudioBlock, RecordedReply
from bench.units import NS_PER_MS, NS_PER_S

OPENING_NS = 10 * NS_PER_MS  # output item and content part open at most so long before the first delta


class PlannedDelta(NamedTuple):
    """A delta of a part: its next audio block, or its next text token."""

    due_ns: int
    audio: bool


@dataclass(frozen=True)
class DeltaSchedule:
    """Due instants of one part, none before the one above it."""

    opening_ns: int
    deltas: Sequence[PlannedDelta]
    done_ns: int


def audio_schedule(
    profile: Profile, reply: RecordedReply, after_ns: int, first_ns: int, rng: np.random.Generator
) -> DeltaSchedule:
    """The schedule of a message whose first block is due at `first_ns`, and nothing of it before `after_ns`."""
    audio, due_ns = [], float(first_ns)
    for index, block in enumerate(reply.blocks["pcm16"]):
        due_ns += block.audio_ms * NS_PER_MS / profile.generation_speed if index else 0
        audio.append(PlannedDelta(int(due_ns), True))
    lead = min(len(reply.tokens), int(rng.integers(*profile.transcript_lead_deltas, endpoint=True)))
    text_ns = max(after_ns, first_ns - profile.delays.transcript_lead.draw_ns(rng))
    ahead = _spread(lead, text_ns, first_ns)
    # none of these in the instant of the first audio, which it would be sent ahead of
    half_ns = (audio[-1].due_ns - first_ns) // (2 * len(reply.tokens))
    beside = _spread(len(reply.tokens) - lead, first_ns + half_ns, audio[-1].due_ns)
    return _message(profile, after_ns, sorted(ahead + beside + audio), rng)


def text_schedule(
    profile: Profile, reply: RecordedReply, after_ns: int, first_ns: int, rng: np.random.Generator
) -> DeltaSchedule:
    """The same for a message in text alone, which goes on at a steady pace."""
    last_ns = first_ns + int(len(reply.tokens) / profile.text_tokens_per_s * NS_PER_S)
    return _message(profile, after_ns, _spread(len(reply.tokens), first_ns, last_ns), rng)


def call_schedule(profile: Profile, tokens: Sequence[str], named_ns: int) -> DeltaSchedule:
    """The schedule of a function call that is announced at `named_ns`; each token of its arguments takes its time."""
    pace = profile.functions.arguments_tokens_per_s
    dues = [PlannedDelta(named_ns + int(place / pace * NS_PER_S), False) for place in range(1, len(tokens) + 1)]
    grouped = in_bursts(dues, profile.events_per_segment)
    return DeltaSchedule(named_ns, grouped, grouped[-1].due_ns)


def _message(profile: Profile, after_ns: int, deltas: list[PlannedDelta], rng: np.random.Generator) -> DeltaSchedule:
    grouped = in_bursts(deltas, profile.events_per_segment)
    first_ns = grouped[0].due_ns
    # between what is ahead of it and its first delta, so that none of them shares an instant
    opening_ns = max(after_ns, first_ns - min(OPENING_NS, (first_ns - after_ns) // 2))
    return DeltaSchedule(opening_ns, grouped, grouped[-1].due_ns + profile.delays.response_done.draw_ns(rng))


def _spread(tokens: int, from_ns: int, until_ns: int) -> list[PlannedDelta]:
    """Evenly in [from, until)."""
    return [PlannedDelta(from_ns + int((until_ns - from_ns) / tokens * place), False) for place in range(tokens)]


def in_bursts(deltas: list[PlannedDelta], size: int) -> list[PlannedDelta]:
    """Each `size` deltas wait for the last of them, to leave together."""
    if size == 1:
        return deltas
    last = len(deltas) - 1
    return [
        delta._replace(due_ns=deltas[min(place - place % size + size - 1, last)].due_ns)
        for place, delta in enumerate(deltas)
    ]


COMMENTARY, FINAL_ANSWER = "commentary", "final_answer"


class ResponseRequest(NamedTuple):
    """Says when a response was asked for, before when nothing of it may be due, and what it takes."""

    at_ns: int
    earliest_ns: int
    reading_ns: int = 0
    reasoning_ns: int = 0
    slowness: float = 1.0
    """What its delays are multiplied by."""
    late_ns: int | None = None
    """After so long a filler is said, if it has audio; None where none is."""


class ResponseContent(NamedTuple):
    """Says what a response consists of: in audio or in text, perhaps a commentary, then the calls or the answer.

    `filler`: what is said ahead if that is late.
    """

    audio: bool
    commentary: RecordedReply | None
    answer: RecordedReply
    calls: Sequence[GeneratedCall] = ()
    filler: RecordedReply | None = None


@dataclass(frozen=True)
class PlannedMessage:
    """Holds a message to be. `phase` is None where messages do not tell theirs. `filler`: it is said during calls."""

    reply: RecordedReply
    schedule: DeltaSchedule
    phase: str | None = None
    filler: bool = False


@dataclass(frozen=True)
class PlannedCall:
    call: GeneratedCall
    schedule: DeltaSchedule


PlannedPart = PlannedMessage | PlannedCall


@dataclass(frozen=True)
class ResponsePlan:
    """Holds a response to be, its instants in order. `cut`: whether the cap ends it in its last part."""

    created_ns: int
    parts: Sequence[PlannedPart]
    done_ns: int
    cut: bool = False


class Planner:
    def __init__(self, profile: Profile, rng: np.random.Generator) -> None:
        self._profile, self._delays, self._rng = profile, profile.delays, rng

    def response(self, content: ResponseContent, asked: ResponseRequest) -> ResponsePlan:
        if content.commentary is None and content.calls:
            delay = self._delays.function_named
        else:
            delay = self._delays.first_audio if content.audio else self._delays.first_text
        thinking_ns = asked.reading_ns + (asked.reasoning_ns if content.commentary is None else 0)
        first_ns = max(asked.earliest_ns, asked.at_ns + self._drawn_ns(delay, asked, thinking_ns))
        may_fill = content.audio and content.commentary is None
        if may_fill and asked.late_ns is not None and first_ns > asked.at_ns + asked.late_ns:
            filler_ns = max(asked.earliest_ns, asked.at_ns + asked.late_ns)
            created_ns = self._created_ns(asked, filler_ns)
            filler = self._message(True, content.filler or content.answer, None, created_ns, filler_ns)
            closed_ns = filler.schedule.done_ns
            return self._completed(content, created_ns, [filler], closed_ns, max(first_ns, closed_ns))
        created_ns = self._created_ns(asked, first_ns)
        if content.commentary is None:
            return self._completed(content, created_ns, [], created_ns, first_ns)
        commentary = self._message(content.audio, content.commentary, COMMENTARY, created_ns, first_ns)
        closed_ns = commentary.schedule.done_ns
        pause = self._delays.function_named if content.calls else self._delays.answer_pause
        first_ns = closed_ns + self._drawn_ns(pause, asked, asked.reasoning_ns)
        return self._completed(content, created_ns, [commentary], closed_ns, first_ns)

    def filler(self, reply: RecordedReply, at_ns: int) -> ResponsePlan:
        """The plan of what is said during calls."""
        filler = replace(self._message(True, reply, None, at_ns, at_ns), filler=True)
        return ResponsePlan(at_ns, [filler], filler.schedule.done_ns)

    def failure(self, asked: ResponseRequest) -> ResponsePlan:
        """The plan of a response that fails as soon as it was created."""
        created_ns = max(asked.earliest_ns, asked.at_ns + self._drawn_ns(self._delays.response_created, asked))
        return ResponsePlan(created_ns, (), created_ns + self._delays.response_done.draw_ns(self._rng))

    def _created_ns(self, asked: ResponseRequest, first_ns: int) -> int:
        drawn_ns = self._drawn_ns(self._delays.response_created, asked)
        return max(asked.earliest_ns, min(first_ns, asked.at_ns + drawn_ns))

    def _completed(
        self, content: ResponseContent, created_ns: int, ahead: list[PlannedPart], after_ns: int, first_ns: int
    ) -> ResponsePlan:
        """The plan with the parts `ahead`, and then the calls or the answer."""
        if not content.calls:
            answer = self._message(content.audio, content.answer, FINAL_ANSWER, after_ns, first_ns)
            return ResponsePlan(created_ns, [*ahead, answer], answer.schedule.done_ns)
        parts, token_ns = ahead, int(NS_PER_S / self._profile.functions.arguments_tokens_per_s)
        for call in content.calls:  # one after the other; the name of each takes as long as a token
            schedule = call_schedule(self._profile, call.tokens, first_ns)
            parts, first_ns = [*parts, PlannedCall(call, schedule)], schedule.done_ns + token_ns
        return ResponsePlan(created_ns, parts, first_ns - token_ns + self._delays.response_done.draw_ns(self._rng))

    def _drawn_ns(self, delay: Delay, asked: ResponseRequest, further_ns: int = 0) -> int:
        return int((delay.draw_ns(self._rng) + further_ns) * asked.slowness)

    def _message(
        self, audio: bool, reply: RecordedReply, phase: str | None, after_ns: int, first_ns: int
    ) -> PlannedMessage:
        schedule = audio_schedule if audio else text_schedule
        due = schedule(self._profile, reply, after_ns, first_ns, self._rng)
        preamble = self._profile.preamble
        return PlannedMessage(reply, due, phase if preamble.phases and preamble.share > 0 else None)


AUDIO_ANSWER_TEXT_TOKENS = 12  # Azure's printed audio reply of 9 words and marks cost 21 text tokens


def capped(plan: ResponsePlan, format: AudioFormatName, cap: float) -> ResponsePlan:
    """The plan up to the last token that the cap allows, which may be in mid-block; unchanged where it allows all."""
    if cap == math.inf:
        return plan
    left = cap
    for place, part in enumerate(plan.parts):
        blocks = 0
        for number, delta in enumerate(part.schedule.deltas):
            tokens, overhead = 1, 0  # a word; a block adds its audio, and the first one other text besides
            if delta.audio and isinstance(part, PlannedMessage):
                overhead = 0 if blocks else AUDIO_ANSWER_TEXT_TOKENS
                tokens = part.reply.blocks["pcm16"][blocks].audio_ms // TOKEN_MS + overhead
            if tokens > left:
                last = _cut_part(part, format, number, blocks, int(left) - overhead)
                # done as long after its last part as it would have been
                done_ns = last.schedule.done_ns + plan.done_ns - plan.parts[-1].schedule.done_ns
                return replace(plan, parts=[*plan.parts[:place], last], done_ns=done_ns, cut=True)
            blocks += delta.audio
            left -= tokens
    return plan


def _cut_part(part: PlannedPart, format: AudioFormatName, number: int, block: int, left: int) -> PlannedPart:
    """The part without its deltas from `number` on, but for as much of that one's audio `block` as `left` tokens hold.

    It is done as long after its last delta as it would have been after the last of all.
    """
    schedule = part.schedule
    delta, kept = schedule.deltas[number], list(schedule.deltas[:number])
    if isinstance(part, PlannedMessage) and delta.audio and left > 0:
        kept.append(delta)
        blocks = list(part.reply.blocks[format])
        blocks[block] = _short(blocks[block], left)
        part = replace(part, reply=replace(part.reply, blocks={**part.reply.blocks, format: tuple(blocks)}))
    last_ns = kept[-1].due_ns if kept else schedule.opening_ns
    done_ns = last_ns + schedule.done_ns - schedule.deltas[-1].due_ns
    return replace(part, schedule=replace(schedule, deltas=kept, done_ns=done_ns))


def _short(block: AudioBlock, tokens: int) -> AudioBlock:
    audio_bytes = block.audio_bytes * tokens * TOKEN_MS // block.audio_ms
    audio = base64.b64decode(block.encoded.strip(b'"'))[:audio_bytes]
    audible = block.audible_byte
    return AudioBlock(
        audio_ms=tokens * TOKEN_MS,
        audio_bytes=audio_bytes,
        encoded=b'"' + base64.b64encode(audio) + b'"',
        audible_byte=audible if audible is not None and audible < audio_bytes else None,
    )
