"""The run.json and the numbering of a merged run, computed from its parts. Pure.

Workers, pairs and blocks get new numbers, so that the numbers of several runs do not collide. A
session is called `w<worker>-<number>` (`w0-000012`), so its name depends on its worker's number.
With an offset of 3, its name becomes `w3-000012`. The same rule applies to rows, transcripts and
event logs. Pairs are numbered in the order in which they started, because readers assume this
order. With another order, the differences between parts would look like a drift of the run.

The document is created here before the rows are counted. The counts are added later.
"""

# Each key of run.json has one of four rules. It is equal in all parts, because the merge refuses
# others (definitions of metrics, scripts). It is copied if it is equal, and absent otherwise. It is
# a sum, a maximum, or the whole period, if that has a meaning for all parts together. Or it is only
# in `parts`, as it was. Only `host`, the machine that leads, is that of the first part.
#
# Merging happens after the runs, so nothing here can change a load. What makes the sums doubtful is
# stated as a notice: parts that did not overlap, different prices or warm-ups, equal seeds, missing
# parts.

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bench.base.units import NS_PER_S
from bench.files.safe_io import read_json
from bench.record.document import KILLED, ORDINARY_ENDS, SCHEMA_VERSION, IncidentEntry
from bench.record.folder import BLOCK_NS
from bench.record.whole_run import sum_text, summed

_SESSION_ID = re.compile(r"w(\d{1,9})-(.*)", re.DOTALL | re.ASCII)


