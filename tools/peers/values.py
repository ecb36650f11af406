"""The values of a run against a capture of its packets."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.record.folder import read_table
from bench.wire.audio import G711_ULAW
from tools.peers.capture import Captured, RtpSeen
from tools.peers.peers import Peer

NS_PER_MS, NS_PER_S = 1_000_000, 1_000_000_000
RTP_PORTS = range(20_000, 20_300)
"""The ports of the caller. No agent uses them."""
JITTER_BUFFER_NS = 50 * NS_PER_MS
"""The delay that the script's player adds to each reply."""
PACKET_NS, PAUSE_NS = 20 * NS_PER_MS, 200 * NS_PER_MS
"""The time without audio before a reply."""
BEFORE, AFTER = 50, 3
"""The numbers of packets before the first one of a reply, and from it on, whose fastest one determines its instant.

A listener does not wait longer than for these. Without packets before a reply, only the ones from it on count. A
telephone hears a packet when it arrives: some senders begin a stream with several packets at once."""
LOUD_BYTES = 12 + 10 + 20
"""The size of an Opus packet, with the header of RTP and the tag of SRTP, from which it is no silence."""
LOUD = 1_000
"""The sample of G.711 from which it is no silence."""
TRUE_TO_NS, OPUS_TRUE_TO_NS = 250_000, 3_250_000
"""How exact the truth is. Opus smears a loud start over half of its delay of 6.5 ms."""


class Value(NamedTuple):
    """A reported value and its error against the capture, in ns. `end_error_ns` is that of the end of speech.

    With Opus, the error is the difference from the median of the run.
    """

    error_ns: int
    bound_ns: int
    end_error_ns: int | None
    true_to_ns: int

    @property
    def is_beyond_bound(self) -> bool:
        return abs(self.error_ns) > self.bound_ns + self.true_to_ns


class Results(NamedTuple):
    """The values of one peer. `failed` are the outcomes of its calls and turns that did not succeed."""

    calls: int
    failed: tuple[str, ...]
    values: tuple[Value, ...]
    unmatched: int = 0
    """The number of values whose reply is not in the capture."""

    @property
    def beyond(self) -> int:
        return sum(value.is_beyond_bound for value in self.values)

    @property
    def median_error_ms(self) -> float | None:
        errors = [abs(value.error_ns) / NS_PER_MS for value in self.values]
        return statistics.median(errors) if errors else None


