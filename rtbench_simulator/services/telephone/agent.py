"""The agents of the simulator's telephone calls: RTP and RTCP of each call, and the audio before
its answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import cycle, repeat
from random import Random, SystemRandom
from typing import Protocol

import numpy as np

from bench.base.clock import monotonic_ns
from bench.base.units import NEVER_NS, NS_PER_MS
from bench.protocols.call_media import KeyReceiver
from bench.protocols.rtp.rtp import (
    CODECS,
    LAWS,
    Codec,
    RtpReceiver,
    RtpSender,
    StreamNumbers,
    codec_of_call,
)
from bench.protocols.rtp.srtp import PacketEncryption
from bench.protocols.sdp.offer_answer import AgreedMedia
from bench.protocols.sip.answer_plan import AnswerPlan, PlannedRequest
from bench.wire.addresses import HostPort
from bench.wire.audio import AudioFormat
from rtbench_simulator.faults.kinds import Fault
from rtbench_simulator.server_events import ArrivalSpan
from rtbench_simulator.services.agents import FRAME_MS, FULL_SCALE, AgentBehaviour, TelephoneWire
from rtbench_simulator.services.telephone.call_audio import CallAudio
from rtbench_simulator.services.telephone.call_faults import (
    SILENCE,
    CallFaults,
    duration_ns_of,
    ends_silently,
    reason_of,
)
from rtbench_simulator.serving.datagram_socket import DatagramSocket
from rtbench_simulator.serving.service import ServerState
from rtbench_simulator.simulated_session import SessionParts

TONE_HZ = 425
ON_MS = 1_000
PERIOD_MS = 5_000
"""The ring tone of most countries of Europe (ETSI TR 101 041-2): 1 s on, 4 s off."""
AMPLITUDE = 0.1 * FULL_SCALE


def silent_frames(audio: AudioFormat) -> Iterator[bytes]:
    """Return frames of silence without end."""
    return repeat(audio.encode(np.zeros(audio.rate_hz * FRAME_MS // 1000, np.int16)))


def ring_frames(audio: AudioFormat) -> Iterator[bytes]:
    """Return the frames of a ring tone without end."""
    return cycle(_ring_period(audio))


@cache
def _ring_period(audio: AudioFormat) -> tuple[bytes, ...]:
    at_s = np.arange(audio.rate_hz * PERIOD_MS // 1000) / audio.rate_hz
    tone = AMPLITUDE * np.sin(2 * np.pi * TONE_HZ * at_s) * (at_s < ON_MS / 1000)
    size = audio.rate_hz * FRAME_MS // 1000
    return tuple(audio.encode(frame) for frame in tone.astype(np.int16).reshape(-1, size))


RTP_PORTS = range(10_000, 16_384, 2)
"""The ports of the simulator's RTP. A caller on the same machine uses other ports by default."""


@dataclass(slots=True)
class UnansweredCall:
    """A call that is not answered yet, and its sockets. `early` is the audio that is sent before
    the answer.
    """

    plan: AnswerPlan
    faults: CallFaults
    rtp: DatagramSocket
    rtcp: DatagramSocket
    early: EarlyAudio | None = None

    def close(self) -> None:
        if self.early is not None:
            self.early.close()
        self.rtp.close()
        self.rtcp.close()


class Line(Protocol):
    """What an agent may do with its call on the line."""

    def hang_up(self, call_id: str, reason: str) -> None:
        """End a call with BYE."""

    def vanish(self, call_id: str) -> None:
        """End a call without a message, and close its agent."""

    def request(self, call_id: str, *requests: PlannedRequest) -> None:
        """Send further requests in a call."""


class MediaParty(Protocol):
    """The agent's side of a call, as its audio needs it."""

    @property
    def media(self) -> AgreedMedia | None:
        """The audio that was agreed last."""

    def audio_address(self, named: HostPort) -> HostPort:
        """Return the address to which RTP or RTCP is sent."""

    def move_media(self, port: int) -> None:
        """Name another port of RTP from the next offer or answer on."""


