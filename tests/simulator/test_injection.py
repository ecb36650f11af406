"""The effect of faults on the events of a behaviour. The test chooses the instants."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from bench.wire.dialect import BinaryMessage
from rtbench_simulator.behaviour import Behaviour, WireDialect
from rtbench_simulator.faults.injection import (
    DeliverEvent,
    EndResponse,
    FaultAction,
    FaultEntry,
    FaultInjector,
    RefusalForm,
    StallConnection,
)
from rtbench_simulator.faults.kinds import IN_RESPONSE, KINDS, read_line
from rtbench_simulator.profile import TranscriptSettings
from rtbench_simulator.refusals import PostUpgradeRefusal, RefusedUpgrade
from rtbench_simulator.server_events import OutgoingEvent
from rtbench_simulator.services.azure import AZURE_GA, AZURE_PREVIEW
from rtbench_simulator.services.openai import OPENAI_GA
from tests.simulator.builders import (
    AT_NS,
    COMMIT,
    CREATE,
    FOREVER_NS,
    SECOND,
    append,
    build_behaviour,
)
from tests.simulator.sdk_types import assert_typed


def injector(
    *lines: str, connection: int = 1, seed: int = 1, noted: list[FaultEntry] | None = None
) -> FaultInjector:
    def rng(fault: int, response: int) -> np.random.Generator:
        return np.random.default_rng([seed, connection, fault, response])

    return FaultInjector(
        [read_line(line) for line in lines],
        connection,
        AT_NS,
        rng,
        ([] if noted is None else noted).append,
    )


def events_of(behaviour: Behaviour) -> list[OutgoingEvent]:
    """Return the events of a greeting and a response, as the service would send them."""
    events = list(behaviour.due(AT_NS + SECOND))
    behaviour.receive(CREATE, AT_NS + SECOND)
    return [*events, *behaviour.due(FOREVER_NS)]


def actions(*lines: str, events: list[OutgoingEvent] | None = None) -> list[FaultAction]:
    return list(injector(*lines).actions(events or events_of(build_behaviour()), AT_NS))


def sent(all_actions: list[FaultAction]) -> list[OutgoingEvent]:
    return [action.event for action in all_actions if isinstance(action, DeliverEvent)]


def types(events: list[OutgoingEvent]) -> list[str]:
    return [event.type for event in events]


def body(event: OutgoingEvent) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(event.body)
    return fields


def test_events_after_a_stall_are_sent_later_with_new_due_times() -> None:
    events, struck = (
        events_of(build_behaviour()),
        injector("hang,at=next_delta,duration_s=0.1", "drip,at=done"),
    )
    due, got = iter(events), []
    later_ns = events[-1].due_ns + SECOND
    while True:
        for action in struck.actions(due, AT_NS):
            got.append(action)
            if isinstance(action, StallConnection):
                struck.released(later_ns)
                break
        else:
            break

    stopped = next(place for place, action in enumerate(got) if isinstance(action, StallConnection))
    assert types(sent(got)) == types(events)
    assert [event.due_ns for event in sent(got)[:stopped]] == [
        event.due_ns for event in events[:stopped]
    ]
    assert {event.due_ns for event in sent(got)[stopped:]} == {later_ns}


@pytest.mark.parametrize(
    ("line", "responses"), [("reset", 3), ("reset,responses=2", 1), ("reset,responses=2-", 2)]
)
def test_a_fault_is_injected_into_the_given_responses(line: str, responses: int) -> None:
    behaviour = build_behaviour()
    events = events_of(behaviour)
    for number in (2, 3):
        behaviour.receive(CREATE, AT_NS + number * 100 * SECOND)
        events += behaviour.due(FOREVER_NS)

    assert actions(line, events=events).count(read_line(line)) == responses


def test_a_fault_is_injected_into_the_responses_with_the_given_input_tokens() -> None:
    behaviour = build_behaviour()
    events = events_of(behaviour)
    for number in (2, 3):
        behaviour.receive(CREATE, AT_NS + number * 100 * SECOND)
        events += behaviour.due(FOREVER_NS)
    read = [
        event.facts["input_tokens"]
        for event in events
        if event.type == "response.done" and event.facts
    ]

    def failing(tokens: str) -> list[int]:
        responses = [event.response_id for event in events if event.type == "response.created"]
        ended = [
            a
            for a in actions(f"failed,context_tokens={tokens}", events=events)
            if isinstance(a, EndResponse)
        ]
        return [responses.index(action.response_id) for action in ended]

    assert read == sorted(set(read))
    assert failing(f"{read[1]}-") == [1, 2]
    assert failing(f"{read[1]}") == [1]
    assert failing(f"0-{read[2] - 1}") == [0, 1]


@pytest.mark.parametrize(("fault", "left"), [("drop", 0), ("drop,context_tokens=0-9", 1)])
def test_a_fault_that_needs_input_tokens_does_not_affect_an_utterance(
    fault: str, left: int
) -> None:
    speech = OutgoingEvent(AT_NS, "session.output_audio.delta", b"{}", audio_bytes=4, utterance=1)

    assert len(sent(actions(f"{fault},at=first_delta", events=[speech]))) == left


def test_a_fault_is_injected_into_the_given_sessions() -> None:
    struck = [
        list(injector("reset,at=tcp,sessions=2-3", connection=n).at("tcp", AT_NS))
        for n in (1, 2, 3, 4)
    ]

    assert [bool(each) for each in struck] == [False, True, True, False]


def test_a_fault_is_injected_only_during_its_time() -> None:
    at_s = [0.5, 1, 2, 2.5]
    struck = [
        list(injector("reset,at=tcp,during_s=1-2").at("tcp", AT_NS + int(s * SECOND))) for s in at_s
    ]

    assert [bool(each) for each in struck] == [False, True, True, False]


@pytest.mark.parametrize(
    ("line", "form", "kind"),
    [
        ("throttled", "http", RefusedUpgrade),
        ("throttled", "event", None),
        ("throttled", "sip", RefusedUpgrade),
        ("model_not_found", "event", PostUpgradeRefusal),
        ("model_not_found", "http", None),
        ("model_not_found", "sip", None),
        ("http", "event", RefusedUpgrade),
        ("http", "http", RefusedUpgrade),
        ("sip", "http", None),
        ("sip", "event", None),
        ("sip,status=603", "sip", RefusedUpgrade),
        ("reset,at=upgrade", "http", None),
    ],
)
def test_a_refusal_is_injected_only_in_its_form(
    line: str, form: RefusalForm, kind: type | None
) -> None:
    refusal = injector(line).refusal(form, AT_NS)

    assert refusal is None if kind is None else isinstance(refusal, kind)


def test_a_connection_with_a_fault_that_its_service_lacks_is_refused() -> None:
    faulty = injector("error,at=done")
    refusal = faulty.refusal("http", AT_NS, lambda fault: f"it has no {fault.kind}")

    assert isinstance(refusal, RefusedUpgrade)
    assert (refusal.status, refusal.message) == (
        400,
        "The simulator has no fault error,at=done here: it has no error",
    )
    assert faulty.refusal("http", AT_NS, lambda fault: "") is None


# Faults of events.


def test_an_error_precedes_the_event_of_its_place() -> None:
    events = sent(actions("error,code=odd,at=done"))

    assert types(events)[types(events).index("error") + 1] == "response.done"
    error = next(body(event)["error"] for event in events if event.type == "error")
    assert (error["type"], error["code"]) == ("invalid_request_error", "odd")


@pytest.mark.parametrize(
    ("line", "status", "details"),
    [
        (
            "failed,code=x",
            "failed",
            {"type": "failed", "error": {"type": "server_error", "code": "x"}},
        ),
        ("incomplete", "incomplete", {"type": "incomplete", "reason": "content_filter"}),
    ],
)
@pytest.mark.parametrize("dialect", [AZURE_GA, AZURE_PREVIEW])
def test_a_response_can_be_ended_early(
    line: str, status: str, details: dict[str, Any], dialect: WireDialect
) -> None:
    behaviour, struck = build_behaviour(dialect), injector(line)
    behaviour.receive(CREATE, AT_NS)
    seen: list[OutgoingEvent] = []
    due = struck.actions(behaviour.due(FOREVER_NS), AT_NS)
    for action in due:
        if isinstance(action, EndResponse):
            behaviour.end_response(
                action.response_id, AT_NS + SECOND, action.status, action.details
            )
        elif isinstance(action, DeliverEvent):
            seen.append(action.event)
    assert_typed(dialect, [body(event) for event in seen])
    (final,) = (body(event)["response"] for event in seen if event.type == "response.done")
    (final["status_details"].get("error") or {}).pop("message", None)

    assert (final["status"], final["status_details"]) == (status, details)
    behaviour.receive(CREATE, AT_NS + 100 * SECOND)
    # the next response can begin, so the ended one is no longer active
    assert "response.created" in types(list(behaviour.due(FOREVER_NS)))


def test_a_response_without_audio_has_no_audio_tokens() -> None:
    events = sent(actions("no_audio"))

    assert not any(event.audio_bytes for event in events)
    (usage,) = (
        body(event)["response"]["usage"] for event in events if event.type == "response.done"
    )
    details = usage["output_token_details"]
    assert details["audio_tokens"] == 0
    assert usage["output_tokens"] == details["text_tokens"] > 0
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_an_endless_response_repeats_itself_and_is_never_done() -> None:
    endless: Iterator[FaultAction] = injector("endless").actions(
        events_of(build_behaviour()), AT_NS
    )
    some = list(islice(endless, 500))

    assert "response.done" not in types(sent(some))
    assert len({event.body for event in sent(some)[-50:]}) == 1
    assert sum(isinstance(action, StallConnection) for action in some) > 200


def test_a_reordered_event_follows_the_next_one() -> None:
    events = events_of(build_behaviour())
    swapped = sent(actions("reorder,at=response", events=events))
    place = types(events).index("response.created")

    assert swapped == [*events[:place], events[place + 1], events[place], *events[place + 2 :]]


def test_a_drip_is_the_same_bytes_with_pauses() -> None:
    events = events_of(build_behaviour())
    dripped = actions("drip,at=done,bytes_per_s=10000", events=events)
    data = b"".join(
        action if isinstance(action, bytes) else action.frame or b""
        for action in dripped
        if isinstance(action, bytes | DeliverEvent)
    )
    done = next(event for event in events if event.type == "response.done")

    assert data.endswith(done.body)
    assert sum(isinstance(action, StallConnection) for action in dripped) == (len(data) - 1) // 100


@pytest.mark.parametrize(
    ("line", "check"),
    [
        (
            "bad_json,at=session",
            lambda was, now: was.body.startswith(now.body) and 0 < len(now.body) < len(was.body),
        ),
        ("bad_base64", lambda was, now: body(now)["delta"] == "!" + body(was)["delta"]),
        (
            "other_dialect,at=first_delta",
            lambda was, now: body(now) == body(was) | {"type": other(body(was)["type"])},
        ),
        (
            "oversized,mib=0.5",
            lambda was, now: len(now.body) == 1 << 19 and body(was).items() <= body(now).items(),
        ),
    ],
)
@pytest.mark.parametrize("dialect", [None, AZURE_PREVIEW])
def test_one_event_is_corrupted(line: str, check: Any, dialect: Any) -> None:
    events = events_of(build_behaviour(dialect) if dialect else build_behaviour())
    garbled = sent(actions(line, events=events))
    changed = [(was, now) for was, now in zip(events, garbled, strict=True) if was != now]

    assert [check(was, now) for was, now in changed] == [True]


def other(event_type: str) -> str:
    ga = "output_" in event_type
    return (
        event_type.replace("output_", "")
        if ga
        else event_type.replace("response.", "response.output_")
    )


@pytest.mark.parametrize(
    ("kind", "opcode"), [(bytes, 0x01), (BinaryMessage, 0x02)], ids=["text", "binary"]
)
def test_fragments_contain_the_whole_event_and_pings(kind: type[bytes], opcode: int) -> None:
    events = [
        structs.replace(event, body=kind(event.body)) for event in events_of(build_behaviour())
    ]
    fragmented = actions("fragmented,at=session", events=events)
    (frames,) = (
        action.frame for action in fragmented if isinstance(action, DeliverEvent) and action.frame
    )

    heads, data = [], b""
    while frames:
        head, size = frames[0], frames[1]
        begin = 2
        if size == 126:
            size, begin = int.from_bytes(frames[2:4], "big"), 4
        heads.append(head)
        data += b"" if head == 0x89 else frames[begin : begin + size]
        frames = frames[begin + size :]
    assert heads == [opcode, 0x89, 0x00, 0x89, 0x80]
    assert json.loads(data)["type"] == "session.created"


def test_a_binary_message_has_the_content_of_the_event() -> None:
    (given,) = (
        action
        for action in actions("binary,at=session")
        if isinstance(action, DeliverEvent) and action.frame
    )

    assert given.frame is not None
    assert given.frame[0] == 0x82
    assert given.frame.endswith(given.event.body)


KINDS_OF_EVENTS = sorted(
    name for name, kind in KINDS.items() if set(kind.places) & set(IN_RESPONSE)
)


@given(data=st.data())
def test_any_combination_of_faults_sends_only_known_events(
    data: st.DataObject,
) -> None:
    kinds = data.draw(st.lists(st.sampled_from(KINDS_OF_EVENTS), min_size=1, max_size=4))
    lines = [
        f"{kind},at={data.draw(st.sampled_from(KINDS[kind].places))}"
        if len(KINDS[kind].places) > 1
        else kind
        for kind in kinds
    ]
    events = events_of(build_behaviour())
    done = list(islice(injector(*lines).actions(events, AT_NS), 5_000))

    known = {event.type for event in events} | {"error", "response.nobody_knows"}
    assert {
        other(event.type) if event.type not in known else event.type for event in sent(done)
    } <= known
    if "endless" not in kinds:
        times = [event.due_ns for event in sent(done)]
        assert set(times) <= {event.due_ns for event in events}


# Transcripts of the caller's audio.

TRANSCRIPT = "conversation.item.input_audio_transcription"


def transcript_events() -> list[OutgoingEvent]:
    """Return the events of a session that only transcribes, with one commit."""
    behaviour = build_behaviour(
        OPENAI_GA.transcribing(), transcripts=TranscriptSettings(texts=("one two six",))
    )
    list(behaviour.due(AT_NS + SECOND))
    transcription = {"transcription": {"model": "gpt-4o-transcribe"}, "turn_detection": None}
    update = {
        "type": "session.update",
        "session": {"type": "transcription", "audio": {"input": transcription}},
    }
    for event in (update, append(500), COMMIT):
        behaviour.receive(event, AT_NS + SECOND)
    return list(behaviour.due(FOREVER_NS))


def pieces(line: str) -> list[str]:
    """Return the deltas, and then the end of the transcript, with this fault."""
    events = [
        event
        for event in sent(actions(line, events=transcript_events()))
        if event.type.startswith(TRANSCRIPT)
    ]
    return [
        body(event).get("delta") or event.type.removeprefix(f"{TRANSCRIPT}.") for event in events
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("drop,at=input_delta", [" two", " six", "completed"]),
        ("drop,at=input_delta,count=2", [" six", "completed"]),
        ("drop,at=input_transcript", ["one", " two", " six"]),
        ("duplicate,at=input_delta", ["one", "one", " two", " six", "completed"]),
        ("reorder,at=input_delta", [" two", "one", " six", "completed"]),
        ("failed,at=input_transcript", ["one", " two", " six", "failed"]),
    ],
)
def test_a_fault_of_a_transcript_changes_its_events(line: str, expected: list[str]) -> None:
    assert pieces(line) == expected


def test_a_stall_delays_a_transcript() -> None:
    done = actions("hang,at=input_transcript,duration_s=2", events=transcript_events())

    assert isinstance(done[-2], StallConnection)
    assert sent(done)[-1].type == f"{TRANSCRIPT}.completed"


def test_an_injected_failure_of_a_transcription_has_the_types_of_the_sdk() -> None:
    events = sent(
        actions("failed,at=input_transcript,code=rate_limit_exceeded", events=transcript_events())
    )

    assert body(events[-1])["error"]["code"] == "rate_limit_exceeded"
    assert_typed(
        OPENAI_GA.transcribing(),
        [body(event) for event in events if event.type.startswith(TRANSCRIPT)],
    )


def test_the_first_input_of_each_response_is_a_place() -> None:
    struck = injector("close,at=input")
    struck.received("session.update", AT_NS)
    assert list(struck.actions([], AT_NS)) == []
    for _ in range(2):
        struck.received("input_audio_buffer.append", AT_NS)
    assert list(struck.actions([], AT_NS)) == [read_line("close,at=input")]
    list(struck.actions(events_of(build_behaviour()), AT_NS))
    struck.received("conversation.item.create", AT_NS)
    assert list(struck.actions([], AT_NS)) == [read_line("close,at=input")]
