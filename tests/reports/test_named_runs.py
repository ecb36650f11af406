"""Commands that take a run take its folder or its name."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from bench.base.errors import UsageError
from bench.record.run_list import split_name
from reports.analysis.check.named_baseline import baseline_named
from reports.api.many import load_many
from rtbench.cli.simulate import _profile
from tests.command_line import call, call_or_raise
from tests.reports import synthetic
from tests.reports.synthetic import Plan

BEFORE, AFTER = "20261128T091400Z-before", "20261129T091400Z-after"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    for seed, name in enumerate((BEFORE, AFTER), 1):
        folder = home / "runs" / name
        synthetic.write(folder, Plan(sessions=40, turns=4, seed=seed), run_id=name)
    return home


@pytest.fixture(autouse=True)
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)


@pytest.mark.parametrize(
    "line",
    [
        "compare before after",
        "compare before:sim after:sim",
        "check after --baseline before --thresholds 'ttfa: med<+90%'",
        "check after --baseline before:sim --thresholds 'ttfa: med<+90%'",
        "sample-size --pilot before",
        "trend before after",
        "report before",
        "baseline save before",
        "runs export before",
        "runs merge before after --out merged",
    ],
)
def test_a_command_finds_a_run_by_its_name(line: str) -> None:
    """Otherwise the refusal would say that there is no such run, and not what the run lacks."""
    refused = call(*shlex.split(line)).exception

    assert not isinstance(refused, UsageError) or str(Path("runs") / BEFORE) in str(refused)


def test_the_simulator_and_python_find_a_run_by_its_name() -> None:
    assert _profile(None, "before", None) == _profile(None, f"runs/{BEFORE}", None)
    assert [run.folder.name for run in load_many(["before", "after"])] == [BEFORE, AFTER]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            "check after --baseline before1",
            '--baseline "before1": there is no such folder, no run of this name in runs; did you'
            " mean before? `rtbench runs` lists the runs; the folder of `rtbench baseline save`"
            " must exist before the first run: mkdir -p FOLDER",
        ),
        (
            "check after --baseline nothing-alike",
            '--baseline "nothing-alike": there is no such folder, no run of this name in runs;'
            " `rtbench runs` lists the runs; the folder of `rtbench baseline save` must exist"
            " before the first run: mkdir -p FOLDER",
        ),
        (
            "compare before1 after",
            "there is no run before1, and none of this name in runs; did you mean before?",
        ),
        (
            "runs upload nothing-alike https://h/c",
            "there is no run nothing-alike, and none of this name in runs: run `rtbench runs` for"
            " a list",
        ),
        (
            "check after:sim",
            f"check accepts only a whole run, runs/{AFTER}; to check one target, write"
            " ttfa{target:sim} in the thresholds",
        ),
    ],
)
def test_an_unknown_run_is_refused_with_the_nearest_name(line: str, problem: str) -> None:
    with pytest.raises(UsageError) as refused:
        call_or_raise(*line.split())
    assert str(refused.value) == problem


def test_a_target_of_the_run_precedes_a_run_with_its_name() -> None:
    found = baseline_named("before", Path("runs") / AFTER, {"interleaved": True}, ["now", "before"])

    assert found is not None
    assert (found.kind, found.target) == ("same_run", "before")


def test_a_folder_precedes_a_run_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()

    assert split_name(str(tmp_path / "before")) == (tmp_path / "before", None)
    assert split_name("before") == (Path("runs") / BEFORE, None)
    assert split_name("before:a:b") == (Path("runs") / BEFORE, "a:b")
