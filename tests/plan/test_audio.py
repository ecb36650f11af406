"""`load_pcm` and `chunks`: what is heard of a file, and which files are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.plan.audio import RATE_HZ, Pcm, chunks, load_pcm, to_pcm16


def tone(seconds: float = 0.5, rate_hz: int = RATE_HZ, amplitude: float = 0.5) -> NDArray[np.float64]:
    return amplitude * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate_hz)) / rate_hz)


def written(path: Path, samples: NDArray[np.float64], rate_hz: int = RATE_HZ, subtype: str = "PCM_16") -> Path:
    soundfile.write(path, samples, rate_hz, subtype=subtype)
    return path


def heard(pcm: Pcm) -> NDArray[np.int16]:
    return np.frombuffer(pcm.data, "<i2")


def test_audio_in_the_service_s_own_format_passes_unchanged(tmp_path: Path) -> None:
    samples = np.random.default_rng(1).integers(-32_768, 32_768, 6_000).astype(np.int16)
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, RATE_HZ, subtype="PCM_16")

    assert heard(load_pcm(path)).tolist() == samples.tolist()


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 44_100, 48_000])
@pytest.mark.parametrize(
    ("name", "subtype"), [("a.wav", "PCM_24"), ("a.wav", "ULAW"), ("a.wav", "FLOAT"), ("a.flac", "PCM_16")]
)
def test_any_rate_and_sample_type_sounds_the_same_at_24_khz(
    tmp_path: Path, rate_hz: int, name: str, subtype: str
) -> None:
    pcm = load_pcm(written(tmp_path / name, tone(0.5, rate_hz), rate_hz, subtype))

    assert abs(pcm.seconds - 0.5) < 1 / 11_025
    middle = slice(1_000, 11_000)  # resampling rings at the edges
    assert np.abs(heard(pcm)[middle] / 32_768 - tone(0.5)[middle]).max() < 0.03  # µ-law is coarse


def test_channels_are_mixed_evenly(tmp_path: Path) -> None:
    left = tone()
    path = written(tmp_path / "a.wav", np.column_stack([left, np.zeros_like(left)]))

    assert np.abs(heard(load_pcm(path)) / 32_768 - left / 2).max() < 1e-4


def test_what_exceeds_full_scale_is_clipped_and_does_not_wrap_round() -> None:
    assert to_pcm16(np.array([1.0, 1.5, -1.0, -7.0], np.float32)).tolist() == [32_767, 32_767, -32_768, -32_768]


def test_resampling_a_full_scale_square_wave_clips_its_overshoot(tmp_path: Path) -> None:
    square = np.sign(tone(0.5, 8_000)) * 0.999
    samples = heard(load_pcm(written(tmp_path / "a.wav", square, 8_000))).astype(int)

    assert samples.max() == 32_767
    # no two neighbours swing further than the wave itself does at its edges, 27 samples and more apart
    assert (np.abs(np.diff(samples)) > 60_000).sum() == 0


@pytest.mark.parametrize("declared", [0x7FFF_F000, 0xFFFF_FFFF])
def test_a_length_that_a_pipe_could_not_know_is_no_truncation(tmp_path: Path, declared: int) -> None:
    path = written(tmp_path / "a.wav", tone())
    content = bytearray(path.read_bytes())
    content[40:44] = declared.to_bytes(4, "little")
    path.write_bytes(content)

    assert load_pcm(path).samples == 12_000


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_pcm(tmp_path / "none.wav")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a file"):
        load_pcm(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "is empty"), (b"hello, world" * 99, "is not audio"), (b"RIFF\0\0\0\0WAVE", "is not audio, or damaged")],
)
def test_what_is_no_audio_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)

    with pytest.raises(UsageError, match=reason):
        load_pcm(path)


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.au", "a.w64", "a.flac", "a.ogg"])
def test_a_file_that_lost_its_end_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    soundfile.write(path, np.random.default_rng(1).normal(0, 0.1, 48_000), RATE_HZ)
    load_pcm(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])

    with pytest.raises(UsageError, match=r"truncated|damaged"):
        load_pcm(path)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(12_000), "is silent: its peak is -inf dBFS"),
        (tone(amplitude=0.0009), "is silent: its peak is -61 dBFS"),
        (np.column_stack([tone(), -tone()]), "is silent"),
        (tone(0.0999), "lasts 100 ms, the service takes no less than 100 ms"),
        (tone(0.05), "lasts 50 ms"),
        (np.zeros(0), "lasts 0 ms"),
    ],
    ids=["zeros", "too quiet", "channels that cancel out", "a sample too short", "too short", "no sample"],
)
def test_audio_that_makes_no_turn_is_refused(tmp_path: Path, samples: NDArray[np.float64], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        load_pcm(written(tmp_path / "a.wav", samples))


@pytest.mark.parametrize("samples", [tone(0.1), tone(amplitude=0.0012)], ids=["100 ms", "quiet"])
def test_audio_at_the_edge_of_what_is_refused_is_taken(tmp_path: Path, samples: NDArray[np.float64]) -> None:
    assert load_pcm(written(tmp_path / "a.wav", samples)).samples == len(samples)


def test_more_than_fifteen_minutes_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", np.full(901, 0.5), 1)

    with pytest.raises(UsageError, match=r"lasts 15\.0 minutes, at most 15"):
        load_pcm(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, bad: float) -> None:
    with pytest.raises(UsageError, match="is damaged"):
        load_pcm(written(tmp_path / "a.wav", np.append(tone(), bad), subtype="FLOAT"))


@given(samples=st.integers(1, 30_000), chunk_ms=st.integers(20, 200))
def test_chunks_lose_nothing_and_are_due_when_their_last_sample_is(samples: int, chunk_ms: int) -> None:
    pcm = Pcm(Path("a.wav"), "", np.arange(samples, dtype=np.uint16).tobytes())
    pieces = list(chunks(pcm, chunk_ms))

    assert b"".join(piece.data for piece in pieces) == pcm.data
    assert all(len(piece.data) == chunk_ms * 48 for piece in pieces[:-1])
    assert 0 < len(pieces[-1].data) <= chunk_ms * 48
    assert [piece.due_ns for piece in pieces[:-1]] == [chunk_ms * 1_000_000 * n for n in range(1, len(pieces))]
    assert pieces[-1].due_ns == samples * 1_000_000_000 // RATE_HZ
