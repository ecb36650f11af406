"""`rtbench init --azure-load-testing` writes a folder that the documents of Azure Load Testing
permit.

The keys are those of its YAML reference,
https://learn.microsoft.com/azure/load-testing/reference-test-config-yaml.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bench.base.errors import UsageError
from bench.base.installation import REPORT_PACKAGES
from bench.load.planning.locust_entries import metric_entry
from bench.load.planning.run_options import TIMES_OF_TURNS, Options
from bench.plan.script import load_script
from rtbench.azure_load_testing import engine_facts
from rtbench.azure_load_testing.engine_wheel import engine_wheel
from tests.command_line import call
from tests.load.options import parsed

TEST_KEYS = {
    "version",
    "testId",
    "testName",
    "displayName",
    "description",
    "testType",
    "testPlan",
    "engineInstances",
    "configurationFiles",
    "failureCriteria",
    "autoStop",
    "properties",
    "zipArtifacts",
    "splitAllCSVs",
    "secrets",
    "env",
    "certificates",
    "appComponents",
    "subnetId",
    "publicIPDisabled",
    "regionalLoadTestConfig",
    "referenceIdentities",
    "keyVaultReferenceIdentity",
}
CRITERION = re.compile(
    r"(?:(?:avg|min|max|p(?:50|75|90|95|96|97|98|99|999|9999))\s?\(response_time_ms\)\s?[<>]"
    r"|(?:avg|min|max|p(?:50|90|95|99))\s?\(latency\)\s?[<>]|percentage\s?\(error\)\s?>"
    r"|avg\s?\(requests_per_sec\)\s?[<>]|count\s?\(requests\)\s?[<>])\s?\d+"
)
AUTO_STOP = {"errorPercentage", "timeWindow"}


def problems(test: dict[str, Any], folder: Path) -> list[str]:
    """Return what the reference of the YAML does not permit in a test of Locust."""
    found = [f"unknown key {key}" for key in test.keys() - TEST_KEYS]
    found += [
        f"no {key}"
        for key in ("testId", "testType", "testPlan", "engineInstances")
        if key not in test
    ]
    found += [] if test.get("version") == "v0.1" else ["version"]
    found += [] if re.fullmatch(r"[a-z0-9_-]{2,50}", str(test.get("testId"))) else ["testId"]
    found += (
        []
        if test.get("testType") == "Locust" and str(test.get("testPlan")).endswith(".py")
        else ["testPlan"]
    )
    found += [] if len(str(test.get("description", ""))) <= 100 else ["description"]
    engines = test.get("engineInstances")
    found += [] if isinstance(engines, int) and 1 <= engines <= 400 else ["engineInstances"]
    files = [
        test.get("testPlan"),
        *test.get("configurationFiles", ()),
        *test.get("zipArtifacts", ()),
    ]
    found += [f"no file {name}" for name in files if not (folder / str(name)).is_file()]
    names = [Path(str(name)).name for name in files]
    found += ["two files of one name land in one folder"] if len(set(names)) < len(names) else []
    for name in test.get("zipArtifacts", ()):
        with zipfile.ZipFile(folder / name) as archive:
            sizes = [entry.file_size for entry in archive.infolist()]
        is_small = (folder / name).stat().st_size < 50e6 and len(sizes) <= 1000 and sum(sizes) < 1e9
        found += [] if is_small else [f"{name} is too large"]
    found += ["too many archives"] if len(test.get("zipArtifacts", ())) > 5 else []
    for entry in test.get("failureCriteria", ()):
        condition = next(iter(entry.values())) if isinstance(entry, dict) else entry
        found += [] if CRITERION.fullmatch(condition) else [f"criterion {condition}"]
    stop = test.get("autoStop", "disable")
    found += (
        []
        if stop == "disable" or (isinstance(stop, dict) and stop.keys() <= AUTO_STOP)
        else ["autoStop"]
    )
    for key in ("env", "secrets"):
        found += [
            f"{key} {entry}" for entry in test.get(key, ()) if entry.keys() != {"name", "value"}
        ]
        found += [
            f"{key} {entry} is no text"
            for entry in test.get(key, ())
            if not isinstance(entry["value"], str)
        ]
    for identity in test.get("referenceIdentities", ()):
        keys = {"kind", "type"} | ({"value"} if identity.get("type") == "UserAssigned" else set())
        is_valid = identity.keys() == keys and identity["kind"] in ("KeyVault", "Metrics", "Engine")
        found += (
            []
            if is_valid and identity["type"] in ("SystemAssigned", "UserAssigned")
            else [f"identity {identity}"]
        )
    return found


def with_secrets(text: str) -> str:
    """Return the test with its commented alternative: a key and a SAS from Key Vault."""
    return re.sub(r"(?m)^(\s*)# (?=- kind|  type|secrets:|  - \{name)", r"\1", text)


def wheel(folder: Path, metadata: str) -> Path:
    path = folder / "rtbench-0.1.0-cp312-cp312-linux_x86_64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bench/__init__.py", "")
        archive.writestr("rtbench-0.1.0.dist-info/METADATA", metadata)
        archive.writestr(
            "rtbench-0.1.0.dist-info/RECORD",
            "bench/__init__.py,sha256=x,0\nrtbench-0.1.0.dist-info/METADATA,sha256=old,1\n"
            "rtbench-0.1.0.dist-info/RECORD,,\n",
        )
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder that the command wrote, with a wheel."""
    ended = call(
        "init",
        tmp_path / "test",
        "--azure-load-testing",
        "--wheel",
        wheel(tmp_path, "Name: rtbench\n"),
    )
    assert ended.exit_code == 0, ended.output
    return tmp_path / "test"


