"""The run of a level ends in time, even if the process of the run does not end."""

from __future__ import annotations

import json
import signal
import subprocess
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from bench.base.units import NS_PER_S
from bench.load.lifecycle import SEARCH_SIGNAL
from bench.record.document import SCHEMA_VERSION
from rtbench.capacity import level_run as playing
from rtbench.capacity.level_run import LevelTask, LocustCommand, run_level
from tests.capacity.level_folders import folder_of


class UnstoppableProcess:
    """A process that never ends, and that records the signals it receives."""

    def __init__(self) -> None:
        self.signals: list[int] = []

    def poll(self) -> None: ...

    def send_signal(self, number: int) -> None:
        self.signals.append(number)

    def wait(self, longest_s: float) -> int:
        raise subprocess.TimeoutExpired("busy", longest_s)


@dataclass
class SteppedClocks:
    """A monotonic clock and a wall clock, which advance only during a sleep.

    `steps_s` contains the steps of the wall clock. The key is the second at which the step occurs;
    the value is its size in seconds.
    """

    steps_s: dict[float, float]
    now_ns: int = 1_000 * NS_PER_S

    def monotonic_ns(self) -> int:
        return self.now_ns

    def utc_ns(self) -> int:
        elapsed_s = self.now_ns / NS_PER_S - 1_000
        return self.now_ns + int(
            sum(step for at, step in self.steps_s.items() if elapsed_s >= at) * NS_PER_S
        )

    def sleep(self, seconds: float) -> None:
        self.now_ns += int(seconds * NS_PER_S) or 1


class LevelRun:
    """A run that begins at the current time of the clocks.

    The wait for the end of the run returns at once, although the process of the run never ends.
    """

    def __init__(self, folder: Path, clocks: SteppedClocks) -> None:
        self._folder, self._began_ns, self.process = folder, clocks.now_ns, UnstoppableProcess()

    def wait_for_folder(self, *_: object) -> Path:
        return self._folder

    def started_ns(self, _: Path) -> int:
        return self._began_ns

    def wait_for_end(self, *_: object) -> str:
        return ""


@pytest.mark.parametrize(("state", "n_signals"), [("running", 2), ("closing", 1)])
def test_a_second_sigint_abandons_open_turns_but_not_a_close_in_progress(
    tmp_path: Path, state: str, n_signals: int
) -> None:
    process = UnstoppableProcess()
    cut = playing._stopped(
        cast(Any, process), folder_of(tmp_path, state), drain_s=-5.0, number=signal.SIGINT
    )

    assert (cut, process.signals) == (n_signals == 2, [signal.SIGINT] * n_signals)


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
def test_a_wall_clock_step_does_not_move_the_interim_analyses_or_the_end_of_a_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    clocks = SteppedClocks({10.0: step_s})
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "run.json").write_text(
        json.dumps(
            {"state": "closing", "started_utc_ns": clocks.utc_ns(), "schema": SCHEMA_VERSION}
        )
    )
    run = LevelRun(folder, clocks)
    monkeypatch.setattr(playing, "monotonic_ns", clocks.monotonic_ns)
    monkeypatch.setattr(playing, "utc_ns", clocks.utc_ns, raising=False)
    monkeypatch.setattr("time.sleep", clocks.sleep)
    monkeypatch.setattr(playing, "locust_run", lambda *_, **__: nullcontext(run))
    polled_s: list[float] = []

    def is_clear(*_: object) -> bool:
        polled_s.append(clocks.now_ns / NS_PER_S - 1_000)
        return False

    task = LevelTask("01-level-4", 4, 160.0, 5.0)
    played = run_level(LocustCommand([Path("calls.py")], tmp_path / "levels"), task, is_clear)

    assert polled_s == pytest.approx([10.0, 20.0, 40.0, 80.0])
    assert clocks.now_ns / NS_PER_S - 1_000 == pytest.approx(160.0)
    assert (played.analyses, run.process.signals) == (4, [SEARCH_SIGNAL])