# An agent is a behaviour (`AgentBehaviour`), which knows only audio, and this shell around it: the
# packets (`CallAudio`), and their faults. `send_due` passes each due frame through the faults, then
# into the path, and sends what leaves the path now.
#
# Frames are due by the clock of the behaviour, not one after the other, so a late loop sends
# several at once and the stream stays in time.
class TelephoneAgent:
    """The agent of one answered call."""

    def __init__(
        self,
        shared: ServerState,
        line: Line,
        call_id: str,
        party: MediaParty,
        planned: UnansweredCall,
        dropped: Counter[str],
        behaviour: Callable[[TelephoneWire, SessionParts], AgentBehaviour] = AgentBehaviour,
    ) -> None:
        assert party.media is not None, "the call is answered"
        self._party = party
        self._line = line
        self._call_id = call_id
        self._shared = shared
        media = party.media
        self._use(media)
        self._faults = planned.faults
        self._sends_rtp = planned.rtp
        self._sends_rtcp = planned.rtcp
        self._host = planned.rtp.address[0]
        self._sockets = list[DatagramSocket]()
        self._silent_until_ns = self._deaf_until_ns = 0
        """The instants until which faults stop each direction."""
        self._vanishes = False
        codec = self._codec = codec_of(media)
        self._behaviour = behaviour(TelephoneWire(codec.audio.name), shared.next_session())
        self.session_id = self._behaviour.ids.session
        random = Random(self.session_id)
        numbers = StreamNumbers.drawn(random.getrandbits)
        audio = self._audio = CallAudio(
            shared,
            RtpSender(codec, media.send_payload_type, numbers),
            RtpReceiver(
                codec.clock_hz, dict(media.receive_codecs), media.receive_event_payload_type
            ),
            PacketEncryption(media.send_key, media.receive_key),
            f"{random.getrandbits(48):012x}@rtbench-simulate",
            random,
        )
        self._keys = KeyReceiver()
        self._dropped = dropped
        audio.begin(self.session_id, self._behaviour.further_rngs(2), dropped)
        now_ns = monotonic_ns()
        audio.begin_reports(now_ns)
        self._behaviour.open(now_ns)
        self._listen(planned.rtp, planned.rtcp)
        if self._faults.has_other_port:
            self._sends_rtp = DatagramSocket(self._host)
            self._sockets.append(self._sends_rtp)
        if planned.early is not None:
            planned.early.close()
        self._plan_next()

    def _use(self, media: AgreedMedia) -> None:
        self._media = media
        self._peer, self._peer_rtcp = map(self._party.audio_address, (media.peer, media.peer_rtcp))

    def _listen(self, rtp: DatagramSocket, rtcp: DatagramSocket) -> None:
        self._sockets += rtp, rtcp
        self._shared.loop.add_reader(rtp, self._read, rtp)
        self._shared.loop.add_reader(rtcp, self._read_rtcp, rtcp)

    def answered(self, now_ns: int) -> None:
        """Inject the faults of a call that was answered."""
        self._inject(self._faults.answered(self.session_id, now_ns), now_ns)
        if self._vanishes:
            self._line.vanish(self._call_id)

    def _inject(self, faults: Iterator[Fault], at_ns: int) -> set[str]:
        """Inject faults, and return the kinds of those that happen to the packet at this
        instant.
        """
        kinds = set[str]()
        for fault in faults:
            until_ns = at_ns + duration_ns_of(fault)
            if fault.kind == "freeze":
                self._shared.freeze(fault.duration_s or 0.0)
            elif fault.kind == "hang":
                self._silent_until_ns = self._deaf_until_ns = until_ns
            elif fault.kind == "hold":
                self._silent_until_ns = until_ns
                resume = PlannedRequest(until_ns - at_ns, "INVITE", "sendrecv")
                self._line.request(self._call_id, PlannedRequest(0, "INVITE", "sendonly"), resume)
            elif fault.kind == "new_port":
                self._move()
            elif ends_silently(fault):
                self._vanishes = True
                break
            elif fault.kind == "close":
                self._silent_until_ns = NEVER_NS
                self._audio.send(at_ns, self._sends_rtp, self._peer)
                self._line.hang_up(self._call_id, reason_of(fault))
            else:
                kinds.add(fault.kind)
        if self._faults.is_one_way:
            kinds.add("drop")
        return kinds

    def _move(self) -> None:
        """Send from new ports, which a re-INVITE names."""
        try:
            self._sends_rtp, self._sends_rtcp = DatagramSocket.pair(self._host, RTP_PORTS)
        except OSError:  # no ports are free
            return
        self._party.move_media(self._sends_rtp.address[1])
        self._line.request(self._call_id, PlannedRequest(0, "INVITE", "sendrecv"))
        self._listen(self._sends_rtp, self._sends_rtcp)

    def follow_media(self) -> None:
        """Use the addresses, the payload types and the SRTP keys of the last agreement. The
        codec does not change.
        """
        if (media := self._party.media) is None or media is self._media:
            return
        self._use(media)
        audio = self._audio
        audio.sender.payload_type = media.send_payload_type
        audio.receiver.accept(dict(media.receive_codecs), media.receive_event_payload_type)
        audio.encryption.use(media.send_key, media.receive_key)

    def _read(self, sock: DatagramSocket) -> None:
        truth = self._shared.config.truth
        path = self._audio.path
        for data, _, arrival in sock.receive():
            if (path and path.drops_received()) or arrival.at_ns < self._deaf_until_ns:
                continue
            packet = self._audio.received(data, arrival)
            if packet is None:
                continue
            if packet.kind == "event":
                if not (key := self._keys.receive(packet)):
                    continue
                received = self._behaviour.receive({"type": "dtmf", "digit": key}, arrival.at_ns)
            elif packet.kind == "audio":
                decode = self._codec.decode
                audio = packet.payload if decode is None else decode(packet.payload)
                received = self._behaviour.receive_binary(audio, arrival.at_ns)
            else:
                continue
            if truth:
                truth.received(
                    self.session_id,
                    received,
                    ArrivalSpan(arrival.at_ns, arrival.at_ns, arrival.is_kernel),
                )
        self.send_due(monotonic_ns())

    def _read_rtcp(self, sock: DatagramSocket) -> None:
        for data, _, arrival in sock.receive():
            self._audio.received_report(data, arrival.at_ns)

    def send_due(self, now_ns: int) -> None:
        """Send the due frames."""
        audio = self._audio
        for event in self._behaviour.due(now_ns):
            kinds = self._inject(self._faults.of_frame(event, now_ns), event.due_ns)
            if self._vanishes:
                break
            # On hold and while a fault silences the agent, media time passes without packets.
            if event.due_ns < self._silent_until_ns or not self._media.sends:
                audio.hold(*audio.encoded(event), now_ns)
            else:
                audio.add(*audio.encoded(event), now_ns, kinds)
        # a late loop sends what was due before the fault, too
        audio.send(now_ns, self._sends_rtp, self._peer)
        if self._vanishes:
            self._line.vanish(self._call_id)
            return
        if audio.report_ns <= now_ns:
            self._report(now_ns)
        self._plan_next()

    def _report(self, now_ns: int, *, goodbye: bool = False) -> None:
        self._sends_rtcp.send(self._audio.report(now_ns, goodbye=goodbye), self._peer_rtcp)

    def _plan_next(self) -> None:
        due_ns = self._audio.next_ns
        if (agent_ns := self._behaviour.next_due_ns()) is not None:
            due_ns = min(due_ns, agent_ns)
        self._shared.plan(self, due_ns)

    def close(self, *, goodbye: bool = True) -> None:
        if goodbye:
            self._report(monotonic_ns(), goodbye=True)
        self._shared.plan(self, None)
        for sock in self._sockets:
            self._shared.loop.remove_reader(sock)
            self._dropped["received"] += sock.dropped
            sock.close()
        self._behaviour.end()