@pytest.mark.parametrize("name", ["load-test.yaml", "probe.yaml"])
@pytest.mark.parametrize("edit", [str, with_secrets], ids=["identity", "key vault"])
def test_the_tests_have_only_documented_keys_and_existing_files(
    name: str, edit: Any, folder: Path
) -> None:
    test = YAML(typ="safe").load(edit((folder / name).read_text()))
    assert problems(test, folder) == []
    if edit is with_secrets and name == "load-test.yaml":
        assert [secret["name"] for secret in test["secrets"]] == [
            "AZURE_OPENAI_API_KEY",
            "LOCUST_UPLOAD",
        ]
    assert problems(
        test | {"engines": 3, "failureCriteria": ["p42(response_time_ms) > 1"]}, folder
    ) == [
        "unknown key engines",
        "criterion p42(response_time_ms) > 1",
    ]


def test_the_options_of_the_engines_exist_and_the_totals_agree(folder: Path) -> None:
    test = YAML(typ="safe").load((folder / "load-test.yaml").read_text())
    given = {entry["name"]: entry["value"] for entry in test["env"]}
    of_locust = {"LOCUST_USERS", "LOCUST_SPAWN_RATE", "LOCUST_RUN_TIME"}
    options = Options.of(parsed(**given))
    assert options.yes
    assert options.part_of
    assert options.whole_run is not None
    assert options.whole_run["parts"] == test["engineInstances"]
    assert options.whole_run["users"] == int(given["LOCUST_USERS"])
    assert of_locust <= given.keys()
    own = {name for name in given if name.startswith("LOCUST_")} - of_locust
    assert {
        name for name in own if not hasattr(parsed(), name.removeprefix("LOCUST_").lower())
    } == set()


def test_criteria_name_entries_of_the_shipped_call(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(folder / "scenario.zip") as archive:
        archive.extractall(tmp_path)
    steps = [turn.name for turn in load_script(tmp_path / "scripts" / "voice_turns.yaml").turns]
    test = YAML(typ="safe").load((folder / "load-test.yaml").read_text())
    metrics = next(
        entry["value"] for entry in test["env"] if entry["name"] == "LOCUST_LOCUST_METRICS"
    ).split(",")
    named = {next(iter(entry)) for entry in test["failureCriteria"] if isinstance(entry, dict)}
    assert named
    assert named <= {metric_entry(step, metric) for step in steps for metric in metrics}
    assert set(metrics) <= set(TIMES_OF_TURNS)


def test_the_wheel_of_engines_lacks_only_the_packages_of_reports(tmp_path: Path) -> None:
    kept = [
        "numpy>=2.0",
        "pyarrow>=18",
        "pandas-like>=1",
        'opentelemetry-sdk>=1.39; extra == "otel"',
    ]
    lines = [
        f"Requires-Dist: {name}" for name in (*kept, *(f"{name}>=1" for name in REPORT_PACKAGES))
    ]
    path = tmp_path / "engine.whl"
    path.write_bytes(engine_wheel(wheel(tmp_path, "Name: rtbench\n" + "\n".join(lines) + "\n")))
    with zipfile.ZipFile(path) as archive:
        metadata = archive.read("rtbench-0.1.0.dist-info/METADATA")
        record = archive.read("rtbench-0.1.0.dist-info/RECORD").decode().splitlines()
    assert re.findall(r"Requires-Dist: (.*)", metadata.decode()) == kept
    digest = base64.urlsafe_b64encode(hashlib.sha256(metadata).digest()).rstrip(b"=").decode()
    assert f"rtbench-0.1.0.dist-info/METADATA,sha256={digest},{len(metadata)}" in record
    assert len(record) == 3


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_a_file_that_is_no_wheel_of_rtbench_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "other.whl").write_bytes(content)
    with pytest.raises(UsageError, match=r"--wheel .*other.whl cannot be read"):
        engine_wheel(tmp_path / "other.whl")


