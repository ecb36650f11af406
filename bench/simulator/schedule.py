"""Draws from the profile when the events of one part of a response are due: of a message, or of a function call.

Pure arithmetic on integer nanoseconds of CLOCK_MONOTONIC. Blocks of audio come when their audio has been generated at
`speed` × real time, and the transcript runs ahead (docs/protocol.md, "Audio"). When a part begins is in `plan.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bench.simulator.profile import Profile
from bench.simulator.voice import AudioBlock, RecordedReply
from bench.units import NS_PER_MS, NS_PER_S

OPENING_NS = 10 * NS_PER_MS  # output item and content part open at most so long before the first delta


class Delta(NamedTuple):
    """A delta of a part: audio block or text token number `place`."""

    due_ns: int
    audio: bool
    place: int


@dataclass(frozen=True)
class Schedule:
    """Due instants of one part, none before the one above it."""

    opening_ns: int
    deltas: Sequence[Delta]
    done_ns: int


def audio_schedule(
    profile: Profile, reply: RecordedReply, after_ns: int, first_ns: int, rng: np.random.Generator
) -> Schedule:
    """The schedule of a message whose first block is due at `first_ns`, and nothing of it before `after_ns`."""
    audio = _audio_dues(reply.blocks["pcm16"], first_ns, profile.speed)
    lead = int(rng.integers(*profile.transcript_lead_deltas, endpoint=True))
    text_ns = max(after_ns, first_ns - profile.delays.transcript_lead.draw_ns(rng))
    ahead = _spread(0, reply.tokens[:lead], text_ns, first_ns)
    half_ns = (audio[-1].due_ns - first_ns) // (
        2 * len(reply.tokens)
    )  # none of these in the instant of the first audio
    beside = _spread(lead, reply.tokens[lead:], first_ns + half_ns, audio[-1].due_ns)
    return _message(profile, after_ns, sorted(ahead + beside + audio), rng)


def text_schedule(
    profile: Profile, reply: RecordedReply, after_ns: int, first_ns: int, rng: np.random.Generator
) -> Schedule:
    """The same for a message in text alone, which goes on at a steady pace."""
    last_ns = first_ns + int(len(reply.tokens) / profile.text_tokens_per_s * NS_PER_S)
    return _message(profile, after_ns, _spread(0, reply.tokens, first_ns, last_ns), rng)


def call_schedule(profile: Profile, tokens: Sequence[str], named_ns: int) -> Schedule:
    """The schedule of a function call that is announced at `named_ns`; each token of its arguments takes its time."""
    pace = profile.functions.arguments_tokens_per_s
    dues = [Delta(named_ns + int(place / pace * NS_PER_S), False, place - 1) for place in range(1, len(tokens) + 1)]
    grouped = in_bursts(dues, profile.events_per_segment)
    return Schedule(named_ns, grouped, grouped[-1].due_ns)


def _message(profile: Profile, after_ns: int, deltas: list[Delta], rng: np.random.Generator) -> Schedule:
    grouped = in_bursts(deltas, profile.events_per_segment)
    first_ns = grouped[0].due_ns
    opening_ns = max(after_ns, first_ns - min(OPENING_NS, (first_ns - after_ns) // 2))
    return Schedule(opening_ns, grouped, grouped[-1].due_ns + profile.delays.response_done.draw_ns(rng))


def _audio_dues(blocks: Sequence[AudioBlock], first_ns: int, speed: float) -> list[Delta]:
    dues, due_ns = [], float(first_ns)
    for index, block in enumerate(blocks):
        due_ns += block.audio_ms * NS_PER_MS / speed if index else 0
        dues.append(Delta(int(due_ns), True, index))
    return dues


def _spread(begin: int, tokens: Sequence[str], from_ns: int, until_ns: int) -> list[Delta]:
    """Evenly in [from, until)."""
    step = (until_ns - from_ns) / max(len(tokens), 1)
    return [Delta(from_ns + int(step * place), False, begin + place) for place in range(len(tokens))]


def in_bursts(deltas: list[Delta], size: int) -> list[Delta]:
    """Each `size` deltas wait for the last of them, to leave together."""
    if size == 1:
        return deltas
    last = len(deltas) - 1
    return [
        delta._replace(due_ns=deltas[min(place - place % size + size - 1, last)].due_ns)
        for place, delta in enumerate(deltas)
    ]
