"""Runs that a signal ends before their first turn."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from bench.record import folder as files
from tests.simulator_process import Ready
from tests.system.end_to_end.locust_process import (
    GUARD_S,
    interrupted_status,
    locust,
    only_run,
    started,
    wait_for_run,
    write_scenario,
)
from tools.peers.agents.ports import free_port


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_missing_of_a_run_whose_processes_get_a_signal_when_its_folder_appears(
    number: signal.Signals, tmp_path: Path, simulator: Ready
) -> None:
    """At this moment, the master has not handed the run to its workers, which get the signal as
    well.
    """
    runs = tmp_path / "runs"
    load = ("-u", "2", "-r", "2", "--url", simulator.urls["ga"], "--processes", "2")
    with locust(write_scenario(tmp_path), runs, *load) as process:
        wait_for_run(runs)
        os.killpg(process.pid, number)
        output, errors = process.communicate(timeout=GUARD_S)

    document = files.read_document(only_run(runs))
    assert "Traceback" not in output + errors
    assert "KeyboardInterrupt" not in output + errors
    assert document["missing_workers"] == []
    assert (document["state"], document["stop_reason"]) == ("ended", "interrupted")
    assert "INVALID" not in output
    assert process.returncode == interrupted_status(only_run(runs))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_while_a_master_waits_for_its_workers_ends_with_one_line(
    number: signal.Signals, tmp_path: Path, simulator: Ready
) -> None:
    (tmp_path / "mine.yaml").write_text("steps: [{text: Hello}]")
    port = str(free_port())
    words = (
        "mine.yaml",
        "-t",
        "1h",
        "--url",
        simulator.urls["ga"],
        "--master",
        "--expect-workers",
        "1",
    )
    with started(tmp_path, *words, "--master-bind-port", port, "--loglevel", "INFO") as process:
        assert process.stderr is not None
        while "Waiting for workers" not in (line := process.stderr.readline()):
            assert line, "the master did not wait"
        process.send_signal(number)
        output, errors = process.communicate(timeout=GUARD_S)

    printed = [line for line in errors.splitlines() if "/INFO/" not in line and line]
    assert printed == ["rtbench: interrupted before the run started"]
    assert (process.returncode, output) == (130, "")
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())
