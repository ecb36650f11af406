"""Who had the cores of a machine: this process, others, the hypervisor; and what is not known is not zero."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import cores
from bench.cores import (
    HYPERVISOR,
    OTHERS,
    RAISED,
    CoreTimes,
    CoreWatch,
    Processors,
    filled_by,
    joined_processors,
    obtainable,
)

HZ = cores.TICKS_PER_S
UNKNOWN = Processors(
    cores=4, load_start=1.0, load_end=2.0, this_run=None, all_programs=None, steal=None, total_max=None, steal_max=None
)


def watched(**changes: float | None) -> Processors:
    plain = Processors(
        cores=4, load_start=1.0, load_end=2.0, this_run=0.1, all_programs=0.3, steal=0.0, total_max=0.3, steal_max=0.0
    )
    return Processors(**plain | changes)  # type: ignore[typeddict-item]


def stat(path: Path, user: float, idle: float, steal: float = 0.0) -> None:
    """/proc/stat with so many seconds of programs, of nobody and of the hypervisor; a tenth of nobody's waits for a
    disk."""
    shown = [user / 2, 0, user / 2, idle * 0.9, idle * 0.1, 0, 0, steal, 0, 0]
    path.write_text(f"cpu  {' '.join(str(round(value * HZ)) for value in shown)}\ncpu0 1 2 3\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "stat"
    monkeypatch.setattr(cores, "STAT", path)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr("os.times", lambda: (0.0, 0.0))
    return path


def test_what_others_and_the_hypervisor_had_is_told_over_all_and_of_the_worst_stretch(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat(machine, 100, 100)
    watch = CoreWatch()
    stat(machine, 110, 130)
    watch.look()
    stat(machine, 146, 130, steal=4)
    monkeypatch.setattr("os.times", lambda: (6.0, 2.0))
    watch.look()
    stat(machine, 146, 170, steal=4)
    told = watch.look()

    assert (told["this_run"], told["all_programs"], told["steal"]) == (
        round(8 / 120, 4),
        round(46 / 120, 4),
        round(4 / 120, 4),
    )
    assert (told["total_max"], told["steal_max"]) == (1.0, 0.1)


def test_where_the_system_does_not_tell_nothing_is_called_zero(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "load_average", lambda: None)
    told = CoreWatch().look()

    assert told["cores"] == 4
    assert {value for key, value in told.items() if key != "cores"} == {None}
    assert filled_by(told) == ""


def test_workers_of_one_machine_are_no_others_to_each_other() -> None:
    workers = [
        watched(this_run=0.1, all_programs=0.6, load_end=2.0),
        watched(this_run=0.2, all_programs=0.5, load_end=3.0),
    ]
    both = joined_processors(workers)

    assert both is not None
    assert (both["this_run"], both["all_programs"], both["load_end"]) == (0.3, 0.6, 3.0)
    assert joined_processors([UNKNOWN, UNKNOWN]) == UNKNOWN
    assert joined_processors([]) is None


@pytest.mark.parametrize(
    ("seen", "remedy"),
    [
        (watched(), ""),
        (watched(this_run=0.4, all_programs=0.8, total_max=1.0), ""),  # a simulator takes as much as we do
        (watched(this_run=0.02, all_programs=0.92, total_max=1.0), OTHERS),
        (watched(this_run=0.02, all_programs=0.32, total_max=0.5), ""),
        (watched(steal=0.03), HYPERVISOR),
        (watched(steal=0.001, steal_max=0.2), HYPERVISOR),
        (watched(this_run=0.02, all_programs=0.92, total_max=1.0, steal=0.03), f"{OTHERS}; {HYPERVISOR}"),
        (None, ""),
    ],
)
def test_less_load_of_ours_is_no_remedy_where_others_have_the_cores(seen: Processors | None, remedy: str) -> None:
    assert filled_by(seen) == remedy


def test_this_machine_tells() -> None:
    times = cores.core_times()

    assert times is None or (isinstance(times, CoreTimes) and 0 < times.taken_s <= times.all_s)


class Kernel:
    """Has the niceness of one process. `floor`: the lowest that it may ask for."""

    def __init__(self, niceness: int, floor: int) -> None:
        self.niceness, self.floor = niceness, floor
        self.asked: list[int] = []

    def getpriority(self, _which: int, _who: int) -> int:
        return self.niceness

    def setpriority(self, _which: int, _who: int, value: int) -> None:
        self.asked.append(value)
        if value < min(self.niceness, self.floor):
            raise PermissionError
        self.niceness = value


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernel's files, of a kernel that groups no sessions."""
    monkeypatch.setattr(cores, "AUTOGROUP", tmp_path / "enabled")
    monkeypatch.setattr(cores, "OWN_GROUP", tmp_path / "group")
    return tmp_path


def kernel(monkeypatch: pytest.MonkeyPatch, niceness: int = 0, floor: int = -20) -> Kernel:
    made = Kernel(niceness, floor)
    monkeypatch.setattr(os, "getpriority", made.getpriority)
    monkeypatch.setattr(os, "setpriority", made.setpriority)
    return made


@pytest.mark.parametrize(("before", "got"), [(0, RAISED), (5, RAISED), (-15, -15)])
def test_what_is_permitted_is_tried_and_put_back(
    before: int, got: int, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = kernel(monkeypatch, before)

    assert obtainable() == (got, "", "")
    assert process.asked[0] == got
    assert process.niceness == before


def test_what_is_not_permitted_leaves_the_niceness_and_has_a_remedy(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = kernel(monkeypatch, floor=0)
    got = obtainable()

    assert (got.niceness, got.hindrance, process.niceness) == (0, "is not permitted", 0)
    assert "prlimit --pid $$ --nice=30" in got.remedy


@pytest.mark.parametrize(
    ("enabled", "group", "hindered"),
    [
        ("1\n", "/autogroup-812 nice 0\n", True),
        ("1\n", "/autogroup-812 nice -10\n", False),
        ("0\n", "/autogroup-812 nice 0\n", False),
        ("1\n", "something else\n", False),
    ],
)
def test_a_group_of_the_session_keeps_it_from_counting_unless_that_was_raised_too(
    enabled: str, group: str, hindered: bool, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel(monkeypatch)
    (files / "enabled").write_text(enabled)
    (files / "group").write_text(group)
    got = obtainable()

    assert got.niceness == RAISED
    assert bool(got.hindrance) == bool(got.remedy) == hindered
    assert ("/proc/$$/autogroup" in got.remedy) == hindered


def test_this_machine_can_be_asked() -> None:
    before = cores.niceness()

    assert obtainable().niceness in (min(before, RAISED), before)
    assert cores.niceness() == before
