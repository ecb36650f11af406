"""The caller's audio. A file becomes 24 kHz, one channel, 16 bits little-endian, and then chunks
for the connection.

All files are accepted that `bench.plan.audio_files` reads (any rate, channels and sample type),
except audio that would make a turn meaningless: see `load_pcm`.

Noise is mixed with speech at a given signal-to-noise ratio. The ratio is computed from two RMS
values. One is the RMS of the speech alone, from its first sample to its last. The other is the RMS
of the complete noise. If the noise is shorter than the audio, it is repeated.

The start and end of the speech in a recording are found once, before the run. For this, the energy
is measured in windows of 20 ms; one window starts every millisecond. The level of speech is the RMS
of the loudest 5 % of the windows with sound, so it does not depend on the amount of silence around
the speech. Windows that are at most 35 dB below this level, and at least 6 dB above steady noise,
are speech. In the first and the last of these windows, the exact samples of the start and the end
are then found. An offset (`bench.sound.direct_current`) is no sound, and neither is noise that is
deeper than voices, such as rumble or wind.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Protocol

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from bench.base.errors import UsageError
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.plan.audio_files import BLOCK_SAMPLES, open_audio
from bench.sound.direct_current import without_direct_current
from bench.sound.marks import marked
from bench.wire.audio import AudioFormat

WINDOW_MS = 20
DEPTH = 10 ** (35 / 10)
"""The maximum distance of speech below the level of speech: 35 dB, as a ratio of energies."""
LOUDEST_SHARE = 0.05
ABOVE_NOISE = 10 ** (6 / 10)
"""The minimum distance of speech above the background: 6 dB, as a ratio of energies."""
STEADY_MS = 250
STEADY = 10 ** (6 / 10)
QUIETER = 10 ** (12 / 10)
"""The properties of noise behind speech, as `background` describes them."""
CLICK_MS = 40
"""The maximum duration of a click. A sound that is shorter, and has no other sound within
FAR_MS, is not speech."""
FAR_MS = 300
NEAR_MS = 80
"""The time without another sound from which a short sound may be a click, and no consonant."""
DEEP_HZ = 60
"""The frequency below which there is no voice."""
DEEP = 10
"""The minimum energy of deep noise, as a multiple of the rest."""
DEEP_MS = 100
"""The minimum duration of deep noise before or after speech. What is shorter may be the edge of a
word."""
PAUSE_MS = 100
PAUSE_DEPTH = 10 ** (20 / 10)
"""The depth of a pause below the level of speech, which a VAD may take for silence: 20 dB of
energy."""

Windows = NDArray[np.intp]
"""Ascending indexes of windows. Window n ends with millisecond n, so the first begin before the
recording."""


class SampleSequence(Protocol):
    """The samples of one channel, in memory or in a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> NDArray[np.int16]: ...


