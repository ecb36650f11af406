"""The steps of docs/simulator.md, run by clients that need other package versions than ours.

Each client has its own environment. If an outcome differs from the page, the program ends with an error.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from bench.simulator.recorded_replies import load_replies
from rtbench.cli.simulate import CLIENTS
from tests.clients.cells import NOT_TRIED, PASS, ROWS, STEPS, ClientRow
from tests.clients.sources import ADDRESS, source
from tests.simulator_process import GUARD_S, Ready, patient_simulator

HERE = Path(__file__).parent
PATHS = {"OpenAI GA": "/v1", "Azure GA": "/openai/v1"}
SECURE = {client.name for client in CLIENTS if client.secure}
PROGRAM_STEPS = ("connect", "text")
"""The steps that pass if the program of the page succeeds."""


class Framework(NamedTuple):
    """The packages of a client. `caller`: the program that runs all other steps, and prints their outcomes as JSON."""

    requirements: tuple[str, ...]
    caller: str | None = None


FRAMEWORKS = {
    "openai-agents": Framework(("openai-agents==0.24.0",), "agents_caller.py"),
    "LiveKit": Framework(("livekit-agents==1.8.9", "livekit-plugins-openai==1.8.9"), "livekit_caller.py"),
    "pipecat": Framework(("pipecat-ai[openai]==1.14.0",)),
    "@openai/agents (Node)": Framework(("@openai/agents@0.20.0",)),
    "openai (Node)": Framework(("openai@7.57.0", "ws@8"), "node_caller.mjs"),
}


def main() -> None:
    """Print a row for each client and dialect."""
    unlike = 0
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        with (
            patient_simulator(scratch) as plain,
            patient_simulator(scratch, "--tls", "--ca-out", str(scratch / "ca.pem")) as secure,
        ):
            for client, framework in FRAMEWORKS.items():
                node = "Node" in client
                if node and shutil.which("npm") is None:
                    print(f"{client}: SKIPPED, because npm is not installed")
                    continue
                home = scratch / client
                run = in_node(home, framework) if node else in_python(home, framework)
                for row in ROWS:
                    if row.client == client:
                        unlike += print_row(
                            row, outcomes(row, framework, run, home, secure if client in SECURE else plain)
                        )
    if unlike:
        sys.exit(f"{unlike} results differ from the table in docs/simulator.md")


def print_row(row: ClientRow, results: Mapping[str, str]) -> int:
    """Print the row; return the number of cells that differ from the expected ones."""
    print(f"{row.client} | {row.dialect} | " + " | ".join(f"{step}: {results[step]}" for step in STEPS), flush=True)
    return sum(results[step] != row.outcome(step) for step in STEPS)


def outcomes(row: ClientRow, framework: Framework, run: list[str], home: Path, ready: Ready) -> dict[str, str]:
    """Return the outcome of each step."""
    results = dict.fromkeys(STEPS, NOT_TRIED)
    if row.dialect == "OpenAI GA":
        results |= dict.fromkeys(PROGRAM_STEPS, of_program(row.client, run, home, ready))
    if framework.caller:
        url = f"http{'s' if ready.ca else ''}://127.0.0.1:{ready.port}{PATHS[row.dialect]}"
        (home / framework.caller).write_text((HERE / framework.caller).read_text())
        ended = started([*run, framework.caller, url], home, ready)
        output_lines = ended.stdout.strip().splitlines()[-1:] if ended.returncode == 0 else []
        results |= (
            json.loads(output_lines[0])
            if output_lines
            else {"connect": f"exit {ended.returncode}: {ended.stderr[-2000:]}"}
        )
    return results


def of_program(client: str, run: list[str], home: Path, ready: Ready) -> str:
    """Return PASS if the program of the page prints a reply of the simulator; otherwise its error."""
    program = home / "program.mjs"  # Node needs this extension; Python accepts any name
    program.write_text(source(client).replace(ADDRESS, f"127.0.0.1:{ready.port}"))
    ended = started([*run, program.name], home, ready)
    replies = {"".join(reply.tokens) for reply in load_replies()}
    return PASS if ended.stdout.strip() in replies else f"exit {ended.returncode}: {ended.stderr[-2000:]}"


def started(command: list[str], home: Path, ready: Ready) -> subprocess.CompletedProcess[str]:
    trust = {"NODE_EXTRA_CA_CERTS": str(ready.ca)} if ready.ca else {}
    return subprocess.run(
        command, cwd=home, env=os.environ | trust, capture_output=True, text=True, timeout=5 * GUARD_S, check=False
    )


def in_python(home: Path, framework: Framework) -> list[str]:
    """Return the Python of a new environment with the framework."""
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *framework.requirements], check=True)
    return [str(python)]


def in_node(home: Path, framework: Framework) -> list[str]:
    """Return Node, in a folder with the package."""
    home.mkdir(parents=True)
    subprocess.run(["npm", "install", "--silent", "--prefix", str(home), *framework.requirements], check=True)
    return ["node"]


if __name__ == "__main__":
    main()
