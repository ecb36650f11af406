"""The image, the manifests and the load test of docs/deploy are what their readers take; their options exist."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import forked
from tests.test_deploy import (
    COMPOSE,
    DEPLOY,
    JOB,
    LOAD_TEST,
    OPERATOR,
    documents,
    walked,
)

OWN_VARIABLES = {"AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_DEPLOYMENT_NAME", "AZURE_OPENAI_API_KEY"}


def command_lines() -> Iterator[list[str]]:
    for spec in walked(documents(JOB) + documents(OPERATOR)):
        if "args" in spec:
            yield spec["args"]
        if "command" in spec:
            yield spec["command"].split()
    yield documents(COMPOSE)[0]["services"]["load"]["command"][1:]  # the first word is `locust`


PARSE = """
import json, sys
from locust.argument_parser import get_parser
import bench.load.leading.runner

parser = get_parser(default_config_files=[])
for line in json.loads(sys.argv[1]):
    parser.parse_args(line)
print(json.dumps([action.env_var for action in parser._actions if getattr(action, "env_var", None)]))
"""


def parsed(lines: list[list[str]]) -> set[str]:
    """Parse command lines as Locust does with our options; returns the variables of all options there are."""
    ended = forked.run([sys.executable, "-c", PARSE, json.dumps(lines)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return set(json.loads(ended.stdout))


def test_every_option_of_a_command_line_exists() -> None:
    lines = list(command_lines())

    assert len(lines) == 5
    parsed(lines)


def test_every_variable_is_one_of_an_option_or_of_the_service() -> None:
    objects = list(walked(documents(JOB) + documents(OPERATOR) + documents(LOAD_TEST)))
    named = {entry["name"] for spec in objects for entry in spec.get("env") or () if isinstance(spec.get("env"), list)}
    named |= {entry["name"] for spec in objects for entry in spec.get("variables") or ()}
    (options,) = (d["data"] for d in documents(JOB) if d["metadata"]["name"] == "rtbench-options")
    named |= set(options)
    named |= {name for service in documents(COMPOSE)[0]["services"].values() for name in service.get("environment", {})}

    assert {"LOCUST_UPLOAD", "LOCUST_PART_OF", "LOCUST_RUNS", "LOCUST_YES"} <= named
    assert named <= parsed([]) | OWN_VARIABLES | {"XDG_STATE_HOME"}


@pytest.mark.parametrize(
    ("words", "called"),
    [
        (["rtbench", "doctor"], "rtbench doctor"),
        (["locust", "-V"], "locust -V"),
        (["--worker", "--master-host=m", "-f", "a b.py"], "locust --worker --master-host=m -f a b.py"),
    ],
)
def test_the_entry_point_takes_commands_and_what_operators_give(words: list[str], called: str, tmp_path: Path) -> None:
    for name in ("rtbench", "locust"):
        (tmp_path / name).write_text('#!/bin/sh\necho "${0##*/} $*"\n')
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    command = [str(DEPLOY / "entrypoint.sh"), *words]
    ended = subprocess.run(
        command, env={"PATH": path, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=True
    )

    assert ended.stdout.strip() == called
