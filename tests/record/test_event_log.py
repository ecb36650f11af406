"""The contents of the log of a session, and the end of the log if the disk is full."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.catalogue.causes import encoded, in_words
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.record import event_log, rows
from bench.record.event_log import EventLog, LoggedTimeline, LoggedTransport
from bench.record.replay import AnyLine, LoggedAudio, replay_log
from bench.services.openai.dialect import GA
from bench.services.openai.preview import PREVIEW
from bench.target.target import Credential
from bench.wire.connection import ReceivedMessage
from tests.helpers import (
    AT_NS,
    at,
    build_turn,
    created,
    delta,
    done,
    error,
    message,
    session_created,
)
from tests.memory_transport import MemoryTransport

SECRET = "0123456789abcdef-KEY"
HIDE = Credential("api-key", SECRET).redact
LOUD = bytes(960) + b"\x00\x40" * 1_920


def audio(payload: bytes) -> bytes:
    return delta(GA, "audio", "r1", base64.b64encode(payload).decode())


class Logged:
    """A timeline, and an event log to which its input is written."""

    def __init__(
        self, path: Path, *, hide: Callable[[str], str] = str, record_audio: bool = False
    ) -> None:
        self.path = path
        self.log = EventLog(path, hide=hide, record_audio=record_audio)
        self.timeline = LoggedTimeline(
            SessionStart(AT_NS, 1, Timeouts()), GA, log=self.log, about={"dialect": "ga"}
        )
        self.transport = LoggedTransport(MemoryTransport(lambda message: ()), self.log)

    def receive(self, *came: bytes) -> None:
        for data in came:
            self.timeline.apply(
                inputs.Received(GA.decode(data), ReceivedMessage(data, Arrival(at(1)), len(data)))
            )

    def send(self, name: str, data: bytes, audio_bytes: int = 0) -> None:
        self.transport.send(data)
        self.timeline.apply(inputs.Sent(name, at(1), len(data), audio_bytes=audio_bytes))

    def lines(self, what: str = "") -> list[dict[str, Any]]:
        self.log.close()
        lines = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
        return [line for line in lines if what in ("", line["action"])]


@pytest.mark.parametrize("record_audio", [False, True])
def test_audio_is_removed_unless_record_audio_is_set(tmp_path: Path, record_audio: bool) -> None:
    logged = Logged(tmp_path / "s.jsonl", record_audio=record_audio)
    sent_audio, received_audio = b"\x01\x23" * 2_400, b"\x00\x45" * 2_400
    logged.send("input_audio_buffer.append", GA.append(sent_audio, "turn-1-append-1").data, 4_800)
    logged.receive(
        created("r1"),
        audio(received_audio),
        delta(PREVIEW, "audio", "r1", base64.b64encode(received_audio).decode()),
    )

    (sent,) = logged.lines("sent")
    assert sent["event"]["event_id"] == "turn-1-append-1"
    text = logged.path.read_text()
    assert (base64.b64encode(sent_audio).decode() in text) is record_audio
    assert text.count(base64.b64encode(received_audio).decode()) == (2 if record_audio else 0)


@pytest.mark.parametrize(
    "quoted",
    [SECRET, "".join(f"\\u{ord(character):04x}" for character in SECRET), f"see {SECRET[:12]}"],
    ids=["plain", "escaped", "cut"],
)
def test_a_secret_quoted_by_the_service_is_never_written(tmp_path: Path, quoted: str) -> None:
    logged = Logged(tmp_path / "s.jsonl", hide=HIDE)
    plain = json.loads(f'"{quoted}"')
    logged.timeline.apply(
        inputs.Connected({}, {"x-note": plain, "set-cookie": "session=1", "x-ms-region": "here"})
    )
    logged.receive(error("odd").replace(b"No.", quoted.encode()), b"{" + plain.encode())
    logged.timeline.apply(inputs.ConnectionClosed(1008, at(2), plain))
    logged.timeline.apply(inputs.SessionFailed("failed:x", at(3), encoded([in_words(plain)])))

    text = "".join(json.dumps(line, ensure_ascii=False) for line in logged.lines())
    assert SECRET[:12] not in text
    assert "set-cookie" not in text
    assert "here" in text


def texts_of(line: type[inputs.Input]) -> list[str]:
    return [field.name for field in msgspec.structs.fields(line) if field.type is str]


@pytest.mark.parametrize(
    "line", [*filter(texts_of, get_args(inputs.AnyLogged))], ids=lambda line: line.__name__
)
def test_no_text_of_an_input_contains_a_secret(tmp_path: Path, line: type[Any]) -> None:
    """A service chooses the ids of its calls and items, and the names of the functions that it
    calls.
    """
    texts = dict.fromkeys(texts_of(line), f"see {SECRET}")
    others: dict[str, Any] = {
        field.name: 0 if field.type is int else {}
        for field in msgspec.structs.fields(line)
        if field.required
    }
    logged = Logged(tmp_path / "s.jsonl", hide=HIDE)

    written = logged.timeline._line(line(**others | texts))
    logged.log.close()

    assert {name: getattr(written, name) for name in texts} == dict.fromkeys(texts, "see ***")


def test_a_call_and_its_output_have_the_same_id_in_a_log_without_the_secret_that_it_contains(
    tmp_path: Path,
) -> None:
    logged = Logged(tmp_path / "s.jsonl", hide=HIDE)
    call = {
        "type": "function_call",
        "id": "i1",
        "call_id": f"call of {SECRET}",
        "name": SECRET,
        "arguments": "{}",
    }
    logged.receive(
        message("response.output_item.done", response_id="r1", output_index=0, item=call)
    )
    logged.timeline.apply(
        inputs.FunctionOutputSent(f"call of {SECRET}", at(2), f"there is no function {SECRET}")
    )

    (received,), (output,) = logged.lines("received"), logged.lines("call")
    assert output["call_id"] == received["event"]["item"]["call_id"] == "call of ***"
    assert output["wrong"] == "there is no function ***"


def test_a_client_secret_is_never_written(tmp_path: Path) -> None:
    logged = Logged(tmp_path / "s.jsonl")
    logged.receive(
        message("session.created", session={"id": "s1", "client_secret": {"value": "ek_123"}})
    )

    (line,) = logged.lines("received")
    assert line["event"]["session"] == {"id": "s1", "client_secret": None}


def test_only_external_inputs_are_logged(tmp_path: Path) -> None:
    logged = Logged(tmp_path / "s.jsonl")
    logged.timeline.expire(at(1))
    logged.timeline.pop_turns(at(1))
    logged.receive(b"{")
    logged.timeline.apply(inputs.ConnectionClosed(1006, at(2), ""))

    assert [line["action"] for line in logged.lines()] == ["session", "received", "closed"]


def test_the_log_is_flushed_at_the_end_of_a_turn(tmp_path: Path) -> None:
    logged = Logged(tmp_path / "s.jsonl")
    logged.timeline.apply(inputs.TurnStarted(at(0), build_turn()))
    logged.timeline.apply(inputs.Sent("response.create", at(0), 9))
    logged.receive(created("r1"), audio(LOUD), done("r1"))
    assert len(logged.path.read_bytes().splitlines()) == 1  # the one line is the header of the log
    (turn,) = logged.timeline.pop_turns(at(2))

    (again,) = replay_log(logged.path).turns
    assert again == turn
    logged.log.close()


def test_a_full_disk_is_reported_once_and_does_not_affect_the_session(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logged = Logged(Path("/dev/full"))
    for _ in range(3):
        logged.timeline.apply(inputs.TurnStarted(at(0), build_turn()))
        logged.timeline.apply(inputs.SessionFailed("unfinished", at(1)))
        assert len(logged.timeline.pop_turns(at(1))) == 1
    logged.log.close()

    assert logged.log.error is not None
    assert "No space left" in logged.log.error
    assert capsys.readouterr().err.count("\n") == 1


def test_a_log_ends_at_its_maximum_size_with_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(event_log, "MAX_BYTES", 2 << 20)
    logged = Logged(tmp_path / "s.jsonl")
    for _ in range(30):
        logged.receive(message("no.such.event", words="x" * 100_000))
    logged.log.close()

    assert (
        capsys.readouterr().err
        == f"rtbench: {logged.path} is full at 2 MiB; this event log ends here\n"
    )
    assert logged.path.stat().st_size <= 2 << 20
    assert logged.log.error is None, "other logs go on"
    assert replay_log(logged.path).cut


def test_a_log_that_cannot_be_created_is_reported_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "events").write_text("a file")
    logged = Logged(tmp_path / "events" / "s.jsonl")
    logged.receive(session_created())
    logged.log.close()

    assert logged.log.error is not None
    assert capsys.readouterr().err.count("\n") == 1


def test_each_type_of_log_line_is_documented() -> None:
    """The page contains the names of the line types.

    The fields are in the schema, which is generated from the docstrings.
    """
    page = (Path(__file__).parents[2] / "docs" / "conformance" / "README.md").read_text(
        encoding="utf-8"
    )
    lines: tuple[Any, ...] = get_args(AnyLine)

    assert len(lines) == 26
    assert not [line for line in lines if f"`{line.__struct_config__.tag}`" not in page]
    assert not [line for line in (*lines, LoggedAudio) if not line.__doc__]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(value=st.dictionaries(st.text(), JSON), ascii=st.booleans())
def test_a_message_without_secrets_is_written_unchanged(value: dict[str, Any], ascii: bool) -> None:
    raw = json.dumps(value, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
    # hypothesis uses constants from our code as examples
    assume(not any(name.encode() in raw for name in rows.HIDDEN_SETTINGS))

    assert bytes(rows.clean(raw, HIDE)) == raw


@given(raw=st.binary(max_size=80))
def test_a_message_of_a_service_never_contains_a_newline_in_the_log(raw: bytes) -> None:
    assert b"\n" not in bytes(rows.clean(raw, HIDE))
