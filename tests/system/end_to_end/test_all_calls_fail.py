"""Runs in which everything fails end normally. Their reports contain the failures, the number of
failures, and the remedy.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from bench.catalogue.outcomes import remedy_of
from bench.record import folder as files
from tests.simulator_process import quick_simulator
from tests.system.end_to_end.locust_process import only_run, run_locust, write_scenario

SESSIONS = 4
SCRIPT = """
timeouts: {upgrade: 0.5, next_delta: 0.5}
session: {output: audio}
steps:
  - text: One.
    name: one
  - text: Two.
    name: two
  - interrupt: {after: 0.1}
"""


@pytest.mark.parametrize(
    ("fault", "outcome", "turns"),
    [
        ("refused", "connect_failed:tcp", 0),
        ("hang", "timeout:next_delta", 1),
        ("failed", "failed:server_error", 2),
    ],
)
def test_a_run_in_which_all_calls_fail_ends_cleanly_with_a_remedy(
    fault: str, outcome: str, turns: int, tmp_path: Path
) -> None:
    with quick_simulator(tmp_path, "--fault", fault) as ready:
        load = ("-u", "2", "-r", "2", "--sessions", str(SESSIONS), "--url", ready.urls["ga"])
        ended = run_locust(write_scenario(tmp_path, script=SCRIPT), tmp_path / "runs", *load)

    folder = only_run(tmp_path / "runs")
    begun = files.read_table(folder, "turns").to_pandas()["outcome"].tolist()
    opened = files.read_table(folder, "sessions").to_pandas()
    page = re.sub("</?code>", "", html.unescape((folder / "report.html").read_text()))
    # 4: there is no verdict, because there are no samples, or late ones
    assert ended.returncode in (1, 4)
    assert "Traceback" not in ended.stdout + ended.stderr
    # no call came to the reply that the script interrupts, or this reply failed
    assert ("planned interruptions" in ended.stdout) == (outcome == "failed:server_error")
    assert begun == [outcome] * SESSIONS * turns
    assert set(opened["outcome"]) == {"ok" if outcome.startswith("failed:") else outcome}
    assert begun.count(outcome) + opened["turns_not_started"].sum() == 2 * SESSIONS
    remedy = f"How to fix {outcome}: {remedy_of(outcome)}".replace("`", "")
    assert remedy in " ".join(ended.stdout.split())
    assert remedy in page
