"""Marks of calls: found after telephone codecs with loss, also under another voice."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.plan.recordings import load_pcm, resampled
from bench.protocols.rtp.rtp import codec_of_call
from bench.sound.marks import COUNT, MarkDetector, marked
from bench.wire.audio import G711_ALAW, G711_ULAW, PCM16_16K, AudioFormat, Samples
from tests.examples import some
from tests.simulator_process import AUDIO

RATE_HZ = 16_000
VOICES = ("opening_hours", "late_parcel", "order_number", "not_today")
Line = Callable[[Samples], tuple[Samples, AudioFormat]]


def voice(name: str) -> NDArray[np.float32]:
    pcm = load_pcm(AUDIO / f"{name}.wav")
    samples = np.frombuffer(pcm.data, "<i2")[pcm.speech.begin : pcm.speech.end]
    return np.asarray(resampled(samples, 24_000, RATE_HZ) / 32_768, np.float32)


def mixed(*sounds: NDArray[np.float32]) -> Samples:
    size = max(map(len, sounds))
    total = sum(np.pad(sound, (0, size - len(sound))) for sound in sounds) / len(sounds) ** 0.5
    return np.asarray(np.clip(total, -1, 1) * 32_767, np.int16)


def with_loss(frames: Iterator[Samples]) -> Samples:
    """Return frames of 20 ms of which one in 30 is silent."""
    return np.concatenate(
        [frame if number % 30 else np.zeros_like(frame) for number, frame in enumerate(frames, 1)]
    )


def frames_of(samples: Samples, rate_hz: int) -> NDArray[np.int16]:
    size = rate_hz // 50
    return samples[: len(samples) // size * size].reshape(-1, size)


def narrow(law: AudioFormat) -> Line:
    def path(samples: Samples) -> tuple[Samples, AudioFormat]:
        frames = frames_of(resampled(samples, RATE_HZ, law.rate_hz), law.rate_hz)
        return with_loss(law.decode(law.encode(frame)) for frame in frames), law

    return path


def wide(name: str) -> Line:
    def path(samples: Samples) -> tuple[Samples, AudioFormat]:
        codec = codec_of_call(name, PCM16_16K)
        assert codec.encode is not None
        assert codec.decode is not None
        decoded = (codec.decode(codec.encode(f.tobytes())) for f in frames_of(samples, RATE_HZ))
        return with_loss(PCM16_16K.decode(each) for each in decoded), PCM16_16K

    return path


PATHS = {
    "PCMU": narrow(G711_ULAW),
    "PCMA": narrow(G711_ALAW),
    "G722": wide("G722"),
    "OPUS": wide("OPUS"),
}
"""What happens to sound between a caller and another one, twice 20 ms of loss in 1.2 s."""


def heard(samples: Samples, path: Line, own: int) -> bool | None:
    received, audio = path(samples)
    detector = MarkDetector(own, audio)
    data = audio.encode(received)
    size = audio.bytes_per_s // 50 + 1  # a piece may end in the middle of a sample
    for start in range(0, len(data), size):
        detector.add(data[start : start + size])
    return detector.is_crossed


@pytest.mark.parametrize("codec", PATHS)
def test_a_call_hears_its_own_mark_or_that_of_another_call_or_none(codec: str) -> None:
    path = PATHS[codec]
    speech, reply = voice("opening_hours"), voice("late_parcel")

    for own, other in ((1, COUNT), (30, 31)):
        own_echo = marked(speech, own, RATE_HZ)
        assert heard(mixed(own_echo), path, own) is False
        assert heard(mixed(own_echo, reply), path, own) is False
        assert heard(mixed(own_echo), path, other) is True
        assert heard(mixed(own_echo, marked(reply, other, RATE_HZ)), path, own) is True
    assert heard(mixed(reply), path, 1) is None
    assert heard(np.zeros(RATE_HZ * 3, np.int16), path, 1) is None


@pytest.mark.parametrize("name", some(VOICES, 2))
def test_no_pure_pair_of_calls_is_crossed(name: str) -> None:
    path = PATHS["PCMU"]
    speech, reply = voice(name), voice("digits")
    for mark in range(1, COUNT + 1, 4):
        own_echo = marked(speech, mark, RATE_HZ)
        assert heard(mixed(own_echo), path, mark) is False
        assert heard(mixed(own_echo, reply), path, mark) is False
