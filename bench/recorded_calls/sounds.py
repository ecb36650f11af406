"""The sounds in one channel of a recorded call, and the speech within them. Pure.

The starts of sounds come from the detector that also listens to live agents (`bench.observe.onsets`). The end of a
caller's speech is searched as in the recordings of a script (`bench.plan.recordings.find_speech`). In noise the end of
speech is below the noise, so the end that is found may be too early. `TAILS_NS` has the maximum errors, which `make
benchmark PARTS=recorded_calls` measures. The noise is that around the sound, or that after it if it is louder. If
speech ends with a steady low level, a noise gate may have closed late, and the bound covers that part.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
EDGE_MS, AFTER_MS = 100, 1_000
"""The part of the time after speech in which noise is searched."""
PEAK = 10 ** (1 / 10)
"""The minimum distance of speech above the loudest window of the noise after it: 1 dB, as a ratio of energies."""
TAIL_DEPTH, TAIL_RANGE, MIN_TAIL_MS, ABRUPT = 10 ** (18 / 10), 10 ** (6 / 10), 10, 10 ** (6 / 10)
"""The properties of noise that a gate lets through after speech: it is at least 18 dB below the level of the speech,
its level changes by at most 6 dB, and it lasts at least 10 ms or ends at once, more than 6 dB above `DEPTH`."""
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
    """Speech in samples. Its real end is within `uncertainty_ns`, mostly later: below noise, which may lengthen it."""

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
    detector, found = OnsetDetector(rate_hz, keys_count=keys_count), list[ChannelSound]()
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
                found.append(ChannelSound(start, min(at, len(samples)), uncertainty_ns))
                start = None
    if start is not None:
        found.append(ChannelSound(start, min(until, len(samples)), uncertainty_ns))
    return found, detector.tones


def speech(samples: SampleSequence, rate_hz: int, found: SpeechSpan, until: int, limit: int) -> Speech:
    """Return the speech in the sounds `found`, which ends before `until`. No other sound follows before `limit`."""
    margin, per_ms = round(AROUND_S * rate_hz), rate_hz // 1_000
    first, last = max(0, found.begin - margin), min(len(samples), found.end + margin)
    noise = float(np.quantile(window_energies(samples[first:last], per_ms), NOISE_QUANTILE))
    # what follows the quiet edge of the last word is noise, even if there was none before
    after = samples[found.end + EDGE_MS * per_ms : min(limit, found.end + AFTER_MS * per_ms)]
    loudest = window_energies(after, per_ms)[WINDOW_MS - 1 : 1 - WINDOW_MS].max(initial=0)
    changed_ns = 0
    if loudest * PEAK > noise * ABOVE_NOISE:
        changed_ns = WINDOW_MS * NS_PER_MS
        noise, until = float(loudest) * PEAK / ABOVE_NOISE, min(until, found.end + WINDOW_MS * per_ms)
    segment = samples[found.begin : until]
    level = speech_level(segment, rate_hz)
    span = find_speech(segment, rate_hz, min_energy=noise * ABOVE_NOISE)
    error_ns = 0
    if noise * ABOVE_NOISE > level / DEPTH:
        error_ns = changed_ns + next(error_ns for ratio, error_ns in TAILS_NS if level >= ratio * noise)
    elif noise * NOISE_PEAK > level / DEPTH:
        error_ns = changed_ns + WINDOW_MS * NS_PER_MS
    end = found.begin + span.end
    tail_ns = _tail_ms(window_energies(samples[found.begin : end], per_ms), level) * NS_PER_MS
    return Speech(found.begin, end, max(error_ns, tail_ns))


def _tail_ms(energies: NDArray[np.float64], level: float) -> int:
    """Return how long speech ends with one low level, as noise in a gate after the last word, which would fade."""
    tail = energies[: 1 - WINDOW_MS][::-1]
    if not len(tail) or tail[0] > level / TAIL_DEPTH:
        return 0
    differs = np.flatnonzero((tail * TAIL_RANGE < tail[0]) | (tail > TAIL_RANGE * tail[0]))
    length = int(differs[0]) if len(differs) else len(tail)
    if length < len(tail) and tail[length] < tail[0]:  # a consonant after a closure
        return 0
    return length + WINDOW_MS if length >= MIN_TAIL_MS or tail[0] > ABRUPT * level / DEPTH else 0
