"""Numbers workers, pairs and blocks anew, so that those of several runs are apart in the run that is made of them.

A session is called `w<worker>-<number>` (`w0-000012`), so its name goes with its worker's number: with an offset of 3
it is `w3-000012`. One rule for rows, transcripts and event logs. Pairs are numbered by when they began:
who looks at them in their order takes it for that of time, and a run's drift would else be what its parts differ in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bench.foreign import read_json
from bench.run.folder import BLOCK_NS

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
            case "session_id":  # each name is made once, however many rows have it
                names = column.dictionary_encode()
                new = pa.array(map(self.session_id, names.dictionary.to_pylist()), pa.string())
                return new.take(names.indices)
            case "worker":
                numbers = pa.array([*self.workers], pa.int64())
                return pa.array([*self.workers.values()], pa.int64()).take(pc.index_in(column.fill_null(0), numbers))
            case "host":
                return column.fill_null(host)
            case _:
                return column

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


PairIntegers = npt.NDArray[np.int64]


class PairStarts(NamedTuple):
    """The pairs of one run, ascending by the number that it gave them, and when each began (UTC, ns since 1970)."""

    numbers: PairIntegers
    starts_ns: PairIntegers


class PairNumbering(NamedTuple):
    """Where the pairs of one run stand in another: beside the number that each has, the new one and its block."""

    numbers: PairIntegers
    new: PairIntegers
    blocks: PairIntegers


def first_starts(rows: Iterable[PairStarts]) -> PairStarts:
    """When each pair began, from the starts of rows of it, in any order."""
    parts = [part for part in map(_earliest, rows) if part.numbers.size]
    if not parts:
        return PairStarts(np.zeros(0, np.int64), np.zeros(0, np.int64))
    return _earliest(PairStarts(*map(np.concatenate, zip(*parts, strict=True))))


def _earliest(rows: PairStarts) -> PairStarts:
    numbers, place = np.unique(rows.numbers, return_inverse=True)
    starts_ns = np.full(numbers.size, np.iinfo(np.int64).max)
    np.minimum.at(starts_ns, place, rows.starts_ns)
    return PairStarts(numbers, starts_ns)


def numbered_by_start(runs: Sequence[PairStarts], began_utc_ns: int) -> list[PairNumbering]:
    """Number the pairs of all runs together, from 0, in the order in which they began."""
    starts_ns = np.concatenate([run.starts_ns for run in runs])
    new = np.empty(starts_ns.size, np.int64)
    new[np.argsort(starts_ns, kind="stable")] = np.arange(starts_ns.size)
    blocks = np.maximum(starts_ns - began_utc_ns, 0) // BLOCK_NS
    ends = np.cumsum([run.numbers.size for run in runs])[:-1]
    parts = zip(runs, np.split(new, ends), np.split(blocks, ends), strict=True)
    return [PairNumbering(run.numbers, mine, mine_blocks) for run, mine, mine_blocks in parts]
