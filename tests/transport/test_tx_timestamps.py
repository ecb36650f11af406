"""Transmit timestamps: the kernel's answers, the messages to which they belong, and the answers
of a real socket.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base import clock
from bench.base.clock import monotonic_ns
from bench.transport import tx_timestamps
from bench.transport.tx_timestamps import (
    ACKNOWLEDGED,
    FLAGS,
    OPT_ID_TCP,
    PLACES,
    RECEIVED_ERRORS,
    SENT,
    SO_TIMESTAMPING,
    TIMESTAMPING,
    TxReport,
    TxTimestamps,
    read_tx_report,
)
from bench.wire.connection import Transmitted
from tests.examples import thorough
from tests.simulator_process import GUARD_S
from tests.transport.certificates import Certificate
from tests.transport.tcp_peers import KINDS, connected

S = 1_000_000_000
WALL_NS, NOW_NS = 1_700_000_000 * S, 50 * S
Ancillary = list[tuple[int, int, bytes]]


def timestamp(realtime_ns: int) -> tuple[int, int, bytes]:
    return (
        socket.SOL_SOCKET,
        SO_TIMESTAMPING,
        struct.pack("qqqqqq", *divmod(realtime_ns, S), 0, 0, 0, 0),
    )


def word(
    kind: int, place: int, *, origin: int = TIMESTAMPING, family: int = 0
) -> tuple[int, int, bytes]:
    """Return a `sock_extended_err`. The address of the offender follows it."""
    return *RECEIVED_ERRORS[family], struct.pack(
        "IBBBBII", 42, origin, 0, 0, 0, kind, place
    ) + bytes(16)


def answered(kind: int, place: int, realtime_ns: int = WALL_NS) -> Ancillary:
    return [timestamp(realtime_ns), word(kind, place)]


# The content of an answer.


@thorough
@given(
    ancillary=st.lists(
        st.tuples(
            st.sampled_from([0, socket.SOL_SOCKET, 41]),
            st.sampled_from([11, 25, 35, SO_TIMESTAMPING]),
            st.binary(),
        )
    )
)
def test_any_message_of_the_error_queue_can_be_read(ancillary: Ancillary) -> None:
    answer = read_tx_report(ancillary)

    assert answer is None or (answer.kind in (SENT, ACKNOWLEDGED) and 0 <= answer.position < PLACES)


@thorough
@given(
    kind=st.sampled_from([SENT, ACKNOWLEDGED]),
    place=st.integers(0, PLACES - 1),
    realtime_ns=st.integers(0, 1 << 62),
    family=st.sampled_from([0, 1]),
    others=st.lists(
        st.tuples(st.just(socket.SOL_SOCKET), st.sampled_from([1, 35]), st.binary()), max_size=2
    ),
    data=st.data(),
)
def test_a_timestamp_report_is_found_in_any_order_among_other_messages(
    kind: int, place: int, realtime_ns: int, family: int, others: Ancillary, data: st.DataObject
) -> None:
    ancillary = data.draw(
        st.permutations([timestamp(realtime_ns), word(kind, place, family=family), *others])
    )

    assert read_tx_report(ancillary) == TxReport(kind, place, realtime_ns)


# The message of an answer.


class FakeSocket:
    """A socket that accepts given numbers of bytes. Its kernel refuses the timestamp flags
    `refused`.
    """

    def __init__(self, *, refused: int = 0) -> None:
        self.refused, self.flags = refused, 0
        self.takes: deque[int] = deque()
        self.answers: deque[Ancillary] = deque()

    def setsockopt(self, level: int, option: int, flags: int) -> None:
        assert (level, option) == (socket.SOL_SOCKET, SO_TIMESTAMPING)
        if flags & self.refused:
            raise OSError
        self.flags = flags

    def send(self, data: Any) -> int:
        return self.takes.popleft() if self.takes else len(data)

    def sendmsg(self, buffers: list[Any], ancillary: Ancillary) -> int:
        assert [kind[:2] for kind in ancillary] == [(socket.SOL_SOCKET, SO_TIMESTAMPING)]
        return self.send(buffers[0])

    def recvmsg(self, size: int, room: int, flags: int) -> tuple[bytes, Ancillary, int, None]:
        assert flags & socket.MSG_ERRQUEUE
        assert flags & socket.MSG_DONTWAIT
        if not self.answers:
            raise BlockingIOError
        return b"", self.answers.popleft(), 0, None


@pytest.fixture
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the monotonic clock and the wall clock."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(clock, "now_with_realtime", lambda: (NOW_NS, WALL_NS))


def tx_timestamps_of(sock: FakeSocket) -> TxTimestamps:
    return TxTimestamps(sock)  # type: ignore[arg-type]


SENDS = st.lists(st.tuples(st.integers(1, PLACES - 1), st.booleans()), min_size=1, max_size=12)


@thorough
@given(sends=SENDS, data=st.data())
def test_every_report_is_assigned_to_its_send_for_any_number_of_bytes(
    sends: list[tuple[int, bool]], data: st.DataObject
) -> None:
    """The kernel counts bytes modulo 2**32, and may accept only a part of a message.

    Acknowledgements arrive in order.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "platform", "linux")
        patch.setattr(clock, "now_with_realtime", lambda: (NOW_NS, WALL_NS))
        sock = FakeSocket()
        timestamps = tx_timestamps_of(sock)
        written = 0
        for count, stamped in sends:
            sock.takes.append(count)
            assert timestamps.send(b"data", stamped=stamped) == count
            written += count
            if stamped:
                sent, acknowledged = data.draw(st.booleans()), data.draw(st.booleans())
                kinds = [SENT] * sent + [ACKNOWLEDGED] * acknowledged
                sock.answers += [answered(kind, (written - 1) % PLACES) for kind in kinds]
                assert timestamps.pop() == [
                    Transmitted(timestamps.ticket, NOW_NS, kind == ACKNOWLEDGED) for kind in kinds
                ]


