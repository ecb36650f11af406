"""Comparisons of turns with tools: the answer is primary, and targets are compared by metrics
that all of them have.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reports.analysis.check.check import check_of
from reports.analysis.targets.conditions import differing_between, scripts
from reports.analysis.targets.metric_specs import default_specs, lacking_notices
from reports.analysis.targets.named import parse_targets
from reports.data.runs import load_for_report
from reports.data.samples import samples_of
from reports.text.check_sentences import notices
from reports.text.reasons import reason_text
from tests.reports.comparisons.build import quick
from tests.reports.edited import Row
from tests.reports.forms import comparison_notices
from tests.reports.synthetic import Plan
from tests.reports.tool_turns import Tools, with_tools

TWO = Plan(sessions=160, turns=10, targets=("realtime", "live"), paired=True)


def slower(by_ms: float) -> Any:
    """Return the function of a run in which the answer of `live` comes later by this time."""

    def tools(index: int, row: Row) -> Tools:
        answer = 1_800 + 10 * (index // 2 % 7) + (by_ms if row["target"] == "live" else 0)
        return Tools(first_sound=690 + 5 * (index // 2 % 5), answer=answer)

    return tools


def primary(folder: Path) -> list[str]:
    return [spec.name for spec in default_specs(parse_targets([folder])) if spec.primary]


def test_realtime_and_live_are_compared_by_the_first_sound_and_the_answer(tmp_path: Path) -> None:
    assert primary(with_tools(tmp_path, TWO, slower(300), live=("live",))) == [
        "voice_to_voice p50",
        "voice_to_voice p95",
        "function_voice_to_voice p50",
        "function_voice_to_voice p95",
        "failure_rate",
    ]


@pytest.mark.parametrize(
    ("by_ms", "verdict", "status"), [(300, "regressed", 1), (0, "equivalent", 0)]
)
def test_an_answer_that_is_300_ms_slower_is_slower_although_the_first_sound_is_equal(
    tmp_path: Path, by_ms: float, verdict: str, status: int
) -> None:
    folder = with_tools(
        tmp_path, replace(TWO, sessions=700, turns=5), slower(by_ms), live=("live",)
    )
    comparison = quick(parse_targets([folder]))
    verdicts = {compared.spec.name: compared.verdict.name for compared in comparison.primary}

    assert verdicts["voice_to_voice p50"] == "equivalent"
    assert verdicts["function_voice_to_voice p50"] == verdict
    assert comparison.exit_status == status


def test_the_metrics_that_a_target_lacks_are_named(tmp_path: Path) -> None:
    folder = with_tools(tmp_path, TWO, slower(0), live=("live",))
    lacked = (
        "live has no ttfa, response_total, transcript_total and input_transcript, so these are not"
        " compared there."
    )

    assert [*map(reason_text, lacking_notices(parse_targets([folder])))] == [lacked]
    assert lacked in comparison_notices(quick(parse_targets([folder])))
    assert lacked in notices(check_of(folder))


def test_the_main_metric_is_one_that_all_targets_have(tmp_path: Path) -> None:
    mixed, alone = (
        set(
            samples_of(
                load_for_report(with_tools(tmp_path / name, TWO, slower(0), live=live))
            ).mains.values()
        )
        for name, live in (("mixed", ("live",)), ("alone", ()))
    )

    assert (mixed, alone) == ({"voice_to_voice"}, {"ttfa"})


def test_two_runs_are_compared_by_a_metric_that_both_have(tmp_path: Path) -> None:
    one = Plan(sessions=40, turns=5, targets=("a",))
    folders = [
        with_tools(tmp_path / name, replace(one, seed=seed), slower(0), live=live, run_id=name)
        for seed, (name, live) in enumerate((("realtime", ()), ("live", ("a",))))
    ]
    names = [spec.name for spec in default_specs(parse_targets(folders)) if spec.primary]

    assert names[:2] == ["voice_to_voice p50", "voice_to_voice p95"]


@pytest.mark.parametrize(("every", "answers"), [(2, ["p50", "p95"]), (5, ["p50"]), (50, [])])
def test_the_answer_of_less_frequent_turns_is_primary_if_there_are_enough_to_decide(
    tmp_path: Path, every: int, answers: list[str]
) -> None:
    """Half of 3,200 turns of a target decide p95, a fifth of 400 only p50, and eight of them
    nothing.
    """
    plan = (
        replace(TWO, sessions=160, turns=11) if every == 2 else replace(TWO, sessions=80, turns=10)
    )

    def tools(index: int, row: Row) -> Tools | None:
        chosen = row["turn"] % 2 == 0 if every == 2 else index // 2 % every == 0
        return Tools() if chosen else None

    found = primary(with_tools(tmp_path, plan, tools))

    assert [
        name.split()[1] for name in found if name.startswith("function_voice_to_voice")
    ] == answers


@pytest.mark.parametrize(
    ("thresholds", "shares"),
    [
        ({}, ["function_voice_to_voice within 2,000 ms"]),
        (
            {
                "function_voice_to_voice": ["within(1.5s)>0.9"],
                "voice_to_voice{step:greeting}": ["within(800)>-2pt"],
            },
            ["function_voice_to_voice within 1,500 ms", "voice_to_voice greeting within 800 ms"],
        ),
    ],
)
def test_shares_by_a_deadline_are_compared_with_those_of_the_thresholds(
    tmp_path: Path, thresholds: dict[str, list[str]], shares: list[str]
) -> None:
    folder = with_tools(tmp_path, TWO, slower(300), live=("live",), thresholds=thresholds)
    all_compared = [
        compared
        for compared in quick(parse_targets([folder])).comparisons
        if compared.spec.kind == "within"
    ]

    assert [compared.spec.name for compared in all_compared] == shares
    assert not any(compared.spec.primary for compared in all_compared)
    assert all_compared[0].difference is not None
    assert all_compared[0].difference.d == pytest.approx(0 if "1,500" in shares[0] else -1)


def test_settings_of_onset_detection_are_no_difference_from_a_target_with_turn_events() -> None:
    settings = [("realtime", None, None), ("live", 1_500, 0), ("agent", 700, 0)]
    document = {
        "scripts": [
            {"target": target, "name": "call", "reply_silence_ms": silence, "answer_min_ms": answer}
            for target, silence, answer in settings
        ]
    }
    realtime, live, agent = (scripts(document, target) for target, *_ in settings)

    assert not differing_between([realtime, live])
    assert list(differing_between([live, agent])) == ["reply_silence_ms"]
