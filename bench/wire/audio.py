"""Audio formats on the wire, narrowband ones by ITU-T G.711, and the conversion between samples
and bytes.
"""

# A format converts between bytes and samples of 16 bits, and everything else works with samples.
# G.711 uses a table in both directions, because a call has fifty frames a second: 65,536 entries to
# encode, and 256 to decode. The rounding of both laws is that of the recommendation, so bytes that
# are decoded and encoded again stay the same.
#
# "Audible" has one definition for all formats (`AUDIBLE`), and is decided on samples. G.711 and
# Opus change the values of silence, and must not make it audible.

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from types import ModuleType
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.base.compiled import compiled_module
from bench.base.units import NS_PER_S
from bench.catalogue.metrics import AUDIBLE
from bench.wire.codec_errors import CODECS, LOSSLESS, CodecErrors
from bench.wire.events import StrippedAudio, audio_payload

_AUDIBLE = compiled_module("bench.wire._audible")
AudioFormatName = Literal[
    "pcm16", "pcm16@8000", "pcm16@16000", "pcm16@48000", "g711_ulaw", "g711_alaw"
]
"""The name of a format for users and in files. `pcm16` has 24 kHz; other PCM formats have their
rate after `@`."""
Samples = NDArray[np.int16]


@dataclass(frozen=True)
class AudioFormat:
    """An audio format. `encode` and `decode` convert samples and bytes. `decode` drops an
    incomplete sample.

    `codec_errors` are those of the lossy codec from which the samples were decoded.
    """

    name: AudioFormatName
    rate_hz: int
    sample_bytes: int
    encode: Callable[[Samples], bytes]
    decode: Callable[[bytes], Samples]
    codec_errors: CodecErrors = LOSSLESS

    @property
    def is_pcm(self) -> bool:
        """True if the bytes of the format are unencoded samples."""
        return self.decode is _pcm_samples

    @cached_property
    def bytes_per_s(self) -> int:
        return self.rate_hz * self.sample_bytes

    def duration_ns(self, audio_bytes: int) -> int:
        """Return the duration of audio with this number of bytes."""
        return audio_bytes * NS_PER_S // self.bytes_per_s


def _pcm_samples(data: bytes) -> Samples:
    return np.frombuffer(data, "<i2", count=len(data) // 2)


def ulaw(samples: Samples) -> bytes:
    """Encode samples in G.711 µ-law: sign, exponent, mantissa of the biased 14-bit magnitude;
    all bits inverted.
    """
    magnitude = np.minimum(np.abs(samples.astype(np.int32)) >> 2, 8158) + 33
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 5
    mantissa = (magnitude >> (exponent + 1)) & 0x0F
    sign = np.where(samples < 0, 0x80, 0)
    return np.asarray(~(sign | (exponent << 4) | mantissa) & 0xFF, dtype=np.uint8).tobytes()


def alaw(samples: Samples) -> bytes:
    """Encode samples in G.711 A-law: sign, exponent and mantissa of the 13-bit magnitude, with
    even bits inverted.
    """
    magnitude = np.minimum(np.abs(samples.astype(np.int32)) >> 3, 4095)
    exponent = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int32) - 4, 0)
    mantissa = (magnitude >> np.maximum(exponent, 1)) & 0x0F
    sign = np.where(samples < 0, 0, 0x80)
    return np.asarray((sign | (exponent << 4) | mantissa) ^ 0x55, dtype=np.uint8).tobytes()


def _ulaw_table() -> Samples:
    """Return the table of samples for µ-law bytes. A byte's sample is the middle of its
    quantization step.
    """
    code = ~np.arange(256) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code >> 4) & 0x07)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_table() -> Samples:
    """Return the table of samples for A-law bytes. A byte's sample is the middle of its
    quantization step.
    """
    code = np.arange(256) ^ 0x55
    exponent = (code >> 4) & 0x07
    step = ((code & 0x0F) << 4) + 8
    magnitude = np.where(exponent > 0, (step + 0x100) << np.maximum(exponent - 1, 0), step)
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


