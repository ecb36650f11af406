"""`rtbench validate --synthesize`, with commands and services that work, fail, hang, or lie."""

from __future__ import annotations

import json
import os
import shlex
import struct
import sys
import wave
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import Result

from bench.base.errors import UsageError, each_error
from bench.plan.script import load_script
from rtbench.synthesis import SynthesizerError, make_wav
from tests.command_line import call
from tests.plan.missing_texts import missing_texts
from tests.system.end_to_end import locust_process

PROGRAM = """\
import json, os, subprocess, struct, sys, time, wave
from pathlib import Path

def write(file, value=9_000, frames=6_000):
    with wave.open(file, "wb") as wav:
        wav.setparams((1, 2, 24_000, 0, "NONE", ""))
        wav.writeframes(struct.pack("<2h", value, -value) * frames)

file, *others = sys.argv[1:]
with open("calls.jsonl", "a") as calls:
    calls.write(json.dumps([others, sys.stdin.read()]) + "\\n")
"""
WORKS = "write(file)"
KEY = "sk-a-key-that-is-secret"


def script(folder: Path, work: str, *texts: str, words: str = "", voice: str = "") -> Path:
    """Write a script whose synthesizer is a Python program that does `work`."""
    (folder / "speak.py").write_text(f"{PROGRAM}{work}\n", encoding="utf-8")
    command = [sys.executable, "speak.py", "{file}", *shlex.split(words)]
    path = folder / "mine.yaml"
    head = {"synthesizer": {"command": command} | ({"voice": voice} if voice else {})}
    steps = {
        "steps": [
            {"audio": {"say": text}, "name": f"turn{number}"} for number, text in enumerate(texts)
        ]
    }
    path.write_text(json.dumps(head | steps), encoding="utf-8")  # JSON is YAML
    return path


def calls(folder: Path) -> list[list[object]]:
    path = folder / "calls.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def failures(result: Result) -> list[str]:
    assert isinstance(result.exception, UsageError), result.output
    return [str(error) for error in each_error(result.exception)]


def leftovers(folder: Path) -> list[str]:
    return sorted(os.listdir(folder / "speech")) if (folder / "speech").exists() else []


# The command line.


def test_each_text_is_synthesized_once(tmp_path: Path) -> None:
    path = script(tmp_path, WORKS, "Hello", "Goodbye")
    first, second = call("validate", "--synthesize", path), call("validate", "--synthesize", path)

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert [line.partition(".wav: ")[2] or line for line in first.stdout.splitlines()] == [
        'made, 0.50 s: "Hello"',
        'made, 0.50 s: "Goodbye"',
        f"{path}: 2 made, 0 already there",
    ]
    assert second.stdout.splitlines()[-1] == f"{path}: 0 made, 2 already there"
    assert [text for _, text in calls(tmp_path)] == ["Hello\n", "Goodbye\n"]
    assert [turn.expected_words for turn in load_script(path).turns] == [("Hello",), ("Goodbye",)]


def test_no_other_command_runs_the_synthesizer(tmp_path: Path) -> None:
    path = script(tmp_path, WORKS, "Hello")
    validated = call("validate", path)
    run = locust_process.rtbench("run", path, "--url", "ws://127.0.0.1:9/v1/realtime", cwd=tmp_path)

    for status, output in ((validated.exit_code, validated.stdout), (run.returncode, run.stderr)):
        assert status == 2
        assert (
            f'the speech "Hello" is not synthesized yet: run rtbench validate --synthesize {path}'
            in output
        )
        assert "Traceback" not in output
    assert calls(tmp_path) == []
    assert leftovers(tmp_path) == []


def test_the_texts_of_tasks_in_python_are_synthesized(tmp_path: Path) -> None:
    script(tmp_path, WORKS)
    path = tmp_path / "calls.py"
    path.write_text(
        f"""\
from locust import task
from rtbench import RealtimeUser

class Caller(RealtimeUser):
    session = {{"turn_detection": "server_vad"}}
    synthesizer = {{"command": [{sys.executable!r}, "speak.py", "{{file}}"]}}

    @task
    def order(self):
        self.audio({{"say": "Hello"}}, name="hello")
        self.audio([{{"say": "One"}}, {{"say": "Two"}}], name="count")
        self.interrupt(after=1, audio={{"say": "Stop"}})
""",
        encoding="utf-8",
    )
    first, second = (
        locust_process.rtbench("validate", "--synthesize", "calls.py", cwd=tmp_path)
        for _ in range(2)
    )

    assert (first.returncode, first.stdout.splitlines()[-1]) == (
        0,
        "calls.py: 4 made, 0 already there",
    )
    assert (second.returncode, second.stdout.splitlines()[-1]) == (
        0,
        "calls.py: 0 made, 4 already there",
    )
    assert [text for _, text in calls(tmp_path)] == ["Hello\n", "One\n", "Two\n", "Stop\n"]


