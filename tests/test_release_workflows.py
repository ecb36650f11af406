"""The workflows that test and publish: the actions that they use, their permissions, and their commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".github" / "workflows"
PUBLISHING = [FOLDER / "image.yml", FOLDER / "release.yml"]
WORKFLOWS = [*PUBLISHING, FOLDER / "tests.yml"]
PINNED = re.compile(r"[a-z-]+/[a-z-]+@(v\d+(\.\d+)?|release/v1)")
OURS = re.compile(r"\bmake ([a-z-]+)")


def jobs(path: Path) -> dict[str, Any]:
    return dict(YAML(typ="safe").load(path.read_text(encoding="utf-8"))["jobs"])


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(path).values() for step in job["steps"]]


def test_the_workflows_are_release_image_and_tests() -> None:
    assert sorted(FOLDER.iterdir()) == WORKFLOWS


@pytest.mark.parametrize("path", PUBLISHING, ids=lambda path: path.name)
def test_only_a_tag_starts_a_publishing_workflow_and_only_publishing_jobs_may_sign(path: Path) -> None:
    document = YAML(typ="safe").load(path.read_text(encoding="utf-8"))

    assert document["on"] == {"push": {"tags": ["v*"]}}
    assert document["permissions"] == {"contents": "read"}
    for job in jobs(path).values():
        assert (job.get("environment") in ("release", "github-pages")) == ("id-token" in job.get("permissions", {}))
        assert job["timeout-minutes"] <= 60


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_of_others_are_pinned_and_make_targets_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    lines = [step["run"] for step in steps(path) if "run" in step]

    assert all(PINNED.fullmatch(step["uses"]) for step in steps(path) if "uses" in step)
    assert {name for line in lines for name in OURS.findall(line)} <= targets
    assert not [line for line in lines if "${{" in line]


def test_workflows_that_derive_the_version_from_tags_fetch_all_tags() -> None:
    for name in ("release.yml", "tests.yml"):
        checkouts = [step for step in steps(FOLDER / name) if step.get("uses", "").startswith("actions/checkout")]

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
    ci = re.findall(r"^make [a-z-]+", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    assert (
        commands["everything"]
        == ci
        == ["make lint", "make site", "make test-all", "make coverage", "make test-release"]
    )
