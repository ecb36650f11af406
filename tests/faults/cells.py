"""The outcome of each fault at each place.

A test uses the outcomes as parameters. The table of rtbench_simulator/README.md is generated from
them. The outcomes are the same with both dialects and both transports, so each pair of a fault and
a place appears once. Faults strike only the first response.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rtbench_simulator.faults.kinds import EVERYWHERE, KINDS
from rtbench_simulator.refusals import AFTER_UPGRADE

OPENING = "session settings"
TURN = "input speech response first_delta next_delta done"
EVENTS = "session settings speech response first_delta next_delta done"


class FaultCase(NamedTuple):
    """A fault and its outcomes. A key of `outcomes` lists the places at which the fault has the
    same outcome.
    """

    fault: str
    outcomes: dict[str, str]
    with_it: str = ""
    """A second fault that the simulator injects together with this one."""
    note: str = ""


class FaultCell(NamedTuple):
    """A fault at one place.

    `outcomes` contains the allowed outcomes of the turn, or of the session if no turn was started.
    `gemini` contains those with Gemini Live; () if only OpenAI has the fault.
    """

    faults: tuple[str, ...]
    place: str
    outcomes: tuple[str, ...]
    gemini: tuple[str, ...]

    @property
    def openai(self) -> bool:
        return not self.gemini

    def __str__(self) -> str:
        return " ".join(self.faults)


NOT_SIMULATED = "connect_failed:400"
"""The outcome if the simulator refuses a connection because its service does not have the fault."""
PLACES = {
    "OPENING TURN": f"{OPENING} {TURN}",
    "OPENING": OPENING,
    "EVENTS": EVENTS,
    "EVERYWHERE": " ".join(EVERYWHERE),
}
CASES: list[FaultCase] = []
GEMINI_CASES: dict[str, dict[str, str]] = {}
"""The outcomes with Gemini Live of the faults whose outcomes differ there. All faults at the places
`session` and `speech` are refused."""
TELEPHONE_CASES: dict[str, str] = {}
"""The outcome of the session for each fault of an answered telephone call."""
for block in Path(__file__).with_name("cells.txt").read_text(encoding="utf-8").split("\n\n"):
    fault, *lines = block.splitlines()
    outcomes, gemini, more = dict[str, str](), dict[str, str](), dict[str, str]()
    for name, _, text in (line.strip().partition(": ") for line in lines if line[0] == " "):
        is_gemini, place = name.startswith("gemini "), name.removeprefix("gemini ")
        if place in ("with", "note"):
            more[place] = text
        else:
            (gemini if is_gemini else outcomes)[PLACES.get(place, place)] = text
    if call := outcomes.get("call"):
        TELEPHONE_CASES[fault] = call
    elif outcomes:
        CASES.append(FaultCase(fault, outcomes, more.get("with", ""), more.get("note", "")))
    if gemini:
        GEMINI_CASES[fault] = gemini


def _with_gemini(fault: str, place: str, outcome: str) -> str:
    if place in ("session", "speech"):
        return NOT_SIMULATED
    cases = GEMINI_CASES.get(fault) or GEMINI_CASES.get(fault.partition(",code")[0], {})
    return next((found for places, found in cases.items() if place in places.split()), outcome)


def cells() -> Iterator[FaultCell]:
    """Yield one cell for each fault of the table and each of its places."""
    for case in CASES:
        kind = case.fault.partition(",")[0]
        for places, outcome in case.outcomes.items():
            for place in places.split():
                at = f",at={place}" if len(KINDS[kind].places) > 1 else ""
                faults = (case.fault + at, *filter(None, [case.with_it]))
                with_gemini = (
                    ()
                    if kind in AFTER_UPGRADE
                    else _with_gemini(case.fault, place, outcome).split(" or ")
                )
                yield FaultCell(faults, place, tuple(outcome.split(" or ")), tuple(with_gemini))
