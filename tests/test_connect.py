"""Whatever comes of a connect, its timeline has it, and a fault is never a missing session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest
from greenlet import GreenletExit

from bench.connect import connected
from bench.errors import ConnectError
from bench.limits import Limits
from bench.observe import inputs
from bench.observe.observation import SessionObservation
from bench.observe.timeline import Timeline
from bench.protocol.openai_ga import GA
from bench.target.dial import Dialer
from bench.transport.base import Handshake, Phases
from bench.transport.memory import MemoryTransport
from tests.helpers import AT_NS

START = {"connect_start": AT_NS + 5, "dns_done": AT_NS + 6}
HEADERS = {"x-ms-region": "here"}


class FakeDialer:
    """Goes as far as START, then does what it was told to."""

    def __init__(self, end: MemoryTransport | BaseException, token_wait_ns: int = 0) -> None:
        self._end, self._token_wait_ns = end, token_wait_ns

    def open(self, limits: Limits, phases: Phases) -> MemoryTransport:
        phases.instants.update(START)
        phases.token_wait_ns = self._token_wait_ns
        if isinstance(self._end, BaseException):
            raise self._end
        return self._end


def session_of(dialer: FakeDialer) -> tuple[Any, SessionObservation, list[Mapping[str, str]]]:
    """What connecting gave (an exception, if it was raised), the session's observation, the headers that were told."""
    timeline, told = Timeline(AT_NS, 1, Limits(), GA), list[Mapping[str, str]]()
    result: Any
    try:
        result = connected(cast(Dialer, dialer), Limits(), timeline, told.append)
    except BaseException as error:
        result = error
    if not timeline.over:
        timeline.tell(inputs.Finished(AT_NS + 99))
    return result, timeline.session(), told


def test_an_open_connection_is_handed_on_and_its_instants_and_headers_are_known() -> None:
    transport = MemoryTransport(lambda message: ())
    transport.handshake = Handshake(START | {"upgrade_done": AT_NS + 9}, HEADERS)
    dialer = FakeDialer(transport)
    result, session, told = session_of(dialer)

    assert result is transport
    assert session.outcome == "ok"
    assert session.instants["dns_done"] == AT_NS + 6
    assert session.instants["upgrade_done"] == AT_NS + 9
    assert (session.headers, told) == (HEADERS, [HEADERS])


def test_a_wait_for_a_token_is_the_session_s() -> None:
    _, session, _ = session_of(FakeDialer(MemoryTransport(lambda message: ()), token_wait_ns=77))

    assert session.token_wait_ns == 77


def test_a_refusal_is_the_session_s_outcome_with_how_far_it_came() -> None:
    result, session, told = session_of(FakeDialer(ConnectError("refused:401", "HTTP 401: no", HEADERS)))

    assert result is None
    assert (session.outcome, session.detail) == ("refused:401", "HTTP 401: no")
    assert session.instants["dns_done"] == AT_NS + 6
    assert "upgrade_done" not in session.instants
    assert (session.headers, told) == (HEADERS, [HEADERS])


@pytest.mark.parametrize(
    ("error", "outcome", "detail"),
    [
        (GreenletExit(), "abandoned", "the run ended"),
        (RuntimeError("boom"), "failed:harness", "RuntimeError: boom"),
    ],
    ids=["ended", "fault"],
)
def test_what_stops_the_connect_is_an_outcome_and_is_raised_again(
    error: BaseException, outcome: str, detail: str
) -> None:
    result, session, _ = session_of(FakeDialer(error))

    assert result is error
    assert (session.outcome, session.detail) == (outcome, detail)
    assert session.instants["dns_done"] == AT_NS + 6
