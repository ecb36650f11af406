"""The kind of a file, from its first bytes: audio in a WAV, or which other file it is. Pure.

Files have names that differ from their content: a download that failed is an error page, and a
voice may be an MP3. Programs that write a WAV to a pipe or a connection do not know its length, so
its header may state another size.
"""

# A WAV states its size twice: in its `RIFF` header, and in its `data` chunk. If both are true, the
# file is read as it is. If a size is a placeholder, the audio lasts until the end of the file, or
# until known chunks that end exactly there. If it is neither, the file was cut, or not closed, or
# has more than one recording. Nothing tells these apart with certainty, and a wrong guess would
# play noise or lose words. So such a file is refused, with the command that decides it.

import codecs
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

Reader = Callable[[int, int], bytes]
"""A function that returns the bytes of a file from a position on, given (position, number of
bytes)."""
ORDERS: dict[bytes, Literal["<", ">"]] = {b"RIFF": "<", b"RF64": "<", b"BW64": "<", b"RIFX": ">"}
"""The first bytes of a WAV, and its byte order. `RF64` and `BW64` have sizes of 64 bits in the
chunk `ds64`."""
CONVERT = "convert it to WAV"
MAX_CHUNKS = 10_000
MAX_FORMAT_BYTES = 4_096
ADPCM = (0x02, 0x11)
MIN_BLOCK_BYTES = 32
"""The tags of Microsoft's and IMA's ADPCM, and the minimum of their blocks. libsndfile reads each
block alone, so smaller blocks would take minutes."""
MAX_AUDIO_BYTES = 0xFFFF_0000
ALL_ONES = 0xFFFF_FFFF
NO_AUDIO_S = 0.1
NO_AUDIO_BYTES = 65
"""A stated duration, and a stated size, below which a header has a placeholder if other data
than chunks follow."""
SEVERAL = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"data")
"""The chunks that contain more audio, if they follow the audio."""
_SEVERAL = f"contains several recordings, one after another: separate them, and {CONVERT}"
MAX_SEARCHED_BYTES = 256 << 20
MAX_LAST_CHUNKS = 16
MIN_REST_BYTES = 8
"""The minimum number of bytes after the stated audio that may be audio. Fewer are no more than 1
ms."""
LAST_BYTES = 1 << 20
"""The size of the end of a file in which the chunks after the audio are searched."""
_LAST_CHUNK = re.compile(
    rb"LIST|list|id3 |ID3 |bext|iXML|axml|aXML|cue |smpl|inst|fact|PEAK|JUNK|junk|PAD"
    rb" |FLLR|cart|DISP|afsp|_PMX|acid"
    rb"|note|labl|ltxt|plst|chna|umid|minf|elm1|regn|LGWV|strc|ovwf|C2PA"
)
_ID = re.compile(rb"[\x20-\x7e]{4}\Z")
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")
UNREADABLE_CODECS = {
    **dict.fromkeys((0x50, 0x55), "MPEG audio (MP3)"),
    **dict.fromkeys((0xFF, 0x1600, 0x1601, 0x1602, 0x1610, 0x706D, 0xA106), "AAC"),
    **dict.fromkeys((0x160, 0x161, 0x162, 0x163), "WMA"),
    **dict.fromkeys((0x57, 0x58, 0x7361, 0x7A21, 0x7A22), "AMR"),
    **dict.fromkeys((0x14, 0x42, 0x123, 0xA100), "G.723.1"),
    **dict.fromkeys((0x45, 0x64, 0x85, 0x140, 0xA107), "G.726"),
    **dict.fromkeys((0x44, 0x72, 0x83, 0x133, 0x134, 0x14D, 0xA103), "G.729"),
    **dict.fromkeys((0x65, 0x8F, 0xA102), "G.722"),
    **dict.fromkeys((0x674F, 0x6750, 0x6751, 0x676F, 0x6770, 0x6771), "Vorbis"),
    **dict.fromkeys((0x92, 0x2000), "AC-3"),
    0x22: "TrueSpeech",
    0x270: "ATRAC3",
    0x704F: "Opus",
    0xA109: "Speex",
    0xF1AC: "FLAC",
}
"""The codecs of a WAV that rtbench does not read, by the format tag. The decoder of MP3 hides
damage."""


