"""The arguments of the functions of `rtbench`, and the errors for invalid arguments."""

from __future__ import annotations

import re
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import rtbench
from bench.base.errors import UsageError
from tests.reports import synthetic
from tests.reports.edited import Row, edit
from tests.reports.shared import write_summary
from tests.reports.synthetic import Plan

loaded = cache(rtbench.load)
TABLE = Path(__file__).with_name("refused_arguments.txt").read_text(encoding="utf-8")
REFUSED = {
    name: (asked, message)
    for name, asked, message in re.findall(r"^(\w.*)\n    (.+)\n    (.+)$", TABLE, re.MULTILINE)
}


def small_sample() -> rtbench.Sample:
    return rtbench.Sample(np.arange(400.0), np.arange(400) % 40)


@pytest.mark.parametrize(
    ("ps", "confidence"), [([0.95], 95), ([0.95], 0.0), ([95], 0.9), ([0.5, 1.0], 0.9)]
)
def test_quantiles_outside_0_and_1_are_refused(ps: list[float], confidence: float) -> None:
    sample = small_sample()
    with pytest.raises(
        UsageError,
        match=r"^quantiles and their confidence must be between 0 and 1, such as 0\.95, not ",
    ):
        rtbench.quantiles(sample, ps, confidence=confidence)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that contains one run with its summary."""
    folder = tmp_path_factory.mktemp("runs")
    write_summary(synthetic.write(folder / "one", Plan(sessions=60, turns=4)))
    return folder


def test_a_single_value_is_as_good_as_a_list_of_one(runs: Path) -> None:
    run = loaded(runs / "one")
    trend = [rtbench.trend(runs, metrics=given).to_frame() for given in ("ttfa:p95", ["ttfa:p95"])]
    by_host = [run.quantiles("ttfa", by=given) for given in ("host", ["host"])]
    limits = [
        rtbench.check(run, {"ttfa": given}).to_frame() for given in ("p(95)<800", ["p(95)<800"])
    ]

    for one, other in (trend, by_host, limits):
        pd.testing.assert_frame_equal(one, other)
    for allow in ("region", ["region"]):
        with pytest.raises(UsageError, match="applies only to stored baselines"):
            rtbench.check(run, {"ttfa": "p(95)<800"}, allow_different=allow)


@pytest.mark.parametrize(
    "p", [np.float32(0.95), np.float64(0.95), [np.float32(0.95)], np.array([0.95]), (0.95,)]
)
def test_p_may_be_any_type_of_number(runs: Path, p: Any) -> None:
    run = loaded(runs / "one")

    pd.testing.assert_frame_equal(run.quantiles("ttfa", p=p), run.quantiles("ttfa", p=0.95))


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> rtbench.Run:
    """Return a run of two scripts. Both have a step greeting; only the first one has
    order_status.
    """
    folder = synthetic.write(
        tmp_path_factory.mktemp("scripted"), Plan(sessions=40, turns=4, failed=0.1), run_id="two"
    )

    def change(_: int, row: Row) -> Row:
        script = "second" if int(str(row["session_id"])[-1], 36) % 2 else "first"
        return row | {"script": script}

    def moved(index: int, row: Row) -> Row:
        row = change(index, row) | {"turn_type": "regular"}
        return (
            row | {"step": "closing"}
            if (row["script"], row["step"]) == ("second", "order_status")
            else row
        )

    return rtbench.load(edit(edit(folder, "sessions", change), "turns", moved))


@pytest.mark.parametrize(("asked", "message"), REFUSED.values(), ids=REFUSED)
def test_invalid_arguments_are_refused_in_one_line_in_python_s_terms(
    runs: Path, scripted: rtbench.Run, asked: str, message: str
) -> None:
    known = {"rtbench": rtbench, "run": loaded(runs / "one"), "scripted": scripted}
    with pytest.raises(UsageError, match=message) as refused:
        eval(asked, known)

    assert "\n" not in str(refused.value)
    assert not re.search(
        r"--(thresholds|baseline|allow|on-inconclusive|measure)", str(refused.value)
    )


def test_a_step_is_selected_by_its_own_name_or_with_that_of_its_script(
    scripted: rtbench.Run,
) -> None:
    mine = scripted.turns[(scripted.turns["step"] == "order_status").to_numpy()]
    asked: list[dict[str, Any]] = [
        {"step": "order_status"},
        {"step": "first: order_status"},
        {"step": "order_status", "script": "first"},
        {"where": "step == 'order_status'"},
        {"where": lambda turns: turns["step"] == "order_status"},
    ]

    for selection in asked:
        assert scripted.quantiles("ttfa", p=0.5, **selection)["n"].tolist() == [len(mine)]
    greetings = scripted.turns[scripted.turns["step"] == "greeting"]
    for selection in (
        {"step": "greeting"},
        {"where": "step == 'greeting'"},
        {"step": ["greeting", "first: greeting"]},
    ):
        assert scripted.quantiles("ttfa", p=0.5, **selection)["n"].tolist() == [len(greetings)]
    of_first = scripted.quantiles("ttfa", p=0.5, step="first: greeting")
    assert of_first["n"].tolist() == [int((greetings["script"] == "first").sum())]
    found = rtbench.check(
        scripted, {"ttfa{step:order_status}": "p(50)<9s", "ttfa{step:second: closing}": "p(50)<9s"}
    )
    assert [result.counts.turns for result in found.thresholds] == [
        len(mine),
        int((scripted.turns["step"] == "closing").sum()),
    ]


def test_labels_of_values_are_those_of_the_rows(scripted: rtbench.Run) -> None:
    labels = ["target", "script", "step", "measured_from", "turn_type"]
    of_rows = {tuple(row) for row in scripted.turns[labels].astype(object).itertuples(index=False)}
    summary = scripted.summary()

    by_step = scripted.quantiles("ttfa", p=0.5, by=["script", "step"])
    whole = summary[(summary["metric"] == "ttfa") & summary["step"].notna() & (summary["p"] == 0.5)]
    for frame in (by_step, whole):
        assert {tuple(row) for row in frame[labels].itertuples(index=False)} == of_rows
        assert len(
            scripted.turns.astype({"step": "string[pyarrow]"}).merge(frame, on=labels)
        ) == len(scripted.turns)
    for name in ("n", "value", "low", "high"):
        assert sorted(by_step[name]) == sorted(whole[name])
    assert set(scripted.quantiles("ttfa", by="step")["step"]) == set(scripted.turns["step"])
    assert set(summary[summary["metric"] == "connect_total"]["turn_type"]) == {pd.NA}


def test_regular_turns_are_selected_by_the_name_that_frames_and_thresholds_have(
    scripted: rtbench.Run,
) -> None:
    everything = scripted.quantiles("ttfa", p=0.5)

    for selection in ({"turn_type": "regular"}, {"where": "turn_type == 'regular'"}):
        pd.testing.assert_frame_equal(scripted.quantiles("ttfa", p=0.5, **selection), everything)


def test_a_sample_and_rates_refuse_a_selection_without_rows_too(scripted: rtbench.Run) -> None:
    for select in (
        scripted.rates,
        partial(scripted.sample, "ttfa"),
        partial(scripted.sample, "connect_total"),
    ):
        with pytest.raises(
            UsageError, match=r"^no row has script='first' and where=.*: script is first, second$"
        ):
            select(script="first", where='script != "first"')


def test_a_value_of_one_of_several_runs_selects_the_rows_of_this_run(
    runs: Path, scripted: rtbench.Run
) -> None:
    several = rtbench.Runs([loaded(runs / "one"), scripted])

    assert set(several.quantiles("ttfa", p=0.5, script="second")["run_id"]) == {
        scripted.metadata["run_id"]
    }
    with pytest.raises(UsageError, match="there is no script 'third'"):
        several.quantiles("ttfa", script="third")
