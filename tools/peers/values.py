"""The values of a run against a capture of its packets."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.catalogue.metrics import CATALOGUE
from bench.protocols.rtp.opus_packets import DELAY_NS
from bench.protocols.rtp.rtp import G722_DELAY_NS
from bench.record.folder import read_table
from bench.record.validity_data import row_bounds
from tools.peers.capture import Captured, RtpSeen
from tools.peers.peers import Peer
from tools.peers.sound import (
    G722_TYPE,
    NS_PER_MS,
    NS_PER_S,
    OPUS,
    OPUS_HZ,
    WIDE_HZ,
    Sound,
    heard,
    sounds,
)

RTP_PORTS = range(20_000, 20_300)
"""The ports of the caller. No agent uses them."""
JITTER_BUFFER_NS = 50 * NS_PER_MS
"""The delay that the script's player adds to each reply."""
FRAME_NS = 20 * NS_PER_MS
"""The duration of the caller's packets. Its speech ends at the end of a packet."""
LOUD = 1_000
"""The sample from which the caller's speech is no decay of its end."""
DELAYS_NS = {OPUS: DELAY_NS, G722_TYPE: G722_DELAY_NS}
"""The delay of decoded audio, by the payload type."""
TRUE_TO_NS = 250_000
"""How exact the truth is."""


REQUEST_NS = 5 * NS_PER_MS
"""The maximum time that the load generator needs to write and send the first packet of a call."""


class Value(NamedTuple):
    """A reported value and its error against the capture, in ns. `end_error_ns` is that of the end
    of speech.

    The error is 0 if a player that smooths jitter may play the reply at the reported instant.
    """

    error_ns: int
    bound_ns: int
    end_error_ns: int | None
    is_clean: bool
    """True if the jitter before the reply is so small that the reply is played when it arrives."""

    @property
    def is_beyond_bound(self) -> bool:
        return not -TRUE_TO_NS <= self.error_ns <= self.bound_ns + TRUE_TO_NS


class Results(NamedTuple):
    """The values of one peer. `failed` are the outcomes of its calls and turns that did not
    succeed.
    """

    calls: int
    failed: tuple[str, ...]
    values: tuple[Value, ...]
    unmatched: int = 0
    """The number of values whose reply is not in the capture."""

    @property
    def beyond(self) -> int:
        return sum(value.is_beyond_bound for value in self.values)

    @property
    def clean(self) -> int:
        """The number of values of replies without jitter before them, which have one true
        instant.
        """
        return sum(value.is_clean for value in self.values)

    @property
    def median_error_ms(self) -> float | None:
        errors = [abs(value.error_ns) / NS_PER_MS for value in self.values]
        return statistics.median(errors) if errors else None


def nearest(instants: Iterable[int], at_ns: int) -> int | None:
    return min(instants, key=lambda each: abs(each - at_ns), default=None)


class Call(NamedTuple):
    """What a capture has of one call."""

    port: int
    sent: Sequence[RtpSeen]
    speech_ends: Sequence[int]
    """The instants at which the last packet of each utterance of the caller was sent."""
    replies: Sequence[Sound]


def compared(
    run: Path, captured: Captured, keys: Sequence[bytes], peer: Peer, port: int
) -> Results:
    """Return the values of a run, whose calls have RTP_PORTS and reach the agent at a port."""
    session_rows, turn_rows = read_table(run, "sessions"), read_table(run, "turns")
    sessions, turns = session_rows.to_pylist(), turn_rows.to_pylist()
    failed = [
        row["outcome"] for row in (*sessions, *turns) if row["outcome"] not in ("ok", "interrupted")
    ]
    if peer.is_echo:
        return Results(len(sessions), tuple(failed), ())
    sent: dict[tuple[int, int], list[RtpSeen]] = {}
    for packet in captured.packets:
        if packet.source_port in RTP_PORTS:
            sent.setdefault((packet.source_port, packet.ssrc), []).append(packet)
    opus_hz = WIDE_HZ if "sip" in peer.options else OPUS_HZ
    calls = {
        session["session_id"]: _call(session, sent, captured, keys, opus_hz)
        for session in sessions
        if sent
    }
    by_id = {session["session_id"]: session for session in sessions}
    ids = session_rows["session_id"].to_pylist()
    greetings_ms = dict(zip(ids, row_bounds(session_rows, CATALOGUE["greeting"]), strict=True))
    values, unmatched = list[Value](), 0
    for row, bound_ms in zip(
        turns, row_bounds(turn_rows, CATALOGUE["voice_to_voice"]), strict=True
    ):
        if row["first_audible_at_ns"] is None:
            continue
        call_id = row["session_id"]
        is_greeting = row["speech_end_at_ns"] is None
        value = _value(
            row,
            by_id[call_id],
            calls[call_id],
            captured.connects.get(port, ()),
            float(greetings_ms[call_id] if is_greeting else bound_ms),
        )
        unmatched += value is None
        values += [] if value is None else [value]
    return Results(len(sessions), tuple(failed), tuple(values), unmatched)


