"""Event streams over HTTP/2: timestamps of messages, flow control, and peers that break every
rule.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("h2")
pytest.importorskip("botocore")

import msgspec
from botocore.credentials import ReadOnlyCredentials
from hpack import Encoder

from bench.base.clock import Arrival, monotonic_ns
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.causes import ConnectError
from bench.catalogue.timeouts import Timeouts
from bench.protocols.event_stream.messages import encoded_headers, encoded_message
from bench.protocols.event_stream.signing import Signing
from bench.services.nova_sonic.dialect import EVENT_STREAM, NOVA_SONIC
from bench.session.dial import Dialer
from bench.target.target import Target
from bench.target.tokens import Keyring
from bench.transport import event_stream as event_stream
from bench.transport import websocket
from bench.transport.event_stream import EventStream, open_event_stream
from bench.transport.interface import ConnectRequest, ConnectTimings, Transport
from bench.transport.parser import SocketRead
from bench.wire.connection import ReceivedMessage
from tests.simulator_process import GUARD_S

LIMITS = Timeouts(tcp=30, tls=30, upgrade=30)
DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE = (
    *(0, 1),
    *range(3, 9),
)
END_STREAM, END_HEADERS = 1, 4
EVENT_HEADERS = encoded_headers({":event-type": "chunk", ":message-type": "event"})
SEEDS = [range(first, first + 20) for first in range(0, 200, 20)]


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 1) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    payload = b"".join(struct.pack(">HI", *pair) for pair in pairs)
    return frame(SETTINGS, payload, stream=0)


def response(status: str = "200", *more: tuple[str, str], flags: int = END_HEADERS) -> bytes:
    kind = ("content-type", "application/vnd.amazon.eventstream")
    return frame(HEADERS, Encoder().encode([(":status", status), *(more or (kind,))]), flags)


def message(fields: Any) -> bytes:
    encoded = b64encode(msgspec.json.encode(fields))
    return encoded_message(EVENT_HEADERS, b'{"bytes":"' + encoded + b'"}')


EVENT = message({"event": {"completionStart": {}}})
OPENED = settings() + response()


class Server:
    """A server of one connection. It sends what `answer` yields after the client's request; None
    waits until the client has sent more.
    """

    def __init__(self, answer: Callable[[], Iterator[bytes | None]]) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._answer = answer
        self.received = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listening.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/model/x/stream"

    def _run(self) -> None:
        sock, _ = self._listening.accept()
        sock.settimeout(GUARD_S)
        with sock, contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.received += len(sock.recv(65_536))
            for data in self._answer():
                if data is None:
                    self.received += len(sock.recv(65_536))
                elif data == FIN:
                    sock.shutdown(socket.SHUT_WR)
                elif data == b"RESET":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                else:
                    sock.sendall(data)
            while data := sock.recv(65_536):
                self.received += len(data)

    def close(self) -> None:
        self._listening.close()
        self._thread.join(30)


@contextmanager
def connected(answer: Callable[[], Iterator[bytes | None]]) -> Iterator[EventStream]:
    server = Server(answer)
    try:
        transport = open_event_stream(
            ConnectRequest(server.url, [], None, LIMITS, ConnectTimings())
        )
        try:
            yield transport
        finally:
            transport.abort()
    finally:
        server.close()


def received(transport: Transport, count: int) -> list[ReceivedMessage]:
    """Return the next messages, or those until the end of the connection."""
    messages: list[ReceivedMessage] = []

    def take(each: ReceivedMessage) -> bool:
        messages.append(each)
        return len(messages) >= count

    until_ns = monotonic_ns() + 30 * NS_PER_S
    while len(messages) < count and transport.closed is None and monotonic_ns() < until_ns:
        transport.receive_until(until_ns, take)
    return messages


def test_the_last_message_of_a_read_is_exact_and_earlier_ones_have_a_bound() -> None:
    ping = frame(PING, bytes(8), stream=0)
    reads = [
        frame(DATA, EVENT + EVENT) + frame(DATA, EVENT),
        frame(DATA, EVENT[:20]) + frame(DATA, EVENT[20:])[:30],
        frame(DATA, EVENT[20:])[30:] + ping,
    ]
    with connected(lambda: iter([OPENED])) as transport:
        received(transport, 1)
        first, second, last, split = (
            message.arrival
            for number, data in enumerate(reads, 1)
            for message in transport._parse(SocketRead(data, 10 * number, 7, True, True))
        )

    assert (first, second, last) == (Arrival(10, 3), Arrival(10, 3), Arrival(10, 0))
    assert split == Arrival(30, 23), "a frame follows it in its read"


def test_the_size_of_a_message_has_its_frames() -> None:
    def answer() -> Iterator[bytes | None]:
        yield OPENED + frame(DATA, EVENT) + frame(DATA, EVENT[:9]) + frame(DATA, EVENT[9:])

    with connected(answer) as transport:
        _, whole, split = received(transport, 3)

    assert (whole.wire_bytes, split.wire_bytes) == (len(EVENT) + 9, len(EVENT) + 18)


def test_a_send_waits_for_room_and_keeps_the_order() -> None:
    def answer() -> Iterator[bytes | None]:
        yield settings((4, 100)) + response()
        yield None
        for _ in range(200):
            yield frame(WINDOW_UPDATE, struct.pack(">I", 100))

    with connected(answer) as transport:
        received(transport, 1)
        offered = transport.try_send(b'{"event":{"a":"' + b"x" * 2_000 + b'"}}')
        sent = transport.flush()

    assert offered is None
    assert sent is not None
    assert sent.wire_bytes > 2_000 * 4 / 3


NO_ERROR, INTERNAL_ERROR, CANCEL = 0, 2, 8
FIN = b"FIN"


def reset(code: int, stream: int = 1) -> bytes:
    return frame(RST_STREAM, struct.pack(">I", code), stream=stream)


def goaway(code: int, last: int = 1, words: bytes = b"") -> bytes:
    return frame(GOAWAY, struct.pack(">II", last, code) + words, stream=0)


END = frame(DATA, flags=END_STREAM)


@pytest.mark.parametrize(
    ("ending", "cause", "reason"),
    [
        ([END], "end_stream", "HTTP/2 END_STREAM"),
        ([END + reset(CANCEL)], "end_stream", "HTTP/2 END_STREAM, then RST_STREAM CANCEL"),
        ([END + reset(CANCEL, 3)], "end_stream", "HTTP/2 END_STREAM"),
        ([END + reset(CANCEL)[:-1]], "end_stream", "HTTP/2 END_STREAM"),
        ([frame(DATA, EVENT[:9], END_STREAM)], "end_stream", "HTTP/2 END_STREAM within a message"),
        ([reset(CANCEL)], "rst_stream", "HTTP/2 RST_STREAM CANCEL"),
        ([reset(INTERNAL_ERROR)], "rst_stream", "HTTP/2 RST_STREAM INTERNAL_ERROR"),
        ([reset(99)], "rst_stream", "HTTP/2 RST_STREAM 99"),
        ([goaway(NO_ERROR, 0)], "goaway", "HTTP/2 GOAWAY NO_ERROR"),
        ([goaway(NO_ERROR) + END], "goaway", "HTTP/2 GOAWAY NO_ERROR, then END_STREAM"),
        ([goaway(INTERNAL_ERROR, 1, b"bye")], "goaway", "HTTP/2 GOAWAY INTERNAL_ERROR: bye"),
        (
            [goaway(NO_ERROR), FIN],
            "goaway",
            "HTTP/2 GOAWAY NO_ERROR, then the end of the connection",
        ),
    ],
)
def test_the_end_of_a_stream_names_its_frames_and_has_no_close_code(
    ending: list[bytes], cause: str, reason: str
) -> None:
    with connected(lambda: iter([OPENED + frame(DATA, EVENT), *ending])) as transport:
        received(transport, 9)
        end = transport.closed

    assert end is not None
    assert (end.code, end.cause, end.reason, end.ours) == (0, cause, reason, False)


def test_a_service_that_shuts_down_may_end_its_streams_first() -> None:
    answer = OPENED + goaway(NO_ERROR) + frame(DATA, EVENT) + END
    with connected(lambda: iter([answer])) as transport:
        _, event = received(transport, 9)

    assert event.data == b'{"event":{"completionStart":{}}}'


QUOTE = "AN-AWS-SECRET-KEY and AN-AWS-SESSION-TOKEN are wrong"
QUOTES: dict[str, list[bytes]] = {
    "refusal": [
        settings() + response("403", ("x-amzn-errortype", "AccessDeniedException:http://x")),
        frame(DATA, msgspec.json.encode({"message": QUOTE}), END_STREAM),
    ],
    "end before the answer": [
        settings() + frame(GOAWAY, struct.pack(">II", 0, 2) + QUOTE.encode(), stream=0)
    ],
    "end": [OPENED + frame(GOAWAY, struct.pack(">II", 0, 2) + QUOTE.encode(), stream=0)],
    "cut end": [
        OPENED + frame(GOAWAY, struct.pack(">II", 0, 2) + b" " * 180 + QUOTE.encode(), stream=0)
    ],
    "exception": [
        OPENED,
        frame(
            DATA,
            encoded_message(
                encoded_headers({":exception-type": "validationException"}),
                msgspec.json.encode({"message": QUOTE}),
            ),
            END_STREAM,
        ),
    ],
}


@pytest.mark.parametrize("answer", QUOTES)
def test_the_credentials_that_a_service_quotes_are_hidden(
    answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = ("AN-AWS-SECRET-KEY", "AN-AWS-SESSION-TOKEN")
    found = Signing(ReadOnlyCredentials("KEY", *secrets), "us-east-1")
    monkeypatch.setattr(event_stream, "signing_for", lambda host: found)
    server = Server(lambda: iter(QUOTES[answer]))
    target = Target(
        host="127.0.0.1",
        port=server.port,
        tls=False,
        resource="/x",
        dialect=NOVA_SONIC,
        service="nova-sonic",
        link=EVENT_STREAM,
        label="here",
        auth=None,
    )
    keyring = Keyring([target])
    try:
        transport = Dialer(target, keyring).open(LIMITS, ConnectTimings())
    except ConnectError as error:
        texts = [error.detail]
    else:
        texts = [each.data.decode() for each in received(transport, 9)]
        texts.append(transport.closed.reason if transport.closed else "")
        transport.abort()
    finally:
        server.close()

    quotes = " ".join(map(keyring.redact, texts))
    assert "***" in quotes
    assert "AN-AWS" not in quotes


DEEP = b'{"bytes":"","x":' + b"[" * 5_000 + b"]" * 5_000 + b"}"


@pytest.mark.parametrize(
    "broken",
    [
        EVENT[:-4] + b"\1\2\3\4",
        encoded_message(EVENT_HEADERS, DEEP),
        encoded_message(EVENT_HEADERS, b'{"bytes":1}'),
        struct.pack(">II", 16, 1 << 20) + bytes(8),
    ],
    ids=["checksum", "deep JSON", "no text", "length"],
)
def test_a_message_before_a_broken_one_of_its_frame_is_passed_on(broken: bytes) -> None:
    with connected(lambda: iter([OPENED + frame(DATA, EVENT + broken)])) as transport:
        _, event = received(transport, 3)
        end = transport.closed

    assert event.data == b'{"event":{"completionStart":{}}}'
    assert end is not None
    assert end.code == 1002


def test_an_announced_shutdown_adds_no_message() -> None:
    answer = OPENED + goaway(NO_ERROR) * 1_000 + frame(DATA, EVENT)
    with connected(lambda: iter([answer])) as transport:
        _, event = received(transport, 2)

    assert event.data == b'{"event":{"completionStart":{}}}'


def test_a_service_that_sends_but_does_not_read_is_not_given_more_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What arrives while a send waits is stored. Two windows hold it, then the service must
    wait.
    """
    monkeypatch.setattr(event_stream, "WINDOW_BYTES", 1 << 18)
    large = frame(DATA, message({"event": {"x": "y" * 9_000}}))

    def answer() -> Iterator[bytes | None]:
        yield settings((4, 10)) + response()
        yield None
        for _ in range(1_000):
            yield large
            yield frame(WINDOW_UPDATE, struct.pack(">I", 1))

    with connected(answer) as transport:
        received(transport, 1)
        sent = transport.send(b'{"event":{"x":"' + b"y" * 9_000 + b'"}}')
        stored = sum(len(each.data) for each in transport._came)
        end = transport._end

    assert sent is None
    assert end is not None
    assert end.code == 1002
    assert stored < 1 << 19


