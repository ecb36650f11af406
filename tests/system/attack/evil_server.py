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
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

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
Step = bytes | Act
"""A step of a behaviour: bytes to send, or an action."""


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


def accepted(*headers: str) -> Act:
    return lambda wire: wire.accept(*headers)


def flooded(data: bytes, pause_s: float = 0.0) -> Act:
    return lambda wire: wire.flood(data, pause_s)


def acting(*steps: Step) -> Act:
    def act(wire: Wire) -> None:
        for step in steps:
            if isinstance(step, bytes):
                wire.send(step)
            else:
                step(wire)

    return act


# Tables contain the behaviours that are fixed sequences of steps. Functions implement the
# behaviours that compute or read between steps.

SWITCHING, CHUNKED = b"HTTP/1.1 101 Switching Protocols\r\n", "Transfer-Encoding: chunked"
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"

# The handshake.

HANDSHAKES: dict[str, tuple[str, *tuple[Step, ...]]] = {
    "endless_headers": (
        "connect_failed:upgrade",
        SWITCHING,
        flooded(b"X-More: and more\r\n" * MANY),
    ),
    "one_endless_header": (
        "connect_failed:upgrade",
        SWITCHING,
        b"X-Long: ",
        flooded(b"a" * 65_536),
    ),
    "a_body_without_end": (
        "connect_failed:500",
        answer("500 No", f"Content-Length: {1 << 40}"),
        flooded(b"no " * 10_000),
    ),
    "chunks_without_end": (
        "connect_failed:500",
        answer("500 No", CHUNKED),
        flooded(b"3\r\nno \r\n" * MANY),
    ),
    "a_refusal_that_commands_the_terminal": (
        "connect_failed:401",
        answer(
            "401 \x1b[2J\x00",
            "X-Request-Id: \x1b]0;x\x07",
            body=b"\x1b[2J\x00\n::set-output name=a::b\n",
        ),
    ),
    "go_on_and_on": ("connect_failed:upgrade", flooded(b"HTTP/1.1 100 Continue\r\n\r\n" * MANY)),
    "deflate_that_nobody_asked_for": ("connect_failed:upgrade", accepted(DEFLATE)),
    "a_subprotocol_that_nobody_asked_for": (
        "connect_failed:upgrade",
        accepted("Sec-WebSocket-Protocol: soap"),
    ),
    "garbage_after_the_upgrade": ("protocol_error:frame", Wire.accept, b"\xff" * 10_000),
    "a_flood_and_no_greeting": (
        "timeout:session",
        Wire.accept,
        flooded(frame(event("rate_limits.updated", rate_limits=[])) * MANY),
    ),
    "pings_and_no_greeting": ("timeout:session", Wire.accept, Wire.ping),
}


@hostile_behaviour("timeout:upgrade")
def drips_its_head(wire: Wire) -> None:
    wire.send(b"HTTP/1.1 101 Switching Protocols\r\nX-Slow: ")
    while True:
        time.sleep(0.002)
        wire.send(b"a")


# Frames, after the greeting.

FRAMES: dict[str, tuple[str, *tuple[Step, ...]]] = {
    "reserved_bits": ("protocol_error:frame", frame(delta(), flags=0xF0)),
    "a_masked_frame": ("protocol_error:frame", b"\x81\x85maskhello"),
    "fragments_without_end": (
        "protocol_error:too_large",
        frame(b"[", flags=0),
        flooded(frame(b"0," * 16_384, 0, flags=0)),
    ),
    "empty_fragments_without_end": (
        "timeout:first_delta",
        frame(b"", flags=0),
        flooded(frame(b"", 0, flags=0) * MANY, TINY_PAUSE_S),
    ),
    "a_frame_that_announces_too_much": (
        "protocol_error:too_large",
        frame(b"", length=(1 << 20) + 1),
        Wire.wait,
    ),
    "a_frame_that_announces_everything": (
        "protocol_error:too_large",
        frame(b"", length=1 << 63),
        Wire.wait,
    ),
    "a_message_too_large": (
        "protocol_error:too_large",
        flooded(frame(delta(audio="A" * (1 << 21)))),
    ),
    "a_message_of_the_largest_size": (
        "ok",
        joined_frames(created(), delta(more="x" * ((1 << 20) - len(delta(more="")))), done()),
    ),
    "a_flood_of_pings": ("timeout:first_delta", Wire.ping),
    "pings_whose_pongs_nobody_reads": ("closed:1006", flooded(frame(b"x" * 125, PING) * MANY)),
    "a_flood_of_pongs": ("timeout:first_delta", flooded(frame(b"", PONG) * MANY, TINY_PAUSE_S)),
    "a_close_code_that_nobody_may_send": (
        "protocol_error:frame",
        frame(struct.pack("!H", 1005), CLOSE),
    ),
    "goes_on_after_its_goodbye": (
        "closed:1000",
        frame(struct.pack("!H", 1000), CLOSE),
        flooded(frame(delta()) * MANY),
    ),
}


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
def drips_its_message(wire: Wire) -> None:
    wire.greet()
    wire.send(frame(b"", length=1 << 19))
    while True:
        time.sleep(0.001)
        wire.send(b" ")


