"""A run with events: what each did to callers, against the time before, and what is unknown."""

from __future__ import annotations

import shutil
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from bench.record.folder import read_document, write_document
from reports.analysis.check.check import check_of
from reports.analysis.events import (
    BEFORE,
    DIFFERENCE,
    DROPPED,
    FAILED_TURNS,
    MIN_CALLS,
    NEW_FAILED,
    event_values,
    harmed,
)
from reports.analysis.summary.summary import summarise
from reports.data.runs import load_for_report
from reports.data.samples import samples_of
from reports.formatting import NBSP
from reports.metrics.thresholds import parse
from reports.pages.run_report import report
from reports.pages.run_report.sections.events import events
from reports.results.value import Reason, Value, ValuesOfSubject
from reports.text.events import event_lines, events_of, harm_text, recovery_text
from reports.text.reasons import reason_text
from tests.reports.edited import Row, edit
from tests.reports.synthetic import BEGAN_NS, Plan, write

S = 10**9
CALLS, TURNS, END_S = 80, 40, 400
EVENT_S, SECOND_S = 200, 300
LONG = 40
"""The first calls last for the whole run; each of the others begins 10 s after the one before."""
SLOW_S = 30


def run_of(
    folder: Path,
    *,
    dropped: int = 0,
    after_s: int = 1,
    refused: int = 0,
    times: float = 1.0,
    seed: int = 1,
    names: tuple[str | None, ...] = ("deploy",),
    **plan: Any,
) -> Path:
    """Write a run with an event at EVENT_S, and perhaps a second one at SECOND_S. Then
    `dropped` calls end `after_s` after the first, `refused` calls do not open, and replies are
    slower for SLOW_S.
    """
    rng = np.random.default_rng(seed)
    entries = [
        {"name": name, "planned_s": float(at_s), "at_utc_ns": BEGAN_NS + at_s * S}
        for name, at_s in zip(names, (EVENT_S, SECOND_S), strict=False)
    ]
    write(folder, Plan(CALLS, TURNS, seconds=float(END_S), **plan), events=entries)

    def begin_s(index: int) -> int:
        return 0 if index < LONG else 10 * (index - LONG)

    sessions: dict[Any, int] = {}

    def call(index: int, row: Row) -> Row:
        sessions[row["session_id"]] = index
        row |= {"start_utc_ns": BEGAN_NS + begin_s(index) * S}
        row |= {"ended_at_ns": (END_S if index < LONG else 9) * S}
        if index < dropped:
            return row | {"outcome": "closed:1001", "ended_at_ns": (EVENT_S + after_s) * S}
        first_refused = LONG + EVENT_S // 10
        if first_refused <= index < first_refused + refused:
            return row | {"outcome": "connect_failed:503", "session_updated_at_ns": None}
        return row

    def turn(index: int, row: Row) -> Row:
        at_s = float(rng.uniform(0, END_S - 10))
        slow = times if EVENT_S <= at_s < EVENT_S + SLOW_S else 1.0
        latency_ns = round(5e8 * slow * float(np.exp(0.2 * rng.standard_normal())))
        return row | {
            "start_utc_ns": BEGAN_NS + round(at_s * S),
            "first_audio_at_ns": row["speech_end_at_ns"] + latency_ns,
        }

    edit(folder, "sessions", call)
    return edit(folder, "turns", turn)


def values_of(folder: Path) -> list[Value]:
    run = load_for_report(folder)
    return list(event_values(run, samples_of(run)))


def of_event(values: list[Value], name: str = "deploy") -> tuple[ValuesOfSubject, ValuesOfSubject]:
    ((_, found),) = [item for item in events_of(values).items() if item[0][1] == name]
    return found


@pytest.fixture(scope="module")
def harmful_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("events")
    return run_of(folder, dropped=10, refused=4, times=2.0, names=("deploy", "later"))


@pytest.fixture(scope="module")
def harmful(harmful_run: Path) -> list[Value]:
    return values_of(harmful_run)


@pytest.fixture(scope="module")
def harmless_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(tmp_path_factory.mktemp("events"), seed=2)


