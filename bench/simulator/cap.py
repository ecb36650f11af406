"""Caps the tokens of a response: cuts what was planned to what there is room for. Pure."""

from __future__ import annotations

import base64
import math
from dataclasses import replace

from bench.protocol.audio import AudioFormatName
from bench.simulator.plan import PlannedMessage, PlannedPart, ResponsePlan
from bench.simulator.schedule import Delta
from bench.simulator.voice import TOKEN_MS, AudioBlock, RecordedReply

AUDIO_ANSWER_TEXT_TOKENS = 12  # Azure's printed audio reply of 9 words and marks cost 21 text tokens


def capped(plan: ResponsePlan, format: AudioFormatName, cap: float) -> ResponsePlan:
    """The plan up to the last token that the cap allows, which may be in mid-block; unchanged where it allows all."""
    if cap == math.inf:
        return plan
    left = cap
    for place, part in enumerate(plan.parts):
        for number, delta in enumerate(part.schedule.deltas):
            tokens = _tokens(part, delta)
            if tokens > left:
                return _cut(plan, place, _cut_part(part, format, number, int(left)))
            left -= tokens
    return plan


def _tokens(part: PlannedPart, delta: Delta) -> int:
    """Count what a delta adds to the usage: a word one, a block its audio, the first block other text besides."""
    if not delta.audio:
        return 1
    assert isinstance(part, PlannedMessage)
    return part.reply.blocks["pcm16"][delta.place].audio_ms // TOKEN_MS + _overhead(delta)


def _overhead(delta: Delta) -> int:
    return AUDIO_ANSWER_TEXT_TOKENS if delta.audio and delta.place == 0 else 0


def _cut(plan: ResponsePlan, place: int, last: PlannedPart) -> ResponsePlan:
    """The plan whose part `place` is `last`. It is done as long after its last part as it would have been."""
    done_ns = last.schedule.done_ns + plan.done_ns - plan.parts[-1].schedule.done_ns
    return replace(plan, parts=[*plan.parts[:place], last], done_ns=done_ns, cut=True)


def _cut_part(part: PlannedPart, format: AudioFormatName, number: int, left: int) -> PlannedPart:
    """The part without its deltas from `number` on, but for as much audio of that one as `left` tokens hold.

    It is done as long after its last delta as it would have been after the last of all.
    """
    schedule = part.schedule
    delta, kept = schedule.deltas[number], list(schedule.deltas[:number])
    audio_tokens = left - _overhead(delta)
    if isinstance(part, PlannedMessage) and delta.audio and audio_tokens > 0:
        kept.append(delta)
        part = replace(part, reply=_with_short_block(part.reply, format, delta.place, audio_tokens))
    last_ns = kept[-1].due_ns if kept else schedule.opening_ns
    done_ns = last_ns + schedule.done_ns - schedule.deltas[-1].due_ns
    return replace(part, schedule=replace(schedule, deltas=kept, done_ns=done_ns))


def _with_short_block(reply: RecordedReply, format: AudioFormatName, place: int, tokens: int) -> RecordedReply:
    blocks = list(reply.blocks[format])
    blocks[place] = _short(blocks[place], tokens)
    return replace(reply, blocks={**reply.blocks, format: tuple(blocks)})


def _short(block: AudioBlock, tokens: int) -> AudioBlock:
    """The first so many tokens of a block."""
    audio_bytes = block.audio_bytes * tokens * TOKEN_MS // block.audio_ms
    audio = base64.b64decode(block.encoded.strip(b'"'))[:audio_bytes]
    audible = block.audible_byte
    return AudioBlock(
        audio_ms=tokens * TOKEN_MS,
        audio_bytes=audio_bytes,
        encoded=b'"' + base64.b64encode(audio) + b'"',
        audible_byte=audible if audible is not None and audible < audio_bytes else None,
    )
