"""A repository with the files of the CI examples, and a shell that runs their steps."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.errors import INVALID_STATUS
from bench.run import folder as files
from tests import forked
from tests.simulator_process import QUICK, ROOT
from tests.system.end_to_end.locust_process import GUARD_S, free_port

EXAMPLES = ROOT / "docs" / "ci"


SESSIONS = 8


COMMANDS = {"rtbench": "bench.cli.app", "locust": "locust"}


COMMAND = """#!{python} -SE
import sys

sys.path.insert(0, {root!r})
from tests import forked

sys.exit(forked.Popen([sys.executable, "-m", {module!r}, *sys.argv[1:]]).wait())
"""


@dataclass
class Workplace:
    """A repository with the example's files in it, and a shell to run steps in."""

    folder: Path
    environment: dict[str, str]
    ports: dict[str, str]

    def run(self, step: str) -> subprocess.CompletedProcess[str]:
        """A step, as both services run it: bash that stops at the first error."""
        for shipped, own in self.ports.items():
            step = step.replace(shipped, own)
        step = re.sub(r"--sessions \d+", f"--sessions {SESSIONS}", re.sub(r" -r \d+", f" -r {SESSIONS}", step))
        return subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", step.replace("$(Build.SourceBranchName)", "main")],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=GUARD_S,
            check=False,
        )

    def run_all(self, steps: list[str]) -> list[str]:
        """Every step; returns what each said."""
        said = []
        for step in steps:
            done = self.run(step)
            assert done.returncode in (0, self._judge_as_if_alone()), f"{step}\n{done.stdout}\n{done.stderr}"
            said.append(done.stdout + done.stderr)
        return said

    def _judge_as_if_alone(self) -> int:
        """A run that is invalid, for tests share a slow machine, is said to be valid; returns its exit status then."""
        status = 0
        for run in (self.folder / "runs").glob("*"):
            document = files.read_document(run)
            if document["validity"]["status"] == "invalid":
                document["validity"]["status"], status = "valid", INVALID_STATUS
                files.write_document(run, document)
        return status


@pytest.fixture(scope="module")
def forking(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of commands that are forked, by servers that go on from one to the next."""
    folder = tmp_path_factory.mktemp("commands")
    for name, module in COMMANDS.items():
        (folder / name).write_text(COMMAND.format(python=sys.executable, root=str(ROOT), module=module))
        (folder / name).chmod(0o755)
    for words in (["locust"], ["bench.cli.app", "probe"], ["bench.cli.app", "simulate"], ["bench.cli.app", "doctor"]):
        forked.run([sys.executable, "-m", *words, "--help"], capture_output=True, check=True)
    return f"{folder}:"


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    folder = tmp_path / "repository"
    shutil.copytree(EXAMPLES / "files", folder / "ci")
    (folder / "profile.yaml").write_text(QUICK)
    git = (
        ["init", "-q", "-b", "main", "."],
        ["init", "-q", "--bare", "../origin"],
        ["remote", "add", "origin", "../origin"],
        ["config", "push.autoSetupRemote", "true"],  # a checkout has an upstream
    )
    for arguments in git:
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    ports = {port: str(free_port()) for port in ("8765", "9001", "9002")}
    targets = folder / "ci" / "targets.yaml"
    for shipped, own in ports.items():
        targets.write_text(targets.read_text().replace(shipped, own))
    set_here = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LOCUST_SESSION_PAUSE": "0",
        "NO_COLOR": "1",
    }
    place = Workplace(folder, os.environ | set_here | {"RTBENCH": "numpy"}, ports)  # numpy: what is there already
    yield place
    for port in ports.values():  # what the steps left running in the background
        subprocess.run(["pkill", "-f", f"rtbench simulate.* --port {port}"], check=False)
