"""Runs of real processes that do not go well: bad input, refusals, signals, kills, a full disk."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.run import folder as files
from bench.run.part import FACTS
from bench.run.spool import path_of
from bench.units import NS_PER_S
from tests.simulator_process import Ready
from tests.system.end_to_end.locust_process import (
    GUARD_S,
    interrupted_status,
    locust,
    only_run,
    run_locust,
    wait_for_rows,
    wait_until_turns_began,
    write_scenario,
)


def test_a_run_that_is_asked_to_stop_lets_its_turns_finish(tmp_path: Path, simulator: Ready) -> None:
    """By SIGTERM; that SIGINT does the same, shipped scenarios show."""
    load = ("-u", "3", "-r", "3", "--url", simulator.urls["ga"])
    with locust(write_scenario(tmp_path, turns=20), tmp_path / "runs", *load) as process:
        folder = wait_for_rows(tmp_path / "runs", "turns", 5)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=GUARD_S)

    totals = files.read_document(folder)["totals"]
    assert "Traceback" not in output + errors
    assert Path(output.splitlines()[-1]) == folder / "report.html"
    assert set(totals["turns"]) == {"ok"}
    assert totals["turns"]["ok"] == totals["turns_started"]
    assert set(totals["sessions"]) <= {"ok", "unfinished"}
    assert files.read_document(folder)["stop_reason"] == "interrupted"
    assert process.returncode == interrupted_status(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_of_several_processes_that_is_interrupted_has_a_status_of_its_own(
    number: signal.Signals, tmp_path: Path, simulator: Ready
) -> None:
    load = ("-u", "2", "-r", "2", "--processes", "2", "--url", simulator.urls["ga"])
    with locust(write_scenario(tmp_path), tmp_path / "runs", *load) as process:
        folder = wait_for_rows(tmp_path / "runs", "turns", 2)
        process.send_signal(number)
        output, errors = process.communicate(timeout=GUARD_S)

    assert "Traceback" not in output + errors
    assert "Bad response code" not in errors
    assert files.read_document(folder)["stop_reason"] == "interrupted"
    assert process.returncode == interrupted_status(folder)


def test_a_second_interrupt_abandons_what_is_in_flight(tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path, turns=50)
    slow = "delays_ms:\n  first_audio: {p50: 20000, p95: 20001}\n  response_created: {p50: 1, p95: 2}\n"
    (tmp_path / "slow.yaml").write_text(slow)
    from tests.simulator_process import running_simulator

    with running_simulator("--profile", str(tmp_path / "slow.yaml")) as ready:
        load = ("-u", "2", "-r", "2", "--url", ready.urls["ga"])
        with locust(scenario, tmp_path / "runs", *load) as process:
            wait_until_turns_began(tmp_path / "runs", 2)
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            while "Ctrl-C abandons them" not in (line := process.stderr.readline()):
                assert line, "the run ended without waiting for its turns"
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=GUARD_S)

    totals = files.read_document(only_run(tmp_path / "runs"))["totals"]
    assert "Traceback" not in output + errors
    assert process.returncode == 4, "no turn was judged"
    assert totals["turns"] == {"unfinished": 2}
    assert totals["sessions"] == {"unfinished": 2}


def test_a_run_stops_early_when_no_session_can_be_opened(tmp_path: Path, simulator: Ready) -> None:
    nowhere = re.sub(r":\d+/", ":1/", simulator.urls["ga"])
    load = ("-u", "5", "-r", "5", "-t", "10m", "--url", nowhere)
    ended = run_locust(write_scenario(tmp_path), tmp_path / "runs", *load)

    document = files.read_document(only_run(tmp_path / "runs"))
    assert "10 sessions failed to open and none succeeded" in ended.stderr
    assert "connect_failed:tcp" in ended.stderr
    assert "connect_failed:tcp" in document["stop_reason"]
    assert set(document["totals"]["sessions"]) == {"connect_failed:tcp"}


@pytest.mark.parametrize("ends", [1, 2], ids=["once", "twice"])
def test_a_run_that_ends_during_its_last_sessions_stops_each_user_once(
    ends: int, tmp_path: Path, simulator: Ready
) -> None:
    scenario = write_scenario(tmp_path, script="steps:\n  - text: 'One.'\n  - pause: 3600\n")
    run_time_over = (  # as Locust does for --run-time, but when the last sessions are under way
        "\nimport gevent\nfrom locust import events\n\n\n"
        "@events.test_start.add_listener\n"
        "def on_test_start(environment, **_):\n"
        "    def end():\n"
        "        while environment.rtbench.live is None or environment.rtbench.live.active < 3:\n"
        "            gevent.sleep(0.01)\n"
        f"        for _ in range({ends}):\n"
        "            gevent.spawn(environment.runner.quit)\n\n"
        "    gevent.spawn(end)\n\n\n"
        "@events.test_stop.add_listener\n"
        "def on_test_stop(**_):\n"
        "    print('test_stop', flush=True)\n"
    )
    scenario.write_text(scenario.read_text() + run_time_over)
    load = ("-u", "3", "-r", "3", "--sessions", "3", "--url", simulator.urls["ga"])
    ended = run_locust(scenario, tmp_path / "runs", *load)

    totals = files.read_document(only_run(tmp_path / "runs"))["totals"]
    assert "Traceback" not in ended.stdout + ended.stderr
    assert ended.stdout.splitlines().count("test_stop") <= ends  # no end of our own beside those asked for
    assert sum(totals["sessions"].values()) == 3


def test_a_worker_that_dies_holds_nobody_up_and_its_rows_are_kept(tmp_path: Path, simulator: Ready) -> None:
    load = ("-u", "4", "-r", "4", "--processes", "2", "--url", simulator.urls["ga"])
    with locust(write_scenario(tmp_path, turns=20), tmp_path / "runs", *load) as process:
        folder = wait_for_rows(tmp_path / "runs", "turns", 10)
        worker = json.loads(path_of(folder, 1, FACTS).read_text())["pid"]
        written = sum(len(batch) for batch in files.spooled_batches(folder, "turns"))
        os.kill(worker, signal.SIGKILL)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=GUARD_S)

    assert files.read_document(folder)["state"] == "killed"
    assert len(files.read_table(folder, "turns")) >= written


FULL = """
import resource, runpy, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({bytes}, {bytes}))
runpy.run_module("locust", run_name="__main__")
"""


def run_until_full(
    folder: Path, simulator: Ready, bytes_a_file: int, run: Callable[..., Any]
) -> subprocess.CompletedProcess[str]:
    """A run on a disk that takes so much of each file. One that is started, and not forked, is closed there as well."""
    program, scenario = FULL.format(bytes=bytes_a_file), write_scenario(folder, turns=20).name
    command = [
        sys.executable,
        "-c",
        program,
        "-f",
        scenario,
        "--headless",
        "--runs-dir",
        "runs",
    ]  # its document names them
    load = ["-u", "6", "-r", "6", "--url", simulator.urls["ga"], "-t", "10m"]
    ended: subprocess.CompletedProcess[str] = run(
        [*command, *load], cwd=folder, capture_output=True, text=True, timeout=GUARD_S
    )
    return ended


def test_a_disk_that_fills_up_ends_the_run_with_one_line_and_what_was_written_stays_readable(
    tmp_path: Path, simulator: Ready
) -> None:
    ended = run_until_full(tmp_path, simulator, 200_000, subprocess.run)  # the heads of its files take some 40,000

    folder = only_run(tmp_path / "runs")
    assert ended.returncode == 2
    assert "cannot write the run folder" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert files.read_table(folder, "turns").num_rows > 0


CHECKS_MUCH = """
import time
from bench.load.leading.leader import Leader

