"""Where sound begins and ends in a stream that never stops."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics import AUDIBLE
from bench.observe.onsets import Onsets, SoundMark
from bench.protocol.audio import PCM16_8K, Samples, counted_blocks, measured_blocks
from benchmarks import onsets as known

RATES = (8_000, 16_000, 24_000, 48_000)
STREAMS = st.builds(
    lambda seed, levels: np.concatenate(
        [np.random.default_rng(seed).normal(0, level, length).astype(np.int16) for level, length in levels]
    ),
    st.integers(0, 999),
    st.lists(st.tuples(st.sampled_from([0, 3, 60, 900, 6_000]), st.integers(1, 4_000)), min_size=1, max_size=8),
)
"""Samples at 8 kHz in stretches of several levels."""


def marks(samples: Samples, cuts: Sequence[int] = (), rate_hz: int = 8_000) -> list[tuple[str, int]]:
    """The begins and ends, as samples of the stream, which is heard in pieces."""
    ear, found = Onsets(rate_hz), list[tuple[str, int]]()
    for begin, end in pairwise([0, *sorted(cuts), len(samples)]):
        found += [(mark.what, end - mark.back) for mark in ear.hear(samples[begin:end]) if mark.what != "sounds"]
    return found


@given(stream=STREAMS, shares=st.lists(st.floats(0, 1), max_size=40))
def test_how_a_stream_is_cut_changes_nothing(stream: Samples, shares: list[float]) -> None:
    assert marks(stream, [int(share * len(stream)) for share in shares]) == marks(stream)


@given(stream=STREAMS)
def test_begins_and_ends_take_turns_in_the_order_of_the_stream(stream: Samples) -> None:
    found = marks(np.concatenate([stream, np.zeros(8_000, np.int16)]))

    assert [what for what, _ in found] == ["begins", "ends"] * (len(found) // 2)
    places = [sample for _, sample in found]
    assert places == sorted(places)
    assert all(0 <= sample <= len(stream) for sample in places)


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("level", [0, 1, AUDIBLE - 1, -AUDIBLE + 1])
def test_silence_holds_no_sound(level: int, rate_hz: int) -> None:
    assert marks(np.full(3 * rate_hz, level, np.int16), rate_hz=rate_hz) == []


@pytest.mark.parametrize("rate_hz", RATES)
def test_in_silence_begin_and_end_are_exact_to_the_sample(rate_hz: int) -> None:
    begin, length = rate_hz + 17, rate_hz // 2 + 3
    stream = np.zeros(3 * rate_hz, np.int16)
    stream[begin : begin + length] = 3_000 * (-1) ** np.arange(length)

    assert marks(stream, rate_hz=rate_hz) == [("begins", begin), ("ends", begin + length)]


def test_noise_that_was_there_from_the_begin_is_no_sound() -> None:
    noise = np.random.default_rng(1).normal(0, 800, 80_000).astype(np.int16)

    assert marks(noise) == []


def test_a_click_is_no_sound_and_hides_none() -> None:
    stream = np.zeros(24_000, np.int16)
    stream[8_000:8_160] = 9_000
    stream[9_000:16_000] = 3_000 * (-1) ** np.arange(7_000)

    assert marks(stream) == [("begins", 9_000), ("ends", 16_000)]


def test_noise_that_begins_amid_silence_is_a_sound_and_then_what_lies_behind_one() -> None:
    noise = np.random.default_rng(1).normal(0, 800, 80_000).astype(np.int16)
    found = marks(np.concatenate([np.zeros(8_000, np.int16), noise]))

    assert [what for what, _ in found] == ["begins", "ends"]
    assert found[1][1] < 8_000 + 4 * 8_000


@given(stream=STREAMS, lag=st.integers(1, 6), size=st.sampled_from([40, 80, 120]))
def test_blocks_are_measured_in_c_as_in_python(stream: Samples, lag: int, size: int) -> None:
    wide = stream[: lag + (len(stream) - lag) // size * size] if len(stream) > lag else np.zeros(lag, np.int16)

    assert list(measured_blocks(wide, lag, size)) == list(counted_blocks(wide, lag, size))


def test_the_loudest_samples_overflow_nothing() -> None:
    wide = np.array([-32_768, 32_767] * 60, np.int16)

    ((energy, first, last),) = blocks = counted_blocks(np.concatenate([wide[1:2], wide]), 1, 120)
    assert list(measured_blocks(np.concatenate([wide[1:2], wide]), 1, 120)) == list(blocks)
    assert (7 * 32_766) ** 2 // 16 <= energy <= (7 * 32_768) ** 2 // 16
    assert (first, last) == (0, 120)


@pytest.mark.parametrize(
    ("behind", "seed"),
    [*((behind, 7) for behind in known.BEHIND), (("music", 20), 1_004)],
    ids=lambda value: str(value) if isinstance(value, int) else f"{value[0]} {value[1]}",
)
def test_a_begin_is_off_by_no_more_than_its_bound(behind: tuple[str, float], seed: int) -> None:
    """A chord of music that is struck 28 ms before a voice is taken for its begin."""
    if behind[0] == "other voices":
        pytest.skip("voices behind the voice are sound like any other")
    errors = known.errors(*behind, PCM16_8K, seed)

    assert not errors.missed
    assert all(off <= bound + 1e-6 for off, bound in zip(errors.begins_ms, errors.bounds_ms, strict=True))


@pytest.mark.parametrize("behind", [("white noise", 20), ("a room", 20)], ids=lambda behind: f"{behind[0]} {behind[1]}")
@pytest.mark.parametrize("ahead_ms", [0, 40, 160])
def test_a_voice_that_begins_nearly_with_the_stream_may_have_begun_with_it(
    behind: tuple[str, float], ahead_ms: int
) -> None:
    for place in range(len(known.voices(PCM16_8K.rate_hz))):
        off_ms, bound_ms = known.error_of_first(*behind, PCM16_8K, place, ahead_ms)

        assert off_ms <= bound_ms


def test_a_frame_without_a_whole_block_tells_nothing() -> None:
    assert Onsets(8_000).hear(np.full(39, 9_000, np.int16)) == list[SoundMark]()
