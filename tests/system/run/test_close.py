"""Closing a run: the same files and totals after a clean end and after a kill, and rates from rows."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

from bench.run.close import writer_is_gone
from bench.run.part import FACTS
from bench.run.spool import path_of
from tests.run.builders import build_run


def finished_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_writer_whose_process_has_ended_is_gone(tmp_path: Path) -> None:
    writer = {"host": socket.gethostname(), "pid": finished_process()}

    assert writer_is_gone(tmp_path, {"state": "running", "writer": writer})


def test_a_run_whose_workers_live_on_is_not_to_be_closed(tmp_path: Path) -> None:
    folder, _ = build_run(tmp_path)  # its worker is this process
    writer = {"host": socket.gethostname(), "pid": finished_process()}

    assert not writer_is_gone(folder, {"state": "running", "writer": writer})
    path_of(folder, 0, FACTS).write_text(json.dumps({"pid": finished_process()}))
    assert writer_is_gone(folder, {"state": "running", "writer": writer})
