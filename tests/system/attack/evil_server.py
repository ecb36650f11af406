"""A server that attacks its client with data that no normal service sends. The path of the URL
names the behaviour.

The simulator produces the failures of normal services (`tests/faults`). This server sends nonsense,
floods and endless data.

    python -m tests.system.attack.evil_server        prints its port, and serves until it is killed

A behaviour is a function of a `Wire`, and has an expected outcome: the outcome of the session's
turn if a turn began, and else the outcome of the session. Each behaviour runs in its own thread of
the server's process. When the function returns, the server closes the connection.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, reduce
from pathlib import Path
from typing import Any, NamedTuple

from tests.attack.cases import hostile_cases, unescaped

ROOT = Path(__file__).parents[3]
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
AUDIO = base64.b64encode((b"\x80\x3e" * 48 + b"\x80\xc1" * 48) * 25).decode()
"""100 ms of a buzz."""
MANY = 512
"""The number of frames in one send of a flood. This many frames always fill the socket of the
peer."""
TINY_PAUSE_S = 0.005


Act = Callable[["Wire"], object]


class HostileBehaviour(NamedTuple):
    """A behaviour and its expected outcome. `deflate`: True if the client offers compression.

    `dialect`: the dialect of the client.
    """

    act: Act
    outcome: str
    deflate: bool
    dialect: str


BEHAVIOURS: dict[str, HostileBehaviour] = {}


def hostile_behaviour(
    outcome: str, *, deflate: bool = False, dialect: str = "ga"
) -> Callable[[Act], Act]:
    """Return a decorator that adds a behaviour to the table by its name."""

    def entered(act: Act) -> Act:
        BEHAVIOURS[act.__name__] = HostileBehaviour(act, outcome, deflate, dialect)
        return act

    return entered


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode() + body


def frame(
    data: bytes, opcode: int = TEXT, *, flags: int = 0x80, length: int | None = None
) -> bytes:
    """Return a frame of the server. `flags`: the FIN and reserved bits; `length`: the length in
    the frame's header.
    """
    size = len(data) if length is None else length
    if size < 126:
        return bytes([flags | opcode, size]) + data
    kind, form = (126, "!H") if size < 1 << 16 else (127, "!Q")
    return bytes([flags | opcode, kind]) + struct.pack(form, size) + data


def event(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, "event_id": "event_1"} | fields).encode()


def created(response_id: str = "r1") -> bytes:
    return event("response.created", response={"id": response_id, "status": "in_progress"})


def delta(response_id: str = "r1", audio: str = AUDIO, **fields: Any) -> bytes:
    return event(
        "response.output_audio.delta",
        **{"response_id": response_id, "item_id": "i1", "delta": audio} | fields,
    )


def done(response_id: str = "r1", status: str = "completed", **fields: Any) -> bytes:
    return event("response.done", response={"id": response_id, "status": status} | fields)


def joined_frames(*messages: bytes) -> bytes:
    return b"".join(map(frame, messages))


REPLY = joined_frames(created(), delta(), done())
"""The frames of a turn that succeeds."""


class Wire:
    """One connection: its raw socket, and the normal steps of a session."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self._left = sock, b""
        self._inflate = zlib.decompressobj(wbits=-15).decompress
        self.head = self._until(b"\r\n\r\n").decode("latin-1")
        self.name = self.head.split(" ", 2)[1].strip("/").partition("?")[0]

    def _more(self) -> None:
        data = self.sock.recv(65_536)
        if not data:
            raise ConnectionError("the client has gone")
        self._left += data

    def _until(self, end: bytes) -> bytes:
        while end not in self._left:
            self._more()
        taken, _, self._left = self._left.partition(end)
        return taken

    def _take(self, count: int) -> bytes:
        while len(self._left) < count:
            self._more()
        taken, self._left = self._left[:count], self._left[count:]
        return taken

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def flood(self, data: bytes, pause_s: float = 0.0) -> None:
        """Send the same bytes until the client disconnects.

        If the client processes the bytes slowly, set `pause_s`. The client still falls behind soon,
        but its kernel then does not buffer the data of a minute.
        """
        while True:
            self.send(data)
            time.sleep(pause_s)

    def accept(self, *headers: str, accept: str = "") -> None:
        """Accept the upgrade."""
        lines = (line.partition(":") for line in self.head.split("\r\n"))
        key = next(value.strip() for name, _, value in lines if name.lower() == "sec-websocket-key")
        right = base64.b64encode(
            hashlib.sha1(key.encode() + MAGIC, usedforsecurity=False).digest()
        ).decode()
        upgrade = (
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {accept or right}",
        )
        self.send(answer("101 Switching Protocols", *upgrade, *headers))

    def say(self, *messages: bytes) -> None:
        self.send(joined_frames(*messages))

    def receive(self, kind: bytes) -> bytes:
        """Read client events up to and including the first of this type; return that event."""
        while True:
            first, second = self._take(2)
            size = second & 0x7F
            if size >= 126:
                size = int.from_bytes(self._take(2 if size == 126 else 8), "big")
            mask, data = self._take(4), self._take(size)
            if first & 0x0F == CLOSE:
                raise ConnectionError("the client says goodbye")
            plain = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
            if first & 0x40:
                plain = self._inflate(plain + b"\x00\x00\xff\xff")
            if b'"' + kind + b'"' in plain:
                return plain

    def greet(self, *headers: str, **session: Any) -> None:
        """Run the session up to the request of the first turn."""
        self.accept(*headers)
        self.say(event("session.created", session={"id": "sess_1", "model": "m"} | session))
        self.receive(b"session.update")
        self.say(event("session.updated", session={"id": "sess_1", "model": "m"} | session))
        self.receive(b"response.create")

    def wait(self) -> None:
        """Send nothing more, and read until the client disconnects."""
        while self.sock.recv(65_536):
            pass

    def reset(self) -> None:
        """Set the socket so that its close sends a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def ping(self) -> None:
        """Send pings without end, and read what the client sends."""
        threading.Thread(target=lambda: _quietly(self.wait), daemon=True).start()
        self.flood(frame(b"", PING) * MANY, TINY_PAUSE_S)


DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"


# The behaviours that are no fixed sequence of steps.


@hostile_behaviour("ok")
def a_message_of_the_largest_size(wire: Wire) -> None:
    wire.greet()
    wire.say(created(), delta(more="x" * ((1 << 20) - len(delta(more="")))), done())


@hostile_behaviour("protocol_error:too_large", deflate=True)
def a_deflate_bomb(wire: Wire) -> None:
    wire.greet(DEFLATE)
    packer = zlib.compressobj(9, wbits=-15)
    # a compressed block that can be repeated
    mebibyte = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    wire.send(frame(mebibyte * 512, flags=0xC0))


@hostile_behaviour("protocol_error:too_large", deflate=True)
def a_deflate_bomb_in_fragments(wire: Wire) -> None:
    wire.greet(DEFLATE)
    packer = zlib.compressobj(9, wbits=-15)
    part = packer.compress(bytes(1 << 19)) + packer.flush(zlib.Z_SYNC_FLUSH)
    wire.send(frame(part, flags=0x40))
    wire.flood(frame(packer.compress(bytes(1 << 19)) + packer.flush(zlib.Z_SYNC_FLUSH), 0, flags=0))


@hostile_behaviour("timeout:first_delta")
def endless_responses(wire: Wire) -> None:
    wire.greet()
    for number in itertools.count():
        wire.say(*(created(f"r{number}_{place}") for place in range(64)))


@hostile_behaviour("limit_exceeded:items")
def endless_items(wire: Wire) -> None:
    wire.greet()
    wire.say(created())
    for number in itertools.count():
        wire.say(*(delta(item_id=f"i{number}_{place}") for place in range(64)))


@hostile_behaviour("ok")
def ten_thousand_unknown_events(wire: Wire) -> None:
    wire.greet()
    for number in range(100):
        wire.say(
            *(
                event(f"response.{'x' * 1_000}.{number}_{place}", response_id="r1")
                for place in range(100)
            )
        )
    wire.send(REPLY)


@hostile_behaviour("ok")
def megabyte_ids(wire: Wire) -> None:
    long = "i" * 200_000
    wire.greet(id=long, voice=long, model=long)
    wire.say(event("conversation.item.added", item={"id": long}), event("x" * 500_000))
    wire.say(event("error", error={"code": long, "message": long, "type": "t"}))
    wire.say(created(long), delta(long, item_id=long))
    wire.say(
        event("response.output_audio_transcript.done", response_id=long, transcript=long),
        done(long),
    )


VOICE = b"".join((b"\x00\x80" * 560, b"\xff" * 480)) * 4
"""800 ms of syllables in G.711 µ-law."""


@hostile_behaviour("limit_exceeded:marks", dialect="twilio")
def an_agent_with_a_flood_of_marks(wire: Wire) -> None:
    wire.accept()
    stream = {"streamSid": json.loads(wire.receive(b"start"))["streamSid"]}
    voice = base64.b64encode(VOICE).decode()
    wire.say(json.dumps({"event": "media", "media": {"payload": voice}, **stream}).encode())
    wire.flood(
        frame(json.dumps({"event": "mark", "mark": {"name": "again"}, **stream}).encode()) * MANY
    )


def interpreting(wire: Wire) -> None:
    """Run a session of an interpreter up to the first audio of its caller."""
    session = {"id": "sess_1", "type": "translation", "model": "m"}
    wire.accept()
    wire.say(event("session.created", session=session))
    wire.receive(b"session.update")
    wire.say(event("session.updated", session=session))
    wire.receive(b"session.input_audio_buffer.append")


OTHER_TYPES: tuple[object, ...] = (None, True, -1, 1e308, [], {}, [[]] * 99, "\x00", "x" * 200_000)
"""Values that no field of an event has."""


@hostile_behaviour("closed:1006", dialect="translation")
def a_translation_of_other_types(wire: Wire) -> None:
    interpreting(wire)
    for name, fields in {
        "session.output_transcript.delta": ("delta", "elapsed_ms"),
        "session.input_transcript.delta": ("delta", "elapsed_ms"),
        "session.closed": ("usage",),
        "session.updated": ("session",),
    }.items():
        for field in fields:
            wire.say(*(event(name, **{field: value}) for value in OTHER_TYPES))


# The table of fixed sequences of steps.

PARTS = {
    b"<delta>": delta(),
    b"<created>": created(),
    b"<done>": done(),
    b"<sound>": event("session.output_audio.delta", delta=AUDIO),
    b"<voice>": VOICE,
    b"<word>": VOICE[:1_600],
    b"<buzz>": AUDIO.encode(),
    b"<cut>": frame(VOICE, BINARY)[:100],
}


def step(word: str, rest: str) -> Act:
    """Return the act of a line of the table."""
    options, payload = re.fullmatch(r"((?:\w+=[\d.]+ ?)*)(.*)", rest).groups()  # type: ignore[union-attr]
    given = {name: float(value) for name, value in re.findall(r"(\w+)=(\S+)", options)}
    times, pause_s = int(given.pop("times", 1)), given.pop("pause", 0.0)
    numbers = {name: int(value) for name, value in given.items()}
    messages = [unescaped(text) for text in payload.split(" | ")]
    messages = [reduce(lambda data, of: data.replace(*of), PARTS.items(), m) for m in messages]
    if word.endswith("_frame"):
        messages = [frame(message, **numbers) for message in messages]
    data = b"".join(messages) * times
    return (lambda wire: wire.flood(data, pause_s)) if "flood" in word else lambda w: w.send(data)


VERBS: dict[str, Callable[[str], Act]] = {
    "accept": lambda header: lambda wire: wire.accept(*filter(None, [header])),
    "greet": lambda _: Wire.greet,
    "interpret": lambda _: interpreting,
    "wait": lambda _: Wire.wait,
    "ping": lambda _: Wire.ping,
    "reset": lambda _: Wire.reset,
    **{word: partial(step, word) for name in ("send", "flood") for word in (name, f"{name}_frame")},
}


def acting(acts: list[Act]) -> Act:
    def act(wire: Wire) -> None:
        for each in acts:
            each(wire)

    return act


TABLE = Path(__file__).with_name("server.txt")
for dialect in ("ga", "pcm", "acs", "translation"):
    for name, case in hostile_cases(TABLE, dialect, VERBS).items():
        BEHAVIOURS[name] = HostileBehaviour(acting(case.steps), case.outcome, False, dialect)


def _quietly(act: Callable[[], object]) -> None:
    with suppress(OSError):
        act()


def _serve(sock: socket.socket) -> None:
    with sock:
        sock.settimeout(60)
        _quietly(lambda: (wire := Wire(sock), BEHAVIOURS[wire.name].act(wire)))


@contextmanager
def evil_server() -> Iterator[int]:
    """Run the server in its own process; yield its port."""
    command = [sys.executable, "-m", "tests.system.attack.evil_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


def main() -> None:
    """Serve on a port of loopback, and print the port."""
    with socket.socket() as listening:
        # a small buffer is soon full if nothing reads
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        print(listening.getsockname()[1], flush=True)
        while True:
            sock, _ = listening.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_serve, args=(sock,), daemon=True).start()


if __name__ == "__main__":
    main()
