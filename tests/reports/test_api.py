"""`import rtbench` for a user of pandas. The frames of any run have the same columns, and the
values of the report.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rtbench
from bench.base.errors import UsageError
from bench.catalogue.columns import UNCERTAINTY_COLUMNS
from bench.record.folder import SCHEMAS, STORED
from reports.analysis.check.check import check_of
from reports.analysis.comparisons.comparison import compare_targets
from reports.analysis.summary.summary import summarise
from reports.analysis.targets.named import parse_targets
from reports.data.turns import target_labels
from reports.data.uncertainty import uncertain_reason
from reports.metrics.thresholds import read_thresholds
from reports.pages.check.document import check_data
from reports.pages.comparisons.document import comparison_data
from reports.pages.run_report.document import summary_json
from reports.text.reasons import reason_text
from tests.reports import shared, synthetic
from tests.reports.edited import edit
from tests.reports.shared import write_summary
from tests.reports.synthetic import Plan

PLANS = {
    "warm-up, failures, two origins": Plan(
        sessions=60,
        turns=5,
        targets=("direct", "gateway"),
        kinds=("vad", "manual"),
        failed=0.06,
        warmup_s=6.0,
        refused=2,
        abandoned=3,
        inexact=("ttfa",),
        auth_waits=4,
    ),
    "text that always failed": Plan(sessions=20, text=True, failed=1.0, tls=False),
    "turns not started": Plan(sessions=40, turns=4, failed=0.05, refused=6),
    "tails": Plan(sessions=300, turns=4, usage=True, limited=True, paired=True, targets=("a", "b")),
}
half = settings(max_examples=settings.default.max_examples // 2)


@cache
def loaded(plan: Plan) -> rtbench.Run:
    return rtbench.load(synthetic.write(shared.folder(), plan))


@pytest.fixture(scope="module", params=PLANS)
def run(request: pytest.FixtureRequest) -> rtbench.Run:
    return loaded(PLANS[request.param])


def as_reported(rows: Iterable[Mapping[Any, Any]]) -> Iterator[dict[str, Any]]:
    """Yield rows of quantiles in the form of summary.json: with its names, and rounded to six
    digits.
    """
    for row in rows:
        yield {
            "n": row["n"],
            "failed": row["failed"],
            "not_started": row["not_started"],
            "unfinished": row["unfinished"],
            "unit": row["unit"],
            "status": row["status"],
            "required": None if row["required"] is pd.NA else row["required"],
            "reported": row["status"] == "reported",
            **{
                end: float(f"{row[end]:.6g}") if np.isfinite(row[end]) else None
                for end in ("value", "low", "high")
            },
        }


def stated(quantile: Mapping[str, Any]) -> dict[str, Any]:
    """Return a quantile of summary.json with the status of its reason, and the number that the
    reason requires.
    """
    if "reason" not in quantile:
        return dict(quantile)
    reason = quantile["reason"] or {"code": "reported", "numbers": {}}
    lacking = reason["code"] == "too_few_to_print"
    status = f"too_few_{reason['numbers']['unit']}s" if lacking else reason["code"]
    return {**quantile, "status": status, "required": reason["numbers"].get("needed") or None}


def test_an_unusable_value_has_a_reason_and_keeps_its_status(tmp_path: Path) -> None:
    whole = Plan(sessions=60, turns=5)
    invalid = rtbench.load(synthetic.write(tmp_path / "invalid", replace(whole, valid=False)))
    unjudged = rtbench.load(synthetic.write(tmp_path / "unjudged", replace(whole, valid=None)))
    inexact = rtbench.load(synthetic.write(tmp_path / "inexact", replace(whole, inexact=("ttfa",))))
    reasons = {
        run: (
            run.quantiles("ttfa", p=[0.5, 0.999])[["status", "published", "usable", "reason_text"]]
            .to_numpy()
            .tolist()
        )
        for run in (invalid, unjudged, inexact)
    }

    (median, tail), (free, _), (uncertain, _) = reasons.values()
    assert median[:3] == ["reported", True, False]
    assert median[3].startswith("the run is INVALID: ")
    assert tail == ["too_few_sessions", False, False, f"needs 2,160 sessions; {median[3]}"]
    assert free == ["reported", True, True, pd.NA]
    assert uncertain[:3] == ["reported", True, False]
    assert uncertain[3] == reason_text(
        uncertain_reason(inexact.uncertain_metrics, "sim", "ttfa")
    ).replace("\u00a0", " ")
    for frame in (invalid.rates(), rtbench.check(invalid, {"ttfa": "med<5000"}).to_frame()):
        assert frame["published"].all()
        assert not frame["usable"].any()
        assert frame["reason_text"].str.contains("the run is INVALID: ").all()


def test_targets_and_strata_are_never_pooled(run: rtbench.Run) -> None:
    by_stratum = run.quantiles("response_total", p=0.5)
    by_step = run.quantiles("response_total", p=0.5, by="step")
    assert set(by_step["target"]) == set(by_stratum["target"]) == set(target_labels(run))
    if len(by_stratum) > 1:
        with pytest.raises(UsageError, match="several samples, which must not be pooled"):
            run.sample("response_total")


def taking(labels: dict[str, Any]) -> Any:
    """Return a function that selects the rows that have these labels."""
    return lambda rows: np.logical_and.reduce(
        [rows[name] == label for name, label in labels.items()]
    )


# A row that the report prints for a group: (metric, labels that identify the group, values).
Printed = tuple[str, dict[str, Any], dict[str, Any]]
ALIKE = ("run_id", "scenario", "simulated", "phase", "measured")
"""The columns that have the same value in all turns of a synthetic run."""


@cache
def grown(name: str) -> tuple[rtbench.Run, list[Printed], dict[str, Any]]:
    """Return a run with two hosts and with rates, the group rows of its summary.json, and this
    summary.json.
    """
    run = rtbench.load(synthetic.write(shared.folder(), PLANS[name]))
    rng = np.random.default_rng(5)
    recorded = dict(
        zip(run.sessions["session_id"], rng.choice(["red", "blue"], len(run.sessions)), strict=True)
    )
    for frame in (run.turns, run.sessions):
        frame["host"] = frame["session_id"].astype(str).map(recorded).astype("category")
    run.metadata["hosts"] = [{"name": "blue"}, {"name": "red"}]
    yielded = rng.choice(np.array([True, False, None], dtype=object), len(run.turns))
    run.turns["yielded"] = pd.array(yielded, "boolean")
    run.turns["reply_words"] = pd.array(rng.integers(1, 9, len(run.turns)), "Int64")
    run.turns["reply_word_errors"] = pd.array(rng.integers(0, 9, len(run.turns)), "Int64")
    summary = json.loads(summary_json(summarise(run)))
    quantiles = [of for of in summary["groups"] if of["statistic"] in ("p50", "p95")]
    of_groups = [
        (of | {of["statistic"]: of | {"reported": of["reason"] is None}}, of["group"])
        for of in quantiles
    ]
    groups = [
        *(
            (row, {} if row["step"] == "all" else {"step": row["step"]})
            for row in summary["turn_metrics"]
        ),
        *((row, {"turn": of["from"]}) for row, of in of_groups if of["by"] == "turn" and of["to"]),
        *((row, {"host": of["name"]}) for row, of in of_groups if of["by"] == "host"),
    ]
    printed = [
        (
            row["metric"],
            keys | {k: row[k] for k in ("target", "measured_from", "turn_type") if row[k]},
            row,
        )
        for row, keys in groups
        if row["n"]
    ]
    return run, printed, summary


@given(st.data())
def test_a_group_has_the_values_of_the_report_whatever_the_other_keys(data: st.DataObject) -> None:
    run, printed, _ = grown(data.draw(st.sampled_from(sorted(PLANS))))
    metric, keys, row = data.draw(st.sampled_from(printed))
    by = data.draw(st.lists(st.sampled_from([*keys, *ALIKE]), unique=True))
    filtered = {
        name: label for name, label in keys.items() if name not in by or data.draw(st.booleans())
    }
    shown = sorted(name for name in row if re.fullmatch(r"p\d+", name))
    ps = data.draw(st.permutations([float(name[1:]) / 100 for name in shown] + [0.75, 0.999]))

    def where(turns: pd.DataFrame) -> Any:
        return taking(filtered)(turns) if filtered else np.ones(len(turns), dtype=bool)

    frame = run.quantiles(metric, p=ps, by=by, where=where)
    rows = [
        of_p
        for of_p in frame.to_dict("records")
        if all(of_p[name] == label for name, label in keys.items() if name in of_p)
    ]
    assert len(rows) == len(ps)
    assert {of_p["n"] for of_p in rows} == {row["n"]}
    for name in shown:
        listed = stated(row[name])
        (figure,) = as_reported(
            [of_p for of_p in rows if np.isclose(of_p["p"], float(name[1:]) / 100)]
        )
        # groups show tails with fewer turns
        if listed["reported"] and (figure["reported"] or "status" in listed):
            assert {key: figure[key] for key in ("value", "low", "high")} == {
                key: listed[key] for key in ("value", "low", "high")
            }
        both = listed.keys() & {"status", "required"}
        assert {key: figure[key] for key in both} == {key: listed[key] for key in both}


def test_the_turns_of_a_host_have_the_same_interval_alone() -> None:
    """All turns of a session are on one host.

    Therefore the interval of a host in the run, and the interval of the host's turns alone, allow
    for one unobserved session.
    """
    run, printed, _ = grown("turns not started")
    of_hosts = [
        (keys, row)
        for metric, keys, row in printed
        if metric == "ttfa" and "host" in keys and "p50" in row
    ]

    assert of_hosts
    for keys, row in of_hosts:
        (alone,) = as_reported(run.quantiles("ttfa", p=0.5, where=taking(keys)).to_dict("records"))
        assert alone["high"] == row["p50"]["high"]


@half
@given(st.data())
def test_groups_partition_the_whole_and_equal_separate_queries(data: st.DataObject) -> None:
    run, *_ = grown(data.draw(st.sampled_from(sorted(PLANS))))
    metric = data.draw(
        st.sampled_from(
            [
                "ttfa",
                "ttft",
                "response_total",
                "audio_speed",
                "start_of_speech_delay",
                "stall_duration",
            ]
        )
    )
    columns = [
        "host",
        "turn",
        "step",
        "outcome",
        "session_id",
        "yielded",
        "target",
        "measured_from",
        *ALIKE,
    ]
    by = data.draw(st.lists(st.sampled_from(columns), unique=True, max_size=3))
    counted = ["n", "failed", "not_started", "unfinished"]
    whole, groups = run.quantiles(metric, p=0.9), run.quantiles(metric, p=0.9, by=by)
    assert groups[counted].sum().to_dict() == whole[counted].sum().to_dict()

    if len(groups):
        group = groups.iloc[data.draw(st.integers(0, len(groups) - 1))]
        labels = {name: group[name] for name in dict.fromkeys([*by, "target"])}
        told_apart = [name for name in ("measured_from", "turn_type") if name not in by]

        def where(turns: pd.DataFrame) -> Any:
            same = [
                turns[n].isna() if pd.isna(label) else turns[n] == label
                for n, label in labels.items()
            ]
            return np.logical_and.reduce([one.fillna(value=False) for one in same])

        alone = run.quantiles(metric, p=0.9, where=where)
        same = [
            alone[name].isna() if pd.isna(group[name]) else alone[name] == group[name]
            for name in told_apart
        ]
        alone = alone[np.logical_and.reduce(same)]
        figures = [*counted, "value", "low", "high", "status"]
        assert alone[figures].astype(str).to_numpy().tolist() == [
            group[figures].astype(str).tolist()
        ]


@pytest.mark.parametrize("name", PLANS)
def test_rates_equal_those_of_the_report(name: str) -> None:
    run, _, summary = grown(name)
    rates = run.rates().set_index(["rate", "target"])
    assert {row["metric"] for row in summary["rates"]} == {"yield_rate", "reply_wer"}
    for row in summary["rates"]:
        mine = rates.loc[(row["metric"], row["target"])]
        assert (mine["count"], mine["total"], mine["sessions"]) == (
            row["count"],
            row["n"],
            row["sessions"],
        )
        np.testing.assert_allclose(
            mine[["value", "low", "high"]].astype(float), row_of(row), rtol=1e-5
        )
        assert mine["status"] == ("too_few_" + row["unit"] if row["value"] is None else "reported")
    for target, row in summary["outcomes"].items():
        mine = rates.loc[("failure_rate", target)]
        assert (mine["count"], mine["total"]) == (
            row["turns_failed"] + row["turns_not_started"],
            row["turns_planned"],
        )
        ends = [row["failure_rate"], row["failure_rate_low"], row["failure_rate_high"]]
        np.testing.assert_allclose(mine[["value", "low", "high"]].astype(float), ends, rtol=1e-5)
    for row in summary["counts"]:
        if row["metric"] == "stall_rate" and row["n"]:
            mine = rates.loc[("stall_rate", row["target"])]
            assert (mine["count"], mine["total"]) == (row["count"], row["n"])


def row_of(row: dict[str, Any]) -> list[float]:
    return [np.nan if row[key] is None else row[key] for key in ("value", "low", "high")]


@half
@given(st.data())
def test_rates_of_groups_add_up_to_those_of_the_whole(data: st.DataObject) -> None:
    run, *_ = grown(data.draw(st.sampled_from(sorted(PLANS))))
    by = data.draw(
        st.lists(
            st.sampled_from(["host", "turn", "step", "measured_from", "outcome", *ALIKE]),
            unique=True,
            max_size=3,
        )
    )
    whole, groups = run.rates(), run.rates(by=by)
    counted = ["count", "total"]
    parts = groups.groupby(["rate", "target"], observed=True)[counted].sum()
    pd.testing.assert_frame_equal(
        parts, whole.groupby(["rate", "target"], observed=True)[counted].sum()
    )


LABELS = ("metric", "target", "measured_from", "turn_type", "step")


def blank(label: Any) -> str:
    return "" if pd.isna(label) else str(label)


@pytest.mark.parametrize("name", PLANS)
def test_the_frames_of_the_summary_equal_summary_json(name: str) -> None:
    run, _, summary = grown(name)

    metrics = [*summary["turn_metrics"], *summary["session_metrics"]]
    frame = run.summary()
    rows = frame.to_dict("records")
    assert len(rows) == 4 * len(metrics) > 40
    for place, figures in enumerate(metrics):
        mine = rows[4 * place : 4 * place + 4]
        is_of_session = place >= len(summary["turn_metrics"])
        assert {tuple(blank(row[key]) for key in LABELS) for row in mine} == {
            (
                figures["metric"],
                figures["target"],
                figures["measured_from"] or "",
                "" if is_of_session else figures["turn_type"] or "regular",
                figures["step"].removeprefix("all"),
            )
        }
        assert list(as_reported(mine)) == [
            {key: figures[key] for key in ("n", "failed", "not_started", "unfinished", "unit")}
            | {
                key: stated(figures[p])[key]
                for key in ("status", "required", "reported", "value", "low", "high")
            }
            for p in ("p50", "p90", "p95", "p99")
        ], figures["metric"]
        uncertain = (figures["uncertain"] or {"text": ""})["text"].replace("\u00a0", " ")
        for row in mine:
            assert row["published"] == (not np.isnan(row["value"]))
            assert row["usable"] == (row["published"] and not uncertain)
            assert str(row["reason_text"]).endswith(uncertain)
    for metric in frame["metric"].unique():
        whole = frame[frame["step"].isna() & (frame["metric"] == metric)]
        whole = whole.drop(columns=["script", "step"]).reset_index(drop=True)
        pd.testing.assert_frame_equal(whole, run.quantiles(metric))

    outcomes = run.outcomes().groupby(["target", "unit", "outcome"])["count"].sum()
    expected = {
        (target, unit, outcome): count
        for target, of in summary["outcomes"].items()
        for unit in ("turns", "sessions")
        for outcome, count in of[unit].items()
    } | {
        (target, "turns", "not_started"): of["turns_not_started"]
        for target, of in summary["outcomes"].items()
        if of["turns_not_started"]
    }
    assert outcomes.to_dict() == expected

    costs = run.cost().set_index("target")
    for row in summary["cost"]["targets"]:
        mine = costs.loc[row["target"]]
        assert mine["turns"] == row["turns"]
        assert mine["simulated"] == summary["simulated"]
        np.testing.assert_allclose(
            mine["usd"], np.nan if row["usd"] is None else row["usd"], rtol=1e-5
        )
        assert mine["output_audio_tokens"] == sum(
            charge["tokens"]["audio_out"] for charge in row["models"]
        )


def test_distributions_equal_those_of_summary_json() -> None:
    run = loaded(PLANS["tails"])
    summary = json.loads(summary_json(summarise(run)))

    frame = run.distributions(p=[0.5, 0.99])
    frame["target"] = frame["target"].fillna("all")
    found = frame.pivot(index=["metric", "per", "target"], columns="p", values="value")
    sent = [row["per_second"] | {"per": "second"} for row in summary["throughput"]]
    per_session = [row["per_session"] | {"per": "session"} for row in summary["throughput"]]
    expected = [
        row | {"per": "event"} for row in (*summary["event_metrics"], *summary["load_generator"])
    ]
    rows = {
        (row["metric"], row["per"], row["target"]): row
        for row in (*expected, *sent, *per_session)
        if row["n"]
    }
    assert len(rows) > 8
    assert set(found.index) == set(rows)
    for key, row in rows.items():
        np.testing.assert_allclose(found.loc[key], [row["p50"], row["p99"]], rtol=1e-5)


def test_without_any_turn_the_failures_are_the_turns_not_started(tmp_path: Path) -> None:
    run = rtbench.load(synthetic.write(tmp_path, Plan(sessions=0, turns=4, refused=5)))
    assert run.quantiles("ttfa").empty
    rates = run.rates(by="turn", where=lambda turns: turns["turn"] > 1)
    assert rates[["rate", "turn", "count", "total"]].to_numpy().tolist() == [
        ["failure_rate", n, 5, 5] for n in (2, 3, 4)
    ]


def test_turns_not_started_are_selected_by_their_known_columns() -> None:
    run, *_ = grown("turns not started")
    (whole,) = run.quantiles("ttfa", p=0.5)["not_started"]
    by_host = run.quantiles("ttfa", p=0.5, by="host", where=lambda turns: turns["turn"] > 2)
    not_started = run.sessions[run.sessions["turns_started"] == 0]["host"].value_counts()
    assert whole == 6 * 4
    assert dict(zip(by_host["host"], by_host["not_started"], strict=True)) == {
        host: 2 * n for host, n in not_started.items()
    }
    assert (
        run.quantiles("ttfa", p=0.5, where=lambda turns: turns["outcome"].notna())[
            "not_started"
        ].sum()
        == 0
    )


def test_a_query_a_mask_a_function_and_values_select_the_same_rows() -> None:
    run = loaded(PLANS["warm-up, failures, two origins"])
    started = run.sessions[run.sessions["turns_not_started"] == 0]["session_id"]
    run = replace(
        run, sessions=run.sessions[run.sessions["session_id"].isin(started)].reset_index(drop=True)
    )
    asked: list[dict[str, Any]] = [
        {"where": "turn > 1 and target == 'direct'"},
        {"where": (run.turns["turn"] > 1) & (run.turns["target"] == "direct")},
        {"where": (run.measured_turns["turn"] > 1) & (run.measured_turns["target"] == "direct")},
        {"where": lambda turns: (turns["turn"] > 1) & (turns["target"] == "direct")},
        {"where": run.turns["turn"] > 1, "target": "direct"},
        {"target": ["direct"], "turn": range(2, 99)},
    ]

    first, *others = [(run.quantiles("ttfa", **each), run.rates(**each)) for each in asked]
    assert set(first[0]["target"]) == {"direct"}
    assert first[0]["n"].sum() < run.quantiles("ttfa", target="direct")["n"].sum()
    for other in others:
        for mine, theirs in zip(first, other, strict=True):
            pd.testing.assert_frame_equal(mine, theirs)


def test_a_mask_without_turns_not_started_is_refused_with_an_alternative() -> None:
    run = loaded(PLANS["turns not started"])

    with pytest.raises(
        UsageError,
        match=r'without values for the 24 turns that did not start: .* where="outcome.notna\(\)"',
    ):
        run.quantiles("ttfa", where=run.turns["turn"] > 1)
    assert run.quantiles("ttfa", p=0.5, where="turn > 1")["not_started"].tolist() == [6 * 3]
    assert run.quantiles("ttfa", p=0.5, where="outcome.notna()")["not_started"].tolist() == [0]
    assert run.quantiles("ttfa", p=0.5, outcome=None)[["n", "not_started"]].to_numpy().tolist() == [
        [24, 24]
    ]


def run_named(folder: Path, plan: Plan, **changes: Any) -> Path:
    """Write a run. Its run ID is the name of its folder, also in its rows."""
    synthetic.write(folder, plan, run_id=folder.name, **changes)
    for table in SCHEMAS:
        edit(folder, table, lambda _, row: row | {"run_id": folder.name})
    return folder


@pytest.fixture(scope="module")
def nightly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two runs with summaries. Each run has two targets whose sessions are
    paired.
    """
    folder = tmp_path_factory.mktemp("nightly")
    for seed in range(2):
        plan = Plan(sessions=80, turns=4, targets=("a", "b"), paired=True, seed=seed, failed=0.03)
        path = run_named(folder / f"run-{seed}", plan, interleaved=True)
        write_summary(path)
    return folder