def test_a_service_that_takes_a_byte_at_a_time_ends_a_send(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_stream, "SEND_LIMIT_NS", 200 * NS_PER_MS)
    done = threading.Event()

    def answer() -> Iterator[bytes | None]:
        yield settings((4, 10)) + response()
        yield None
        for _ in range(100):
            done.wait(0.02)
            yield frame(WINDOW_UPDATE, struct.pack(">I", 1))
        yield frame(WINDOW_UPDATE, struct.pack(">I", 1 << 20))

    with connected(answer) as transport:
        received(transport, 1)
        sent = transport.send(b'{"event":{"x":"' + b"y" * 9_000 + b'"}}')
        end = transport.closed
        done.set()

    assert sent is None
    assert end is not None
    assert "0.2 s" in end.reason


def test_a_refusal_names_the_address_to_which_it_redirects() -> None:
    def answer() -> Iterator[bytes | None]:
        location = ("location", "https://eu.example/model/x/stream?sig=abc")
        yield settings() + response("307", location, flags=END_HEADERS | END_STREAM)

    with connected(answer) as transport:
        (one,) = received(transport, 1)

    error = msgspec.json.decode(one.data)["error"]
    assert (error["type"], error["code"]) == ("connect_failed", "307")
    assert error["message"].endswith("; it redirects to https://eu.example/model/x/stream?sig=***")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "HTTP/1, and not in HTTP/2"),
        (b"", "reset by peer|without an answer"),
    ],
)
def test_a_server_without_http_2_is_named(answer: bytes, reason: str) -> None:
    server = Server(lambda: iter([answer, b"RESET"] if not answer else [answer]))
    try:
        with pytest.raises(ConnectError, match=reason) as raised:
            open_event_stream(ConnectRequest(server.url, [], None, LIMITS, ConnectTimings()))
    finally:
        server.close()

    assert raised.value.outcome == "connect_failed:upgrade"


