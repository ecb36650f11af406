"""A telephone call as a transport: signalling by SIP, and audio in an `RtpTrack`."""

# One `Listener` waits for the SIP socket, the RTP socket, the RTCP socket, and the next instant of
# the call, the track, and the sender. SIP messages are read as soon as they arrive. RTP packets are
# not watched during a turn: they wait in the socket with the kernel's timestamps until
# `next_read_ns`, and are read when a packet is sent anyway, because a wake-up for each packet of
# each call would cost more CPU than all else.
#
# A call over TCP or TLS reads SIP in a greenlet of its own (`PeerConnection`). It calls
# `on_signal`, which must wake the listener if the session has to act.
#
# The call is open when it is answered (2xx). The audio of a 183 before that is early media, whose
# frames are stored and judged by the track, because an agent may greet in it. `opened` is the
# arrival of the 2xx, with the uncertainty of the read in which it came.

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence

from bench.base.clock import Arrival, SendTime, monotonic_ns
from bench.base.errors import closed_on_failure
from bench.base.units import NS_PER_S
from bench.catalogue.causes import Cause, Code, ConnectError
from bench.catalogue.timeouts import Timeouts
from bench.protocols.call_media import CallMedia
from bench.protocols.rtp.rtp import telephone_audio
from bench.protocols.rtp.srtp import new_keys, without_keys
from bench.protocols.sdp.offer_answer import LocalMedia
from bench.protocols.sip.call import SipCall
from bench.protocols.sip.call_record import CallFacts, CallState, own_hang_up
from bench.protocols.sip.hops import call_address
from bench.sound.transfer_silence import TransferSilence
from bench.transport.datagrams import DatagramSocket
from bench.transport.event_loop import Listener
from bench.transport.interface import ConnectRequest, ConnectTimings, NetworkPath
from bench.transport.rtp_checks import rtcp_round_trip
from bench.transport.rtp_track import RtpTrack, TrackTransport
from bench.transport.sip.call_setup import (
    call_settings,
    failure_of,
    headers_of,
    received_of,
    with_malformed,
)
from bench.transport.sip.checks import PacketProbe, check_call, check_media
from bench.transport.sip.signalling import Signalling, linger, open_signalling
from bench.wire.addresses import HostPort, bracketed
from bench.wire.connection import ABNORMAL, NORMAL, ConnectionClosed, RtpMeasured, SendReceipt
from bench.wire.dialect import BinaryMessage
from bench.wire.findings import CheckFinding

MAX_TRANSFERS = 10
"""The maximum number of times that a call is transferred."""
GOODBYE_NS = NS_PER_S
"""The maximum time that a session waits for the answer to BYE."""


def new_token() -> str:
    return secrets.token_hex(8)


def open_call(request: ConnectRequest) -> TelephoneCall:
    """Call an agent. The call is open when it is answered.

    Over UDP, each address of the host is called until one is heard: an address that refuses
    datagrams only until then, and each other one for an equal share of the remaining time, as in
    `bench.transport.connect.connect_first`.

    Raise ConnectError: `connect_failed:<status>`, `connect_failed:dns|tcp|tls|media|sip`,
    `throttled:handshake`, `timeout:dns|tcp|tls|upgrade`, `failed:load_generator`.
    """
    path = request.path
    ways = open_signalling(call_address(path.sip_proxy or request.url), request)
    until_ns = monotonic_ns() + int(request.limits.upgrade * NS_PER_S)
    while True:
        signalling = ways.pop(0)()
        with closed_on_failure(signalling):
            call = TelephoneCall(request.url, signalling, list(request.headers), path)
        try:
            call.dial(
                request.limits,
                request.phases,
                until_ns - len(ways) * (until_ns - monotonic_ns()) // (len(ways) + 1),
            )
            return call
        except BaseException as error:
            call.abort()
            if not (isinstance(error, ConnectError) and ways) or call.was_heard:
                raise


