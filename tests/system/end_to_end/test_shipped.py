"""The shipped scenarios run unchanged. The scenario of agents runs with each way of calling, with
or without TLS.

If `EXAMPLES=all`, each way runs with and without TLS.
"""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path

from bench.catalogue.outcomes import SUCCESSFUL
from bench.record import folder as files
from bench.record.calibration import AGENTS
from tests.examples import with_or_without_tls
from tests.simulator_process import ROOT, quick_simulator, running_simulator
from tests.system.end_to_end.locust_process import GUARD_S, locust, only_run, wait_for_rows

SCENARIOS = {
    "text_turns": 4,
    "voice_turns": 1,
    "voice_manual": 2,
    "mixed": 2,
    "python_turns": 2,
    "long_call": 1,
    "barge_in": 1,
    "tools": 1,
    "quickstart": 2,
    "reference": 1,
    "reference_typed": 2,
}
"""The number of turns after which each scenario is asked to stop. It differs because recordings and
replies take time.
"""
GREETED_AND_ANSWERED = 2


def test_each_shipped_scenario_is_in_this_test() -> None:
    shipped = {path.stem for path in (ROOT / "scenarios").glob("*.py")} - {"__init__"}

    assert shipped == SCENARIOS.keys() | {
        "agent",
        "script",
    }  # `script` plays a file: load/test_script_file.py


def test_shipped_scenarios_run_and_finish_their_turns_after_an_interrupt(tmp_path: Path) -> None:
    """All scenarios run at the same time."""
    with ExitStack() as stack:
        quick = stack.enter_context(quick_simulator(tmp_path))
        plain, over_tls = (
            stack.enter_context(running_simulator(*words)) for words in ((), ("--tls",))
        )
        loads = {
            name: (name, turns, ["-u", "2", "--url", quick.urls["ga"]])
            for name, turns in SCENARIOS.items()
        }
        for way, tls in with_or_without_tls(AGENTS):
            ready = over_tls if tls else plain
            trust = ["--ca-file", str(ready.ca)] if ready.ca else []
            options = ["-u", "1", "--url", ready.urls[f"agent_{way}"], "--dialect", way, *trust]
            loads[f"{way}-{len(trust)}"] = "agent", GREETED_AND_ANSWERED, options
        processes = {
            name: stack.enter_context(
                locust(ROOT / "scenarios" / f"{scenario}.py", tmp_path / name, *options)
            )
            for name, (scenario, _, options) in loads.items()
        }
        for name, (_, turns, _) in loads.items():
            wait_for_rows(tmp_path / name, "turns", turns)
            processes[name].send_signal(signal.SIGINT)
        words = {name: process.communicate(timeout=GUARD_S) for name, process in processes.items()}

    for name, (output, errors) in words.items():
        scenario, least, _ = loads[name]
        folder = only_run(tmp_path / name)
        document = files.read_document(folder)
        totals = document["totals"]
        turns = files.read_table(folder, "turns").to_pylist()
        assert processes[name].returncode in (130, 4), (name, errors)
        assert "Traceback" not in output + errors, name
        assert Path(output.splitlines()[-1]) == folder / "report.html", name
        assert len(turns) == totals["turns_started"] >= least, name
        # A host that stops the simulator for the time of a timeout fails a turn, and voids the run.
        is_void = document["validity"]["status"] == "invalid"
        assert is_void or {turn["outcome"] for turn in turns} <= SUCCESSFUL, name
        assert set(totals["sessions"]) <= {"ok", "unfinished"}, name
        if scenario == "agent":
            assert all(
                turn["first_audible_at_ns"] is not None for turn in turns[:GREETED_AND_ANSWERED]
            ), name
