"""The run of a level ends in time, even if its process does not end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from bench.clock import utc_ns
from bench.run.document import SCHEMA_VERSION
from bench.units import NS_PER_S
from rtbench.capacity import level_run as playing
from rtbench.capacity.level_run import LevelTask, LocustCommand, play_level


class Busy:
    """A process that never ends, and that stores the signals it receives."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def poll(self) -> None: ...

    def send_signal(self, number: int) -> None:
        self.told.append(number)

    def wait(self, longest_s: float) -> int:
        raise subprocess.TimeoutExpired("busy", longest_s)


@dataclass
class SteppedClocks:
    """Clocks that advance only when sleeping. `steps_s`: steps of the wall clock, by the second of each."""

    steps_s: dict[float, float]
    now_ns: int = 1_000 * NS_PER_S

    def monotonic_ns(self) -> int:
        return self.now_ns

    def utc_ns(self) -> int:
        elapsed_s = self.now_ns / NS_PER_S - 1_000
        return self.now_ns + int(sum(step for at, step in self.steps_s.items() if elapsed_s >= at) * NS_PER_S)

    def sleep(self, seconds: float) -> None:
        self.now_ns += int(seconds * NS_PER_S) or 1


class LevelRun:
    """A run that began at the first instant of the clocks and ends on a signal."""

    def __init__(self, folder: Path, clocks: SteppedClocks) -> None:
        self._folder, self._began_ns, self.process = folder, clocks.now_ns, Busy()

    def begun(self, *_: object) -> Path:
        return self._folder

    def began_ns(self, _: Path) -> int:
        return self._began_ns

    def ended(self, *_: object) -> str:
        return ""


@pytest.fixture
def process(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that is ready for signals."""
    with subprocess.Popen([sys.executable, "-c", request.param], stdout=subprocess.PIPE) as started:
        assert started.stdout
        started.stdout.readline()
        yield started
        started.kill()


def folder_of(tmp_path: Path, state: str) -> Path:
    (tmp_path / "run.json").write_text(
        json.dumps({"state": state, "started_utc_ns": utc_ns(), "schema": SCHEMA_VERSION})
    )
    return tmp_path


@pytest.mark.parametrize(("state", "told"), [("running", 2), ("closing", 1)])
def test_turns_that_would_outlast_the_search_are_abandoned_and_no_close_is_disturbed(
    tmp_path: Path, state: str, told: int
) -> None:
    busy = Busy()
    cut = playing._stopped(cast(Any, busy), folder_of(tmp_path, state), drain_s=-5.0)

    assert (cut, busy.told) == (told == 2, [signal.SIGINT] * told)


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
def test_a_wall_clock_that_is_set_moves_no_look_and_no_end_of_a_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    clocks = SteppedClocks({10.0: step_s})
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "run.json").write_text(
        json.dumps({"state": "closing", "started_utc_ns": clocks.utc_ns(), "schema": SCHEMA_VERSION})
    )
    run = LevelRun(folder, clocks)
    monkeypatch.setattr(playing, "monotonic_ns", clocks.monotonic_ns)
    monkeypatch.setattr(playing, "utc_ns", clocks.utc_ns, raising=False)
    monkeypatch.setattr("time.sleep", clocks.sleep)
    monkeypatch.setattr(playing, "locust_run", lambda *_, **__: nullcontext(run))
    looked_s: list[float] = []

    def is_clear(*_: object) -> bool:
        looked_s.append(clocks.now_ns / NS_PER_S - 1_000)
        return False

    task = LevelTask("01-level-4", 4, 160.0, 5.0)
    played = play_level(LocustCommand("calls.py", "concurrency", tmp_path / "levels"), task, is_clear)

    assert looked_s == pytest.approx([10.0, 20.0, 40.0, 80.0])
    assert clocks.now_ns / NS_PER_S - 1_000 == pytest.approx(160.0)
    assert (played.looks, run.process.told) == (4, [signal.SIGINT])
