"""Messages with half a surrogate pair, as services send them if they cut a text within a
character (RFC 8259 §8.2).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.catalogue.timeouts import Timeouts
from bench.files.safe_io import JsonError, read_json, without_lone_surrogates
from bench.observe.inputs import Received, SessionStart
from bench.record.event_log import EventLog, LoggedTimeline
from bench.record.replay import replay_log
from bench.record.rows import received_events
from bench.services.agents import ACS, PCM, TWILIO
from bench.services.gpt_live.dialect import GPT_LIVE
from bench.services.openai.dialect import GA
from bench.services.openai.preview import PREVIEW
from bench.services.translation.dialect import TRANSLATION
from bench.services.voice_live import VOICE_LIVE
from bench.target.target import Credential
from bench.transport.parser import service_message
from bench.wire.connection import ReceivedMessage
from bench.wire.dialect import Dialect
from bench.wire.events import EMPTY, EventKind, ServerEvent, delta_text
from tests.helpers import AT_NS, at

SECRET = "0123456789abcdef-KEY"
LONE = r"\ud83d", r"\uDE00\uD83D\n", r"\ud83d\u0041\ud83d\ud83d\ude00 and more"
TEXTS = st.text(st.one_of(st.characters(categories=["Cs"]), st.sampled_from('a\\"u\n😀é'))).map(
    json.dumps
)


def with_text(text: str) -> dict[str, tuple[Dialect, str]]:
    """Return messages of each dialect, in which `text` is JSON within a string."""
    ga = '{"type":"%s","response_id":"r1","item_id":"i1",%s}'
    parts = {
        "delta": ga % ("response.output_audio_transcript.delta", f'"delta":"{text}"'),
        "transcript.done": ga % ("response.output_audio_transcript.done", f'"transcript":"{text}"'),
        "response.done": (
            ga
            % (
                "response.done",
                f'"response":{{"id":"r1","status":"completed","output":[{{"content":"{text}"}}]}}',
            )
        ),
        "item": ga % ("response.output_item.added", f'"item":{{"id":"{text}","type":"message"}}'),
        "error": ga % ("error", f'"error":{{"type":"server_error","code":"x","message":"{text}"}}'),
        "a skipped field": ga % ("response.created", f'"response":{{"id":"r1"}},"note":"{text}"'),
        "a key": ga % ("response.created", f'"response":{{"id":"r1"}},"{text}":1'),
        "a mistyped field": (
            ga % ("response.created", f'"response":{{"id":"r1"}},"audio_end_ms":"{text}"')
        ),
        "an unknown event": f'{{"type":"{text}","response_id":"{text}"}}',
        "an id": f'{{"type":"response.created","response_id":"{text}","item_id":"i1"}}',
        "an MCP item": (
            ga
            % (
                "response.mcp_call.failed",
                f'"item":{{"id":"i1","type":"mcp_call","error":{{"message":"{text}"}}}}',
            )
        ),
        "a function call": (
            ga % ("response.function_call_arguments.done", f'"call_id":"c1","arguments":"{text}"')
        ),
        "audio of the preview": (
            f'{{"type":"response.audio.delta","response_id":"r1","delta":"AAAA","note":"{text}"}}'
        ),
    }
    gpt_live = {
        "a transcript": f'{{"type":"session.output_transcript.delta","delta":"{text}"}}',
        "a task": (
            f'{{"type":"session.delegation.created","delegation":{{"id":"{text}",'
            f'"target":"client"}}}}'
        ),
        "a backend": (
            '{"type":"response.event","event":{"type":"response.output_item.done","item":'
            f'{{"type":"function_call","call_id":"c","name":"n","arguments":"{text}"}}}}}}'
        ),
        "audio": f'{{"type":"session.output_audio.delta","delta":"AAAA","note":"{text}"}}',
    }
    agents: dict[str, tuple[Dialect, str]] = {
        "twilio mark": (TWILIO, f'{{"event":"mark","streamSid":"s","mark":{{"name":"{text}"}}}}'),
        "twilio media": (
            TWILIO,
            f'{{"event":"media","media":{{"payload":"AAAA","note":"{text}"}}}}',
        ),
        "twilio unknown": (TWILIO, f'{{"event":"{text}"}}'),
        "acs audio": (ACS, f'{{"kind":"AudioData","audioData":{{"data":"AAAA","note":"{text}"}}}}'),
        "acs unknown": (ACS, f'{{"kind":"{text}"}}'),
        "pcm text": (PCM, f'{{"type":"words","words":"{text}"}}'),
    }
    dialects: tuple[Dialect, ...] = (GA, PREVIEW, VOICE_LIVE)
    return (
        {
            f"{dialect.name} {name}": (dialect, data)
            for dialect in dialects
            for name, data in parts.items()
        }
        | {f"gpt-live {name}": (GPT_LIVE, data) for name, data in gpt_live.items()}
        | {
            f"translation {name}": (TRANSLATION, gpt_live[name])
            for name in ("a transcript", "audio")
        }
        | agents
    )


def simplified(events: Iterable[ServerEvent]) -> list[Any]:
    """Return events in a form that can be compared: raw JSON has no equality."""
    return [
        (msgspec.structs.replace(event, payload=EMPTY), delta_text(event.payload))
        for event in events
    ]


@given(TEXTS)
def test_json_is_read_as_other_parsers_read_it_with_replacement_characters(text: str) -> None:
    expected = re.sub("[\ud800-\udfff]", "\ufffd", json.loads(text))
    assert read_json(text.encode()) == read_json(text) == expected
    assert read_json(f"{{{text}:1}}".encode()) == {expected: 1}
    assert len(without_lone_surrogates(text.encode())) == len(text)


@pytest.mark.parametrize("escapes", LONE)
def test_a_message_with_lone_surrogates_is_the_same_event_with_replacement_characters(
    escapes: str,
) -> None:
    replaced = with_text("caf\\u00e9 " + without_lone_surrogates(escapes.encode()).decode())
    for name, (dialect, data) in with_text(f"caf\\u00e9 {escapes}").items():
        events = dialect.decode(data.encode())
        assert all(event.kind is not EventKind.MALFORMED for event in events), name
        _, expected = replaced[name]
        assert simplified(events) == simplified(dialect.decode(expected.encode())), name


@pytest.mark.parametrize(
    "escapes", [r"\ud83d\ude00", r"\uD83D\uDE00", r"\\ud83d", r"\\\\ude00", r"\\\ud83d\ude00", "😀"]
)
def test_pairs_and_escaped_backslashes_are_not_changed(escapes: str) -> None:
    assert without_lone_surrogates(escapes.encode()) == escapes.encode()


@pytest.mark.parametrize("name", with_text(""))
def test_a_logged_message_with_lone_surrogates_is_valid_json_without_secrets(
    name: str, tmp_path: Path
) -> None:
    dialect, data = with_text(rf"\ud83d{SECRET}")[name]
    hide = Credential("api-key", SECRET).redact
    log = EventLog(tmp_path / "s.jsonl", hide=hide, record_audio=False)
    about = {"dialect": dialect.name, "output_format": next(iter(dialect.output_formats))}
    timeline = LoggedTimeline(SessionStart(AT_NS, 1, Timeouts()), dialect, log=log, about=about)
    timeline.apply(
        Received(
            dialect.decode(data.encode()), ReceivedMessage(data.encode(), Arrival(at(1)), len(data))
        )
    )
    log.close()

    text = log.path.read_text(encoding="utf-8")
    assert log.error is None
    assert SECRET not in text
    json.dumps([json.loads(line) for line in text.splitlines()], ensure_ascii=False).encode()
    assert replay_log(log.path).passages
    raw = received_events(
        dialect.decode(data.encode()), data.encode(), dialect, hide, record_audio=True
    )
    json.dumps(json.loads(bytes(raw)), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (rb'{"a":"\ud83d', "Input data was truncated"),
        (rb'{"a":"\u"}', "four hexadecimal digits"),
        (rb'{"a":"\ud83d\u"}', "four hexadecimal digits"),
        (rb'{"a":"\ud83d", "b":\x}', "invalid character"),
        (b'{"type":"\xff"}', "invalid UTF-8: byte 0xff"),
        (b'{"type":"\0\\ud83d"}', "malformed"),
    ],
)
def test_damaged_json_has_a_true_reason(text: bytes, reason: str) -> None:
    with pytest.raises(JsonError, match=re.escape(reason)):
        read_json(text)
    (event,) = GA.decode(text)
    assert event.kind is EventKind.MALFORMED
    assert reason in event.reason


def test_the_error_of_a_refused_upgrade_may_have_lone_surrogates() -> None:
    assert (
        service_message(rb'{"error":{"code":"401","message":"bad \ud83d key"}}')
        == "401: bad \ufffd key"
    )
