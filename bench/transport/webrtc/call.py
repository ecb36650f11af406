"""A call over WebRTC as a transport: an offer by HTTP, a UDP socket for the audio, and a WebSocket for the events."""

from __future__ import annotations

import ipaddress
import secrets
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import gevent

from bench.base.clock import monotonic_ns
from bench.base.errors import ConnectError
from bench.base.units import NS_PER_S
from bench.catalogue.outcomes import FOREIGN_HOST
from bench.catalogue.timeouts import Timeouts
from bench.transport.connect import connect
from bench.transport.datagrams import DatagramSocket, udp_socket
from bench.transport.event_loop import READABLE, Listener
from bench.transport.interface import (
    ABNORMAL,
    NORMAL,
    ConnectTimings,
    DeltaListener,
    HostPort,
    NetworkPath,
    OnMessage,
    PacedSender,
    SendReceipt,
    is_loopback,
)
from bench.transport.media.checks import rtcp_round_trip
from bench.transport.messages_with_media import MessagesWithMedia
from bench.transport.rtp_track import RtpTrack, TrackTransport
from bench.transport.webrtc.checks import MediaFacts, check_packets, check_path
from bench.transport.webrtc.description import LocalPeer, accepted_answer, write_offer
from bench.transport.webrtc.dtls import PEER_CLOSED, DtlsSession, own_identity
from bench.transport.webrtc.ice import Candidate, ControllingAgent, IceLogin, host_priority
from bench.transport.webrtc.peer import WebRtcPeer
from bench.transport.webrtc.signalling import events_url, place_call
from bench.transport.websocket import open_websocket
from bench.wire.connection import ConnectionClosed, RtpMeasured
from bench.wire.findings import CheckFinding

PAUSE_NS = 2 * NS_PER_S
"""The time without audio after which media time continues as real time. A process that did not run for a shorter time
sends what it missed."""
MAX_NAMED = 5
"""The maximum number of hosts that an error names."""


def open_webrtc(
    url: str,
    headers: Iterable[tuple[str, str]],
    context: ssl.SSLContext | None,
    limits: Timeouts,
    phases: ConnectTimings,
    path: NetworkPath,
    subprotocols: Sequence[str] = (),
    offer_headers: Iterable[tuple[str, str]] | None = None,
) -> MessagesWithMedia:
    """Call a service. The call is open when its audio is encrypted and the WebSocket of its events is open.

    `offer_headers` are the headers of the offer, if they are not those of the events: they may have an ephemeral key.

    Raise ConnectError: those of `bench.transport.websocket.open_websocket`, for the offer and for the WebSocket;
    `connect_failed:media|host|ice|dtls`, `timeout:ice|dtls`, `failed:load_generator`.
    """
    parts, own_headers = urlsplit(url), list(headers)
    port = parts.port or (80 if context is None else 443)
    stream = connect(parts.hostname or "", port, context, limits, phases, path)
    media: WebRtcMedia | None = None
    try:
        own, service = (str(address[0]) for address in stream.endpoints)
        media = WebRtcMedia(own, path)
        sent = own_headers if offer_headers is None else offer_headers
        answer = place_call(stream, url, sent, media.offer, limits, phases, path.offer)
        media.connect(answer.description, service, path, limits, phases)
        upgrade = ConnectTimings()
        messages = open_websocket(
            events_url(url, answer.call_id), own_headers, context, limits, upgrade, path, subprotocols
        )
    except BaseException:  # also at the end of the run: there is no other reference to the sockets
        if media is not None:
            media.close()
        raise
    finally:
        stream.close()
    phases.set_instant("opened")
    messages.handshake = phases.connected(messages.handshake.headers)
    return MessagesWithMedia(messages, media, media.watch)


