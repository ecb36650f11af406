"""What is shipped works as it is: every scenario plays."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path

from bench.outcomes import GOOD
from bench.run import folder as files
from tests.simulator_process import ROOT, Ready
from tests.system.end_to_end.locust_process import GUARD_S, locust, only_run, wait_for_rows

SCENARIOS = {
    "text_turns": 4, "voice_turns": 1, "voice_manual": 2, "mixed": 2, "python_turns": 2, "long_call": 1, "barge_in": 1,
    "tools": 1, "agent": 2,
}  # fmt: skip
"""After how many turns each is asked to stop, for recordings and replies take their time."""


def test_every_scenario_that_is_shipped_is_played_here() -> None:
    shipped = {path.stem for path in (ROOT / "scenarios").glob("*.py")} - {"__init__"}

    assert shipped == SCENARIOS.keys()


def test_shipped_scenarios_play_and_an_interrupt_lets_their_turns_finish(simulator: Ready, tmp_path: Path) -> None:
    """All at once."""
    parents = {name: tmp_path / name for name in SCENARIOS}
    load = ("-u", "2", "-r", "2")
    model = ("--url", simulator.urls["ga"])
    agent = ("--url", simulator.urls["agent_twilio"], "--dialect", "twilio")
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(
                locust(ROOT / "scenarios" / f"{name}.py", parents[name], *load, *(agent if name == "agent" else model))
            )
            for name in SCENARIOS
        }
        for name, turns in SCENARIOS.items():
            wait_for_rows(parents[name], "turns", turns)
            processes[name].send_signal(signal.SIGINT)
        words = {name: process.communicate(timeout=GUARD_S) for name, process in processes.items()}

    for name, (output, errors) in words.items():
        folder = only_run(parents[name])
        totals = files.read_document(folder)["totals"]
        turns = files.read_table(folder, "turns").to_pylist()
        assert processes[name].returncode in (0, 4), (name, errors)
        assert "Traceback" not in output + errors, name
        assert Path(output.splitlines()[-1]) == folder / "report.html", name
        assert len(turns) == totals["turns_begun"] >= SCENARIOS[name], name
        assert {turn["outcome"] for turn in turns} <= GOOD, name
        assert set(totals["sessions"]) <= {"ok", "abandoned"}, name
