"""Callers with patience against a service with known delays: who hangs up is what the log of the
simulator says.
"""

from __future__ import annotations

import json
from pathlib import Path

from bench.base.units import NS_PER_S
from bench.record.folder import read_table
from tests.simulator_process import QUICK, running_simulator
from tests.system.end_to_end.locust_process import rtbench

CALLS = 60
SCRIPT = """
patience: {p50: 0.6, p90: 1.5}
steps:
  - text: Hello
  - text: And then?
"""


def test_the_share_of_abandoned_calls_is_that_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SCRIPT, encoding="utf-8")
    late = QUICK.replace("first_audio: {p50: 20, p95: 40}", "first_audio: {p50: 600, p95: 1500}")
    (tmp_path / "late.yaml").write_text(late, encoding="utf-8")
    with running_simulator("--profile", str(tmp_path / "late.yaml")) as simulator:
        load = ("-u", 6, "--sessions", CALLS, "--url", simulator.urls["ga"])
        ended = rtbench("run", "mine.yaml", *load, cwd=tmp_path)

    assert ended.returncode in (1, 4), ended.stdout + ended.stderr
    (run,) = tmp_path.glob("runs/*")
    turns = read_table(run, "turns").to_pandas()
    heard_s = (turns["first_audible_at_ns"] - turns["request_sent_at_ns"]) / NS_PER_S
    hung_up_s = (turns["ended_at_ns"] - turns["request_sent_at_ns"]) / NS_PER_S
    patience_s = turns["patience_ns"] / NS_PER_S
    is_abandoned = turns["outcome"] == "abandoned"
    # a caller who heard the reply in time did not hang up, and one who stayed heard it or had it whole
    is_in_time = heard_s.combine(hung_up_s, min) <= patience_s + 0.001
    assert is_in_time[~is_abandoned].all()
    assert not (heard_s <= patience_s)[is_abandoned].any()
    assert (hung_up_s[is_abandoned] >= patience_s[is_abandoned] - 0.001).all()
    sessions = read_table(run, "sessions").to_pandas()
    abandoned = int((sessions["outcome"] == "abandoned").sum())
    assert 0 < abandoned < CALLS
    assert is_abandoned.sum() == abandoned
    (rate,) = (
        value
        for value in json.loads((run / "summary.json").read_text())["rates"]
        if value["metric"] == "abandonment_rate"
    )
    assert (rate["count"], rate["n"], rate["unit"]) == (abandoned, CALLS, "calls")
