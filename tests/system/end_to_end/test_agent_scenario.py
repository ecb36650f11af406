"""The scenario of agents as its docstring says it: by options alone, each way of calling, with and without TLS."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from itertools import product
from pathlib import Path

from bench.outcomes import GOOD
from bench.run import folder as files
from bench.run.calibration import AGENTS
from tests.simulator_process import GUARD_S, ROOT, running_simulator
from tests.system.end_to_end.locust_process import locust, only_run, wait_for_rows


def test_the_scenario_of_agents_plays_each_way_with_and_without_tls(tmp_path: Path) -> None:
    """All at once, until each call has been greeted and answered."""
    with ExitStack() as stack:
        plain, over_tls = (stack.enter_context(running_simulator(*words)) for words in ((), ("--tls",)))
        processes = {}
        for way, simulator in product(AGENTS, (plain, over_tls)):
            trust = ["--ca", str(simulator.ca)] if simulator.ca else []
            options = ["--url", simulator.urls[f"agent_{way}"], "--dialect", way, *trust, "-u", "1"]
            runs = tmp_path / f"{way}-{'tls' if trust else 'plain'}"
            processes[runs] = stack.enter_context(locust(ROOT / "scenarios" / "agent.py", runs, *options))
        for runs, process in processes.items():
            wait_for_rows(runs, "turns", 2)
            process.send_signal(signal.SIGINT)
        said = {runs: process.communicate(timeout=GUARD_S) for runs, process in processes.items()}

    for runs, (output, errors) in said.items():
        turns = files.read_table(only_run(runs), "turns").to_pylist()
        assert "Traceback" not in output + errors, runs.name
        assert {turn["outcome"] for turn in turns} <= GOOD, runs.name
        assert all(turn["first_audible_at_ns"] is not None for turn in turns[:2]), runs.name
