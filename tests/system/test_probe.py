"""One session from close by: `rtbench probe` against the simulator, `rtbench replay`, and what both print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.cli.session_text import session_text
from bench.clock import Arrival
from bench.limits import Limits
from bench.observe import inputs
from bench.observe.inputs import TurnPlan
from bench.protocol.openai_ga import GA
from bench.run.event_log import EventLog, LoggedTimeline
from bench.run.replay import replay
from bench.transport.received import Received
from tests import forked
from tests.helpers import (
    AT_NS,
    MS,
    build_turn,
    committed,
    created,
    delta,
    done,
    error,
    message,
    session_created,
)
from tests.simulator_process import ROOT, Ready, quick_simulator

KEY = "a-key-that-nobody-may-see"
AZURE = ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_DEPLOYMENT_NAME", "AZURE_OPENAI_API_KEY", "OPENAI_API_VERSION")
WAV = ROOT / "scenarios" / "audio" / "goodbye.wav"


def rtbench(*arguments: str | Path, columns: int = 100) -> subprocess.CompletedProcess[str]:
    """The command in an interpreter of its own, where every warning is an error."""
    environment = {name: value for name, value in os.environ.items() if name not in AZURE} | {"KEY": KEY}
    return forked.run(
        [sys.executable, "-W", "error", "-m", "bench.cli.app", *map(str, arguments)],
        cwd=ROOT,
        env=environment | {"COLUMNS": str(columns)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with quick_simulator(tmp_path_factory.mktemp("simulator"), "--key", KEY) as ready:
        yield ready


def target(simulator: Ready, dialect: str = "ga") -> list[str]:
    return ["--url", simulator.urls[dialect], "--api-key-env", "KEY"]


# The command.


@pytest.mark.parametrize("dialect", ["ga", "preview"])
def test_a_probe_shows_every_event_of_a_text_turn_and_what_it_measured(simulator: Ready, dialect: str) -> None:
    shown = rtbench("probe", *target(simulator, dialect), "--say", "hello")

    assert (shown.returncode, shown.stderr) == (0, "")
    assert "◇ SIMULATED" in shown.stdout.splitlines()[0]
    for part in ("session.update", "→ response.create", "← audio delta × ", "♪ first audible sample", "outcome    ok",
                 "ttfa ", "replied ", "apim-request-id ", "connect_upgrade ", "response.done, completed",
                 "voice alloy"):  # fmt: skip
        assert part in shown.stdout
    assert "\x1b" not in shown.stdout


def test_a_probe_of_a_recording_waits_for_the_service_to_find_its_end(simulator: Ready) -> None:
    shown = rtbench("probe", *target(simulator), "--wav", WAV, "--transcription", "whisper-1", "--voice", "marin")

    assert (shown.returncode, shown.stderr) == (0, "")
    for part in ("· end of speech", "speech_stopped", "append after speech × ", "voice_to_voice ", "turn_detection ",
                 "segments   noticed ", "input transcript", "said ", "voice marin",
                 "turn_detection.type server_vad"):  # fmt: skip
        assert part in shown.stdout
    assert "→ response.create" not in shown.stdout


def test_a_recording_can_be_committed(simulator: Ready) -> None:
    shown = rtbench("probe", *target(simulator, "preview"), "--wav", WAV, "--manual")

    assert (shown.returncode, shown.stderr) == (0, "")
    for part in ("→ audio append × ", "→ input_audio_buffer.commit", "→ response.create", "segments   requested "):
        assert part in shown.stdout


def test_a_replay_shows_what_the_probe_showed(simulator: Ready, tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    shown = rtbench("probe", *target(simulator), "--log", log)
    again = rtbench("replay", log)

    assert again.returncode == 0
    first, *rest = again.stdout.splitlines()
    assert first.startswith("replay of ")
    assert rest == shown.stdout.splitlines()[1:]


def test_the_reply_can_be_saved(simulator: Ready, tmp_path: Path) -> None:
    shown = rtbench("probe", *target(simulator), "--save", tmp_path / "reply.wav", "--log", tmp_path / "events.jsonl")

    assert shown.returncode == 0
    heard = replay(tmp_path / "events.jsonl").turns[0].audio_bytes_received
    with wave.open(str(tmp_path / "reply.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        frames = file.readframes(file.getnframes())
    assert len(frames) == heard
    assert any(frames)


def test_a_reply_is_saved_by_the_format_that_its_session_has(simulator: Ready, tmp_path: Path) -> None:
    path, reply = tmp_path / "targets.yaml", tmp_path / "reply.wav"
    variant = "{narrow: {session: {output_format: g711_ulaw}}}"
    path.write_text(f"targets:\n  east: {{url: '{simulator.urls['ga']}', key_env: KEY, variants: {variant}}}\n")

    shown = rtbench("probe", "--target-file", path, "--targets", "east.narrow", "--save", reply)

    assert (shown.returncode, shown.stderr) == (0, "")
    with wave.open(str(reply)) as file:
        assert (file.getframerate(), file.getsampwidth()) == (8_000, 2)


@pytest.mark.parametrize("option", ["--save", "--log"])
def test_what_is_there_is_not_overwritten(tmp_path: Path, option: str) -> None:
    path = tmp_path / "earlier"
    path.write_text("of worth")
    shown = rtbench("probe", "--url", "ws://127.0.0.1:1/openai/v1/realtime?model=x", option, path)

    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr == f"rtbench: {option} {path} exists; choose another name\n"
    assert path.read_text() == "of worth"


def test_the_key_gets_neither_onto_the_screen_nor_into_the_log(simulator: Ready, tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    shown = rtbench("probe", *target(simulator), "--log", log, "--keep-audio", "--instructions", f"Say {KEY}.")

    assert shown.returncode == 0
    assert KEY not in shown.stdout + shown.stderr
    assert KEY not in log.read_text()


def test_a_turn_that_fails_is_shown_with_the_service_s_words(simulator: Ready) -> None:
    shown = rtbench("probe", *target(simulator), "--voice", "nobody")

    assert shown.returncode == 1
    assert "← error, invalid_value" in shown.stdout
    assert "session    failed:invalid_value: " in shown.stdout


def test_a_service_that_refuses_is_shown(simulator: Ready) -> None:
    shown = rtbench("probe", "--url", simulator.urls["ga"])

    assert shown.returncode == 1
    assert "session    refused:401: " in shown.stdout
    assert "◇ SIMULATED" in shown.stdout


def test_a_service_that_speaks_the_other_dialect_is_hinted_at(simulator: Ready) -> None:
    shown = rtbench("probe", *target(simulator, "preview"), "--dialect", "ga")

    assert (shown.returncode, shown.stderr) == (1, "")
    assert "hint       the service speaks the preview dialect: use --dialect preview" in shown.stdout


@pytest.fixture
def described(simulator: Ready, tmp_path: Path) -> Path:
    """A targets.yaml with two targets, one of which has a variant."""
    east = f"  east:\n    url: {simulator.urls['ga']}\n    key_env: KEY\n"
    path = tmp_path / "targets.yaml"
    path.write_text(
        f"targets:\n{east}    variants:\n      marin: {{session: {{voice: marin}}}}\n{east.replace('east', 'west')}"
    )
    return path


def test_a_probe_asks_one_target_of_a_file(described: Path) -> None:
    shown = rtbench("probe", "--target-file", described, "--targets", "west")

    assert (shown.returncode, shown.stderr) == (0, "")
    assert "outcome    ok" in shown.stdout


def test_a_variant_is_probed_with_its_own_settings(described: Path) -> None:
    shown = rtbench("probe", "--target-file", described, "--targets", "east.marin")

    assert (shown.returncode, shown.stderr) == (0, "")
    assert "voice marin" in shown.stdout


def test_an_option_does_not_override_a_variant(described: Path) -> None:
    shown = rtbench("probe", "--target-file", described, "--targets", "east.marin", "--voice", "alloy")

    assert (shown.returncode, shown.stdout) == (2, "")
    assert "--voice and the variant east.marin both set voice" in shown.stderr


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ("east,west", "a probe asks one target, and these are 2: east, west; name one by --targets"),
        ("east,", "--targets wants names of targets.yaml with commas between them, as in west,east"),
        ("north", "north"),
    ],
)
def test_targets_that_a_probe_cannot_ask_are_one_line(described: Path, names: str, problem: str) -> None:
    shown = rtbench("probe", "--target-file", described, "--targets", names)

    assert (shown.returncode, shown.stdout) == (2, "")
    assert problem in shown.stderr
    assert shown.stderr.count("\n") == 1


COMPARE = """
import sys
from gevent import monkey
monkey.patch_all()
from pathlib import Path
from bench import probe
from bench.run.event_log import LoggedTimeline
from bench.run.replay import replay
from tests.helpers import resolve_target

