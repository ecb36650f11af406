"""The image and the manifests of docs/deploy are valid for the programs that read them. The options
in them exist.
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
from tests.system.deploy_files import DEPLOY, ROOT, documents

JOB = DEPLOY / "kubernetes" / "job" / "rtbench.yaml"
CALIBRATE = JOB.with_name("calibrate.yaml")
COMPOSE = DEPLOY / "compose.yaml"
OWN_VARIABLES = {"AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_DEPLOYMENT_NAME", "AZURE_OPENAI_API_KEY"}


def walked(value: Any) -> Iterator[Any]:
    """Yield every object in a document."""
    if isinstance(value, dict):
        yield value
    for inner in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
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


METADATA = {"name", "labels", "annotations"}
KEYS: dict[str, set[str]] = {
    # (the keys of the API that the manifests may have, by the path of an object in its document)
    "": {"apiVersion", "kind", "metadata", "spec", "data"},
    "Job.spec": {"completions", "parallelism", "backoffLimit", "activeDeadlineSeconds", "template"},
    "template": {"metadata", "spec"},
    "pod": {
        "restartPolicy",
        "serviceAccountName",
        "terminationGracePeriodSeconds",
        "securityContext",
        "containers",
        "volumes",
        "topologySpreadConstraints",
    },
    "container": {
        "name",
        "image",
        "args",
        "command",
        "env",
        "envFrom",
        "ports",
        "resources",
        "securityContext",
        "volumeMounts",
    },
    "env": {"name", "value", "valueFrom"},
    "envFrom": {"configMapRef", "secretRef"},
    "volumeMounts": {"name", "mountPath", "readOnly"},
    "volumes": {"name", "configMap", "emptyDir", "persistentVolumeClaim"},
    "ports": {"name", "port", "targetPort", "containerPort", "protocol"},
    "topologySpreadConstraints": {"maxSkew", "topologyKey", "whenUnsatisfiable", "labelSelector"},
}
VERSIONS = {"Job": "batch/v1", "NetworkPolicy": "networking.k8s.io/v1"}
"""The versions of the API by kind; the others are `v1`."""


@pytest.mark.parametrize("path", [JOB, CALIBRATE], ids=lambda path: path.stem)
def test_manifests_have_only_keys_of_the_api_and_names_that_they_define(path: Path) -> None:
    kept = documents(path)
    names = {(document["kind"], document["metadata"]["name"]) for document in kept}
    for document in kept:
        assert document.keys() <= KEYS[""], document["kind"]
        assert document["apiVersion"] == VERSIONS.get(document["kind"], "v1")
        assert document["metadata"].keys() <= METADATA
        if document["kind"] == "Job":
            assert document["spec"].keys() <= KEYS["Job.spec"]
            assert document["spec"]["template"].keys() <= KEYS["template"]
    for pod in (spec for spec in walked(kept) if "containers" in spec):
        assert pod.keys() <= KEYS["pod"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        for key in ("volumes", "topologySpreadConstraints"):
            assert all(entry.keys() <= KEYS[key] for entry in pod.get(key, ()))
        for container in pod["containers"]:
            assert container.keys() <= KEYS["container"]
            for key in ("env", "envFrom", "volumeMounts", "ports"):
                assert all(entry.keys() <= KEYS[key] for entry in container.get(key, ())), key
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            used = {
                ("ConfigMap", entry["configMapRef"]["name"])
                for entry in container.get("envFrom", ())
            }
            assert used <= names
        claims = {
            ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
            for volume in pod["volumes"]
            if "persistentVolumeClaim" in volume
        }
        assert claims <= names


def command_lines() -> Iterator[list[str]]:
    for spec in walked(documents(JOB)):
        if "args" in spec:
            yield spec["args"]
        if "command" in spec:
            yield spec["command"].split()
    # without the first word, `locust`
    yield documents(COMPOSE)[0]["services"]["load"]["command"][1:]


PARSE = """
import json, sys
from locust.argument_parser import get_parser
from bench.load.runners import locust_events
from rtbench.evaluation import EVALUATION

