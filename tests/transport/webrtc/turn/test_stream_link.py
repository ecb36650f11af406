"""The connection to a TURN server: the arrivals of its messages, and a server that does not
read.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import pytest

from bench.base.clock import Arrival, SendTime
from bench.protocols.turn.framing import MessageStream, build_channel_data
from bench.transport.webrtc.relay import StreamLink
from tests.transport.certificates import Certificate
from tests.transport.tcp_peers import Peer, connected, wait_until_there

PACKET = bytes(1_200)


@pytest.fixture(params=[False, True], ids=["tcp", "tls"])
def linked(request: pytest.FixtureRequest, certificate: Certificate) -> Iterator[tuple[Any, Peer]]:
    """Yield the connection to a server, and the server."""
    with connected(request.param, certificate) as both:
        yield both


def message(number: int) -> bytes:
    return build_channel_data(0x4000, number.to_bytes(4) + PACKET, is_stream=True)


def received(link: StreamLink, stream: Any) -> list[tuple[bytes, Arrival]]:
    wait_until_there(stream)
    return link.receive()


def test_only_the_last_message_of_a_read_has_an_exact_arrival(linked: tuple[Any, Peer]) -> None:
    stream, server = linked
    link = StreamLink(stream)
    server.send(message(1))
    ((first, _),) = received(link, stream)
    server.send(message(2) + message(3))
    (second, early), (third, last) = received(link, stream)

    assert [first, second, third] == [message(1), message(2), message(3)]
    assert last.uncertainty_ns == 0 or not last.is_kernel
    assert early.uncertainty_ns > 0
    assert early.at_ns == last.at_ns


def test_a_message_before_a_part_of_the_next_one_has_no_exact_arrival(
    linked: tuple[Any, Peer],
) -> None:
    stream, server = linked
    link = StreamLink(stream)
    server.send(message(1) + message(2)[:100])
    ((_, arrival),) = received(link, stream)
    server.send(message(2)[100:])
    ((rest, _),) = received(link, stream)

    assert arrival.uncertainty_ns > 0
    assert rest == message(2)


def test_messages_wait_for_a_server_that_does_not_read_and_the_later_ones_are_lost(
    linked: tuple[Any, Peer],
) -> None:
    stream, server = linked
    link, accepted, sent = StreamLink(stream), 0, None
    while isinstance(sent := link.send(message(accepted)), SendTime):
        accepted += 1
    assert sent == errno.ENOBUFS
    assert link.problem == ""

    messages, found, before = MessageStream(), list[bytes](), accepted
    while len(found) < before + 10:  # each message that is sent lets those before it leave
        found += messages.feed(server.do(lambda sock: sock.recv(1 << 16))[2])
        accepted += isinstance(link.send(message(accepted)), SendTime)
    assert found == [message(number) for number in range(len(found))]


def test_the_end_of_the_connection_is_named(linked: tuple[Any, Peer]) -> None:
    stream, server = linked
    link = StreamLink(stream)
    server.send(message(1))
    server.end()
    while not link.problem:
        link.receive()

    assert link.problem.startswith("closes the connection")
