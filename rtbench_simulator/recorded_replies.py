"""Short recorded replies, split into the service's blocks and encoded in base64 once, at the start
of the simulator.

The block sizes are those that were measured (docs/protocol.md, "Audio"): 100 ms, 150 ms, then 250
ms each, and a last block of 500, 550 or 600 ms. All sizes are multiples of an audio token, which is
50 ms. Up to 100 ms of silence are added to a reply, so that its length is a sum of these sizes.
Each reply starts with a silence, as the service's replies do.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from io import BytesIO
from itertools import cycle

import numpy as np

from bench.catalogue.metrics import AUDIBLE
from bench.wire.audio import ALL_FORMATS, PCM16, AudioFormat, AudioFormatName, Samples

RATE_HZ = PCM16.rate_hz
TOKEN_MS = 50  # one audio token of a reply
TOKEN_SAMPLES = RATE_HZ * TOKEN_MS // 1000
FIRST_TOKENS = (2, 3)  # 100 ms, 150 ms
BLOCK_TOKENS = 5  # 250 ms
LAST_TOKENS = (10, 11, 12)  # 500, 550, 600 ms

# of each reply in turn; the range measured at the service
OPENING_SILENCE_MS = (75, 140, 205, 270, 340)

_TOKEN = re.compile(r"\s?\w+(?:'\w+)?|\S")


@dataclass(frozen=True)
class AudioBlock:
    """The payload of one audio delta.

    `audible_byte`: the offset of the reply's first audible sample; None if that sample is in
    another block.
    """

    audio_ms: int
    audio_bytes: int
    encoded: bytes  # base64 in JSON quotes
    audible_byte: int | None


@dataclass(frozen=True, eq=False)
class RecordedReply:
    """One recorded reply. `tokens`: the parts that join to the transcript.

    `blocks`: the audio blocks of each format, in the order in which they are sent.
    """

    name: str
    tokens: tuple[str, ...]
    blocks: dict[AudioFormatName, tuple[AudioBlock, ...]]

    @property
    def audio_ms(self) -> int:
        return sum(block.audio_ms for block in self.blocks["pcm16"])


def load_replies() -> tuple[RecordedReply, ...]:
    folder = resources.files("rtbench_simulator") / "voices"
    names = sorted(
        entry.name.removesuffix(".txt") for entry in folder.iterdir() if entry.name.endswith(".txt")
    )
    return tuple(
        build_reply(
            name,
            (folder / f"{name}.txt").read_text(encoding="utf-8").strip(),
            opening_with_silence(_decoded((folder / f"{name}.flac").read_bytes()), silence_ms),
        )
        for name, silence_ms in zip(names, cycle(OPENING_SILENCE_MS), strict=False)
    )


def reply_samples(reply: RecordedReply, format: AudioFormat) -> Samples:
    return format.decode(
        b"".join(base64.b64decode(block.encoded[1:-1]) for block in reply.blocks[format.name])
    )


def opening_with_silence(samples: Samples, silence_ms: int) -> Samples:
    """Return the samples (24 kHz) from the first audible one on, with `silence_ms` of silence
    before them.
    """
    return np.pad(samples[first_audible(samples) or 0 :], (silence_ms * RATE_HZ // 1000, 0))


def first_audible(samples: Samples) -> int | None:
    """Return the index of the first audible sample; None if there is none."""
    is_audible = np.abs(samples.astype(np.int32)) >= AUDIBLE
    return int(is_audible.argmax()) if is_audible.any() else None


def audible_byte(audio: bytes, format: AudioFormat) -> int | None:
    """Return the offset of the first audible sample, in bytes; None if no sample is audible."""
    audible = first_audible(format.decode(audio))
    return None if audible is None else audible * format.sample_bytes


def build_reply(name: str, transcript: str, samples: Samples) -> RecordedReply:
    """Return a reply with its blocks in all formats. `samples`: the audio as 24 kHz mono."""
    sample_count = fitting_tokens(-(-len(samples) // TOKEN_SAMPLES)) * TOKEN_SAMPLES
    padded = np.pad(samples, (0, sample_count - len(samples)))
    sizes = block_tokens(len(padded) // TOKEN_SAMPLES)
    samples_by_rate = {
        rate_hz: _resampled(padded, rate_hz)
        for rate_hz in {audio_format.rate_hz for audio_format in ALL_FORMATS.values()}
    }
    blocks = {
        name: _split(samples_by_rate[format.rate_hz], sizes, format)
        for name, format in ALL_FORMATS.items()
    }
    return RecordedReply(name, tuple(_TOKEN.findall(transcript)), blocks)


def fitting_tokens(tokens: int) -> int:
    """Return the shortest length, in audio tokens, that is at least `tokens` and a sum of the
    service's block sizes.
    """
    # A length is the first blocks, any number of usual ones, and a last one. The three sizes of the
    # last block reach the remainders 0, 1, and 2 of a usual block of five tokens. Other lengths
    # need one or two tokens of silence.
    head = sum(FIRST_TOKENS)
    tokens = max(tokens, head + LAST_TOKENS[0])
    over = (tokens - head) % BLOCK_TOKENS
    return tokens if over < len(LAST_TOKENS) else tokens + BLOCK_TOKENS - over


def block_tokens(tokens: int) -> list[int]:
    """Return the service's block sizes, in audio tokens, for a length that `fitting_tokens`
    returned.
    """
    remaining = tokens - sum(FIRST_TOKENS)
    last = LAST_TOKENS[0] + remaining % BLOCK_TOKENS
    return [*FIRST_TOKENS, *[BLOCK_TOKENS] * ((remaining - last) // BLOCK_TOKENS), last]


def _split(samples: Samples, sizes: Sequence[int], format: AudioFormat) -> tuple[AudioBlock, ...]:
    audio = format.encode(samples)
    audible = audible_byte(audio, format)
    blocks = []
    start = 0
    for tokens in sizes:
        piece = audio[start : start + tokens * TOKEN_MS * format.bytes_per_s // 1000]
        # Only the block with the first audible sample has its place.
        offset = -1 if audible is None else audible - start
        encoded = b'"' + base64.b64encode(piece) + b'"'
        blocks.append(
            AudioBlock(
                tokens * TOKEN_MS, len(piece), encoded, offset if 0 <= offset < len(piece) else None
            )
        )
        start += len(piece)
    return tuple(blocks)


def _decoded(flac: bytes) -> Samples:
    import soundfile

    samples, rate_hz = soundfile.read(BytesIO(flac), dtype="int16")
    if rate_hz != RATE_HZ:
        raise ValueError(f"a reply is recorded at {rate_hz} Hz, not {RATE_HZ}")
    return np.asarray(samples, np.int16)


def _resampled(samples: Samples, rate_hz: int) -> Samples:
    """Return the samples at another rate, with the same duration."""
    if rate_hz == RATE_HZ:
        return samples
    import soxr

    resampled = soxr.resample(samples, RATE_HZ, rate_hz)
    return np.resize(np.asarray(resampled, np.int16), len(samples) * rate_hz // RATE_HZ)
