"""The run of a level ends in time, even if its process does not end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.base.clock import monotonic_ns, utc_ns
from bench.base.units import NS_PER_S
from bench.record.document import SCHEMA_VERSION
from rtbench import locust_run
from rtbench.capacity import level_run as playing
from rtbench.capacity.level_run import LevelTask, LocustCommand, run_level
from tests.capacity.level_folders import folder_of

DEAF = (
    "import signal, sys; [signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT,"
    " signal.SIGUSR1)]; print(flush=True); signal.pause()"
)


@pytest.fixture
def process(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that is ready to receive signals."""
    with subprocess.Popen([sys.executable, "-c", request.param], stdout=subprocess.PIPE) as started:
        assert started.stdout
        started.stdout.readline()
        yield started
        started.kill()


@pytest.mark.parametrize("process", [DEAF], indirect=True)
def test_a_level_ends_at_the_end_of_its_search(
    tmp_path: Path, process: subprocess.Popen[bytes]
) -> None:
    now_ns = monotonic_ns()
    folder = folder_of(tmp_path, "running")
    task = LevelTask("01-level-4", 4, 3600.0, 5.0)
    n_analyses, _ = playing._watched(
        process, folder, now_ns, task, lambda *_: False, latest_ns=now_ns - NS_PER_S
    )

    assert n_analyses == 0


def test_a_run_that_never_ends_is_killed_when_the_search_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "levels"
    runs.mkdir()
    folder = runs / "20261120T091400Z-01-level-4"
    begun = {"state": "running", "started_utc_ns": utc_ns(), "schema": SCHEMA_VERSION}
    (tmp_path / "begun").mkdir()
    # a rename, so that the folder is complete at any time
    write = (
        "import json, os, pathlib;"
        f" begun = {begun!r} | {{'writer': {{'pid': os.getpid()}}}};"
        f" pathlib.Path({str(tmp_path / 'begun' / 'run.json')!r}).write_text(json.dumps(begun));"
        f" os.rename({str(tmp_path / 'begun')!r}, {str(folder)!r})"
    )
    # the folder appears after the process ignores signals, because the process may be interrupted
    # at once
    deaf = DEAF.replace("print(flush=True)", write)
    monkeypatch.setattr(locust_run, "python_command", lambda *_: [sys.executable, "-c", deaf])
    task = LevelTask("01-level-4", 4, 60.0, 5.0)
    end_ns = monotonic_ns() + NS_PER_S
    played = run_level(
        LocustCommand([Path("calls.py")], runs), task, lambda *_: False, end_ns, end_ns
    )

    assert (played.folder, played.analyses) == (folder, 0)
    assert "did not end" in played.died
