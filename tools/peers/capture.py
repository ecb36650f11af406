"""The packets of calls as the kernel saw them: tcpdump records them, with timestamps in ns."""

from __future__ import annotations

import select
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

NANOSECOND_MAGIC = 0xA1B23C4D
START_LIMIT_S = 10.0
SNAPSHOT_BYTES = "2000"
"""What is captured of each packet: all of it."""
SYN = "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn"
RTCP = range(192, 224)


class RtpSeen(NamedTuple):
    """A captured RTP packet. `at_ns` is UTC."""

    at_ns: int
    source_port: int
    destination_port: int
    ssrc: int
    sequence_number: int
    timestamp: int
    datagram: bytes
    """The whole packet, with its header."""


class Captured(NamedTuple):
    """The RTP packets in order, and the instants at which each port got a connection, or a call
    by SIP (INVITE).
    """

    packets: list[RtpSeen]
    connects: dict[int, list[int]]


@contextmanager
def capturing(path: Path, interface: str = "lo") -> Iterator[None]:
    """Record the packets of an interface. Raise FileNotFoundError if tcpdump is not installed."""
    if shutil.which("tcpdump") is None:
        raise FileNotFoundError(2, "not installed", "tcpdump")
    command = ["tcpdump", "-i", interface, "-U", "-B", "65536", "-s", SNAPSHOT_BYTES]
    command += ["--time-stamp-precision=nano", "-w"]
    with subprocess.Popen(
        [*command, str(path), f"udp or ({SYN})"], stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stderr is not None
            select.select([process.stderr], [], [], START_LIMIT_S)  # it prints that it listens
            yield
            time.sleep(1)  # the last packets pass its buffer
        finally:
            process.terminate()


def read_capture(path: Path) -> Captured:
    """Return the packets of a file of the loopback interface (Ethernet frames)."""
    data = path.read_bytes()
    if struct.unpack_from("<I", data)[0] != NANOSECOND_MAGIC:
        raise ValueError(f"{path} is no capture with ns")
    packets, connects, at = list[RtpSeen](), dict[int, list[int]](), 24
    while at + 16 <= len(data):
        seconds, nanoseconds, captured, _ = struct.unpack_from("<IIII", data, at)
        frame, at = data[at + 16 : at + 16 + captured], at + 16 + captured
        at_ns = seconds * 1_000_000_000 + nanoseconds
        if frame[12:14] != b"\x08\x00" or len(frame) < 14 + 28:  # IPv4
            continue
        start = 14 + (frame[14] & 15) * 4
        source, destination = struct.unpack_from("!HH", frame, start)
        if frame[23] == 6:
            connects.setdefault(destination, []).append(at_ns)
            continue
        payload = frame[start + 8 :]
        if payload.startswith(b"INVITE "):
            connects.setdefault(destination, []).append(at_ns)
        if len(payload) < 12 or payload[0] >> 6 != 2 or payload[1] in RTCP:
            continue
        sequence_number, timestamp, ssrc = struct.unpack_from("!HII", payload, 2)
        packets.append(
            RtpSeen(at_ns, source, destination, ssrc, sequence_number, timestamp, payload)
        )
    return Captured(packets, connects)
