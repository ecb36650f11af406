"""Audio files, in blocks of samples: any file that libsndfile reads, within limits that its header
must meet.

This is the only module of the plan that imports `soundfile`. Files come from recorders, downloads
and services: a file of 1 MB may contain 10 GB of samples, and a header may state anything. So the
header is checked first, the samples are read one block after another, and their number is limited.
"""

# libsndfile decides what a file is. It reads a truncated file as a shorter one, and does not read
# what follows the stated end of a header that was not finished, both without an error. Therefore
# the stated size is compared with that of the file: the header may not state more than the file has
# (libsndfile logs this), and no further audio may follow the last frame.
#
# Each refusal states the command that makes a usable WAV, because most files of callers come from
# telephone systems and downloads, and their owners cannot know what is wrong with a header.

import codecs
import hashlib
import io
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

import numpy as np
import soundfile
from numpy.typing import NDArray

from bench.base.errors import UsageError
from bench.base.suggestions import no_such_file
from bench.files.sanitize import excerpt

FORMATS = frozenset({"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG"})
SUFFIXES = frozenset(
    {".wav", ".rf64", ".w64", ".aif", ".aiff", ".au", ".caf", ".flac", ".ogg", ".opus", ".mp3"}
)
"""The suffixes of audio files. MP3 is refused with the command that converts it."""
"""The formats of libsndfile in which programs write speech, and of which it reports positions."""
MAX_RATE_HZ = 768_000
MAX_SAMPLES = 1_000_000_000
"""The maximum number of samples of all channels. Two hours in two channels at 48 kHz have
691,200,000."""
BLOCK_SAMPLES = 1 << 18
"""The number of samples of all channels in a block. A file may have hundreds of channels."""
# full scale is 1; files of floats may exceed it a little, and are clipped
ABSURD_AMPLITUDE = 1_000.0
UNKNOWN_FRAMES = 1 << 62
"""The number from which libsndfile does not know the number of frames, as of a FLAC that was
written to a pipe."""
UNRECOGNIZED = 1
SEVERAL = 61
"""The error codes of libsndfile for a file whose format it does not know, and for a WAV after the
audio of another one."""
FIRST_BYTES = 64
"""The number of bytes at the start of a file that show which other file it is."""
LFS = "version https://git-lfs"
"""The start of a file that Git LFS has in place of its content."""
MIN_REST_BYTES = 8
"""The minimum number of bytes after the stated audio that may be audio. Fewer are no more than 1
ms."""
BLOCK_BYTES = 1 << 20
FILL_GAPS = "-af aresample=async=1 "
"""The option of ffmpeg that fills the time between packets that were not stored with silence.
Without it, all later sounds are too early."""
_OVERSTATED = re.compile(
    r"^\s*(?:RIF[FX]|riff|Riff size|data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)",
    re.MULTILINE,
)
"""A line of libsndfile about a size in a header that is not that of the file."""
_CHUNK_ID = re.compile(rb"(?!RIF[FX]|RF64|FORM|OggS|data|SSND)[\x20-\x7e]{4}\Z")
"""The name of a chunk that contains no audio."""
_CHUNK_HEADERS = {"AIFF": ">4sI", "CAF": ">4sq"}
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")
_FORMAT_TAG_AT = 20
_OTHERS = (
    *((0, bytes((0xFF, second)), "MP3", "mp3") for second in b"\xe2\xe3\xf2\xf3\xfa\xfb"),
    *((0, bytes((0xFF, second)), "AAC", "aac") for second in b"\xf1\xf9"),
    (0, b"#!AMR", "AMR", "amr"),
    (0, b"\x1a\x45\xdf\xa3", "WebM or Matroska", "opus"),
    (4, b"ftyp", "MP4 or M4A", "aac"),
    (_FORMAT_TAG_AT, b"\x22\0", "a WAV with TrueSpeech", "truespeech"),
    (_FORMAT_TAG_AT, b"\x42\0", "a WAV with G.723.1", "g7231"),
    (_FORMAT_TAG_AT, b"\x45\0", "a WAV with G.726", "g726"),
    (_FORMAT_TAG_AT, b"\x50\0", "a WAV with MPEG audio", "mp3"),
    (_FORMAT_TAG_AT, b"\x55\0", "a WAV with MP3", "mp3"),
    (_FORMAT_TAG_AT, b"\x57\0", "a WAV with AMR", "amr"),
    (_FORMAT_TAG_AT, b"\x64\0", "a WAV with G.726", "g726"),
    (_FORMAT_TAG_AT, b"\x65\0", "a WAV with G.722", "g722"),
    (_FORMAT_TAG_AT, b"\x83\0", "a WAV with G.729", "g729"),
    (_FORMAT_TAG_AT, b"\x92\0", "a WAV with AC-3", "ac3"),
    (_FORMAT_TAG_AT, b"\xff\0", "a WAV with AAC", "aac"),
    (_FORMAT_TAG_AT, b"\x61\x01", "a WAV with WMA", "wma"),
    (_FORMAT_TAG_AT, b"\x70\x02", "a WAV with ATRAC3", "atrac3"),
)
"""Files that are not read, by bytes at a position: the kind, and its lossy codec."""
OGG_START = b"OggS\0\x02"
MAX_OGG_STARTS_BYTES = 4_096
"""The first bytes of an Ogg page that starts a stream, and the size of all such pages of a
recording."""
OGG_END_S = 0.019
"""The duration that may lack at the end of an Ogg file: less than a packet. Its last position
may be rounded up."""
_OGG_CUT = "Last page lacks an end-of-stream bit"


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A file that is read without seeks between blocks: some codecs cannot seek, others decode a
    block again.
    """

    def seekable(self) -> bool:
        return False


@dataclass
class AudioFile:
    """An open audio file. `frames` is the number of frames that its header states; None if it
    states none.
    """

    path: Path
    channels: int
    rate_hz: int
    frames: int | None
    _sound: _Sequential = field(repr=False)
    _opened: io.FileIO = field(repr=False)
    _max_minutes: int = field(repr=False)

    @property
    def subtype(self) -> str:
        """The name of libsndfile for the encoding of the samples."""
        return str(self._sound.subtype)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield all samples in blocks. The shape of a block is frames × channels. The last block
        may be empty.

        Raise UsageError if the file is damaged, truncated, or longer than the limits.
        """
        _check_length(self, self.frames or 0)
        count = 0
        size = max(1, BLOCK_SAMPLES // self.channels)
        stated = self.frames
        block = np.zeros((1, self.channels), np.float32)
        while len(block):
            with _errors(self.path):
                # codecs would read beyond the stated end
                left = size if stated is None else min(size, stated - count)
                block = self._sound.read(left, dtype="float32", always_2d=True)
            # written so that it is False for NaN, too
            if not (np.abs(block) <= ABSURD_AMPLITUDE).all():
                raise UsageError(
                    f"{self.path}: is damaged: some of its samples are not numbers, or are far"
                    " beyond full scale"
                )
            count += len(block)
            _check_length(self, count)
            yield block
        lacking = 0 if self._sound.format != "OGG" else round(OGG_END_S * self.rate_hz)
        if self.frames is not None and count + lacking < self.frames:
            raise UsageError(f"{self.path}: {self._missing(count, self.frames)}")
        self._check_rest()

    def _missing(self, count: int, frames: int) -> str:
        """Return the refusal of a file that has fewer frames than it states. An Ogg with its
        last page is not cut.
        """
        if self._sound.format != "OGG":
            return f"is truncated: {count} of {frames} frames"
        lasts, has = (number / self.rate_hz for number in (frames, count))
        return (
            f"has holes: it lasts {lasts:.2f} s by the positions of its packets, but has {has:.2f}"
            " s of audio, as after packet loss, or if a recorder writes nothing in silence; fill"
            " them with silence:"
            f" {_command(self.path, options=FILL_GAPS, codec=self.subtype.lower())}"
        )

    def _check_rest(self) -> None:
        """Raise UsageError if audio may follow the last frame."""
        form = self._sound.format
        descriptor = self._opened.fileno()
        size = os.fstat(descriptor).st_size
        end = os.lseek(descriptor, 0, os.SEEK_CUR)
        if form == "OGG":
            end = _second_stream(descriptor, size)
        elif form == "W64":
            return
        header = ">4sI" if self._sound.endian == "BIG" else "<4sI"
        if not _may_be_audio(descriptor, end, size, _CHUNK_HEADERS.get(form, header)):
            return
        if form in ("AIFF", "AU", "CAF"):
            remedy = "export it again"
        else:
            is_wav = form in ("WAV", "WAVEX", "RF64")
            remedy = _to_wav(self.path, "ffmpeg -ignore_length 1 -i" if is_wav else "ffmpeg -i")
        raise UsageError(
            f"{self.path}: its header states {(self.frames or 0) / self.rate_hz:.1f} s of audio,"
            f" but {size - end} more bytes follow; if they are another recording, separate it;"
            f" otherwise {remedy}"
        )

    def digest(self) -> str:
        """Return the SHA-256 of the file, in hex. No more blocks can be read then."""
        self._opened.seek(0)
        return hashlib.file_digest(self._opened, "sha256").hexdigest()


@contextmanager
def open_audio(path: Path, max_minutes: int) -> Iterator[AudioFile]:
    """Open an audio file of up to `max_minutes`. Raise UsageError with a remedy if it is
    missing, cut, or no audio.
    """
    with _opened(path) as opened:
        _check_kind(path, opened)
        with _errors(path):
            sound = _Sequential(opened.fileno(), closefd=False)
        with sound:
            _check_format(path, sound)
            frames = int(sound.frames)
            audio = AudioFile(
                path,
                int(sound.channels),
                int(sound.samplerate),
                frames if 0 <= frames < UNKNOWN_FRAMES else None,
                sound,
                opened,
                max_minutes,
            )
            if audio.rate_hz > MAX_RATE_HZ:
                rate = f"has {audio.rate_hz} samples per second, the maximum is {MAX_RATE_HZ}"
                raise UsageError(f"{path}: {rate}; is its header wrong?")
            yield audio


def _second_stream(descriptor: int, size: int) -> int:
    """Return the position of the second stream of an Ogg; the size of the file without one."""
    for start in range(0, size, BLOCK_BYTES):
        found = os.pread(descriptor, BLOCK_BYTES + len(OGG_START) - 1, start).rfind(OGG_START)
        if found >= 0 and start + found > MAX_OGG_STARTS_BYTES:
            return start + found
    return size


def _may_be_audio(descriptor: int, start: int, end: int, header: str) -> bool:
    """Return whether a part of a file may be audio, and is neither padding nor chunks."""
    starts = range(start, start + MIN_REST_BYTES)  # a padding byte, or a part of a frame
    behind = (_behind_chunks(descriptor, at, end, header) for at in starts)
    return not any(_is_padding(descriptor, at, end) for at in (start, *behind))


def _behind_chunks(descriptor: int, start: int, end: int, header: str) -> int:
    """Return the position behind the chunks without audio that begin at a position."""
    while True:
        chunk = os.pread(descriptor, struct.calcsize(header), start)
        if len(chunk) < struct.calcsize(header):
            return start
        name, size = struct.unpack(header, chunk)
        following = start + len(chunk) + size + size % 2
        if not _CHUNK_ID.match(name) or not start < following <= end + 1:
            return start
        start = following


def _is_padding(descriptor: int, start: int, end: int) -> bool:
    """Return whether a part of a file is zeros, or a tag, or too short for audio."""
    first = os.pread(descriptor, MIN_REST_BYTES, start)
    if len(first) < MIN_REST_BYTES or first.startswith(_TAGS):
        return True
    return not any(
        any(os.pread(descriptor, BLOCK_BYTES, at)) for at in range(start, end, BLOCK_BYTES)
    )


def _opened(path: Path) -> io.FileIO:
    """Open the file without a buffer, because libsndfile reads from its descriptor."""
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path}: is not a file")
        if path.stat().st_size == 0:
            raise UsageError(f"{path}: is empty")
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        raise UsageError(f"{path}: {no_such_file(path, SUFFIXES)}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UsageError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})"
        ) from None


