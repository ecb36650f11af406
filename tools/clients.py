"""The newest release of each client, tried with the simulator (`make clients`).

Each client gets an environment of its own in build/clients, with the newest releases from the
registries. It runs its program and its steps (tests/clients). The program prints what changed since
the version in the table of rtbench_simulator/README.md, and ends with status 1 if a client fails. A
word after the command selects the clients whose names contain it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rtbench.cli.simulate import client_snippets
from rtbench_simulator.recorded_replies import load_replies
from tests.clients.cells import CLIENTS, NOT_TRIED, STEPS, Client
from tests.clients.sources import ADDRESS, caller, source
from tests.simulator_process import Ready, patient_simulator
from tools.environments import in_node, in_python

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "clients"
LIMIT_S = 600
"""The maximum time of a program, which has limits of its own for each step."""
PATHS = {"OpenAI GA": "/v1", "Azure GA": "/openai/v1"}
"""The path of the base URL in each dialect; "" for others."""
SECURE = {snippet.name for snippet in client_snippets() if snippet.secure}
"""The clients that connect only with TLS. Google's SDK does so inside of frameworks, too."""


class Simulators(NamedTuple):
    plain: Ready
    secure: Ready

    def of(self, client: Client, dialect: str = "") -> Ready:
        return self.secure if client.name in SECURE or dialect == "Gemini Live" else self.plain


def main() -> None:
    """Try each client, and print a line for each."""
    clients = [client for client in CLIENTS if all(word in client.name for word in sys.argv[1:])]
    if not clients:
        sys.exit(
            "no client has such a name: the clients are"
            f" {', '.join(client.name for client in CLIENTS)}"
        )
    failed = changed = 0
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        ca = str(scratch / "ca.pem")
        with (
            patient_simulator(scratch) as plain,
            patient_simulator(scratch, "--tls", "--ca-out", ca) as secure,
        ):
            for client in clients:
                newest, problems = tried(client, Simulators(plain, secure))
                failed += bool(problems)
                changed += newest != client.tried and not problems
                print(line_of(client, newest, problems), flush=True)
    if changed:
        print("record the changed versions in tests/clients/cells.py, and run `make schema`")
    if failed:
        sys.exit(f"{failed} of {len(clients)} clients failed")


def line_of(client: Client, newest: str, problems: Sequence[str]) -> str:
    """Return what is printed about a client: its versions, and what failed."""
    versions = f"{newest}, unchanged" if newest == client.tried else f"{client.tried} → {newest}"
    outcome = "".join(f"\n    {problem}" for problem in problems)
    return f"{client.name} ({versions}): {f'FAILED{outcome}' if problems else 'passed'}"


def tried(client: Client, simulators: Simulators) -> tuple[str, list[str]]:
    """Install a client, and return its version, and each problem; `unknown` if it cannot be
    installed.
    """
    home = FOLDER / re.sub(r"\W+", "_", client.name).strip("_").lower()
    try:
        run = (
            in_node(home, with_newest(client.packages))
            if client.is_node
            else in_python(home, client.packages)
        )
        newest = version(client, home, run)
    except FileNotFoundError as error:
        return "unknown", [f"{error.filename} is not installed"]
    except subprocess.CalledProcessError as error:
        return "unknown", [f"its packages cannot be installed: {last_line(error.stderr)}"]
    return newest, [
        *of_program(client, run, home, simulators),
        *of_steps(client, run, home, simulators),
    ]


def with_newest(packages: Sequence[str]) -> list[str]:
    """Return npm's packages, in their newest version unless they have one."""
    return [package if "@" in package[1:] else f"{package}@latest" for package in packages]


def version(client: Client, home: Path, run: Sequence[str]) -> str:
    """Return the installed version of a client's first package."""
    name = client.packages[0].partition("[")[0]
    if client.is_node:
        document = json.loads(
            (home / "node_modules" / name / "package.json").read_text(encoding="utf-8")
        )
        return str(document["version"])
    question = f"import importlib.metadata as m; print(m.version({name!r}))"
    return subprocess.run(
        [*run, "-c", question], capture_output=True, text=True, check=True
    ).stdout.strip()


def of_program(
    client: Client, run: Sequence[str], home: Path, simulators: Simulators
) -> Iterator[str]:
    """Yield a problem if the client's program does not print a reply of the simulator."""
    ready = simulators.of(client)
    text = source(client.name).replace(ADDRESS, f"127.0.0.1:{ready.port}")
    printed = started([*run, written(home, "program", text)], home, ready)
    if printed.stdout.strip() not in {"".join(reply.tokens) for reply in load_replies()}:
        yield f"its program: {what_failed(printed)}"


def of_steps(
    client: Client, run: Sequence[str], home: Path, simulators: Simulators
) -> Iterator[str]:
    """Yield a problem for each step, in each dialect, whose outcome differs from the table."""
    text = caller(client.name)
    for dialect in client.dialects:
        ready = simulators.of(client, dialect)
        if text is None:
            command = [*run, "-m", "tests.clients.by_steps", client.name, dialect, str(ready.port)]
            printed = started(command, ROOT, ready)
        else:
            url = f"http{'s' if ready.ca else ''}://127.0.0.1:{ready.port}{PATHS.get(dialect, '')}"
            printed = started([*run, written(home, "caller", text), url], home, ready)
        outcomes = outcomes_of(printed)
        if outcomes is None:
            yield f"{dialect}: {what_failed(printed)}"
            continue
        for step in STEPS:
            outcome = outcomes.get(step, NOT_TRIED)
            if outcome != client.outcome(step):
                yield f"{dialect}, {step}: {outcome}"


def written(home: Path, name: str, text: str) -> str:
    """Write a program, and return its name. Node needs this extension, and Python accepts any."""
    path = home / f"{name}.mjs"
    path.write_text(text, encoding="utf-8")
    return path.name


def started(command: Sequence[str], folder: Path, ready: Ready) -> subprocess.CompletedProcess[str]:
    """Run a program. Return its output, and the status 124 if it does not end."""
    trust = (
        {"NODE_EXTRA_CA_CERTS": str(ready.ca), "SSL_CERT_FILE": str(ready.ca)} if ready.ca else {}
    )
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=os.environ | trust,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no end after {LIMIT_S} s")


def outcomes_of(printed: subprocess.CompletedProcess[str]) -> Mapping[str, str] | None:
    """Return the outcomes in the last line that a program printed; None if it failed, or printed
    none.
    """
    try:
        outcomes = json.loads(last_line(printed.stdout))
    except ValueError:
        return None
    return outcomes if printed.returncode == 0 and isinstance(outcomes, dict) else None


def what_failed(printed: subprocess.CompletedProcess[str]) -> str:
    return (
        f"exit {printed.returncode}: {last_line(printed.stderr) or printed.stdout.strip()[-200:]}"
    )


def last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1][-500:]


if __name__ == "__main__":
    main()