# Peers that break every rule.

Part = Callable[[random.Random], bytes]
BROKEN: list[Part] = [
    lambda r: b"RESET",
    lambda r: frame(GOAWAY, struct.pack(">II", r.choice([0, 1]), r.choice([0, 1, 11, 99])) + b"w"),
    lambda r: frame(GOAWAY, bytes(r.randrange(8)), stream=0),
    lambda r: frame(DATA, EVENT[:8] + b"\1\2\3\4" + EVENT[12:]),  # the checksum of the prelude
    lambda r: frame(DATA, EVENT[:-4] + b"\1\2\3\4"),
    lambda r: frame(DATA, encoded_message(b"\x05:date\x63", b"")),
    lambda r: frame(DATA, encoded_message(EVENT_HEADERS, r.choice([b"", b"{", b'{"bytes":1}']))),
    lambda r: frame(DATA, encoded_message(EVENT_HEADERS, b'{"bytes":"!"}')),
    lambda r: frame(DATA, encoded_message(b"", b"[]")),
    lambda r: frame(DATA, encoded_message(encoded_headers({":exception-type": "x" * 999}), b"")),
    lambda r: r.randrange(16_385, 1 << 24).to_bytes(3, "big") + bytes(6) + bytes(99),
    lambda r: frame(DATA, EVENT)[: r.randrange(1, 60)],
    lambda r: frame(DATA, bytes(r.randrange(256) for _ in range(r.randrange(60)))),
    lambda r: frame(DATA, EVENT) * r.choice([1, 70, 300]),
    lambda r: frame(DATA, b"") * r.choice([1, 500]),
    lambda r: frame(DATA, EVENT, stream=r.choice([0, 2, 3])),
    lambda r: frame(DATA, EVENT[:30], END_STREAM),
    lambda r: frame(RST_STREAM, struct.pack(">I", r.choice([0, 2, 8, 999]))),
    lambda r: frame(RST_STREAM, b"x"),
    lambda r: settings((4, 0)),  # no room for the client's events
    lambda r: settings((4, 1 << 31)),
    lambda r: settings((5, r.choice([0, 1 << 24]))),
    lambda r: frame(SETTINGS, b"xyz", stream=0),
    lambda r: settings() * 100,
    lambda r: frame(PING, bytes(8), stream=0) * r.choice([1, 100]),
    lambda r: frame(WINDOW_UPDATE, struct.pack(">I", r.choice([0, 1, (1 << 31) - 1]))),
    lambda r: frame(PUSH_PROMISE, struct.pack(">I", 2), END_HEADERS),
    lambda r: response(r.choice(["200", "403", "100", "x", ""])),
    lambda r: response("200", ("content-type", "text/html")) + frame(DATA, b"<html>"),
    lambda r: response("429", ("retry-after", "9")) + frame(DATA, b"{" * 70, END_STREAM),
    lambda r: frame(HEADERS, bytes(r.randrange(256) for _ in range(40)), END_HEADERS),
    lambda r: frame(HEADERS, b"", 0),
    lambda r: frame(9, b"x" * 99, END_HEADERS),
    lambda r: frame(r.randrange(10, 255), b"x" * r.randrange(99)),
    lambda r: bytes(r.randrange(256) for _ in range(r.randrange(1, 200))),
]


