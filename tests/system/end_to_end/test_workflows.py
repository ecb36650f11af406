"""The shell steps of the CI examples work: they are run as they stand, with shorter runs and ports of the test's own.

What they install is there already, and a gateway is a simulator of its own. Steps of the vendors (`uses:`, `task:`)
are not run. `rtbench` and `locust` are the installed commands in one of them; in the others fork servers do their
imports.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bench.cli.start import WORKFLOWS, CiSystem
from bench.errors import INVALID_STATUS
from bench.installation import EXAMPLES as EXAMPLE_FILES
from bench.run import folder as files
from tests import forked
from tests.simulator_process import QUICK, ROOT, Ready
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


@dataclass(frozen=True)
class Workflow:
    """The environment that an example sets, as far as it is plain text, and its shell steps in order."""

    environment: dict[str, str]
    steps: list[str]


def workflow(path: Path) -> Workflow:
    document = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    variables = document.get("env") or document.get("variables") or {}
    plain = {key: text for key, text in variables.items() if "$" not in text}
    return Workflow(plain, [text for step in _steps(document) if (text := _shell(step))])


def _steps(document: Any) -> Iterator[Any]:
    yield from document.get("steps") or []
    for job in (document.get("jobs") or {}).values():
        yield from job["steps"]


def _shell(step: Any) -> str:
    return str(step.get("run") or step.get("script") or (step.get("inputs") or {}).get("inlineScript") or "")


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


def primary(place: Workplace, name: str) -> list[str]:
    example = workflow(EXAMPLES / name)
    place.environment |= {
        key: text if key == "RTBENCH" else _with_ports(text, place.ports) for key, text in example.environment.items()
    }
    start = "rtbench simulate --profile profile.yaml --port"
    place.environment |= {
        "RTBENCH": "numpy",
        "START_BEFORE": f"{start} {place.ports['9001']}",
        "START_AFTER": f"{start} {place.ports['9002']}",
    }
    return example.steps


def _with_ports(text: str, ports: dict[str, str]) -> str:
    for shipped, own in ports.items():
        text = text.replace(shipped, own)
    return text


def test_the_pull_request_of_a_gateway_is_gated_on_github(workplace: Workplace, forking: str) -> None:
    summary = workplace.folder / "summary.md"
    workplace.environment["PATH"] = forking + workplace.environment["PATH"]
    workplace.environment |= {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}

    said = workplace.run_all(primary(workplace, "github-pull-request.yml"))

    assert "::warning" in said[-1], "so few turns cannot carry a p90"
    assert "SIMULATED" in summary.read_text()
    assert (workplace.folder / "rtbench.xml").exists()


def test_the_pull_request_is_gated_by_the_same_commands_in_azure_pipelines() -> None:
    github, azure = (
        [line for step in workflow(EXAMPLES / f"{ci}-pull-request.yml").steps for line in step.splitlines()]
        for ci in ("github", "azure")
    )

    assert [line for line in azure if line != "set -e"] == github


@pytest.mark.parametrize("name", ["github-nightly.yml", "azure-nightly.yml"])
def test_a_nightly_run_is_checked_and_kept_as_a_baseline(
    workplace: Workplace, simulator: Ready, forking: str, name: str
) -> None:
    if name != "github-nightly.yml":  # which takes the commands as they are installed
        workplace.environment["PATH"] = forking + workplace.environment["PATH"]
    workplace.environment |= {
        "AZURE_OPENAI_ENDPOINT": f"http://127.0.0.1:{simulator.port}",
        "AZURE_OPENAI_DEPLOYMENT_NAME": "gpt-realtime",
        "AZURE_OPENAI_API_KEY": "any",
    }

    workplace.run_all(workflow(EXAMPLES / name).steps)

    pushed = subprocess.run(
        ["git", "--git-dir", "../origin", "ls-tree", "-r", "--name-only", "main"],
        cwd=workplace.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len([path for path in pushed.stdout.split() if path.startswith("baselines/")]) == 1


def test_the_workflow_that_init_writes_plays_against_the_simulator_as_it_stands(
    workplace: Workplace, forking: str
) -> None:
    workplace.environment["PATH"] = forking + workplace.environment["PATH"]
    assert workplace.run("rtbench init").returncode == 0
    written = workflow(workplace.folder / WORKFLOWS[CiSystem.GITHUB])
    targets = workplace.folder / "targets.yaml"
    targets.write_text(_with_ports(targets.read_text(), workplace.ports))
    script = workplace.folder / "scenarios" / "scripts" / "voice_turns.yaml"
    script.write_text(script.read_text().partition("  - audio: ../audio/late_parcel.wav")[0])  # one turn, of four
    workplace.environment |= {"TARGET": written.environment["TARGET"], "GITHUB_ACTIONS": "true"}

    said = workplace.run_all(
        [step.replace("rtbench simulate", "rtbench simulate --profile profile.yaml") for step in written.steps]
    )

    assert "::warning" in said[-1] or "::error" in said[-1], "so few calls decide nothing, or are disturbed"
    assert (workplace.folder / "rtbench.xml").exists()


def test_both_workflows_of_init_do_the_same() -> None:
    github, azure = (workflow(EXAMPLE_FILES / "starter" / f"{ci}.yml") for ci in CiSystem)

    assert github == azure
