"""The suggestions in error messages: files, presets, commands, options, metrics."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.base.errors import USAGE_STATUS, ScriptError, UsageError
from bench.base.suggestions import no_such_file
from bench.catalogue.metrics import CATALOGUE
from bench.catalogue.other_names import OTHER_NAMES
from bench.load.planning.command_line import secret_option
from bench.plan.script import load_script
from bench.target.address import url_address
from bench.target.target import clean
from bench.target.target_settings import IN_FILE, ServiceOptions, SettingError, TargetSettings
from bench.target.targets import check_targets
from reports.metrics.rate_metrics import RATES
from reports.metrics.thresholds import metric_named
from rtbench.cli import app
from rtbench.cli.app import MODULES, OTHER_COMMANDS
from rtbench_simulator.profile import load_profile
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


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("buzy", "buzy: no such file; did you mean busy?; the presets are busy, gemini-live-2.5, "),
        ("fast", "fast: no such file; the presets are busy, gemini-live-2.5, "),
        ("gpt-realtime-2.7", "gpt-realtime-2.7: no such file; did you mean gpt-realtime-2"),
        ("fast.yaml", "fast.yaml: no such file"),
    ],
)
def test_an_unknown_profile_has_the_presets(
    name: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UsageError) as refused:
        load_profile(Path(name))
    assert str(refused.value).startswith(problem)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("latency", "ttfa or voice_to_voice"),
        ("http_req_duration", "ttfa or voice_to_voice"),
        ("time-to-first-byte", "ttfa"),
        ("errors", "failure_rate"),
        ("wer", "input_wer or reply_wer"),
        ("voice_to_voise", "voice_to_voice"),
    ],
)
def test_a_metric_by_the_name_of_another_tool_has_the_name_of_ours(name: str, meant: str) -> None:
    with pytest.raises(UsageError, match=rf'there is no metric "{name}"; did you mean {meant}\?'):
        metric_named(name)


def test_each_other_name_is_the_name_of_no_metric_and_means_some() -> None:
    known = {*CATALOGUE, *RATES}

    assert known.isdisjoint(OTHER_NAMES)
    assert {metric for meant in OTHER_NAMES.values() for metric in meant} <= known


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            "foo",
            f"there is no command 'foo'; the commands are {', '.join(MODULES)}; see rtbench --",
        ),
        (
            "validat runs/a",
            "there is no command 'validat'; did you mean rtbench validate? see rtbench --help",
        ),
        ("Comparr a b", "there is no command 'Comparr'; did you mean rtbench compare? see"),
        (
            "diff a b",
            "there is no command 'diff'; did you mean rtbench compare? see",
        ),
        ("export a", "there is no command 'export'; did you mean rtbench runs export? see rtbench"),
        ("history", "there is no command 'history'; did you mean rtbench runs? see rtbench --help"),
        (
            "mine.yaml -u 4",
            (
                "there is no command 'mine.yaml'; did you mean rtbench run mine.yaml? see rtbench"
                " --help"
            ),
        ),
        (
            "doctor --api-key secret",
            "--api-key does not exist, because other users see a command line: put the key",
        ),
    ],
)
def test_a_wrong_command_line_has_the_right_one(
    line: str, problem: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["rtbench", *line.split()])

    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == USAGE_STATUS
    assert capsys.readouterr().err.startswith(f"rtbench: {problem}")


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


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (
            "wss://RESOURCE.openai.azure.com/openai/v1/realtime?model=m",
            "still has the placeholder RESOURCE of an example",
        ),
        ("wss://HOST/openai/v1/realtime?model=m", "still has the placeholder HOST of an example"),
        ("wss://a b/c", "contains a space, which a URL cannot have: remove it, or write %20"),
        (
            "wss://a/é",
            r"contains the character '\\xe9', which a URL cannot have: remove it, or write %C3%A9",
        ),
        (
            "https://mine.openai.azure.com/",
            "is an Azure resource without a path: set endpoint to https://mine.openai",
        ),
        (
            "wss://mine.openai.azure.com",
            "is an Azure resource without a path: set endpoint to https://mine.openai",
        ),
    ],
)
def test_a_wrong_url_has_what_is_wrong_in_it(url: str, problem: str) -> None:
    with pytest.raises(SettingError, match=problem):
        url_address(url, TargetSettings(url=url), IN_FILE)


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
