"""What is shipped, and what a command costs before it does anything."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_wheel_holds_the_three_packages_with_their_data_and_no_tests(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), "."]
    built = subprocess.run(command, cwd=copy_of_the_source(tmp_path), capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr + built.stdout

    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    packages = {"rtbench.py", "bench", "reports", "scenarios"}
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == packages
    shipped = [path for folder in ("bench", "reports", "scenarios") for path in (ROOT / folder).rglob("*")]
    for path in shipped:
        if path.is_file() and "__pycache__" not in path.parts:
            assert str(path.relative_to(ROOT)) in names


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


@pytest.mark.parametrize("command", [(), ("bench",), ("simulate",), ("report",)])
def test_every_command_explains_itself_in_a_fresh_interpreter_without_a_warning(command: tuple[str, ...]) -> None:
    program = [sys.executable, "-W", "error", "-m", "bench.cli.app", *command, "--help"]
    ended = subprocess.run(program, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert "Usage:" in ended.stdout


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("bench.cli.app", ("locust", "gevent", "pandas", "numpy", "pyarrow", "scipy")),
        ("bench.run.replay, bench.cli.session_text", ("locust", "pandas", "pyarrow", "scipy")),
        ("bench.probe, bench.cli.session_text", ("locust", "pandas", "scipy")),
    ],
    ids=["help", "replay", "probe"],
)
def test_who_needs_no_frames_waits_for_neither_locust_nor_pandas(modules: str, heavy: tuple[str, ...]) -> None:
    check = f"import sys, {modules}; print(sorted({{*{heavy}}} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)

    assert ended.stdout.strip() == "[]"