def _check_kind(path: Path, opened: io.FileIO) -> None:
    """Raise UsageError for a file that is no audio, or that libsndfile does not read, by its first
    bytes.
    """
    try:
        first = os.pread(opened.fileno(), FIRST_BYTES, 0)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from None
    if text := _text(first):
        remedy = "git lfs pull gets the audio" if text.startswith(LFS) else "name an audio file"
        raise UsageError(
            f"{path}: is not readable audio: it is a text that begins with '{excerpt(text)}';"
            f" {remedy}"
        )
    is_wav = first[:4] == b"RIFF" and first[12:16] == b"fmt "
    for at, magic, kind, codec in _OTHERS:
        if first.startswith(magic, at) and is_wav == (at == _FORMAT_TAG_AT):
            # ffmpeg drops the frames of pauses of AMR, and ends with an error
            command = "sox" if first.startswith(b"#!AMR") else "ffmpeg -i"
            options = "" if command == "sox" else FILL_GAPS
            raise UsageError(f"{path}: is {kind}; {_to_wav(path, command, options, codec)}")
    if first[:1] == b"\xff":  # libsndfile would search it for an MP3, and print warnings
        raise UsageError(_unknown(path))


def _text(first: bytes) -> str:
    """Return the start of a file as a text; "" if the file is not one."""
    try:
        text = " ".join(codecs.getincrementaldecoder("utf-8-sig")().decode(first).split())
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() else ""


