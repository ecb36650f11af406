"""The TURN servers in the answer to an offer: they are used, and their credentials are not
stored.
"""

from __future__ import annotations

import pytest

from bench.base.clock import SendTime
from bench.base.units import NEVER_NS
from bench.catalogue.causes import ConnectError
from bench.catalogue.timeouts import Timeouts
from bench.protocols.turn.servers import TurnLogin, TurnServer
from bench.transport.interface import ConnectRequest, ConnectTimings
from bench.transport.webrtc.signalling import call_agent, place_call
from tests.transport.fake_stream import FakeStream, read

OPENAI = "wss://api.openai.com/v1/realtime?model=gpt-realtime"
SERVERS = (TurnServer("turn.example.org", 3_478, "udp", TurnLogin("u", "a-secret")),)
LINKS = (
    b'Link: <stun:stun.example.org>; rel="ice-server"\r\n'
    b'Link: <turn:turn.example.org>; rel="ice-server"; username="u"; credential="a-secret"\r\n'
)
LIMITS = Timeouts(upgrade=0.2)


class Agent(FakeStream):
    """A stream that returns an answer to an offer."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.reads.append(read(answer))

    def write(self, data: bytes, *, stamped: bool = False, until_ns: int = NEVER_NS) -> SendTime:
        return SendTime(0)


def request_to(url: str) -> ConnectRequest:
    return ConnectRequest(url, [], None, LIMITS, ConnectTimings())


def test_link_headers_name_servers_and_are_not_kept() -> None:
    agent = Agent(b"HTTP/1.1 201 Created\r\n" + LINKS + b"X-Own: 1\r\nContent-Length: 3\r\n\r\nv=0")
    answer = place_call(agent, request_to(OPENAI), b"v=0")

    assert answer.servers == SERVERS
    assert answer.headers == {"x-own": "1", "content-length": "3"}


def test_an_answer_in_json_names_servers() -> None:
    entry = b'{"urls": ["turn:turn.example.org"], "username": "u", "credential": "a-secret"}'
    body = b'{"sdp": "v=0", "type": "answer", "iceServers": [%s]}' % entry
    agent = Agent(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    answer = call_agent(agent, request_to("http://localhost:1/api/offer"), b"v=0")

    assert answer.servers == SERVERS


@pytest.mark.parametrize("status", ["500 Internal Server Error", "201 Created"])
def test_the_headers_of_a_failure_have_no_links(status: str) -> None:
    agent = Agent(f"HTTP/1.1 {status}\r\n".encode() + LINKS + b"Content-Length: 2\r\n\r\nno")
    with pytest.raises(ConnectError) as caught:
        place_call(agent, request_to(OPENAI), b"v=0")

    assert "secret" not in f"{caught.value.headers}{caught.value.detail}"