def hostile(seed: int) -> Callable[[], Iterator[bytes | None]]:
    rng = random.Random(seed)

    def answer() -> Iterator[bytes | None]:
        parts = [BROKEN[seed % len(BROKEN)], *rng.choices(BROKEN, k=rng.randrange(4))]
        if rng.random() < 0.9:
            yield settings()
        if rng.random() < 0.8:
            yield response()
        for part in parts:
            data = part(rng)
            cut = rng.randrange(len(data) + 1) if data != b"RESET" and rng.random() < 0.3 else 0
            if cut:
                yield data[:cut]
            yield data[cut:]
        if rng.random() < 0.5:
            yield b"RESET"

    return answer


@pytest.mark.parametrize("seeds", SEEDS)
def test_a_connection_with_a_hostile_peer_ends(
    seeds: range, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "SEND_LIMIT_NS", 100 * NS_PER_MS)
    monkeypatch.setattr(websocket, "GOODBYE_NS", 50 * NS_PER_MS)
    for seed in seeds:
        check_ends(seed)


def check_ends(seed: int) -> None:
    limits = Timeouts(tcp=30, tls=30, upgrade=0.2)
    server = Server(hostile(seed))
    try:
        transport = open_event_stream(
            ConnectRequest(server.url, [], None, limits, ConnectTimings())
        )
    except ConnectError as error:
        assert error.outcome in ("connect_failed:upgrade", "timeout:upgrade", "connect_failed:tcp")
        return
    finally:
        if "transport" not in locals():
            server.close()
    messages: list[ReceivedMessage] = []

    def keep(each: ReceivedMessage) -> bool:
        messages.append(each)
        return False

    for _ in range(3):
        if transport.try_send(b'{"event":{"x":"' + b"y" * 40_000 + b'"}}') is None:
            transport.flush()
        transport.receive_until(
            monotonic_ns() + 20 * NS_PER_MS, lambda m: messages.append(m) or False
        )
    transport.close()
    server.close()

    assert transport.closed is not None
    assert transport.send(b"{}") is None
    assert all(isinstance(each.data, bytes) for each in messages)
    assert len(transport._data) <= 1 << 17
