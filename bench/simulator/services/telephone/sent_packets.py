"""The packets of a call that leave its path: they are sent, and written to the ground truth."""

from __future__ import annotations

from msgspec import structs

from bench.simulator.services.telephone.call_faults import PathPacket
from bench.simulator.serving.service import ServerState
from bench.transport.datagrams import DatagramSocket
from bench.transport.interface import HostPort


def send_packet(
    shared: ServerState,
    session_id: str,
    packet: PathPacket,
    socket: DatagramSocket,
    peer: HostPort,
) -> None:
    """Send a packet, and its copies. Only the first of them is in the ground truth."""
    sent = socket.send(packet.data, peer)
    if sent is None:
        return
    for _ in range(1, packet.copies):
        socket.send(packet.data, peer)
    shared.lateness.add(sent.at_ns - packet.departure_ns)
    log_packet(shared, session_id, packet, sent.at_ns, sent.at_ns + sent.width_ns)


def log_packet(
    shared: ServerState,
    session_id: str,
    packet: PathPacket,
    at_ns: int,
    send_end_ns: int | None = None,
) -> None:
    """Write a packet to the ground truth. `send_end_ns` is None if it was not sent."""
    if truth := shared.config.truth:
        event = structs.replace(packet.event, facts=(packet.event.facts or {}) | packet.facts)
        truth.sent(session_id, event, at_ns, send_end_ns, len(packet.data))
