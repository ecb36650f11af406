"""The descriptions of WebRTC: an offer and its answer, and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.protocols.ice.ice import Candidate
from bench.protocols.webrtc.description import (
    accepted_answer,
    answer_to,
    write_offer,
)
from bench.wire.addresses import HostPort
from tests.examples import thorough
from tests.transport.webrtc.pair import (
    CALLER,
    CALLER_LOGIN,
    SERVICE,
    SERVICE_LOGIN,
    SSRC,
    local_peer,
)

OFFER = write_offer(local_peer(CALLER))
ANSWER, _ = answer_to(local_peer(SERVICE, is_lite=True), OFFER)
BROWSER = b"""v=0
o=- 46117 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1 2
a=ice-ufrag:F7gI
a=ice-pwd:x9cml/YzichV2+XlhiMu8g
a=fingerprint:sha-1 49:66:12:17:0D:1C:91:AE:57:4C:C6:36:DD:D5:97:D2:7D:62:C9:9A
a=fingerprint:sha-256 49:66:12:17:0D:1C:91:AE:57:4C:C6:36:DD:D5:97:D2:7D:62:C9:9A:7F:B9:A3:F4:70:03:E7:43:91:73:23:5E
m=video 9 UDP/TLS/RTP/SAVPF 96
a=mid:0
m=audio 9 UDP/TLS/RTP/SAVPF 111 0
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=setup:actpass
a=mid:1
a=sendrecv
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=candidate:1 1 udp 2122260223 192.0.2.9 54400 typ host generation 0 network-id 1
a=candidate:2 1 tcp 1518280447 192.0.2.9 9 typ host tcptype active
a=candidate:3 1 udp 2122194687 4f1a-x.local 54401 typ host
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
a=mid:2
a=sctp-port:5001
a=max-message-size:262144
"""


def test_each_side_reads_what_the_other_one_wrote() -> None:
    service, (_, caller) = (
        accepted_answer(local_peer(CALLER), ANSWER),
        answer_to(local_peer(SERVICE), OFFER),
    )

    assert (service.login, caller.login) == (SERVICE_LOGIN, CALLER_LOGIN)
    assert [each.address for each in service.candidates] == [SERVICE]
    assert (service.is_lite, caller.is_lite, service.setup, caller.setup) == (
        True,
        False,
        "active",
        "actpass",
    )
    assert (service.codec.encoding, service.codec.payload_type) == ("PCMU", 0)


def test_the_offer_of_a_browser_is_answered_with_its_audio_and_its_data_channel() -> None:
    answer, browser = answer_to(local_peer(SERVICE), BROWSER.replace(b"\n", b"\r\n"))

    assert browser.candidates == (Candidate(HostPort("192.0.2.9", 54_400), 2_122_260_223),)
    assert [each.hash for each in browser.fingerprints] == ["sha-256"]
    media = [
        line for line in answer.decode().splitlines() if line.startswith(("m=", "a=mid", "a=group"))
    ]
    assert media == [
        "a=group:BUNDLE 1 2",
        "m=video 0 UDP/TLS/RTP/SAVPF 96",
        "a=mid:0",
        "m=audio 9 UDP/TLS/RTP/SAVPF 0",
        "a=mid:1",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "a=mid:2",
    ]
    assert browser.channel == (5_001, 262_144)
    assert b"a=sctp-port:5000\r\na=max-message-size:16777216\r\n" in answer


def test_the_audio_of_both_sides_is_announced_with_its_source() -> None:
    """Peers that use no MID of RTP find the track of a packet by the SSRC (RFC 5576, RFC 8830)."""
    for description in (OFFER, ANSWER):
        audio = description.partition(b"m=application")[0].decode().splitlines()
        assert f"a=ssrc:{SSRC} cname:caller@rtbench" in audio
        assert "a=msid:caller@rtbench audio" in audio


def test_an_offer_names_each_address_of_its_socket_the_first_one_with_the_highest_priority() -> (
    None
):
    hosts = (CALLER, HostPort("198.51.100.1", 40_000), HostPort("203.0.113.1", 40_000))
    _, caller = answer_to(
        local_peer(SERVICE), write_offer(replace(local_peer(CALLER), hosts=hosts))
    )

    assert tuple(each.address for each in caller.candidates) == hosts
    priorities = [each.priority for each in caller.candidates]
    assert priorities == sorted(set(priorities), reverse=True)


@pytest.mark.parametrize(
    ("old", "new"), [(b"m=application 9", b"m=application 0"), (b"m=application (?s:.*)", b"")]
)
def test_a_peer_without_a_data_channel_is_called_if_none_is_needed(old: bytes, new: bytes) -> None:
    """Some agents wait for a channel, and others refuse it."""
    caller, answer = replace(local_peer(CALLER), needs_channel=False), re.sub(old, new, ANSWER)

    assert accepted_answer(caller, ANSWER).channel is not None
    assert accepted_answer(caller, answer).channel is None
    with pytest.raises(ValueError, match="refuses the data channel"):
        accepted_answer(local_peer(CALLER), answer)


@thorough
@given(st.binary(max_size=300), st.integers(0, len(ANSWER)), st.integers(0, 40))
def test_damaged_descriptions_raise_only_value_errors(piece: bytes, at: int, cut: int) -> None:
    for data in (piece, ANSWER[:at] + piece + ANSWER[at + cut :], OFFER[:at] + piece):
        for read in (accepted_answer, answer_to):
            try:
                read(local_peer(CALLER), data)
            except ValueError as error:
                assert CALLER_LOGIN.password not in str(error)
                assert SERVICE_LOGIN.password not in str(error)


def test_the_password_of_ice_is_not_shown() -> None:
    assert SERVICE_LOGIN.password not in repr(accepted_answer(local_peer(CALLER), ANSWER))
