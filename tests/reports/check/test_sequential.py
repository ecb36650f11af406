"""Checks of runs that interim analyses ended, of turns with several instants, and of violated
assumptions.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.base.errors import UsageError
from reports.analysis.check.absolute import limit_results
from reports.analysis.check.check import check_of, unequal_lengths
from reports.analysis.check.results import CheckResult
from reports.analysis.sequential.decide import decision_of
from reports.analysis.targets.compared_target import ComparedTarget
from reports.data.runs import RunFrames
from reports.engine.judge import Judged
from reports.pages.comparisons.interim import decision_data
from reports.statistics.threshold_estimate import TargetCounts
from reports.statistics.verdicts import Verdict
from reports.text.check_sentences import against_text, notices, why
from reports.text.reasons import reason_text
from tests.reports.check import examples
from tests.reports.check.examples import flat, limited, targets_of_plan, thresholds
from tests.reports.planned import LOOSE, TIGHT, UNDECIDED, planned
from tests.reports.statistics.unequal import heavy, sampled

SMALL = replace(examples.PAIRED, sessions=240, failed=0.005)


def sequential_run(
    primary: dict[str, list[str]], sizes: tuple[int, ...] = (40, 80, 120), **document: Any
) -> RunFrames:
    return examples.read(
        SMALL, sequential_plan=planned(primary, sizes, bootstrap_samples=100), **document
    )


@pytest.mark.parametrize(("primary", "status"), [(LOOSE, 0), (TIGHT, 1), (UNDECIDED, 3)])
def test_a_sequential_run_is_checked_by_its_interim_analyses(
    primary: dict[str, list[str]], status: int
) -> None:
    decision, found = decision_of(sequential_run(primary)), check_of(sequential_run(primary))

    assert found.exit_status == decision.exit_status == status
    assert examples.verdicts(found) == [ruling.verdict.name for ruling in decision.comparisons]
    for item, metric in zip(
        map(flat, found.thresholds), decision_data(decision)["primary_metrics"], strict=True
    ):
        for name in ("low", "high", "corrected"):
            assert getattr(item, name) == pytest.approx(metric[name], rel=1e-5)
        assert (item.analysis, item.sessions) == (metric["analysis"], metric["value"]["sessions"])


def test_absolute_thresholds_are_tested_on_the_whole_sequential_run() -> None:
    limits = examples.thresholds(
        "ttfa: p(50)<1", "ttfa: p(50)<+60%", "failure_rate: rate<+10pt", "ttfa: p(95)<+90%"
    )
    found = check_of(sequential_run(LOOSE), limits)

    assert found.exit_status == 1
    assert {flat(one).verdict for one in found.thresholds if one.relative} == {"not_regressed"}
    assert [one.result for one in found.thresholds if not one.relative] == ["fail", "fail"]


def test_a_threshold_for_the_candidate_matches_the_planned_primary_metric() -> None:
    found = check_of(sequential_run(TIGHT), examples.thresholds("ttfa{target:after}: p(50)<+0.1%"))

    assert found.exit_status == 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            ("ttfa: p(50)<+61%", "ttfa: p(95)<+90%", "failure_rate: rate<+10pt"),
            "ttfa: p(50)<+61% is not a primary metric of the interim analyses",
        ),
        (
            ("ttfa: p(50)<+60%", "failure_rate: rate<+10pt"),
            "decide ttfa: p(95)<+90%, which is missing from the thresholds",
        ),
        (
            ("ttfa{target:before}: p(50)<+60%",),
            "ttfa{target:before}: p(50)<+60% is not a primary metric of the interim analyses",
        ),
    ],
)
def test_thresholds_other_than_the_planned_ones_are_refused(
    asked: tuple[str, ...], message: str
) -> None:
    run = sequential_run(LOOSE)
    with pytest.raises(UsageError, match=re.escape(message)) as raised:
        check_of(run, examples.thresholds(*asked))
    assert "remove --thresholds" in str(raised.value)


def test_the_candidate_cannot_be_the_baseline_of_a_sequential_run() -> None:
    with pytest.raises(
        UsageError, match=r"before is the baseline of the interim analyses of .*, not after"
    ):
        check_of(sequential_run(LOOSE), baseline="after")


def test_a_sequential_run_is_compared_with_another_run_without_its_analyses(tmp_path: Path) -> None:
    other = examples.run(tmp_path / "other", SMALL)
    found = check_of(
        sequential_run(TIGHT), examples.thresholds("ttfa: p(50)<+50%"), f"{other}:before"
    )

    assert against_text(found) == "before of other"
    assert [flat(one).analysis for one in found.thresholds] == [None, None]


def test_a_run_that_ended_before_its_first_interim_analysis_is_inconclusive() -> None:
    found = check_of(sequential_run(LOOSE, sizes=(400,)))

    assert found.exit_status == 3
    assert set(examples.verdicts(found)) == {"inconclusive"}
    assert why(found.thresholds[0]) == "no interim analysis: 120 of 400\u00a0pairs ended"
    assert "none was made" in against_text(found)


def test_a_primary_metric_without_a_value_is_not_evaluated() -> None:
    found = check_of(sequential_run({"ttfa{step:ghost}": ["p(50)<+20%"]}))

    assert (found.exit_status, found.thresholds[0].result) == (4, "not_evaluated")


MIXED = replace(examples.PAIRED, targets=("only",), paired=False, kinds=("vad", "manual"))


NOTE = (
    "ttfa: med<5s is tested from request sent and from end of speech; to test only one of them,"
    " write "
)


def checked(*limits: str) -> CheckResult:
    return check_of(examples.read(MIXED), examples.thresholds(*limits))


def test_a_threshold_on_turns_of_both_instants_is_tested_for_each_with_a_notice() -> None:
    found = checked("ttfa: med<5s")

    assert [item.title for item in found.thresholds] == [
        "ttfa p50 from end of speech",
        "ttfa p50 from request sent",
    ]
    (notice,) = (notice for notice in notices(found) if notice.startswith(NOTE))
    assert notice == f"{NOTE}`ttfa{{measured_from:request_sent}}: med<5s`."


@pytest.mark.parametrize("instant", ["request_sent", "speech_end"])
def test_a_threshold_that_names_an_instant_is_tested_only_for_it(instant: str) -> None:
    found = checked(f"ttfa{{measured_from:{instant}}}: med<5s")

    assert [item.title for item in found.thresholds] == [
        f"ttfa p50 from {instant.replace('_', ' ').replace('speech end', 'end of speech')}"
    ]
    assert not any("is tested" in notice for notice in notices(found))


def test_a_threshold_on_an_instant_of_no_turn_is_not_evaluated() -> None:
    vad = check_of(
        examples.read(replace(MIXED, kinds=("vad",))),
        examples.thresholds("ttfa{measured_from:request_sent}: med<5s"),
    )

    assert [one.result for one in vad.thresholds] == ["not_evaluated"]


def test_sessions_of_unequal_length_cause_a_notice_with_the_effective_number() -> None:
    def counted(effective_sessions: float, threshold: str = "ttfa: p(95)<900") -> Judged:
        return limited(
            threshold,
            (800.0, 780.0, 820.0),
            counts=TargetCounts(600, 60, 0, 1.0, effective_sessions, 60.0),
        )

    (notice,) = unequal_lengths([counted(26.2), counted(60.0), counted(58.0, "ttfa: p(50)<900")])

    assert reason_text(notice).startswith(
        "Sessions of unequal length count as fewer: 60 sessions of unequal length count as 26 for"
        " ttfa p95."
    )
    assert list(unequal_lengths([counted(58.0)])) == []
    assert list(unequal_lengths([replace(counted(26.2), verdict=Verdict("not_evaluated"))])) == []


def test_a_threshold_that_depends_on_few_long_sessions_states_the_equal_weight_quantile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ComparedTarget, "sample", lambda self, question: sampled(heavy(400), 0.6))
    (threshold,), (side,) = thresholds("ttfa: p(50)<1200"), targets_of_plan()
    (item,) = limit_results(threshold, side)

    assert item.result == "inconclusive"
    assert (
        why(item)
        == "the limit lies within the interval; Long sessions differ from short ones, and a few"
        " sessions contain many of the turns; with equal weight per session, the value is"
        " 1,020\u00a0ms (994 to 1,060\u00a0ms)"
    )
