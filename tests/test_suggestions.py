"""The suggestions in error messages: files, presets, commands, options, metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.base.errors import ScriptError, UsageError
from bench.base.suggestions import no_such_file
from bench.catalogue.metrics import CATALOGUE
from bench.catalogue.other_names import OTHER_NAMES
from bench.files.yaml_file import read_yaml
from bench.load.planning.command_line import secret_option
from bench.plan.script import load_script
from bench.target.address import url_address
from bench.target.target import clean
from bench.target.target_settings import IN_FILE, ServiceOptions, TargetSettings
from bench.target.targets import check_targets
from reports.metrics.rate_metrics import RATES
from reports.metrics.thresholds import read_thresholds
from rtbench.cli.app import MODULES, OTHER_COMMANDS
from rtbench_simulator.serving.server import listen


@pytest.mark.parametrize("wrong", ["voice_turn.py", "voice_turns.yaml", "Voice_turns.py"])
def test_a_file_that_does_not_exist_has_the_similar_file_of_its_folder(
    wrong: str, tmp_path: Path
) -> None:
    (tmp_path / "voice_turns.py").touch()

    assert (
        no_such_file(tmp_path / wrong, (".yaml", ".py"))
        == f"no such file; did you mean {tmp_path / 'voice_turns.py'}?"
    )


@pytest.mark.parametrize("path", ["nowhere/file.yaml", "nothing like it.yaml", "nul\0.yaml"])
def test_a_file_without_a_similar_one_has_no_suggestion(path: str, tmp_path: Path) -> None:
    (tmp_path / "other").touch()

    assert no_such_file(tmp_path / path, (".yaml",)) == "no such file"


MINE = "steps: [{text: Hello}]"


@pytest.mark.parametrize(("name", "meant"), [("the file", "mine-ci"), ("the script", "mine")])
def test_only_a_yaml_file_of_the_wanted_kind_is_suggested(
    name: str, meant: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(MINE)
    (tmp_path / "mine-ci.yaml").write_text("ttfa: p(50)<9s")

    with pytest.raises(UsageError, match=rf"did you mean .*/{meant}\.yaml\?"):
        read_yaml(tmp_path / "mine-c.yaml", name)
    with pytest.raises(UsageError, match="is a script, not thresholds"):
        read_thresholds(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    ("script", "meant"),
    [
        ("steps: [{audio: mine.wav}]", ""),
        ("steps: [{audio: my_own_words.wav}]", "; did you mean my_own_word.WAV?"),
        (f"background_noise: {{audio: mine.wav, snr_db: 9}}\n{MINE}", ""),
        (f"variables: mine.csv\n{MINE}", "; did you mean mine.jsonl?"),
        ("steps: [{message: {role: user, image: mine.png}}, {text: Hello}]", ""),
        (f"history: mine.yaml.jsonl\n{MINE}", ""),
    ],
)
def test_only_files_of_the_kind_that_a_key_takes_are_suggested(
    script: str, meant: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(script)
    if meant:
        (tmp_path / meant.strip("?").split()[-1]).touch()

    with pytest.raises(UsageError) as refused:
        load_script(tmp_path / "mine.yaml")
    assert f"{meant}" in str(refused.value).replace(f"{tmp_path}/", "")
    assert ("did you mean" in str(refused.value)) == bool(meant)


def test_each_other_name_is_the_name_of_no_metric_and_means_some() -> None:
    known = {*CATALOGUE, *RATES}

    assert known.isdisjoint(OTHER_NAMES)
    assert {metric for meant in OTHER_NAMES.values() for metric in meant} <= known


def test_each_other_name_of_a_command_is_no_command_and_means_one() -> None:
    assert MODULES.keys().isdisjoint(OTHER_COMMANDS)
    assert set(OTHER_COMMANDS.values()) <= MODULES.keys()


@pytest.mark.parametrize("option", ["--api-key", "--apikey", "--key", "--token", "--auth-token"])
def test_no_option_takes_a_key(option: str) -> None:
    assert (
        secret_option(f"ambiguous option: {option} could match")
        == f"{option} does not exist, because other users see a command line: put the key into a"
        " variable, and write --api-key-env with its name"
    )
    assert secret_option("argument --api-key-env: expected one argument") == ""


@pytest.mark.parametrize("text", ["...", "…", "<your key>", "'...'"])
def test_a_setting_that_is_still_a_placeholder_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="AZURE_OPENAI_API_KEY is still the placeholder"):
        clean(text, "AZURE_OPENAI_API_KEY")


@pytest.mark.parametrize("name", ["twilio", "acs", "pcm", "webrtc"])
def test_an_address_of_the_simulators_agents_chooses_its_dialect(name: str) -> None:
    url = f"{'http' if name == 'webrtc' else 'ws'}://127.0.0.1:8765/agent/{name}"

    assert url_address(url, TargetSettings(url=url), IN_FILE).dialect.name == name


def test_an_option_precedes_the_dialect_of_an_address() -> None:
    url = "ws://127.0.0.1:8765/agent/twilio"

    assert url_address(url, TargetSettings(url=url, dialect="pcm"), IN_FILE).dialect.name == "pcm"


def test_the_url_of_a_call_over_webrtc_begins_like_that_of_a_websocket(tmp_path: Path) -> None:
    (tmp_path / "targets.yaml").write_text(
        "targets:\n  rtc: {url: 'http://127.0.0.1:8765/openai/v1/realtime?model=m', transport:"
        " webrtc}\n"
    )

    with pytest.raises(
        ScriptError,
        match=r"targets\.yaml:2:\d+: url must begin with ws://, not http://, with transport webrtc",
    ):
        check_targets(tmp_path / "targets.yaml")


def test_a_second_simulator_on_a_port_is_told_that_the_first_one_serves() -> None:
    with (
        listen("127.0.0.1", 0) as first,
        pytest.raises(UsageError, match="in use: a simulator that already runs there needs no"),
    ):
        listen("127.0.0.1", first.getsockname()[1])


def test_a_profile_of_the_simulator_needs_the_simulator() -> None:
    with pytest.raises(UsageError, match="--simulator-profile needs --simulator: add it"):
        ServiceOptions.of({"simulator_profile": "quiet"})