def _check_format(path: Path, sound: soundfile.SoundFile) -> None:
    """Raise UsageError for a format that is not read, and for a file that is cut."""
    if sound.format not in FORMATS:
        codec = "mp3" if sound.format == "MP3" else ""
        raise UsageError(f"{path}: is {sound.format_info}; {_to_wav(path, codec=codec)}")
    for sizes in _OVERSTATED.findall(sound.extra_info):
        stated, actual = map(int, sizes)
        if actual < stated:
            raise UsageError(
                f"{path}: is truncated, or was written to a pipe: its header states {stated} bytes,"
                f" but it has {actual}; if it was cut, get it again; otherwise {_to_wav(path)}"
            )
    if _OGG_CUT in sound.extra_info:
        raise UsageError(
            f"{path}: is truncated: its last page is missing; if its recorder writes none,"
            f" {_to_wav(path, options=FILL_GAPS, codec=str(sound.subtype).lower())}"
        )


def _check_length(audio: AudioFile, frames: int) -> None:
    seconds = frames / audio.rate_hz
    if seconds > audio._max_minutes * 60:
        raise UsageError(
            f"{audio.path}: lasts {seconds / 60:.1f} minutes, the maximum is {audio._max_minutes}"
        )
    if frames * audio.channels > MAX_SAMPLES:
        raise UsageError(
            f"{audio.path}: has {frames * audio.channels:,} samples ({audio.channels} channels at"
            f" {audio.rate_hz} Hz), the maximum is {MAX_SAMPLES:,}; convert it:"
            f" {_command(audio.path, options='-ar 48000 ' if audio.rate_hz > 48_000 else '-ac 1 ')}"
        )


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Raise UsageError in place of the errors of `soundfile`. ValueError: an inconsistent
    header.
    """
    try:
        yield
    except (soundfile.SoundFileError, ValueError) as error:
        reason = getattr(error, "error_string", error)
        if getattr(error, "code", None) == UNRECOGNIZED:
            raise UsageError(_unknown(path)) from None
        if getattr(error, "code", None) == SEVERAL:
            raise UsageError(f"{path}: contains several recordings: separate them") from None
        raise UsageError(
            f"{path}: is not readable audio, or is damaged ({reason}); {_to_wav(path)}"
        ) from None


def _unknown(path: Path) -> str:
    raw = _command(path, "ffmpeg -f mulaw -ar 8000 -ac 1 -i")
    return (
        f"{path}: is not readable audio: its format is unknown; {_to_wav(path, options=FILL_GAPS)},"
        f" or, if it is raw audio, with its encoding and rate, such as {raw}"
    )


def _to_wav(path: Path, converter: str = "ffmpeg -i", options: str = "", codec: str = "") -> str:
    return f"convert it to WAV: {_command(path, converter, options, codec)}"


def _command(path: Path, converter: str = "ffmpeg -i", options: str = "", codec: str = "") -> str:
    """Return the command that converts a file to a WAV in its folder, under another name.

    The name states the lossy codec of the file, or its suffix, because the import of recorded calls
    uses it.
    """
    named = codec or path.suffix[1:].lower()
    name = path.stem + (f".{named}.wav" if named not in ("", "wav") else "-pcm.wav")
    return f"{converter} {quote(path.name)} {options}{quote(name)}"
