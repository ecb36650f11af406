"""The protocols that files describe (`bench.services.pages`)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from bench.base.clock import Arrival
from bench.base.errors import UsageError, each_error
from bench.catalogue.outcomes import remedy_of
from bench.catalogue.timeouts import Timeouts
from bench.files.values import MAX_ID_CHARACTERS, MAX_TEXT_CHARACTERS
from bench.observe.inputs import Connected, SessionStart
from bench.observe.session_facts import SessionFacts
from bench.services.agents import AGENTS
from bench.services.names import PAGES
from bench.services.pages.page import COMPILED, FOLDER, compiled, page_schema
from bench.services.registry import DIALECTS, UNKNOWN, dialect_of, service_at, user_service
from bench.target.target_settings import ServiceOptions
from bench.target.targets import resolve_targets
from bench.wire.dialect import (
    OTHER_STREAM,
    SOUND,
    AwaitedEvent,
    ClientMessage,
    TurnSource,
    decoder_of,
    protocol_fact,
)
from bench.wire.events import EventKind, ServerEvent
from bench.wire.settings import FULL_DUPLEX, SessionSettings, TurnDetection
from tests.observe.talk_log import cases
from tests.services.hostile import hostile_messages
from tests.services.message_log import FOLDER as FOLDER_OF_LOGS
from tests.services.message_log import received
from tests.services.page_exchanges import exchanges

ROOT = Path(__file__).parents[2]
STORED = Path(__file__).parent / "page_exchanges.json"
EXAMPLE, WITH_REPLIES, RELAYED = re.findall(
    "```yaml\n(.*?)```", (ROOT / "docs" / "any-websocket.md").read_text(encoding="utf-8"), re.DOTALL
)
SCHEMA = Draft202012Validator(page_schema())
DUPLEX = SessionSettings(turn_detection=TurnDetection(type=FULL_DUPLEX))


def tree(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_files_give_the_bytes_and_events_of_the_programs_that_they_replaced() -> None:
    assert exchanges() == json.loads(STORED.read_text(encoding="utf-8"))


def test_the_stored_schema_is_up_to_date() -> None:
    stored = (ROOT / "scenarios" / "protocol.schema.json").read_text(encoding="utf-8")

    assert json.loads(stored) == page_schema(), "run `make schema`"


def test_the_stored_contents_of_files_are_up_to_date() -> None:
    assert json.loads((FOLDER / COMPILED).read_text(encoding="utf-8")) == compiled(), (
        "run `make schema`"
    )


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_accepts_each_file_of_this_tool(path: Path) -> None:
    assert [*SCHEMA.iter_errors(tree(path.read_text(encoding="utf-8")))] == []


MISTAKES = {
    "protocol: mine": ("protocol: twilio", 1, "must not be twilio, which this tool has"),
    "formats: pcm16@16000": ("formats: pcm32", 5, "formats must be pcm16, pcm16@8000"),
    "rate: =rate_hz": ("rate: =rat_hz", 9, "has the unknown value rat_hz; did you mean rate_hz?"),
    'pcm: "{audio}"': ("pcm: x", 7, "send needs {audio} once"),
    "seq: =number": ('seq: "{audio}"', 7, "send needs {audio} once"),
    "{type: mic, ": ('{type: mic, time: "{chunk}{digit}", ', 10, "the unknown value digit"),
    "frame_ms: 20": ("frame_ms: 0", 6, "frame_ms must be a whole number of ms from 5 to 1000"),
    "receive:\n  name: type": ("receive:", 12, "receive needs `name`"),
    "means: clear": ("means: cleared", 17, "did you mean clear?"),
    ", audio: data.pcm": ("", 16, "means needs `audio`"),
    "data.pcm": ("data..pcm", 16, "the keys that lead to a value"),
    "- {type: hello": ("- {await: speech}\n    - {type: hello", 7, "awaits speech, which must"),
    "close: {type: bye}": ("close: bye", 11, "close must be a table"),
    "  name: type\n": ("  name: type\n  stream: {at: id, is: x}\n", 14, "is must be a text with"),
    "title: my voice server\n": ("", 1, "needs `title`"),
    'pcm: "{audio}"}': ('pcm: "{audio}", at: "{audio_s}"}', 10, "the unknown value audio_s"),
}


@pytest.mark.parametrize("correct", MISTAKES)
def test_a_mistake_is_named_with_its_line_and_what_is_allowed(correct: str, tmp_path: Path) -> None:
    wrong, line, problem = MISTAKES[correct]
    path = written(tmp_path, EXAMPLE.replace(correct, wrong, 1))
    with pytest.raises(UsageError) as refused:
        user_service(path)

    first, *_ = each_error(refused.value)
    assert str(first).startswith(f"{path}:{line}:")
    assert problem in str(first)
    assert "\n" not in str(first)


OF_REPLIES = {
    "turns: replies\n": ("", "has speech_started, which needs `turns: replies`"),
    "means: reply_done": ("means: clear", "has clear, which needs `turns: sound`"),
    ", id: id, name: name": (", id: id", "means needs `name`"),
}


@pytest.mark.parametrize("example", [EXAMPLE, WITH_REPLIES, RELAYED])
def test_each_example_of_the_documents_is_a_valid_file(example: str, tmp_path: Path) -> None:
    dialect = user_service(written(tmp_path, example)).dialect

    assert dialect.name == tree(example)["protocol"]


@pytest.mark.parametrize("correct", ["", *OF_REPLIES])
def test_a_file_has_only_meanings_of_its_source_of_turns(correct: str, tmp_path: Path) -> None:
    wrong, problem = OF_REPLIES.get(correct, ("", ""))
    path = written(tmp_path, WITH_REPLIES.replace(correct, wrong, 1) if correct else WITH_REPLIES)
    if not problem:
        dialect = user_service(path).dialect
        assert dialect.turn_source is TurnSource.REPLIES
        assert "means reply_done" in remedy_of("timeout:next_delta", (), dialect.remedies)
        assert "means audio" in remedy_of("failed:no_audio", (), dialect.remedies)
        return
    with pytest.raises(UsageError, match=re.escape(problem)):
        user_service(path)


def test_a_target_has_the_address_and_the_key_of_its_protocol_file(tmp_path: Path) -> None:
    path = written(tmp_path, EXAMPLE + "key: {env: MY_KEY, header: X-Key, scheme: ''}\n")
    (target,) = resolve_targets({"MY_KEY": "k" * 20}, ServiceOptions(protocol=str(path)))

    assert (target.url, target.service) == ("ws://localhost:9000/voice", "mine")
    assert target.dialect.turn_source is SOUND
    assert target.auth is not None
    assert target.auth.header() == ("X-Key", "k" * 20)  # type: ignore[union-attr]


def test_a_stored_run_contains_what_is_needed_to_read_it_again(tmp_path: Path) -> None:
    dialect = user_service(written(tmp_path, EXAMPLE)).dialect
    stored = json.loads(json.dumps({"dialect": dialect.name} | protocol_fact(dialect)))
    again = dialect_of(stored)

    assert again.setup_messages(DUPLEX, "e") == dialect.setup_messages(DUPLEX, "e")
    assert dialect_of(stored | {"protocol": {"protocol": "mine"}}) is UNKNOWN
    assert [protocol_fact(each) for each in AGENTS] == [{}] * len(AGENTS)


@pytest.mark.parametrize("name", [*PAGES, "replies"])
def test_no_message_of_a_server_is_an_error_of_this_tool(name: str) -> None:
    described = FOLDER_OF_LOGS / f"{name}.yaml"
    dialect = user_service(described).dialect if described.exists() else DIALECTS[name]
    assert dialect.codec is not None
    codec, decode = dialect.codec("c-1"), decoder_of(dialect)
    known = [
        received(line.text)
        for case in cases(FOLDER_OF_LOGS / f"{name}.log").values()
        for line in case.lines
        if line.kind == "<"
    ]
    hostile = [each for of in ("any", "deepgram", "gemini") for each in hostile_messages(of)]
    cut = [each[:-1] for each in known] + [each.replace(b'"', b"") for each in known]
    huge = [each.replace(b"AAAA", b"A" * 1_000_000) for each in known]
    for message in [*hostile, *known, *cut, *huge, *reversed(known)]:
        for event in codec.decode(decode(message)):
            assert len(event.name) <= MAX_ID_CHARACTERS + len(OTHER_STREAM)
            assert len(event.text) <= MAX_TEXT_CHARACTERS
            assert event.kind is not EventKind.MALFORMED or event.reason
    for answer in codec.answers:
        json.loads(codec.encode(answer.kind, answer.data))


@pytest.mark.parametrize("host", ["api.elevenlabs.io", "agents.assemblyai.com"])
def test_a_hosted_service_is_recognized_by_its_host(host: str) -> None:
    found = service_at(host, "")
    assert found is not None
    assert found.name == host.split(".")[1]


NUMBERED = DIALECTS["elevenlabs"]


def numbered(number: object, name: str = "audio") -> bytes:
    fields = {"audio_base_64": "AAAA", "event_id": number}
    return json.dumps({"type": name, f"{name}_event": fields}).encode()


def test_audio_that_an_interruption_has_dropped_is_counted_and_not_heard() -> None:
    assert NUMBERED.codec is not None
    codec = NUMBERED.codec("c-1")
    messages = [
        numbered(3),
        numbered(2, "interruption"),
        *map(numbered, (1, 2, 3, "2", None, [], 9**99)),
    ]
    events = [event for each in messages for event in codec.decode(NUMBERED.decode(each))]

    assert [event.kind.name for event in events[:2]] == ["AUDIO_DELTA", "CLEARED"]
    dropped = [event.name for event in events[2:] if event.kind is EventKind.UNKNOWN]
    assert dropped == ["audio of an interrupted reply"] * 3
    assert len(events) == len(messages)


AWAITING = [name for name in PAGES if DIALECTS[name].announced_by]


@pytest.mark.parametrize("awaited", [*AWAITING, "session_created", "session_updated"])
def test_the_last_message_that_opens_a_call_makes_its_session_ready(
    awaited: str, tmp_path: Path
) -> None:
    opening = EXAMPLE.replace("open:\n", "open:\n    - {await: ready}\n").replace(
        "ready|speech_end: {means: noted}", f"ready: {{means: {awaited}}}"
    )
    known = awaited in AWAITING
    dialect = DIALECTS[awaited] if known else user_service(written(tmp_path, opening)).dialect
    facts = SessionFacts(start=SessionStart(0, 1, Timeouts()), announced_by=dialect.announced_by)
    facts.set_connection(Connected({"opened": 1}, {}))
    assert not facts.is_ready

    facts.set_description(ServerEvent(dialect.announced_by[-1], "ready"), Arrival(2, 0))

    assert facts.is_ready
    assert facts.instants["session_created"] == facts.instants["session_updated"] == 2


def test_a_session_that_continues_another_one_begins_with_its_id() -> None:
    dialect = DIALECTS["assemblyai"]
    assert dialect.resumption is not None
    given = SessionSettings(instructions="Be brief.", extra={**dialect.resumption('s"{uuid}')})
    first, awaited = dialect.setup_messages(given, "e")

    assert isinstance(first, ClientMessage)
    assert json.loads(first.data) == {"type": "session.resume", "session_id": 's"{uuid}'}
    assert isinstance(awaited, AwaitedEvent)


def test_the_example_of_the_documents_sends_what_it_describes(tmp_path: Path) -> None:
    dialect = user_service(written(tmp_path, EXAMPLE)).dialect
    codec = dialect.codec("c-1") if dialect.codec else None
    assert codec is not None
    (hello,) = dialect.setup_messages(DUPLEX, "e")
    assert isinstance(hello, ClientMessage)
    frames = [dialect.append(b"\1\0", "e") for _ in range(2)]
    sent = [codec.encode(each.kind, each.data) for each in (hello, *frames)]

    assert [*map(json.loads, sent)] == [
        {"type": "hello", "call": "c-1", "rate": 16_000},
        {"type": "mic", "seq": 1, "data": {"pcm": "AQA="}},
        {"type": "mic", "seq": 2, "data": {"pcm": "AQA="}},
    ]
