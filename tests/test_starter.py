"""`rtbench init`: the files that it writes are valid without a change, and it never overwrites a
user's file.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench.base.errors import UsageError
from bench.plan.compiled_script import CompiledScript
from bench.plan.script import load_script, with_target_settings
from bench.plan.steps import PauseStep
from bench.services.registry import DIALECTS, SERVICES
from bench.target.target_settings import ServiceOptions
from bench.target.targets import resolve_every_target, resolve_targets
from reports.metrics.thresholds import read_thresholds
from reports.statistics import unseen, verdicts
from reports.statistics.differences import LEVEL
from rtbench.cli.start import (
    EXTRAS,
    WORKFLOWS,
    CiSystem,
    agent_files,
    extras_of,
    service_files,
    starter_files,
    write_starter,
)
from tests.command_line import call


def named_resource(folder: Path) -> None:
    """Replace the placeholder of the resource in the targets, as the user does."""
    targets = folder / "targets.yaml"
    targets.write_text(targets.read_text().replace("RESOURCE.openai", "mine.openai"))


def test_a_placeholder_that_is_left_in_the_targets_is_named(tmp_path: Path) -> None:
    write_starter(tmp_path, starter_files("github"))
    own = ServiceOptions(targets=("simulator",), target_file=tmp_path / "targets.yaml")

    assert [target.label for target in resolve_targets({}, own)] == ["simulator"]
    with pytest.raises(
        UsageError, match=r"targets\.yaml:13:5: endpoint still has the placeholder RESOURCE"
    ):
        resolve_targets({}, replace(own, targets=("service",)))


def test_every_generated_file_is_valid(tmp_path: Path) -> None:
    assert all(write_starter(tmp_path, starter_files("github")).values())
    named_resource(tmp_path)
    both = ServiceOptions(targets=("simulator", "service"), target_file=tmp_path / "targets.yaml")
    targets = resolve_targets({}, both)

    assert [target.loopback for target in targets] == [True, False]
    assert len(load_script(tmp_path / "scenarios" / "scripts" / "voice_turns.yaml").steps) == 5
    assert len(read_thresholds(tmp_path / "scenarios" / "ci.yaml")) == 2
    assert len((tmp_path / "README.md").read_text().splitlines()) <= 16


def test_init_agent_writes_calls_and_a_target_for_each_protocol(tmp_path: Path) -> None:
    assert all(write_starter(tmp_path, agent_files("github")).values())
    ways = ("twilio", "acs", "pcm", "sip", "simulator")
    targets = resolve_targets(
        {}, ServiceOptions(targets=ways, target_file=tmp_path / "targets.yaml")
    )
    script = load_script(tmp_path / "scenarios" / "scripts" / "agent.yaml")

    assert [target.dialect.name for target in targets] == ["twilio", "acs", "pcm", "sip", "twilio"]
    assert [turn.name for turn in script.turns] == [
        "greeting",
        "opening_hours",
        "late_parcel",
        "not_today",
    ]
    assert all(
        CompiledScript(script, target.dialect).prepare_session(0, 0).steps for target in targets
    )


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if service.starter])
def test_init_service_writes_targets_that_compare_a_service_with_ga(
    name: str, tmp_path: Path
) -> None:
    write_starter(tmp_path, {**starter_files("github"), **service_files(name)})
    variables = {f"{SERVICES[name].api_key_env}": "a-key", "OPENAI_API_KEY": "another-key"}
    options = ServiceOptions(
        targets=("simulator", name, "realtime"), target_file=tmp_path / "targets.yaml"
    )
    targets = resolve_targets(variables, options)
    script = load_script(tmp_path / "scenarios" / "scripts" / "voice_turns.yaml")
    scripts = [with_target_settings(script, target.session, "targets.yaml") for target in targets]

    assert [target.dialect for target in targets] == [
        DIALECTS[name],
        DIALECTS[name],
        DIALECTS["ga"],
    ]
    assert [target.loopback for target in targets] == [True, False, False]
    assert all(
        CompiledScript(own, target.dialect) for own, target in zip(scripts, targets, strict=True)
    )
    assert all(variable in (tmp_path / "README.md").read_text() for variable in variables)


def test_init_service_refuses_an_unknown_service_and_an_agent(tmp_path: Path) -> None:
    unknown, agent = (
        call("init", tmp_path, *options).exception
        for options in (("--service", "gemni"), ("--agent", "--service", "gemini"))
    )

    assert (
        str(unknown) == "--service has no service 'gemni'; did you mean gemini? (allowed: gemini)"
    )
    assert (
        str(agent)
        == "--service names a service, but --agent writes calls to an agent: use one of them"
    )
    assert not list(tmp_path.iterdir())


def test_init_agent_writes_thresholds_for_agent_metrics_and_a_workflow_that_checks_them(
    tmp_path: Path,
) -> None:
    write_starter(tmp_path, agent_files("azure"))
    limits = read_thresholds(tmp_path / "scenarios" / "ci.yaml")
    commands = (tmp_path / WORKFLOWS["azure"]).read_text()

    assert {limit.metric for limit in limits} == {
        "greeting",
        "voice_to_voice",
        "barge_in_yield",
        "failure_rate",
    }
    assert "rtbench run scenarios/scripts/agent.yaml" in commands
    assert "voice_turns" not in commands
    assert not (tmp_path / WORKFLOWS["github"]).exists()


@pytest.mark.parametrize("ci", WORKFLOWS)
def test_the_workflow_installs_a_wheel_from_the_folder_that_init_names(
    tmp_path: Path, ci: CiSystem
) -> None:
    output = call("init", tmp_path, "--ci", ci).output
    workflow = (tmp_path / WORKFLOWS[ci]).read_text()

    assert "RTBENCH: wheels/rtbench-*.whl" in workflow
    assert "pip install $RTBENCH" in workflow
    assert str(tmp_path / "wheels") in output


def test_the_first_run_of_a_new_folder_starts_its_simulator(tmp_path: Path) -> None:
    texts = (
        call("init", tmp_path, "--with", "barge-in").output,
        (tmp_path / "README.md").read_text(),
    )
    (first, extra), (documented,) = (
        [line for line in text.splitlines() if "rtbench run " in line] for text in texts
    )

    assert first == documented
    assert all(" --simulator --simulator-profile quiet" in command for command in (first, extra))


def test_the_first_workflow_has_enough_calls_to_decide_its_thresholds(tmp_path: Path) -> None:
    write_starter(tmp_path, starter_files("github"))
    commands = (tmp_path / WORKFLOWS["github"]).read_text()
    (calls,) = (int(number) for number in re.findall(r"--sessions (\d+)", commands))
    script = load_script(tmp_path / "scenarios" / "scripts" / "voice_turns.yaml")
    turns = calls * sum(not isinstance(step, PauseStep) for step in script.steps)

    assert calls <= 20, "more to a service need --yes"
    assert "--on-inconclusive warn" in commands
    for threshold in read_thresholds(tmp_path / "scenarios" / "ci.yaml"):
        if threshold.p is not None:
            assert calls >= verdicts.SESSIONS
            assert turns >= verdicts.turns_to_decide(threshold.p)
        else:
            needed = unseen.sessions_without(threshold.limit or 0, LEVEL)
            assert needed is not None
            assert calls >= needed


@pytest.mark.parametrize("name", EXTRAS)
def test_an_extra_script_is_written_with_its_audio_and_can_be_loaded(
    tmp_path: Path, name: str
) -> None:
    write_starter(tmp_path, starter_files("github", extras_of(name)))
    (script,) = (place for place in EXTRAS[name] if place.endswith(".yaml"))

    assert len(load_script(tmp_path / "scenarios" / script).steps) > 2


def test_extra_scripts_are_separated_by_commas_and_an_unknown_one_is_refused() -> None:
    assert extras_of("barge-in, tools") == ["barge-in", "tools"]
    assert extras_of("") == []
    with pytest.raises(
        UsageError,
        match=r"--with has no script 'barge_in'; did you mean barge-in\? \(allowed: barge-in, ",
    ):
        extras_of("barge_in")


def test_with_and_agent_cannot_be_combined(tmp_path: Path) -> None:
    error = call("init", tmp_path, "--agent", "--with", "tools").exception

    assert isinstance(error, UsageError)
    assert "use one of them" in str(error)
    assert not list(tmp_path.iterdir())


def test_existing_files_are_not_changed_and_the_others_are_written(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "targets.yaml").symlink_to("nowhere")
    written = write_starter(tmp_path, starter_files("github"))

    assert {path.name for path, done in written.items() if not done} == {
        "README.md",
        "targets.yaml",
    }
    assert (tmp_path / "README.md").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()
    assert not any(write_starter(tmp_path, starter_files("github")).values())


@pytest.mark.parametrize("in_the_way", ["scenarios", ".github"])
def test_a_file_in_place_of_a_folder_is_named_in_the_error(tmp_path: Path, in_the_way: str) -> None:
    (tmp_path / in_the_way).write_text("a file")

    with pytest.raises(UsageError, match=f"{in_the_way}.* cannot be written"):
        write_starter(tmp_path, starter_files("github"))


def test_doctor_leaves_out_the_targets_that_are_still_an_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_starter(tmp_path, starter_files("github"))
    monkeypatch.chdir(tmp_path)

    (simulator,), examples = resolve_every_target({}, ServiceOptions())
    assert (simulator.label, examples) == ("simulator", ["service"])
    with pytest.raises(UsageError, match="placeholder RESOURCE"):
        resolve_every_target({}, ServiceOptions(targets=("service",)))


def test_doctor_checks_every_target_of_the_file_if_no_service_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_starter(tmp_path, starter_files("github"))
    named_resource(tmp_path)
    monkeypatch.chdir(tmp_path)
    azure = {
        "AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com",
        "AZURE_OPENAI_DEPLOYMENT_NAME": "d",
    }

    def labels(environ: dict[str, str], options: ServiceOptions) -> list[str]:
        targets, examples = resolve_every_target(environ, options)
        assert not examples
        return [target.label for target in targets]

    assert labels({}, ServiceOptions()) == ["simulator", "service"]
    assert labels({}, ServiceOptions(target_file=Path("targets.yaml"))) == ["simulator", "service"]
    assert labels({}, ServiceOptions(targets=("service",))) == ["service"]
    assert labels({}, ServiceOptions(url="ws://127.0.0.1:1/v1/realtime?model=m")) == ["127.0.0.1"]
    assert labels(azure, ServiceOptions()) == [resolve_targets(azure, ServiceOptions())[0].label]
