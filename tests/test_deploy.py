"""The image, the manifests and the load test of docs/deploy are what their readers take; their options exist."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from tests import forked

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "docs" / "deploy"
JOB, OPERATOR = DEPLOY / "kubernetes" / "job" / "rtbench.yaml", DEPLOY / "kubernetes" / "operator" / "locusttest.yaml"
COMPOSE = DEPLOY / "compose.yaml"
LOAD_TEST = DEPLOY / "azure-load-testing" / "load-test.yaml"
OWN_VARIABLES = {"AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_DEPLOYMENT_NAME", "AZURE_OPENAI_API_KEY"}
IMAGE = re.compile(r"[a-z0-9-]+:\d+(\.\d+)*(-slim)?")
"""A name with a version, and without a registry."""

# What the manifests use of Kubernetes, as its API reference has it; whatever is not named here is refused.

TEXT, WHOLE, YES_OR_NO = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
NAME = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"}
QUANTITY = {"type": "string", "pattern": r"^\d+(\.\d+)?(m|Ki|Mi|Gi)?$"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
TCP = {"const": "TCP"}
VARIABLE = {"type": "string", "pattern": "^[A-Z][A-Z0-9_]*$"}


def table(required: str = "", **keys: Any) -> dict[str, Any]:
    """An object with these keys and no others; `required`: those that must be there, with blanks between."""
    return {"type": "object", "properties": keys, "required": required.split(), "additionalProperties": False}


def listed(item: Any, least: int = 1) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": least}


def document(version: str, kind: str, **keys: Any) -> dict[str, Any]:
    """An object of the API with metadata and these keys."""
    metadata = table("name", name=NAME, annotations=TEXTS)
    named = {"apiVersion": {"const": version}, "kind": {"const": kind}, "metadata": metadata}
    return table(" ".join(("apiVersion", "kind", "metadata", *keys)), **named, **keys)


LABELS = table("matchLabels", matchLabels=TEXTS)
PEERS = listed(table("podSelector", podSelector=LABELS))
RESOURCES = table(
    "requests limits", requests=table(cpu=QUANTITY, memory=QUANTITY), limits=table(cpu=QUANTITY, memory=QUANTITY)
)
POD_SECURITY = table(
    "runAsNonRoot runAsUser fsGroup", runAsNonRoot={"const": True}, runAsUser=WHOLE | {"minimum": 1}, fsGroup=WHOLE
)
OF_SECRET = table("secretKeyRef", secretKeyRef=table("name key", name=NAME, key=TEXT, optional=YES_OR_NO))
ENTRY = table("name", name=VARIABLE, value=TEXT, valueFrom=OF_SECRET)
VOLUME = table(
    "name",
    name=NAME,
    configMap=table("name", name=NAME),
    persistentVolumeClaim=table("claimName", claimName=NAME),
    emptyDir=table(),
) | {"minProperties": 2, "maxProperties": 2}
CONTAINER = table(
    "name image args envFrom resources securityContext",
    name=NAME,
    image=TEXT,
    args=listed(TEXT),
    envFrom=listed(table("configMapRef", configMapRef=table("name", name=NAME))),
    env=listed(ENTRY),
    ports=listed(table("containerPort", containerPort=PORT, protocol=TCP)),
    resources=RESOURCES,
    securityContext=table(
        "allowPrivilegeEscalation capabilities",
        allowPrivilegeEscalation={"const": False},
        capabilities=table("drop", drop={"const": ["ALL"]}),
    ),
    volumeMounts=listed(table("name mountPath", name=NAME, mountPath=TEXT, readOnly=YES_OR_NO)),
)
SPREAD = table(
    "maxSkew topologyKey whenUnsatisfiable labelSelector",
    maxSkew=WHOLE,
    topologyKey=TEXT,
    whenUnsatisfiable={"enum": ["DoNotSchedule", "ScheduleAnyway"]},
    labelSelector=LABELS,
)
POD = table(
    "restartPolicy serviceAccountName terminationGracePeriodSeconds securityContext containers volumes",
    restartPolicy={"enum": ["Never", "OnFailure"]},  # all that a Job's pods may have
    serviceAccountName=NAME,
    terminationGracePeriodSeconds=WHOLE,
    securityContext=POD_SECURITY,
    topologySpreadConstraints=listed(SPREAD),
    containers=listed(CONTAINER),
    volumes=listed(VOLUME),
)
JOB_SPEC = table(
    "backoffLimit template",
    completions=WHOLE,
    parallelism=WHOLE,
    backoffLimit=WHOLE,
    template=table("metadata spec", metadata=table("labels", labels=TEXTS), spec=POD),
)
POLICY = table(
    "podSelector policyTypes ingress",
    podSelector=LABELS,
    policyTypes={"const": ["Ingress"]},
    ingress=listed(table("from ports", **{"from": PEERS}, ports=listed(table("port", port=PORT, protocol=TCP))), 0),
)
CLAIM = table(
    "accessModes resources",
    accessModes=listed({"enum": ["ReadWriteOnce", "ReadWriteMany"]}),
    resources=table("requests", requests=table("storage", storage=QUANTITY)),
)
SERVICE = table(
    "clusterIP selector ports",
    clusterIP={"const": "None"},
    selector=TEXTS,
    ports=listed(table("port", name=NAME, port=PORT, targetPort=PORT, protocol=TCP)),
)
MOUNT = table("name mountPath", name=NAME, mountPath=TEXT, readOnly=YES_OR_NO, target={"enum": ["master", "worker"]})
LOCUST_TEST = table(
    "image master worker",
    image=TEXT,
    master=table("command", command=TEXT, labels=TEXTS, resources=RESOURCES),
    worker=table(
        "command replicas", command=TEXT, labels=TEXTS, resources=RESOURCES, replicas=WHOLE | {"maximum": 500}
    ),
    testFiles=table(configMapRef=NAME),
    env=table(secretRefs=listed(table("name", name=NAME)), variables=listed(ENTRY)),
    volumes=listed(VOLUME),
    volumeMounts=listed(MOUNT),
    security=table(podSecurityContext=POD_SECURITY),
)
KINDS = {
    "ServiceAccount": document("v1", "ServiceAccount"),
    "ConfigMap": document("v1", "ConfigMap", data=TEXTS),
    "Service": document("v1", "Service", spec=SERVICE),
    "PersistentVolumeClaim": document("v1", "PersistentVolumeClaim", spec=CLAIM),
    "NetworkPolicy": document("networking.k8s.io/v1", "NetworkPolicy", spec=POLICY),
    "Job": document("batch/v1", "Job", spec=JOB_SPEC),
    "LocustTest": document("locust.io/v2", "LocustTest", spec=LOCUST_TEST),
}
AZURE_LOAD_TEST = table(
    "version testId testType testPlan engineInstances autoStop env",
    version={"const": "v0.1"},
    testId={"type": "string", "pattern": "^[a-z0-9_-]{2,50}$"},
    displayName=TEXT,
    testType={"const": "Locust"},
    testPlan=TEXT,
    engineInstances={"type": "integer", "minimum": 1, "maximum": 400},
    configurationFiles=listed({"type": "string", "pattern": "^[^/]+$"}),
    autoStop={"const": "disable"},
    env=listed(table("name value", name=VARIABLE, value=TEXT)),
    referenceIdentities=listed(
        table("kind type", kind={"enum": ["Engine", "KeyVault", "Metrics"]}, type={"const": "SystemAssigned"})
    ),
)


def documents(path: Path) -> list[Any]:
    return list(YAML(typ="safe").load_all(path.read_text(encoding="utf-8")))


def walked(value: Any) -> Iterator[Any]:
    """Every object in a document."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walked(inner)


