"""A run that was ended by its looks is checked by them: verdicts, what may be asked of it, what is said."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from reports.gate.check import check_of
from reports.gate.items import Checked
from reports.gate.outputs import check_data
from reports.looks.decide import decision_of
from reports.looks.decision import decision_data
from reports.runs import RunFrames
from tests.reports.gate import made

SMALL = replace(made.PAIRED, sessions=240, failed=0.005)
LOOSE = {"ttfa": ["p(50)<+60%", "p(95)<+90%"], "failure_rate": ["rate<+10pt"]}
TIGHT = {"ttfa": ["p(50)<+0.1%"]}
UNDECIDED = {"ttfa": ["p(50)<+12%"]}


def planned(gates: dict[str, list[str]], looks: tuple[int, ...] = (40, 80, 120), **document: Any) -> RunFrames:
    plan = {
        "pairs": looks[-1],
        "analyses": looks,
        "primary_metrics": gates,
        "alpha": 0.05,
        "spending": "a t^2",
        "bootstrap_samples": 100,
    }
    return made.read(SMALL, sequential_plan=plan, **document)


@pytest.fixture(scope="module")
def regressed() -> Checked:
    return check_of(planned(TIGHT))


@pytest.mark.parametrize(("gates", "status"), [(LOOSE, 0), (TIGHT, 1), (UNDECIDED, 3)])
def test_a_run_of_looks_is_checked_by_its_looks(gates: dict[str, list[str]], status: int) -> None:
    decision, found = decision_of(planned(gates)), check_of(planned(gates))

    assert found.exit_status == decision.exit_status == status
    assert [(item.verdict or item.result) for item in found.thresholds] == [
        ruling.word for ruling in decision.course.rulings
    ]
    for item, gate in zip(found.thresholds, decision_data(decision)["primary_metrics"], strict=True):
        shown = math.log1p if gate["scale"] == "ratio" else float
        for name, value in (("low", item.low), ("high", item.high), ("corrected", item.corrected)):
            assert value is not None
            assert shown(value) == pytest.approx(gate[name])
        assert (item.analysis, item.sessions) == (gate["analysis"], gate["pairs"])


def test_limits_are_held_against_the_whole_run_beside_the_looks() -> None:
    limits = made.thresholds("ttfa: p(50)<1", "ttfa: p(50)<+60%", "failure_rate: rate<+10pt", "ttfa: p(95)<+90%")
    found = check_of(planned(LOOSE), limits)

    assert found.exit_status == 1
    assert {(item.verdict or item.result) for item in found.thresholds if item.relative} == {"not_regressed"}
    assert [(item.verdict or item.result) for item in found.thresholds if not item.relative] == ["fail", "fail"]


def test_the_gates_of_the_plan_may_name_the_candidate() -> None:
    found = check_of(planned(TIGHT), made.thresholds("ttfa{target:after}: p(50)<+0.1%"))

    assert found.exit_status == 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            ("ttfa: p(50)<+61%", "ttfa: p(95)<+90%", "failure_rate: rate<+10pt"),
            "ttfa: p(50)<+61% is no primary metric of the interim analyses",
        ),
        (("ttfa: p(50)<+60%", "failure_rate: rate<+10pt"), "decide ttfa: p(95)<+90%, which the thresholds"),
        (
            ("ttfa{target:before}: p(50)<+60%",),
            "ttfa{target:before}: p(50)<+60% is no primary metric of the interim analyses",
        ),
    ],
)
def test_other_margins_than_the_planned_ones_are_refused(asked: tuple[str, ...], said: str) -> None:
    run = planned(LOOSE)
    with pytest.raises(UsageError, match=re.escape(said)) as raised:
        check_of(run, made.thresholds(*asked))
    assert "leave --thresholds out" in str(raised.value)


def test_the_candidate_is_no_baseline_of_the_looks() -> None:
    with pytest.raises(UsageError, match=r"before is the baseline of the interim analyses of .*, not after"):
        check_of(planned(LOOSE), baseline="after")


def test_another_run_as_the_baseline_is_compared_as_ever(tmp_path: Path) -> None:
    other = made.run(tmp_path / "other", SMALL)
    found = check_of(planned(TIGHT), made.thresholds("ttfa: p(50)<+50%"), f"{other}:before")

    assert found.baseline == "before of other"
    assert [item.analysis for item in found.thresholds] == [None, None]


def test_a_run_that_ended_before_its_first_look_is_inconclusive() -> None:
    found = check_of(planned(LOOSE, looks=(400,)))

    assert found.exit_status == 3
    assert {(item.verdict or item.result) for item in found.thresholds} == {"inconclusive"}
    assert found.thresholds[0].reason == "no interim analysis: 120 of 400\u00a0pairs ended"
    assert "there was none" in found.baseline


def test_a_gate_without_a_value_is_no_data() -> None:
    found = check_of(planned({"ttfa{step:ghost}": ["p(50)<+20%"]}))

    assert (found.exit_status, (found.thresholds[0].verdict or found.thresholds[0].result)) == (4, "not_evaluated")


def test_the_file_for_programs_has_the_look(regressed: Checked) -> None:
    data = check_data(regressed)

    assert (data["exit_status"], data["thresholds"][0]["analysis"]) == (1, 2)
    assert 0 < data["thresholds"][0]["corrected"] < 1
