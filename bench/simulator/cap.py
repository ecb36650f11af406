"""Caps the tokens of an answer: cuts a reply, and its schedule, to what there is room for. Pure."""

from __future__ import annotations

import base64
import math
from dataclasses import replace

from bench.protocol.audio import AudioFormatName
from bench.simulator.schedule import Delta, Schedule
from bench.simulator.voice import TOKEN_MS, AudioBlock, RecordedReply

AUDIO_ANSWER_TEXT_TOKENS = 12  # Azure's printed audio reply of 9 words and marks cost 21 text tokens


def capped(
    reply: RecordedReply, schedule: Schedule, format: AudioFormatName, cap: float
) -> tuple[RecordedReply, Schedule]:
    """Both up to the last token that the cap allows, which may be in mid-block; unchanged where it allows all."""
    if cap == math.inf:
        return reply, schedule
    left = cap
    for number, delta in enumerate(schedule.deltas):
        tokens = _tokens(reply, delta)
        if tokens > left:
            return _cut(reply, schedule, format, number, int(left))
        left -= tokens
    return reply, schedule


def _tokens(reply: RecordedReply, delta: Delta) -> int:
    """What a delta adds to the usage: a word one, a block its audio, the first one other text besides."""
    if not delta.audio:
        return 1
    return reply.blocks["pcm16"][delta.place].audio_ms // TOKEN_MS + _overhead(delta)


def _overhead(delta: Delta) -> int:
    return AUDIO_ANSWER_TEXT_TOKENS if delta.audio and delta.place == 0 else 0


def _cut(
    reply: RecordedReply, schedule: Schedule, format: AudioFormatName, number: int, left: int
) -> tuple[RecordedReply, Schedule]:
    """Without the deltas from `number` on, but for as much audio of that one as `left` tokens hold.

    The answer is done as long after its last delta as it would have been after the last of all.
    """
    delta, kept = schedule.deltas[number], list(schedule.deltas[:number])
    audio_tokens = left - _overhead(delta)
    if delta.audio and audio_tokens > 0:
        kept.append(delta)
        reply = _with_short_block(reply, format, delta.place, audio_tokens)
    last_ns = kept[-1].due_ns if kept else schedule.opening_ns
    done_ns = last_ns + schedule.done_ns - schedule.deltas[-1].due_ns
    return reply, replace(schedule, deltas=kept, done_ns=done_ns, cut=True)


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
