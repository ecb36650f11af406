"""The sounds in one channel of a recorded call, and the speech within them. Pure.

The starts of sounds come from the detector that also listens to live agents (`bench.observe.onsets`). The end of a
caller's speech is searched as in the recordings of a script (`bench.plan.recordings.find_speech`). In noise the end of
speech is below the noise, so the end that is found may be too early. `TAILS_NS` has the maximum errors, which `make
benchmark PARTS=recorded_calls` measures.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bench.base.units import NS_PER_MS
from bench.observe.onsets import OnsetDetector
from bench.observe.tones import Tone
from bench.plan.recordings import (
    DEPTH,
    WINDOW_MS,
    SampleSequence,
    SpeechSpan,
    find_speech,
    speech_level,
    window_energies,
)

FLUSH_S = 1
"""The silence after a channel, with which the detector ends its last sound."""
NOISE_QUANTILE = 0.2
"""The quantile of the energies around a sound that is the energy of the background."""
AROUND_S = 3.0
ABOVE_NOISE = 10 ** (6 / 10)
"""The minimum distance of speech above the background: 6 dB, as a ratio of energies."""
NOISE_PEAK = 10 ** (12 / 10)
"""The peaks of noise above its mean: 12 dB, as a ratio of energies. A peak may lengthen speech by up to `WINDOW_MS`."""
TAILS_NS = ((1_000, 25 * NS_PER_MS), (100, 120 * NS_PER_MS), (30, 1_100 * NS_PER_MS), (0, 2_000 * NS_PER_MS))
"""The maximum errors of the end of speech in noise, in descending order of loudness.

Each entry is (minimum ratio of energies, maximum error in ns). The ratio is the level of the speech, divided by the
energy of the background. The ratios 1,000, 100 and 30 are 30, 20 and 15 dB. Quieter speech may lose its last word.
"""


class ChannelSound(NamedTuple):
    """A sound without a pause, in samples. It may really have started up to `uncertainty_ns` earlier."""

    start: int
    end: int
    uncertainty_ns: int


class Speech(NamedTuple):
    """The speech of a caller's turn, in samples of the channel.

    Its real end differs by at most `uncertainty_ns`. It is usually later, because it is below the noise. Noise may also
    lengthen speech by up to `WINDOW_MS`.
    """

    start: int
    end: int
    uncertainty_ns: int


def sounds(samples: SampleSequence, rate_hz: int, *, keys_count: bool = False) -> list[ChannelSound]:
    """Return all sounds in one channel, in order. With `keys_count`, a phone key is a sound."""
    return sounds_and_tones(samples, rate_hz, keys_count=keys_count)[0]


def sounds_and_tones(
    samples: SampleSequence, rate_hz: int, *, keys_count: bool = False
) -> tuple[list[ChannelSound], list[Tone]]:
    """Return the sounds of `sounds`, and all telephone tones in the channel."""
    detector = OnsetDetector(rate_hz, keys_count=keys_count)
    return list(_sounds(detector, samples, rate_hz)), detector.tones


def _sounds(detector: OnsetDetector, samples: SampleSequence, rate_hz: int) -> Iterator[ChannelSound]:
    start, until, uncertainty_ns = None, 0, 0
    padded = len(samples) + FLUSH_S * rate_hz
    for position in range(0, padded, rate_hz):
        piece = samples[position : position + rate_hz]
        piece = np.pad(piece, (0, min(rate_hz, padded - position) - len(piece)))
        for what, back, error_ns in detector.add(piece):
            at = position + len(piece) - back
            if what == "begins":
                start, uncertainty_ns = at, error_ns
            elif what == "sounds":
                until, uncertainty_ns = at, error_ns
            elif start is not None:
                yield ChannelSound(start, min(at, len(samples)), uncertainty_ns)
                start = None
    if start is not None:
        yield ChannelSound(start, min(until, len(samples)), uncertainty_ns)


def speech(samples: SampleSequence, rate_hz: int, found: SpeechSpan, until: int) -> Speech:
    """Return the speech in the sounds `found`, which is followed by no other sound before the position `until`."""
    margin = round(AROUND_S * rate_hz)
    first, last = max(0, found.begin - margin), min(len(samples), found.end + margin)
    around = window_energies(samples[first:last], rate_hz // 1_000)
    noise = float(np.quantile(around, NOISE_QUANTILE))
    segment = samples[found.begin : until]
    level = speech_level(segment, rate_hz)
    span = find_speech(segment, rate_hz, min_energy=noise * ABOVE_NOISE)
    error_ns = 0
    if noise * ABOVE_NOISE > level / DEPTH:
        error_ns = next(error_ns for ratio, error_ns in TAILS_NS if level >= ratio * noise)
    elif noise * NOISE_PEAK > level / DEPTH:
        error_ns = WINDOW_MS * NS_PER_MS
    return Speech(found.begin, found.begin + span.end, error_ns)