class WavError(ValueError):
    """A WAV that cannot be read. The text continues a sentence whose subject is the file, and has
    `CONVERT` if a command can.

    `codec` is its lossy codec; "" if it has none, or if it is unknown.
    """

    def __init__(self, text: str, codec: str = "") -> None:
        super().__init__(text)
        self.codec = codec


@dataclass(frozen=True)
class WavAudio:
    """The audio of a WAV: the bytes of its file from `start` to `end`. `header` states their
    number.
    """

    header: bytes
    start: int
    end: int


def wav_audio(read: Reader, offset: int, file_bytes: int) -> WavAudio | None:
    """Return the audio of the WAV at `offset` of a file; None if there is none, or with true sizes.

    Raise WavError if the audio is truncated, not the only audio of the file, or of a codec that is
    not read.
    """
    head = read(offset, 12)
    if head[:4] not in ORDERS or head[8:] != b"WAVE":
        return None
    order = ORDERS[head[:4]]
    riff_bytes = _u32(head, 4, order)
    format = b""
    wide_bytes = None
    position = offset + 12
    for _ in range(MAX_CHUNKS):
        chunk = read(position, 8)
        if len(chunk) < 8:
            raise WavError(
                f"is not readable audio, or is damaged (it ends before its audio begins); {CONVERT}"
            )
        name = chunk[:4]
        size = _u32(chunk, 4, order)
        start = position + 8
        if name == b"data":
            break
        if name == b"fmt ":
            format = read(start, min(size, MAX_FORMAT_BYTES))
        elif name == b"ds64":
            wide_bytes = int.from_bytes(read(start + 8, 8), "little")
        position = _after(read, start, size)
    else:
        raise WavError(
            f"is damaged: it has more than {MAX_CHUNKS:,} chunks before its audio; {CONVERT}"
        )
    if len(format) < 16:
        raise WavError(f"is damaged: its header does not state the format of its audio; {CONVERT}")
    if codec := UNREADABLE_CODECS.get(_tag(format, order)):
        codec_name = re.sub(r".*\(|[.)-]", "", codec.lower()) if codec != "FLAC" else ""
        raise WavError(
            f"contains {codec} (format 0x{_tag(format, order):04X}); {CONVERT}", codec_name
        )
    if _tag(format, order) in ADPCM and (block := _u16(format, 12, order)) < MIN_BLOCK_BYTES:
        raise WavError(f"is damaged: its header states blocks of {block} bytes; {CONVERT}")
    stated = wide_bytes if size == ALL_ONES and wide_bytes is not None else size
    is_whole = abs(offset + 8 + riff_bytes - file_bytes) <= 1
    end = _audio_end(
        read, start, file_bytes, stated, _u32(format, 8, order), order, is_whole=is_whole
    )
    if offset == 0 and 8 + riff_bytes == file_bytes and end == start + size:
        return None
    if end - start > MAX_AUDIO_BYTES:
        raise WavError(f"has more than 4 GiB of audio; {CONVERT}")
    form = b"RIFF" if order == "<" else b"RIFX"
    format += b"\0" * (len(format) % 2)
    chunks = b"WAVEfmt " + struct.pack(f"{order}I", len(format)) + format + b"data"
    size = end - start
    return WavAudio(
        form
        + struct.pack(f"{order}I", len(chunks) + 4 + size)
        + chunks
        + struct.pack(f"{order}I", size),
        start,
        end,
    )