def reply_starts(packets: Sequence[RtpSeen], peer: Peer) -> list[int]:
    """Return the instants at which the replies in a stream begin (UTC), by its fastest packets.

    With Opus it is that of a packet, which is encrypted: the sound in it begins later, by an unknown time that is the
    same in all replies of an agent.
    """
    starts, last_loud_ns, clock_hz = [], -PAUSE_NS, 48_000 if peer.has_opus else 8_000
    for number, packet in enumerate(packets):
        position = _loud_position(packet, peer)
        if position is None:
            continue
        if packet.at_ns - last_loud_ns >= PAUSE_NS:
            before, after = (0 if peer.onset == "pause" else BEFORE), (1 if peer.onset == "loud" else AFTER)
            near = packets[max(0, number - before) : number + after]
            fastest_ns = min(
                each.at_ns - _media_ns(packet, each, clock_hz) for each in near if each.ssrc == packet.ssrc
            )
            starts.append(fastest_ns + position * NS_PER_S // clock_hz)
        last_loud_ns = packet.at_ns
    return starts


def _loud_position(packet: RtpSeen, peer: Peer) -> int | None:
    """Return the number of samples before the sound in a packet; None if it has none."""
    if peer.onset == "size":
        return 0 if packet.size >= LOUD_BYTES else None
    if peer.onset == "pause":
        return 0
    loud = np.abs(G711_ULAW.decode(packet.payload).astype(np.int32)) > LOUD
    return int(loud.argmax()) if loud.any() else None


def _media_ns(first: RtpSeen, later: RtpSeen, clock_hz: int) -> int:
    ticks = (later.timestamp - first.timestamp + (1 << 31)) % (1 << 32) - (1 << 31)
    return ticks * NS_PER_S // clock_hz


def nearest(instants: Iterable[int], at_ns: int) -> int | None:
    return min(instants, key=lambda each: abs(each - at_ns), default=None)


def compared(run: Path, captured: Captured, peer: Peer, port: int) -> Results:
    """Return the values of a run, whose calls have RTP_PORTS and reach the agent at a port."""
    sessions = {row["session_id"]: row for row in read_table(run, "sessions").to_pylist()}
    turns = read_table(run, "turns").to_pylist()
    failed = [row["outcome"] for row in (*sessions.values(), *turns) if row["outcome"] not in ("ok", "interrupted")]
    if peer.onset == "echo":
        return Results(len(sessions), tuple(failed), ())
    sent: dict[tuple[int, int], list[RtpSeen]] = {}
    for packet in captured.packets:
        if packet.source_port in RTP_PORTS:
            sent.setdefault((packet.source_port, packet.ssrc), []).append(packet)
    values, unmatched = list[Value](), 0
    for row in turns:
        if row["first_audible_at_ns"] is None:
            continue
        value = _value(row, sessions[row["session_id"]], sent, captured, peer, port)
        unmatched += value is None
        values += [] if value is None else [value]
    if peer.has_opus and values:
        middle_ns = int(statistics.median(value.error_ns for value in values))
        chunk_ns = peer.chunk_ms * NS_PER_MS
        values = [value._replace(error_ns=_folded(value.error_ns - middle_ns, chunk_ns)) for value in values]
    return Results(len(sessions), tuple(failed), tuple(values), unmatched)


def _folded(error_ns: int, chunk_ns: int) -> int:
    """Return an error without the chunk by which a reply starts later in its packet, which a capture does not show."""
    if chunk_ns >= PACKET_NS or abs(error_ns) > PACKET_NS:
        return error_ns
    return error_ns - round(error_ns / chunk_ns) * chunk_ns


def _value(
    row: dict[str, Any],
    session: dict[str, Any],
    sent: dict[tuple[int, int], list[RtpSeen]],
    captured: Captured,
    peer: Peer,
    port: int,
) -> Value | None:
    utc_ns = row["start_utc_ns"]
    opened_ns = session["start_utc_ns"] + session["opened_at_ns"]
    (own_port, _), own = min(
        sent.items(),
        key=lambda each: (
            abs(each[1][0].at_ns - opened_ns) > NS_PER_S,
            abs(len(each[1]) - session["rtp_sent"]),
            abs(each[1][0].at_ns - opened_ns),
        ),
    )
    until_ns = own[-1].at_ns + NS_PER_S
    received = [
        each
        for each in captured.packets
        if each.destination_port == own_port and own[0].at_ns - NS_PER_S <= each.at_ns <= until_ns
    ]
    reported_ns = utc_ns + row["first_audible_at_ns"] - JITTER_BUFFER_NS
    start_ns = nearest(reply_starts(received, peer), reported_ns)
    if start_ns is None:
        return None
    is_greeting = row["speech_end_at_ns"] is None
    if is_greeting:
        from_ns = session["start_utc_ns"] + session["connect_start_at_ns"]
        true_from_ns = nearest(captured.connects.get(port, ()), from_ns)
        bound_ns = session["greeting_audible_uncertainty_ns"]
    else:
        from_ns = utc_ns + row["speech_end_at_ns"]
        true_from_ns = nearest((each.at_ns for each in own), from_ns)
        bound_ns = row["first_audible_uncertainty_ns"]
    if true_from_ns is None or bound_ns is None:
        return None
    true_to_ns = OPUS_TRUE_TO_NS if peer.has_opus else TRUE_TO_NS
    error_ns = (reported_ns - from_ns) - (start_ns - true_from_ns)
    return Value(error_ns, bound_ns, None if is_greeting else from_ns - true_from_ns, true_to_ns)


def lines(results: Results) -> Iterator[str]:
    """Yield what is printed about the values that are beyond their bounds."""
    for value in results.values:
        if value.is_beyond_bound:
            yield f"    {value.error_ns / NS_PER_MS:+.2f} ms, bound {value.bound_ns / NS_PER_MS:.2f} ms"
