"""The verdicts of an agent that dials, by kind of callee, in the report of its calls."""

from __future__ import annotations

import re
from pathlib import Path

from reports.analysis.summary.summary import summarise
from reports.data.runs import load_for_report
from tests.reports.edited import Row, edit
from tests.reports.forms import run_html
from tests.reports.telephone_calls import called

KINDS: dict[str, tuple[list[tuple[bool | None, ...]], tuple[int, ...]]] = {
    # of each kind: the verdicts of its calls; then how many are wrong, right, and not scored
    "person": ([(True, None, None), (False, None, None), (None, None, None)], (1, 1, 1)),
    "mailbox": (
        [(None, False, False), (None, False, True), (None, True, None), (None, False, None)],
        (2, 1, 1),
    ),
    "busy": ([()], (0, 0, 1)),
}


def test_the_verdicts_of_an_agent_are_counted_by_kind_of_callee(tmp_path: Path) -> None:
    path = called(tmp_path / "run")
    names = ("taken_for_mailbox", "taken_for_person", "spoke_before_beep")
    drawn = [(kind, verdicts) for kind, (each, _) in KINDS.items() for verdicts in each]
    of_session = dict(enumerate(drawn))
    ids: list[str] = []

    def session(index: int, row: Row) -> Row:
        ids.append(row["session_id"])
        return row | {"callee": of_session[index][0] if index in of_session else None}

    def turn(_: int, row: Row) -> Row:
        kind, verdicts = of_session.get(ids.index(row["session_id"]), ("", ()))
        is_first = row["turn"] == 1 and verdicts
        return (
            row | dict(zip(("callee", *names), (kind, *verdicts), strict=True)) if is_first else row
        )

    edit(path, "sessions", session)
    edit(path, "turns", turn)
    summary = summarise(load_for_report(path))
    (calls,) = summary.calls

    assert {of.part: (of.events, of.n - of.events, of.unscored) for of in calls.verdicts} == {
        kind: counts for kind, (_, counts) in KINDS.items()
    }
    page = run_html(summary)
    assert re.search(r"(?s)Verdicts of the agent.*mailbox.*person", page)