def is_placeholder(stated: int) -> bool:
    """Return whether a stated number of bytes is a placeholder, because a recording has it by no
    chance.

    Placeholders are near a power of two or a multiple of 100 MB, or larger than any file. A program
    may subtract the size of a header, or round to its buffer.
    """
    power = 1 << stated.bit_length()
    if stated < (1 << 24) - 64:
        return False
    rounding = 0x1_0000 if power in (1 << 31, 1 << 32, 1 << 63, 1 << 64) else 64
    beyond = stated % 100_000_000
    return (
        power - stated <= rounding
        or stated - power // 2 <= 64
        or (stated > 100_000_000 - 64 and min(beyond, 100_000_000 - beyond) <= 64)
        or power > 1 << 50
    )


def cut_or_placeholder(stated: int, actual: int) -> str:
    """Return the refusal of a file whose header states more bytes of audio than it has."""
    return (
        f"is truncated, or its header has a placeholder: it states {stated} bytes of audio, but has"
        f" {actual}; if it was cut, get it again; otherwise {CONVERT}"
    )


def _audio_end(
    read: Reader,
    start: int,
    file_bytes: int,
    stated: int,
    bytes_per_s: int,
    order: str,
    *,
    is_whole: bool,
) -> int:
    """Return the end of the audio. `is_whole` is True if the other size in the header is that of
    the file.
    """
    available = file_bytes - start
    if stated > available:
        if is_whole or is_placeholder(stated):
            return _before_last_chunks(read, start, file_bytes, order)
        raise WavError(cut_or_placeholder(stated, available))
    end = start + stated
    if any(are_chunks(read, at, file_bytes, order) for at in (end, end + stated % 2)):
        return end
    if stated < max(NO_AUDIO_BYTES, NO_AUDIO_S * bytes_per_s) or is_placeholder(stated):
        return _before_last_chunks(read, start, file_bytes, order)
    if is_padding(read, end, file_bytes):
        return end
    breaks = read(start, 1 << 20)
    if breaks.count(b"\n") == breaks.count(b"\r\n") > 8:  # chance has one of 256
        raise WavError(_AS_TEXT.format("changed its line breaks"))
    raise WavError(
        f"states {stated} bytes of audio in its header, but {available} follow: the size is a"
        f" placeholder, or the file was not closed; {CONVERT} (with -ignore_length 1 before -i, if"
        " all of them are audio)"
    )


def is_padding(read: Reader, start: int, end: int) -> bool:
    """Return whether the bytes of a file after its audio are zeros, or tags, or too few for
    audio.
    """
    if end - start < MIN_REST_BYTES or read(start, MIN_REST_BYTES).startswith(_TAGS):
        return True
    return not any(any(read(position, LAST_BYTES)) for position in range(start, end, LAST_BYTES))


def are_chunks(read: Reader, position: int, end: int, order: str) -> bool:
    """Return whether chunks, the last perhaps cut, or nothing follow a position. Raise WavError
    if they have audio.
    """
    if end - position <= 1:  # the end, or a padding byte
        return True
    for number in range(MAX_CHUNKS):
        chunk = read(position, 8)
        if len(chunk) < 8 or not _ID.match(chunk[:4]):
            return number > 0
        if chunk[:4] in SEVERAL:
            raise WavError(_SEVERAL)
        size = _u32(chunk, 4, order)
        if position + 8 + size > end:
            return number > 0 or _LAST_CHUNK.match(chunk) is not None
        position = _after(read, position + 8, size)
        if position >= end:
            break
    return True


