"""The workflows that test and publish: the actions that they use, their permissions, and their
commands.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tools.addresses import OWN

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".github" / "workflows"
PUBLISHING = [FOLDER / "image.yml", FOLDER / "release.yml"]
WORKFLOWS = [*PUBLISHING, FOLDER / "tests.yml"]
USED = re.compile(r"\buses: (?P<action>[^@\s]+)@(?P<version>.*)")
COMMIT = re.compile(r"[0-9a-f]{40} # v\d+\.\d+\.\d+")
OURS = re.compile(r"\bmake ([a-z-]+)")


def jobs(path: Path) -> dict[str, Any]:
    return dict(YAML(typ="safe").load(path.read_text(encoding="utf-8"))["jobs"])


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(path).values() for step in job["steps"]]


def test_the_workflows_are_release_image_and_tests() -> None:
    assert sorted(FOLDER.iterdir()) == WORKFLOWS


@pytest.mark.parametrize("path", PUBLISHING, ids=lambda path: path.name)
def test_only_a_tag_starts_a_publishing_workflow_and_only_publishing_jobs_may_sign(
    path: Path,
) -> None:
    document = YAML(typ="safe").load(path.read_text(encoding="utf-8"))

    assert document["on"] == {"push": {"tags": ["v*"]}}
    assert document["permissions"] == {"contents": "read"}
    for job in jobs(path).values():
        assert (job.get("environment") in ("release", "github-pages")) == (
            "id-token" in job.get("permissions", {})
        )
        assert job["timeout-minutes"] <= 60


def test_actions_of_others_are_pinned_by_commit_and_each_by_the_same_one() -> None:
    """A tag may be moved to other code. Users copy the workflows of the docs and of `rtbench
    init`, with secrets.
    """
    files = [ROOT / "action.yml"]
    for folder in (".github", "docs", "scenarios"):
        files += (
            path for path in (ROOT / folder).rglob("*") if path.suffix in (".yml", ".yaml", ".md")
        )
    used = [found for path in files for found in USED.finditer(path.read_text(encoding="utf-8"))]
    others = {(found["action"], found["version"]) for found in used if not OWN.search(found[0])}

    assert len(others) >= 15
    assert [each for each in sorted(others) if not COMMIT.fullmatch(each[1])] == []
    assert len(dict(others)) == len(others)


def test_the_action_installs_the_locked_dependencies_and_options_are_no_patterns() -> None:
    """Files in the folder of a scenario must not become options of the run."""
    steps = YAML(typ="safe").load((ROOT / "action.yml").read_text(encoding="utf-8"))["runs"][
        "steps"
    ]
    install, *_ = (step["run"].splitlines() for step in steps if step.get("name") == "Install")
    template = (ROOT / "docs" / "ci" / "azure-steps.yml").read_text(encoding="utf-8").splitlines()
    lines = [line for step in steps for line in step.get("run", "").splitlines()] + template
    unquoted = [
        number
        for number, line in enumerate(lines)
        if re.search(r" \$(?!RTBENCH)\w", re.sub('"[^"]*"', "", line))  # the wheel is a pattern
    ]

    assert install == [
        'python -m pip install --require-hashes -r "$GITHUB_ACTION_PATH/requirements-calls.lock"',
        'python -m pip install --no-deps "$GITHUB_ACTION_PATH"',
    ]
    assert len(unquoted) == 3
    assert all(lines[number - 1].strip().startswith("set -f") for number in unquoted)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_make_targets_of_workflows_exist(path: Path) -> None:
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    lines = [step["run"] for step in steps(path) if "run" in step]

    assert {name for line in lines for name in OURS.findall(line)} <= targets
    assert not [line for line in lines if "${{" in line]


def test_workflows_that_derive_the_version_from_tags_fetch_all_tags() -> None:
    for name in ("release.yml", "tests.yml"):
        checkouts = [
            step
            for step in steps(FOLDER / name)
            if step.get("uses", "").startswith("actions/checkout")
        ]

        assert len(checkouts) >= 2
        assert all(step["with"]["fetch-depth"] == 0 for step in checkouts)


def test_pull_requests_run_the_ci_commands_with_read_only_permissions() -> None:
    text = (FOLDER / "tests.yml").read_text(encoding="utf-8")
    document = YAML(typ="safe").load(text)
    commands = {
        name: [step["run"] for step in job["steps"] if "run" in step]
        for name, job in jobs(FOLDER / "tests.yml").items()
    }

    assert sorted(document["on"]) == ["pull_request", "push", "schedule", "workflow_dispatch"]
    assert document["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in jobs(FOLDER / "tests.yml").values())
    assert "secrets." not in text
    assert all(
        step["with"]["persist-credentials"] is False
        for step in steps(FOLDER / "tests.yml")
        if "checkout" in step.get("uses", "")
    )
    assert commands["test"] == ["make lint", "make site", "make test"]
    lines = [
        line
        for line in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
        if line[:1] != "#"
    ]
    ci = {name for line in lines for name in re.findall(r"\bmake [a-z-]+", line)}
    installed = (
        "sudo apt-get update -qq && sudo apt-get install -y -qq --no-install-recommends coturn"
    )
    everything = [
        "make lint",
        "make site",
        "make coverage",
        installed,
        "make test-system",
        "make test-release",
    ]
    assert commands["everything"] == everything
    assert ci == {
        "make lint",
        "make site",
        "make bench",
        "make test",
        "make test-compiled",
        "make test-system",
    }


def test_each_place_states_the_same_range_of_pythons() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = [
        name.rpartition(" ")[2]
        for name in project["project"]["classifiers"]
        if "Python :: 3." in name
    ]
    minor = [int(name.removeprefix("3.")) for name in named]
    lowest, highest = named[0], named[-1]
    stated = f"Python {lowest} to {highest}"

    assert minor == [*range(minor[0], minor[-1] + 1)]
    assert project["project"]["requires-python"] == f">={lowest}"
    assert project["tool"]["cibuildwheel"]["build"].split() == [
        f"cp3{number}-*" for number in minor
    ]
    assert jobs(FOLDER / "tests.yml")["test"]["strategy"]["matrix"]["python"] == [lowest, highest]
    assert f"--python-version {lowest} " in (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in ("README.md", "Makefile", "RELEASING.md", "docs/getting-started.md"):
        assert stated in (ROOT / name).read_text(encoding="utf-8"), name
