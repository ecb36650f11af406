"""The audio of one call in RTP over UDP: its sockets, its media, and the frames for the session.

Each frame of the peer's audio is a message. Its arrival is the instant at which it is played,
without the delay of the jitter buffer, because the script's player adds a delay. Each chunk of the
caller's audio is a packet. The same socket may have the messages of a data channel.
"""

from __future__ import annotations

import os
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from random import SystemRandom
from typing import Any

from bench.base.clock import Arrival, SendTime, monotonic_ns, utc_ns
from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.catalogue.causes import Cause, Code
from bench.protocols.call_media import CallMedia, early_audio
from bench.protocols.rtp.jitter import Frame
from bench.protocols.rtp.packets import send_frame
from bench.protocols.rtp.rtp import StreamNumbers, is_report
from bench.protocols.sdp.offer_answer import AgreedMedia
from bench.sound.transfer_silence import Piece, TransferSilence
from bench.transport.datagrams import DatagramSender, DatagramSocket, media_sockets
from bench.transport.event_loop import Listener
from bench.transport.interface import ChunkSender, DeltaListener, OnMessage, PacedSender
from bench.transport.own_limits import NO_MEMORY
from bench.wire.addresses import UNSPECIFIED
from bench.wire.audio import AudioFormat
from bench.wire.connection import (
    Connected,
    ConnectionClosed,
    Datagram,
    MatchedDelta,
    ReceivedMessage,
    RtpMeasured,
    SendReceipt,
    SocketAddress,
    Transmitted,
)
from bench.wire.dialect import BinaryMessage
from bench.wire.events import EMPTY, ServerEvent
from bench.wire.findings import CheckFinding

MAX_EARLY_PACKETS = 500
"""The maximum number of packets that wait for the media of a call: 10 s of audio."""
READ_PERIOD_NS = 20 * NS_PER_MS
MORE_NS = 80 * NS_PER_MS
"""The maximum time between two reads of the audio of an open call, and the time by which it is
longer while no single frame needs a decision.

Each packet has the kernel's timestamp. So a late read loses no information, and the audio is read
when a packet of the caller is due.
"""
MAX_DELTAS = 32
MAX_DELTAS_NS = 80 * NS_PER_MS
"""The maximum number of deltas of a watched socket that wait for the listener of the reply, and
the maximum time between them."""


