"""Headers that state another size than the file has, codecs that cannot seek, and files that are
no audio.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.base.errors import UsageError
from bench.plan import audio_files
from bench.plan.recordings import RATE_HZ, load_pcm, resampled_blocks, to_pcm16
from tests.ogg_pages import opus_file
from tests.plan.wrong_sizes import (
    AUDIO,
    DATA,
    FRAMES,
    IGNORED,
    IN_FULL,
    LIES,
    LIST,
    MORE,
    RNG,
    STATED,
    TO_WAV,
    encoded,
    rf64,
    stated_in,
    u32,
    wav,
)


def loaded(folder: Path, content: bytes, name: str = "a.wav") -> NDArray[np.int16]:
    (folder / name).write_bytes(content)
    return np.frombuffer(load_pcm(folder / name).data, "<i2")


def refusal(folder: Path, content: bytes, name: str = "a.wav") -> str:
    with pytest.raises(UsageError) as refused:
        loaded(folder, content, name)
    return str(refused.value)


BEXT = b"bext" + u32(602) + bytes(602)
TAG = b"ID3\x04\0\0\0\0\x01\x00" + bytes(128)
READ: dict[str, bytes] = {
    **{
        f"chunks around the audio, {name}": wav(
            riff, len(DATA), before=LIST, after=after, extensible=extensible
        )
        for name, riff, after, extensible in (
            ("one", 70 + len(DATA), LIST, False),
            ("several, extensible", 70 + len(DATA), LIST + BEXT, True),
            ("a size of all chunks that was not finished", -1, b"id3 " + u32(11) + TAG[:12], False),
        )
    },
    "RF64": rf64(72 + len(DATA), len(DATA)),
    **{
        f"padding or a tag after the audio, {name}": wav(36 + len(DATA), len(DATA), after=after)
        for name, after in (
            ("zeros", bytes(4_096)),
            ("many zeros", bytes(300_000)),
            ("a line break", b"\r\n"),
            ("ID3v1", b"TAG" + b"title".ljust(125)),
            ("one byte", b"\0"),
        )
    },
    **{
        f"a tag before the audio, {number}": number * TAG + wav(36 + len(DATA), len(DATA))
        for number in (1, 2)
    },
    "a tag before a FLAC": TAG + encoded(form="FLAC"),
    **{
        f"chunks after the audio, {form}": encoded(form=form) + b"midi" + size + RNG.bytes(2_000)
        for form, size in (
            ("AIFF", struct.pack(">I", 2_000)),
            ("CAF", struct.pack(">q", 2_000)),
            ("WAV", u32(2_000)),
            ("RIFX", struct.pack(">I", 2_000)),
        )
    },
}


@pytest.mark.parametrize("content", READ.values(), ids=READ)
def test_only_the_audio_of_a_file_is_played(tmp_path: Path, content: bytes) -> None:
    assert np.abs(loaded(tmp_path, content) - np.frombuffer(DATA, "<i2")).max() <= 1


def test_an_ogg_is_searched_for_a_second_stream_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio_files, "BLOCK_BYTES", 1_000)

    assert len(loaded(tmp_path, encoded("VORBIS", "OGG"))) == FRAMES


@pytest.mark.parametrize("subtype", ["ULAW", "PCM_24"])
def test_a_chunk_after_audio_of_an_odd_size_is_not_played(tmp_path: Path, subtype: str) -> None:
    content = encoded(subtype, frames=FRAMES - 1)

    assert len(loaded(tmp_path, content + LIST)) == FRAMES - 1


@given(content=st.binary(max_size=200), at=st.integers(0, 60))
def test_any_header_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, at: int
) -> None:
    whole = wav(-1, 0, before=LIST)
    folder = tmp_path_factory.mktemp("any")
    try:
        loaded(folder, whole[:at] + content + whole[at + len(content) :])
    except UsageError as error:
        assert str(error).startswith(f"{folder / 'a.wav'}: ")


WRONG: dict[str, tuple[bytes, str]] = {
    **LIES,
    "cut": (wav(36 + len(DATA), len(DATA))[:30_000], IN_FULL),
    "cut, after a long chunk": (
        wav(36 + len(DATA) + 300 * len(LIST), len(DATA), before=300 * LIST)[:30_000],
        IN_FULL,
    ),
    "cut, RF64": (rf64(72 + len(DATA), len(DATA))[:30_000], IN_FULL),
    "an hour": (wav(-1, 3_600 * 2 * RATE_HZ), IN_FULL),
    "no audio": (wav(-1, 3_000_010_000, data=b""), IN_FULL),
    "twice": (2 * wav(36 + len(DATA), len(DATA)), "contains several recordings: separate them$"),
    "twice, as a pipe": (2 * wav(-1, -1), IN_FULL),
    "twice, 0": (2 * wav(36, 0), MORE.format(r"0\.0", 115_244, IGNORED)),
    **{
        f"a pause of {pause} bytes after the stated end": (
            wav(36 + len(DATA), len(DATA), data=DATA + bytes(pause) + DATA),
            MORE.format(r"1\.2", 57_600 + pause, IGNORED),
        )
        for pause in (0, 65_536, 2_000_000)
    },
    "line breaks of a text": (encoded().replace(b"\n", b"\r\n"), MORE.format(".*", ".*", IGNORED)),
    **{
        f"{form}, {name}": (
            stated_in(form, size, value),
            MORE.format(stated, more, "export it again"),
        )
        for form, name, size, value, stated, more in (
            ("AU", "0", ">I", 0, r"0\.0", 57_600),
            ("AU", "31 bits", ">I", 0x7FFF_FFFF, r"0\.0", 57_600),
            ("AU", "half", ">I", 2 * STATED, r"0\.6", 28_800),
            ("AIFF", "only the head", ">I", 8, r"0\.0", 57_600),
            ("AIFF", "half", ">I", 8 + 2 * STATED, r"0\.6", 28_800),
            ("CAF", "only the head", ">q", 4, r"0\.0", 57_600),
            ("CAF", "half", ">q", 4 + 2 * STATED, r"0\.6", 28_800),
        )
    },
    **{
        f"{codec}, twice": (2 * encoded(codec, "OGG"), MORE.format(r"1\.2", r"\d+", TO_WAV))
        for codec in ("VORBIS", "OPUS")
    },
    "a rate of 2 GHz": (
        encoded()[:24] + u32(2 * 10**9) + encoded()[28:],
        "2000000000 samples per second, the maximum",
    ),
}


@pytest.mark.parametrize(("content", "reason"), WRONG.values(), ids=WRONG)
def test_a_file_whose_header_states_another_size_is_refused_with_a_remedy(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        loaded(tmp_path, content)


def in_wav(tag: int) -> bytes:
    content = encoded()
    return content[:20] + struct.pack("<H", tag) + content[22:]


MP3 = encoded("MPEG_LAYER_III", "MP3")
GAPS = "; convert it to WAV: ffmpeg -i a.wav -af aresample=async=1 a.{}.wav$"
UNKNOWN = (
    "is not readable audio: its format is unknown; convert it to WAV: ffmpeg -i a.wav -af"
    " aresample=async=1 a-pcm.wav, or, if it is raw audio, with its encoding and rate, such as"
    " ffmpeg -f mulaw -ar 8000 -ac 1 -i a.wav a-pcm.wav$"
)
DAMAGED = r"is not readable audio, or is damaged \(.*\); convert it to WAV: ffmpeg -i a.wav a-pcm"
OTHER: dict[str, tuple[bytes, str]] = {
    "MP3": (MP3, "is MP3" + GAPS.format("mp3")),
    "an MP3 that is cut": (MP3[:700], "is MP3" + GAPS.format("mp3")),
    "an MP3 with a tag": (
        TAG + MP3,
        "is MPEG-1/2 Audio; convert it to WAV: ffmpeg -i a.wav a.mp3.wav$",
    ),
    "MP3 in a WAV": (in_wav(0x55), "is a WAV with MP3" + GAPS.format("mp3")),
    "AAC in a WAV": (in_wav(0xFF), "is a WAV with AAC" + GAPS.format("aac")),
    "G.729 in a WAV": (in_wav(0x83), r"is a WAV with G\.729" + GAPS.format("g729")),
    "AMR in a WAV": (in_wav(0x57), "is a WAV with AMR" + GAPS.format("amr")),
    "AAC": (b"\xff\xf1\x50\x80\x10\x1f\xfc" + bytes(121), "is AAC" + GAPS.format("aac")),
    "MP4": (b"\0\0\0\x20ftypisom" + bytes(900), "is MP4 or M4A" + GAPS.format("aac")),
    "AMR": (b"#!AMR\n" + RNG.bytes(900), "is AMR; convert it to WAV: sox a.wav a.amr.wav$"),
    "WebM": (b"\x1a\x45\xdf\xa3" + RNG.bytes(900), "is WebM or Matroska" + GAPS.format("opus")),
    "BW64": (rf64(72 + len(DATA), len(DATA), name=b"BW64"), UNKNOWN),
    "HTML": (
        b"\n<!DOCTYPE html><html><title>502</title>",
        "is not readable audio: it is a text that begins with '<!DOCTYPE html><html>",
    ),
    "JSON": (
        b'{"error": {"message": "Inval\xc3\xafd voice"}}',
        'a text that begins with .{"error"',
    ),
    "a text that is cut within a character": (
        b"hello, this is no audio \xc3",
        "is a text that.*; name an audio file$",
    ),
    "Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid x\n",
        "begins with 'version https://git-lfs.*; git lfs pull gets the audio$",
    ),
    "a WAV that was read as a text": (
        encoded().decode("latin-1").encode(),
        UNKNOWN,
    ),
    "zeros": (bytes(50_000), UNKNOWN),
    "µ-law that begins with silence": (b"\xff" * 800 + encoded("ULAW", "RAW", 8_000), UNKNOWN),
    "raw PCM": (RNG.integers(-3, 3, 9_000).astype("<i2").tobytes(), UNKNOWN),
    "empty": (b"", "is empty$"),
    "one byte": (b"R", "is not readable audio: it is a text that begins with 'R'"),
    "a damaged MP3": (b"ID3\x04" + RNG.bytes(10_000), UNKNOWN),
    "only a head": (b"RIFF\0\0\0\0WAVE", DAMAGED),
    "blocks of 8 bytes": (in_wav(0x11)[:32] + b"\x08\0" + in_wav(0x11)[34:], DAMAGED),
    "a pipe, after a tag": (TAG + wav(-1, -1), DAMAGED),
    "many chunks": (wav(-1, -1, before=b"JUNK\0\0\0\0" * 20_000), DAMAGED),
    "a format chunk of 2 GB": (wav(-1, -1)[:16] + u32(2**31) + wav(-1, -1)[20:], DAMAGED),
}


@pytest.mark.parametrize(("content", "reason"), OTHER.values(), ids=OTHER)
def test_a_file_that_is_not_read_is_named_by_what_it_is(
    tmp_path: Path, content: bytes, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    with pytest.raises(UsageError, match=reason):
        loaded(tmp_path, content)

    assert capfd.readouterr().err == ""


def test_a_file_is_refused_by_its_header_before_its_samples_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unread(*_: object) -> Iterator[None]:
        raise AssertionError

    monkeypatch.setattr(audio_files._Sequential, "read", unread)
    with (tmp_path / "a.wav").open("wb") as file:
        file.write(wav(36 + 2 * RATE_HZ * 901, 2 * RATE_HZ * 901, data=b""))
        file.truncate(44 + 2 * RATE_HZ * 901)
    with pytest.raises(UsageError, match=r"lasts 15\.0 minutes, the maximum is 15"):
        load_pcm(tmp_path / "a.wav")
    soundfile.write(tmp_path / "b.flac", np.zeros((100, 2)), 192_000)
    monkeypatch.setattr(audio_files, "MAX_SAMPLES", 199)
    with pytest.raises(
        UsageError, match=r"has 200 samples .* convert it: ffmpeg -i b.flac -ar 48000 b.flac.wav$"
    ):
        load_pcm(tmp_path / "b.flac")


def test_a_file_that_states_no_length_is_limited_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray(encoded(form="FLAC"))
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    monkeypatch.setattr(audio_files, "MAX_SAMPLES", len(AUDIO) - 1)

    assert "the maximum is 28,799" in refusal(tmp_path, bytes(content), "a.flac")


@given(
    rate_hz=st.sampled_from([7_999, 8_000, 11_025, 44_100, 48_000]),
    channels=st.integers(1, 2),
    size=st.integers(1, 30_000),
    length=st.integers(0, 20_000),
)
def test_resampling_in_blocks_equals_resampling_at_once(
    rate_hz: int, channels: int, size: int, length: int
) -> None:
    samples = RNG.uniform(-1, 1, (length, channels)).astype(np.float32)
    blocks = [samples[at : at + size] for at in range(0, length, size)]
    at_once = list(resampled_blocks([samples], rate_hz, RATE_HZ))

    in_blocks = list(resampled_blocks([*blocks, samples[:0]], rate_hz, RATE_HZ))

    assert np.array_equal(to_pcm16(np.concatenate(in_blocks)), to_pcm16(np.concatenate(at_once)))


VOICE = 0.2 * np.sin(2 * np.pi * 300 * np.arange(2 * RATE_HZ) / RATE_HZ)[:, np.newaxis]


@pytest.mark.parametrize(
    "missing", [range(10, 11), range(30, 55), (*range(20, 25), *range(70, 90))]
)
def test_an_ogg_whose_positions_have_holes_is_refused_with_the_command_that_keeps_time(
    tmp_path: Path, missing: Sequence[int]
) -> None:
    """Recorders of WebRTC write no packet in silence, or after a loss, and RFC 7845 wants
    positions that jump.
    """
    whole, holed = (opus_file(VOICE, RATE_HZ, without) for without in ((), missing))

    assert len(loaded(tmp_path, whole)) == pytest.approx(2 * RATE_HZ, rel=0.02)
    with pytest.raises(
        UsageError,
        match=(
            r"has holes: it lasts 2\.\d\d s by the positions of its packets, but has 1\.\d\d s of"
            r" audio, .* "
            r"fill them with silence: ffmpeg -i a\.wav -af aresample=async=1 a\.opus\.wav$"
        ),
    ):
        loaded(tmp_path, holed)
