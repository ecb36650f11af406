"""The speech that the product finds in a stream: live, and in the channel of an imported call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bench.base.units import NS_PER_S
from bench.observe.reply_detector import SILENCE_NS
from bench.plan.recordings import SpeechSpan
from bench.recorded_calls.conversation import ChannelSound, sounds, speech
from bench.recorded_calls.script_files import LEAD_S
from tools.benchmarks.onsets import found
from tools.benchmarks.voices.conditions import Stream

Span = tuple[float, float]


class Found(NamedTuple):
    """The start and the end of speech in s, each with its bound, and the number of invented sounds.

    `start_s` and `end_s` are None if the speech was missed.
    """

    start_s: float | None
    end_s: float | None
    start_bound_s: float = 0.0
    end_bound_s: float = 0.0
    invented: int = 0


def live(stream: Stream) -> Found:
    """Return the first and the last audible sample of a reply, as the live detector finds them
    in frames of 20 ms.
    """
    replies = found(stream.samples, stream.rate_hz)
    spans = [(reply.start, reply.end) for reply in replies]
    own = _own(spans, stream)
    invented = len(spans) - len(own)
    if not own:
        return Found(None, None, invented=invented)
    return Found(
        start_s=replies[own[0]][0] / stream.rate_hz,
        end_s=replies[own[-1]][1] / stream.rate_hz,
        start_bound_s=(replies[own[0]].start_error_ns + stream.codec_errors.start_ns) / NS_PER_S,
        end_bound_s=(replies[own[-1]].end_error_ns + stream.codec_errors.end_ns) / NS_PER_S,
        invented=invented,
    )


def imported(stream: Stream) -> Found:
    """Return the start as the agent's, and the end as the caller's, in a call of two channels."""
    channel = np.pad(stream.samples, (0, stream.rate_hz))  # the call goes on after the voice
    turns = _turns(sounds(channel, stream.rate_hz), stream.rate_hz)
    spans = [(turn[0].start, turn[-1].end) for turn in turns]
    own = _own(spans, stream)
    invented = len(spans) - len(own)
    if not own:
        return Found(None, None, invented=invented)
    first, last = turns[own[0]][0], turns[own[-1]][-1]
    until = turns[own[-1] + 1][0].start if own[-1] + 1 < len(turns) else len(channel)
    near = min(until, last.end + round(LEAD_S * stream.rate_hz))
    spoken = speech(channel, stream.rate_hz, SpeechSpan(first.start, last.end), near, until)
    return Found(
        start_s=first.start / stream.rate_hz,
        end_s=spoken.end / stream.rate_hz,
        start_bound_s=(first.uncertainty_ns + stream.codec_errors.start_ns) / NS_PER_S,
        end_bound_s=(spoken.uncertainty_ns + stream.codec_errors.end_ns) / NS_PER_S,
        invented=invented,
    )


def _turns(listed: Sequence[ChannelSound], rate_hz: int) -> list[list[ChannelSound]]:
    turns: list[list[ChannelSound]] = []
    for sound in listed:
        if turns and (sound.start - turns[-1][-1].end) * NS_PER_S < SILENCE_NS * rate_hz:
            turns[-1].append(sound)
        else:
            turns.append([sound])
    return turns


def _own(spans: Sequence[Span], stream: Stream) -> list[int]:
    """Return the indexes of the spans that overlap the voice."""
    return [
        number
        for number, (start, end) in enumerate(spans)
        if start < stream.end and end > stream.start
    ]


FINDERS: Mapping[str, Callable[[Stream], Found]] = {
    "live": live,
    "import": imported,
}
