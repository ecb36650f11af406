"""The tables of clients in rtbench_simulator/README.md. `python -m tools.client_table` writes them
(`make schema`).

The outcomes in the table are the parameters of `tests/system/clients/test_cells.py` and of `make
clients`.
"""

from __future__ import annotations

from pathlib import Path

from tests.clients.cells import CLIENTS
from tools.made_page import made_anew, table

PAGE = Path(__file__).parents[1] / "rtbench_simulator" / "README.md"


def sections() -> dict[str, str]:
    """Return the generated parts of the page by their names."""
    return {"matrix": _matrix()}


def written(page: str) -> str:
    """Return the page with new text in all of its generated parts."""
    return made_anew(page, sections())


def _matrix() -> str:
    """Return the table of clients."""
    rows = []
    for client in CLIENTS:
        rows.append(
            (
                f"{client.name} {client.tried}",
                ", ".join(client.dialects),
                ", ".join(client.not_tried),
            )
        )
    return table(("client", "dialects", "not tried"), rows)


def main() -> None:
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
