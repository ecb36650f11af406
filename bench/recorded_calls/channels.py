"""The channels of a recorded call. One that cannot be measured is refused with one line and a
remedy.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.base.errors import UsageError
from bench.base.units import NS_PER_S
from bench.plan.audio_files import BLOCK_SAMPLES, AudioFile, open_audio
from bench.plan.recordings import (
    FULL_SCALE,
    RATE_HZ,
    SampleSequence,
    mean_squares,
    resampled_blocks,
    speech_level,
    to_pcm16,
)
from bench.recorded_calls.conversation import ChannelSound, sounds, sounds_and_tones
from bench.recorded_calls.echoes_and_tones import (
    EchoPath,
    StoredSamples,
    WithoutTones,
    echo_paths,
    without_echo,
    without_tones,
)
from bench.sound.direct_current import constant_offset
from bench.sound.onset_limits import FAINT_ENERGY
from bench.sound.onsets import PAUSE_NS
from bench.wire.audio import ALL_FORMATS, AudioFormat
from bench.wire.codec_errors import CODECS, LOSSLESS

_CODECS_OF_SUBTYPES = {
    "VORBIS": "vorbis",
    "OPUS": "opus",
    "GSM610": "gsm",
    **dict.fromkeys(
        ("IMA_ADPCM", "MS_ADPCM", "VOX_ADPCM", "G721_32", "G723_24", "G723_40"), "adpcm"
    ),
    **dict.fromkeys(("NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32"), "adpcm"),
}
_CODECS_OF_SUFFIXES = {"m4a": "aac", "mp4": "aac", "webm": "opus", "ogg": "vorbis", "mp2": "mp3"}


def lossy_codec(path: Path, subtype: str) -> str | None:
    """Return the lossy codec of a recording: of its samples, or of the file that was converted;
    None if none is known.

    `subtype` is the name of libsndfile for the encoding of the samples. A file that was converted
    has the name of its codec before its suffix: `call.mp3.wav`.
    """
    if subtype in _CODECS_OF_SUBTYPES:
        return _CODECS_OF_SUBTYPES[subtype]
    suffix = Path(path.stem).suffix.lstrip(".").lower()
    named = _CODECS_OF_SUFFIXES.get(suffix, suffix)
    return named if named in CODECS else None


MAX_CALL_MINUTES = 120
MIN_CALL_S = 1.0
MIN_RATE_HZ = 6_000
"""The minimum sample rate of a recording. Telephony has 8 kHz, and some old recorders have 6
kHz."""
FORMATS: Sequence[AudioFormat] = [
    ALL_FORMATS[name] for name in ("pcm16@8000", "pcm16@16000", "pcm16")
]
"""The formats in which a call is measured. The first one is used that keeps all of its
frequencies."""
CLIPPED_SHARE = 0.001
"""The share of samples at full scale from which a channel counts as clipped."""
MAX_SOUND_S = 30.0
"""The duration of a sound without a pause from which it counts as music. No one speaks for so
long without a pause."""
PAUSE_DEPTH = 10 ** (15 / 10)
"""The minimum depth of a pause of `PAUSE_NS` below the level of the voice: 15 dB, as a ratio of
energies."""
QUIET_DEPTH = 10 ** (25 / 10)
"""The minimum depth of the quietest part of a channel with music: 25 dB. Noise that is louder
has no such part."""
SAME = 0.98
"""The correlation of two channels from which they count as one."""
COPY_MS = 20
COPY = 0.9
"""The duration of the blocks in which copies of a voice are searched, and the minimum
correlation of a copy."""
VOICED = 10 ** (-15 / 10)
"""The minimum energy of a block of a voice, relative to the loudest blocks of its channel."""
EQUAL = 10 ** (-0.5 / 10)
"""The minimum ratio of the energies of a sound that is in both channels, such as a beep, and no
copy."""
COPIED_SHARE = 0.05
"""The minimum share of a voice's blocks that are copied into the other channel, if the channels
are mixed."""
CHANGING_DB = 10.0
"""The minimum range of the level of copies, from their 10th to their 90th percentile, that no
echo has."""
FOLLOWING_SHARE = 0.2
FOLLOWING = 0.3
AUDIBLE_RANGE = 10 ** (-30 / 10)
FAR_BELOW = 10 ** (-10 / 10)
"""The evidence that a codec's noise in one channel follows the voice in the other one: the minimum
share of the voice's blocks with such noise, the minimum correlation of their levels, the minimum
energy of the voice, relative to its loudest blocks, and the maximum energy of the noise, relative
to the voice."""
SEPARATE_KBPS = {"wma": 128}
OTHER_KBPS = 64
"""The bitrate from which a codec does not mix two channels, for codecs that are not in
`SEPARATE_KBPS`.

