"""The section on the settings of a sweep, and its values in summary.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reports.analysis.summary.summary import summarise
from reports.analysis.summary.sweep import response_of
from reports.data.runs import load_for_report
from reports.pages.run_report.document import summary_json
from reports.pages.run_report.report import run_page
from reports.render.terminal import render_page
from reports.results.value import Value
from tests.reports.synthetic import Plan, target_keys, write

KEY = "session.turn_detection.silence_duration_ms"
NAMES = ("silence_duration_ms=200", "silence_duration_ms=500")


def swept(folder: Path, *, paired: bool = True, **values: Any) -> tuple[str, dict[str, Any]]:
    """Return the text of a run's page, and the values of its sweep by name and target."""
    plan = Plan(sessions=40, targets=NAMES, paired=paired)
    keys = target_keys(plan, variant_of="sim")
    for entry, value in zip(keys["targets"], values.get("doses", (200, 500)), strict=True):
        entry["varied"] = {KEY: value}
    summary = summarise(load_for_report(write(folder, plan, **keys)))
    found = {
        f"{value['target']} {value['metric']} {value['statistic']}": value
        for value in json.loads(summary_json(summary))["sweep"]
        if value["step"] == values.get("step")
    }
    return render_page(run_page(summary), 120), found


def test_a_setting_without_effect_is_ignored_and_each_setting_has_its_values(
    tmp_path: Path,
) -> None:
    text, values = swept(tmp_path)

    assert [name for name in values if name.endswith("cut_off_rate rate")] == [
        f"{name} cut_off_rate rate" for name in NAMES
    ]
    slope, effect = (values[f"sim ttfa p50 {name}"] for name in ("slope", "effect"))
    assert effect["value"] == pytest.approx(300 * slope["value"], rel=1e-4)
    assert slope["group"] == {"by": "setting", "name": KEY, "from": 200, "to": 500}
    assert slope["low"] < 0 < slope["high"]
    assert "not decided" in text or "ignored" in text


def test_each_step_has_the_values_of_its_own_turns(tmp_path: Path) -> None:
    text, of_step = swept(tmp_path, step="greeting")
    _, of_all = swept(tmp_path)

    name = f"{NAMES[0]} ttfa p50"
    assert of_step[name]["n"] == of_all[name]["n"] / 4
    assert of_step[name]["value"] < of_all[name]["value"]
    assert {"sim ttfa p50 slope", f"{NAMES[1]} cut_off_rate rate"} <= of_step.keys()
    (line,) = [line for line in text.splitlines() if line.split()[:2] == ["greeting", NAMES[0]]]
    assert f"{of_step[f'{NAMES[0]} voice_to_voice p50']['value']:.0f}" in line


def test_a_setting_that_is_no_number_has_rows_but_no_slope(tmp_path: Path) -> None:
    text, values = swept(tmp_path, doses=("alloy", "verse"))

    assert not [name for name in values if "slope" in name]
    assert NAMES[0] in text


def test_without_groups_of_sessions_the_response_is_unknown(tmp_path: Path) -> None:
    text, values = swept(tmp_path, paired=False)

    assert values["sim ttfa p50 slope"]["value"] is None
    assert "unknown" in text
    assert "too few pairs to decide" in text.replace("\N{NO-BREAK SPACE}", " ")


def test_a_run_of_other_targets_has_no_section(tmp_path: Path) -> None:
    plan = Plan(sessions=10, targets=NAMES, paired=True)
    summary = summarise(load_for_report(write(tmp_path, plan, **target_keys(plan))))

    assert summary.sweep == ()
    assert "Which setting" not in render_page(run_page(summary))


@pytest.mark.parametrize(
    ("low", "high", "response"),
    [
        (-0.9, 0.9, "ignored"),
        (0.1, 0.9, "ignored"),
        (0.1, 1.1, "rises"),
        (-3, -0.1, "falls"),
        (-0.1, 1.1, "undecided"),
    ],
)
def test_the_interval_of_the_effect_decides_the_response(
    low: float, high: float, response: str
) -> None:
    value = Value(
        target="sim",
        metric="ttfa",
        statistic="p50 response",
        value=0.0,
        low=low,
        high=high,
        n=2,
        sessions=9,
    )

    assert response_of(value) == response
