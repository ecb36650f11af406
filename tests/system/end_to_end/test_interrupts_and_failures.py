"""Runs of real processes that fail because of refusals, signals, kills, a full disk, or a
service that floods them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.record import folder as files
from bench.record.spool import FACTS, path_of
from tests.examples import some
from tests.simulator_process import Ready, running_simulator
from tests.system.attack.evil_server import evil_server
from tests.system.end_to_end.locust_process import (
    GUARD_S,
    interrupted_status,
    locust,
    only_run,
    rtbench,
    run_locust,
    wait_for_file,
    wait_for_rows,
    wait_until_turns_began,
    write_scenario,
)
from tests.system.end_to_end.voice_run import VoiceRun, unlike_their_logs
from tests.system.end_to_end.voices import tone, write_sound

SIGNALS = [
    (number, processes)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for processes in (1, 2)
]


@pytest.mark.parametrize(("number", "processes"), some(SIGNALS, 2))
def test_a_signal_lets_turns_finish_and_gives_the_status_of_an_interrupted_run(
    number: signal.Signals, processes: int, tmp_path: Path, simulator: Ready
) -> None:
    several = ("--processes", str(processes)) if processes > 1 else ()
    load = ("-u", "3", "-r", "3", "--url", simulator.urls["ga"], *several)
    with locust(write_scenario(tmp_path, turns=20), tmp_path / "runs", *load) as process:
        folder = wait_for_rows(tmp_path / "runs", "turns", 5)
        process.send_signal(number)
        output, errors = process.communicate(timeout=GUARD_S)

    totals = files.read_document(folder)["totals"]
    assert "Traceback" not in output + errors
    assert "Bad response code" not in errors
    assert Path(output.splitlines()[-1]) == folder / "report.html"
    assert set(totals["turns"]) == {"ok"}
    assert totals["turns"]["ok"] == totals["turns_started"]
    assert set(totals["sessions"]) <= {"ok", "unfinished"}
    assert files.read_document(folder)["stop_reason"] == "interrupted"
    assert process.returncode == interrupted_status(folder)


def test_a_second_interrupt_abandons_open_turns(tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path, turns=50)
    slow = (
        "delays_ms:\n  first_audio: {p50: 20000, p95: 20001}\n  response_created: {p50: 1, p95:"
        " 2}\n"
    )
    (tmp_path / "slow.yaml").write_text(slow)
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

    folder = only_run(tmp_path / "runs")
    totals = files.read_document(folder)["totals"]
    assert "Traceback" not in output + errors
    assert f"before its report, run `rtbench report {folder}`" in errors
    assert process.returncode == 4, "no turn was judged"
    assert totals["turns"] == {"unfinished": 2}
    assert totals["sessions"] == {"unfinished": 2}


def test_a_run_whose_terminal_is_gone_makes_its_report(tmp_path: Path, simulator: Ready) -> None:
    terminal, side = os.openpty()
    runs = tmp_path / "runs"
    scenario = write_scenario(tmp_path, turns=20)
    words = ["-f", str(scenario), "--runs-dir", str(runs), "--headless", "-u", "2", "-t", "10m"]
    process = subprocess.Popen(
        [sys.executable, "-m", "locust", *words, "--url", simulator.urls["ga"]],
        stdin=side,
        stdout=side,
        stderr=side,
        start_new_session=True,
    )
    os.close(side)
    folder = wait_for_rows(runs, "turns", 5)
    os.close(terminal)  # what it prints from now on fails (EIO)
    for _ in range(2):  # of the kernel and of the shell
        process.send_signal(signal.SIGHUP)
    status = process.wait(GUARD_S)

    document = files.read_document(folder)
    assert (document["stop_reason"], set(document["totals"]["turns"])) == ("interrupted", {"ok"})
    assert (folder / "report.html").exists()
    assert status == interrupted_status(folder)


def test_a_killed_worker_does_not_block_the_run_and_its_rows_are_kept(
    tmp_path: Path, simulator: Ready
) -> None:
    load = ("-u", "4", "-r", "4", "--processes", "2", "--url", simulator.urls["ga"])
    with locust(write_scenario(tmp_path, turns=20), tmp_path / "runs", *load) as process:
        folder = wait_for_rows(tmp_path / "runs", "turns", 10)
        facts = path_of(folder, 1, FACTS)
        wait_for_file(facts)  # the other worker may have written all rows so far
        worker = json.loads(facts.read_text())["pid"]
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


def test_a_full_disk_ends_the_run_with_one_line_and_written_rows_stay_readable(
    tmp_path: Path, simulator: Ready
) -> None:
    program = FULL.format(bytes=200_000)  # the headers of the run's files need about 40,000 bytes
    command = [
        sys.executable,
        "-c",
        program,
        "-f",
        write_scenario(tmp_path, turns=20).name,
        "--headless",
    ]
    load = ["--runs-dir", "runs", "-u", "6", "-r", "6", "--url", simulator.urls["ga"], "-t", "10m"]
    ended = subprocess.run(
        [*command, *load],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        check=False,
    )

    folder = only_run(tmp_path / "runs")
    assert ended.returncode == 2
    assert "cannot write the run folder" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert files.read_table(folder, "turns").num_rows > 0


SLOW_TO_BEGIN = """
import time
from bench.load.runners import finalized_run
from locust import events
from locust.runners import WorkerRunner

