"""What is heard of a file, which files are refused, and what goes onto the wire."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.plan.recordings import RATE_HZ, Pcm, Speech, chunks, encoded, load_pcm, silence, to_pcm16, write_wav
from bench.protocol.audio import AudioFormatName
from bench.protocol.openai import RATED_FORMATS


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


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"hello, world" * 99, "is no audio"),
        (b"RIFF\0\0\0\0WAVE", "is no audio that can be read, or damaged"),
    ],
)
def test_what_is_no_audio_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)

    with pytest.raises(UsageError, match=reason):
        load_pcm(path)


@pytest.mark.parametrize("kind", ["XI", "SDS", "VOC", "MAT5"])
def test_what_no_program_writes_speech_in_is_refused_with_what_to_do(tmp_path: Path, kind: str) -> None:
    """libsndfile reads them, some without knowing where it is in them."""
    path = tmp_path / "a.wav"
    soundfile.write(path, np.random.default_rng(1).normal(0, 0.1, 48_000), RATE_HZ, format=kind)

    with pytest.raises(UsageError, match=r"make a WAV of it: ffmpeg -i a.wav a-pcm.wav$"):
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


REFUSED: dict[str, tuple[NDArray[np.float64], int, str, str]] = {
    # (samples, their rate and type, what is said)
    "zeros": (np.zeros(12_000), RATE_HZ, "PCM_16", "is silent: its peak is -inf dBFS"),
    "too quiet": (tone(amplitude=0.0009), RATE_HZ, "PCM_16", "is silent: its peak is -61 dBFS"),
    "channels that cancel out": (np.column_stack([tone(), -tone()]), RATE_HZ, "PCM_16", "is silent"),
    "a sample too short":
        (tone(0.0999), RATE_HZ, "PCM_16", "lasts 100 ms, the service takes no less than 100 ms"),
    "too short": (tone(0.05), RATE_HZ, "PCM_16", "lasts 50 ms"),
    "10 ms": (tone(0.01), RATE_HZ, "PCM_16", "lasts 10 ms, the service takes no less than 100 ms"),
    "no sample": (np.zeros(0), RATE_HZ, "PCM_16", "lasts 0 ms"),
    "more than fifteen minutes": (np.full(901, 0.5), 1, "PCM_16", r"lasts 15\.0 minutes, at most 15"),
    **{f"a sample of {bad}": (np.append(tone(), bad), RATE_HZ, "FLOAT", "is damaged")
       for bad in (np.nan, np.inf, 1e30)},
}  # fmt: skip


@pytest.mark.parametrize(("samples", "rate_hz", "subtype", "reason"), REFUSED.values(), ids=REFUSED)
def test_audio_that_makes_no_turn_is_refused(
    tmp_path: Path, samples: NDArray[np.float64], rate_hz: int, subtype: str, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        load_pcm(written(tmp_path / "a.wav", samples, rate_hz, subtype))


@pytest.mark.parametrize(("name", "reason"), [("none.wav", "no such file"), (".", "is not a file")])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        load_pcm(tmp_path / name)


@pytest.mark.parametrize("samples", [tone(0.1), tone(amplitude=0.0012)], ids=["100 ms", "quiet"])
def test_audio_at_the_edge_of_what_is_refused_is_taken(tmp_path: Path, samples: NDArray[np.float64]) -> None:
    assert load_pcm(written(tmp_path / "a.wav", samples)).samples == len(samples)


def test_where_speech_is_is_found_in_what_is_heard(tmp_path: Path) -> None:
    words = np.concatenate([np.zeros(800), tone(0.5, 8_000), np.zeros(1_600)])
    pcm = load_pcm(written(tmp_path / "a.wav", words, 8_000, "ULAW"))

    assert abs(pcm.speech.begin - 2_400) <= 24
    assert abs(pcm.speech.end - 14_400) <= 24


KINDS = [(44_100, "PCM_24", 2), (8_000, "ULAW", 1), (48_000, "FLOAT", 1), (16_000, "PCM_U8", 3)]


@pytest.mark.parametrize(("rate_hz", "subtype", "channels"), KINDS, ids=[str(kind) for kind in KINDS])
def test_every_kind_of_wav_is_heard_alike(tmp_path: Path, rate_hz: int, subtype: str, channels: int) -> None:
    words = np.concatenate([np.zeros(rate_hz // 4), tone(0.5, rate_hz), np.zeros(rate_hz // 4)])
    pcm = load_pcm(written(tmp_path / "a.wav", np.column_stack([words] * channels), rate_hz, subtype))

    assert abs(pcm.samples - 24_000) <= 3
    assert abs(pcm.speech.begin - 6_000) <= 24
    assert abs(pcm.speech.end - 18_000) <= 24
    assert np.abs(heard(pcm)[7_000:17_000] / 32_768 - tone(1)[1_000:11_000]).max() < 0.03


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_a_clipped_recording_is_heard_clipped(tmp_path: Path, subtype: str) -> None:
    square = np.sign(tone(0.5) + 1e-9)
    pcm = load_pcm(written(tmp_path / "a.wav", square * (1 if subtype == "PCM_16" else 3), subtype=subtype))

    assert set(np.abs(heard(pcm).astype(int)).tolist()) <= {32_767, 32_768}
    assert pcm.speech == Speech(0, pcm.samples)


def build_pcm(samples: NDArray[np.int16]) -> Pcm:
    return Pcm(Path("a.wav"), "", samples.astype("<i2").tobytes(), Speech(0, len(samples)))


def test_pcm_goes_onto_the_wire_as_it_is() -> None:
    pcm = build_pcm(np.arange(6_001, dtype=np.int16))

    assert encoded(pcm, RATED_FORMATS["pcm16"]) == pcm.data


@pytest.mark.parametrize("format", RATED_FORMATS)
def test_audio_sounds_the_same_for_as_long_in_every_format(format: AudioFormatName) -> None:
    wire = RATED_FORMATS[format]
    audio = encoded(build_pcm(to_pcm16(tone(1).astype(np.float32))), wire)
    decoded = wire.decode(audio) / 32_768

    assert wire.duration_ns(len(audio)) == 1_000_000_000
    assert np.abs(decoded - tone(1, wire.rate_hz))[400:-400].max() < 0.03


FORMAT = st.sampled_from(sorted(RATED_FORMATS))
CHUNK_MS = st.integers(20, 200)


@given(audio=st.binary(min_size=1, max_size=30_000), format=FORMAT, chunk_ms=CHUNK_MS)
def test_chunks_lose_nothing_and_last_as_long_as_they_sound(
    audio: bytes, format: AudioFormatName, chunk_ms: int
) -> None:
    audio = audio[: len(audio) // RATED_FORMATS[format].sample_bytes * RATED_FORMATS[format].sample_bytes]
    pieces = list(chunks(audio, RATED_FORMATS[format], chunk_ms, whole=False))

    assert b"".join(piece.data for piece in pieces) == audio
    assert all(piece.duration_ns == chunk_ms * 1_000_000 for piece in pieces[:-1])
    assert all(0 < piece.duration_ns <= chunk_ms * 1_000_000 for piece in pieces[-1:])
    lengths_ns = [RATED_FORMATS[format].duration_ns(len(piece.data)) for piece in pieces]
    assert [piece.duration_ns for piece in pieces] == lengths_ns


@given(audio=st.binary(min_size=2, max_size=30_000), format=FORMAT, chunk_ms=CHUNK_MS)
def test_a_microphone_that_goes_on_fills_its_last_chunk_with_silence(
    audio: bytes, format: AudioFormatName, chunk_ms: int
) -> None:
    audio = audio[: len(audio) // 2 * 2]
    pieces = list(chunks(audio, RATED_FORMATS[format], chunk_ms, whole=True))
    sent = b"".join(piece.data for piece in pieces)

    assert sent.startswith(audio)
    assert {piece.duration_ns for piece in pieces} == {chunk_ms * 1_000_000}
    assert np.abs(RATED_FORMATS[format].decode(sent[len(audio) :])).max(initial=0) <= 8  # A-law has no zero


@given(format=FORMAT, chunk_ms=CHUNK_MS)
def test_silence_is_a_chunk_of_the_code_of_zero(format: AudioFormatName, chunk_ms: int) -> None:
    code = {"g711_ulaw": b"\xff", "g711_alaw": b"\xd5"}.get(format, b"\0\0")
    chunk = silence(RATED_FORMATS[format], chunk_ms)

    assert chunk.data == code * (chunk_ms * RATED_FORMATS[format].rate_hz // 1_000)
    assert chunk.duration_ns == chunk_ms * 1_000_000


@pytest.mark.parametrize("format", RATED_FORMATS)
def test_a_reply_is_written_as_a_wav_that_sounds_the_same(tmp_path: Path, format: AudioFormatName) -> None:
    wire = RATED_FORMATS[format]
    audio = wire.encode(to_pcm16(tone(0.5, wire.rate_hz).astype(np.float32)))
    write_wav(tmp_path / "reply.wav", audio, RATED_FORMATS[format])
    samples, rate_hz = soundfile.read(tmp_path / "reply.wav", dtype="int16")

    assert rate_hz == wire.rate_hz
    assert samples.tolist() == wire.decode(audio).tolist()
    assert soundfile.info(tmp_path / "reply.wav").subtype == "PCM_16"


@pytest.mark.parametrize("name", ["", "none/reply.wav", "a\0.wav"])
def test_a_reply_that_cannot_be_written_is_said_to_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        write_wav(tmp_path / name, bytes(480), RATED_FORMATS["pcm16"])


@pytest.mark.parametrize("kept", [None, 700])
def test_an_mp3_is_refused_in_one_line_whatever_its_name_and_however_damaged(
    tmp_path: Path, kept: int | None, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = tmp_path / "whole.mp3"
    soundfile.write(whole, np.sin(np.arange(24_000) / 20) * 0.3, 24_000, format="MP3")
    path = tmp_path / "speech.wav"
    path.write_bytes(whole.read_bytes()[:kept])
    capfd.readouterr()

    with pytest.raises(UsageError, match="is an MP3, whatever its name says; make a WAV of it"):
        load_pcm(path)

    assert capfd.readouterr().err == ""
