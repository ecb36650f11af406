"""The codec of a call: it converts the session's µ-law, and states the duration of each payload."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.base.clock import Arrival
from bench.protocols.call_media import CallMedia
from bench.protocols.rtp.rtp import RtpPacket, StreamNumbers, build_packet, parse_packet
from bench.protocols.sdp.offer_answer import AgreedMedia
from bench.wire.addresses import HostPort
from bench.wire.audio import G711_ALAW, G711_ULAW

TONE = (8_000 * np.sin(np.arange(160) / 5)).astype(np.int16)
PLAIN = AgreedMedia(
    "192.0.2.4",
    5_000,
    "PCMU",
    0,
    ((0, "PCMU"), (8, "PCMA")),
    None,
    None,
    "sendrecv",
    HostPort("192.0.2.4", 5_001),
)
FORMATS = {"PCMU": (0, G711_ULAW), "PCMA": (8, G711_ALAW)}


def media(codec: str) -> CallMedia:
    agreed = replace(PLAIN, codec=codec, send_payload_type=FORMATS[codec][0])
    return CallMedia(agreed, StreamNumbers(1, 2, 3), "x@y", 0, 0, lambda: 0.5)


@pytest.mark.parametrize("codec", FORMATS)
def test_the_caller_sends_its_speech_in_the_agreed_codec(codec: str) -> None:
    sent = parse_packet(media(codec).send_audio(G711_ULAW.encode(TONE)))
    assert sent is not None

    number, audio = FORMATS[codec]
    assert sent.payload_type == number
    np.testing.assert_allclose(audio.decode(sent.payload), TONE, atol=400)


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
