"""The command line as a process: its standard streams have no effect on its exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import rtbench.cli
from rtbench.cli import app
from tests import forked
from tests.reports.check.examples import ENOUGH, run


@pytest.mark.parametrize(("limit", "status"), [("5s", 0), ("5ms", 1)])
def test_the_exit_status_is_the_verdict_with_a_closed_pipe(
    tmp_path: Path, limit: str, status: int
) -> None:
    folder, limits = run(tmp_path / "run", ENOUGH), tmp_path / "ci.yaml"
    limits.write_text(f"ttfa: med<{limit}", encoding="utf-8")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        found = forked.run(
            [
                sys.executable,
                "-m",
                "rtbench.cli.app",
                "check",
                str(folder),
                "--thresholds",
                str(limits),
            ],
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
        )

    assert (found.returncode, found.stderr) == (status, b"")


def check_of(
    tmp_path: Path, limit: str, redirection: str = "", **variables: str
) -> subprocess.CompletedProcess[bytes]:
    folder, limits = run(tmp_path / "run", ENOUGH), tmp_path / "ci.yaml"
    limits.write_text(f"ttfa: med<{limit}", encoding="utf-8")
    command = (
        f'"{sys.executable}" -m rtbench.cli.app check "{folder}" --thresholds "{limits}"'
        f" {redirection}"
    )
    return subprocess.run(
        ["sh", "-c", command], env=os.environ | variables, capture_output=True, check=False
    )


@pytest.mark.parametrize("encoding", ["ascii", "euc_jp"])
def test_the_exit_status_is_the_verdict_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    found = check_of(tmp_path, "5s", PYTHONIOENCODING=encoding)

    assert (found.returncode, found.stderr) == (0, b"")
    assert "v pass" in found.stdout.decode(encoding)


def test_the_exit_status_is_the_verdict_on_a_full_disk(tmp_path: Path) -> None:
    found = check_of(tmp_path, "5s", ">/dev/full")

    assert (found.returncode, found.stderr) == (
        0,
        b"rtbench: the output cannot be written: No space left on device\n",
    )


def test_a_command_that_only_prints_fails_on_a_full_disk(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "rtbench.cli.app", "runs", str(tmp_path)]
        found = forked.run(command, stdout=full, stderr=subprocess.PIPE, check=False)

    assert (found.returncode, found.stderr.count(b"\n")) == (2, 1)


def test_an_unexpected_error_is_not_a_failed_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(app, "commands", lambda: fail)
    with pytest.raises(SystemExit) as ended:
        app.main()

    assert ended.value.code == 2


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