@pytest.mark.parametrize("path", [JOB, OPERATOR], ids=lambda path: path.stem)
def test_a_manifest_is_of_the_kinds_that_kubernetes_and_the_operator_know(path: Path) -> None:
    for manifest in documents(path):
        jsonschema.validate(manifest, KINDS[manifest["kind"]])


def test_the_load_test_has_the_keys_of_azure_load_testing() -> None:
    (load_test,) = documents(LOAD_TEST)
    jsonschema.validate(load_test, AZURE_LOAD_TEST)

    named = [load_test["testPlan"], *load_test["configurationFiles"]]
    assert {path.name for path in LOAD_TEST.parent.iterdir()} == {LOAD_TEST.name, *named}


def test_the_two_jobs_are_one_run_whose_master_waits_for_all_of_its_workers() -> None:
    jobs = {document["metadata"]["name"]: document["spec"] for document in documents(JOB) if document["kind"] == "Job"}
    workers = jobs["rtbench-worker"]["parallelism"]

    assert jobs["rtbench-worker"]["completions"] == workers
    (master,) = jobs["rtbench-master"]["template"]["spec"]["containers"]
    assert f"--expect-workers={workers}" in master["args"]


def test_only_workers_reach_a_master_and_only_at_locust_s_port() -> None:
    for path in (JOB, OPERATOR):
        policies = {d["metadata"]["name"]: d["spec"] for d in documents(path) if d["kind"] == "NetworkPolicy"}
        (rule,) = policies["rtbench-master"]["ingress"]
        assert rule["from"] == [{"podSelector": {"matchLabels": {"app": "rtbench", "role": "worker"}}}]
        assert [port["port"] for port in rule["ports"]] == [5557]


