"""Ring tones, beeps and other telephone tones are no replies, and voices are never taken for
tones.
"""

from __future__ import annotations

from itertools import product
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.observe.reply_detector import SILENCE_NS, ReplyDetector
from bench.plan.recordings import to_pcm16
from bench.services.agents import PCM
from bench.sound import tones
from bench.sound.onsets import VOICE_AT_TONE_ERROR_NS, OnsetDetector
from bench.sound.tones import is_pure
from bench.wire.audio import G711_ULAW, PCM16_8K, PCM16_16K, AudioFormat, Samples
from bench.wire.dialect import BinaryMessage
from bench.wire.events import EventKind
from tests.compiled import needs_compiler
from tests.helpers import AT_NS, MS
from tools.benchmarks import onsets as known

RATE_HZ, FRAME_MS = 8_000, 20


def sines(ms: float, *tones_hz: float, level: float = 0.1, modulated_hz: float = 0) -> np.ndarray:
    at_s = np.arange(round(RATE_HZ * ms / 1_000)) / RATE_HZ
    mixed = sum((np.sin(2 * np.pi * hz * at_s) for hz in tones_hz), np.zeros(len(at_s))) / len(
        tones_hz
    )
    return (
        level * mixed * (1 + 0.85 * np.cos(2 * np.pi * modulated_hz * at_s)) / 1.85
        if modulated_hz
        else level * mixed
    )


def rest(ms: float) -> np.ndarray:
    return np.zeros(round(RATE_HZ * ms / 1_000))


def joined(*parts: np.ndarray, format: AudioFormat = G711_ULAW) -> Samples:
    """Join the parts, and encode and decode them in this format. Its rate is 8 kHz."""
    return format.decode(format.encode(to_pcm16(np.concatenate(parts).astype(np.float32))))


def begins_ms(detector: OnsetDetector, samples: Samples) -> list[float]:
    size, found = RATE_HZ * FRAME_MS // 1_000, list[float]()
    for start in range(0, len(samples), size):
        frame = samples[start : start + size]
        at = start + len(frame)
        found += [
            (at - back) * 1_000 / RATE_HZ
            for what, back, _ in detector.add(frame)
            if what == "begins"
        ]
    return found


