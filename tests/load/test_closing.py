"""The end of a run: what it says then, and what is left of one that could not be reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.load.leading.looks import (
    REPORT_S,
    holds_rows,
    longest_report_s,
    run_status,
    uncut,
    with_sentence,
)
from bench.run.spool import path_of
from tests.load.live_run import Stand


@pytest.mark.parametrize("pairs", [0, 1])
def test_a_run_holds_rows_as_soon_as_one_has_reached_the_disk(pairs: int, tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    for _ in range(pairs):
        stand.play()
    stand.live.close()

    assert holds_rows(stand.folder) is (pairs > 0)


def test_a_run_that_was_closed_holds_its_rows(tmp_path: Path) -> None:
    assert holds_rows(tmp_path)


def test_a_report_of_many_rows_may_take_longer(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    assert longest_report_s(tmp_path) == REPORT_S
    with path_of(tmp_path, 0, "turns.arrows").open("wb") as spool:
        spool.truncate(10**9)  # as of a million turns

    assert longest_report_s(tmp_path) > REPORT_S + 3_600


@pytest.mark.parametrize(
    ("length_s", "warmup_s", "settings", "said"),
    [
        (600, 0, {}, True),
        (599, 0, {}, False),
        (600, 60, {}, False),
        (600, 0, {"warmup": "0"}, False),
    ],
)
def test_a_long_run_says_that_nothing_was_cut_unless_somebody_wanted_it_so(
    length_s: float, warmup_s: float, settings: dict[str, str], said: bool
) -> None:
    found = uncut({"warmup_s": warmup_s, "settings": settings}, length_s)

    assert len(found) == said
    assert all("--warmup" in notice for notice in found)


def test_what_was_decided_stands_above_the_verdict_and_the_page() -> None:
    summary = with_sentence("figures\nmore\nvalid\nreport.html", "not regressed: 3 looks\n\na table", 80)

    assert summary.splitlines() == ["figures", "more", "not regressed: 3 looks", "valid", "report.html"]


def test_what_was_decided_is_no_wider_than_the_terminal_and_the_last_two_lines_stay_as_they_are() -> None:
    last = ["VALID, and a line that is longer than the terminal is wide", "runs/2026/" + "x" * 60 + "/report.html"]
    sentence = (
        "west regressed: ttfa p95 +47 % (corrected +45 %; 90 % interval +21 % … +70 %), margin 20 %; failure rate −1"
    )
    *wrapped, verdict, path = with_sentence("\n".join(last), sentence, 40).splitlines()

    assert [verdict, path] == last
    assert " ".join(wrapped) == sentence
    assert len(wrapped) > 1
    assert max(map(len, wrapped)) <= 40


@pytest.mark.parametrize(
    ("validity", "status"),
    [({"status": "valid"}, None), ({"status": "invalid"}, 4), ({"status": "no_verdict"}, 4), (None, 4)],
)
def test_only_a_run_that_is_valid_leaves_the_exit_status_to_locust(
    validity: dict[str, str] | None, status: int | None
) -> None:
    assert run_status({"validity": validity}) == status
