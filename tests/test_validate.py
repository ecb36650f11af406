"""`rtbench validate`, which reports every error in a file with its position."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from bench.base.errors import UsageError, each_error
from bench.plan.recordings import RATE_HZ, Channels, to_pcm16, write_channels
from bench.plan.script import load_script
from tests.command_line import call

ROOT = Path(__file__).parents[1]
TEN = """\
session:
  temperaturx: 0.8
  turn_detection: {type: server_vad, eagerness: low}
variables: rows.csv
tools:
  find: {returns: 1, dely: 3}
timeouts: {first_delta: 0}
thresholds:
  ttfa: p(95)<abc
steps:
  - say: "Hello"
  - audio: none.wav
    expected_calls: no_function
  - text: "Hi ${who}"
    outpt: text
"""
PLACES = ["2:3", "3:38", "6:22", "7:12", "9:3", "11:5", "12:5", "13:5", "14:5", "15:5"]


def validate(*words: str | Path) -> Result:
    return call("validate", *words)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def places(result: Result, path: Path) -> list[str]:
    return [
        line.removeprefix(f"{path}:").split(": ")[0]
        for line in result.stdout.splitlines()
        if ": " in line
    ]


def test_a_script_with_ten_mistakes_has_ten_lines(tmp_path: Path) -> None:
    written(tmp_path / "rows.csv", "name\nAnn\n")
    path = written(tmp_path / "mine.yaml", TEN)
    result = validate(path)

    assert places(result, path) == PLACES
    assert result.stdout.splitlines()[-1] == "10 mistakes"
    assert result.exit_code == 2


def test_a_run_prints_all_mistakes_too(tmp_path: Path) -> None:
    written(tmp_path / "rows.csv", "name\nAnn\n")
    with pytest.raises(UsageError) as caught:
        load_script(written(tmp_path / "mine.yaml", TEN))

    assert len(each_error(caught.value)) == len(PLACES) - 1, "thresholds are judged by the run"


def test_addresses_and_headers_of_telephones_are_checked_without_an_environment(
    tmp_path: Path,
) -> None:
    lines = [
        "a: {service: sip, headers: {From: x}}",
        'b: {url: "sip:a@h.example;x="}',
        'c: {url: "sip:a@h.example", proxy: "sip:p;maddr=192.0.2.9"}',
        'd: {url: "sip:${USER}-{uuid}@h.example", proxy: "${PROXY}", headers: {X-Id: "{uuid}"}}',
    ]
    targets = written(
        tmp_path / "targets.yaml", "targets:\n" + "".join(f"  {line}\n" for line in lines)
    )

    assert places(validate(targets), targets) == ["2:21", "3:7", "4:31"]


VARIABLES = """targets:
  a:
    endpoint: https://${RESOURCE}.openai.azure.com
    deployment: $MODEL
    region: ${REGION}
    name: $(TARGET)
    connect_rate: ${RATE}
    ca_file: ${HOME}/ca.pem
    call_hosts: [sip.example.com, "${HOST}"]
    prices: {audio_in: "${PRICE}"}
    variants:
      b: {model: "$MODEL", session: {voice: "${VOICE}", instructions: "${prompt}"}}
  c: {url: "wss://h.example/v1/realtime?model=$MODEL"}
  d: {url: "wss://h.example/v1/realtime?model=${MODEL:-x}"}
  e:
    url: "wss://h.example/v1/realtime?model=${MODEL}&$filter=x"
    headers: {a: "costs 5 $", b: "Bearer ${TOKEN}", c: "${MY-TOKEN}"}
    subprotocols: ["key.${TOKEN}"]
    proxy: "http://${USER}:${PASSWORD}@proxy"
    session: {instructions: "You are ${name}.", tools: [{description: "It costs $5, ${name}."}]}
    api_key_env: ${API_KEY}
