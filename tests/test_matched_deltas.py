"""A session that matches the deltas of a reply does not wake up for each of them.

`tests/sessions` has the sessions whose turns are the same with and without matched deltas.
"""

from __future__ import annotations

from bench.services.openai.dialect import GA
from bench.transport.interface import DeltaListener, OnMessage, PacedSender
from tests.compiled import needs_compiler
from tests.helpers import (
    MS,
    Service,
    build_script,
    created,
    delta,
    done,
    say,
    seated,
)
from tests.memory_transport import MatchingTransport, PeerAnswer

SETUP = 2
"""The number of times for which a session sleeps until it is set up."""


WORDS = 7


def in_words(response_id: str) -> list[PeerAnswer]:
    """Return a reply that has 100 ms of audio for each word. It ends long after its last delta."""
    answers = [(50 * MS, created(response_id))]
    for place in range(WORDS):
        for kind in ("audio", "transcript"):
            answers.append((100 * MS + place * 20 * MS, delta(GA, kind, response_id)))
    return [*answers, (5_000 * MS, done(response_id))]


@needs_compiler
def test_a_session_sleeps_once_from_the_request_of_a_text_turn_to_its_end() -> None:
    """A wake-up takes longer than the decoding of a message."""
    streams: list[bool] = []

    class Sleeping(MatchingTransport):
        sleeps = 0

        def receive_until(
            self,
            until_ns: int,
            on_message: OnMessage,
            reply: DeltaListener | None = None,
            sender: PacedSender | None = None,
        ) -> None:
            self.sleeps += 1
            assert reply is not None or self.sleeps <= SETUP
            if reply is not None:
                reply.on_streaming = streams.append
            super().receive_until(until_ns, on_message, reply, sender)

    service = Service(turns=[in_words] * 3)
    transport = Sleeping(service, service.greeting())
    session, _, listening = seated(build_script(say(), say(), say()), transport)
    session.run()

    assert [turn.outcome for turn in listening.turns] == ["ok"] * 3
    assert transport.sleeps == SETUP + 3
    assert streams == [True] * 3
    assert transport.matched == 3 * (2 * WORDS - 2)
