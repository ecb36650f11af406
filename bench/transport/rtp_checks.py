"""The findings about the packets of any call in RTP, for `rtbench doctor`. Pure."""

from bench.base.units import NS_PER_MS
from bench.wire.connection import RtpMeasured
from bench.wire.findings import CheckFinding, warning_unless

MAX_LOSS = 0.01
MAX_JITTER_NS = 30 * NS_PER_MS
"""The limits above which callers hear the network: a share of packets, and the jitter of RFC
3550."""
UNREACHED = (
    "the agent may not hear its caller: check that UDP passes to the address and port in the"
    " agent's SDP"
)
NETWORK = (
    "check the network between this machine and the agent: its Wi-Fi, VPN, and load; a caller hears"
    " gaps"
)
NO_REPORT = "the agent has sent no RTCP report about the caller's packets"


def received_packets(packets: RtpMeasured) -> CheckFinding:
    missing = packets.lost + packets.late
    message = f"{missing:,} of {packets.expected:,} missing or late, {_jitter(packets.jitter_ns)}"
    good = missing <= MAX_LOSS * packets.expected and packets.jitter_ns <= MAX_JITTER_NS
    return warning_unless(good, "packets", message, NETWORK)


def packets_at_agent(packets: RtpMeasured) -> CheckFinding:
    """Check what the agent reports about the caller's packets."""
    name = "packets at agent"
    if packets.peer_expected is None or packets.peer_lost is None or packets.peer_jitter_ns is None:
        return CheckFinding(name, "skipped", "unknown: the agent sent no RTCP report about them")
    message = (
        f"{packets.peer_lost:,} of {packets.peer_expected:,} missing,"
        f" {_jitter(packets.peer_jitter_ns)}, by RTCP"
    )
    if packets.peer_lost >= packets.peer_expected:
        return CheckFinding(name, "warning", message, UNREACHED)
    good = (
        packets.peer_lost <= MAX_LOSS * packets.peer_expected
        and packets.peer_jitter_ns <= MAX_JITTER_NS
    )
    return warning_unless(good, name, message, NETWORK)


def rtcp_round_trip(packets: RtpMeasured) -> CheckFinding:
    if packets.min_rtt_ns is None:
        has_report = packets.peer_expected is not None
        reason = (
            "no RTCP report of the agent has what it needs (LSR, DLSR)" if has_report else NO_REPORT
        )
        return CheckFinding("round trip", "skipped", f"unknown: {reason}")
    return CheckFinding(
        "round trip", "pass", f"minimum {packets.min_rtt_ns / NS_PER_MS:.2f} ms to the agent's RTP"
    )


def _jitter(jitter_ns: int) -> str:
    return f"jitter {jitter_ns / NS_PER_MS:.1f} ms"
