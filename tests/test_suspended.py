"""A process that is suspended when a timeout ends. It reads the received data before it decides on
an outcome.

If the arrival of a message is unknown, the outcome is not a timeout of the service. The session
uses a real connection. After it has sent the request, the process is busy, as if it were suspended
by SIGSTOP. It continues when a thread has sent the messages of the service.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from websockets.frames import Close, Frame, Opcode

from bench.base.clock import monotonic_ns
from bench.catalogue.outcomes import STARVED
from bench.catalogue.timeouts import Timeouts
from bench.observe.observation import SessionObservation, TurnObservation
from bench.services.openai.dialect import GA
from bench.transport.connect import kernel_timestamps
from bench.transport.ring import choice
from tests.helpers import (
    MS,
    Listening,
    build_script,
    created,
    delta,
    done,
    reply,
    say,
    seated,
    session_created,
)
from tests.helpers import session_updated as updated
from tests.transport.certificates import Certificate
from tests.transport.tcp_peers import GUARD_S, KINDS, Peer, connected_websocket, wait_until_there

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="kernel stamps are Linux's"
)
LONG = Timeouts(**dict.fromkeys(vars(Timeouts()), GUARD_S))


@pytest.fixture(autouse=True)
def by_epoll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read by epoll: io_uring also receives data while the process does not look."""
    monkeypatch.setattr(choice, "chosen_reader", lambda: choice.ReaderChoice("epoll", ""))


@pytest.fixture(scope="module", autouse=True)
def stamping() -> None:
    """Wait until the kernel timestamps packets. It enables timestamps only after a delay."""
    while not kernel_timestamps(GUARD_S):
        pass


class HeldUp(Listening):
    """A listener that blocks the process after the session has sent the request of the turn."""

    def __init__(self, hold_up: Callable[[], None]) -> None:
        super().__init__()
        self._hold_up, self._sends = hold_up, 2

    def sent(self, wire_bytes: int, audio_bytes: int, lags_ns: Sequence[int | None]) -> None:
        if self.began:
            self._sends -= 1
            if not self._sends:
                self._hold_up()


Said = Sequence[bytes] | Close | None
"""Messages that the peer sends, a close frame, or None for the end of the stream without a close
frame."""


def send_all_messages(peer: Peer, messages: Said) -> None:
    if messages is None:
        peer.do(lambda sock: sock.shutdown(socket.SHUT_WR))
    elif isinstance(messages, Close):
        peer.send(Frame(Opcode.CLOSE, messages.serialize()).serialize(mask=False))
    elif messages:
        peer.send(b"".join(Frame(Opcode.TEXT, data).serialize(mask=False) for data in messages))


def played(
    certificate: Certificate, early: Said, late: Said, *, tls: bool = False
) -> tuple[SessionObservation, TurnObservation]:
    """Run a session whose process is blocked until its service has sent `early` and then `late`.

    The timeout of the first delta ends after `early` was sent and before `late` is sent, however
    long the sends take.
    """
    with connected_websocket(tls, certificate) as (transport, peer):

        def hold_up() -> None:
            send_all_messages(peer, early)
            ends_ns = (wait_until_there(transport._stream) if early != () else monotonic_ns()) + MS
            (turn,) = timeline.turns.open
            timeline.limits = replace(
                LONG, first_delta=(ends_ns - turn.instants["request_sent"]) / 1e9
            )
            while monotonic_ns() < ends_ns + 10 * MS:
                pass
            send_all_messages(peer, late)

        send_all_messages(peer, [session_created(), updated()])
        session, timeline, listening = seated(
            build_script(say(), limits=LONG), transport, HeldUp(hold_up)
        )
        session.run()
    (turn,) = listening.turns
    return timeline.session(), turn


WHOLE = reply(GA, "r1")


@KINDS
def test_a_reply_that_arrived_in_time_counts_even_if_it_is_read_late(
    tls: bool, certificate: Certificate
) -> None:
    session, turn = played(certificate, WHOLE, (), tls=tls)

    assert (session.outcome, turn.outcome) == ("ok", "ok")


@KINDS
def test_a_reply_that_may_have_arrived_in_time_is_not_a_timeout(
    tls: bool, certificate: Certificate
) -> None:
    """If data are read together, they have only one kernel timestamp, which is that of the last
    packet.
    """
    session, turn = played(
        certificate, [created("r1"), delta(GA, "audio", "r1")], [done("r1")], tls=tls
    )

    assert (session.outcome, turn.outcome) == ("ok", STARVED)
    assert "this process did not run" in turn.detail
    assert "(timeout `first_delta`)" in turn.detail


@pytest.mark.parametrize(
    ("early", "late", "outcome"),
    [
        pytest.param((), [], "timeout:first_delta", id="no reply"),
        pytest.param((), [created("r1")], "timeout:first_delta", id="a reply after the limit"),
        pytest.param(None, (), "closed:1006", id="the connection ends within the limit"),
        pytest.param(Close(1011, "sorry"), (), "closed:1011", id="a close frame within it"),
        pytest.param((), Close(1011, "sorry"), "timeout:first_delta", id="a close frame after it"),
    ],
)
def test_only_what_certainly_arrived_too_late_is_a_timeout(
    early: Said, late: Said, outcome: str, certificate: Certificate
) -> None:
    """The close frame and the end of the stream may come in either order. In both cases the
    service has failed.
    """
    session, turn = played(certificate, early, late)

    assert (session.outcome, turn.outcome) == (outcome, outcome)


def test_without_kernel_timestamps_the_arrival_during_a_suspension_is_unknown(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.transport.tcp.enable_timestamps", lambda sock: False)
    session, turn = played(certificate, WHOLE, ())

    assert (session.outcome, turn.outcome, turn.receive_timestamp_source) == (
        "ok",
        STARVED,
        "userspace",
    )
