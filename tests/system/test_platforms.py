"""On a platform without support, the tool prints one line. If the kernel has no timestamps, the
tool runs and reports it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rtbench
from bench.catalogue.outcomes import SUCCESSFUL
from bench.record import folder as files
from tests.simulator_process import quick_simulator
from tests.system.end_to_end.locust_process import only_run, run_locust, write_scenario

ROOT = Path(__file__).parents[2]
OF_THE_PLATFORM = re.compile(
    r"^ *(import|from) (asyncio|ctypes|errno|fcntl|mmap|multiprocessing|os|resource|select|"
    r"selectors|signal|socket|ssl|stat|subprocess|sys|termios|threading|time)\b",
    re.MULTILINE,
)
"""The import of a module of which some names exist only on some platforms."""
WINDOWS = """
import sys
sys.platform = "win32"
sys.modules |= dict.fromkeys(("fcntl", "grp", "pwd", "resource", "termios"))  # which Windows does not have
"""


def test_make_with_an_old_python_prints_its_own_command_with_another(tmp_path: Path) -> None:
    old = tmp_path / "python3.10"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "setup.py"):
        shutil.copy(ROOT / name, tmp_path)
    made = subprocess.run(
        ["make", f"PYTHON={old}", "bench"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    first, *_ = made.stderr.splitlines()
    assert first.endswith("make PYTHON=python3.13 bench")


@pytest.mark.parametrize(
    "started",
    [
        "from rtbench.cli.app import main",
        "from rtbench import load",
        "from bench.load.user import RealtimeUser",
    ],
)
def test_windows_is_refused_in_one_line_with_wsl_as_remedy(started: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WINDOWS + started]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("rtbench: Windows is not supported")
    assert "WSL" in line


@pytest.mark.parametrize(
    "module",
    [
        "rtbench.locust_user",
        "rtbench_simulator.ready",
        "bench.recorded_calls.import_calls",
        "bench.doctor.service_checks",
    ],
)
def test_only_calls_need_the_packages_of_the_extra_for_calls(module: str, tmp_path: Path) -> None:
    packages = ("G722", "google_crc32c", "opuslib_next", "pylibsrtp", "OpenSSL", "sipmessage")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({packages})); import rtbench.cli, {module}"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_the_product_uses_no_name_of_the_standard_library_that_macos_lacks() -> None:
    """The stubs of the standard library in mypy have conditions on `sys.platform`.

    mypy accepts a name after a check of `sys.platform` or `hasattr`.
    """
    product = [
        str(path)
        for package in ("bench", "reports", "rtbench", "rtbench_simulator", "scenarios")
        for path in (ROOT / package).rglob("*.py")
        if OF_THE_PLATFORM.search(path.read_text(encoding="utf-8"))
    ]
    options = (
        "--platform",
        "darwin",
        "--follow-imports",
        "skip",
        "--ignore-missing-imports",
        "--config-file=",
    )
    command = [sys.executable, "-m", "mypy", *options, "--cache-dir", os.devnull, *product]
    found = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.splitlines()

    assert len(product) > 50
    assert [line for line in found if "has no attribute" in line] == []
    assert "checked" in found[-1] or "no issues" in found[-1]


def test_a_run_on_macos_uses_user_space_timestamps_and_reports_it(tmp_path: Path) -> None:
    """The test shows this as far as Linux can: `sys.platform` of the process has the value of a
    Mac.
    """
    scenario = write_scenario(tmp_path)
    scenario.write_text('import sys\n\nsys.platform = "darwin"\n' + scenario.read_text())
    with quick_simulator(tmp_path) as ready:
        load = ("-u", "2", "-r", "2", "--sessions", "6", "--url", ready.urls["ga"])
        ended = run_locust(scenario, tmp_path / "runs", *load)
    run = only_run(tmp_path / "runs")
    turns = files.read_table(run, "turns").to_pylist()

    assert ended.returncode in (0, 4), ended.stderr
    assert len(turns) == 12
    assert {turn["outcome"] for turn in turns} <= SUCCESSFUL
    assert {turn["receive_timestamp_source"] for turn in turns} == {"userspace"}
    assert "no usable kernel timestamp" in ended.stdout
    assert "no usable kernel timestamp" in (run / "report.html").read_text()


HOSTILE = """
import sys
path = list(sys.path)
import rtbench
rtbench.UsageError, rtbench.__version__
import bench.base.errors
assert sys.path == path, "the path was changed"
assert not hasattr(sys.modules["bench"], "mine")
"""


def test_our_packages_are_found_although_files_on_the_path_have_their_names(tmp_path: Path) -> None:
    for package in rtbench.PACKAGES:
        (tmp_path / f"{package}.py").write_text("mine = True")
    home = str(rtbench.HOME)
    script = f"import sys; sys.path[:] = [{str(tmp_path)!r}, *sys.path, {home!r}]\n{HOSTILE}"
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stderr) == (0, "")
