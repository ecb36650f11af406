"""The checks of the audio of a telephone call: the codec, the packets and their sources, and the
clock. Pure.
"""

# The checks read what a call of the doctor has seen, and change nothing. Each names a problem of
# the deployment that a load test would only show as bad values: audio from another address than the
# SDP names, timestamps that do not count pauses, a source that begins again with the same SSRC, and
# a clock that differs from real time.

import ipaddress
import math
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.outcomes import NO_MEDIA, OUTCOMES, UNSENT
from bench.protocols.rtp.offset import MAX_DRIFT_PPM
from bench.protocols.rtp.rtp import CODECS, TIMESTAMPS, parse_packet
from bench.protocols.sip.call_record import CallFacts
from bench.transport.rtp_checks import packets_at_agent, received_packets
from bench.wire.addresses import is_address
from bench.wire.connection import RtpMeasured, SocketAddress
from bench.wire.findings import CheckFinding, warning_unless

MAX_PACKETS = 10_000
MAX_SOURCES = 100
"""The maximum numbers of packets and of sources that are stored."""
MIN_CLOCK_PACKETS = 100
"""The minimum number of packets from which the drift of a clock is computed: 2 s of audio."""
REFINEMENTS = 3
PPM = 1_000_000
Floats = npt.NDArray[np.float64]
EXTERNAL_ADDRESS = (
    "let the agent name its public address in SDP (Asterisk: `external_media_address`, LiveKit:"
    " `use_external_ip`): calls from other networks may otherwise have no audio"
)
SYMMETRIC = (
    "the agent is behind NAT or a media relay: let it name in SDP the address from which it sends,"
    " because firewalls may open only that one"
)
UNCOUNTED = (
    "let the timestamps of the agent's RTP count the time in which it sends nothing (RFC 3550"
    " §5.1): some receivers drop its audio after each pause; within an answer, its speech is not"
    " ready in time"
)
RESTARTED = (
    "let the agent change the SSRC when its sequence numbers or timestamps begin again (RFC 3550"
    " §8): some receivers drop the packets as duplicates"
)
STEP_NS = 40 * NS_PER_MS
"""The increase of the delay between two packets that may be a pause that the timestamps do not
count."""
OTHER_CLOCK = (
    "check the sample rate and the clock of the agent: its audio is faster or slower than real"
    " time, so latencies of long calls may be off"
)


