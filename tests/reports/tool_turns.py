"""Synthetic runs whose turns have function calls or delegated tasks, with known instants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.analysis.summary.summary import Summary, summarise
from reports.data.runs import load_for_report
from tests.reports import synthetic
from tests.reports.edited import Row, edit
from tests.reports.synthetic import MS, Plan

NO_TURN_EVENTS = (
    "first_audio_at_ns",
    "first_text_at_ns",
    "first_transcript_at_ns",
    "transcript_done_at_ns",
    "response_created_at_ns",
    "response_done_at_ns",
    "speech_stopped_at_ns",
    "committed_at_ns",
    "input_transcribed_at_ns",
    "speech_started_at_ns",
    "audio_speed",
    "request_acked_at_ns",
)
"""The columns that are null for a target without turn events, such as GPT-Live."""


@dataclass(frozen=True)
class Tools:
    """The instants of a turn with tools in ms after the end of speech, and its columns."""

    first_sound: float = 700
    call: float = 900
    answer: float = 1_800
    silence: float = 1_000
    execution: float = 300
    tasks: int = 1
    filler: bool = True


def with_tools(
    folder: Path,
    plan: Plan,
    tools: Callable[[int, Row], Tools | None],
    *,
    live: tuple[str, ...] = (),
    **document: Any,
) -> Path:
    """Write a run in which each turn has the instants that `tools` returns. Return the folder of
    the run.

    The arguments of `tools` are the number of the row and the row. If it returns None, the turn is
    a regular turn. Failed turns have no instants. `live` are the targets without turn events.
    """
    synthetic.write(folder, plan, **{"interleaved": plan.paired} | document)

    def change(index: int, row: Row) -> Row:
        of, good = tools(index, row), row["outcome"] == "ok"
        changes = dict.fromkeys(NO_TURN_EVENTS) if row["target"] in live else {}
        if of is None:
            return row | changes
        at = {
            "first_audible": of.first_sound,
            "function_call_added": of.call,
            "function_audible": of.answer,
        }
        instants = {
            f"{name}_at_ns": row["speech_end_at_ns"] + round(ms * MS) for name, ms in at.items()
        }
        durations = {"dead_air_ns": of.silence, "function_execution_ns": of.execution}
        values = instants | {name: round(ms * MS) for name, ms in durations.items()}
        values |= {"delegations": of.tasks, "preamble": of.filler}
        return (
            row
            | changes
            | {"turn_type": "function_calls"}
            | (values if good else dict.fromkeys(values))
        )

    return edit(folder, "turns", change)


TWO = Plan(sessions=120, turns=5, targets=("realtime", "live"), paired=True)


def summary_of_tools(folder: Path, **document: Any) -> Summary:
    """Return the summary of a run. In `live`, the answer of the first turn of a call comes after
    2.1 s.

    All other answers come after 1.8 s. Each second turn of a call has two tasks.
    """

    def tools(_: int, row: Row) -> Tools:
        is_late = row["turn"] == 1 and row["target"] == "live"
        return Tools(answer=2_100 if is_late else 1_800, tasks=2 if row["turn"] == 2 else 1)

    return summarise(load_for_report(with_tools(folder, TWO, tools, live=("live",), **document)))
