"""What a user names as sides, and what they are called."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from reports.sides.named import folder_of
from reports.sides.side import sides_of
from tests.reports import synthetic
from tests.reports.comparisons.build import PAIRED, run
from tests.reports.synthetic import Plan

SMALL = Plan(sessions=4, turns=2)


def test_two_runs_of_one_target_are_two_sides(tmp_path: Path) -> None:
    sides = sides_of([run(tmp_path / "a", Plan(sessions=4, targets=("west",))), run(tmp_path / "b", SMALL)])

    assert [side.label for side in sides] == ["west", "sim"]


def test_one_run_is_all_of_its_targets_in_the_order_of_its_document(tmp_path: Path) -> None:
    sides = sides_of([run(tmp_path / "a", Plan(sessions=6, targets=("zeta", "alpha", "mid")))])

    assert [side.label for side in sides] == ["zeta", "alpha", "mid"]


def test_the_first_one_named_is_the_baseline_and_a_run_is_read_once(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", PAIRED)
    first, second = sides_of([f"{folder}:east", f"{folder}:west"])

    assert (first.name, second.name) == ("east", "west")
    assert first.run is second.run


def test_sides_of_the_same_label_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    sides = sides_of([run(tmp_path / "monday", SMALL), run(tmp_path / "friday", SMALL)])

    assert [side.label for side in sides] == ["sim (monday)", "sim (friday)"]


def test_sides_of_the_same_label_and_folder_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    sides = sides_of([run(tmp_path / name / "night", SMALL, run_id=name) for name in ("x", "y")])

    assert len({side.label for side in sides}) == 2
    assert all(str(tmp_path.resolve()) in side.label for side in sides)


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
    known = [{"label": "west"}, {"label": "silent"}]
    folder = run(tmp_path / "a", Plan(sessions=4, targets=("west",)), targets=known)

    assert [side.name for side in sides_of([folder])] == ["west", "silent"]


def test_a_run_without_any_name_of_a_target_is_a_side(tmp_path: Path) -> None:
    empty = run(tmp_path / "nothing", Plan(sessions=0), targets=[])

    assert [side.label for side in sides_of([run(tmp_path / "a", SMALL), empty])] == ["sim", "nothing"]


def test_a_killed_run_is_a_side(tmp_path: Path) -> None:
    killed = synthetic.write_killed(tmp_path / "killed", SMALL)

    assert [side.name for side in sides_of([killed, run(tmp_path / "a", SMALL)])] == ["sim", "sim"]


def test_an_unknown_target_is_said_with_those_that_there_are(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", PAIRED)

    with pytest.raises(UsageError, match="has no target north: it has west, east"):
        sides_of([f"{folder}:west", f"{folder}:north"])


def test_one_run_of_one_target_is_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has one target, sim: name a second run"):
        sides_of([run(tmp_path / "a", SMALL)])


def test_one_target_alone_is_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a comparison needs two arms"):
        sides_of([f"{run(tmp_path / 'a', PAIRED)}:west"])


def test_a_run_of_several_targets_among_several_runs_must_say_which(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", PAIRED)

    with pytest.raises(UsageError, match=f"say which one is meant, {folder}:west or {folder}:east"):
        sides_of([folder, run(tmp_path / "b", SMALL)])


def test_a_side_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", SMALL)
    shutil.copytree(folder, tmp_path / "copy")

    with pytest.raises(UsageError, match="is named 2 times"):
        sides_of([folder, f"{folder}/"])
    with pytest.raises(
        UsageError,
        match=r"copy is a copy of .*: both are the run a, and a run cannot be "
        r"compared with",
    ):
        sides_of([folder, tmp_path / "copy"])
    other = run(tmp_path / "b", SMALL, run_id="a", began_utc_ns=1)
    assert len(sides_of([folder, other])) == 2  # begun in the same second on another machine


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run folder"):
        sides_of([tmp_path / "nowhere", run(tmp_path / "a", SMALL)])
    with pytest.raises(UsageError, match="is not a run folder"):
        sides_of([f"{tmp_path / 'nowhere'}:west", run(tmp_path / "a", SMALL)])
