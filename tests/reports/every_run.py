"""Runs of every type, and the decision of interim analyses, of which tests store the texts and
the numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow.parquet as pq

from bench.record.validity import EARLY_REPLIES
from reports.analysis.sequential.decide import Decision, decision_of
from reports.analysis.summary.summary import Summary, summarise
from reports.data.runs import load_for_report
from tests.reports import synthetic
from tests.reports.edited import Row, edit
from tests.reports.planned import TWO, planned
from tests.reports.shared import folder, frames_of
from tests.reports.synthetic import BEGAN_NS, Plan, target_keys

PAIR = ("direct", "gateway")
DRAWN = Plan(
    sessions=60,
    turns=6,
    targets=PAIR,
    paired=True,
    usage=True,
    limited=True,
    failed=0.03,
    seconds=200,
    warmup_s=20.0,
)
RICH = Plan(
    sessions=120,
    turns=10,
    targets=PAIR,
    failed=0.02,
    seconds=300,
    warmup_s=40,
    paired=True,
    usage=True,
    limited=True,
    refused=2,
    auth_waits=3,
)
HOST = {
    "name": "red",
    "workers": 1,
    "kernel": "Linux",
    "clock_offset_ns": None,
    "clock_offset_uncertainty_ns": None,
}
TAKEN = {
    "cores": 4,
    "load_start": 7.2,
    "load_end": 14.6,
    "this_run": 0.031,
    "all_programs": 0.641,
    "steal": 0.12,
    "total_max": 0.998,
    "steal_max": 0.2,
}
CITED = {
    "date": "2026-11-20",
    "kind": "voice",
    "sessions": 2,
    "events_per_s": 9000.0,
    "exact_sessions": 100,
    "ended": "",
    "tls": True,
    "file": "calibration.json",
    "stale": ["with another kernel"],
}
INCIDENTS = [
    {
        "at_utc_ns": BEGAN_NS + n * 10**9,
        "worker": n,
        "kind": "auth_refresh",
        "text": "the endpoint: 500",
    }
    for n in range(4)
]
SPENT = {"budget_usd": 50.0, "estimate_usd": [4.0, 11.0]}
ARRIVALS = {
    "pattern": "poisson",
    "per_s": 1.5,
    "stages": None,
    "digest": None,
    "max_concurrent": 20,
    "started_utc_ns": BEGAN_NS + 10**9,
    "duration_s": None,
}
MS = 1_000_000


def edited_run(
    plan: Plan, sessions: Any = None, turns: Any = None, seconds: Any = None, **document: Any
) -> Summary:
    """Return the summary of a run in which some rows have been changed."""
    path = synthetic.write(folder() / "run", plan, **document)
    for table, change in (("sessions", sessions), ("turns", turns), ("seconds", seconds)):
        if change:
            edit(path, table, change)
    return summarise(load_for_report(path))


def eventful(index: int, row: Row) -> Row:
    """Add context tokens to every turn. Depending on the number of the turn, also add one of three
    events.

    The events are a function call, an interruption, and word errors.
    """
    origin = row["speech_end_at_ns"]
    of = {
        2: {
            "turn_type": "function_calls",
            "function_call_added_at_ns": origin + 300 * MS,
            "function_call_done_at_ns": origin + 310 * MS,
            "function_execution_ns": 50 * MS,
        },
        3: {
            "barge_in_at_ns": 3_000 * MS,
            "barge_in_silent_at_ns": (3_100 + index % 40) * MS,
            "yielded": index // 6 % 7 > 0,
            "interruption": "speech",
            "unplayed_audio_ns": 3_000 * MS,
            "received_audio_ns": 4_000 * MS,
        },
        4: {"input_words": 20, "input_word_errors": index // 6 % 3, "cut_off": index // 6 % 9 == 0},
    }
    tokens = {
        "context_tokens": 300 + 1_500 * row["turn"],
        "context_cached_tokens": 750 * (row["turn"] - 1),
    }
    return row | tokens | (of.get(row["turn"], {}) if origin else {})


def refused(target: str, index: int, row: Row) -> Row:
    """Change a session of the target `target` to a session that did not open."""
    never = {
        "opened_at_ns": None,
        "session_created_at_ns": None,
        "update_sent_at_ns": None,
        "turns_started": 0,
    }
    gone = never | {"outcome": "connect_failed:tcp", "turns_not_started": row["turns_planned"]}
    return row | (gone if row["target"] == target else {})


def two_places(index: int, row: Row) -> Row:
    """Distribute the sessions over two hosts and two regions. The sessions of one host are 400
    ms slower.
    """
    red = int(row["session_id"][1:]) % 3 == 0
    named = {"host": "red" if red else "blue"} | (
        {"region": "Sweden Central" if red else "East US 2"} if "region" in row else {}
    )
    late = ("first_audio_at_ns", "first_audible_at_ns", "response_done_at_ns", "ended_at_ns")
    slow = red and "first_audio_at_ns" in row
    return (
        row | named | ({name: row[name] and row[name] + 400 * MS for name in late} if slow else {})
    )


def arriving() -> Summary:
    """Return an open-loop run. Each call starts 40 ms after it arrives, but four calls of one
    second are blocked.
    """
    plan = Plan(sessions=120, turns=2, seconds=100, refused=5)
    begun = {
        "call_arrival_at_ns": -40 * MS,
        "connect_start_at_ns": 0,
        "intended_start_at_ns": -3 * MS,
    }
    replied = {"first_reply_at_ns": 900 * MS, "caller_time_ns": 400 * MS}
    path = synthetic.write(folder() / "run", plan, arrivals=ARRIVALS, workers=4)
    calls = Counter(
        at // 10**9 for at in pq.read_table(path / "sessions.parquet")["start_utc_ns"].to_pylist()
    )
    edit(path, "sessions", lambda _, row: row | begun | (replied if row["outcome"] == "ok" else {}))
    edit(
        path,
        "seconds",
        lambda at, row: (
            row
            | {
                "calls_offered": calls[row["second"]] + 4 * (at == 50),
                "calls_blocked": 4 * (at == 50),
                "calls_delayed": 0,
            }
        ),
    )
    return summarise(load_for_report(path))


RISING = Plan(
    turns=6,
    targets=PAIR,
    failed=0.02,
    refused=3,
    seconds=240,
    slower=1 / 39,
    stages=((60, 5), (60, 15), (60, 25), (60, 40)),
)
DEAD = Plan(sessions=80, turns=4, targets=("a", "dead"), paired=True)
RUNS: dict[str, Callable[[], Summary]] = {
    "small": lambda: edited_run(Plan()),
    "rich": lambda: edited_run(
        RICH,
        **target_keys(RICH, deflate=True) | SPENT,
        calibration=CITED,
        incidents=INCIDENTS,
        labels={"commit": "1a2b3c"},
        settings={"num_users": 8},
    ),
    "mixed": lambda: edited_run(
        Plan(
            sessions=60,
            turns=5,
            kinds=("vad", "typed", "manual"),
            targets=("a", "b"),
            early=40,
            unattributed_commits=3,
            proxied=("b",),
            failed=0.05,
        )
    ),
    "text": lambda: edited_run(
        Plan(sessions=60, text=True, tls=False, simulated=False), calibration=None
    ),
    "invalid": lambda: edited_run(Plan(valid=False), hosts=[HOST | {"cpu_use": TAKEN}]),
    "not judged": lambda: edited_run(Plan(valid=None), validity=None, state="killed"),
    "failed": lambda: edited_run(Plan(failed=1.0)),
    "half failed": lambda: edited_run(Plan(sessions=40, failed=0.6, refused=3, abandoned=2)),
    "refused": lambda: edited_run(Plan(sessions=0, refused=3)),
    "nothing": lambda: edited_run(Plan(sessions=0)),
    "one turn": lambda: edited_run(Plan(sessions=1, turns=1)),
    "cut": lambda: edited_run(Plan(sessions=1, turns=2, abandoned=2)),
    "warm-up alone": lambda: edited_run(Plan(warmup_s=60, valid=None)),
    "a target without a turn": lambda: edited_run(
        DEAD,
        partial(refused, "dead"),
        lambda _, row: row if row["target"] == "a" else None,
        interleaved=True,
    ),
    "eventful": lambda: edited_run(
        Plan(sessions=60, turns=6, usage=True, simulated=False),
        turns=eventful,
        **target_keys(Plan()),
    ),
    "two places": lambda: edited_run(
        Plan(sessions=120, turns=6, kinds=("manual",), seconds=120),
        two_places,
        two_places,
        hosts=[
            HOST,
            HOST
            | {
                "name": "blue",
                "clock_offset_ns": 1_200_000,
                "clock_offset_uncertainty_ns": 300_000,
            },
        ],
    ),
    "early replies": lambda: edited_run(
        Plan(sessions=60, turns=10),
        validity={
            "status": "valid",
            "uncertain_metrics": [
                {
                    "target": "sim",
                    "metric": "voice_to_voice",
                    "value": 4.25,
                    "limit": 1.0,
                    "unit": "%",
                    "reason": EARLY_REPLIES,
                }
            ],
        },
    ),
    "uncertain": lambda: edited_run(
        Plan(sessions=60, turns=10, targets=PAIR, inexact=("response_total", "ttfa"))
    ),
    "six targets": lambda: edited_run(
        Plan(
            sessions=240,
            turns=5,
            targets=("s", "e", "s.quick", "s.alloy", "w", "j"),
            failed=0.03,
            seconds=300,
        )
    ),
    "calls that arrive": arriving,
    "rising load": lambda: edited_run(RISING),
}


def decided(primary: dict[str, list[str]], **document: Any) -> Decision:
    return decision_of(
        frames_of(TWO, **(target_keys(TWO) | {"sequential_plan": planned(primary)} | document))
    )
