"""The times and the results of the interim analyses of thresholds with `abort`, with a real
child process.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.load.runners.abort_analyses import AbortAnalyses, abort_text
from bench.record.document import AbortEntry

REASON = {"code": "stopped_early", "numbers": {}}


def plan() -> AbortEntry:
    limits = {"ttfa": ["p(95)<800", "med<500"], "failure_rate": ["rate<1%"]}
    return AbortEntry(
        thresholds=limits, alpha=0.025, spending="a t^2", analyses=10, made=[], reason=None
    )


class RecordedAnalyses:
    """`AbortAnalyses` whose child prints an analysis of 10 sessions for each call, and what they
    reported.

    At the share `fails_at` of the run, a threshold fails.
    """

    def __init__(self, folder: Path, fails_at: float = 2.0, program: str = "") -> None:
        self.stopped: list[str] = []
        self.messages: list[str] = []
        (folder / "child.py").write_text(
            program
            or f"""
import json, sys
asked = json.loads(sys.argv[2])
open(sys.argv[1] + "/asked", "a").write("%g " % asked["share"])
fails = asked["share"] >= {fails_at}
answer = {{"sessions": 10 * (len(asked["made"]) + 1), "reason": {REASON!r} if fails else None}}
print(json.dumps(answer | {{"sentence": "stopped" if fails else ""}}))
"""
        )
        command = (sys.executable, str(folder / "child.py"))
        self.folder = folder
        self.analyses = AbortAnalyses(
            folder, plan(), stop=self.stopped.append, say=self.messages.append, command=command
        )

    def consider(self, *shares: float, late: str = "") -> None:
        """Call `consider` for each share, as a run does every second. Wait for each analysis
        that was started.
        """
        for share in shares:
            self.analyses.consider(share, late)
            if (running := self.analyses._running) is not None:
                running.join()

    @property
    def asked(self) -> list[str]:
        path = self.folder / "asked"
        return path.read_text().split() if path.exists() else []


def test_an_analysis_follows_each_tenth_of_the_run_except_the_last(tmp_path: Path) -> None:
    run = RecordedAnalyses(tmp_path)
    run.consider(0.05, 0.09, 0.1, 0.15, 0.19, 0.45, 0.45, 0.49, 0.95, 1.0, 1.0, 1.2)

    assert run.asked == ["0.1", "0.45", "0.95"]
    assert run.stopped == run.messages == []
    assert run.analyses.entry("all sessions are done")["made"] == [
        {"sessions": 10, "share": 0.1},
        {"sessions": 20, "share": 0.45},
        {"sessions": 30, "share": 0.95},
    ]


def test_a_failed_threshold_stops_the_run_with_its_reason(tmp_path: Path) -> None:
    run = RecordedAnalyses(tmp_path, fails_at=0.2)
    run.consider(0.1, 0.2, 0.2)

    assert run.stopped == ["stopped"]
    assert run.analyses.entry("stopped")["reason"] == REASON
    assert run.analyses.entry("interrupted")["reason"] is None


def test_no_limit_is_analysed_while_the_load_generator_is_overloaded(tmp_path: Path) -> None:
    run = RecordedAnalyses(tmp_path, fails_at=0.1)
    run.consider(0.1, 0.2, 0.3, late="send_delay 14.2 ms > 10 ms")
    assert (run.asked, run.stopped, len(run.messages)) == ([], [], 1)
    run.consider(0.3)

    assert (run.asked, run.stopped) == (["0.3"], ["stopped"])


@pytest.mark.parametrize("program", ["raise SystemExit('no such thing')", "print('{}')"])
def test_a_failed_analysis_is_reported_once_and_the_run_continues(
    program: str, tmp_path: Path
) -> None:
    run = RecordedAnalyses(tmp_path, program=program)
    run.consider(0.1, 0.2, 0.3, 0.4)

    assert (run.stopped, len(run.messages)) == ([], 1)


@pytest.mark.parametrize(
    ("has_end", "text"),
    [(True, "at most 9 interim analyses"), (False, "add --sessions or --run-time")],
)
def test_the_start_of_the_run_states_the_thresholds_that_stop_it(has_end: bool, text: str) -> None:
    line = abort_text(plan(), has_end=has_end)

    assert "ttfa p(95)<800, med<500; failure_rate rate<1%" in line
    assert line.endswith(text)
