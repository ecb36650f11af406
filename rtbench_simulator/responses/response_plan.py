"""The plan of a response: its messages and function calls in order, and the instants of their
events.

    an answer                     [answer]
    an answer in parts            [commentary, answer]       with a pause between them
    a response with calls         [calls]
    the same with a preamble      [commentary, calls]
    a late answer, or late calls  [filler, answer or calls]  if the session has fillers
    speech during calls           [filler]

Reasoning follows the commentary. The delays before the first events of a part are random, and
multiplied by the slowness (`Profile.slowness`) at the start of the response. An audio block is due
when its audio has been generated at `generation_speed` × real time; the transcript runs ahead
(docs/protocol.md, "Audio"). Finally the plan is truncated to the token limit of the response. Pure
arithmetic on integer nanoseconds of CLOCK_MONOTONIC.
"""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.wire.audio import AudioFormatName
from rtbench_simulator.delay import Delay
from rtbench_simulator.profile import Profile
from rtbench_simulator.recorded_replies import TOKEN_MS, AudioBlock, RecordedReply
from rtbench_simulator.responses.function_calls import GeneratedCall

OPENING_NS = 10 * NS_PER_MS  # longest time from the opening of the item to its first delta


class PlannedDelta(NamedTuple):
    """A delta of a part: its next audio block, or its next text token."""

    due_ns: int
    audio: bool


@dataclass(frozen=True)
class DeltaSchedule:
    """The due instants of one part. They occur in the order of the fields."""

    opening_ns: int
    deltas: Sequence[PlannedDelta]
    done_ns: int


def audio_schedule(
    profile: Profile, reply: RecordedReply, after_ns: int, first_ns: int, rng: np.random.Generator
) -> DeltaSchedule:
    """Return the schedule of a message.

    Its first audio block is due at `first_ns`, and no event is due before `after_ns`.
    """
    audio = []
    due_ns = float(first_ns)
    for index, block in enumerate(reply.blocks["pcm16"]):
        # A block is due when all of its audio exists, counted from the first block.
        due_ns += block.audio_ms * NS_PER_MS / profile.generation_speed if index else 0
        audio.append(PlannedDelta(int(due_ns), True))
    lead = min(len(reply.tokens), int(rng.integers(*profile.transcript_lead_deltas, endpoint=True)))
    text_ns = max(after_ns, first_ns - profile.delays.transcript_lead.draw_ns(rng))
    ahead = _spread(lead, text_ns, first_ns)
    # No text delta is due at the instant of the first audio, because the text would then be sent
    # before the audio.
    half_ns = (audio[-1].due_ns - first_ns) // (2 * len(reply.tokens))
    during = _spread(len(reply.tokens) - lead, first_ns + half_ns, audio[-1].due_ns)
    return _message(profile, after_ns, sorted(ahead + during + audio), rng)


def text_schedule(
    profile: Profile, reply: RecordedReply, after_ns: int, first_ns: int, rng: np.random.Generator
) -> DeltaSchedule:
    """Return the schedule of a message that is only text, at a constant rate."""
    last_ns = first_ns + int(len(reply.tokens) / profile.text_tokens_per_s * NS_PER_S)
    return _message(profile, after_ns, _spread(len(reply.tokens), first_ns, last_ns), rng)


def call_schedule(profile: Profile, tokens: Sequence[str], named_ns: int) -> DeltaSchedule:
    """Return the schedule of a function call that is announced at `named_ns`. Its tokens have a
    constant rate.
    """
    pace = profile.functions.arguments_tokens_per_s
    dues = [
        PlannedDelta(named_ns + int(number / pace * NS_PER_S), False)
        for number in range(1, len(tokens) + 1)
    ]
    grouped = in_bursts(dues, profile.events_per_segment)
    return DeltaSchedule(named_ns, grouped, grouped[-1].due_ns)


