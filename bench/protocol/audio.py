"""Audio formats of the wire, and the way between samples of 16 bits and bytes (ITU-T G.711 for the narrow ones).

Which formats a service takes, and at which rate, its dialect says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.metrics import AUDIBLE
from bench.protocol.events import StrippedAudio, audio_payload
from bench.units import NS_PER_S

try:
    from bench.protocol._audible import first_audible_pcm, measure_blocks
except ModuleNotFoundError as missing:
    if missing.name != "bench.protocol._audible":  # an import of its own, not a compiler, is what is missing
        raise
    first_audible_pcm = measure_blocks = None  # type: ignore[assignment]
AudioFormatName = Literal["pcm16", "pcm16@8000", "pcm16@16000", "pcm16@48000", "g711_ulaw", "g711_alaw"]
"""What users call a format, and files. `pcm16` is 24 kHz; at other rates of PCM the rate stands behind the @."""
Samples = NDArray[np.int16]
UNREADABLE = -1


@dataclass(frozen=True)
class AudioFormat:
    """One format: `encode` makes bytes of samples, `decode` samples of bytes; a last sample that is cut is left out."""

    name: AudioFormatName
    rate_hz: int
    sample_bytes: int
    encode: Callable[[Samples], bytes]
    decode: Callable[[bytes], Samples]

    @property
    def is_pcm(self) -> bool:
        """Whether its bytes are samples as they are."""
        return self.decode is _pcm_samples

    @property
    def bytes_per_s(self) -> int:
        return self.rate_hz * self.sample_bytes

    def duration_ns(self, audio_bytes: int) -> int:
        """How long so many bytes sound."""
        return audio_bytes * NS_PER_S // self.bytes_per_s


def _pcm_bytes(samples: Samples) -> bytes:
    return samples.astype("<i2").tobytes()


def _pcm_samples(data: bytes) -> Samples:
    return np.frombuffer(data, dtype="<i2", count=len(data) // 2)


def ulaw(samples: Samples) -> bytes:
    """G.711 µ-law: sign, exponent and mantissa of the biased 14-bit magnitude, all bits inverted."""
    magnitude = np.minimum(np.abs(samples.astype(np.int32)) >> 2, 8158) + 33
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 5
    mantissa = (magnitude >> (exponent + 1)) & 0x0F
    sign = np.where(samples < 0, 0x80, 0)
    return np.asarray(~(sign | (exponent << 4) | mantissa) & 0xFF, dtype=np.uint8).tobytes()


def alaw(samples: Samples) -> bytes:
    """G.711 A-law: sign, exponent and mantissa of the 13-bit magnitude, even bits inverted."""
    magnitude = np.minimum(np.abs(samples.astype(np.int32)) >> 3, 4095)
    exponent = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int32) - 4, 0)
    mantissa = (magnitude >> np.maximum(exponent, 1)) & 0x0F
    sign = np.where(samples < 0, 0, 0x80)
    return np.asarray((sign | (exponent << 4) | mantissa) ^ 0x55, dtype=np.uint8).tobytes()


def _ulaw_table() -> Samples:
    """The sample of each µ-law byte: the middle of the step that it stands for."""
    code = ~np.arange(256) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code >> 4) & 0x07)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_table() -> Samples:
    """The sample of each A-law byte: the middle of the step that it stands for."""
    code = np.arange(256) ^ 0x55
    exponent, step = (code >> 4) & 0x07, ((code & 0x0F) << 4) + 8
    magnitude = np.where(exponent > 0, (step + 0x100) << np.maximum(exponent - 1, 0), step)
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


def _encoder(law: Callable[[Samples], bytes]) -> Callable[[Samples], bytes]:
    """A law by a table of all samples, made when it is first needed; one below zero counts from the table's end."""

    @cache
    def table() -> NDArray[np.uint8]:
        return np.frombuffer(law(np.arange(1 << 16).astype(np.int16)), np.uint8)

    return lambda samples: table()[samples].tobytes()


def _decoder(table: Samples) -> Callable[[bytes], Samples]:
    return lambda data: table[np.frombuffer(data, dtype=np.uint8)]


