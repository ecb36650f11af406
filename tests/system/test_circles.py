"""What tells the circles of tests apart, and who runs them, is held by a machine (`tests/conftest.py`)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.simulator_process import ROOT

TWO = """
import subprocess

def test_a_process():
    subprocess.run(["true"], check=True)

def test_none():
    pass
"""


def test_a_test_that_starts_a_process_fails_but_in_the_folder_of_those_that_may(tmp_path: Path) -> None:
    for folder in ("tests/reports", "tests/system"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"test_of_{folder[6:]}.py").write_text(TWO)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "--rootdir", str(tmp_path), str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    name = "tests/reports/test_of_reports.py::test_a_process"
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert f"{name} started 1 processes: it belongs to tests/system" in ended.stdout
    assert "1 failed, 3 passed" in ended.stdout


EVERY_END = """
import os, signal, sys, warnings
import pytest

def test_that_passes(tmp_path): print("nobody sees this")

def test_that_fails():
    print("what it said")
    raise AssertionError

def test_that_warns(): warnings.warn("an error here")

@pytest.mark.skip(reason="not today")
def test_that_is_skipped(): pass

def test_that_dies(): os.kill(os.getpid(), signal.SIGKILL)

def test_behind_it(): pass
"""
IN_PARTS = """
import os
import pytest

@pytest.fixture(scope="module")
def made(): return os.getpid()

@pytest.mark.parametrize("part", range(20))
def test_its_module_stays_in_one_process(made, part): assert made == os.getpid() != PARENT

def test_what_is_written_is_seen_there_alone(capfd):
    os.write(1, __name__.encode())
    assert capfd.readouterr().out == __name__
"""


BARE = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def command(folder: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "-q", "-p", "tests.forked.workers", *options, "--rootdir", folder, folder]  # type: ignore[list-item]


def of_workers(folder: Path, *options: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *options), cwd=ROOT, env=BARE, input=typed, capture_output=True, text=True, check=False
    )


def test_workers_tell_how_each_test_ended_and_which_one_they_did_not_survive(tmp_path: Path) -> None:
    (tmp_path / "test_ends.py").write_text(EVERY_END)
    for number in range(4):
        (tmp_path / f"test_part_{number}.py").write_text(IN_PARTS.replace("PARENT", "os.getppid()"))
    ended = of_workers(tmp_path, "-ra", "-W", "error", "--workers", "3")

    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "4 failed, 85 passed, 1 skipped" in ended.stdout
    assert "what it said" in ended.stdout
    assert "nobody sees this" not in ended.stdout + ended.stderr
    assert "UserWarning: an error here" in ended.stdout
    assert "the worker died in it (status -9)" in ended.stdout
    assert "not run: the worker that had taken it died in test_ends.py::test_that_dies\n" in ended.stdout


DEATHS = {
    "os._exit(0)": ("(status 0)", ""),
    "ctypes.string_at(0)": ("(status -11)", "Fatal Python error: Segmentation fault"),
    "time.sleep(10_000)": ("after 2 s (status -6)", "Fatal Python error: Aborted"),
    "pytest.exit('enough')": ("(status 1)", "_pytest.outcomes.Exit: enough"),
}


@pytest.mark.parametrize("death", DEATHS)
def test_no_test_of_a_worker_that_dies_is_forgotten_and_another_goes_on(death: str, tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(f"import ctypes, os, pytest, time\ndef test_dies(): {death}\n")
    for name in "bc":
        (tmp_path / f"test_{name}.py").write_text("def test_one(): pass\ndef test_two(): pass\n")
    hang = ("-o", "faulthandler_timeout=2", "-o", "faulthandler_exit_on_timeout=true")
    ended = of_workers(tmp_path, "-rN", "--workers", "1", *hang)
    status, why = DEATHS[death]

    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert f" test_dies ___________________________________\nthe worker died in it {status}\n" in ended.stdout
    assert ended.stdout.count("not run: the worker that had taken it died in test_a.py::test_dies\n") == 2
    assert "3 failed, 2 passed" in ended.stdout
    assert why in ended.stderr


HANGS = """
import os, pathlib, time
def test_without_end():
    pathlib.Path(__file__).with_suffix(".pid").write_text(str(os.getpid()))
    time.sleep(10_000)
def test_behind_it(): pass
"""


def running(folder: Path) -> list[int]:
    """Workers that hang in their tests, once they do."""
    while len(said := [path.read_text() for path in folder.glob("*.pid")]) < 2 or not all(said):
        time.sleep(0.01)
    return [int(pid) for pid in said]


def test_ctrl_c_ends_the_workers(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"test_{name}.py").write_text(HANGS)
    said = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(
        command(tmp_path, "--workers", "2"), cwd=ROOT, env=BARE, start_new_session=True, **said
    ) as process:  # type: ignore[call-overload]
        workers = running(tmp_path)
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate()

    assert process.returncode == pytest.ExitCode.INTERRUPTED, output + errors
    assert "KeyboardInterrupt" in output
    assert errors == ""
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_the_options_of_pytest_mean_what_they_mean_without_workers(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("def test_good(): print('said')\ndef test_bad():\n    six = 6\n    assert 0\n")
    (tmp_path / "test_b.py").write_text("def test_good(): pass\n")
    two = ("--workers", "2")

    assert "2 passed, 1 deselected" in of_workers(tmp_path, *two, "-k", "good").stdout
    assert "1 failed, 2 passed" in of_workers(tmp_path, *two).stdout
    assert "\n1 failed in " in of_workers(tmp_path, *two, "--lf").stdout
    assert "said" in of_workers(tmp_path, *two, "-s").stdout
    assert "(Pdb) 42" in of_workers(tmp_path, *two, "--pdb", typed="p six * 7\nq\n").stdout
