"""Call agents through a relay with jitter, loss and standstills, and compare the counts of packets
with its own log.

`python -m tools.peers.relayed` calls agents whose packets have the marker on the first one of each
utterance, on each one, and on none: the counts must not depend on it. A number is that of the
calls.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from bench.protocols.rtp.offset import MIN_STEP_NS
from bench.record.folder import read_table
from tools.peers import table
from tools.peers.__main__ import made_run, write_script
from tools.peers.peers import PEERS, NotInstalledError, Peer, started
from tools.peers.relay import HOST, NS_PER_MS, CallPath, Relay, Relayed, serve_offers, serve_sip
from tools.peers.table import RelayedRow

AGENTS = ("node-datachannel", "aiortc", "Kamailio with rtpengine that transcodes")
JITTER_MS = (20, 60)
CALLS, CALLERS, SPAWN_RATE = 10, 3, 0.5
PORTS = "21000-21299"
LATE_NS, CLOCK_PACKETS = 60 * NS_PER_MS, 200
"""The delay of the jitter buffer, and the packets whose fastest one shows the clock: 4 s of
audio."""
DRIFT_NS = 800_000
"""How much later the jitter buffer may play than the fastest packet says, for clocks that differ
by 200 ppm."""
SHIFTED_PACKETS = 5
"""The number of successive packets whose common lateness is a change of the agent's clock."""


class Counts(NamedTuple):
    """The packets of a call, those that never came, and those that were too late for the jitter
    buffer.
    """

    expected: int
    lost: int
    late: int
    nearly_late: int = 0
    """The late packets that may be in time: if the buffer plays later by the drift of clocks, and
    because it is not known exactly when the relay sent them."""
    agent_shift_ns: int = 0
    """How late all of `SHIFTED_PACKETS` successive packets of the agent came to the relay, at
    most."""


class RelayedCall(NamedTuple):
    """What was reported about a call, and what the relay did."""

    reported: Counts
    true: Counts
    stall_ns: int

    @property
    def is_comparable(self) -> bool:
        """Whether the agent kept its clock. One that a busy host stops may change it (rtpengine
        by up to a frame), which the jitter buffer follows and the true counts do not.
        """
        return self.true.agent_shift_ns <= MIN_STEP_NS

    @property
    def difference(self) -> int:
        """The larger one of the differences of the counts."""
        too_many = self.reported.late - self.true.late
        return max(
            abs(self.reported.lost - self.true.lost), too_many, -too_many - self.true.nearly_late
        )


def true_counts(path: CallPath, expected: int) -> Counts:
    """Return the counts of a call until its last turn ended, which had this number of packets.

    A packet that the first one has overtaken is late: the audio after it was played already.
    """
    packets = list(path.log)
    first = min(
        (each for each in packets if each.sent_ns is not None), key=lambda each: each.sent_ns or 0
    )
    numbers = [
        (each.sequence_number - first.sequence_number + 0x8000) % 0x10000 - 0x8000
        for each in packets
    ]
    lowest = min(
        number for number, each in zip(numbers, packets, strict=True) if each.sent_ns is not None
    )
    counted = [
        (number, each)
        for number, each in zip(numbers, packets, strict=True)
        if 0 <= number - lowest < expected
    ]
    clock_hz = 48_000 if first.payload_type >= 96 else 8_000

    def media_ns(packet: Relayed) -> int:
        ticks = (packet.timestamp - first.timestamp + (1 << 31)) % (1 << 32) - (1 << 31)
        return ticks * 1_000_000_000 // clock_hz

    arrived = [
        (each.sent_ns - media_ns(each), each.send_start_ns - media_ns(each), each.sent_ns, number)
        for number, each in counted
        if each.sent_ns is not None
    ]
    arrived.sort(key=itemgetter(2))
    ends_ns, starts_ns, _, arrived_numbers = zip(*arrived, strict=True)
    received = sorted((each.received_ns, media_ns(each)) for _, each in counted)
    of_agent_ns = [at_ns - played_ns for at_ns, played_ns in received]
    agent_late_ns = _lateness_ns(of_agent_ns, of_agent_ns)
    # A packet arrives between the start and the end of the call that sends it.
    late, certainly_late = (
        sum(
            number < 0 or each > limit_ns
            for each, number in zip(lateness_ns, arrived_numbers, strict=True)
        )
        for lateness_ns, limit_ns in (
            (_lateness_ns(ends_ns, starts_ns), LATE_NS),
            (_lateness_ns(starts_ns, ends_ns), LATE_NS + DRIFT_NS),
        )
    )
    lost = sum(each.sent_ns is None for _, each in counted)
    agent_shift_ns = max(
        min(agent_late_ns[index : index + SHIFTED_PACKETS])
        for index in range(len(agent_late_ns) - SHIFTED_PACKETS + 1)
    )
    return Counts(len(counted), lost, late, late - certainly_late, agent_shift_ns)


