"""The checks of the audio of a call over WebRTC: the candidates, the address that answers, and
its packets. Pure.
"""

# The findings follow the path of the packets: which candidates the answer names and which of them
# are permitted, which one answered and how fast, the relay, DTLS, the codec, and then the packets
# in both directions. The first that fails explains those after it.

from collections.abc import Iterator
from typing import NamedTuple

from bench.base.units import NS_PER_MS
from bench.transport.rtp_checks import packets_at_agent, received_packets
from bench.wire.addresses import HostPort, authority
from bench.wire.connection import RtpMeasured
from bench.wire.findings import CheckFinding

MAX_NAMED = 5
"""The maximum number of addresses that a finding names."""
ONE_WAY = (
    "the checks of ICE pass, but no audio: let the service send audio from the address that"
    " answers, and let firewalls pass RTP in both directions"
)
UNHEARD = (
    "the service reports none of the caller's packets: let firewalls and NAT pass UDP to the"
    " address of the audio"
)
UNPERMITTED = (
    "if these addresses belong to your deployment, permit them with `call_hosts` of the target"
    " (--call-hosts)"
)


class RelayFacts(NamedTuple):
    """A TURN server: its name, whether the packets of the call pass it, and the shortest round
    trip to it.
    """

    server: str
    is_used: bool
    round_trip_ns: int | None


class MediaFacts(NamedTuple):
    """What a call agreed about its audio.

    `peer` is the address that ICE selected from `candidates`, of which those in `refused` get no
    packets. `mapped` is the address of this side, as the peer sees it; None if it is unknown, and
    `own` is that of its socket. `ice_ns` and `dtls_ns` are the durations of ICE and of DTLS.
    """

    codec: str
    peer: HostPort
    candidates: tuple[HostPort, ...]
    refused: tuple[HostPort, ...]
    own: HostPort
    mapped: HostPort | None
    ice_ns: int
    dtls_ns: int
    relay: RelayFacts | None = None
    """None without a TURN server."""


def check_path(facts: MediaFacts) -> Iterator[CheckFinding]:
    """Yield the findings about the path of the audio of a call that was connected."""
    names = f"the answer names {len(facts.candidates)} for UDP"
    if facts.refused:
        yield CheckFinding(
            "candidates",
            "warning",
            f"{names}; no packet goes to {_named(facts.refused)}",
            UNPERMITTED,
        )
    else:
        yield CheckFinding("candidates", "pass", names)
    message = f"{_text(facts.peer)} answers after {facts.ice_ns / NS_PER_MS:.1f} ms"
    is_relayed = facts.relay is not None and facts.relay.is_used
    if facts.mapped is not None and facts.mapped != facts.own and not is_relayed:
        message += f"; a NAT maps {_text(facts.own)} to {_text(facts.mapped)}"
    yield CheckFinding("UDP", "pass", message)
    if facts.relay is not None:
        yield CheckFinding("relay", "pass", _relay_text(facts.relay))
    yield CheckFinding("DTLS", "pass", f"keys of SRTP after {facts.dtls_ns / NS_PER_MS:.1f} ms")
    yield CheckFinding("codec", "pass", facts.codec)


def check_packets(packets: RtpMeasured) -> Iterator[CheckFinding]:
    """Yield the findings about the packets of a call that has ended."""
    if not packets.expected:
        yield CheckFinding("packets", "fail", "no packet of the service's audio arrived", ONE_WAY)
    else:
        yield received_packets(packets)
    at_service = packets_at_agent(packets)
    is_unheard = packets.peer_lost is not None and packets.peer_lost == packets.peer_expected
    name = "packets at peer"
    yield CheckFinding(
        name, at_service.result, at_service.message, UNHEARD if is_unheard else at_service.remedy
    )


def _relay_text(relay: RelayFacts) -> str:
    if not relay.is_used:
        return f"not used, because packets pass without it: {relay.server}"
    rtt = "unknown" if relay.round_trip_ns is None else f"{relay.round_trip_ns / NS_PER_MS:.2f} ms"
    return f"packets pass {relay.server}; shortest round trip to it: {rtt}"


def _named(addresses: tuple[HostPort, ...]) -> str:
    more = ", …" if len(addresses) > MAX_NAMED else ""
    return ", ".join(map(_text, addresses[:MAX_NAMED])) + more


def _text(address: HostPort) -> str:
    return authority(address.host, address.port or 0)