def test_compare_equals_the_command(nightly: Path) -> None:
    run = rtbench.load(nightly / "run-0")
    comparison = rtbench.compare(run)
    written = comparison_data(compare_targets(parse_targets([run.folder])))
    assert (
        repr(comparison)
        == f"Comparison(b against a: inconclusive, {len(written['comparisons'])} metrics)"
    )
    frame = comparison.to_frame()
    assert len(frame) == len(written["comparisons"]) + len(written["steps"])
    for row, entry in zip(
        frame.to_dict("records"), [*written["comparisons"], *written["steps"]], strict=True
    ):
        for key in ("result", "verdict", "primary", "unit", "provisional"):
            assert row[key] == entry[key]
        base, candidate = entry["against"], entry["value"]
        assert [row["target"], row["metric"]] == [candidate["target"], candidate["metric"]]
        for name, key in {"turns": "n", "sessions": "sessions", "failed": "failed"}.items():
            assert (row[f"baseline_{name}"], row[name]) == (base[key], candidate[key])
        assert (base["value"] is None) == np.isnan(row["baseline"])
        if entry["scale"] == "ratio" and "high" in entry:
            names = "difference", "low", "high"
            np.testing.assert_allclose(
                [row[name] for name in names], [entry[name] for name in names], rtol=1e-4, atol=1e-6
            )

    other = rtbench.compare(f"{run.folder}:a", f"{nightly / 'run-1'}:a", confidence=0.9)
    assert repr(other).startswith("Comparison(a (run-1) against a (run-0): ")
    assert other.method.confidence == 0.9
    assert other.method.level == 0.1