def permitted_candidates(candidates: Sequence[Candidate], service: str, path: NetworkPath) -> Sequence[Candidate]:
    """Return the candidates to which packets may be sent. `service` is the address that answered the offer.

    An answer of a service on this machine may name only this machine, and one of another service no private address,
    except the address of the service itself and those that the user permits. Raise ConnectError `connect_failed:host`
    if all candidates are refused.
    """
    is_local = is_loopback(service) and not path.may_leave
    same_family = [each for each in candidates if (":" in each.address.host) == (":" in service)]
    named = {service, *(host.strip("[]") for host, _ in path.call_hosts)}

    def is_permitted(host: str) -> bool:
        return host in named or (is_own_address(host) if is_local else ipaddress.ip_address(host).is_global)

    permitted = [each for each in same_family if is_permitted(each.address.host)]
    if same_family and not permitted:
        hosts = ", ".join(dict.fromkeys(each.address.host for each in same_family[:MAX_NAMED]))
        reason = FOREIGN_HOST if is_local else "which are private addresses, and not that of the service"
        raise ConnectError("connect_failed:host", f"the peer names {hosts} for audio, {reason}")
    return permitted


def is_own_address(host: str) -> bool:
    """Return whether an IP address is one of this machine."""
    try:
        udp_socket(host).close()
    except OSError:
        return False
    return True


