"""The use of the cores of a machine: by this process, by other programs, and by the hypervisor.

A use that is unknown is not reported as zero.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from bench.base import cpu
from bench.base.cpu import (
    HYPERVISOR,
    OTHERS,
    RAISED,
    CpuMonitor,
    CpuUsage,
    OtherPrograms,
    available_priority,
    busy_reason,
    merge_cpu_usage,
)

UNKNOWN = CpuUsage(
    cores=4,
    load_start=1.0,
    load_end=2.0,
    this_run=None,
    all_programs=None,
    steal=None,
    total_max=None,
    steal_max=None,
)


def watched(**changes: float | None) -> CpuUsage:
    plain = CpuUsage(
        cores=4,
        load_start=1.0,
        load_end=2.0,
        this_run=0.1,
        all_programs=0.3,
        steal=0.0,
        total_max=0.3,
        steal_max=0.0,
    )
    return CpuUsage(**plain | changes)  # type: ignore[typeddict-item]


class Times(NamedTuple):
    """Some of the fields that psutil reports on Linux. On other systems, psutil reports fewer of
    them.
    """

    user: float
    system: float
    idle: float
    iowait: float
    steal: float


class Machine:
    """A machine whose CPU times a test sets: those of programs, of idle cores, and of the
    hypervisor.

    `own_s` is the CPU time of this process in s.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times: Any = None
        self.own_s = 0.0
        monkeypatch.setattr("psutil.cpu_times", self.read)
        monkeypatch.setattr("os.cpu_count", lambda: 4)
        monkeypatch.setattr("os.times", lambda: (self.own_s * 0.75, self.own_s * 0.25))

    def read(self) -> Any:
        if self.times is None:
            raise FileNotFoundError
        return self.times

    def ran(self, user: float, idle: float, steal: float = 0.0) -> None:
        """Set the CPU times in seconds. A tenth of the idle time is spent in waits for a disk."""
        self.times = Times(user / 2, user / 2, idle * 0.9, idle * 0.1, steal)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_cpu_use_of_others_and_steal_are_reported_overall_and_at_their_maximum(
    machine: Machine,
) -> None:
    machine.ran(100, 100)
    monitor = CpuMonitor()
    machine.ran(110, 130)
    monitor.sample()
    machine.ran(146, 130, steal=4)
    machine.own_s = 8
    monitor.sample()
    machine.ran(146, 170, steal=4)
    sampled = monitor.sample()

    assert (sampled["this_run"], sampled["all_programs"], sampled["steal"]) == (
        round(8 / 120, 4),
        round(46 / 120, 4),
        round(4 / 120, 4),
    )
    assert (sampled["total_max"], sampled["steal_max"]) == (1.0, 0.1)


def test_other_programs_are_busy_as_in_the_last_seconds(machine: Machine) -> None:
    machine.ran(100, 100)
    others = OtherPrograms()
    assert not others.are_busy()  # too early
    machine.ran(107, 101)
    assert others.are_busy()
    machine.own_s = 7
    machine.ran(114, 102)
    assert not others.are_busy()  # this process used the cores
    machine.ran(115, 115)
    assert not others.are_busy()
    machine.times = None
    assert not others.are_busy()


def test_steal_is_none_if_the_system_does_not_report_it(machine: Machine) -> None:
    """On macOS, psutil reports neither the stolen time nor the waits for disks."""
    machine.times = SimpleNamespace(user=100.0, nice=0.0, system=0.0, idle=100.0)
    monitor = CpuMonitor()
    machine.times = SimpleNamespace(user=110.0, nice=5.0, system=5.0, idle=120.0)
    sampled = monitor.sample()

    assert (sampled["all_programs"], sampled["total_max"]) == (0.5, 0.5)
    assert (sampled["steal"], sampled["steal_max"]) == (None, None)


def test_cpu_values_that_the_system_does_not_report_are_none_not_zero(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "load_average", lambda: None)
    sampled = CpuMonitor().sample()

    assert sampled["cores"] == 4
    assert {value for key, value in sampled.items() if key != "cores"} == {None}
    assert busy_reason(sampled) == ""


def test_merged_cpu_use_counts_workers_of_one_machine_together() -> None:
    workers = [
        watched(this_run=0.1, all_programs=0.6, load_end=2.0),
        watched(this_run=0.2, all_programs=0.5, load_end=3.0),
    ]
    both = merge_cpu_usage(workers)

    assert both is not None
    assert (both["this_run"], both["all_programs"], both["load_end"]) == (0.3, 0.6, 3.0)
    assert merge_cpu_usage([UNKNOWN, UNKNOWN]) == UNKNOWN
    assert merge_cpu_usage([]) is None


@pytest.mark.parametrize(
    ("seen", "remedy"),
    [
        (watched(), ""),
        # the simulator uses as much CPU as the load generator
        (watched(this_run=0.4, all_programs=0.8, total_max=1.0), ""),
        (watched(this_run=0.02, all_programs=0.92, total_max=1.0), OTHERS),
        (watched(this_run=0.02, all_programs=0.32, total_max=0.5), ""),
        (watched(steal=0.03), HYPERVISOR),
        (watched(steal=0.001, steal_max=0.2), HYPERVISOR),
        (
            watched(this_run=0.02, all_programs=0.92, total_max=1.0, steal=0.03),
            f"{OTHERS}; {HYPERVISOR}",
        ),
        (None, ""),
    ],
)
def test_the_remedy_names_other_programs_or_the_hypervisor_only_if_they_use_the_cpu(
    seen: CpuUsage | None, remedy: str
) -> None:
    assert busy_reason(seen) == remedy


class Kernel:
    """A kernel that stores the niceness of one process. `floor` is the lowest niceness that the
    process may set.
    """

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
    """Replace two files of the kernel by files in a folder.

    At first these files do not exist, as on a kernel that does not group sessions.
    """
    monkeypatch.setattr(cpu, "AUTOGROUP", tmp_path / "enabled")
    monkeypatch.setattr(cpu, "OWN_GROUP", tmp_path / "group")
    return tmp_path


def kernel(monkeypatch: pytest.MonkeyPatch, niceness: int = 0, floor: int = -20) -> Kernel:
    made = Kernel(niceness, floor)
    monkeypatch.setattr(os, "getpriority", made.getpriority)
    monkeypatch.setattr(os, "setpriority", made.setpriority)
    return made


@pytest.mark.parametrize(("before", "got"), [(0, RAISED), (5, RAISED), (-15, -15)])
def test_the_priority_probe_restores_the_niceness(
    before: int, got: int, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = kernel(monkeypatch, before)

    assert available_priority() == (got, "", "")
    assert process.asked[0] == got
    assert process.niceness == before


def test_without_permission_the_niceness_is_unchanged_and_the_remedy_has_the_command(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = kernel(monkeypatch, floor=0)
    got = available_priority()

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
def test_an_autogroup_hinders_the_priority_unless_its_own_niceness_was_raised(
    enabled: str, group: str, hindered: bool, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel(monkeypatch)
    (files / "enabled").write_text(enabled)
    (files / "group").write_text(group)
    got = available_priority()

    assert got.niceness == RAISED
    assert bool(got.hindrance) == bool(got.remedy) == hindered
    assert ("/proc/$$/autogroup" in got.remedy) == hindered


def test_the_priority_probe_leaves_the_niceness_of_this_process_unchanged() -> None:
    before = cpu.niceness()

    assert available_priority().niceness in (min(before, RAISED), before)
    assert cpu.niceness() == before
