"""The dialect of Amazon Nova Sonic: its events, its replies without names, the settings that it
refuses, and servers that break every rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.base.errors import UsageError
from bench.doctor.service_checks import examine_sign_in
from bench.files.values import MAX_TEXT_CHARACTERS
from bench.plan.steps import PauseStep
from bench.services.nova_sonic.dialect import EVENT_STREAM, NOVA_SONIC
from bench.services.nova_sonic.replies import NovaReader
from bench.services.registry import service_at
from bench.target.tokens import Keyring
from bench.transport import links
from bench.wire.events import EventKind, ServerEvent, TokenUsage
from bench.wire.service import MEDIA_LINKS, Link
from tests.helpers import MS, resolve_target, say
from tests.memory_transport import PeerAnswer
from tests.services.hostile import SEEDS, HostileService, hostile_messages
from tests.services.talk import (
    LOUD,
    Talk,
    compiled_for,
    parcels,
    speak,
)

VAD: dict[str, Any] = {"turn_detection": "server_vad"}
OPENED = msgspec.json.encode({"opened": {"headers": {"x-amzn-requestid": "r-1"}}})
compiled = partial(compiled_for, NOVA_SONIC)
talk = partial(Talk, greeting=((5 * MS, OPENED),))


def event(name: str, **fields: Any) -> bytes:
    return msgspec.json.encode({"event": {name: fields}})


def start(block: str, type: str, role: str = "ASSISTANT", stage: str = "") -> bytes:
    more = {"additionalModelFields": f'{{"generationStage":"{stage}"}}'} if stage else {}
    return event("contentStart", contentId=block, type=type, role=role, **more)


def end(block: str, type: str, reason: str) -> bytes:
    return event("contentEnd", contentId=block, type=type, stopReason=reason)


def text(block: str, content: str, role: str = "ASSISTANT") -> bytes:
    return event("textOutput", contentId=block, content=content, role=role)


def sound(block: str) -> bytes:
    return event("audioOutput", contentId=block, content=LOUD)


def used(speech_in: int = 0, speech_out: int = 0) -> bytes:
    sides = {"input": speech_in, "output": speech_out}
    delta = {side: {"speechTokens": count, "textTokens": 1} for side, count in sides.items()}
    return event("usageEvent", details={"delta": delta})


HEARD = start("u", "TEXT", "USER", "FINAL"), text("u", "hello", "USER"), end("u", "TEXT", "PART")
PLANNED = start("t", "TEXT", stage="SPECULATIVE"), text("t", "It is"), end("t", "TEXT", "PART")
SPOKEN = start("f", "TEXT", stage="FINAL"), text("f", "It is"), end("f", "TEXT", "END_TURN")
STOP = start("i", "TEXT", stage="FINAL"), text("i", '{ "interrupted" : true }')
STOPPED = (*STOP, end("i", "TEXT", "INTERRUPTED"))
CALL = (
    start("c", "TOOL", "TOOL"),
    event("toolUse", contentId="c", toolUseId="call-1", toolName="find_parcel", content="{}"),
    end("c", "TOOL", "TOOL_USE"),
)
REPLY = (
    *PLANNED,
    start("a", "AUDIO"),
    sound("a"),
    end("a", "AUDIO", "PARTIAL_TURN"),
    start("b", "AUDIO"),
    sound("b"),
    used(speech_out=9),
    end("b", "AUDIO", "END_TURN"),
    *SPOKEN,
)


def timed(*messages: bytes) -> Sequence[PeerAnswer]:
    return [((300 + 10 * number) * MS, message) for number, message in enumerate(messages)]


def service(*replies: Sequence[bytes]) -> Callable[[bytes], Iterable[PeerAnswer]]:
    """Return a service that sends the next of these replies, else a good one, to each text and
    result, and after the second piece of audio with sound.
    """
    left, heard = list(replies), [0]

    def answer(sent: bytes) -> Iterable[PeerAnswer]:
        is_audio = b'"audioInput"' in sent
        heard[0] += is_audio and b'":"AAAA' not in sent
        is_input = heard[0] == 2 if is_audio else b"sessionStart" not in sent
        heard[0] += is_audio and is_input
        if is_input and b"sessionEnd" not in sent:
            yield from timed(*(HEARD if is_audio else ()), *(left.pop(0) if left else REPLY))

    return answer


def decoded(*messages: bytes) -> list[ServerEvent]:
    reader = NovaReader()
    return [event for message in messages for event in reader.decode(message)]


def of(events: Iterable[ServerEvent], kind: EventKind) -> list[ServerEvent]:
    return [event for event in events if event.kind is kind]


# Sent events.


def test_region_and_model_are_keys_of_a_target(tmp_path: Path) -> None:
    path = tmp_path / "targets.yaml"
    path.write_text("targets:\n  a: {service: nova-sonic, region: eu-north-1, model: 'x:1'}\n")
    target = resolve_target({}, targets=("a",), target_file=path)

    assert target.url == (
        "https://bedrock-runtime.eu-north-1.amazonaws.com/model/x%3A1"
        "/invoke-with-bidirectional-stream"
    )
    assert not target.notices
    assert examine_sign_in(target, Keyring((target,))).result == "pass"
    assert (target.link, target.dialect, target.region) == (EVENT_STREAM, NOVA_SONIC, "eu-north-1")
    found = service_at("proxy.example", "/model/x/invoke-with-bidirectional-stream")
    assert found is not None
    assert found.name == "nova-sonic"


@pytest.mark.parametrize("link", [EVENT_STREAM, *MEDIA_LINKS], ids=lambda link: link.title)
def test_a_missing_extra_is_named_in_one_line(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, link.opener.partition(":")[0], None)
    with pytest.raises(UsageError, match=rf"pip install 'rtbench\[{link.extra}\]'$"):
        links.opener_of(link)
    assert link.extra == ("aws" if link is EVENT_STREAM else "calls")


# Replies.


def test_a_reply_has_several_blocks_of_audio_its_planned_text_and_its_tokens() -> None:
    events = decoded(used(speech_in=5), *HEARD, *REPLY)
    (done,) = of(events, EventKind.RESPONSE_DONE)

    assert (done.status, done.text) == ("completed", "It is")
    used_tokens = [event.usage for event in events if event.usage is not None]
    assert sum(used_tokens[1:], used_tokens[0]) == TokenUsage(
        text_in=2, audio_in=5, text_out=2, audio_out=9
    )
    assert {delta.response_id for delta in of(events, EventKind.AUDIO_DELTA)} == {"reply-1"}
    (heard,) = of(events, EventKind.INPUT_TRANSCRIBED)
    assert (heard.text, heard.name) == ("hello", "")


@pytest.mark.parametrize("reason", ["END_TURN", "INTERRUPTED"])
def test_an_interruption_is_reported_once_whatever_ends_the_audio(reason: str) -> None:
    begun = (*PLANNED, start("a", "AUDIO"), sound("a"))
    events = decoded(*begun, end("a", "AUDIO", reason), *STOPPED, sound("a"))
    (done,) = of(events, EventKind.RESPONSE_DONE)

    assert len(of(events, EventKind.CLEARED)) == 1
    assert done.status == ("completed" if reason == "END_TURN" else "cancelled")
    *_, late = of(events, EventKind.AUDIO_DELTA)
    assert (late.response_id, late.payload_bytes) == ("reply-1", 0)


def test_a_tool_ends_its_reply_and_the_answer_is_another() -> None:
    events = decoded(*CALL, *REPLY)
    called, answered = of(events, EventKind.RESPONSE_DONE)

    (named,) = of(events, EventKind.CALL_DONE)
    assert [call.call_id for call in named.calls] == ["call-1"]
    assert (called.response_id, answered.response_id) == ("reply-1", "reply-2")


def test_unreadable_tokens_are_unknown_and_not_zero() -> None:
    events = decoded(used(9), event("usageEvent", details={"delta": {"input": []}}), *REPLY)
    known, unread, *_ = [event.usage for event in events if event.usage is not None]

    assert (known.unread, unread.unread) == (0, 1)


def test_a_log_keeps_no_audio() -> None:
    sent = NOVA_SONIC.append(b"\1\2", "e1").data
    for message in (sent, sound("a")):
        fields = msgspec.json.decode(NOVA_SONIC.without_audio(message))
        assert next(iter(fields["event"].values()))["content"] == ""
    assert NOVA_SONIC.without_audio(REPLY[0]) == REPLY[0]


# Conversations.


def test_typed_and_spoken_turns_and_a_tool_are_answered(tmp_path: Path) -> None:
    script = compiled(
        say(), speak(), say("again"), tools=(parcels(),), input_transcription="any", **VAD
    )
    ended = talk(tmp_path, script, service(REPLY, REPLY, CALL, REPLY))

    assert ended.outcomes == ["ok"] * 3
    assert ended.turns[1].input_text == "hello"
    assert ended.turns[0].reply_text == "It is"
    assert ended.turns[2].function_calls == 1
    last = msgspec.json.decode(ended.transport.sent[-1][1])
    assert next(iter(last[-1]["event"])) == "sessionEnd"


def test_tokens_belong_to_the_turn_in_which_they_are_reported_else_to_the_session(
    tmp_path: Path,
) -> None:
    late = used(speech_in=3)
    ended = talk(tmp_path, compiled(say(), PauseStep(pause=1), **VAD), service((*REPLY, late)))

    assert ended.turns[0].usage == TokenUsage(text_in=1, text_out=1, audio_out=9)
    assert ended.session.stray_usage == TokenUsage(text_in=1, audio_in=3, text_out=1)
    assert ended.turns[0].context_tokens is None


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        (
            {"type": "call.failed", "error": {"type": "connect_failed", "code": "403"}},
            "connect_failed:403",
        ),
        (
            {"type": "call.failed", "error": {"type": "throttled", "code": "handshake"}},
            "throttled:handshake",
        ),
        (
            {"exception": {"type": "validationException", "message": "No."}},
            "connect_failed:validationexception",
        ),
    ],
)
def test_a_refusal_is_the_outcome_of_the_session(
    message: dict[str, Any], outcome: str, tmp_path: Path
) -> None:
    refused = msgspec.json.encode(message)
    ended = Talk(tmp_path, compiled(say(), **VAD), lambda _: (), greeting=((5 * MS, refused),))

    assert ended.session.outcome.lower() == outcome


# Servers that break every rule.


@pytest.mark.parametrize("seeds", SEEDS)
def test_a_session_with_a_hostile_server_ends_with_an_outcome(seeds: range, tmp_path: Path) -> None:
    HostileService(
        [*hostile_messages("nova"), *REPLY, *CALL, *STOPPED, *HEARD, OPENED],
        timed(*REPLY),
        compiled,
        lambda sent: b"sessionStart" in sent,
        OPENED,
        lambda sent: b"audioIn" in sent,
        ((5 * MS, OPENED),),
    ).play(seeds, tmp_path)


def test_the_state_of_a_session_has_a_limit() -> None:
    reader = NovaReader()
    for number in range(200):
        assert reader.decode(start(f"b{number}", "TEXT", stage="SPECULATIVE"))
        assert reader.decode(text(f"b{number}", "x" * 10_000))
        assert reader.decode(text(f"b{number}", "x" * 10_000, "USER"))
    (done,) = of(reader.decode(end("a", "AUDIO", "END_TURN")), EventKind.RESPONSE_DONE)

    assert len(done.text) <= MAX_TEXT_CHARACTERS + 200
    assert len(reader._blocks) <= 64
