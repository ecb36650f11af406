"""A call over WebRTC as a transport: an offer by HTTP, and a UDP socket for its audio and for its data channel.

A call to a service has a data channel for its events. A call to an agent has none.
"""

from __future__ import annotations

import ipaddress
import secrets
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from urllib.parse import urlsplit

from bench.base.clock import SendTime, monotonic_ns
from bench.base.errors import ConnectError
from bench.base.units import NEVER_NS, NS_PER_S
from bench.catalogue.outcomes import FOREIGN_HOST, NO_READ
from bench.catalogue.timeouts import Timeouts
from bench.transport.connect import connect
from bench.transport.datagrams import DatagramSocket, udp_socket
from bench.transport.event_loop import Listener
from bench.transport.interface import (
    ABNORMAL,
    MIB,
    NORMAL,
    TOO_LARGE,
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
from bench.transport.own_limits import own_limit
from bench.transport.rtp_track import RtpTrack, TrackTransport
from bench.transport.tcp import SEND_LIMIT_NS, ByteStream
from bench.transport.webrtc.checks import MediaFacts, check_packets, check_path
from bench.transport.webrtc.data_channel import DataChannel
from bench.transport.webrtc.description import LocalPeer, accepted_answer, write_offer
from bench.transport.webrtc.dtls import DtlsSession, own_identity
from bench.transport.webrtc.ice import Candidate, ControllingAgent, IceLogin, host_priority
from bench.transport.webrtc.peer import WebRtcPeer
from bench.transport.webrtc.sctp import Association
from bench.transport.webrtc.signalling import AnsweredCall, call_agent, place_call
from bench.wire.connection import ConnectionClosed, ReceivedMessage, RtpMeasured
from bench.wire.dialect import BinaryMessage
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
) -> WebRtcCall:
    """Call a service. The call is open when its audio is encrypted and its data channel is open.

    Raise ConnectError: `connect_failed:<status>`, `connect_failed:dns|tcp|tls|upgrade|media|host|ice|dtls`,
    `throttled:handshake`, `timeout:dns|tcp|tls|upgrade|ice|dtls`, `failed:load_generator`.
    """

    def place(stream: ByteStream, offer: bytes) -> AnsweredCall:
        return place_call(stream, url, headers, offer, limits, phases, path.offer)

    return _opened(url, context, limits, phases, path, place, has_channel=True)


def open_agent_call(
    url: str,
    headers: Iterable[tuple[str, str]],
    context: ssl.SSLContext | None,
    limits: Timeouts,
    phases: ConnectTimings,
    path: NetworkPath,
    subprotocols: Sequence[str] = (),
) -> WebRtcCall:
    """Call an agent. The call is open when its audio is encrypted. Raise as `open_webrtc`."""

    def place(stream: ByteStream, offer: bytes) -> AnsweredCall:
        return call_agent(stream, url, headers, offer, limits, phases)

    return _opened(url, context, limits, phases, path, place, has_channel=False)


def connect_to_host(
    url: str, context: ssl.SSLContext | None, limits: Timeouts, phases: ConnectTimings, path: NetworkPath
) -> ByteStream:
    """Connect to the host of a URL, for the offer. Raise ConnectError as `connect`."""
    parts = urlsplit(url)
    port = parts.port or (80 if context is None else 443)
    return connect(parts.hostname or "", port, context, limits, phases, path)


def _opened(
    url: str,
    context: ssl.SSLContext | None,
    limits: Timeouts,
    phases: ConnectTimings,
    path: NetworkPath,
    place: Callable[[ByteStream, bytes], AnsweredCall],
    *,
    has_channel: bool,
) -> WebRtcCall:
    """Return an open call. `place` sends its offer over a connection, and returns the answer."""
    stream = connect_to_host(url, context, limits, phases, path)
    call: WebRtcCall | None = None
    try:
        own, peer = (str(address[0]) for address in stream.endpoints)
        call = WebRtcCall(own, path, has_channel=has_channel)
        answer = place(stream, call.offer)
        call.connect(answer.description, peer, path, limits, phases)
    except BaseException:  # also at the end of the run: there is no other reference to the socket
        if call is not None:
            call.close()
        raise
    finally:
        stream.close()
    call.handshake = phases.connected(answer.headers)
    return call


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
    """Return whether an IP address is one of this machine. Raise ConnectError for a limit of this machine."""
    try:
        udp_socket(host).close()
    except OSError as error:
        if (limit := own_limit(error, host)) is not None:
            raise limit from None
        return False
    return True


