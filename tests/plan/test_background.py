"""Noise behind speech: how loud it is, and that it goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.plan.recordings import Background, Pcm, Speech, load_pcm, mixed, noise_alone

AUDIO = Path(__file__).parents[2] / "scenarios" / "audio"


def build_pcm(samples: NDArray[np.float64], speech: Speech | None = None) -> Pcm:
    data = np.rint(samples).astype("<i2").tobytes()
    return Pcm(Path("a.wav"), "", data, speech or Speech(0, len(samples)))


def heard(data: bytes) -> NDArray[np.float64]:
    return np.frombuffer(data, "<i2").astype(np.float64)


def rms(samples: NDArray[np.float64]) -> float:
    return float(np.sqrt((samples**2).mean()))


def noise(samples: int = 5_000) -> Pcm:
    return build_pcm(np.random.default_rng(1).normal(0, 2_000, samples))


WORDS = build_pcm(np.repeat([0.0, 8_000.0, 0.0], [2_400, 9_600, 7_200]), Speech(2_400, 12_000))


@given(snr_db=st.floats(3, 40))
def test_speech_stands_so_many_db_above_its_noise(snr_db: float) -> None:
    added = heard(mixed(WORDS, Background(noise(), snr_db)).data) - heard(WORDS.data)
    whole_loops = added[: len(added) // 5_000 * 5_000]

    assert 20 * np.log10(8_000 / rms(whole_loops)) == pytest.approx(snr_db, abs=0.2)


def test_noise_is_behind_all_of_the_audio_and_moves_no_edge() -> None:
    noisy = mixed(WORDS, Background(noise(), 20))

    assert noisy.samples == WORDS.samples
    assert (noisy.speech, noisy.path, noisy.digest) == (WORDS.speech, WORDS.path, WORDS.digest)
    assert rms(heard(noisy.data)[:2_400]) > 500
    assert rms(heard(noisy.data)[12_000:]) > 500


@given(noise_samples=st.integers(1_000, 30_000), seconds=st.floats(0.001, 2))
def test_noise_goes_on_where_it_stopped_at_the_same_level(noise_samples: int, seconds: float) -> None:
    background = Background(noise(noise_samples), 12)
    silent_tail = build_pcm(np.concatenate([heard(WORDS.data), np.zeros(round(seconds * 24_000))]), speech=WORDS.speech)
    longer = mixed(silent_tail, background).data

    assert mixed(WORDS, background).data + noise_alone(WORDS, background, seconds) == longer


def test_what_exceeds_full_scale_is_clipped() -> None:
    loud = build_pcm(np.full(5_000, 32_767.0))
    samples = heard(mixed(loud, Background(noise(), 0)).data)

    assert (samples[heard(noise().data) > 0] == 32_767).all()
    assert samples.min() == -32_768


def test_the_noise_that_comes_with_the_tool_can_be_put_behind_a_voice() -> None:
    words, room = load_pcm(AUDIO / "late_parcel.wav"), load_pcm(AUDIO / "room.wav")
    rest = heard(noise_alone(words, Background(room, 20), 4.0))

    assert 20 * np.log10(rms(heard(words.data)) / rms(rest)) == pytest.approx(20, abs=0.2)