class Keeping(LoggedTimeline):
    live, turns = None, []
    def take(self, now_ns, judges={}):
        turns = super().take(now_ns, judges)
        Keeping.live, Keeping.turns = self, Keeping.turns + turns
        return turns

probe.LoggedTimeline = Keeping
url, wav, detection, log = sys.argv[1:]
target = resolve_target({"KEY": "a-key-that-nobody-may-see"}, url=url, api_key_env="KEY")
settings = {"turn_detection": detection, "input_transcription": "whisper-1"}
probe.probe(target, probe.wav_script(target, Path(wav), settings), Path(log), keep_audio=False)
again = replay(Path(log))
assert list(again.turns) == Keeping.turns, (again.turns, Keeping.turns)
assert again.session == Keeping.live.session(), (again.session, Keeping.live.session())
assert [turn.outcome for turn in again.turns] == ["ok"]
assert again.turns[0].network_rtt_ns and again.turns[0].kernel_stamps and again.session.headers
"""


@pytest.mark.parametrize("detection", ["server_vad", "none"])
def test_over_real_sockets_the_log_gives_the_live_observations_field_by_field(
    simulator: Ready, tmp_path: Path, detection: str
) -> None:
    arguments = [simulator.urls["ga"], str(WAV), detection, str(tmp_path / "log.jsonl")]
    command = [sys.executable, "-W", "error", "-c", COMPARE, *arguments]
    compared = forked.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (compared.returncode, compared.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("probe",),
        ("probe", "--url", "http://127.0.0.1/"),
        ("probe", "--say", "x", "--wav", "x.wav"),
        ("probe", "--manual"),
        ("probe", "--keep-audio"),
        ("probe", "--url", "ws://127.0.0.1:1/x", "--wav", "nowhere.wav"),
        ("probe", "--url", "ws://127.0.0.1:1/x", "--say", ""),
        ("probe", "--url", "ws://127.0.0.1:1/x", "--save", "nowhere/reply.wav"),
        ("probe", "--url", "ws://127.0.0.1:1/x", "--log", "."),
        ("probe", "--url", "ws://127.0.0.1:1/x", "--log", "a", "--save", "a"),
        ("replay", "nowhere.jsonl"),
        ("replay", "README.md"),
    ],
)
def test_what_the_user_can_mend_is_one_line(arguments: tuple[str, ...]) -> None:
    shown = rtbench(*arguments)
    notices = [line for line in shown.stderr.splitlines() if "does not tell the dialect" not in line]

    assert (shown.returncode, shown.stdout) == (2, "")
    assert len(notices) == 1
    assert notices[0].startswith("rtbench: ")


# What is printed.


class Said:
    """A session that a test tells, and what is printed of it."""

    def __init__(self, path: Path, plan: TurnPlan) -> None:
        self.path, self.ms = path, 0
        self.log = EventLog(path, hide=str, keep_audio=False)
        self.timeline = LoggedTimeline(
            AT_NS, 1, Limits(), GA, service_responds=plan.service_responds, log=self.log, about={"dialect": "ga"}
        )
        self.hear(-10, session_created())
        self.timeline.tell(inputs.Begun(AT_NS, plan))

    def hear(self, ms: int, *came: bytes) -> None:
        for data in came:
            self.timeline.received(GA.decode(data), Received(data, Arrival(AT_NS + ms * MS), len(data)))

    def send(self, ms: int, name: str, audio_bytes: int = 0, **moments: int) -> None:
        self.timeline.tell(inputs.Sent(name, AT_NS + ms * MS, 9, audio_bytes=audio_bytes, moments=moments))

    def printed(self, width: int = 100) -> list[str]:
        self.timeline.tell(inputs.Finished(AT_NS + 9_000 * MS))
        self.timeline.take(AT_NS + 9_000 * MS)
        self.log.close()
        return list(session_text(replay(self.path), width, colour=False))


def spoken(path: Path) -> Said:
    """A caller speaks from 0 ms to 900 ms; the reply's first delta comes at 1,400 ms."""
    said = Said(path, build_turn(vad=True, service_responds=True))
    for ms in range(100, 1_000, 100):
        said.send(ms, "input_audio_buffer.append", 4_800, **({"speech_end": 0} if ms == 900 else {}))
    said.hear(50, message("input_audio_buffer.speech_started", item_id="i1"))
    for ms in range(1_000, 1_400, 100):
        said.send(ms, "input_audio_buffer.append", 4_800)
    said.hear(1_150, message("input_audio_buffer.speech_stopped", item_id="i1"), committed("i1"))
    said.hear(1_200, created("r1"))
    for ms in range(1_400, 1_700, 50):
        said.hear(ms, delta(GA, "transcript", "r1"), delta(GA, "audio", "r1", "AEAAQABA"))
    said.hear(1_800, done("r1"))
    return said


