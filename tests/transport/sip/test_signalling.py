"""The SIP messages of a call over TCP and TLS, to a line in its own thread, and to peers behind
host names.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.causes import ConnectError
from bench.catalogue.timeouts import Timeouts
from bench.protocols.sdp.offer_answer import LocalMedia
from bench.protocols.sip.answer_plan import AnswerPlan, PlannedRequest
from bench.protocols.sip.dialog import LocalParty
from bench.protocols.sip.exchange import TelephoneExchange
from bench.protocols.sip.framing import StreamFramer
from bench.transport.connect import Lookup
from bench.transport.datagrams import media_sockets
from bench.transport.interface import ConnectRequest, ConnectTimings, NetworkPath
from bench.transport.sip import signalling
from bench.transport.sip.telephone import TelephoneCall, open_call
from bench.transport.tls import tls_context
from bench.wire.addresses import HostPort
from rtbench_simulator.services.telephone.agent import RTP_PORTS
from rtbench_simulator.serving.certificates import loopback_tls
from tests.simulator_process import GUARD_S
from tests.transport.sip.phone_line import ended, line
from tests.transport.sip.scripted_peer import tokens

ENOUGH = Timeouts(tcp=GUARD_S, tls=GUARD_S, upgrade=GUARD_S)
LOOPBACK = "127.0.0.1"


class StreamLine:
    """A line that is called over TCP or TLS. `answers` is False if it only accepts connections.

    `contact` is the host and port of its Contact; its own address if it is None.
    """

    def __init__(
        self, context: ssl.SSLContext | None, contact: str | None, *, answers: bool, **changes: Any
    ) -> None:
        self._listening = socket.create_server((LOOPBACK, 0))
        self.port = self._listening.getsockname()[1]
        # the call sends RTCP to the port after RTP's
        self.rtp, self.rtcp = media_sockets(LOOPBACK, RTP_PORTS)
        self._context, self._answers = context, answers
        name = "TCP" if context is None else "TLS"
        self.url = f"sip:agent@localhost:{self.port};transport={name.lower()}"
        self.connections: list[socket.socket] = []
        self.requests: list[str] = []
        plan = AnswerPlan(LocalMedia(LOOPBACK, self.rtp.getsockname()[1], 7), **changes)
        party = LocalParty(
            HostPort(LOOPBACK, self.port), name, f"sip:agent@{contact or self.address}", "test"
        )
        self._exchange, self._lock = (
            TelephoneExchange(lambda _: plan, party, tokens("line")),
            threading.Lock(),
        )
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, caller = self._listening.accept()
                self._threads.append(
                    threading.Thread(
                        target=self._serve, args=(sock, HostPort(*caller)), daemon=True
                    )
                )
                self._threads[-1].start()

    def _serve(self, sock: socket.socket, caller: HostPort) -> None:
        framer = StreamFramer()
        with suppress(OSError), sock:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=True)
            self.connections.append(sock)
            while data := sock.recv(65_536):
                for message in framer.received(data):
                    self._handle(sock, message, caller)

    def _handle(self, sock: socket.socket, message: bytes, caller: HostPort) -> None:
        with self._lock:
            self.requests.append(message.split(b" ")[0].decode())
            if not self._answers:
                return
            self._exchange.received(message, monotonic_ns(), caller)
            self._exchange.expire(monotonic_ns())
            for data, _, _ in self._exchange.pop_messages():
                sock.sendall(data)

    def break_connections(self) -> None:
        for sock in self.connections:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self.break_connections()
        for thread in self._threads:
            thread.join(GUARD_S)
        for sock in (self._listening, self.rtp, self.rtcp, *self.connections):
            sock.close()


@contextmanager
def stream_line(
    context: ssl.SSLContext | None = None,
    contact: str | None = None,
    *,
    answers: bool = True,
    **changes: Any,
) -> Iterator[StreamLine]:
    called = StreamLine(context, contact, answers=answers, **changes)
    try:
        yield called
    finally:
        called.close()


def dial(
    url: str, context: ssl.SSLContext | None = None, **path: Any
) -> tuple[TelephoneCall, ConnectTimings]:
    timings = ConnectTimings()
    return open_call(
        ConnectRequest(url, (), context, ENOUGH, timings, NetworkPath(**path))
    ), timings


def wait_for(is_true: Callable[[], object], what: str) -> None:
    until_ns, pause = monotonic_ns() + GUARD_S * NS_PER_S, threading.Event()
    while not is_true():
        assert monotonic_ns() < until_ns, what
        pause.wait(0.001)


def test_a_call_over_tcp_uses_one_connection_from_invite_to_bye() -> None:
    with stream_line() as called:
        call, timings = dial(called.url)
        call.close()

    instants = timings.instants
    assert (
        instants["connect_start"]
        <= instants["dns_done"]
        <= instants["tcp_done"]
        <= instants["opened"]
    )
    assert len(called.connections) == 1
    assert called.requests == ["INVITE", "ACK", "BYE"]


def test_a_call_over_tls_checks_the_name_in_the_url(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    with stream_line(loopback_tls(ca)) as called:
        with pytest.raises(ConnectError) as caught:
            dial(called.url, tls_context(None))
        call, timings = dial(called.url, tls_context(ca))
        call.close()

    assert caught.value.outcome == "connect_failed:tls"
    assert (
        timings.instants["tcp_done"] <= timings.instants["tls_done"] <= timings.instants["opened"]
    )
    assert called.requests == ["INVITE", "ACK", "BYE"]


def test_a_certificate_has_no_final_dot(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    with stream_line(loopback_tls(ca)) as called:
        call, _ = dial(
            called.url.replace("localhost", "localhost."), tls_context(ca), address=LOOPBACK
        )
        call.close()

    assert called.requests == ["INVITE", "ACK", "BYE"]


def test_an_outbound_proxy_gets_the_messages_of_an_agent_elsewhere() -> None:
    with stream_line() as called:
        call, _ = dial(
            "sip:agent@agent.example:5060", sip_proxy=f"sip:{called.address};transport=tcp"
        )
        call.close()

    assert called.requests[0] == "INVITE"


def test_an_agent_elsewhere_may_name_its_hosts_through_a_proxy_on_this_machine() -> None:
    with line(contact_host="agent.invalid") as called:
        proxy = f"sip:{LOOPBACK}:{called.port}"
        with pytest.raises(ConnectError) as caught:
            dial("sip:agent@localhost:5060", sip_proxy=proxy)
        call, _ = dial("sip:agent@agent.invalid:5060", sip_proxy=proxy)
        assert call.closed is None
        call.close()

    assert caught.value.outcome == "connect_failed:host"


def test_a_bye_of_the_peer_over_tcp_ends_the_call() -> None:
    bye = PlannedRequest(0, "BYE", reason="Q.850;cause=16")
    with stream_line(requests=(bye,)) as called:
        call, _ = dial(called.url)
        closed = ended(call)
        call.close()

    assert closed.code == 1000
    assert "Q.850;cause=16" in closed.reason


def test_a_connection_that_ends_before_the_answer_fails_the_call() -> None:
    with stream_line(answers=False) as called:

        def cut() -> None:
            wait_for(lambda: called.requests, "no INVITE")
            called.break_connections()

        threading.Thread(target=cut, daemon=True).start()
        with pytest.raises(ConnectError) as caught:
            dial(called.url)

    assert caught.value.outcome == "connect_failed:sip"
    assert "closed the SIP connection" in caught.value.detail


def test_a_call_continues_on_a_new_connection_if_the_first_one_ends() -> None:
    with stream_line() as called:
        call, _ = dial(called.url)
        wait_for(lambda: "ACK" in called.requests, "no ACK")
        called.break_connections()
        call.receive_until(monotonic_ns() + 50 * NS_PER_MS, lambda _: False)
        assert call.closed is None
        call.close()

    assert len(called.connections) == 2
    assert called.requests[-1] == "BYE"


def test_bytes_that_are_not_sip_end_the_call_in_one_line() -> None:
    with socket.create_server((LOOPBACK, 0)) as listening:

        def answer() -> None:
            with listening.accept()[0] as sock:
                sock.recv(65_536)
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(ConnectError) as caught:
            dial(f"sip:agent@{LOOPBACK}:{listening.getsockname()[1]};transport=tcp")
        thread.join(GUARD_S)

    assert caught.value.outcome == "connect_failed:sip"
    assert "not SIP" in caught.value.detail


def test_a_port_without_a_listener_refuses_the_connection() -> None:
    with socket.create_server((LOOPBACK, 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(ConnectError) as caught:
        dial(f"sip:agent@{LOOPBACK}:{port};transport=tcp")

    assert caught.value.outcome == "connect_failed:tcp"


def test_a_host_name_of_the_peer_is_looked_up_once_without_blocking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lookups = []

    def look_up(host: str, port: int, limit_s: float, family: int = 0) -> Lookup:
        lookups.append(host)
        return Lookup([(socket.AF_INET, socket.SOCK_STREAM, 0, "", (LOOPBACK, port))], 1, 2)

    monkeypatch.setattr(signalling, "look_up", look_up)
    with line(contact_host="agent.example") as called:
        call, _ = dial(called.url, may_leave=True)
        call.close()
        called.wait_for_request(b"ACK")
        called.wait_for_request(b"BYE")

    assert lookups == [LOOPBACK, "agent.example"]


def test_a_host_name_of_the_peer_without_an_address_does_not_end_an_answered_call() -> None:
    with line(contact_host="agent.invalid") as called:
        call, _ = dial(called.url, may_leave=True)
        call.receive_until(monotonic_ns() + 50 * NS_PER_MS, lambda _: False)
        assert call.closed is None
        call.close()
