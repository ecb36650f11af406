"""A real run against a server that floods its sessions: it hears a signal, keeps its limits and loses no data."""

from __future__ import annotations

import signal
from pathlib import Path

from bench.run import folder as files
from tests.system.attack.evil_server import evil_server
from tests.system.end_to_end.locust_process import GUARD_S, locust, only_run, wait_until_turns_began, write_scenario

SCRIPT = "session:\n  output: audio\ntimeouts:\n  response: 2\nsteps:\n  - text: One.\n  - text: Two.\n"


def test_a_run_whose_sessions_are_flooded_ends_in_order_when_it_is_told_to(tmp_path: Path) -> None:
    with evil_server() as port:
        load = ("-u", "2", "-r", "2", "--url", f"ws://127.0.0.1:{port}/a_flood_of_deltas", "--dialect", "ga")
        with locust(write_scenario(tmp_path, script=SCRIPT), tmp_path / "runs", *load) as process:
            wait_until_turns_began(tmp_path / "runs", 2)
            process.send_signal(signal.SIGTERM)
            output, errors = process.communicate(timeout=GUARD_S)

    folder = only_run(tmp_path / "runs")
    document = files.read_document(folder)
    turns = files.read_table(folder, "turns").to_pandas()
    assert "Traceback" not in output + errors
    assert document["state"] == "ended"
    assert Path(output.splitlines()[-1]) == folder / "report.html"
    assert len(turns) == document["totals"]["turns_started"] >= 2
    assert set(turns["outcome"]) <= {"timeout:response", "unfinished"}
    assert turns["audio_deltas"].min() > 100