def rows(printed: list[str]) -> dict[str, str]:
    """Of the last waterfall: the name → the offset."""
    begin = max(number for number, line in enumerate(printed) if line.startswith("turn "))
    found = (re.match(r"\s*(\S+)  ([→←♪·] .+?)   ", line + "   ") for line in printed[begin + 1 :])
    return {match[2]: match[1] for match in found if match}


def test_offsets_count_from_the_end_of_speech_and_runs_are_one_row(tmp_path: Path) -> None:
    assert rows(spoken(tmp_path / "log.jsonl").printed()) == {
        "→ audio append × 9, 4,800 B": "−800",
        "← input_audio_buffer.speech_started": "−850",
        "· end of speech": "0",
        "→ append after speech × 4, 4,800 B": "+100",
        "← input_audio_buffer.speech_stopped": "+250",
        "← input_audio_buffer.committed": "+250",
        "← response.created": "+300",
        "← transcript delta × 6": "+500",
        "← audio delta × 6, 6 B": "+500",
        "♪ first audible sample": "+500",
        "← response.done, completed": "+900",
    }


def test_the_segments_are_one_sum(tmp_path: Path) -> None:
    (line,) = [line for line in spoken(tmp_path / "log.jsonl").printed(200) if line.startswith("segments")]
    figures = [float(figure) for figure in re.findall(r"[\d.]+", line)]

    assert line.split(None, 1)[1].startswith("noticed 250.0 + committed 0.0 + response created 50.0")
    assert sum(figures[:-1]) == figures[-1] == 500.0


