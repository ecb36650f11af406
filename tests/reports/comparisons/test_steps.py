"""Advisory figures: the typical change over all steps, and the step that changed most."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from reports.comparisons.comparison import Comparison
from reports.comparisons.outputs import comparison_text
from reports.finding import Finding
from reports.sides.side import sides_of
from tests.reports.comparisons.build import quick, run, targets, two
from tests.reports.edited import Row, edit
from tests.reports.shared import folder as shared_folder
from tests.reports.synthetic import Plan

TWO = Plan(sessions=160, turns=4, targets=("west", "east"), paired=True)


@cache
def plain() -> Comparison:
    return quick(targets(TWO))


@cache
def slowed(times: float, step: str = "") -> Comparison:
    """East waits so many times as long for its first audio, in one step or in all."""

    def slower(_: int, row: Row) -> Row:
        first = row["first_audio_at_ns"]
        if row["target"] != "east" or step not in ("", row["step"]) or first is None:
            return row
        ended = row["speech_end_at_ns"]
        return row | {"first_audio_at_ns": ended + round((first - ended) * times)}

    made = run(shared_folder() / "run", TWO)
    edit(Path(made), "turns", slower)
    return quick(sides_of([made]))


def centre_of(found: Comparison) -> Finding:
    return next(one for one in found.findings if one.question.kind == "centre")


def d_of(finding: Finding) -> float:
    assert finding.difference is not None
    return finding.difference.d


def test_the_centre_tells_a_change_of_all_steps() -> None:
    before, after = centre_of(plain()), centre_of(slowed(1.5))

    assert d_of(after) - d_of(before) == pytest.approx(math.log(1.5), abs=0.02)
    assert after.verdict.word == "regressed"
    assert after.difference is not None
    assert after.difference.candidate / after.difference.baseline == pytest.approx(math.exp(d_of(after)))
    assert (after.question.name, after.question.primary, after.question.margin.ratio) == (
        "ttfa_typical_change",
        False,
        0.1,
    )


def test_the_slowed_step_is_the_worst_one_and_is_named() -> None:
    names = [one.question.step for one in plain().steps]
    slow = names[-1]
    found = slowed(2.0, slow)

    assert [found.steps[0].question.step, found.steps[0].verdict.word] == [slow, "regressed"]
    assert {one.question.step for one in found.steps} == set(names)
    assert not any(one.question.primary for one in found.steps)
    assert f"worst step {slow} of east, ttfa p50 +" in " ".join(comparison_text(found).split())
    assert "✕ regressed; the worst of 4 steps; its interval is not corrected for that; secondary" in " ".join(
        comparison_text(found).split()
    )


def test_no_step_decides_anything() -> None:
    found = slowed(2.0, plain().steps[-1].question.step)

    assert replace(found, steps=()).exit_status == found.exit_status


def test_two_runs_and_scripts_of_one_step_have_neither() -> None:
    apart = quick(two(Plan(sessions=30, turns=4)))
    short = quick(targets(replace(TWO, turns=1)))

    for found in (apart, short):
        assert found.steps == ()
        assert not any(one.question.kind == "centre" for one in found.findings)
        assert "worst step" not in comparison_text(found)
