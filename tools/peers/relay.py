"""A relay between a caller and an agent, as a process: it delays and drops the agent's RTP, and
logs what it did.

The caller sends its offer to the relay's port, over HTTP (WebRTC) or SIP. The relay forwards it,
and names itself as the address of the audio in both session descriptions. So both sides see a NAT.
Each packet of RTP from the agent gets a random delay, and some are dropped. From time to time the
path stands still: packets then arrive together at its end.
"""

from __future__ import annotations

import heapq
import json
import random
import re
import select
import socket
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from tools.peers.capture import RTCP

HOST = "127.0.0.1"
NS_PER_MS = 1_000_000
LOSS = 0.01
STANDSTILL_NS, PERIOD_NS = 150 * NS_PER_MS, 2_107 * NS_PER_MS
"""The duration of a standstill, and the minimum time from one to the next, and to the first.

A standstill begins with a packet, so its packets are late by 150, 130, … 70, 50 ms at any load of
the host. None is so near the delay of a jitter buffer (60 ms) that its clock decides.
"""
TALK_PACKETS, PAUSE_NS = 10, 100 * NS_PER_MS
"""The number of packets without a pause before a standstill. Directly after a pause, a receiver
cannot know that the path stands still, and not the agent."""
MAX_DATAGRAM = 65_535
CANDIDATE = re.compile(r"(a=candidate:\S+ 1 udp \d+) (\S+) (\d+)( typ host.*)", re.IGNORECASE)
AUDIO = re.compile(r"(?m)^m=audio (\d+)")
LENGTH = re.compile(rb"(?i)\r\n(Content-Length|l) *: *\d+")


class Relayed(NamedTuple):
    """A packet of the agent: when it arrived, and the start and the end of the call that sent it.
    `sent_ns` is None if it was dropped.
    """

    ssrc: int
    sequence_number: int
    timestamp: int
    payload_type: int
    has_marker: bool
    received_ns: int
    send_start_ns: int
    sent_ns: int | None


