"""The command `rtbench sample-size`: its inputs, its refusals, and its output."""

from __future__ import annotations

import json
import math
import re
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
from msgspec import structs

from bench.base.errors import UsageError
from bench.record.run_list import split_name
from reports.analysis.sample_size import SampleSize, power_spec, sample_size_of
from reports.data.runs import load_for_report
from reports.formatting import NBSP, count
from reports.pages.sample_size import sample_size_blocks
from reports.render.terminal import render_lines
from reports.results.json_entries import to_json_data
from rtbench.cli.verdicts import sample_size as command
from tests.reports import synthetic
from tests.reports.shared import folder as shared_folder
from tests.reports.synthetic import Plan
from tools.schemas import schemas

ONE = Plan(sessions=120, turns=8, seconds=600, usage=True)
TWO = Plan(sessions=240, turns=10, targets=("east", "west"), seconds=600, paired=True)


def run(folder: Path, plan: Plan = ONE, **changes: Any) -> Path:
    return synthetic.write(folder, plan, **(synthetic.target_keys(plan) | changes))


@cache
def pilot() -> Path:
    """Return the folder of the pilot run. The folder is written once, so tests may only read it."""
    return run(shared_folder() / "pilot")


loaded = lru_cache(4)(load_for_report)


@cache
def size_of(
    folder: Path | str,
    metric: str = "ttfa:p95",
    detect: str | None = "20%",
    margin: str | None = "10%",
    power: float = 0.9,
    gates: int = 3,
) -> SampleSize:
    asked = power_spec(metric, detect, margin, power, gates)
    where, target = split_name(folder)
    return sample_size_of(loaded(where), asked, target, str(folder))


def text(size: SampleSize) -> str:
    return render_lines(sample_size_blocks(size), 200)


def test_the_sample_size_has_its_duration_and_its_cost() -> None:
    found = size_of(pilot())

    assert found.sessions > 20
    assert found.seconds == pytest.approx(found.sessions / 120 * 600)
    assert found.usd == pytest.approx(found.sessions * found.usd_per_session)
    assert found.usd_per_session > 0
    printed, alone = text(found), size_of(pilot(), gates=1)
    planned = "ttfa p95: to detect +20 % with a margin of 10 %, power 90 %, type I error 5 %"
    assert f"{planned}, corrected for 3 primary metrics (Holm)\n" in printed
    assert re.search(rf"with --primary 1 +{alone.sessions}\n", printed)
    assert f"{planned}\n" in text(alone)
    assert "--primary" not in text(alone)
    assert alone.sessions < found.sessions
    assert re.search(rf"sessions per target +{count(found.sessions)}\n", printed)
    assert re.search(r"cost +[\d.,]+ USD for both targets", printed)


def test_a_paired_run_of_two_targets_plans_pairs(tmp_path: Path) -> None:
    found = size_of(run(tmp_path, TWO))

    assert found.targets == ["east", "west"]
    assert found.pilot_sessions == 120
    assert re.search(rf"pairs +{found.sessions}\n", text(found))
    assert size_of(f"{tmp_path}:west").targets == ["west"]


def test_the_cost_of_a_pair_is_that_of_both_sessions(tmp_path: Path) -> None:
    pair = size_of(run(tmp_path, Plan(**(vars(TWO) | {"usage": True}))))
    east, west = (size_of(f"{tmp_path}:{name}").usd_per_session / 2 for name in pair.targets)

    assert pair.usd_per_session == pytest.approx(east + west)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("ttfa:p95", "10%", "10%"), "an effect of 10 % must be larger than the margin of 10 %"),
        (("ttfa:rate",), "is not a quantile"),
        (("audio_speed:avg", "20%", "10%"), "a mean has no sample size to plan for"),
        (("failure_rate:p95", None, None), "is a rate"),
        (("ttfa:p95", "plenty"), "is not a share"),
        (("ttfa:p95", "20"), "is more than 100%"),
        (("ttfa:p95", "20%", "10%", 1.0), "--power must be"),
    ],
)
def test_an_impossible_plan_is_refused_in_one_line(
    arguments: tuple[Any, ...], problem: str
) -> None:
    with pytest.raises(UsageError, match=problem) as raised:
        size_of("nowhere", *arguments)

    assert "\n" not in str(raised.value)


