"""Synthetic runs of telephone calls, with known endings and packets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.services.telephone import TELEPHONE
from reports.analysis.summary.summary import Summary, summarise
from reports.data.runs import load_for_report
from tests.reports.check.examples import run
from tests.reports.edited import Row, edit
from tests.reports.synthetic import Plan

BUSY, FULL = "SIP 486 Busy Here", "SIP 503 Service Unavailable"
CALLS, REFUSED = 40, 8
PLAN = Plan(sessions=CALLS, turns=2, refused=REFUSED)


def called(
    folder: Path, *changes: dict[str, Any], refusals: tuple[tuple[str, str], ...] = ()
) -> Path:
    """Return a run of telephone calls. The first answered calls have these changes, and the refused
    ones these endings.

    Without changes, an answered call has 100 packets, of which one was lost and one was late.
    """
    path = run(folder, PLAN)
    document = json.loads((path / "run.json").read_text(encoding="utf-8"))
    document["targets"] = [
        {"name": "sim", "url": "sip:agent@127.0.0.1:5060", "dialect": TELEPHONE.name}
    ]
    (path / "run.json").write_text(json.dumps(document), encoding="utf-8")
    answered, refused = iter(changes), iter(refusals)

    def change(_: int, row: Row) -> Row:
        if row["opened_at_ns"] is None:
            outcome, detail = next(refused, ("connect_failed:486", BUSY))
            return row | {"outcome": outcome, "cause": detail}
        return row | {"rtp_expected": 100, "rtp_lost": 1, "rtp_late": 1} | next(answered, {})

    return edit(path, "sessions", change)


def summary_of_calls(folder: Path, *changes: dict[str, Any], **options: Any) -> Summary:
    return summarise(load_for_report(called(folder, *changes, **options)))
