"""Who sends metrics, and what it is told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from bench.load.leading import monitor
from bench.load.leading.monitor import BEHIND, MOST_LINES, Telemetry
from bench.load.playing.progress import ProgressReport


def made(said: list[str], *command: str) -> Telemetry:
    """With another child."""
    planned: Any = SimpleNamespace(targets=[], scenario="talk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(monitor, "python_command", lambda _: list(command))
        return Telemetry("run-1", planned, said.append)


def test_a_child_that_does_not_read_holds_nobody_up_and_is_said_once() -> None:
    said: list[str] = []
    stuck = made(said, "sleep", "1000")
    for _ in range(2 * MOST_LINES):
        stuck.tell(0, ProgressReport())
    stuck._child.kill()
    stuck.close()

    assert said == [BEHIND]


def test_what_the_child_says_is_said_and_its_end_is_nobody_s() -> None:
    said: list[str] = []
    ended = made(said, "sh", "-c", "echo no more metrics >&2")
    ended._child.wait()
    for _ in range(2 * MOST_LINES):
        ended.tell(0, ProgressReport())
        gevent.sleep(0)
    ended.close()

    assert said == ["telemetry: no more metrics"]
