"""A call over WebRTC as a transport: an offer by HTTP, and a UDP socket for its audio and for its
data channel.

A call to a service has a data channel for its events. A call to an agent offers one, because some
agents wait for it; its messages have no effect.
"""

# The order of a call is fixed (RFC 8829, without trickle):
#
# 1. an allocation at the TURN server of the target, if it has one: the offer names its address
# 2. the offer by HTTP, and the answer with all candidates of the peer
# 3. a TURN server that only the answer names; its address cannot be in the offer any more, but a
#    peer learns it from the checks that come from there
# 4. ICE: one address of the peer is selected
# 5. DTLS, whose keys are those of SRTP; then SCTP and the data channel in the records of DTLS
# 6. media in SRTP, events in the channel, until one side closes
#
# One UDP socket has all of that, also the packets of a TURN server over UDP. `_read` separates
# them: usual packets of audio first, because they are nearly all packets, then
# `WebRtcPeer.received`, which knows STUN, DTLS, and media by their first byte.
#
# The peer chooses the addresses to which this side sends, so `PermittedHosts` limits them: without
# that, an answer could aim the packets of a load test at any host.

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

import msgspec

from bench.base.clock import SendTime, monotonic_ns
from bench.base.errors import closed_on_failure
from bench.base.units import NEVER_NS, NS_PER_S
from bench.catalogue.causes import Cause, Code, ConnectError, in_words
from bench.catalogue.timeouts import Timeouts
from bench.protocols.ice.ice import Candidate, ControllingAgent, IceLogin, RelayedAddress
from bench.protocols.sctp.data_channel import DataChannel
from bench.protocols.sctp.sctp import Association
from bench.protocols.turn.servers import TurnServer
from bench.protocols.webrtc.description import LocalPeer, accepted_answer, write_offer
from bench.protocols.webrtc.dtls import DtlsSession, own_identity
from bench.protocols.webrtc.peer import WebRtcPeer
from bench.transport.datagrams import family_of, is_this_machine, own_addresses
from bench.transport.event_loop import Listener
from bench.transport.interface import ChunkSender, ConnectRequest, ConnectTimings, NetworkPath
from bench.transport.rtp_checks import rtcp_round_trip
from bench.transport.rtp_track import RtpTrack, TrackTransport
from bench.transport.tcp import SEND_LIMIT_NS
from bench.transport.webrtc.checks import MediaFacts, RelayFacts, check_packets, check_path
from bench.transport.webrtc.relay import Relay, RelayedSender, open_relay
from bench.transport.webrtc.signalling import (
    AnsweredCall,
    call_agent,
    connect_to_host,
    place_call,
)
from bench.wire.addresses import UNSPECIFIED, HostPort, authority, is_address
from bench.wire.connection import (
    ABNORMAL,
    MIB,
    NORMAL,
    TOO_LARGE,
    ConnectionClosed,
    ReceivedMessage,
    RtpMeasured,
    SendReceipt,
    SocketAddress,
)
from bench.wire.dialect import BinaryMessage
from bench.wire.findings import CheckFinding

PAUSE_NS = 2 * NS_PER_S
"""The time without audio after which media time continues as real time. A process that did not run
for a shorter time sends what it missed."""
MAX_NAMED = 5
"""The maximum number of hosts that an error names."""
MAX_OWN_HOSTS = 16
"""The maximum number of own addresses that an offer names. A machine with many containers has
many."""


def open_webrtc(request: ConnectRequest, *, of_agent: bool = False) -> WebRtcCall:
    """Call a service, or an agent. The call is open when its audio is encrypted and, unless it is
    an agent's, its data channel is open.

    Raise ConnectError: `connect_failed:<status>`,
    `connect_failed:dns|tcp|tls|upgrade|media|host|ice|dtls`, `throttled:handshake`,
    `timeout:dns|tcp|tls|upgrade|ice|dtls`, `failed:load_generator`. If an agent's answer is a
    refusal, `connect_failed:refused` or `throttled:handshake`.
    """
    limits = request.limits
    phases = request.phases
    place = call_agent if of_agent else place_call
    with closing(connect_to_host(request)) as stream:
        own, peer = (str(address[0]) for address in stream.endpoints)
        call = WebRtcCall(own, peer, request.path, needs_channel=not of_agent)
        with closed_on_failure(call):
            call.prepare(limits, phases)
            answer = place(stream, request, call.offer)
            call.connect(answer, limits, phases)
    call.handshake = phases.connected(answer.headers)
    return call