def _before_last_chunks(read: Reader, start: int, end: int, order: str) -> int:
    """Return the end of audio that lasts until the end of a file, or until the chunks there.

    The last of these chunks ends where the file ends. Raise WavError if another WAV is within the
    audio.
    """
    for position in range(start, min(end, start + MAX_SEARCHED_BYTES), LAST_BYTES):
        if b"WAVEfmt " in read(position, LAST_BYTES + 8):
            raise WavError(_SEVERAL)
    if end - 128 > start and read(end - 128, 3) == b"TAG":
        end -= 128
    first = max(start, end - LAST_BYTES)
    tail = read(first, end - first)
    for found in _LAST_CHUNK.finditer(tail):
        position = found.start()
        for _ in range(MAX_LAST_CHUNKS):
            chunk = tail[position : position + 8]
            if len(chunk) < 8 or not _ID.match(chunk[:4]):
                break
            size = _u32(chunk, 4, order)
            position += 8 + size
            if position <= len(tail) <= position + size % 2:
                return first + found.start()
            position += size % 2
    return end


def _after(read: Reader, start: int, size: int) -> int:
    """Return the position after a chunk. A chunk of odd size has a padding byte, which some
    programs omit.
    """
    end = start + size
    return (
        end
        if size % 2 == 0 or (_ID.match(read(end, 4)) and not _ID.match(read(end + 1, 4)))
        else end + 1
    )


def _tag(format: bytes, order: str) -> int:
    """Return the format tag. An extensible format has the tag at the start of its subformat."""
    tag = _u16(format, 0, order)
    return _u16(format, 24, order) if tag == 0xFFFE and len(format) >= 26 else tag


def _u32(data: bytes, at: int, order: str) -> int:
    return int(struct.unpack_from(f"{order}I", data, at)[0])


def _u16(data: bytes, at: int, order: str) -> int:
    return int(struct.unpack_from(f"{order}H", data, at)[0])


FIRST_BYTES = 1 << 14
"""The number of bytes at the start of a file that `kind_of` needs."""


class FileKind(NamedTuple):
    """What a file is, as the rest of a sentence, and its lossy codec, or "".

    `converter` is the command that converts it to a WAV, before the file; None if `text` has the
    remedy. `options` follow the file.
    """

    text: str
    converter: str | None = "ffmpeg -i"
    codec: str = ""
    options: str = ""