class CallPath:
    """The path of one call. `caller` and `agent` are the addresses to which the relay sends, if
    it knows them.
    """

    def __init__(self, jitter_ns: int, seed: int, hosts: tuple[str, str]) -> None:
        self._chance, self._jitter_ns = random.Random(seed), jitter_ns
        self.caller: tuple[str, int] | None = None
        self.agent: tuple[str, int] | None = None
        self.to_caller, self.to_agent = (socket.socket(type=socket.SOCK_DGRAM) for _ in hosts)
        for own, host in zip((self.to_caller, self.to_agent), hosts, strict=True):
            own.bind((host, 0))
        self.log: list[Relayed] = []
        self._stands_until_ns = time.monotonic_ns()
        """The end of the last standstill; before the first one, the start of the path."""
        self._talk_packets = 0
        self._received_ns = 0
        self._waiting: list[tuple[int, int, bytes]] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            wait_s = (
                max(0.0, (self._waiting[0][0] - time.monotonic_ns()) / 1e9)
                if self._waiting
                else None
            )
            for own in select.select([self.to_caller, self.to_agent], [], [], wait_s)[0]:
                data, source = own.recvfrom(MAX_DATAGRAM)
                if own is self.to_caller:
                    self.caller = source
                    if self.agent is not None:
                        self.to_agent.sendto(data, self.agent)
                    continue
                self.agent = source
                if len(data) > 11 and data[0] >> 6 == 2 and data[1] not in RTCP:
                    self._delay(data)
                elif self.caller is not None:
                    self.to_caller.sendto(data, self.caller)
            while self._waiting and self._waiting[0][0] <= time.monotonic_ns():
                _, received_ns, data = heapq.heappop(self._waiting)
                self._pass_on(data, received_ns)

    def _delay(self, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        if self._chance.random() < LOSS:
            self._write(data, now_ns, now_ns, None)
            return
        self._talk_packets = self._talk_packets + 1 if now_ns - self._received_ns < PAUSE_NS else 1
        self._received_ns = now_ns
        is_due = now_ns > self._stands_until_ns + PERIOD_NS - STANDSTILL_NS
        if is_due and self._talk_packets > TALK_PACKETS:
            until_ns = self._stands_until_ns = now_ns + STANDSTILL_NS
            self._waiting = sorted(
                (max(due_ns, until_ns), received_ns, held)
                for due_ns, received_ns, held in self._waiting
            )
        due_ns = now_ns + int(self._chance.random() * self._jitter_ns)
        heapq.heappush(self._waiting, (max(due_ns, self._stands_until_ns), now_ns, data))

    def _pass_on(self, data: bytes, received_ns: int) -> None:
        if self.caller is not None:
            start_ns = time.monotonic_ns()
            self.to_caller.sendto(data, self.caller)
            self._write(data, received_ns, start_ns, time.monotonic_ns())

    def _write(
        self, data: bytes, received_ns: int, send_start_ns: int, sent_ns: int | None
    ) -> None:
        number, timestamp, ssrc = (
            int.from_bytes(data[at:to]) for at, to in ((2, 4), (4, 8), (8, 12))
        )
        self.log.append(
            Relayed(
                ssrc,
                number,
                timestamp,
                data[1] & 0x7F,
                bool(data[1] & 0x80),
                received_ns,
                send_start_ns,
                sent_ns,
            )
        )


class Relay:
    """The paths of all calls to one agent."""

    def __init__(self, jitter_ns: int) -> None:
        self._jitter_ns = jitter_ns
        self.paths: list[CallPath] = []

    def offered(self, sdp: str) -> tuple[CallPath, str]:
        """Return a new path, and the offer that names it to the agent."""
        found = _addresses(sdp)
        host = next((address for address, _ in found if address != HOST), HOST)
        path = CallPath(self._jitter_ns, len(self.paths), (HOST, host))
        path.caller = next((each for each in found if each[0] == HOST), found[0])
        self.paths.append(path)
        return path, _named(sdp, path.to_agent)

    @staticmethod
    def answered(path: CallPath, sdp: str) -> str:
        """Return the answer that names the path to the caller."""
        path.agent = next(iter(_addresses(sdp)), None)
        return _named(sdp, path.to_caller)


def _addresses(sdp: str) -> list[tuple[str, int]]:
    """Return the IPv4 addresses of a session description to which audio is sent."""
    found = [(match[2], int(match[3])) for match in map(CANDIDATE.match, sdp.splitlines()) if match]
    audio = AUDIO.search(sdp)
    plain = [] if audio is None or "a=candidate" in sdp else [(HOST, int(audio[1]))]
    return [
        each for each in found if each[0].count(".") == 3 and not each[0].endswith(".local")
    ] + plain


def _named(sdp: str, own: socket.socket) -> str:
    """Return a session description in which only one address is named."""
    host, port = own.getsockname()
    sdp = AUDIO.sub(f"m=audio {port}", sdp)
    lines = []
    for line in sdp.splitlines():
        if not line.startswith("a=candidate"):
            lines.append(line)
        elif (match := CANDIDATE.match(line)) and not any(
            each.startswith("a=candidate") for each in lines
        ):
            lines.append(f"{match[1]} {host} {port}{match[4]}")
    return "\r\n".join(lines) + "\r\n"


def serve_offers(relay: Relay, agent_url: str) -> int:
    """Forward offers in JSON to an agent. Return the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            path, body["sdp"] = relay.offered(body["sdp"])
            request = urllib.request.Request(
                agent_url,
                json.dumps(body).encode(),
                {"Content-Type": "application/json"},
                method="POST",
            )
            with urllib.request.urlopen(request, timeout=30) as response:
                answer = json.load(response)
            answer["sdp"] = relay.answered(path, answer["sdp"])
            content = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def serve_sip(relay: Relay, agent: tuple[str, int]) -> int:
    """Forward SIP over UDP to an agent, and its answers. Further requests of a call do not pass.
    Return the port.
    """
    own = socket.socket(type=socket.SOCK_DGRAM)
    own.bind((HOST, 0))
    calls: dict[str, tuple[CallPath, bytes, tuple[str, int]]] = {}

    def forward() -> None:
        while True:
            data, source = own.recvfrom(MAX_DATAGRAM)
            found = re.search(rb"(?i)\r\n(?:Call-ID|i) *: *(\S+)", data)
            if found is None:
                continue
            call = found[1].decode()
            if source != agent:
                if data.startswith(b"INVITE ") and call not in calls:
                    path, sdp = relay.offered(_body(data))
                    calls[call] = path, _with_body(data, sdp), source
                own.sendto(calls[call][1] if data.startswith(b"INVITE ") else data, agent)
            elif call in calls:
                path, _, caller = calls[call]
                has_sdp = b"\r\nm=audio" in data
                own.sendto(
                    _with_body(data, relay.answered(path, _body(data))) if has_sdp else data, caller
                )

    threading.Thread(target=forward, daemon=True).start()
    port: int = own.getsockname()[1]
    return port


def _body(data: bytes) -> str:
    return data.partition(b"\r\n\r\n")[2].decode()


def _with_body(data: bytes, body: str) -> bytes:
    head = data.partition(b"\r\n\r\n")[0]
    return LENGTH.sub(b"\r\nContent-Length: %d" % len(body), head) + b"\r\n\r\n" + body.encode()