TWICE: list[tuple[int, ...]] = [
    *2 * [(SENT, 3), (SENT, 7)],
    (ACKNOWLEDGED, 7),
    (SENT, 7),
    (ACKNOWLEDGED, 7),
]
ANSWERS: dict[str, tuple[int, list[tuple[int, ...]], list[tuple[int, int, bool]]]] = {
    # (number of sends of four bytes; answers: kind, byte position, offset from now; results:
    # ticket, offset, acknowledged)
    "an acknowledgement also covers earlier sends": (
        3,
        [(ACKNOWLEDGED, 7), (SENT, 3), (SENT, 7), (ACKNOWLEDGED, 11)],
        [(8, 0, True), (12, 0, True)],
    ),
    "a retransmission keeps the first timestamp": (
        2,
        TWICE,
        [(4, 0, False), (8, 0, False), (8, 0, True)],
    ),
    "timestamps do not decrease": (
        1,
        [(SENT, 3, -100), (ACKNOWLEDGED, 3, -130)],
        [(4, -100, False), (4, -100, True)],
    ),
    "a timestamp from before a clock step is dropped": (
        1,
        [(SENT, 3, 1), (ACKNOWLEDGED, 3)],
        [(4, 0, True)],
    ),
    "a very old timestamp is dropped": (1, [(SENT, 3, -61 * S), (ACKNOWLEDGED, 3)], [(4, 0, True)]),
}


