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
    created,
    delta,
    done,
    error,
    message,
    reply,
    session_created,
)
from tests.observe.misbehaving import check_ended, failed, played, played_badly, whole_log


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
