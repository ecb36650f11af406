"""The table of agents of others in tools/peers/README.md. `python -m tools.peers.table` writes it
(`make schema`).
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from tools.made_page import made_anew, table
from tools.peers.peers import PEERS

ROOT = Path(__file__).parents[2]
PAGE, STORED = Path(__file__).with_name("README.md"), Path(__file__).with_name("results.json")
STORED_RELAYED = Path(__file__).with_name("relayed.json")


class Row(msgspec.Struct):
    """The last results of one peer. `works` states what does, and `problems` what does not."""

    version: str
    date: str
    calls: int
    values: int
    clean: int
    """The number of values of replies without jitter before them, which have one true instant."""
    beyond: int
    median_error_ms: float | None
    problems: str = ""


class RelayedRow(msgspec.Struct):
    """The calls to one agent through a relay with jitter: the reported counts of packets, and
    the true ones.
    """

    agent: str
    version: str
    date: str
    marked: str
    """The packets that have the marker."""
    jitter_ms: int
    calls: int
    packets: int
    lost: int
    true_lost: int
    late: int
    true_late: int
    most: int
    """The largest difference in one call, in packets."""
    stall_ms: float


def stored() -> dict[str, Row]:
    return msgspec.json.decode(STORED.read_bytes(), type=dict[str, Row]) if STORED.exists() else {}


def store(rows: dict[str, Row]) -> None:
    ordered = {peer.name: rows[peer.name] for peer in PEERS if peer.name in rows}
    STORED.write_bytes(msgspec.json.format(msgspec.json.encode(ordered), indent=2) + b"\n")


def sections() -> dict[str, str]:
    """Return the generated parts of the page by their names."""
    rows, cells = stored(), []
    for peer in PEERS:
        if (row := rows.get(peer.name)) is None:
            continue
        error = "–" if row.median_error_ms is None else f"{row.median_error_ms:.2f} ms"
        works = (
            f"{row.calls} calls"
            if not row.values
            else f"{row.calls} calls, {row.values} values ({row.clean})"
        )
        beyond = f"{row.beyond}" if row.values else "–"
        cells.append(
            (
                f"{peer.name} {row.version}",
                row.date,
                peer.how,
                works,
                error,
                beyond,
                row.problems or "–",
            )
        )
    head = (
        "agent",
        "date",
        "how it was run",
        "what works",
        "median error",
        "beyond the bound",
        "what does not",
    )
    return {"peers": table(head, cells), "relayed": relayed_table()}


def stored_relayed() -> list[RelayedRow]:
    return (
        msgspec.json.decode(STORED_RELAYED.read_bytes(), type=list[RelayedRow])
        if STORED_RELAYED.exists()
        else []
    )


def store_relayed(rows: list[RelayedRow]) -> None:
    """Store rows in place of those of the same agent and jitter."""
    old = {(row.agent, row.jitter_ms): row for row in stored_relayed()}
    new = old | {(row.agent, row.jitter_ms): row for row in rows}
    names = [peer.name for peer in PEERS]
    ordered = sorted(new.values(), key=lambda row: (names.index(row.agent), row.jitter_ms))
    STORED_RELAYED.write_bytes(msgspec.json.format(msgspec.json.encode(ordered), indent=2) + b"\n")


def relayed_table() -> str:
    head = (
        "agent",
        "date",
        "marker",
        "jitter",
        "calls",
        "never arrived (true)",
        "late (true)",
        "difference",
        "stalls",
    )
    cells = [
        (
            f"{row.agent} {row.version}",
            row.date,
            row.marked,
            f"{row.jitter_ms} ms",
            f"{row.calls}",
            f"{row.lost} ({row.true_lost}) of {row.packets}",
            f"{row.late} ({row.true_late})",
            f"{row.most}",
            f"{row.stall_ms:.0f} ms",
        )
        for row in stored_relayed()
    ]
    return table(head, cells)


def written(page: str) -> str:
    """Return the page with new text in all of its generated parts."""
    return made_anew(page, sections())


def main() -> None:
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