"""


def test_variables_are_refused_where_they_are_not_filled_in(tmp_path: Path) -> None:
    """A report has the names of models and regions, and is compared by them. Values of variables
    are hidden.
    """
    targets = written(tmp_path / "targets.yaml", VARIABLES)
    result = validate(targets)

    lines = [int(place.partition(":")[0]) for place in places(result, targets)]
    assert lines == [3, 4, 5, 6, 7, 8, 9, 10, 12, 12, 13, 14, 17, 21]
    only = (
        "but variables are filled in only in url, headers, subprotocols, proxy, from: write the"
        " value"
    )
    assert f":4:5: deployment contains $MODEL, {only}" in result.stdout
    assert f":5:5: region contains ${{REGION}}, {only}" in result.stdout
    assert "url has $MODEL, which is not filled in: write ${MODEL}" in result.stdout
    assert "api_key_env must be the name of a variable, without $" in result.stdout


def test_variables_in_the_host_of_a_url_are_refused(tmp_path: Path) -> None:
    targets = written(
        tmp_path / "targets.yaml", "targets:\n  a: {url: 'wss://${HOST}/v1/realtime?model=m'}\n"
    )

    assert (
        "has a variable before its path, where none is filled in: write the host"
        in validate(targets).stdout
    )


def test_targets_and_thresholds_are_recognized_by_their_keys(tmp_path: Path) -> None:
    targets = written(
        tmp_path / "a.yaml", "targets:\n  a: {url: ws://x, label: b}\n  b: {compression: gzip}\n"
    )
    thresholds = written(tmp_path / "b.yaml", "ttfa: p(95)<800\nfoo: x\nttft: [med<x, p(95)>3]\n")

    assert places(validate(targets), targets) == ["2:20", "3:7"]
    assert places(validate(thresholds), thresholds) == ["2:1", "3:8", "3:15"]


def test_every_valid_file_has_one_line(tmp_path: Path) -> None:
    files = [
        *sorted((ROOT / "scenarios" / "scripts").glob("*.yaml")),
        ROOT / "scenarios" / "ci.yaml",
    ]
    result = validate(*files, ROOT / "scenarios" / "targets.example.yaml")

    assert (result.exit_code, result.stderr) == (0, "")
    lines = [line for line in result.stdout.splitlines() if not line.startswith("  ")]
    kinds = [line.split(": ")[1].partition(",")[0] for line in lines]
    assert kinds == [*["script"] * (len(files) - 1), "thresholds", "targets"]


def test_the_speech_of_each_recording_of_a_script_is_printed(tmp_path: Path) -> None:
    """A noise has no speech. Of many recordings, those whose speech is certain are only counted."""
    for number in range(10):
        voiced(tmp_path / f"{number}.wav", lead_s=0.3 + number / 100, noise_dbfs=None)
    voiced(tmp_path / "noisy.wav", lead_s=0.6, noise_dbfs=-42)
    voiced(tmp_path / "loud.wav", lead_s=0.6, noise_dbfs=-20)
    turns = "".join(f"- audio: {name}.wav\n" for name in (0, "noisy", 0))
    noise = "- sound: {audio: loud.wav, kind: noise, during: silence}\n"
    few = f"session: {{turn_detection: server_vad}}\nsteps:\n{noise}{turns}"
    many = "steps:\n" + "".join(f"- audio: {name}.wav\n" for name in (*range(10), "noisy"))
    paths = [written(tmp_path / "few.yaml", few), written(tmp_path / "many.yaml", many)]
    noisy = (
        "  noisy.wav: speech 0.04 to 2.56 of 2.60 s, level -13 dBFS, background -57 dBFS; not"
        " certain: its first N ms and its last N ms are quiet, like noise or breath: remove the"
        " noise, or state `speech` in the script"
    )

    assert re.sub(r"\d+ ms", "N ms", validate(*paths).stdout).splitlines() == [
        f"{paths[0]}: script, no mistakes",
        "  0.wav: speech 0.30 to 1.80 of 2.30 s, level -13 dBFS, background silent",
        noisy,
        f"{paths[1]}: script, no mistakes",
        noisy,
        "  10 recordings: the start and the end of the speech are certain",
    ]


@pytest.mark.parametrize("after_ms", [100, 250])
def test_a_click_after_the_last_word_makes_its_end_uncertain(tmp_path: Path, after_ms: int) -> None:
    voiced(tmp_path / "a.wav", lead_s=0.3, noise_dbfs=None, click_ms=after_ms)
    path = written(tmp_path / "mine.yaml", "steps:\n- audio: a.wav\n")

    assert re.sub(r"\d+ ms", "N ms", validate(path).stdout).splitlines()[1:] == [
        f"  a.wav: speech 0.30 to {1.8 + after_ms / 1_000:.2f} of 2.30 s, level -13 dBFS,"
        " background silent; not certain: its last N ms have only short sounds, like clicks:"
        " remove the noise, or state `speech` in the script"
    ]


def test_speech_that_a_script_states_is_certain(tmp_path: Path) -> None:
    voiced(tmp_path / "a.wav", lead_s=0.6, noise_dbfs=-42)
    path = written(
        tmp_path / "mine.yaml", "steps:\n- audio: a.wav\n  speech: {start: 0.6, end: 2.1}\n"
    )

    assert validate(path).stdout.splitlines()[1:] == [
        "  a.wav: speech 0.60 to 2.10 of 2.60 s, level -13 dBFS, background -57 dBFS"
    ]


def test_an_offset_changes_neither_the_speech_nor_its_levels(tmp_path: Path) -> None:
    voiced(tmp_path / "a.wav", lead_s=0.3, noise_dbfs=None, offset=0.02)
    path = written(tmp_path / "mine.yaml", "steps:\n- audio: a.wav\n")

    assert validate(path).stdout.splitlines()[1:] == [
        "  a.wav: speech 0.30 to 1.80 of 2.30 s, level -13 dBFS, background silent"
    ]


def voiced(
    path: Path,
    *,
    lead_s: float,
    noise_dbfs: float | None,
    offset: float = 0,
    click_ms: float | None = None,
) -> None:
    """Write 1.5 s of a voice after `lead_s` and before 0.5 s, with noise in all of it that rises
    and falls, and a click so long after the voice.
    """
    samples = np.zeros(round((lead_s + 2) * RATE_HZ))
    first = round(lead_s * RATE_HZ)
    samples[first : first + 36_000] = 0.3 * np.sin(2 * np.pi * 200 * np.arange(36_000) / RATE_HZ)
    if noise_dbfs is not None:
        breath = np.random.default_rng(1).normal(0, 10 ** (noise_dbfs / 20), len(samples))
        samples += breath * np.sin(2 * np.pi * 2.5 * np.arange(len(samples)) / RATE_HZ) ** 2
    if click_ms is not None:
        samples[first + 36_000 + round(click_ms * RATE_HZ / 1_000) :][:48] = 0.3
    samples += offset
    write_channels(path, Channels(to_pcm16(samples.astype(np.float32))[:, np.newaxis], RATE_HZ))


def test_a_file_of_unknown_type_needs_the_option_as(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.yaml", "setps:\n- text: Hello\n")

    assert "use --as script, targets, protocol or thresholds" in validate(path).stdout
    assert places(validate("--as", "script", path), path) == ["1:1", "1:1"]


def test_a_file_is_recognized_by_the_schema_that_it_names(tmp_path: Path) -> None:
    text = "# yaml-language-server: $schema=script.schema.json\nsetps:\n- text: Hello\n"
    path = written(tmp_path / "mine.yaml", text)

    assert "unknown key 'setps'; did you mean steps?" in validate(path).stdout


def test_a_threshold_of_a_step_that_the_script_does_not_have_is_a_mistake(tmp_path: Path) -> None:
    text = (
        'thresholds:\n  "ttfa{step:greting}": p(95)<800\nsteps:\n- text: Hello\n  name: greeting\n'
    )
    path = written(tmp_path / "mine.yaml", text)

    assert f"{path}:2:3: " in validate(path).stdout
    assert 'there is no step "greting"; did you mean greeting?' in validate(path).stdout


def test_the_mistake_of_a_script_with_thresholds_is_printed(tmp_path: Path) -> None:
    path = written(
        tmp_path / "mine.yaml", 'thresholds:\n  "ttfa{step:a}": p(95)<800\nsteps:\n- txt: Hello\n'
    )

    assert places(validate(path), path) == ["4:3"]


def test_a_python_file_is_refused_with_the_command_that_runs_it(tmp_path: Path) -> None:
    result = validate(written(tmp_path / "mine.py", "x = 1\n"))

    assert (result.exit_code, f"`rtbench run {tmp_path / 'mine.py'}` runs it" in result.stdout) == (
        2,
        True,
    )


def test_an_invalid_file_does_not_hide_another_file(tmp_path: Path) -> None:
    result = validate(tmp_path / "none.yaml", ROOT / "scenarios" / "ci.yaml")

    assert "none.yaml: no such file" in result.stdout
    assert (result.exit_code, "ci.yaml: thresholds, no mistakes" in result.stdout) == (2, True)
