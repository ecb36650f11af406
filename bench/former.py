"""The former names of commands and options: none of them works, and the error for one states the new name."""

from __future__ import annotations

from collections.abc import Mapping

from bench.errors import UsageError

COMMANDS: Mapping[str, str] = {"bench": "quickstart", "history": "trend", "size": "sample-size", "decide": "check"}

RUN_OPTIONS: Mapping[str, str] = {
    "--arrivals": "--arrival-rate",
    "--max-sessions": "--max-concurrent",
    "--look-every": "--interim-every",
    "--keep-audio": "--record-audio",
    "--transcripts": "--record-transcripts",
    "--runs": "--runs-dir",
    "--locust-tables": "--locust-stats",
    "--ca": "--ca-file",
}
"""Options of a run, which are also variables (LOCUST_…) and attributes of a class of users."""

COMMAND_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "quickstart": {"--target": "--simulator", "--runs": "--runs-dir"},
    "calibrate": {"--most": "--max-sessions"},
    "capacity": {
        "--most": "--to",
        "--time": "--max-time",
        "--at-least": "--require",
        "--json": "--json-file",
        "--max-sessions": "--max-concurrent",
    },
    "simulate": {
        "--like": "--from-run",
        "--like-step": "--from-run-step",
        "--token-life": "--token-lifetime",
        "--truth": "--ground-truth",
    },
    "doctor": {"--ca": "--ca-file"},
    "probe": {
        "--ca": "--ca-file",
        "--say": "--text",
        "--wav": "--audio",
        "--manual": "--manual-commit",
        "--log": "--event-log",
        "--save": "--save-audio",
        "--transcription": "--input-transcription",
        "--keep-audio": "--record-audio",
    },
    "open": {"--runs": "--runs-dir"},
    "check": {"--allow": "--allow-different"},
    "baseline": {"--folder": "--baselines-dir"},
    "trend": {"--measure": "--metric"},
    "sample-size": {"--like": "--pilot", "--measure": "--metric", "--gates": "--primary"},
    "export": {"--measure": "--metric"},
}
"""Options of `rtbench`, by their command."""


def attribute_of(option: str) -> str:
    """The attribute of a class of users that sets an option of a run."""
    return option[2:].replace("-", "_")


def variable_of(option: str) -> str:
    """The environment variable that sets an option of a run."""
    return f"LOCUST_{attribute_of(option).upper()}"


def refuse_variables(environ: Mapping[str, str]) -> None:
    """Raise UsageError if a former variable is set: it would be ignored in silence."""
    for old, new in RUN_OPTIONS.items():
        if variable_of(old) in environ:
            raise UsageError(f"the variable {variable_of(old)} is {variable_of(new)} now")
