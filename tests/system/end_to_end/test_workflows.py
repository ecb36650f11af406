"""The shell steps of the CI examples work: they are run as they stand, with shorter runs and ports of the test's own.

What they install is there already, and a gateway is a simulator of its own. Steps of the vendors (`uses:`, `task:`)
are not run. `rtbench` and `locust` are the installed commands in one of them; in the others fork servers do their
imports.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bench.cli.start import WORKFLOWS, CiSystem
from bench.installation import EXAMPLES as EXAMPLE_FILES
from tests.simulator_process import Ready
from tests.system.end_to_end.workplace import EXAMPLES, Workplace, forking, workplace

__all__ = ["forking", "workplace"]


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
