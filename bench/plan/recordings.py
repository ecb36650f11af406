"""A WAV becomes what the service hears: 24 kHz, one channel, 16 bits little-endian; and chunks of it on the wire.

The one place that names `soundfile`. Whatever it reads is accepted (any rate, channels and sample type), except audio
that would make a turn meaningless: see `load_pcm`.

Noise stands behind speech at a stated signal-to-noise ratio: that of RMS values, of the speech alone, from its first
sample to its last, and of the whole noise. Where the noise is shorter than what it stands behind, it begins again.

Where speech begins and ends in a recording is found once and offline, by energy relative to the recording itself.
Energy is that of windows of 20 ms, one every millisecond. The level of speech is the RMS of the loudest 5 % of the
windows that sound, so it does not depend on how much silence surrounds them; what is within 35 dB of it is speech.
The two edges are then found to the sample.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.protocol.audio import AudioFormat

WINDOW_MS = 20
DEPTH = 10 ** (35 / 10)
"""35 dB, as a ratio of energies."""
LOUDEST_SHARE = 0.05
CLICK_MS = 40
"""What sounds more briefly than this, with nothing else within FAR_MS, is a click and no speech."""
FAR_MS = 300
PAUSE_MS = 100
PAUSE_DEPTH = 10 ** (20 / 10)
"""A pause lies so far under the level of speech, 20 dB: what a detector may hear as silence."""

Windows = NDArray[np.intp]
"""Numbers of windows, ascending. Window n ends with millisecond n of the recording; the first ones begin before it."""


@dataclass(frozen=True)
class SpeechSpan:
    """Where speech is, in samples: `begin` is the first of it, `end` the one after its last."""

    begin: int
    end: int


def find_speech(samples: NDArray[np.int16], rate_hz: int) -> SpeechSpan:
    """The speech of a recording of one channel, from its first sound to its last, pauses included.

    Speech that comes within 1 ms of the recording's edge reaches it. A silent recording is taken for speech as a whole.
    """
    per_ms = rate_hz // 1_000
    power = samples.astype(np.float64) ** 2
    energies = _window_energies(power, per_ms)
    if not energies.any():
        return SpeechSpan(0, len(samples))
    floor = _level(energies[_sounding(energies, energies.max() / DEPTH)]) / DEPTH
    windows = _sounding(energies, floor)
    loud = np.flatnonzero(power >= floor)  # every window that sounds holds at least one
    begin = loud[np.searchsorted(loud, (windows[0] + 1 - WINDOW_MS) * per_ms)]
    end = loud[np.searchsorted(loud, (windows[-1] + 1) * per_ms) - 1] + 1
    return SpeechSpan(
        begin=0 if begin < per_ms else int(begin),
        end=len(samples) if end > len(samples) - per_ms else int(end),
    )


def last_stretch(samples: NDArray[np.int16], speech: SpeechSpan, rate_hz: int) -> SpeechSpan:
    """The end of some speech, from its last pause of 100 ms or more on; all of it where there is none."""
    per_ms = rate_hz // 1_000
    energies = _window_energies(samples[speech.begin : speech.end].astype(np.float64) ** 2, per_ms)
    loud = np.flatnonzero(energies >= _level(energies) / PAUSE_DEPTH)
    pauses = np.flatnonzero(np.diff(loud) > PAUSE_MS - WINDOW_MS)
    if not pauses.size:
        return speech
    return SpeechSpan(min(speech.begin + int(loud[pauses[-1] + 1]) * per_ms, speech.end - 1), speech.end)


def _window_energies(power: NDArray[np.float64], per_ms: int) -> NDArray[np.float64]:
    """The mean square of each window, by its number; outside of the recording is silence."""
    whole = np.append(power, np.zeros(-len(power) % per_ms))
    each_ms = whole.reshape(-1, per_ms).mean(axis=1)
    return np.convolve(each_ms, np.full(WINDOW_MS, 1 / WINDOW_MS))


def _level(energies: NDArray[np.float64]) -> float:
    """The mean energy of the loudest windows."""
    count = max(1, round(len(energies) * LOUDEST_SHARE))
    return float(np.sort(energies)[-count:].mean())


def _sounding(energies: NDArray[np.float64], floor: float) -> Windows:
    """The windows of at least this energy, without clicks; with them where there is nothing else."""
    windows = np.flatnonzero(energies >= floor)
    bursts = np.split(windows, np.flatnonzero(np.diff(windows) > FAR_MS - WINDOW_MS) + 1)
    longer = [burst for burst in bursts if len(burst) >= CLICK_MS + WINDOW_MS]
    return np.concatenate(longer) if longer else windows


RATE_HZ = 24_000
"""The sample rate of a script's audio until it is encoded; on the wire the rate is that of the format."""
SAMPLE_BYTES = 2
FULL_SCALE = 32_768
MIN_MS = 100  # the service refuses to commit less (`input_audio_buffer_commit_empty`)
MAX_MINUTES = 15
FORMATS = frozenset({"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG"})
"""Formats of libsndfile that programs write speech in. Of others it reads some without knowing where it is in them."""
ABSURD_AMPLITUDE = 1_000.0  # full scale is 1; files of floats may exceed it a little, and are clipped
SILENT_DBFS = -60.0  # speech peaks 40 dB and more above this, the noise of a good room stays under it