class RtpTrack:
    """A track of audio in both directions. Its media are None until they are agreed.

    `audio` is the format of the session's audio; None: that of the agreed codec.
    If `is_muxed` is True, RTCP has the port of RTP, and the owner reads the socket, which has other
    packets, too.
    """

    def __init__(
        self, host: str, ports: range, audio: AudioFormat | None = None, *, is_muxed: bool = False
    ) -> None:
        self.rtp, self.rtcp = map(DatagramSocket, media_sockets(host, ports))
        if is_muxed:
            self.rtcp.close()
            self.rtcp = self.rtp
        self._audio = audio
        self.silence: TransferSilence | None = None
        """The silence around transfers; None if the call is not searched for it."""
        self._packets: DatagramSender = self.rtp
        self._reports: DatagramSender = self.rtcp
        self.numbers = StreamNumbers.drawn(secrets.randbits)
        self.cname = f"{secrets.token_hex(6)}@rtbench"
        self.media: CallMedia | None = None
        self.drained_ns = monotonic_ns()
        """The last instant at which all packets that had arrived were read."""
        self.next_ns = NEVER_NS
        """The instant at which `expire` is due."""
        self.frames: list[tuple[Frame | ReceivedMessage, int]] = []
        """The frames that have not been passed on, and the instants at which they became available.

        Between them are the messages that were received in the same socket.
        """
        self.deltas: list[MatchedDelta] = []
        """The usual frames for the listener of the reply. They are earlier than those of
        `frames`."""
        self._reply: DeltaListener | None = None
        self._template: ServerEvent | None = None
        """The event of the deltas; None until the listener of the reply has received a frame."""
        self.is_watched = False
        """True if packets are read when they arrive, because events may be among them."""
        self.held_ns = 0
        """How long after its instant the last frame became available."""
        self.on_packet: Callable[[bytes, SocketAddress, Arrival], None] | None = None
        """An observer of received RTP packets."""
        self._early: deque[Datagram] = deque(maxlen=MAX_EARLY_PACKETS)
        """The RTP packets that were read before the media were agreed."""
        self._start_ns = 0
        self.send_packet: SendPacket = send_now
        """The function that sends a packet of audio."""
        self._send_frame: Callable[[bytes], SendReceipt] | None = None
        """The function that does the same as `send` for audio, while no packet is held, delayed, or
        replaced by a key.
        """

    def early_audio(self, agreed: AgreedMedia, answered_ns: int) -> tuple[bytes, int] | None:
        """Return the last audio before the answer, and the instant at which it ended; None if
        there is none.
        """
        return (
            early_audio(self._early, self._new_media(agreed), answered_ns) if self._early else None
        )

    def use(self, agreed: AgreedMedia, answered_ns: int) -> None:
        """Use agreed media from now on. Audio from before the answer is not passed on."""
        if self.media is not None:
            self.read_audio()  # these packets belong to the earlier agreement
            self._release(self.media, self.media.change(agreed), monotonic_ns())
            self._use_peer(self.media)
            return
        self.media = self._new_media(agreed)
        self._start_ns = answered_ns
        self._use_peer(self.media)
        self.next_ns = self.media.next_ns
        while self._early:
            self.accept(*self._early.popleft())

    def _new_media(self, agreed: AgreedMedia) -> CallMedia:
        now_ns = monotonic_ns()
        return CallMedia(
            agreed,
            self.numbers,
            self.cname,
            now_ns,
            utc_ns() - now_ns,
            SystemRandom().random,
            self._audio,
        )

    def _use_peer(self, media: CallMedia) -> None:
        self._send_frame = partial(
            send_frame,
            media.audio_packets,
            self._packets.write,
            partial(send_now, self._packets),
            media.peer,
        )

    def use_sender(self, sender: DatagramSender) -> None:
        """Send the packets and the reports of media that are used later by `sender`, not by the
        sockets.
        """
        self._packets = self._reports = sender

    def next_read_ns(self, packet_ns: int | None) -> int:
        """Return the instant of the next read, from that of the caller's next packet; None if none
        is due.
        """
        now_ns = monotonic_ns()
        latest_ns = now_ns + READ_PERIOD_NS
        read_ns = latest_ns if packet_ns is None else min(max(packet_ns, now_ns), latest_ns)
        return read_ns if self._reply is None else read_ns + MORE_NS

    def send(self, media: CallMedia, audio: bytes) -> SendReceipt:
        if not media.agreed.sends:  # the peer holds the call
            media.skip_audio(audio)
            return SendReceipt(SendTime(monotonic_ns()), 0, Cause(Code.HELD).text)
        return self.send_packet(self._packets, media.send_audio(audio), media.peer)

    def frame_sender(
        self, send: Callable[[bytes], SendReceipt | None]
    ) -> Callable[[bytes], SendReceipt | None]:
        """Return the function for the next frames of audio: `send`, or one that does the same
        with less work.
        """
        media = self.media
        send_frame = self._send_frame
        is_usual = media is not None and media.sends_audio and self.send_packet is send_now
        return send_frame if is_usual and send_frame is not None else send

    def read_audio(self, due_ns: int = 0) -> None:
        """Read the RTP packets. A packet that arrived before the instant `due_ns` was to wait
        until then.
        """
        now_ns = monotonic_ns()
        datagrams = self.rtp.receive()
        if self.media is not None:
            datagrams = self.media.admitted(datagrams)
        while datagrams:
            usual = self.accept_usual(datagrams, due_ns)
            for data, source, arrival in datagrams[usual : usual + 1]:
                self.accept(data, source, arrival, due_ns)
            datagrams = datagrams[usual + 1 :]
        self.drained_ns = now_ns

    def read_reports(self) -> None:
        """Read the RTCP packets."""
        media = self.media
        sock = self.rtcp
        for data, _, arrival in sock.receive():
            if media is not None:
                media.received_report(data, arrival.at_ns)

    def accept_usual(self, datagrams: list[Datagram], due_ns: int = 0) -> int:
        """Accept the first datagrams that are usual packets of audio. Return their number."""
        media = self.media
        if media is None or self.on_packet is not None:
            return 0
        event = None if self._reply is None else self._template
        return media.usual.take(
            datagrams, self._start_ns, monotonic_ns(), due_ns, self.frames, self.deltas, event
        )

    def accept_muxed(
        self, data: bytes, source: SocketAddress, arrival: Arrival, due_ns: int = 0
    ) -> None:
        """Accept a packet of RTP or RTCP."""
        if not is_report(data):
            self.accept(data, source, arrival, due_ns)
        elif self.media is not None:
            self.media.received_report(data, arrival.at_ns)

    def accept(self, data: bytes, source: SocketAddress, arrival: Arrival, due_ns: int = 0) -> None:
        # the answer may be in another socket, or its session may not have run yet
        if self.media is None:
            self._early.append((data, source, arrival))
            return
        if arrival.at_ns < self._start_ns:
            return  # `early_audio` has returned it
        if self.on_packet is not None:
            self.on_packet(data, source, arrival)
        if frames := self.media.received(data, arrival, source[:2]):
            self._release(self.media, frames, max(arrival.at_ns, due_ns))
        self.next_ns = self.media.next_ns

    def _release(self, media: CallMedia, frames: list[Frame], available_ns: int) -> None:
        """Store frames that became available at an instant, as `UsualPackets.take` stores those
        of usual packets.
        """
        event = None if self._reply is None else self._template
        now_ns = monotonic_ns()
        for frame in frames:
            at_ns, uncertainty_ns, audio, size = frame
            if event is None or self.frames or not audio:
                self.frames.append((frame, available_ns))
                continue
            lag_ns = now_ns - max(at_ns, available_ns)
            wire_bytes = size and size + media.overhead_bytes
            self.deltas.append(
                MatchedDelta(event, at_ns, uncertainty_ns, lag_ns, len(audio), wire_bytes, audio)
            )

    def expire(self, now_ns: int) -> None:
        """Release the frames whose earlier packets are missing, and send a report, if these are
        due.
        """
        if (media := self.media) is None:
            return
        if (due_ns := media.buffer.next_ns) <= now_ns:
            self._release(media, media.expire(now_ns), due_ns)
        if media.report_ns <= now_ns:
            self._send_report(media, now_ns)
        self.next_ns = media.next_ns

    def begin(self, reply: DeltaListener | None) -> None:
        """Let usual frames be deltas for `reply` from now on, if a template is known. None
        forgets the template.
        """
        self._reply = reply
        if reply is None or not reply.has_begun:
            self._template = None

    def end(self) -> None:
        """Pass on the deltas, then release the listener."""
        try:
            self._pass_deltas()
        finally:
            self._reply = None

    def add_template(self, message: ReceivedMessage, event: ServerEvent) -> None:
        """Use the event of a frame for the frames after it, if the frame is nothing but audio."""
        if event.payload is EMPTY and isinstance(message.data, BinaryMessage):
            self._template = event

    def take_deltas(self) -> list[MatchedDelta]:
        deltas = self.deltas
        self.deltas = []
        if self.silence is not None:
            self.silence.add(deltas)
        return deltas

    def _pass_deltas(self) -> bool:
        return (
            bool(self.deltas)
            and self._reply is not None
            and self._reply.on_deltas(self.take_deltas())
        )

    def pass_frames(self, on_message: OnMessage | None) -> bool:
        """Pass the received frames to the session. Return True if the session must act."""
        frames = self.frames
        deltas = self.deltas
        media = self.media
        wakes = False
        if on_message is None or media is None:
            return False
        if deltas and (
            frames
            or not self.is_watched
            or len(deltas) >= MAX_DELTAS
            or deltas[-1].at_ns - deltas[0].at_ns >= MAX_DELTAS_NS
        ):
            wakes = self._pass_deltas()
        while frames and not wakes:
            frame, available_ns = frames.pop(0)
            if isinstance(frame, ReceivedMessage):
                self.held_ns = 0
                wakes = on_message(frame)
                continue
            at_ns, uncertainty_ns, audio, size = frame
            if self.silence is not None:
                self.silence.add([Piece(at_ns, uncertainty_ns, audio)])
            self.held_ns = max(0, available_ns - at_ns)
            wire_bytes = size and size + media.overhead_bytes
            wakes = on_message(
                ReceivedMessage(BinaryMessage(audio), Arrival(at_ns, uncertainty_ns), wire_bytes)
            )
        return wakes

    def measured(self, other_hosts: str) -> RtpMeasured | None:
        """Return the numbers of packets in both directions, and the round trip that RTCP
        measured.
        """
        if (media := self.media) is None:
            return None
        receiver = media.receiver
        played = media.buffer.counts
        peer = media.rtcp.peer
        has_report = bool(peer.reports)
        dropped = self.rtp.dropped
        silence = self.silence
        found = silence.longest if silence is not None and silence.is_known else None
        return RtpMeasured(
            expected=receiver.expected,
            # a dropped packet has arrived; a socket of a data channel drops other packets, too
            lost=max(0, receiver.lost + receiver.counts.duplicates - (dropped or 0)),
            late=played.late,
            jitter_ns=receiver.jitter_ns,
            sent=media.sender.packet_count - self._packets.unsent,
            peer_expected=peer.expected if has_report else None,
            # duplicates make the peer's number negative
            peer_lost=min(max(0, peer.cumulative_lost), peer.expected) if has_report else None,
            peer_jitter_ns=peer.jitter * NS_PER_S // media.clock_hz if has_report else None,
            rtt_ns=peer.round_trip_ns,
            min_rtt_ns=peer.min_round_trip_ns,
            start_uncertainty_ns=media.buffer.start_uncertainty_ns,
            starts_on_arrival=media.buffer.starts_on_arrival,
            unsent=self._packets.unsent,
            other_hosts=other_hosts,
            uncounted_pauses=played.uncounted_pauses,
            restarts=played.resyncs - played.uncounted_pauses,
            without_audio=receiver.counts.without_audio,
            dropped=dropped,
            codec=media.agreed.codec,
            transfers=0 if self.silence is None else self.silence.count,
            transfer_silence_ns=found and found.duration_ns,
            transfer_silence_uncertainty_ns=found and found.uncertainty_ns,
        )

    def say_goodbye(self) -> None:
        if self.media is not None:
            self._send_report(self.media, monotonic_ns(), goodbye=True)

    def _send_report(self, media: CallMedia, now_ns: int, *, goodbye: bool = False) -> None:
        report = media.report(now_ns, goodbye=goodbye)
        if media.peer_rtcp.host not in UNSPECIFIED:  # the kernel would send it to this machine
            self._reports.send(report, media.peer_rtcp)

    def close(self) -> None:
        self.rtp.close()
        self.rtcp.close()


