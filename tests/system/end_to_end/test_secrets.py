"""After any failure, no file, log, report or screen contains an access token or a password."""

from __future__ import annotations

import base64
import re
import subprocess
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest

from bench.record import folder as files
from rtbench_simulator.ground_truth_log import read_truth
from tests.simulator_process import Ready, quick_simulator
from tests.system.end_to_end.locust_process import only_run, rtbench, run_locust, write_scenario
from tests.system.end_to_end.quoting_service import files_with, quoting_service
from tests.system.end_to_end.two_targets import write_targets

TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{10,}")
"""The beginning of a JWT. A truncated token has the same beginning."""
EVERYTHING = ("--record-events", "100%", "--record-transcripts", "--loglevel", "DEBUG")


def identity(ready: Ready) -> dict[str, str]:
    assert ready.identity is not None
    return {
        "IDENTITY_ENDPOINT": ready.identity["endpoint"],
        "IDENTITY_HEADER": ready.identity["header"],
    }


def shown(path: Path) -> str:
    """Return a file's text; for a table, the text of its cells."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pandas().to_csv()
    return path.read_bytes().decode("latin-1")


def with_tokens(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and TOKEN.search(shown(path))]


def test_a_token_quoted_by_the_service_is_hidden_in_each_file_and_on_the_screen(
    tmp_path: Path,
) -> None:
    with quick_simulator(tmp_path, "--token-lifetime", "60") as ready, quoting_service() as urls:
        names = write_targets(
            tmp_path,
            "".join(
                f"  {place}: {{url: '{url}', auth: managed_identity}}\n"
                for place, url in urls.items()
            ),
        )
        load = (
            "-u",
            "1",
            "--sessions",
            "2",
            "--targets",
            ",".join(urls),
            "--target-file",
            names,
            *EVERYTHING,
        )
        ended = run_locust(write_scenario(tmp_path), tmp_path / "runs", *load, **identity(ready))

    folder = only_run(tmp_path / "runs")
    sessions = pq.read_table(folder / "sessions.parquet").to_pandas()
    assert "ok" not in set(sessions["outcome"])
    for place, own in sessions.groupby("target"):
        logs = [(folder / "events" / f"{name}.jsonl").read_text() for name in own["session_id"]]
        assert len(logs) == 2
        # the service quoted the secret, and the log replaced it
        assert all("***" in log for log in logs), place
    assert set(sessions["target"]) == set(urls)
    assert not TOKEN.search(ended.stdout + ended.stderr)
    assert with_tokens(folder) == []


KEY = "a key/that+no file may contain".replace(" ", "-")
WAYS = {
    "basic": "url: '{url}', auth: basic, api_key_env: USER_AND_KEY",
    "query": "url: '{url}&apiKey=${{THE_KEY}}'",
    "offered": "url: '{url}', subprotocols: ['realtime', 'key.${{PLAIN_KEY}}']",
    "gemini": "url: '{url}', service: gemini, api_key_env: THE_KEY",
    "vertex": "url: '{url}', service: vertex-ai, api_key_env: THE_KEY",
    "deepgram": (
        "url: '{url}', service: deepgram, api_key_env: THE_KEY, session: {{turn_detection:"
        " server_vad}}"
    ),
    "header": "url: '{url}', headers: {{X-Team-Key: '${{THE_KEY}}'}}",
}
SPELLINGS = (
    KEY,
    quote(KEY, safe=""),
    base64.b64encode(f"me:{KEY}".encode()).decode(),
    "a-key-that-nobody-may-see",
)


def test_a_key_is_hidden_for_each_way_of_sending_it(tmp_path: Path) -> None:
    with quoting_service() as urls:
        lines = (
            f"  {way}-{place}: {{{keys.format(url=url)}}}\n"
            for way, keys in WAYS.items()
            for place, url in urls.items()
        )
        names = write_targets(tmp_path, "".join(lines))
        labels = ",".join(f"{way}-{place}" for way in WAYS for place in urls)
        load = (
            "-u",
            "1",
            "--sessions",
            "1",
            "--targets",
            labels,
            "--target-file",
            names,
            *EVERYTHING,
        )
        keys = {"THE_KEY": KEY, "USER_AND_KEY": f"me:{KEY}", "PLAIN_KEY": SPELLINGS[-1]}
        ended = run_locust(write_scenario(tmp_path), tmp_path / "runs", *load, **keys)

    folder = only_run(tmp_path / "runs")
    sessions = pq.read_table(folder / "sessions.parquet").to_pandas()
    assert set(sessions["target"]) == set(labels.split(","))
    for name in sessions["session_id"]:
        # the service quoted the secret, and the log replaced it
        assert "***" in (folder / "events" / f"{name}.jsonl").read_text()
    for spelling in SPELLINGS:
        assert spelling not in ended.stdout + ended.stderr
        assert [
            path for path in tmp_path.rglob("*") if path.is_file() and spelling in shown(path)
        ] == []


@pytest.mark.parametrize(
    "options", [("doctor",), ("doctor", "--json"), ("probe", "--event-log", "probe.jsonl")]
)
def test_doctor_and_probe_show_no_token(
    options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    output = ""
    with quick_simulator(tmp_path, "--token-lifetime", "60") as ready, quoting_service() as urls:
        for url in urls.values():
            Path("probe.jsonl").unlink(missing_ok=True)
            ended = rtbench(*options, "--url", url, "--auth", "managed_identity", **identity(ready))

            output += ended.stdout + ended.stderr
            assert ended.returncode == 1, ended.stderr
            assert with_tokens(tmp_path) == []

    assert output.count("***") >= 2
    assert not TOKEN.search(output)


# Runs without a key: their tokens are valid for seconds, and are renewed while sessions open.


def keyless(ready: Ready) -> dict[str, str]:
    """Return the environment of an Azure App Service with an identity that may call the
    simulator.
    """
    endpoint = f"http://127.0.0.1:{ready.port}"
    return identity(ready) | {
        "AZURE_OPENAI_ENDPOINT": endpoint,
        "AZURE_OPENAI_DEPLOYMENT_NAME": "gpt-realtime",
    }


def lines_of(ended: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the lines that rtbench wrote to stderr, except the line about a slow sign-in, which
    appears on a busy machine.
    """
    lines = [line for line in ended.stderr.splitlines() if line.startswith("rtbench:")]
    return [line for line in lines if line != "rtbench: signing in through Microsoft Entra ID …"]


