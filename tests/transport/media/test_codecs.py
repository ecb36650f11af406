"""The codec of a call: it converts the session's µ-law, and states the duration of each payload."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.base.clock import Arrival
from bench.base.units import NEVER_NS, NS_PER_MS
from bench.transport.interface import HostPort
from bench.transport.media.call_media import CallMedia
from bench.transport.media.offer_answer import AgreedMedia, LocalMedia, accepted_answer, answer_to, write_offer
from bench.transport.media.rtp import CODECS, Codec, RtpPacket, StreamNumbers, build_packet, parse_packet
from bench.transport.media.sdp import parse_description
from bench.wire.audio import G711_ALAW, G711_ULAW

TONE = (8_000 * np.sin(np.arange(160) / 5)).astype(np.int16)
LOCAL = LocalMedia("192.0.2.1", 4_000, 1)
PLAIN = AgreedMedia("192.0.2.4", 5_000, "PCMU", 0, ((0, "PCMU"), (8, "PCMA")), None, None, "sendrecv",
                    HostPort("192.0.2.4", 5_001))  # fmt: skip
FORMATS = {"PCMU": (0, G711_ULAW), "PCMA": (8, G711_ALAW)}


def media(codec: str) -> CallMedia:
    agreed = replace(PLAIN, codec=codec, send_payload_type=FORMATS[codec][0])
    return CallMedia(agreed, StreamNumbers(1, 2, 3), "x@y", 0, 0, lambda: 0.5)


def packet(codec: str, sequence: int) -> bytes:
    number, audio = FORMATS[codec]
    return build_packet(*RtpPacket(number, sequence, 160 * sequence, 7, audio.encode(TONE)))


@pytest.mark.parametrize("codec", FORMATS)
def test_the_caller_sends_its_speech_in_the_agreed_codec(codec: str) -> None:
    sent = parse_packet(media(codec).send_audio(G711_ULAW.encode(TONE)))
    assert sent is not None

    number, audio = FORMATS[codec]
    assert sent.payload_type == number
    np.testing.assert_allclose(audio.decode(sent.payload), TONE, atol=400)


def test_a_peer_may_change_between_the_codecs_that_were_offered() -> None:
    call = media("PCMU")
    frames = [
        frame
        for sequence, codec in enumerate(("PCMU", "PCMA", "PCMU"))
        for frame in call.received(packet(codec, sequence), Arrival(sequence * 20_000_000), call.peer)
    ]

    assert len(frames) == 3
    for frame in frames:
        np.testing.assert_allclose(G711_ULAW.decode(frame.audio), TONE, atol=400)


def test_a_later_agreement_changes_the_codec_of_both_directions() -> None:
    call = media("PCMU")
    call.change(replace(PLAIN, codec="PCMA", send_payload_type=96, receive_codecs=((97, "PCMA"),)))
    sent = parse_packet(call.send_audio(G711_ULAW.encode(TONE)))
    assert sent is not None
    received = build_packet(*RtpPacket(97, 1, 160, 7, G711_ALAW.encode(TONE)))
    (frame,) = call.received(received, Arrival(1), call.peer)

    assert sent.payload_type == 96
    np.testing.assert_allclose(G711_ALAW.decode(sent.payload), TONE, atol=400)
    np.testing.assert_allclose(G711_ULAW.decode(frame.audio), TONE, atol=400)


def test_an_agent_chooses_one_of_the_codecs_that_the_call_offers() -> None:
    answer, theirs = answer_to(replace(LOCAL, codecs=("PCMA",)), parse_description(write_offer(LOCAL, 1)), 1)
    ours = accepted_answer(LOCAL, parse_description(answer))

    assert (ours.codec, ours.send_payload_type, theirs.receive_codecs) == ("PCMA", 8, ((8, "PCMA"),))
    with pytest.raises(ValueError, match="codec"):
        answer_to(
            replace(LOCAL, codecs=("PCMA",)), parse_description(write_offer(replace(LOCAL, codecs=("PCMU",)), 1)), 1
        )


SQUEEZED = Codec(
    96,
    48_000,
    lambda payload: payload[0] * 120 if len(payload) == 2 else 0,
    lambda audio: bytes((len(audio) // 20, audio[0])),
    lambda payload: payload[1:] * (payload[0] * 20),
)
"""A codec like Opus: each payload has two bytes, the number of its parts of 2.5 ms and their sample."""


@pytest.fixture
def squeezed(monkeypatch: pytest.MonkeyPatch) -> CallMedia:
    monkeypatch.setitem(CODECS, "SQUEEZED", SQUEEZED)
    agreed = replace(PLAIN, codec="SQUEEZED", send_payload_type=96, receive_codecs=((96, "SQUEEZED"),))
    return CallMedia(agreed, StreamNumbers(1, 2, 0), "x@y", 0, 0, lambda: 0.5)


def test_the_duration_of_a_received_frame_comes_from_its_codec(squeezed: CallMedia) -> None:
    start_ms, ms, frames = 1_000, 0, []
    for sequence, parts in enumerate((8, 24, 4, 48, 8)):  # 20, 60, 10, 120 and 20 ms; the one of 10 ms is lost
        data = build_packet(*RtpPacket(96, sequence, 48 * ms, 7, bytes((parts, sequence))))
        if sequence != 2:
            frames += squeezed.received(data, Arrival((start_ms + ms) * NS_PER_MS), squeezed.peer)
        ms += parts * 5 // 2
    frames += squeezed.expire(NEVER_NS)

    assert [len(frame.audio) // 8 for frame in frames] == [20, 60, 10, 120, 20]
    assert [frame.payload_bytes for frame in frames] == [2, 2, 0, 2, 2]
    assert [round(frame.at_ns / NS_PER_MS) - start_ms for frame in frames] == [0, 20, 80, 90, 210]
    assert squeezed.buffer.counts.concealed_ns == 10 * NS_PER_MS


def test_a_payload_that_the_codec_cannot_read_is_silence(squeezed: CallMedia) -> None:
    frames = [
        frame
        for sequence, payload in enumerate((b"\x08a", b"", b"\x08a"))
        for frame in squeezed.received(
            build_packet(*RtpPacket(96, sequence, 960 * sequence, 7, payload)),
            Arrival((1_000 + 20 * sequence) * NS_PER_MS),
            squeezed.peer,
        )
    ]

    assert [set(frame.audio) for frame in frames] == [{97}, {0xFF}, {97}]
    assert squeezed.buffer.counts.bad_audio == 1


def test_sent_media_time_advances_by_the_duration_of_each_frame(squeezed: CallMedia) -> None:
    squeezed.send_audio(bytes(160))
    squeezed.skip_audio(bytes(480))
    sent = parse_packet(squeezed.send_audio(bytes(160)))

    assert sent is not None
    assert (sent.timestamp, len(sent.payload)) == (4 * 960, 2)
