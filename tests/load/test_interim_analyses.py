"""A run until a decision, during which the load generator is overloaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.load.runners.finalized_run import (
    REPORT_S,
    holds_rows,
    longest_report_s,
    missing_warmup_notice,
    run_status,
    with_sentence,
)
from bench.load.runners.interim_analyses import OverloadWatch
from bench.record.spool import path_of
from tests.load.fake_live_run import FakeRun

LATE = "send_delay 14.2 ms > 10 ms"


class RecordedWatch:
    """The overload watch of a run with this number of planned pairs, and a record of its effects.

    `messages` contains the messages of the watch. `stopped` contains the reasons for which the
    watch ended the run.
    """

    def __init__(self, pairs: int) -> None:
        self.messages: list[str] = []
        self.stopped: list[str] = []
        self.lateness = OverloadWatch(pairs, say=self.messages.append, give_up=self.stopped.append)

    def consider(self, *seconds: tuple[int, str], turns: int = 200) -> list[bool]:
        """Apply one (complete pairs, text about what is late) per second.

        Return, for each second, whether the interim analyses are paused.
        """
        return [self.lateness.consider(late, pairs, turns) for pairs, late in seconds]


def test_an_overloaded_load_generator_is_reported_and_pauses_interim_analyses() -> None:
    watch = RecordedWatch(500)

    assert watch.consider((0, ""), (1, LATE), (2, LATE), (3, ""), (4, "")) == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert len(watch.messages) == 2
    assert LATE in watch.messages[0]
    assert "the run ends if the overload lasts for 50 pairs" in watch.messages[0]
    assert "keeps up again; interim analyses continue" in watch.messages[1]
    assert watch.stopped == []


@pytest.mark.parametrize(("pairs", "most"), [(500, 50), (200, 20), (105, 11), (60, 10), (20, 10)])
def test_a_run_ends_after_a_tenth_of_its_pairs_with_an_overloaded_load_generator(
    pairs: int, most: int
) -> None:
    watch = RecordedWatch(pairs)
    watch.consider((7, LATE), (6 + most, LATE))
    assert watch.stopped == []
    watch.consider((7 + most, LATE), (8 + most, LATE))

    assert watch.stopped == [
        f"the load generator was overloaded for {most} pairs in a row ({LATE})"
    ]


def test_pairs_before_the_end_of_an_earlier_overload_do_not_count() -> None:
    watch = RecordedWatch(500)
    watch.consider((0, LATE), (49, LATE), (49, ""), (50, LATE), (99, LATE))
    assert watch.stopped == []
    watch.consider((100, LATE))

    assert len(watch.stopped) == 1


def test_a_run_does_not_end_for_an_overload_within_200_turns() -> None:
    watch = RecordedWatch(100)
    watch.consider((1, LATE), (24, LATE), turns=199)
    assert watch.stopped == []
    watch.consider((25, LATE), turns=200)

    assert watch.stopped == [f"the load generator was overloaded for 24 pairs in a row ({LATE})"]


# The end of a run: its messages, and the files that remain of a run that could not be reported.


@pytest.mark.parametrize("pairs", [0, 1])
def test_a_run_has_rows_once_one_is_on_disk(pairs: int, tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    for _ in range(pairs):
        run.play()
    run.live.close()

    assert holds_rows(run.folder) is (pairs > 0)


def test_a_closed_run_has_rows(tmp_path: Path) -> None:
    assert holds_rows(tmp_path)


def test_the_time_limit_of_a_report_grows_with_its_rows(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    assert longest_report_s(tmp_path) == REPORT_S
    with path_of(tmp_path, 0, "turns.arrows").open("wb") as spool:
        spool.truncate(10**9)  # the size of a million turns

    assert longest_report_s(tmp_path) > REPORT_S + 3_600


@pytest.mark.parametrize(
    ("length_s", "warmup_s", "settings", "expected"),
    [
        (600, 0, {}, True),
        (599, 0, {}, False),
        (600, 60, {}, False),
        (600, 0, {"warmup": "0"}, False),
    ],
)
def test_a_long_run_without_warmup_gives_a_notice_unless_warmup_is_0(
    length_s: float, warmup_s: float, settings: dict[str, str], expected: bool
) -> None:
    found = missing_warmup_notice({"warmup_s": warmup_s, "settings": settings}, length_s)

    assert len(found) == expected
    assert all("--warmup" in notice for notice in found)


def test_the_decision_is_printed_above_the_verdict_and_the_report_path() -> None:
    summary = with_sentence(
        "figures\nmore\nvalid\nreport.html", "not regressed: 3 looks\n\na table", 80
    )

    assert summary.splitlines() == [
        "figures",
        "more",
        "not regressed: 3 looks",
        "valid",
        "report.html",
    ]


def test_the_decision_is_wrapped_to_the_terminal_and_the_last_two_lines_are_unchanged() -> None:
    last = [
        "VALID, and a line that is longer than the terminal is wide",
        "runs/2026/" + "x" * 60 + "/report.html",
    ]
    sentence = (
        "west regressed: ttfa p95 +47 % (corrected +45 %; 90 % interval +21 % … +70 %), margin 20"
        " %; failure rate −1"
    )
    *wrapped, verdict, path = with_sentence("\n".join(last), sentence, 40).splitlines()

    assert [verdict, path] == last
    assert " ".join(wrapped) == sentence
    assert len(wrapped) > 1
    assert max(map(len, wrapped)) <= 40


@pytest.mark.parametrize(
    ("validity", "status"),
    [
        ({"status": "valid"}, None),
        ({"status": "invalid"}, 4),
        ({"status": "no_verdict"}, 4),
        (None, 4),
    ],
)
def test_only_a_valid_run_leaves_the_exit_status_to_locust(
    validity: dict[str, str] | None, status: int | None
) -> None:
    assert run_status({"validity": validity}) == status