# Commands.


@pytest.mark.parametrize(
    "text", ["-h", "--help", "a 'b' \"c\" `d` $(e) \\ {file}", "über 北京 ☎", "one\ntwo\n"]
)
def test_the_command_gets_each_text_unchanged_as_one_word_or_as_input(
    tmp_path: Path, text: str
) -> None:
    as_word = script(tmp_path, WORKS, text, words="-v '<{voice}>' -- {text}", voice="anna")
    assert call("validate", "--synthesize", as_word).exit_code == 0
    as_input = script(tmp_path, WORKS, text, words="-")
    assert call("validate", "--synthesize", as_input).exit_code == 0

    said = " ".join(text.split())
    assert calls(tmp_path) == [[["-v", "<anna>", "--", said], ""], [["-"], f"{said}\n"]]


FAILING = {
    "": "wrote no WAV to {file}: it printed no message",
    "print('no voice', file=sys.stderr)": "wrote no WAV to {file}: no voice",
    "write(file, 0)": (
        "the WAV that PYTHON made is silent: its peak is -inf dBFS, that of speech is above -60"
        " dBFS"
    ),
    "write(file, frames=600)": (
        "the WAV that PYTHON made lasts 50 ms, services accept 100 ms or more"
    ),
    "Path(file).touch()": "the WAV that PYTHON made is empty",
    "Path(file).mkdir()": "the WAV that PYTHON made is not a file",
    "os.mkfifo(file)": "the WAV that PYTHON made is not a file",
    "Path(file).write_text('x' * 999)": (
        "the WAV that PYTHON made is not readable audio: it is a text"
    ),
    "write(file); print('a\\n\\x1b[31mbad\\n\\n', file=sys.stderr); sys.exit(3)": (
        r"failed (status 3): \x1b[31mbad"
    ),
    "write(file); os.kill(os.getpid(), 9)": "failed (signal 9): it printed no message",
    "[print('x' * 9999, file=f) for f in (sys.stdout, sys.stderr) for _ in range(999)]; "
    "sys.exit(1)": (f"failed (status 1): {'x' * 200}…"),
    "print('bad ' + os.environ['MY_API_KEY'], file=sys.stderr); sys.exit(1)": (
        "failed (status 1): bad ***"
    ),
}


@pytest.mark.parametrize(("work", "problem"), FAILING.items())
def test_a_failed_command_is_one_line_and_leaves_nothing(
    tmp_path: Path, work: str, problem: str
) -> None:
    path = script(tmp_path, work, "Hello")
    result = call("validate", "--synthesize", path, env={"MY_API_KEY": KEY})
    [line] = failures(result)

    assert line.startswith(f"{path}:1:")
    assert problem.replace("PYTHON", sys.executable) in line
    assert "\n" not in line
    assert KEY not in line
    assert result.stdout.splitlines()[-1] == f"{path}: 0 made, 1 not made"
    assert not (tmp_path / "speech").exists()


def test_a_command_that_hangs_is_stopped_with_its_children(tmp_path: Path) -> None:
    path = script(tmp_path, "", "Hello")
    settings = json.loads(path.read_text())
    settings["synthesizer"]["command"] = ["sh", "-c", "sleep 600 & echo $! > pid; wait", "{file}"]
    path.write_text(json.dumps(settings))

    with pytest.raises(SynthesizerError, match=r"did not end within 2 s, so it was stopped$"):
        make_wav(missing_texts(path)[0], os.environ, limit_s=2)
    assert not (tmp_path / "speech").exists()
    assert is_gone(int((tmp_path / "pid").read_text()))


def is_gone(pid: int) -> bool:
    """Return whether a process has ended. A process without a waiting parent may still be
    listed.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


# Services.


def wav_bytes(value: int = 9_000) -> bytes:
    file = BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setparams((1, 2, 24_000, 0, "NONE", ""))
        wav.writeframes(struct.pack("<2h", value, -value) * 6_000)
    return file.getvalue()


@dataclass
class SpeechService:
    """A service with `/audio/speech`. It sends one response to every request, and stores the
    requests.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    requests: list[tuple[str, Mapping[str, str], object]] = field(default_factory=list)