def _call(
    session: dict[str, Any],
    sent: dict[tuple[int, int], list[RtpSeen]],
    captured: Captured,
    keys: Sequence[bytes],
    opus_hz: int,
) -> Call:
    """Return the call of a session: the one that started with it, and sent as many packets."""
    opened_ns = session["start_utc_ns"] + session["opened_at_ns"]
    (port, _), own = min(
        sent.items(),
        key=lambda each: (
            abs(each[1][0].at_ns - opened_ns) > NS_PER_S,
            abs(len(each[1]) - session["rtp_sent"]),
            abs(each[1][0].at_ns - opened_ns),
        ),
    )
    from_ns, until_ns = own[0].at_ns - NS_PER_S, own[-1].at_ns + NS_PER_S
    received = heard(
        (
            each
            for each in captured.packets
            if each.destination_port == port and from_ns <= each.at_ns <= until_ns
        ),
        keys,
        opus_hz,
    )
    own_sounds = sounds(heard(own, keys, opus_hz), LOUD)
    delay_ns = DELAYS_NS.get(own[0].datagram[1] & 0x7F, 0)
    ends_ns = [_last_sent(own, sound.end_ns - delay_ns) for sound in own_sounds]
    return Call(port, own, ends_ns, sounds(received))


def _last_sent(own: Sequence[RtpSeen], end_ns: int) -> int:
    """Return when the packet was sent that ends nearest to an instant of the audio."""
    return min((packet.at_ns for packet in own), key=lambda at_ns: abs(at_ns + FRAME_NS - end_ns))


def _start_of_connecting(connects: Sequence[int], from_ns: int) -> int | None:
    """Return the reported start of connecting, if the first packet to the agent follows it;
    otherwise None.

    A greeting is measured from an instant of the load generator, which then writes its request. No
    capture has it.
    """
    first_ns = nearest(connects, from_ns)
    return (
        from_ns
        if first_ns is not None and -TRUE_TO_NS <= first_ns - from_ns <= REQUEST_NS
        else None
    )


def _value(
    row: dict[str, Any],
    session: dict[str, Any],
    call: Call,
    connects: Sequence[int],
    bound_ms: float,
) -> Value | None:
    utc_ns = row["start_utc_ns"]
    reported_ns = utc_ns + row["first_audible_at_ns"] - JITTER_BUFFER_NS
    reply = min(call.replies, key=lambda each: abs(each.start_ns - reported_ns), default=None)
    is_greeting = row["speech_end_at_ns"] is None
    if is_greeting:
        from_ns = session["start_utc_ns"] + session["connect_start_at_ns"]
        true_from_ns = _start_of_connecting(connects, from_ns)
    else:
        from_ns = utc_ns + row["speech_end_at_ns"]
        true_from_ns = nearest(call.speech_ends, from_ns)
    if reply is None or true_from_ns is None or math.isnan(bound_ms):
        return None
    bound_ns = round(bound_ms * NS_PER_MS)
    value_ns = reported_ns - from_ns
    latest_ns, earliest_ns = (at_ns - true_from_ns for at_ns in (reply.start_ns, reply.clock_ns))
    error_ns = value_ns - latest_ns
    if not reply.is_clean:
        error_ns = value_ns - min(max(value_ns, earliest_ns), latest_ns)
    return Value(
        error_ns, bound_ns, None if is_greeting else from_ns - true_from_ns, reply.is_clean
    )


def lines(results: Results) -> Iterator[str]:
    """Yield what is printed about the values that are beyond their bounds."""
    for value in results.values:
        if value.is_beyond_bound:
            yield (
                f"    {value.error_ns / NS_PER_MS:+.2f} ms, bound"
                f" {value.bound_ns / NS_PER_MS:.2f} ms"
            )
