"""Audio files, in blocks of samples: any file that libsndfile reads, within limits that its header
must meet.

This is the only module of the plan that imports `soundfile`. Files come from recorders, downloads
and services: a file of 1 MB may contain 10 GB of samples, and a header may state anything. So the
header is checked first, the samples are read one block after another, and their number is limited.
"""

# A file is checked in three steps. Before libsndfile sees it, its first bytes show whether it is of
# a kind that is read, and a WAV gets a header with its true size (`bench.plan.file_kinds`). While
# its blocks are read, their number and their values are limited. After the last block, the bytes
# that follow are checked: audio behind the stated end means that the header was not finished.
# libsndfile alone would report none of this. A truncated file gives fewer frames, and no error.
#
# Each refusal states the command that makes a usable WAV, because most files of callers come from
# telephone systems and downloads, and their owners cannot know what is wrong with a header.

import hashlib
import io
import os
import re
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
from bench.plan.file_kinds import (
    CONVERT,
    FILL_GAPS,
    FIRST_BYTES,
    LAST_BYTES,
    RAW,
    UNKNOWN,
    FileKind,
    Reader,
    WavAudio,
    WavError,
    are_chunks,
    cut_or_placeholder,
    is_padding,
    is_placeholder,
    kind_of,
    tag_bytes,
    wav_audio,
)

FORMATS = frozenset({"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG"})
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
"""The error code of libsndfile for a file whose format it does not know."""
MAX_TAGS = 8

# Lines of libsndfile about a header that states more bytes than the file has: `data : 125640
# (should be 19956)`.
_PROMISED = re.compile(
    r"^\s*(?:data|SSND|Data Size|riff)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE
)
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


class _WavFile:
    """The audio of a WAV after a header with its true size.

    No method raises an error, because libsndfile prints its traceback: it is in `error`.
    """

    def __init__(self, file: io.FileIO, audio: WavAudio) -> None:
        self._file = file.fileno()
        self._audio = audio
        self._position = 0
        self._bytes = len(audio.header) + audio.end - audio.start
        self.error: OSError | None = None

    def read(self, count: int) -> bytes:
        data = self._audio.header[self._position :][:count]
        if not data and (wanted := min(count, self._bytes - self._position)) > 0:
            try:
                data = os.pread(
                    self._file, wanted, self._audio.start + self._position - len(self._audio.header)
                )
            except OSError as error:
                self.error = error
        self._position += len(data)
        return data

    def seek(self, offset: int, origin: int = os.SEEK_SET) -> int:
        self._position = max(
            0, offset + {os.SEEK_CUR: self._position, os.SEEK_END: self._bytes}.get(origin, 0)
        )
        return self._position

    def tell(self) -> int:
        return self._position


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
    _source: _WavFile | int = field(repr=False)
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
        if isinstance(self._source, _WavFile) and (error := self._source.error):
            raise UsageError(f"{self.path}: cannot be read ({error.strerror or error})")
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
        """Raise UsageError if audio follows the stated end. The audio of a WAV was checked
        before.
        """
        form = self._sound.format
        descriptor = self._opened.fileno()
        size = os.fstat(descriptor).st_size
        end = os.lseek(descriptor, 0, os.SEEK_CUR)
        read = _reader(descriptor)
        if form == "OGG":
            end = next(
                (at for at in _positions(read, OGG_START, size) if at > MAX_OGG_STARTS_BYTES), size
            )
        elif form not in ("AIFF", "AU", "CAF", "FLAC"):
            return
        if is_padding(read, end, size) or (
            form in ("AIFF", "CAF") and are_chunks(read, end, size, ">")
        ):
            return
        command = _command(
            self.path, "sox --ignore-length" if form in ("AIFF", "AU") else "ffmpeg -i"
        )
        raise UsageError(
            f"{self.path}: states {(self.frames or 0) / self.rate_hz:.1f} s of audio, but"
            f" {size - end} more bytes follow: its header was not finished, or another recording"
            " follows; " + ("export it again" if form == "CAF" else f"{CONVERT}: {command}")
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
        source = _source(path, opened)
        with _errors(path):
            sound = _Sequential(source, closefd=False)
        with sound:
            _check_format(path, sound)
            frames = int(sound.frames)
            audio = AudioFile(
                path,
                int(sound.channels),
                int(sound.samplerate),
                frames if 0 <= frames < UNKNOWN_FRAMES else None,
                sound,
                source,
                opened,
                max_minutes,
            )
            if audio.rate_hz > MAX_RATE_HZ:
                rate = f"has {audio.rate_hz} samples per second, the maximum is {MAX_RATE_HZ}"
                raise UsageError(f"{path}: {rate}; is its header wrong?")
            yield audio


def _reader(descriptor: int) -> Reader:
    return lambda position, count: os.pread(descriptor, count, position)


def _positions(read: Reader, searched: bytes, size: int) -> Iterator[int]:
    """Yield the position of `searched` in each block of a file that contains it."""
    for start in range(0, size, LAST_BYTES):
        if (found := read(start, LAST_BYTES + len(searched) - 1).rfind(searched)) >= 0:
            yield start + found


def _opened(path: Path) -> io.FileIO:
    """Open the file without a buffer, because libsndfile reads from its descriptor."""
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path}: is not a file")
        if path.stat().st_size == 0:
            raise UsageError(f"{path}: is empty")
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        raise UsageError(f"{path}: {no_such_file(path)}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UsageError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})"
        ) from None