def _encoder(law: Callable[[Samples], bytes]) -> Callable[[Samples], bytes]:
    """Return an encoder with a table of all 16-bit samples, made at first use, in which negative
    ones index the end.
    """

    @cache
    def table() -> NDArray[np.uint8]:
        return np.frombuffer(law(np.arange(1 << 16).astype(np.int16)), np.uint8)

    return lambda samples: table()[samples].tobytes()


def _decoder(table: Samples, audible: ModuleType | None) -> Callable[[bytes], Samples]:
    """Return a decoder with a table of all 256 bytes. `audible` is the compiled module, if there
    is one.
    """
    if audible is None:
        return lambda data: table[np.frombuffer(data, np.uint8)]
    in_bytes = table.tobytes()
    expanded = audible.expanded
    return lambda data: np.frombuffer(expanded(data, in_bytes), np.int16)


def _pcm(name: AudioFormatName, rate_hz: int) -> AudioFormat:
    """Return a format of unencoded little-endian samples."""
    return AudioFormat(
        name, rate_hz, 2, lambda samples: samples.astype("<i2").tobytes(), _pcm_samples
    )


def by_name(*formats: AudioFormat) -> dict[AudioFormatName, AudioFormat]:
    """Return a mapping from names to formats, in the given order. The first format is a
    service's default.
    """
    return {format.name: format for format in formats}


def resolve_format(
    formats: Mapping[AudioFormatName, AudioFormat], name: AudioFormatName | None
) -> AudioFormat:
    """Return the format with this name. If the name is None, return the service's default: the
    first format.
    """
    return next(iter(formats.values())) if name is None else formats[name]


PCM16 = _pcm("pcm16", 24_000)
DECODED_OPUS = replace(PCM16, codec_errors=CODECS["opus"])
PCM16_8K = _pcm("pcm16@8000", 8_000)
PCM16_16K = _pcm("pcm16@16000", 16_000)
OPUS_16K = replace(PCM16_16K, codec_errors=CODECS["opus"])
G722_16K = replace(PCM16_16K, codec_errors=CODECS["g722"])
PCM16_48K = _pcm("pcm16@48000", 48_000)
G711_RATE_HZ = 8_000
G711_ULAW = AudioFormat(
    "g711_ulaw", G711_RATE_HZ, 1, _encoder(ulaw), _decoder(_ulaw_table(), _AUDIBLE)
)
G711_ALAW = AudioFormat(
    "g711_alaw", G711_RATE_HZ, 1, _encoder(alaw), _decoder(_alaw_table(), _AUDIBLE)
)
ALL_FORMATS = by_name(PCM16, PCM16_8K, PCM16_16K, PCM16_48K, G711_ULAW, G711_ALAW)


@cache
def expansion(audio: AudioFormat) -> bytes:
    """Return the 16-bit samples of all bytes, if each byte is a sample; otherwise b""."""
    return b"" if audio.is_pcm else audio.decode(bytes(range(256))).tobytes()


def audible_position(samples: Samples) -> int | None:
    """Return the position of the first audible sample; None if no sample is audible."""
    loud = (samples >= AUDIBLE) | (samples <= -AUDIBLE)
    position = int(loud.argmax()) if loud.size else 0
    return position if loud.size and loud[position] else None


def audible_end(payload: msgspec.Raw | StrippedAudio, audio: AudioFormat) -> int | None:
    """Return the position after the last audible sample of a delta; None if no sample is
    audible.
    """
    if isinstance(payload, StrippedAudio):
        return payload.until
    return end_of_audible(audio.decode(audio_payload(payload) or b""))


def end_of_audible(samples: Samples) -> int | None:
    """Return the position after the last audible sample; None if no sample is audible."""
    last = audible_position(samples[::-1])
    return None if last is None else len(samples) - last


class SampleStream:
    """Audio in one format that arrives in pieces, which may end in the middle of a sample."""

    def __init__(self, audio: AudioFormat) -> None:
        self.audio = audio
        self.rest = b""
        """The bytes of an incomplete sample at the end of the last piece."""

    def samples(self, piece: bytes) -> Samples:
        """Return the samples that this piece completes."""
        data = self.rest + piece if self.rest else piece
        incomplete_bytes = len(data) % self.audio.sample_bytes
        self.rest = data[len(data) - incomplete_bytes :] if incomplete_bytes else b""
        return self.audio.decode(data)