def _message(
    profile: Profile, after_ns: int, deltas: list[PlannedDelta], rng: np.random.Generator
) -> DeltaSchedule:
    grouped = in_bursts(deltas, profile.events_per_segment)
    first_ns = grouped[0].due_ns
    # The instant is between the preceding event and the first delta, so that no two of them share
    # an instant.
    opening_ns = max(after_ns, first_ns - min(OPENING_NS, (first_ns - after_ns) // 2))
    return DeltaSchedule(
        opening_ns, grouped, grouped[-1].due_ns + profile.delays.response_done.draw_ns(rng)
    )


def _spread(tokens: int, from_ns: int, until_ns: int) -> list[PlannedDelta]:
    """Return text deltas at equal intervals. The first is due at `from_ns`, and the last before
    `until_ns`.
    """
    return [
        PlannedDelta(from_ns + int((until_ns - from_ns) / tokens * index), False)
        for index in range(tokens)
    ]


def in_bursts(deltas: list[PlannedDelta], size: int) -> list[PlannedDelta]:
    """Delay each delta until the last one of its group of `size`, so that they are sent
    together.
    """
    if size == 1:
        return deltas
    last = len(deltas) - 1
    return [
        delta._replace(due_ns=deltas[min(index - index % size + size - 1, last)].due_ns)
        for index, delta in enumerate(deltas)
    ]


COMMENTARY = "commentary"
FINAL_ANSWER = "final_answer"


class ResponseRequest(NamedTuple):
    """The request for a response, which is made at `at_ns`. No event of the response is due before
    `earliest_ns`.

    `reading_ns` is the time to read the context. `reasoning_ns` is the duration of the reasoning.
    """

    at_ns: int
    earliest_ns: int
    reading_ns: int = 0
    reasoning_ns: int = 0
    slowness: float = 1.0
    """The factor by which the delays of the response are multiplied."""
    late_ns: int | None = None
    """The delay after which a filler is sent, if the response has audio; None if no filler is
    sent."""


class ResponseContent(NamedTuple):
    """The content of a response, as audio or as text: an optional commentary, then the function
    calls or the answer.

    `filler` is the reply that is sent first if the function calls or the answer are late.
    """

    audio: bool
    commentary: RecordedReply | None
    answer: RecordedReply
    calls: Sequence[GeneratedCall] = ()
    filler: RecordedReply | None = None


@dataclass(frozen=True)
class PlannedMessage:
    """A planned message. `phase` is None if messages do not report their phase.

    `filler` is True if the message is sent during function calls.
    """

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
    """A planned response, with its instants in order.

    `is_truncated` is True if the token limit ends the response within its last part.
    """

    created_ns: int
    parts: Sequence[PlannedPart]
    done_ns: int
    is_truncated: bool = False


class Planner:
    def __init__(self, profile: Profile, rng: np.random.Generator) -> None:
        self._profile = profile
        self._delays = profile.delays
        self._rng = rng

    def response(self, content: ResponseContent, request: ResponseRequest) -> ResponsePlan:
        if content.commentary is None and content.calls:
            delay = self._delays.function_named
        else:
            delay = self._delays.first_audio if content.audio else self._delays.first_text
        thinking_ns = request.reading_ns + (
            request.reasoning_ns if content.commentary is None else 0
        )
        first_ns = max(
            request.earliest_ns, request.at_ns + self._random_ns(delay, request, thinking_ns)
        )
        may_fill = content.audio and content.commentary is None
        if may_fill and request.late_ns is not None and first_ns > request.at_ns + request.late_ns:
            filler_ns = max(request.earliest_ns, request.at_ns + request.late_ns)
            created_ns = self._created_ns(request, filler_ns)
            filler = self._message(
                True, content.filler or content.answer, None, created_ns, filler_ns
            )
            closed_ns = filler.schedule.done_ns
            return self._completed(
                content, created_ns, [filler], closed_ns, max(first_ns, closed_ns)
            )
        created_ns = self._created_ns(request, first_ns)
        if content.commentary is None:
            return self._completed(content, created_ns, [], created_ns, first_ns)
        commentary = self._message(
            content.audio, content.commentary, COMMENTARY, created_ns, first_ns
        )
        closed_ns = commentary.schedule.done_ns
        pause = self._delays.function_named if content.calls else self._delays.answer_pause
        first_ns = closed_ns + self._random_ns(pause, request, request.reasoning_ns)
        return self._completed(content, created_ns, [commentary], closed_ns, first_ns)

    def filler(self, reply: RecordedReply, at_ns: int) -> ResponsePlan:
        """Return the plan of a filler during function calls."""
        filler = replace(self._message(True, reply, None, at_ns, at_ns), filler=True)
        return ResponsePlan(at_ns, [filler], filler.schedule.done_ns)

    def failure(self, request: ResponseRequest) -> ResponsePlan:
        """Return the plan of a response that fails right after its creation."""
        created_ns = max(
            request.earliest_ns,
            request.at_ns + self._random_ns(self._delays.response_created, request),
        )
        return ResponsePlan(
            created_ns, (), created_ns + self._delays.response_done.draw_ns(self._rng)
        )

    def _created_ns(self, request: ResponseRequest, first_ns: int) -> int:
        delay_ns = self._random_ns(self._delays.response_created, request)
        return max(request.earliest_ns, min(first_ns, request.at_ns + delay_ns))

    def _completed(
        self,
        content: ResponseContent,
        created_ns: int,
        ahead: list[PlannedPart],
        after_ns: int,
        first_ns: int,
    ) -> ResponsePlan:
        """Return the plan of a response: first the parts `ahead`, then the function calls or the
        answer.
        """
        if not content.calls:
            answer = self._message(content.audio, content.answer, FINAL_ANSWER, after_ns, first_ns)
            return ResponsePlan(created_ns, [*ahead, answer], answer.schedule.done_ns)
        parts = ahead
        token_ns = int(NS_PER_S / self._profile.functions.arguments_tokens_per_s)
        # the calls follow each other; each name takes the time of one token
        for call in content.calls:
            schedule = call_schedule(self._profile, call.tokens, first_ns)
            parts = [*parts, PlannedCall(call, schedule)]
            first_ns = schedule.done_ns + token_ns
        return ResponsePlan(
            created_ns, parts, first_ns - token_ns + self._delays.response_done.draw_ns(self._rng)
        )

    def _random_ns(self, delay: Delay, request: ResponseRequest, further_ns: int = 0) -> int:
        return int((delay.draw_ns(self._rng) + further_ns) * request.slowness)

    def _message(
        self, audio: bool, reply: RecordedReply, phase: str | None, after_ns: int, first_ns: int
    ) -> PlannedMessage:
        schedule = audio_schedule if audio else text_schedule
        due = schedule(self._profile, reply, after_ns, first_ns, self._rng)
        preamble = self._profile.preamble
        return PlannedMessage(reply, due, phase if preamble.phases and preamble.share > 0 else None)


# an audio reply of 9 words and marks in Azure's documentation has 21 text tokens
AUDIO_ANSWER_TEXT_TOKENS = 12


# The limit is applied to the finished plan, and not while it is made, so that a limit changes no
# random number and no instant before the cut.
def capped(plan: ResponsePlan, format: AudioFormatName, cap: float) -> ResponsePlan:
    """Return the plan up to the last token within the limit `cap`. This token may be within a
    block.

    If all tokens are within the limit, the plan is unchanged.
    """
    if cap == math.inf:
        return plan
    remaining = cap
    for index, part in enumerate(plan.parts):
        blocks = 0
        for number, delta in enumerate(part.schedule.deltas):
            # one token for a word, audio tokens for a block; the first block has an overhead
            tokens = 1
            overhead = 0
            if delta.audio and isinstance(part, PlannedMessage):
                overhead = 0 if blocks else AUDIO_ANSWER_TEXT_TOKENS
                tokens = part.reply.blocks["pcm16"][blocks].audio_ms // TOKEN_MS + overhead
            if tokens > remaining:
                last = _truncated_part(part, format, number, blocks, int(remaining) - overhead)
                # The time between the end of the last part and the end of the response stays the
                # same.
                done_ns = last.schedule.done_ns + plan.done_ns - plan.parts[-1].schedule.done_ns
                return replace(
                    plan, parts=[*plan.parts[:index], last], done_ns=done_ns, is_truncated=True
                )
            blocks += delta.audio
            remaining -= tokens
    return plan


def _truncated_part(
    part: PlannedPart, format: AudioFormatName, number: int, block: int, remaining: int
) -> PlannedPart:
    """Return the part without its delta `number` and all later deltas.

    If that delta is the audio block `block`, its first `remaining` tokens stay in the part. The
    time between the part's last delta and its end stays the same.
    """
    schedule = part.schedule
    delta = schedule.deltas[number]
    deltas = list(schedule.deltas[:number])
    if isinstance(part, PlannedMessage) and delta.audio and remaining > 0:
        deltas.append(delta)
        blocks = list(part.reply.blocks[format])
        blocks[block] = _short(blocks[block], remaining)
        part = replace(
            part, reply=replace(part.reply, blocks={**part.reply.blocks, format: tuple(blocks)})
        )
    last_ns = deltas[-1].due_ns if deltas else schedule.opening_ns
    done_ns = last_ns + schedule.done_ns - schedule.deltas[-1].due_ns
    return replace(part, schedule=replace(schedule, deltas=deltas, done_ns=done_ns))


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
