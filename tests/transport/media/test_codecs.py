"""The codec of a call: it converts the session's µ-law, and states the duration of each payload."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.base.clock import Arrival
from bench.protocols.call_media import CallMedia
from bench.protocols.rtp.rtp import (
    CODECS,
    RtpPacket,
    StreamNumbers,
    build_packet,
    codec_of_call,
    parse_packet,
)
from bench.protocols.rtp.wideband import NarrowDecoder
from bench.protocols.sdp.offer_answer import AgreedMedia
from bench.wire.addresses import HostPort
from bench.wire.audio import (
    G711_ALAW,
    G711_ULAW,
    PCM16_16K,
    AudioFormat,
    audible_position,
    end_of_audible,
)

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


WIDE_TONE = (8_000 * np.sin(np.arange(320) / 10)).astype(np.int16)


@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "G722", "OPUS"])
def test_a_wideband_call_has_the_same_audio_whichever_codec_the_peer_takes(codec: str) -> None:
    number = CODECS[codec].payload_type
    agreed = replace(
        PLAIN, codec=codec, send_payload_type=number, receive_codecs=((number, codec),)
    )
    call = CallMedia(agreed, StreamNumbers(1, 2, 3), "x@y", 0, 0, lambda: 0.5, PCM16_16K)
    heard, timestamps = b"", []
    for count in range(10):
        sent = parse_packet(call.send_audio(PCM16_16K.encode(WIDE_TONE)))
        assert sent is not None
        timestamps.append(sent.timestamp)
        arrival = Arrival(1_000 + count * 20_000_000)
        data = build_packet(*sent)
        heard += b"".join(frame.audio for frame in call.received(data, arrival, call.peer))
    samples = PCM16_16K.decode(heard)

    assert set(np.diff(timestamps)) == {CODECS[codec].clock_hz // 50}
    assert len(samples) == 10 * len(WIDE_TONE)
    assert np.abs(samples[-320:]).max() == pytest.approx(8_000, rel=0.1)


@pytest.mark.parametrize("law", [G711_ULAW, G711_ALAW])
def test_interpolated_g711_is_audible_when_its_first_sample_is(law: AudioFormat) -> None:
    quiet, loud = law.encode(np.zeros(160, np.int16)), law.encode(TONE)
    wide = PCM16_16K.decode(b"".join(map(NarrowDecoder(law).decode, (quiet, loud, quiet))))
    start, end = audible_position(wide), end_of_audible(wide)
    first, last = (
        each(law.decode(quiet + loud + quiet)) for each in (audible_position, end_of_audible)
    )

    assert first is not None
    assert last is not None
    assert start is not None
    assert end is not None
    assert 0 <= 2 * first - start <= 1
    assert 0 <= end - 2 * last <= 1


def test_a_later_agreement_may_have_another_clock() -> None:
    """A gateway to the telephone network may replace Opus, whose clock has 48 kHz."""
    opus = replace(PLAIN, codec="OPUS", send_payload_type=111, receive_codecs=((111, "OPUS"),))
    narrow = replace(PLAIN, receive_codecs=((0, "PCMU"),))
    call = CallMedia(opus, StreamNumbers(1, 2, 3), "x@y", 0, 0, lambda: 0.5, PCM16_16K)
    encode = codec_of_call("OPUS", PCM16_16K).encode
    assert encode is not None
    frames, timestamp = [], 0
    for count in range(20):
        if count == 10:
            frames += call.change(narrow)
        is_narrow = count >= 10
        payload = G711_ULAW.encode(TONE) if is_narrow else encode(PCM16_16K.encode(WIDE_TONE))
        packet = RtpPacket(0 if is_narrow else 111, count, timestamp, 7, payload)
        frames += call.received(build_packet(*packet), Arrival(count * 20_000_000), call.peer)
        timestamp += 160 if is_narrow else 960
    sent = parse_packet(call.send_audio(PCM16_16K.encode(WIDE_TONE)))

    assert [frame.at_ns for frame in frames] == [count * 20_000_000 for count in range(20)]
    assert {len(frame.audio) for frame in frames} == {640}
    assert call.receiver.lost == call.buffer.counts.lost == 0
    assert sent is not None
    assert len(sent.payload) == 160