child = finalized_run.run_child


@events.test_start.add_listener
def begin_late(environment, **_):
    if isinstance(environment.runner, WorkerRunner):
        time.sleep(2)


def report_slowly(*arguments, **variables):
    time.sleep(3)
    return child(*arguments, **variables)


finalized_run.run_child = report_slowly
"""
"""Code that simulates a busy machine: workers prepare longer than their run lasts, and the
master reports slowly."""


def test_rows_of_workers_that_begin_at_the_end_of_the_run_are_in_it(
    tmp_path: Path, simulator: Ready
) -> None:
    path = write_scenario(tmp_path)
    path.write_text(SLOW_TO_BEGIN + path.read_text())
    load = ("-u", "2", "-r", "2", "-t", "1s", "--processes", "2", "--url", simulator.urls["ga"])

    ended = run_locust(path, tmp_path / "runs", *load)

    folder = only_run(tmp_path / "runs")
    begun = files.read_document(folder)["totals"].get("turns_started", 0)
    assert "cannot write the run folder" not in ended.stderr
    assert len(files.read_table(folder, "turns")) == begun
    assert not files.read_document(folder)["missing_workers"]


CALL = """
session: {input_transcription: whisper-1, turn_detection: {type: server_vad, silence_duration_ms: 200}}
steps: [SPEECH, SPEECH, SPEECH, SPEECH]
"""


def test_after_a_kill_voice_turns_transcripts_and_logs_are_readable(
    tmp_path: Path, simulator: Ready
) -> None:
    write_sound(tmp_path / "word.wav", tone(0.3, 0.05))
    scenario = write_scenario(tmp_path, script=CALL.replace("SPEECH", "{audio: word.wav}"))
    load = ("-u", "3", "-r", "3", "--url", simulator.urls["ga"])
    with locust(
        scenario, tmp_path / "runs", "--record-events", "100%", "--record-transcripts", *load
    ) as process:
        folder = wait_for_rows(tmp_path / "runs", "turns", 1)
        wait_for_file(folder / "spool" / "transcripts-0.jsonl")
        process.kill()
        process.communicate(timeout=GUARD_S)
    written = sum(len(batch) for batch in files.spooled_batches(folder, "turns"))
    reported = rtbench("report", folder)

    run = VoiceRun(scenario, folder, tmp_path, process.returncode, "")
    transcript_lines = list(
        map(json.loads, (folder / "transcripts.jsonl").read_text().splitlines())
    )
    ended = {(row["session_id"], row["turn"]) for row in run.turns}
    assert reported.returncode == 0, reported.stderr
    assert "voice_to_voice" in reported.stdout
    assert reported.stdout.splitlines()[-1] == str(folder / "report.html")
    document = files.read_document(folder)
    assert document["state"] == "killed"
    assert len(run.turns) == sum(document["totals"]["turns"].values()) == written
    assert {row["outcome"] for row in run.turns} == {"ok"}
    assert transcript_lines
    assert {
        (line["session_id"], line["turn"]) for line in transcript_lines
    } <= ended  # these files exist, because rows are written before transcripts
    assert all(line["input_text"] and line["reply_text"] for line in transcript_lines)
    assert all(replayed.cut for replayed in run.replayed.values())
    assert unlike_their_logs(run) == {}


FLOODED = (
    "session:\n  output: audio\ntimeouts:\n  response: 2\nsteps:\n  - text: One.\n  - text: Two.\n"
)


def test_a_run_with_flooded_sessions_ends_cleanly_on_a_signal(tmp_path: Path) -> None:
    with evil_server() as port:
        load = (
            "-u",
            "2",
            "-r",
            "2",
            "--url",
            f"ws://127.0.0.1:{port}/a_flood_of_deltas",
            "--dialect",
            "ga",
        )
        with locust(write_scenario(tmp_path, script=FLOODED), tmp_path / "runs", *load) as process:
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
