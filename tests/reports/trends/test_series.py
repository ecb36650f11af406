"""Which runs are one series: those of a target that may be compared; and what a series is called."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.trends.course import series_of
from reports.trends.entry import Entry
from tests.reports.trends.made import entry

USERS = st.sampled_from(["8", "50", ""])
ENTRIES = st.lists(
    st.builds(
        lambda number, target, users, digest: entry(
            number, target=target, conditions={"load: users": users, "script and audio": digest}
        ),
        st.integers(0, 30), st.sampled_from(["a", "b"]), USERS, st.sampled_from(["x", "y"]),
    ),
    max_size=12,
)  # fmt: skip


def of(number: int, **conditions: str) -> Entry:
    return entry(number, conditions={key.replace("_", " "): text for key, text in conditions.items()})


def started(a_second: str) -> dict[str, str]:
    return {"load: users started a second": a_second}


def names(entries: list[Entry]) -> list[str]:
    return [one.name for one in series_of(entries)]


def test_runs_that_were_made_alike_are_one_series_in_the_order_in_which_they_ran() -> None:
    (one,) = series_of([entry(3), entry(1), entry(2)])

    assert [run.run_id for run in one.entries] == ["run-001", "run-002", "run-003"]
    assert (one.name, one.scenario, one.usable) == ("gateway", "voice_turns", 3)


UPGRADED = {"model": "m2", "region": "eastus2", "voice": "cedar", "client version": "0.2.0", "API version": "v2"}
NAMES: dict[str, tuple[list[Entry], list[str]]] = {
    "another load begins another series which is named by it":
        ([entry(0), entry(1, conditions={"load: users": "50"})], ["gateway (10 users)", "gateway (50 users)"]),
    "another script as well":
        ([entry(0), entry(1, conditions={"script and audio": "abc"}), entry(2)],
         ["gateway (script and audio 0f1e2d)", "gateway (script and audio abc)"]),
    "another model, region, voice or tool stays in it": ([entry(0), entry(1, conditions=UPGRADED)], ["gateway"]),
    "what an older run does not tell sets it apart from nobody":
        ([entry(0, conditions={"load: users": ""}), entry(1)], ["gateway"]),
    "the first target of the runs comes first: it is the baseline, and has its colour":
        ([entry(n, target=target) for n in (0, 1) for target in ("old", "new")], ["old", "new"]),
    "users name a series without how fast they were started":
        ([entry(0, conditions=started("4")), entry(1, conditions={"load: users": "1"} | started("1"))],
         ["gateway (10 users)", "gateway (1 user)"]),
    "unless nothing else tells them apart":
        ([entry(0, conditions=started("4")), entry(2, conditions=started("2"))],
         ["gateway (4 users started a second)", "gateway (2 users started a second)"]),
}  # fmt: skip


@pytest.mark.parametrize(("entries", "called"), NAMES.values(), ids=NAMES)
def test_a_series_is_called_by_its_target_and_what_sets_it_apart(entries: list[Entry], called: list[str]) -> None:
    assert names(entries) == called


def test_a_run_that_is_made_as_runs_before_the_last_one_goes_on_with_their_series() -> None:
    found = series_of([entry(0), entry(1, conditions={"load: users": "50"}), entry(2)])

    assert [len(one.entries) for one in found] == [2, 1]


def test_simulated_runs_are_never_with_measured_ones() -> None:
    found = series_of([entry(0), entry(1, conditions={"simulated": "yes"})])

    assert [one.simulated for one in found] == [False, True]


def test_two_targets_and_two_scenarios_are_four_series() -> None:
    assert len(series_of([entry(n, target=t, scenario=s) for n in (0, 1) for t in "ab" for s in "cd"])) == 4


def test_series_that_differ_in_more_than_is_named_have_names_of_their_own() -> None:
    unlike: list[dict[str, Any]] = [{"load: users": u, "load: processes": p, "chunk": c} for u, p, c in
                                    [("1", "2", "3"), ("1", "2", "4"), ("2", "2", "3")]]  # fmt: skip
    found = names([entry(n, conditions=one) for n, one in enumerate(unlike)])

    assert len(set(found)) == 3


@given(ENTRIES)
def test_every_run_is_in_one_series_and_names_differ(entries: list[Entry]) -> None:
    found = series_of(entries)

    assert sorted(id(run) for one in found for run in one.entries) == sorted(map(id, entries))
    assert len({(one.scenario, one.name) for one in found}) == len(found)
    for one in found:
        began = [run.started_utc_ns for run in one.entries]
        assert began == sorted(began)
        for key in ("load: users", "script and audio"):
            assert len({run.conditions[key] for run in one.entries} - {""}) <= 1
