"""Searches for a capacity with real ramps and levels."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rtbench
from bench.catalogue.outcomes import remedy_of
from bench.load.lifecycle import SEARCH_ENDED
from bench.record import folder as files
from tests import forked
from tests.simulator_process import QUICK, quick_simulator, running_simulator
from tests.system.end_to_end.locust_process import GUARD_S, write_scenario

SCRIPT = "session: {output: audio}\nsteps:\n  - text: Hello\n  - pause: 0.5\n  - text: Bye\n"
"""A script that pauses, because callers that never wait would use a core for the whole search."""
OPTIONS = ("--thresholds", "ttfa: med<5s", "--from", "4", "--to", "4", "--max-time", "60s")


@contextmanager
def capacity(scenario: Path, out: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Start `rtbench capacity` on a scenario."""
    command = [
        sys.executable,
        "-m",
        "rtbench.cli.app",
        "capacity",
        str(scenario),
        "-o",
        str(out),
        *options,
    ]
    process = forked.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"NO_COLOR": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def document_of(out: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((out / "capacity.json").read_text())
    return document


def test_a_search_answers_in_a_sentence_and_its_levels_are_runs_with_reports(
    tmp_path: Path,
) -> None:
    """The search runs a YAML script, too. The service refuses the fourth call."""
    options = ("--verify", "--max-time", "3m", "--to", "8", "--thresholds", "ttfa: p(95)<5s")
    script = write_scenario(tmp_path, script=SCRIPT).with_name("script.yaml")
    with quick_simulator(tmp_path, more="max_sessions: 3") as simulator:
        service = ("--url", simulator.urls["ga"])
        with capacity(script, tmp_path / "found", *options, *service) as process:
            output, errors = process.communicate(timeout=GUARD_S)

    found = document_of(tmp_path / "found")
    assert errors == ""
    assert found["simulated"]
    assert found["headline"][1:] in " ".join(output.split())
    assert process.returncode == found["exit_status"]
    if found["estimate"]["code"] == "unknown":  # the machine that runs a test may be busy
        return
    rough = found["estimate"]["numbers"]
    assert rough["low"] <= 3 < (rough["high"] or 9)
    first, *_ = found["levels"]
    run = tmp_path / "found" / "levels" / first["run"]
    document = files.read_document(run)
    assert first["load"] in (rough["low"], rough["high"])
    assert (document["settings"]["num_users"], document["warmup_s"] > 5) == (first["load"], True)
    assert (run / "report.html").exists()
    if first["result"] == "pass":
        assert document["stop_reason"] == SEARCH_ENDED
        assert found["highest_pass"] < (found["lowest_fail"] or 9)


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
