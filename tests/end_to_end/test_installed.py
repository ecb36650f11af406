"""The installed wheel, in a folder whose files have the names of the tool's own packages."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.end_to_end.locust_process import AZURE, GUARD_S, only_run
from tests.end_to_end.test_package import copy_of_the_source
from tests.simulator_process import Ready

HOSTILE = "raise RuntimeError(\"a file of the user's was taken for one of the tool's\")\n"
LOCUSTFILE = """
from rtbench import RealtimeUser


class Caller(RealtimeUser):
    script = "script.yaml"
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the tool from its wheel, and what the tool needs from the tests' own environment."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "dist"), "."]
    subprocess.run(build, cwd=copy_of_the_source(folder), capture_output=True, check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    (packages,) = (folder / "venv" / "lib").glob("*/site-packages")
    (wheel,) = (folder / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(packages)
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "venv" / "bin" / "python"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a user has: a Locust file and a script, and beside them a `bench.py`, `reports/` and `scenarios/`."""
    (tmp_path / "locustfile.py").write_text(LOCUSTFILE)
    (tmp_path / "script.yaml").write_text("session:\n  output: audio\nsteps:\n  - say: Hello.\n")
    (tmp_path / "bench.py").write_text(HOSTILE)
    for name in ("reports", "scenarios"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(HOSTILE)
    return tmp_path


def run(folder: Path, python: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """In the folder, which is on the path of modules, too."""
    environment = {"PATH": str(python.parent), "HOME": str(folder), "PYTHONPATH": str(folder), "NO_COLOR": "1"}
    assert not environment.keys() & set(AZURE)
    command = [str(python), "-P", "-m", *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=GUARD_S, check=False
    )


def test_a_run_is_reported_whatever_lies_beside_its_locust_file(folder: Path, python: Path, simulator: Ready) -> None:
    load = ("--headless", "-u", "1", "--sessions", "1", "--session-pause", "0.1", "--url", simulator.urls["ga"])
    ended = run(folder, python, "locust", *load)

    assert "taken for" not in ended.stderr + ended.stdout
    assert (only_run(folder / "runs") / "report.html").exists(), ended.stderr
    assert (only_run(folder / "runs") / "turns.parquet").exists()


def test_a_locust_file_with_the_name_of_the_tools_package_is_told_so_in_one_line(folder: Path, python: Path) -> None:
    (folder / "bench.py").write_text(LOCUSTFILE)
    ended = run(folder, python, "locust", "-f", "bench.py", "--headless", "-u", "1")

    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("rtbench: ")
    assert "bench.py has the name of the tool's own package" in line