def test_check_equals_the_command(nightly: Path, tmp_path: Path) -> None:
    run, limits = (
        rtbench.load(nightly / "run-0"),
        {"ttfa": ["p(95)<800", "med<500"], "failure_rate": "rate<0.01"},
    )
    file = tmp_path / "ci.yaml"
    file.write_text('ttfa: ["p(95)<800", "med<500"]\nfailure_rate: rate<0.01\n', encoding="utf-8")
    found = rtbench.check(run, limits)
    assert repr(found) == "Checked(run-0: fail, 6 thresholds)"
    frame = found.to_frame()
    pd.testing.assert_frame_equal(frame, rtbench.check(run.folder, file).to_frame())
    items = check_data(check_of(run.folder, read_thresholds(file)))["findings"]
    assert [row["result"] for row in items] == frame["result"].tolist()
    assert [row["threshold"] for row in items] == frame["threshold"].tolist()
    values = [np.nan if (value := row["value"]["value"]) is None else value for row in items]
    np.testing.assert_allclose(frame["value"], values, rtol=1e-5)

    gates = rtbench.check(
        nightly / "run-1", baseline=rtbench.load(nightly / "run-0"), on_inconclusive="pass"
    )
    assert gates.baseline
    with pytest.raises(UsageError, match="not an aggregate of ttfa"):
        rtbench.check(run, {"ttfa": "p95<800"})


