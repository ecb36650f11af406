"""The arguments of the functions of `rtbench`, and the errors for invalid arguments."""

from __future__ import annotations

import re
from collections.abc import Callable
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


given: Any = rtbench
"""The package `rtbench` without the types of its functions, because no type checker checks the
code in a notebook."""
REFUSED: dict[str, tuple[Callable[[Any], object], str]] = {
    # (function call, error)
    "a limit that is a number": (
        lambda run: given.check(run, {"ttfa": 800}),
        r"thresholds of ttfa, such as .* 800",
    ),
    "a number among limits": (
        lambda run: given.check(run, {"ttfa": ["med<5", 800]}),
        r"of ttfa, such as .* 800",
    ),
    "thresholds in a list": (
        lambda run: given.check(run, ["p(95)<800"]),
        "thresholds must be a file or a dict such as",
    ),
    "nothing to check": (
        lambda run: given.check(run),
        r"pass thresholds=FILE, or name a baseline with baseline=RUN",
    ),
    "an unknown condition": (
        lambda run: given.check(run, {"ttfa": "med<5"}, allow_different="regionn"),
        'allow_different="regionn" is',
    ),
    "a condition that must not differ": (
        lambda run: given.check(run, {"ttfa": "med<5"}, allow_different=["definitions"]),
        "^allow_different definitions: runs that differ",
    ),
    "conditions without stored runs": (
        lambda run: given.check(run, {"ttfa": "med<5"}, allow_different="region"),
        "^allow_different region applies only to stored baselines: .* with baseline$",
    ),
    "an unknown value of on_inconclusive": (
        lambda run: given.check(run, {"ttfa": "med<5"}, on_inconclusive="ignore"),
        "on_inconclusive must be one of fail, pass, warn, not 'ignore'",
    ),
    "runs in a list": (lambda run: given.compare([run, run]), "a run is a loaded run or the path"),
    "folders in a list": (lambda run: given.trend([run]), "a run is a loaded run or the path"),
    "no path": (
        lambda run: given.load(5),
        r"a run is a loaded run or the path of its folder, not 5 \(int\)",
    ),
    "an unknown metric": (lambda run: given.trend(run, metrics="t"), 'there is no metric "t"'),
    "an aggregate of a rate": (
        lambda run: given.trend(run, metrics="failure_rate:p50"),
        'is a rate: write metrics="failure_rate"$',
    ),
    "metrics that are numbers": (
        lambda run: given.trend(run, metrics=[5]),
        r"metrics must be strings, not 5 \(int\)",
    ),
    "a quantile in per cent": (
        lambda run: run.quantiles("ttfa", p=95),
        "between 0 and 1, such as 0.95, not 95",
    ),
    "a quantile as text": (
        lambda run: run.quantiles("ttfa", p="0.95"),
        "pass quantiles as separate arguments or as a list",
    ),
    "a text among quantiles": (
        lambda run: run.quantiles("ttfa", p=["0.95"]),
        "between 0 and 1, such as 0.95, not '0.95'",
    ),
    "a metric of events": (
        lambda run: run.quantiles("delta_gap"),
        "is not a metric of turns or sessions: use run.distributions",
    ),
    "a rate": (
        lambda run: run.quantiles("failure_rate"),
        "is a rate, which has no quantiles: use run.rates",
    ),
    "no metric at all": (
        lambda run: run.quantiles("nonsense"),
        "is not a metric; `rtbench docs metrics` lists them",
    ),
    "no column": (
        lambda run: run.quantiles("ttfa", by="nonsense"),
        "there is no column 'nonsense'",
    ),
    "rows of an unsupported type": (
        lambda run: run.quantiles("ttfa", where=["turn"]),
        "where must be a query such as",
    ),
    "numbers of rows": (
        lambda run: run.quantiles("ttfa", where=lambda rows: rows["turn"]),
        "must be true or false",
    ),
    "a query of numbers": (
        lambda run: run.quantiles("ttfa", where="turn + 1"),
        "must be true or false for each row",
    ),
    "a query that assigns": (
        lambda run: run.quantiles("ttfa", where="turn = 1"),
        "must be true or false for each",
    ),
    "an invalid query": (
        lambda run: run.quantiles("ttfa", where="turn >"),
        "where='turn >' cannot be evaluated",
    ),
    "a query of no column": (
        lambda run: run.quantiles("ttfa", where="nope > 1"),
        "'nope' is not defined",
    ),
    "a query of local names": (
        lambda run: run.rates(where="turn > @some"),
        "cannot be evaluated: local variable",
    ),
    "a mask of other rows": (
        lambda run: run.quantiles("ttfa", where=run.turns["turn"].head() > 1),
        "where is a mask without a value for each row: make it from run.turns",
    ),
    "a value of no column": (
        lambda run: run.quantiles("ttfa", stepp="greeting"),
        "'stepp' .* did you mean step?",
    ),
    "columns that are numbers": (
        lambda run: run.rates(by=5),
        r"pass columns as separate arguments or as a list, not as 5",
    ),
}