class TelephoneAudio(TrackTransport):
    """The audio and the keys of a telephone call, whichever side has called."""

    def send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        if self._closed is not None or (media := self.track.media) is None:
            return None
        return (
            self.track.send(media, message)
            if isinstance(message, BinaryMessage)
            else self._press(media, message)
        )

    def _press(self, media: CallMedia, message: bytes) -> SendReceipt | None:
        key = str(json.loads(message).get("digit", ""))
        # A peer that holds the call receives no keys (RFC 3264 §8.4).
        is_held = not media.agreed.sends
        if not is_held and media.press(key):
            return SendReceipt(SendTime(monotonic_ns()), 0)
        # Without the key, the agent would answer to another call than the script describes.
        self._hang_up_now()
        detail = (
            f"{Cause(Code.HELD if is_held else Code.NO_KEYS).text}, so the key {key} was not sent"
        )
        self._closed = ConnectionClosed(NORMAL, monotonic_ns(), own_hang_up(detail), ours=True)
        return None

    try_send = send

    def _hang_up_now(self) -> None:
        """Send BYE, and do not wait for its answer."""
        raise NotImplementedError


class TelephoneCall(TelephoneAudio):
    """A call. It is created before it is dialed, and is open when it is answered."""

    def __init__(
        self,
        url: str,
        signalling: Signalling,
        headers: Sequence[tuple[str, str]],
        path: NetworkPath,
    ) -> None:
        audio = telephone_audio(path.codecs)
        super().__init__(RtpTrack(signalling.local.host, path.rtp_ports, audio))
        self.track.silence = TransferSilence(audio)
        self._packets = PacketProbe()
        host = signalling.local.host.partition("%")[0]
        port = signalling.local.port
        self._signalling = signalling
        signalling.listener = self
        datagrams = () if signalling.socket is None else (signalling.socket,)
        self._listener = Listener((*datagrams, self.track.rtp, self.track.rtcp))
        self._path = path
        media = self._local_media(host)
        own = HostPort(bracketed(host), port)
        settings = call_settings(
            url, own, signalling.transport, signalling.peer, media, headers, path
        )
        self._call = SipCall(settings, new_token)
        self._next_call: SipCall | None = None
        """The call to the target of a transfer, until it is answered or refused."""
        self._earlier_calls: list[SipCall] = []
        """The calls whose peers have transferred this one."""
        self._read_ns = self._signals_ns = 0
        """The instants of the next read of audio, and of the next work of the signalling."""
        self._uncertainties_ns: dict[int, int] = {}
        """The uncertainties of the arrivals of SIP messages until the call is answered."""
        self._peer = ""
        """The address from which SIP messages come."""

    def _local_media(self, host: str) -> LocalMedia:
        """Return the media of a call, with keys that no other peer knows."""
        keys = new_keys(secrets.token_bytes) if self._path.srtp else ()
        port = self.track.rtp.address[1]
        return LocalMedia(host, port, secrets.randbits(31), self._path.codecs, keys=keys)

    @property
    def _calls(self) -> list[SipCall]:
        next_call = [] if self._next_call is None else [self._next_call]
        return [self._call, *next_call, *self._earlier_calls]

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
            raise self._own_limit or ConnectError("timeout:upgrade", detail, headers_of(call))
        if call.state is not CallState.ANSWERED or call.media is None:
            raise self._own_limit or failure_of(call)
        answered_ns = call.answered_ns or monotonic_ns()
        if (ringing_ns := call.ringing_ns) is not None:
            phases.set_arrival("ringing", ringing_ns, self._uncertainties_ns.get(ringing_ns, 0))
        phases.set_arrival("opened", answered_ns, self._uncertainties_ns.get(answered_ns, 0))
        early = self.track.early_audio(call.early_media or call.media, answered_ns)
        self._start_media()
        self.handshake = phases.connected(headers_of(call), *(early or ()))

    @property
    def _own_limit(self) -> ConnectError | None:
        """The limit of this machine that prevented the call; None if there is none, or if the
        peer refused the call.
        """
        ending = self._call.ending
        return self._signalling.own_limit if ending is None or ending.code is None else None

    def _start_media(self) -> None:
        agreed = self._call.media
        assert agreed is not None, "the call is answered"
        for host in (agreed.peer.host, agreed.peer_rtcp.host):
            self._call.reach.note(host, "audio")
        self.track.use(agreed, self._call.answered_ns or 0)

    # Sending

    def _hang_up_now(self) -> None:
        self._call.hang_up(monotonic_ns())
        self._send_signals()

    def _send_signals(self) -> None:
        for call in self._calls:
            for message in call.pop_messages():
                self._call.reach.note(message.hop.host, "SIP")
                self._signalling.send(message)
        for hop, reason in self._signalling.pop_refusals():
            if self._call.awaits(hop):
                self.on_broken(reason)
        self._signals_ns = min(call.next_ns for call in self._calls)

    # Transfers

    def _follow_transfer(self) -> None:
        """Call the target to which the peer transfers the call, or continue with it if it has
        answered. If it refuses, the call with the peer continues.
        """
        call, found, now_ns = self._call, self._next_call, monotonic_ns()
        silence = self.track.silence
        assert silence is not None
        if found is None:
            if call.referral is None or len(self._earlier_calls) >= MAX_TRANSFERS:
                return
            silence.begin(now_ns)
            found = self._next_call = call.transferred(
                self._local_media(call.settings.media.address), new_token
            )
            found.start(now_ns)
            call.report_transfer("100 Trying", now_ns, is_final=False)
        elif found.state is CallState.ANSWERED and found.media is not None:
            call.report_transfer("200 OK", now_ns)
            self._earlier_calls.append(call)
            self._call, self._next_call = found, None  # the change of the media ends the transfer
        elif found.ending is not None:
            ending = found.ending
            call.report_transfer(f"{ending.code or 503} {ending.phrase or 'Failed'}", now_ns)
            self._next_call = None
            silence.end(now_ns)

    # Receiving

    def _own_ns(self) -> int:
        return self._signals_ns

    def _read_all(self) -> None:
        for sock in (self._signalling.socket, self.track.rtp, self.track.rtcp):
            if sock is not None:
                self._on_readable(sock)

    def _on_readable(self, sock: DatagramSocket) -> bool:
        """Read datagrams. Return True if the session must act."""
        if sock is self.track.rtp:
            self.track.read_audio()
            return self.track.pass_frames(self._on_message)
        if sock is self.track.rtcp:
            self.track.read_reports()
            return False
        for data, source, arrival in sock.receive():
            self._peer = str(source[0])
            self._pass(data, HostPort(*source[:2]), arrival)
        return self._on_signals()

    def _pass(self, data: bytes, source: HostPort, arrival: Arrival) -> None:
        """Pass a message to its call: the current one, unless it names another one."""
        calls = (each for each in self._calls[1:] if each.call_id.encode() in data)
        next(calls, self._call).received(data, arrival.at_ns, source)

    def _on_signals(self) -> bool:
        """Do what received SIP messages require. Return True if the session must act."""
        media = self.track.media
        if media is not None:
            self._follow_transfer()
        self._send_signals()
        if self._has_ended():
            return True
        agreed = self._call.media
        is_agreed_again = media is not None and agreed is not None and agreed is not media.agreed
        if is_agreed_again:  # the session listens again, with another function for its frames
            assert media is not None
            self._note_change(media.agreed.sends)
            self._start_media()
        return (
            self.track.pass_frames(self._on_message)
            or is_agreed_again
            or (self._call.state is CallState.ANSWERED and media is None)
        )

    def _note_change(self, could_send: bool) -> None:
        """Note that the peer holds the call, resumes it, or changes its media."""
        silence, agreed = self.track.silence, self._call.media
        assert silence is not None
        assert agreed is not None
        now_ns = monotonic_ns()
        if could_send or not agreed.sends:
            silence.begin(now_ns)
        if agreed.sends:
            silence.end(now_ns)

    # The listener of the signalling

    def on_signal(self, data: bytes, source: HostPort, arrival: Arrival) -> None:
        if self.track.media is None:
            self._uncertainties_ns[arrival.at_ns] = arrival.uncertainty_ns
        self._peer = source.host
        self._pass(data, source, arrival)
        if self._on_signals():
            self._listener.wake()

    # RFC 3261 §8.1.3.1 treats a failed transport as a 503.
    def on_broken(self, reason: str) -> None:
        """End the call, unless it is answered: its next message then opens another connection."""
        if self._call.state not in (CallState.ANSWERED, CallState.ENDED):
            self._call.transport_failed(monotonic_ns(), reason)
            self._has_ended()
            self._listener.wake()

    def on_error(self, error: BaseException) -> None:
        self._listener.wake(error)

    def _on_due(self) -> bool:
        now_ns = monotonic_ns()
        if self._signals_ns <= now_ns:
            for call in self._calls:
                call.expire(now_ns)
            if self._next_call is not None:
                self._follow_transfer()
            self._send_signals()
        if self.track.next_ns <= now_ns:
            self.track.expire(now_ns)
        return self._has_ended() or self.track.pass_frames(self._on_message)

    def _has_ended(self) -> bool:
        """Note the end of the call. Return True if the call has ended."""
        if self._call.state is CallState.ANSWERED or self._next_call is not None:
            return False
        ending = self._call.ending
        cause = self._call.hang_up_cause
        if ending is None and not cause:
            return False
        if self._closed is None and self.track.media is not None:
            # a busy process finds the last packets and BYE in its sockets at the same time
            self.track.read_audio()
            at_ns = self._call.ended_ns or monotonic_ns()
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

    def facts(self) -> CallFacts | None:
        """Return what the call agreed; None if it was not answered."""
        if self.track.media is None:
            return None
        agreed = self.track.media.agreed
        media = HostPort(agreed.address, agreed.port)
        has_phone_keys = agreed.send_event_payload_type is not None
        is_encrypted = agreed.send_key is not None
        return CallFacts(
            agreed.codec,
            is_encrypted,
            has_phone_keys,
            self._call.digest.has_answered,
            media,
            self._peer,
        )

    def watch_packets(self) -> None:
        self.track.on_packet = self._packets.add

    def check_answer(self) -> Iterator[CheckFinding]:
        if (facts := self.facts()) is not None:
            yield from check_call(facts)

    def check_media(self) -> Iterator[CheckFinding]:
        facts = self.facts()
        packets = self.network()
        if facts is not None and packets is not None:
            yield from check_media(facts, packets, self._packets)
            yield rtcp_round_trip(packets)

    def network(self) -> RtpMeasured | None:
        """Return the numbers of packets, and the hosts that only the peer named."""
        return self.track.measured(without_keys(self._call.reach.other_hosts, self._call.keys))

    # The end

    def close(self) -> None:
        """Hang up, wait a short time for the answer, and close the sockets. The signalling may
        linger.
        """
        if self._call.ending is None:
            self.track.say_goodbye()
        self._hang_up()
        self._close_sockets()

    def _hang_up(self) -> None:
        call = self._call
        until_ns = monotonic_ns() + GOODBYE_NS
        for each in self._calls:
            each.hang_up(monotonic_ns())
        self._send_signals()
        while call.ending is None and monotonic_ns() < until_ns:
            self._listener.listen(until_ns, self._on_readable, lambda: call.next_ns, self._on_due)

    def abort(self) -> None:
        if self._closed is None:
            self._closed = ConnectionClosed(
                ABNORMAL, monotonic_ns(), "closed by this tool", ours=True
            )
            if self._call.ending is None:
                self._call.hang_up(monotonic_ns())
                self._send_signals()
        self._close_sockets()

    def _close_sockets(self) -> None:
        if self.track.rtp.fileno() >= 0:
            self._listener.close()
            self.track.close()
            linger(self._call, self._signalling)