def _lateness_ns(offsets_ns: Sequence[int], of_clock_ns: Sequence[int]) -> list[int]:
    """Return how late each packet is by the clock that the fastest packets before it show. An
    offset is the instant of a packet minus its media time.
    """
    return [
        offset_ns - min(of_clock_ns[max(0, index - CLOCK_PACKETS) : index + 1])
        for index, offset_ns in enumerate(offsets_ns)
    ]


def called(peer: Peer, jitter_ms: int, calls: int) -> tuple[list[RelayedCall], list[CallPath]]:
    """Call an agent through a relay. Raise NotInstalledError if it is not installed."""
    with tempfile.TemporaryDirectory() as name, started(peer) as port:
        folder, relay, url = Path(name), Relay(jitter_ms * NS_PER_MS), peer.url.format(port=port)
        write_script(folder, peer)
        is_sip = url.startswith("sip:")
        own = serve_sip(relay, (HOST, port)) if is_sip else serve_offers(relay, url)
        load = [
            "-u",
            str(min(CALLERS, calls)),
            "--spawn-rate",
            str(SPAWN_RATE),
            "--sessions",
            str(calls),
        ]
        load += ["--rtp-ports", PORTS]
        target = f"sip:agent@{HOST}:{own}" if is_sip else f"http://{HOST}:{own}/"
        rtbench = str(Path(sys.executable).with_name("rtbench"))
        run = made_run(folder, [rtbench, "run", "call.yaml", *load, *peer.options, "--url", target])
        return compared(run, relay.paths), relay.paths


def compared(run: Path, paths: Sequence[CallPath]) -> list[RelayedCall]:
    stalls: dict[str, int] = {}
    for turn in read_table(run, "turns").to_pylist():
        stalls[turn["session_id"]] = stalls.get(turn["session_id"], 0) + (
            turn["stall_duration_ns"] or 0
        )
    sessions: list[dict[str, Any]] = sorted(
        read_table(run, "sessions").to_pylist(),
        key=lambda row: int(row["start_utc_ns"] + row["connect_start_at_ns"]),
    )
    return [
        RelayedCall(
            Counts(row["rtp_expected"], row["rtp_lost"], row["rtp_late"]),
            true_counts(path, row["rtp_expected"]),
            stalls.get(row["session_id"], 0),
        )
        for row, path in zip(sessions, paths, strict=True)
    ]


def row_of(
    peer: Peer, jitter_ms: int, calls: Sequence[RelayedCall], paths: Sequence[CallPath]
) -> RelayedRow:
    markers = [each.has_marker for path in paths for each in path.log]
    marked = (
        "on each packet"
        if all(markers)
        else "on the first packet"
        if any(markers)
        else "on no packet"
    )
    reported, true = ([getattr(call, name) for call in calls] for name in ("reported", "true"))
    return RelayedRow(
        peer.name,
        peer.version(peer.home),
        datetime.now(UTC).date().isoformat(),
        marked,
        jitter_ms,
        len(calls),
        sum(each.expected for each in reported),
        sum(each.lost for each in reported),
        sum(each.lost for each in true),
        sum(each.late for each in reported),
        sum(each.late for each in true),
        max(call.difference for call in calls),
        round(sum(call.stall_ns for call in calls) / NS_PER_MS, 1),
    )


def main() -> None:
    count = next((int(word) for word in sys.argv[1:] if word.isdigit()), CALLS)
    words = [word for word in sys.argv[1:] if not word.isdigit()]
    unequal = 0
    for peer in PEERS:
        if peer.name not in AGENTS or not all(word.lower() in peer.name.lower() for word in words):
            continue
        for jitter_ms in JITTER_MS:
            try:
                calls, paths = called(peer, jitter_ms, count)
            except (NotInstalledError, FileNotFoundError) as error:
                print(f"{peer.name}: not tried: {error}", flush=True)
                break
            unequal += sum(call.is_comparable and call.difference > 1 for call in calls)
            row = row_of(peer, jitter_ms, calls, paths)
            print(row, *calls, sep="\n    ", flush=True)
            table.store_relayed([row])
            table.main()
    if unequal:
        sys.exit(f"{unequal} calls have other counts than the relay, by more than one packet")


if __name__ == "__main__":
    main()
