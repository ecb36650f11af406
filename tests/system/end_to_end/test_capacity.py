"""A search for a capacity with real ramps and levels."""

from __future__ import annotations

from pathlib import Path

from bench.load.lifecycle import SEARCH_ENDED
from bench.record import folder as files
from tests.simulator_process import quick_simulator
from tests.system.end_to_end.capacity_process import capacity, document_of
from tests.system.end_to_end.locust_process import GUARD_S, write_scenario

SCRIPT = "session: {output: audio}\nsteps:\n  - text: Hello\n  - pause: 0.5\n  - text: Bye\n"
"""A script that pauses, because callers that never wait would use a core for the whole search."""


def test_a_search_answers_in_a_sentence_and_its_levels_are_runs_with_reports(
    tmp_path: Path,
) -> None:
    """The search runs a YAML script, too. The service refuses the fourth call."""
    options = ("--verify", "--max-time", "100s", "--to", "8", "--thresholds", "ttfa: p(95)<5s")
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
