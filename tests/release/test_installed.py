"""The wheel, built from the sdist: what is in it, and that it works beside files that have our packages' names."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

from tests.simulator_process import ROOT, Ready, quick_simulator
from tests.system.end_to_end.locust_process import GUARD_S, only_run

HOSTILE = "raise RuntimeError(\"a file of the user's was taken for one of the tool's\")\n"
LOCUSTFILE = """
from rtbench import RealtimeUser


class Caller(RealtimeUser):
    script = "script.yaml"
"""


def test_the_wheel_holds_the_tool_and_works_whatever_lies_beside_a_locust_file(
    tmp_path: Path,
) -> None:
    wheel = built(tmp_path)
    it_holds_the_packages_with_their_data_and_no_tests(wheel)

    python, folder = installed(wheel, tmp_path), hostile_folder(tmp_path / "user")
    it_prints_the_pages_that_its_messages_name(tmp_path, python)
    with quick_simulator(tmp_path) as simulator:
        a_run_is_reported(folder, python, simulator)
    a_locust_file_with_the_name_of_the_tools_package_is_told_so_in_one_line(folder, python)


def built(folder: Path) -> Path:
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), "."]
    compiler = folder / "cc"
    compiler.write_text('#!/bin/sh\nexec cc "$@" -O0\n')  # nothing here is to be fast
    compiler.chmod(0o755)
    build = subprocess.run(
        command,
        cwd=copy_of_the_source(folder),
        env=os.environ | {"CC": str(compiler)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode == 0, build.stderr + build.stdout
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def copy_of_the_source(folder: Path) -> Path:
    """The build writes beside its source, so it gets one of its own."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            target = folder / "source" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    return folder / "source"


def installed(wheel: Path, folder: Path) -> Path:
    """A Python that has the tool from its wheel, and what the tool needs from the tests' own environment."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    (packages,) = (folder / "venv" / "lib").glob("*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "venv" / "bin" / "python"


def hostile_folder(folder: Path) -> Path:
    """What a user has: a Locust file and a script, and beside them a `bench.py`, `reports/` and `scenarios/`."""
    for name in ("reports", "scenarios"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(HOSTILE)
    (folder / "bench.py").write_text(HOSTILE)
    (folder / "locustfile.py").write_text(LOCUSTFILE)
    (folder / "script.yaml").write_text("session:\n  output: audio\nsteps:\n  - text: Hello.\n")
    return folder


def run(folder: Path, python: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """In the folder, which is on the path of modules, too."""
    environment = {"PATH": str(python.parent), "HOME": str(folder), "PYTHONPATH": str(folder), "NO_COLOR": "1"}
    command = [str(python), "-P", "-m", *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=GUARD_S, check=False
    )


def it_holds_the_packages_with_their_data_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    packages = {"rtbench", "bench", "reports", "scenarios"}
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name and ".data/" not in name} == packages
    for page in ("index.md", "check.md", "ci/github-nightly.yml", "ci/files/call.yaml"):
        assert any(name.endswith(f".data/data/share/doc/rtbench/{page}") for name in names)
    shipped = [path for folder in ("bench", "reports", "rtbench", "scenarios") for path in (ROOT / folder).rglob("*")]
    for path in shipped:
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".c":  # which Cython leaves there
            assert str(path.relative_to(ROOT)) in names


def it_prints_the_pages_that_its_messages_name(folder: Path, python: Path) -> None:
    assert run(folder, python, "bench.cli.app", "docs", "check").stdout == (ROOT / "docs" / "check.md").read_text()


def a_run_is_reported(folder: Path, python: Path, simulator: Ready) -> None:
    load = ("--headless", "-u", "1", "--sessions", "1", "--session-pause", "0.1", "--url", simulator.urls["ga"])
    ended = run(folder, python, "locust", *load)

    assert "taken for" not in ended.stderr + ended.stdout
    assert (only_run(folder / "runs") / "report.html").exists(), ended.stderr
    assert (only_run(folder / "runs") / "turns.parquet").exists()


def a_locust_file_with_the_name_of_the_tools_package_is_told_so_in_one_line(folder: Path, python: Path) -> None:
    (folder / "bench.py").write_text(LOCUSTFILE)
    ended = run(folder, python, "locust", "-f", "bench.py", "--headless", "-u", "1")

    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("rtbench: ")
    assert "bench.py has the name of the tool's own package" in line
