"""The ground truth of calls with a track of audio: when each reply starts, as a telephone plays it.

A telephone plays a frame when its packet arrives. On loopback, the kernel timestamps the arrival
during the send call, of which the simulator logs the start and the end. So a busy host, on which
the simulator sends late, changes no error.

A path with jitter is smoothed: then a telephone plays a frame at its media time, after the delay of
the fastest packets of the call. The simulator's media time is the instant at which a frame is due.
The simulator may send every packet late, and this lateness is part of the delay. The random delays
of the simulated path are no part of it, because the shortest of them is 0. If the simulator itself
sends irregularly, that is jitter, too, and either is true.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.protocols.call_media import HOLD_NS
from bench.record.folder import read_table
from rtbench_simulator.ground_truth_log import read_truth

JITTER_BUFFER_NS = 50 * NS_PER_MS
"""The delay that the script's player adds to each reply."""
MAX_BOUND_NS = 20 * NS_PER_MS
"""The bound of an instant at the start of a call."""
FRAME_NS = 20 * NS_PER_MS
SAMPLE_NS = NS_PER_S // 8_000
MAX_LATE_NS = HOLD_NS - MAX_BOUND_NS
"""The maximum lateness of the simulator before a reply that has a truth.

If the simulator was stopped for longer, frames arrived after the end of their time in the buffer,
and the caller heard silence instead. So the caller heard other sounds than the simulator played.
"""
NEAR_NS = NS_PER_S
"""The time after the start of a reply in which frames still determine where its sound starts."""
STOPPED = "the simulator was stopped in all calls: the host is too loaded"
TRUE_TO_NS = 2 * SAMPLE_NS
"""The maximum error of the truth itself."""


class Start(NamedTuple):
    """The start of an utterance: the first and the last instant at which its packet may have
    arrived, and its clock.

    All contain the position of the sound in the packet. With random delays of the path, only the
    clock is true.
    """

    earliest_ns: int
    latest_ns: int
    clock_ns: int
    is_smoothed: bool

    def error_ns(self, at_ns: int) -> int:
        """Return the error of a reported instant."""
        of_clock_ns = at_ns - self.clock_ns
        if self.is_smoothed:
            return of_clock_ns
        of_arrival_ns = at_ns - min(max(at_ns, self.earliest_ns), self.latest_ns)
        return min(of_arrival_ns, of_clock_ns, key=abs)


class ReplyStart(NamedTuple):
    """The start of a reply that a run reported: its error (reported − truth), and its reported
    bound.

    `late_ns` is the maximum lateness of the simulator in the call until then.
    """

    error_ns: int
    bound_ns: int
    turn: int
    late_ns: int

    @property
    def has_truth(self) -> bool:
        return self.late_ns <= MAX_LATE_NS

    @property
    def is_beyond_bound(self) -> bool:
        return self.has_truth and abs(self.error_ns) > self.bound_ns + TRUE_TO_NS


def packets_of(lines: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the packets of each call in the order in which they were sent.

    The key is the Call-ID of a telephone call, and the id of the session of a call over WebRTC.
    """
    call_of: dict[str, str] = {}
    packets: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        if line.get("direction") == "open":
            call_of[line["session"]] = line["call_id"]
        elif line.get("type") == "audio" and line.get("direction") == "out":
            packets.setdefault(call_of.get(line["session"], line["session"]), []).append(line)
    return packets


def _late_ns(packet: Mapping[str, Any]) -> int:
    """Return how late the simulator sent a packet, without the delay of the simulated path."""
    return int(packet["send_end_ns"] - packet["due_ns"] - packet.get("delay_ns", 0))


def audible_starts(packets: Sequence[Mapping[str, Any]]) -> Iterator[Start]:
    """Yield the starts of the utterances of a call, as its caller hears them.

    A frame is audible if its packet was not dropped and did not arrive after the end of its time in
    the buffer. The caller knows this end only within `MAX_BOUND_NS`. If a packet arrives in this
    time, two instants are possible.
    """
    # (due instant, lateness of the earliest packet so far, packet)
    sent: list[tuple[int, int, Mapping[str, Any]]] = []
    is_smoothed = any(packet.get("delay_ns") for packet in packets)
    earliest_ns = NEVER_NS
    for packet in packets:
        if not packet.get("dropped"):
            earliest_ns = min(earliest_ns, _late_ns(packet))
        sent.append((packet["due_ns"], earliest_ns, packet))
    is_awaited, response = False, None
    # a reordered packet is logged when it is sent
    for due_ns, late_ns, packet in sorted(sent, key=itemgetter(0)):
        is_awaited |= bool(packet.get("utterance")) or packet["response"] != response
        response = packet["response"]
        at_byte = packet.get("audible_at_byte")
        if not is_awaited or at_byte is None or packet.get("dropped"):
            continue
        in_buffer_ns = due_ns + late_ns + HOLD_NS - packet["send_end_ns"]
        if in_buffer_ns >= -MAX_BOUND_NS:
            in_packet_ns = at_byte * FRAME_NS // packet["audio_bytes"]
            earliest_ns, latest_ns = (
                packet["send_start_ns"] + in_packet_ns,
                packet["send_end_ns"] + in_packet_ns,
            )
            yield Start(earliest_ns, latest_ns, due_ns + late_ns + in_packet_ns, is_smoothed)
            is_awaited = in_buffer_ns < 0


def reply_starts(run: Path, truth: Path) -> list[ReplyStart]:
    """Return the start of each measured reply of a run, with its error against the nearest start
    of the same call.
    """
    packets = packets_of(read_truth(truth))
    starts = {call: list(audible_starts(sent)) for call, sent in packets.items()}
    sessions = {row["session_id"]: row for row in read_table(run, "sessions").to_pylist()}
    replies = []
    for row in read_table(run, "turns").to_pylist():
        if row["first_audible_at_ns"] is None:
            continue
        at_ns = row["start_ns"] + row["first_audible_at_ns"] - JITTER_BUFFER_NS
        session = sessions[row["session_id"]]
        call = (
            session["request_id"]
            if session["request_id"] in packets
            else session["service_session_id"]
        )
        if call not in packets:  # a session without a track
            continue
        error_ns = min((start.error_ns(at_ns) for start in starts[call]), key=abs)
        bound_ns = row["first_audible_uncertainty_ns"]
        # later packets of the call bound the greeting, if the call measures it
        if row["measured_from"] is None:
            bound_ns = session["greeting_audible_uncertainty_ns"]
            if bound_ns is None:
                continue
        near = (packet for packet in packets[call] if packet["due_ns"] <= at_ns + NEAR_NS)
        late_ns = max(_late_ns(packet) for packet in near if not packet.get("dropped"))
        replies.append(ReplyStart(error_ns, bound_ns, row["turn"], late_ns))
    return replies