def codec_of(media: AgreedMedia) -> Codec:
    """Return the codec of a call. An agent with G.711 has audio in that format."""
    law = LAWS.get(media.codec)
    if law is None:
        return codec_of_call(media.codec)
    return replace(CODECS[media.codec], encode=None, decode=None, audio=law)


class EarlyAudio:
    """The audio of a call before its answer, as a stream of its own."""

    def __init__(
        self, shared: ServerState, media: AgreedMedia, peer: HostPort, planned: UnansweredCall
    ) -> None:
        self._shared = shared
        self._rtp = planned.rtp
        self._peer = peer
        codec = codec_of(media)
        self._encode = codec.encode
        numbers = StreamNumbers.drawn(SystemRandom().getrandbits)
        self._sender = RtpSender(codec, media.send_payload_type, numbers)
        self._encryption = PacketEncryption(media.send_key, media.receive_key)
        self._frames = (
            silent_frames(codec.audio)
            if planned.faults.early_audio == SILENCE
            else ring_frames(codec.audio)
        )
        self._due_ns = monotonic_ns()
        shared.plan(self, self._due_ns)

    def send_due(self, now_ns: int) -> None:
        while self._due_ns <= now_ns:
            frame = next(self._frames)
            payload = frame if self._encode is None else self._encode(frame)
            self._rtp.send(self._encryption.protect(self._sender.audio(payload)), self._peer)
            self._due_ns += FRAME_MS * NS_PER_MS
        self._shared.plan(self, self._due_ns)

    def close(self) -> None:
        self._shared.plan(self, None)