WHEEL_NAMES = ("rtbench-0.1.0.dist-info/METADATA", "rtbench-0.1.0.dist-info/RECORD")
WHOLE_WHEEL = dict.fromkeys(WHEEL_NAMES, b"Name: rtbench\n")
DAMAGED_WHEELS: dict[str, Mapping[str, bytes]] = {
    "without METADATA": {WHEEL_NAMES[1]: b""},
    "without RECORD": {WHEEL_NAMES[0]: b"Name: rtbench\n"},
    "METADATA that is no text": WHOLE_WHEEL | {WHEEL_NAMES[0]: b"\xff\xfe"},
    "RECORD that is no text": WHOLE_WHEEL | {WHEEL_NAMES[1]: b"\xff\xfe"},
    "an entry above the folder": WHOLE_WHEEL | {"bench/../../x": b""},
    "an absolute path": WHOLE_WHEEL | {"/x": b""},
    "a path with a drive": WHOLE_WHEEL | {"C:\\x": b""},
}


@pytest.mark.parametrize("contents", DAMAGED_WHEELS.values(), ids=DAMAGED_WHEELS)
def test_a_damaged_wheel_is_refused(contents: Mapping[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "rtbench-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    with pytest.raises(UsageError, match="is not a wheel of rtbench, or is damaged: `make dist`"):
        engine_wheel(path)


@pytest.mark.parametrize("field", [8, 6], ids=["unknown compression", "encrypted"])
def test_an_archive_that_cannot_be_unpacked_is_refused(field: int, tmp_path: Path) -> None:
    path = wheel(tmp_path, "Name: rtbench\n")
    data = bytearray(path.read_bytes())
    for header, offset in ((b"PK\3\4", 0), (b"PK\1\2", 2)):
        data[data.index(header) + field + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"--wheel .* cannot be read"):
        engine_wheel(path)


def test_facts_about_an_engine_are_printed_and_become_labels(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("kernel timestamps", "clock", "open files")
    checks = [{"name": name, "result": "pass", "message": f"about {name}"} for name in names]
    printed = {
        "doctor": json.dumps({"machine": checks}),
        "calibrate": f"voice: …\ntrust{' this' * 60} machine\n",
    }
    monkeypatch.setattr(engine_facts, "_output_of", lambda command, *_: printed[command])
    labels = engine_facts.labels.__wrapped__()
    facts = Options.of(parsed(*(word for label in labels for word in ("--label", label)))).labels

    assert {
        "python",
        "cores",
        "memory_mb",
        "installed_mb",
        "unpacked_in_s",
        "container_age_s",
        "users",
    } <= set(facts)
    assert (facts["kernel_timestamps"], facts["clock"]) == (
        "pass: about kernel timestamps",
        "pass: about clock",
    )
    assert facts["calibration"].startswith("trust this")
    assert "open files: pass: about open files" in capsys.readouterr().out


REFUSED = {
    ("--wheel", "a.whl"): "--wheel is for the engines of --azure-load-testing",
    ("--azure-load-testing", "--agent"): "--azure-load-testing writes its own folder: omit --agent",
}


@pytest.mark.parametrize("words", REFUSED)
def test_options_that_do_not_fit_are_refused(words: tuple[str, ...], tmp_path: Path) -> None:
    ended = call("init", tmp_path / "test", *words)
    assert isinstance(ended.exception, UsageError)
    assert str(ended.exception).startswith(REFUSED[words])
    assert not (tmp_path / "test").exists()