locust_events.register(EVALUATION)
parser = get_parser(default_config_files=[])
for line in json.loads(sys.argv[1]):
    parser.parse_args(line)
print(json.dumps([action.env_var for action in parser._actions if getattr(action, "env_var", None)]))
"""


def test_options_and_variables_of_manifests_exist() -> None:
    lines = list(command_lines())
    ended = forked.run(
        [sys.executable, "-c", PARSE, json.dumps(lines)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (len(lines), ended.returncode) == (3, 0), ended.stderr

    objects = list(walked(documents(JOB)))
    named = {
        entry["name"]
        for spec in objects
        for entry in spec.get("env") or ()
        if isinstance(spec.get("env"), list)
    }
    (options,) = (d["data"] for d in documents(JOB) if d["metadata"]["name"] == "rtbench-options")
    named |= set(options)
    named |= {
        name
        for service in documents(COMPOSE)[0]["services"].values()
        for name in service.get("environment", {})
    }
    assert {"LOCUST_UPLOAD", "LOCUST_RUNS_DIR", "LOCUST_YES"} <= named
    assert named <= {*json.loads(ended.stdout)} | OWN_VARIABLES | {"XDG_STATE_HOME"}


def instructions() -> list[tuple[str, str]]:
    """Return (instruction, the rest of the line) for each line of the Dockerfile. Lines that end
    with a backslash are joined with the next line.
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
def test_an_image_without_a_base_digest_or_a_version_is_not_built(
    python: str, version: str, expected: str
) -> None:
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
    (tmp_path / "proc" / "1" / "status").write_text(
        f"Name:\tlocust\nState:\t{state}\n" if state else ""
    )
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
    places = {
        "PROC": str(tmp_path / "proc"),
        "LOCUST_RUNS_DIR": str(tmp_path / "runs"),
        "TMPDIR": str(tmp_path),
    }
    given = {"PATH": os.environ["PATH"]} | places

    assert subprocess.run([str(DEPLOY / "health.sh")], env=given, check=False).returncode == status


SAYS = 'echo "${0##*/} $*"'


