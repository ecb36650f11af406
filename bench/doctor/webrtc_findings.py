"""Findings about the audio of a call over WebRTC: the candidates, the address that answers, and its packets. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from bench.base.units import NS_PER_MS
from bench.doctor.diagnosis import CheckFinding
from bench.doctor.telephone_findings import packets_at_agent, received_packets
from bench.observe.observation import SessionObservation
from bench.transport.interface import HostPort, authority
from bench.transport.rtp_track import MediaFacts
from bench.wire.connection import RtpMeasured

MAX_NAMED = 5
"""The maximum number of addresses that a finding names."""
ONE_WAY = (
    "the checks of ICE pass, but no audio: let the service send audio from the address that answers, and let firewalls "
    "pass RTP in both directions"
)
UNHEARD = "the service reports none of the caller's packets: let firewalls and NAT pass UDP to the address of the audio"
UNPERMITTED = "if these addresses belong to your deployment, permit them with `call_hosts` of the target (--call-hosts)"


def check_path(facts: MediaFacts, observed: SessionObservation) -> Iterator[CheckFinding]:
    """Yield the findings about the path of the audio of a call that was connected."""
    names = f"the answer names {len(facts.candidates)} for UDP"
    if facts.refused:
        yield CheckFinding("candidates", "warning", f"{names}; no packet goes to {_named(facts.refused)}", UNPERMITTED)
    else:
        yield CheckFinding("candidates", "pass", names)
    metrics = observed.metrics_ns()
    ice, dtls = (f"{metrics[name] / NS_PER_MS:.1f} ms" for name in ("connect_ice", "connect_dtls"))
    message = f"{_text(facts.peer)} answers after {ice}"
    if facts.mapped is not None and facts.mapped != facts.own:
        message += f"; a NAT maps {_text(facts.own)} to {_text(facts.mapped)}"
    yield CheckFinding("UDP", "pass", message)
    yield CheckFinding("DTLS", "pass", f"keys of SRTP after {dtls}")
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
    yield CheckFinding(name, at_service.result, at_service.message, UNHEARD if is_unheard else at_service.remedy)


def _named(addresses: tuple[HostPort, ...]) -> str:
    more = ", …" if len(addresses) > MAX_NAMED else ""
    return ", ".join(map(_text, addresses[:MAX_NAMED])) + more


def _text(address: HostPort) -> str:
    return authority(address.host, address.port or 0)
