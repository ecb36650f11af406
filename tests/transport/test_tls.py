"""The decryption of TLS records, in C and in Python. The data and facts do not depend on the sizes of the reads."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.simulator.serving.certificates import loopback_tls
from bench.transport.fast import _interpreted, reader
from bench.transport.socket_read import READ_BYTES, SocketRead
from bench.transport.tls import INCOMING, tls_context
from tests.helpers import delta
from tests.transport.fake_stream import cut, read, text
from tests.transport.replies import GA, Reply

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]
EACH = pytest.mark.parametrize("kind", [reader, _interpreted], ids=["C", "Python"])


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls") / "ca.pem"


@pytest.fixture(scope="module")
def contexts(ca: Path) -> Contexts:
    """Return the TLS context of a server, and the context of a client that trusts this server."""
    return loopback_tls(ca), tls_context(ca)


class Noting:
    """A decrypter that records the results of each read. Its peer is `server`, which writes to `wire`.

    `first` contains the data that the server sends together with the end of the handshake.
    """

    def __init__(self, kind: Any, contexts: Contexts, first: bytes = b"") -> None:
        to_server, self.wire, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = contexts[0].wrap_bio(to_server, self.wire, server_side=True)
        client = contexts[1].wrap_bio(INCOMING, self.outgoing, server_hostname="localhost")
        self.decrypter = kind.Decrypter(client, INCOMING, self.outgoing)
        with pytest.raises(ssl.SSLWantReadError):
            self.decrypter.shake_hands(b"")
        for _ in range(2):
            to_server.write(self.outgoing.read())
            with suppress(ssl.SSLWantReadError):
                self.server.do_handshake()
                self.server.write(first)
            with suppress(ssl.SSLWantReadError):
                self.decrypter.shake_hands(self.wire.read())
        self.heard: list[tuple[Any, ...]] = []

    def records(self, sizes: Sequence[int]) -> list[bytes]:
        """Return one encrypted record for each of these data sizes."""
        return [self.sent(bytes([size % 251]) * size) for size in sizes]

    def sent(self, data: bytes) -> bytes:
        self.server.write(data)
        return self.wire.read()

    def take(self, came: SocketRead) -> None:
        left, made = self.decrypter.sift(came), self.decrypter
        reason = None if made.error is None else made.error.reason
        self.heard.append((left, made.heard, made.ended, reason, made.wakes and made.end(), self.outgoing.pending))


ENDS = st.sampled_from(["", "closed", "cut", "goodbye", "garbage"])


def ending(how: str, noting: Noting) -> bytes:
    """Return the last bytes of a peer that ends the connection in the way `how`."""
    if how == "goodbye":
        with suppress(ssl.SSLWantReadError):
            noting.server.unwrap()
        return noting.wire.read()
    return {"garbage": b"\x17\x03\x03\x00\x20" + bytes(32), "cut": b"\x17\x03"}.get(how, b"")


@example(sizes=[16_384, 16_384, 16_384, 5], places=[40_000], joined=True, how="garbage", completes=[True])
@given(
    sizes=st.lists(st.integers(1, 16_384), min_size=1, max_size=6),
    places=st.lists(st.integers(0, 120_000), max_size=6),
    joined=st.booleans(),
    how=ENDS,
    completes=st.lists(st.booleans(), min_size=1, max_size=4),
)
def test_decrypted_bytes_belong_to_the_read_that_ends_their_record(
    contexts: Contexts, sizes: list[int], places: list[int], joined: bool, how: str, completes: list[bool]
) -> None:
    came: list[list[tuple[Any, ...]]] = []
    for kind in (reader, _interpreted):
        noting = Noting(kind, contexts)
        whole = noting.records(sizes)
        last = ending(how, noting)
        ends = list(itertools.accumulate(map(len, whole)))
        wire = b"".join(whole) + last
        edges = [*([] if joined else ends), *range(READ_BYTES, len(wire), READ_BYTES), *places]
        parts = [*cut(wire, edges), *([b""] if how in ("closed", "cut") else [])]
        at, opened = 0, b""
        for number, part in enumerate(parts):
            complete = completes[number % len(completes)]
            noting.take(read(part, number, complete=complete))
            left, _, ended, _, end, _ = noting.heard[-1]
            at += len(part)
            sent = sum(size for size, edge in zip(sizes, ends, strict=True) if edge <= at)
            assert (left is None) == (sent == len(opened))
            if left is not None:
                opened += left.data
                assert left[1:] == read(part, number, complete=left.is_complete)[1:]
                assert left.is_complete <= complete
                if not last or at <= ends[-1]:
                    assert left.is_complete == (complete and at in ends)
            assert opened == b"".join(bytes([size % 251]) * size for size in sizes)[:sent]
            if end:
                assert (end.data, end.timestamp_ns, ended) == (b"", read(part, number).timestamp_ns, True)
        assert noting.decrypter.ended == (how != "")
        came.append(noting.heard)

    assert came[0] == came[1]


@EACH
def test_a_tls_error_is_stored_and_data_before_it_are_kept(kind: Any, contexts: Contexts) -> None:
    noting = Noting(kind, contexts)
    noting.take(read(noting.sent(b"last words") + ending("garbage", noting) + noting.sent(b"after the end"), 1))
    noting.take(read(noting.sent(b"later"), 2))
    (left, results, ended, reason, end, answer), (later, *_) = noting.heard

    assert (left.data, results, ended, later) == (b"last words", True, True, None)
    assert "MAC" in reason
    assert (end.data, end.timestamp_ns) == (b"", left.timestamp_ns)
    assert answer, "the alert"


@EACH
def test_an_answer_that_tls_requires_wakes_the_listener(kind: Any, contexts: Contexts) -> None:
    noting = Noting(kind, contexts)
    noting.take(read(noting.sent(b"hello"), 1))
    assert not noting.decrypter.wakes
    noting.outgoing.write(b"as for a key update")
    noting.take(read(noting.sent(b"hello"), 2))

    assert noting.decrypter.wakes
    assert not noting.decrypter.ended


@EACH
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_data_received_with_the_end_of_the_handshake_are_decrypted_with_the_next_read(
    kind: Any, contexts: Contexts, ca: Path, version: ssl.TLSVersion
) -> None:
    client = tls_context(ca)
    client.maximum_version = version
    noting = Noting(kind, (contexts[0], client), b"first ")
    noting.take(read(noting.sent(b"second"), 1))

    assert noting.heard[0][0].data == b"first second"


@EACH
def test_connections_that_are_read_in_turn_do_not_mix_their_data(kind: Any, contexts: Contexts) -> None:
    notings = [Noting(kind, contexts) for _ in range(3)]
    sent = [noting.sent(bytes([65 + number]) * 20_000) for number, noting in enumerate(notings)]
    broken = Noting(kind, contexts)
    for begin in range(0, len(sent[0]), 1_000):
        for noting, wire in zip(notings, sent, strict=True):
            noting.take(read(wire[begin : begin + 1_000], begin))
        broken.take(read(ending("garbage", broken) + bytes(100), begin))

    came = [b"".join(left.data for left, *_ in noting.heard if left) for noting in notings]
    assert came == [bytes([65 + number]) * 20_000 for number in range(3)]


@pytest.mark.skipif(not reader.COMPILED, reason="deltas are matched in C")
def test_matched_deltas_of_decrypted_data_are_due_until_they_are_handed_on(contexts: Contexts) -> None:
    known = delta(GA, "audio", "r1")
    (event,) = GA.decode(known)
    noting, matcher, reply = Noting(reader, contexts), reader.MessageReader(), Reply()
    matcher.add_template(known, event)
    matcher.keeps_texts = True
    matcher.expect(plain=True)
    matcher.begin(reply)
    noting.decrypter.matcher = matcher
    noting.take(read(noting.sent(text(known)), 1))
    assert noting.heard[0][0] is None
    assert noting.decrypter.due
    noting.decrypter.hand_on()

    assert [one.data for one in reply.matched] == [known]
    assert not noting.decrypter.due
