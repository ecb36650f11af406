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
from bench.catalogue.outcomes import STARVED, outcome_class, remedy_of
from bench.catalogue.timeouts import MAX_ITEMS
from bench.observe import inputs
from bench.observe.reply import ItemPlayer
from bench.observe.timeline import Timeline
from bench.services.openai.dialect import GA
from bench.wire.connection import CloseCause
from tests.examples import thorough
from tests.helpers import (
    AT_NS,
    LOUD,
    MS,
    SILENCE,
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
    reply,
    session_created,
    transcribed,
)
from tests.observe.misbehaving import check_ended, failed, played, played_badly, whole_log

AUDIO, TEXT = {"wants_audio": True}, {"wants_audio": False}


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
