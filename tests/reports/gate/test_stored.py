"""Which stored runs a run is held against, and what becomes of zeros, drift, and a run that chose its own end."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reports.gate.baselines import PS
from reports.gate.check import check_of, checked
from reports.gate.items import Checked
from reports.gate.sentences import interval_text
from reports.runs import load_for_report
from tests.command_line import call
from tests.reports.gate.made import ENOUGH, read, run, slowed, stored, thresholds
from tests.reports.planned import planned

TTFA = ("ttfa: med<+10%", "ttfa: p(95)<+20%")
MANY = replace(ENOUGH, sessions=160, seconds=300, failed=0.0)


BEGAN_NS, DAY_NS = 1_795_000_000_000_000_000, 86_400_000_000_000


def store(folder: Path, count: int, **document: Any) -> Path:
    """So many runs, a day apart."""
    for number in range(count):
        began = BEGAN_NS + number * DAY_NS
        plan = replace(MANY, seed=100 + number)
        stored(folder / "baselines", f"made-{number}", plan, **(document | {"started_utc_ns": began}))
    return folder / "baselines"


def figures(path: Path, metric: str, value: float) -> None:
    """Write another value of all quantiles of a metric into a stored run."""
    data = json.loads(path.read_text(encoding="utf-8"))
    for row in data["quantiles"]:
        if row["metric"] == metric:
            row["values"] = [value] * len(PS)
    path.write_text(json.dumps(data), encoding="utf-8")


def notices(found: Checked) -> str:
    return " ".join(found.notices).replace("\u00a0", " ")


def test_a_run_that_is_stored_several_times_counts_once(tmp_path: Path) -> None:
    folder = store(tmp_path, 1)
    place = folder / "voice_turns" / "sim"
    for number in range(4):
        shutil.copy(place / "made-0.json", place / f"copy-{number}.json")
    found = check_of(read(MANY), thresholds(*TTFA), str(folder))

    assert found.baseline == "1\u00a0stored run of sim"
    assert all(item.provisional for item in found.thresholds)
    assert notices(found).count(" is of made-0, which is stored already: it is left out, a run counts once.") == 4


def test_the_run_itself_is_left_out_of_its_baseline_and_that_is_said(tmp_path: Path) -> None:
    folder = store(tmp_path, 2)
    made = read(replace(MANY, seed=100), run_id="made-0", started_utc_ns=BEGAN_NS)
    found = check_of(made, thresholds(*TTFA), str(folder))

    assert found.baseline == "1\u00a0stored run of sim"
    assert "The run that is checked is stored in" in notices(found)


def test_the_shelf_shows_what_is_left_out(tmp_path: Path) -> None:
    folder = store(tmp_path, 1)
    shutil.copy(folder / "voice_turns" / "sim" / "made-0.json", folder / "voice_turns" / "sim" / "copy.json")
    (folder / "voice_turns" / "other").mkdir()
    shutil.copy(folder / "voice_turns" / "sim" / "made-0.json", folder / "voice_turns" / "other" / "made-0.json")
    output = call("baseline", "list", "--baselines-dir", folder).output

    assert output.startswith("voice_turns/sim  1 run, ")
    assert "copy.json is of made-0, which is stored already" in output or "made-0.json is of made-0" in output
    assert "other/made-0.json is of voice_turns/sim, not of the folder that it stands in" in output


def test_a_file_in_the_folder_of_another_target_is_no_baseline_there(tmp_path: Path) -> None:
    folder = store(tmp_path, 2)
    path = folder / "voice_turns" / "sim" / "made-1.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"target": "sim"', '"target": "other"'), encoding="utf-8")
    found = check_of(read(MANY), thresholds(*TTFA), str(folder))

    assert found.baseline == "1\u00a0stored run of sim"
    assert "made-1.json is of voice_turns/other, not of the folder that it stands in: it is left out." in notices(found)


def test_settings_of_a_variant_are_a_condition(tmp_path: Path) -> None:
    folder = str(store(tmp_path, 1))
    varied = [{"name": "sim", "service": "simulator", "dialect": "ga", "session": {"temperature": 0.7}}]
    found = check_of(read(MANY, targets=varied), thresholds(*TTFA), folder, allow=["api_version"])

    assert [line.partition(" here")[0] for line in found.differs] == ["sim: settings of the target: temperature 0.7"]


@pytest.mark.parametrize(
    ("metric", "then", "word"),
    [
        ("stall_duration", (0, 0, 0, 0, 0), "equivalent"),
        ("stall_duration", (300, 300, 300, 300, 300), "improved"),
        ("stall_duration", (0, 300, 300, 300, 300), "not_regressed"),
        ("ttfa", (0, 600, 600, 600, 600), "inconclusive"),
        ("ttfa", (0, 0, 0, 0, 0), "inconclusive"),
    ],
)
def test_zeros_are_figures_like_any_other(tmp_path: Path, metric: str, then: tuple[int, ...], word: str) -> None:
    """Most replies never stall, so the median of `stall` is 0."""
    folder = store(tmp_path, 5)
    for path, value in zip(sorted(folder.rglob("*.json")), then, strict=True):
        figures(path, metric, value)
    (item,) = check_of(read(MANY), thresholds(f"{metric}: med<+20%"), str(folder)).thresholds

    assert (item.verdict or item.result) == word
    assert (item.value == 0) == (metric == "stall_duration")
    if metric == "ttfa":
        assert item.reason == "the stored runs have 0, so there is no ratio"
        assert interval_text(item) == "no ratio to 0"


def test_a_run_that_drifted_makes_verdicts_against_stored_runs_provisional(tmp_path: Path) -> None:
    folder = str(store(tmp_path, 5))
    steady, drifting = read(MANY), load_for_report(slowed(run(tmp_path / "drifting", MANY), 1.6))
    first, second = (check_of(one, thresholds(*TTFA), folder) for one in (steady, drifting))

    assert not any(item.provisional for item in first.thresholds)
    assert all(item.provisional for item in second.thresholds)
    assert "Drift of the steady phase is suspected, later half of the turns against the earlier half" in notices(second)
    assert not any(one.startswith("Provisional") for one in second.notices)


def test_drift_of_another_run_is_said(tmp_path: Path) -> None:
    base = slowed(run(tmp_path / "base", MANY), 1.6)

    assert "base: Drift of the steady phase is suspected" in notices(check_of(read(MANY), (), str(base)))


def test_drift_within_an_interleaved_run_is_harmless(tmp_path: Path) -> None:
    both = replace(MANY, sessions=320, targets=("before", "after"), paired=True)
    found = checked(slowed(run(tmp_path / "run", both), 1.6), thresholds(*TTFA))

    assert not any("steady phase" in notice for notice in found.notices)
    assert not next(item for item in found.thresholds if item.title == "ttfa p50").provisional


def test_a_run_that_chose_its_own_end_is_provisional_against_stored_runs(tmp_path: Path) -> None:
    plan = planned({"ttfa": ["p(50)<+60%"]}, [40, 80])
    found = check_of(read(MANY, sequential_plan=plan), thresholds(*TTFA), str(store(tmp_path, 5)))

    assert all(item.provisional for item in found.thresholds)
    assert "now was ended by interim analyses" in notices(found)
