"""Runs whose sessions replay recorded calls."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from reports.analysis.check.check import check_of
from reports.text.check_sentences import notices
from tests.reports.check.examples import ENOUGH, run, thresholds
from tests.reports.edited import edit


def notices_of(folder: Path, calls: int, *, recorded: bool) -> list[str]:
    """Return the notices on a check of a run of 60 sessions, which play this many scripts in
    turn.
    """
    run(folder, replace(ENOUGH, failed=0.0))
    for table in ("turns", "sessions"):
        edit(
            folder,
            table,
            lambda index, row: (
                row | {"script": f"call-{index * calls // 600 if 'turn' in row else index % calls}"}
            ),
        )
    document = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    script = document["scripts"][0]
    document["scripts"] = [
        script | {"name": f"call-{call}", "recorded_call": recorded} for call in range(calls)
    ]
    (folder / "run.json").write_text(json.dumps(document), encoding="utf-8")
    return [
        notice
        for notice in notices(check_of(folder, thresholds("ttfa: med<9s")))
        if "replay" in notice
    ]


def test_sessions_that_replay_recorded_calls_state_the_number_of_different_calls(
    tmp_path: Path,
) -> None:
    (notice,) = notices_of(tmp_path, 20, recorded=True)

    assert (
        notice.replace("\u00a0", " ")
        == "60 sessions replay 20 recorded calls: intervals and verdicts hold for these 20 calls,"
        " not for other calls."
    )
