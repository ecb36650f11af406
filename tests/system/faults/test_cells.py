"""Each fault at each place has the one outcome that docs/metrics.md names, and every turn has a
row.

One simulator injects all faults of a place, each into the session with the fault's number. The
sessions run at the same time, in both dialects of the Realtime API, and with Gemini Live. If an
outcome is a timeout, this timeout is short for the first turn, and all other timeouts are long. No
other part of these tests depends on time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gevent
import numpy as np
import pytest

from bench.catalogue.outcomes import STARVED, meaning, outcome_class
from bench.catalogue.timeouts import Timeouts
from bench.observe.observation import SessionObservation, TurnObservation
from bench.plan.prepared import PreparedCallee, PreparedScript
from bench.plan.recordings import RATE_HZ, Pcm, SpeechSpan
from bench.plan.turns import AudioTurn
from bench.services.gemini.dialect import GEMINI
from bench.services.openai.dialect import GA
from bench.services.openai.preview import PREVIEW
from bench.session.dial import Dialer
from bench.target.tokens import Keyring
from bench.transport.interface import ConnectTimings, Transport
from bench.wire.dialect import Dialect
from bench.wire.settings import TurnDetection
from rtbench_simulator.faults.kinds import (
    EVERYWHERE,
    KINDS,
    OF_RESPONSES,
    OF_SERVER,
    OF_TRANSCRIPTS,
    read_line,
)
from rtbench_simulator.ground_truth_log import read_truth
from tests.examples import some, with_or_without_tls
from tests.faults.cells import NOT_SIMULATED, FaultCell, cells
from tests.helpers import build_script, resolve_target, say
from tests.played_session import played, rows, short_at
from tests.simulator_process import Ready, quick_simulator

pytestmark = pytest.mark.usefixtures("hang_guard")

CELLS = list(cells())
WAYS = [("tls", True), *with_or_without_tls([place for place in EVERYWHERE if place != "tls"])]
LOUD = np.full(RATE_HZ * 3 // 10, 8_000, "<i2").tobytes()


class Attempt(NamedTuple):
    """A cell of the table of faults, tried in one dialect. `url`: the name of the URL in the
    ready file.
    """

    cell: FaultCell
    url: str
    dialect: Dialect

    @property
    def outcomes(self) -> tuple[str, ...]:
        return self.cell.gemini if self.dialect is GEMINI else self.cell.outcomes


def attempts(place: str) -> list[Attempt]:
    """Return the attempts of a place. Its cells alternate between the two dialects of the Realtime
    API, whose outcomes are the same. If `EXAMPLES=all`, each cell is tried in both.
    """
    realtime = (("ga", GA), ("preview", PREVIEW))
    return [
        Attempt(cell, *way)
        for number, cell in enumerate(cell for cell in CELLS if cell.place == place)
        for way in (
            [("openai", GA)] if cell.openai else [*some(realtime, 1, number), ("gemini", GEMINI)]
        )
    ]


def options(place: str, tries: list[Attempt]) -> Iterator[str]:
    """Yield the faults of each attempt, for the session with its number."""
    first = ",responses=1" if place in OF_RESPONSES else ""
    for number, attempt in enumerate(tries, 1):
        for fault in attempt.cell.faults:
            yield from ("--fault", f"{fault},sessions={number}{first}")


def script(attempt: Attempt) -> PreparedScript:
    """Return a script of two turns. If the first turn must end by a timeout, this timeout is
    short.
    """
    limits = short_at([outcome.removeprefix("timeout:") for outcome in attempt.outcomes])
    if attempt.cell.place != "speech":
        return build_script(say("one"), say("two"), dialect=attempt.dialect, limits=limits)
    pcm = Pcm(Path("a.wav"), "loud", LOUD, SpeechSpan(0, len(LOUD) // 2))
    steps = (AudioTurn((pcm,), name=label) for label in ("one", "two"))
    return build_script(
        *steps, dialect=attempt.dialect, limits=limits, turn_detection=TurnDetection()
    )


EMPTY: Mapping[str, Any] = {}


class Turnstile(Dialer):
    """A dialer that exposes its connect timings."""

    phases: ConnectTimings | None = None

    def open(
        self,
        limits: Timeouts,
        phases: ConnectTimings,
        offer_members: Mapping[str, Any] = EMPTY,
        callee: PreparedCallee | None = None,
    ) -> Transport:
        self.phases = phases
        return super().open(limits, phases, offer_members, callee)

    @property
    def through(self) -> bool:
        """True if the connection is in the simulator's queue."""
        return self.phases is not None and "tcp_done" in self.phases.instants


