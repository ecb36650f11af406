"""Two peers of one call in memory: the side that offers, and a service that only responds. Time
is virtual.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from bench.base.units import NS_PER_MS
from bench.protocols.ice.ice import Candidate, ControllingAgent, IceLogin, LiteAgent
from bench.protocols.sctp.data_channel import DataChannel
from bench.protocols.sctp.sctp import Association
from bench.protocols.webrtc.description import (
    LocalPeer,
    RemotePeer,
    accepted_answer,
    answer_to,
    write_offer,
)
from bench.protocols.webrtc.dtls import DtlsSession, own_identity
from bench.protocols.webrtc.peer import WebRtcPeer
from bench.wire.addresses import HostPort

CALLER, SERVICE = HostPort("192.0.2.1", 40_000), HostPort("198.51.100.7", 3_478)
SSRC = 0x5EED
STEP_NS = 10 * NS_PER_MS
CALLER_LOGIN, SERVICE_LOGIN = IceLogin("caller", "c" * 24), IceLogin("service", "s" * 24)


def local_peer(
    host: HostPort, *, is_lite: bool = False, codecs: tuple[str, ...] = ("PCMU", "PCMA")
) -> LocalPeer:
    login = SERVICE_LOGIN if is_lite else CALLER_LOGIN
    return LocalPeer(
        login, own_identity().fingerprint, (host,), SSRC, "caller@rtbench", 7, codecs, is_lite
    )


class Descriptions(NamedTuple):
    """What each side knows of the other one after the answer."""

    of_service: RemotePeer
    of_caller: RemotePeer


def described() -> Descriptions:
    caller, service = local_peer(CALLER), local_peer(SERVICE, is_lite=True)
    answer, of_caller = answer_to(service, write_offer(caller))
    return Descriptions(accepted_answer(caller, answer), of_caller)


class Call:
    """A call. `drops` returns whether a packet is lost, from its data and its destination.

    `answered_by` are the addresses of the service, which answers each from SERVICE.
    """

    def __init__(
        self,
        descriptions: Descriptions,
        drops: Callable[[bytes, HostPort], bool] = lambda data, destination: False,
        *candidates: Candidate,
        permits: Callable[[str], bool] = lambda host: False,
    ) -> None:
        of_service, of_caller = descriptions
        random, self.now_ns, self._drops = Random(5), 0, drops
        self.answered_by = {SERVICE}
        self.ice = ControllingAgent(
            CALLER_LOGIN,
            of_service.login,
            (*of_service.candidates, *candidates),
            0,
            random.randbytes,
            is_peer_lite=of_service.is_lite,
            permits=permits,
        )
        channels = (
            DataChannel(Association(random.randbytes, 1 << 20), stream) for stream in (1, None)
        )
        of_caller_dtls, of_service_dtls = (
            DtlsSession(own_identity(), each.own_role, each.fingerprints)
            for each in (of_service, of_caller)
        )
        self.caller = WebRtcPeer(self.ice, of_caller_dtls, next(channels))
        self.lite = LiteAgent(SERVICE_LOGIN, 0)
        self.service = WebRtcPeer(self.lite, of_service_dtls, next(channels))
        self.sent: list[tuple[int, HostPort, bytes]] = []
        """The packets of the caller: instant, destination, data."""

    def run(self, duration_ns: int, done: Callable[[], bool] = lambda: False) -> None:
        until_ns = self.now_ns + duration_ns
        while self.now_ns < until_ns and not done():
            self.caller.expire(self.now_ns)
            for data, destination in self.caller.pop_packets():
                self.sent.append((self.now_ns, destination, data))
                if destination in self.answered_by and not self._drops(data, destination):
                    self.service.received(data, CALLER, self.now_ns, self.now_ns)
            self.service.expire(self.now_ns)
            for data, destination in self.service.pop_packets():
                if not self._drops(data, destination):
                    self.caller.received(data, SERVICE, self.now_ns, self.now_ns)
            self.now_ns += STEP_NS

    def connect(self) -> None:
        self.run(10_000 * NS_PER_MS, lambda: None not in (self.caller.keys, self.service.keys))
