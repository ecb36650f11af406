"""Sessions whose turns are refused for the service's limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from bench.limits import LONGEST_HOLD_NS
from bench.observe.observation import TurnObservation
from bench.plan.prepared import PreparedScript
from tests.helpers import MS, GuardedTransport, Listening, S, Service, build_script, created, done, play, say, seated
from tests.memory_transport import PeerAnswer


def throttled(words: str) -> Callable[[str], Iterable[PeerAnswer]]:
    """A response that is refused at once."""
    error = {"type": "requests", "code": "rate_limit_exceeded", "message": words}
    return lambda response_id: [
        (5 * MS, created(response_id)),
        (6 * MS, done(response_id, "failed", type="failed", error=error)),
    ]


class Played:
    """A patient session that was played to its end; the run ends after so many ns."""

    def __init__(self, script: PreparedScript, service: Service, ends_ns: int = 1 << 62) -> None:
        transport = GuardedTransport(service)
        start_ns = transport.now_ns()
        self.turns: list[TurnObservation] = []
        session, self.timeline, _ = seated(
            script, transport, self._listener(), lambda: transport.now_ns() - start_ns > ends_ns
        )
        session.play()
        self.lasted_ns = transport.now_ns() - start_ns

    def _listener(self) -> Listening:
        played = self

        class Noting(Listening):
            def turn_ended(self, turn: TurnObservation) -> None:
                played.turns.append(turn)

        return Noting()

    def gap_ns(self) -> int:
        """From the end of the first turn to the begin of the second."""
        first, second = self.turns[:2]
        return second.start_ns - first.instants["ended"]


def texts(count: int) -> PreparedScript:
    return build_script(*(say(f"say_{number}") for number in range(count)))


GAPS = {
    "for as long as was asked": ("Limit reached. Please try again in 6.232s.", 6_232 * MS),
    "not at all where no wait is asked for": ("You exceeded your quota.", 0),
    "for ten minutes where hours are asked for": ("Please try again in 6h0m0s.", LONGEST_HOLD_NS),
}


@pytest.mark.parametrize(("words", "gap_ns"), GAPS.values(), ids=GAPS)
def test_the_next_turn_waits(words: str, gap_ns: int) -> None:
    played = Played(texts(2), Service(turns=[throttled(words)]))

    assert [turn.outcome for turn in played.turns] == ["throttled:response", "ok"]
    assert played.gap_ns() == gap_ns


def test_after_the_last_turn_nobody_waits() -> None:
    played = Played(texts(1), Service(turns=[throttled("Please try again in 20s.")]))

    assert played.lasted_ns < S
    assert played.timeline.session().outcome == "ok"


def test_a_session_that_waits_ends_when_the_run_does() -> None:
    played = Played(texts(2), Service(turns=[throttled("Please try again in 20s.")]), ends_ns=2 * S)

    assert [turn.outcome for turn in played.turns] == ["throttled:response"]
    assert played.timeline.session().outcome == "unfinished"
    assert played.lasted_ns < 3 * S


def test_spoken_turns_wait_too() -> None:
    service = Service(turns=[throttled("Please try again in 250ms.")])
    played = Played(build_script(play(label="a"), play(label="b")), service)

    assert played.gap_ns() >= 250 * MS
