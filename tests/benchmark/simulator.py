"""How many events a second the simulator sends on one core without being late: it must outrun whom it measures.

Its peer reads and discards, in a process of its own on another core, where there are two. It naps between two rounds:
a peer that sleeps until the next event makes each send dearer by a wake-up, which is none of the simulator's work.
"""

from __future__ import annotations

import multiprocessing
import select
import socket
import ssl
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bench.cores import Cores, on, reading, usage
from bench.simulator.truth import LATE_MS, read_truth
from tests.benchmark.cost import PROFILE
from tests.benchmark.harness import quantiles
from tests.benchmark.watch import cores, rss_bytes
from tests.simulator_process import Ready, running_simulator

LOADS = (200, 400, 600, 800, 1000, 1200, 1400)
SETTLE_S, WATCH_S = 2.0, 6.0
OPENED_PER_S = 400
NAP_S = 0.0005
UPGRADE = (
    b"GET /openai/v1/realtime?model=x HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
CREATE = b'\x81\x9a\x00\x00\x00\x00{"type":"response.create"}'
DONE = b'"type":"response.done"'


def main() -> None:
    for tls in ((), ("--tls",)):
        name = "TLS" if tls else "plain"
        carried = 0.0
        for sessions in LOADS:
            events_per_s, late_p99_ms = carry(name, sessions, tls)
            if late_p99_ms > LATE_MS:
                break
            carried = events_per_s
        print(f"{name}: {carried:.0f} events/s on one core while p99 of handed − due ≤ {LATE_MS:g} ms")


def carry(name: str, sessions: int, options: Iterable[str]) -> tuple[float, float]:
    """(events a second, lateness p99 in ms) with so many sessions that always ask for the next response."""
    with tempfile.TemporaryDirectory() as folder:
        profile, truth = Path(folder) / "profile.yaml", Path(folder) / "truth.jsonl"
        profile.write_text(PROFILE)
        where, served = cores(), ("--ground-truth", str(truth), "--profile", str(profile), *options)
        with on(where.simulator), running_simulator(*served) as ready:
            begun_ns, ended_ns, share, session_bytes = watched(ready, sessions, where)
        late_ms = lateness_ms(truth, begun_ns, ended_ns)
    per_s = len(late_ms) / (ended_ns - begun_ns) * 1e9
    cost = f"{share / per_s * 1e6:.1f} µs of CPU an event · {session_bytes / 1000:.0f} kB a session"
    late = f"handed − due, ms: {quantiles(late_ms, 0.5, 0.99, 0.999)}"
    print(f"{name}, {sessions} sessions: {per_s:.0f} events/s · {cost} · {late}", flush=True)
    return per_s, float(np.quantile(late_ms, 0.99))


def watched(ready: Ready, sessions: int, where: Cores) -> tuple[int, int, float, float]:
    """Begin and end (ns) of the steady middle, the share of a core in it, bytes of memory that a session adds."""
    before = rss_bytes(ready.pid)
    context = ssl.create_default_context(cafile=ready.ca) if ready.ca else None
    fork = multiprocessing.get_context("fork")
    with on(where.harness):
        peer = fork.Process(target=discard, args=(ready.port, sessions, context))
        peer.start()
    try:
        time.sleep(sessions / OPENED_PER_S + SETTLE_S)
        begun = reading(peer.pid or 0, ready.pid, where.used)
        time.sleep(WATCH_S)
        ended = reading(peer.pid or 0, ready.pid, where.used)
        added = rss_bytes(ready.pid) - before
    finally:
        peer.terminate()
        peer.join()
    share = usage(begun, ended).simulator
    assert share is not None, "the simulator has ended"
    return begun.at_ns, ended.at_ns, share, added / sessions


def lateness_ms(truth: Path, begun_ns: int, ended_ns: int) -> list[float]:
    sent = (line for line in read_truth(truth) if line.get("direction") == "out")
    return [
        (line["send_start_ns"] - line["due_ns"]) / 1e6 for line in sent if begun_ns <= line["send_start_ns"] < ended_ns
    ]


def discard(port: int, sessions: int, context: ssl.SSLContext | None) -> None:
    """Open sessions evenly, ask each for a response whenever it has none, and read; until terminated."""
    epoll, peers, begun_s = select.epoll(), dict[int, socket.socket](), time.monotonic()
    buffer = bytearray(1 << 18)
    while True:
        while len(peers) < min(sessions, (time.monotonic() - begun_s) * OPENED_PER_S):
            peer = opened(port, context)
            peers[peer.fileno()] = peer
            epoll.register(peer.fileno(), select.EPOLLIN)
        for descriptor, _ in epoll.poll(NAP_S):
            read(peers[descriptor], buffer)
        time.sleep(NAP_S)


def opened(port: int, context: ssl.SSLContext | None) -> socket.socket:
    """A session, upgraded, that has asked for its first response."""
    peer = socket.create_connection(("127.0.0.1", port))
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context is not None:
        peer = context.wrap_socket(peer, server_hostname="localhost")
    peer.sendall(UPGRADE + CREATE)
    peer.setblocking(False)
    return peer


def read(peer: socket.socket, buffer: bytearray) -> None:
    """All that is there. An event that was sent in one piece is read in one, unless the buffer is full."""
    while True:
        try:
            size = peer.recv_into(buffer)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        if buffer.find(DONE, 0, size) >= 0:
            peer.sendall(CREATE)
        if size < len(buffer) and not isinstance(peer, ssl.SSLSocket):
            return


if __name__ == "__main__":
    main()
