"""Voices in a background that changes: noise that begins, stops, or gets louder, and noise that
a gate lets through.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.base.units import NS_PER_MS
from bench.plan.recordings import to_pcm16
from bench.sound.onsets import OnsetDetector
from bench.sound.tones import is_tone
from bench.wire.audio import Samples
from tools.benchmarks import onsets as known

RATE_HZ = 8_000
VOICES = range(9)
QUIET_S = 1.5
HUMS = ("50 Hz", "60 Hz", "100 Hz", "120 Hz")
NOISES = ("white noise", "pink noise", "a room", *HUMS)


@cache
def noise(name: str, dbfs: float, seed: int = 1) -> np.ndarray:
    """Return 12 s of noise or hum at this level. That of a rectifier has twice the frequency of the
    mains, and many harmonics.
    """
    count = 12 * RATE_HZ
    if name in HUMS:
        at, hz = 2 * np.pi * np.arange(count) / RATE_HZ, int(name.removesuffix(" Hz"))
        made = sum(
            (np.sin(at * hz * line) / line for line in range(2, 1 if hz < 100 else 9)),
            np.sin(at * hz),
        )
    else:
        made = known.NOISES[name](count, RATE_HZ, np.random.default_rng(seed))
    return made / known.rms(made) * 10 ** (dbfs / 20)


def changes(samples: np.ndarray, frame: int = 160) -> list[tuple[float, float, float]]:
    """Return (start, end, uncertainty of the start) of each sound, in ms. Sounds with short
    pauses count as one.
    """
    detector, found, is_new = OnsetDetector(RATE_HZ), list[tuple[float, float, float]](), True
    pcm = to_pcm16(samples.astype(np.float32))
    for position in range(0, len(pcm), frame):
        piece = pcm[position : position + frame]
        for what, back, error_ns in detector.add(piece):
            at_ms, error_ms = (position + len(piece) - back) * 1_000 / RATE_HZ, error_ns / NS_PER_MS
            if what == "begins":
                is_new = not found or at_ms - found[-1][1] > 800
                if is_new:
                    found.append((at_ms, at_ms, error_ms))
            else:
                first_ms, _, bound_ms = found[-1]
                found[-1] = first_ms, at_ms, error_ms if is_new and what == "sounds" else bound_ms
    return found


def padded(voice: int, lead_s: float, tail_s: float = 2.5) -> tuple[np.ndarray, slice]:
    """Return `QUIET_S` of silence, silence of `lead_s`, a voice, and silence. The slice is the
    position of the voice.

    All of it is silent apart from the voice.
    """
    said = known.voices(RATE_HZ)[voice][: 2 * RATE_HZ]
    begin = round((QUIET_S + lead_s) * RATE_HZ)
    return np.pad(said, (begin, round(tail_s * RATE_HZ))), slice(begin, begin + len(said))


def assert_one_voice(samples: np.ndarray, spoken: slice) -> tuple[float, float]:
    """Check that the voice is the only sound, and starts within its bound. Return (error of the
    start, of the end).
    """
    ((begin_ms, end_ms, bound_ms),) = changes(samples)
    error_ms = begin_ms - spoken.start * 1_000 / RATE_HZ
    # noise at the very start may cancel the first audible samples
    assert abs(error_ms) <= bound_ms + 1
    return error_ms, end_ms - spoken.stop * 1_000 / RATE_HZ


@given(
    begins_s=st.sampled_from([0.2, 0.5, 3.0]),
    dbfs=st.sampled_from([-40, -45, -50, -55, -60]),
    name=st.sampled_from(NOISES),
)
def test_noise_that_begins_after_silence_is_no_sound(
    begins_s: float, dbfs: float, name: str
) -> None:
    assert (
        changes(
            np.concatenate([np.zeros(round(begins_s * RATE_HZ)), noise(name, dbfs)[: 4 * RATE_HZ]])
        )
        == []
    )


@given(
    dbfs=st.sampled_from([-38, -45, -55]),
    name=st.sampled_from(NOISES),
    voice=st.sampled_from(VOICES),
)
def test_noise_from_the_start_of_a_stream_is_no_sound(dbfs: float, name: str, voice: int) -> None:
    samples, spoken = padded(voice, 1.0)

    error_ms, late_ms = assert_one_voice(samples + noise(name, dbfs)[: len(samples)], spoken)

    assert max(abs(error_ms), abs(late_ms)) < 250


@given(
    ramp_s=st.sampled_from([0.0, 0.1, 3.0]),
    step_db=st.sampled_from([6, 12, 20]),
    name=st.sampled_from(NOISES),
)
def test_noise_that_gets_louder_is_no_sound(ramp_s: float, step_db: float, name: str) -> None:
    at_s = np.arange(6 * RATE_HZ) / RATE_HZ
    gain_db = -step_db * np.interp(at_s, [2, 2 + max(ramp_s, 1e-6)], [1, 0])
    assert changes(noise(name, -45)[: len(at_s)] * 10 ** (gain_db / 20)) == []


@given(
    name=st.sampled_from(NOISES),
    dbfs=st.sampled_from([-45, -50, -55]),
    voice=st.sampled_from(VOICES),
    lead_s=st.sampled_from([0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.95, 1.0, 2.0, 4.0]),
)
def test_a_voice_after_the_start_of_noise_starts_within_its_bound(
    name: str, dbfs: float, voice: int, lead_s: float
) -> None:
    samples, spoken = padded(voice, lead_s)
    begin = round(QUIET_S * RATE_HZ)
    samples[begin:] += noise(name, dbfs)[: len(samples) - begin]

    error_ms, _ = assert_one_voice(samples, spoken)

    assert lead_s < 0.4 or abs(error_ms) < 110


@given(
    name=st.sampled_from(NOISES),
    dbfs=st.sampled_from([-45, -50, -55]),
    voice=st.sampled_from(VOICES),
    lead_s=st.sampled_from([0, 0.1, 0.2, 0.5]),
    hangover_s=st.sampled_from([0.1, 0.4, 1.0]),
)
@example(name="60 Hz", dbfs=-50, voice=0, lead_s=0, hangover_s=0.4)  # direct current of -124
@example(name="60 Hz", dbfs=-55, voice=5, lead_s=0.5, hangover_s=1.0)
@example(name="100 Hz", dbfs=-45, voice=1, lead_s=0.1, hangover_s=0.1)
def test_noise_through_a_gate_changes_the_start_within_its_bound_and_lengthens_no_voice(
    name: str, dbfs: float, voice: int, lead_s: float, hangover_s: float
) -> None:
    samples, spoken = padded(voice, lead_s)
    begin, end = round(QUIET_S * RATE_HZ), spoken.stop + round(hangover_s * RATE_HZ)
    samples[begin:end] += noise(name, dbfs)[: end - begin]

    _, late_ms = assert_one_voice(samples, spoken)

    assert late_ms < 210


@given(
    parts=st.lists(
        st.tuples(
            st.sampled_from([None, *NOISES]), st.sampled_from([-40, -50]), st.integers(20, 900)
        ),
        max_size=6,
    ),
    voice=st.sampled_from(VOICES),
    frame=st.sampled_from([1, 39, 80, 241, 8_000]),
)
def test_the_division_of_a_changing_background_does_not_change_the_result(
    parts: list[tuple[str | None, float, int]], voice: int, frame: int
) -> None:
    pieces = [noise(name, dbfs)[: 8 * ms] if name else np.zeros(8 * ms) for name, dbfs, ms in parts]
    samples = np.concatenate(
        [*pieces, known.voices(RATE_HZ)[voice][:4_000], *pieces, np.zeros(4_000)]
    )

    assert changes(samples, frame) == changes(samples)


def group(samples: np.ndarray) -> Samples:
    return to_pcm16(samples[:400].astype(np.float32))


@pytest.mark.parametrize("hz", [50, 100, 120, 200])
def test_a_low_tone_is_a_hum(hz: int) -> None:
    sine = group(0.02 * np.sin(2 * np.pi * hz * np.arange(400) / RATE_HZ))
    assert is_tone(sine) is (hz > 150)
