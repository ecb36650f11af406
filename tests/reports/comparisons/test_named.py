"""What a user names as sides, and what they are called."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cli.verdicts import check
from bench.errors import UsageError
from reports.sides.side import folder_of, sides_of
from tests.reports.comparisons.build import PAIRED, run
from tests.reports.synthetic import Plan

SMALL = Plan(sessions=4, turns=2)


def test_the_first_one_named_is_the_baseline_and_a_run_is_read_once(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", PAIRED)
    first, second = sides_of([f"{folder}:east", f"{folder}:west"])

    assert (first.name, second.name) == ("east", "west")
    assert first.run is second.run


def test_only_sides_of_the_same_label_get_a_folder(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", PAIRED)
    sides = sides_of([f"{folder}:west", f"{folder}:east", run(tmp_path / "b", Plan(sessions=2, targets=("west",)))])

    assert [side.label for side in sides] == ["west (a)", "east", "west (b)"]


def test_a_folder_and_a_target_may_hold_colons(tmp_path: Path) -> None:
    folder = tmp_path / "09:14"
    run(folder, Plan(sessions=4, targets=("host:1", "host:2"), paired=True))
    sides = sides_of([f"{folder}:host:1", f"{folder}:host:2"])

    assert [side.name for side in sides] == ["host:1", "host:2"]
    assert folder_of(f"{folder}:host:1") == folder
    assert folder_of(str(folder)) == folder


@given(st.text("ab:. é", min_size=1))
def test_whatever_a_target_is_called_its_run_is_found(target: str) -> None:
    with TemporaryDirectory() as folder:
        assert folder_of(f"{folder}:{target}") == Path(folder)


def test_a_target_of_which_the_run_has_no_row_is_a_side(tmp_path: Path) -> None:
    known = [{"name": "west"}, {"name": "silent"}]
    folder = run(tmp_path / "a", Plan(sessions=4, targets=("west",)), targets=known)

    assert [side.name for side in sides_of([folder])] == ["west", "silent"]


def test_a_run_without_any_name_of_a_target_is_a_side(tmp_path: Path) -> None:
    empty = run(tmp_path / "nothing", Plan(sessions=0), targets=[])

    assert [side.label for side in sides_of([run(tmp_path / "a", SMALL), empty])] == ["sim", "nothing"]


REFUSED: dict[str, tuple[list[str], str]] = {
    # (sides; PAIR has the targets west and east, ONE and OTHER one, COPY is a copy of ONE; what is said)
    "an unknown target, with those there are": (["PAIR:west", "PAIR:north"], "has no target north: it has west, east"),
    "one run of one target": (["ONE"], "has one target, sim: name a second run"),
    "one target alone": (["PAIR:west"], "a comparison needs two targets"),
    "a run of several targets among several runs":
        (["PAIR", "OTHER"], "say which one is meant, .*/pair:west or .*/pair:east"),
    "a side that is named twice": (["ONE", "ONE/"], "is named 2 times"),
    "a copy": (["ONE", "COPY"], r"copy is a copy of .*: both are the run one, and a run cannot be compared with"),
    "what is no run": (["NOWHERE", "ONE"], "is not a run folder"),
    "a target of what is no run": (["NOWHERE:west", "ONE"], "is not a run folder"),
}  # fmt: skip


@pytest.mark.parametrize(("named", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_comparison_is_refused(tmp_path: Path, named: list[str], said: str) -> None:
    for name, plan in (("PAIR", PAIRED), ("ONE", SMALL), ("OTHER", SMALL)):
        if any(side.startswith(name) for side in named):
            run(tmp_path / name.lower(), plan)
    if "COPY" in named:
        shutil.copytree(tmp_path / "one", tmp_path / "copy")
    with pytest.raises(UsageError, match=said):
        sides_of([re.sub("^[A-Z]+", lambda place: str(tmp_path / place[0].lower()), side) for side in named])


def test_runs_that_began_in_the_same_second_on_two_machines_are_two(tmp_path: Path) -> None:
    sides = sides_of([run(tmp_path / "a", SMALL), run(tmp_path / "b", SMALL, run_id="a", started_utc_ns=1)])

    assert len(sides) == 2


LABELS: dict[str, tuple[dict[str, Plan], list[str]]] = {
    # (runs by their folders, labels of the sides)
    "two runs of one target are two sides":
        ({"a": Plan(sessions=4, targets=("west",)), "b": SMALL}, ["west", "sim"]),
    "one run is all of its targets in the order of its document":
        ({"a": Plan(sessions=6, targets=("zeta", "alpha", "mid"))}, ["zeta", "alpha", "mid"]),
    "sides of the same label are told apart by their folders":
        ({"monday": SMALL, "friday": SMALL}, ["sim (monday)", "sim (friday)"]),
}  # fmt: skip


@pytest.mark.parametrize(("runs", "labels"), LABELS.values(), ids=LABELS)
def test_sides_are_called_by_their_targets(tmp_path: Path, runs: dict[str, Plan], labels: list[str]) -> None:
    sides = sides_of([run(tmp_path / name, plan) for name, plan in runs.items()])

    assert [side.label for side in sides] == labels


@pytest.mark.parametrize(
    "written", ["runs/a", "./runs/a", "runs/a/", "runs//a", "runs/../runs/a", "linked/a"], ids=lambda name: name
)
def test_a_target_is_named_however_the_path_of_its_run_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    run(tmp_path / "runs" / "a", PAIRED)
    (tmp_path / "linked").symlink_to(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)

    assert [side.name for side in sides_of([f"{written}:west", f"{written}:east"])] == ["west", "east"]
    with pytest.raises(UsageError, match=r"write ttfa{target:west} in the thresholds"):
        check(f"{written}:west")
