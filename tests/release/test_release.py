"""A release as a user receives it: the wheel, built from the sdist, and the first commands that a
user runs.

Two tests install no dependencies, but use those in the environment of the tests: the test of the
wheel's contents, and the test next to files with the names of our packages. In the other tests,
`pip` and `uv` install the dependencies from the package index. Therefore `make test` leaves this
file out, and `make test-release` runs it.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from bench.base.errors import INVALID_STATUS
from tests.forked import servers_folder
from tests.simulator_process import ROOT, quick_simulator
from tests.system.end_to_end.locust_process import GUARD_S, only_run
from tools.peers.agents.ports import free_port
from tools.schemas import schemas

BIN = Path(sys.executable).parent
VERSION = "1.2.3"
PLAYED = """
set -euo pipefail
rtbench --version
rtbench init calls
cd calls
rtbench doctor --offline
sed -i "s/8765/$PORT/" targets.yaml
rtbench simulate --clients --profile quiet --port "$PORT" --ready-file ready.json > simulator.log 2>&1 & simulator=$!
trap "kill $simulator" EXIT
timeout 60 sh -c 'until [ -s ready.json ]; do sleep 0.2; done' || { cat simulator.log; exit 1; }
locust -f scenarios/voice_turns.py --headless -u 2 -r 2 --sessions 2 --targets simulator || [ $? = $INVALID ]
rtbench report runs/*
rtbench check runs/* --thresholds scenarios/ci.yaml --on-inconclusive warn || [ $? = $INVALID ]
"""
"""The first commands of a user.

Their run may be too short for a decision, or invalid because the machine is too busy.
"""


def wheel(folder: Path) -> Path:
    """Build the sdist of this source, and a wheel from the sdist. Return the path of the wheel."""
    source = copy_of_the_source(folder)
    subprocess.run([sys.executable, "-m", "tools.schemas"], cwd=source, check=True)
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        str(folder / "dist"),
        ".",
    ]
    env = os.environ | {"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_RTBENCH": VERSION}
    done = subprocess.run(command, cwd=source, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    (path,) = (folder / "dist").glob("*.whl")
    return path


def copy_of_the_source(folder: Path) -> Path:
    """Copy the source into `folder`, because a build writes into the folder of its source.
    Return the copy.
    """
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            target = folder / "source" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    return folder / "source"


def run_first_commands(commands: Path, folder: Path) -> str:
    """Run the first commands with an installation, and return their output. No other
    installation can be imported.
    """
    folder.mkdir()
    clean = {
        name: text for name, text in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    own = {
        "PATH": f"{commands}:/usr/bin:/bin",
        "HOME": str(folder),
        "PORT": str(free_port()),
        "NO_COLOR": "1",
    }
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
def built() -> Path:
    """Return the wheel. The first worker that needs it builds it, and the others wait."""
    folder = servers_folder() / "built"
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return next((folder / "dist").glob("*.whl"), None) or wheel(folder)


def test_pip_installs_what_a_new_user_needs(built: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    # the commands compile what they import, which is a tenth of what pip would compile
    pip = [str(tmp_path / "venv" / "bin" / "pip"), "install", "-q", "--no-compile"]
    subprocess.run([*pip, str(built)], check=True)
    output = run_first_commands(tmp_path / "venv" / "bin", tmp_path / "empty")

    assert output.startswith(f"rtbench {VERSION}\n")
    assert "with the compiled parts" in " ".join(output.split())


def test_the_first_commands_work_with_the_oldest_allowed_packages(
    built: Path, tmp_path: Path
) -> None:
    uv = str(BIN / "uv")
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([uv, "venv", "-q", "-p", sys.executable, str(tmp_path / "venv")], check=True)
    words = ["pip", "install", "-q", "--python", str(python), "--resolution", "lowest-direct"]
    subprocess.run([uv, *words, str(built)], check=True)

    assert run_first_commands(python.parent, tmp_path / "empty").startswith(f"rtbench {VERSION}\n")


def test_the_transport_works_with_the_oldest_allowed_websockets(tmp_path: Path) -> None:
    """All other tests use the newest allowed version of websockets, which is in the lock file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (allowed,) = (
        one for one in map(Requirement, project["dependencies"]) if one.name == "websockets"
    )
    oldest = next(bound.version for bound in allowed.specifier if bound.operator == ">=")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(tmp_path)]
    subprocess.run([*pip, f"websockets=={oldest}"], check=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/transport"]
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-2_000:]


def test_uv_installs_both_commands(built: Path, tmp_path: Path) -> None:
    places = {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin")}
    words = [
        "tool",
        "install",
        "-q",
        "--python",
        sys.executable,
        "--with-executables-from",
        "locust",
        str(built),
    ]
    subprocess.run([str(BIN / "uv"), *words], env=os.environ | places, check=True)

    assert run_first_commands(tmp_path / "bin", tmp_path / "empty").startswith(
        f"rtbench {VERSION}\n"
    )


@pytest.mark.parametrize("python", ["3.11.0", "3.14.0"])
def test_the_lock_files_install_wheels_alone_on_the_lowest_and_the_highest_python(
    python: str, tmp_path: Path
) -> None:
    """The lock file of developers contains the other one. uv installs for a Python that this
    machine lacks.
    """
    words = [
        "pip",
        "install",
        "-q",
        "--python-version",
        python,
        "--only-binary",
        ":all:",
        "--require-hashes",
    ]
    locks = [
        word
        for name in ("requirements-calls.lock", "requirements-dev.lock")
        for word in ("-r", str(ROOT / name))
    ]
    done = subprocess.run(
        [str(BIN / "uv"), *words, "--target", str(tmp_path), *locks],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("*.dist-info"))) > 150


# Next to a user's files.

HOSTILE = "raise RuntimeError(\"a file of the user's was taken for one of the tool's\")\n"
LOCUSTFILE = """
from rtbench import RealtimeUser


class Caller(RealtimeUser):
    script = "script.yaml"
"""


def hostile_folder(folder: Path) -> Path:
    """Write a Locust file and a script into a user's folder.

    The folder also has a `bench.py`, a `reports/`, a `scenarios/`.
    """
    for name in ("reports", "scenarios"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(HOSTILE)
    (folder / "bench.py").write_text(HOSTILE)
    (folder / "locustfile.py").write_text(LOCUSTFILE)
    (folder / "script.yaml").write_text("session:\n  output: audio\nsteps:\n  - text: Hello.\n")
    return folder


def run(folder: Path, python: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a Python module in `folder`, which is also on the module path."""
    environment = {
        "PATH": str(python.parent),
        "HOME": str(folder),
        "PYTHONPATH": str(folder),
        "NO_COLOR": "1",
    }
    command = [str(python), "-P", "-m", *words]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        check=False,
    )


def test_the_wheel_holds_the_packages_with_their_data_and_no_tests(built: Path) -> None:
    names = zipfile.ZipFile(built).namelist()
    packages = {"rtbench", "rtbench_simulator", "bench", "reports", "scenarios"}
    assert {
        name.split("/")[0] for name in names if ".dist-info/" not in name and ".data/" not in name
    } == packages
    assert {f"reports/schemas/{name}.schema.json" for name in schemas()} <= set(names)
    for page in ("index.md", "check.md", "ci/github-nightly.yml", "ci/files/call.yaml"):
        assert any(name.endswith(f".data/data/share/doc/rtbench/{page}") for name in names)
    shipped = [
        path
        for folder in ("bench", "reports", "rtbench", "rtbench_simulator", "scenarios")
        for path in (ROOT / folder).rglob("*")
    ]
    for path in shipped:
        # Cython writes the .c files
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".c":
            assert str(path.relative_to(ROOT)) in names


def test_the_wheel_works_next_to_files_with_the_names_of_its_packages(
    built: Path, tmp_path: Path
) -> None:
    """The wheel uses the dependencies that are installed in the environment of the tests."""
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True
    )
    (packages,) = (tmp_path / "venv" / "lib").glob("*/site-packages")
    zipfile.ZipFile(built).extractall(packages)
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib"))
    python, folder = tmp_path / "venv" / "bin" / "python", hostile_folder(tmp_path / "user")

    assert (
        run(tmp_path, python, "rtbench.cli.app", "docs", "check").stdout
        == (ROOT / "docs" / "check.md").read_text()
    )
    with quick_simulator(tmp_path) as simulator:
        load = (
            "--headless",
            "-u",
            "1",
            "--sessions",
            "1",
            "--session-pause",
            "0.1",
            "--url",
            simulator.urls["ga"],
        )
        ended = run(folder, python, "locust", *load)
    assert "taken for" not in ended.stderr + ended.stdout
    assert (only_run(folder / "runs") / "report.html").exists(), ended.stderr
    assert (only_run(folder / "runs") / "turns.parquet").exists()

    (folder / "bench.py").write_text(LOCUSTFILE)
    ended = run(folder, python, "locust", "-f", "bench.py", "--headless", "-u", "1")

    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("rtbench: ")
    assert "bench.py has the name of a package of rtbench" in line