@pytest.mark.parametrize(("asked", "message"), REFUSED.values(), ids=REFUSED)
def test_invalid_arguments_are_refused_in_one_line_in_python_s_terms(
    runs: Path, asked: Callable[[Any], object], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        asked(loaded(runs / "one"))

    assert "\n" not in str(refused.value)
    assert not re.search(
        r"--(thresholds|baseline|allow|on-inconclusive|measure)", str(refused.value)
    )


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


EMPTY: dict[str, tuple[dict[str, Any], str]] = {
    # (selection, error)
    "a turn type that no turn has": (
        {"turn_type": "function_calls"},
        "turn_type='function_calls': turn_type is regular$",
    ),
    "a missing turn type": ({"turn_type": None}, "turn_type=None: turn_type is regular$"),
    "an instant that no turn has": (
        {"measured_from": "request_sent"},
        "measured_from is speech_end$",
    ),
    "a number": ({"turn": [98, 99]}, r"turn=\[98, 99\]: turn is 1, 2, 3, 4$"),
    "values that no turn has together": (
        {"script": "second", "step": "order_status"},
        "script is first, second",
    ),
    "a column without values": ({"mcp_error": "x"}, "mcp_error is always missing$"),
    "a query": (
        {"where": "turn > 9 and step == 'greeting'"},
        "step is closing, greeting, .*turn is 1, 2, 3, 4$",
    ),
    "a query of many numbers": ({"where": "ttfa_ms > 1e9"}, "ttfa_ms is from [0-9.]+ to [0-9.]+$"),
    "a function": ({"where": lambda turns: turns["turn"] > 9}, "where$"),
}


@pytest.mark.parametrize(("selection", "message"), EMPTY.values(), ids=EMPTY)
def test_a_selection_without_rows_is_refused_with_the_values_that_exist(
    scripted: rtbench.Run, selection: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=f"^no row has .*{message}"):
        scripted.quantiles("ttfa", **selection)


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


UNKNOWN: dict[str, tuple[Callable[[Any], object], str]] = {
    # (function call, error)
    "a target": (
        lambda run: run.quantiles("ttfa", target="nope"),
        "there is no target 'nope'; allowed: sim",
    ),
    "a target of sessions": (
        lambda run: run.quantiles("connect_total", target="simm"),
        "did you mean sim",
    ),
    "a target among others": (
        lambda run: run.quantiles("ttfa", target=["sim", "x"]),
        "no target 'x'",
    ),
    "a step": (lambda run: run.quantiles("ttfa", step="gretings"), "did you mean greeting"),
    "a step of rates": (
        lambda run: run.rates(step="nope"),
        "there is no step 'nope'; allowed: closing, greeting",
    ),
    "a turn type": (
        lambda run: run.quantiles("ttfa", turn_type="regular_"),
        "there is no turn_type 'regular_'",
    ),
    "an instant": (lambda run: run.sample("ttfa", measured_from="speech"), "allowed: speech_end"),
    "an outcome": (lambda run: run.rates(outcome="okay"), "did you mean ok"),
    "a number": (
        lambda run: run.quantiles("ttfa", turn=99),
        "no row has turn=99: turn is 1, 2, 3, 4",
    ),
    "a script": (lambda run: run.quantiles("ttfa", script="first_"), "did you mean first"),
    "no quantile": (lambda run: run.quantiles("ttfa", p=[]), "at least one quantile"),
    "a quantile of events": (lambda run: run.distributions(p=1.0), "between 0 and 1"),
    "a target of a threshold": (
        lambda run: rtbench.check(run, {"ttfa{target:x}": "med<5"}),
        "no target x",
    ),
    "a turn type of a threshold": (
        lambda run: rtbench.check(run, {"ttfa{turn_type:x}": "med<5"}),
        "not a turn type",
    ),
    "a target to compare": (
        lambda run: rtbench.compare(f"{run.folder}:x", f"{run.folder}:sim"),
        "x",
    ),
    "an aggregate of a trend": (
        lambda run: rtbench.trend(run, metrics="ttfa:p101"),
        "between 0 and 100",
    ),
}


@pytest.mark.parametrize(("asked", "message"), UNKNOWN.values(), ids=UNKNOWN)
def test_a_selection_of_unknown_values_is_refused_with_the_allowed_ones(
    scripted: rtbench.Run, asked: Callable[[Any], object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        asked(scripted)


def test_a_value_of_one_of_several_runs_selects_the_rows_of_this_run(
    runs: Path, scripted: rtbench.Run
) -> None:
    several = rtbench.Runs([loaded(runs / "one"), scripted])

    assert set(several.quantiles("ttfa", p=0.5, script="second")["run_id"]) == {
        scripted.metadata["run_id"]
    }
    with pytest.raises(UsageError, match="there is no script 'third'"):
        several.quantiles("ttfa", script="third")
