"""Builders of run folders. Some return recorders with which a test adds rows, and others write a
complete folder.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

from typer.testing import Result

from bench.base.clock import Arrival
from bench.record import folder as files
from bench.record import presence
from bench.record.document import SCHEMA_VERSION
from bench.record.histograms import Histograms, distribution
from bench.record.recorder import Recorder, RowContext
from bench.record.spool import Spool
from bench.services.openai.dialect import GA
from bench.wire.connection import ReceivedMessage
from tests.command_line import call
from tests.helpers import MS, S, at, build_observation, build_session, delta, present
from tests.reports import synthetic
from tests.reports.synthetic import Plan

BEGAN_NS = 1_763_000_000 * S


TABLES: tuple[files.TableName, ...] = ("turns", "sessions", "seconds")


def build_run(
    parent: Path, workers: int = 1, *, chunk_ms: int | None = None, warm_until_ns: int = 0
) -> tuple[Path, list[Recorder]]:
    """Return a run whose state is "closing" and whose folder is not finalized, and the recorders
    of its workers.
    """
    folder = files.create(parent, "voice_turns", BEGAN_NS)
    document = {
        "schema": SCHEMA_VERSION,
        "run_id": folder.name,
        "state": "closing",
        "started_utc_ns": BEGAN_NS,
        "scripts": [{"name": "voice_turns", "chunk_ms": chunk_ms}],
    }
    files.write_document(folder, document)
    recorders = [
        Recorder(Spool(folder, worker), BEGAN_NS, warm_until_ns=warm_until_ns)
        for worker in range(workers)
    ]
    return folder, recorders


def labels(number: int, target: str = "simulator", worker: int = 0) -> RowContext:
    return RowContext(f"w{worker}-{number:06d}", target, "voice_turns", "voice_turns")


def play(recorder: Recorder, sessions: int = 3, worker: int = 0) -> None:
    """Record sessions with successful and failed turns."""
    for number in range(sessions):
        record = recorder.session(labels(number, worker=worker))
        record.connected({})
        for turn, outcome in enumerate(["ok", "ok", "failed:x", "unfinished"][: number + 2], 1):
            record.turn_started()
            data = delta(GA, "audio", f"r{turn}")
            arrival = Arrival(at(10 * turn), 5_000)
            record.received(
                GA.decode(data), ReceivedMessage(data, arrival, len(data)), arrival.at_ns + 70_000
            )
            record.sent(6_500, 4_800, (2 * MS,))
            record.turn_ended(
                build_observation(
                    turn=turn, step=f"step_{turn}", outcome=outcome, stall_duration_ns=turn * MS
                )
            )
        record.session_ended(
            build_session(turns_planned=5, turns_started=number + 2, outcome="closed:1006")
        )
        recorder.event_loop_delay(MS)
        recorder.end_second()
    recorder.flush()


def finished(parent: Path, workers: int = 1) -> Path:
    """Return a run that is not finalized. Its recorders have ended."""
    folder, recorders = build_run(parent, workers)
    for worker, recorder in enumerate(recorders):
        play(recorder, worker=worker)
        recorder.close()
    return folder


def tables(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        table: [present(row) for row in files.read_table(folder, table).to_pylist()]
        for table in TABLES
    }


def contents(histograms: Histograms) -> dict[str, dict[int, int]]:
    return {
        key.tag: dict(zip(*(part.tolist() for part in distribution(histogram)), strict=True))
        for key, histogram in histograms.items()
    }


def kill(folder: Path) -> None:
    """Change the folder to its state after the writer was killed directly after its last flush."""
    for path in (folder / "spool").glob("worker-*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"done": False}))


def leave(folder: Path) -> None:
    """Leave the folder unchanged."""


DAY_NS = 86_400 * 10**9


def rtbench(*words: object) -> Result:
    return call(*words, env={"LOCUST_RUNS_DIR": None, "BROWSER": None, "DISPLAY": None})


def run(folder: Path, days: int = 0, **changes: Any) -> Path:
    """Write a run that began `days` days later than a run with `days=0`."""
    return synthetic.write(
        folder, Plan(sessions=10), started_utc_ns=synthetic.BEGAN_NS + days * DAY_NS, **changes
    )


def under_way(folder: Path, *, pid: int, host: str = "") -> Path:
    """Write a run in progress, which the process `pid` writes."""
    synthetic.write_killed(folder, Plan(sessions=10))
    writer = {"host": host or socket.gethostname(), "pid": pid}
    files.write_document(
        folder, files.read_document(folder) | {"writer": writer, "targets": [{"name": "sim"}]}
    )
    if pid == os.getpid():
        presence.hold(folder)
    return folder
