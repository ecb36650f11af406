"""Failures by the length of the conversation: groups of turns, certain differences, and the
turns for the support.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import rtbench
from reports.analysis.summary.groups import GroupedLatency, latency_by
from reports.analysis.summary.summary import Summary
from reports.data.runs import load_for_report
from reports.data.samples import samples_of
from reports.pages.run_report.document import summary_data
from reports.pages.run_report.sections.conversation import context as latency_section
from reports.pages.run_report.sections.conversation import context_failures as section
from reports.text.notices import notices
from reports.text.sentences import next_step
from tests.examples import trials
from tests.reports import synthetic
from tests.reports.edited import Row, edit, edited
from tests.reports.forms import run_forms, run_text, section_html
from tests.reports.synthetic import Plan

PLAN = Plan(sessions=40, turns=10, targets=("direct", "gateway"), paired=True)
UNAVAILABLE = "failed:inference_service_unavailable_error"
STEP = 1_500
FIRST = 400


def tokens_of(row: Row) -> int:
    """Return the length of the conversation at a turn: 400 tokens at the first one, and 1,500
    more at each turn.
    """
    return FIRST + STEP * (row["turn"] - 1)


def failing(
    from_tokens: int, *, reported: bool, target: str = "gateway", name: str = UNAVAILABLE
) -> Callable[[int, Row], Row]:
    """Return a change of turns: those of a target fail from a context length on. If not
    `reported`, without tokens.
    """

    def change(_: int, row: Row) -> Row:
        tokens = tokens_of(row)
        if row["target"] == target and tokens >= from_tokens:
            return row | {"outcome": name, "context_tokens": tokens if reported else None}
        return row | {"context_tokens": tokens}

    return change


def at_random(share: float, seed: int) -> Callable[[int, Row], Row]:
    """Return a change of turns: each fails with the same probability, and then reports no
    tokens.
    """
    rng = np.random.default_rng(seed)

    def change(_: int, row: Row) -> Row:
        return row | (
            {"outcome": UNAVAILABLE, "context_tokens": None}
            if rng.random() < share
            else {"context_tokens": tokens_of(row)}
        )

    return change


def build(folder: Path, change: Callable[[int, Row], Row], plan: Plan = PLAN) -> Summary:
    synthetic.write(folder, plan)
    return edited(folder, change)


def by_context(summary: Summary) -> dict[str, GroupedLatency]:
    return {latency.target: latency for of in summary.latency_by("context") for latency in of}


def counts(latency: GroupedLatency) -> dict[str, tuple[int, int]]:
    return {group.bin.name: (group.failed.events, group.turns) for group in latency.all_groups}


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return build(tmp_path_factory.mktemp("run"), failing(9_000, reported=True))


@pytest.fixture(scope="module")
def unreported(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return build(tmp_path_factory.mktemp("run"), failing(9_000, reported=False))


def test_a_failed_turn_is_in_the_group_of_its_own_tokens(reported: Summary) -> None:
    assert counts(by_context(reported)["gateway"]) == {
        "to 2k": (0, 40),
        "2k to 4k": (0, 20),
        "4k to 8k": (0, 60),
        "8k to 16k": (80, 80),
    }


def test_a_failed_turn_without_tokens_is_in_the_group_of_the_last_turn_of_its_session_with_tokens(
    unreported: Summary,
) -> None:
    latency = by_context(unreported)["gateway"]

    assert counts(latency) == {"to 2k": (0, 40), "2k to 4k": (0, 20), "4k to 8k": (80, 140)}
    assert [group.failed_at_bound for group in latency.groups] == [0, 0, 80]
    assert latency.groups[-1].failed_by_outcome == {UNAVAILABLE: 80}
    (bound,) = {entry.context_tokens for entry in unreported.context_failures}
    assert bound == FIRST + 5 * STEP


def test_turns_with_unknown_tokens_are_a_group_of_their_own(tmp_path: Path) -> None:
    def change(index: int, row: Row) -> Row:
        tokens = None if row["turn"] == 1 or index % 7 == 0 else tokens_of(row)
        return (
            row
            | {"context_tokens": tokens}
            | ({"outcome": "closed:1006"} if row["turn"] == 1 else {})
        )

    summary = build(tmp_path, change)
    latency = by_context(summary)["direct"]
    values = [
        of
        for of in summary_data(summary)["groups"]
        if (of["metric"], of["target"]) == ("turns", "direct")
    ]
    rows = [of for of in values if of["group"]["by"] == "context"]

    assert latency.unknown is not None
    assert latency.unknown.failed_by_outcome == {"closed:1006": 20}
    assert sum(group.turns for group in latency.all_groups) == summary.results[0].turns == 200
    assert rows[-1]["group"] == {"by": "context", "name": "unknown", "from": None, "to": None}
    assert sum(row["n"] for row in rows) == 200
    assert "unknown" in str(section(summary))
    assert "unknown" not in str(latency_section(summary))


@pytest.mark.parametrize("run", ["reported", "unreported"])
def test_failures_that_rise_with_the_context_are_stated_with_what_to_give_to_support(
    run: str, request: pytest.FixtureRequest
) -> None:
    summary: Summary = request.getfixturevalue(run)
    sentence = {
        "reported": "gateway: 100 % of the turns failed with 8k to 16k tokens and 0 % with fewer",
        "unreported": (
            "gateway: 57.1 % of the turns failed with 4k to 8k tokens or more and 0 % with fewer"
        ),
    }[run]
    texts = [
        text.replace("\xa0", " ")
        for text in (*notices(summary), *run_forms(summary), run_text(summary, 400))
    ]

    assert f"{sentence}: results of the whole run combine both." in texts
    for page in texts[-3:]:
        assert sentence in page.replace("&nbsp;", " ")
        assert "give the service’s support the turns" in page
        for entry in summary.context_failures[:1]:
            assert entry.service_session in page
            assert entry.request in page
    assert next_step(summary).startswith("Failures rise with the length of the conversation: give")


def test_the_turns_for_support_are_of_different_sessions_and_have_their_ids(
    reported: Summary,
) -> None:
    entries = reported.context_failures
    turns = rtbench.load(reported.run.folder).turns

    assert {entry.target for entry in entries} == {"gateway"}
    assert len({entry.session for entry in entries}) == len(entries) == 3
    for entry in entries:
        (row,) = turns[
            (turns["session_id"] == entry.session) & (turns["turn"] == entry.turn)
        ].to_dict("records")
        assert (
            (row["outcome"], row["context_tokens"])
            == (entry.outcome, entry.context_tokens)
            == (UNAVAILABLE, 9_400)
        )
        assert (row["start_utc_ns"], row["response_id"]) == (entry.started_utc_ns, entry.response)
        assert not entry.is_bound
    assert [row["context_tokens"] for row in summary_data(reported)["context_failures"]] == [
        9_400
    ] * 3


def test_a_run_without_a_certain_difference_has_the_table_but_no_sentence(tmp_path: Path) -> None:
    summary = build(tmp_path, at_random(0.05, 1))

    assert "No target certainly fails more often" in section_html(section(summary))
    assert summary.context_failures == ()
    assert not any("tokens" in text for text in notices(summary))
    assert "support" not in next_step(summary)


def test_failures_that_do_not_depend_on_the_context_are_rarely_reported(tmp_path: Path) -> None:
    runs, found = trials(12, 60), list[str]()
    for seed in range(runs):
        folder = synthetic.write(tmp_path / str(seed), Plan(sessions=30, turns=8))
        frames = load_for_report(edit(folder, "turns", at_random(0.15, seed)))
        _, differences = latency_by(frames, samples_of(frames))
        found += [difference.what for difference in differences if difference.of.by == "context"]

    assert found.count("failed") <= runs / 20
    assert set(found) <= {"failed"}


def test_the_table_has_outcomes_intervals_and_the_median_of_the_main_metric(
    unreported: Summary,
) -> None:
    page = run_forms(unreported)[1].replace("\xa0", " ")
    row = next(
        line for line in page.splitlines() if line.startswith("| 4k to 8k | gateway | 140 | 20 |")
    )

    assert "57.1 % (80 of 140; " in row
    assert "inference\\_service\\_unavailable\\_error 80" in row
    assert "∞" in row
    assert (
        "80 failed turns reported no input tokens: they are in the group of the last turn" in page
    )