class WebRtcCall(TrackTransport):
    """A call. It is created before its offer is sent, and `connect` needs the answer."""

    def __init__(self, host: str, path: NetworkPath, *, has_channel: bool = True) -> None:
        super().__init__(RtpTrack(host, path.rtp_ports, is_muxed=True))
        login = IceLogin(secrets.token_hex(4), secrets.token_hex(16))
        address = HostPort(*self.track.rtp.address[:2])
        fingerprint, session_id = own_identity().fingerprint, secrets.randbits(31)
        self._max_message_bytes = path.max_message_mib * MIB
        self._local = LocalPeer(
            login, fingerprint, address, host_priority(), session_id, path.codecs,
            max_message_bytes=self._max_message_bytes if has_channel else None,
        )  # fmt: skip
        self.offer = write_offer(self._local)
        self._peer: WebRtcPeer | None = None
        self._other_hosts = ""
        self._listener = Listener((self.track.rtp,))
        self._on_message: OnMessage | None = None
        self._peer_limit_bytes = 0
        """The maximum size of a message to the peer; 0: any size."""
        self._offered_bytes = 0
        """The size of the message that was last passed to `try_send`, with its headers."""
        self._candidates: tuple[HostPort, ...] = ()
        """The addresses that the answer names."""
        self._answered_ns = 0
        self._sent_ns = 0
        """The instant of the last packet of the caller's audio."""

    def connect(self, answer: bytes, service: str, path: NetworkPath, limits: Timeouts, phases: ConnectTimings) -> None:
        """Connect to the peer that the answer describes. `service` is the address that answered.

        Raise ConnectError: `connect_failed:media|host|ice|dtls|upgrade`, `timeout:ice|dtls|upgrade`.
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
        role, channel = remote.own_role, None
        if remote.channel is not None:
            association = Association(secrets.token_bytes, self._max_message_bytes, remote.channel.port)
            channel = DataChannel(association, 0 if role == "client" else 1)
            self._peer_limit_bytes = remote.channel.max_message_bytes
        peer = self._peer = WebRtcPeer(ice, DtlsSession(own_identity(), role, remote.fingerprints), channel)
        self._wait(lambda: peer.keys is not None, now_ns + int(limits.upgrade * NS_PER_S))
        step = "dtls" if peer.peer is not None else "ice"
        if peer.problem:
            raise ConnectError(f"connect_failed:{step}", peer.problem)
        if peer.keys is None or peer.peer is None:
            what = "the DTLS handshake did not end" if step == "dtls" else "no candidate of the peer answered"
            raise ConnectError(f"timeout:{step}", f"{what} within {limits.upgrade:g} s")
        phases.set_arrival("ice_connected", peer.selected_ns or 0, 0)
        phases.set_arrival("dtls_done", peer.keyed_ns or 0, 0)
        self._other_hosts = "" if peer.peer.host == service else f"{peer.peer.host} (audio)"
        self.track.use(remote.agreed(peer.peer, peer.keys), 0)
        if channel is None:
            self._send_due()
        else:
            self._wait_for_channel(channel, limits)
        phases.set_instant("opened")

    def _wait_for_channel(self, channel: DataChannel, limits: Timeouts) -> None:
        peer = self._connected_peer
        self._wait(lambda: channel.is_open, monotonic_ns() + int(limits.upgrade * NS_PER_S))
        if peer.problem:
            raise ConnectError("connect_failed:upgrade", f"the data channel was not opened: {peer.problem}")
        if not channel.is_open:
            raise ConnectError("timeout:upgrade", f"the data channel was not opened within {limits.upgrade:g} s")

    def _wait(self, is_done: Callable[[], bool], until_ns: int) -> None:
        """Wait until something holds, or the connection fails. Nothing is passed on meanwhile."""
        peer = self._connected_peer

        def is_over() -> bool:
            return is_done() or peer.ending is not None

        def on_readable(sock: DatagramSocket) -> bool:
            self._read()
            return is_over()

        def on_due() -> bool:
            self._expire()
            return is_over()

        self._send_due()
        while not is_over() and monotonic_ns() < until_ns:
            self._listener.listen(until_ns, on_readable, lambda: peer.next_ns, on_due)

    @property
    def _connected_peer(self) -> WebRtcPeer:
        assert self._peer is not None, "the answer is known"
        return self._peer

    @property
    def _channel(self) -> DataChannel:
        channel = self._connected_peer.channel
        assert channel is not None, "an agent gets no events"
        return channel

    def _read(self) -> None:
        """Read the datagrams that have arrived, and answer them."""
        now_ns, peer, track, has_others = monotonic_ns(), self._connected_peer, self.track, False
        datagrams = track.rtp.receive()
        is_of_peer = peer.peer is not None and all(source[:2] == peer.peer for _, source, _ in datagrams)
        usual = track.accept_usual(datagrams) if is_of_peer else 0
        for data, source, arrival in datagrams[usual:]:
            if peer.received(data, HostPort(*source[:2]), arrival.at_ns, now_ns):
                track.accept_muxed(data, source, arrival)
                continue
            has_others = True
            if self._on_message is not None:
                self._has_ended(arrival.at_ns)
            for message in peer.pop_messages():
                track.frames.append((ReceivedMessage(message.data, arrival, message.wire_bytes), arrival.at_ns))
        track.drained_ns = now_ns
        if has_others:
            self._send_due()

    def _expire(self) -> None:
        now_ns, peer = monotonic_ns(), self._connected_peer
        if peer.next_ns <= now_ns:
            peer.expire(now_ns)
            self._send_due()
        if self.track.next_ns <= now_ns:
            self.track.expire(now_ns)

    def _send_due(self) -> SendTime | None:
        """Send what is due. Return the instant of the last packet; None if there was none."""
        sent: SendTime | None = None
        for data, destination in self._connected_peer.pop_packets():
            sent = self.track.rtp.send(data, destination) or sent
        return sent

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

    # The transport

    def send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        return self.try_send(message, stamped=stamped) or (None if self._closed is not None else self.flush())

    def try_send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        media, now_ns = self.track.media, monotonic_ns()
        if self._closed is not None or media is None:
            return None
        if isinstance(message, BinaryMessage):
            if self._sent_ns and (pause_ns := now_ns - self._sent_ns) >= PAUSE_NS:  # the microphone was closed
                media.sender.pause(pause_ns * media.clock_hz // NS_PER_S)
            self._sent_ns = now_ns
            return self.track.send(media, message)
        if 0 < self._peer_limit_bytes < len(message):
            problem = f"a message has {len(message)} bytes, but the service accepts {self._peer_limit_bytes}"
            self._closed = ConnectionClosed(TOO_LARGE, now_ns, f"{problem} (max-message-size of its SDP)")
            return None
        self._offered_bytes = self._channel.send(message, now_ns)
        return self._receipt()

    def _frame_sender(self, now_ns: int) -> Callable[[bytes], SendReceipt | None]:
        if now_ns - self._sent_ns >= PAUSE_NS:
            return self.try_send
        self._sent_ns = now_ns
        return super()._frame_sender(now_ns)

    def _receipt(self) -> SendReceipt | None:
        """Send as much as possible. Return None if a part of the message must wait."""
        sent = self._send_due()
        if self._channel.unsent:
            return None
        return SendReceipt(sent or SendTime(monotonic_ns()), self._offered_bytes)

    def flush(self) -> SendReceipt | None:
        channel = self._channel
        while self._closed is None:
            if (receipt := self._receipt()) is not None:
                return receipt
            unsent, until_ns = channel.unsent, monotonic_ns() + SEND_LIMIT_NS
            self._wait(lambda: channel.unsent < unsent, until_ns)  # noqa: B023 - it is called at once
            if not self._has_ended() and channel.unsent == unsent:
                self._closed = ConnectionClosed(ABNORMAL, monotonic_ns(), f"{NO_READ} for 10 s")
        return None

    def receive_until(
        self,
        until_ns: int,
        on_message: OnMessage,
        reply: DeltaListener | None = None,
        sender: PacedSender | None = None,
    ) -> None:
        self._on_message = on_message
        self.track.begin(reply)
        try:
            if self.track.pass_frames(on_message) or self._has_ended():
                return
            if monotonic_ns() >= until_ns:
                self._read()
                self._on_due()
                return
            peer, track = self._connected_peer, self.track

            def due_ns() -> int:
                sender_ns = sender.due_ns if sender is not None else None
                return min(sender_ns or NEVER_NS, track.next_ns, peer.next_ns)

            def send() -> bool:
                now_ns = monotonic_ns()
                return min(self._send_plain(sender, now_ns), track.next_ns, peer.next_ns) > now_ns

            def on_due() -> bool:
                is_woken = self._on_due()
                return self._send_due_of(sender, monotonic_ns()) or is_woken

            # each packet has its own timestamp
            self._listener.listen(until_ns, self._on_readable, due_ns, on_due, send=send, polled=True)
        finally:
            self._on_message = None
            self.track.end()

    def _on_readable(self, sock: DatagramSocket) -> bool:
        self._read()
        return self.track.pass_frames(self._on_message) or self._has_ended()

    def _on_due(self) -> bool:
        self._expire()
        return self.track.pass_frames(self._on_message) or self._has_ended()

    def _has_ended(self, at_ns: int = 0) -> bool:
        """Note the end of the connection, at an instant or now. Return True if it has ended."""
        if self._closed is None and (ending := self._connected_peer.ending) is not None:
            at_ns = at_ns or monotonic_ns()
            self._closed = ConnectionClosed(ending.code, at_ns, ending.reason, ending.ours, ending.cause)
        return self._closed is not None

    def network(self) -> RtpMeasured | None:
        """Return the numbers of packets, and the host that only the peer named."""
        return self.track.measured(self._other_hosts)

    def close(self) -> None:
        """Report the end to the peer, and close the socket."""
        if self._closed is None:
            self._say_goodbye()
        self.abort()

    def _say_goodbye(self) -> None:
        if (peer := self._peer) is not None:
            self.track.say_goodbye()
            peer.close()
            self._send_due()

    def abort(self) -> None:
        if self._closed is None:
            self._closed = ConnectionClosed(NORMAL, monotonic_ns(), "closed by this tool", ours=True)
        if self.track.rtp.fileno() >= 0:
            self._listener.close()
            self.track.close()
