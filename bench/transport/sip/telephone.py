"""A telephone call as a transport: signalling by SIP, and audio by RTP over UDP.

Each frame of the peer's audio is a message. Its arrival is the instant at which it is played, without the delay of the
jitter buffer, because the script's player adds a delay. Each chunk of the caller's audio is a packet.
"""

from __future__ import annotations

import json
import os
import secrets
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from random import SystemRandom

from bench.base.clock import Arrival, SendTime, monotonic_ns, utc_ns
from bench.base.errors import ConnectError
from bench.base.units import NEVER_NS, NS_PER_S
from bench.catalogue.causes import CANNOT_SEND, HELD, NO_KEYS
from bench.catalogue.timeouts import Timeouts
from bench.transport.datagrams import DatagramSocket, SocketAddress, media_sockets
from bench.transport.interface import (
    UNSPECIFIED,
    ConnectTimings,
    DeltaListener,
    HostPort,
    NetworkPath,
    OnMessage,
    PacedSender,
    SendReceipt,
    bracketed,
)
from bench.transport.listener import Listener
from bench.transport.media.call_media import CallMedia, EarlyPacket, early_audio
from bench.transport.media.jitter import Frame
from bench.transport.media.offer_answer import AgreedMedia, LocalMedia
from bench.transport.media.rtp import StreamNumbers
from bench.transport.media.srtp import new_keys, without_keys
from bench.transport.sip.call import SipCall
from bench.transport.sip.call_record import CallFacts, CallState, own_hang_up
from bench.transport.sip.call_setup import call_settings, failure_of, headers_of, received_of, with_malformed
from bench.transport.sip.hops import call_address, canonical_host
from bench.transport.sip.signalling import Signalling, linger, open_signalling
from bench.wire.connection import Connected, ConnectionClosed, RtpMeasured, Transmitted
from bench.wire.dialect import BinaryMessage
from bench.wire.events import ServerEvent
from bench.wire.received import ReceivedMessage

NORMAL, ABNORMAL = 1000, 1006
GOODBYE_NS = NS_PER_S
"""The maximum time that a session waits for the answer to BYE."""
MAX_OTHER_HOSTS = 10
"""The maximum number of hosts that are listed. A peer decides how many there are."""
MAX_EARLY_PACKETS = 500
"""The maximum number of packets that wait for the media of a call: 10 s of audio."""
_random = SystemRandom()


