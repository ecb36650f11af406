"""Functions that change rows of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reports.analysis.summary.summary import Summary, summarise
from reports.data.runs import load_for_report


class Columns(dict[str, list[Any]]):
    """The columns of a table. The key is the name of the column.

    A column is read when it is used for the first time, because a test needs only two or three of a
    hundred columns.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __missing__(self, name: str) -> list[Any]:
        self[name] = self.table[name].to_pylist()
        return self[name]


class Row(Mapping[str, Any]):
    """A row of a table. `row | {…}` returns a row in which these values are changed."""

    def __init__(self, columns: Columns, place: int, changes: Mapping[str, Any]) -> None:
        self.columns, self.place, self.changes = columns, place, changes

    def __getitem__(self, name: str) -> Any:
        return self.changes[name] if name in self.changes else self.columns[name][self.place]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns.table.column_names)

    def __len__(self) -> int:
        return self.columns.table.num_columns

    def __or__(self, changes: Mapping[str, Any]) -> Row:
        return Row(self.columns, self.place, {**self.changes, **changes})


def edit(folder: Path, table: str, change: Callable[[int, Row], Row | None]) -> Path:
    """Change the rows of a table of a run. Return the folder of the run.

    `change` is called with the number of each row and the row. It returns the changed row, or None
    to remove the row.
    """
    path = folder / f"{table}.parquet"
    stored = pq.read_table(path)
    columns = Columns(stored)
    every = (change(index, Row(columns, index, {})) for index in range(len(stored)))
    rows = [row for row in every if row is not None]
    edited = stored.take(pa.array([row.place for row in rows], pa.int64()))
    for name in {name: None for row in rows for name in row.changes}:
        place = stored.schema.get_field_index(name)
        values = pa.array([row[name] for row in rows], stored.schema.field(place).type)
        edited = edited.set_column(place, stored.schema.field(place), values)
    pq.write_table(edited, path)
    return folder


def edited(folder: Path, change: Callable[[int, Row], Row | None], table: str = "turns") -> Summary:
    """Change rows of a run, and return the summary of the run."""
    return summarise(load_for_report(edit(folder, table, change)))


def waiting(folder: Path, times: Callable[[Row], float]) -> Path:
    """Multiply the latency to the first audio of each turn by `times(row)`. Return the folder of
    the run.
    """

    def change(_: int, row: Row) -> Row:
        asked_ns, first_ns = row["speech_end_at_ns"], row["first_audio_at_ns"]
        by = 1.0 if first_ns is None else times(row)
        return (
            row
            if by == 1
            else row | {"first_audio_at_ns": asked_ns + round((first_ns - asked_ns) * by)}
        )

    return edit(folder, "turns", change)


def slowed(folder: Path, times: float, target: str = "") -> Path:
    """Multiply the latencies by `times` in the second half of a run.

    If `target` is given, only the turns of this target are changed. Return the folder of the run.
    """
    starts_ns = pq.read_table(folder / "turns.parquet", columns=["start_ns"])["start_ns"].to_numpy()
    middle_ns = (starts_ns.min() + starts_ns.max()) / 2
    return waiting(
        folder,
        lambda row: times if row["start_ns"] > middle_ns and target in ("", row["target"]) else 1.0,
    )
