"""A program that calls hostile telephones in a network namespace of its own, and prints where each
packet goes.

`unshare -rn python -m tests.system.attack.sniffed_calls SHARE [FOLDER]` tries each SHARE-th
behaviour. The load generator is that of FOLDER, by default of this folder. The result is JSON: the
packets of the load generator by destination and kind. The target names one port of 127.0.0.1, a
header with a token, and a login.
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.protocols.sip.messages import SipRequest, parse_message, write_message, write_response

ROOT = Path(__file__).parents[3]
NAMED, OTHER, FOREIGN, THIRD = "127.0.0.1", "127.0.0.2", "10.9.9.77", "10.9.9.53"
PORT, OTHER_PORT, MEDIA_PORT = 15_060, 15_070, 15_080
SECRETS = (b"sniffed-token", b"Authorization:", b"authorization:")
DIGEST = 'Digest realm="r", nonce="{}", qop="auth"'
SDP_TYPE = ("Content-Type", "application/sdp")
ETH_P_ALL, OUTGOING, SOL_PACKET, PACKET_STATISTICS = 3, 4, 263, 6
NETWORK = (
    "link set lo up",
    "link add out type veth peer name back",
    "addr add 10.9.9.1/24 dev out",
    "link set out arp off up",
    "link set back up",
    "route add default dev out",
)
Header = tuple[str, str]


@dataclass(frozen=True)
class Behaviour:
    """What the telephone does in one call."""

    code: int = 200
    headers: tuple[Header, ...] = ()
    contact: str = f"<sip:agent@{NAMED}:{PORT}>"
    sdp: str = ""
    challenges: int = 401
    """The status with which INVITE and BYE are answered first; 0 for none."""
    requests: tuple[tuple[str, tuple[Header, ...], str], ...] = ()
    """The requests in the dialog: method, headers, description."""
    early: bool = False
    """Whether a reliable provisional response comes first."""
    raw: tuple[bytes, ...] = field(default=())
    """Datagrams in place of a response."""


def description(address: str = NAMED, port: int = MEDIA_PORT, more: str = "") -> str:
    family = 6 if ":" in address else 4
    return (
        f"v=0\r\no=- 1 1 IN IP4 {NAMED}\r\ns=-\r\nc=IN IP{family} {address}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n{more}"
    )


CONTACTS = (
    f"<sip:x@{FOREIGN}:{PORT}>",
    f"<sip:x@{FOREIGN}>",
    f"<sip:x@{OTHER}:{PORT}>",
    f"<sip:x@{NAMED}:{OTHER_PORT}>",
    f"<sip:x@{NAMED}:{PORT};maddr={OTHER}>",
    f"<sip:x@{NAMED}:{PORT};maddr={FOREIGN}>",
    f"<sip:x@{NAMED}:{PORT};%6daddr={FOREIGN}>",
    f"<sip:x@{NAMED}:{PORT};MADDR={FOREIGN}>",
    f"<sip:{NAMED}%3A{PORT}@{FOREIGN}:{PORT}>",
    f"<sip:{NAMED}:{PORT}@{OTHER}:{PORT}>",
    f"<sip:x@{NAMED}:{PORT};transport=tcp>",
    f"<sip:x@{FOREIGN}:{PORT};transport=tcp>",
    f"<sips:x@{FOREIGN}:{PORT}>",
    f"<sip:x@[::1]:{PORT}>",
    f"<sip:x@[::ffff:{FOREIGN}]:{PORT}>",
    "<sip:x@10.9.9.255:5060>",
    "<sip:x@255.255.255.255:5060>",
    "<tel:+15550100>",
    f"<sip:x@0.0.0.0:{PORT}>",
    f"<sip:x@localhost:{OTHER_PORT}>",
    f"<sip:x@{FOREIGN}:{PORT}>;q=0.9, <sip:y@{OTHER}:{PORT}>;q=0.1",
    f"<sip:x@{FOREIGN}:{PORT}?Subject=a>",
)
ADDRESSES = (
    (FOREIGN, 7_777, ""),
    (THIRD, 53, ""),
    ("255.255.255.255", 7_777, ""),
    ("10.9.9.255", 7_777, ""),
    ("127.255.255.255", 7_777, ""),
    ("224.0.0.9", 7_777, ""),
    ("0.0.0.0", 7_777, ""),
    ("0.0.0.5", 7_777, ""),
    (NAMED, MEDIA_PORT, f"a=rtcp:7777 IN IP4 {FOREIGN}\r\n"),
    (NAMED, MEDIA_PORT, "a=rtcp:53\r\n"),
    (NAMED, 0, ""),
    (NAMED, MEDIA_PORT, "a=inactive\r\n"),
    (NAMED, MEDIA_PORT, "a=sendonly\r\n"),
    ("::1", 7_777, ""),
    (NAMED, MEDIA_PORT, f"c=IN IP4 {FOREIGN}\r\n"),
)


def behaviours() -> Iterator[Behaviour]:
    for code in (300, 301, 302, 305, 380, 399):
        for contact in CONTACTS:
            yield Behaviour(code, contact=contact)
    for contact in CONTACTS:
        for challenges in (401, 407):
            yield Behaviour(contact=contact, challenges=challenges)
    for host in (f"{FOREIGN}:{PORT}", f"{OTHER}:{PORT}", f"{NAMED}:{OTHER_PORT}"):
        for route in (
            f"<sip:{host};lr>",
            f"<sip:{host}>",
            f"<sip:{NAMED}:{PORT};lr;maddr={host.partition(':')[0]}>",
        ):
            yield Behaviour(headers=(("Record-Route", route),))
            yield Behaviour(headers=(("Record-Route", route),), challenges=407)
    for address, port, more in ADDRESSES:
        yield Behaviour(sdp=description(address, port, more), challenges=0)
        for method in ("INVITE", "UPDATE"):
            yield Behaviour(
                requests=((method, (), description(address, port, more)),), challenges=0
            )
    moves = tuple(("UPDATE", (), description(f"10.9.9.{number}")) for number in range(100, 140))
    yield Behaviour(requests=moves, challenges=0)
    yield Behaviour(
        requests=tuple(("UPDATE", (), description(port=16_000 + 2 * n)) for n in range(40)),
        challenges=0,
    )
    yield Behaviour(
        requests=tuple(("OPTIONS", (("Contact", f"<sip:x@10.9.9.{n}>"),), "") for n in range(40))
    )
    for via in (
        f"{FOREIGN}:{PORT}",
        f"{THIRD}:53;received={FOREIGN}",
        f"{NAMED}:{OTHER_PORT};rport",
        "evil.example",
    ):
        yield Behaviour(
            requests=(("OPTIONS", (("Via", f"SIP/2.0/UDP {via};branch=z9hG4bKv"),), ""),)
        )
        yield Behaviour(
            requests=(("INVITE", (("Via", f"SIP/2.0/TCP {via};branch=z9hG4bKw"),), description()),)
        )
    for contact in CONTACTS[:6]:
        yield Behaviour(contact=contact, early=True)
    for raw in (
        b"SIP/2.0 2OO OK\r\n\r\n",
        b"\0" * 100,
        b"INVITE sip:x SIP/2.0\r\n\r\n",
        b"\r\n" * 40,
        b"SIP/2.0 200 OK",
    ):
        yield Behaviour(raw=(raw,))


class Telephones(threading.Thread):
    """The telephones: that of the target, and others which demand credentials and accept calls."""

    def __init__(self, found: Sequence[Behaviour]) -> None:
        super().__init__(daemon=True)
        self.named = udp(NAMED, PORT)
        self.others = [udp(OTHER, PORT), udp(NAMED, OTHER_PORT)]
        self.addresses = {sock.getsockname() for sock in (self.named, *self.others)}
        self._found, self._calls = list(found), dict[str, Behaviour]()
        self._asked = set[tuple[str, str]]()
        self.ends = threading.Event()

    def run(self) -> None:
        sockets = [self.named, *self.others]
        while (ready := select.select(sockets, [], [], 0.05)[0]) or not self.ends.is_set():
            for sock in ready:
                data, source = sock.recvfrom(65_535)
                try:
                    message = parse_message(data)
                except ValueError:
                    continue
                if isinstance(message, SipRequest):
                    self._received(sock, message, source)

    def _received(self, sock: socket.socket, request: SipRequest, source: tuple[str, int]) -> None:
        behaviour = self._calls.get(request.call_id)
        if behaviour is None:
            behaviour = self._calls[request.call_id] = (
                self._found.pop() if self._found else Behaviour()
            )
        if sock is not self.named:
            behaviour = Behaviour(
                contact=f"<sip:x@{sock.getsockname()[0]}:{sock.getsockname()[1]}>", challenges=401
            )

        def respond(code: int, *headers: Header, body: str = "") -> None:
            added = [*headers, *([SDP_TYPE] if body else [])]
            sock.sendto(write_response(request, code, "t", None, added, body.encode()).data, source)

        method, key = request.method, (request.call_id, request.method)
        if method == "ACK":
            if behaviour.code == 200 and (request.call_id, "acknowledged") not in self._asked:
                self._asked.add((request.call_id, "acknowledged"))
                for number, (name, headers, body) in enumerate(behaviour.requests):
                    sock.sendto(in_dialog(request, number, name, headers, body), source)
        elif (
            method in ("INVITE", "BYE")
            and behaviour.challenges
            and key not in self._asked
            and not behaviour.raw
        ):
            self._asked.add(key)
            name = "WWW-Authenticate" if behaviour.challenges == 401 else "Proxy-Authenticate"
            respond(behaviour.challenges, (name, DIGEST.format(method)))
        elif method != "INVITE":
            respond(200)
        elif behaviour.raw:
            for data in behaviour.raw:
                sock.sendto(data, source)
        elif behaviour.code != 200:
            respond(behaviour.code, ("Contact", behaviour.contact))
        else:
            contact = ("Contact", behaviour.contact)
            if behaviour.early:
                respond(183, contact, ("Require", "100rel"), ("RSeq", "1"))
            respond(200, contact, *behaviour.headers, body=behaviour.sdp or description())


def in_dialog(
    request: SipRequest, number: int, method: str, headers: Sequence[Header], body: str
) -> bytes:
    own_via = ("Via", f"SIP/2.0/UDP {NAMED}:{PORT};branch=z9hG4bK{number}")
    lines = [
        *([] if any(name == "Via" for name, _ in headers) else [own_via]),
        ("From", request.first("To")),
        ("To", request.first("From")),
        ("Call-ID", request.call_id),
        ("CSeq", f"{500 + number} {method}"),
        ("Contact", f"<sip:agent@{NAMED}:{PORT}>"),
        *headers,
        *([SDP_TYPE] if body else []),
    ]
    return write_message(f"{method} sip:rtbench@{NAMED} SIP/2.0", lines, body.encode())


def udp(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, port))
    return sock


class Sniffer(threading.Thread):
    """A count of all packets that leave a socket of the namespace, except those of the
    telephones.
    """

    def __init__(self, telephones: Telephones) -> None:
        super().__init__(daemon=True)
        self._telephones = telephones.addresses
        self.raw = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 25)
        self.packets = Counter[tuple[str, int, str]]()
        self.ends = threading.Event()

    def run(self) -> None:
        self.raw.settimeout(0.1)
        while True:
            try:
                data, (_, _, kind, *_) = self.raw.recvfrom(65_535)
            except TimeoutError:
                if self.ends.is_set():  # and all that was sent before is read
                    return
                continue
            if kind == OUTGOING:
                self._count(data)

    def dropped(self) -> int:
        """Return how many packets the kernel did not pass to the sniffer since the last time."""
        return int(struct.unpack("II", self.raw.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1])

    def _count(self, data: bytes) -> None:
        if data[0] >> 4 == 4:
            protocol, size = data[9], (data[0] & 15) * 4
            source, target = (socket.inet_ntoa(data[start : start + 4]) for start in (12, 16))
        else:
            protocol, size = data[6], 40
            source, target = (
                socket.inet_ntop(socket.AF_INET6, data[start : start + 16]) for start in (8, 24)
            )
        if protocol not in (socket.IPPROTO_UDP, socket.IPPROTO_TCP) or len(data) < size + 8:
            return
        source_port, port = struct.unpack_from("!HH", data, size)
        if (source, source_port) in self._telephones:
            return
        payload = data[size + 8 :]
        self.packets[target, port, kind_of(payload, protocol)] += 1


def kind_of(payload: bytes, protocol: int) -> str:
    secret = " with a secret" if any(each in payload for each in SECRETS) else ""
    if match := re.match(rb"([A-Z]+) sips?:|SIP/2\.0 \d", payload):
        return f"{(match[1] or b'response').decode()}{secret}"
    if protocol == socket.IPPROTO_TCP:
        return f"TCP{secret}"
    return "RTCP" if payload[1:2] in (b"\xc8", b"\xc9") else f"RTP{secret}"


SCRIPT = """session: {{turn_detection: full_duplex}}
timeouts: {{upgrade: 2, first_delta: 1}}
steps:
  - audio: {audio}