def open_call(
    url: str,
    headers: Iterable[tuple[str, str]],
    context: ssl.SSLContext | None,
    limits: Timeouts,
    phases: ConnectTimings,
    path: NetworkPath,
    subprotocols: Sequence[str] = (),
) -> TelephoneCall:
    """Call an agent. The call is open when it is answered.

    Over UDP, each address of the host is called until one is heard: an address that refuses datagrams only until then,
    and each other one for an equal share of the remaining time, as in `bench.transport.connect.connect_first`.

    Raise ConnectError: `connect_failed:<status>`, `connect_failed:dns|tcp|tls|media|sip`, `throttled:handshake`,
    `timeout:dns|tcp|tls|upgrade`, `failed:load_generator`.
    """
    ways = open_signalling(call_address(path.sip_proxy or url), context, limits, phases, path)
    until_ns = monotonic_ns() + int(limits.upgrade * NS_PER_S)
    while True:
        signalling = ways.pop(0)()
        try:
            call = TelephoneCall(url, signalling, list(headers), path)
        except BaseException:  # also at the end of the run: there is no other reference to the sockets
            signalling.close()
            raise
        try:
            call.dial(limits, phases, until_ns - len(ways) * (until_ns - monotonic_ns()) // (len(ways) + 1))
            return call
        except BaseException as error:
            call.abort()
            if not (isinstance(error, ConnectError) and ways) or call.was_heard:
                raise


class TelephoneCall:
    """A call. It is created before it is dialed, and is open when it is answered."""

    keeps_texts = False

    def __init__(self, url: str, signalling: Signalling, headers: Sequence[tuple[str, str]], path: NetworkPath) -> None:
        self._rtp, self._rtcp = map(DatagramSocket, media_sockets(signalling.local.host, path.rtp_ports))
        host, port = signalling.local.host.partition("%")[0], signalling.local.port
        self._signalling = signalling
        signalling.listener = self
        datagrams = () if signalling.socket is None else (signalling.socket,)
        self._listener = Listener((*datagrams, self._rtp, self._rtcp))
        keys = new_keys(secrets.token_bytes) if path.srtp else ()
        media = LocalMedia(host, self._rtp.address[1], _random.getrandbits(31), path.codecs, keys=keys)
        own = HostPort(bracketed(host), port)
        settings = call_settings(url, own, signalling.transport, signalling.peer, media, headers, path)
        self._call = SipCall(settings, lambda: secrets.token_hex(8))
        self._media: CallMedia | None = None
        self._closed: ConnectionClosed | None = None
        self._on_message: OnMessage | None = None
        self._frames: list[tuple[Frame, int]] = []
        """The frames that have not been passed on, and the instants at which they became available."""
        self._held_ns = 0
        """How long after its instant the last frame became available."""
        self._early: deque[EarlyPacket] = deque(maxlen=MAX_EARLY_PACKETS)
        """The RTP packets that were read before the media of the call started."""
        self._drained_ns = monotonic_ns()
        self._uncertainties_ns: dict[int, int] = {}
        """The uncertainties of the arrivals of SIP messages until the call is answered."""
        self._peer = ""
        """The address from which SIP messages come."""
        self._other_hosts: dict[tuple[str, str], None] = {}
        """The hosts that only the peer named and that receive something, with their purposes."""
        self.on_packet: Callable[[bytes, SocketAddress, Arrival], None] | None = None
        """An observer of received RTP packets."""
        self.handshake = Connected({}, {})
        self.fill: Callable[[bytes], bytes] | None = None

    # Dialing

    def dial(self, limits: Timeouts, phases: ConnectTimings, until_ns: int) -> None:
        """Call, and wait until the call is answered, at most until an instant."""
        call = self._call
        call.start(monotonic_ns())
        self._send_signals()
        while call.state in (CallState.CALLING, CallState.PROCEEDING) and monotonic_ns() < until_ns:
            self._listener.listen(until_ns, self._on_readable, lambda: call.next_ns, self._on_due)
        if call.state in (CallState.CALLING, CallState.PROCEEDING):
            if self.was_heard:  # otherwise no CANCEL may be sent, and no answer to it is likely
                self._hang_up()
            detail = f"the call was not answered within {limits.upgrade:g} s: {received_of(call)}"
            raise ConnectError("timeout:upgrade", detail, headers_of(call))
        if call.state is not CallState.ANSWERED or call.media is None:
            raise failure_of(call)
        answered_ns = call.instants.answered_ns or monotonic_ns()
        if (ringing_ns := call.instants.ringing_ns) is not None:
            phases.set_arrival("ringing", ringing_ns, self._uncertainties_ns.get(ringing_ns, 0))
        phases.set_arrival("opened", answered_ns, self._uncertainties_ns.get(answered_ns, 0))
        early = self._early and early_audio(self._early, _new_media(call.early_media or call.media), answered_ns)
        self._start_media()
        self.handshake = phases.connected(headers_of(call), *(early or ()))

    def _start_media(self) -> None:
        agreed = self._call.media
        assert agreed is not None, "the call is answered"
        for host in (agreed.peer.host, agreed.peer_rtcp.host):
            self._note_host(host, "audio")
        if self._media is None:
            self._media = _new_media(agreed)
            while self._early:
                self._accept_packet(*self._early.popleft())
        else:
            self._media.change(agreed)

    # Sending

    def now_ns(self) -> int:
        return monotonic_ns()

    def handled_ns(self) -> int:
        return monotonic_ns() - self._held_ns

    def send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        if self._closed is not None or self._media is None:
            return None
        if not isinstance(message, BinaryMessage):
            return self._press(message)
        if not self._media.agreed.sends:  # the peer holds the call
            self._media.skip_audio(message)
            return SendReceipt(SendTime(monotonic_ns()), 0, HELD)
        packet = self._media.send_audio(message)
        send_time = self._rtp.send(packet, self._media.peer)
        if send_time is None:
            return SendReceipt(SendTime(monotonic_ns()), 0, f"{CANNOT_SEND}: {os.strerror(self._rtp.refusal)}")
        return SendReceipt(send_time, len(packet))

    def _press(self, message: bytes) -> SendReceipt | None:
        assert self._media is not None, "the call is open"
        key = str(json.loads(message).get("digit", ""))
        is_held = not self._media.agreed.sends
        if not is_held and self._media.press(key, self._media.clock_hz // 50):
            return SendReceipt(SendTime(monotonic_ns()), 0)
        # Without the key, the agent would answer to another call than the script describes.
        self._call.hang_up(monotonic_ns())
        self._send_signals()
        detail = f"{HELD if is_held else NO_KEYS}, so the key {key} was not sent"
        self._closed = ConnectionClosed(NORMAL, monotonic_ns(), own_hang_up(detail), ours=True)
        return None

    def try_send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        return self.send(message, stamped=stamped)

    def flush(self) -> SendReceipt | None:
        return None  # `try_send` leaves nothing over; it fails only after the end of the call

    def transmitted(self) -> list[Transmitted]:
        return []

    def _send_signals(self) -> None:
        for message in self._call.pop_messages():
            self._note_host(message.hop.host, "SIP")
            self._signalling.send(message)
        for hop, reason in self._signalling.pop_refusals():
            if self._call.awaits(hop):
                self.on_broken(reason)

    def _note_host(self, host: str, purpose: str) -> None:
        """Note a host that receives something. Those that the user names do not count."""
        if (named := canonical_host(host)) not in self._call.reach.named_hosts and named not in UNSPECIFIED:
            self._other_hosts |= dict.fromkeys([(named, purpose)][: MAX_OTHER_HOSTS - len(self._other_hosts)])

    # Receiving

    def receive_until(
        self,
        until_ns: int,
        on_message: OnMessage,
        reply: DeltaListener | None = None,
        sender: PacedSender | None = None,
    ) -> None:
        self._on_message = on_message
        try:
            if self._pass_frames():
                return
            if monotonic_ns() >= until_ns:
                for sock in (self._signalling.socket, self._rtp, self._rtcp):
                    if sock is not None:
                        self._on_readable(sock)
                self._on_due()
                return

            def due_ns() -> int:
                sender_ns = sender.due_ns if sender is not None else None
                media_ns = NEVER_NS if self._media is None else self._media.next_ns
                return min(sender_ns or NEVER_NS, media_ns, self._call.next_ns)

            def on_due() -> bool:
                is_woken = self._on_due()
                if sender is not None and (sender_ns := sender.due_ns) is not None and sender_ns <= monotonic_ns():
                    return sender.send_due() or is_woken
                return is_woken

            if self._closed is None:
                self._listener.listen(until_ns, self._on_readable, due_ns, on_due)
        finally:
            self._on_message = None

    def _on_readable(self, sock: DatagramSocket) -> bool:
        """Read datagrams. Return True if the session must act."""
        now_ns, media = monotonic_ns(), self._media
        for data, source, arrival in sock.receive():
            if sock is self._signalling.socket:
                self._peer = str(source[0])
                self._call.received(data, arrival.at_ns, HostPort(*source[:2]))
            elif sock is self._rtp:
                self._accept_packet(data, source, arrival)
            elif media is not None:
                media.received_report(data, arrival.at_ns)
        if sock is self._rtp:
            self._drained_ns = now_ns
        return self._on_signals() if sock is self._signalling.socket else self._pass_frames()

    def _accept_packet(self, data: bytes, source: SocketAddress, arrival: Arrival) -> None:
        if self._media is None:  # the answer may be in the other socket, or its session may not have run yet
            self._early.append((data, source, arrival))
            return
        if arrival.at_ns < (self._call.instants.answered_ns or 0):
            return  # `early_audio` has returned it
        if self.on_packet is not None:
            self.on_packet(data, source, arrival)
        frames = self._media.received(data, arrival, HostPort(*source[:2]))
        self._frames += ((frame, arrival.at_ns) for frame in frames)

    def _on_signals(self) -> bool:
        """Do what received SIP messages require. Return True if the session must act."""
        self._send_signals()
        if self._has_ended():
            return True
        if self._media is not None and self._call.media is not None and self._call.media is not self._media.agreed:
            self._start_media()
        return self._pass_frames() or (self._call.state is CallState.ANSWERED and self._media is None)

    # The listener of the signalling

    def on_signal(self, data: bytes, source: HostPort, arrival: Arrival) -> None:
        if self._media is None:
            self._uncertainties_ns[arrival.at_ns] = arrival.uncertainty_ns
        self._peer = source.host
        self._call.received(data, arrival.at_ns, source)
        if self._on_signals():
            self._listener.wake()

    def on_broken(self, reason: str) -> None:
        """End the call, unless it is answered: its next message then opens another connection."""
        if self._call.state not in (CallState.ANSWERED, CallState.ENDED):
            self._call.transport_failed(monotonic_ns(), reason)
            self._has_ended()
            self._listener.wake()

    def on_error(self, error: BaseException) -> None:
        self._listener.wake(error)

    def _on_due(self) -> bool:
        now_ns, media = monotonic_ns(), self._media
        if self._call.next_ns <= now_ns:
            self._call.expire(now_ns)
            self._send_signals()
        if media is not None:
            due_ns = media.buffer.next_ns
            self._frames += ((frame, due_ns) for frame in media.expire(now_ns))
            if media.report_ns <= now_ns:
                self._send_report(media.report(now_ns))
        return self._has_ended() or self._pass_frames()

    def _pass_frames(self) -> bool:
        """Pass the received frames to the session. Return True if the session must act."""
        frames, media, wakes = self._frames, self._media, False
        if self._on_message is None or media is None:
            return False
        while frames and not wakes:
            frame, available_ns = frames.pop(0)
            message = ReceivedMessage(
                BinaryMessage(frame.audio),
                Arrival(frame.at_ns, frame.uncertainty_ns),
                0 if frame.is_concealed else frame.payload_bytes + media.overhead_bytes,
            )
            self._held_ns = max(0, available_ns - frame.at_ns)
            wakes = self._on_message(message)
        return wakes

    def _has_ended(self) -> bool:
        """Note the end of the call. Return True if the call has ended."""
        if self._call.state is CallState.ANSWERED:
            return False
        ending, cause = self._call.ending, self._call.hang_up_cause
        if ending is None and not cause:
            return False
        if self._closed is None and self._media is not None:
            at_ns = self._call.instants.ended_ns or monotonic_ns()
            if ending is None or cause:  # the peer may never answer BYE
                reason = with_malformed(own_hang_up(cause), self._call)
                self._closed = ConnectionClosed(NORMAL, at_ns, reason, ours=True)
                return True
            code = NORMAL if ending.by in ("peer", "caller") else ABNORMAL
            self._closed = ConnectionClosed(code, at_ns, ending.text, ours=ending.by == "caller")
        return True

    @property
    def was_heard(self) -> bool:
        """Whether a SIP message was received."""
        return bool(self._peer)

    @property
    def closed(self) -> ConnectionClosed | None:
        return None if self._frames else self._closed

    @property
    def watermark_ns(self) -> int:
        return self._drained_ns

    def add_template(self, message: ReceivedMessage, event: ServerEvent) -> None:
        """Do nothing: a packet is audio, which cannot be matched."""

    def facts(self) -> CallFacts | None:
        """Return what the call agreed; None if it was not answered."""
        if self._media is None:
            return None
        agreed = self._media.agreed
        media = HostPort(agreed.address, agreed.port)
        has_phone_keys, is_encrypted = agreed.send_event_payload_type is not None, agreed.send_key is not None
        return CallFacts(agreed.codec, is_encrypted, has_phone_keys, self._call.has_signed_in, media, self._peer)

    def network(self) -> RtpMeasured | None:
        """Return the numbers of packets in both directions, and the round trip that RTCP measured."""
        if self._media is None:
            return None
        counts, played, peer = self._media.receiver.counts, self._media.buffer.counts, self._media.rtcp.peer
        return RtpMeasured(
            counts.expected,
            max(0, counts.lost + counts.duplicates),
            played.late,
            self._media.receiver.jitter_ns,
            self._media.packets_sent - self._rtp.unsent,
            peer.expected if peer.reports else None,
            min(max(0, peer.cumulative_lost), peer.expected) if peer.reports else None,  # duplicates make it negative
            peer.jitter * NS_PER_S // self._media.clock_hz if peer.reports else None,
            peer.round_trip_ns,
            peer.min_round_trip_ns,
            self._media.buffer.start_uncertainty_ns,
            self._rtp.unsent,
            without_keys(", ".join(f"{host} ({purpose})" for host, purpose in self._other_hosts), self._call.keys),
            played.uncounted_pauses,
            played.resyncs - played.uncounted_pauses,
            counts.without_audio,
        )

    def _send_report(self, report: bytes) -> None:
        assert self._media is not None, "the call is open"
        if self._media.peer_rtcp.host not in UNSPECIFIED:  # the kernel would send it to this machine
            self._rtcp.send(report, self._media.peer_rtcp)

    # The end

    def close(self) -> None:
        """Hang up, wait a short time for the answer, and close the sockets. The signalling may linger."""
        if self._media is not None and self._call.ending is None:
            self._send_report(self._media.report(monotonic_ns(), goodbye=True))
        self._hang_up()
        self._close_sockets()

    def _hang_up(self) -> None:
        call, until_ns = self._call, monotonic_ns() + GOODBYE_NS
        call.hang_up(monotonic_ns())
        self._send_signals()
        while call.ending is None and monotonic_ns() < until_ns:
            self._listener.listen(until_ns, self._on_readable, lambda: call.next_ns, self._on_due)

    def abort(self) -> None:
        if self._closed is None:
            self._closed = ConnectionClosed(ABNORMAL, monotonic_ns(), "closed by this tool", ours=True)
            if self._call.ending is None:
                self._call.hang_up(monotonic_ns())
                self._send_signals()
        self._close_sockets()

    def _close_sockets(self) -> None:
        if self._rtp.fileno() >= 0:
            self._listener.close()
            self._rtp.close()
            self._rtcp.close()
            linger(self._call, self._signalling)


def _new_media(agreed: AgreedMedia) -> CallMedia:
    numbers, cname, now_ns = StreamNumbers.drawn(_random.getrandbits), f"{secrets.token_hex(6)}@rtbench", monotonic_ns()
    return CallMedia(agreed, numbers, cname, now_ns, utc_ns() - now_ns, _random.random)
