"""What a release gives its users: the wheel, installed by pip and by uv in an empty folder, and what they begin with.

It installs what the package needs from the index, so `make test` leaves it out and `make test-release` runs it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bench.errors import INVALID_STATUS
from tests.release.test_installed import copy_of_the_source
from tests.system.end_to_end.locust_process import free_port

BIN = Path(sys.executable).parent
VERSION = "1.2.3"
PLAYED = """
set -euo pipefail
rtbench --version
rtbench init calls
cd calls
rtbench doctor --offline
sed -i "s/8765/$PORT/" targets.yaml
rtbench simulate --port "$PORT" --ready-file ready.json > simulator.log 2>&1 & simulator=$!
trap "kill $simulator" EXIT
timeout 60 sh -c 'until [ -s ready.json ]; do sleep 0.2; done' || { cat simulator.log; exit 1; }
locust -f scenarios/voice_turns.py --headless -u 2 -r 2 --sessions 2 --targets simulator || [ $? = $INVALID ]
rtbench report runs/*
rtbench check runs/* --thresholds scenarios/ci.yaml --on-inconclusive warn || [ $? = $INVALID ]
"""
"""What a new user does; a run that is too short to decide, or on a machine that is too busy, is good enough."""


def wheel(folder: Path, **environment: str) -> Path:
    """The wheel of this source, built from its sdist."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), "."]
    env = os.environ | {"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_RTBENCH": VERSION} | environment
    done = subprocess.run(command, cwd=copy_of_the_source(folder), env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    (path,) = (folder / "dist").glob("*.whl")
    return path


def plays(commands: Path, folder: Path) -> str:
    """What the commands of an installation say to a new user who has nothing but them."""
    folder.mkdir()
    clean = {name: text for name, text in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    own = {"PATH": f"{commands}:/usr/bin:/bin", "HOME": str(folder), "PORT": str(free_port()), "NO_COLOR": "1"}
    done = subprocess.run(
        ["bash", "-c", PLAYED],
        cwd=folder,
        env=clean | own | {"INVALID": str(INVALID_STATUS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    (page,) = folder.glob("calls/runs/*/report.html")
    assert page.stat().st_size
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel(tmp_path_factory.mktemp("built"))


def test_pip_installs_what_a_new_user_needs(built: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    subprocess.run([str(tmp_path / "venv" / "bin" / "pip"), "install", "-q", str(built)], check=True)
    said = plays(tmp_path / "venv" / "bin", tmp_path / "empty")

    assert said.startswith(f"rtbench {VERSION}\n")
    assert "with the compiled parts" in " ".join(said.split())


def test_uv_installs_both_commands(built: Path, tmp_path: Path) -> None:
    places = {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin")}
    words = ["tool", "install", "-q", "--python", sys.executable, "--with-executables-from", "locust", str(built)]
    subprocess.run([str(BIN / "uv"), *words], env=os.environ | places, check=True)

    assert plays(tmp_path / "bin", tmp_path / "empty").startswith(f"rtbench {VERSION}\n")


def test_without_a_compiler_the_wheel_says_so_and_works(tmp_path: Path) -> None:
    pure = wheel(tmp_path, CC="false")
    assert not [name for name in zipfile.ZipFile(pure).namelist() if name.endswith(".so")]
    words = ["venv", "-q", "--python", sys.executable, str(tmp_path / "venv")]
    subprocess.run([str(BIN / "uv"), *words], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([str(BIN / "uv"), "pip", "install", "-q", "--python", str(python), str(pure)], check=True)

    said = plays(python.parent, tmp_path / "empty")
    assert "without the compiled parts" in " ".join(said.split())
