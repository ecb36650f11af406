"""A damaged part of a worker is named and used as far as it can be read, and the missing data is
counted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bench.record import folder as files
from bench.record.finalize import finalize
from bench.record.spool import FACTS, HISTOGRAMS, path_of, rows_of
from reports.analysis.summary.summary import summarise
from reports.data.runs import load_for_report
from tests.reports.forms import run_text
from tests.system.record.parts import build_part


def retyped(path: Path) -> None:
    """Convert all integers of the rows to text."""
    rows = pa.ipc.open_stream(path.read_bytes()).read_all()
    fields = [
        pa.field(f.name, pa.string() if pa.types.is_integer(f.type) else f.type)
        for f in rows.schema
    ]
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, pa.schema(fields)) as stream:
        stream.write_table(rows.cast(pa.schema(fields)))


def of_another_file(path: Path) -> None:
    rows = pa.table({"turn": ["x"], "other": [[1]]})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, rows.schema) as stream:
        stream.write_table(rows)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwritten(path: Path) -> None:
    """Overwrite bytes in the middle of the file."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(bytes(data))


def facts_changed(**changes: Any) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "turns of other types": (rows_of("turns"), retyped),
    "turns of another file": (rows_of("turns"), of_another_file),
    "a pipe instead of turns": (rows_of("turns"), a_pipe),
    "turns cut in half": (rows_of("turns"), cut_in_half),
    "missing turns": (rows_of("turns"), Path.unlink),
    "overwritten turns": (rows_of("turns"), overwritten),
    "truncated histograms": (
        HISTOGRAMS,
        lambda path: path.write_bytes(path.read_bytes()[:-30] + b"\n"),
    ),
    "facts that are not text": (
        FACTS,
        lambda path: path.write_bytes(b'{"done": true, "pid": \xff}'),
    ),
    "an incident without an instant": (FACTS, facts_changed(incidents=[{"kind": "x"}])),
    "a host without a name": (FACTS, facts_changed(hosts=[{"workers": "many"}])),
    "a negative count of turns": (FACTS, facts_changed(rows={"turns": -1})),
    "deep facts": (
        FACTS,
        lambda path: path.write_text('{"done":' + "[" * 9_000 + "]" * 9_000 + "}"),
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_worker_part_is_named_and_the_other_rows_are_reported(
    damage: str, tmp_path: Path
) -> None:
    folder = build_part(tmp_path, workers=2)
    expected = 18
    name, spoil = DAMAGES[damage]
    spoil(path_of(folder, 1, name))
    document = finalize(folder)

    turns = files.read_table(folder, "turns").to_pylist()
    assert sum(row["worker"] == 0 for row in turns) == expected // 2
    (entry,) = document["missing_workers"]
    assert (entry["worker"], entry["why"].startswith(name)) == (1, True), entry
    missing = expected - len(turns)
    assert entry["turns"] is None or entry["turns"] >= missing
    assert document["validity"]["status"] != "valid" or missing == 0
    output = run_text(summarise(load_for_report(folder)))
    assert "wrote damaged data" in " ".join(output.split())
