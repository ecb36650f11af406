"""Runs without a key: tokens of a few seconds, renewed while sessions open, and kept secret."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from bench.run import folder as files
from bench.simulator.truth import read_truth
from tests.simulator_process import Ready, quick_simulator
from tests.system.end_to_end.locust_process import only_run, run_locust, write_scenario
from tests.system.end_to_end.quoting_service import holders

TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.")
"""Of a JWT, the begin."""


def keyless(ready: Ready) -> dict[str, str]:
    """The environment of an Azure App Service whose identity may call the simulator."""
    assert ready.identity is not None
    return {
        "AZURE_OPENAI_ENDPOINT": f"http://127.0.0.1:{ready.port}",
        "AZURE_OPENAI_DEPLOYMENT_NAME": "gpt-realtime",
        "IDENTITY_ENDPOINT": ready.identity["endpoint"],
        "IDENTITY_HEADER": ready.identity["header"],
    }


def lines_of(ended: subprocess.CompletedProcess[str]) -> list[str]:
    """What rtbench said on stderr, but for the line which a sign-in that takes long has, as on a busy machine."""
    lines = [line for line in ended.stderr.splitlines() if line.startswith("rtbench:")]
    return [line for line in lines if line != "rtbench: signing in through Microsoft Entra ID …"]


FOUR_A_SECOND = ("--connect-rate", "240")
"""A run of so many sessions lasts a known time at least, however long its sign-in takes."""


def tokens_in(folder: Path) -> list[Path]:
    """The files that hold a token."""
    return [path for path in folder.rglob("*") if path.is_file() and TOKEN.search(path.read_bytes().decode("latin-1"))]


def incident_kinds(folder: Path) -> set[str]:
    """The kinds of a run's incidents, without those that a busy machine makes."""
    return {incident["kind"] for incident in files.read_document(folder)["incidents"]} - {"simulator_late"}


def test_sessions_that_open_for_longer_than_a_token_lives_never_wait_for_one(
    tmp_path: Path,
) -> None:
    truth = tmp_path / "truth.jsonl"
    with quick_simulator(tmp_path, "--token-lifetime", "5", "--ground-truth", str(truth)) as ready:
        load = ("-u", "4", "-r", "4", "--sessions", "32", *FOUR_A_SECOND, "--record-events", "100%", "--processes", "2")
        ended = run_locust(write_scenario(tmp_path, turns=1), tmp_path / "runs", *load, **keyless(ready))
        header = keyless(ready)["IDENTITY_HEADER"]

    folder = only_run(tmp_path / "runs")
    sessions = files.read_table(folder, "sessions").to_pandas()
    used = {event["token"] for event in read_truth(truth) if event.get("token") is not None}
    assert ended.returncode in (0, 4), ended.stderr
    assert set(sessions["outcome"]) <= {"ok", "unfinished"}
    assert sessions["auth_wait_ns"].tolist() == [0] * len(sessions)
    assert len(used) >= 2  # it was renewed
    assert files.read_document(folder)["targets"][0]["auth"] == "entra"
    assert incident_kinds(folder) == set()
    assert holders(folder, header) == []
    assert tokens_in(folder) == []
    assert header not in ended.stdout + ended.stderr
    assert not TOKEN.search(ended.stdout + ended.stderr)


def test_a_sign_in_that_is_refused_is_one_line_and_leaves_no_run(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--token-lifetime", "8", "--fault", "identity_500") as ready:
        options = ("--auth", "managed_identity", "-u", "2", "--processes", "2")
        ended = run_locust(write_scenario(tmp_path), tmp_path / "runs", *options, **keyless(ready))

    assert ended.returncode == 2
    assert len(lines_of(ended)) == 1
    assert "Traceback" not in ended.stderr
    assert not any((tmp_path / "runs").iterdir())
    assert not TOKEN.search(ended.stdout + ended.stderr)


def test_workers_that_are_not_signed_in_when_the_run_ends_are_told_of(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--token-lifetime", "60", "--fault", "identity_slow,requests=2") as ready:
        load = ("-u", "2", "-r", "2", "-t", "5s", "--processes", "2")
        ended = run_locust(write_scenario(tmp_path), tmp_path / "runs", *load, **keyless(ready))

    assert ended.returncode == 2
    assert "the run ended before 1 of its 2 workers began" in ended.stderr
    assert "Traceback" not in ended.stderr