"""
TARGETS = f"""targets:
  telephone:
    service: sip
    url: sip:agent@{NAMED}:{PORT}
    headers: {{X-Token: "${{TOKEN}}"}}
    auth: basic
    api_key_env: LOGIN
"""


def main(share: int, folder: Path) -> None:
    for line in NETWORK:
        subprocess.run(["ip", *line.split()], check=True)
    found = list(behaviours())[::share]
    telephones = Telephones(found)
    sniffer = Sniffer(telephones)
    telephones.start()
    sniffer.start()
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "call.yaml").write_text(
            SCRIPT.format(audio=ROOT / "scenarios" / "audio" / "uh_huh.wav")
        )
        (Path(name) / "targets.yaml").write_text(TARGETS)
        load = ("-u", str(len(found)), "--sessions", str(len(found)), "--spawn-rate", "50")
        command = [
            sys.executable,
            "-m",
            "rtbench.cli.app",
            "run",
            "call.yaml",
            *load,
            "--targets",
            "telephone",
        ]
        environment = os.environ | {
            "TOKEN": "sniffed-token",
            "LOGIN": "user:password",
            "PYTHONPATH": str(folder),
        }
        result = subprocess.run(
            command, cwd=name, env=environment, capture_output=True, text=True, check=False
        )
    for thread in (telephones, sniffer):
        thread.ends.set()
        thread.join()
    packets = [[*key, count] for key, count in sorted(sniffer.packets.items())]
    output = result.stdout + result.stderr
    numbers = {"behaviours": len(found), "status": result.returncode, "dropped": sniffer.dropped()}
    print(json.dumps(numbers | {"packets": packets, "output": output}))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT)
