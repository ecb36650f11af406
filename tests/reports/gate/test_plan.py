"""Thresholds are read before a run: what it can never be judged by costs no session."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from reports.gate.check import check_of, checked
from reports.gate.plan import planned_thresholds
from tests.reports.gate.made import ENOUGH, read, run, thresholds

LACKING = [{"name": "mine", "session": {}, "turns": [{"step": "greeting", "lacks": {"speech_end": "nobody speaks"}}]}]


def asked(folder: Path, text: str, **more: Any) -> dict[str, Any]:
    file = folder / "ci.yaml"
    file.write_text(text)
    return {"file": str(file), "scripts": [], "baseline": None, "targets": ["sim"], "lacking": LACKING} | more


def test_thresholds_are_by_metric_with_their_filters_and_each_once(tmp_path: Path) -> None:
    text = 'ttfa{step:greeting}: ["p(50)<1s", "p(50)<1s"]\nfailure_rate: rate<1%\n'

    assert planned_thresholds(asked(tmp_path, text)) == {
        "ttfa{step:greeting}": ["p(50)<1s"],
        "failure_rate": ["rate<1%"],
    }


@pytest.mark.parametrize(
    ("text", "more", "problem"),
    [
        ("ttfaa: p(50)<1s", {}, "ci.yaml:1:1: there is no m"),
        ("ttfa{step:greting}: p(50)<1s", {}, "there is no step"),
        ("ttfa{target:west}: p(50)<1s", {}, "the run has no target west"),
        ("voice_to_voice: p(50)<1s", {}, "can never be judged, because nobody speaks"),
        ("ttfa: p(50)<+10%", {}, "is relative, and there is no baseline"),
        ("ttfa: p(50)<+10%", {"baseline": "nowhere"}, '--baseline "nowhere" is no run'),
    ],
)
def test_what_such_a_run_can_never_be_judged_by_is_refused(
    text: str, more: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as refused:
        planned_thresholds(asked(tmp_path, text, **more))

    assert problem in str(refused.value)


def test_a_relative_threshold_may_be_of_a_run_of_several_targets_or_have_a_baseline(tmp_path: Path) -> None:
    text = "ttfa: p(50)<+10%"

    assert planned_thresholds(asked(tmp_path, text, targets=["east", "west"]))
    assert planned_thresholds(asked(tmp_path, text, baseline=str(tmp_path)))


def test_a_run_is_checked_by_the_thresholds_that_were_recorded_with_it() -> None:
    recorded = read(thresholds={"ttfa{step:greeting}": ["med<5s"], "failure_rate": ["rate<30%"]})

    assert [item.title for item in check_of(recorded).thresholds] == ["ttfa greeting p50", "failure_rate"]
    assert [item.title for item in check_of(recorded, thresholds("ttft: med<9s")).thresholds] == ["ttft p50"]


def test_recorded_thresholds_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", ENOUGH)
    document = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(document | {"thresholds": {"ttfaa": ["med<5s"]}}))

    with pytest.raises(UsageError, match="there is no m"):
        checked(folder)


def of_script(folder: Path, text: str) -> dict[str, Any]:
    """What is asked of a run of a script without a thresholds file."""
    path = folder / "mine.yaml"
    path.write_text(text)
    return asked(folder, "") | {"file": None, "scripts": [{"path": str(path), "thresholds": None}]}


def test_thresholds_of_scripts_are_of_their_run(tmp_path: Path) -> None:
    first = of_script(tmp_path, 'thresholds: {ttfa: "p(50)<1s"}\nsteps: []\n')
    (tmp_path / "other.yaml").write_text("thresholds:\n  ttfa: [p(50)<1s, p(95)<2s]\n  failure_rate: rate<1%\n")
    first["scripts"].append({"path": str(tmp_path / "other.yaml"), "thresholds": None})
    first["scripts"].append({"path": str(tmp_path / "callers.py"), "thresholds": {"failure_rate": ["rate<2%"]}})

    assert planned_thresholds(first) == {"ttfa": ["p(50)<1s", "p(95)<2s"], "failure_rate": ["rate<1%", "rate<2%"]}


def test_a_mistake_in_a_script_s_thresholds_has_its_place(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"mine.yaml:4:7: \"1 day\" is no limit of ttfa"):
        planned_thresholds(of_script(tmp_path, "steps: []\nthresholds:\n  ttfa:\n    - p(50)<1 day\n"))
    in_python = asked(tmp_path, "") | {
        "file": None,
        "scripts": [{"path": "callers.py", "thresholds": {"ttfa": ["p(50)<1 day"]}}],
    }
    with pytest.raises(UsageError, match=r"^callers.py: thresholds: "):
        planned_thresholds(in_python)


def test_a_file_replaces_the_thresholds_of_the_scripts(tmp_path: Path) -> None:
    both = of_script(tmp_path, "thresholds: {ttfa: nonsense}\n") | {
        "file": asked(tmp_path, "failure_rate: rate<1%")["file"]
    }

    assert planned_thresholds(both) == {"failure_rate": ["rate<1%"]}
