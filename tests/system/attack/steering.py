"""The detection of text that controls the terminal or CI that displays it, and functions that
return the output of commands.
"""

from __future__ import annotations

import io
import re
import sys
import unicodedata
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

import pytest

from rtbench.cli.app import main
from rtbench_simulator.ground_truth_log import LatenessCounts, ServedCounts
from tests.reports.synthetic import Plan

EVIL = "\x1b]0;a\x07\r\n::set-output name=a::b\n##vso[task.complete]\n##[error]c\u2028\u202e"


COMMAND = re.compile(r"^\s*::[A-Za-z]|##(?:vso)?\[", re.MULTILINE)


PLAN = Plan(sessions=8, turns=3, targets=("east", "west"), paired=True, usage=True, limited=True)


def unsafe_text_in(text: str) -> str:
    """Return the part of a text that would control a terminal or a CI; "" if there is none."""
    for line in text.split("\n"):
        if steers := [
            one for one in line if not one.isprintable() and unicodedata.category(one) != "Zs"
        ]:
            return f"{steers[0]!r} in {line!r}"
    return (
        repr(text[max(0, found.start() - 80) : found.end() + 20])
        if (found := COMMAND.search(text))
        else ""
    )


def output_of(*words: object) -> str:
    """Return everything that a command prints. If its exit status is not a valid one, append the
    status.
    """
    out = io.StringIO()
    with (
        redirect_stdout(out),
        redirect_stderr(out),
        patch.object(sys, "argv", ["rtbench", *map(str, words)]),
    ):
        try:
            main()
        except SystemExit as end:
            out.write("" if end.code in (None, 0, 1, 2, 3, 4) else f"\x1b{end.code}")
    return out.getvalue()


@pytest.fixture(autouse=True)
def isolated_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Isolate commands: no browser opens, no CI receives text, and uploads retry without a wait.

    A simulator that a command starts ends after it has printed its address.
    """
    monkeypatch.setattr("webbrowser.open", lambda _: True)
    monkeypatch.setattr("bench.record.upload.FIRST_PAUSE_S", 0)
    monkeypatch.setattr(
        "rtbench.cli.simulate._served",
        lambda *given: given[-1](None, [1]) or [ServedCounts(0, 0, 0, 0.0, LatenessCounts())],
    )
    for name in (
        "GITHUB_ACTIONS",
        "GITHUB_STEP_SUMMARY",
        "TF_BUILD",
        "LOCUST_RUNS_DIR",
        "BROWSER",
        "DISPLAY",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