def entry_point(
    folder: Path, *words: str, locust: str = SAYS, **environment: str
) -> subprocess.Popen[str]:
    """Start the image's entry point with a fake `rtbench` that prints its arguments, and a fake
    `locust`.

    `locust`: the shell code of the fake; by default it prints its arguments too.
    """
    for name, does in (("locust", locust), ("rtbench", SAYS)):
        (folder / name).write_text(f"#!/bin/sh\n{does}\n")
        (folder / name).chmod(0o755)
    given = {"PATH": f"{folder}:{os.environ['PATH']}", "TMPDIR": str(folder)} | environment
    return subprocess.Popen(
        [str(DEPLOY / "entrypoint.sh"), *words], env=given, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def left(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a worker that uploads its runs. One of these runs is still on
    disk.
    """
    (tmp_path / "runs" / "left").mkdir(parents=True)
    (tmp_path / "runs" / "left" / "run.json").write_text("{}")
    (tmp_path / "runs" / "other").mkdir()
    return {"LOCUST_UPLOAD": "https://there", "LOCUST_RUNS_DIR": str(tmp_path / "runs")}


def test_a_worker_uploads_its_remaining_runs_and_keeps_the_exit_status(
    tmp_path: Path, left: dict[str, str]
) -> None:
    with entry_point(
        tmp_path, "--worker", "--master-host=m", locust=f"{SAYS}; exit 3", **left
    ) as process:
        output, _ = process.communicate()

    assert output.splitlines() == [
        "locust --worker --master-host=m",
        f"rtbench runs upload {tmp_path}/runs/left/",
    ]
    assert process.returncode == 3
    assert "https://there" not in output, "its signature is in no list of processes"


def test_a_worker_uploads_its_remaining_runs_after_sigterm(
    tmp_path: Path, left: dict[str, str]
) -> None:
    """The signal reaches Locust, which takes some time to end. After that, the remaining runs
    are uploaded.
    """
    waits = (
        'trap "echo told; sleep 0.2; echo ended; exit 0" TERM; echo ready; while :; do sleep 0.05;'
        " done"
    )
    with entry_point(tmp_path, "--worker", locust=waits, **left) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        output = process.stdout.read().splitlines()

    assert output == ["told", "ended", f"rtbench runs upload {tmp_path}/runs/left/"]
    assert process.returncode == 0


CALLED = {
    "rtbench doctor": "rtbench doctor",
    "locust -V": "locust -V",
    "--worker --master-host=m -f a.py": "locust --worker --master-host=m -f a.py",
}


@pytest.mark.parametrize("words", CALLED)
def test_the_entry_point_accepts_commands_and_options_of_operators(
    words: str, tmp_path: Path
) -> None:
    with entry_point(tmp_path, *words.split()) as process:
        assert process.communicate()[0].strip() == CALLED[words]


UNSHARE = ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--mount-proc"]
PODS = """
set -e
ip link set lo up 2>/dev/null || python -c 'import fcntl, socket, struct
s = socket.socket(); fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", 0x49))'
rtbench simulate --profile quiet --port 8765 --ready-file ready.json >simulator.log 2>&1 &
until [ -s ready.json ]; do sleep 0.1; done
"$ENTRYPOINT" $WORKER >worker.log 2>&1 &
worker=$!
"$ENTRYPOINT" $MASTER
wait $worker
"""
"""The pods of the Jobs as processes of one network and process namespace, with a simulated
service."""


def test_the_entry_point_runs_the_master_and_the_workers_of_the_jobs_in_namespaces(
    tmp_path: Path,
) -> None:
    if subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine permits no namespaces to its users")
    by_kind = {(entry["kind"], entry["metadata"]["name"]): entry for entry in documents(JOB)}
    master, worker = (
        by_kind["Job", name]["spec"]["template"]["spec"]["containers"][0]["args"]
        for name in ("rtbench-master", "rtbench-worker")
    )
    for name, text in by_kind["ConfigMap", "rtbench-scenario"]["data"].items():
        (tmp_path / name).write_text(text.replace("/rtbench/scenarios", str(ROOT / "scenarios")))
    smaller = {
        "--expect-workers": "2",
        "--users": "4",
        "--spawn-rate": "4",
        "--master-host": "127.0.0.1",
    }
    lines = [
        [
            f"{flag}={smaller.get(flag, value)}" if value else flag
            for flag, _, value in (w.partition("=") for w in words)
        ]
        for words in (master, worker)
    ]
    options = by_kind["ConfigMap", "rtbench-options"]["data"]
    own = {name: value for name, value in options.items() if name.startswith("LOCUST_")}
    places = {
        "LOCUST_LOCUSTFILE": str(tmp_path / "scenario.py"),
        "LOCUST_RUNS_DIR": str(tmp_path / "runs"),
        "TMPDIR": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LOCUST_URL": "ws://127.0.0.1:8765/openai/v1/realtime?model=gpt-realtime",
        "LOCUST_SESSIONS": "4",
        "ENTRYPOINT": str(DEPLOY / "entrypoint.sh"),
        "MASTER": " ".join(lines[0]),
        "WORKER": " ".join(lines[1]),
        "HOME": str(tmp_path),
    }
    ended = subprocess.run(
        [*UNSHARE, "sh", "-c", PODS],
        cwd=tmp_path,
        env=own | places,
        capture_output=True,
        text=True,
        check=False,
    )

    (run,) = (tmp_path / "runs").iterdir()
    document = json.loads((run / "run.json").read_text())
    assert ended.returncode in (0, 4), ended.stderr + (tmp_path / "worker.log").read_text()
    assert (document["workers"], document["missing_workers"]) == (2, [])
    assert sum(document["totals"]["sessions"].values()) == 4
