"""The tables of clients in docs/simulator.md. `python -m tools.client_table` writes them (`make schema`).

The outcomes in the tables are the parameters of `tests/system/clients/test_cells.py` and of the benchmark.
"""

from __future__ import annotations

from pathlib import Path

from tests.clients.cells import ROWS, STEPS
from tools.made_page import made_anew, table

PAGE = Path(__file__).parents[1] / "docs" / "simulator.md"


def sections() -> dict[str, str]:
    """Return the generated parts of the page by their names."""
    return {"matrix": _matrix()}


def written(page: str) -> str:
    """Return the page with new text in all of its generated parts."""
    return made_anew(page, sections())


def _matrix() -> str:
    """Return the table of clients. Dialects share a row if a client has the same results with all of them."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for row in ROWS:
        tried = {step: row.outcome(step) for step in STEPS}
        failed = {step: outcome for step, outcome in tried.items() if outcome not in {"pass", "–"}}
        passed = [step for step, outcome in tried.items() if outcome == "pass"]
        held = "all" if len(passed) == len(STEPS) else ", ".join(passed)
        held += "".join(f"; {step}: {outcome}" for step, outcome in failed.items())
        alike.setdefault((row.client, held, row.where), []).append(row.dialect)
    rows = ((client, ", ".join(dialects), held, where) for (client, held, where), dialects in alike.items())
    return table(("client", "dialects", "steps that pass", "tried by"), rows)


def main() -> None:
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
