"""Errors of audio onset detection, by background: known sounds mixed with known noise, in one
table.

The sounds are the simulator's voices and the scenarios' recordings, with pauses of 1.2 to 2.6 s.
The noise is the given number of dB below the RMS of the voices. The truth is the first and the last
sample that would be audible without noise. `make benchmark PARTS=onsets` prints the table and the
cost of a frame, which docs/accuracy.md and docs/decisions/0065-onset-detection.md quote.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

import rtbench_simulator
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.metrics import AUDIBLE
from bench.observe.reply_detector import SILENCE_NS
from bench.plan.recordings import FULL_SCALE, RATE_HZ, load_pcm, to_pcm16
from bench.sound.onsets import OnsetDetector
from bench.wire.audio import G711_ULAW, PCM16, PCM16_8K, PCM16_16K, AudioFormat, Samples
from tests.simulator_process import AUDIO
from tools.made_page import table

Floats = NDArray[np.float64]
FRAME_MS = 20
SEEDS = (1, 2, 3)
FORMATS = (G711_ULAW, PCM16_8K, PCM16_16K, PCM16)
SILENCE = "silence"
VOICES = Path(str(rtbench_simulator.__file__)).parent / "voices"
CALLERS = ("late_parcel", "not_today", "opening_hours", "order_number")
CHORDS_HZ = ((220, 277, 330), (196, 247, 294), (175, 220, 262), (196, 247, 330))
ALONE_S = 60
TONE_HZ = 425


class Stream(NamedTuple):
    """A stream of samples, and the sample indices at which each sound starts and ends."""

    samples: Samples
    sounds: list[tuple[int, int]]


class Errors(NamedTuple):
    """Errors of detected starts and ends, uncertainties of starts, in ms; and the number of sounds
    that were missed.

    `false`: the number of detected sounds that do not exist.
    """

    begins_ms: list[float]
    ends_ms: list[float]
    bounds_ms: list[float]
    missed: int
    false: int


# Sounds.


@cache
def voices(rate_hz: int) -> list[Floats]:
    """Return the recordings at a sample rate, from their first audible sample to the last."""
    paths = [*sorted(VOICES.glob("*.flac")), *(AUDIO / f"{name}.wav" for name in CALLERS)]
    return [
        cut(resampled(np.frombuffer(load_pcm(path).data, "<i2") / FULL_SCALE, rate_hz))
        for path in paths
    ]


def cut(sound: Floats) -> Floats:
    audible = np.flatnonzero(np.abs(np.rint(sound * FULL_SCALE)) >= AUDIBLE)
    return sound[audible[0] : audible[-1] + 1]


def resampled(sound: Floats, rate_hz: int) -> Floats:
    return sound if rate_hz == RATE_HZ else np.asarray(soxr.resample(sound, RATE_HZ, rate_hz))


def times_s(rate_hz: int, count: int) -> Floats:
    return np.arange(count) / rate_hz


def rms(sound: Floats) -> float:
    return float(np.sqrt(np.mean(sound**2)))


# Backgrounds.


def white(count: int, rate_hz: int, rng: np.random.Generator) -> Floats:
    return rng.standard_normal(count)


def pink(count: int, rate_hz: int, rng: np.random.Generator) -> Floats:
    spectrum = np.fft.rfft(rng.standard_normal(count))
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), count)


def room(count: int, rate_hz: int, rng: np.random.Generator) -> Floats:
    """Return the room noise of the scenarios, in a loop."""
    noise = recorded_room(rate_hz)
    start = int(rng.integers(len(noise)))
    return np.take(noise, np.arange(start, start + count), mode="wrap")


@cache
def recorded_room(rate_hz: int) -> Floats:
    return resampled(np.frombuffer(load_pcm(AUDIO / "room.wav").data, "<i2") / FULL_SCALE, rate_hz)


def music(count: int, rate_hz: int, rng: np.random.Generator) -> Floats:
    """Return music on hold: chords that are struck twice a second, and fade."""
    at_s = times_s(rate_hz, count)
    beats, since_s = (at_s * 2).astype(int), at_s % 0.5
    chords = np.array(CHORDS_HZ)[beats // 4 % len(CHORDS_HZ)]
    return (0.5 + 0.5 * np.exp(-3 * since_s)) * np.sin(2 * np.pi * chords.T * since_s).sum(axis=0)


def talk(count: int, rate_hz: int, rng: np.random.Generator) -> Floats:
    """Return six voices at once, as in a crowded room."""
    speech = voices(rate_hz)
    lines = [
        np.concatenate([speech[index] for index in rng.permutation(len(speech))]) for _ in range(6)
    ]
    return sum(
        (np.resize(np.roll(line, rng.integers(len(line))), count) for line in lines),
        np.zeros(count),
    )


NOISES: Mapping[str, Callable[[int, int, np.random.Generator], Floats]] = {
    "white noise": white,
    "pink noise": pink,
    "a room": room,
    "music": music,
    "other voices": talk,
}
BEHIND: tuple[tuple[str, float], ...] = (
    (SILENCE, 0),
    ("comfort noise, −60 dBFS", -60),
    ("comfort noise, −50 dBFS", -50),
    *((name, snr_db) for snr_db in (20, 10) for name in NOISES),
)
"""(background, dB by which it is lower than the voice; for comfort noise its level)."""


def noise(
    name: str, level_db: float, count: int, rate_hz: int, voice_rms: float, rng: np.random.Generator
) -> Floats:
    if name == SILENCE:
        return np.zeros(count)
    made = NOISES.get(name, white)(count, rate_hz, rng)
    level = 10 ** (level_db / 20) if level_db < 0 else voice_rms / 10 ** (level_db / 20)
    return made / rms(made) * level


def stream(name: str, level_db: float, format: AudioFormat, seed: int) -> Stream:
    rng, rate_hz = np.random.default_rng(seed), format.rate_hz
    speech = voices(rate_hz)
    parts, sounds, at = [], [], 0
    for index in rng.permutation(len(speech)):
        pause = np.zeros(int(rng.uniform(1.2, 2.6) * rate_hz))
        parts += [pause, speech[index]]
        sounds.append((at + len(pause), at + len(pause) + len(speech[index])))
        at = sounds[-1][1]
    clean = np.concatenate([*parts, np.zeros(3 * rate_hz // 2)])
    level = float(np.mean([rms(voice) for voice in speech]))
    mixed = clean + noise(name, level_db, len(clean), rate_hz, level, rng)
    return Stream(format.decode(format.encode(to_pcm16(mixed.astype(np.float32)))), sounds)


# Detection.


class Heard(NamedTuple):
    """A reply in a stream: its first and last audible sample, and how wrong each may be, in ns."""

    start: int
    end: int
    start_error_ns: int
    end_error_ns: int


def found(samples: Samples, rate_hz: int) -> list[Heard]:
    """Return the replies in a stream, as a session receives it."""
    detector = OnsetDetector(rate_hz)
    size = rate_hz * FRAME_MS // 1_000
    replies = list[Heard]()
    at = 0
    is_first = True
    for start in range(0, len(samples), size):
        frame = samples[start : start + size]
        at += len(frame)
        for event, back, error_ns in detector.add(frame):
            if event == "begins":
                is_first = (
                    not replies or (at - back - replies[-1].end) * NS_PER_S >= SILENCE_NS * rate_hz
                )
                if is_first:
                    replies.append(Heard(at - back, at - back, error_ns, 0))
                continue
            reply = replies[-1]
            start_error_ns = error_ns if is_first and event == "sounds" else reply.start_error_ns
            end_error_ns = error_ns if event == "ends" else detector.fading_ns
            replies[-1] = Heard(reply.start, at - back, start_error_ns, end_error_ns)
    return replies


def errors(name: str, level_db: float, format: AudioFormat, seed: int) -> Errors:
    speech_stream = stream(name, level_db, format, seed)
    replies, result = found(speech_stream.samples, format.rate_hz), Errors([], [], [], 0, 0)
    missed, counted = 0, set[int]()
    for start, end in speech_stream.sounds:
        overlapping = [
            index for index, reply in enumerate(replies) if reply[0] < end and reply[1] > start
        ]
        counted.update(overlapping)
        if not overlapping:
            missed += 1
            continue
        first, last = replies[overlapping[0]], replies[overlapping[-1]]
        result.begins_ms.append(abs(first[0] - start) * 1_000 / format.rate_hz)
        result.ends_ms.append(abs(last[1] - end) * 1_000 / format.rate_hz)
        result.bounds_ms.append(first[2] / NS_PER_MS)
    return result._replace(missed=missed, false=len(replies) - len(counted))


def alone(name: str, level_db: float, format: AudioFormat) -> int:
    """Return how many replies are detected in a minute of background alone."""
    rng, count = np.random.default_rng(1), ALONE_S * format.rate_hz
    level = float(np.mean([rms(voice) for voice in voices(format.rate_hz)]))
    behind = noise(name, level_db, count, format.rate_hz, level, rng)
    return len(
        found(format.decode(format.encode(to_pcm16(behind.astype(np.float32)))), format.rate_hz)
    )


def pooled(name: str, level_db: float) -> Errors:
    several = [errors(name, level_db, format, seed) for format in FORMATS for seed in SEEDS]
    starts, ends, bounds = (
        [ms for result in several for ms in result[index]] for index in range(3)
    )
    return Errors(
        starts,
        ends,
        bounds,
        sum(result.missed for result in several),
        sum(result.false for result in several),
    )


def rows() -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table, one for each background."""
    for name, level_db in BEHIND:
        result = pooled(name, level_db)
        start_errors = " / ".join(
            f"{np.quantile(result.begins_ms, p):,.1f}" for p in (0.5, 0.99, 1)
        )
        end_errors = " / ".join(f"{np.quantile(result.ends_ms, p):,.0f}" for p in (0.5, 0.99))
        false = result.false + sum(alone(name, level_db, format) for format in FORMATS)
        yield (
            f"{name}, {level_db:g} dB lower" if level_db > 0 else name,
            f"{len(result.begins_ms) + result.missed}",
            start_errors,
            end_errors,
            f"{result.missed}",
            f"{false}",
        )


def main() -> None:
    head = ("background", "n", "error of the start, ms", "error of the end, ms", "missed", "false")
    print(table(head, rows()))
    for format in FORMATS:
        tone = np.sin(2 * np.pi * TONE_HZ * times_s(format.rate_hz, ALONE_S * format.rate_hz)) / 10
        sounds = {
            "voices": stream("a room", 20, format, 1).samples,
            "a tone": format.decode(format.encode(to_pcm16(tone.astype(np.float32)))),
        }
        costs = {name: cost_us(samples, format.rate_hz) for name, samples in sounds.items()}
        text = " · ".join(f"{name} {cost:.1f}" for name, cost in costs.items())
        print(f"{format.name}, µs per frame of {FRAME_MS} ms: {text}")


def cost_us(samples: Samples, rate_hz: int) -> float:
    """Return the CPU time of a frame."""
    before_s = time.process_time()
    found(samples, rate_hz)
    return (time.process_time() - before_s) * 1e6 * rate_hz * FRAME_MS / 1_000 / len(samples)


if __name__ == "__main__":
    main()
