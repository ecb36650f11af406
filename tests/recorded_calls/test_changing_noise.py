"""The end of a caller's speech in noise that changes: noise that begins or stops, a gate,
comfort noise.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from bench.base.units import NS_PER_MS
from bench.plan.recordings import SpeechSpan, find_speech, to_pcm16
from bench.recorded_calls.conversation import sounds, speech
from bench.wire.audio import Samples
from tests.recorded_calls.changing_noise import CHANGES, TEXTURES, Change, Floats, gains
from tests.recorded_calls.constructed import CALLERS, Conditions, constructed_call, voice

RATE_HZ = 8_000
SILENT_S = 3.5


@cache
def noise(texture: str, dbfs: float) -> Floats:
    made = TEXTURES[texture](20 * RATE_HZ, RATE_HZ, np.random.default_rng(3))
    return made / np.sqrt((made**2).mean()) * 10 ** (dbfs / 20) * 32_768


def padded(name: str) -> tuple[Floats, SpeechSpan]:
    """Return a voice in silence, and the position of its speech."""
    words, before = voice(name, RATE_HZ), round(SILENT_S * RATE_HZ)
    span = find_speech(words, RATE_HZ)
    return np.pad(words.astype(np.float64), before), SpeechSpan(
        before + span.begin, before + span.end
    )


def error_and_bound_ms(channel: Floats, span: SpeechSpan) -> tuple[float, float]:
    """Return the error of the end of speech in a channel, and its bound."""
    samples: Samples = to_pcm16((channel / 32_768).astype(np.float32))
    heard = [
        sound
        for sound in sounds(samples, RATE_HZ)
        if sound.start < span.end and sound.end > span.begin
    ]
    found = SpeechSpan(heard[0].start, heard[-1].end)
    said = speech(samples, RATE_HZ, found, found.end + RATE_HZ // 5, len(samples))
    return (said.end - span.end) * 1_000 / RATE_HZ, said.uncertainty_ns / NS_PER_MS


@pytest.mark.parametrize("hold_s", [0.3, 0.4, 0.9])
@pytest.mark.parametrize("texture", TEXTURES)
@pytest.mark.parametrize("name", CALLERS)
def test_noise_through_a_gate_is_no_speech(name: str, texture: str, hold_s: float) -> None:
    channel, span = padded(name)
    last = span.end + round(hold_s * RATE_HZ)
    channel[span.begin : last] += noise(texture, -50)[: last - span.begin]

    error_ms, bound_ms = error_and_bound_ms(channel, span)

    assert abs(error_ms) <= bound_ms + 1
    assert error_ms < 40


@pytest.mark.parametrize(
    "change", [change for change in CHANGES if change not in {"gate", "words"}]
)
@pytest.mark.parametrize("seed", range(4))
def test_the_end_of_speech_in_changing_noise_is_within_its_bound(change: Change, seed: int) -> None:
    channel, span = padded(CALLERS[seed])
    factor = gains(
        change, [(span.begin, span.end)], len(channel), RATE_HZ, np.random.default_rng(seed)
    )
    channel += noise(list(TEXTURES)[seed], -48)[: len(channel)] * factor

    error_ms, bound_ms = error_and_bound_ms(channel, span)

    assert abs(error_ms) <= bound_ms + 1


@pytest.mark.parametrize("seed", [1, 2])
def test_a_change_of_the_noise_does_not_change_the_voices_of_a_constructed_call(seed: int) -> None:
    clean, noisy = (
        constructed_call(seed, Conditions(rate_hz=RATE_HZ, change=change))
        for change in (None, "gate")
    )
    assert (clean.starts_s, clean.ends_s, clean.waits_ms) == (
        noisy.starts_s,
        noisy.ends_s,
        noisy.waits_ms,
    )