def _source(path: Path, opened: io.FileIO) -> _WavFile | int:
    """Return what libsndfile reads: the audio of a WAV, or the descriptor of a file in another
    format.

    Raise UsageError for a file that is not audio, and for an MP3, whose decoder hides damage and
    adds silence.
    """
    descriptor = opened.fileno()
    offset = 0
    try:
        first = os.pread(descriptor, FIRST_BYTES, 0)
        for _ in range(MAX_TAGS):
            if not (tag := tag_bytes(first)):
                break
            offset += tag
            first = os.pread(descriptor, FIRST_BYTES, offset)
        if kind := kind_of(first, is_tagged=offset > 0):
            raise UsageError(f"{path}: {kind.text}{_to_wav(path, kind)}")
        size = os.fstat(descriptor).st_size
        wav = wav_audio(_reader(descriptor), offset, size)
    except WavError as error:
        options = FILL_GAPS if error.codec == "amr" else ""
        command = f": {_command(path, options=options, codec=error.codec)}"
        raise UsageError(f"{path}: {error}{command if CONVERT in str(error) else ''}") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from None
    return descriptor if wav is None else _WavFile(opened, wav)


def _check_format(path: Path, sound: soundfile.SoundFile) -> None:
    """Raise UsageError for a format that is not read, and for a file that is cut."""
    if sound.format not in FORMATS:
        raise UsageError(f"{path}: is {sound.format_info}{_to_wav(path)}")
    for stated, actual in (
        map(int, match.groups()) for match in _PROMISED.finditer(sound.extra_info)
    ):
        if actual < stated and not is_placeholder(stated):
            raise UsageError(f"{path}: {cut_or_placeholder(stated, actual)}: {_command(path)}")
    if _OGG_CUT in sound.extra_info:
        raise UsageError(
            f"{path}: is truncated: its last page is missing; if its recorder writes none,"
            f" {CONVERT}: {_command(path, options=FILL_GAPS, codec=str(sound.subtype).lower())}"
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
            raise UsageError(f"{path}: {RAW.text}{_to_wav(path, RAW)}") from None
        raise UsageError(
            f"{path}: is not readable audio, or is damaged ({reason}){_to_wav(path)}"
        ) from None


def _to_wav(path: Path, kind: FileKind = UNKNOWN) -> str:
    converter = kind.converter
    return (
        f"; {CONVERT}: {_command(path, converter, kind.options, kind.codec)}" if converter else ""
    )


def _command(path: Path, converter: str = "ffmpeg -i", options: str = "", codec: str = "") -> str:
    """Return the command that converts a file to a WAV in its folder, under another name.

    The name states the lossy codec of the file, because the import of recorded calls uses it.
    """
    suffix = f".{codec}.wav" if codec else "-pcm.wav"
    return f"{converter} {quote(path.name)} {options}{quote(path.stem + suffix)}"
