"""The image, the manifests and the load test of docs/deploy are valid for the programs that read them. The options in
them exist.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import forked
from tests.system.deploy_files import DEPLOY, LOAD_TEST, documents

JOB = DEPLOY / "kubernetes" / "job" / "rtbench.yaml"
CALIBRATE = JOB.with_name("calibrate.yaml")
COMPOSE = DEPLOY / "compose.yaml"
OWN_VARIABLES = {"AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_DEPLOYMENT_NAME", "AZURE_OPENAI_API_KEY"}


def walked(value: Any) -> Iterator[Any]:
    """Yield every object in a document."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walked(inner)


@pytest.mark.parametrize("path", [JOB, CALIBRATE], ids=lambda path: path.stem)
def test_pods_meet_the_restricted_pod_security_standard(path: Path) -> None:
    pods = [spec for spec in walked(documents(path)) if "containers" in spec]
    assert pods
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"].keys() == {"requests", "limits"}


def command_lines() -> Iterator[list[str]]:
    for spec in walked(documents(JOB)):
        if "args" in spec:
            yield spec["args"]
        if "command" in spec:
            yield spec["command"].split()
    yield documents(COMPOSE)[0]["services"]["load"]["command"][1:]  # without the first word, `locust`


PARSE = """
import json, sys
from locust.argument_parser import get_parser
from bench.load.runners import locust_events

locust_events.register()
parser = get_parser(default_config_files=[])
for line in json.loads(sys.argv[1]):
    parser.parse_args(line)
print(json.dumps([action.env_var for action in parser._actions if getattr(action, "env_var", None)]))
"""


def test_options_and_variables_of_manifests_exist() -> None:
    lines = list(command_lines())
    ended = forked.run([sys.executable, "-c", PARSE, json.dumps(lines)], capture_output=True, text=True, check=False)
    assert (len(lines), ended.returncode) == (3, 0), ended.stderr

    objects = list(walked(documents(JOB) + documents(LOAD_TEST)))
    named = {entry["name"] for spec in objects for entry in spec.get("env") or () if isinstance(spec.get("env"), list)}
    (options,) = (d["data"] for d in documents(JOB) if d["metadata"]["name"] == "rtbench-options")
    named |= set(options)
    named |= {name for service in documents(COMPOSE)[0]["services"].values() for name in service.get("environment", {})}
    assert {"LOCUST_UPLOAD", "LOCUST_PART_OF", "LOCUST_RUNS_DIR", "LOCUST_YES"} <= named
    assert named <= {*json.loads(ended.stdout)} | OWN_VARIABLES | {"XDG_STATE_HOME"}


