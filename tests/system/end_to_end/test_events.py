"""A run in which a command of the user kills the service: what the report says of its calls is what
happened.
"""

from __future__ import annotations

import json
from pathlib import Path

from bench.base.units import NS_PER_S
from bench.catalogue.outcomes import outcome_class
from bench.record.folder import read_table
from tests.simulator_process import quick_simulator
from tests.system.end_to_end.locust_process import own_ports, rtbench, started, wait_for_rows

CALLERS = 8
SCRIPT = """
steps:
  - {text: Hello, name: first}
  - pause: 0.2
  - {text: And then?, name: second}
"""


def test_calls_in_progress_are_dropped_and_new_ones_do_not_open(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SCRIPT, encoding="utf-8")
    with quick_simulator(tmp_path) as simulator:
        crash = f"crash@6s: echo ending; kill -KILL {' '.join(map(str, simulator.pids))}"
        load = ("-u", CALLERS, "-t", "12s", "--session-pause", "0.1")
        ended = rtbench(
            *("run", "mine.yaml", *load, "--url", simulator.urls["ga"], "--event", crash),
            cwd=tmp_path,
        )

    assert ended.returncode in (1, 4), ended.stdout + ended.stderr
    (run,) = tmp_path.glob("runs/*")
    document = json.loads((run / "run.json").read_text())
    (event,) = document["events"]
    assert (event["name"], event["status"], event["output"]) == ("crash", 0, "ending")
    assert "kill -KILL" not in (run / "run.json").read_text()
    assert "'crash@6s: COMMAND'" in str(document["command"])
    at_ns = event["at_utc_ns"]
    sessions = read_table(run, "sessions").to_pandas()
    start_ns = sessions["start_utc_ns"]
    in_progress = (start_ns < at_ns) & (start_ns + sessions["ended_at_ns"] > at_ns)
    has_failed = sessions["outcome"].map(outcome_class) == "failed"
    # a busy machine may run the command late: calls that begin before its end may still succeed
    killed_ns = at_ns + event["took_s"] * NS_PER_S
    assert has_failed[start_ns >= killed_ns].all()
    values = {
        (value["group"]["by"], value["metric"], value["statistic"]): value
        for value in json.loads((run / "summary.json").read_text())["events"]
    }
    dropped = values["event", "dropped_share", "rate"]
    assert (dropped["count"], dropped["n"]) == ((in_progress & has_failed).sum(), in_progress.sum())
    # a call whose last turn had ended may close before it learns of the end
    assert dropped["count"] > 0
    opened = values["event", "new_failed_share", "rate"]
    succeeded = (start_ns.between(at_ns, killed_ns) & ~has_failed).sum()
    assert opened["n"] > opened["n"] - opened["count"] <= succeeded
    assert values["before_event", "new_failed_share", "rate"]["count"] == 0


def test_a_mark_of_another_process_stays_when_the_run_is_killed(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SCRIPT, encoding="utf-8")
    load = ("-u", str(CALLERS), "-t", "1h", "--warmup", "0", "--processes", "2")
    with quick_simulator(tmp_path) as simulator:
        words = ("mine.yaml", *load, "--url", simulator.urls["ga"], "--session-pause", "0.1")
        with started(tmp_path, *words, *own_ports(load)):
            run = wait_for_rows(tmp_path / "runs", "turns", CALLERS)
            marked = rtbench("runs", "mark", "deploy", cwd=tmp_path)
    assert marked.returncode == 0, marked.stderr
    rtbench("report", run, cwd=tmp_path)

    (event,) = json.loads((run / "run.json").read_text())["events"]
    assert f"deploy: {event['planned_s']:.1f} s after the start of runs/" in marked.stdout