check = Leader.open


def check_for_long(lead):
    check(lead)
    time.sleep(0.01)
    until = time.monotonic() + 1  # and its loop does not look at the clock
    while time.monotonic() < until:
        pass


Leader.open = check_for_long
"""


def test_a_run_lasts_as_long_as_was_asked_however_long_its_start_took(tmp_path: Path, simulator: Ready) -> None:
    path = write_scenario(tmp_path)
    path.write_text(path.read_text() + CHECKS_MUCH)

    run_locust(path, tmp_path / "runs", "-u", "1", "-t", "2s", "--url", simulator.urls["ga"])

    document = files.read_document(only_run(tmp_path / "runs"))
    assert document["ended_utc_ns"] - document["started_utc_ns"] > 1.5 * NS_PER_S


SLOW_TO_BEGIN = """
import time
from bench.load.leading import looks
from locust import events
from locust.runners import WorkerRunner

child = looks._child


@events.test_start.add_listener
def begin_late(environment, **_):
    if isinstance(environment.runner, WorkerRunner):
        time.sleep(2)


def report_slowly(*arguments, **variables):
    time.sleep(3)
    return child(*arguments, **variables)


looks._child = report_slowly
"""
"""Workers that prepare for longer than their run lasts, and a master who reports it for long, as on a busy machine."""


def test_what_workers_record_that_begin_when_the_run_is_over_is_in_it(tmp_path: Path, simulator: Ready) -> None:
    path = write_scenario(tmp_path)
    path.write_text(SLOW_TO_BEGIN + path.read_text())
    load = ("-u", "2", "-r", "2", "-t", "1s", "--processes", "2", "--url", simulator.urls["ga"])

    ended = run_locust(path, tmp_path / "runs", *load)

    folder = only_run(tmp_path / "runs")
    begun = files.read_document(folder)["totals"].get("turns_started", 0)
    assert "cannot write the run folder" not in ended.stderr
    assert len(files.read_table(folder, "turns")) == begun
    assert not files.read_document(folder)["missing_workers"]
