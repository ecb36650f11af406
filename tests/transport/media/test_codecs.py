"""The codec of a call: the session's µ-law is converted if the peer chose, or sends, PCMA."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.base.clock import Arrival
from bench.transport.interface import HostPort
from bench.transport.media.call_media import CallMedia
from bench.transport.media.offer_answer import AgreedMedia, LocalMedia, accepted_answer, answer_to, write_offer
from bench.transport.media.rtp import RtpPacket, StreamNumbers, build_packet, parse_packet
from bench.transport.media.sdp import parse_description
from bench.wire.audio import G711_ALAW, G711_ULAW

TONE = (8_000 * np.sin(np.arange(160) / 5)).astype(np.int16)
LOCAL = LocalMedia("192.0.2.1", 4_000, 1)
PLAIN = AgreedMedia("192.0.2.4", 5_000, "PCMU", 0, ((0, "PCMU"), (8, "PCMA")), None, None, "sendrecv", 20,
                    HostPort("192.0.2.4", 5_001))  # fmt: skip
CODECS = {"PCMU": (0, G711_ULAW), "PCMA": (8, G711_ALAW)}


def media(codec: str) -> CallMedia:
    agreed = replace(PLAIN, codec=codec, send_payload_type=CODECS[codec][0])
    return CallMedia(agreed, StreamNumbers(1, 2, 3), "x@y", 0, 0, lambda: 0.5)


def packet(codec: str, sequence: int) -> bytes:
    number, audio = CODECS[codec]
    return build_packet(RtpPacket(number, sequence, 160 * sequence, 7, audio.encode(TONE)))


@pytest.mark.parametrize("codec", CODECS)
def test_the_caller_sends_its_speech_in_the_agreed_codec(codec: str) -> None:
    sent = parse_packet(media(codec).send_audio(G711_ULAW.encode(TONE)))
    assert sent is not None

    number, audio = CODECS[codec]
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
    assert call.receiver.counts.payload_type_changes == 2


def test_a_later_agreement_changes_the_codec_of_both_directions() -> None:
    call = media("PCMU")
    call.change(replace(PLAIN, codec="PCMA", send_payload_type=96, receive_codecs=((97, "PCMA"),)))
    sent = parse_packet(call.send_audio(G711_ULAW.encode(TONE)))
    assert sent is not None
    received = build_packet(RtpPacket(97, 1, 160, 7, G711_ALAW.encode(TONE)))
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
