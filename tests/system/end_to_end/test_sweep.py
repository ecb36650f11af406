"""A sweep over the simulator's detection of the end of speech: its delay follows the setting."""

from __future__ import annotations

import json
from pathlib import Path

from tests.simulator_process import AUDIO, quick_simulator
from tests.system.end_to_end.locust_process import rtbench

SCRIPT = f"""
session: {{turn_detection: {{type: server_vad}}}}
steps:
  - audio: {AUDIO / "order_number.wav"}
"""


def test_the_delay_of_the_end_of_speech_follows_its_setting(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SCRIPT, encoding="utf-8")
    vary = ("--vary", "session.turn_detection.silence_duration_ms=300,900")
    with quick_simulator(tmp_path) as simulator:
        load = ("-u", 2, "--sessions", 10, "--url", simulator.urls["ga"])
        ended = rtbench("sweep", "mine.yaml", *vary, *load, cwd=tmp_path)

    assert ended.returncode in (0, 4), ended.stdout + ended.stderr
    (run,) = tmp_path.glob("runs/*")
    values = {
        (value["target"], value["metric"], value["statistic"]): value
        for value in json.loads((run / "summary.json").read_text())["sweep"]
    }
    slope = values["127.0.0.1", "end_of_turn_delay", "p50 slope"]
    # a loaded machine may leave it uncertain
    assert slope["reason"] is not None or 0.8 < slope["value"] < 1.2
    assert ("silence_duration_ms=300", "cut_off_rate", "rate") in values
    command = json.loads((run / "run.json").read_text())["command"]
    assert command[command.index("--vary") + 1] == vary[1]
    assert "Which setting?" in (run / "report.html").read_text()