class WebRtcMedia(TrackTransport):
    """The audio of a call. It is created before its offer is sent, and `connect` needs the answer."""

    def __init__(self, host: str, path: NetworkPath) -> None:
        super().__init__(RtpTrack(host, path.rtp_ports, is_muxed=True))
        login = IceLogin(secrets.token_hex(4), secrets.token_hex(16))
        address = HostPort(*self.track.rtp.address[:2])
        fingerprint, session_id = own_identity().fingerprint, secrets.randbits(31)
        self._local = LocalPeer(login, fingerprint, address, host_priority(), session_id, path.codecs)
        self.offer = write_offer(self._local)
        self._peer: WebRtcPeer | None = None
        self._other_hosts = ""
        self._watcher: Any = None
        self._candidates: tuple[HostPort, ...] = ()
        """The addresses that the answer names."""
        self._answered_ns = 0
        self._sent_ns = 0
        """The instant of the last packet of the caller's audio."""

    def connect(self, answer: bytes, service: str, path: NetworkPath, limits: Timeouts, phases: ConnectTimings) -> None:
        """Connect to the peer that the answer describes. `service` is the address that answered.

        Raise ConnectError: `connect_failed:media|host|ice|dtls`, `timeout:ice|dtls`.
        """
        try:
            remote = accepted_answer(self._local, answer)
        except ValueError as error:
            raise ConnectError("connect_failed:media", f"the call was answered, but {error}") from None
        remote_candidates = permitted_candidates(remote.candidates, service, path)
        self._candidates = tuple(each.address for each in remote.candidates)
        now_ns, self._answered_ns = monotonic_ns(), phases.instants["offer_answered"]
        ice = ControllingAgent(
            self._local.login, remote.login, remote_candidates, now_ns, secrets.token_bytes, is_peer_lite=remote.is_lite
        )
        peer = self._peer = WebRtcPeer(ice, DtlsSession(own_identity(), remote.own_role, remote.fingerprints))
        until_ns = now_ns + int(limits.upgrade * NS_PER_S)
        listener = Listener((self.track.rtp,))
        try:
            while peer.keys is None and not peer.problem and monotonic_ns() < until_ns:
                self._send(peer)
                listener.listen(until_ns, self._read_until_keyed, lambda: peer.next_ns, self._on_due)
        finally:
            listener.close()
        self._send(peer)
        step = "dtls" if peer.peer is not None else "ice"
        if peer.problem or ice.problem:
            raise ConnectError(f"connect_failed:{step}", peer.problem)
        if peer.keys is None or peer.peer is None:
            what = "the DTLS handshake did not end" if step == "dtls" else "no candidate of the peer answered"
            raise ConnectError(f"timeout:{step}", f"{what} within {limits.upgrade:g} s")
        phases.set_arrival("ice_connected", peer.selected_ns or 0, 0)
        phases.set_arrival("dtls_done", peer.keyed_ns or 0, 0)
        self._other_hosts = "" if peer.peer.host == service else f"{peer.peer.host} (audio)"
        self.track.use(remote.agreed(peer.peer, peer.keys), 0)

    def _read_until_keyed(self, sock: DatagramSocket) -> bool:
        self._read()
        return self._on_due()

    def _on_due(self) -> bool:
        peer = self._peer
        assert peer is not None, "the answer is known"
        peer.expire(monotonic_ns())
        self._send(peer)
        return peer.keys is not None or bool(peer.problem)

    def _read(self) -> None:
        """Read the datagrams that have arrived."""
        now_ns, peer = monotonic_ns(), self._peer
        assert peer is not None, "the answer is known"
        for data, source, arrival in self.track.rtp.receive():
            if peer.received(data, HostPort(*source[:2]), arrival.at_ns, now_ns):
                self.track.accept_muxed(data, source, arrival)
        self.track.drained_ns = now_ns

    def _send(self, peer: WebRtcPeer) -> None:
        for data, destination in peer.pop_packets():
            self.track.rtp.send(data, destination)

    def facts(self) -> MediaFacts | None:
        """Return what the call agreed about its audio; None if it was never connected."""
        peer, media = self._peer, self.track.media
        if peer is None or peer.peer is None or media is None:
            return None
        own = self._local.host
        same_family = (each for each in self._candidates if (":" in each.host) == (":" in own.host))
        refused = tuple(each for each in same_family if each not in peer.addresses)
        selected_ns, keyed_ns = peer.selected_ns or 0, peer.keyed_ns or 0
        return MediaFacts(
            media.agreed.codec, peer.peer, self._candidates, refused, own, peer.mapped,
            selected_ns - self._answered_ns, keyed_ns - selected_ns,
        )  # fmt: skip

    def check_answer(self) -> Iterator[CheckFinding]:
        if (facts := self.facts()) is not None:
            yield from check_path(facts)

    def check_media(self) -> Iterator[CheckFinding]:
        if (packets := self.network()) is not None:
            yield from check_packets(packets)
            yield rtcp_round_trip(packets)

    def watch(self, on_arrival: Callable[[], bool]) -> None:
        """Let the event loop call a function when packets arrive, until it returns False."""
        if self._watcher is None:
            loop: Any = gevent.get_hub().loop
            self._watcher = loop.io(self.track.rtp.fileno(), READABLE)
        if not self._watcher.active:
            self._watcher.start(self._arrived, on_arrival)

    def _arrived(self, on_arrival: Callable[[], bool]) -> None:
        if not on_arrival() and self._watcher is not None:
            self._watcher.stop()

    # The transport

    def send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        if self._closed is not None or (media := self.track.media) is None:
            return None
        now_ns = monotonic_ns()
        if self._sent_ns and (pause_ns := now_ns - self._sent_ns) >= PAUSE_NS:  # the microphone was closed
            media.sender.pause(pause_ns * media.clock_hz // NS_PER_S)
        self._sent_ns = now_ns
        return self.track.send(media, message)

    try_send = send

    def receive_until(
        self,
        until_ns: int,
        on_message: OnMessage,
        reply: DeltaListener | None = None,
        sender: PacedSender | None = None,
    ) -> None:
        """Pass on the frames that have arrived, without waiting: `MessagesWithMedia` decides when to read."""
        peer = self._peer
        assert peer is not None, "the call is open"
        if self.track.pass_frames(on_message) or self._closed is not None:
            return
        self._read()
        now_ns = monotonic_ns()
        if peer.next_ns <= now_ns:
            peer.expire(now_ns)
        self._send(peer)
        if self.track.next_ns <= now_ns:
            self.track.expire(now_ns)
        if peer.problem:
            code = NORMAL if peer.problem == PEER_CLOSED else ABNORMAL
            self._closed = ConnectionClosed(code, now_ns, peer.problem)
        self.track.pass_frames(on_message)

    def network(self) -> RtpMeasured | None:
        """Return the numbers of packets, and the host that only the peer named."""
        return self.track.measured(self._other_hosts)

    def close(self) -> None:
        """Report the end to the peer, and close the socket."""
        if (peer := self._peer) is not None and self._closed is None:
            self.track.say_goodbye()
            peer.close()
            self._send(peer)
        self.abort()

    def abort(self) -> None:
        if self._closed is None:
            self._closed = ConnectionClosed(NORMAL, monotonic_ns(), "closed by this tool", ours=True)
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None
        self.track.close()