def instructions() -> list[tuple[str, str]]:
    """Return (instruction, the rest of the line) for each line of the Dockerfile. Lines that end with a backslash are
    joined
    with the next line.
    """
    text = re.sub(r"\\\n\s*", "", (DEPLOY / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


DIGEST = "python:3.12-slim@sha256:" + 64 * "a"


@pytest.mark.parametrize(
    ("python", "version", "expected"),
    [
        (DIGEST, "0.1.0", ""),
        ("python:3.12-slim", "0.1.0", "name the base image by its digest"),
        (DIGEST, "0.0.0", "give the version"),
    ],
)
def test_an_image_without_a_base_digest_or_a_version_is_not_built(python: str, version: str, expected: str) -> None:
    check = next(rest for word, rest in instructions() if word == "RUN")
    ended = subprocess.run(
        ["/bin/sh", "-c", check],
        env={"PYTHON": python, "VERSION": version},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode == 0) is not expected
    assert expected in ended.stderr


@pytest.mark.parametrize(
    ("state", "of_before", "kept", "minutes", "status"),
    [
        pytest.param("S (sleeping)", False, True, 1, 0, id="a run goes on"),
        pytest.param("S (sleeping)", False, True, 9, 1, id="a run hangs"),
        pytest.param("S (sleeping)", False, False, 9, 0, id="a run is closed"),
        pytest.param("S (sleeping)", True, True, 9, 0, id="files of an earlier container"),
        pytest.param("T (stopped)", False, True, 1, 1, id="its process is stopped"),
        pytest.param("", False, True, 1, 1, id="its process is gone"),
    ],
)
def test_a_container_with_a_stopped_process_or_a_hanging_run_is_unhealthy(
    state: str, of_before: bool, kept: bool, minutes: int, status: int, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "a-run"
    (tmp_path / "proc" / "1").mkdir(parents=True)
    (tmp_path / "proc" / "1" / "status").write_text(f"Name:\tlocust\nState:\t{state}\n" if state else "")
    (run / "spool").mkdir(parents=True)
    (run / "spool" / "0-turns.arrow").write_text("")
    (tmp_path / "rtbench-started").write_text("")
    then = time.time() - 60 * minutes
    for path in (run / "spool" / "0-turns.arrow", run / "spool", run):
        os.utime(path, (then, then))
    os.utime(tmp_path / "rtbench-started", (then + (60 if of_before else -60),) * 2)
    if not kept:
        shutil.rmtree(run / "spool")
        os.utime(run, (then, then))
    places = {"PROC": str(tmp_path / "proc"), "LOCUST_RUNS_DIR": str(tmp_path / "runs"), "TMPDIR": str(tmp_path)}
    given = {"PATH": os.environ["PATH"]} | places

    assert subprocess.run([str(DEPLOY / "health.sh")], env=given, check=False).returncode == status


SAYS = 'echo "${0##*/} $*"'


def entry_point(folder: Path, *words: str, locust: str = SAYS, **environment: str) -> subprocess.Popen[str]:
    """Start the image's entry point with a fake `rtbench` that prints its arguments, and a fake `locust`.

    `locust`: the shell code of the fake; by default it prints its arguments too.
    """
    for name, does in (("locust", locust), ("rtbench", SAYS)):
        (folder / name).write_text(f"#!/bin/sh\n{does}\n")
        (folder / name).chmod(0o755)
    given = {"PATH": f"{folder}:{os.environ['PATH']}", "TMPDIR": str(folder)} | environment
    return subprocess.Popen([str(DEPLOY / "entrypoint.sh"), *words], env=given, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def left(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a worker that uploads its runs. One of these runs is still on disk."""
    (tmp_path / "runs" / "left").mkdir(parents=True)
    (tmp_path / "runs" / "left" / "run.json").write_text("{}")
    (tmp_path / "runs" / "other").mkdir()
    return {"LOCUST_UPLOAD": "https://there", "LOCUST_RUNS_DIR": str(tmp_path / "runs")}


def test_a_worker_uploads_its_remaining_runs_and_keeps_the_exit_status(tmp_path: Path, left: dict[str, str]) -> None:
    with entry_point(tmp_path, "--worker", "--master-host=m", locust=f"{SAYS}; exit 3", **left) as process:
        output, _ = process.communicate()

    assert output.splitlines() == ["locust --worker --master-host=m", f"rtbench upload {tmp_path}/runs/left/"]
    assert process.returncode == 3
    assert "https://there" not in output, "its signature is in no list of processes"


def test_a_worker_uploads_its_remaining_runs_after_sigterm(tmp_path: Path, left: dict[str, str]) -> None:
    """The signal reaches Locust, which takes some time to end. After that, the remaining runs are uploaded."""
    waits = 'trap "echo told; sleep 0.2; echo ended; exit 0" TERM; echo ready; while :; do sleep 0.05; done'
    with entry_point(tmp_path, "--worker", locust=waits, **left) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        output = process.stdout.read().splitlines()

    assert output == ["told", "ended", f"rtbench upload {tmp_path}/runs/left/"]
    assert process.returncode == 0


CALLED = {
    "rtbench doctor": "rtbench doctor",
    "locust -V": "locust -V",
    "--worker --master-host=m -f a.py": "locust --worker --master-host=m -f a.py",
}


@pytest.mark.parametrize("words", CALLED)
def test_the_entry_point_accepts_commands_and_options_of_operators(words: str, tmp_path: Path) -> None:
    with entry_point(tmp_path, *words.split()) as process:
        assert process.communicate()[0].strip() == CALLED[words]
