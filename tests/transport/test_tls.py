"""The decryption of TLS records, in C and in Python. The data and facts do not depend on the
sizes of the reads.
"""

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

from bench.transport.fast import _interpreted, reader
from bench.transport.parser import READ_BYTES, SocketRead
from bench.transport.tls import INCOMING, tls_context
from rtbench_simulator.serving.certificates import loopback_tls
from tests.transport.fake_stream import cut, read

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
    """A decrypter that records the results of each read. Its peer is `server`, which writes to
    `wire`.

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
        left, made = self.decrypter.consume(came), self.decrypter
        reason = None if made.error is None else made.error.reason
        self.heard.append(
            (left, made.heard, made.ended, reason, made.wakes and made.end(), self.outgoing.pending)
        )


ENDS = st.sampled_from(["", "closed", "cut", "goodbye", "garbage"])


def ending(how: str, noting: Noting) -> bytes:
    """Return the last bytes of a peer that ends the connection in the way `how`."""
    if how == "goodbye":
        with suppress(ssl.SSLWantReadError):
            noting.server.unwrap()
        return noting.wire.read()
    return {"garbage": b"\x17\x03\x03\x00\x20" + bytes(32), "cut": b"\x17\x03"}.get(how, b"")


@example(
    sizes=[16_384, 16_384, 16_384, 5], places=[40_000], joined=True, how="garbage", completes=[True]
)
@given(
    sizes=st.lists(st.integers(1, 16_384), min_size=1, max_size=6),
    places=st.lists(st.integers(0, 120_000), max_size=6),
    joined=st.booleans(),
    how=ENDS,
    completes=st.lists(st.booleans(), min_size=1, max_size=4),
)
def test_decrypted_bytes_belong_to_the_read_that_ends_their_record(
    contexts: Contexts,
    sizes: list[int],
    places: list[int],
    joined: bool,
    how: str,
    completes: list[bool],
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
                assert (end.data, end.timestamp_ns, ended) == (
                    b"",
                    read(part, number).timestamp_ns,
                    True,
                )
        assert noting.decrypter.ended == (how != "")
        came.append(noting.heard)

    assert came[0] == came[1]


@EACH
def test_a_tls_error_is_stored_and_data_before_it_are_kept(kind: Any, contexts: Contexts) -> None:
    noting = Noting(kind, contexts)
    noting.take(
        read(
            noting.sent(b"last words") + ending("garbage", noting) + noting.sent(b"after the end"),
            1,
        )
    )
    noting.take(read(noting.sent(b"later"), 2))
    (left, results, ended, reason, end, answer), (later, *_) = noting.heard

    assert (left.data, results, ended, later) == (b"last words", True, True, None)
    assert reason in (
        "DECRYPTION_FAILED_OR_BAD_RECORD_MAC",
        "RECORD_LAYER_FAILURE",
    ), "the latter by OpenSSL 3.5"
    assert (end.data, end.timestamp_ns) == (b"", left.timestamp_ns)
    assert answer, "the alert"