open_agent_call = partial(open_webrtc, of_agent=True)


class PermittedHosts:
    """The hosts to which the packets of a call may go. `service` is the address that answers the
    offer.

    A service on this machine may name only this machine, and another service no private address,
    except the address of the service itself and the hosts that the user permits.
    """

    def __init__(self, service: str, path: NetworkPath) -> None:
        self.is_own = is_this_machine(service)
        """Whether the service is on this machine."""
        self._is_local = self.is_own and not path.may_leave
        self._named = {service, *(host.strip("[]") for host, _ in path.call_hosts)}
        self._is_ipv6 = ":" in service

    def candidates(self, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
        """Return the permitted candidates. From now on, their hosts are permitted for other
        ports, too.
        """
        permitted = [
            each for each in self._of_family(candidates) if self._may_be_named(each.address.host)
        ]
        self._named |= {each.address.host for each in permitted}
        return permitted

    @property
    def named(self) -> frozenset[str]:
        """The IP addresses to which packets may go, as far as they are known before a packet
        arrives.
        """
        return frozenset(filter(is_address, self._named))

    def permits_server(self, host: str) -> bool:
        """Return whether a TURN server that the service names may be used. Its host is a name or
        an IP address.
        """
        return (
            self._may_be_named(host)
            if is_address(host)
            else self.permits(host) or not self._is_local
        )

    def refusal(self, candidates: Sequence[Candidate]) -> Cause | None:
        """Return why none of the candidates is permitted; None if there is none in the family of
        the service.
        """
        named = dict.fromkeys(each.address.host for each in self._of_family(candidates))
        if not named:
            return None
        hosts = ", ".join([*named][:MAX_NAMED])
        if self._is_local:
            return Cause(Code.FOREIGN_HOST, {"host": hosts, "purpose": "audio"})
        return in_words(
            f"the peer names {hosts} for audio, which are private addresses, and not that of the"
            " service"
        )

    def permits(self, host: str) -> bool:
        """Return whether packets may go to a host from which authentic checks come."""
        return host in self._named or (self.is_own and is_this_machine(host))

    def _of_family(self, candidates: Sequence[Candidate]) -> Iterator[Candidate]:
        return (each for each in candidates if (":" in each.address.host) == self._is_ipv6)

    def _may_be_named(self, host: str) -> bool:
        return self.permits(host) or (not self._is_local and ipaddress.ip_address(host).is_global)


def offered_hosts(host: str, port: int) -> tuple[HostPort, ...]:
    """Return the candidates of this machine for a service on it. `host` is the address that sent
    the offer.

    Some peers only send from one of their addresses, so that they cannot reach another one.
    """
    hosts = dict.fromkeys((host, *own_addresses(family_of(host))))
    return tuple(HostPort(each, port) for each in [*hosts][:MAX_OWN_HOSTS])


class WebRtcCall(TrackTransport):
    """A call from the address `host` to `service`. It is created before its offer is sent;
    `connect` needs the answer.

    If `needs_channel` is True, there is no call without a data channel.
    """

    _is_polled = True

    def __init__(
        self, host: str, service: str, path: NetworkPath, *, needs_channel: bool = True
    ) -> None:
        self._service = service
        self._hosts = PermittedHosts(service, path)
        self._path = path
        # a peer on this machine may send to, and from, any of its addresses
        bound = UNSPECIFIED[":" in host] if self._hosts.is_own else host
        super().__init__(RtpTrack(bound, path.rtp_ports, is_muxed=True))
        port = self.track.rtp.address[1]
        self._local = LocalPeer(
            IceLogin(secrets.token_hex(4), secrets.token_hex(16)),
            own_identity().fingerprint,
            offered_hosts(host, port) if self._hosts.is_own else (HostPort(host, port),),
            self.track.numbers.ssrc,
            self.track.cname,
            secrets.randbits(31),
            path.codecs,
            max_message_bytes=path.max_message_mib * MIB,
            needs_channel=needs_channel,
        )
        self.offer = write_offer(self._local)
        self._relay: Relay | None = None
        self._relay_ns = NEVER_NS
        """The instant at which the relay is due. It changes when packets of the relay are
        received, or are due."""
        self._relay_problem: tuple[Cause, ...] = ()
        """Why a TURN server that the service names relays nothing."""
        self._peer: WebRtcPeer | None = None
        self._other_hosts = ""
        self._listener = Listener((self.track.rtp,))
        self._peer_limit_bytes = 0
        """The maximum size of a message to the peer; 0: any size."""
        self._offered_bytes = 0
        """The size of the message that was last passed to `try_send`, with its headers."""
        self._candidates: tuple[HostPort, ...] = ()
        """The addresses that the answer names."""
        self._answered_ns = 0
        self._sent_ns = 0
        """The instant of the last packet of the caller's audio."""
        # each packet has its own timestamp, and no event in a channel waits for a reaction of the
        # session
        self.track.is_watched = needs_channel

    def prepare(self, limits: Timeouts, phases: ConnectTimings) -> None:
        """Make the offer complete: with the address at the TURN server that the target names.

        Raise ConnectError: `connect_failed:relay`, `timeout:relay`.
        """
        if (server := self._path.turn) is not None:
            self._relay = self._allocated(server, limits)
            self.offer = write_offer(replace(self._local, relayed=self._relay.address))
            phases.set_instant("relay_allocated")

    # Over TCP and TLS a relay has a connection of its own, which the listener must watch too. So
    # the listener is made again for it, and once more if the relay fails.
    def _allocated(
        self, server: TurnServer, limits: Timeouts, other: HostPort | None = None
    ) -> Relay:
        """Return a relay that has an address. Raise ConnectError.

        `other` is the server to which `server` has sent this call; it may not send it further.
        """
        relay = open_relay(server, self.track.rtp, limits, self._path.ca, other)
        until_ns = monotonic_ns()
        try:
            if relay.stream is not None:
                self._listener.close()
                self._listener = Listener((self.track.rtp, relay.stream))
            self._await_address(relay, until_ns + int(limits.upgrade * NS_PER_S))
        except BaseException:  # also at the end of the run
            self._watch_only_track()
            relay.close()
            raise
        if relay.address is None:
            is_late = relay.is_silent
            problem = relay.problem or relay.silent(limits.upgrade)
            self._watch_only_track()
            relay.close()
            # the other server gets the login, too
            named = {relay.host, *(host.strip("[]") for host, _ in self._path.call_hosts)}
            if other is None and relay.alternate is not None and relay.alternate.host in named:
                return self._allocated(server, limits, relay.alternate)
            raise ConnectError("timeout:relay" if is_late else "connect_failed:relay", problem)
        return relay

    def _watch_only_track(self) -> None:
        self._listener.close()
        self._listener = Listener((self.track.rtp,))

    def _await_address(self, relay: Relay, until_ns: int) -> None:
        """Wait until the relay has an address, or has failed."""

        def is_over() -> bool:
            return relay.address is not None or bool(relay.problem)

        def on_readable(_: object) -> bool:
            # ICE of the peer, which needs the answer, repeats its checks
            relay.receive(self.track.rtp.receive())
            return is_over()

        def on_due() -> bool:
            relay.expire(monotonic_ns())
            return is_over()

        while not is_over() and monotonic_ns() < until_ns:
            self._listener.listen(until_ns, on_readable, lambda: relay.next_ns, on_due)

    def _use_servers(self, servers: Sequence[TurnServer], limits: Timeouts) -> None:
        """Use the first of the TURN servers of the service that relays, if the target names
        none.
        """
        for server in servers if self._relay is None else ():
            if not self._hosts.permits_server(server.host):
                is_private = in_words("of the service has a private address")
                self._relay_problem = (
                    Cause(Code.TURN_SERVER, {"server": str(server), "problem": is_private}),
                )
                continue
            try:
                self._relay = self._allocated(server, limits)
            except ConnectError as error:
                self._relay_problem = error.causes
                continue
            break

    def connect(self, answer: AnsweredCall, limits: Timeouts, phases: ConnectTimings) -> None:
        """Connect to the peer that the answer describes.

        Raise ConnectError: `connect_failed:media|host|ice|relay|dtls|upgrade`,
        `timeout:ice|relay|dtls|upgrade`.
        """
        try:
            remote = accepted_answer(self._local, answer.description)
        except ValueError as error:
            raise ConnectError(
                "connect_failed:media", f"the call was answered, but {error}"
            ) from None
        candidates = self._hosts.candidates(remote.candidates)
        refusal = None
        if not candidates:
            refusal = self._hosts.refusal(remote.candidates)
        # through a relay, a NAT of the peer may be found
        if refusal and self._hosts.is_own and self._relay is None:
            raise ConnectError("connect_failed:host", refusal)
        self._candidates = tuple(each.address for each in remote.candidates)
        self._answered_ns = phases.instants["offer_answered"]
        self._use_servers(answer.servers, limits)
        if self._relay is not None:
            self._relay.permit(self._hosts.named)
            self._relay_ns = self._relay.next_ns
        now_ns = monotonic_ns()
        ice = ControllingAgent(
            self._local.login,
            remote.login,
            candidates,
            now_ns,
            secrets.token_bytes,
            is_peer_lite=remote.is_lite,
            permits=self._hosts.permits,
            has_relay=self._relay is not None,
        )
        role = remote.own_role
        channel = None
        if remote.channel is not None:
            association = Association(
                secrets.token_bytes, self._local.max_message_bytes or 0, remote.channel.port
            )
            channel = DataChannel(association, 0 if role == "client" else 1)
            self._peer_limit_bytes = remote.channel.max_message_bytes
        dtls = DtlsSession(own_identity(), role, remote.fingerprints)
        needs_channel = self._local.needs_channel
        peer = self._peer = WebRtcPeer(ice, dtls, channel, needs_channel=needs_channel)
        self._wait(lambda: peer.keys is not None, now_ns + int(limits.upgrade * NS_PER_S))
        if peer.peer is None:
            raise self._with_relay(_ice_failure(peer, refusal, limits))
        if peer.problem:
            raise ConnectError("connect_failed:dtls", peer.problem)
        if peer.keys is None:
            raise ConnectError(
                "timeout:dtls", f"the DTLS handshake did not end within {limits.upgrade:g} s"
            )
        phases.set_arrival("ice_connected", peer.selected_ns or 0, 0)
        phases.set_arrival("dtls_done", peer.keyed_ns or 0, 0)
        self._other_hosts = "" if peer.peer.host == self._service else f"{peer.peer.host} (audio)"
        self._use_relay(peer.peer)
        self.track.use(remote.agreed(peer.peer, peer.keys), 0)
        if channel is None or not needs_channel:
            self._send_due()
        else:
            self._wait_for_channel(channel, limits)
        phases.set_instant("opened")

    def _use_relay(self, peer: HostPort) -> None:
        """Send media through the relay, if ICE has selected it."""
        if (relay := self._used_relay) is not None:
            self.track.use_sender(RelayedSender(relay))
            relay.bind(peer)
            self._relay_ns = relay.next_ns

    @property
    def _used_relay(self) -> Relay | None:
        """The relay through which the packets of the call go; None if they go directly."""
        peer = self._peer
        return self._relay if peer is not None and isinstance(peer.peer, RelayedAddress) else None

    def _with_relay(self, failure: ConnectError) -> ConnectError:
        """Return the failure of ICE, with the fault of the TURN server if there is one."""
        relay = self._relay
        problems = self._relay_problem
        if relay is not None:
            problem = relay.problem or relay.refusal()
            problems = () if problem is None else (problem,)
        if not problems:
            return failure
        first, *others = failure.causes
        without = Cause(Code.WITHOUT_RELAY, {"problem": first})
        causes = [*problems, without, *others]
        return ConnectError("connect_failed:relay", causes, failure.headers)

    def _wait_for_channel(self, channel: DataChannel, limits: Timeouts) -> None:
        peer = self._connected_peer
        self._wait(lambda: channel.is_open, monotonic_ns() + int(limits.upgrade * NS_PER_S))
        if peer.problem:
            raise ConnectError(
                "connect_failed:upgrade", f"the data channel was not opened: {peer.problem}"
            )
        if not channel.is_open:
            raise ConnectError(
                "timeout:upgrade", f"the data channel was not opened within {limits.upgrade:g} s"
            )

    def _wait(self, is_done: Callable[[], bool], until_ns: int) -> None:
        """Wait until something holds, or the connection fails. Nothing is passed on meanwhile."""
        peer = self._connected_peer

        def is_over() -> bool:
            return is_done() or peer.ending is not None

        def on_readable(_: object) -> bool:
            self._read()
            return is_over()

        def on_due() -> bool:
            self._expire()
            return is_over()

        self._send_due()
        while not is_over() and monotonic_ns() < until_ns:
            self._listener.listen(
                until_ns, on_readable, lambda: min(peer.next_ns, self._relay_ns), on_due
            )

    @property
    def _connected_peer(self) -> WebRtcPeer:
        assert self._peer is not None, "the answer is known"
        return self._peer

    @property
    def _channel(self) -> DataChannel:
        channel = self._connected_peer.channel
        assert channel is not None, "an agent gets no events"
        return channel

    def _read(self, due_ns: int = 0) -> None:
        """Read the datagrams that have arrived, and answer them. `due_ns` is that of
        `RtpTrack.read_audio`.
        """
        now_ns = monotonic_ns()
        peer = self._connected_peer
        track = self.track
        has_others = False
        datagrams = track.rtp.receive()
        selected = peer.peer
        if (relay := self._relay) is None:
            is_of_peer = selected is not None and all(
                [source[:2] == selected for _, source, _ in datagrams]
            )
        else:
            datagrams = relay.receive(datagrams)
            self._relay_ns = relay.next_ns
            is_of_peer = selected is not None and all(
                _address_of(source) == selected for _, source, _ in datagrams
            )
        while datagrams:
            usual = track.accept_usual(datagrams, due_ns) if is_of_peer else 0
            if usual == len(datagrams):
                break
            data, source, arrival = datagrams[usual]
            datagrams = datagrams[usual + 1 :]
            if peer.received(data, _address_of(source), arrival.at_ns, now_ns):
                track.accept_muxed(data, source, arrival, due_ns)
                continue
            has_others = True
            if self._on_message is not None:
                self._has_ended(arrival.at_ns)
            for message in peer.pop_messages():
                track.frames.append(
                    (ReceivedMessage(message.data, arrival, message.wire_bytes), arrival.at_ns)
                )
        track.drained_ns = now_ns
        if has_others:
            self._send_due()

    def _expire(self) -> None:
        now_ns = monotonic_ns()
        peer = self._connected_peer
        if self._relay is not None and self._relay_ns <= now_ns:
            self._relay.expire(now_ns)
            self._relay_ns = self._relay.next_ns
        if peer.next_ns <= now_ns:
            peer.expire(now_ns)
            self._send_due()
        if self.track.next_ns <= now_ns:
            # a packet that has arrived is not missing, and is in the socket until the next poll
            self._read()
            self.track.expire(now_ns)

    def _send_due(self) -> SendTime | None:
        """Send what is due. Return the instant of the last packet; None if there was none."""
        sent = None
        for data, destination in self._connected_peer.pop_packets():
            if self._relay is not None and isinstance(destination, RelayedAddress):
                relayed = self._relay.send(data, destination)
                sent = relayed if isinstance(relayed, SendTime) else sent
            else:
                sent = self.track.rtp.send(data, destination) or sent
        return sent

    def facts(self) -> MediaFacts | None:
        """Return what the call agreed about its audio; None if it was never connected."""
        peer = self._peer
        media = self.track.media
        if peer is None or peer.peer is None or media is None:
            return None
        hosts = self._local.hosts
        own = peer.mapped if peer.mapped is not None and peer.mapped in hosts else hosts[0]
        same_family = (each for each in self._candidates if (":" in each.host) == (":" in own.host))
        refused = tuple(each for each in same_family if each not in peer.addresses)
        selected_ns = peer.selected_ns or 0
        keyed_ns = peer.keyed_ns or 0
        return MediaFacts(
            media.agreed.codec,
            peer.peer,
            self._candidates,
            refused,
            own,
            peer.mapped,
            selected_ns - self._answered_ns,
            keyed_ns - selected_ns,
            self._relay_facts(),
        )

    def _relay_facts(self) -> RelayFacts | None:
        relay = self._relay
        if relay is None:
            return None
        return RelayFacts(str(relay.server), self._used_relay is not None, relay.round_trip_ns)

    def check_answer(self) -> Iterator[CheckFinding]:
        if (facts := self.facts()) is not None:
            yield from check_path(facts)

    def check_media(self) -> Iterator[CheckFinding]:
        if (packets := self.network()) is not None:
            yield from check_packets(packets)
            yield rtcp_round_trip(packets)

    # The transport

    def send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        return self.try_send(message, stamped=stamped) or (
            None if self._closed is not None else self.flush()
        )

    def try_send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        media = self.track.media
        now_ns = monotonic_ns()
        if self._closed is not None or media is None:
            return None
        if isinstance(message, BinaryMessage):
            # the microphone was closed
            if self._sent_ns and (pause_ns := now_ns - self._sent_ns) >= PAUSE_NS:
                media.sender.pause(pause_ns * media.clock_hz // NS_PER_S)
            self._sent_ns = now_ns
            return self.track.send(media, message)
        if 0 < self._peer_limit_bytes < len(message):
            problem = (
                f"a message has {len(message)} bytes, but the service accepts"
                f" {self._peer_limit_bytes}"
            )
            self._closed = ConnectionClosed(
                TOO_LARGE, now_ns, f"{problem} (max-message-size of its SDP)"
            )
            return None
        self._offered_bytes = self._channel.send(message, now_ns)
        return self._receipt()

    def _sending(self, plain: ChunkSender) -> Callable[[], int]:
        send_usual = super()._sending(plain)

        def send() -> int:
            now_ns = monotonic_ns()
            if now_ns - self._sent_ns >= PAUSE_NS:
                return plain.send_by(self.try_send)
            self._sent_ns = now_ns
            return send_usual()

        return send

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
            unsent = channel.unsent
            until_ns = monotonic_ns() + SEND_LIMIT_NS
            # The function is called at once.
            self._wait(lambda: channel.unsent < unsent, until_ns)  # noqa: B023
            if not self._has_ended() and channel.unsent == unsent:
                self._closed = ConnectionClosed(
                    ABNORMAL,
                    monotonic_ns(),
                    Cause(Code.NO_READ, {"limit_s": SEND_LIMIT_NS / NS_PER_S}).text,
                )
        return None

    def _own_ns(self) -> int:
        return min(self._connected_peer.next_ns, self._relay_ns)

    def _on_readable(self, _: object) -> bool:
        self._read()
        return self.track.pass_frames(self._on_message) or self._has_ended()

    def _on_due(self) -> bool:
        self._expire()
        return self.track.pass_frames(self._on_message) or self._has_ended()

    def _has_ended(self, at_ns: int = 0) -> bool:
        """Note the end of the connection, at an instant or now. Return True if it has ended."""
        if self._closed is None and (ending := self._connected_peer.ending) is not None:
            at_ns = at_ns or monotonic_ns()
            self._closed = ConnectionClosed(
                ending.code, at_ns, ending.reason, ending.ours, ending.cause
            )
        has_relay = self._relay is not None and self._closed is None
        if has_relay and (relay := self._used_relay) is not None and relay.problem:
            self._closed = ConnectionClosed(ABNORMAL, at_ns or monotonic_ns(), relay.problem.text)
        return self._closed is not None

    def network(self) -> RtpMeasured | None:
        """Return the numbers of packets, the host that only the peer named, and the round trips
        through a relay.
        """
        measured = self.track.measured(self._other_hosts)
        relay = self._used_relay
        if measured is None or relay is None:
            return measured
        path_rtt_ns = self._connected_peer.round_trip_ns
        return msgspec.structs.replace(
            measured, relay_rtt_ns=relay.round_trip_ns, relay_path_rtt_ns=path_rtt_ns
        )

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
            self._closed = ConnectionClosed(
                NORMAL, monotonic_ns(), "closed by this tool", ours=True
            )
        if self.track.rtp.fileno() >= 0:
            self._listener.close()
            if self._relay is not None:
                self._relay.close()
            self.track.close()


def _address_of(source: SocketAddress) -> HostPort:
    return source if isinstance(source, RelayedAddress) else HostPort(*source[:2])


def _ice_failure(peer: WebRtcPeer, refusal: Cause | None, limits: Timeouts) -> ConnectError:
    """Return why no address of the peer was selected. `refusal` states why its candidates were
    refused; None if not.
    """
    kind = "connect_failed" if peer.problem else "timeout"
    problem = peer.problem or f"no candidate of the peer answered within {limits.upgrade:g} s"
    causes = [in_words(problem)]
    if peer.refused is not None:
        causes = [refusal or in_words(problem)]
        source = authority(peer.refused.host, peer.refused.port or 0)
        causes.append(Cause(Code.CHECKS_FROM, {"source": source}))
    return ConnectError("connect_failed:host" if refusal else f"{kind}:ice", causes)
