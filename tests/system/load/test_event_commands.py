"""Events of a run: they happen when they are planned, and their commands do no harm to the run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest

from bench.base.clock import monotonic_ns
from bench.load.events.planned import EventPlan
from bench.load.events.played import MAX_OUTPUT, RunEvents
from tests.simulator_process import GUARD_S


class Played:
    """Events of a run that begins now. `said` are the lines that were printed."""

    def __init__(self, *planned: EventPlan) -> None:
        self.said: list[str] = []
        self.stored: list[dict[str, Any]] = []
        self._events = RunEvents(
            planned,
            changed=lambda entries: self.stored.__setitem__(slice(None), map(dict, entries)),
            say=self.said.append,
            hide=lambda text: text.replace("s3cr3t", "***"),
        )
        self._events.begin(monotonic_ns())

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + GUARD_S
        while not condition():
            assert time.monotonic() < deadline
            gevent.sleep(0.01)

    def ended(self) -> None:
        self.until(lambda: bool(self.stored) and "status" in self.stored[-1])

    def close(self) -> dict[str, Any]:
        self._events.close()
        return self.stored[0]


def is_alive(pid: int) -> bool:
    """Return whether a process runs. One that ended, and that no parent awaited, does not."""
    try:
        _, _, state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except FileNotFoundError:
        return False
    return state.split()[0] != "Z"


def now(command: str = "") -> EventPlan:
    return EventPlan("deploy", 0.001, command)


def test_an_event_without_a_command_marks_its_instant() -> None:
    played = Played(now())
    played.until(lambda: bool(played.stored))

    entry = played.close()
    assert entry.keys() == {"name", "planned_s", "at_utc_ns"}
    assert entry["at_utc_ns"] > 0


@pytest.mark.parametrize(
    ("command", "status", "output"),
    [
        ("true", 0, ""),
        ("echo one; echo two >&2; exit 3", 3, "one\ntwo"),
        ("echo s3cr3t", 0, "***"),
        ("printf 'a\\033[2Jb'", 0, "a\\x1b[2Jb"),
        ("no-such-command", 127, "not found"),
        ('read -r line; echo "<$line>"', 0, "<>"),
        ("echo '; quoted \" words'", 0, '; quoted " words'),
    ],
)
def test_the_end_of_a_command_is_recorded(command: str, status: int, output: str) -> None:
    played = Played(now(command))
    played.ended()

    entry = played.close()
    assert entry["status"] == status
    assert output in entry["output"]
    assert any("ended with status" in line for line in played.said) == bool(status)


def test_only_the_end_of_a_large_output_is_kept() -> None:
    played = Played(now("head -c 1000000 /dev/zero | tr '\\0' x; echo end"))
    played.ended()

    entry = played.close()
    assert entry["output_bytes"] == 1_000_004
    assert len(entry["output"]) <= MAX_OUTPUT
    assert entry["output"].endswith("end")


@pytest.mark.parametrize(
    "command",
    ["sleep 600 & echo $! >pid; wait", "trap '' TERM; echo $$ >pid; while :; do sleep 1; done"],
)
def test_a_command_that_still_runs_is_ended_with_the_run(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    played = Played(now(command))
    number = tmp_path / "pid"
    played.until(lambda: number.exists() and number.read_text().endswith("\n"))

    entry = played.close()
    assert entry["status"] is None
    played.until(lambda: not is_alive(int(number.read_text())))
    assert played.said[-1] == "event deploy: its command was still running, and was ended"


def test_an_event_after_the_end_of_the_run_does_not_happen(tmp_path: Path) -> None:
    played = Played(EventPlan("deploy", 3_600.0, f"touch {tmp_path}/done"))

    assert played.close() == {"name": "deploy", "planned_s": 3_600.0, "at_utc_ns": None}
    assert not (tmp_path / "done").exists()
    assert played.said == ["event deploy did not happen: the run ended before it"]
