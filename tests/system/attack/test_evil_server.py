"""One session against each behaviour of an evil server: the session ends with the expected outcome,
within its limits.

At the same time, sessions run one after the other on a normal simulator, and are not affected. If
the expected outcome is a timeout, that timeout is short and all other timeouts are long. Nothing
else in these tests depends on time.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from bench.catalogue.outcomes import meaning, outcome_class
from bench.catalogue.timeouts import Timeouts
from bench.files.values import MAX_ID_CHARACTERS, MAX_TEXT_CHARACTERS
from bench.observe.observation import SessionObservation, TurnObservation
from bench.plan.turns import GreetingTurn
from bench.services.agents import PCM
from bench.services.translation.dialect import TRANSLATION
from bench.session.dial import Dialer
from bench.target.target import Target
from bench.target.tokens import Keyring
from bench.transport import tcp
from bench.wire.dialect import Peer
from bench.wire.settings import FULL_DUPLEX, TurnDetection
from tests.helpers import build_script, play, resolve_target, say
from tests.played_session import LONG, played, rows, short_at
from tests.simulator_process import Ready, quick_simulator
from tests.system.attack.evil_server import BEHAVIOURS, evil_server

pytestmark = pytest.mark.usefixtures("hang_guard")

MEMORY_KB = 256 * 1024
PAUSE_S = 0.25
"""The pause between two sessions on the normal simulator, which would otherwise use a core while
the attacked session waits for its timeout."""


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with quick_simulator(tmp_path_factory.mktemp("simulator")) as ready:
        yield ready


@pytest.fixture(scope="module")
def evil_port() -> Iterator[int]:
    with evil_server() as port:
        yield port


def talk(
    target: Target, folder: Path, limits: Timeouts
) -> tuple[SessionObservation, list[TurnObservation]]:
    """Run a session of one turn. If the target is an agent, the agent begins the turn."""
    detection = TurnDetection(type=FULL_DUPLEX)
    if target.dialect is TRANSLATION:
        script = build_script(play(), dialect=TRANSLATION, limits=limits, turn_detection=detection)
    elif target.dialect.peer is Peer.SERVICE:
        script = build_script(say(), limits=limits)
    else:
        hears: dict[str, Any] = {"output_format": "g711_ulaw"} if target.dialect is PCM else {}
        greeting = GreetingTurn(wait_for="greeting")
        script = build_script(
            greeting, dialect=target.dialect, limits=limits, turn_detection=detection, **hears
        )
    return played(Dialer(target, Keyring([target])), script, folder)


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_hostile_server_gives_one_outcome_and_affects_no_other_session(
    name: str, evil_port: int, simulator: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, outcome, deflate, dialect = BEHAVIOURS[name]
    if outcome == "closed:1006":  # a possible reason is that the server does not read
        monkeypatch.setattr(tcp, "SEND_LIMIT_NS", 300_000_000)
    asked = {"compression": "deflate"} if deflate else {}
    bad = resolve_target(
        {}, url=f"ws://127.0.0.1:{evil_port}/{name}", dialect=dialect, max_message_mib=1, **asked
    )
    good = resolve_target({}, url=simulator.urls["ga"])
    memory_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    attacked = gevent.spawn(
        talk, bad, tmp_path / "attacked", short_at([outcome.removeprefix("timeout:")])
    )
    neighbours: list[tuple[SessionObservation, list[TurnObservation]]] = []
    while not (neighbours and attacked.ready()):
        neighbours.append(talk(good, tmp_path / f"neighbour_{len(neighbours)}", LONG))
        attacked.join(PAUSE_S)
    session, turns = attacked.get()

    ends = turns[0] if turns else session
    assert (ends.outcome, len(turns)) == (outcome, session.turns_started), ends.detail
    assert meaning(outcome) or outcome_class(outcome) == "success"
    assert [row["outcome"] for row in rows(tmp_path / "attacked", "sessions")] == [session.outcome]
    kept = rows(tmp_path / "attacked", "turns")
    assert [row["outcome"] for row in kept] == [turn.outcome for turn in turns]
    assert all(
        len(row[column] or "") <= MAX_ID_CHARACTERS
        for row in kept
        for column in ("response_id", "item_id")
    )
    assert all(len(turn.reply_text) <= MAX_TEXT_CHARACTERS for turn in turns)
    assert {turn.outcome for _, of_one in neighbours for turn in of_one} == {"ok"}
    assert {one.outcome for one, _ in neighbours} == {"ok"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kb < MEMORY_KB
