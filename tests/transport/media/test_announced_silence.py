"""Silence that a peer announces: comfort noise, and packets of Opus without sound. It is neither
loss nor a stall.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.observe.reply import TrackPlayer
from bench.protocols.call_media import CallMedia
from bench.protocols.rtp.jitter import Frame
from bench.protocols.rtp.rtp import (
    CODECS,
    COMFORT_NOISE_TYPE,
    OPUS,
    RtpPacket,
    StreamNumbers,
    build_packet,
    codec_of_call,
    telephone_audio,
)
from bench.wire.connection import MatchedDelta, ReceivedMessage
from bench.wire.events import EMPTY, EventKind, ServerEvent
from tests.transport.media.path import FRAME_NS, PLAIN, START_NS

EVENT = ServerEvent(EventKind.AUDIO_DELTA, "audio")


def heard(
    codec: str, announcement: bytes | None, pause_ns: int
) -> tuple[CallMedia, list[tuple[int, int]]]:
    """Return the media of a call, and the (instant, size) of each piece of audio: frames, a packet
    that announces a pause if there is one, the pause, and frames.
    """
    form, audio = CODECS[codec], telephone_audio((codec,))
    number = form.payload_type
    agreed = replace(
        PLAIN, codec=codec, send_payload_type=number, receive_codecs=((number, codec),)
    )
    media = CallMedia(agreed, StreamNumbers(1, 2, 3), "x@y", START_NS, 0, lambda: 0.5, audio)
    encode = codec_of_call(codec, audio).encode or bytes
    silence = audio.encode(np.zeros(audio.rate_hz // 50, np.int16))
    datagrams, at_ns = [], START_NS
    for count in range(60):
        if count == 30:
            if announcement is not None:
                kind = number if codec == OPUS else COMFORT_NOISE_TYPE
                datagrams.append((kind, at_ns, announcement))
            at_ns += pause_ns
        datagrams.append((number, at_ns, encode(silence)))
        at_ns += FRAME_NS
    frames: list[tuple[Frame | ReceivedMessage, int]] = []
    deltas: list[MatchedDelta] = []
    for sequence, (kind, sent_ns, payload) in enumerate(datagrams):
        ticks = (sent_ns - START_NS) * form.clock_hz // NS_PER_S
        data = build_packet(*RtpPacket(kind, sequence, ticks, 7, payload))
        arrived = [(data, media.peer, Arrival(sent_ns))]
        if not media.usual.take(arrived, 0, sent_ns, 0, frames, deltas, EVENT):
            deltas += (
                MatchedDelta(EVENT, frame.at_ns, 0, 0, len(frame.audio), 0, frame.audio)
                for frame in media.received(data, Arrival(sent_ns), media.peer)
            )
    return media, [(delta.at_ns, delta.payload_bytes) for delta in deltas]


def stalled_ns(codec: str, pieces: list[tuple[int, int]]) -> int:
    player = TrackPlayer(telephone_audio((codec,)), 0, pieces[0][0])
    for at_ns, size in pieces:
        player.add(at_ns, size, EMPTY)
    return player.stall_duration_ns


ANNOUNCED = {"PCMU": b"\x40", "G722": b"\x40\x01\x02", OPUS: b"\x48"}


@pytest.mark.parametrize("pause_ns", [300 * NS_PER_MS, 1_900 * NS_PER_MS])
@pytest.mark.parametrize("codec", ANNOUNCED)
def test_an_announced_pause_is_silence_and_neither_loss_nor_a_stall(
    codec: str, pause_ns: int
) -> None:
    media, pieces = heard(codec, ANNOUNCED[codec], pause_ns)
    audio = telephone_audio((codec,))

    assert (media.receiver.lost, media.buffer.counts.lost, media.buffer.counts.resyncs) == (0, 0, 0)
    assert (
        sum(size for _, size in pieces)
        == audio.bytes_per_s * (1_200 * NS_PER_MS + pause_ns) // NS_PER_S
    )
    assert stalled_ns(codec, pieces) == 0


def test_other_pauses_are_stalls() -> None:
    """The agent may be late with its speech, so no silence replaces it."""
    for announcement, pause_ns in ((None, 300 * NS_PER_MS), (b"\x40", 2_100 * NS_PER_MS)):
        media, pieces = heard("PCMU", announcement, pause_ns)

        assert media.receiver.lost == 0
        assert stalled_ns("PCMU", pieces) == pause_ns
