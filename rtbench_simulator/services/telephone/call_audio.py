"""The audio of one simulated call in RTP: what its packets have in both directions, and when they
leave. Calls over WebRTC use it, too.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from random import Random

import numpy as np
from msgspec import structs

from bench.base.clock import Arrival, monotonic_ns, utc_ns
from bench.base.units import NEVER_NS, NS_PER_S
from bench.protocols.rtp.rtcp import RtcpSession, report_delay_ns
from bench.protocols.rtp.rtp import TIMESTAMPS, ReceivedPacket, RtpReceiver, RtpSender
from bench.protocols.rtp.srtp import PacketEncryption
from bench.wire.addresses import HostPort
from rtbench_simulator.server_events import OutgoingEvent
from rtbench_simulator.services.telephone.call_faults import PacketPath, PathPacket
from rtbench_simulator.serving.datagram_socket import DatagramSocket
from rtbench_simulator.serving.service import ServerState


# A frame becomes a packet when it is due (`add`), and leaves when the simulated path lets it go
# (`send`). Timestamps follow the due instants, and not the number of frames: they also count the
# silence between two utterances (RFC 3550 §5.1).
class CallAudio:
    """The packets of one call, their encryption, and its reports. `path` is the simulated network;
    None until the session begins.
    """

    def __init__(
        self,
        shared: ServerState,
        sender: RtpSender,
        receiver: RtpReceiver,
        encryption: PacketEncryption,
        cname: str,
        random: Random,
    ) -> None:
        self._shared = shared
        self.sender = sender
        self.receiver = receiver
        self.encryption = encryption
        now_ns = monotonic_ns()
        self._rtcp = RtcpSession(sender, receiver, cname, utc_ns() - now_ns)
        self._random = random
        self.report_ns = NEVER_NS
        """The instant of the next RTCP report; `NEVER_NS` until the reports begin."""
        self.session_id = ""
        """The id of the session; "" until it begins."""
        self.path: PacketPath | None = None
        self._first_due_ns: int | None = None
        """The instant of the first frame, at which media time starts."""
        self._sent_ticks = 0
        """The media time at the end of the last frame."""
        self._carried_byte: int | None = None
        """The offset of the first audible sample in the next frame, if the codec moves it into
        that one."""

    def begin(
        self, session_id: str, rngs: Sequence[np.random.Generator], dropped: Counter[str]
    ) -> None:
        """Begin a session, whose path has a random generator for each direction."""
        self.session_id = session_id
        settings = self._shared.config.profile.rtp
        sent_rng, received_rng = rngs
        self.path = PacketPath(settings, sent_rng, received_rng, dropped)

    def begin_reports(self, now_ns: int) -> None:
        self._plan_report(now_ns, is_first=True)

    def _plan_report(self, now_ns: int, *, is_first: bool) -> None:
        self.report_ns = now_ns + report_delay_ns(self._random.random(), is_first=is_first)

    @property
    def next_ns(self) -> int:
        """The instant at which a packet leaves or a report is due. NEVER_NS if there is none."""
        return min(self.report_ns, NEVER_NS if self.path is None else self.path.next_ns)

    # Input

    def received(self, data: bytes, arrival: Arrival) -> ReceivedPacket | None:
        """Return the packet in a datagram; None if it is not of the caller."""
        plain = self.encryption.unprotect(data)
        return None if plain is None else self.receiver.receive(plain, arrival)

    def received_report(self, data: bytes, at_ns: int) -> None:
        if (report := self.encryption.unprotect_report(data)) is not None:
            self._rtcp.receive(report, at_ns)

    # Output

    def encoded(self, event: OutgoingEvent) -> tuple[OutgoingEvent, bytes]:
        """Return the event of a frame, and its payload. The first audible sample is where the codec
        moves it, which delays it.
        """
        codec = self.sender.codec
        if codec.encode is None:
            return event, event.body
        audio = codec.audio
        carried = self._carried_byte
        delay_bytes = codec.delay_ns * audio.rate_hz // NS_PER_S * audio.sample_bytes
        at = None if event.audible_byte is None else event.audible_byte + delay_bytes
        is_next = at is not None and at >= len(event.body)
        self._carried_byte = at - len(event.body) if at is not None and is_next else None
        at = carried if carried is not None or is_next else at
        return structs.replace(event, audible_byte=at), codec.encode(event.body)

    def add(
        self, event: OutgoingEvent, payload: bytes, now_ns: int, faults: Collection[str] = ()
    ) -> None:
        """Send a frame on the path. If it is dropped there, the ground truth has it now.

        `faults` are those of `PacketPath.add`.
        """
        assert self.path is not None, "the session has started"
        self._begin_frame(event, payload)
        packet = self.encryption.protect(self.sender.audio(payload))
        on_path = self.path.add(event, packet, faults)
        if not on_path.copies:
            self._log(on_path, now_ns)

    def hold(self, event: OutgoingEvent, payload: bytes, now_ns: int) -> None:
        """Let the media time of a frame pass without a packet."""
        self._begin_frame(event, payload)
        self.sender.pause(self.sender.codec.ticks(payload))
        self._log(PathPacket(event.due_ns, event, b"", 0), now_ns)

    def _begin_frame(self, event: OutgoingEvent, payload: bytes) -> None:
        if self._first_due_ns is None:
            self._first_due_ns = event.due_ns
        if (silent_ticks := self._silent_ticks(event.due_ns)) > 0:
            self.sender.pause(silent_ticks)
            self._sent_ticks += silent_ticks
        self._sent_ticks += self.sender.codec.ticks(payload)

    def _silent_ticks(self, at_ns: int) -> int:
        """Return the media time from the end of the last frame to an instant. It is negative if the
        frame is longer.

        It counts from the first frame, so that rounding errors do not add up.
        """
        if self._first_due_ns is None:
            return 0
        media_ns = at_ns - self._first_due_ns
        return media_ns * self.sender.codec.clock_hz // NS_PER_S - self._sent_ticks

    def send(self, now_ns: int, socket: DatagramSocket, peer: HostPort) -> None:
        """Send the packets that leave the path now, with their copies. Only the first of them is in
        the ground truth.
        """
        assert self.path is not None, "the session has started"
        for packet in self.path.pop(now_ns):
            sent = socket.send(packet.data, peer)
            if sent is None:
                continue
            for _ in range(1, packet.copies):
                socket.send(packet.data, peer)
            self._shared.lateness.add(sent.at_ns - packet.departure_ns)
            self._log(packet, sent.at_ns, sent.at_ns + sent.width_ns)

    def _log(self, packet: PathPacket, at_ns: int, send_end_ns: int | None = None) -> None:
        """Write a packet to the ground truth. `send_end_ns` is None if it was not sent."""
        if truth := self._shared.config.truth:
            event = structs.replace(packet.event, facts=(packet.event.facts or {}) | packet.facts)
            truth.sent(self.session_id, event, at_ns, send_end_ns, len(packet.data))

    def report(self, now_ns: int, *, goodbye: bool = False) -> bytes:
        """Return an RTCP report, and plan the next one. Its timestamp also counts the silence after
        the last frame.
        """
        timestamp = (self.sender.timestamp + self._silent_ticks(now_ns)) % TIMESTAMPS
        self._plan_report(now_ns, is_first=False)
        return self.encryption.protect_report(self._rtcp.report(now_ns, timestamp, goodbye=goodbye))
