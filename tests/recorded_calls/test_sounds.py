"""The sounds of a channel, and the start and end of a caller's speech in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.base.units import NS_PER_MS
from bench.plan.recordings import SpeechSpan, to_pcm16
from bench.recorded_calls.conversation import ChannelSound, sounds, speech
from bench.wire.audio import Samples
from tests.recorded_calls.constructed import Conditions, audible, constructed_call, voice
from tests.recorded_calls.imports import found_utterances, recording

RATE_HZ = 8_000


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE_HZ), np.int16)


def test_each_sound_starts_and_ends_at_its_first_and_last_audible_sample() -> None:
    words = voice("uh_huh", RATE_HZ)
    first, last = audible(words)
    channel = np.concatenate([silence(0.5), words, silence(0.7), words, silence(1)])
    starts = [len(silence(0.5)), len(silence(1.2)) + len(words)]

    found = sounds(channel, RATE_HZ)

    assert [sound.start for sound in found] == [start + first for start in starts]
    assert max(sound.uncertainty_ns for sound in found) < 6 * NS_PER_MS, (
        "the quiet voice starts inaudibly"
    )
    assert [sound.end for sound in found] == [start + last for start in starts]


@pytest.mark.parametrize("seconds", [0, 0.003, 1, 2.5])
def test_a_silent_channel_has_no_sound(seconds: float) -> None:
    assert sounds(silence(seconds), RATE_HZ) == []


def test_a_sound_that_is_cut_by_the_end_of_the_recording_ends_there() -> None:
    words = voice("late_parcel", RATE_HZ)[: RATE_HZ // 2]
    channel = np.concatenate([silence(1), words])

    (sound,) = sounds(channel, RATE_HZ)

    assert len(silence(1)) <= sound.start < sound.end <= len(channel)
    assert len(channel) - sound.end < RATE_HZ // 10


def test_steady_noise_is_no_sound() -> None:
    noise = to_pcm16(np.random.default_rng(1).normal(0, 0.02, 5 * RATE_HZ).astype(np.float32))
    assert sounds(noise, RATE_HZ) == []


def test_sounds_do_not_depend_on_what_follows_them() -> None:
    call = constructed_call(3, Conditions(rate_hz=RATE_HZ, snr_db=20))
    whole = sounds(call.caller, RATE_HZ)
    half = sounds(call.caller[: whole[2].start - RATE_HZ // 8], RATE_HZ)

    assert half == whole[:2]


@pytest.mark.parametrize(
    "conditions",
    [
        Conditions(rate_hz=8_000),
        Conditions(rate_hz=24_000, overlaps=True),
        Conditions(g711=True, overlaps=True),
        Conditions(snr_db=35),
        Conditions(snr_db=22, greets=False),
        Conditions(rate_hz=8_000, snr_db=14),
    ],
    ids=str,
)
def test_the_end_of_speech_is_exact_or_within_its_uncertainty(
    conditions: Conditions, tmp_path: Path
) -> None:
    call = constructed_call(11, conditions, turns=3)
    read = recording(call, tmp_path)
    _, utterances = found_utterances(read)

    assert [recorded.utterance.kind for recorded in utterances] == call.kinds
    for recorded, end_s in zip(utterances, call.ends_s, strict=True):
        found = recorded.speech
        error_ms = 1_000 * (end_s - found.end / read.audio.rate_hz)
        assert abs(error_ms) <= found.uncertainty_ns / NS_PER_MS + 2
    if conditions.snr_db is None:
        assert min(recorded.speech.uncertainty_ns for recorded in utterances) == 0
        assert max(recorded.speech.uncertainty_ns for recorded in utterances) <= 250 * NS_PER_MS


def test_speech_in_louder_noise_has_a_larger_uncertainty() -> None:
    words = voice("not_today", RATE_HZ).astype(np.float64)
    channel = np.concatenate([np.zeros(2 * RATE_HZ), words, np.zeros(2 * RATE_HZ)])
    noise = np.random.default_rng(2).normal(0, 1, len(channel))
    span = SpeechSpan(2 * RATE_HZ + audible(words.astype(np.int16))[0], 2 * RATE_HZ + len(words))
    uncertainties = [
        speech(
            (channel + level * noise).astype(np.int16), RATE_HZ, span, span.end + 800, len(channel)
        ).uncertainty_ns
        for level in (0, 30, 120, 500, 2_000)
    ]

    assert uncertainties[0] < 50 * NS_PER_MS
    assert uncertainties == sorted(uncertainties)
    assert uncertainties[-1] == 2_500 * NS_PER_MS


def test_the_speech_of_a_sound_starts_with_the_sound() -> None:
    words = voice("opening_hours", RATE_HZ)
    channel = np.concatenate([silence(1), words, silence(1)])
    sound = ChannelSound(RATE_HZ + audible(words)[0], RATE_HZ + audible(words)[1], 0)
    found = speech(
        channel, RATE_HZ, SpeechSpan(sound.start, sound.end), sound.end + 1_600, len(channel)
    )

    assert found.start == sound.start
    assert sound.end - RATE_HZ // 5 < found.end <= sound.end + 1_600


@pytest.mark.parametrize("fade_s", [0.05, 0.2, 0.4])
def test_the_end_of_a_vowel_that_fades_into_silence_is_35_db_below_the_speech(
    fade_s: float,
) -> None:
    at_s = np.arange(2 * RATE_HZ) / RATE_HZ
    vowel = sum(np.sin(2 * np.pi * 120 * k * at_s + k * k) / k for k in range(1, 25))
    fade = round(fade_s * RATE_HZ)
    vowel[-fade:] *= 10 ** (-np.linspace(0, 70, fade) / 20)
    channel = np.concatenate([silence(1), (vowel * 5_000).astype(np.int16), silence(2)])
    span = SpeechSpan(RATE_HZ, 3 * RATE_HZ)
    found = speech(channel, RATE_HZ, span, span.end + RATE_HZ // 5, len(channel))

    error_ms = (found.end - 3 * RATE_HZ + fade / 2) * 1_000 / RATE_HZ
    assert abs(error_ms) <= found.uncertainty_ns / NS_PER_MS + 5 <= 45


@pytest.mark.parametrize("below_db", [15, 20, 25, 30])
@pytest.mark.parametrize("hum", [0.0, 0.9])
def test_the_room_after_the_caller_is_within_the_bound_of_the_end(
    below_db: float, hum: float
) -> None:
    """The tone of the room is heard for 300 ms more, as behind a noise gate. Some rooms have a
    hum.
    """
    words = voice("not_today", RATE_HZ).astype(np.float64)
    words = words[: audible(words.astype(np.int16))[1]]
    count = 300 * RATE_HZ // 1_000
    tone = (1 - hum) * np.random.default_rng(3).normal(0, 1, count)
    tone += hum * np.sin(2 * np.pi * 100 * np.arange(count) / RATE_HZ)
    tone *= np.sqrt(np.mean(words**2) / np.mean(tone**2)) * 10 ** (-below_db / 20)
    gap = np.zeros(2 * RATE_HZ)
    channel = np.concatenate([gap, words, tone, gap]).astype(np.int16)
    span = SpeechSpan(len(gap), len(gap) + len(words) + count)
    found = speech(channel, RATE_HZ, span, span.end + RATE_HZ // 10, len(channel))

    assert (
        abs(found.end - len(gap) - len(words)) * 1_000 / RATE_HZ
        <= found.uncertainty_ns / NS_PER_MS + 5
    )


@pytest.mark.parametrize("after_ms", [100, 150, 190])
def test_a_click_after_the_caller_is_within_the_bound_of_the_end(after_ms: int) -> None:
    words = voice("not_today", RATE_HZ)
    words = words[: audible(words)[1]]
    gap = silence(2)
    channel = np.concatenate([gap, words, gap])
    click = len(gap) + len(words) + after_ms * RATE_HZ // 1_000
    channel[click : click + 2 * RATE_HZ // 1_000] = 10_000
    span = SpeechSpan(len(gap), click + 2 * RATE_HZ // 1_000)
    found = speech(channel, RATE_HZ, span, span.end + RATE_HZ // 5, len(channel))

    error_ms = (found.end - len(gap) - len(words)) * 1_000 / RATE_HZ
    assert abs(error_ms) <= found.uncertainty_ns / NS_PER_MS + 5


@pytest.mark.parametrize("weak_ms", [101, 150, 300, 700])
def test_a_last_word_that_the_detector_does_not_hear_is_within_the_bound_of_the_end(
    weak_ms: int,
) -> None:
    words = voice("not_today", RATE_HZ).astype(np.float64)
    words = words[: audible(words.astype(np.int16))[1]]
    weak = np.random.default_rng(4).normal(
        0, np.sqrt(np.mean(words**2)) * 10 ** (-28 / 20), weak_ms * RATE_HZ // 1_000
    )
    gap = np.zeros(2 * RATE_HZ)
    channel = np.concatenate([gap, words, weak, gap]).astype(np.int16)
    span = SpeechSpan(len(gap), len(gap) + len(words))
    found = speech(channel, RATE_HZ, span, span.end + RATE_HZ // 5, len(channel))

    error_ms = (found.end - len(gap) - len(words) - len(weak)) * 1_000 / RATE_HZ
    assert abs(error_ms) <= found.uncertainty_ns / NS_PER_MS + 5