@pytest.mark.usefixtures("_now")
@pytest.mark.parametrize(("sends", "answers", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_each_plausible_report_is_returned_once(
    sends: int, answers: list[tuple[int, ...]], expected: list[tuple[int, int, bool]]
) -> None:
    sock = FakeSocket()
    timestamps = tx_timestamps_of(sock)
    for _ in range(sends):
        timestamps.send(b"1234", stamped=True)
    sock.answers += [answered(kind, place, WALL_NS + sum(after)) for kind, place, *after in answers]

    assert timestamps.pop() == [
        Transmitted(ticket, NOW_NS + after, acked) for ticket, after, acked in expected
    ]
    assert not timestamps.owed


@pytest.mark.usefixtures("_now")
def test_unexpected_reports_are_removed_from_the_queue_and_ignored() -> None:
    sock = FakeSocket()
    timestamps = tx_timestamps_of(sock)
    sock.answers += [answered(SENT, 3), [], answered(ACKNOWLEDGED, 3)]
    timestamps.drain()

    assert not sock.answers
    assert not timestamps.owed


@pytest.mark.usefixtures("_now")
@pytest.mark.parametrize(
    ("refused", "flags"),
    [
        (0, tx_timestamps.NEWEST_FIRST[0]),
        (1 << 17, FLAGS | OPT_ID_TCP),
        (1 << 17 | OPT_ID_TCP, FLAGS),
    ],
)
def test_an_older_kernel_is_asked_for_fewer_flags(refused: int, flags: int) -> None:
    sock = FakeSocket(refused=refused)

    assert tx_timestamps_of(sock).enabled
    assert sock.flags == flags


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_without_kernel_support_a_send_has_no_ticket(
    platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    sock = FakeSocket(refused=FLAGS)
    timestamps = tx_timestamps_of(sock)
    sock.answers.append(answered(SENT, 3))

    assert not timestamps.enabled
    assert timestamps.send(b"1234", stamped=True) == 4
    assert (timestamps.ticket, timestamps.owed, timestamps.pop()) == (0, False, [])


# Real sockets.


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield both ends of a loopback connection. The first end does not block."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname(), GUARD_S)
        theirs, _ = listening.accept()
    with ours, theirs:
        ours.setblocking(False)
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield ours, theirs


def timestamps_or_skip(sock: socket.socket) -> TxTimestamps:
    timestamps = TxTimestamps(sock)
    if not timestamps.enabled:
        pytest.skip("this platform has no transmit stamps")
    return timestamps


def reports_of(timestamps: TxTimestamps, sock: socket.socket, answers: int) -> list[Transmitted]:
    """Return at least `answers` timestamps. A poll of the socket waits for them in its error
    queue.
    """
    reports: list[Transmitted] = []
    poll = select.poll()
    poll.register(sock, 0)  # poll always reports errors
    while len(reports) < answers:
        assert poll.poll(GUARD_S * 1_000), "the kernel owes an answer"
        reports += timestamps.pop()
    return reports


def test_the_kernel_reports_when_bytes_were_transmitted_and_acknowledged(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    timestamps = timestamps_or_skip(ours)
    timestamps.send(b"before")
    before_ns = monotonic_ns()
    timestamps.send(b"this one", stamped=True)
    sent, acknowledged = reports_of(timestamps, ours, 2)

    assert (
        (sent.ticket, sent.acknowledged)
        == (acknowledged.ticket, False)
        == (timestamps.ticket, False)
    )
    assert acknowledged.acknowledged
    assert before_ns <= sent.at_ns <= acknowledged.at_ns <= monotonic_ns()
    assert theirs.recv(64) == b"beforethis one"


@KINDS
def test_a_stream_reports_when_its_data_were_transmitted(
    tls: bool, certificate: Certificate
) -> None:
    """With TLS, the handshake writes bytes to the socket before the first message."""
    with connected(tls, certificate) as (stream, peer):
        unstamped = stream.write(b"one")
        handed = stream.write(b"two", stamped=True)
        if not handed.ticket:
            pytest.skip("this platform has no transmit stamps")
        peer.do(lambda sock: sock.recv(64))
        reports: list[Transmitted] = []
        until_ns = monotonic_ns() + int(GUARD_S * 1e9)
        while len(reports) < 2 and monotonic_ns() < until_ns:
            stream.read(monotonic_ns() + 1_000_000)
            reports += stream.transmitted()

    assert unstamped.ticket == 0
    assert [(one.ticket, one.acknowledged) for one in reports] == [
        (handed.ticket, False),
        (handed.ticket, True),
    ]
    assert handed.at_ns <= reports[0].at_ns <= reports[1].at_ns
