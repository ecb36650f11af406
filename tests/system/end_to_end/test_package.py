"""What is shipped, and what a command costs before it does anything."""

from __future__ import annotations

import subprocess
import sys

import pytest


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
