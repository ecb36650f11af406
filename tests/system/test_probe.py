"""One session in detail: `rtbench probe` against the simulator, and `rtbench runs replay`."""

from __future__ import annotations

import subprocess
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.record.replay import replay_log
from tests.simulator_process import ROOT, Ready, quick_simulator
from tests.system.end_to_end import locust_process

KEY = "a-key-that-nobody-may-see"
WAV = ROOT / "scenarios" / "audio" / "goodbye.wav"


def rtbench(*arguments: object) -> subprocess.CompletedProcess[str]:
    return locust_process.rtbench(*arguments, cwd=ROOT, KEY=KEY)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with quick_simulator(tmp_path_factory.mktemp("simulator"), "--key", KEY) as ready:
        yield ready


def target(simulator: Ready, dialect: str = "ga") -> list[str]:
    return ["--url", simulator.urls[dialect], "--api-key-env", "KEY"]


# The command.

PROBES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    **{
        f"typed in {dialect}": (
            dialect,
            ("--text", "hello"),
            (
                "◇ SIMULATED",
                "session.update",
                "→ response.create",
                "← audio delta × ",
                "♪ first audible sample",
                "outcome    ok",
                "ttfa ",
                "reply text ",
                "apim-request-id",
                "connect_upgrade ",
                "response.done, completed",
                "voice alloy",
            ),
        )
        for dialect in ("ga", "preview")
    },
    "heard by the service": (
        "ga",
        ("--audio", str(WAV), "--input-transcription", "whisper-1", "--voice", "marin"),
        (
            "· end of speech",
            "speech_stopped",
            "append after speech × ",
            "voice_to_voice ",
            "end_of_turn_delay ",
            "breakdown  end of turn delay ",
            "input transcript",
            "input text ",
            "voice marin",
            "turn_detection.type server_vad",
        ),
    ),
    "committed": (
        "preview",
        ("--audio", str(WAV), "--manual-commit"),
        (
            "→ audio append × ",
            "→ input_audio_buffer.commit",
            "→ response.create",
            "breakdown  request ",
            "voice_to_voice ",
        ),
    ),
}


@pytest.mark.parametrize(("dialect", "options", "parts"), PROBES.values(), ids=PROBES)
def test_a_probe_saves_the_reply_and_its_replay_prints_the_same(
    dialect: str, options: tuple[str, ...], parts: tuple[str, ...], simulator: Ready, tmp_path: Path
) -> None:
    log, saved = tmp_path / "call.jsonl", tmp_path / "reply.wav"
    shown = rtbench(
        "probe", *target(simulator, dialect), *options, "--event-log", log, "--save-audio", saved
    )
    again = rtbench("runs", "replay", log)

    assert (shown.returncode, shown.stderr) == (again.returncode, again.stderr) == (0, "")
    output = " ".join(shown.stdout.split())  # lines are wrapped
    assert [part for part in parts if " ".join(part.split()) not in output] == []
    assert ("→ response.create" in shown.stdout, "end_of_turn_delay " in shown.stdout) == (
        ("→ response.create" in parts, "end_of_turn_delay " in parts)
    )
    assert "\x1b" not in shown.stdout
    assert_same_output(again.stdout, shown.stdout)
    with wave.open(str(saved)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        frames = file.readframes(file.getnframes())
    (turn,) = replay_log(log).turns
    came = turn.audio_bytes_received
    # the reply to a pause of the caller is left out
    assert len(frames) == came or (turn.vad_splits and len(frames) < came)
    assert any(frames)


@pytest.mark.parametrize("greets", [True, False])
def test_a_caller_waits_for_the_greeting_of_an_agent_if_there_is_one(
    greets: bool, tmp_path: Path
) -> None:
    (tmp_path / "profile.yaml").write_text(f"agent: {{greets: {str(greets).lower()}}}\n")
    saved = tmp_path / "reply.wav"
    with quick_simulator(tmp_path, "--profile", str(tmp_path / "profile.yaml")) as ready:
        shown = rtbench(
            "probe", "--url", ready.urls["agent_sip"], "--audio", WAV, "--save-audio", saved
        )

    assert shown.returncode == 0
    assert "voice_to_voice" in shown.stdout
    assert ("turn 1, greeting" in shown.stdout) is greets
    assert ("did not greet; in the next call the caller speaks first" in shown.stderr) is not greets
    assert saved.stat().st_size > 10_000


def assert_same_output(again: str, shown: str) -> None:
    """Assert that the outputs have equal lines, except the first line, which names the replay, the
    hint, and the cost.

    The hint and the cost depend on the target.
    """
    first, *rest = again.splitlines()
    assert first.startswith("replay of ")
    assert rest == without(without(shown.splitlines()[1:], "hint  "), "cost  ")


def without(lines: list[str], name: str) -> list[str]:
    """Return the lines without those of `name`, which depend on a target that a replay does not
    know.
    """
    begin = next((place for place, line in enumerate(lines) if line.startswith(name)), len(lines))
    end = next(
        (place for place in range(begin + 1, len(lines)) if not lines[place].startswith("  ")),
        len(lines),
    )
    return lines[:begin] + lines[end:]


def test_a_failed_turn_is_shown_with_the_message_of_the_service(simulator: Ready) -> None:
    shown = rtbench("probe", *target(simulator), "--voice", "unknown")

    assert shown.returncode == 1
    assert "← error, invalid_value" in shown.stdout
    assert "session    failed:invalid_value: " in shown.stdout


def test_the_network_of_a_target_delays_what_a_probe_sends(
    simulator: Ready, tmp_path: Path
) -> None:
    targets, log = tmp_path / "targets.yaml", tmp_path / "probe.jsonl"
    own = (
        f"{{service: pcm, url: '{simulator.urls['agent_pcm']}', api_key_env: KEY, network:"
        " {rate_kbit: 300}}"
    )
    targets.write_text(f"targets: {{line: {own}}}")
    rtbench(
        "probe", "--targets", "line", "--target-file", targets, "--audio", WAV, "--event-log", log
    )

    instants = replay_log(log).turns[-1].instants
    assert instants["speech_left"] > instants["speech_end"]


def test_the_messages_of_a_server_are_shown_as_they_are_without_keys_and_long_texts(
    simulator: Ready,
) -> None:
    address = ("--url", simulator.urls["agent_plivo"], "--dialect", "plivo", "--api-key-env", "KEY")
    shown = rtbench("probe", "--raw", *address)
    refused = rtbench("probe", "--raw", *address[:-2])

    assert shown.returncode == 0
    assert '{"event":"playAudio","media":{"payload":"' in shown.stdout
    assert " characters)" in shown.stdout
    assert shown.stdout.endswith("it is still open\n")
    assert max(map(len, shown.stdout.splitlines())) < 200
    assert refused.returncode == 1
    assert refused.stdout.startswith("connect_failed:401: ")