SendPacket = Callable[[DatagramSender, bytes, SocketAddress], SendReceipt]


def send_now(sender: DatagramSender, packet: bytes, destination: SocketAddress) -> SendReceipt:
    """Send a packet of audio."""
    send_time = sender.send(packet, destination)
    if send_time is None:
        refusal = sender.refusal
        cause = Cause(Code.CANNOT_SEND, {"reason": os.strerror(refusal)})
        if refusal in NO_MEMORY:
            cause = Cause(Code.NO_BUFFERS)
        return SendReceipt(SendTime(monotonic_ns()), 0, cause.text)
    return SendReceipt(send_time, len(packet))


class TrackTransport:
    """The part of a `Transport` that is the same for each call whose audio is a track."""

    keeps_texts = False
    _is_polled = False
    """True if the sockets may be polled only every few milliseconds."""
    _listener: Listener

    def __init__(self, track: RtpTrack) -> None:
        self.track = track
        self._closed: ConnectionClosed | None = None
        self.handshake = Connected({}, {})
        self.fill: Callable[[bytes], bytes] | None = None
        self._on_message: OnMessage | None = None
        self._read_ns = NEVER_NS
        """The instant at which the packets are read, if they are not watched."""
        self._due_ns = 0
        """The instant at which the loop calls back."""

    def watch_packets(self) -> None:
        """Store from now on what the checks need to know of each packet."""

    def check_answer(self) -> Iterator[CheckFinding]:
        """Yield the findings about what an open call has agreed."""
        raise NotImplementedError

    def check_media(self) -> Iterator[CheckFinding]:
        """Yield the findings about the packets of a call that has ended."""
        raise NotImplementedError

    now_ns = staticmethod(monotonic_ns)

    def try_send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        raise NotImplementedError

    def receive_until(
        self,
        until_ns: int,
        on_message: OnMessage,
        reply: DeltaListener | None = None,
        sender: PacedSender | None = None,
    ) -> None:
        track = self.track
        self._on_message = on_message
        track.begin(reply)
        try:
            if track.pass_frames(on_message) or self._has_ended():
                return
            if monotonic_ns() >= until_ns:
                self._read_all()
                self._on_due()
                return
            is_watched = track.is_watched

            def due_ns() -> int:
                self._due_ns = min(track.next_ns, self._own_ns(), self._read_ns)
                return self._due_ns

            def on_due() -> bool:
                if not is_watched:
                    self._read(self._due_ns)
                    self._read_ns = track.next_read_ns(None if sender is None else sender.due_ns)
                return self._on_due()

            if self._closed is not None:
                return
            if not is_watched:
                packet_ns = None if sender is None else sender.due_ns
                self._read_ns = min(self._read_ns, track.next_read_ns(packet_ns))
            plain = None if sender is None else sender.plain
            self._listener.listen(
                until_ns,
                self._on_readable,
                due_ns,
                on_due,
                None if is_watched else track.rtp,
                sender=sender,
                send=None if plain is None else self._sending(plain),
                polled=self._is_polled,
            )
        finally:
            self._on_message = None
            track.end()

    def _own_ns(self) -> int:
        """Return the instant of the next work that is not the track's."""
        raise NotImplementedError

    def _read(self, due_ns: int = 0) -> None:
        """Read the packets. `due_ns` is that of `RtpTrack.read_audio`."""
        self.track.read_audio(due_ns)

    def _read_all(self) -> None:
        """Read all sockets."""
        self._read()

    def _on_readable(self, sock: Any) -> bool:
        """Read a socket. Return True if the session must act."""
        raise NotImplementedError

    def _on_due(self) -> bool:
        """Do what is due. Return True if the session must act."""
        raise NotImplementedError

    def _has_ended(self) -> bool:
        """Note the end of the call. Return True if the call has ended."""
        raise NotImplementedError

    def _sending(self, plain: ChunkSender) -> Callable[[], int]:
        """Return the function that sends the plain chunks that are due, until the session wakes."""
        return partial(plain.send_by, self.track.frame_sender(self.try_send))

    def handled_ns(self) -> int:
        return monotonic_ns() - self.track.held_ns

    def flush(self) -> SendReceipt | None:
        return None  # `try_send` leaves nothing over; it fails only after the end of the call

    def transmitted(self) -> list[Transmitted]:
        return []

    @property
    def closed(self) -> ConnectionClosed | None:
        return None if self.track.frames or self.track.deltas else self._closed

    @property
    def watermark_ns(self) -> int:
        return self.track.drained_ns

    def add_template(
        self,
        message: ReceivedMessage,
        event: ServerEvent,
        *,
        is_sound: bool = False,
        keeps_text: bool = False,
    ) -> None:
        if is_sound:
            self.track.add_template(message, event)

    def take_deltas(self) -> list[MatchedDelta]:
        return self.track.take_deltas()
