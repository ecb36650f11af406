"""What a process gets that asks for priority; the kernel is a stand-in that forgets nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import cores
from bench.cores import RAISED, obtainable


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
