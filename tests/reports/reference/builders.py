"""Synthetic runs of the reference workload."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.catalogue.reference_workload import SCRIPT_NAMES, SPOKEN, TOOLS_SCRIPT, ReferenceWorkload
from bench.record.folder import TableName
from tests.reports import synthetic
from tests.reports.edited import Row, edit
from tests.reports.synthetic import MS, Plan

TURNS = 5
ANSWER_MS, YIELD_MS, ACK_MS = 1_800, 150, 40


def scripts_of(workload: ReferenceWorkload, targets: tuple[str, ...] = ("sim",)) -> list[dict[str, Any]]:
    """Return the entries of the workload's scripts in run.json, in the form that `tests.reports.synthetic` writes."""
    is_spoken = workload is SPOKEN
    common = {
        "scenario": "reference",
        "turns": TURNS,
        "chunk_ms": 100 if is_spoken else None,
        "turn_detection": "server_vad" if is_spoken else "none",
        "jitter_buffer_ms": 50,
        "input_format": "pcm16",
        "output_format": "pcm16",
        "output": "audio",
        "timeouts": {"response": 120},
    }
    return [
        {"target": target, "name": name, "digest": digest} | common
        for target in targets
        for name, digest in workload.digests.items()
    ]


def reference_plan(workload: ReferenceWorkload = SPOKEN, sessions: int = 230, **changes: Any) -> Plan:
    """Return a plan with equal numbers of sessions of all scripts."""
    kinds = ("vad",) if workload is SPOKEN else ("typed",)
    return Plan(sessions=sessions, turns=TURNS, kinds=kinds, seconds=300.0, **changes)


def write_reference(
    folder: Path, workload: ReferenceWorkload = SPOKEN, plan: Plan | None = None, **document: Any
) -> Path:
    """Write a run of the workload: the sessions have its scripts in turn. Return the folder of the run.

    Each turn of TOOLS_SCRIPT calls a function. Each turn of `interruptions` is interrupted. `document` replaces keys
    of run.json.
    """
    plan = plan or reference_plan(workload)
    keys = {"scripts": scripts_of(workload, plan.targets), "settings": {"num_users": 8}}
    synthetic.write(folder, plan, **keys | document)
    for table, content in _tables(plan, workload is SPOKEN).items():
        (folder / f"{table}.parquet").write_bytes(content)
    return folder


@cache
def _tables(plan: Plan, is_spoken: bool) -> dict[TableName, bytes]:
    """Return the tables of sessions and turns in Parquet format."""

    def script(row: Row) -> str:
        return SCRIPT_NAMES[int(row["session_id"][1:]) // len(plan.targets) % len(SCRIPT_NAMES)]

    def turn(_: int, row: Row) -> Row:
        name = script(row)
        changes: dict[str, Any] = {"script": name, "step": f"{name}_{row['step']}"}
        at_ns = row["speech_end_at_ns"] or row["request_sent_at_ns"]
        if name == TOOLS_SCRIPT:
            changes["turn_type"] = "function_calls"
        if row["outcome"] != "ok":
            return row | changes
        if name == TOOLS_SCRIPT:
            answer_ns = at_ns + (ANSWER_MS + row["turn"]) * MS
            changes |= {"function_call_added_at_ns": at_ns + MS, "answer_audio_at_ns": answer_ns}
            changes |= {"function_audible_at_ns": answer_ns} if is_spoken else {}
        if name == "interruptions":
            begin_ns = row["first_audio_at_ns"] + 1_000 * MS
            changes |= {"outcome": "interrupted", "barge_in_at_ns": begin_ns}
            changes |= {"barge_in_silent_at_ns": begin_ns + (YIELD_MS + row["turn"]) * MS}
            changes |= {"truncate_sent_at_ns": begin_ns, "truncated_at_ns": begin_ns + (ACK_MS + row["turn"]) * MS}
        return row | changes

    changes: dict[TableName, Callable[[int, Row], Row]] = {
        "sessions": lambda _, row: row | {"script": script(row)},
        "turns": turn,
    }
    with TemporaryDirectory() as name:
        folder = synthetic.write(Path(name), plan)
        return {table: (edit(folder, table, of) / f"{table}.parquet").read_bytes() for table, of in changes.items()}
