"""Searches for a capacity that end early. A file of their own, because a search takes minutes, and
one worker runs a file.
"""

from __future__ import annotations

import re
from pathlib import Path

import rtbench
from bench.catalogue.outcomes import remedy_of
from tests.simulator_process import QUICK, quick_simulator, running_simulator
from tests.system.end_to_end.capacity_process import capacity, document_of
from tests.system.end_to_end.locust_process import GUARD_S, write_scenario

OPTIONS = ("--thresholds", "ttfa: med<5s", "--from", "4", "--to", "4", "--max-time", "60s")


def test_a_search_without_an_open_call_ends_with_one_line(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--key", "right") as simulator:
        url = simulator.urls["ga"]
        with capacity(
            write_scenario(tmp_path), tmp_path / "found", *OPTIONS, "--url", url
        ) as process:
            _, errors = process.communicate(timeout=GUARD_S)

    assert process.returncode == 2
    (line,) = errors.splitlines()
    assert re.match(
        rf"rtbench: none of \d+ calls to {re.escape(url)} opened: connect_failed:401: ", line
    )
    assert remedy_of("connect_failed:401") in line
    assert len(list((tmp_path / "found" / "levels").glob("*/run.json"))) == 1


def test_an_impossible_limit_ends_a_search_before_an_answer_does(tmp_path: Path) -> None:
    """Each answer takes half a minute; the search does not wait for the end of one."""
    options = ("--thresholds", "ttfa: p(95)<1")
    profile = tmp_path / "slow.yaml"
    profile.write_text(QUICK.replace("generation_speed: 100", "generation_speed: 0.1"))
    with running_simulator("--profile", str(profile)) as simulator:
        service = ("--url", simulator.urls["ga"])
        with capacity(write_scenario(tmp_path), tmp_path / "found", *options, *service) as process:
            process.communicate(timeout=GUARD_S)

    found = document_of(tmp_path / "found")
    if found["exit_status"] == 4:  # the machine that runs a test may be busy
        return
    (ramp,) = (tmp_path / "found" / "levels").glob("*/run.json")
    assert found["estimate"]["code"] == "fails_at_first"
    assert set(rtbench.load(ramp.parent).turns["outcome"]) == {"unfinished"}