# libsndfile notes where a header promises more than the file holds: `data : 125640 (should be 19956)`.
_PROMISED = re.compile(r"^\s*(?:data|SSND|Data Size|riff)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
_OGG_CUT = "Last page lacks an end-of-stream bit"
_PLACEHOLDER_BYTES = 0x7FFF_0000  # what programs that write into a pipe promise, for they cannot know better


@dataclass(frozen=True)
class Pcm:
    """Mono PCM16 at 24 kHz, little-endian. `digest`: SHA-256 of the file it came from, hex."""

    path: Path
    digest: str
    data: bytes = field(repr=False)
    speech: SpeechSpan

    @property
    def samples(self) -> int:
        return len(self.data) // SAMPLE_BYTES

    @property
    def seconds(self) -> float:
        return self.samples / RATE_HZ


@dataclass(frozen=True)
class AudioChunk:
    """A piece of audio as it goes onto the wire. `duration_ns`: how long it sounds."""

    data: bytes = field(repr=False)
    duration_ns: int


def load_pcm(path: Path) -> Pcm:
    """The audio of a file, mixed to mono and resampled; what exceeds full scale is clipped.

    Raises UsageError, with the reason, for a file that is missing, empty, truncated, no audio, silent, shorter than
    100 ms or longer than 15 minutes.
    """
    with _opened(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        mono, rate_hz = _decode(path, file)
    if rate_hz != RATE_HZ:
        mono = soxr.resample(mono, rate_hz, RATE_HZ)
    pcm = to_pcm16(mono)
    _refuse_unfit(path, pcm)
    return Pcm(path, digest, pcm.tobytes(), find_speech(pcm, RATE_HZ))


def to_pcm16(mono: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples of ±1.0 as little-endian PCM16. Louder ones are clipped: wrapping round would be a click."""
    scaled = np.rint(mono * FULL_SCALE)
    return np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype("<i2")


def encoded(pcm: Pcm, format: AudioFormat) -> bytes:
    """The bytes of the whole audio on the wire, resampled to the format's rate."""
    samples = np.frombuffer(pcm.data, "<i2")
    if format.rate_hz != RATE_HZ:
        samples = to_pcm16(soxr.resample(samples.astype(np.float32) / FULL_SCALE, RATE_HZ, format.rate_hz))
    return format.encode(samples)


def chunks(audio: bytes, format: AudioFormat, chunk_ms: int, *, whole: bool) -> Iterator[AudioChunk]:
    """Audio of the wire in pieces of `chunk_ms` milliseconds, the last of which may be shorter.

    `whole`: it is filled up with silence instead, as by a microphone that goes on.
    """
    quiet = silence(format, chunk_ms)
    for begin in range(0, len(audio), len(quiet.data)):
        data = audio[begin : begin + len(quiet.data)]
        if whole:
            data += quiet.data[len(data) :]
        yield AudioChunk(data, format.duration_ns(len(data)))


def silence(format: AudioFormat, chunk_ms: int) -> AudioChunk:
    """A chunk of digital silence."""
    data = format.encode(np.zeros(format.rate_hz * chunk_ms // 1_000, np.int16))
    return AudioChunk(data, format.duration_ns(len(data)))


def write_wav(path: Path, audio: bytes, format: AudioFormat) -> None:
    """Write audio of the wire as a WAV of 16 bits, at the format's rate. Raises UsageError where that cannot be."""
    try:
        with path.open("wb") as file:
            soundfile.write(file, format.decode(audio), format.rate_hz, subtype="PCM_16", format="WAV")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UsageError(f"{path}: cannot be written ({error})") from None


def _opened(path: Path) -> io.FileIO:
    """Open the file without a buffer, for libsndfile reads from its descriptor."""
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path}: is not a file")
        if path.stat().st_size == 0:
            raise UsageError(f"{path}: is empty")
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UsageError(f"{path}: cannot be read ({error})") from None


def _decode(path: Path, opened: io.FileIO) -> tuple[NDArray[np.float32], int]:
    """(samples of one channel, their rate in Hz), straight from the file."""
    _refuse_mp3(path, opened)
    try:
        with soundfile.SoundFile(opened.fileno(), closefd=False) as file:
            if file.format not in FORMATS:
                raise UsageError(f"{path}: is {file.format_info}; make a WAV of it: {_converted(path)}")
            seconds = file.frames / file.samplerate
            if seconds > MAX_MINUTES * 60:
                raise UsageError(
                    f"{path}: lasts {seconds / 60:.1f} minutes, at most {MAX_MINUTES} are played in one turn"
                )
            for promised, there in (map(int, match.groups()) for match in _PROMISED.finditer(file.extra_info)):
                if there < promised < _PLACEHOLDER_BYTES:
                    raise UsageError(f"{path}: is truncated: its header promises {promised} bytes, {there} are there")
            if _OGG_CUT in file.extra_info:
                raise UsageError(f"{path}: is truncated: its last page is missing")
            # in blocks, for hundreds of channels are legal and need not stand in memory at once
            blocks = [_mixed(path, block) for block in file.blocks(65_536, dtype="float32", always_2d=True)]
            frames, rate_hz = int(file.frames), int(file.samplerate)
    except (soundfile.SoundFileError, ValueError) as error:  # ValueError: of a header that contradicts itself
        why = getattr(error, "error_string", error)
        wav = path.with_suffix(".wav").name
        remedy = f"convert it with ffmpeg -i {path.name} {wav}"
        raise UsageError(f"{path}: is no audio that can be read, or damaged ({why}): {remedy}") from None
    mono = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    if len(mono) < frames:
        raise UsageError(f"{path}: is truncated: {len(mono)} of {frames} frames")
    return mono, rate_hz


def _mixed(path: Path, block: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average the channels of a block: frames × channels → frames. Raises UsageError for samples that cannot be."""
    if not (np.abs(block) <= ABSURD_AMPLITUDE).all():  # this way round, NaN is refused too
        raise UsageError(f"{path}: is damaged: some of its samples are no numbers, or far beyond full scale")
    mono: NDArray[np.float32] = block.mean(axis=1)
    return mono


def _refuse_mp3(path: Path, opened: io.FileIO) -> None:
    """Raise UsageError for an MP3, known by its first bytes: its decoder mends damage by guesses, and adds silence."""
    first = opened.read(3)
    opened.seek(0)
    if first == b"ID3" or (len(first) > 1 and first[0] == 0xFF and first[1] >= 0xE0):
        raise UsageError(f"{path}: is an MP3, whatever its name says; make a WAV of it: {_converted(path)}")


def _converted(path: Path) -> str:
    """The command that makes a WAV beside the file, which may be called one itself."""
    return f"ffmpeg -i {path.name} {path.stem}-pcm.wav"


def _refuse_unfit(path: Path, pcm: NDArray[np.int16]) -> None:
    """Raise UsageError for under 100 ms, which the service refuses, and for silence, which it would answer."""
    length_ms = len(pcm) * 1_000 / RATE_HZ
    if length_ms < MIN_MS:
        raise UsageError(f"{path}: lasts {length_ms:.0f} ms, the service takes no less than {MIN_MS} ms")
    peak = int(np.abs(pcm.astype(np.int32)).max())
    level_dbfs = 20 * np.log10(peak / FULL_SCALE) if peak else -np.inf
    if level_dbfs < SILENT_DBFS:
        raise UsageError(
            f"{path}: is silent: its peak is {level_dbfs:.0f} dBFS, speech is above {SILENT_DBFS:.0f} dBFS"
        )


@dataclass(frozen=True)
class BackgroundNoise:
    """Noise, and how many dB the speech stands above it."""

    noise: Pcm
    snr_db: float


def mixed(pcm: Pcm, background: BackgroundNoise) -> Pcm:
    """Speech with noise behind all of it, clipped. `speech` stays what was found without noise."""
    noise = _noise(pcm, background, 0, pcm.samples)
    return replace(pcm, data=to_pcm16(_floats(pcm) + noise).tobytes())


def noise_alone(pcm: Pcm, background: BackgroundNoise, seconds: float) -> bytes:
    """The noise that goes on after `mixed(pcm, background)` has ended, as PCM16 at 24 kHz.

    `pcm` is the audio without noise: its speech sets the level.
    """
    return to_pcm16(_noise(pcm, background, pcm.samples, round(seconds * RATE_HZ))).tobytes()


def _noise(pcm: Pcm, background: BackgroundNoise, begin: int, count: int) -> NDArray[np.float32]:
    """`count` samples of the looped noise from number `begin` on, at the level that the speech of `pcm` asks for."""
    speech = _floats(pcm)[pcm.speech.begin : pcm.speech.end]
    noise = _floats(background.noise)
    gain = _rms(speech) / _rms(noise) / 10 ** (background.snr_db / 20)
    looped = np.take(noise, np.arange(begin, begin + count), mode="wrap")
    return np.asarray(looped * gain, np.float32)


def _floats(pcm: Pcm) -> NDArray[np.float32]:
    return np.asarray(np.frombuffer(pcm.data, "<i2") / FULL_SCALE, np.float32)


def _rms(samples: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