def _pcm(name: AudioFormatName, rate_hz: int) -> AudioFormat:
    """Samples as they are, little-endian."""
    return AudioFormat(name, rate_hz, 2, _pcm_bytes, _pcm_samples)


def by_name(*formats: AudioFormat) -> dict[AudioFormatName, AudioFormat]:
    """The formats in their order, of which the first is a service's own, by their names."""
    return {format.name: format for format in formats}


def chosen(formats: Mapping[AudioFormatName, AudioFormat], name: AudioFormatName | None) -> AudioFormat:
    """The format of this name; without a name the service's own, which is the first."""
    return next(iter(formats.values())) if name is None else formats[name]


PCM16 = _pcm("pcm16", 24_000)
PCM16_8K = _pcm("pcm16@8000", 8_000)
PCM16_16K = _pcm("pcm16@16000", 16_000)
PCM16_48K = _pcm("pcm16@48000", 48_000)
G711_RATE_HZ = 8_000
G711_ULAW = AudioFormat("g711_ulaw", G711_RATE_HZ, 1, _encoder(ulaw), _decoder(_ulaw_table()))
G711_ALAW = AudioFormat("g711_alaw", G711_RATE_HZ, 1, _encoder(alaw), _decoder(_alaw_table()))


def audible_sample(payload: msgspec.Raw | StrippedAudio, audio: AudioFormat) -> int | None:
    """The first audible sample of a delta; None where there is none, UNREADABLE where the payload is no base64."""
    if isinstance(payload, StrippedAudio):
        return payload.audible
    if first_audible_pcm is None or not audio.is_pcm:
        return decoded_audible(payload, audio)
    return first_audible_pcm(payload)


def decoded_audible(payload: msgspec.Raw, audio: AudioFormat) -> int | None:
    """As `audible_sample`, for any format."""
    data = audio_payload(payload)
    if data is None:
        return UNREADABLE
    return audible_place(audio.decode(data))


def audible_place(samples: Samples) -> int | None:
    """Return the place of the first audible sample; None if there is none."""
    loud = (samples >= AUDIBLE) | (samples <= -AUDIBLE)
    place = int(loud.argmax()) if loud.size else 0
    return place if loud.size and loud[place] else None


class SampleStream:
    """Audio in one format that comes in pieces, of which one may end within a sample: the next piece has the rest."""

    def __init__(self, audio: AudioFormat) -> None:
        self.audio = audio
        self.rest = b""
        """The beginning of a sample that is not whole yet."""

    def samples(self, piece: bytes) -> Samples:
        """Return the samples that are whole with this piece."""
        data = self.rest + piece if self.rest else piece
        cut = len(data) % self.audio.sample_bytes
        self.rest = data[len(data) - cut :] if cut else b""
        return self.audio.decode(data)


def measured_blocks(wide: Samples, lag: int, size: int) -> Sequence[tuple[int, int, int]]:
    """(energy, place of the first audible sample, place behind the last one) of each block; -1 where nothing is heard.

    `wide`: `lag` samples before the blocks, and then the blocks, of `size` samples each. The energy is the mean square
    of what a filter leaves: each sample less three quarters of the one `lag` before it.
    """
    if measure_blocks is None or len(wide) <= lag:
        return counted_blocks(wide, lag, size)
    return measure_blocks(wide, lag, size)


def counted_blocks(wide: Samples, lag: int, size: int) -> Sequence[tuple[int, int, int]]:
    """As `measured_blocks`, where there is no compiler."""
    samples = wide.astype(np.int64)
    filtered = (4 * samples[lag:] - 3 * samples[:-lag]).reshape(-1, size)
    energies = (filtered * filtered).sum(axis=1) // (16 * size)
    audible = np.abs(samples[lag:].reshape(-1, size)) >= AUDIBLE
    heard = audible.any(axis=1)
    firsts = np.where(heard, audible.argmax(axis=1), -1)
    lasts = np.where(heard, size - audible[:, ::-1].argmax(axis=1), -1)
    return list(zip(energies.tolist(), firsts.tolist(), lasts.tolist(), strict=True))
