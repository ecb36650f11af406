"""What the simulator says: short recorded replies, cut into the service's blocks and base64 once, at the start.

A block's bytes follow protocol.md §7: 100 ms, 150 ms, then 250 ms each, and a last one of 500, 550 or 600 ms; all are
whole audio tokens of 50 ms. Replies are padded with up to 100 ms of silence so that their length fits that series.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]

RATE_HZ = 24_000
TOKEN_MS = 50  # one audio token of an answer
TOKEN_SAMPLES = RATE_HZ * TOKEN_MS // 1000
FIRST_TOKENS = (2, 3)  # 100 ms, 150 ms
BLOCK_TOKENS = 5  # 250 ms
LAST_TOKENS = (10, 11, 12)  # 500, 550, 600 ms

BYTES_PER_MS = {"pcm16": 48, "g711_ulaw": 8, "g711_alaw": 8}

_TOKEN = re.compile(r"\s?\w+(?:'\w+)?|\S")


@dataclass(frozen=True)
class Block:
    """The payload of one audio delta."""

    audio_ms: int
    audio_bytes: int
    encoded: bytes  # base64 with JSON's quotes around it


@dataclass(frozen=True)
class Reply:
    """One thing to say. `tokens` join to the transcript; `blocks` are by format, in the order of sending."""

    name: str
    tokens: tuple[str, ...]
    blocks: dict[str, tuple[Block, ...]]

    @property
    def audio_ms(self) -> int:
        return sum(block.audio_ms for block in self.blocks["pcm16"])


def load_replies() -> tuple[Reply, ...]:
    """The recorded replies of the package, sorted by name."""
    folder = resources.files("bench.simulator") / "voices"
    names = sorted(entry.name.removesuffix(".txt") for entry in folder.iterdir() if entry.name.endswith(".txt"))
    return tuple(
        build_reply(
            name, (folder / f"{name}.txt").read_text().strip(), _decoded((folder / f"{name}.flac").read_bytes())
        )
        for name in names
    )


def build_reply(name: str, transcript: str, samples: Samples) -> Reply:
    """`samples`: 24 kHz mono."""
    padded = _fitted(samples)
    sizes = block_tokens(len(padded) // TOKEN_SAMPLES)
    narrow = _resampled_8khz(padded)
    blocks = {
        "pcm16": _cut(padded.astype("<i2").tobytes(), sizes, BYTES_PER_MS["pcm16"]),
        "g711_ulaw": _cut(ulaw(narrow), sizes, BYTES_PER_MS["g711_ulaw"]),
        "g711_alaw": _cut(alaw(narrow), sizes, BYTES_PER_MS["g711_alaw"]),
    }
    return Reply(name, tuple(_TOKEN.findall(transcript)), blocks)


def fitting_tokens(tokens: int) -> int:
    """The shortest length, in audio tokens, that is at least `tokens` and a sum of the service's block sizes."""
    head = sum(FIRST_TOKENS)
    tokens = max(tokens, head + LAST_TOKENS[0])
    over = (tokens - head) % BLOCK_TOKENS
    return tokens if over < len(LAST_TOKENS) else tokens + BLOCK_TOKENS - over


def block_tokens(tokens: int) -> list[int]:
    """The service's block sizes, in audio tokens, for a length that `fitting_tokens` returned."""
    rest = tokens - sum(FIRST_TOKENS)
    last = LAST_TOKENS[0] + rest % BLOCK_TOKENS
    return [*FIRST_TOKENS, *[BLOCK_TOKENS] * ((rest - last) // BLOCK_TOKENS), last]


def _fitted(samples: Samples) -> Samples:
    wanted = fitting_tokens(-(-len(samples) // TOKEN_SAMPLES)) * TOKEN_SAMPLES
    return np.pad(samples, (0, wanted - len(samples)))


def _cut(audio: bytes, sizes: Sequence[int], bytes_per_ms: int) -> tuple[Block, ...]:
    blocks, begin = [], 0
    for tokens in sizes:
        audio_ms = tokens * TOKEN_MS
        piece = audio[begin : begin + audio_ms * bytes_per_ms]
        blocks.append(Block(audio_ms, len(piece), b'"' + base64.b64encode(piece) + b'"'))
        begin += len(piece)
    return tuple(blocks)


def _decoded(flac: bytes) -> Samples:
    import soundfile

    samples, rate_hz = soundfile.read(BytesIO(flac), dtype="int16")
    if rate_hz != RATE_HZ:
        raise ValueError(f"a reply is recorded at {rate_hz} Hz, not {RATE_HZ}")
    return np.asarray(samples, dtype=np.int16)


def _resampled_8khz(samples: Samples) -> Samples:
    import soxr

    narrow: Any = soxr.resample(samples, RATE_HZ, 8000)
    return np.resize(np.asarray(narrow, dtype=np.int16), len(samples) // 3)


def ulaw(samples: Samples) -> bytes:
    """ITU-T G.711 µ-law: sign, exponent and mantissa of the biased 14-bit magnitude, all bits inverted."""
    wide = samples.astype(np.int32) >> 2
    magnitude = np.minimum(np.abs(wide), 8158) + 33
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 5
    mantissa = (magnitude >> (exponent + 1)) & 0x0F
    sign = np.where(wide < 0, 0x80, 0)
    return np.asarray(~(sign | (exponent << 4) | mantissa) & 0xFF, dtype=np.uint8).tobytes()


def alaw(samples: Samples) -> bytes:
    """ITU-T G.711 A-law: sign, exponent and mantissa of the 13-bit magnitude, even bits inverted."""
    wide = samples.astype(np.int32) >> 3
    magnitude = np.where(wide < 0, -wide - 1, wide)
    exponent = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int32) - 4, 0)
    mantissa = (magnitude >> np.maximum(exponent, 1)) & 0x0F
    sign = np.where(wide < 0, 0, 0x80)
    return np.asarray((sign | (exponent << 4) | mantissa) ^ 0x55, dtype=np.uint8).tobytes()
