"""What surrounds the voices of real recordings: offsets, breaths, the tone of a room, and
sentences without a pause.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.base.units import NS_PER_MS
from bench.plan.recordings import FULL_SCALE, find_speech
from bench.sound.deep_noise import taps, without_deep_noise
from bench.sound.direct_current import DirectCurrent, offsets_of
from bench.sound.onsets import OnsetDetector
from bench.wire.audio import Samples
from tools.benchmarks.onsets import rms, voices

RATE_HZ = 8_000
FRAME = 160
Floats = NDArray[np.float64]


class Found(NamedTuple):
    """The first and the last audible instant of the sounds of a stream, and the bounds of both,
    in ms.
    """

    start_ms: float
    end_ms: float
    start_bound_ms: float
    end_bound_ms: float


def seconds(length_s: float) -> int:
    return round(length_s * RATE_HZ)


def silence(length_s: float) -> Floats:
    return np.zeros(seconds(length_s))


def voice(length_s: float, level: float = 6_000) -> Floats:
    """Return a voiced sound with three syllables a second, that is never silent. It starts and
    ends loud.
    """
    at_s = np.arange(seconds(length_s)) / RATE_HZ
    syllables = 0.1 + 0.9 * np.abs(np.cos(3 * np.pi * at_s))
    sound: Floats = syllables * vowel(length_s, level)
    return sound


def noise(length_s: float, level: float, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(0, level, seconds(length_s))


def vowel(length_s: float, level: float) -> Floats:
    """Return a voiced sound whose level does not change."""
    at_s = np.arange(seconds(length_s)) / RATE_HZ
    partials = [
        np.sin(2 * np.pi * 125 * number * at_s + number**2) / number for number in range(1, 20)
    ]
    sound: Floats = level * np.sum(partials, axis=0)
    return sound


def room(length_s: float, level: float, seed: int = 1) -> Floats:
    """Return noise of low frequencies with this RMS."""
    made = np.convolve(noise(length_s, 1, seed), np.ones(8) / 8, "same")
    sound: Floats = made / rms(made) * level
    return sound


def pcm(*parts: Floats, offset: float = 0) -> Samples:
    samples: Samples = np.clip(np.rint(np.concatenate(parts) + offset), -32_768, 32_767).astype(
        np.int16
    )
    return samples


def changes(samples: Samples) -> Iterator[tuple[str, float, float]]:
    detector = OnsetDetector(RATE_HZ)
    for begin in range(0, len(samples), FRAME):
        frame = samples[begin : begin + FRAME]
        for what, back, error_ns in detector.add(frame):
            yield what, (begin + len(frame) - back) * 1_000 / RATE_HZ, error_ns / NS_PER_MS


def found(samples: Samples) -> Found:
    listed = list(changes(samples))
    start_ms = next(at_ms for what, at_ms, _ in listed if what == "begins")
    first_end = next(place for place, (what, _, _) in enumerate(listed) if what == "ends")
    start_bound_ms = next(
        bound_ms for what, _, bound_ms in reversed(listed[:first_end]) if what == "sounds"
    )
    _, end_ms, end_bound_ms = next(change for change in reversed(listed) if change[0] == "ends")
    return Found(start_ms, end_ms, start_bound_ms, end_bound_ms)


@pytest.mark.parametrize("length_s", [1.5, 4.0, 9.0, 11.5])
def test_a_voice_without_a_pause_is_not_its_own_background(length_s: float) -> None:
    fading = voice(0.3) * np.linspace(1, 0.02, seconds(0.3))
    heard = found(pcm(silence(1), voice(length_s), fading, silence(1)))

    assert heard.start_ms == pytest.approx(1_000, abs=1)
    assert heard.end_ms == pytest.approx(1_000 * (1 + length_s + 0.3), abs=15)


@pytest.mark.parametrize("offset", [-655, -70, 70, 200, 655])
def test_an_offset_is_no_sound(offset: float) -> None:
    parts = silence(1), voice(1.5), silence(1.5)

    assert found(pcm(*parts, offset=offset)) == pytest.approx(found(pcm(*parts)), abs=1)


def test_a_recording_with_an_offset_between_digital_silence_starts_with_its_voice() -> None:
    played = np.concatenate([silence(0.5), voice(1.5), silence(0.5)]) + 330
    heard = found(pcm(silence(1), played, silence(1)))

    assert heard.start_ms == pytest.approx(1_500, abs=2)
    assert heard.end_ms == pytest.approx(3_000, abs=6)


def decaying(length_s: float, offset: float) -> Floats:
    """Return what a codec for telephones makes of an offset: a wave that decays, and its noise."""
    at_s = np.arange(seconds(length_s)) / RATE_HZ
    wave: Floats = offset * np.exp(-at_s / 0.125) + noise(length_s, 50)
    return wave


@pytest.mark.parametrize("offset", [-9_000, 2_000, 9_000])
@pytest.mark.parametrize("lead_s", [0.0, 1.0], ids=["stream begins with it", "after silence"])
@pytest.mark.parametrize("before_s", [0.1, 0.2, 0.3, 0.45])
def test_an_offset_that_decays_before_a_voice_is_within_the_bound_of_its_start(
    before_s: float, lead_s: float, offset: float
) -> None:
    wave = decaying(before_s + 1.5, offset)
    wave[seconds(before_s) :] += voice(1.5)
    heard = found(pcm(silence(lead_s), wave, silence(1)))

    assert abs(heard.start_ms - 1_000 * (lead_s + before_s)) <= heard.start_bound_ms + 5


@pytest.mark.parametrize("offset", [-6_000, 2_000, 6_000])
def test_an_offset_that_decays_after_a_voice_does_not_continue_it(offset: float) -> None:
    heard = found(pcm(silence(1), voice(1.5), decaying(0.5, offset), silence(1)))

    assert abs(heard.end_ms - 2_500) <= heard.end_bound_ms + 5
    assert heard.start_ms == pytest.approx(1_000, abs=1)


@pytest.mark.parametrize("lead_s", [0.0, 1.0], ids=["stream begins with it", "after silence"])
@pytest.mark.parametrize("first", [np.array([112.0]), noise(0.01, 45)], ids=["a click", "a rustle"])
def test_what_is_over_long_before_the_voice_is_not_its_start(first: Floats, lead_s: float) -> None:
    """Prompts of exchanges begin so: the cut of a recording leaves a sample or 10 ms of a breath,
    45 dB below the voice.
    """
    rest = noise(0.075 - len(first) / RATE_HZ, 5)
    heard = found(pcm(silence(lead_s), first, rest, voice(1.5), silence(1)))

    assert heard.start_ms == pytest.approx(1_000 * (lead_s + 0.075), abs=5)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
@pytest.mark.parametrize("sine_hz", [50, 60, 75, 100])
def test_no_phase_of_a_hum_and_no_low_pitch_is_an_offset_that_changes(
    sine_hz: float, rate_hz: int
) -> None:
    at = np.arange(rate_hz // 10) / rate_hz
    for phase in np.linspace(0, 2 * np.pi, 100):
        sine = (3_000 * np.sin(2 * np.pi * sine_hz * at + phase)).astype(np.int64)

        assert not offsets_of(sine.reshape(-1, rate_hz // 200), DirectCurrent(0, 0))[0].any()


@pytest.mark.parametrize("pause_s", [0.0, 0.09, 0.19])
@pytest.mark.parametrize("level", [100, 200, 400])
def test_a_breath_before_a_voice_is_within_the_bound_of_its_start(
    level: float, pause_s: float
) -> None:
    breath = noise(0.26, level) * np.hanning(seconds(0.26))
    heard = found(pcm(silence(1), breath, silence(pause_s), voice(1.5), silence(1)))
    true_ms = 1_000 * (1 + 0.26 + pause_s)

    assert true_ms - heard.start_bound_ms - 5 <= heard.start_ms <= true_ms + 1


def test_a_breath_without_a_voice_is_no_sound() -> None:
    breath = noise(0.26, 200) * np.hanning(seconds(0.26))

    assert list(changes(pcm(silence(1), breath, silence(2)))) == []


@pytest.mark.parametrize("below_db", [15, 20, 25, 30, 35])
@pytest.mark.parametrize("length_s", [0.03, 0.1, 0.24])
def test_a_room_that_is_heard_only_around_the_voice_is_within_both_bounds(
    length_s: float, below_db: float
) -> None:
    words = voice(1.5)
    level = float(np.sqrt((words**2).mean())) * 10 ** (-below_db / 20)
    heard = found(
        pcm(silence(1), noise(length_s, level), words, noise(0.3, level, seed=2), silence(1))
    )
    start_ms = 1_000 * (1 + length_s)

    assert abs(heard.start_ms - start_ms) <= heard.start_bound_ms + 5
    assert abs(heard.end_ms - start_ms - 1_500) <= heard.end_bound_ms + 5


@pytest.mark.parametrize("below_db", [15, 20, 25])
@pytest.mark.parametrize("length_s", [0.06, 0.12, 0.24])
def test_a_room_with_a_hum_or_with_clicks_is_within_the_bound_of_the_start(
    length_s: float, below_db: float
) -> None:
    words = voice(1.5)
    level = float(np.sqrt((words**2).mean())) * 10 ** (-below_db / 20)
    hum = sum(
        np.sin(2 * np.pi * 100 * number * np.arange(seconds(length_s)) / RATE_HZ) / number
        for number in (1, 2, 3)
    )
    clicks = np.zeros(seconds(length_s))
    clicks[seconds(0.03) :: seconds(0.05)] = 5 * np.abs(words).mean()
    room = noise(length_s, level / 2)
    for sound in (hum * level + room, room * 2 + clicks):
        heard = found(pcm(silence(1), sound, words, silence(1)))

        assert abs(heard.start_ms - 1_000 * (1 + length_s)) <= heard.start_bound_ms + 5


def test_a_voice_in_digital_silence_has_no_uncertainty() -> None:
    heard = found(pcm(silence(1), voice(1.5), silence(1)))

    assert (heard.start_ms, heard.end_ms) == pytest.approx((1_000, 2_500), abs=1)
    assert (heard.start_bound_ms, heard.end_bound_ms) == (0, 0)


@pytest.mark.parametrize("fade_s", [0.1, 0.2, 0.3])
def test_the_end_of_a_vowel_that_fades_is_35_db_below_the_voice(fade_s: float) -> None:
    words = vowel(1.5, 8_000)
    words[-seconds(fade_s) :] *= 10 ** (-np.linspace(0, 70, seconds(fade_s)) / 20)
    heard = found(pcm(silence(1), words, silence(1)))

    assert abs(heard.end_ms - 2_500 + fade_s * 500) <= heard.end_bound_ms + 5 <= fade_s * 500 + 10


@pytest.mark.parametrize("weak_s", [0.05, 0.15, 0.25])
def test_an_inaudible_start_of_a_quiet_voice_is_within_its_bound_until_the_reply_ends(
    weak_s: float,
) -> None:
    weak = noise(weak_s, 22)
    heard = found(pcm(silence(1), weak, voice(1.9, 250), silence(1)))

    assert 0 < heard.start_ms - 1_000 <= heard.start_bound_ms + 1


@pytest.mark.parametrize("weak_s", [1.2, 1.4, 1.6])
def test_a_room_as_loud_as_a_weak_last_word_is_within_the_bound_of_the_end(weak_s: float) -> None:
    words = voice(1.5)
    room = noise(0.4, float(np.sqrt((words**2).mean())) * 10 ** (-15 / 20))
    heard = found(pcm(silence(1), words, voice(weak_s, 1_500), room, silence(1)))

    assert abs(heard.end_ms - 1_000 * (2.5 + weak_s)) <= heard.end_bound_ms + 5


@pytest.mark.parametrize("below_db", [10, 12, 15, 20])
def test_a_voice_in_noise_that_the_filter_makes_louder_is_found(below_db: float) -> None:
    words = voice(1.5, 2_000)
    behind = noise(5, float(np.sqrt((words**2).mean())) * 10 ** (-below_db / 20))
    behind[seconds(2) : seconds(3.5)] += words
    heard = found(pcm(behind))

    assert abs(heard.start_ms - 2_000) <= min(heard.start_bound_ms + 5, 50)
    assert abs(heard.end_ms - 3_500) <= min(heard.end_bound_ms + 5, 200)


@pytest.mark.parametrize("after_s", [0.3, 0.6, 1.5])
def test_noise_after_a_voice_does_not_change_the_bound_of_its_start(after_s: float) -> None:
    words = voice(1.5)
    before, after = (room(length_s, rms(words) * 10 ** (-15 / 20)) for length_s in (0.2, after_s))
    heard = found(pcm(silence(1), before, words, after, silence(1)))

    assert abs(heard.start_ms - 1_200) <= heard.start_bound_ms + 5 <= 215


@pytest.mark.parametrize("below_db", [10.5, 11])
@pytest.mark.parametrize("seed", [2, 3])
def test_a_loud_room_before_a_voice_that_is_never_much_louder_is_within_the_bound(
    below_db: float, seed: int
) -> None:
    words = vowel(1.5, 3_000)
    heard = found(
        pcm(silence(1), room(0.2, rms(words) * 10 ** (-below_db / 20), seed), words, silence(1))
    )

    assert abs(heard.start_ms - 1_200) <= heard.start_bound_ms + 5


@pytest.mark.parametrize("weak_s", [0.1, 0.2, 0.33])
def test_a_weak_last_word_in_noise_that_was_not_there_before_is_within_the_bound_of_the_end(
    weak_s: float,
) -> None:
    weak = vowel(weak_s, 200)
    heard = found(pcm(silence(1), voice(1.5), weak, room(1.5, rms(weak)), silence(1)))

    assert abs(heard.end_ms - 1_000 * (2.5 + weak_s)) <= heard.end_bound_ms + 5


@pytest.mark.parametrize("below_db", [15, 20, 25])
def test_a_louder_moment_of_the_room_after_a_voice_is_within_the_bound_of_the_end(
    below_db: float,
) -> None:
    words = vowel(1.5, 3_000)
    behind = room(0.4, rms(words) * 10 ** (-below_db / 20))
    behind[seconds(0.25) : seconds(0.275)] += words[: seconds(0.025)] * 10 ** (-5.5 / 20)
    heard = found(pcm(silence(1), words, behind, silence(1)))

    assert abs(heard.end_ms - 2_500) <= heard.end_bound_ms + 5


@pytest.mark.parametrize("fade_s", [0.05, 0.15, 0.3])
@pytest.mark.parametrize("power", [1, 2, 3])
def test_a_voice_that_fades_in_has_begun_within_the_bound_of_its_start(
    fade_s: float, power: int
) -> None:
    words = voice(1.5, 12_000)
    words[: seconds(fade_s)] *= np.linspace(0, 1, seconds(fade_s)) ** power
    start_ms = (
        1_000 + int(np.flatnonzero(np.abs(words) > 0.01 * np.abs(words).max())[0]) * 1_000 / RATE_HZ
    )
    heard = found(pcm(silence(1), words, silence(1)))

    assert abs(heard.start_ms - start_ms) <= heard.start_bound_ms + 1


@pytest.mark.parametrize("fade_s", [0.04, 0.08, 0.15])
@pytest.mark.parametrize("later_db", [0, 8, 16])
def test_the_bound_of_a_fade_reaches_to_the_first_part_that_is_35_db_below_the_voice(
    fade_s: float, later_db: float
) -> None:
    """The voice may become louder later, and then a longer part of the fade is far below it."""
    for place in (0, 14, 28):
        words = voice(1.5, 12_000)
        words[: seconds(fade_s)] *= np.linspace(0, 1, seconds(fade_s)) ** 2
        words[: seconds(0.4)] *= 10 ** (-later_db / 20)
        parts = (words.reshape(-1, RATE_HZ // 1_000) ** 2).mean(axis=1)
        first_ms = 1_000 + int(np.flatnonzero(parts * 3_162 >= np.sort(parts)[-75:].mean())[0])
        heard = found(pcm(silence(1), np.zeros(place), words, silence(1)))

        assert abs(heard.start_ms - first_ms - place / 8) <= heard.start_bound_ms + 5


@pytest.mark.parametrize(("seed", "length_s"), [(2, 3.8), (3, 3.8), (16, 4.0), (21, 4.0)])
def test_the_bound_of_an_end_so_far_covers_swelling_noise_that_continues_the_sound(
    seed: int, length_s: float
) -> None:
    swell = np.convolve(noise(6, 1, seed), np.ones(seconds(0.2)) / seconds(0.2) ** 0.5, "same")
    behind = room(6, 150, seed) * np.exp(swell / 2)
    behind[seconds(2) : seconds(3)] += voice(1, 1_500)
    detector = OnsetDetector(RATE_HZ)
    *_, last = detector.add(pcm(behind[: seconds(length_s)]))
    end_ms = 1_000 * (length_s - last.back / RATE_HZ)

    assert last.what == "sounds"
    assert detector.fading_ns / NS_PER_MS >= end_ms - 3_000 > 500


def deep(low_hz: float, high_hz: float, level_dbfs: float, length: int, seed: int) -> Floats:
    """Return noise between two frequencies."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(0, 1, length))
    tones_hz = np.fft.rfftfreq(length, 1 / RATE_HZ)
    made = np.fft.irfft(spectrum * ((tones_hz >= low_hz) & (tones_hz <= high_hz)), length)
    sound: Floats = made / rms(made) * FULL_SCALE * 10 ** (level_dbfs / 20)
    return sound


