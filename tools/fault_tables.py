"""The tables of faults on the pages of the simulator. `python -m tools.fault_tables` writes them
(`make schema`).

The kinds, places and keys of faults come from the simulator. The outcomes are the parameters of
`test_cells.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.files.validation import Choice, Field
from rtbench_simulator.faults.kinds import (
    EVERYWHERE,
    IN_SESSION,
    KINDS,
    OF_TRANSCRIPTS,
    ON_EVENTS,
    PLACES,
    WHEN,
    FaultKind,
)
from rtbench_simulator.refusals import AFTER_UPGRADE, BEFORE_UPGRADE
from tests.faults.cells import CASES, GEMINI_CASES, TELEPHONE_CASES, FaultCase
from tools.made_page import listed, made_anew, table

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "simulator.md", ROOT / "rtbench_simulator" / "README.md"
GATHERED = {EVERYWHERE: "everywhere", IN_SESSION: "in the session", ON_EVENTS: "events"}
GATHERED |= {
    (*places, *OF_TRANSCRIPTS): f"{word}, transcripts" for places, word in GATHERED.items()
}


def tables() -> dict[str, str]:
    """Return each table. The key is the name of the table on the page."""
    return {
        "names": _names(),
        "kinds": _kinds(),
        "places": _places(),
        "when": _when(),
        "outcomes": _outcomes(),
        "gemini": table(("fault", "where", "outcome"), _rows_of_gemini()),
        "telephone": _of_telephones(),
    }


def written(page: str) -> str:
    """Return the page with new tables."""
    return made_anew(page, tables())


def _kinds() -> str:
    return listed(
        (f"{names} ({_where(kind)})", "; ".join((kind.note, *map(_key, kind.keys.items()))))
        for names, kind in _named_kinds()
    )


def _names() -> str:
    return ", ".join(names for names, _ in _named_kinds()) + ".\n"


def _named_kinds() -> Iterator[tuple[str, FaultKind]]:
    """Yield the names and the description of each kind of fault.

    All refusals of one service are yielded as one kind, because the table of outcomes describes
    each refusal.
    """
    for name, kind in KINDS.items():
        alike = next((each for each in (BEFORE_UPGRADE, AFTER_UPGRADE) if name in each), None)
        if alike is None:
            yield f"`{name}`", kind
        elif name == next(iter(alike)):
            note = (
                "Azure refuses by HTTP"
                if alike is BEFORE_UPGRADE
                else "OpenAI refuses after the upgrade: an `error`, a close"
            )
            yield ", ".join(f"`{each}`" for each in alike), replace(kind, note=note)


def _where(kind: FaultKind) -> str:
    """Return the places at which a kind of fault can occur. If there are several, add the
    default place.
    """
    default = f"; {kind.default}" if len(kind.places) > 1 else ""
    return _gathered(kind.places) + default


def _gathered(places: Sequence[str]) -> str:
    """Return the word that stands for exactly these places, or a list of the places if there is
    no such word.
    """
    for all_of_them, word in GATHERED.items():
        if tuple(places) == all_of_them:
            return word
    return ", ".join(places)


def _key(entry: tuple[str, Field[Any]]) -> str:
    """Return the text for a key of a fault: its name, its note and its default.

    `count` has only its name: it is the same for all kinds, and is explained above the table.
    """
    key, field = entry
    if key == "count":
        return "`count`"
    words = f", {' or '.join(field.shape.keywords)}" if isinstance(field.shape, Choice) else ""
    shown = f"{field.default:g}" if isinstance(field.default, int | float) else field.default
    return f"`{key}`: {field.note}{words}" + ("" if shown is None else f" ({shown})")


def _places() -> str:
    return listed((f"`{place}`", note) for place, note in PLACES.items())


def _when() -> str:
    return listed((f"`{key}`", field.note) for key, field in WHEN.items())


def _outcomes() -> str:
    return table(("fault", "where", "outcome"), _outcome_rows())


def _of_telephones() -> str:
    return table(
        ("fault", "outcome"),
        ((f"`{fault}`", f"`{outcome}`") for fault, outcome in TELEPHONE_CASES.items()),
    )


def _rows_of_gemini() -> Iterator[tuple[str, str, str]]:
    for fault, outcomes in GEMINI_CASES.items():
        for places, outcome in outcomes.items():
            yield f"`{fault}`", _gathered(places.split()), _outcome(outcome)


def _outcome_rows() -> Iterator[tuple[str, str, str]]:
    """Yield the rows of the table of outcomes.

    Faults share a row if they have no note and only one outcome, and if this outcome and its places
    are the same.
    """
    shared: dict[tuple[str, str], list[str]] = {}
    for case in CASES:
        cells = [
            (_gathered(places.split()), _outcome(outcome))
            for places, outcome in case.outcomes.items()
        ]
        if len(cells) == 1 and not case.note:
            shared.setdefault(cells[0], []).append(_fault(case))
            continue
        for number, cell in enumerate(cells):
            note = f"; {case.note}" if case.note and number == 0 else ""
            yield _fault(case) if number == 0 else "", cell[0], cell[1] + note
    for cell, faults in shared.items():
        yield ", ".join(faults), *cell


def _fault(case: FaultCase) -> str:
    return f"`{case.fault}`" + (f" and `{case.with_it}`" if case.with_it else "")


def _outcome(outcome: str) -> str:
    return " or ".join(f"`{word}`" for word in outcome.split(" or "))


def main() -> None:
    for page in PAGES:
        page.write_text(written(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