DECAY = np.exp(-np.arange(RATE_HZ * 6 // 10) / 1_200)
TONES = {
    "ring tone, US": sines(2_000, 440, 480),
    "ring tone, Europe": sines(1_000, 425),
    "ring tone, UK": np.concatenate([sines(400, 400, 450), rest(200), sines(400, 400, 450)]),
    "ring tone, Japan": sines(1_000, 400, modulated_hz=16),
    "ring tone, Australia": sines(400, 425, modulated_hz=25),
    "busy, US": np.concatenate([sines(500, 480, 620), rest(500), sines(500, 480, 620)]),
    "dial tone": sines(2_500, 350, 440),
    "special information": np.concatenate([sines(330, hz) for hz in (950, 1_400, 1_800)]),
    "a short beep": sines(60, 1_000),
    "two beeps": np.concatenate([sines(100, 1_000), rest(100), sines(100, 1_000)]),
    "a beep of a recorder": sines(400, 1_400),
    "a key": sines(120, 770, 1_336),
    "a chime": sines(600, 880) * DECAY,
    "a bell": (sines(600, 880) + sines(600, 1_760) / 2) * DECAY,
    "rising notes": np.concatenate([sines(150, 880), sines(150, 1_108), sines(200, 1_318)]),
    "a fax": sines(3_000, 2_100),
}
FADING = ("a chime", "a bell")
VOICES = known.voices(RATE_HZ)


@pytest.mark.parametrize("pause_ms", [0, 300])
@pytest.mark.parametrize("name", TONES)
def test_a_tone_before_a_voice_is_no_sound(name: str, pause_ms: int) -> None:
    tone, voice = TONES[name], VOICES[0][:6_400]
    for ahead_ms in (0, 1_000) if pause_ms else ():
        detector = OnsetDetector(RATE_HZ)
        first, *_ = begins_ms(
            detector, joined(rest(ahead_ms), tone, rest(pause_ms), voice, rest(1_000))
        )
        assert first == pytest.approx(ahead_ms + len(tone) / 8 + pause_ms, abs=1)
        assert detector.tones or not ahead_ms
    detector = OnsetDetector(RATE_HZ)
    assert begins_ms(detector, joined(rest(500), tone, rest(1_000))) == []
    if name not in FADING:
        assert detector.tones[-1].end == pytest.approx(8 * 500 + len(tone), abs=8 * 6)


@example(lines=[425], level=0.25, begin=876, lost=623)
@given(
    lines=st.lists(st.integers(350, 2_000), min_size=1, max_size=2),
    level=st.sampled_from([0.01, 0.1, 0.25]),
    begin=st.integers(0, 2_400),
    lost=st.integers(1, 1_600),
)
def test_a_tone_of_which_a_part_is_lost_is_followed_to_its_end(
    lines: list[int], level: float, begin: int, lost: int
) -> None:
    tone = sines(900, *lines, level=level)
    detector = OnsetDetector(RATE_HZ)
    begins_ms(detector, joined(tone[:begin], rest(lost / 8), tone[begin:], rest(2_000)))
    voice = begins_ms(detector, joined(VOICES[0][:6_400], rest(1_000)))
    assert voice[0] == pytest.approx(0, abs=50)


@given(
    lines=st.lists(st.integers(350, 2_000), min_size=1, max_size=2),
    length_ms=st.integers(250, 900),
    ahead_ms=st.integers(300, 700),
    voice=st.sampled_from(VOICES),
)
def test_a_voice_directly_after_a_tone_begins_within_its_uncertainty(
    lines: list[int], length_ms: int, ahead_ms: int, voice: np.ndarray
) -> None:
    tone = sines(length_ms, *lines)
    found = begins_ms(
        OnsetDetector(RATE_HZ), joined(rest(ahead_ms), tone, voice[:4_000], rest(100))
    )
    if max(lines) < 600 or len(lines) == 1 or max(lines) - min(lines) < 300:
        assert abs(found[0] - ahead_ms - length_ms) <= VOICE_AT_TONE_ERROR_NS / MS + 5


@pytest.mark.parametrize("noise_ms", [150, 400, 1_200, 3_000])
def test_the_noise_of_a_line_after_a_tone_is_no_sound(noise_ms: int) -> None:
    rng = np.random.default_rng(1)
    for ahead_ms, level, voice in product((0, 300, 2_000), (0.001, 0.003), VOICES[:4]):
        answered = np.concatenate([rest(noise_ms), voice[:8_000]])
        line = rng.normal(0, level, len(answered))
        found = begins_ms(
            OnsetDetector(RATE_HZ),
            joined(rest(ahead_ms), sines(1_000, 440, 480), answered + line),
        )
        assert abs(found[0] - ahead_ms - 1_000 - noise_ms) <= 300


@pytest.mark.parametrize("format", [G711_ULAW, PCM16_16K])
def test_no_voice_is_taken_for_a_tone(format: AudioFormat) -> None:
    lag = format.rate_hz // RATE_HZ
    for voice in known.voices(format.rate_hz):
        samples = format.decode(
            format.encode(to_pcm16(np.concatenate([voice, np.zeros(4_000)]).astype(np.float32)))
        )
        detector = OnsetDetector(format.rate_hz)
        for start in range(0, len(samples), format.rate_hz):
            detector.add(samples[start : start + format.rate_hz])
        assert not detector.tones
        at_8k = samples[::lag]
        windows = (at_8k[start:][:1_200] for start in range(0, len(at_8k) - 1_200, 2_000))
        assert not any(is_pure(window) for window in windows)


@pytest.mark.parametrize("format", [G711_ULAW, PCM16_16K])
@pytest.mark.parametrize(("first_hz", "last_hz"), [(480, 720), (700, 420)])
def test_a_short_high_vowel_whose_pitch_changes_is_no_tone(
    format: AudioFormat, first_hz: int, last_hz: int
) -> None:
    """In 80 ms it may have a single spectral line, as the [i] of a child."""
    pitch_hz = np.interp(
        np.arange(1_760), [0, 640, 1_280, 1_760], [first_hz, first_hz, last_hz, last_hz]
    )
    vowel = 0.25 * np.sin(2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ)
    detector = OnsetDetector(RATE_HZ)
    samples = joined(rest(500), VOICES[0][:2_400], rest(250), vowel, rest(1_000), format=format)
    changes = detector.add(samples)

    assert not detector.tones
    assert len(samples) - changes[-1].back == pytest.approx(len(samples) - RATE_HZ, abs=8)


@given(
    pitch_hz=st.integers(95, 420),  # it falls to 77 Hz; a lower one may be a hum
    weights=st.lists(st.floats(0.3, 1), min_size=3, max_size=12),
    glide=st.floats(-0.3, 0.3),
    length_ms=st.integers(160, 600),
)
def test_a_buzz_with_a_pitch_is_no_tone(
    pitch_hz: int, weights: list[float], glide: float, length_ms: int
) -> None:
    """Such as a vowel, and a monotonous synthesized voice. A hum of the mains is no sound."""
    at_s = np.arange(RATE_HZ * length_ms // 1_000) / RATE_HZ
    phase = 2 * np.pi * pitch_hz * (at_s + glide * at_s**2 / 2)
    waves = [weight * np.sin(number * phase + number) for number, weight in enumerate(weights, 1)]
    buzz = np.mean(waves, axis=0)
    detector = OnsetDetector(RATE_HZ)
    begins = begins_ms(detector, joined(rest(500), 0.2 * buzz, rest(500)))
    may_be_hum = pitch_hz < 180  # from 160 Hz on a pitch is that of a voice
    assert begins[:1] == [pytest.approx(500, abs=2)] or (may_be_hum and begins == [])
    assert not detector.tones


def test_a_tone_directly_after_a_voice_does_not_lengthen_it() -> None:
    voice, detector = VOICES[0][:6_400], OnsetDetector(RATE_HZ)
    samples = joined(rest(500), voice, rest(60), sines(800, 1_400), rest(500))
    changes = [
        change for start in range(0, len(samples), 160) for change in ends(detector, samples, start)
    ]
    assert changes[-1] == pytest.approx(500 + len(voice) / 8, abs=10)
    assert len(detector.tones) == 1


def ends(detector: OnsetDetector, samples: Samples, start: int) -> list[float]:
    frame = samples[start : start + 160]
    return [
        (start + len(frame) - back) / 8 for what, back, _ in detector.add(frame) if what == "ends"
    ]


def test_a_phone_key_counts_as_sound_if_the_caller_may_press_keys() -> None:
    key = joined(rest(500), sines(200, 770, 1_336), rest(1_000))
    assert begins_ms(OnsetDetector(RATE_HZ, keys_count=True), key) == pytest.approx([500], abs=1)
    assert (
        begins_ms(
            OnsetDetector(RATE_HZ, keys_count=True), joined(rest(500), sines(400, 1_400), rest(900))
        )
        == []
    )


# Replies.


def replies(
    detector: ReplyDetector, samples: Samples, begin_ms: int = 0, format: AudioFormat = PCM16_8K
) -> list[tuple[EventKind, int]]:
    """Return the time in ms at which the first delta of each reply arrives, and at which each
    reply ends.
    """
    found, size = list[tuple[EventKind, int]](), RATE_HZ * FRAME_MS // 1_000
    for number in range(len(samples) // size):
        arrival = Arrival(AT_NS + (begin_ms + number * FRAME_MS) * MS)
        message = BinaryMessage(format.encode(samples[number * size :][:size]))
        events = detector.detect_replies(PCM.decode(message), arrival)
        found += [
            (event.kind, (came.at_ns - AT_NS) // MS)
            for event, came in detector.events_in(events, arrival)
            if event.response_id
        ]
    kinds = {EventKind.AUDIO_DELTA, EventKind.RESPONSE_DONE}
    detected = [each for each in found if each[0] in kinds]
    return [
        each
        for place, each in enumerate(detected)
        if place == 0 or each[0] is not detected[place - 1][0]
    ]


# a pause of 295 ms, before a sound of 51 ms
@example(tail_ms=861, wait_ms=350, lost_ms=0, early="announcement")
@given(
    tail_ms=st.integers(20, 1_000),
    wait_ms=st.integers(350, 2_500),
    lost_ms=st.sampled_from([0, 40, 80]),
    early=st.sampled_from(
        ["announcement", *(name for name in TONES if name.startswith("ring tone"))]
    ),
)
def test_a_sound_that_began_before_the_answer_is_no_greeting(
    tail_ms: int, wait_ms: int, lost_ms: int, early: str
) -> None:
    """The early audio lasts for 1.6 s. Then no packet comes for `lost_ms`."""
    sound = np.tile(TONES[early], 8) if early in TONES else VOICES[0]
    before, after = sound[: 8 * 1_600], sound[8 * 1_600 :][: 8 * tail_ms]
    detector = ReplyDetector(PCM16_8K, SILENCE_NS, pauses=True)
    detector.hear_early(PCM16_8K.encode(joined(before)), AT_NS)
    greeting = VOICES[1][:4_000]
    found = replies(detector, joined(after, rest(wait_ms), greeting), lost_ms)

    begin_ms = lost_ms + len(after) / 8 + wait_ms
    assert [kind for kind, _ in found][:1] == [EventKind.AUDIO_DELTA]
    assert begin_ms - FRAME_MS <= found[0][1] <= begin_ms + 10


@pytest.mark.parametrize("early_ms", [20, 200, 400])
def test_a_greeting_that_began_shortly_before_a_slow_answer_is_the_greeting(early_ms: int) -> None:
    detector = ReplyDetector(PCM16_8K, SILENCE_NS, pauses=True)
    detector.hear_early(PCM16_8K.encode(joined(rest(1_000), VOICES[0][: 8 * early_ms])), AT_NS)
    found = replies(detector, joined(VOICES[0][8 * early_ms :]))
    assert found[0][1] <= 40


@given(
    ms=st.integers(30, 200),
    tones_hz=st.lists(st.floats(20, 3_990), min_size=1, max_size=5),
    level=st.sampled_from((0.0, 0.001, 0.1, 0.9)),
    noise=st.sampled_from((0.0, 0.001, 0.01, 0.1)),
    seed=st.integers(0, 9),
)
def test_the_lines_of_a_tone_are_the_same_with_and_without_compiled_code(
    ms: int, tones_hz: list[float], level: float, noise: float, seed: int
) -> None:
    mixed = sines(ms, *tones_hz, level=level)
    noisy = mixed + np.random.default_rng(seed).normal(0, noise, len(mixed))
    samples = to_pcm16(noisy.astype(np.float32))

    with patch("bench.sound.tones._AUDIBLE", None):
        expected = tones.lines_hz(samples)

    assert tones.lines_hz(samples) == expected


@needs_compiler
def test_compiled_code_leaves_it_to_numpy_which_of_two_equally_strong_lines_is_the_first() -> None:
    """The spectrum of samples of which every second one is 0 is symmetrical: 1,000 and 3,000 Hz."""
    samples = np.tile(np.array([9_000, 0, 0, 0, -9_000, 0, 0, 0], np.int16), 80)
    window, bins = tones._window(len(samples)), tones._bins(len(samples))

    assert tones._AUDIBLE.certain_lines(samples, window, *bins, 3, 1 / 80) is None
    assert sorted(tones.lines_hz(samples)) == [1_000, 3_000]
