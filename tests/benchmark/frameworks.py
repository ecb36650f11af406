"""Does a framework of agents hold a conversation with the simulator, with function calls and an interruption?

`openai-agents` wants an older `websockets` than ours, so it is installed in an environment of its own, for this alone.
"""

from __future__ import annotations

import subprocess
import tempfile
import venv
from collections import Counter
from pathlib import Path

from bench.simulator.truth import read_truth
from tests.simulator_process import GUARD_S, QUICK, running_simulator

FRAMEWORK = "openai-agents==0.24.0"
CALLER = Path(__file__).with_name("agents_caller.py")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        profile, truth = scratch / "patient.yaml", scratch / "truth.jsonl"
        profile.write_text(QUICK.replace("speed: 100", "speed: 1"))  # so that a reply can be interrupted
        python = installed(scratch / "environment")
        with running_simulator("--profile", str(profile), "--truth", str(truth)) as ready:
            caller = subprocess.run(
                [python, CALLER, ready.urls["openai"]], capture_output=True, text=True, timeout=GUARD_S, check=False
            )
        print(f"{FRAMEWORK}: exit {caller.returncode}; {caller.stdout.strip()}{caller.stderr[-2000:]}")
        lines = [line for line in read_truth(truth) if "t" in line]
        sent = Counter(line["t"] for line in lines if line["d"] == "out")
        kept_ms = [line["ms"] for line in lines if "ms" in line]
        print(f"  errors {sent['error']}; function calls {sent['response.function_call_arguments.done']}")
        print(f"  responses {sent['response.done']}; items truncated, ms that were left: {kept_ms}")


def installed(folder: Path) -> Path:
    """The Python of a new environment that has the framework."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", FRAMEWORK], check=True)
    return python


if __name__ == "__main__":
    main()
