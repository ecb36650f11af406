"""The kind of a file that is not audio which this tool reads, from its first bytes. Pure.

Files have names that differ from their content: a download that failed is an error page, and a voice may be an MP3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

FIRST_BYTES = 1 << 14
"""The number of bytes at the start of a file that `kind_of` needs."""


class FileKind(NamedTuple):
    """What a file is, as the rest of a sentence, and its lossy codec, or "".

    `converter` starts the command that converts it to a WAV, before `-i`; None if `text` has the remedy.
    """

    text: str
    converter: str | None = "ffmpeg"
    codec: str = ""


RAW = FileKind(
    "is not readable audio: it has no header of a known format; if it is raw audio, state its rate and its encoding "
    "(mulaw, alaw or s16le)",
    "ffmpeg -f mulaw -ar 8000 -ac 1",
)
_LATER = "download it again"
AUDIO = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff", b"FORM", b".snd", b"dns.", b"fLaC", b"OggS", b"caff")
"""The first bytes of the formats that are read."""
_MAGIC: tuple[tuple[int, bytes, FileKind], ...] = (
    (0, b"#!AMR", FileKind("is AMR", codec="amr")),
    (0, b"#!SILK", FileKind("is SILK", codec="silk")),
    (0, b"\x02#!SILK", FileKind("is SILK", codec="silk")),
    (0, b"\x1a\x45\xdf\xa3", FileKind("is WebM or Matroska", codec="opus")),
    (0, b"\x30\x26\xb2\x75", FileKind("is WMA", codec="wma")),
    (0, b"ADIF", FileKind("is AAC", codec="aac")),
    (0, b"wvpk", FileKind("is WavPack")),
    (0, b"MAC ", FileKind("is Monkey's Audio")),
    (0, b"FLV", FileKind("is Flash video", codec="aac")),
    (0, b"\x0b\x77", FileKind("is AC-3", codec="ac3")),
    (4, b"ftyp", FileKind("is MP4 or M4A (such as AAC)", codec="aac")),
    (0, b"\x1f\x8b", FileKind("is compressed with gzip: unpack it", converter=None)),
    (0, b"PK\x03\x04", FileKind("is a ZIP archive: unpack it", converter=None)),
    (0, b"BZh", FileKind("is compressed with bzip2: unpack it", converter=None)),
    (0, b"\xfd7zXZ", FileKind("is compressed with xz: unpack it", converter=None)),
    (0, b"\x28\xb5\x2f\xfd", FileKind("is compressed with zstd: unpack it", converter=None)),
    (0, b"%PDF", FileKind(f"is a PDF, and no audio: {_LATER}", converter=None)),
    (0, b"version https://git-lfs", FileKind("is a pointer of Git LFS: run git lfs pull", converter=None)),
)
_KBPS = {  # (MPEG version 1, layer) → kbit/s by index
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = (44_100, 48_000, 32_000)


def tag_bytes(first: bytes) -> int:
    """Return the size of the ID3 tag with which a file begins; 0 if there is none."""
    if len(first) < 10 or first[:3] != b"ID3" or max(first[6:10]) > 0x7F:
        return 0
    size = first[6] << 21 | first[7] << 14 | first[8] << 7 | first[9]
    return 10 + size + (10 if first[5] & 0x10 else 0)


def kind_of(first: bytes, *, is_tagged: bool) -> FileKind | None:
    """Return the kind of a file that is not read, or None. `is_tagged` is True if ID3 tags precede `first`."""
    if first.startswith(AUDIO):
        return None
    for at, magic, kind in _MAGIC:
        if first.startswith(magic, at):
            return kind
    if is_tagged or first[:3] == b"ID3" or _has_frames(first, _mpeg_frame_bytes):
        return FileKind("is an MP3, even if its name differs", codec="mp3")
    if _has_frames(first, _adts_frame_bytes):
        return FileKind("is AAC", codec="aac")
    if len(first) > 188 and first[0] == first[188] == 0x47:
        return FileKind("is an MPEG transport stream", codec="aac")
    if not any(first):
        return FileKind(
            "is not readable audio: it begins with zeros only; if its download failed, get it again; if it is raw "
            "audio that begins with silence, state its rate and its encoding (s16le)",
            "ffmpeg -f s16le -ar 8000 -ac 1",
        )
    if text := _text_kind(first):
        return text
    return RAW if first[:1] == b"\xff" else None  # libsndfile would search it for an MP3


def _text_kind(first: bytes) -> FileKind | None:
    if first.startswith((b"\xff\xfe", b"\xfe\xff")) and first[2:3] + first[3:4]:
        text = first[: len(first) // 2 * 2].decode("utf-16", errors="replace")
    else:
        try:
            text = first.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            if error.start < len(first) - 4 or error.start < 16:  # otherwise, a character is cut
                return None
            text = first[: error.start].decode("utf-8-sig")
    if sum(character.isprintable() or character in "\t\r\n\f" for character in text) < 0.99 * len(text):
        return None
    start = text.lstrip()[:200].lower()
    if start.startswith(("<!doctype html", "<html", "<head", "<body")):
        name = "an HTML page, such as the error page of a server"
    elif start.startswith("<"):
        name = "XML, such as the error message of a server"
    elif start.startswith(("{", "[")):
        name = "JSON, such as the error message of a server"
    elif start.startswith(("#extm3u", "[playlist]")):
        name = "a playlist"
    else:
        name = "a text"
    return FileKind(f"is not readable audio: it is {name}; read it in an editor, and {_LATER}", converter=None)


def _has_frames(first: bytes, frame_bytes: Callable[[bytes], int]) -> bool:
    """Return whether there are frames at the start: two, or one that is longer than the file."""
    size = frame_bytes(first[:6])
    return size > 0 and (size + 6 > len(first) or frame_bytes(first[size : size + 6]) > 0)


def _mpeg_frame_bytes(header: bytes) -> int:
    """Return the size of the MPEG audio frame with this header; 0 if it is not a header."""
    if len(header) < 4 or header[0] != 0xFF or header[1] < 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    kbps_index, rate_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or kbps_index in (0, 15) or rate_index == 3:
        return 0
    is_first = version == 3
    bits_per_s = 1_000 * _KBPS[is_first, layer][kbps_index - 1]
    rate_hz = _RATES_HZ[rate_index] >> (0 if is_first else 1 if version == 2 else 2)
    if layer == 1:
        return (12 * bits_per_s // rate_hz + padding) * 4
    return (144 if is_first or layer == 2 else 72) * bits_per_s // rate_hz + padding


def _adts_frame_bytes(header: bytes) -> int:
    """Return the size of the AAC frame with this header; 0 if it is not a header."""
    if len(header) < 6 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0 or header[2] >> 2 & 0xF > 12:
        return 0
    size = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return size if size >= 7 else 0