def test_runs_that_are_no_pilot_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has 19 sessions: a pilot needs at least 20"):
        size_of(run(tmp_path / "few", Plan(sessions=19)))
    with pytest.raises(UsageError, match="has 1 session: a pilot needs at least 20"):
        size_of(run(tmp_path / "single", Plan(sessions=1)))
    with pytest.raises(UsageError, match="has 0 sessions"):
        size_of(run(tmp_path / "empty", Plan(sessions=0)))
    with pytest.raises(UsageError, match="choose one"):
        size_of(run(tmp_path / "two", Plan(sessions=80, targets=("a", "b")), interleaved=False))
    with pytest.raises(UsageError, match="has no target c: its targets are: a, b"):
        size_of(f"{tmp_path / 'two'}:c")
    with pytest.raises(UsageError, match="has no ttfa p95 to plan with"):
        size_of(run(tmp_path / "failing", Plan(sessions=60, failed=0.3)))
    with pytest.raises(UsageError, match="has no input_transcript p95 to plan with"):
        size_of(run(tmp_path / "silent", Plan(sessions=60, text=True)), "input_transcript:p95")
    with pytest.raises(UsageError, match="is not a run folder"):
        size_of(tmp_path / "nowhere")


def test_a_pilot_gives_the_same_plan_twice_and_its_json_matches_its_schema(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path)
    command(str(tmp_path), "ttfa:p50", "20%", "10%", 0.8, as_json=True)
    first = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    command(str(tmp_path), "ttfa:p50", "20%", "10%", 0.8, as_json=True)

    assert json.loads(capsys.readouterr().out) == first
    jsonschema.validate(first, schemas()["sample-size"])
    jsonschema.validate(
        to_json_data(size_of(tmp_path, "failure_rate", None, None)), schemas()["sample-size"]
    )


def test_a_plan_from_an_invalid_run_has_exit_status_4(tmp_path: Path) -> None:
    folder = run(tmp_path, Plan(sessions=120, turns=8, seconds=600, valid=False))

    with pytest.raises(typer.Exit) as ended:
        command(str(folder), "failure_rate")
    assert ended.value.exit_code == 4


@pytest.mark.parametrize(
    ("metric", "sign", "effect", "margin"),
    [
        ("audio_speed:p50", "−", "20 %", "10 %"),
        ("audio_speed:p5", "−", "20 %", "10 %"),
        ("ttfa:p50", "+", "20 %", "10 %"),
        ("failure_rate", "+", "3 points", "1 point"),
        ("yield_rate", "−", "3 points", "1 point"),
        ("task_success_rate", "−", "3 points", "1 point"),
        ("ttfa:within800", "−", "3 points", "1 point"),
    ],
)
def test_the_effect_of_a_plan_has_the_direction_that_is_worse(
    metric: str, sign: str, effect: str, margin: str
) -> None:
    asked = power_spec(metric, None, None, 0.9)
    size = structs.replace(
        size_of(pilot()),
        better=asked.spec.better,
        detect=asked.detect,
        margin=asked.margin,
        p=asked.spec.p,
    )

    assert f"to detect {sign}{effect} with a margin of {margin}" in text(size).replace(NBSP, " ")
    default = asked.spec.statistic.default_margin(asked.spec.metric)
    assert (asked.spec.margin.ratio, asked.spec.margin.points) == pytest.approx(
        (default.ratio, default.points)
    )


def test_a_decrease_is_planned_on_the_scale_of_the_comparison() -> None:
    asked = power_spec("audio_speed:p50", "20%", "10%", 0.9)

    assert asked.distance == pytest.approx(math.log(0.9 / 0.8))
    assert size_of(pilot(), "audio_speed:p50").better == "higher"
    with pytest.raises(UsageError, match="below 100 %, not 100 %"):
        power_spec("audio_speed:p50", "100%", "10%", 0.9)
