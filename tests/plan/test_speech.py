"""Where speech begins and ends, whatever stands around it, and where what is said after its last pause begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.plan.recordings import RATE_HZ, Speech, find_speech, last_stretch, load_pcm

Samples = NDArray[np.int16]
AUDIO = Path(__file__).parents[2] / "scenarios" / "audio"
WORDS = sorted(path for path in AUDIO.glob("*.wav") if path.stem not in ("room", "uh_huh"))  # noise, and a murmur
MS = RATE_HZ // 1_000


def heard(path: Path) -> Samples:
    return np.frombuffer(load_pcm(path).data, "<i2")


def quiet(ms: float, noise_dbfs: float | None = None) -> Samples:
    count = round(ms * MS)
    if noise_dbfs is None:
        return np.zeros(count, np.int16)
    noise = np.random.default_rng(1).normal(0, 32_768 * 10 ** (noise_dbfs / 20), count)
    return np.rint(noise).astype(np.int16)


def tone(ms: float, amplitude: float = 0.3) -> Samples:
    """Begins and ends with a sample that is loud."""
    wave = amplitude * np.cos(2 * np.pi * 440 * np.arange(round(ms * MS)) / RATE_HZ)
    wave[-1] = amplitude
    return np.rint(wave * 32_767).astype(np.int16)


def joined(*parts: Samples) -> Samples:
    return np.concatenate(parts)


@given(before=st.integers(24, 20_000), samples=st.integers(2_000, 20_000), after=st.integers(24, 20_000))
def test_a_tone_in_silence_is_found_to_the_sample(before: int, samples: int, after: int) -> None:
    recording = joined(quiet(before / MS), tone(samples / MS), quiet(after / MS))

    assert find_speech(recording, RATE_HZ) == Speech(before, before + samples)


MURMUR = joined(tone(100, 0.9), tone(1_500, 0.9 * 0.03), tone(150, 0.9 * 0.01))
"""−30 and −40 dB."""
CLICK = np.full(5, 32_767, np.int16)
CALL = joined(quiet(100), tone(300), quiet(100))
FOUND: dict[str, tuple[Samples, float, float]] = {
    # (a recording, from where to where its speech is, in ms)
    "a tone throughout": (tone(500), 0, 500),
    "a loud level throughout": (np.full(9_001, -32_768, np.int16), 0, 9_001 / MS),
    "noise throughout": (quiet(200, -20), 0, 200),
    "a silent recording is taken as a whole": (quiet(200), 0, 200),
    "a pause is part of speech": (joined(quiet(100), tone(300), quiet(2_000), tone(300), quiet(100)), 100, 2_700),
    "a click of 5 samples far from speech is none":
        (joined(quiet(50), CLICK, quiet(400), CALL, quiet(400), CLICK, quiet(50)), 550 + 5 / MS, 850 + 5 / MS),
    "nor is one of 38 ms":
        (joined(quiet(50), tone(38), quiet(400), CALL, quiet(400), tone(38), quiet(50)), 588, 888),
    "a short word far from others is speech":
        (joined(quiet(50), tone(50), quiet(400), tone(300), quiet(50)), 50, 800),
    "the level of speech is that of its loudest part": (joined(quiet(100), MURMUR, quiet(100)), 100, 1_700),
    "a short sound beside speech is part of it":
        (joined(quiet(100), tone(300), quiet(200), tone(10), quiet(100)), 100, 610),
    "where there are only clicks they are the speech":
        (joined(quiet(100), tone(10), quiet(1_000), tone(10), quiet(100)), 100, 1_120),
}  # fmt: skip


@pytest.mark.parametrize(("recording", "begin_ms", "end_ms"), FOUND.values(), ids=FOUND)
def test_speech_is_found(recording: Samples, begin_ms: float, end_ms: float) -> None:
    assert find_speech(recording, RATE_HZ) == Speech(round(begin_ms * MS), round(end_ms * MS))


@pytest.mark.parametrize("noise_dbfs", [None, -70])
@pytest.mark.parametrize("path", WORDS, ids=lambda path: path.stem)
def test_silence_around_a_recording_moves_no_edge(path: Path, noise_dbfs: float | None) -> None:
    words = heard(path)
    alone = find_speech(words, RATE_HZ)
    for before_ms, after_ms in [(0, 300), (300, 0), (7.3, 5_000), (5_000, 7.3)]:
        before = quiet(before_ms, noise_dbfs)
        found = find_speech(joined(before, words, quiet(after_ms, noise_dbfs)), RATE_HZ)

        assert abs(found.begin - len(before) - alone.begin) <= MS
        assert abs(found.end - len(before) - alone.end) <= MS


@given(scale=st.floats(0.02, 1))
def test_speech_is_where_it_is_however_loud_it_is(scale: float) -> None:
    words = joined(quiet(100), tone(400, 0.9), tone(150, 0.9 * 0.03), tone(150, 0.9 * 0.01), quiet(100))

    assert find_speech(np.rint(words * scale).astype(np.int16), RATE_HZ) == Speech(100 * MS, 650 * MS)  # 0.03: −30 dB


# What is said after the last pause.


def last_of(recording: Samples) -> Speech:
    return last_stretch(recording, find_speech(recording, RATE_HZ), RATE_HZ)


@given(
    pauses_ms=st.lists(st.integers(140, 1_500), min_size=1, max_size=3),
    last_ms=st.integers(60, 900),
    around_ms=st.integers(0, 600),
    noise_dbfs=st.sampled_from([None, -60.0]),
)
def test_the_last_stretch_begins_behind_the_last_pause(
    pauses_ms: list[int], last_ms: int, around_ms: int, noise_dbfs: float | None
) -> None:
    words = [part for pause_ms in pauses_ms for part in (tone(300), quiet(pause_ms, noise_dbfs))]
    recording = joined(quiet(around_ms), *words, tone(last_ms), quiet(around_ms))
    last = last_of(recording)

    end = len(recording) - around_ms * MS
    assert last.end == find_speech(recording, RATE_HZ).end
    assert abs(last.end - end) <= MS
    assert 0 <= end - last_ms * MS - last.begin <= 20 * MS  # the window that holds its first sample


@pytest.mark.parametrize("gap_ms", [0, 40, 90])
def test_a_gap_that_no_vad_takes_for_an_end_is_no_pause(gap_ms: int) -> None:
    recording = joined(quiet(50), tone(300), quiet(gap_ms), tone(200), quiet(50))

    assert last_of(recording) == find_speech(recording, RATE_HZ)


@pytest.mark.parametrize(("murmur", "begin_ms"), [(0.05, 700), (0.2, 100)], ids=["26 dB under it", "14 dB under it"])
def test_what_is_far_below_the_level_of_speech_is_a_pause(murmur: float, begin_ms: int) -> None:
    recording = joined(quiet(100), tone(300, 0.9), tone(300, 0.9 * murmur), tone(200, 0.9), quiet(100))
    last = last_of(recording)

    assert abs(last.begin - begin_ms * MS) <= 20 * MS
    assert last.end == 900 * MS


@given(samples=st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=3_000))
def test_the_last_stretch_lies_at_the_end_of_the_speech(samples: list[int]) -> None:
    recording = np.array(samples, np.int16)
    speech = find_speech(recording, RATE_HZ)
    last = last_stretch(recording, speech, RATE_HZ)

    assert speech.begin <= last.begin < last.end == speech.end


@given(samples=st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=3_000))
def test_the_edges_lie_within_the_recording(samples: list[int]) -> None:
    found = find_speech(np.array(samples, np.int16), RATE_HZ)

    assert 0 <= found.begin < found.end <= len(samples)


@pytest.mark.parametrize("path", WORDS, ids=lambda path: path.stem)
def test_the_recordings_that_come_with_the_tool_are_speech_to_their_ends(path: Path) -> None:
    words = heard(path)

    assert find_speech(words, RATE_HZ) == Speech(0, len(words))


@pytest.mark.parametrize("path", WORDS, ids=lambda path: path.stem)
def test_no_pause_in_them_is_one_that_a_vad_of_500_ms_would_take_for_the_end(path: Path) -> None:
    words = heard(path)
    frames = words[: len(words) // (10 * MS) * 10 * MS].reshape(-1, 10 * MS).astype(np.float64)
    level_dbfs = 10 * np.log10((frames**2).mean(axis=1) / 32_768**2 + 1e-12)
    sounding = np.flatnonzero(level_dbfs > -42)

    assert 10 * (np.diff(sounding).max() - 1) < 400