FOUR_A_SECOND = ("--connect-rate", "240")
"""An option that gives a run a known minimum duration, even if the sign-in is slow."""


def incident_kinds(folder: Path) -> set[str]:
    """Return the kinds of a run's incidents, except the kinds that a busy machine causes."""
    return {incident["kind"] for incident in files.read_document(folder)["incidents"]} - {
        "simulator_late"
    }


def test_sessions_do_not_wait_for_the_renewal_of_an_expiring_token(
    tmp_path: Path,
) -> None:
    truth = tmp_path / "truth.jsonl"
    with quick_simulator(tmp_path, "--token-lifetime", "5", "--ground-truth", str(truth)) as ready:
        load = (
            "-u",
            "4",
            "-r",
            "4",
            "--sessions",
            "32",
            *FOUR_A_SECOND,
            "--record-events",
            "100%",
            "--processes",
            "2",
        )
        ended = run_locust(
            write_scenario(tmp_path, turns=1), tmp_path / "runs", *load, **keyless(ready)
        )
        header = keyless(ready)["IDENTITY_HEADER"]

    folder = only_run(tmp_path / "runs")
    sessions = files.read_table(folder, "sessions").to_pandas()
    used = {event["token"] for event in read_truth(truth) if event.get("token") is not None}
    assert ended.returncode in (0, 4), ended.stderr
    assert set(sessions["outcome"]) <= {"ok", "unfinished"}
    assert sessions["auth_wait_ns"].tolist() == [0] * len(sessions)
    assert len(used) >= 2  # the token was renewed
    assert files.read_document(folder)["targets"][0]["auth"] == "entra"
    assert incident_kinds(folder) == set()
    assert files_with(folder, header) == []
    assert with_tokens(folder) == []
    assert header not in ended.stdout + ended.stderr
    assert not TOKEN.search(ended.stdout + ended.stderr)


def test_a_refused_sign_in_gives_one_line_and_leaves_no_run(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--token-lifetime", "8", "--fault", "identity_500") as ready:
        options = ("--auth", "managed_identity", "-u", "2", "--processes", "2")
        ended = run_locust(write_scenario(tmp_path), tmp_path / "runs", *options, **keyless(ready))

    assert ended.returncode == 2
    assert len(lines_of(ended)) == 1
    assert "Traceback" not in ended.stderr
    assert not any((tmp_path / "runs").iterdir())
    assert not TOKEN.search(ended.stdout + ended.stderr)


def test_workers_without_a_sign_in_at_the_end_of_the_run_are_reported(tmp_path: Path) -> None:
    with quick_simulator(
        tmp_path, "--token-lifetime", "60", "--fault", "identity_slow,requests=2"
    ) as ready:
        load = ("-u", "2", "-r", "2", "-t", "5s", "--processes", "2")
        ended = run_locust(write_scenario(tmp_path), tmp_path / "runs", *load, **keyless(ready))

    assert ended.returncode == 2
    assert "the run ended before 1 of its 2 workers started" in ended.stderr
    assert "Traceback" not in ended.stderr
