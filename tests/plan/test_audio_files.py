"""Headers that state another size than the file has, codecs that cannot seek, and files that are
no audio.
"""

from __future__ import annotations

import io
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
from bench.plan.file_kinds import is_placeholder
from bench.plan.recordings import RATE_HZ, load_pcm, resampled_blocks, to_pcm16
from tests.ogg_pages import opus_file

RNG = np.random.default_rng(1)
AUDIO = (0.3 * np.sin(np.arange(28_800) / 20) * np.linspace(0.5, 1, 28_800)).astype(np.float32)
DATA = np.rint(AUDIO * 32_767).astype("<i2").tobytes()
LIST = b"LIST" + struct.pack("<I", 26) + b"INFOISFT\x0e\0\0\0Lavf61.1.100\0\0"


def u32(value: int) -> bytes:
    return struct.pack("<I", value & 0xFFFF_FFFF)


def wav(
    riff: int,
    stated: int,
    *,
    data: bytes = DATA,
    before: bytes = b"",
    after: bytes = b"",
    extensible: bool = False,
) -> bytes:
    """Return a WAV of 24 kHz whose header states the sizes `riff` and `stated`."""
    format = struct.pack("<HHIIHH", 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    if extensible:
        guid = struct.pack("<H", 1) + b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
        format = b"\xfe\xff" + format[2:] + struct.pack("<HHI", 22, 16, 4) + guid
    return (
        b"RIFF"
        + u32(riff)
        + b"WAVEfmt "
        + u32(len(format))
        + format
        + before
        + b"data"
        + u32(stated)
        + data
        + after
    )


def rf64(riff: int, stated: int, *, data: bytes = DATA, name: bytes = b"RF64") -> bytes:
    sizes = struct.pack("<QQQI", riff & (2**64 - 1), stated & (2**64 - 1), 0, 0)
    content = wav(-1, -1, data=data)
    return name + content[4:12] + b"ds64" + u32(len(sizes)) + sizes + content[12:]


def encoded(subtype: str = "PCM_16", form: str = "WAV", rate_hz: int = RATE_HZ) -> bytes:
    written = io.BytesIO()
    soundfile.write(written, AUDIO, rate_hz, subtype=subtype, format=form)
    return written.getvalue()


def loaded(folder: Path, content: bytes, name: str = "a.wav") -> NDArray[np.int16]:
    (folder / name).write_bytes(content)
    return np.frombuffer(load_pcm(folder / name).data, "<i2")


def refusal(folder: Path, content: bytes, name: str = "a.wav") -> str:
    with pytest.raises(UsageError) as refused:
        loaded(folder, content, name)
    return str(refused.value)


@pytest.mark.parametrize("stated", [0, -1, 0x7FFF_FFFF, len(DATA)])
@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(
    "after",
    [b"", LIST, b"id3 " + u32(11) + b"ID3\x04" + bytes(8), LIST + b"bext" + u32(602) + bytes(602)],
)
def test_chunks_around_the_audio_are_not_played(
    tmp_path: Path, stated: int, extensible: bool, after: bytes
) -> None:
    content = wav(-1, stated, before=LIST, after=after, extensible=extensible)

    assert loaded(tmp_path, content).tobytes() == DATA


@pytest.mark.parametrize("name", [b"RF64", b"BW64"])
@pytest.mark.parametrize("stated", [0, -1, 2**63 - 1, 0xFFFF_FFFF, len(DATA)])
def test_a_wav_with_sizes_of_64_bits_is_read_to_its_end(
    tmp_path: Path, stated: int, name: bytes
) -> None:
    assert loaded(tmp_path, rf64(-1, stated, name=name)).tobytes() == DATA


@pytest.mark.parametrize(
    "after", [bytes(4_096), bytes(300_000), b"\r\n", b"TAG" + b"title".ljust(125), b"\0"]
)
def test_padding_and_tags_after_the_audio_are_not_played(tmp_path: Path, after: bytes) -> None:
    assert loaded(tmp_path, wav(36 + len(DATA), len(DATA), after=after)).tobytes() == DATA


CUT = (
    r"is truncated, or its header has a placeholder: it states \d+ bytes of audio, but has \d+; if"
    r" it was cut, get it"
)


@pytest.mark.parametrize(
    "content", [rf64(80 + 2 * len(DATA), 2 * len(DATA)), wav(-1, 3_600 * 2 * RATE_HZ)]
)
def test_a_size_that_a_recording_may_have_counts_as_truncated(
    tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(UsageError, match=CUT):
        loaded(tmp_path, content)


def test_audio_beyond_the_stated_size_is_refused(tmp_path: Path) -> None:
    assert (
        "but 57600 follow: the size is a placeholder, or the file was not closed; convert it"
        in refusal(tmp_path, wav(36 + 24_000, 24_000))
    )


@pytest.mark.parametrize("silence", [0, 65_536, 2_000_000])
def test_audio_after_a_long_silence_beyond_the_stated_size_is_refused(
    tmp_path: Path, silence: int
) -> None:
    """A header that was written before the end of a call may end in a pause of the call."""
    content = wav(36 + len(DATA), len(DATA), data=DATA + bytes(silence) + DATA)
    assert f"but {2 * len(DATA) + silence} follow: the size is a placeholder" in refusal(
        tmp_path, content
    )


@pytest.mark.parametrize("stated", [len(DATA), -1, 0])
def test_several_wavs_in_one_file_are_refused(tmp_path: Path, stated: int) -> None:
    assert "contains several recordings" in refusal(tmp_path, wav(36 + stated, stated) * 2)


@given(size=st.integers(1, 2**32 - 1))
def test_the_size_of_a_recording_is_rarely_a_placeholder(size: int) -> None:
    near = [2**power for power in range(24, 33)] + [100_000_000 * times for times in range(1, 43)]

    assert is_placeholder(size) == any(
        -64 <= size - number <= 64
        or (number >= 2**31 and 2**31 in (number, number / 2) and -65_536 <= size - number <= 64)
        for number in near
    )


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


FRAMES, STATED = len(AUDIO), len(AUDIO) // 2


def stated_in(form: str, size: str, value: int) -> bytes:
    """Return a file of a form in which one size is replaced. `size` is the format of its number."""
    content = bytearray(encoded(form=form))
    at = {"AU": 8, "CAF": content.find(b"data") + 4, "AIFF": content.find(b"SSND") + 4}[form]
    struct.pack_into(size, content, at, value)
    return bytes(content)


def noisy_flac(stated: int) -> bytes:
    """Return a FLAC that is too large to be read at once."""
    written = io.BytesIO()
    soundfile.write(written, RNG.uniform(-0.5, 0.5, FRAMES), RATE_HZ, format="FLAC")
    content = bytearray(written.getvalue())
    struct.pack_into(">I", content, 22, stated)
    return bytes(content)


UNFINISHED: dict[str, tuple[bytes, str, str]] = {
    "AU, 0": (
        stated_in("AU", ">I", 0),
        "states 0.0 s of audio, but 57600 more",
        "sox --ignore-length a.wav a-pcm.wav",
    ),
    "AU, 31 bits": (
        stated_in("AU", ">I", 0x7FFF_FFFF),
        "states 0.0 s of audio, but 57600 more",
        "sox",
    ),
    "AU, half": (stated_in("AU", ">I", 2 * STATED), "states 0.6 s of audio, but 28800 more", "sox"),
    "AIFF, only the head": (
        stated_in("AIFF", ">I", 8),
        "states 0.0 s of audio, but 57600 more",
        "sox",
    ),
    "AIFF, half": (
        stated_in("AIFF", ">I", 8 + 2 * STATED),
        "states 0.6 s of audio, but 28800 more",
        "sox",
    ),
    "CAF, only the head": (
        stated_in("CAF", ">q", 4),
        "states 0.0 s of audio, but 57600 more",
        "export it again",
    ),
    "CAF, half": (
        stated_in("CAF", ">q", 4 + 2 * STATED),
        "states 0.6 s of audio, but 28800 more",
        "export it again",
    ),
    "FLAC, half": (
        noisy_flac(STATED),
        "states 0.6 s of audio, but",
        "ffmpeg -i a.wav a-pcm.wav",
    ),
    "Ogg, twice": (
        2 * encoded("VORBIS", "OGG"),
        "states 1.2 s of audio, but",
        "ffmpeg -i a.wav a-pcm.wav",
    ),
    "Opus, twice": (
        2 * encoded("OPUS", "OGG"),
        "states 1.2 s of audio, but",
        "ffmpeg -i a.wav a-pcm.wav",
    ),
}


@pytest.mark.parametrize(("content", "reason", "remedy"), UNFINISHED.values(), ids=UNFINISHED)
def test_audio_beyond_the_stated_size_is_refused_in_each_format(
    tmp_path: Path, content: bytes, reason: str, remedy: str
) -> None:
    line = refusal(tmp_path, content)
    assert reason in line
    assert "follow: its header was not finished, or another recording follows; " in line
    assert remedy in line


@pytest.mark.parametrize("form", ["AIFF", "CAF"])
def test_chunks_after_the_audio_are_not_played_in_each_format(tmp_path: Path, form: str) -> None:
    size = struct.pack(">I" if form == "AIFF" else ">q", 2_000)
    assert len(loaded(tmp_path, encoded(form=form) + b"midi" + size + RNG.bytes(2_000))) == FRAMES


TAG = b"ID3\x04\0\0\0\0\x01\x00" + bytes(128)


@pytest.mark.parametrize(
    "content",
    [
        TAG + encoded(),
        TAG + wav(-1, 0),
        TAG * 2 + encoded(),
        TAG + encoded(form="FLAC"),
        encoded("VORBIS", "OGG"),
    ],
)
def test_a_tag_before_the_audio_is_skipped(tmp_path: Path, content: bytes) -> None:
    assert len(loaded(tmp_path, content)) == len(AUDIO)


def in_wav(tag: int) -> bytes:
    content = encoded()
    return content[:20] + struct.pack("<H", tag) + content[22:]


MP3 = encoded("MPEG_LAYER_III", "MP3")
AAC = b"\xff\xf1\x50\x80\x10\x1f\xfc" + bytes(121)
RAW = (
    r"has no header of a known format; if it is raw audio, .*: ffmpeg -f mulaw -ar 8000 -ac 1 -i"
    r" a.wav a-pcm.wav$"
)
TO_WAV = "; convert it to WAV: ffmpeg -i a.wav a.%s.wav$"
"""The remedy for a file with a lossy codec, which is part of the new name."""
FILLED = "; convert it to WAV: ffmpeg -i a.wav -af aresample=async=1 a.%s.wav$"
"""The remedy for a file whose packets have timestamps. It keeps the pauses in which no packet
was stored."""
OTHER: dict[str, tuple[bytes, str]] = {
    "MP3": (MP3, "is an MP3, even if its name differs" + TO_WAV % "mp3"),
    "an MP3 that is cut": (MP3[:700], "is an MP3, even if its name differs" + TO_WAV % "mp3"),
    "an MP3 with a tag": (TAG + MP3, "is an MP3, even if its name differs" + TO_WAV % "mp3"),
    "MP3 in a WAV": (
        in_wav(0x55),
        r"contains MPEG audio \(MP3\) \(format 0x0055\)" + TO_WAV % "mp3",
    ),
    "AAC in a WAV": (in_wav(0xFF), "contains AAC .format 0x00FF." + TO_WAV % "aac"),
    "G.729 in a WAV": (in_wav(0x83), r"contains G\.729 .format 0x0083." + TO_WAV % "g729"),
    "AAC": (AAC * 3, "is AAC" + TO_WAV % "aac"),
    "MP4": (b"\0\0\0\x20ftypisom" + bytes(900), r"is MP4 or M4A \(such as AAC\)" + FILLED % "aac"),
    "AMR": (b"#!AMR\n" + RNG.bytes(900), "is AMR; convert it to WAV: sox a.wav a.amr.wav$"),
    "AMR-WB": (b"#!AMR-WB\n" + RNG.bytes(900), "is AMR; convert it to WAV: sox a.wav a.amr.wav$"),
    "WebM": (b"\x1a\x45\xdf\xa3" + RNG.bytes(900), "is WebM or Matroska" + FILLED % "opus"),
    "SILK": (
        b"\x02#!SILK_V3" + RNG.bytes(900),
        r"is SILK, .* to a WAV whose name ends with \.silk\.wav$",
    ),
    "AMR in a WAV": (in_wav(0x57), "contains AMR .format 0x0057." + FILLED % "amr"),
    "WMA": (b"\x30\x26\xb2\x75" + RNG.bytes(900), "is WMA" + TO_WAV % "wma"),
    **{
        f"a {form} that was read as text and written as {coding}": (
            content.decode(read_as, errors="replace").encode(coding),
            rf"read it as text, and has written it as {written}; get the original again, and copy"
            " it as a binary file$",
        )
        for form, content in (("WAV", encoded()), ("FLAC", encoded("PCM_16", "FLAC")))
        for read_as, coding, written in (
            ("utf-8", "utf-8", "UTF-8"),
            ("latin-1", "utf-8", "UTF-8"),
            ("cp1252", "utf-8-sig", "UTF-8"),
            ("latin-1", "utf-16", "UTF-16-LE"),
        )
    },
    "a WAV with other line breaks": (
        encoded().replace(b"\n", b"\r\n"),
        "read it as text, and has changed its line breaks; get the original .* binary file$",
    ),
    "HTML": (
        b"\n<!DOCTYPE html><html><title>502</title>",
        "is an HTML page, such as the error page of a server",
    ),
    "JSON": (
        b'{"error": {"message": "Inval\xc3\xafd voice"}}',
        "is JSON, such as the error message of a server",
    ),
    "XML": (
        b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>",
        "is XML, such as the error message",
    ),
    "text": (
        b"hello, this is no audio\r\n",
        "is a text; read it in an editor, and download it again$",
    ),
    "UTF-16": ("not audio".encode("utf-16"), "is a text"),
    "a text that is cut within a character": (b"hello, this is no audio \xc3", "is a text"),
    "a playlist": (b"#EXTM3U\nhttps://example.com/a.mp3\n", "is a playlist"),
    "MPEG-TS": ((b"G" + RNG.bytes(187)) * 6, "is an MPEG transport stream" + FILLED % "aac"),
    "an MP3 of layer I": (
        (b"\xff\xff\x44\0" + bytes(124)) * 9,
        "is an MP3, even if its name differs" + TO_WAV % "mp3",
    ),
    "Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid x\n",
        "is a pointer of Git LFS: run git lfs pull$",
    ),
    "gzip": (b"\x1f\x8b\x08\0" + RNG.bytes(90), "is compressed with gzip: unpack it$"),
    "ZIP": (b"PK\x03\x04" + RNG.bytes(90), "is a ZIP archive: unpack it$"),
    "zeros": (
        bytes(50_000),
        "begins with zeros only; if its download failed, get it again; if it is raw audio ",
    ),
    "raw PCM that begins with silence": (
        bytes(20_000) + RNG.bytes(900),
        "begins with zeros only.*: ffmpeg -f s16le ",
    ),
    "µ-law": (encoded("ULAW", "RAW", 8_000), RAW),
    "µ-law that begins with silence": (b"\xff" * 800 + encoded("ULAW", "RAW", 8_000), RAW),
    "µ-law that begins with quiet noise": (
        RNG.choice(np.frombuffer(b"\xff\xfe\x7f\x7e", "u1"), 9_000).tobytes(),
        RAW,
    ),
    "A-law": (encoded("ALAW", "RAW", 8_000), RAW),
    "A-law that begins with silence": (b"\xd5" * 8_000, RAW),
    "raw PCM": (RNG.integers(-3, 3, 9_000).astype("<i2").tobytes(), RAW),
    "empty": (b"", "is empty$"),
}


@pytest.mark.parametrize(("content", "reason"), OTHER.values(), ids=OTHER)
def test_a_file_that_is_not_read_is_named_by_what_it_is(
    tmp_path: Path, content: bytes, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    with pytest.raises(UsageError, match=reason):
        loaded(tmp_path, content)

    assert capfd.readouterr().err == ""


BOMBS: dict[str, tuple[bytes, str]] = {
    "a long recording": (wav(-1, 3_000_010_000, data=b""), "is truncated"),
    "a rate of 2 GHz": (
        encoded()[:24] + u32(2 * 10**9) + encoded()[28:],
        "2000000000 samples per second, the maximum",
    ),
    "blocks of 8 bytes": (
        in_wav(0x11)[:32] + b"\x08\0" + in_wav(0x11)[34:],
        "its header states blocks of 8 bytes",
    ),
    "no format": (
        b"RIFF" + u32(48) + b"WAVEdata" + u32(40) + bytes(40),
        "does not state the format of its audio",
    ),
    "many chunks": (
        wav(-1, -1, before=b"JUNK\0\0\0\0" * 20_000),
        "has more than 10,000 chunks before its audio",
    ),
    "a format chunk of 2 GB": (
        wav(-1, -1)[:16] + u32(2**31) + wav(-1, -1)[20:],
        "ends before its audio begins",
    ),
}


@pytest.mark.parametrize(("content", "reason"), BOMBS.values(), ids=BOMBS)
def test_a_header_that_states_impossible_values_is_refused(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        loaded(tmp_path, content)


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
        UsageError, match=r"has 200 samples .* convert it: ffmpeg -i b.flac -ar 48000 b-pcm.wav$"
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