Observed = tuple[SessionObservation, list[TurnObservation]]


def all_played(ready: Ready, tries: list[Attempt], folder: Path) -> list[Observed]:
    """Run the sessions of all attempts at the same time.

    They connect one after another, so that each gets its own number.
    """
    begun = []
    for number, attempt in enumerate(tries, 1):
        target = resolve_target({}, url=ready.urls[attempt.url], ca_file=ready.ca)
        dialer = Turnstile(target, Keyring([target]))
        begun.append(gevent.spawn(played, dialer, script(attempt), folder / str(number)))
        while not (dialer.through or begun[-1].ready()):
            gevent.sleep(0.001)
    return [session.get() for session in begun]


@pytest.mark.parametrize(
    ("place", "tls"), WAYS, ids=lambda way: {True: "tls", False: "plain"}.get(way, way)
)
def test_each_fault_has_its_expected_outcome(place: str, tls: bool, tmp_path: Path) -> None:
    tries, truth = attempts(place), tmp_path / "truth.jsonl"
    given = ["--tls"] if tls else []
    with quick_simulator(
        tmp_path, *given, *options(place, tries), "--ground-truth", str(truth)
    ) as ready:
        observed = all_played(ready, tries, tmp_path)

    came_to = {
        attempt: (turns[0] if turns else session).outcome
        for attempt, (session, turns) in zip(tries, observed, strict=True)
    }
    # A client that is delayed while a timeout passes cannot know whether the service was in time.
    unlike = {
        attempt: outcome
        for attempt, outcome in came_to.items()
        if outcome not in (*attempt.outcomes, STARVED)
    }
    assert not unlike
    for number, (attempt, (session, turns)) in enumerate(zip(tries, observed, strict=True), 1):
        assert_nothing_lost(session, turns, tmp_path / str(number))
        outcomes = (session.outcome, *(turn.outcome for turn in turns))
        assert all(
            meaning(outcome) or outcome_class(outcome) == "success" for outcome in outcomes
        ), attempt
    assert "Traceback" not in ready.output
    struck = {
        (line["connection"], line["type"], line["place"])
        for line in read_truth(truth)
        if line.get("direction") == "fault"
    }
    faults = {
        (number, fault.kind, fault.at): attempt.outcomes[0]
        for number, attempt in enumerate(tries, 1)
        if attempt.cell.outcomes == attempt.outcomes or attempt.outcomes != (NOT_SIMULATED,)
        for fault in map(read_line, attempt.cell.faults)
    }
    missed = [faults[fault] for fault in faults.keys() - struck]
    assert struck <= faults.keys()
    # a delayed simulator injects the fault too late
    assert all(outcome.startswith("timeout:") for outcome in missed)


def assert_nothing_lost(
    session: SessionObservation, turns: list[TurnObservation], folder: Path
) -> None:
    """Assert that each turn that began has an outcome and a row.

    Also assert that the session either continues with a successful turn, or ends with the outcome
    of its last turn.
    """
    outcomes = [turn.outcome for turn in turns]
    assert session.turns_started == session.turns_ended == len(turns)
    assert [row["outcome"] for row in rows(folder, "turns")] == outcomes
    assert [row["outcome"] for row in rows(folder, "sessions")] == [session.outcome]
    if session.outcome == "ok":
        assert outcomes[1:] == ["ok"], outcomes
    else:
        assert outcomes in ([], [session.outcome], ["ok", session.outcome])


def test_each_fault_is_tested_at_each_possible_place() -> None:
    tried = {(fault.kind, fault.at) for cell in CELLS for fault in map(read_line, cell.faults)}
    able = {(name, place) for name, kind in KINDS.items() for place in kind.places}

    elsewhere = {
        (kind, place)
        for kind, place in able
        if kind in (*OF_SERVER, "sip")
        or KINDS[kind].calls
        or place in ("identity", *OF_TRANSCRIPTS)
    }
    assert able - elsewhere == tried
