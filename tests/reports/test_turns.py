"""Which turns are pooled, and which of many details is quoted of an outcome."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from bench.metrics import outcome_class
from bench.remedies import remedy_of
from bench.run.folder import SCHEMAS
from bench.run.histograms import MAX_STEPS, OTHER_STEP, Histograms
from reports.runs import RunFrames, session_frame, turn_frame
from reports.summary.outcomes import Ending, Outcomes, said_of
from reports.turns import turns_of
from reports.wording.validity import remedy_line


def run_of(rows: list[dict[str, Any]]) -> RunFrames:
    known = {"session_id": "s1", "target": "sim", "outcome": "ok", "measured_from": "request_sent", "turn": 1}
    turns = turn_frame(pa.Table.from_pylist([known | row for row in rows], schema=SCHEMAS["turns"]))
    nobody = session_frame(SCHEMAS["sessions"].empty_table())
    return RunFrames(Path("run"), {}, turns, nobody, pd.DataFrame(), Histograms(), finalized=True)


def test_the_labels_with_the_most_turns_stand_by_themselves_and_the_others_share_one() -> None:
    numbers = [number for number in range(40) for _ in range(1 + number)]
    found = turns_of(run_of([{"script": "long", "step": f"step_{number}"} for number in numbers]))

    told = Counter(found.steps[int(step)] for step in found.step)
    assert told[OTHER_STEP] == sum(1 + number for number in range(40 - MAX_STEPS))
    assert {f"step_{number}": 1 + number for number in range(40 - MAX_STEPS, 40)} == {
        step: n for step, n in told.items() if step != OTHER_STEP
    }
    assert found.frame["step"].nunique() == 40


def test_each_script_has_labels_of_its_own() -> None:
    rows = [{"script": script, "step": f"{script}_{number}"} for script in "ab" for number in range(MAX_STEPS)]

    assert len(turns_of(run_of(rows)).steps) == 2 * MAX_STEPS


def test_labels_of_the_warm_up_take_no_place() -> None:
    rows = [{"script": "a", "step": f"cold_{number}", "phase": "warmup"} for number in range(MAX_STEPS)]
    rows += [{"script": "a", "step": f"step_{number}", "phase": "measurement"} for number in range(MAX_STEPS)]

    assert OTHER_STEP not in turns_of(run_of(rows)).steps


SILENCE = "nothing came within the limit next_delta of 10 s"


def rows(*details: str | None, outcome: str = "timeout:next_delta", kind: str = "failed") -> pd.DataFrame:
    return pd.DataFrame({"outcome": outcome, "outcome_class": kind, "detail": pd.Series(details, dtype=object)})


def test_the_commonest_detail_of_an_outcome_is_quoted() -> None:
    assert said_of(rows("a", "b", "b", None)) == {"timeout:next_delta": "b"}


def test_what_the_service_said_goes_before_what_is_commoner_and_says_nothing_of_the_cause() -> None:
    told = [f"{SILENCE}; the service said: overloaded: request {number}" for number in (1, 2)]

    assert said_of(rows(SILENCE, SILENCE, SILENCE, *told)) == {"timeout:next_delta": told[0]}


def test_of_turns_that_did_not_fail_nothing_is_quoted() -> None:
    assert said_of(rows("the run ended", outcome="unfinished", kind="unfinished")) == {}


def ending(outcome: str, count: int) -> Ending:
    return Ending(outcome, outcome_class(outcome), (count,))


def outcomes(turns: list[Ending], sessions: list[Ending]) -> Outcomes:
    return Outcomes(tuple(turns), tuple(sessions), (9,), (0,), (0,), (0,), (), (9,), (0,))


def test_what_to_do_is_said_once_for_all_outcomes_that_it_is_for_the_commonest_first() -> None:
    turns = [ending("ok", 50), ending("closed:1001", 2), ending("closed:1000", 5), ending("failed:x", 6)]
    found = outcomes(turns, [ending("closed:1000", 5), ending("connect_failed:tcp", 9)]).remedies()

    assert [remedy.outcomes for remedy in found] == [
        ("connect_failed:tcp",),
        ("failed:x",),
        ("closed:1000", "closed:1001"),
    ]
    assert remedy_line(found[0]) == f"connect_failed:tcp: {remedy_of('connect_failed:tcp')}"


def test_where_nothing_failed_there_is_nothing_to_do() -> None:
    assert outcomes([ending("ok", 5), ending("unfinished", 1)], [ending("ok", 2)]).remedies() == []
