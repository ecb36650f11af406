"""Streams with a recorded voice, by condition. The voice starts and ends at known samples of its
stream.

The level of a voice is that of its windows of 10 ms within 30 dB of the loudest one. Without
another statement, it is −22 dBFS, and digital silence is around the voice. The transformations are
known, so the truth is: a voice that fades in starts 35 dB below its level (docs/metrics.md), not at
a cut. Opus delays audio by 6.5 ms, and so the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

from bench.base.units import NS_PER_S
from bench.plan.recordings import to_pcm16
from bench.protocols.rtp.opus import LibraryEncoder, OpusDecoder
from bench.protocols.rtp.opus_packets import DELAY_NS
from bench.wire.audio import G711_ALAW, PCM16, Samples
from bench.wire.codec_errors import CODECS, LOSSLESS, CodecErrors
from tools.benchmarks.onsets import pink, rms, white
from tools.benchmarks.voices.corpus import (
    DEFINED_DEPTH,
    DEPTH,
    MAX_DIFFERENCE_S,
    QUANTUM,
    WINDOW_S,
    Floats,
    Truth,
    defined,
    edges,
    energies,
    high_passed,
    read,
)

LEVEL_DBFS, MAX_PEAK = -22.0, 0.89
TAIL_S = 2.0
LEAD_S = (1.0, 2.0)
MIN_TONE_S = 0.15
"""The minimum room tone of a recording from which more is made."""
MARGIN_S = 0.03
EVEN = 10.0
"""The maximum ratio of the energy of room tone in 10 ms to the median, and the inverse of the
minimum: 10 dB."""
FAR_BELOW = 10 ** (45 / 10)
"""What is 45 dB below a voice is no part of it by any rule."""
LONG_S = (3.0, 15.0)
MAX_PAUSE_S = 0.1
FADE_S = 0.15
BREATH_S = 0.26
BREATH_GAP_S = 0.09
OFFSET = 0.02


class Voice(NamedTuple):
    """A recorded voice at a sample rate.

    `sound` starts and ends with the voice. `recorded` is the complete recording, in which the voice
    is from `start` to `end`. `tone` is the room of the recording, with an RMS of 1; empty if the
    recording has too little of it.
    """

    rate_hz: int
    sound: Floats
    recorded: Floats
    start: int
    end: int
    tone: Floats


class Stream(NamedTuple):
    """A stream with one voice from sample `start` to sample `end`. They need not be whole numbers.

    `codec_errors` are those of the codec that its line has.
    """

    samples: Samples
    rate_hz: int
    start: float
    end: float
    codec_errors: CodecErrors = LOSSLESS


Made = tuple[Floats, float, float]
"""Samples, and the start and the end of the voice in them."""
Build = Callable[[Voice, np.random.Generator], Made]
Line = Callable[[Samples], Samples]


@dataclass(frozen=True)
class Condition:
    """A condition of a voice. `rates_hz` are the rates of its streams, and `applies` chooses the
    recordings.

    `is_long` is True if several voices of one speaker are joined before `build`. `tolerance_ms` is
    the precision of the truth. At a cut, that of a start is less than 5 ms: its first millisecond
    is loud.
    """

    build: Build
    rates_hz: tuple[int, ...] = (8_000, 16_000, 24_000)
    applies: Callable[[Truth], bool] = lambda truth: True
    line: Line | None = None
    delay_ns: int = 0
    codec_errors: CodecErrors = LOSSLESS
    is_long: bool = False
    tolerance_ms: float = 5.0


# Voices.


def gain_db(level_db: float) -> float:
    return float(10 ** (level_db / 20))


def at_rate(samples: Floats, rate_hz: int, new_rate_hz: int) -> Floats:
    return (
        samples
        if rate_hz == new_rate_hz
        else np.asarray(soxr.resample(samples, rate_hz, new_rate_hz))
    )


@lru_cache(maxsize=4_096)
def voice(truth: Truth, rate_hz: int) -> Voice:
    raw, file_hz = read(truth.recording.path)
    samples = high_passed(raw, file_hz)
    tone = at_rate(_tone(samples, truth), file_hz, rate_hz)
    recorded = at_rate(samples, file_hz, rate_hz)
    first, last = (round(sample * rate_hz / file_hz) for sample in (truth.start, truth.end))
    start, end = (first + sample for sample in edges(recorded[first:last], rate_hz))
    sound = recorded[start:end]
    gain = min(gain_db(LEVEL_DBFS) / level_of(sound, rate_hz), MAX_PEAK / np.abs(sound).max())
    return Voice(
        rate_hz,
        sound * gain,
        recorded * gain,
        start,
        end,
        tone / rms(tone) if len(tone) else tone,
    )


def level_of(sound: Floats, rate_hz: int) -> float:
    """Return the RMS of the windows within 30 dB of the loudest one."""
    windows = energies(sound, rate_hz)
    return float(np.sqrt(windows[windows > windows.max() / DEPTH].mean()))


def _tone(samples: Floats, truth: Truth) -> Floats:
    """Return the longest part of a recording, outside of its voice, that has the level of its
    floor.
    """
    size, margin = round(WINDOW_S * truth.rate_hz), round(MARGIN_S * truth.rate_hz)
    runs = [samples[:0]]
    for part in (samples[: max(0, truth.start - margin)], samples[truth.end + margin :]):
        windows = energies(part, truth.rate_hz)
        is_even = (
            (windows > QUANTUM**2) & (windows * EVEN > truth.floor) & (windows < truth.floor * EVEN)
        )
        changes = np.flatnonzero(np.diff(is_even, prepend=False, append=False)).reshape(-1, 2)
        runs += [part[first * size : last * size] for first, last in changes]
    longest = max(runs, key=len)
    return longest if len(longest) >= MIN_TONE_S * truth.rate_hz else samples[:0]


def has_tone(truth: Truth) -> bool:
    samples, rate_hz = read(truth.recording.path)
    return len(_tone(high_passed(samples, rate_hz), truth)) > 0


def is_alone(truth: Truth) -> bool:
    """Return whether only the room is around the voice: no breath, click or weak consonant."""
    return truth.loudest_around < max(truth.floor * EVEN, truth.level / FAR_BELOW)


def is_long(truth: Truth) -> bool:
    return LONG_S[0] <= truth.seconds <= LONG_S[1]


def joined(voices: Sequence[Voice], rng: np.random.Generator) -> Voice:
    """Return voices one after another, for `LONG_S`. No pause in them is longer than
    `MAX_PAUSE_S`.
    """
    rate_hz, parts = voices[0].rate_hz, list[Floats]()
    seconds = float(rng.uniform(LONG_S[0], LONG_S[1] - 3))
    while sum(len(part) for part in parts) < seconds * rate_hz:
        parts.append(_without_pauses(voices[len(parts) % len(voices)].sound, rate_hz))
    sound = np.concatenate(parts)[: round(LONG_S[1] * rate_hz)]
    start, end = edges(sound, rate_hz)
    return voices[0]._replace(sound=sound[start:end])


def _without_pauses(sound: Floats, rate_hz: int) -> Floats:
    windows = energies(sound, rate_hz)
    quiet = windows < windows[windows > windows.max() / DEPTH].mean() / DEPTH
    size, most = round(0.01 * rate_hz), round(MAX_PAUSE_S / 0.01) // 2
    run, kept = 0, []
    for number, is_quiet in enumerate(quiet):
        run = run + 1 if is_quiet else 0
        if run <= most:
            kept.append(sound[number * size : (number + 1) * size])
    return np.concatenate([*kept, sound[len(quiet) * size :]])


# Conditions.


def placed(sound: Floats, rate_hz: int, rng: np.random.Generator) -> Made:
    """Return a sound in digital silence."""
    lead, tail = np.zeros(round(rng.uniform(*LEAD_S) * rate_hz)), np.zeros(round(TAIL_S * rate_hz))
    return np.concatenate([lead, sound, tail]), len(lead), len(lead) + len(sound)


def hard(voice: Voice, rng: np.random.Generator) -> Made:
    return placed(voice.sound, voice.rate_hz, rng)


def natural(voice: Voice, rng: np.random.Generator) -> Made:
    """Return the recording with what is around the voice. Its ends fade if they are not near the
    voice.
    """
    recorded, ramp = voice.recorded.copy(), round(0.05 * voice.rate_hz)
    first, last = defined(recorded, voice.rate_hz)
    if first > 2 * ramp:
        recorded[:ramp] *= np.linspace(0, 1, ramp)
    if len(recorded) - last > 2 * ramp:
        recorded[-ramp:] *= np.linspace(1, 0, ramp)
    samples, start, _ = placed(recorded, voice.rate_hz, rng)
    return samples, start + first, start + last


def room_tone(
    below_db: tuple[float, float],
    before_ms: tuple[float, float],
    after_ms: tuple[float, float],
    voice: Voice,
    rng: np.random.Generator,
) -> Made:
    """Return the voice with the room of its recording behind it, and for a time before and after
    it.
    """
    samples, start, end = hard(voice, rng)
    first = int(start) - round(rng.uniform(*before_ms) * voice.rate_hz / 1_000)
    last = int(end) + round(rng.uniform(*after_ms) * voice.rate_hz / 1_000)
    level = level_of(voice.sound, voice.rate_hz) / gain_db(rng.uniform(*below_db))
    there_and_back = np.concatenate([voice.tone, voice.tone[::-1]])
    samples[first:last] += np.resize(there_and_back, last - first) * level
    return samples, start, end


def breath(voice: Voice, rng: np.random.Generator) -> Made:
    """Return the voice after a breath: low-passed noise that rises and falls, of −36 to −56
    dBFS.
    """
    samples, start, end = hard(voice, rng)
    made = np.convolve(
        rng.standard_normal(round((BREATH_S + 0.01) * 8_000)), np.ones(5) / 5, "same"
    )
    made = at_rate(made, 8_000, voice.rate_hz)[: round(BREATH_S * voice.rate_hz)] * np.hanning(
        round(BREATH_S * voice.rate_hz)
    )
    loudest = np.sqrt(
        np.convolve(made**2, np.full(voice.rate_hz // 50, 50 / voice.rate_hz), "valid").max()
    )
    last = int(start) - round(BREATH_GAP_S * voice.rate_hz)
    samples[last - len(made) : last] += (
        made * gain_db(rng.choice((-36, -40, -44, -48, -52, -56))) / loudest
    )
    return samples, start, end


def offset(voice: Voice, rng: np.random.Generator) -> Made:
    samples, start, end = hard(voice, rng)
    return samples + OFFSET * rng.choice((-1, 1)), start, end


def brown(count: int, rate_hz: int, rng: np.random.Generator) -> Floats:
    """Return noise that falls by 6 dB an octave above 20 Hz."""
    spectrum, tones_hz = (
        np.fft.rfft(rng.standard_normal(count)),
        np.fft.rfftfreq(count, 1 / rate_hz),
    )
    return np.fft.irfft(spectrum / np.maximum(tones_hz, 20), count)


def rumble(level_dbfs: float, voice: Voice, rng: np.random.Generator) -> Made:
    """Return the voice over noise of 8 to 30 Hz."""
    samples, start, end = hard(voice, rng)
    spectrum = np.fft.rfft(rng.standard_normal(len(samples)))
    tones_hz = np.fft.rfftfreq(len(samples), 1 / voice.rate_hz)
    made = np.fft.irfft(spectrum * ((tones_hz >= 8) & (tones_hz <= 30)), len(samples))
    return samples + made / rms(made) * gain_db(level_dbfs), start, end


def noise(
    made: Callable[[int, int, np.random.Generator], Floats],
    below_db: float,
    voice: Voice,
    rng: np.random.Generator,
) -> Made:
    samples, start, end = hard(voice, rng)
    behind = made(len(samples), voice.rate_hz, rng)
    return (
        samples + behind / rms(behind) * level_of(voice.sound, voice.rate_hz) / gain_db(below_db),
        start,
        end,
    )


def quiet(peak_dbfs: float, voice: Voice, rng: np.random.Generator) -> Made:
    return placed(voice.sound / np.abs(voice.sound).max() * gain_db(peak_dbfs), voice.rate_hz, rng)


def fading_in(voice: Voice, rng: np.random.Generator) -> Made:
    sound, ramp = voice.sound.copy(), round(FADE_S * voice.rate_hz)
    sound[:ramp] *= np.linspace(0, 1, ramp)[: len(sound)]
    samples, start, end = placed(sound, voice.rate_hz, rng)
    return samples, start + edges(sound, voice.rate_hz, DEFINED_DEPTH)[0], end


def first_in_stream(voice: Voice, rng: np.random.Generator) -> Made:
    """Return a stream that begins with the voice."""
    samples, start, _ = hard(voice, rng)
    return samples[int(start) :], 0, len(voice.sound)


def by_opus(samples: Samples) -> Samples:
    encoder, decoder, size = LibraryEncoder(), OpusDecoder(), PCM16.bytes_per_s // 50
    data = samples.tobytes()
    packets = [encoder.encode(data[at : at + size]) for at in range(0, len(data), size)]
    return np.frombuffer(b"".join(map(decoder.decode, packets)), "<i2")


def tone_of(
    below_db: tuple[float, float] = (15, 40),
    before_ms: tuple[float, float] = (50, 240),
    after_ms: tuple[float, float] = (300, 400),
) -> Condition:
    return Condition(partial(room_tone, below_db, before_ms, after_ms), applies=has_tone)


CONDITIONS: Mapping[str, Condition] = {
    "hard": Condition(hard),
    "natural": Condition(natural, applies=is_alone, tolerance_ms=1_000 * MAX_DIFFERENCE_S),
    "long, joined": Condition(hard, is_long=True),
    "long, real": Condition(hard, applies=is_long),
    **{f"room tone, −{below} dB": tone_of((below, below)) for below in (15, 20, 25, 30)},
    "room tone after, −15 to −40 dB": tone_of(before_ms=(0, 0)),
    "fades in for 150 ms": Condition(fading_in),
    "breath, ends 90 ms before": Condition(breath),
    "offset, 2 %": Condition(offset),
    **{f"rumble, −{-level} dBFS": Condition(partial(rumble, level)) for level in (-40, -30)},
    **{
        f"{made.__name__} noise, −{below} dB": Condition(partial(noise, made, below))
        for made, levels in ((white, (12, 20, 30)), (pink, (20,)), (brown, (12, 20, 30)))
        for below in levels
    },
    **{f"peak −{-peak} dBFS": Condition(partial(quiet, peak)) for peak in (-28, -35)},
    "stream begins with the voice": Condition(first_in_stream),
    "G.711 A-law": Condition(
        hard, (8_000,), line=lambda samples: G711_ALAW.decode(G711_ALAW.encode(samples))
    ),
    "Opus": Condition(
        hard, (24_000,), line=by_opus, delay_ns=DELAY_NS, codec_errors=CODECS["opus"]
    ),
}
"""The conditions of the table in docs/decisions/0065-onset-detection.md."""


def stream(condition: Condition, voices: Sequence[Voice], rng: np.random.Generator) -> Stream:
    """Return the stream of the first voice. The others are joined to it if the condition needs
    it.
    """
    spoken = joined(voices, rng) if condition.is_long else voices[0]
    made, start, end = condition.build(spoken, rng)
    samples: NDArray[np.int16] = to_pcm16(made.astype(np.float32))
    if condition.line is not None:
        samples = condition.line(samples)
    delay = condition.delay_ns * spoken.rate_hz / NS_PER_S
    return Stream(samples, spoken.rate_hz, start + delay, end + delay, condition.codec_errors)
