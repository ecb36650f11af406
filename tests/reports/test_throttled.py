"""The share of turns that the service throttled: one definition, whoever asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rtbench
from bench.metrics import is_throttled
from reports.gate.baselines import baseline_of
from reports.samples import rate_counts
from reports.sides.side import targets_of
from reports.summary.outcomes import by_outcome, limited
from reports.summary.summary import summarise
from reports.trends.entry import entries_of, entry_of
from reports.turns import turns_of
from tests.reports import synthetic
from tests.reports.edited import edit
from tests.reports.shared import write_summary
from tests.reports.synthetic import Plan

pytestmark = pytest.mark.usefixtures("few_draws")

BEGUN = 1_000


def cut_run(folder: Path, throttled: int, abandoned: int) -> Path:
    """A run of a thousand turns, of which so many were throttled and so many cut by its end."""
    synthetic.write(folder, Plan(sessions=100, turns=10))

    def outcome(place: int) -> str:
        if place < throttled:
            return "throttled:response"
        return "unfinished" if place >= BEGUN - abandoned else "ok"

    edit(folder, "turns", lambda place, row: row | {"outcome": outcome(place)})
    write_summary(folder)
    return folder


def shares(folder: Path) -> dict[str, float]:
    """The share by each way to ask for it."""
    run = rtbench.load(folder)
    checked = rtbench.check(run, {"throttle_rate": "rate<0.5"}).to_frame()
    rates = run.rates().set_index("rate")
    (side,) = targets_of(run)
    (entry,) = entries_of(folder)
    return {
        "check": checked["value"][0],
        "rates": rates["value"]["throttle_rate"],
        "the rule of 1 %": side.outcomes.throttled(0),
        "history of run folders": entry.rates["throttle_rate"].value,
        "history of stored baselines": entry_of(baseline_of(side)).rates["throttle_rate"].value,
    }


def test_every_way_to_ask_for_the_throttled_share_gives_the_same(tmp_path: Path) -> None:
    found = shares(cut_run(tmp_path, 7, 300))

    assert found == dict.fromkeys(found, pytest.approx(7 / 700))


@pytest.mark.parametrize(("throttled", "use"), [(7, "VALID"), (8, "INVALID (throttled)")])
def test_a_run_is_throttled_if_more_than_a_hundredth_of_what_ended_was(
    tmp_path: Path, throttled: int, use: str
) -> None:
    folder = cut_run(tmp_path, throttled, 300)
    (entry,) = entries_of(folder)

    assert entry.use == use
    assert rtbench.check(folder, {"ttfa": "p(50)<5000"}).exit_status == (0 if use == "VALID" else 4)


OUTCOMES = st.lists(
    st.sampled_from(["ok", "throttled:response", "throttled:error", "closed:1006", "unfinished"]), max_size=60
)


@given(OUTCOMES)
def test_it_is_the_same_counted_turn_by_turn_and_by_outcome(outcomes: Sequence[str]) -> None:
    counted = {name: outcomes.count(name) for name in set(outcomes)}
    ended = [name for name in outcomes if name != "unfinished"]

    assert limited(counted) == (sum(map(is_throttled, ended)), len(ended))


def test_rows_count_as_outcomes_do(tmp_path: Path) -> None:
    run = rtbench.load(cut_run(tmp_path, 7, 300))
    events, of = rate_counts(turns_of(run), "throttle_rate")
    outcomes = summarise(run).outcomes

    assert (np.nansum(events), np.nansum(of)) == limited(by_outcome(outcomes.turns, 0)) == (7, 700)
