"""WAVs whose header states what the test wants, and recordings whose header states another size."""

from __future__ import annotations

import io
import struct

import numpy as np
import soundfile

from bench.plan.recordings import RATE_HZ

RNG = np.random.default_rng(1)
FRAMES, STATED = 28_800, 14_400
AUDIO = (0.3 * np.sin(np.arange(FRAMES) / 20) * np.linspace(0.5, 1, FRAMES)).astype(np.float32)
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


def encoded(
    subtype: str = "PCM_16", form: str = "WAV", rate_hz: int = RATE_HZ, frames: int = FRAMES
) -> bytes:
    written = io.BytesIO()
    endian = "BIG" if form == "RIFX" else None
    form = "WAV" if form == "RIFX" else form
    soundfile.write(written, AUDIO[:frames], rate_hz, subtype=subtype, format=form, endian=endian)
    return written.getvalue()


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


IN_FULL = r"truncated, or was written to a pipe: its header states \d+ bytes, but it has \d+; .*; "
IN_FULL += "otherwise convert it to WAV: ffmpeg -i a.wav a-pcm.wav$"
MORE = r"states {} s of audio, but {} more bytes follow; if they are another recording, separate "
MORE += "it; otherwise {}$"
TO_WAV = "convert it to WAV: ffmpeg -i a.wav a-pcm.wav"
IGNORED = "convert it to WAV: ffmpeg -ignore_length 1 -i a.wav a-pcm.wav"
LIES: dict[str, tuple[bytes, str]] = {
    "a pipe": (wav(-1, -1), IN_FULL),
    "a pipe, with chunks": (wav(-1, -1, before=LIST), IN_FULL),
    "a pipe, extensible": (wav(-1, -1, extensible=True), IN_FULL),
    "a pipe, 31 bits": (wav(0x7FFF_FFFF + 36, 0x7FFF_FFFF), IN_FULL),
    "a pipe, espeak-ng": (wav(0x7FFF_F024, 0x7FFF_F000), IN_FULL),
    "only the size of the audio": (wav(36 + len(DATA), -1), IN_FULL),
    "a pipe, 0": (wav(36, 0), MORE.format(r"0\.0", 57_600, IGNORED)),
    "half": (wav(36 + 2 * STATED, 2 * STATED), MORE.format(r"0\.6", 28_800, IGNORED)),
    "half, in one size": (wav(36 + len(DATA), 2 * STATED), MORE.format(r"0\.6", 28_800, IGNORED)),
    "half, RF64": (rf64(72 + 2 * STATED, 2 * STATED), MORE.format(r"0\.6", 28_800, IGNORED)),
    "FLAC, half": (noisy_flac(STATED), MORE.format(r"0\.6", r"\d+", TO_WAV)),
}
"""Complete recordings whose header states another size. The command in the message converts each of
them."""