def test_a_loaded_run_is_not_read_again(nightly: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, other = rtbench.load(nightly / "run-0"), rtbench.load(nightly / "run-1")
    fast = replace(run, turns=run.turns[run.turns["ttfa_ms"] < 500])
    limits = {"ttfa": "med<500"}
    expected = [
        rtbench.check(nightly / "run-1", baseline=nightly / "run-0").to_frame(),
        rtbench.compare(nightly / "run-1").to_frame(),
        rtbench.trend(nightly / "run-0", nightly / "run-1").to_frame(),
    ]
    monkeypatch.chdir(nightly)
    monkeypatch.setattr("bench.record.folder.read_table", None)
    monkeypatch.setattr("bench.record.folder.read_document", None)

    verdicts = rtbench.check(other, baseline=run), rtbench.compare(other), rtbench.trend(run, other)
    for mine, theirs in zip([one.to_frame() for one in verdicts], expected, strict=True):
        pd.testing.assert_frame_equal(mine, theirs)
    assert set(rtbench.check(run, limits).to_frame()["result"]) == {"fail"}
    assert rtbench.check(fast, limits).to_frame()["result"].iloc[0] == "pass"
    assert (rtbench.trend(fast, metrics="ttfa:p95").to_frame()["value"] < 500).all()


def test_several_runs_form_one_frame_with_the_run_id(nightly: Path) -> None:
    runs = rtbench.load_many(nightly)
    one, other = runs
    assert repr(runs) == "Runs(2 runs: run-0, run-1)"
    assert repr(runs[1:]) == "Runs(1 run: run-1)"
    assert runs[1] is other
    assert [run.folder for run in runs] == [nightly / "run-0", nightly / "run-1"]
    for paths in (f"{nightly}/run-*", [nightly / "run-0", str(nightly / "run-1")], iter([nightly])):
        assert [run.folder for run in rtbench.load_many(cast("Any", paths))] == [
            nightly / "run-0",
            nightly / "run-1",
        ]

    for table in ("turns", "measured_turns", "sessions", "seconds"):
        whole, first = getattr(runs, table), getattr(one, table)
        assert list(map(str, whole.dtypes)) == list(map(str, first.dtypes))
        assert whole["run_id"].value_counts().to_dict() == {
            "run-0": len(first),
            "run-1": len(getattr(other, table)),
        }
    frames = {
        "quantiles": {"metric": "ttfa", "by": "step", "where": "turn > 1", "target": "a"},
        "rates": {"by": "host"},
        **dict[str, dict[str, Any]].fromkeys(("summary", "outcomes", "cost", "distributions"), {}),
    }
    for name, asked in frames.items():
        parts = [getattr(run, name)(**asked) for run in runs]
        pd.testing.assert_frame_equal(
            getattr(runs, name)(**asked), pd.concat(parts, ignore_index=True)
        )
        assert set(parts[0]["run_id"]) == {"run-0"}


def test_load_accepts_what_the_command_line_accepts(
    nightly: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCUST_RUNS_DIR", str(nightly))
    for several in (f"{nightly}/run-*", f"{nightly}/*-0", nightly, [nightly / "run-0"]):
        assert isinstance(rtbench.load(several), rtbench.Runs)
    run = rtbench.load("run-0")
    assert run.folder == nightly / "run-0"
    frames = [
        rtbench.check(one, {"ttfa": "med<5s"}).to_frame() for one in (run, run.folder, "run-0")
    ]
    frames += [rtbench.compare(f"{one}:a", f"{one}:b").to_frame() for one in (run.folder, "run-0")]
    assert len({frame.to_csv() for frame in frames}) == 2
    newest = max(
        rtbench.load_many(nightly),
        key=lambda run: (run.metadata["started_utc_ns"], run.folder.name),
    )
    assert rtbench.load().folder == newest.folder
    with pytest.raises(
        UsageError, match=r"there is no run run-9, and none of this name in .*; did you mean run-1?"
    ):
        rtbench.load("run-9")
    with pytest.raises(UsageError, match="there is no run in run-9"):
        rtbench.load("run-9*")


def test_a_run_has_its_validity_and_its_targets(nightly: Path, tmp_path: Path) -> None:
    run = rtbench.load(nightly / "run-0")
    assert (run.validity, run.targets) == ("valid", ("a", "b"))
    assert [run.validity for run in rtbench.load_many(nightly)] == ["valid", "valid"]
    assert rtbench.load(synthetic.write(tmp_path, Plan(valid=False))).validity == "invalid"


def test_the_quantiles_of_several_metrics_are_one_frame(nightly: Path) -> None:
    run = rtbench.load(nightly / "run-0")
    names = ["ttfa", "voice_to_voice", "connect_total"]
    frame = run.quantiles(names, p=0.5, target="a")

    assert list(frame["metric"].unique()) == names
    pd.testing.assert_frame_equal(
        frame,
        pd.concat([run.quantiles(name, p=0.5, target="a") for name in names], ignore_index=True),
    )
    assert set(rtbench.load(nightly).quantiles(names)["run_id"]) == {"run-0", "run-1"}


def test_runs_with_different_labels_keep_categorical_columns(tmp_path: Path) -> None:
    for name in ("east", "west"):
        run_named(tmp_path / name, Plan(sessions=9, targets=(name,)))
    turns = rtbench.load_many(tmp_path, all_columns=False).turns

    assert str(turns["target"].dtype) == str(turns["run_id"].dtype) == "category"
    assert turns.groupby("run_id", observed=True)["target"].unique().map(list).to_dict() == {
        "east": ["east"],
        "west": ["west"],
    }


def test_runs_that_cannot_form_one_frame_are_refused(nightly: Path, tmp_path: Path) -> None:
    shutil.copytree(nightly / "run-0", tmp_path / "copy")
    runs = rtbench.load_many(nightly)
    for paths, message in (
        ([nightly, tmp_path], "run-0 and .*copy contain the same run run-0: load only one of them"),
        (tmp_path / "copy" / "turns.parquet", "there is no run in .*turns.parquet"),
        (f"{tmp_path}/x*", "there is no run in "),
        ([], "no run folder is given"),
        ([5], r"a run is a loaded run or the path of its folder, not 5 \(int\)"),
    ):
        with pytest.raises(UsageError, match=message):
            rtbench.load_many(cast("Any", paths))
    with pytest.raises(UsageError, match="where is a mask, which applies to one run"):
        runs.quantiles("ttfa", where=runs.turns["turn"] > 1)
    with pytest.raises(UsageError, match="there is no run, so there is no frame"):
        rtbench.Runs().rates()


def test_trend_equals_the_command(nightly: Path) -> None:
    found = rtbench.trend(nightly, metrics=["ttfa:p50", "failure_rate"])
    assert repr(found) == "Trend(2 runs, 2 metrics, 0 changes)"
    frame = found.to_frame()
    assert frame[["run_id", "title"]].drop_duplicates().shape == (4, 2)
    for name in ("run-0", "run-1"):
        answers = json.loads((nightly / name / "summary.json").read_text(encoding="utf-8"))[
            "outcomes"
        ]
        mine = frame[(frame["run_id"] == name) & (frame["metric"] == "failure_rate")].set_index(
            "target"
        )
        assert mine["value"].to_dict() == {
            target: of["failure_rate"] for target, of in answers.items()
        }
    assert frame["change"].isna().all()


def test_uncertainties_are_read_on_demand_with_one_row_per_turn(tmp_path: Path) -> None:
    folder = synthetic.write(tmp_path / "ended", Plan(sessions=12, turns=3))
    stored = pq.read_table(folder / "uncertainty.parquet").to_pandas()
    error_ns = np.arange(len(stored)) * 1000
    stored = stored.assign(first_audio_uncertainty_ns=error_ns, request_sent_uncertainty_ns=7)
    bounds = pa.Table.from_pandas(stored, STORED["turns"]["uncertainty"], preserve_index=False)
    pq.write_table(bounds, folder / "uncertainty.parquet")
    run = rtbench.load(folder)
    assert not set(run.turns.columns) & set(UNCERTAINTY_COLUMNS)
    assert run.uncertainty.columns.tolist() == ["session_id", "turn", *UNCERTAINTY_COLUMNS]
    assert set(UNCERTAINTY_COLUMNS) == {
        field.name
        for field in SCHEMAS["turns"]
        if re.fullmatch(r"(?!timestamp_).*_uncertainty_ns", field.name)
    }
    pd.testing.assert_frame_equal(
        run.uncertainty[["session_id", "turn"]], run.turns[["session_id", "turn"]]
    )
    assert run.uncertainty["first_audio_uncertainty_ns"].tolist() == error_ns.tolist()
    # unknown, so never 0
    assert run.uncertainty["barge_in_response_done_uncertainty_ns"].isna().all()

    killed = rtbench.load(synthetic.write_killed(tmp_path / "killed", Plan(sessions=12, turns=3)))
    assert killed.uncertainty["turn"].tolist() == killed.turns["turn"].tolist()
    assert killed.uncertainty["session_id"].tolist() == killed.turns["session_id"].tolist()
    assert str(killed.uncertainty["first_audio_uncertainty_ns"].dtype) == "Int64"


def test_uncertainties_of_an_unfinished_run_match_the_turns_that_were_read(tmp_path: Path) -> None:
    folder = synthetic.write_killed(tmp_path, Plan(sessions=12, turns=3))
    run = rtbench.load(folder)
    # as if the other turns were to be written later
    vars(run)["turns"] = run.turns.iloc[1::2].reset_index(drop=True)
    assert run.uncertainty["turn"].tolist() == run.turns["turn"].tolist()
    assert run.uncertainty["session_id"].tolist() == run.turns["session_id"].tolist()