@dataclass(frozen=True, eq=False)
class RunNumbering:
    """The new numbers of one run in the merged run `run_id`. `workers` has the new number of
    each worker.
    """

    run_id: str
    workers: Mapping[int, int]
    pairs: PairNumbering

    def session_id(self, name: str) -> str:
        """Return the new name of a session. A name that does not contain a worker's number
        belongs to worker 0.
        """
        match = _SESSION_ID.fullmatch(name)
        return f"w{self.workers.get(worker_of(name), 0)}-{match[2] if match else name}"

    def rows(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows of any table with their new numbers and names."""
        columns = {name: batch[name] for name in batch.schema.names}
        columns["run_id"] = pa.repeat(self.run_id, len(batch))
        indexes = pc.index_in(columns["worker"], pa.array([*self.workers], pa.int64()))
        columns["worker"] = pa.array([*self.workers.values()], pa.int64()).take(indexes)
        if "session_id" in columns:  # each new name is made only once, even if many rows have it
            names = columns["session_id"].dictionary_encode()
            new_names = pa.array(map(self.session_id, names.dictionary.to_pylist()), pa.string())
            columns["session_id"] = new_names.take(names.indices)
        if "pair" in columns and columns["pair"].null_count < len(batch):
            pair = columns["pair"]
            # rows without a pair remain without one
            absent = pair.is_null().to_numpy(zero_copy_only=False)
            indexes = np.searchsorted(
                self.pairs.numbers, pair.fill_null(self.pairs.numbers[0]).to_numpy()
            )
            new = {"pair": self.pairs.new, "block": self.pairs.blocks}
            columns |= {
                name: pa.array(values[indexes], mask=absent) for name, values in new.items()
            }
        return pa.RecordBatch.from_pydict(columns, schema=batch.schema)

    def line(self, row: dict[str, Any]) -> bytes:
        return _line(row | {"session_id": self.session_id(str(row["session_id"]))})

    def log_header(self, line: bytes) -> bytes:
        """Return the new first line of an event log. Raise ValueError if `line` is not such a
        first line.
        """
        opened: dict[str, Any] = read_json(line)
        about = opened["about"]
        return _line(
            opened
            | {
                "about": (
                    about
                    | {
                        "run_id": self.run_id,
                        "session_id": self.session_id(about["session_id"]),
                    }
                )
            }
        )

    def incident(self, incident: IncidentEntry) -> IncidentEntry:
        return {**incident, "worker": self.workers.get(incident["worker"], 0)}


def worker_of(session_id: str) -> int:
    """Return the worker's number in the name of a session; 0 if the name contains no worker's
    number.
    """
    match = _SESSION_ID.fullmatch(session_id)
    return int(match[1]) if match else 0


def _line(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False) + "\n").encode()


PairIntegers = npt.NDArray[np.int64]


class PairStarts(NamedTuple):
    """The numbers of a run's pairs, in ascending order, and the start of each pair (UTC, ns
    since 1970).
    """

    numbers: PairIntegers
    starts_ns: PairIntegers


class PairNumbering(NamedTuple):
    """The old number, the new number, and the new block of each pair of one run."""

    numbers: PairIntegers
    new: PairIntegers
    blocks: PairIntegers


def first_starts(rows: Iterable[PairStarts]) -> PairStarts:
    """Return the start of each pair: the earliest start of its rows. The rows may be in any
    order.
    """
    starts = [pair_starts for pair_starts in map(_earliest, rows) if pair_starts.numbers.size]
    if not starts:
        return PairStarts(np.zeros(0, int), np.zeros(0, int))
    return _earliest(PairStarts(*map(np.concatenate, zip(*starts, strict=True))))


def _earliest(rows: PairStarts) -> PairStarts:
    numbers, indexes = np.unique(rows.numbers, return_inverse=True)
    starts_ns = np.full(numbers.size, np.iinfo(np.int64).max)
    np.minimum.at(starts_ns, indexes, rows.starts_ns)
    return PairStarts(numbers, starts_ns)


def numbered_by_start(runs: Sequence[PairStarts], started_utc_ns: int) -> list[PairNumbering]:
    """Return new numbers for the pairs of all runs together. They are numbered from 0, in the
    order of their starts.
    """
    starts_ns = np.concatenate([run.starts_ns for run in runs])
    new = np.empty(starts_ns.size, int)
    # stable: pairs that started at the same instant are numbered in the order of their parts
    new[np.argsort(starts_ns, kind="stable")] = np.arange(starts_ns.size)
    # clocks of hosts differ, so a pair may seem to start before the first run
    blocks = np.maximum(starts_ns - started_utc_ns, 0) // BLOCK_NS
    ends = np.cumsum([run.numbers.size for run in runs])[:-1]
    pieces = zip(runs, np.split(new, ends), np.split(blocks, ends), strict=True)
    return [
        PairNumbering(run.numbers, run_numbers, run_blocks)
        for run, run_numbers, run_blocks in pieces
    ]


ADDED_SETTINGS = frozenset(
    {"num_users", "spawn_rate", "sessions", "max_concurrent", "connect_rate"}
)
"""The settings that are summed over all parts."""
Document = Mapping[str, Any]
Documents = Sequence[Document]


def merged_document(
    run_id: str, writer: Document, tool: Document, documents: Documents, entries: Sequence[Document]
) -> dict[str, Any]:
    """Return the run.json of the merged run `run_id`, before its rows are counted.

    `documents` are those of the finalized parts, in the order of their starts. `entries` are their
    `PartEntry`. Equal values of a key are copied, and those that can be added are summed. All
    others are only in the key `parts`.
    """
    leader = documents[0]
    common = _common(documents)
    delays_s = [document.get("start_delays_s") or {} for document in documents]
    estimates_usd = [document.get("estimate_usd") for document in documents]
    # unusual reasons come first
    reasons = dict.fromkeys(str(document["stop_reason"]) for document in documents)
    merged = {
        "schema": SCHEMA_VERSION,
        "definitions_version": leader["definitions_version"],
        "tool": tool,
        "run_id": run_id,
        "scenario": common.get("scenario") or run_id,
        "simulated": None,
        "state": "closing",
        "started_utc_ns": min(document["started_utc_ns"] for document in documents),
        "ended_utc_ns": max(document["ended_utc_ns"] for document in documents),
        "stop_reason": "; ".join(
            sorted(reasons, key=lambda reason: reason.startswith(ORDINARY_ENDS))
        ),
        "writer": writer,
        "settings": _settings([document.get("settings") or {} for document in documents]),
        "targets": _targets(documents),
        "scripts": leader.get("scripts") or [],
        "host": leader["host"],
        "workers": sum(len(entry["workers"]) for entry in entries),
        "notices": [],
        "labels": _common([document.get("labels") or {} for document in documents]),
        "parts": list(entries),
        "warmup_s": max(document.get("warmup_s") or 0.0 for document in documents),
        "budget_usd": _sum(documents, "budget_usd"),
        "estimate_usd": (
            [sum(ends) for ends in zip(*estimates_usd, strict=True)] if all(estimates_usd) else None
        ),
        "start_delays_s": {  # taken from the part with the longest delay
            label: max(part_delays_s.get(label, 0.0) for part_delays_s in delays_s)
            for label in dict.fromkeys(chain(*delays_s))
        },
    }
    loads = [document["planned_load"] for document in documents if "planned_load" in document]
    if len(loads) == len(documents):
        merged["planned_load"] = summed(loads)
    shared = (
        "part_of",
        "whole_run",
        "interleaved",
        "stages",
        "prices",
        "niceness",
        "calibration",
        "thresholds",
    )
    merged |= {key: common[key] for key in shared if key in common}
    if arrivals := _arrivals(documents):
        merged["arrivals"] = arrivals
    return merged


def notices(
    names: Sequence[str], documents: Documents, left_out: Sequence[tuple[str, Document]]
) -> list[str]:
    """Return the notices to show before the results.

    A notice that all parts have appears once. Any other notice appears with the names of the parts
    that have it. Notices about the merge are added.
    """
    by_text: dict[str, list[str]] = {}
    for name, document in zip(names, documents, strict=True):
        for notice in document.get("notices") or []:
            by_text.setdefault(str(notice), []).append(name)
    sentences = [
        text if len(part_names) == len(documents) else f"{_listed(part_names)}: {text}"
        for text, part_names in by_text.items()
    ]
    killed = [
        name
        for name, document in zip(names, documents, strict=True)
        if document.get("state") != "ended"
    ]
    if killed and len(documents) > 1:
        sentences.append(f"{_listed(killed)} did not end cleanly: {KILLED.partition(': ')[2]}.")
    if any("sequential_plan" in document for document in documents):
        sentences.append("A part had interim analyses: the merged run ignores them.")
    started_ns, ended_ns = (
        np.array([document[key] for document in documents])
        for key in ("started_utc_ns", "ended_utc_ns")
    )
    # the time in which all parts ran together is less than half of the shortest run
    if ended_ns.min() - started_ns.max() < (ended_ns - started_ns).min() / 2:
        sentences.append(
            "Its parts did not run at the same time: the sums of their users and rates never"
            " existed at one time."
        )
    if documents[0].get("part_of"):
        loads = [document.get("planned_load") or {} for document in documents]
        sentences.append(sum_text(loads, excluded_parts(left_out), documents[0].get("whole_run")))
    differing: dict[str, Callable[[Document], object]] = {
        "versions of rtbench": lambda document: (document.get("tool") or {}).get("version"),
        "prices": lambda document: document.get("prices"),
        "warm-ups": lambda document: document.get("warmup_s") or 0.0,
    }
    first = documents[0]
    differing_settings = [
        setting
        for setting, value in differing.items()
        if any(value(other) != value(first) for other in documents)
    ]
    if differing_settings:
        sentences.append(f"Its parts have different {' and '.join(differing_settings)}.")
    seeds = [
        seed
        for document in documents
        if (seed := (document.get("settings") or {}).get("seed")) is not None
    ]
    if len({*map(str, seeds)}) < len(seeds) and all(
        document.get("arrivals") for document in documents
    ):
        sentences.append(
            "Parts have the same seed, so their calls arrived at the same times: use a different"
            " --seed for each part."
        )
    for name, entry in left_out:
        sentences.append(f"{name} is excluded, because {_missing(entry)}.")
    return sentences


def excluded_parts(left_out: Iterable[tuple[str, Document]]) -> int:
    """Return the number of parts that are excluded. The folder of a worker whose run is merged
    lacks no turns.
    """
    return sum(entry["turns"] != 0 for _, entry in left_out)


def _missing(entry: Document) -> str:
    if entry["turns"] is None:
        return f"{entry['excluded_because']}: the number of missing sessions and turns is unknown"
    return (
        f"{entry['excluded_because']}: {entry['sessions']:,} sessions and {entry['turns']:,} turns"
        " are missing"
    )


def _listed(names: Sequence[str]) -> str:
    return (
        names[0]
        if len(names) == 1
        else f"{len(names)} parts ({', '.join(names[:3])}{', …' if names[3:] else ''})"
    )


def _settings(settings: Documents) -> dict[str, Any]:
    added = {
        name: sum(part_settings[name] for part_settings in settings)
        for name in ADDED_SETTINGS
        if all(isinstance(part_settings.get(name), int | float) for part_settings in settings)
    }
    return dict(
        sorted(
            (
                {k: v for k, v in _common(settings).items() if k not in ADDED_SETTINGS} | added
            ).items()
        )
    )


def _targets(documents: Documents) -> list[dict[str, Any]]:
    """Return one entry for each target, with the sum of the connection rates, and the other keys
    that are equal.
    """
    by_label: dict[str, list[Document]] = {}
    for document in documents:
        for target in document.get("targets") or []:
            by_label.setdefault(str(target["name"]), []).append(target)
    merged = [_common(targets) for targets in by_label.values()]
    for target, targets in zip(merged, by_label.values(), strict=True):
        if any("connect_rate" in part_target for part_target in targets):
            target["connect_rate"] = _sum(targets, "connect_rate")
    return merged


def _arrivals(documents: Documents) -> dict[str, Any] | None:
    """Return the `arrivals` of all parts together; None if any part has no `arrivals`."""
    arrivals = [document.get("arrivals") for document in documents]
    if not all(arrivals):
        return None
    known: list[Document] = [part_arrivals for part_arrivals in arrivals if part_arrivals]
    common = _common(known)
    started_ns = min(part_arrivals["started_utc_ns"] for part_arrivals in known)
    ends_s = [
        (part_arrivals["started_utc_ns"] - started_ns) / NS_PER_S + part_arrivals["duration_s"]
        for part_arrivals in known
        if part_arrivals["duration_s"]
    ]
    return {
        "pattern": common.get("pattern") or "several",
        "per_s": _sum(known, "per_s"),
        "stages": None,
        "digest": common.get("digest"),
        "max_concurrent": sum(part_arrivals["max_concurrent"] for part_arrivals in known),
        "started_utc_ns": started_ns,
        "duration_s": max(ends_s) if len(ends_s) == len(known) else None,
    }


# A sum without one of its terms would look like a smaller load or cost, so it is unknown.
def _sum(documents: Documents, key: str) -> Any:
    """Return the sum of a key's values; None if any document has no value for the key."""
    values = [document.get(key) for document in documents]
    return None if None in values else sum(value for value in values if value is not None)


def _common(documents: Documents) -> dict[str, Any]:
    first = documents[0]
    return {
        key: value
        for key, value in first.items()
        if all(key in d and d[key] == value for d in documents)
    }
