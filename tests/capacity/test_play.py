"""The run of a level ends in time, whatever it does."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from bench.capacity import play as playing
from bench.clock import utc_ns


class Busy:
    """A process that never ends, and keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def poll(self) -> None: ...

    def send_signal(self, number: int) -> None:
        self.told.append(number)

    def wait(self, longest_s: float) -> int:
        raise subprocess.TimeoutExpired("busy", longest_s)


@pytest.fixture
def process(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ready for signals."""
    with subprocess.Popen([sys.executable, "-c", request.param], stdout=subprocess.PIPE) as started:
        assert started.stdout
        started.stdout.readline()
        yield started
        started.kill()


def folder_of(tmp_path: Path, state: str) -> Path:
    (tmp_path / "run.json").write_text(json.dumps({"state": state, "began_utc_ns": utc_ns(), "schema": 1}))
    return tmp_path


@pytest.mark.parametrize(("state", "told"), [("running", 2), ("closing", 1)])
def test_turns_that_would_outlast_the_search_are_abandoned_and_no_close_is_disturbed(
    tmp_path: Path, state: str, told: int
) -> None:
    busy = Busy()
    cut = playing._stopped(cast(Any, busy), folder_of(tmp_path, state), drain_s=-5.0)

    assert (cut, busy.told) == (told == 2, [signal.SIGINT] * told)
