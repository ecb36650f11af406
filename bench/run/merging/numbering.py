"""Numbers workers, pairs and blocks anew, so that those of several runs are apart in the run that is made of them.

A session is called `w<worker>-<number>` (`w0-000012`), so its name goes with its worker's number: with an offset of 3
it is `w3-000012`. One rule for rows, transcripts and event logs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bench.foreign import read_json
from bench.run.merging.pairs import PairNumbering

_SESSION_ID = re.compile(r"w(\d{1,9})-(.*)", re.DOTALL | re.ASCII)


@dataclass(frozen=True, eq=False)
class Numbering:
    """How a run is numbered when it becomes a part of the run `run_id`. `workers`: the new number of each worker."""

    run_id: str
    workers: Mapping[int, int]
    pairs: PairNumbering

    def session_id(self, name: str) -> str:
        """The name of a session; one that names no worker is taken for one of worker 0."""
        match = _SESSION_ID.fullmatch(name)
        return f"w{self.workers.get(worker_of(name), 0)}-{match[2] if match else name}"

    def rows(self, batch: pa.RecordBatch, host: str) -> pa.RecordBatch:
        """Rows of any table. `host`: where they were recorded, if they do not say so."""
        columns = {name: self._column(name, batch[name], host) for name in batch.schema.names}
        if "pair" in columns:
            columns |= self._pairs(batch["pair"], batch["block"])
        return pa.RecordBatch.from_pydict(columns, schema=batch.schema)

    def _pairs(self, pair: pa.Array, block: pa.Array) -> dict[str, pa.Array]:
        """The columns `pair` and `block`; a row that is of no pair stays so."""
        if pair.null_count == len(pair):
            return {"pair": pair, "block": block}
        absent = pair.is_null().to_numpy(zero_copy_only=False)
        places = np.searchsorted(self.pairs.numbers, pair.fill_null(self.pairs.numbers[0]).to_numpy())
        new = {"pair": self.pairs.new, "block": self.pairs.blocks}
        return {name: pa.array(values[places], mask=absent) for name, values in new.items()}

    def _column(self, name: str, column: pa.Array, host: str) -> pa.Array:
        match name:
            case "run_id":
                return pa.repeat(self.run_id, len(column))
            case "session_id":
                return self._session_ids(column)
            case "worker":
                numbers = pa.array([*self.workers], pa.int64())
                return pa.array([*self.workers.values()], pa.int64()).take(pc.index_in(column.fill_null(0), numbers))
            case "host":
                return column.fill_null(host)
            case _:
                return column

    def _session_ids(self, column: pa.Array) -> pa.Array:
        """Each name is made once, however many rows have it."""
        names = column.dictionary_encode()
        return pa.array(map(self.session_id, names.dictionary.to_pylist()), pa.string()).take(names.indices)

    def line(self, row: dict[str, Any]) -> bytes:
        """A line of a transcript."""
        return _line(row | {"session_id": self.session_id(str(row["session_id"]))})

    def log_header(self, line: bytes) -> bytes:
        """The first line of an event log. Raises ValueError where it is none."""
        opened: dict[str, Any] = read_json(line)
        about = opened["about"]
        return _line(
            opened | {"about": about | {"run_id": self.run_id, "session_id": self.session_id(about["session_id"])}}
        )

    def incident(self, incident: dict[str, Any]) -> dict[str, Any]:
        """An incident of run.json."""
        return incident | {"worker": self.workers.get(int(incident["worker"]), 0)}


def worker_of(session_id: str) -> int:
    """The number of the worker that a session's name says; 0 where it says none."""
    match = _SESSION_ID.fullmatch(session_id)
    return int(match[1]) if match else 0


def _line(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False) + "\n").encode()
