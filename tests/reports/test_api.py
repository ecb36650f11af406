"""What `import reports` offers a data person: frames of one shape whatever the run, and the report's own figures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import reports
from bench.errors import UsageError
from reports.summary.summary import summarise
from reports.text.document import as_json
from tests.reports import synthetic
from tests.reports.synthetic import Plan

PLANS = {
    "plain": Plan(),
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
        token_waits=4,
    ),
    "text that always failed": Plan(sessions=20, text=True, failed=1.0, tls=False),
    "tails": Plan(sessions=300, turns=4, usage=True, limited=True, paired=True, targets=("a", "b")),
}
EMPTY = Plan(sessions=0)


@pytest.fixture(scope="module", params=PLANS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> reports.Run:
    return reports.load(synthetic.write(tmp_path_factory.mktemp("run"), PLANS[request.param]))


def reported(run: reports.Run) -> list[dict[str, Any]]:
    """The figures of turns and sessions as summary.json has them, which prints what every report prints."""
    summary = json.loads(as_json(summarise(run)))
    return [*summary["turn_measures"], *summary["session_measures"]]


def as_reported(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The same figures from frames of quantiles, with the names and the six digits that summary.json uses."""
    for row in rows.to_dict("records"):
        status = "published" if row["status"] in ("inexact", "invalid") else row["status"]
        yield {
            "n": row["n"],
            "failed": row["failed"],
            "censored": row["censored"],
            "unit": row["unit"],
            "inexact": row["inexact"] or None,
            "status": status,
            "needs": None if row["needs"] is pd.NA else row["needs"],
            "published": status == "published",
            **{end: float(f"{row[end]:.6g}") if np.isfinite(row[end]) else None for end in ("value", "low", "high")},
        }


def test_quantiles_are_those_that_the_report_prints(run: reports.Run) -> None:
    seen, quantiles = 0, cache(run.quantiles)
    for figures in reported(run):
        by = "target" if figures["step"] == "all" else ("target", "step")
        frame = quantiles(figures["measure"], by)
        mine = frame["target"] == figures["target"]
        mine &= frame["origin"].eq(figures["origin"]) if figures["origin"] else frame["origin"].isna()
        mine &= frame["step"].eq(figures["step"]) if "step" in frame else True
        expected = [
            {key: figures[key] for key in ("n", "failed", "censored", "unit", "inexact")}
            | {key: figures[p][key] for key in ("status", "needs", "published", "value", "low", "high")}
            for p in ("p50", "p90", "p95", "p99")
        ]
        assert list(as_reported(frame[mine])) == expected, figures["measure"]
        seen += 1

    assert seen > 10


def test_the_status_says_that_a_figure_is_not_to_be_used(tmp_path: Path) -> None:
    whole = Plan(sessions=60, turns=5)
    invalid = reports.load(synthetic.write(tmp_path / "invalid", whole, verdict={"valid": False, "rules": []}))
    assert set(invalid.quantiles("ttfa")["status"][:2]) == {"invalid"}
    unjudged = reports.load(synthetic.write(tmp_path / "unjudged", whole, verdict={"valid": None, "rules": []}))
    assert unjudged.quantiles("ttfa")["status"].iloc[0] == "published"
    inexact = reports.load(synthetic.write(tmp_path / "inexact", replace(whole, inexact=("ttfa",))))
    assert inexact.quantiles("ttfa")["status"].iloc[0] == "inexact"


def test_a_quantile_among_failed_turns_is_endless_and_one_of_too_few_turns_is_missing(tmp_path: Path) -> None:
    run = reports.load(synthetic.write(tmp_path, Plan(sessions=50, turns=5, failed=0.2)))
    by_p = run.quantiles("ttfa").set_index("p")

    assert by_p.loc[0.5, "status"] == "published"
    assert by_p.loc[0.95, "value"] == np.inf
    assert by_p.loc[0.99, ["status", "value"]].tolist()[0] == "too few sessions"
    assert np.isnan(by_p.loc[0.99, "value"])


@pytest.mark.parametrize("name", ["delta_gap", "receive_lag", "nonsense"])
def test_what_rows_do_not_have_is_refused_in_a_line(run: reports.Run, name: str) -> None:
    with pytest.raises(UsageError, match=f"'{name}' is no measure of turns or sessions"):
        run.quantiles(name)


def test_targets_are_never_pooled(run: reports.Run) -> None:
    with pytest.raises(UsageError, match=r"by \('step',\) are not offered"):
        run.quantiles("ttfa", by="step")


def test_a_column_has_one_type_whatever_the_run_holds(tmp_path: Path) -> None:
    plans = [*PLANS.values(), EMPTY]
    runs = [reports.load(synthetic.write(tmp_path / str(place), plan)) for place, plan in enumerate(plans)]
    runs.append(reports.load(synthetic.write_killed(tmp_path / "killed", Plan(sessions=20))))

    for table in ("turns", "sessions", "seconds"):
        types = {tuple(getattr(run, table).dtypes.map(lambda kind: kind.name).items()) for run in runs}
        assert len(types) == 1, table


def test_flags_and_moments_are_columns_of_every_table(run: reports.Run) -> None:
    for frame in (run.turns, run.sessions):
        assert (frame["start"].astype("int64") == frame["start_utc_ns"]).all()
        assert (frame["measured"] == (frame["phase"].isna() | (frame["phase"] == "measure"))).all()
    assert (run.seconds["start"].astype("int64") == run.seconds["second"] * 10**9).all()
    assert run.turns["start"].dt.tz is not None


def test_runs_are_put_one_below_the_other(tmp_path: Path) -> None:
    plans = [*PLANS.values(), EMPTY]
    runs = [reports.load(synthetic.write(tmp_path / str(place), plan)) for place, plan in enumerate(plans)]
    for table in ("turns", "sessions", "seconds"):
        frames = [getattr(run, table) for run in runs]
        whole = pd.concat(frames, ignore_index=True)

        assert len(whole) == sum(map(len, frames))
        numbers = [name for name in whole if frames[0][name].dtype.name != "category"]
        pd.testing.assert_series_equal(whole[numbers].dtypes, frames[0][numbers].dtypes)
        for name in whole:
            parts = [value for frame in frames for value in frame[name].astype(object).where(frame[name].notna(), None)]
            assert whole[name].astype(object).where(whole[name].notna(), None).tolist() == parts, name


def test_a_run_is_shown_in_a_line_and_is_equal_to_itself_alone(run: reports.Run) -> None:
    assert repr(run) == f"Run({run.folder}: {len(run.turns):,} turns, {len(run.sessions):,} sessions)"
    assert run == run
    assert run != reports.load(run.folder)
