"""Draws from the profile when the events of one answer are due, relative to the instant that asks for it.

Pure arithmetic on integer nanoseconds of CLOCK_MONOTONIC. The first block of audio comes after its drawn delay, each
later one when its audio has been generated at `speed` × real time, and the transcript runs ahead (docs/protocol.md,
"Audio"). The delays of an answer's first events are drawn, and multiplied by the drift at the instant that asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bench.simulator.profile import LogNormal, Profile
from bench.simulator.voice import AudioBlock, RecordedReply
from bench.units import NS_PER_MS, NS_PER_S

OPENING_NS = 10 * NS_PER_MS  # output item and content part open at most so long before the first delta


class Delta(NamedTuple):
    """A delta of an answer: audio block or text token number `place`."""

    due_ns: int
    audio: bool
    place: int


@dataclass(frozen=True)
class Schedule:
    """Due instants of one answer, none before the one above it. `cut`: by the cap on its tokens (`cap.py`)."""

    created_ns: int
    opening_ns: int
    deltas: Sequence[Delta]
    done_ns: int
    cut: bool = False


def audio_schedule(
    profile: Profile, reply: RecordedReply, at_ns: int, earliest_ns: int, rng: np.random.Generator
) -> Schedule:
    """For an answer that was asked for `at_ns` and whose first event must not be due before `earliest_ns`."""
    first_ns = max(earliest_ns, at_ns + _drawn(profile, profile.delays.first_audio, at_ns, rng))
    created_ns = _created(profile, at_ns, earliest_ns, first_ns, rng)
    audio = _audio_dues(reply.blocks["pcm16"], first_ns, profile.speed)
    lead = int(rng.integers(*profile.transcript_lead_deltas, endpoint=True))
    text_ns = max(created_ns, first_ns - profile.delays.transcript_lead.draw_ns(rng))
    ahead = _spread(0, reply.tokens[:lead], text_ns, first_ns)
    half_ns = (audio[-1].due_ns - first_ns) // (
        2 * len(reply.tokens)
    )  # none of these in the instant of the first audio
    beside = _spread(lead, reply.tokens[lead:], first_ns + half_ns, audio[-1].due_ns)
    return _schedule(profile, created_ns, sorted(ahead + beside + audio), rng)


def text_schedule(
    profile: Profile, reply: RecordedReply, at_ns: int, earliest_ns: int, rng: np.random.Generator
) -> Schedule:
    """The same for an answer in text alone, which goes on at a steady pace."""
    first_ns = max(earliest_ns, at_ns + _drawn(profile, profile.delays.first_text, at_ns, rng))
    created_ns = _created(profile, at_ns, earliest_ns, first_ns, rng)
    last_ns = first_ns + int(len(reply.tokens) / profile.text_tokens_per_s * NS_PER_S)
    return _schedule(profile, created_ns, _spread(0, reply.tokens, first_ns, last_ns), rng)


def failed_schedule(profile: Profile, at_ns: int, earliest_ns: int, rng: np.random.Generator) -> Schedule:
    """The same for an answer that fails as soon as it was created."""
    created_ns = max(earliest_ns, at_ns + _drawn(profile, profile.delays.response_created, at_ns, rng))
    return Schedule(created_ns, created_ns, (), created_ns + profile.delays.response_done.draw_ns(rng))


def _created(profile: Profile, at_ns: int, earliest_ns: int, first_ns: int, rng: np.random.Generator) -> int:
    return max(earliest_ns, min(first_ns, at_ns + _drawn(profile, profile.delays.response_created, at_ns, rng)))


def _drawn(profile: Profile, delay: LogNormal, at_ns: int, rng: np.random.Generator) -> int:
    return int(delay.draw_ns(rng) * profile.slowness(at_ns))


def _schedule(profile: Profile, created_ns: int, deltas: list[Delta], rng: np.random.Generator) -> Schedule:
    grouped = in_bursts(deltas, profile.events_per_segment)
    first_ns = grouped[0].due_ns
    opening_ns = max(created_ns, first_ns - min(OPENING_NS, (first_ns - created_ns) // 2))
    return Schedule(created_ns, opening_ns, grouped, grouped[-1].due_ns + profile.delays.response_done.draw_ns(rng))


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
