"""Checks of a run against thresholds and baselines: the result of each threshold, and runs
without usable results.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.base.errors import UsageError
from bench.record import folder as run_folder
from reports.analysis.check.check import check_of
from reports.analysis.check.relative import results_of
from reports.analysis.summary.summary import summarise
from reports.data.runs import load_for_report
from reports.engine.judge import Judged
from reports.pages.check.junit import junit_xml
from reports.pages.check.report import check_page
from reports.pages.run_report.report import run_page
from reports.pages.run_report.support import support_page
from reports.render.terminal import render_page
from reports.results.value import Reason
from reports.statistics.differences import Margin, StandardError
from reports.statistics.rates import RatioEstimate, points_difference
from reports.statistics.threshold_estimate import of_equal_sessions
from reports.text.check_sentences import (
    against_text,
    check_headline,
    explanations,
    interval_text,
    notices,
    remark,
    value_text,
    warnings,
    why,
)
from reports.text.metric_sentences import RUNS_DIFFER
from reports.text.reasons import reason_line, reason_text
from tests.reports.check.examples import (
    ENOUGH,
    PAIRED,
    flat,
    read,
    run,
    store,
    stored,
    thresholds,
    verdicts,
)
from tests.reports.planned import planned
from tests.reports.synthetic import Plan

RELATIVE = ("ttfa: med<+10%", "ttfa: p(95)<+20% and +30ms", "failure_rate: rate<+1pt")


def test_each_absolute_threshold_is_tested_for_each_target() -> None:
    found = check_of(
        read(PAIRED), thresholds("ttfa: med<5s", "failure_rate: rate<30%", "audio_speed: avg>9")
    )

    assert [(item.target, item.title, item.result) for item in found.thresholds] == [
        ("before", "ttfa p50", "pass"),
        ("after", "ttfa p50", "pass"),
        ("before", "failure_rate", "pass"),
        ("after", "failure_rate", "pass"),
        ("before", "audio_speed mean", "fail"),
        ("after", "audio_speed mean", "fail"),
    ]
    assert found.exit_status == 1


def test_filters_restrict_a_threshold_to_a_step_and_a_target() -> None:
    found = check_of(read(PAIRED), thresholds("ttfa{step:greeting,target:after}: med<5s"))

    assert [(item.target, item.title, item.turns) for item in map(flat, found.thresholds)] == [
        ("after", "ttfa greeting p50", 120)
    ]


@pytest.mark.parametrize(
    ("plan", "cause_text"),
    [
        (Plan(sessions=0), "sim has no turns"),
        (Plan(sessions=0, refused=30), "sim has no turns"),
        (replace(ENOUGH, valid=False), "audio was sent late"),
        (replace(ENOUGH, valid=None), "has no verdict"),
    ],
)
def test_a_run_without_usable_results_never_passes(plan: Plan, cause_text: str) -> None:
    found = check_of(
        read(plan), thresholds("stall_rate: rate<=1", "ttfa: med<9000s"), on_inconclusive="pass"
    )

    assert found.exit_status == 4
    assert cause_text in reason_text(found.causes[0])


def test_a_target_without_turns_is_not_evaluated() -> None:
    now = read(targets=[{"name": "sim"}, {"name": "ghost"}])
    found = check_of(
        now, thresholds("ttfa: med<9s", "failure_rate: rate<50%", "connect_total: med<9s")
    )

    assert [item.result for item in found.thresholds if item.target == "ghost"] == [
        "not_evaluated"
    ] * 3
    assert tuple(map(reason_line, found.causes)) == (
        "ghost has no turns. Run `rtbench report` to see why no turn started.",
    )


@pytest.mark.parametrize("written", ["ttft: med<9s", "input_transcript: p(5)<1s"])
def test_a_threshold_without_measured_values_does_not_pass(written: str) -> None:
    text_or_typed = replace(ENOUGH, kinds=("typed",))
    found = check_of(
        read(text_or_typed), thresholds(written, "failure_rate: rate<50%"), on_inconclusive="pass"
    )

    assert verdicts(found) == ["not_evaluated", "pass"]
    assert found.exit_status == 4


def test_a_misspelt_step_is_reported_with_a_suggestion() -> None:
    with pytest.raises(
        UsageError, match=r"no script of the run has a step greting; did you mean greeting\?"
    ):
        check_of(read(), thresholds("ttfa{step:greting}: med<9s"))


def test_a_step_that_no_turn_reached_is_not_evaluated() -> None:
    now = read(scripts=[{"name": "voice_turns"}, {"name": "goodbyes"}])

    assert check_of(now, thresholds("ttfa{step:farewell}: med<9s")).exit_status == 4


def test_a_throttled_run_is_invalid_unless_a_threshold_is_about_throttling() -> None:
    now = read(replace(ENOUGH, failed=0.2))
    waits, asked = (
        check_of(now, thresholds("ttfa: med<9s", *more))
        for more in ((), ("throttle_rate: rate<50%",))
    )

    assert waits.exit_status == 4
    assert "of turns or sessions were throttled (limit 1" in reason_text(waits.causes[0])
    assert (asked.exit_status, asked.causes) == (0, ())


def test_throttling_of_a_target_without_thresholds_is_no_cause() -> None:
    now = read(replace(PAIRED, failed=0.2))

    assert len(check_of(now, thresholds("ttfa{target:after}: med<9s")).causes) == 1


def test_stored_runs_of_another_target_may_be_the_baseline(tmp_path: Path) -> None:
    folder = store(tmp_path, 2)
    now = read(replace(ENOUGH, targets=("new",)))
    found = check_of(now, thresholds(*RELATIVE), f"{folder}:sim")

    assert against_text(found) == "2\u00a0stored runs of sim"
    assert "not_evaluated" not in verdicts(found)
    with pytest.raises(UsageError, match=r"no stored runs of voice_turns/simm; did you mean sim\?"):
        check_of(now, thresholds(*RELATIVE), f"{folder}:simm")


def test_a_run_with_only_failed_turns_does_not_pass() -> None:
    few, many = read(Plan(sessions=5, failed=1.0)), read(replace(ENOUGH, failed=1.0))
    asked = thresholds("ttfa: med<9s", "failure_rate: rate<50%")

    assert check_of(few, asked, on_inconclusive="pass").exit_status == 1
    assert verdicts(check_of(many, asked)) == ["fail", "fail"]


OUTAGES = {
    "few turns failed": Plan(sessions=4, turns=2, failed=1.0, valid=None),
    "many turns failed": replace(ENOUGH, failed=1.0, valid=None),
    "no call opened": Plan(sessions=0, refused=30, valid=None),
}


@pytest.mark.parametrize("plan", OUTAGES.values(), ids=OUTAGES)
@pytest.mark.parametrize("others", [(), ("ttfa: p(95)<800", "audio_speed: avg>9")])
def test_a_run_in_which_all_failed_fails_a_limit_on_failures_and_has_no_verdict_on_others(
    plan: Plan, others: tuple[str, ...]
) -> None:
    now = read(plan)
    found = check_of(now, thresholds("failure_rate: rate<10%", *others))

    assert (found.exit_status, found.thresholds[0].result, found.causes) == (1, "fail", ())
    assert found.status == "no_verdict"
    assert "<failure" in junit_xml(found)
    if others:
        assert check_of(now, thresholds(*others)).exit_status == 4


@pytest.mark.parametrize(
    ("plan", "metadata"),
    [
        (replace(ENOUGH, failed=1.0, valid=False), {}),
        (replace(ENOUGH, failed=1.0, valid=None), {"state": "killed"}),
        (replace(ENOUGH, failed=0.5, valid=None), {}),
    ],
    ids=["invalid", "killed", "some succeeded"],
)
def test_only_a_whole_outage_in_a_run_that_ended_fails_without_a_verdict(
    plan: Plan, metadata: dict[str, Any]
) -> None:
    found = check_of(read(plan, **metadata), thresholds("failure_rate: rate<10%"))

    assert found.exit_status == 4


def test_the_first_target_of_an_interleaved_run_is_the_default_baseline() -> None:
    now = read(PAIRED)
    first, other, path = (
        check_of(now, thresholds(*RELATIVE), named)
        for named in (None, "after", f"{now.folder}:after")
    )

    assert {item.target for item in first.thresholds} == {"after"}
    assert (
        {item.target for item in other.thresholds}
        == {item.target for item in path.thresholds}
        == {"before"}
    )
    assert (against_text(first), against_text(other)) == (
        "before, in the same run",
        "after, in the same run",
    )
    assert flat(first.thresholds[0]).difference == pytest.approx(
        1 / (1 + flat(other.thresholds[0]).difference) - 1
    )


def test_without_thresholds_the_default_margins_are_tested() -> None:
    found = check_of(read(PAIRED))

    assert [item.threshold for item in found.thresholds] == [
        "ttfa: p(50)<+10%",
        "ttfa: p(95)<+20%",
        "failure_rate: rate<+1pt",
    ]


def test_a_regression_fails_and_an_equal_run_passes(tmp_path: Path) -> None:
    plan = replace(ENOUGH, sessions=310)
    base, slower, faster = (
        run(tmp_path / "base", plan),
        *(read(replace(plan, median_ms=ms)) for ms in (1200, 300)),
    )

    assert verdicts(check_of(slower, thresholds(*RELATIVE), str(base)))[:2] == [
        "regressed",
        "regressed",
    ]
    assert verdicts(check_of(faster, thresholds(*RELATIVE), str(base)))[:2] == [
        "improved",
        "improved",
    ]
    by_default = [check_of(one, (), f"{base}:sim") for one in (slower, faster)]
    assert all(item.provisional for item in by_default[0].thresholds)
    assert [found.exit_status for found in by_default] == [1, 0]


def test_a_margin_that_the_difference_of_two_runs_leaves_open_advises_one_run(
    tmp_path: Path,
) -> None:
    base = str(run(tmp_path / "base", replace(ENOUGH, seed=8)))
    narrow, wide = (
        check_of(read(ENOUGH), thresholds(f"ttfa: med<+{margin}%"), base) for margin in (3, 90)
    )

    assert (narrow.exit_status, wide.exit_status) == (3, 0)
    assert RUNS_DIFFER in notices(narrow)
    assert RUNS_DIFFER not in notices(wide)


def test_each_target_is_compared_with_the_same_target_of_another_run(tmp_path: Path) -> None:
    now, then = read(PAIRED), run(tmp_path / "then", replace(PAIRED, seed=8))
    found = check_of(now, thresholds("ttfa: med<+10%", "ttfa{target:after}: p(95)<+20%"), str(then))

    assert [(item.target, item.title) for item in found.thresholds] == [
        ("before", "ttfa p50"),
        ("after", "ttfa p50"),
        ("after", "ttfa p95"),
    ]


@pytest.mark.parametrize("base", ["other", "itself", "stored", "looks"])
def test_each_run_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str) -> None:
    few = replace(PAIRED, sessions=40)
    plan = planned({"ttfa": ["p(50)<+20%"]}, [20])
    now = run(tmp_path / "now", few, **({"sequential_plan": plan} if base == "looks" else {}))
    other, old = run(tmp_path / "other", few), tmp_path / "baselines"
    if base == "stored":
        store(tmp_path, 1, plan=few)
    read: list[Path] = []
    read_document = run_folder.read_document
    monkeypatch.setattr(
        run_folder, "read_document", lambda folder: read.append(folder) or read_document(folder)
    )

    check_of(
        now, (), {"other": str(other), "itself": None, "stored": str(old), "looks": None}[base]
    )

    assert read == [now, *([other] if base == "other" else [])]


def test_an_invalid_baseline_makes_the_check_invalid(tmp_path: Path) -> None:
    base = run(tmp_path / "base", replace(ENOUGH, valid=False))

    assert check_of(read(), (), str(base)).exit_status == 4


def test_one_stored_run_is_provisional_and_five_give_their_own_variation(tmp_path: Path) -> None:
    now = read()
    one = check_of(now, thresholds(*RELATIVE), str(store(tmp_path / "one", 1)))
    five = check_of(now, thresholds(*RELATIVE), str(store(tmp_path / "five", 5, step=0.1)))

    assert {item.provisional for item in one.thresholds} == {True}
    assert {item.provisional for item in five.thresholds} == {False}
    assert against_text(five) == "5\u00a0stored runs of sim"
    width = [item.high - item.low for item in (flat(one.thresholds[0]), flat(five.thresholds[0]))]
    assert width[1] > width[0]  # medians that differ by 10 % vary more than the assumed 5 %


def test_stored_runs_under_other_conditions_are_no_baseline_unless_allowed(tmp_path: Path) -> None:
    now = read(tool={"name": "rtbench", "version": "9.9"})
    folder = str(store(tmp_path, 1))
    refused, let = (
        check_of(now, thresholds(*RELATIVE), folder, allow=allow)
        for allow in ((), ("client_version",))
    )

    assert refused.exit_status == 4
    values = {
        "target": "sim",
        "condition": "client_version",
        "this_run": "9.9",
        "baseline": "0.1.0",
    }
    assert refused.differs == (Reason("condition_differs", values | {"allow": "client_version"}),)
    assert not let.differs
    assert "not_evaluated" not in verdicts(let)


def test_only_stored_runs_under_the_same_conditions_are_used(tmp_path: Path) -> None:
    folder = store(tmp_path, 2)
    stored(folder, "other", tool={"name": "rtbench", "version": "0.0.9"})
    found = check_of(read(), thresholds(*RELATIVE), str(folder))

    assert against_text(found) == "2\u00a0stored runs of sim"
    assert notices(found)[0] == "1\u00a0stored run of sim excluded because of: client version."
    assert explanations(found)[-1] == reason_text(Reason("run_sd_assumed"))


def test_without_stored_runs_relative_thresholds_are_inconclusive_and_absolute_ones_decide(
    tmp_path: Path,
) -> None:
    (tmp_path / "baselines").mkdir()
    now, asked = read(), thresholds("ttfa: med<9s", "ttfa: med<+10%", "failure_rate: rate<+1pt")
    found = check_of(now, asked, str(tmp_path / "baselines"))

    assert verdicts(found) == ["pass", "inconclusive", "inconclusive"]
    assert "rtbench baseline save RUN" in why(found.thresholds[1])
    assert (
        check_of(now, asked, str(tmp_path / "baselines"), on_inconclusive="warn").exit_status == 0
    )
    assert found.exit_status == 3


@pytest.mark.parametrize(
    ("written", "baseline", "message"),
    [
        ((), None, "there is nothing to check"),
        (("ttfa: med<+10%",), None, "is relative, but there is no baseline"),
        (
            ("ttfa: med<+10%",),
            "nowhere",
            "there is no such folder, no run of this name in runs; `rtbench runs`",
        ),
        (("ttfa: p(80)<+10%",), "STORED", r"stored baselines contain only p\(50\)"),
        (("ttfa{step:greeting}: med<+10%",), "STORED", "have no values per step"),
        (("audio_speed: avg>-10%",), "STORED", "contain no mean"),
        (
            ("ttfa{target:gateway}: med<1s",),
            None,
            "the run has no target gateway; its targets are: sim",
        ),
        (("ttfa: med<+10%",), "RUN", "is the checked run itself"),
        (("ttfa: med<+10%",), "COPY", "a run cannot be compared with itself"),
        ((), "COPY", "a run cannot be compared with itself"),
    ],
)
def test_an_impossible_check_is_refused_with_what_to_do(
    tmp_path: Path, written: tuple[str, ...], baseline: str | None, message: str
) -> None:
    now = read()
    places = {"RUN": str(now.folder)}
    if baseline == "COPY":
        places["COPY"] = str(run(tmp_path / "now"))
    if baseline == "STORED":
        places["STORED"] = str(store(tmp_path, 1))

    with pytest.raises(UsageError, match=message):
        check_of(now, thresholds(*written), places.get(baseline or "", baseline))


@pytest.mark.parametrize("asked", [("ttfa: med<+50%",), ()])
def test_turns_that_only_the_baseline_has_are_not_evaluated(
    tmp_path: Path, asked: tuple[str, ...]
) -> None:
    base = run(tmp_path / "base", replace(ENOUGH, kinds=("vad", "manual")))
    found = check_of(read(replace(ENOUGH, seed=8)), thresholds(*asked), str(base))

    assert [item.result for item in found.thresholds if "from request sent" in item.title] == [
        "not_evaluated"
    ] * (1 if asked else 2)
    assert found.exit_status == 4


@pytest.mark.parametrize("kind", ["run", "stored"])
def test_a_target_without_a_threshold_is_not_tested(tmp_path: Path, kind: str) -> None:
    then = replace(PAIRED, seed=8)
    base = (
        run(tmp_path / "then", then)
        if kind == "run"
        else stored(tmp_path / "baselines", "then", then)
    )
    found = check_of(read(PAIRED), thresholds("ttfa{target:after}: p(95)<+50%"), str(base))

    assert [item.target for item in found.thresholds] == ["after"]


@pytest.mark.parametrize(
    ("sessions", "lost", "remedy"),
    [
        (299, 9, ": add failure_rate: rate<1%"),
        (30, 9, ": add failure_rate: rate<10%"),
        (4, 9, ""),
        (30, 90, ""),
    ],
)
def test_the_offered_limit_on_failures_is_one_that_the_calls_can_decide(
    sessions: int, lost: int, remedy: str
) -> None:
    counts = {"sessions": sessions, "planned": 90, "failed_or_not_started": lost, "target": None}
    text = reason_text(Reason("not_started", counts | {"not_started": lost}))

    assert text.partition("no threshold limits failures")[2] == remedy


def test_turns_not_started_without_a_threshold_on_failures_cause_a_warning() -> None:
    now = read(replace(ENOUGH, refused=5, failed=0.0))
    silent, asked = (
        check_of(now, thresholds("ttfa: med<9s", *more))
        for more in ((), ("failure_rate: rate<50%",))
    )

    assert silent.exit_status == 0
    assert tuple(warnings(silent)) == (
        (
            "7.7\u00a0% of the planned turns did not start, but no threshold limits failures: "
            "add failure_rate: rate<5%"
        ),
    )
    assert warnings(asked) == []


@pytest.mark.parametrize(
    "stopped", ["interrupted", "interrupted; all sessions are done", "all sessions are done"]
)
def test_an_interrupted_run_is_checked_with_a_warning(stopped: str) -> None:
    found = check_of(
        read(ENOUGH, stop_reason=stopped), thresholds("ttfa: med<9s", "failure_rate: rate<50%")
    )

    assert found.exit_status == 0
    assert [warning[:27] for warning in warnings(found)] == ["the run was interrupted bef"] * (
        "interrupted" in stopped
    )


def test_a_run_that_the_service_refused_for_good_is_checked_with_a_warning() -> None:
    refused = "the service refused 10 turns in a row"
    found = check_of(read(ENOUGH, refused=refused), thresholds("ttfa: med<9s"))

    assert any(refused in warning for warning in warnings(found))


def test_turns_not_started_count_as_infinite_latencies() -> None:
    now = read(replace(ENOUGH, refused=30, failed=0.0))
    (found,) = check_of(now, thresholds("ttfa: p(95)<9s")).thresholds
    item = flat(found)

    assert (item.result, item.in_failures, item.turns, item.failed) == ("fail", True, 900, 300)
    assert item.completed_share == pytest.approx(2 / 3)
    assert "66.7\u00a0% of the planned turns have a value" in remark(found)


def test_a_run_with_over_a_tenth_of_turns_not_started_needs_a_failure_threshold() -> None:
    now = read(replace(ENOUGH, refused=30, failed=0.0))
    silent, asked = (
        check_of(now, thresholds("ttfa: med<9s", *more))
        for more in ((), ("failure_rate: rate<90%",))
    )

    assert (verdicts(silent), silent.exit_status) == (["pass"], 4)
    assert tuple(map(reason_text, silent.causes)) == (
        (
            "33.3\u00a0% of the planned turns did not start, but no threshold limits failures: "
            "add failure_rate: rate<5%"
        ),
    )
    assert check_headline(silent).startswith("not evaluated: 33.3")
    assert (verdicts(asked), asked.exit_status, asked.causes) == (["pass", "pass"], 0, ())


def test_a_quantile_among_failed_turns_is_printed_as_infinity(tmp_path: Path) -> None:
    base = run(tmp_path / "base", replace(ENOUGH, failed=0.0))
    now = read(replace(ENOUGH, failed=0.4))
    found = check_of(now, thresholds("ttfa: p(95)<9s"))
    compared = check_of(now, thresholds("ttfa: p(95)<+20%"), str(base))

    assert (verdicts(found), verdicts(compared)) == (["fail"], ["regressed"])
    assert [interval_text(one) for one in found.thresholds] == ["∞"]
    assert [value_text(one) for one in (*found.thresholds, *compared.thresholds)] == ["∞"] * 2
    assert interval_text(compared.thresholds[0]).startswith("∞")


def test_a_relative_threshold_on_the_baseline_itself_is_refused() -> None:
    with pytest.raises(UsageError, match="before is not a candidate; the candidates are: after"):
        check_of(read(PAIRED), thresholds("ttfa{target:before}: med<+10%"))


OTHER_VERSION: dict[str, list[str]] = {
    "ttfa": ["p(50)<5s", "mode<9"],
    "warp_factor": ["p(50)<1"],
    "failure_rate": ["rate<9%"],
}


def test_recorded_thresholds_of_another_version_are_ignored_with_a_warning(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", thresholds=OTHER_VERSION)
    found = check_of(folder)
    summary = summarise(load_for_report(folder))

    assert [result.threshold for result in found.thresholds] == [
        "ttfa: p(50)<5s",
        "failure_rate: rate<9%",
    ]
    unread = "thresholds that are recorded with the run: ttfa: mode<9, warp_factor: p(50)<1."
    for text in (
        render_page(check_page(found)),
        render_page(run_page(summary)),
        render_page(support_page(summary, "failed")),
    ):
        assert " ".join(text.split()).count(unread) == 1
    assert not any(
        "recorded" in warning
        for warning in warnings(check_of(folder, thresholds("ttfa: p(50)<5s")))
    )


@pytest.mark.parametrize(
    "recorded", [{"warp_factor": ["p(50)<1"]}, {"ttfa": ["5", ""]}, {"": [""]}]
)
def test_a_run_with_only_unreadable_thresholds_has_nothing_to_check(
    tmp_path: Path, recorded: Any
) -> None:
    folder = run(tmp_path / "run", thresholds=recorded)

    with pytest.raises(UsageError, match=r"nothing to check .* cannot read"):
        check_of(folder)


def test_a_rate_with_few_baseline_sessions_states_how_many_are_needed() -> None:
    difference = points_difference(
        RatioEstimate(0.0, 0.0, 400, 40),
        RatioEstimate(0.05, 0.008**2, 4000, 400),
        StandardError(0.008, 398, 400),
        Margin(points=0.01),
    )
    counts = of_equal_sessions(400, 40, 0), of_equal_sessions(4000, 400, 200)
    (threshold,) = thresholds("failure_rate: rate<+1pt")
    measured = Judged(spec=threshold.spec, target="today", difference=difference, targets=counts)
    (result,) = results_of([measured])

    assert result.result == "inconclusive"
    assert (
        why(result).replace("\u00a0", " ")
        == "worse than the margin, but the baseline has only 40 sessions: it needs about"
        f" {difference.baseline_sessions}"
    )
