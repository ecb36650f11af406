"""Audio files: the speech in a file, the files that are refused, and the bytes that are sent to
the service.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.base.errors import UsageError
from bench.plan.recordings import (
    RATE_HZ,
    BackgroundNoise,
    Pcm,
    SpeechSpan,
    chunks,
    encoded,
    find_speech,
    last_phrase,
    load_pcm,
    mixed,
    noise_alone,
    silence,
    speech_span,
    to_pcm16,
    write_wav,
)
from bench.services.openai.dialect import RATED_FORMATS
from bench.wire.audio import AudioFormatName
from tests.simulator_process import AUDIO


def tone(
    seconds: float = 0.5, rate_hz: int = RATE_HZ, amplitude: float = 0.5
) -> NDArray[np.float64]:
    return amplitude * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate_hz)) / rate_hz)


def written(
    path: Path, samples: NDArray[np.float64], rate_hz: int = RATE_HZ, subtype: str = "PCM_16"
) -> Path:
    soundfile.write(path, samples, rate_hz, subtype=subtype)
    return path


def samples_of(pcm: Pcm) -> NDArray[np.int16]:
    return np.frombuffer(pcm.data, "<i2")


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 44_100, 48_000])
@pytest.mark.parametrize(
    ("name", "subtype"),
    [("a.wav", "PCM_24"), ("a.wav", "ULAW"), ("a.wav", "FLOAT"), ("a.flac", "PCM_16")],
)
def test_any_rate_and_sample_type_is_resampled_to_24_khz(
    tmp_path: Path, rate_hz: int, name: str, subtype: str
) -> None:
    pcm = load_pcm(written(tmp_path / name, tone(0.5, rate_hz), rate_hz, subtype))

    assert abs(pcm.seconds - 0.5) < 1 / 11_025
    middle = slice(1_000, 11_000)  # resampling causes ripples at both ends
    # µ-law has a low resolution
    assert np.abs(samples_of(pcm)[middle] / 32_768 - tone(0.5)[middle]).max() < 0.03


def test_samples_beyond_full_scale_are_clipped() -> None:
    assert to_pcm16(np.array([1.0, 1.5, -1.0, -7.0], np.float32)).tolist() == [
        32_767,
        32_767,
        -32_768,
        -32_768,
    ]


@pytest.mark.parametrize("kind", ["XI", "SDS", "VOC"])
def test_an_exotic_audio_format_is_refused_with_a_command_to_convert_it(
    tmp_path: Path, kind: str
) -> None:
    """The library libsndfile reads these formats, but for some of them it does not know the
    position in the file.
    """
    path = tmp_path / "a.wav"
    soundfile.write(path, np.random.default_rng(1).normal(0, 0.1, 48_000), RATE_HZ, format=kind)

    with pytest.raises(UsageError, match=r"convert it to WAV: ffmpeg -i a.wav a-pcm.wav$"):
        load_pcm(path)


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.au", "a.w64", "a.flac", "a.ogg"])
def test_a_truncated_audio_file_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    soundfile.write(path, np.random.default_rng(1).normal(0, 0.1, 48_000), RATE_HZ)
    load_pcm(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])

    with pytest.raises(UsageError, match=r"truncated|damaged"):
        load_pcm(path)


REFUSED: dict[str, tuple[NDArray[np.float64], int, str, str]] = {
    # (samples, rate in Hz, sample type, error)
    "zeros": (np.zeros(12_000), RATE_HZ, "PCM_16", "is silent: its peak is -inf dBFS"),
    "too quiet": (tone(amplitude=0.0009), RATE_HZ, "PCM_16", "is silent: its peak is -61 dBFS"),
    "channels that cancel out": (
        np.column_stack([tone(), -tone()]),
        RATE_HZ,
        "PCM_16",
        (
            r"channels cancel each other: .*; use one of them: ffmpeg -i a.wav -af"
            r" 'pan=mono\|c0=c0' a-pcm.wav$"
        ),
    ),
    "channels that almost cancel out": (
        np.column_stack([tone(), -0.9 * tone()]),
        RATE_HZ,
        "PCM_16",
        "channels cancel each other",
    ),
    "a sample too short": (
        tone(0.0999),
        RATE_HZ,
        "PCM_16",
        "lasts 100 ms, services accept 100 ms or more",
    ),
    "no sample": (np.zeros(0), RATE_HZ, "PCM_16", "lasts 0 ms"),
    "more than fifteen minutes": (
        np.full(901, 0.5),
        1,
        "PCM_16",
        r"lasts 15\.0 minutes, the maximum is 15",
    ),
    **{
        f"a sample of {bad}": (np.append(tone(), bad), RATE_HZ, "FLOAT", "is damaged")
        for bad in (np.nan, np.inf, 1e30)
    },
}


@pytest.mark.parametrize(("samples", "rate_hz", "subtype", "reason"), REFUSED.values(), ids=REFUSED)
def test_audio_that_makes_no_turn_is_refused(
    tmp_path: Path, samples: NDArray[np.float64], rate_hz: int, subtype: str, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        load_pcm(written(tmp_path / "a.wav", samples, rate_hz, subtype))


@pytest.mark.parametrize(("name", "reason"), [("none.wav", "no such file"), (".", "is not a file")])
def test_a_path_that_is_no_file_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        load_pcm(tmp_path / name)


def build_pcm(samples: NDArray[np.int16]) -> Pcm:
    return Pcm(Path("a.wav"), "", samples.astype("<i2").tobytes(), SpeechSpan(0, len(samples)))


@pytest.mark.parametrize("format", RATED_FORMATS)
def test_audio_has_the_same_sound_and_duration_in_every_format(format: AudioFormatName) -> None:
    wire = RATED_FORMATS[format]
    audio = encoded(build_pcm(to_pcm16(tone(1).astype(np.float32))), wire)
    decoded = wire.decode(audio) / 32_768

    assert wire.duration_ns(len(audio)) == 1_000_000_000
    assert np.abs(decoded - tone(1, wire.rate_hz))[400:-400].max() < 0.03


FORMAT = st.sampled_from(sorted(RATED_FORMATS))
CHUNK_MS = st.integers(20, 200)


@given(audio=st.binary(min_size=1, max_size=30_000), format=FORMAT, chunk_ms=CHUNK_MS)
def test_chunks_contain_all_audio_and_have_its_duration(
    audio: bytes, format: AudioFormatName, chunk_ms: int
) -> None:
    audio = audio[
        : len(audio) // RATED_FORMATS[format].sample_bytes * RATED_FORMATS[format].sample_bytes
    ]
    pieces = list(chunks(audio, RATED_FORMATS[format], chunk_ms, pad=False))

    assert b"".join(piece.data for piece in pieces) == audio
    assert all(piece.duration_ns == chunk_ms * 1_000_000 for piece in pieces[:-1])
    assert all(0 < piece.duration_ns <= chunk_ms * 1_000_000 for piece in pieces[-1:])
    lengths_ns = [RATED_FORMATS[format].duration_ns(len(piece.data)) for piece in pieces]
    assert [piece.duration_ns for piece in pieces] == lengths_ns


@given(audio=st.binary(min_size=2, max_size=30_000), format=FORMAT, chunk_ms=CHUNK_MS)
def test_whole_chunks_are_padded_with_silence(
    audio: bytes, format: AudioFormatName, chunk_ms: int
) -> None:
    audio = audio[: len(audio) // 2 * 2]
    pieces = list(chunks(audio, RATED_FORMATS[format], chunk_ms, pad=True))
    sent = b"".join(piece.data for piece in pieces)

    assert sent.startswith(audio)
    assert {piece.duration_ns for piece in pieces} == {chunk_ms * 1_000_000}
    # A-law has no code for zero
    assert np.abs(RATED_FORMATS[format].decode(sent[len(audio) :])).max(initial=0) <= 8


@given(format=FORMAT, chunk_ms=CHUNK_MS)
def test_silence_is_a_chunk_of_the_code_of_zero(format: AudioFormatName, chunk_ms: int) -> None:
    code = {"g711_ulaw": b"\xff", "g711_alaw": b"\xd5"}.get(format, b"\0\0")
    chunk = silence(RATED_FORMATS[format], chunk_ms)

    assert chunk.data == code * (chunk_ms * RATED_FORMATS[format].rate_hz // 1_000)
    assert chunk.duration_ns == chunk_ms * 1_000_000


@pytest.mark.parametrize("format", RATED_FORMATS)
def test_a_reply_is_written_as_an_equivalent_wav(tmp_path: Path, format: AudioFormatName) -> None:
    wire = RATED_FORMATS[format]
    audio = wire.encode(to_pcm16(tone(0.5, wire.rate_hz).astype(np.float32)))
    write_wav(tmp_path / "reply.wav", audio, RATED_FORMATS[format])
    samples, rate_hz = soundfile.read(tmp_path / "reply.wav", dtype="int16")

    assert rate_hz == wire.rate_hz
    assert samples.tolist() == wire.decode(audio).tolist()
    assert soundfile.info(tmp_path / "reply.wav").subtype == "PCM_16"


@pytest.mark.parametrize("name", ["", "none/reply.wav", "a\0.wav"])
def test_a_reply_that_cannot_be_written_is_reported(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        write_wav(tmp_path / name, bytes(480), RATED_FORMATS["pcm16"])


# Noise behind speech: its level, and its continuation from one part to the next.


def pcm_of(samples: NDArray[np.float64], speech: SpeechSpan | None = None) -> Pcm:
    data = np.rint(samples).astype("<i2").tobytes()
    return Pcm(Path("a.wav"), "", data, speech or SpeechSpan(0, len(samples)))


def sound_of(data: bytes) -> NDArray[np.float64]:
    return np.frombuffer(data, "<i2").astype(np.float64)


def rms(samples: NDArray[np.float64]) -> float:
    return float(np.sqrt((samples**2).mean()))


def noise(samples: int = 5_000) -> Pcm:
    return pcm_of(np.random.default_rng(1).normal(0, 2_000, samples))


WORDS = pcm_of(np.repeat([0.0, 8_000.0, 0.0], [2_400, 9_600, 7_200]), SpeechSpan(2_400, 12_000))


@given(snr_db=st.floats(3, 40))
def test_noise_is_mixed_at_the_given_signal_to_noise_ratio(snr_db: float) -> None:
    added = sound_of(mixed(WORDS, BackgroundNoise(noise(), snr_db)).data) - sound_of(WORDS.data)
    whole_loops = added[: len(added) // 5_000 * 5_000]

    assert 20 * np.log10(8_000 / rms(whole_loops)) == pytest.approx(snr_db, abs=0.2)


@given(noise_samples=st.integers(1_000, 30_000), seconds=st.floats(0.001, 2))
def test_noise_continues_at_the_same_level_after_the_audio(
    noise_samples: int, seconds: float
) -> None:
    background = BackgroundNoise(noise(noise_samples), 12)
    tail = pcm_of(
        np.concatenate([sound_of(WORDS.data), np.zeros(round(seconds * 24_000))]),
        speech=WORDS.speech,
    )
    longer = mixed(tail, background).data

    assert mixed(WORDS, background).data + noise_alone(WORDS, background, seconds) == longer


# The start and the end of speech within any surroundings, and the start of the speech after its
# last pause.


Samples = NDArray[np.int16]
# The two files that are left out hold noise and a murmur.
SPOKEN = sorted(path for path in AUDIO.glob("*.wav") if path.stem not in ("room", "uh_huh"))
MS = RATE_HZ // 1_000


def words_of(path: Path) -> Samples:
    return np.frombuffer(load_pcm(path).data, "<i2")


def quiet(ms: float, noise_dbfs: float | None = None) -> Samples:
    count = round(ms * MS)
    if noise_dbfs is None:
        return np.zeros(count, np.int16)
    noise = np.random.default_rng(1).normal(0, 32_768 * 10 ** (noise_dbfs / 20), count)
    return np.rint(noise).astype(np.int16)


def spoken(ms: float, amplitude: float = 0.3) -> Samples:
    """Return a tone whose first sample and last sample are loud."""
    wave = amplitude * np.cos(2 * np.pi * 440 * np.arange(round(ms * MS)) / RATE_HZ)
    wave[-1] = amplitude
    return np.rint(wave * 32_767).astype(np.int16)


def joined(*parts: Samples) -> Samples:
    return np.concatenate(parts)


@given(
    before=st.integers(24, 20_000),
    samples=st.integers(2_000, 20_000),
    after=st.integers(24, 20_000),
)
def test_a_tone_in_silence_is_found_to_the_sample(before: int, samples: int, after: int) -> None:
    recording = joined(quiet(before / MS), spoken(samples / MS), quiet(after / MS))

    assert find_speech(recording, RATE_HZ) == SpeechSpan(before, before + samples)


MURMUR = joined(
    spoken(100, 0.9),
    *[spoken(100, 0.9 * 0.03), spoken(50, 0.9 * 0.1)] * 10,
    spoken(150, 0.9 * 0.01),
)
"""A loud tone, and then tones whose levels relative to the first are −30, −20 and −40 dB."""
CLICK = np.full(5, 32_767, np.int16)
CALL = joined(quiet(100), spoken(300), quiet(100))
FOUND: dict[str, tuple[Samples, float, float]] = {
    # (recording, start of its speech in ms, end in ms)
    "a tone throughout": (spoken(500), 0, 500),
    "a loud level throughout": (np.full(9_001, -32_768, np.int16), 0, 9_001 / MS),
    "noise throughout": (quiet(200, -20), 0, 200),
    "a silent recording is taken as a whole": (quiet(200), 0, 200),
    "a pause is part of speech": (
        joined(quiet(100), spoken(300), quiet(2_000), spoken(300), quiet(100)),
        100,
        2_700,
    ),
    "a click of 5 samples far from speech is not speech": (
        joined(quiet(50), CLICK, quiet(400), CALL, quiet(400), CLICK, quiet(50)),
        550 + 5 / MS,
        850 + 5 / MS,
    ),
    "a click of 38 ms far from speech is not speech": (
        joined(quiet(50), spoken(38), quiet(400), CALL, quiet(400), spoken(38), quiet(50)),
        588,
        888,
    ),
    "a short word far from others is speech": (
        joined(quiet(50), spoken(50), quiet(400), spoken(300), quiet(50)),
        50,
        800,
    ),
    "the level of speech is that of its loudest part": (
        joined(quiet(100), MURMUR, quiet(100)),
        100,
        1_700,
    ),
    "a short sound near speech is part of it": (
        joined(quiet(100), spoken(300), quiet(200), spoken(10), quiet(100)),
        100,
        610,
    ),
    "a recording with only clicks is speech": (
        joined(quiet(100), spoken(10), quiet(1_000), spoken(10), quiet(100)),
        100,
        1_120,
    ),
}


@pytest.mark.parametrize(("recording", "begin_ms", "end_ms"), FOUND.values(), ids=FOUND)
def test_speech_is_found(recording: Samples, begin_ms: float, end_ms: float) -> None:
    assert find_speech(recording, RATE_HZ) == SpeechSpan(round(begin_ms * MS), round(end_ms * MS))


@pytest.mark.parametrize("dbfs", [-30, -40])
@pytest.mark.parametrize("path", SPOKEN, ids=lambda path: path.stem)
def test_noise_that_is_deeper_than_voices_does_not_move_the_speech(path: Path, dbfs: float) -> None:
    words = words_of(path)
    alone = find_speech(words, RATE_HZ)
    samples = joined(quiet(1_000), words, quiet(2_000))
    at = 2 * np.pi * np.arange(len(samples)) / RATE_HZ
    rumble = sum(np.sin(at * hz + hz) for hz in (9.3, 13.1, 17.9, 27.7)) / np.sqrt(2)
    found = find_speech(to_pcm16(samples / 32_768 + rumble * 10 ** (dbfs / 20)), RATE_HZ)

    assert abs(found.begin - 1_000 * MS - alone.begin) <= 20 * MS
    assert abs(found.end - 1_000 * MS - alone.end) <= 20 * MS


@pytest.mark.parametrize("noise_dbfs", [None, -70])
@pytest.mark.parametrize("path", SPOKEN, ids=lambda path: path.stem)
def test_silence_around_a_recording_does_not_move_the_speech(
    path: Path, noise_dbfs: float | None
) -> None:
    words = words_of(path)
    alone = find_speech(words, RATE_HZ)
    for before_ms, after_ms in [(0, 300), (300, 0), (7.3, 5_000), (5_000, 7.3)]:
        before = quiet(before_ms, noise_dbfs)
        found = find_speech(joined(before, words, quiet(after_ms, noise_dbfs)), RATE_HZ)

        assert abs(found.begin - len(before) - alone.begin) <= MS
        assert abs(found.end - len(before) - alone.end) <= MS


@given(
    level=st.integers(1, 32_767),
    periods=st.integers(1, 60),
    rate_hz=st.sampled_from([8_000, 16_000, 24_000]),
    min_energy=st.sampled_from([0.0, 1e12]),
)
def test_a_square_wave_is_speech(level: int, periods: int, rate_hz: int, min_energy: float) -> None:
    """The mean of equal energies may exceed each of them by a rounding error."""
    wave = np.tile(np.repeat([level, -level], 40), periods).astype(np.int16)

    found = speech_span(wave, rate_hz, min_energy)

    assert 0 <= found.begin < found.end <= len(wave)


@given(scale=st.floats(0.02, 1))
def test_the_position_of_speech_does_not_depend_on_its_level(scale: float) -> None:
    words = joined(
        quiet(100), spoken(400, 0.9), spoken(150, 0.9 * 0.03), spoken(150, 0.9 * 0.01), quiet(100)
    )

    assert find_speech(np.rint(words * scale).astype(np.int16), RATE_HZ) == SpeechSpan(
        100 * MS, 650 * MS
    )  # 0.03 is −30 dB


# The speech after the last pause.


def last_of(recording: Samples) -> SpeechSpan:
    return last_phrase(recording, find_speech(recording, RATE_HZ), RATE_HZ)


@given(
    pauses_ms=st.lists(st.integers(140, 1_500), min_size=1, max_size=3),
    last_ms=st.integers(60, 900),
    around_ms=st.integers(0, 600),
    noise_dbfs=st.sampled_from([None, -60.0]),
)
def test_the_last_stretch_begins_after_the_last_pause(
    pauses_ms: list[int], last_ms: int, around_ms: int, noise_dbfs: float | None
) -> None:
    words = [part for pause_ms in pauses_ms for part in (spoken(300), quiet(pause_ms, noise_dbfs))]
    recording = joined(quiet(around_ms), *words, spoken(last_ms), quiet(around_ms))
    last = last_of(recording)

    end = len(recording) - around_ms * MS
    assert last.end == find_speech(recording, RATE_HZ).end
    assert abs(last.end - end) <= MS
    # the window that contains its first sample
    assert 0 <= end - last_ms * MS - last.begin <= 20 * MS


@given(samples=st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=3_000))
def test_the_last_stretch_ends_at_the_end_of_the_speech(samples: list[int]) -> None:
    recording = np.array(samples, np.int16)
    speech = find_speech(recording, RATE_HZ)
    last = last_phrase(recording, speech, RATE_HZ)

    assert speech.begin <= last.begin < last.end == speech.end


@given(samples=st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=3_000))
def test_speech_lies_within_the_recording(samples: list[int]) -> None:
    found = find_speech(np.array(samples, np.int16), RATE_HZ)

    assert 0 <= found.begin < found.end <= len(samples)
