"""The timeline: sequences of inputs, and the observations that result from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bench.observe.timeline
from bench.catalogue.metrics import CATALOGUE
from bench.catalogue.outcomes import HANG_UP, STARVED, outcome_class, remedy_of
from bench.catalogue.timeouts import MAX_ITEMS
from bench.observe import inputs
from bench.observe.reply import ItemPlayer
from bench.observe.timeline import Timeline
from bench.services.openai.dialect import GA
from bench.services.openai.preview import PREVIEW
from bench.wire.connection import CloseCause
from bench.wire.events import TokenUsage
from tests.examples import thorough
from tests.helpers import (
    AT_NS,
    LOUD,
    MS,
    SILENCE,
    USAGE,
    Talk,
    after_ms,
    at,
    base64_of,
    committed,
    created,
    delta,
    done,
    error,
    message,
    part_done,
    reply,
    session_created,
    session_updated,
    transcribed,
    usage,
)
from tests.observe.misbehaving import check_ended, failed, played, played_badly, whole_log

AUDIO, TEXT = {"wants_audio": True}, {"wants_audio": False}


# How a turn ends, and whether its session ends with it. Every turn is requested at 0 ms, before
# these messages arrive.
ENDINGS: dict[str, tuple[dict[str, bool], list[bytes], str, bool]] = {
    "audio": (AUDIO, [created("r1"), delta(GA, "audio", "r1"), done("r1")], "ok", False),
    "text": (TEXT, [created("r1"), delta(GA, "text", "r1"), done("r1")], "ok", False),
    "no sound": (
        AUDIO,
        [created("r1"), delta(GA, "transcript", "r1"), done("r1")],
        "failed:no_audio",
        False,
    ),
    "text for audio": (
        AUDIO,
        [delta(GA, "text", "r1"), done("r1", usage=usage(audio_out=0))],
        "failed:no_audio",
        False,
    ),
    "empty deltas": (
        AUDIO,
        [created("r1"), delta(GA, "audio", "r1", ""), done("r1")],
        "failed:no_audio",
        False,
    ),
    "no text": (TEXT, [created("r1"), done("r1")], "failed:no_text", False),
    "failed": (AUDIO, [created("r1"), failed("server_is_tired")], "failed:server_is_tired", False),
    "failed without a code": (AUDIO, [created("r1"), failed(None)], "failed:server_error", False),
    "failed without a reason": (
        AUDIO,
        [created("r1"), done("r1", "failed")],
        "failed:unknown",
        False,
    ),
    "failed after audio": (
        AUDIO,
        [created("r1"), delta(GA, "audio", "r1"), failed("x")],
        "failed:x",
        False,
    ),
    "unknown status": (
        AUDIO,
        [created("r1"), delta(GA, "audio", "r1"), done("r1", "paused")],
        "failed:unknown_status",
        False,
    ),
    "no status": (
        AUDIO,
        [delta(GA, "audio", "r1"), done("r1", "")],
        "failed:unknown_status",
        False,
    ),
    "nothing but the end": (
        AUDIO,
        [delta(GA, "audio", "r1"), message("response.done")],
        "failed:unknown_status",
        False,
    ),
    "a code of many letters": (
        AUDIO,
        [created("r1"), failed("\x1b[2J\n::set-output " + "x" * 900)],
        "failed:__2J___set-output_" + "x" * 46,
        False,
    ),
    "throttled": (
        AUDIO,
        [created("r1"), failed("rate_limit_exceeded", "tokens")],
        "throttled:response",
        False,
    ),
    "no credit": (
        AUDIO,
        [created("r1"), failed("insufficient_quota")],
        "failed:insufficient_quota",
        False,
    ),
    "no credit, as a type": (
        AUDIO,
        [created("r1"), failed("429", "insufficient_quota")],
        "failed:insufficient_quota",
        False,
    ),
    "cancelled": (
        AUDIO,
        [
            created("r1"),
            delta(GA, "audio", "r1"),
            done("r1", "cancelled", type="cancelled", reason="turn_detected"),
        ],
        "cancelled:turn_detected",
        False,
    ),
    "cap": (
        AUDIO,
        [
            created("r1"),
            delta(GA, "audio", "r1"),
            done("r1", "incomplete", reason="max_output_tokens"),
        ],
        "incomplete:max_output_tokens",
        False,
    ),
    "filter": (
        AUDIO,
        [created("r1"), done("r1", "incomplete", reason="content_filter")],
        "incomplete:content_filter",
        False,
    ),
    "error for the request": (
        AUDIO,
        [error("conversation_already_has_active_response", "turn-1-response")],
        "failed:conversation_already_has_active_response",
        False,
    ),
    "a refusal without an id": (
        AUDIO,
        [error("conversation_already_has_active_response")],
        "failed:conversation_already_has_active_response",
        False,
    ),
    "a refusal without an id and a code": (
        AUDIO,
        [error(None, words="Conversation already has an active response in progress: resp_9.")],
        "failed:conversation_already_has_active_response",
        False,
    ),
    "error for an input": (
        AUDIO,
        [error("input_audio_buffer_commit_empty", "turn-1-commit")],
        "failed:input_audio_buffer_commit_empty",
        False,
    ),
    "error without a code": (
        AUDIO,
        [error(None, "turn-1-item")],
        "failed:invalid_request_error",
        False,
    ),
    "throttled by an error": (
        AUDIO,
        [error("rate_limit_exceeded", "turn-1-response")],
        "throttled:error",
        False,
    ),
    "fatal error": (AUDIO, [error("model_not_found")], "failed:model_not_found", True),
    "no credit, as an event": (
        AUDIO,
        [error("insufficient_quota")],
        "failed:insufficient_quota",
        True,
    ),
    "too old": (AUDIO, [created("r1"), error("session_expired")], "session_expired", True),
    "not JSON": (AUDIO, [created("r1"), b"{"], "protocol_error:json", True),
    "not base64": (
        AUDIO,
        [created("r1"), delta(GA, "audio", "r1", "abc")],
        "protocol_error:base64",
        True,
    ),
    "foreign audio": (
        AUDIO,
        [created("r1"), delta(PREVIEW, "audio", "r1")],
        "protocol_error:dialect",
        True,
    ),
    "foreign text": (
        TEXT,
        [created("r1"), delta(PREVIEW, "text", "r1")],
        "protocol_error:dialect",
        True,
    ),
    "foreign transcript": (
        AUDIO,
        [delta(PREVIEW, "transcript", "r1")],
        "protocol_error:dialect",
        True,
    ),
    "tokens of unheard audio": (
        AUDIO,
        [created("r1"), done("r1", usage=usage(audio_out=20))],
        "protocol_error:dialect",
        True,
    ),
}


@pytest.mark.parametrize(("plan", "came", "outcome", "ends_session"), ENDINGS.values(), ids=ENDINGS)
def test_the_outcome_of_a_turn_follows_from_its_events(
    plan: dict[str, Any], came: list[bytes], outcome: str, ends_session: bool
) -> None:
    talk = Talk()
    talk.ask(0, **plan)
    talk.hear(50, *came)

    turn = talk.only(60)
    assert turn.outcome.startswith(outcome) if outcome.endswith(":") else turn.outcome == outcome
    assert after_ms(turn, "ended") == 50
    assert talk.timeline.is_over is ends_session
    if ends_session:
        session = talk.timeline.session()
        assert (session.outcome, session.turns_not_started, session.turns_ended) == (outcome, 1, 1)


@pytest.mark.parametrize(
    "words", ["Conversation already has an active response.", "No active response found."]
)
def test_a_refusal_of_another_request_does_not_end_a_turn_that_is_answered(words: str) -> None:
    talk = Talk()
    talk.ask(0)
    talk.hear(50, created("r1"), error(None, words=words))
    talk.hear(100, delta(GA, "audio", "r1"), done("r1"))

    assert (talk.only().outcome, talk.timeline.session().service_errors) == ("ok", 1)


def test_a_response_that_begins_after_its_refusal_does_not_answer_the_next_turn() -> None:
    talk = Talk()
    talk.ask(0)
    talk.hear(50, error("conversation_already_has_active_response"))
    talk.take(60)
    talk.ask(500, 2)
    talk.hear(600, error("conversation_already_has_active_response"))
    talk.hear(700, *reply(GA, "r1"))
    talk.take(800)

    assert [turn.outcome for turn in talk.taken] == [
        "failed:conversation_already_has_active_response"
    ] * 2
    assert talk.timeline.session().unrequested_responses == 0


@pytest.mark.parametrize(
    ("code", "type_", "outcome"),
    [
        ("rate_limit_exceeded", "rate_limit_error", "throttled:error"),
        (None, "server_error", "failed:server_error"),
        (
            "inference_not_authorized_error",
            "invalid_request_error",
            "failed:inference_not_authorized_error",
        ),
    ],
)
def test_a_fatal_error_ends_the_open_turn_even_without_an_event_id(
    code: str | None, type_: str, outcome: str
) -> None:
    talk = Talk()
    talk.ask(0)
    talk.hear(50, error(code, None, type_))

    assert [turn.outcome for turn in talk.take(60)] == [outcome]
    assert not talk.timeline.is_over


@pytest.mark.parametrize(
    "event_id", [None, "", "turn-2-item", "turn-10-item", "an unknown event ID"]
)
def test_another_error_is_counted_on_the_session_and_fails_no_turn(event_id: str | None) -> None:
    talk = Talk()
    talk.ask(0)
    talk.hear(10, error("response_cancel_not_active", event_id))
    talk.hear(20, *reply(GA, "r1"))

    assert talk.only().outcome == "ok"
    talk.timeline.apply(inputs.ScriptFinished(at(30)))
    assert (talk.timeline.session().outcome, talk.timeline.session().service_errors) == ("ok", 1)


def test_a_turn_in_progress_has_what_is_known_of_it() -> None:
    talk = Talk()
    talk.ask(0, wants_audio=True)
    talk.hear(300, created("r1"), delta(GA, "audio", "r1"))
    (turn,) = talk.timeline.open_turns(at(900))

    assert (turn.outcome, turn.value(CATALOGUE["ttfa"])) == ("unfinished", 300 * MS)
    assert turn.instants["ended"] == at(900)
    talk.hear(1_000, done("r1"))
    assert talk.only().outcome == "ok", "to look at a turn does not end it"
    assert talk.timeline.open_turns(at(1_100)) == []


def test_an_error_that_names_an_ended_turn_is_only_counted() -> None:
    talk = Talk()
    # the turn awaits its transcript, so it is not delivered yet
    talk.ask(0, audio_bytes=4_800, transcription_due=True)
    talk.hear(20, *reply(GA, "r1"))
    talk.hear(30, error("invalid_value", "turn-1-append-1"))
    talk.timeline.apply(inputs.ScriptFinished(at(40)))

    assert talk.only().outcome == "ok"
    assert talk.timeline.session().service_errors == 1


# Deadlines.

LATE_S: dict[str, Any] = {"first_delta": 1, "next_delta": 0.5, "response": 2}


@pytest.mark.parametrize(
    ("came", "stage", "due_ms"),
    [
        ([], "first_delta", 1_000),
        ([(900, created("r1"))], "first_delta", 1_000),
        ([(900, delta(GA, "audio", "r1", ""))], "first_delta", 1_000),
        ([(900, delta(GA, "transcript", "r1"))], "next_delta", 1_400),
        ([(900, delta(GA, "audio", "r1")), (1_300, delta(GA, "audio", "r1"))], "next_delta", 1_800),
        (
            [
                (100, created("r1")),
                *((t, delta(GA, "audio", "r1")) for t in range(400, 2_000, 400)),
            ],
            "response",
            2_100,
        ),
        # without `response.created`
        ([(t, delta(GA, "audio", "r1")) for t in range(500, 2_200, 400)], "response", 2_500),
    ],
)
def test_a_turn_times_out_at_the_deadline_of_its_stage(
    came: list[tuple[int, bytes]], stage: str, due_ms: int
) -> None:
    talk = Talk(**LATE_S)
    talk.ask(0)
    for at_ms, data in came:
        talk.hear(at_ms, data)
    assert talk.deadline()[:2] == (at(due_ms), f"timeout:{stage}")

    talk.timeline.expire(at(due_ms) - 1)
    assert not talk.timeline.turns.are_all_over
    talk.timeline.expire(at(due_ms))

    turn = talk.only()
    assert (turn.outcome, after_ms(turn, "ended")) == (f"timeout:{stage}", due_ms)
    assert turn.detail.endswith(f"within {LATE_S[stage]} s (timeout `{stage}`)")
    assert (talk.timeline.session().outcome, talk.timeline.session().turns_not_started) == (
        f"timeout:{stage}",
        1,
    )


def ended_item(*ends: str, kind: str = "audio", **fields: Any) -> list[bytes]:
    """Return the messages of an item with one delta, and these ends."""
    ids = {"response_id": "r1", "item_id": "item_of_r1", "output_index": 0, "content_index": 0}
    item = {"id": "item_of_r1", "type": "message"} | fields
    return [
        message("response.output_item.added", response_id="r1", output_index=0, item=item),
        delta(GA, kind, "r1"),
        *(message(f"response.{end}.done", **ids, item=item) for end in ends),
    ]


AUDIO_ARRIVED = "response.done did not come within 0.5 s (timeout `next_delta`): the reply arrived"
NOTHING_CAME = "nothing came within 0.5 s (timeout `next_delta`)"
NO_MORE_ITEMS = (
    "neither another item nor response.done came within 1 s (timeout `first_delta`)",
    "next part did not come",
)
ENDS = ("output_audio", "output_item")
UNFINISHED_REPLIES: dict[str, tuple[dict[str, bool], list[bytes], tuple[str, str]]] = {
    "all but response.done": (
        AUDIO,
        ended_item(*ENDS),
        (f"{AUDIO_ARRIVED} completely (0.1 s of audio)", "a fault of the server"),
    ),
    "only the end of the audio": (
        AUDIO,
        ended_item("output_audio"),
        (f"{AUDIO_ARRIVED} completely (0.1 s of audio)", "a fault of the server"),
    ),
    "a final answer": (
        AUDIO,
        ended_item(*ENDS, phase="final_answer"),
        (f"{AUDIO_ARRIVED} completely (0.1 s of audio)", "a fault of the server"),
    ),
    "a text": (
        TEXT,
        ended_item("output_text", "output_item", kind="text"),
        (f"{AUDIO_ARRIVED} completely (text)", "a fault of the server"),
    ),
    "a part of the audio": (AUDIO, ended_item(), (NOTHING_CAME, "try fewer sessions")),
    "audio after its end": (
        AUDIO,
        [*ended_item(*ENDS), delta(GA, "audio", "r1")],
        (NOTHING_CAME, "try fewer sessions"),
    ),
    "a commentary": (AUDIO, ended_item(*ENDS, phase="commentary"), NO_MORE_ITEMS),
    "another item that is announced": (
        AUDIO,
        [*ended_item(*ENDS), *ended_item()[:1]],
        NO_MORE_ITEMS,
    ),
}


@pytest.mark.parametrize(
    ("plan", "came", "explained"), UNFINISHED_REPLIES.values(), ids=UNFINISHED_REPLIES
)
def test_a_reply_that_began_and_never_ended_names_what_is_missing(
    plan: dict[str, bool], came: list[bytes], explained: tuple[str, str]
) -> None:
    talk = Talk(**LATE_S)
    talk.ask(0, **plan)
    talk.hear(100, created("r1"), *came)
    talk.timeline.expire(at(1_100))

    turn = talk.only()
    detail, remedy = explained
    assert turn.detail == detail
    assert turn.outcome == f"timeout:{detail.split('`')[1]}"
    assert remedy in remedy_of(turn.outcome, turn.detail)


def test_a_complete_reply_that_other_events_prolong_names_response_done() -> None:
    talk = Talk(**LATE_S)
    talk.ask(0)
    talk.hear(100, created("r1"), *ended_item(*ENDS))
    for at_ms in range(400, 2_100, 400):
        talk.hear(at_ms, message("response.heartbeat", response_id="r1"))
    talk.timeline.expire(at(2_100))

    turn = talk.only()
    assert turn.outcome == "timeout:response"
    assert "a fault of the server" in remedy_of(turn.outcome, turn.detail)


UNCERTAIN: dict[str, tuple[float, bool, bool, str]] = {
    # (uncertainty in ms of an arrival at 3 s, whether its timestamp is the kernel's, whether the
    # script expects an event by 2 s, outcome). The first delta is due at 2 s.
    "it certainly arrived after the deadline": (999, True, False, "timeout:first_delta"),
    "it may have arrived at the deadline": (1_000, True, False, STARVED),
    "it may have arrived long before the deadline": (2_900, True, False, STARVED),
    "it has no kernel timestamp": (0, False, False, STARVED),
    "the expected event certainly arrived after its deadline": (
        999,
        True,
        True,
        "failed:missing_response_created",
    ),
    "the expected event may have arrived before its deadline": (1_000, True, True, STARVED),
}


@pytest.mark.parametrize(
    ("error_ms", "kernel", "expects", "outcome"), UNCERTAIN.values(), ids=UNCERTAIN
)
def test_a_turn_times_out_only_if_the_next_event_certainly_came_after_the_deadline(
    error_ms: float, kernel: bool, expects: bool, outcome: str
) -> None:
    talk = Talk(wanted=2, first_delta=60 if expects else 2)
    talk.ask(0)
    if expects:
        talk.timeline.apply(inputs.EventExpected("response_created", at(2_000)))
    talk.hear(
        3_000, created("r1"), delta(GA, "audio", "r1"), error_ns=round(error_ms * MS), kernel=kernel
    )
    talk.hear(3_100, done("r1"))

    turn = talk.only()
    assert (turn.outcome, after_ms(turn, "ended")) == (
        outcome,
        3_100 if outcome == STARVED else 2_000,
    )
    assert (outcome_class(turn.outcome) == "unfinished") == (outcome == STARVED)
    assert ("did not run" in turn.detail) == (outcome == STARVED)
    # in this case the first reply did arrive
    assert ("first_reply" in talk.timeline.session().instants) == (outcome == STARVED)


def test_a_turn_that_may_have_timed_out_and_then_fails_is_failed() -> None:
    talk = Talk(wanted=2, first_delta=2)
    talk.ask(0)
    talk.hear(3_000, created("r1"), delta(GA, "audio", "r1"), error_ns=2_900 * MS)
    talk.hear(3_100, failed("x"))
    talk.ask(4_000, 2)
    talk.hear(4_100, *reply(GA, "r2"))

    assert [turn.outcome for turn in talk.take(1_000_000)] == ["failed:x", "ok"]


CAUSES: dict[str, tuple[str, Callable[[Talk, float], None]]] = {
    "failed:x": ("failed:x", lambda talk, t: talk.hear(t, failed("x"))),
    "error": ("failed:y", lambda talk, t: talk.hear(t, error("y", "turn-1-item"))),
    "protocol_error:json": ("protocol_error:json", lambda talk, t: talk.hear(t, b"]")),
    "session_expired": ("session_expired", lambda talk, t: talk.hear(t, error("session_expired"))),
    "closed:1006": (
        "closed:1006",
        lambda talk, t: talk.timeline.apply(inputs.ConnectionClosed(1006, at(t), "")),
    ),
    "timeout": ("timeout:first_delta", lambda talk, t: talk.timeline.expire(at(40_000))),
    "unfinished": (
        "unfinished",
        lambda talk, t: talk.timeline.apply(inputs.SessionFailed("unfinished", at(t))),
    ),
}


@pytest.mark.parametrize("first", CAUSES)
@pytest.mark.parametrize("second", CAUSES)
def test_the_first_terminal_cause_sets_the_outcome(first: str, second: str) -> None:
    talk = Talk(wanted=1)
    talk.ask(0)
    CAUSES[first][1](talk, 10)
    CAUSES[second][1](talk, 20)
    talk.timeline.apply(inputs.SessionFailed("unfinished", at(50_000)))

    assert talk.only().outcome == CAUSES[first][0]
    assert talk.timeline.session().turns_ended == 1


# The end of a session.


CLOSED: list[tuple[int, dict[str, Any], str]] = [
    (1000, {}, "closed:1000"),
    (1011, {"reason": "keepalive"}, "closed:1011"),
    (1001, {"reason": "Your session hit the maximum duration of 60 minutes."}, "session_expired"),
    *((1006, {"cause": cause}, f"closed:{cause or 1006}") for cause in get_args(CloseCause)),
    (1009, {"reason": "too big", "ours": True}, "protocol_error:too_large"),
    (1009, {"reason": "too big"}, "closed:1009"),
]


def test_a_call_that_this_tool_hung_up_has_no_close_code_of_the_agent() -> None:
    talk = Talk(wanted=5)
    talk.ask(0)
    talk.timeline.apply(
        inputs.ConnectionClosed(1000, at(20), "this tool hung up: no ACK", ours=True)
    )

    turn, session = talk.only(), talk.timeline.session()
    assert (turn.outcome, turn.detail, session.outcome) == (
        HANG_UP,
        "this tool hung up: no ACK",
        HANG_UP,
    )
    assert (session.close_code, session.close_reason) == (None, "")


def test_the_end_of_a_stream_over_http_2_has_no_close_code() -> None:
    talk = Talk(wanted=5)
    talk.ask(0)
    talk.timeline.apply(inputs.ConnectionClosed(0, at(20), "HTTP/2 END_STREAM", cause="end_stream"))

    session = talk.timeline.session()
    assert (session.outcome, session.close_code) == ("closed:end_stream", None)
    assert session.close_reason == talk.only().detail == "HTTP/2 END_STREAM"


@pytest.mark.parametrize(("code", "closing", "outcome"), CLOSED)
def test_a_connection_that_closes_during_a_turn_ends_the_turn_and_the_session(
    code: int, closing: dict[str, Any], outcome: str
) -> None:
    talk = Talk(wanted=5)
    talk.ask(0)
    talk.hear(10, created("r1"), delta(GA, "audio", "r1"))
    talk.timeline.apply(inputs.ConnectionClosed(code, at(20), **closing))

    turn, session = talk.only(), talk.timeline.session()
    assert (turn.outcome, after_ms(turn, "ended"), turn.audio_deltas) == (outcome, 20, 1)
    assert (session.outcome, session.close_code, session.close_reason) == (
        outcome,
        code,
        closing.get("reason", ""),
    )
    assert (session.turns_started, session.turns_not_started) == (1, 4)


def audio_of_items(count: int) -> list[bytes]:
    """Return `count` audio deltas. Each delta belongs to its own item."""
    fields = {"response_id": "r1", "delta": LOUD}
    return [
        message("response.output_audio.delta", item_id=f"item_{n}", **fields) for n in range(count)
    ]


ENDLESS: dict[str, tuple[dict[str, int], list[bytes], bytes]] = {
    # (limits, the messages of a turn that just stay within the limits, the message that exceeds a
    # limit)
    "events": ({"MAX_EVENTS": 100}, [created("r1")] * 100, created("one more")),
    "bytes": (
        {"MAX_BYTES": 11 * len(delta(GA, "audio", "r2"))},
        [delta(GA, "audio", "r2")] * 11,
        done("r2"),
    ),
    "items": (
        {},
        [created("r1"), *audio_of_items(MAX_ITEMS)],
        message("response.output_audio.delta", response_id="r1", item_id="one more", delta=LOUD),
    ),
    "responses": (
        {"MAX_RESPONSES": 5},
        [event for n in range(5) for event in (created(f"x{n}"), done(f"x{n}"))],
        done("x"),
    ),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_exceeding_a_per_turn_limit_ends_the_session(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits, most, more = ENDLESS[name]
    for limit, value in limits.items():
        monkeypatch.setattr(bench.observe.timeline, limit, value)
    talk = Talk(wanted=2)
    talk.ask(0)
    talk.hear(1, *reply(GA, "r0", deltas=1)[:-1])
    assert talk.only(2).outcome == "ok"  # the limit applies to each turn separately
    talk.ask(3, 2)
    talk.hear(4, *most)
    assert not talk.timeline.is_over
    talk.hear(5, more)

    assert talk.timeline.session().outcome == f"limit_exceeded:{name}"


def test_the_cost_of_an_item_does_not_grow_with_the_number_of_items(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads, count = Counter[int](), 0

    def looked_at(player: ItemPlayer) -> int:
        reads[count] += 1
        return int(vars(player)["ends_ns"])

    def noted(player: ItemPlayer, value: int) -> None:
        vars(player)["ends_ns"] = value

    monkeypatch.setattr(ItemPlayer, "ends_ns", property(looked_at, noted), raising=False)
    for count in (100, 200, 400):
        talk = Talk(wanted=1)
        talk.ask(0)
        for place, data in enumerate([created("r1"), *audio_of_items(count)]):
            talk.hear(1 + place, data)

    assert reads[400] - reads[200] == 2 * (reads[200] - reads[100])


def test_the_turn_timeout_applies_even_if_speech_is_detected_repeatedly() -> None:
    talk = Talk(service_responds=True, turn=60.0)
    talk.begin_speech(0)
    talk.end_speech(500)
    for second in range(1, 100):
        talk.hear(second * 1_000, message("input_audio_buffer.speech_started"))
        talk.hear(second * 1_000 + 500, message("input_audio_buffer.speech_stopped"))

    turn = talk.only()
    assert (turn.outcome, after_ms(turn, "ended")) == ("timeout:turn", 60_500)


@pytest.mark.parametrize(("ready", "outcome"), [(True, "renewed"), (False, "session_expired")])
def test_an_expired_session_of_a_long_call_fails_only_if_it_was_never_ready(
    ready: bool, outcome: str
) -> None:
    talk = Talk(wanted=2, ready=ready, renewable=True)
    talk.ask(0)
    talk.hear(10, error("session_expired"))

    session = talk.timeline.session()
    assert (talk.only().outcome, session.outcome, session.instants["ended"]) == (
        "session_expired",
        outcome,
        at(10),
    )
    assert session.turns_not_started == (0 if ready else 1)


@pytest.mark.parametrize(
    ("code", "greeting", "outcome"),
    [
        ("something_new", [], "connect_failed:something_new"),
        ("something_new", [session_created()], "connect_failed:something_new"),
        (None, [], "connect_failed:invalid_request_error"),
    ],
)
def test_an_error_and_a_close_right_after_the_upgrade_are_a_refused_connection(
    code: str | None, greeting: list[bytes], outcome: str
) -> None:
    talk = Talk(wanted=3, ready=False)
    talk.hear(10, *greeting, error(code))
    talk.timeline.apply(inputs.ConnectionClosed(3000, at(11), "invalid_request_error"))

    session = talk.timeline.session()
    assert (
        session.outcome,
        session.close_code,
        session.turns_not_started,
        session.turns_started,
    ) == (
        outcome,
        3000,
        3,
        0,
    )


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(1013, "throttled:handshake"), (1008, "connect_failed:server_error")],
)
def test_a_gateway_that_closes_with_try_again_later_has_limited_the_rate(
    code: int, outcome: str
) -> None:
    talk = Talk(wanted=3, ready=False)
    talk.hear(10, error("server_error"))
    talk.timeline.apply(inputs.ConnectionClosed(code, at(11), "rejected"))

    assert talk.timeline.session().outcome == outcome


@pytest.mark.parametrize(
    ("ready", "outcome"), [(False, "throttled:handshake"), (True, "closed:1013")]
)
def test_try_again_later_refuses_a_session_only_before_it_is_ready(
    ready: bool, outcome: str
) -> None:
    talk = Talk(wanted=3, ready=ready)
    talk.timeline.apply(inputs.ConnectionClosed(1013, at(11), ""))

    assert talk.timeline.session().outcome == outcome


@pytest.mark.parametrize(
    ("came", "outcome"),
    [
        ([error("benign"), session_updated()], "closed:1006"),
        ([error("unknown_parameter", "session-update")], "failed:unknown_parameter"),
    ],
    ids=[
        "an error of the start does not make a later close a refusal",
        "rejected settings end the session",
    ],
)
def test_an_error_before_session_updated_fails_the_session_only_if_it_names_the_update(
    came: list[bytes], outcome: str
) -> None:
    talk = Talk(ready=False)
    talk.hear(0, session_created(), *came)
    talk.timeline.apply(inputs.ConnectionClosed(1006, at(5_000), ""))

    assert talk.timeline.session().outcome == outcome


def test_a_session_whose_script_was_played_is_ok_even_with_failed_turns() -> None:
    talk = Talk(wanted=1)
    talk.ask(0)
    talk.hear(10, created("r1"), failed("x"))
    talk.take(11)
    talk.timeline.apply(inputs.ScriptFinished(at(12)))
    talk.timeline.apply(inputs.ConnectionClosed(1000, at(13), ""))

    session = talk.timeline.session()
    assert (
        session.outcome,
        session.turns_ended,
        session.turns_succeeded,
        session.turns_not_started,
    ) == ("ok", 1, 0, 0)
    assert session.instants["ended"] == at(12)


def test_connecting_starts_after_the_wait_for_a_token() -> None:
    talk = Talk(ready=False)
    talk.timeline.apply(inputs.Connected({"dns_done": at(41), "opened": at(49)}, {}, 40 * MS))
    talk.hear(50, session_created())
    talk.timeline.apply(inputs.ScriptFinished(at(60)))

    session = talk.timeline.session()
    metrics = {
        "auth_wait": 40,
        "connect_dns": 1,
        "connect_total": 9,
        "session_ready": 10,
        "session_duration": 20,
    }
    assert session.start_ns == AT_NS
    assert session.metrics_ns().items() >= {name: ms * MS for name, ms in metrics.items()}.items()


@pytest.mark.parametrize("output", ["audio", "text"])
def test_a_session_has_its_first_reply_and_the_caller_s_time_before_it(output: str) -> None:
    talk = Talk()
    talk.ask(700, 1, wants_audio=output == "audio")
    talk.hear(950, *reply(GA, "r1", output, deltas=3))
    talk.take(1_000)
    talk.ask(2_000, 2, wants_audio=output == "audio")
    talk.hear(2_100, *reply(GA, "r2", output))
    talk.take(2_200)
    talk.timeline.apply(inputs.ScriptFinished(at(3_000)))

    session = talk.timeline.session()
    assert session.instants["first_reply"] == talk.taken[0].instants[f"first_{output}"] == at(950)
    assert session.caller_time_ns == 700 * MS
    assert session.metrics_ns()["service_time"] == 250 * MS
    assert "response_time" not in session.metrics_ns()


def test_the_number_of_stored_names_of_unknown_events_is_limited() -> None:
    talk = Talk()
    for number in range(80):
        talk.hear(1, message(f"new.{number}"))
    unknown = talk.timeline.session().unknown_events

    assert len(unknown) <= 51
    assert sum(unknown.values()) == 80


@pytest.mark.parametrize(
    ("sizes", "gap_ms", "speed"),
    [
        ([4_800, 48_000], 1_000, 1.0),
        ([4_800, 48_000, 48_000], 500, 2.0),
        ([48_000, 24_000], 1_000, 0.5),
        ([4_800], 1_000, None),
        ([4_800, 4_800], 0, None),
    ],
)
def test_audio_speed_leaves_out_the_audio_of_the_first_delta(
    sizes: list[int], gap_ms: int, speed: float | None
) -> None:
    talk = Talk()
    talk.ask(0)
    for place, size in enumerate(sizes):
        talk.hear(100 + gap_ms * place, delta(GA, "audio", "r1", base64_of(size)))
    talk.hear(9_000, done("r1"))

    assert talk.only().audio_speed == speed


# The turn of an event.


def test_a_turn_has_the_instants_of_its_events() -> None:
    talk = Talk()
    talk.begin(0, transcription_due=True)
    talk.send(1, "input_audio_buffer.append", audio_bytes=4_800, wire_bytes=6_500, late=True)
    talk.send(2, "input_audio_buffer.commit")
    talk.send(3, "response.create")
    for at_ms, data in (
        (10, committed("item_9")),
        (20, created("r1")),
        (30, delta(GA, "transcript", "r1")),
        (40, delta(GA, "audio", "r1")),
        (50, delta(GA, "audio", "r1", base64_of(9_600))),
        (55, delta(GA, "audio", "r1", "")),
        (60, part_done(GA, "audio", "r1")),
        (70, part_done(GA, "transcript", "r1")),
        (75, transcribed("item_7")),  # the transcript of another item
        (80, transcribed("item_9")),
        (90, done("r1", usage=usage(audio_out=20))),
    ):
        talk.hear(at_ms, data)

    turn = talk.only(91)
    assert {name: after_ms(turn, name) for name in turn.instants} == {
        "request_sent": 3,
        "committed": 10,
        "response_created": 20,
        "first_transcript": 30,
        "first_audio": 40,
        "answer_audio": 40,
        "first_audible": 40,
        "answer_audible": 40,
        "last_audio": 50,
        "audio_done": 60,
        "transcript_done": 70,
        "input_transcribed": 80,
        "response_done": 90,
        "ended": 90,
    }
    assert (turn.response_id, turn.item_id, turn.outcome) == ("r1", "item_9", "ok")
    assert (turn.audio_bytes_sent, turn.audio_bytes_received) == (4_800, 14_400)
    assert turn.audio_speed == pytest.approx(20)  # 200 ms of audio within 10 ms of the first delta
    assert (turn.audio_deltas, turn.transcript_deltas, turn.text_deltas, turn.late_chunks) == (
        2,
        1,
        0,
        1,
    )
    assert (turn.wire_bytes_sent, turn.usage) == (6_700, USAGE)


@pytest.mark.parametrize(("late_ms", "attached"), [(4_999, True), (5_001, False), (60_000, False)])
@pytest.mark.parametrize("next_turn", [False, True])
def test_a_transcription_is_attached_for_up_to_five_seconds(
    late_ms: int, attached: bool, next_turn: bool
) -> None:
    talk = Talk()
    talk.ask(0, audio_bytes=4_800, transcription_due=True)
    talk.hear(0, committed("item_1"), *reply(GA, "r1"))
    if next_turn:
        talk.ask(1, 2)
    talk.hear(late_ms, transcribed("item_1"))

    first = next(turn for turn in talk.take(100_000) if turn.turn == 1)
    assert ("input_transcribed" in first.instants) is attached


def test_a_response_belongs_to_the_oldest_request_even_if_its_turn_has_ended() -> None:
    talk = Talk()
    talk.ask(0, 1)
    talk.hear(10, error("invalid_value", "turn-1-item"))
    talk.take(11)
    talk.ask(20, 2)
    talk.hear(30, *reply(GA, "r1"))
    assert not talk.timeline.turns.are_all_over
    talk.hear(40, *reply(GA, "r2", deltas=2))

    second = talk.only()
    assert (second.turn, second.response_id, second.audio_deltas, second.outcome) == (
        2,
        "r2",
        2,
        "ok",
    )


USED = usage(audio_out=20)
BEGUN = created("r1"), delta(GA, "audio", "r1")
# (messages, outcome and usage of each turn, usage outside turns). An instant without messages is a
# turn's request.
PAID: dict[
    str, tuple[list[tuple[Any, ...]], list[tuple[str, TokenUsage | None]], TokenUsage | None]
] = {
    **{
        f"a turn whose response is {status}": (
            [(0,), (10, created("r1"), done("r1", status, usage=USED, reason="turn_detected"))],
            [(ending, USAGE)],
            None,
        )
        for status, ending in (
            ("cancelled", "cancelled:turn_detected"),
            ("failed", "failed:unknown"),
            ("incomplete", "incomplete:turn_detected"),
        )
    },
    "a turn whose response is completed": (
        [(0,), (10, *BEGUN, done("r1", usage=USED))],
        [("ok", USAGE)],
        None,
    ),
    "not counted without reported tokens": ([(0,), (10, *BEGUN, done("r1"))], [("ok", None)], None),
    "counted by the session if an error ended the turn": (
        [
            (0,),
            (10, *BEGUN),
            (20, error("rate_limit_exceeded")),
            (30,),
            (40, done("r1", "cancelled", usage=USED)),
            (50, created("r2"), delta(GA, "audio", "r2"), done("r2", usage=USED)),
        ],
        [("throttled:error", None), ("ok", USAGE)],
        USAGE,
    ),
    "counted by the session if a timeout ended the turn": (
        [(0,), (10, *BEGUN), (2_000, done("r1", usage=USED))],
        [("timeout:next_delta", None)],
        USAGE,
    ),
    "counted by the session for an unrequested response": (
        [
            *(
                (number, created(f"r{number}"), done(f"r{number}", usage=USED))
                for number in (1, 2, 3)
            ),
            (4, done("r4")),
        ],
        [],
        USAGE + USAGE + USAGE,
    ),
    "counted once for a duplicated response.done": (
        [
            (0,),
            (10, *BEGUN),
            (20, *2 * [done("r1", usage=USED)]),
            (30, *2 * [done("r2", usage=USED)]),
        ],
        [("ok", USAGE)],
        USAGE,
    ),
}


@pytest.mark.parametrize(("came", "turns", "session"), PAID.values(), ids=PAID)
def test_the_usage_of_a_response_is_counted_once_by_its_turn_or_by_the_session(
    came: list[tuple[Any, ...]],
    turns: list[tuple[str, TokenUsage | None]],
    session: TokenUsage | None,
) -> None:
    talk = Talk(next_delta=1)
    for at_ms, *messages in came:
        talk.take(at_ms)
        if messages:
            talk.hear(at_ms, *messages)
        else:
            talk.ask(at_ms, len(talk.taken) + 1)
    talk.take(100_000_000)

    assert [(turn.outcome, turn.usage) for turn in talk.taken] == turns
    assert talk.timeline.session().stray_usage == session


# Timestamps.


@pytest.mark.parametrize(
    ("errors_ns", "gaps_ms", "inexact"),
    [
        ([0, 0, 0], [20, 20], 0),
        ([0, 1_000_000, 0], [20, 20], 0),
        ([0, 1_000_001, 0], [], 2),
        ([1_000_001, 0, 0], [20], 1),
        ([0, 0, 2_000_000], [20], 1),
        ([5], [], 0),
    ],
)
def test_gaps_are_measured_only_between_certain_timestamps(
    errors_ns: list[int], gaps_ms: list[int], inexact: int
) -> None:
    talk = Talk()
    talk.ask(0)
    for place, error_ns in enumerate(errors_ns):
        talk.hear(100 + 20 * place, delta(GA, "audio", "r1"), error_ns=error_ns)
        # the uncertainty of transcripts does not affect audio
        talk.hear(105 + 20 * place, delta(GA, "transcript", "r1"), error_ns=9 * MS)
    talk.hear(900, done("r1"))

    turn = talk.only()
    assert turn.gaps_ns == tuple(gap * MS for gap in gaps_ms)
    assert turn.uncertain_gaps == inexact


@pytest.mark.parametrize(("kind", "first_ns"), [("audio", 30), ("text", 100)])
def test_a_turn_has_the_uncertainty_of_its_first_delta_and_the_maximum(
    kind: str, first_ns: int
) -> None:
    talk = Talk()
    talk.ask(0, wants_audio=kind == "audio")
    talk.hear(1, created("r1"), error_ns=500)
    talk.hear(2, delta(GA, "transcript" if kind == "audio" else "text", "r1"), error_ns=100)
    talk.hear(3, delta(GA, kind, "r1"), error_ns=30)
    talk.hear(4, delta(GA, kind, "r1"), error_ns=40)
    talk.hear(5, done("r1"))

    turn = talk.only()
    assert (turn.timestamp_uncertainty_ns, turn.timestamp_uncertainty_max_ns) == (first_ns, 500)


@pytest.mark.parametrize(
    ("kernel", "source"),
    [([True, True], "kernel"), ([False, False], "userspace"), ([True, False], "mixed"), ([], None)],
)
def test_a_turn_has_the_source_of_its_timestamps(kernel: list[bool], source: str | None) -> None:
    talk = Talk()
    talk.ask(0)
    for at_ms, is_kernel in enumerate(kernel, 1):
        talk.hear(at_ms, delta(GA, "audio", "r1"), kernel=is_kernel)
    talk.timeline.apply(inputs.SessionFailed("unfinished", at(3)))

    turn = talk.only()
    assert (turn.receive_timestamp_source, turn.timestamp_uncertainty_max_ns) == (source, 0)
    assert turn.timestamp_uncertainty_ns == (0 if kernel else None)
    assert talk.timeline.session().timestamp_fallbacks == kernel.count(False)


# Arbitrary messages.


@thorough
@given(random=st.randoms(use_true_random=False))
def test_every_turn_has_one_outcome_and_its_own_response_for_any_corrupted_messages(
    random: Random,
) -> None:
    timeline, turns = played_badly(random, "drop", "double", "move", "junk")

    check_ended(timeline, turns)
    assert all(
        len(turn.gaps_ns) + turn.uncertain_gaps == max(0, turn.audio_deltas - 1) for turn in turns
    ), "one item"
    answered = [turn.response_id for turn in turns if turn.response_id]
    assert len(set(answered)) == len(answered)


def finish(timeline: Timeline, now_ns: int) -> None:
    timeline.apply(inputs.ScriptFinished(now_ns))


@thorough
@given(
    random=st.randoms(use_true_random=False),
    gaps_ms=st.lists(st.sampled_from([0, 1, 50]), min_size=1, max_size=5),
)
def test_without_faults_all_turns_are_ok(random: Random, gaps_ms: list[int]) -> None:
    dialect, outputs, came = whole_log(random)
    _, turns = played(dialect, outputs, came, gaps_ms, finish)

    assert [(turn.outcome, turn.response_id) for turn in turns] == [
        ("ok", f"r{n}") for n in range(1, len(outputs) + 1)
    ]


# The uncertainty of each instant.


def test_a_transcript_delta_read_together_with_audio_has_its_own_uncertainty() -> None:
    talk = Talk()
    talk.ask(0)
    talk.hear(10, created("r1"))
    talk.hear(500, delta(GA, "transcript", "r1"), error_ns=30 * MS)
    talk.hear(500, delta(GA, "audio", "r1"))
    talk.hear(900, part_done(GA, "transcript", "r1"), error_ns=2 * MS)
    talk.hear(900, done("r1"))

    turn = talk.only()
    names = ("ttfa", "transcript_first", "transcript_total", "ttft")
    assert [turn.bound_ns(CATALOGUE[name]) for name in names] == [7, 30 * MS + 7, 2 * MS + 7, None]
    assert (turn.timestamp_uncertainty_ns, turn.widths_ns) == (0, {"request_sent": 7})


# Matched deltas.


def test_deltas_can_be_matched_when_audio_is_audible_and_nothing_else_is_awaited() -> None:
    talk = Talk()
    talk.ask(0, wants_audio=True)
    ready = []
    for data in (
        created("r1"),
        delta(GA, "transcript", "r1"),
        delta(GA, "audio", "r1", SILENCE),
        delta(GA, "audio", "r1", LOUD),
        delta(GA, "audio", "r1"),
    ):
        talk.hear(50, data)
        ready.append(talk.timeline.turns.is_streaming)
    (event,) = GA.decode(delta(GA, "audio", "r1"))
    (other,) = GA.decode(delta(GA, "audio", "r2"))

    assert ready == [False, False, False, True, True]
    assert talk.timeline.may_match(event)
    assert not talk.timeline.may_match(other)
    talk.hear(60, done("r1"))
    assert not talk.timeline.turns.is_streaming


SAID = "; the service reported: overloaded: No."


def answering(talk: Talk) -> None:
    """Send a turn. Receive the beginning of its reply, and then an error that does not end the
    turn.
    """
    talk.ask(0)
    talk.hear(10, created("r1"), delta(GA, "audio", "r1"), error("overloaded"))


@pytest.mark.parametrize(
    ("end", "outcome", "detail"),
    [
        (inputs.ConnectionClosed(1011, at(20), "internal"), "closed:1011", "internal" + SAID),
        (inputs.ConnectionClosed(1006, at(20)), "closed:1006", SAID.removeprefix("; ")),
        (
            inputs.ScriptFinished(at(5_000)),
            "timeout:next_delta",
            "nothing came within 1 s (timeout `next_delta`)" + SAID,
        ),
    ],
)
def test_an_error_during_a_response_is_added_to_a_detail_that_names_no_cause(
    end: inputs.AnyInput, outcome: str, detail: str
) -> None:
    talk = Talk(next_delta=1)
    answering(talk)
    talk.timeline.expire(end.at_ns)
    talk.timeline.apply(end)

    turn, session = talk.only(), talk.timeline.session()
    assert (turn.outcome, turn.detail) == (session.outcome, session.detail) == (outcome, detail)


# Missing messages of a service.


@pytest.mark.parametrize("name", ["output_modalities", "modalities"])
@pytest.mark.parametrize(
    ("modalities", "explained"), [(["text"], True), (["text", "audio"], False), ("text", False)]
)
def test_failed_no_audio_of_a_text_session_has_an_explanation(
    name: str, modalities: object, explained: bool
) -> None:
    talk = Talk()
    talk.hear(5, message("session.updated", session={name: modalities}))
    talk.ask(10)
    talk.hear(20, created("r1"), delta(GA, "text", "r1"), done("r1"))

    turn = talk.only()
    assert turn.outcome == "failed:no_audio"
    assert turn.detail == (
        f"the session is a text session: {name} of the service's session is without audio"
        if explained
        else ""
    )


def test_a_session_keeps_its_model_if_later_events_omit_it() -> None:
    talk = Talk(ready=False)
    talk.hear(
        0,
        message("session.created", session={"id": "s", "model": "gpt-realtime", "voice": "alloy"}),
    )
    talk.hear(5, message("session.updated", session={"id": "s", "voice": "marin"}))
    session = talk.timeline.session()

    assert (session.model, session.effective_settings["voice"]) == ("gpt-realtime", "marin")

    talk.hear(9, message("session.updated", session={"id": "s", "model": "gpt-realtime-mini"}))
    assert talk.timeline.session().model == "gpt-realtime-mini"
