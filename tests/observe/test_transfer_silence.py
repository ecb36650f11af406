"""The silence that a caller hears around a transfer."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.sound.transfer_silence import BEFORE_NS, Piece, TransferSilence
from bench.wire.audio import G711_ULAW, Samples
from rtbench_simulator.recorded_replies import load_replies, reply_samples

FRAME, FRAME_NS = 160, 20 * NS_PER_MS
VOICE = reply_samples(load_replies()[0], G711_ULAW)
LOUD = np.flatnonzero(np.abs(VOICE.astype(int)) > 100)
SPEECH = VOICE[LOUD[0] : LOUD[0] + 8_000]
"""A second of speech, which begins at once."""


def silence(s: float) -> Samples:
    return np.zeros(round(s * 8_000), np.int16)


def pieces(samples: Samples, at_ns: int = 0) -> list[Piece]:
    frames = range(0, len(samples) - FRAME + 1, FRAME)
    return [
        Piece(
            at_ns + start // FRAME * FRAME_NS, 0, G711_ULAW.encode(samples[start : start + FRAME])
        )
        for start in frames
    ]


def heard(subject: TransferSilence, stream: list[Piece], **changes: float) -> None:
    """Let a caller hear a stream, with changes (begin, end) at instants in seconds."""
    due = sorted((at_s * NS_PER_S, name) for name, at_s in changes.items())
    for piece in stream:
        while due and due[0][0] <= piece.at_ns:
            at_ns, name = due.pop(0)
            getattr(subject, name)(round(at_ns))
        subject.add([piece])


@pytest.mark.parametrize("is_sent", [True, False])
def test_it_reaches_from_the_last_sound_before_a_transfer_to_the_first_one_after_it(
    is_sent: bool,
) -> None:
    subject = TransferSilence(G711_ULAW)
    before, after = pieces(np.concatenate([SPEECH, silence(0.5)])), 4_000_000_000
    between = pieces(silence(2.5), 1_500_000_000) if is_sent else []
    heard(subject, before + between + pieces(np.tile(SPEECH, 2), after), begin=1.4, end=3.0)

    assert subject.count == 1
    assert subject.is_known
    assert subject.longest is not None
    assert subject.longest.duration_ns == pytest.approx(3 * NS_PER_S, abs=100 * NS_PER_MS)


@pytest.mark.parametrize("late_ms", range(0, 100, 7))
def test_the_silence_is_exact_wherever_its_ends_lie_in_packets_with_jitter(late_ms: int) -> None:
    chance = Random(late_ms)
    subject = TransferSilence(G711_ULAW)
    buzz = np.where(np.arange(6_400) % 16 < 8, 8_000, -8_000).astype(np.int16)
    stream = [buzz, silence(2 + late_ms / 1_000), buzz]
    delays = [chance.randrange(NS_PER_MS) for _ in range(500)]
    sent = pieces(np.concatenate(stream))
    late = [
        piece._replace(at_ns=piece.at_ns + delay_ns)
        for piece, delay_ns in zip(sent, delays, strict=False)
    ]
    heard(subject, late, begin=1.5, end=1.6)

    assert subject.longest is not None
    start_ns = (2_800 + late_ms) * NS_PER_MS
    moved_ns = delays[start_ns // FRAME_NS] - delays[799 * NS_PER_MS // FRAME_NS]
    error_ns = subject.longest.duration_ns - (2_000 + late_ms) * NS_PER_MS - moved_ns
    assert abs(error_ns) <= subject.longest.uncertainty_ns + NS_PER_MS // 100


def test_a_sound_during_the_transfer_divides_it() -> None:
    subject = TransferSilence(G711_ULAW)
    stream = [SPEECH, silence(2), SPEECH, silence(1), SPEECH, silence(5), SPEECH]
    heard(subject, pieces(np.concatenate(stream)), begin=1.5, end=4.5)

    assert subject.longest is not None
    assert subject.longest.duration_ns == pytest.approx(2 * NS_PER_S, abs=100 * NS_PER_MS)
    assert subject.is_known


def test_of_the_silence_before_it_three_seconds_count() -> None:
    subject = TransferSilence(G711_ULAW)
    stream = [SPEECH, silence(8), SPEECH, SPEECH]
    heard(subject, pieces(np.concatenate(stream)), begin=8.0, end=8.0)

    assert subject.longest is not None
    assert subject.longest.duration_ns == pytest.approx(BEFORE_NS + NS_PER_S, abs=NS_PER_S // 10)


def test_it_is_unknown_until_a_sound_follows() -> None:
    subject = TransferSilence(G711_ULAW)
    heard(subject, pieces(np.concatenate([SPEECH, silence(3)])), begin=1.5, end=2)

    assert (subject.count, subject.is_known, subject.longest) == (1, False, None)


def test_a_voice_that_continues_leaves_no_silence() -> None:
    subject = TransferSilence(G711_ULAW)
    heard(subject, pieces(np.tile(SPEECH, 3)), begin=1.5, end=1.5)

    assert subject.is_known
    assert subject.longest is not None
    assert subject.longest.duration_ns <= 200 * NS_PER_MS