@dataclass(frozen=True)
class SpeechSpan:
    """The position of the speech: its first sample, and the sample after its last sample.

    `pauses` has the same of each known pause in it.
    """

    begin: int
    end: int
    pauses: tuple[tuple[int, int], ...] = ()

    @property
    def longest_pause_ns(self) -> int | None:
        """The duration of the longest known pause; None without one."""
        lengths = (end - begin for begin, end in self.pauses)
        return max((length * NS_PER_S // RATE_HZ for length in lengths), default=None)

    def problem(self, pcm: "Pcm") -> str:
        """Return why this cannot be the speech of a recording; "" if it can."""
        if not self.begin < self.end <= pcm.samples:
            return (
                "must start before it ends, and must not end after the WAV:"
                f" {pcm.path} lasts {pcm.seconds:.3f} s"
            )
        last = self.begin
        for pause in self.pauses:
            if not last <= pause[0] < pause[1] < self.end:
                first_s, last_s = (end / RATE_HZ for end in pause)
                return (
                    "must have its pauses one after another, between its start and its end, in"
                    f" seconds: {first_s:g} to {last_s:g} is not"
                )
            last = pause[1]
        return ""


def find_speech(samples: NDArray[np.int16], rate_hz: int) -> SpeechSpan:
    """Find the speech of a recording of one channel, from its first sound to its last, including
    pauses.
    """
    return speech_span(heard(samples, rate_hz), rate_hz)


def heard(samples: NDArray[np.int16], rate_hz: int) -> NDArray[np.int16]:
    """Return a recording without direct current. If deep noise seems to be speech, it is without
    what is below `DEEP_HZ`, too.
    """
    if not len(samples):
        return samples
    clean = without_direct_current(samples, rate_hz)
    found = speech_span(clean, rate_hz)
    wide = samples.astype(np.float32)
    high = to_pcm16((wide - _below(DEEP_HZ, wide, rate_hz)) / np.float32(FULL_SCALE))
    rest = without_direct_current(high, rate_hz)
    span = speech_span(rest, rate_hz)
    around = [slice(found.begin, span.begin), slice(span.end, found.end)]
    is_deep = any(
        part.stop - part.start >= DEEP_MS * rate_hz // 1_000
        and _rms(wide[part]) ** 2 >= DEEP * _rms(rest[part].astype(np.float32)) ** 2
        for part in around
    )
    return rest if is_deep else clean


def _below(hz: int, samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    """Return the part of a recording that is below a frequency."""
    low = soxr.resample(samples, rate_hz, 2 * hz)
    again: NDArray[np.float32] = soxr.resample(low, 2 * hz, rate_hz)
    return np.pad(again, (0, max(0, len(samples) - len(again))))[: len(samples)]


# The position of the speech is where `voice_to_voice` begins, so its error is an error of each
# value. It is therefore exact to the sample: windows find the region, and the samples in the first
# and the last window find the edges. `bench.plan.found_speech` tells the user when the edges are in
# doubt.
def speech_span(
    samples: NDArray[np.int16],
    rate_hz: int,
    min_energy: float | None = None,
    far_ms: int = FAR_MS,
) -> SpeechSpan:
    """Find the speech of a recording without direct current.

    If the speech begins within 1 ms of the recording's start, it is extended to the start. The same
    applies to the end. If the recording is silent, all of it counts as speech. Windows with less
    than `min_energy` are noise, or, if it is None, those less than 6 dB above the noise at the
    edges. A short sound without another one within `far_ms` is a click.
    """
    per_ms = rate_hz // 1_000
    energies = window_energies(samples, per_ms)
    if not energies.any():
        return SpeechSpan(0, len(samples))
    level = _speech_level(energies)
    noise = background(energies, level) * ABOVE_NOISE if min_energy is None else min_energy
    floor = max(level / DEPTH, min(noise, energies.max()))
    windows = _audible_windows(energies, floor, far_ms)
    first, last = (
        _loud_samples(samples, int(window), per_ms, floor) for window in windows[[0, -1]]
    )
    start = int(first[0])
    end = int(last[-1]) + 1
    return SpeechSpan(
        begin=0 if start < per_ms else start,
        end=len(samples) if end > len(samples) - per_ms else end,
    )


def _loud_samples(samples: NDArray[np.int16], window: int, per_ms: int, floor: float) -> Windows:
    """Return the positions of the loud samples in a window with sound, which are one or more."""
    begin = max(0, (window + 1 - WINDOW_MS) * per_ms)
    power = samples[begin : (window + 1) * per_ms].astype(float) ** 2
    # a mean may exceed all of its values by a rounding error
    return begin + np.flatnonzero(power >= min(floor, power.max()))


def background(energies: NDArray[np.float64], level: float) -> float:
    """Return the energy of the noise behind speech of this level, from the windows of a recording;
    0 if unknown.

    Noise is known if the level of the first or last 250 ms changes by at most 6 dB, and is at least
    12 dB below the speech.
    """
    inside = energies[WINDOW_MS - 1 : 1 - WINDOW_MS]
    edges = [inside[:STEADY_MS], inside[-STEADY_MS:]] if len(inside) >= STEADY_MS else []
    noises = [
        edge
        for edge in edges
        if STEADY * edge.min() >= edge.max() and edge.max() * QUIETER <= level
    ]
    return float(min((edge.mean() for edge in noises), default=0.0))


def speech_level(samples: SampleSequence, rate_hz: int) -> float:
    """Return the level of the speech in a recording: the mean energy of the loudest windows with
    sound.
    """
    return _speech_level(window_energies(samples, rate_hz // 1_000))


def last_phrase(samples: NDArray[np.int16], speech: SpeechSpan, rate_hz: int) -> SpeechSpan:
    """Return the part of the speech after its last pause: of those that are known, or else of at
    least 100 ms. If it has no pause, return all of it.
    """
    if speech.pauses:
        return SpeechSpan(speech.pauses[-1][1], speech.end)
    per_ms = rate_hz // 1_000
    energies = window_energies(samples[speech.begin : speech.end], per_ms)
    loud = np.flatnonzero(energies >= _level(energies) / PAUSE_DEPTH)
    pauses = np.flatnonzero(np.diff(loud) > PAUSE_MS - WINDOW_MS)
    if not pauses.size:
        return speech
    return SpeechSpan(
        min(speech.begin + int(loud[pauses[-1] + 1]) * per_ms, speech.end - 1), speech.end
    )


def window_energies(samples: SampleSequence, per_ms: int) -> NDArray[np.float64]:
    """Return the mean square of the samples in each window. Outside of the recording, the
    samples are 0.
    """
    means = mean_squares(samples, per_ms)
    if rest := len(samples) % per_ms:
        last = samples[len(samples) - rest :].astype(float)
        means = np.append(means, (last**2).sum() / per_ms)
    return np.convolve(means, np.full(WINDOW_MS, 1 / WINDOW_MS))


def mean_squares(samples: SampleSequence, size: int) -> NDArray[np.float64]:
    """Return the mean square of each complete block of `size` samples."""
    count = len(samples) // size
    at_once = max(1, BLOCK_SAMPLES // size)
    means = np.empty(count)
    for first in range(0, count, at_once):
        last = min(count, first + at_once)
        blocks = samples[first * size : last * size].astype(float).reshape(-1, size)
        means[first:last] = (blocks**2).mean(axis=1)
    return means


def _speech_level(energies: NDArray[np.float64]) -> float:
    return _level(energies[_audible_windows(energies, energies.max() / DEPTH)])


def _level(energies: NDArray[np.float64]) -> float:
    """Return the level of speech: the mean energy of the loudest windows."""
    count = max(1, round(len(energies) * LOUDEST_SHARE))
    return float(np.sort(energies)[-count:].mean())


def _audible_windows(energies: NDArray[np.float64], floor: float, far_ms: int = FAR_MS) -> Windows:
    """Return the windows with an energy of at least `floor`. Clicks are left out, unless there
    are only clicks.
    """
    windows = np.flatnonzero(energies >= floor)
    bursts = np.split(windows, np.flatnonzero(np.diff(windows) > far_ms - WINDOW_MS) + 1)
    longer = [burst for burst in bursts if len(burst) >= CLICK_MS + WINDOW_MS]
    return np.concatenate(longer) if longer else windows


RATE_HZ = 24_000
"""The sample rate of a script's audio before it is encoded for the connection, which may have
another rate."""
SAMPLE_BYTES = 2
FULL_SCALE = 32_768
MIN_MS = 100  # the service rejects a commit of less (`input_audio_buffer_commit_empty`)
MAX_MINUTES = 15
# peaks of speech are at least 40 dB above this, and the noise of a good room is below it
SILENT_DBFS = -60.0
CANCELLED = 10 ** (20 / 10)
"""The minimum loss of energy, 20 dB as a ratio, by mixing channels that cancel each other. Others
lose none, or gain."""


@dataclass(frozen=True)
class Pcm:
    """Mono PCM16 at 24 kHz, with the SHA-256 of its file in hex, and the text that was
    synthesized, or "".
    """

    path: Path
    digest: str
    data: bytes = field(repr=False)
    speech: SpeechSpan
    text: str = ""
    pause_ns: int | None = None
    """The pause before each further part of the speech, if the recording was joined from parts, or
    the longest pause that the script states; else None."""

    @property
    def samples(self) -> int:
        return len(self.data) // SAMPLE_BYTES

    @property
    def seconds(self) -> float:
        return self.samples / RATE_HZ


@dataclass(frozen=True)
class AudioChunk:
    """A piece of audio in the format of the connection. `duration_ns` is its playing time."""

    data: bytes = field(repr=False)
    duration_ns: int


def load_pcm(path: Path) -> Pcm:
    """Read the audio of a file, mix it to mono, and resample it. Samples beyond full scale are
    clipped.

    Raise UsageError, with the reason, for a file that is unreadable, silent, shorter than 100 ms,
    or longer than 15 minutes.
    """
    with open_audio(path, MAX_MINUTES) as audio:
        energies = _MixedEnergies()
        mixed = map(energies.mix, audio.blocks())
        pcm = np.concatenate(
            [to_pcm16(block) for block in resampled_blocks(mixed, audio.rate_hz, RATE_HZ)]
        )
        digest = audio.digest()
    if energies.are_cancelled:
        raise UsageError(
            f"{path}: its channels cancel each other: one is the inverse of another; use one of"
            f" them: ffmpeg -i {quote(path.name)} -af 'pan=mono|c0=c0'"
            f" {quote(f'{path.stem}-pcm.wav')}"
        )
    clean = heard(pcm, RATE_HZ)
    _check_usable(path, clean)
    return Pcm(path, digest, pcm.tobytes(), speech_span(clean, RATE_HZ))


def joined(first: Pcm, parts: Sequence[Pcm], pause_ms: int) -> Pcm:
    """Return the speech of several recordings as one, with a pause before each of `parts`.

    The silence at the ends of the recordings is left out, so that each pause has exactly this
    length.
    """
    spoken = [
        pcm.data[pcm.speech.begin * SAMPLE_BYTES : pcm.speech.end * SAMPLE_BYTES]
        for pcm in (first, *parts)
    ]
    data = bytes(pause_ms * RATE_HZ // 1_000 * SAMPLE_BYTES).join(spoken)
    digests = ":".join(
        [
            *(f"{pcm.digest}-{pcm.speech.begin}-{pcm.speech.end}" for pcm in (first, *parts)),
            str(pause_ms),
        ]
    )
    digest = hashlib.sha256(digests.encode()).hexdigest()
    return Pcm(
        first.path,
        digest,
        data,
        SpeechSpan(0, len(data) // SAMPLE_BYTES),
        pause_ns=pause_ms * NS_PER_MS,
    )


@dataclass
class _MixedEnergies:
    """The energies of audio before and after its channels are mixed, summed over all blocks."""

    unmixed: float = 0.0
    mixed: float = 0.0
    channels: int = 1

    def mix(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mean of the channels of a block, whose shape is frames × channels."""
        mono: NDArray[np.float32] = block.mean(axis=1, dtype=np.float32)
        self.channels = block.shape[1]
        self.unmixed += float(np.vdot(block, block)) / self.channels
        self.mixed += float(mono @ mono)
        return mono

    @property
    def are_cancelled(self) -> bool:
        return self.channels > 1 and self.mixed * self.channels * CANCELLED < self.unmixed


@dataclass(frozen=True)
class Channels:
    """All channels of a call, as PCM16. The shape of `samples` is frames × channels."""

    samples: NDArray[np.int16] = field(repr=False)
    rate_hz: int


def resampled_blocks(
    blocks: Iterable[NDArray[np.float32]], rate_hz: int, new_rate_hz: int
) -> Iterator[NDArray[np.float32]]:
    """Yield samples at another rate. A block has the shape frames or frames × channels.

    The result is that of resampling all samples at once, and the position of a sound in time does
    not change.
    """
    if rate_hz == new_rate_hz:
        yield from blocks
        return
    stream = None
    for block in blocks:
        if stream is None:
            channels = block.shape[1] if block.ndim == 2 else 1
            stream = soxr.ResampleStream(rate_hz, new_rate_hz, channels, dtype="float32")
        yield stream.resample_chunk(block)
    if stream is not None:
        yield stream.resample_chunk(block[:0], last=True)


def resampled(samples: NDArray[np.int16], rate_hz: int, new_rate_hz: int) -> NDArray[np.int16]:
    """Return samples of one channel at another rate. The position of a sound in time does not
    change.
    """
    if rate_hz == new_rate_hz:
        return samples
    return to_pcm16(soxr.resample(samples.astype(np.float32) / FULL_SCALE, rate_hz, new_rate_hz))


def to_pcm16(mono: NDArray[np.float32]) -> NDArray[np.int16]:
    """Convert samples in the range ±1.0 to PCM16. Others are clipped, because an overflow would
    sound like a click.
    """
    scaled = np.rint(mono * FULL_SCALE)
    return np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype("<i2")


def encoded(pcm: Pcm, format: AudioFormat) -> bytes:
    """Return the bytes of a complete recording on the wire, resampled to the rate of `format`."""
    if format.is_pcm and format.rate_hz == RATE_HZ:
        return pcm.data  # a copy would double the memory of a script
    return format.encode(resampled(np.frombuffer(pcm.data, "<i2"), RATE_HZ, format.rate_hz))


def chunks(audio: bytes, format: AudioFormat, chunk_ms: int, *, pad: bool) -> Iterator[AudioChunk]:
    """Yield audio of the connection's format in chunks of `chunk_ms` milliseconds.

    The last may be shorter. If `pad` is True, silence completes it, as from a microphone that stays
    open.
    """
    silent_chunk = silence(format, chunk_ms)
    for start in range(0, len(audio), len(silent_chunk.data)):
        data = audio[start : start + len(silent_chunk.data)]
        if pad:
            data += silent_chunk.data[len(data) :]
        yield AudioChunk(data, format.duration_ns(len(data)))


def silence(format: AudioFormat, chunk_ms: int) -> AudioChunk:
    data = format.encode(np.zeros(format.rate_hz * chunk_ms // 1_000, np.int16))
    return AudioChunk(data, format.duration_ns(len(data)))


def write_wav(path: Path, audio: bytes, format: AudioFormat) -> None:
    """Write audio from the wire as a WAV of 16 bits, at the rate of `format`. Raise UsageError
    if that fails.
    """
    write_channels(path, Channels(format.decode(audio), format.rate_hz))


def write_channels(path: Path, channels: Channels) -> None:
    """Write samples as a WAV of 16 bits. Raise UsageError if that fails."""
    wav = io.BytesIO()  # libsndfile prints the traceback of each error of a Python file
    soundfile.write(wav, channels.samples, channels.rate_hz, subtype="PCM_16", format="WAV")
    try:
        path.write_bytes(wav.getbuffer())
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UsageError(
            f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})"
        ) from None


def _check_usable(path: Path, pcm: NDArray[np.int16]) -> None:
    """Raise UsageError for audio shorter than 100 ms, which the service rejects, and for silent
    audio.

    `pcm` has no direct current. The service would answer silence, so silent audio could not be
    detected later.
    """
    length_ms = len(pcm) * 1_000 / RATE_HZ
    if length_ms < MIN_MS:
        raise UsageError(f"{path}: lasts {length_ms:.0f} ms, services accept {MIN_MS} ms or more")
    peak = int(np.abs(pcm.astype(np.int32)).max())
    level_dbfs = 20 * np.log10(peak / FULL_SCALE) if peak else -np.inf
    if level_dbfs < SILENT_DBFS:
        raise UsageError(
            f"{path}: is silent: its peak is {level_dbfs:.0f} dBFS, that of speech is above"
            f" {SILENT_DBFS:.0f} dBFS"
        )


@dataclass(frozen=True)
class BackgroundNoise:
    """Background noise. `snr_db` is by how much the level of speech is above the level of the
    noise, in dB.
    """

    noise: Pcm
    snr_db: float


def with_mark(pcm: Pcm, mark: int) -> Pcm:
    """Return a recording whose speech has a mark, clipped."""
    samples = _floats(pcm).copy()
    speech = slice(pcm.speech.begin, pcm.speech.end)
    samples[speech] = marked(samples[speech], mark, RATE_HZ)
    return replace(pcm, data=to_pcm16(samples).tobytes())


def mixed(pcm: Pcm, background: BackgroundNoise) -> Pcm:
    """Return a recording with noise added to all of it, clipped. `speech` remains the position
    found without noise.
    """
    noise = _noise(pcm, background, 0, pcm.samples)
    return replace(pcm, data=to_pcm16(_floats(pcm) + noise).tobytes())


def noise_alone(pcm: Pcm, background: BackgroundNoise, seconds: float) -> bytes:
    """Return the noise that continues after the end of `mixed(pcm, background)`, as PCM16 at 24
    kHz.

    `pcm` is the recording without noise, because its speech determines the level of the noise.
    """
    return to_pcm16(_noise(pcm, background, pcm.samples, round(seconds * RATE_HZ))).tobytes()


def _noise(pcm: Pcm, background: BackgroundNoise, start: int, count: int) -> NDArray[np.float32]:
    """Return `count` samples of the repeated noise from `start` on, at a level that the speech
    of `pcm` determines.
    """
    speech = _floats(pcm)[pcm.speech.begin : pcm.speech.end]
    noise = _floats(background.noise)
    gain = _rms(speech) / _rms(noise) / 10 ** (background.snr_db / 20)
    looped = np.take(noise, np.arange(start, start + count), mode="wrap")
    return np.asarray(looped * gain, np.float32)


def _floats(pcm: Pcm) -> NDArray[np.float32]:
    return np.asarray(np.frombuffer(pcm.data, "<i2") / FULL_SCALE, np.float32)


def _rms(samples: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(samples.astype(float) ** 2)))
