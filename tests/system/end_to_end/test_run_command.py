"""`rtbench run`: one command runs a script that exists only in YAML, and checks the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.record import folder as files
from tests.examples import some
from tests.simulator_process import Ready, quick_simulator
from tests.system.end_to_end.locust_process import (
    GUARD_S,
    only_run,
    own_ports,
    rtbench,
    started,
    wait_for_rows,
)

SCRIPT = "steps:\n  - text: Hello\n  - text: And what else?\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with quick_simulator(tmp_path_factory.mktemp("service")) as ready:
        yield ready


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(SCRIPT)
    return tmp_path


def played(folder: Path, service: Ready, *words: str) -> subprocess.CompletedProcess[str]:
    with started(folder, *words, "--url", service.urls["ga"], "--session-pause", "0") as process:
        output, errors = process.communicate(timeout=GUARD_S)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def expected_status(folder: Path, status: int) -> int:
    """Return the exit status of a run whose threshold result is `status`; 4 if a slow machine
    made the run invalid.
    """
    return status if files.read_document(folder)["validity"]["status"] == "valid" else 4


CHECKED = [("900s", 0, False), ("900s", 0, True), ("0.001ms", 1, True), ("0.001ms", 1, False)]


@pytest.mark.parametrize(("p50", "status", "of_script"), some(CHECKED, 2))
def test_a_run_is_checked_by_its_thresholds_and_stores_them(
    p50: str, status: int, of_script: bool, folder: Path, service: Ready
) -> None:
    (folder / "ci.yaml").write_text(f"ttfa: p(50)<{p50}")
    if of_script:
        (folder / "mine.yaml").write_text(f"thresholds: {{ttfa: p(50)<{p50}}}\n{SCRIPT}")
    given = [] if of_script else ["--thresholds", "ci.yaml"]
    ended = played(folder, service, "mine.yaml", "-u", "4", "--sessions", "40", *given)
    run = only_run(folder / "runs")
    document = files.read_document(run)

    assert ended.returncode == expected_status(run, status), ended.stderr
    assert ended.stdout.rstrip().endswith("report.html")
    assert (run / "check.json").exists()
    assert document["thresholds"] == {"ttfa": [f"p(50)<{p50}"]}
    assert rtbench("check", run).returncode == expected_status(run, status)
    assert run.name.endswith("-mine")
    assert (document["scenario"], document["settings"]["locustfile"]) == ("mine", "mine.yaml")
    assert document["settings"]["spawn_rate"] == 4
    assert [(script["name"], len(script["digest"])) for script in document["scripts"]] == [
        ("mine", 64)
    ]


def test_a_valid_run_with_failed_turns_ends_with_the_reason_of_its_status(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SCRIPT)
    with quick_simulator(tmp_path, "--fault", "failed,share=0.5") as service:
        ended = played(tmp_path, service, "mine.yaml", "-u", "4", "--sessions", "20")

    run = only_run(tmp_path / "runs")
    outcomes = files.read_table(run, "turns").to_pandas()["outcome"]
    failed = outcomes.str.startswith("failed").sum()
    assert failed
    assert ended.returncode == expected_status(run, 1)
    *_, last = ended.stderr.splitlines()
    if ended.returncode == 1:
        assert last == (
            f"rtbench: exit status 1: turns failed: {failed}; `--exit-code-on-error 0` ignores them"
        )


def test_scripts_and_locust_files_run_together_in_two_processes(
    folder: Path, service: Ready
) -> None:
    (folder / "other.yml").write_text(SCRIPT)
    (folder / "callers.py").write_text(
        "from rtbench import RealtimeUser\nclass Caller(RealtimeUser):\n    script = 'third.yaml'\n"
    )
    (folder / "third.yaml").write_text(SCRIPT)
    load = ("-u", "4", "--sessions", "40", "--processes", "2")
    ended = played(folder, service, "mine.yaml", "other.yml", "callers.py", *load, *own_ports(load))
    document = files.read_document(only_run(folder / "runs"))

    assert ended.returncode == expected_status(only_run(folder / "runs"), 0), ended.stderr
    assert {script["name"] for script in document["scripts"]} == {"mine", "other", "third"}
    assert document["totals"]["sessions"] == {"ok": 40}


def test_an_interrupted_run_ends_with_130_and_is_not_checked(folder: Path, service: Ready) -> None:
    (folder / "ci.yaml").write_text("ttfa: p(50)<900s")
    words = (
        "mine.yaml",
        "-u",
        "2",
        "-t",
        "1h",
        "--thresholds",
        "ci.yaml",
        "--url",
        service.urls["ga"],
    )
    with started(folder, *words) as process:
        run = wait_for_rows(folder / "runs", "sessions", 2)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=GUARD_S)

    assert process.returncode == expected_status(run, 130)
    assert "report.html" in output
    assert f"rtbench check runs/{run.name}" in errors
    assert not (run / "check.json").exists()


ASCII_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""Python replaces the locale C by UTF-8, unless these variables forbid it."""


@pytest.mark.parametrize(
    ("redirection", "locale"),
    [("<&-", ASCII_LOCALE), ("<&- >&- 2>&-", {})],
    ids=["no UTF-8", "closed"],
)
def test_rtbench_run_starts_a_run_with_any_standard_streams(
    folder: Path, service: Ready, redirection: str, locale: dict[str, str]
) -> None:
    command = (
        f'"{sys.executable}" -m rtbench.cli.app run mine.yaml -u 2 --sessions 2 --url "$URL"'
        f" {redirection}"
    )
    ended = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env=os.environ | {"URL": service.urls["ga"]} | locale,
        capture_output=True,
        timeout=GUARD_S,
        check=False,
    )

    assert ended.returncode == expected_status(only_run(folder / "runs"), 0), ended.stderr
    assert (
        ended.stdout.decode("ascii")
        .rstrip()
        .endswith("" if ">&-" in redirection else "report.html")
    )