def test_pods_have_the_labels_that_services_and_policies_choose_by() -> None:
    labels = [
        spec["template"]["metadata"]["labels"] if "template" in spec else spec["labels"]
        for path in (JOB, OPERATOR)
        for spec in walked(documents(path))
        if "template" in spec or {"command", "labels"} <= spec.keys()
    ]
    chosen = [
        spec.get("matchLabels") or spec.get("selector")
        for path in (JOB, OPERATOR)
        for spec in walked(documents(path))
        if "matchLabels" in spec or "selector" in spec
    ]

    assert len(labels) == 4
    assert all(any(choice.items() <= label.items() for label in labels) for choice in chosen)


def test_what_a_pod_mounts_is_there() -> None:
    for spec in walked(documents(JOB) + documents(OPERATOR)):
        if "volumes" in spec:
            volumes = {volume["name"] for volume in spec["volumes"]}
            mounts = spec.get("volumeMounts") or spec["containers"][0]["volumeMounts"]
            assert {mount["name"] for mount in mounts} == volumes


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
    assert named <= parsed([]) | OWN_VARIABLES


def test_no_key_and_no_signature_stands_in_a_manifest() -> None:
    for path in DEPLOY.rglob("*.yaml"):
        assert "sig=" not in path.read_text()
    entries = [entry for spec in walked(documents(JOB)) for entry in spec.get("env", ())]
    assert all("value" not in entry for entry in entries), "what a Job's container is told by name is secret"


def instructions() -> list[tuple[str, str]]:
    """(instruction, the rest) of the Dockerfile, line ends with a backslash joined."""
    text = re.sub(r"\\\n\s*", "", (DEPLOY / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def test_the_image_is_slim_pinned_and_runs_without_rights() -> None:
    found = instructions()
    images = [rest.partition(" ")[0] for word, rest in found if word == "FROM"]
    last = [word for word, _ in found][::-1].index("FROM")
    final = dict(found[-last:])

    assert all(IMAGE.fullmatch(image) for image in images), images
    assert final["USER"] not in ("root", "0")
    assert final["ENTRYPOINT"] == '["entrypoint"]'
    assert "HEALTHCHECK" in final
    assert "gcc" not in " ".join(rest for _, rest in found[-last:])


def test_what_the_image_is_made_of_is_there_and_not_ignored() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split("\n")
    sources = [
        source
        for word, rest in instructions()
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
        if not source.startswith("--")
    ]

    assert len(sources) >= 9
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored


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
    ended = subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=True)

    assert ended.stdout.strip() == called


def test_images_of_manifests_are_named_with_a_version_and_without_a_registry() -> None:
    named = documents(JOB) + documents(OPERATOR) + documents(COMPOSE)
    images = [spec["image"] for spec in walked(named) if "image" in spec]

    assert len(images) == 5
    assert all(IMAGE.fullmatch(image) for image in images), images


def test_the_load_of_the_compose_file_reaches_the_simulator_on_a_loopback_that_they_share() -> None:
    """Plain ws:// is for loopback alone: the load stands in the network of the simulator, once that listens."""
    services = documents(COMPOSE)[0]["services"]
    url = services["load"]["environment"]["LOCUST_URL"]
    port = services["simulator"]["command"][-1]

    assert services["simulator"]["command"][:3] == ["rtbench", "simulate", "--port"]
    assert url.startswith(f"ws://127.0.0.1:{port}/")
    assert f"('127.0.0.1', {port})" in services["simulator"]["healthcheck"]["test"][-1]
    assert services["load"]["network_mode"] == "service:simulator"
    assert services["load"]["depends_on"] == {"simulator": {"condition": "service_healthy"}}
    assert (COMPOSE.parent / services["simulator"]["build"]["context"]).resolve() == ROOT
    assert (ROOT / services["simulator"]["build"]["dockerfile"]).is_file()
