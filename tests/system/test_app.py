"""The command line as a process: the effect of a closed pipe on its exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import rtbench.cli
from bench.installation import tool_version
from tests import forked
from tests.reports.check.examples import ENOUGH, run


@pytest.mark.parametrize(("limit", "status"), [("5s", 0), ("5ms", 1)])
def test_the_exit_status_is_the_verdict_with_a_closed_pipe(tmp_path: Path, limit: str, status: int) -> None:
    folder, limits = run(tmp_path / "run", ENOUGH), tmp_path / "ci.yaml"
    limits.write_text(f"ttfa: med<{limit}", encoding="utf-8")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        found = forked.run(
            [sys.executable, "-m", "rtbench.cli.app", "check", str(folder), "--thresholds", str(limits)],
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
        )

    assert (found.returncode, found.stderr) == (status, b"")


def test_the_exit_status_is_the_verdict_without_stdout(tmp_path: Path) -> None:
    folder, limits = run(tmp_path / "run", ENOUGH), tmp_path / "ci.yaml"
    limits.write_text("ttfa: med<5s", encoding="utf-8")
    command = f'"{sys.executable}" -m rtbench.cli.app check "{folder}" --thresholds "{limits}" >&-'

    assert subprocess.run(["sh", "-c", command], check=False).returncode == 0


def test_a_usage_error_ends_with_2_with_a_closed_pipe(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        found = forked.run(
            [sys.executable, "-m", "rtbench.cli.app", "check", str(tmp_path)], stdout=closed, stderr=closed, check=False
        )

    assert found.returncode == 2


def test_the_version_is_printed_without_importing_run_readers() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "rtbench.cli.app", "--version"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)

    assert found.stdout == f"rtbench {tool_version()}\n"
    assert {"numpy", "pyarrow", "hdrh", "msgspec"} & {
        line.rpartition("|")[2].strip() for line in found.stderr.splitlines()
    } == set()


@pytest.mark.parametrize("command", [(), ("quickstart",), ("simulate",), ("report",)])
def test_the_help_of_commands_is_printed_without_a_warning(command: tuple[str, ...]) -> None:
    program = [sys.executable, "-W", "error", "-m", "rtbench.cli.app", *command, "--help"]
    ended = subprocess.run(program, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert "Usage:" in ended.stdout


def test_ctrl_c_during_imports_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    class InterruptingFinder:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "rtbench.cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "rtbench.cli.app", raising=False)
    monkeypatch.delattr(rtbench.cli, "app", raising=False)
    monkeypatch.setattr(sys, "meta_path", [InterruptingFinder(), *sys.meta_path])

    with pytest.raises(SystemExit) as ended:
        rtbench.cli.main()

    assert ended.value.code == 130