@pytest.mark.parametrize("number", range(0, 9, 2))
@pytest.mark.parametrize(
    ("low_hz", "high_hz", "level_dbfs"),
    [(8, 30, -50), (8, 30, -40), (8, 30, -30), (2, 12, -35), (14, 16, -35)],
)
def test_deep_noise_moves_no_start_or_end_of_a_voice_beyond_its_bound(
    low_hz: float, high_hz: float, level_dbfs: float, number: int
) -> None:
    words = voices(RATE_HZ)[number] * FULL_SCALE
    loud = np.flatnonzero(np.abs(words) > 2_000)
    words = words[loud[0] : loud[-1] + 1]
    played = np.concatenate([silence(1.5), words, silence(2)])
    heard = found(pcm(played + deep(low_hz, high_hz, level_dbfs, len(played), number)))

    assert abs(heard.start_ms - 1_500) <= heard.start_bound_ms + 5
    assert abs(heard.end_ms - 1_500 - len(words) / 8) <= heard.end_bound_ms + 5


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000, 48_000])
def test_the_filter_of_deep_noise_leaves_voices_and_no_rumble(rate_hz: int) -> None:
    def loss_db(hz: float) -> float:
        tone = np.rint(7_071 * np.sin(2 * np.pi * hz * np.arange(2 * rate_hz) / rate_hz))
        rest = without_deep_noise(tone.astype(np.int64), taps(rate_hz))[rate_hz:]
        return float(20 * np.log10(5_000 / rms(rest.astype(float))))

    assert min(map(loss_db, (5, 8, 15, 20, 30))) > 25.9
    assert max(map(loss_db, (80, 100, 150, 300, 1_000, 3_400))) <= 4


