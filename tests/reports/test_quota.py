"""What the service limited, what else happened, and which way the network went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reports
from bench.run.recorder import SIMULATOR_WAS_LATE
from reports.page import calls, circumstances
from reports.text.terminal import report_text
from reports.wording.remarks import incident_lines, limits, limits_in_all, round_trips
from tests.reports import synthetic
from tests.reports.edited import edited
from tests.reports.forms import run_forms, section_html
from tests.reports.shared import summary_in, summary_of
from tests.reports.synthetic import BEGAN_NS, Plan

pytestmark = pytest.mark.usefixtures("few_draws")


NBSP = "\u00a0"


LIMITED = Plan(sessions=60, turns=5, targets=("a", "b"), failed=0.1, seconds=150, limited=True)


def test_throttled_turns_and_the_waits_asked_for_are_counted(tmp_path: Path) -> None:
    summary = summary_in(tmp_path, LIMITED, start_delays_s={"a": 48.2, "b": 0})
    turns = reports.load(tmp_path).turns
    mine = turns[(turns["target"] == "a") & (turns["outcome"] == "throttled:response")]
    one = summary.quota.targets[0]

    assert (one.turns, one.sessions, one.start_delay_s) == (len(mine), 0, 48.2)
    assert len(one.waits_s) == len(mine) > 1
    assert one.waits_s[-1] == mine["retry_after_ns"].max() / 1e9
    assert (
        limits(summary.quota).replace(NBSP, " ").startswith(f"a: {len(mine)} turns throttled, asked {len(mine)} times")
    )
    assert "starts held for 48 s in all" in limits_in_all(summary.quota).replace(NBSP, " ")


def test_calls_that_were_delayed_after_refused_ones_are_counted(tmp_path: Path) -> None:
    folder = synthetic.write(tmp_path, Plan(sessions=20, turns=2, seconds=50))
    none = edited(folder, lambda _, row: row | {"calls_backed_off": 0}, "seconds").quota
    assert (none.targets[0].backed_off, none.any) == (0, False)
    held = edited(folder, lambda at, row: row | {"calls_backed_off": int(at < 3)}, "seconds").quota

    assert (held.targets[0].backed_off, held.any) == (3, True)
    assert limits(held).replace(NBSP, " ") == "3 calls held back after refused ones"


def test_a_throttled_session_counts_as_well(tmp_path: Path) -> None:
    refused = synthetic.write(tmp_path, Plan(refused=2))
    throttled = {"outcome": "throttled:handshake", "retry_after_ns": 20 * 10**9}
    summary = edited(refused, lambda _, row: row | ({} if row["outcome"] == "ok" else throttled), "sessions")

    said = limits(summary.quota).replace(NBSP, " ")
    assert said == "2 sessions throttled, asked 2 times to wait (p50 20 s, longest 20 s)"
    assert "Did the service limit the rate?" in section_html(circumstances.quota(summary))


def test_what_remained_is_the_least_of_each_bin(tmp_path: Path) -> None:
    summary = summary_in(tmp_path, LIMITED)
    one = summary.quota.targets[0]
    tokens = next(part for part in one.remaining if part.limit == "tokens")
    seconds = reports.load(tmp_path).seconds
    share = seconds["tokens_remaining"] / seconds["tokens_limit"]

    assert {part.limit for part in one.remaining} == {"tokens", "requests"}
    assert tokens.share.min() == pytest.approx(share.min())
    assert np.all(np.diff(tokens.at_s) > 0)
    assert one.counts.sum() == seconds.loc[seconds["target"] == "a", "throttled"].sum()


def incident(at_s: float, text: str = "<b>identity endpoint: 500</b>") -> dict[str, Any]:
    return {"at_utc_ns": BEGAN_NS + int(at_s * 1e9), "worker": 1, "kind": "auth_refresh", "text": text}


def test_incidents_whose_words_were_not_kept_are_counted() -> None:
    summary = summary_of(Plan(), incidents=[incident(1)], totals={"incident_counts": {"auth_refresh": 240}})

    assert incident_lines(summary, 3)[-1] == "in all: auth refresh × 240"
    assert "auth refresh × 240. The words of 1 were recorded." in section_html(circumstances.incidents(summary))


def test_behind_a_proxy_there_is_no_wait_without_the_round_trip() -> None:
    summary = summary_of(Plan(sessions=20, targets=("a", "b"), proxied=("b",)))
    told = {(f.metric, f.target) for f in summary.metrics}

    assert ("ttfa_minus_rtt", "a") in told
    assert ("ttfa_minus_rtt", "b") not in told
    assert ("network_rtt", "b") in told
    assert "on b to the proxy" in round_trips(summary)
    assert "on b to the proxy" in section_html(calls.network(summary))
    assert "to the proxy and not beyond" in round_trips(summary_of(Plan(proxied=("sim",))))


@pytest.mark.parametrize(("late_ms", "shown"), [(5.1, False), (6.3, True)])
@pytest.mark.parametrize("text", [SIMULATOR_WAS_LATE, "{}: the simulator was late: p99 ≤ {:.1f} ms since it listens"])
def test_a_simulator_that_was_late_is_noted_if_that_matters_for_the_figures(
    late_ms: float, shown: bool, text: str
) -> None:
    """By 1 % of the shortest median, which is 540 ms here, or more."""
    late = {"at_utc_ns": synthetic.BEGAN_NS, "worker": 0, "kind": "simulator_late", "text": text.format("sim", late_ms)}
    summary = summary_of(Plan(), incidents=[late])
    median = min(answer.figures.at(0.5).value for answer in summary.answers)

    assert 0.01 * median == pytest.approx(5.7, abs=0.5)
    for form in (report_text(summary), *run_forms(summary)):
        said = " ".join(form.replace("\u00a0", " ").split())
        assert ("6.3 ms" in said) == shown
        assert ("of the shortest median" in said) == shown
        assert "do not trust" not in said
        assert ("simulator late" in said) == shown
    assert len(summary.incidents.kept) == 1
