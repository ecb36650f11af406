"""The keys of the phone as telephone events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.protocols.call_media import (
    KEYS,
    KeyReceiver,
    TelephoneEvent,
    build_event,
    key_payloads,
    parse_event,
)
from bench.protocols.rtp.rtp import CODECS, ReceivedPacket, RtpReceiver, RtpSender, StreamNumbers
from tests.examples import thorough

EVENTS = st.builds(
    TelephoneEvent, st.integers(0, 255), st.booleans(), st.integers(0, 63), st.integers(0, 0xFFFF)
)


@given(EVENTS)
def test_an_event_is_read_as_it_was_built(event: TelephoneEvent) -> None:
    assert parse_event(build_event(event)) == event


def test_a_payload_has_the_layout_of_rfc_4733() -> None:
    assert build_event(TelephoneEvent(11, True, 10, 800)) == bytes.fromhex("0b8a0320")
    assert parse_event(b"\1\2\3") is None


def test_a_press_that_does_not_fit_into_the_duration_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 65535 ticks"):
        key_payloads("1", frames=410, frame_ticks=160)


def press(sender: RtpSender, key: str) -> list[bytes]:
    """Return the packets of a press, with silence in the media time that they take."""
    start = sender.timestamp
    packets = []
    for number, payload in enumerate(key_payloads(key, frames=5, frame_ticks=160)):
        packets.append(sender.packet(101, start, payload, marker=number == 0))
        sender.pause(160)
    return packets


def keys_in(packets: list[bytes], receiver: RtpReceiver | None = None) -> str:
    receiver, keys = receiver or RtpReceiver(8_000, {0}, 101), KeyReceiver()
    received = [receiver.receive(data, Arrival(0)) for data in packets]
    return "".join(
        keys.receive(packet) for packet in received if packet is not None and packet.kind == "event"
    )


def sender() -> RtpSender:
    return RtpSender(CODECS["PCMU"], 0, StreamNumbers(1, 65_530, (1 << 32) - 1_000))


@thorough
@given(st.text(alphabet=KEYS, max_size=12), st.data())
def test_each_press_counts_once_if_any_of_its_packets_arrives(
    pressed: str, data: st.DataObject
) -> None:
    subject = sender()
    packets = []
    for key in pressed:
        of_press = press(subject, key)
        arrived = data.draw(st.lists(st.sampled_from(of_press), min_size=1, unique=True))
        packets += [packet for packet in of_press if packet in arrived]
        packets.append(subject.audio(bytes(160)))

    assert keys_in(packets) == pressed


def test_a_packet_of_an_earlier_press_that_arrives_later_does_not_count_again() -> None:
    subject = sender()
    first, second = press(subject, "1"), press(subject, "1")

    assert keys_in([*first[:-1], second[0], first[-1], *second[1:]]) == "11"


def test_events_that_are_not_keys_are_ignored() -> None:
    keys = KeyReceiver()
    for payload in (build_event(TelephoneEvent(16, False, 10, 160)), b""):
        assert keys.receive(ReceivedPacket("event", 0, 1, 0, payload, Arrival(0), True, 101)) == ""
