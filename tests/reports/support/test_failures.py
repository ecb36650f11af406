"""The failures that a report lists: an example of each kind, with the instants and IDs of its
row.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import rtbench
from bench.catalogue.columns import DETAIL_CHARACTERS
from reports.analysis.summary.listed_failures import MAX_LISTED, allocated
from reports.pages.run_report.document import summary_data
from tests.reports.edited import Row
from tests.reports.shared import summary_of
from tests.reports.support.examples import HEADERS, PLAN, built, outputs
from tests.reports.synthetic import FAILURES, Plan


def test_every_kind_of_failure_has_an_example() -> None:
    summary = summary_of(PLAN)
    failures = summary.failures
    failed = Counter[tuple[str, str, str]]()
    for ending in summary.endings.turns:
        for target, n in zip(summary.targets, ending.counts, strict=True):
            failed["turn", target, ending.outcome] += n * (ending.kind == "failed")
    failed["session", "east", "connect_failed:401"] = 3

    assert {(entry.scope, entry.target, entry.outcome) for entry in failures.examples} == set(
        +failed
    )
    assert failures.total == failed.total()
    assert failures.kinds == len(failures.examples) == 2 * len(FAILURES) + 1
    assert [
        failed[entry.scope, entry.target, entry.outcome] for entry in failures.examples
    ] == sorted((+failed).values(), reverse=True)


def test_an_entry_has_the_instants_and_ids_of_its_row(tmp_path: Path) -> None:
    summary = built(
        tmp_path,
        sessions=lambda index, row: (
            row | {"response_headers": json.dumps({**HEADERS, "server": "x"}), "close_code": 1011}
        ),
    )
    entries = summary.failures.examples
    loaded = rtbench.load(tmp_path)

    for entry in (entry for entry in entries if entry.scope == "turn"):
        turns = loaded.turns[
            (loaded.turns["session_id"] == entry.session) & (loaded.turns["turn"] == entry.turn)
        ]
        (row,) = turns.to_dict("records")
        assert (row["target"], row["outcome"], row["step"]) == (
            entry.target,
            entry.outcome,
            entry.step,
        )
        assert (row["start_utc_ns"], row["start_utc_ns"] + row["ended_at_ns"]) == (
            entry.started_utc_ns,
            entry.failed_utc_ns,
        )
        assert (row["response_id"], row["service_session_id"]) == (
            entry.response,
            entry.service_session,
        )
        assert entry.headers == HEADERS
        assert (entry.http_status, entry.close_code) == (101, 1011)
    (refused,) = (entry for entry in entries if entry.scope == "session")
    assert (refused.outcome, refused.http_status, refused.turn) == ("connect_failed:401", 401, None)


@given(st.lists(st.integers(1, 400), max_size=150), st.integers(1, 120))
def test_places_in_the_list_are_shared_equally(sizes: list[int], most: int) -> None:
    slots = allocated(sizes, most)

    assert sum(slots) == min(most, sum(sizes))
    assert all(0 <= slot <= size for slot, size in zip(slots, sizes, strict=True))
    unmet = [slot for slot, size in zip(slots, sizes, strict=True) if slot < size]
    assert not unmet or max(slots) <= min(unmet) + 1


def test_failures_beyond_the_list_are_counted(tmp_path: Path) -> None:
    summary = built(tmp_path, Plan(sessions=30, turns=8, failed=1.0))

    assert len(summary.failures.listed) == MAX_LISTED
    assert summary.failures.total == 240
    assert "140 more failures of 240 are not listed" in outputs(summary)["markdown"].replace(
        "\xa0", " "
    )


def test_a_session_that_ended_like_its_turn_is_no_second_failure(tmp_path: Path) -> None:
    def turns(_: int, row: Row) -> Row:
        return row | {
            "outcome": "closed:1011" if (row["session_id"], row["turn"]) == ("s00003", 2) else "ok"
        }

    def sessions(_: int, row: Row) -> Row:
        ended = {"s00003": "closed:1011", "s00004": "closed:1011"}
        return row | {"outcome": ended.get(row["session_id"], "ok")}

    entries = built(tmp_path, Plan(), turns, sessions).failures.examples

    assert [(entry.scope, entry.session) for entry in entries] == [
        ("turn", "s00003"),
        ("session", "s00004"),
    ]


def test_an_id_that_was_not_recorded_is_unknown(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("request_id", "service_session_id", "response_headers", "region"))

    def without(_: int, row: Row) -> Row:
        return (
            row
            | {name: value for name, value in nothing.items() if name in row}
            | ({"response_id": None} if "response_id" in row else {})
        )

    summary = built(tmp_path, turns=without, sessions=without)
    text = outputs(summary)["markdown"].replace("\xa0", " ")

    assert all(
        entry.request == entry.service_session == "" and not entry.headers
        for entry in summary.failures.listed
    )
    assert "service’s session unknown, response unknown, request unknown, region unknown" in text
    assert summary_data(summary)["failures"]["examples"][0]["request"] is None


def test_a_message_that_was_cut_is_marked(tmp_path: Path) -> None:
    def long(_: int, row: Row) -> Row:
        return row | {
            "outcome": "failed:x",
            "cause": "y" * (DETAIL_CHARACTERS if row["turn"] == 1 else 9),
        }

    summary = built(tmp_path, Plan(sessions=1, turns=2), long)

    assert [entry.message_is_cut for entry in summary.failures.listed] == [True, False]
    assert outputs(summary)["markdown"].count("(cut: only its first characters were stored)") == 1
