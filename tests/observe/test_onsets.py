"""The beginning and the end of sounds in a stream that never stops. tests/observe/test_tones.py
is about tones.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Sequence
from importlib.util import find_spec, module_from_spec
from itertools import chain, pairwise
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.plan.recordings import to_pcm16
from bench.sound import _blocks_interpreted as interpreted
from bench.sound.blocks import Blocks
from bench.sound.onset_bounds import RETAINED
from bench.sound.onsets import OnsetDetector, SoundChange
from bench.wire.audio import (
    G711_ALAW,
    G711_ULAW,
    PCM16,
    PCM16_8K,
    PCM16_16K,
    PCM16_48K,
    AudioFormat,
    Samples,
)
from tests.examples import some
from tools.benchmarks import onsets as known

RATES = (8_000, 16_000, 24_000, 48_000)
STREAMS = st.builds(
    lambda seed, levels: np.concatenate(
        [
            (
                (
                    level * np.sin(2 * np.pi * hz * np.arange(length) / 8_000)
                    if hz
                    else np.random.default_rng(seed).normal(0, level, length)
                )
                + offset * np.exp(-np.arange(length) / 1_000)
            ).astype(np.int16)
            for level, length, offset, hz in levels
        ]
    ),
    st.integers(0, 999),
    st.lists(
        st.tuples(
            st.sampled_from([0, 3, 60, 900, 5_000]),
            st.integers(1, 4_000),
            st.sampled_from([0, 0, 0, 400, -8_000]),
            st.sampled_from([0, 0, 220, 697, 1_400]),
        ),
        min_size=1,
        max_size=8,
    ),
)
"""Streams of samples at 8 kHz. Each stream consists of segments of noise or of a tone, with
different levels, and with an offset that decays.
"""


def marks(samples: Samples, rate_hz: int = 8_000) -> list[tuple[str, int]]:
    """Return the sample numbers at which sounds begin and end."""
    return [
        (mark.what, len(samples) - mark.back)
        for mark in OnsetDetector(rate_hz).add(samples)
        if mark.what != "sounds"
    ]


def weak_consonant(seed: int, noise: int, hz: int, level: float) -> Samples:
    """Return silence, a quiet noise of `noise` samples at 8 kHz, a voiced sound of 0.5 s, and
    silence.

    Whether this sound counts as voiced after 80 ms depends on each sample that is examined.
    """
    quiet = np.random.default_rng(seed).normal(0, 150, noise)
    voiced = level * np.sin(2 * np.pi * hz * np.arange(4_000) / 8_000)
    return np.concatenate([np.zeros(4_000), quiet, voiced, np.zeros(2_400)]).astype(np.int16)


WEAK_CONSONANTS = st.builds(
    weak_consonant,
    st.integers(0, 999),
    st.integers(150, 400),
    st.integers(80, 400),
    st.floats(90, 180),
)


Known = tuple[SoundChange, int]
"""A change, whose position is from the start of the stream, and the part that makes it known."""


def known_changes(ear: OnsetDetector, samples: Samples, ends: Sequence[int]) -> list[Known]:
    """Return the changes in a stream that is divided into parts with these ends. Only the last of
    several `sounds` in sequence is returned, which makes nothing known.
    """
    found = list[Known]()
    for part, (begin, end) in enumerate(pairwise([0, *ends])):
        for change in ear.add(samples[begin:end]):
            if found and found[-1][0].what == change.what == "sounds":
                found.pop()
            is_known = 0 if change.what == "sounds" else part
            found.append((change._replace(back=end - change.back), is_known))
    return found


@given(
    stream=WEAK_CONSONANTS | STREAMS,
    shares=st.lists(st.floats(0, 1), max_size=40),
    after_silence=st.booleans(),
    is_compiled=st.booleans(),
)
@example(
    stream=weak_consonant(387, 357, 349, 149), shares=[0.45], after_silence=False, is_compiled=True
)
@example(
    stream=weak_consonant(387, 357, 349, 149), shares=[0.45], after_silence=False, is_compiled=False
)
def test_any_division_of_a_stream_gives_the_same_changes_with_the_same_samples(
    stream: Samples, shares: list[float], after_silence: bool, is_compiled: bool
) -> None:
    """The reference are parts of one block, so that no detector can read later samples. Each change
    becomes known with the part that contains this block.
    """
    detector = OnsetDetector if is_compiled else without_compiler()
    blocks = [*range(40, len(stream), 40), len(stream)]
    ends = [*sorted(int(share * len(stream)) for share in shares), len(stream)]
    ears = [detector(8_000, after_silence=after_silence) for _ in range(2)]
    single, divided = (
        known_changes(ear, stream, parts) for ear, parts in zip(ears, (blocks, ends), strict=True)
    )

    assert divided == [
        (change, 0 if change.what == "sounds" else bisect_left(ends, blocks[block]))
        for change, block in single
    ]
    assert ears[0].tones == ears[1].tones
    assert ears[0].fading_ns == ears[1].fading_ns
    assert ears[0].rest() == ears[1].rest()


@example(shares=[0.88], faint_s=0.3, burst=310, noise=0, is_compiled=False)
@given(
    shares=st.lists(st.floats(0, 1), max_size=40).map(sorted),
    faint_s=st.floats(0, 0.5),
    burst=st.integers(0, 500),
    noise=st.sampled_from([0, 60, 200]),
    is_compiled=st.booleans(),
)
def test_any_chunks_give_the_same_uncertainty_of_an_end_after_which_nothing_is_sent(
    shares: list[float], faint_s: float, burst: int, noise: int, is_compiled: bool
) -> None:
    """It is read when the sound continues, as `ReplyDetector` does, and the last one counts. A loud
    burst at the end may fill a part of a group.
    """
    stream = np.random.default_rng(5).normal(0, noise, 14_000)
    stream[2_310:12_310] += 3_000.0 * (-1) ** np.arange(10_000)
    faint = int(8_000 * faint_s)
    stream[12_310 - burst - faint : 12_310 - burst] *= np.linspace(0.5, 0.05, faint)
    samples = stream.astype(np.int16)
    found = list[int]()
    for cuts in ([], [int(share * len(samples)) for share in shares]):
        ear = (OnsetDetector if is_compiled else without_compiler())(8_000)
        ends = [
            ear.fading_ns
            for begin, end in pairwise([0, *cuts, len(samples)])
            if any(change.what == "sounds" for change in ear.add(samples[begin:end]))
        ]
        found.append(ends[-1])

    assert found[0] == found[1]


@given(stream=STREAMS)
def test_begins_and_ends_alternate_in_the_order_of_the_stream(stream: Samples) -> None:
    found = marks(np.concatenate([stream, np.zeros(8_000, np.int16)]))

    assert [what for what, _ in found] == ["begins", "ends"] * (len(found) // 2)
    places = [sample for _, sample in found]
    assert places == sorted(places)
    # that an offset has ended is known after two blocks
    assert all(0 <= sample <= len(stream) + 80 for sample in places)


@pytest.mark.parametrize("rate_hz", RATES)
def test_in_silence_begins_and_ends_are_exact_to_the_sample(rate_hz: int) -> None:
    begin, length = rate_hz + 17, rate_hz // 2 + 3
    stream = np.zeros(3 * rate_hz, np.int16)
    stream[begin : begin + length] = 3_000 * (-1) ** np.arange(length)

    assert marks(stream, rate_hz=rate_hz) == [("begins", begin), ("ends", begin + length)]


def test_a_click_is_no_sound_and_does_not_hide_the_next_one() -> None:
    stream = np.zeros(24_000, np.int16)
    stream[8_000:8_160] = 9_000
    stream[9_000:16_000] = 3_000 * (-1) ** np.arange(7_000)

    assert marks(stream) == [("begins", 9_000), ("ends", 16_000)]


def without_compiler() -> type[OnsetDetector]:
    """Return the detector that uses no compiled module."""
    found = {"bench.sound._blocks": None}
    with patch.dict(sys.modules, found):
        for name in ("bench.sound.blocks", "bench.sound.onset_bounds", "bench.sound.onsets"):
            spec = find_spec(name)
            assert spec is not None
            assert spec.loader is not None
            sys.modules[name] = module = module_from_spec(spec)
            spec.loader.exec_module(module)
        return module.OnsetDetector  # type: ignore[no-any-return]


def tones_and_sounds() -> Samples:
    """Return tones of different lengths, each with a sound after it."""
    at_s = np.arange(4_000) / 8_000
    tone, sound = (3_000 * np.sin(2 * np.pi * hz * at_s) for hz in (1_400, 220))
    parts = [[tone[: 2_400 + 40 * length], sound[:2_000], np.zeros(3_000)] for length in range(10)]
    return np.concatenate([np.zeros(4_000), *chain(*parts)]).astype(np.int16)


@example(stream=tones_and_sounds(), rate_hz=8_000, shares=[], keys_count=False, drops=False)
@given(
    stream=STREAMS,
    rate_hz=st.sampled_from(RATES),
    shares=st.lists(st.floats(0, 1), max_size=20),
    keys_count=st.booleans(),
    drops=st.booleans(),
)
def test_the_detectors_in_c_and_in_python_report_the_same_changes(
    stream: Samples, rate_hz: int, shares: list[float], keys_count: bool, drops: bool
) -> None:
    ears = [each(rate_hz, keys_count=keys_count) for each in (OnsetDetector, without_compiler())]
    cuts = sorted(int(share * len(stream)) for share in shares)

    for number, (begin, end) in enumerate(pairwise([0, *cuts, len(stream)])):
        compiled, interpreted = (
            [*ear.add(stream[begin:end], sent=number % 4 != 3)] for ear in ears
        )
        assert compiled == interpreted
        assert ears[0].pending == ears[1].pending
        assert ears[0].rest() == ears[1].rest()
        assert ears[0].tones == ears[1].tones
        if drops and number % 3 == 2:
            for ear in ears:
                ear.drop()


@given(
    stream=STREAMS,
    cuts=st.lists(st.integers(0, 12_000), max_size=6).map(sorted),
    after_silence=st.booleans(),
)
def test_the_search_for_a_start_finds_the_first_one_of_the_changes(
    stream: Samples, cuts: list[int], after_silence: bool
) -> None:
    whole, search = (OnsetDetector(8_000, after_silence=after_silence) for _ in range(2))
    parts = [cut for cut in cuts if cut < len(stream)]

    for begin, end in pairwise([0, *parts, len(stream)]):
        changes = whole.add(stream[begin:end])
        begins = next((change for change in changes if change.what == "begins"), None)
        assert search.start_in(stream[begin:end]) == begins
        if begins is not None:
            break


@given(
    stream=STREAMS,
    sizes=st.tuples(*[st.integers(1, 9_000)] * 2),
    back=st.integers(-5, 180),
    count=st.integers(0, 200),
)
def test_both_detectors_store_the_same_blocks_and_samples_of_any_division(
    stream: Samples, sizes: tuple[int, int], back: int, count: int
) -> None:
    """They store the last blocks only, however much they have received."""
    ears = [each(8_000) for each in (OnsetDetector, without_compiler())]
    for ear, size in zip(ears, sizes, strict=True):
        for begin in range(0, len(stream), size):
            ear.add(stream[begin : begin + size])
    block = ears[0]._number - back
    stored = [[*ear._samples(block, count)] for ear in ears]

    assert ears[0]._levels(block, block + count) == ears[1]._levels(block, block + count)
    assert ears[0]._at(block) == ears[1]._at(block)
    assert stored[0] == stored[1]


VOICES = st.builds(
    lambda seed, hz, level, noise, ramp_s: to_pcm16(
        (level * np.sign(np.sin(2 * np.pi * hz * known.times_s(8_000, 7_200)) + 0.3))
        * np.clip(known.times_s(8_000, 7_200) / ramp_s, 0, 1)
        + np.random.default_rng(seed).normal(0, noise, 7_200)
    ),
    st.integers(0, 999),
    st.floats(50, 500),
    st.sampled_from([0.0003, 0.01, 0.3]),
    st.sampled_from([0, 0.0003, 0.01, 0.1]),
    st.floats(0.001, 0.9),
)
"""Streams at 8 kHz with a periodic sound that fades in, and noise."""


@given(
    stream=VOICES,
    rate_hz=st.sampled_from(RATES),
    back=st.integers(0, 16),
    count=st.integers(1, RETAINED - 16),
)
def test_both_detectors_measure_the_same_attack_and_pitch(
    stream: Samples, rate_hz: int, back: int, count: int
) -> None:
    ears = [each(rate_hz) for each in (OnsetDetector, without_compiler())]
    stream = stream.repeat(rate_hz // 8_000)
    for begin in range(0, len(stream), rate_hz // 50):
        for ear in ears:
            ear.add(stream[begin : begin + rate_hz // 50])
    compiled, interpreted = ears
    after = compiled._number - back
    first = after - count
    loudest = compiled._loudest_group(first, after)

    assert loudest == interpreted._loudest_group(first, after)
    assert compiled._are_voiced(first) == interpreted._are_voiced(first)
    assert compiled._are_clearly_voiced(first, count) == interpreted._are_clearly_voiced(
        first, count
    )
    assert compiled._uncertainty_ns == interpreted._uncertainty_ns
    for ear in ears:
        ear._begin_attack(first)
    assert compiled._follow_attack() == interpreted._follow_attack()
    assert compiled._rises == interpreted._rises
    assert compiled._unheard == interpreted._unheard


@pytest.mark.parametrize("blocks", [Blocks, interpreted.Blocks])
def test_the_loudest_samples_cause_no_overflow(blocks: type[interpreted.Blocks]) -> None:
    stream = blocks(48_000, 10, 10, 40)
    stream._receive(np.array([-32_768] * 6 + [32_767] * 6, np.int16).repeat(20))

    energy, _, first, last, _ = stream._take()
    assert (7 * 32_766) ** 2 // 16 // 21 <= energy <= (7 * 32_768) ** 2 // 16
    assert (first, last) == (0, 240)


@pytest.mark.parametrize(
    ("behind", "seed"),
    [*((behind, 7) for behind in some(known.BEHIND, 7)), (("music", 20), 1_004)],
    ids=lambda value: str(value) if isinstance(value, int) else f"{value[0]} {value[1]}",
)
def test_the_error_of_a_begin_is_at_most_its_uncertainty(
    behind: tuple[str, float], seed: int
) -> None:
    """With seed 1,004, the detector takes a chord of music, 28 ms before a voice, for the
    beginning of the voice.
    """
    if behind[0] == "other voices":
        pytest.skip("voices behind the voice are sound like any other")
    errors = known.errors(*behind, PCM16_8K, seed)

    assert not errors.missed
    assert all(
        off <= bound + 1e-6 for off, bound in zip(errors.begins_ms, errors.bounds_ms, strict=True)
    )


FORMATS = (G711_ULAW, G711_ALAW, PCM16_8K, PCM16_16K, PCM16, PCM16_48K)
HUMS_HZ = {"220 Hz": (220,), "a chord": (220, 277, 330)}
"""Sines that are too low for telephone tones, and too high for the hum of the mains."""
QUIET_MS = 1_500
"""The length of silence after a sound that the detector needs to detect the end of the sound."""


def tone(format: AudioFormat, length_ms: float, *tones_hz: float, level: float = 0.1) -> np.ndarray:
    at_s = np.arange(round(format.rate_hz * length_ms / 1_000)) / format.rate_hz
    return (
        level
        / len(tones_hz)
        * sum((np.sin(2 * np.pi * hz * at_s) for hz in tones_hz), np.zeros(len(at_s)))
    )


def silence(format: AudioFormat, length_ms: float) -> np.ndarray:
    return np.zeros(round(format.rate_hz * length_ms / 1_000))


def coded(format: AudioFormat, *parts: np.ndarray) -> Samples:
    """Join the parts. Return the samples that result when they are encoded in this format and
    decoded again.
    """
    return format.decode(format.encode(to_pcm16(np.concatenate(parts).astype(np.float32))))


def edges_ms(format: AudioFormat, *parts: np.ndarray) -> list[tuple[str, int]]:
    """Return the times in whole ms at which sounds of a stream begin and end."""
    found = marks(coded(format, *parts), rate_hz=format.rate_hz)
    return [(what, round(sample * 1_000 / format.rate_hz)) for what, sample in found]


def behind(
    name: str, level_db: float, format: AudioFormat, seed: int, length_ms: int
) -> np.ndarray:
    """Return background noise of the type `name`. It begins at a random position of a longer
    noise.
    """
    rng, count = np.random.default_rng(seed), format.rate_hz * length_ms // 1_000
    level = float(np.mean([known.rms(each) for each in known.voices(format.rate_hz)]))
    begin = int(rng.integers(count))
    return known.noise(name, level_db, 2 * count, format.rate_hz, level, rng)[begin : begin + count]


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
@pytest.mark.parametrize("name", HUMS_HZ)
def test_a_hum_at_the_start_of_a_stream_is_a_sound_from_its_first_sample_to_its_end(
    name: str, format: AudioFormat
) -> None:
    sustained = tone(format, 8_000, *HUMS_HZ[name])

    assert edges_ms(format, sustained, silence(format, QUIET_MS)) == [
        ("begins", 0),
        ("ends", 8_000),
    ]


@pytest.mark.parametrize(
    ("kind", "length_ms"),
    [
        *(("hum", length_ms) for length_ms in range(45, 800, 35)),
        *(("noise", ms) for ms in range(45, 550, 35)),
    ],
)
def test_a_sound_at_the_start_of_a_stream_is_detected_if_it_stops(
    kind: str, length_ms: int
) -> None:
    """The noises are short. A longer noise could be the background of a voice that never spoke."""
    noise = np.random.default_rng(1).normal(0, 0.05, PCM16_8K.rate_hz * length_ms // 1_000)
    sound = tone(PCM16_8K, length_ms, 220) if kind == "hum" else noise
    (_, begin), (_, end) = edges_ms(PCM16_8K, sound, silence(PCM16_8K, QUIET_MS))

    assert (begin, abs(end - length_ms) <= 1) == (0, True)


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
@pytest.mark.parametrize("ahead_ms", [0, 1_000])
@pytest.mark.parametrize("pause_ms", [300, 1_000])
def test_a_voice_after_a_long_hum_is_detected(
    pause_ms: int, ahead_ms: int, format: AudioFormat
) -> None:
    voice = known.voices(format.rate_hz)[3]
    quiet = [silence(format, ms) for ms in (ahead_ms, pause_ms, QUIET_MS)]
    found = edges_ms(format, quiet[0], tone(format, 6_000, 220), quiet[1], voice, quiet[2])

    end_ms = ahead_ms + 6_000
    assert found[:3] == [("begins", ahead_ms), ("ends", end_ms), ("begins", end_ms + pause_ms)]