Opus, with the default settings of libopus 1.3 and 1.5, mixes them below 32 kbit/s; with a constant
bitrate, protection against 20 % loss and the lowest complexity below 48. MP3, AAC, AC-3 and Vorbis
mixed them at no bitrate."""
TWO_CHANNELS = "record the caller and the agent in two channels (Twilio: RecordingChannels=dual)"
JOIN = (
    "if both have a file of their own, which start together, join them: sox -M caller.wav agent.wav"
    " call.wav"
)
CallerChannel = Literal["auto", "1", "2"]


def channel_number(caller: CallerChannel) -> int:
    return 2 if caller == "2" else 1


class Remark(NamedTuple):
    """A property of a call that the user should know. Remarks of the same `kind` are counted."""

    kind: str
    text: str


@dataclass(frozen=True)
class RecordedCall:
    """A recorded call that can be measured.

    The samples of both channels have the rate of `audio`, which also states the errors of the lossy
    codec of the recording. The caller's channel has no echo of the agent.
    """

    path: Path
    audio: AudioFormat
    caller: SampleSequence = field(repr=False)
    agent: SampleSequence = field(repr=False)
    caller_sounds: tuple[ChannelSound, ...] = field(repr=False)
    agent_sounds: tuple[ChannelSound, ...] = field(repr=False)
    remarks: tuple[Remark, ...]
    removed: tuple[tuple[int, int], ...] = ()
    """The stretches of both channels from which tones were removed, in samples."""

    @property
    def seconds(self) -> float:
        return len(self.agent) / self.audio.rate_hz


# A call is refused rather than measured wrongly. The checks have this order, because each one needs
# what those before it have ensured:
#
#   1. the header: two channels, a plausible rate, not too long
#   2. the samples: no silent channel, no mono recording in two channels
#   3. tones are removed, because a beep in both channels would look like a copy or an echo
#   4. channels that a codec has mixed: nothing can separate them
#   5. echoes: of the agent in the caller's channel, which is removed; of the caller in the agent's,
#      which is refused, because it would hide the start of a reply
#   6. silence and music: a channel needs a voice, with pauses
#
# The caller's echo is removed and the agent's is not, because only starts of replies are measured
# in the agent's channel.
def read_call(path: Path, caller: CallerChannel, source: str | None = None) -> RecordedCall:
    """Read a recorded call. Raise UsageError, with a remedy, if it cannot be measured.

    `caller` is the channel of the caller. With `auto` it is the first one, and the call is refused
    if an echo shows that it is the second one. `source` is the lossy codec of the recording, if the
    file does not state it.
    """
    if os.path.isdir(path):
        raise UsageError(
            f"{path}: is a folder in which no recording was found; name the files, as in"
            f" {path}/*/*.wav"
        )
    with open_audio(path, MAX_CALL_MINUTES) as file:
        _refuse_header(file)
        audio = next(
            (known for known in FORMATS if known.rate_hz >= file.rate_hz), ALL_FORMATS["pcm16"]
        )
        assert audio.rate_hz <= RATE_HZ, "a script's audio keeps all frequencies of the call"
        channels = _stored(file, audio.rate_hz)
        codec = source or lossy_codec(path, file.subtype)
        kbps = _kbps(file, len(channels[0]) / audio.rate_hz)
    if (seconds := len(channels[0]) / audio.rate_hz) < MIN_CALL_S:
        raise UsageError(f"{path}: lasts {seconds:.2f} s, the minimum is {MIN_CALL_S:g} s")
    number = channel_number(caller)
    near: SampleSequence
    far: SampleSequence
    near, far = channels if number == 1 else channels[::-1]
    coding = f"{codec} at {kbps} kbit/s" if codec and kbps else codec
    _refuse_unmeasurable(path, near, far, number, coding)
    heard, near_tones = sounds_and_tones(near, audio.rate_hz, keys_count=True)
    spoken, far_tones = sounds_and_tones(far, audio.rate_hz)
    cleaned: Sequence[WithoutTones] = ()
    if near_tones or far_tones:
        cleaned = without_tones(near, far, (near_tones, far_tones), audio.rate_hz)
        near, far = (channel.samples for channel in cleaned)
        if cleaned[0].removed:
            heard = sounds(near, audio.rate_hz, keys_count=True)
        if cleaned[1].removed:
            spoken = sounds(far, audio.rate_hz)
    _refuse_mixed(path, near, far, audio.rate_hz, codec, coding)
    path_to_caller, path_to_agent = echo_paths(near, far, audio.rate_hz)
    if path_to_agent is not None:
        level = f"{round(path_to_agent.level_db)} dB"
        if path_to_caller is None and caller == "auto":
            raise UsageError(
                f"{path}: channel {number} is audible in channel {3 - number} as an echo ({level}),"
                " so the channels seem to be swapped: add --caller 2, or --caller 1 if they"
                " are not"
            )
        raise UsageError(
            f"{path}: the agent's channel contains the caller's voice ({level}), so the start of a"
            " reply is unknown: export the channels before they are mixed"
        )
    if path_to_caller is not None:
        near = StoredSamples(without_echo(near, far, audio.rate_hz, path_to_caller))
        heard = sounds(near, audio.rate_hz, keys_count=True)
    for whose, samples, found, channel in (
        ("caller's", near, heard, number),
        ("agent's", far, spoken, 3 - number),
    ):
        if not found:
            raise UsageError(
                f"{path}: channel {channel} has no sound above its background, so the call has no"
                f" {whose} voice: leave it out"
            )
        _refuse_music(path, samples, found, whose, channel, audio.rate_hz)
    remarks = tuple(_remarks(near, far, number, path_to_caller, codec, cleaned))
    removed = tuple(stretch for channel in cleaned for stretch in channel.removed)
    decoded = replace(audio, codec_errors=CODECS[codec] if codec else LOSSLESS)
    return RecordedCall(path, decoded, near, far, tuple(heard), tuple(spoken), remarks, removed)


def _refuse_header(file: AudioFile) -> None:
    if file.channels != 2:
        if file.channels == 1:
            raise UsageError(f"{file.path}: is mono; {TWO_CHANNELS}; {JOIN}")
        raise UsageError(f"{file.path}: has {file.channels} channels; {TWO_CHANNELS}")
    if file.rate_hz < MIN_RATE_HZ:
        raise UsageError(
            f"{file.path}: has {file.rate_hz} samples per second, the minimum is {MIN_RATE_HZ}; is"
            " its header wrong?"
        )


def _stored(file: AudioFile, rate_hz: int) -> tuple[StoredSamples, StoredSamples]:
    """Return both channels at another rate, without direct current: in both, it resembles an
    echo.
    """
    channels = StoredSamples(), StoredSamples()
    rounded = (
        to_pcm16(block).astype(np.float32) / np.float32(FULL_SCALE) for block in file.blocks()
    )
    for block in resampled_blocks(rounded, file.rate_hz, rate_hz):
        for index, channel in enumerate(channels):
            channel.append(to_pcm16(block[:, index]))
    return _centred(channels[0]), _centred(channels[1])


def _centred(samples: StoredSamples) -> StoredSamples:
    """Return the samples of a channel without its constant offset."""
    parts = [slice(start, start + BLOCK_SAMPLES) for start in range(0, len(samples), BLOCK_SAMPLES)]
    offset = constant_offset(samples[part] for part in parts)
    if not offset:
        return samples
    wide = (samples[part].astype(np.int32) - offset for part in parts)
    return StoredSamples(np.clip(part, -32_768, 32_767).astype(np.int16) for part in wide)


def _kbps(file: AudioFile, seconds: float) -> int | None:
    """Return the mean bitrate of a file with a lossy codec; None for other files."""
    is_lossy = file.subtype in _CODECS_OF_SUBTYPES and seconds > 0
    return round(os.path.getsize(file.path) * 8 / seconds / 1_000) if is_lossy else None


def _refuse_unmeasurable(
    path: Path, near: SampleSequence, far: SampleSequence, number: int, coding: str | None
) -> None:
    near_energy = 0.0
    far_energy = 0.0
    product = 0.0
    for start in range(0, len(near), BLOCK_SAMPLES):
        part = slice(start, start + BLOCK_SAMPLES)
        near_part = near[part].astype(float)
        far_part = far[part].astype(float)
        near_energy += float((near_part * near_part).sum())
        far_energy += float((far_part * far_part).sum())
        product += float((near_part * far_part).sum())
    for whose, energy, channel in (
        ("caller's", near_energy, number),
        ("agent's", far_energy, 3 - number),
    ):
        if not energy:
            raise UsageError(
                f"{path}: channel {channel}, the {whose}, is silent: record both channels, or name"
                " the caller's with --caller 1 or --caller 2"
            )
    if abs(product) > SAME * sqrt(near_energy * far_energy):
        inverted = " (one of them inverted)" if product < 0 else ""
        cause = f", or {coding} stored one channel for both" if coding else ""
        raise UsageError(
            f"{path}: both channels are the same{inverted}, a mono recording{cause};"
            f" {TWO_CHANNELS}; {JOIN}"
        )


def _refuse_mixed(
    path: Path,
    near: SampleSequence,
    far: SampleSequence,
    rate_hz: int,
    codec: str | None,
    coding: str | None,
) -> None:
    """Raise UsageError if each channel contains the other one, as after the stereo coding of a
    lossy codec.

    Such a codec mixes the samples of one instant, and changes their gain from frame to frame. An
    echo is later. A codec that codes the sum and the difference of the channels adds noise to both,
    whose level follows the voice.
    """
    copies = _copies(near, far, rate_hz)
    is_mixed = all(one.is_heard for one in copies) or any(
        one.is_heard and one.is_changing for one in copies
    )
    if is_mixed or (codec and all(one.is_followed for one in copies)):
        by = (
            f"{coding} mixed them (its stereo coding)"
            if coding
            else "as the stereo coding of a lossy codec mixes them"
        )
        raise UsageError(
            f"{path}: each channel contains the voice of the other one, without a delay: {by}, so"
            " no start and no end of speech is certain; record each channel in a file of its own,"
            f" or both with at least {SEPARATE_KBPS.get(codec or '', OTHER_KBPS)} kbit/s"
        )


class _Copies(NamedTuple):
    """What one channel's voice leaves in the other channel.

    `share` is the share of the voice's blocks that are copied, and `levels_db` are the levels of
    the copies. `is_followed` is True if noise in the other channel follows the voice.
    """

    share: float
    levels_db: NDArray[np.float64]
    is_followed: bool

    @property
    def is_heard(self) -> bool:
        return self.share >= COPIED_SHARE

    @property
    def is_changing(self) -> bool:
        return float(np.ptp(np.quantile(self.levels_db, (0.1, 0.9)))) > CHANGING_DB


def _copies(near: SampleSequence, far: SampleSequence, rate_hz: int) -> tuple[_Copies, _Copies]:
    """Return the copies of the near voice in the far channel, and those of the far voice in the
    near channel.
    """
    size = rate_hz * COPY_MS // 1_000
    parts = list[NDArray[np.float64]]()
    at_once = BLOCK_SAMPLES // size * size
    for start in range(0, len(near) // size * size, at_once):
        stop = min(start + at_once, len(near) // size * size)
        blocks = [channel[start:stop].astype(float).reshape(-1, size) for channel in (near, far)]
        first, second = (block - block.mean(axis=1, keepdims=True) for block in blocks)
        parts.append(
            np.stack(
                [(first**2).mean(axis=1), (second**2).mean(axis=1), (first * second).mean(axis=1)]
            )
        )
    near_energies, far_energies, products = np.concatenate(parts, axis=1)
    correlated = np.abs(products) >= COPY * np.sqrt(near_energies * far_energies)
    return _copied(near_energies, far_energies, correlated), _copied(
        far_energies, near_energies, correlated
    )


def _copied(
    voice: NDArray[np.float64], other: NDArray[np.float64], correlated: NDArray[np.bool_]
) -> _Copies:
    loudest = float(np.sort(voice)[-max(1, len(voice) // 20) :].mean())
    spoken = (voice >= max(VOICED * loudest, FAINT_ENERGY)) & (other < EQUAL * voice)
    copied = spoken & correlated & (other >= FAINT_ENERGY)
    levels_db = 10 * np.log10(other[copied] / voice[copied])
    is_followed = _is_followed(voice, other, loudest)
    return _Copies(float(copied.sum()) / max(1, int(spoken.sum())), levels_db, is_followed)


def _is_followed(voice: NDArray[np.float64], other: NDArray[np.float64], loudest: float) -> bool:
    spoken = (voice >= max(AUDIBLE_RANGE * loudest, FAINT_ENERGY)) & (other < FAR_BELOW * voice)
    audible = spoken & (other >= FAINT_ENERGY)
    if not audible.any() or audible.sum() < FOLLOWING_SHARE * spoken.sum():
        return False
    levels = np.log(voice[audible])
    followed = np.log(other[audible])
    product = float(((levels - levels.mean()) * (followed - followed.mean())).mean())
    return product >= FOLLOWING * float(levels.std() * followed.std()) > 0


def _refuse_music(
    path: Path,
    samples: SampleSequence,
    found: Sequence[ChannelSound],
    whose: str,
    channel: int,
    rate_hz: int,
) -> None:
    """Raise UsageError if a channel has sound for a long time without a pause."""
    stretches = [(sound.end - sound.start, sound.start) for sound in found]
    length, start = max(*stretches, _longest_stretch(samples, rate_hz), (0, 0))
    if length > MAX_SOUND_S * rate_hz:
        start_s = start // rate_hz
        raise UsageError(
            f"{path}: channel {channel}, the {whose}, has {length / rate_hz:.0f} s of sound without"
            f" a pause at {start_s // 60}:{start_s % 60:02}, like hold music: cut the file before"
            " or after it"
        )


def _longest_stretch(samples: SampleSequence, rate_hz: int) -> tuple[int, int]:
    """Return (length, start) of the longest stretch without a pause. Loud noise, which has no pause
    at all, has none.

    The detector of sounds takes music for background after a few seconds. In constructed speech
    without any silence between sentences, the longest stretch was 8 s.
    """
    size = round(rate_hz * PAUSE_NS / NS_PER_S)
    energies = mean_squares(samples, size)
    level = speech_level(samples, rate_hz)
    if energies.min() >= level / QUIET_DEPTH:
        return 0, 0
    edges = np.concatenate(([-1], np.flatnonzero(energies < level / PAUSE_DEPTH), [len(energies)]))
    longest = int(np.diff(edges).argmax())
    return int(edges[longest + 1] - edges[longest] - 1) * size, int(edges[longest] + 1) * size


def _remarks(
    near: SampleSequence,
    far: SampleSequence,
    number: int,
    echo: EchoPath | None,
    codec: str | None,
    cleaned: Sequence[WithoutTones],
) -> Iterator[Remark]:
    for whose, samples, channel in (("caller's", near, number), ("agent's", far, 3 - number)):
        parts = (
            samples[start : start + BLOCK_SAMPLES]
            for start in range(0, len(samples), BLOCK_SAMPLES)
        )
        share = sum(
            int((np.abs(part.astype(np.int32)) >= FULL_SCALE - 2).sum()) for part in parts
        ) / len(samples)
        if share > CLIPPED_SHARE:
            text = (
                f"channel {channel}, the {whose}, is clipped in {100 * share:.1f} % of its samples"
            )
            yield Remark(
                f"the {whose} channel is clipped", f"{text}: lower the level of the recording"
            )
    if echo is not None:
        text = "the caller's channel contained the agent's voice, which was removed"
        yield Remark(text, f"{text} ({round(echo.level_db)} dB)")
    if codec:
        text = (
            f"the recording is lossy ({codec}), which moves starts and ends of speech; the bounds"
            " include it"
        )
        yield Remark(text, text)
    if cleaned:
        near_tones, far_tones = (channel.tones for channel in cleaned)
        text = "tones (such as beeps or ring tones) are no speech"
        yield Remark(
            text, f"{text}: {near_tones} in the caller's channel, {far_tones} in the agent's"
        )
