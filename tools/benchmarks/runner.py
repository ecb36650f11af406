"""Shares of INVALID runs on a small machine, idle and busy (docs/first-weeks.md).

The load generator, the simulator and the busy loops share all cores, as on the runner of a CI
service.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from os import getloadavg
from pathlib import Path

from bench.record import folder as files
from tests.simulator_process import running_simulator
from tools.benchmarks.crowd import crowd
from tools.benchmarks.locust_runs import run_locust

SCRIPTS = Path(__file__).parents[2] / "scenarios" / "scripts"
BUSY, RUNS = (0, 2), 10
LOAD = ("-u", "5", "-r", "5", "-t", "20s")
SCENARIO = """
from rtbench import RealtimeUser

class Caller(RealtimeUser):
    script = {path!r}
"""
CASES = {
    "text_turns": ("text_turns.yaml", None, "ga"),
    "voice_turns, chunks of 100 ms": ("voice_turns.yaml", 100, "ga"),
    "voice_turns, chunks of 20 ms": ("voice_turns.yaml", 20, "ga"),
    "agent over twilio": ("agent.yaml", None, "agent_twilio"),
}
"""The script of each case, its `chunk_ms`, and the address of the simulator."""


def main() -> None:
    counts = {(case, busy): Counter[str]() for case in CASES for busy in BUSY}
    with tempfile.TemporaryDirectory() as folder, running_simulator() as ready:
        for number in range(RUNS):
            for case, busy in counts:
                script, chunk_ms, address = CASES[case]
                scratch = Path(folder) / f"{number}-{list(CASES).index(case)}-{busy}"
                load = [
                    *LOAD,
                    "--url",
                    ready.urls[address],
                    *(("--dialect", "twilio") if "twilio" in address else ()),
                ]
                counts[case, busy].update(_run(scratch, script, chunk_ms, busy, load))
                print(
                    f"{case}, {busy} busy loops: {dict(counts[case, busy])}, load"
                    f" {getloadavg()[0]:.1f}",
                    flush=True,
                )


def _run(scratch: Path, script: str, chunk_ms: int | None, busy: int, load: list[str]) -> list[str]:
    """Make one run. Return the status of its validity, and the names of the checks that failed."""
    scratch.mkdir()
    text = (
        (SCRIPTS / script)
        .read_text(encoding="utf-8")
        .replace("../audio/", f"{SCRIPTS.parent / 'audio'}/")
    )
    if chunk_ms:
        text = text.replace(".wav\n", f".wav\n    chunk_ms: {chunk_ms}\n")
    (scratch / script).write_text(text, encoding="utf-8")
    (scratch / "scenario.py").write_text(
        SCENARIO.format(path=str(scratch / script)), encoding="utf-8"
    )
    with crowd(busy):
        run, _, _ = run_locust(scratch / "scenario.py", scratch / "runs", *load)
    validity = files.read_document(run)["validity"]
    return [
        "runs",
        validity["status"],
        *(check["name"] for check in validity["checks"] if check["result"] == "fail"),
    ]


if __name__ == "__main__":
    main()