@pytest.mark.parametrize("width", [60, 80, 100])
def test_no_line_is_wider_than_the_terminal(tmp_path: Path, width: int) -> None:
    assert max(map(len, spoken(tmp_path / "log.jsonl").printed(width))) <= width


def test_what_the_service_says_cannot_steer_the_terminal(tmp_path: Path) -> None:
    said = Said(tmp_path / "log.jsonl", build_turn())
    said.send(1, "response.create")
    said.hear(2, message("odd\x1b[2J", response_id="r1"), error("x\x1b[2J", "turn-1-response"))

    printed = "".join(said.printed())
    assert "\x1b" not in printed
    assert "failed:x" in printed


def test_messages_are_in_the_turn_in_which_they_went(tmp_path: Path) -> None:
    said = Said(tmp_path / "log.jsonl", build_turn(wants_audio=False))
    said.send(1, "response.create")
    said.hear(5, created("r1"), delta(GA, "text", "r1"), done("r1"))
    said.timeline.take(AT_NS + 6 * MS)
    said.timeline.tell(inputs.Begun(AT_NS + 100 * MS, build_turn(2, wants_audio=False)))
    said.send(100, "response.create")
    said.hear(130, created("r2"), delta(GA, "text", "r2"), done("r2"))

    printed = said.printed()
    titles = [number for number, line in enumerate(printed) if line.startswith("turn ")]
    assert len(titles) == 2
    assert rows(printed[: titles[1]])["← response.created"] == "+4.0"
    assert rows(printed)["← response.created"] == "+30.0"