@pytest.fixture
def harmless_copy(harmless_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(harmless_run, tmp_path / "run")


def test_calls_that_an_event_ended_or_refused_are_counted(harmful: list[Value]) -> None:
    row, before = of_event(harmful)

    counts = {name: (row[name].events, row[name].n) for name in (DROPPED, NEW_FAILED)}
    assert counts == {DROPPED: (10, LONG), NEW_FAILED: (4, 6)}
    assert (before[DROPPED].events, before[DROPPED].n, before[NEW_FAILED].n) == (0, LONG, 6)
    assert row[f"{DROPPED} {DIFFERENCE}"].low > 0


@pytest.mark.parametrize(("after_s", "is_compared"), [(90, True), (150, False)])
def test_calls_that_a_slow_stop_ends_are_counted_and_compared_if_they_can_be(
    after_s: int, is_compared: bool, tmp_path: Path
) -> None:
    folder = run_of(tmp_path / "run", dropped=10, after_s=after_s, seed=2)
    values = values_of(folder)
    row, _ = of_event(values)

    assert (row[DROPPED].events, row[DROPPED].n) == (10, LONG)
    (line,) = event_lines(values, named=False)
    later = f"10{NBSP}calls failed later than"
    assert (bool(harmed(row)), later in line) == (is_compared, not is_compared)


def test_each_event_is_compared_with_the_time_before_the_first(harmful: list[Value]) -> None:
    row, before = of_event(harmful, "later")

    assert not harmed(row)
    assert before[DROPPED].n == LONG
    assert row[DROPPED].n == LONG - 10


def test_latency_is_slower_in_the_window_and_then_recovers(harmful: list[Value]) -> None:
    row, _ = of_event(harmful)

    change = row["latency p95 change"]
    assert change.low < 100 * (2.0 - 1) < change.high
    recovery = row["recovery_time value"]
    assert recovery.low <= SLOW_S * 1000 <= recovery.high


def test_without_harm_the_report_states_what_would_have_been_missed(harmless_run: Path) -> None:
    (line,) = event_lines(values_of(harmless_run), named=False)

    assert line.startswith("Event deploy: no harm was seen; at most ")
    assert line.endswith(" would have been missed.")


def test_harm_is_counted_in_its_line(harmful: list[Value]) -> None:
    line, later = event_lines(harmful, named=False)

    assert line.startswith(
        "Event deploy: harm: 10 of 40 calls in progress dropped (25 %)".replace(" %", "\xa0%")
    )
    assert later.startswith("Event later: no harm was seen")


def test_events_follow_the_headline_and_have_a_link(
    harmful_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "SECTIONS", {"Events": report.SECTIONS["Events"]})
    page = report.run_page(summarise(load_for_report(harmful_run)))

    assert page.links["Events"] == "events"
    assert page.second[0].startswith("Event deploy: harm: ")


FEW = Reason("few_before_event")
FAILED = Value(
    target="", metric=NEW_FAILED, statistic="rate", n=80, sessions=80, count=60, value=0.75
)
NOT_COMPARED = structs.replace(FAILED, statistic=DIFFERENCE, value=np.nan, reason=FEW)
ENDLESS = Value(
    target="",
    metric="latency",
    statistic="p95 change",
    n=16,
    sessions=16,
    failed=9,
    value=np.inf,
    low=-100.0,
)


def test_counts_are_named_also_without_a_comparison_and_why_a_value_is_unknown(
    harmful: list[Value],
) -> None:
    row = {value.name: value for value in (FAILED, NOT_COMPARED)}
    few = "too few calls or turns before the event: place it later"
    counts = f"60 of 80 new calls failed (75{NBSP}%)"
    assert harm_text(row) == f"unknown: {few}; {counts}"
    harm = harm_text({**of_event(harmful)[0], **row})
    assert harm.startswith("harm: 10 of 40")
    assert harm.endswith(f"; {counts}, not compared: {few}")

    endless = structs.replace(ENDLESS, high=np.inf)
    assert harm_text({endless.name: endless}) == "unknown: without bounds: 9 of 16\xa0turns failed"
    late = structs.replace(ENDLESS, low=12_000.0, reason=Reason("not_recovered_event"))
    assert recovery_text(late).endswith(f"may show it (not before 12{NBSP}s)")


def test_a_value_that_may_not_be_used_shows_neither_harm_nor_its_absence(
    harmful: list[Value],
) -> None:
    row, _ = of_event(harmful)
    slower = row["latency p95 change"]
    assert harmed({slower.name: slower})
    unusable = structs.replace(slower, reason=Reason("part_not_run", {"part": "deploy"}))

    assert not harmed({slower.name: unusable})
    assert harm_text({slower.name: unusable}) == "unknown: the run ended before deploy"
    reason = Reason("part_invalid", {"part": BEFORE, "cause": "send_delay"})
    assert reason_text(reason) == "INVALID before the events: audio was sent late"


def test_few_calls_or_turns_are_unknown_and_not_harmless(harmless_copy: Path) -> None:
    def only(index: int, row: Row) -> Row:
        return row | {"start_utc_ns": row["start_utc_ns"] + (EVENT_S * S if index >= 3 else 0)}

    row, _ = of_event(values_of(edit(harmless_copy, "sessions", only)))
    assert row[f"{DROPPED} {DIFFERENCE}"].reason is not None
    assert np.isnan(row[f"{DROPPED} {DIFFERENCE}"].value)
    assert MIN_CALLS > 3


def test_an_event_that_did_not_happen_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    entry = {"name": "deploy", "planned_s": 900.0, "at_utc_ns": None}
    write(folder, Plan(20, 4), events=[entry])

    (section,) = events(summarise(load_for_report(folder)))
    assert f"deploy, at 15{NBSP}min: the run ended before it" in section.blocks[0].text


def test_thresholds_limit_the_worst_event_of_a_run(harmful_run: Path, tmp_path: Path) -> None:
    results = {
        ("dropped_share", "rate<1%"): "fail",
        ("dropped_share", "rate<50%"): "pass",
        ("dropped_share", "rate<30%"): "inconclusive",
        ("new_failed_share", "rate<99%"): "inconclusive",  # of six calls
        ("failed_turn_share", "rate<50%"): "pass",
        ("recovery_time", "value<10s"): "fail",
    }
    thresholds = list(starmap(parse, results))
    judged = check_of(harmful_run, thresholds).thresholds
    assert [each.result for each in judged] == [*results.values()]

    folder = shutil.copytree(harmful_run, tmp_path / "run")
    document = read_document(folder)
    document["events"].append({"name": "missed", "planned_s": 900.0, "at_utc_ns": None})
    write_document(folder, document)
    judged = check_of(folder, [parse("dropped_share", "rate<50%")]).thresholds
    assert [each.result for each in judged] == ["inconclusive"]


def test_a_run_without_events_has_no_section(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write(folder, Plan(5, 2))

    assert not list(events(summarise(load_for_report(folder))))
    (judged,) = check_of(folder, [parse("dropped_share", "rate<1%")]).thresholds
    assert judged.result == "not_evaluated"


def test_cut_turns_and_calls_that_begin_after_an_event_and_fail_are_counted(
    harmless_copy: Path,
) -> None:
    def call(index: int, row: Row) -> Row:
        if index == 0:  # it is connecting at the event
            row |= {"start_utc_ns": BEGAN_NS + EVENT_S * S - S, "session_updated_at_ns": None}
            return row | {"outcome": "connect_failed:tcp", "ended_at_ns": 2 * S}
        is_later = row["start_utc_ns"] >= BEGAN_NS + EVENT_S * S
        return row | {"outcome": "closed:1001"} if is_later else row

    def cut(index: int, row: Row) -> Row:
        at_ns = BEGAN_NS + EVENT_S * S
        if index < 6:
            row |= {"start_utc_ns": at_ns - S, "ended_at_ns": 2 * S}
        elif index < 10:  # silence from the event on, which ends after the window
            row |= {"start_utc_ns": at_ns + S, "ended_at_ns": 150 * S}
        return row | {"outcome": "timeout:first_delta"} if index < 10 else row

    edit(harmless_copy, "turns", cut)
    row, _ = of_event(values_of(edit(harmless_copy, "sessions", call)))
    assert row[FAILED_TURNS].events == 10
    assert (row[DROPPED].events, row[DROPPED].n) == (1, LONG)
    assert (row[NEW_FAILED].events, row[NEW_FAILED].n) == (6, 6)
