"""Absolute thresholds: pass, fail and inconclusive, the exit status, and whether a run can
evaluate a threshold.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtri

from bench.base.errors import OnInconclusive, UsageError
from reports.analysis.check.absolute import evaluate_limit, limit_results
from reports.analysis.check.check import check_of, planned_thresholds
from reports.engine.judge import Judged
from reports.metrics.statistic_types.mean import estimate_mean
from reports.metrics.statistic_types.quantile import Quantile, estimate_quantile, lost_shares
from reports.metrics.statistic_types.rate import estimate_rate
from reports.metrics.thresholds import by_metric
from reports.results.value import Reason, Sign
from reports.statistics.quantiles import Sample, sample
from reports.statistics.threshold_estimate import (
    NO_TURNS,
    ThresholdEstimate,
    no_estimate,
    of_equal_sessions,
)
from reports.statistics.verdicts import Verdict
from reports.text.check_sentences import interval_text, value_text, why
from reports.text.reasons import reason_text
from tests.reports.check.examples import (
    ENOUGH,
    FAILED,
    INCONCLUSIVE,
    MEASURED,
    NO_DATA,
    PASSED,
    REGRESSED,
    check,
    flat,
    limited,
    read,
    run,
    targets_of_plan,
    thresholds,
)
from tests.reports.synthetic import Plan

rng = np.random.default_rng(5)


def turns(sessions: int, each: int, failed: int = 0) -> Sample:
    """Return turns whose values are 1, 2, 3 …. The last `failed` turns have failed.

    Each next turn belongs to the next session; after the last session, the first one follows.
    """
    values = np.arange(1.0, sessions * each + 1)
    values[values.size - failed :] = np.inf
    return sample(values, np.arange(values.size) % sessions, failed=failed)


def test_a_limit_above_the_interval_passes_below_it_fails_and_within_it_is_inconclusive() -> None:
    figure = estimate_quantile(turns(40, 25), 0.95, 40)

    assert figure.lower < figure.value == 950 < figure.upper
    assert evaluate_limit(figure, "<", figure.upper + 1) == Verdict("pass")
    assert evaluate_limit(figure, "<", figure.lower - 1) == Verdict("fail")
    assert evaluate_limit(figure, "<", 950).name == "inconclusive"


def test_a_value_equal_to_the_limit_passes_only_with_an_inclusive_operator() -> None:
    figure = ThresholdEstimate(5.0, 5.0, 5.0, 5.0, 5.0, of_equal_sessions(400, 40, 0))

    signs: tuple[Sign, ...] = ("<", "<=", ">", ">=")
    assert [evaluate_limit(figure, sign, 5.0).name for sign in signs] == [
        "fail",
        "pass",
        "fail",
        "pass",
    ]


@pytest.mark.parametrize(
    ("sessions", "each", "p", "message"),
    [
        (
            40,
            3,
            0.95,
            "too few turns to decide: p95 needs 400 (about 134 sessions), this run has 120",
        ),
        (10, 100, 0.95, "too few sessions to decide: p95 needs 37, this run has 10"),
        (10, 100, 0.5, "too few sessions to decide: needs 20, this run has 10"),
        (
            20,
            99,
            0.99,
            "too few turns to decide: p99 needs 2,000 (about 182 sessions), this run has 1,980",
        ),
    ],
)
def test_below_the_minimum_sample_size_every_threshold_is_inconclusive(
    sessions: int, each: int, p: float, message: str
) -> None:
    figure = estimate_quantile(turns(sessions, each), p, sessions)

    for limit in (1e9, 1e-9):
        verdict = evaluate_limit(figure, "<", limit)
        assert (verdict.name, reason_text(verdict.reason)) == ("inconclusive", message)


def test_a_session_metric_below_the_minimum_names_the_sessions_needed() -> None:
    figure = estimate_quantile(turns(100, 1), 0.95, 100, "session")

    assert (
        reason_text(figure.reason) == "too few sessions to decide: p95 needs 400, this run has 100"
    )


def test_a_quantile_among_failed_turns_fails_every_limit() -> None:
    figure = estimate_quantile(turns(40, 25, failed=200), 0.95, 40)

    assert (figure.value, figure.counts.failed) == (math.inf, 200)
    assert evaluate_limit(figure, "<", 1e9) == Verdict("fail")


def test_few_turns_that_all_failed_fail_a_limit() -> None:
    hopeless = estimate_quantile(turns(5, 2, failed=10), 0.5, 5)

    assert evaluate_limit(hopeless, "<", 1.0).name == "fail"


def test_without_values_a_threshold_is_not_evaluated() -> None:
    nothing = estimate_quantile(turns(0, 0), 0.5, 0)

    assert evaluate_limit(nothing, "<", 1.0).name == "not_evaluated"
    assert (
        evaluate_limit(estimate_rate((np.zeros(0), np.zeros(0))), "<", 1.0).name == "not_evaluated"
    )
    assert (
        evaluate_limit(estimate_mean((np.zeros(3), np.zeros(3))), "<", 1.0).name == "not_evaluated"
    )


def test_the_interval_of_a_rate_is_the_wider_one_of_student_t_and_wilson() -> None:
    events = np.zeros(30)
    events[:2] = 1
    figure = estimate_rate((events, np.full(30, 10.0)))
    share = 2 / 300
    se = math.sqrt(30 / 29 * float(((events - share * 10) ** 2).sum())) / 300

    assert figure.value == pytest.approx(share)
    assert figure.upper > share + 1.699 * se  # t with 29 degrees of freedom
    assert figure.lower == max(0.0, share - 1.6991270265334972 * se)


def test_the_standard_error_of_a_mean_is_computed_over_sessions() -> None:
    level = rng.normal(3, 0.3, 50)
    figure = estimate_mean((level * 10, np.full(50, 10.0)))
    se = level.std(ddof=1) / math.sqrt(50)

    assert figure.value == pytest.approx(level.mean())
    # t with 49 degrees of freedom
    assert figure.upper - figure.value == pytest.approx(1.6765508926168529 * se)
    assert figure.high - figure.value == pytest.approx(2.0095752371292397 * se)


@pytest.mark.parametrize("p", [0.5, 0.95])
def test_a_limit_equal_to_the_truth_passes_in_few_runs_and_fails_in_few_runs(p: float) -> None:
    draws, sessions = np.random.default_rng(11), np.repeat(np.arange(100), 10)
    truth = 600 * math.exp(0.5 * float(ndtri(p)))
    results = []
    for _ in range(400):
        level = math.sqrt(0.3) * draws.normal(size=100)[sessions] + math.sqrt(0.7) * draws.normal(
            size=1000
        )
        results.append(
            evaluate_limit(
                estimate_quantile(sample(600 * np.exp(0.5 * level), sessions), p, 100), "<", truth
            ).name
        )

    assert results.count("pass") < 40
    assert results.count("fail") < 40
    assert results.count("pass") + results.count("fail") > 12


def test_the_bounds_of_a_metric_that_drifts_are_widened_by_quarters_of_the_run() -> None:
    draws, sessions = np.random.default_rng(12), np.repeat(np.arange(100), 10)
    logs = draws.normal(0, 0.5, 1000)
    steady, rising = (sample(600 * np.exp(logs + by * sessions), sessions) for by in (0.0, 0.008))
    figures = [estimate_quantile(one, 0.5, 100) for one in (steady, rising)]

    assert [figure.order for figure in figures] == [None, "drift"]
    assert math.log(figures[1].upper / figures[1].lower) > 3 * math.log(
        figures[0].upper / figures[0].lower
    )


LACKING = [
    {
        "name": "mine",
        "session": {},
        "turns": [{"step": "greeting", "lacks": {"speech_end": "no caller speaks"}}],
    }
]


def asked(folder: Path, text: str, **more: Any) -> dict[str, Any]:
    file = folder / "ci.yaml"
    file.write_text(text)
    return {
        "given": [str(file)],
        "scripts": [],
        "baseline": None,
        "targets": ["sim"],
        "lacking": LACKING,
    } | more


@pytest.mark.parametrize(
    ("text", "more", "problem"),
    [
        ("ttfaa: p(50)<1s", {}, "ci.yaml:1:1: there is no m"),
        ("ttfa{step:greting}: p(50)<1s", {}, "there is no step"),
        ("ttfa{target:west}: p(50)<1s", {}, "the run has no target west"),
        ("voice_to_voice: p(50)<1s", {}, "can never be evaluated, because no caller speaks"),
        ("ttfa: p(50)<+10%", {}, "is relative, but there is no baseline"),
    ],
)
def test_a_threshold_that_the_run_can_never_evaluate_is_refused(
    text: str, more: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as refused:
        planned_thresholds(asked(tmp_path, text, **more))

    assert problem in str(refused.value)


def test_a_relative_threshold_needs_several_targets_or_a_baseline(tmp_path: Path) -> None:
    text = "ttfa: p(50)<+10%"

    assert planned_thresholds(asked(tmp_path, text, targets=["east", "west"]))
    assert planned_thresholds(asked(tmp_path, text, baseline=str(tmp_path)))


def test_a_run_is_checked_with_the_thresholds_recorded_in_it_by_default() -> None:
    recorded = read(thresholds={"ttfa{step:greeting}": ["med<5s"], "failure_rate": ["rate<30%"]})

    assert [item.title for item in check_of(recorded).thresholds] == [
        "ttfa greeting p50",
        "failure_rate",
    ]
    assert [item.title for item in check_of(recorded, thresholds("ttft: med<9s")).thresholds] == [
        "ttft p50"
    ]


def test_unreadable_recorded_thresholds_are_refused(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", ENOUGH)
    document = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(document | {"thresholds": {"ttfaa": ["med<5s"]}}))

    with pytest.raises(UsageError, match="there is no m"):
        check_of(folder)


def of_script(folder: Path, text: str) -> dict[str, Any]:
    """Return the thresholds that a run of this script stores if the run has no thresholds file."""
    path = folder / "mine.yaml"
    path.write_text(text)
    return asked(folder, "") | {"given": [], "scripts": [{"path": str(path), "thresholds": None}]}


def test_the_thresholds_of_several_scripts_are_combined(tmp_path: Path) -> None:
    first = of_script(tmp_path, 'thresholds: {ttfa: "p(50)<1s"}\nsteps: []\n')
    (tmp_path / "other.yaml").write_text(
        "thresholds:\n  ttfa: [p(50)<1s, p(95)<2s]\n  failure_rate: rate<1%\n"
    )
    first["scripts"].append({"path": str(tmp_path / "other.yaml"), "thresholds": None})
    first["scripts"].append(
        {"path": str(tmp_path / "callers.py"), "thresholds": {"failure_rate": ["rate<2%"]}}
    )

    assert by_metric(planned_thresholds(first)) == {
        "ttfa": ["p(50)<1s", "p(95)<2s"],
        "failure_rate": ["rate<1%", "rate<2%"],
    }


def test_a_step_in_a_script_s_thresholds_is_one_of_this_script(tmp_path: Path) -> None:
    scripts = []
    for name in ("first", "second"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(
            'thresholds: {"ttfa{step:greeting}": p(50)<1s, "ttfa{step:second: bye}":'
            " p(50)<2s}\nsteps: []\n"
        )
        scripts.append({"name": name, "path": str(path), "thresholds": None})
    turns: list[dict[str, Any]] = [{"step": step, "lacks": {}} for step in ("greeting", "bye")]
    lacking: list[dict[str, Any]] = [
        {"name": name, "turns": turns, "session": {}} for name in ("first", "second")
    ]
    request = asked(tmp_path, "") | {"given": [], "scripts": scripts[:1], "lacking": lacking}

    both = request | {"scripts": scripts, "script_names": ["first", "second"]}
    assert by_metric(planned_thresholds(both)) == {
        "ttfa{step:first: greeting}": ["p(50)<1s"],
        "ttfa{step:second: bye}": ["p(50)<2s"],
        "ttfa{step:second: greeting}": ["p(50)<1s"],
    }
    of_file = asked(tmp_path, '"ttfa{step:greeting}": p(50)<1s\n') | {"lacking": lacking}
    with pytest.raises(UsageError, match='several scripts have a step "greeting"'):
        planned_thresholds(of_file)
    lacking[1]["turns"] = turns[1:]
    assert by_metric(planned_thresholds(of_file)) == {"ttfa{step:greeting}": ["p(50)<1s"]}


def test_a_mistake_in_a_script_s_thresholds_has_its_position(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"mine.yaml:4:7: \"1 day\" is not a limit of ttfa"):
        planned_thresholds(
            of_script(tmp_path, "steps: []\nthresholds:\n  ttfa:\n    - p(50)<1 day\n")
        )
    in_python = asked(tmp_path, "") | {
        "given": [],
        "scripts": [{"path": "callers.py", "thresholds": {"ttfa": ["p(50)<1 day"]}}],
    }
    with pytest.raises(UsageError, match=r"^callers.py: thresholds: "):
        planned_thresholds(in_python)


def test_the_thresholds_of_the_command_line_replace_those_of_the_scripts(tmp_path: Path) -> None:
    both = of_script(tmp_path, "thresholds: {ttfa: nonsense}\n") | {
        "given": asked(tmp_path, "failure_rate: rate<1%")["given"]
    }

    assert by_metric(planned_thresholds(both)) == {"failure_rate": ["rate<1%"]}


@pytest.mark.parametrize(
    ("items", "status"),
    [
        ([PASSED], 0),
        ([PASSED, FAILED], 1),
        ([INCONCLUSIVE, FAILED], 1),
        ([FAILED, INCONCLUSIVE, NO_DATA], 4),
        ([], 4),
    ],
)
def test_not_evaluated_outranks_fail_and_fail_outranks_inconclusive(
    items: list[Judged], status: int
) -> None:
    assert check(*items).exit_status == status


@pytest.mark.parametrize(
    "changes",
    [{"causes": (Reason("run_killed"),)}, {"differs": ("model: a here, b there",)}],
)
def test_an_invalid_run_or_a_different_baseline_makes_the_whole_check_invalid(
    changes: dict[str, Any],
) -> None:
    assert check(PASSED, **changes).exit_status == check(FAILED, **changes).exit_status == 4


@pytest.mark.parametrize(
    ("asked", "status", "warns"), [("fail", 3, False), ("warn", 0, True), ("pass", 0, False)]
)
def test_on_inconclusive_sets_the_status_of_inconclusive_thresholds(
    asked: OnInconclusive, status: int, warns: bool
) -> None:
    found = check(PASSED, INCONCLUSIVE, on_inconclusive=asked)

    assert (found.exit_status, found.warns) == (status, warns)
    assert check(INCONCLUSIVE, FAILED, on_inconclusive=asked).exit_status == 1
    assert check(INCONCLUSIVE, NO_DATA, on_inconclusive=asked).exit_status == 4


def test_a_withheld_value_has_no_interval_and_one_session_is_singular() -> None:
    reason = Reason("uncertain", text="uncertain")
    withheld = replace(
        PASSED, targets=(NO_TURNS,), estimate=None, verdict=Verdict("inconclusive", reason)
    )
    few = limited(
        "ttfa: p(95)<800", MEASURED, "inconclusive", counts=of_equal_sessions(10, 1, 0), required=40
    )

    assert (interval_text(withheld), value_text(withheld)) == ("–", "–")
    assert (interval_text(few), value_text(few)) == ("–", "n/a (1\u00a0session; needs 40)")


@pytest.mark.parametrize(
    ("limit", "decided"),
    [
        ("<900", ""),
        ("<650", "decided by the upper bound, 645 ms"),
        ("<600", "decided by the lower bound, 610 ms"),
    ],
)
def test_a_limit_within_the_interval_is_decided_by_a_named_bound(
    monkeypatch: pytest.MonkeyPatch, limit: str, decided: str
) -> None:
    estimate = replace(PASSED.estimate or no_estimate(), lower=610.0, upper=645.0)
    monkeypatch.setattr(Quantile, "estimate", lambda *_: estimate)
    (threshold,) = thresholds(f"ttfa: p(95){limit}")
    (one,) = limit_results(threshold, targets_of_plan()[0])

    assert why(one).replace("\u00a0", " ") == decided


def test_bounds_beyond_the_interval_are_named_if_the_limit_lies_between_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    estimate = replace(PASSED.estimate or no_estimate(), lower=500.0, upper=900.0, by_parts=True)
    monkeypatch.setattr(Quantile, "estimate", lambda *_: estimate)
    (one,) = limit_results(thresholds("ttfa: p(95)<800")[0], targets_of_plan()[0])

    assert one.result == "inconclusive"
    assert (
        why(one).replace("\u00a0", " ")
        == "the limit lies between the bounds that parts of the run give, 500 and 900 ms"
    )


@pytest.mark.parametrize(
    ("counts_of_both", "left"),
    [
        ([(3_000, 300), (440, 44)], (2_500.0, None, False)),
        ([(440, 44), (3_000, 300)], (None, math.inf, True)),
    ],
)
def test_of_a_quantile_with_too_few_turns_only_the_other_target_s_value_is_shown(
    counts_of_both: list[tuple[int, int]], left: tuple[float | None, float | None, bool]
) -> None:
    found = REGRESSED
    first, second = (of_equal_sessions(*counts, failed=0) for counts in counts_of_both)
    difference = replace(found.difference, baseline=2_500.0, candidate=math.inf)  # type: ignore[type-var]
    asked = replace(found.spec, statistic=Quantile(0.99))
    compared = replace(
        found,
        spec=asked,
        difference=difference,
        verdict=Verdict("inconclusive"),
        targets=(first, second),
    )
    few = flat(compared)

    assert (few.baseline, few.value, few.in_failures) == left
    assert (few.low, few.high, few.difference) == (None, None, None)
    assert (few.required, few.available, few.required_unit) == (198, 44, "sessions")


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        (
            "<100",
            (
                "the interval is above the limit, but a verdict on p95 needs 400 turns (about 100"
                " sessions); this run has 240"
            ),
        ),
        (
            "<100000",
            (
                "the interval is below the limit, but a verdict on p95 needs 400 turns (about 100"
                " sessions); this run has 240"
            ),
        ),
        ("<VALUE", "too few turns to decide: p95 needs 400 (about 100 sessions), this run has 240"),
    ],
)
def test_too_few_turns_are_the_reason_even_if_the_interval_is_beyond_the_limit(
    limit: str, reason: str
) -> None:
    (target,) = targets_of_plan(Plan(sessions=60, turns=4))
    (one,) = limit_results(thresholds("ttfa: p(95)<100")[0], target)
    assert one.estimate is not None
    text = limit.replace("VALUE", f"{one.estimate.value:.0f}")
    (one,) = limit_results(thresholds(f"ttfa: p(95){text}")[0], target)

    assert (one.result, one.reason.code if one.reason else "") == ("inconclusive", "too_few")
    assert why(one).replace("\u00a0", " ") == reason


def test_a_pass_of_a_tail_states_the_share_of_failed_sessions_that_would_be_over_the_limit() -> (
    None
):
    plan = replace(ENOUGH, sessions=60, failed=0.0)
    (target,) = targets_of_plan(plan)
    values = target.sample(thresholds("ttfa: p(95)<1")[0].about).values
    limit, far = float(values[int(0.985 * values.size)]), 10 * float(values[-1])
    texts = []
    for threshold in thresholds(
        f"ttfa: p(95)<{limit}", f"ttfa: p(95)<{far}", f"ttfa: p(50)<{limit}"
    ):
        (result,) = limit_results(threshold, target)
        assert result.result == "pass"
        texts.append(why(result).replace("\u00a0", " "))

    note = (
        "no session of 60 failed completely, but up to 4.87 % may fail; the limit is passed only if"
        " fewer than 3."
    )
    assert note in texts[0]
    assert texts[1:] == ["", ""]


def test_the_share_of_lost_sessions_that_moves_a_quantile_over_its_limit() -> None:
    values = np.arange(1.0, 601.0)
    run = sample(values, np.arange(600) % 60)

    assert lost_shares(run, 0.95, 582.0) == (
        pytest.approx(1 - 0.95 / 0.97),
        pytest.approx(1 - 0.05 ** (1 / 60)),
    )
    assert lost_shares(run, 0.5, 305.0) is None
    many = sample(np.arange(1.0, 6001.0), np.arange(6000) % 600)
    assert lost_shares(many, 0.95, 5820.0) is None
    lost = sample(np.where(np.arange(600) % 60 == 7, np.inf, values), np.arange(600) % 60)
    assert lost_shares(lost, 0.95, 582.0) is None


def test_sessions_that_fail_one_after_another_widen_the_printed_interval() -> None:
    """Three failed sessions in a row are one event, so two of them say less than six single
    failed sessions.
    """
    rng, code = np.random.default_rng(4), np.repeat(np.arange(400), 10)
    waits = rng.lognormal(6, 0.3, 4000)
    apart, together = np.arange(6) * 65 + 5, (np.arange(2) * 200 + 95)[:, None] + np.arange(3)
    single, streaks = (
        estimate_quantile(sample(np.where(np.isin(code, failed), np.inf, waits), code), 0.95, 400)
        for failed in (apart, together.ravel())
    )

    assert (single.order, streaks.order) == (None, "bursts")
    assert streaks.high > single.high
    assert streaks.upper > single.upper
