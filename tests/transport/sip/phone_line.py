"""A telephone call and its peer on loopback."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bench.base.clock import monotonic_ns
from bench.base.units import NEVER_NS, NS_PER_S
from bench.catalogue.causes import ConnectError
from bench.catalogue.timeouts import Timeouts
from bench.protocols.rtp.srtp import PacketEncryption, SrtpKey
from bench.protocols.sdp.offer_answer import LocalMedia
from bench.protocols.sip.answer_plan import AnswerPlan
from bench.protocols.sip.dialog import LocalParty
from bench.protocols.sip.exchange import TelephoneExchange
from bench.transport.datagrams import media_sockets, udp_socket
from bench.transport.interface import DIRECT, ConnectRequest, ConnectTimings, NetworkPath, Transport
from bench.transport.sip.telephone import TelephoneCall, open_call
from bench.wire.addresses import HostPort, bracketed
from bench.wire.connection import ReceivedMessage
from bench.wire.dialect import BinaryMessage
from rtbench_simulator.services.telephone.agent import RTP_PORTS
from tests.simulator_process import GUARD_S
from tests.transport.sip.scripted_peer import tokens

ENOUGH = Timeouts(tcp=GUARD_S, upgrade=GUARD_S)


FRAME = BinaryMessage(bytes(range(160)))
LOOPBACK = "127.0.0.1"


class CalledLine:
    """A line whose calls are answered as planned. It returns each RTP packet to the caller, if
    `echoes` is True.
    """

    def __init__(
        self,
        changes: dict[str, Any],
        echoes: bool,
        contact_port: int | None,
        contact_host: str,
        keys: tuple[SrtpKey, ...],
        host: str,
    ) -> None:
        self.signals = udp_socket(host)
        # the call sends RTCP to the port after RTP's
        self.rtp, self._rtcp = media_sockets(host, RTP_PORTS)
        self.port = self.signals.getsockname()[1]
        self.url = f"sip:agent@{bracketed(host)}:{self.port}"
        self.heard: list[bytes] = []
        self.requests: list[bytes] = []
        self._echoes, self._ends = echoes, threading.Event()
        self._encryption: PacketEncryption | None = None
        plan = AnswerPlan(LocalMedia(host, self.rtp.getsockname()[1], 7, keys=keys), **changes)
        contact = f"sip:agent@{contact_host or bracketed(host)}:{contact_port or self.port}"
        party = LocalParty(HostPort(bracketed(host), self.port), "UDP", contact, "test")
        self.exchange = TelephoneExchange(lambda _: plan, party, tokens("line"))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ends.is_set():
            due_ns = self.exchange.next_ns
            wait_s = (
                0.02
                if due_ns == NEVER_NS
                else max(0, min(due_ns - monotonic_ns(), NS_PER_S // 50)) / NS_PER_S
            )
            for sock in select.select((self.signals, self.rtp), (), (), wait_s)[0]:
                data, source = sock.recvfrom(65_535)
                if sock is self.rtp:
                    self.heard.append(self._encryption_of_call().unprotect(data) or b"")
                    if self._echoes:
                        sock.sendto(self._encryption_of_call().protect(self.heard[-1]), source)
                    continue
                self.requests.append(data)
                self.exchange.received(data, monotonic_ns(), HostPort(*source[:2]))
            self.exchange.expire(monotonic_ns())
            for data, to, _ in self.exchange.pop_messages():
                self.signals.sendto(data, (to.host, to.port or 5060))

    def _encryption_of_call(self) -> PacketEncryption:
        """Return the encryption of the line's only call."""
        if self._encryption is None:
            (called,) = self.exchange.calls.values()
            assert called.media is not None, "the call is answered"
            self._encryption = PacketEncryption(called.media.send_key, called.media.receive_key)
        return self._encryption

    def close(self) -> None:
        self._ends.set()
        self._thread.join(GUARD_S)
        for sock in (self.signals, self.rtp, self._rtcp):
            sock.close()

    def wait_for_request(self, method: bytes) -> None:
        """Wait until the line has received a request."""
        until_ns = monotonic_ns() + GUARD_S * NS_PER_S
        while not any(each.startswith(method) for each in self.requests):
            assert monotonic_ns() < until_ns, f"no {method.decode()}"
            self._ends.wait(0.001)


@contextmanager
def line(
    *,
    echoes: bool = True,
    contact_port: int | None = None,
    contact_host: str = "",
    keys: tuple[SrtpKey, ...] = (),
    host: str = LOOPBACK,
    **changes: Any,
) -> Iterator[CalledLine]:
    called = CalledLine(changes, echoes, contact_port, contact_host, keys, host)
    try:
        yield called
    finally:
        called.close()


def dial(
    called: CalledLine,
    limits: Timeouts = ENOUGH,
    headers: tuple[tuple[str, str], ...] = (),
    path: NetworkPath = DIRECT,
) -> tuple[TelephoneCall, ConnectTimings]:
    timings = ConnectTimings()
    return open_call(ConnectRequest(called.url, headers, None, limits, timings, path)), timings


def refused(
    called: CalledLine, limits: Timeouts = ENOUGH, path: NetworkPath = DIRECT
) -> ConnectError:
    with pytest.raises(ConnectError) as caught:
        dial(called, limits, path=path)
    return caught.value


def receive(
    call: Transport, is_enough: Callable[[list[ReceivedMessage]], bool]
) -> list[ReceivedMessage]:
    """Return the messages that arrive until they are enough, or until the call ends."""
    found: list[ReceivedMessage] = []

    def on_message(message: ReceivedMessage) -> bool:
        found.append(message)
        return is_enough(found)

    until_ns = monotonic_ns() + GUARD_S * NS_PER_S
    while not is_enough(found) and call.closed is None and monotonic_ns() < until_ns:
        call.receive_until(until_ns, on_message)
    return found


def ended(call: TelephoneCall) -> Any:
    receive(call, lambda _: False)
    return call.closed