UNKNOWN = FileKind("is not a format that is read")
RAW = FileKind(
    "is not readable audio: it has no header of a known format; if it is raw audio, state its rate"
    " and its encoding (mulaw, alaw or s16le)",
    "ffmpeg -f mulaw -ar 8000 -ac 1 -i",
)
FILL_GAPS = "-af aresample=async=1 "
"""The option of ffmpeg that fills the time between packets that were not stored with silence.
Without it, all later sounds are too early."""
_LATER = "download it again"
_SILK = FileKind(
    "is SILK, which neither ffmpeg nor SoX reads: convert it with the decoder of the SILK SDK to a"
    " WAV whose name ends with .silk.wav",
    converter=None,
)
AUDIO = (
    b"RIFF",
    b"RIFX",
    b"RF64",
    b"BW64",
    b"riff",
    b"FORM",
    b".snd",
    b"dns.",
    b"fLaC",
    b"OggS",
    b"caff",
)
"""The first bytes of the formats that are read."""
_MAGIC: tuple[tuple[int, bytes, FileKind], ...] = (
    # ffmpeg drops the frames of pauses, and ends with an error
    (0, b"#!AMR", FileKind("is AMR", "sox", "amr")),
    (0, b"#!SILK", _SILK),
    (0, b"\x02#!SILK", _SILK),
    (0, b"\x1a\x45\xdf\xa3", FileKind("is WebM or Matroska", codec="opus", options=FILL_GAPS)),
    (0, b"\x30\x26\xb2\x75", FileKind("is WMA", codec="wma")),
    (0, b"ADIF", FileKind("is AAC", codec="aac")),
    (0, b"wvpk", FileKind("is WavPack")),
    (0, b"MAC ", FileKind("is Monkey's Audio")),
    (0, b"FLV", FileKind("is Flash video", codec="aac", options=FILL_GAPS)),
    (0, b"\x0b\x77", FileKind("is AC-3", codec="ac3")),
    (4, b"ftyp", FileKind("is MP4 or M4A (such as AAC)", codec="aac", options=FILL_GAPS)),
    (0, b"\x1f\x8b", FileKind("is compressed with gzip: unpack it", converter=None)),
    (0, b"PK\x03\x04", FileKind("is a ZIP archive: unpack it", converter=None)),
    (0, b"BZh", FileKind("is compressed with bzip2: unpack it", converter=None)),
    (0, b"\xfd7zXZ", FileKind("is compressed with xz: unpack it", converter=None)),
    (0, b"\x28\xb5\x2f\xfd", FileKind("is compressed with zstd: unpack it", converter=None)),
    (0, b"%PDF", FileKind(f"is a PDF, and no audio: {_LATER}", converter=None)),
    (
        0,
        b"version https://git-lfs",
        FileKind("is a pointer of Git LFS: run git lfs pull", converter=None),
    ),
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
    """Return the kind of a file that is not read, or None. `is_tagged` is True if ID3 tags
    precede `first`.
    """
    if coded := _text_coded(first):
        return coded
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
        return FileKind("is an MPEG transport stream", codec="aac", options=FILL_GAPS)
    if not any(first):
        return FileKind(
            "is not readable audio: it begins with zeros only; if its download failed, get it"
            " again; if it is raw audio that begins with silence, state its rate and its encoding"
            " (s16le)",
            "ffmpeg -f s16le -ar 8000 -ac 1 -i",
        )
    if text := _text_kind(first):
        return text
    return RAW if first[:1] == b"\xff" else None  # libsndfile would search it for an MP3


# Audio has bytes that no text in UTF-8 has. A program that reads it as text replaces these bytes,
# or writes them as characters of two bytes. The first bytes of the header stay what they were.
def _text_coded(first: bytes) -> FileKind | None:
    """Return the kind of an audio file that a program has read as a text, and written again."""
    bom = next((bom for bom in _BOMS if first.startswith(bom)), b"")
    coding = _BOMS.get(bom, "utf-8")
    text = codecs.getincrementaldecoder(coding)("replace" if bom else "strict")
    try:
        characters = text.decode(first[len(bom) :])
    except UnicodeDecodeError:
        return None
    others = sum(character > "\x7f" for character in characters)
    is_audio = characters.startswith(tuple(start.decode() for start in AUDIO))
    if not is_audio or others < max(8, len(characters) // 50):
        return None
    return FileKind(_AS_TEXT.format(f"written it as {coding.upper()}"), converter=None)


_BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_AS_TEXT = (
    "is no longer audio: a program has read it as text, and has {}; get the original again, and"
    " copy it as a binary file"
)


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
    if sum(character.isprintable() or character in "\t\r\n\f" for character in text) < 0.99 * len(
        text
    ):
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
    return FileKind(
        f"is not readable audio: it is {name}; read it in an editor, and {_LATER}", converter=None
    )


def _has_frames(first: bytes, frame_bytes: Callable[[bytes], int]) -> bool:
    """Return whether there are frames at the start: two, or one that is longer than the file."""
    size = frame_bytes(first[:6])
    return size > 0 and (size + 6 > len(first) or frame_bytes(first[size : size + 6]) > 0)


def _mpeg_frame_bytes(header: bytes) -> int:
    """Return the size of the MPEG audio frame with this header; 0 if it is not a header."""
    if len(header) < 4 or header[0] != 0xFF or header[1] < 0xE0:
        return 0
    version = header[1] >> 3 & 3
    layer = 4 - (header[1] >> 1 & 3)
    kbps_index = header[2] >> 4
    rate_index = header[2] >> 2 & 3
    padding = header[2] >> 1 & 1
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
    if (
        len(header) < 6
        or header[0] != 0xFF
        or header[1] & 0xF6 != 0xF0
        or header[2] >> 2 & 0xF > 12
    ):
        return 0
    size = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return size if size >= 7 else 0