# Events, after the greeting.

EVENTS: dict[str, tuple[str, *tuple[Step, ...]]] = {
    "a_flood_of_deltas": (
        "timeout:response",
        joined_frames(created()),
        flooded(frame(delta()) * 64),
    ),
    "a_flood_of_deltas_of_nothing_announced": ("timeout:response", flooded(frame(delta()) * 64)),
    "a_flood_of_empty_messages": (
        "timeout:first_delta",
        flooded(frame(b"{}") * MANY, TINY_PAUSE_S),
    ),
    "a_flood_after_the_end": ("ok", REPLY, flooded(frame(delta()) * 64)),
    "no_utf8": ("protocol_error:json", joined_frames(b'{"type": "\xff\xfe"}')),
    "deep_json": (
        "protocol_error:json",
        joined_frames(b'{"type": "error", "error": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    ),
}


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


# Agents: `tests/attack/agents.py` contains their misbehaviours in a call; the behaviours below
# concern the transport.

VOICE = b"".join((b"\x00\x80" * 560, b"\xff" * 480)) * 4
"""800 ms of syllables in G.711 µ-law."""
AGENTS: dict[str, tuple[str, str, *tuple[Step, ...]]] = {
    "an_agent_that_resets_while_it_greets": (
        "pcm",
        "closed:reset",
        frame(VOICE[:1_600], BINARY) + frame(VOICE, BINARY)[:100],
        Wire.reset,
    ),
    "an_agent_that_speaks_as_fast_as_it_can": (
        "pcm",
        "limit_exceeded:audio",
        flooded(frame(VOICE, BINARY) * 16),
    ),
    "an_agent_with_a_message_of_audio_without_end": (
        "pcm",
        "protocol_error:too_large",
        frame(VOICE, BINARY, flags=0),
        flooded(frame(VOICE, 0, flags=0) * 16),
    ),
    "an_agent_that_never_reads": (
        "acs",
        "timeout:first_delta",
        flooded(frame(b'{"kind":"StopAudio"}'), TINY_PAUSE_S),
    ),
}


@hostile_behaviour("limit_exceeded:marks", dialect="twilio")
def an_agent_with_a_flood_of_marks(wire: Wire) -> None:
    wire.accept()
    stream = {"streamSid": json.loads(wire.receive(b"start"))["streamSid"]}
    voice = base64.b64encode(VOICE).decode()
    wire.say(json.dumps({"event": "media", "media": {"payload": voice}, **stream}).encode())
    wire.flood(
        frame(json.dumps({"event": "mark", "mark": {"name": "again"}, **stream}).encode()) * MANY
    )


# An interpreter.


def sound(audio: str = AUDIO, **fields: Any) -> bytes:
    return event("session.output_audio.delta", delta=audio, **fields)


def words(text: Any = "hola ", **fields: Any) -> bytes:
    return event("session.output_transcript.delta", delta=text, **fields)


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
INTERPRETERS: dict[str, tuple[str, *tuple[Step, ...]]] = {
    "a_translation_at_another_rate": (
        "failed:audio_format",
        joined_frames(sound(sample_rate=8_000)),
        Wire.wait,
    ),
    "a_translation_that_is_no_base64": (
        "timeout:first_delta",
        joined_frames(sound("%%%")),
        Wire.wait,
    ),
    "a_translation_as_fast_as_it_can": ("limit_exceeded:audio", flooded(frame(sound()) * 64)),
    "a_flood_of_translated_words": (
        "timeout:first_delta",
        flooded(frame(words()) * MANY, TINY_PAUSE_S),
    ),
    "a_translation_that_is_closed_at_once": (
        "closed:1006",
        joined_frames(event("session.closed", usage={"input_seconds": [1]})),
    ),
    "a_translation_of_other_types": (
        "closed:1006",
        joined_frames(
            *(
                event(name, **{field: value})
                for name in ("session.output_transcript.delta", "session.input_transcript.delta")
                for field in ("delta", "elapsed_ms")
                for value in OTHER_TYPES
            ),
            *(event("session.closed", usage=value) for value in OTHER_TYPES),
            *(event("session.updated", session=value) for value in OTHER_TYPES),
        ),
    ),
}
BEHAVIOURS |= {
    name: HostileBehaviour(acting(interpreting, *steps), outcome, False, "translation")
    for name, (outcome, *steps) in INTERPRETERS.items()
}
BEHAVIOURS |= {
    name: HostileBehaviour(acting(*steps), outcome, False, "ga")
    for name, (outcome, *steps) in HANDSHAKES.items()
}
BEHAVIOURS |= {
    name: HostileBehaviour(acting(Wire.greet, *steps), outcome, False, "ga")
    for name, (outcome, *steps) in (FRAMES | EVENTS).items()
}
BEHAVIOURS |= {
    name: HostileBehaviour(acting(Wire.accept, *steps), outcome, False, dialect)
    for name, (dialect, outcome, *steps) in AGENTS.items()
}


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