@pytest.mark.parametrize("hz", [70, 85, 100])
def test_a_voice_with_a_low_fundamental_starts_and_ends_where_it_does(hz: int) -> None:
    at_s = np.arange(seconds(1.5)) / RATE_HZ
    low = sum(4_000 * np.cos(2 * np.pi * hz * n * at_s) / n**2 for n in range(1, 12))
    heard = found(pcm(silence(1), np.asarray(low), silence(1)))

    assert (heard.start_ms, heard.start_bound_ms) == (pytest.approx(1_000, abs=0.5), 0)
    assert abs(heard.end_ms - 2_500) <= heard.end_bound_ms + 1


@pytest.mark.parametrize("level_dbfs", [-50, -40])
@pytest.mark.parametrize("is_periodic", [True, False])
def test_a_short_room_tone_alone_is_a_sound_only_if_it_is_periodic(
    level_dbfs: float, is_periodic: bool
) -> None:
    """The periodic tone of a room, as of a buzzing device, is like a quiet voice."""
    level = FULL_SCALE * 10 ** (level_dbfs / 20)
    buzz = vowel(0.3, 1) / rms(vowel(0.3, 1)) * level
    tones = [buzz] if is_periodic else [room(0.3, level, seed) for seed in range(40)]

    for tone in tones:
        listed = list(changes(pcm(silence(1), tone, silence(1.5))))
        assert bool(listed) == is_periodic


HUM = 330 * np.sin(2 * np.pi * 50 * np.arange(seconds(4)) / RATE_HZ)
WORDS = np.concatenate([silence(1), voice(1.5), silence(1.5)])


@pytest.mark.parametrize(
    "background",
    [np.full(len(WORDS), 100.0), np.full(len(WORDS), -655.0), HUM, noise(4, 60)],
    ids=str,
)
def test_a_steady_background_of_a_script_s_recording_is_no_speech(background: Floats) -> None:
    span = find_speech(pcm(WORDS + background), RATE_HZ)

    assert span.begin == pytest.approx(seconds(1), abs=seconds(0.025))
    assert span.end == pytest.approx(seconds(2.5), abs=seconds(0.025))


def test_an_offset_changes_no_sample_of_the_speech_found() -> None:
    alone = find_speech(pcm(WORDS), RATE_HZ)

    assert alone.begin == seconds(1)
    assert find_speech(pcm(WORDS, offset=200), RATE_HZ) == alone