class PacketProbe:
    """The arrivals of the RTP packets of one call, and their sources."""

    def __init__(self) -> None:
        self.sources: Counter[tuple[str, int]] = Counter()
        self._arrivals: dict[int, list[tuple[int, int]]] = {}
        """(timestamp, arrival in ns) of the packets of each source, by its SSRC."""
        self._stored = 0

    def add(self, data: bytes, source: SocketAddress, arrival: Arrival) -> None:
        """Add a datagram. What is no RTP packet does not count."""
        packet = parse_packet(data)
        if packet is None or self._stored >= MAX_PACKETS:
            return
        if (sender := (str(source[0]), int(source[1]))) in self.sources or len(
            self.sources
        ) < MAX_SOURCES:
            self.sources[sender] += 1
        if packet.ssrc in self._arrivals or len(self._arrivals) < MAX_SOURCES:
            self._arrivals.setdefault(packet.ssrc, []).append((packet.timestamp, arrival.at_ns))
            self._stored += 1

    @property
    def has_several_ssrcs(self) -> bool:
        return len(self._arrivals) > 1

    def drift_ppm(self, clock_hz: int, *, has_jumps: bool = False) -> tuple[float, float] | None:
        """Return (drift, bound) of the sender's clock against this machine's, in ppm; None if it
        cannot be known.

        `clock_hz` is the nominal rate of the timestamps. The drift is positive if the sender's
        clock is slow. A packet cannot arrive before it was sent, so the fastest packets of the
        first and of the last third of the call give the drift. Its bound assumes that the fastest
        packet of each third was not slower than the median one of this third. If the clock jumps,
        only the longest part of the call counts.
        """
        arrivals = max(self._arrivals.values(), key=len, default=[])
        if len(arrivals) < MIN_CLOCK_PACKETS:
            return None
        timestamps, at_ns = np.array(arrivals, int).T
        ticks = (np.diff(timestamps) + TIMESTAMPS // 2) % TIMESTAMPS - TIMESTAMPS // 2
        media_ns = np.concatenate([[0], np.cumsum(ticks)]) * NS_PER_S // clock_hz
        delays_ns = (at_ns - at_ns[0] - media_ns).astype(float)
        media_ns = media_ns.astype(float)
        if has_jumps:
            jumps = np.flatnonzero(np.abs(np.diff(delays_ns)) > STEP_NS) + 1
            start, end = max(
                pairwise([0, *jumps.tolist(), len(arrivals)]), key=lambda part: part[1] - part[0]
            )
            if end - start < MIN_CLOCK_PACKETS:
                return None
            delays_ns = delays_ns[start:end]
            media_ns = media_ns[start:end]
        share = error = 0.0
        for _ in range(REFINEMENTS):  # the drift within a third is no delay of its packets
            further, error = _slope(media_ns, delays_ns - share * media_ns)
            share += further
            if math.isinf(error):
                return None
        return share * PPM, error * PPM


def _slope(media_ns: Floats, delays_ns: Floats) -> tuple[float, float]:
    """Return the slope between the fastest packets of the first and of the last third, and its
    error.

    The error is inf if no media time has passed between them.
    """
    third = len(delays_ns) // 3
    ends = [slice(0, third), slice(-third, None)]
    first, last = (
        part.indices(len(delays_ns))[0] + int(np.argmin(delays_ns[part])) for part in ends
    )
    error_ns = sum(float(np.median(delays_ns[part]) - np.min(delays_ns[part])) for part in ends)
    passed_ns = float(media_ns[last] - media_ns[first])
    if passed_ns <= 0:
        return 0.0, math.inf
    return float(delays_ns[last] - delays_ns[first]) / passed_ns, error_ns / passed_ns


def check_call(facts: CallFacts) -> Iterator[CheckFinding]:
    """Yield what the answer of a call agreed: whether the caller signed in, the codec, and the
    encryption.
    """
    if facts.has_signed_in:
        yield CheckFinding(
            "authentication", "pass", "the agent asked for user and password, and accepted them"
        )
    else:
        yield CheckFinding(
            "authentication", "pass", "the agent accepted the call without user and password"
        )
    keys = (
        "with phone keys (RFC 4733)"
        if facts.has_phone_keys
        else "without phone keys: scripts that send them fail"
    )
    encryption = "encrypted (SRTP)" if facts.is_encrypted else "not encrypted"
    yield CheckFinding("codec", "pass", f"{facts.codec}, {encryption}, {keys}")


def check_media(
    facts: CallFacts, packets: RtpMeasured, probe: PacketProbe
) -> Iterator[CheckFinding]:
    """Yield the findings about the packets of a call that has ended. `packets` are those at its
    end.
    """
    yield _source(facts, probe)
    yield (
        received_packets(packets)
        if probe.sources
        else CheckFinding("packets", "skipped", "unknown: none arrived")
    )
    if packets.uncounted_pauses:
        message = (
            f"its RTP stopped {packets.uncounted_pauses:,} × for longer than its timestamps say"
        )
        yield CheckFinding("pauses", "warning", message, UNCOUNTED)
    if packets.restarts:
        message = (
            f"the agent's RTP began again {packets.restarts:,} ×, with another source, other"
            " numbers or timestamps, or another delay"
        )
        yield warning_unless(probe.has_several_ssrcs, "restarts", message, RESTARTED)
    yield packets_at_agent(packets)
    if packets.unsent:
        message = (
            f"this machine refused {packets.unsent:,} of {packets.sent + packets.unsent:,} packets"
            " of the caller"
        )
        yield CheckFinding("packets sent", "fail", message, OUTCOMES[UNSENT].remedy)
    if packets.other_hosts:
        yield CheckFinding(
            "other hosts", "pass", f"only the agent named these hosts: {packets.other_hosts}"
        )
    has_jumps = bool(packets.uncounted_pauses or packets.restarts)
    yield _clock(probe.drift_ppm(CODECS[facts.codec].clock_hz, has_jumps=has_jumps))


def _source(facts: CallFacts, probe: PacketProbe) -> CheckFinding:
    """Check that packets arrive, and that they come from the address that the SDP names."""
    named = f"{facts.media.host} port {facts.media.port}"
    is_private = _is_private(facts.media.host)
    if not probe.sources:
        message = f"no RTP packet arrived; the SDP names {named}"
        if is_private and not _is_private(facts.peer):
            return CheckFinding(
                "media", "fail", f"{message}, which is a private address", EXTERNAL_ADDRESS
            )
        return CheckFinding("media", "fail", message, OUTCOMES[NO_MEDIA].remedy)
    ((host, port), _), *others = probe.sources.most_common()
    source = f"{host} port {port}"
    if others:
        message = f"RTP arrives from {len(others) + 1} addresses, mainly from {source}"
        return CheckFinding(
            "media", "warning", message, "let only the agent of the call send to this address"
        )
    if is_private and not _is_private(host):
        message = f"the SDP names the private address {named}, and RTP arrives from {source}"
        return CheckFinding("media", "warning", message, EXTERNAL_ADDRESS)
    if is_address(facts.media.host) and (host, port) != (facts.media.host, facts.media.port):
        return CheckFinding(
            "media", "warning", f"the SDP names {named}, and RTP arrives from {source}", SYMMETRIC
        )
    return CheckFinding("media", "pass", f"RTP arrives from {source}, as the SDP names it")


def _clock(drift: tuple[float, float] | None) -> CheckFinding:
    if drift is None:
        return CheckFinding(
            "media clock",
            "skipped",
            "unknown: too few packets arrived, or their timestamps do not advance",
        )
    ppm, bound_ppm = drift
    if bound_ppm > MAX_DRIFT_PPM:
        message = (
            f"unknown: within ±{bound_ppm:,.0f} ppm; a longer call or less jitter would bound it"
        )
        return CheckFinding("media clock", "skipped", message)
    side = "slower" if ppm > 0 else "faster"
    message = (
        f"the agent's clock is {abs(ppm):,.0f} ppm {side} than this machine's (±{bound_ppm:,.0f})"
    )
    return warning_unless(
        abs(ppm) - bound_ppm <= MAX_DRIFT_PPM, "media clock", message, OTHER_CLOCK
    )


def _is_private(host: str) -> bool:
    """Return whether a host is an address that other networks cannot reach. The loopback counts
    as one.
    """
    return is_address(host) and ipaddress.ip_address(host).is_private