@contextmanager
def served(service: SpeechService) -> Iterator[SpeechService]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            service.requests.append((self.path, dict(self.headers.items()), body))
            self.send_response(service.status)
            for name, value in {
                "Content-Length": str(len(service.body)),
                **service.headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(service.body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def spoken(folder: Path, url: str, *texts: str, key: str | None = "TTS_CREDENTIAL") -> Path:
    """Write a script whose synthesizer is a service."""
    path = folder / "mine.yaml"
    settings = {"url": url, "model": "tts-1", "voice": "alloy"} | (
        {"api_key_env": key} if key else {}
    )
    steps = [{"audio": {"say": text}, "name": f"turn{number}"} for number, text in enumerate(texts)]
    path.write_text(json.dumps({"synthesizer": settings, "steps": steps}), encoding="utf-8")
    return path


def test_a_service_makes_the_wav(tmp_path: Path) -> None:
    with served(SpeechService(body=wav_bytes())) as service:
        path = spoken(tmp_path, service.url, 'Say "hello"')
        result = call("validate", "--synthesize", path, env={"TTS_CREDENTIAL": KEY})

    assert (result.exit_code, result.stdout.splitlines()[-1]) == (
        0,
        f"{path}: 1 made, 0 already there",
    )
    [(target, headers, body)] = service.requests
    assert target == "/v1/audio/speech"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body == {
        "model": "tts-1",
        "input": 'Say "hello"',
        "voice": "alloy",
        "response_format": "wav",
    }
    assert KEY not in result.output


STREAMED = wav_bytes()[:4] + b"\xff" * 4 + wav_bytes()[8:40] + b"\xff" * 4 + wav_bytes()[44:]


def test_a_wav_that_was_streamed_without_its_length_is_accepted(tmp_path: Path) -> None:
    with served(SpeechService(body=STREAMED)) as service:
        path = spoken(tmp_path, service.url, "Hello", key=None)
        assert call("validate", "--synthesize", path).exit_code == 0

    assert [pcm.seconds for turn in load_script(path).turns for pcm in turn.recordings] == [0.5]


def test_a_service_of_this_machine_gets_no_key_that_the_script_does_not_name(
    tmp_path: Path,
) -> None:
    with served(SpeechService(body=wav_bytes())) as service:
        path = spoken(tmp_path, service.url, "Hello", key=None)
        assert call("validate", "--synthesize", path, env={"OPENAI_API_KEY": KEY}).exit_code == 0

    assert "Authorization" not in service.requests[0][1]


REFUSED = {
    "the key is repeated": (
        SpeechService(
            401, json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}."}}).encode()
        ),
        " returned HTTP 401: Incorrect API key provided: ***.",
    ),
    "a text": (
        SpeechService(500, f"Sorry,\n{KEY}\x1b[31m".encode()),
        r" returned HTTP 500: Sorry, ***\x1b[31m",
    ),
    "no body": (SpeechService(503), " returned HTTP 503"),
    "another host": (
        SpeechService(302, headers={"Location": "http://127.0.0.1:9/"}),
        " returned HTTP 302",
    ),
    "a truncated body": (
        SpeechService(200, wav_bytes()[:999], {"Content-Length": "9999"}),
        " closed the connection 9000 bytes before the end of the WAV",
    ),
    "a truncated body whose header states no length": (
        SpeechService(200, STREAMED, {"Content-Length": "99999"}),
        " closed the connection ",
    ),
    "a header that states too much": (
        SpeechService(200, wav_bytes()[:999]),
        "is truncated, or was written to a pipe: its header states 24036 bytes",
    ),
    "not audio": (
        SpeechService(200, b"<html>" * 99),
        " made is not readable audio: it is a text",
    ),
    "silence": (SpeechService(200, wav_bytes(0)), " made is silent: "),
    "nothing": (SpeechService(200), " made is empty"),
}


@pytest.mark.parametrize(("service", "problem"), REFUSED.values(), ids=REFUSED)
def test_a_failed_request_is_one_line_without_the_key_and_leaves_nothing(
    tmp_path: Path, service: SpeechService, problem: str
) -> None:
    with served(service):
        result = call(
            "validate",
            "--synthesize",
            spoken(tmp_path, service.url, "Hello"),
            env={"TTS_CREDENTIAL": KEY},
        )
    [line] = failures(result)

    assert problem in line
    assert "\n" not in line
    assert KEY not in result.output + line
    assert not (tmp_path / "speech").exists()


@pytest.mark.parametrize(("status", "requests"), [(401, 1), (400, 3)])
def test_only_an_error_about_one_text_lets_the_others_continue(
    tmp_path: Path, status: int, requests: int
) -> None:
    with served(SpeechService(status)) as service:
        result = call(
            "validate",
            "--synthesize",
            spoken(tmp_path, service.url, "One", "Two", "Three"),
            env={"TTS_CREDENTIAL": KEY},
        )

    assert len(service.requests) == requests
    assert result.stdout.endswith(": 0 made, 3 not made\n")
