"""Which turn a response, an item or an error belongs to, in the orders that services bring them in."""

from __future__ import annotations

from typing import Any

import pytest

from bench import session as waits
from bench.observe import inputs
from bench.observe.inputs import AskForResponse
from bench.observe.observation import TurnObservation
from bench.protocol.openai_ga import GA
from tests.helpers import (
    LOUD,
    MS,
    Talk,
    after_ms,
    answers,
    at,
    base64_of,
    committed,
    created,
    delta,
    done,
    error,
    hears,
    idle_timeout,
    message,
    reply,
    speech_started,
    speech_stopped,
    transcribed,
)

ACTIVE = error("conversation_already_has_active_response")


def vad(**limits: Any) -> Talk:
    """A session whose VAD starts responses."""
    return Talk(service_responds=True, **limits)


def records(talk: Talk, to_ms: int) -> None:
    """The microphone has recorded since 0 ms, so the session's clock of input audio is that of the test."""
    missing_ms = to_ms - talk.timeline.session().audio_bytes_sent // 48
    talk.send(to_ms, "input_audio_buffer.append", audio_bytes=48 * missing_ms)


def begins(talk: Talk, begin_ms: int = 100, number: int = 1, **changes: Any) -> None:
    """The caller's first sample of speech; it takes the 100 ms before it to be sent."""
    records(talk, begin_ms - 100)
    talk.begin_speech(begin_ms, number, **changes)


def ends(talk: Talk, end_ms: int = 1_100) -> None:
    """The caller's last one."""
    records(talk, end_ms - 100)
    talk.end_speech(end_ms)


def started(item_id: str, at_ms: int, clock: bool) -> bytes:
    """A VAD that says where on its clock, or does not."""
    return speech_started(item_id, **({"audio_start_ms": at_ms} if clock else {}))


def stopped(item_id: str, at_ms: int, clock: bool) -> bytes:
    return speech_stopped(item_id, **({"audio_end_ms": at_ms} if clock else {}))


def came(turn: TurnObservation) -> dict[str, float | None]:
    return {name: after_ms(turn, name) for name in turn.instants}


# What is nobody's.


def test_a_service_that_speaks_up_after_long_silence_speaks_to_nobody() -> None:
    talk = vad()
    talk.hear(10, idle_timeout("idle"), committed("idle"))
    assert waits.quiet(talk.timeline, 0) is not None
    answers(talk, 100, "r0")

    assert (waits.quiet(talk.timeline, 0), talk.timeline.session().unattributed_commits) == (None, 1)


def test_it_does_so_too_where_a_turn_has_just_begun() -> None:
    talk = vad()
    talk.begin_speech(0)
    talk.hear(10, idle_timeout("idle"), committed("idle"))
    answers(talk, 20, "r0")
    talk.hear(500, speech_started("item_1"))
    talk.end_speech(1_000)
    hears(talk, 1_500)
    answers(talk, 1_600)

    turn = talk.only()
    assert (turn.outcome, turn.response_id, turn.item_id, turn.vad_splits) == ("ok", "r1", "item_1", 0)


def test_a_response_that_begins_before_the_service_noticed_anything_is_nobody_s() -> None:
    talk = vad()
    talk.begin_speech(0)
    talk.hear(60, speech_started("item_1"), *reply(GA, "another"))
    talk.end_speech(1_000)
    hears(talk, 1_500)
    answers(talk, 1_600)

    turn = talk.only()
    assert (turn.outcome, turn.response_id, turn.audio_deltas) == ("ok", "r1", 1)


def test_noise_behind_a_typed_turn_is_not_its_own() -> None:
    talk = vad()
    talk.ask(0)
    talk.hear(10, speech_started("noise"))
    hears(talk, 300, "noise")
    talk.hear(310, error("conversation_already_has_active_response"))
    talk.hear(400, *reply(GA, "r1"))
    talk.timeline.tell(inputs.Finished(at(500)))

    turn = talk.only()
    assert (turn.outcome, turn.response_id, turn.item_id) == ("ok", "r1", "")
    assert "committed" not in turn.instants
    assert (talk.timeline.session().unattributed_commits, talk.timeline.session().service_errors) == (1, 1)


# Noise behind the speech, where nothing interrupts the reply.

OWN = {
    "speech_start": 100, "speech_started": 200, "speech_end": 1_100, "speech_stopped": 1_400, "committed": 1_400,
    "response_created": 1_450, "first_audio": 1_900, "answer_audio": 1_900, "last_audio": 1_900,
    "first_audible": 1_900, "answer_audible": 1_900, "response_done": 3_000, "ended": 3_000,
}  # fmt: skip


def says(talk: Talk, *, clock: bool) -> None:
    """A turn that was heard out at 1400 ms, and is answered."""
    begins(talk)
    talk.hear(200, started("item_1", 0, clock))
    ends(talk)
    talk.hear(1_400, stopped("item_1", 1_400, clock), committed("item_1"))
    talk.hear(1_450, created("r1"))


@pytest.mark.parametrize("clock", [False, True])
@pytest.mark.parametrize("commits_ms", [2_600, 3_400])
def test_noise_during_a_reply_is_nobody_s_and_the_turn_s_figures_are_its_own(commits_ms: int, clock: bool) -> None:
    talk = vad()
    says(talk, clock=clock)
    for at_ms, messages in sorted([
        (1_900, [delta(GA, "audio", "r1", LOUD)]),
        (2_000, [started("noise", 1_700, clock)]),
        (3_000, [done("r1")]),
        (commits_ms, [stopped("noise", commits_ms, clock), committed("noise"), ACTIVE]),
    ]):  # fmt: skip
        talk.hear(at_ms, *messages)

    turn = talk.only()
    assert (turn.outcome, turn.response_id, turn.item_id, turn.vad_splits) == ("ok", "r1", "item_1", 0)
    assert came(turn) == OWN
    assert (talk.timeline.session().unattributed_commits, waits.quiet(talk.timeline, 0)) == (1, None)


@pytest.mark.parametrize("clock", [False, True])
def test_noise_that_never_ends_does_not_keep_a_turn_open(clock: bool) -> None:
    talk = vad()
    says(talk, clock=clock)
    talk.hear(1_900, delta(GA, "audio", "r1", LOUD))
    for number, at_ms in enumerate(range(2_000, 42_000, 2_500)):
        talk.hear(at_ms, started(f"n{number}", at_ms - 300, clock))
        talk.hear(at_ms + 1_000, done(f"r{number or 1}"))
        talk.hear(at_ms + 1_700, stopped(f"n{number}", at_ms + 1_700, clock), committed(f"n{number}"))
        talk.hear(at_ms + 1_800, created(f"r{number + 1}" if number else "r0"))

    turn = talk.only()
    assert came(turn) == OWN
    assert talk.timeline.session().unattributed_commits == 16


def test_what_begins_behind_the_speech_on_the_clock_of_audio_is_nobody_s_even_before_the_commit() -> None:
    talk = vad()
    begins(talk)
    talk.hear(200, speech_started("item_1", audio_start_ms=0))
    ends(talk)
    talk.hear(1_400, speech_stopped("item_1", audio_end_ms=1_400), speech_started("noise", audio_start_ms=1_350))
    talk.hear(1_405, committed("item_1"))
    answers(talk, 1_500)

    turn = talk.only()
    assert (turn.outcome, turn.item_id, turn.vad_splits, after_ms(turn, "ended")) == ("ok", "item_1", 0, 1_900)


@pytest.mark.parametrize("clock", [False, True])
def test_noise_between_the_end_of_a_turn_s_speech_and_our_request_is_nobody_s(clock: bool) -> None:
    talk = Talk()
    says(talk, clock=clock)
    talk.hear(1_500, started("noise", 1_450, clock))
    wanted = bool(talk.work(1_501, AskForResponse))
    talk.send(1_501, "response.create")
    talk.hear(1_600, *reply(GA, "r2"))

    assert (wanted, talk.only().outcome, talk.taken[0].vad_splits) == (True, "ok", 0)


def test_a_reply_that_the_client_asked_for_ends_its_turn_although_something_is_being_heard() -> None:
    talk = Talk()
    begins(talk)
    talk.hear(200, speech_started("item_1", audio_start_ms=0))
    talk.hear(800, speech_stopped("item_1", audio_end_ms=800), committed("item_1"))
    ends(talk)
    assert talk.work(2_100, AskForResponse)
    talk.send(2_100, "response.create")
    talk.hear(2_200, created("r1"))
    talk.hear(2_300, speech_started("item_2", audio_start_ms=900))  # the last word, later than it should be
    talk.hear(2_400, delta(GA, "audio", "r1"), done("r1"))

    assert (talk.only().outcome, talk.taken[0].response_id, after_ms(talk.taken[0], "ended")) == ("ok", "r1", 2_400)


# How far a VAD has heard, with the silence in it or without.


@pytest.mark.parametrize(
    ("heard_ms", "heard_out"),
    [
        pytest.param(800, False, id="a pause, and 200 ms of silence"),
        pytest.param(600, False, id="a pause"),
        pytest.param(999, False, id="a pause to its last moment"),
        pytest.param(1_300, True, id="the end, and 200 ms of silence"),
        pytest.param(1_080, True, id="the end, but for a quiet last syllable"),
    ],
)
def test_a_vad_has_heard_speech_to_its_end_where_it_has_heard_more_than_to_the_last_pause(
    heard_ms: int, heard_out: bool
) -> None:
    talk = Talk()
    begins(talk, trailing_silence_ns=50 * MS)  # the last word lasts from 1000 to 1100 ms
    talk.hear(200, speech_started("item_1", audio_start_ms=0))
    ends(talk)
    talk.hear(1_150, speech_stopped("item_1", audio_end_ms=heard_ms), committed("item_1"))

    assert bool(talk.work(1_150, AskForResponse)) is heard_out
    assert talk.work(2_100, AskForResponse)


def test_a_clock_that_begins_anew_at_each_commit_does_not_mislead() -> None:
    talk = vad()
    begins(talk, 10_000)
    talk.hear(10_100, speech_started("item_1", audio_start_ms=0))
    ends(talk, 11_000)
    talk.hear(11_200, speech_stopped("item_1", audio_end_ms=1_200), committed("item_1"))
    talk.hear(11_300, *reply(GA, "r1"))

    assert (talk.only().outcome, after_ms(talk.taken[0], "speech_stopped")) == ("ok", 11_200)


# A pause that was taken for the end, and answered.


def answered_pause(talk: Talk, done_ms: int) -> None:
    """Speech from 100 to 1100 ms; the VAD hears up to 800 ms of it, and its answer to that is done at `done_ms`."""
    begins(talk)
    talk.hear(200, speech_started("item_1", audio_start_ms=0))
    talk.hear(800, speech_stopped("item_1", audio_end_ms=800), committed("item_1"))
    talk.hear(850, created("r1"))
    talk.hear(900, delta(GA, "audio", "r1"))
    if done_ms <= 1_100:
        talk.hear(done_ms, done("r1"))
    ends(talk)
    if done_ms > 1_100:
        talk.hear(done_ms, done("r1"))


@pytest.mark.parametrize("done_ms", [950, 1_110, 1_300])
@pytest.mark.parametrize("noticed_ms", [1_310, 2_000])
def test_the_answer_to_a_pause_does_not_pass_as_the_turn_s_where_the_rest_is_noticed(
    noticed_ms: int, done_ms: int
) -> None:
    talk = vad()
    answered_pause(talk, done_ms)
    talk.hear(noticed_ms, speech_started("item_2", audio_start_ms=900))
    talk.hear(noticed_ms + 300, speech_stopped("item_2", audio_end_ms=1_300), committed("item_2"))
    answers(talk, noticed_ms + 350, "r2")

    turn = talk.only()
    assert (turn.outcome, turn.response_id, turn.vad_splits) == ("ok", "r2", 1)
    assert turn.metrics_ns()["end_of_turn_delay"] == (noticed_ms + 300 - 1_100) * MS
    assert turn.metrics_ns()["voice_to_voice"] == (noticed_ms + 650 - 1_100) * MS


@pytest.mark.parametrize("done_ms", [950, 1_110, 2_099])
def test_a_turn_whose_rest_is_never_noticed_times_out_by_the_end_of_its_speech(done_ms: int) -> None:
    talk = vad(end_of_turn=10)
    answered_pause(talk, done_ms)
    assert talk.deadline()[:2] == (at(11_100), "timeout:end_of_turn")
    talk.timeline.expire(at(11_100))

    turn = talk.only()
    assert (turn.outcome, after_ms(turn, "ended")) == ("timeout:end_of_turn", 11_100)
    assert not {"speech_stopped", "committed", "first_audio"} & turn.instants.keys()


@pytest.mark.parametrize("done_ms", [2_100, 3_000])
def test_an_answer_that_takes_so_long_that_the_rest_would_have_been_noticed_is_the_turn_s(done_ms: int) -> None:
    talk = vad()
    answered_pause(talk, done_ms)

    assert (talk.only().outcome, talk.taken[0].response_id, talk.taken[0].vad_splits) == ("ok", "r1", 0)


def test_one_response_may_answer_two_commits() -> None:
    talk = vad()
    begins(talk)
    talk.hear(200, speech_started("item_1"))
    talk.hear(800, speech_stopped("item_1"), committed("item_1"))
    talk.hear(820, speech_started("item_2"))  # before the service had begun to answer
    ends(talk)
    hears(talk, 1_400, "item_2")
    answers(talk, 1_500)

    assert (talk.only().outcome, talk.taken[0].response_id, talk.taken[0].vad_splits) == ("ok", "r1", 1)
    assert waits.quiet(talk.timeline, 0) is None


# Noise before the speech.


@pytest.mark.parametrize("heard_ms", [1_400, 1_080])
def test_noise_that_the_caller_s_speech_goes_on_from_is_the_turn_s(heard_ms: int) -> None:
    talk = vad()
    talk.hear(50, speech_started("item_1", audio_start_ms=0))
    begins(talk, trailing_silence_ns=50 * MS)
    ends(talk)
    talk.hear(1_400, speech_stopped("item_1", audio_end_ms=heard_ms))
    talk.hear(1_405, committed("item_1"))
    answers(talk, 1_500)

    turn = talk.only()
    assert (turn.outcome, turn.item_id, turn.response_id, turn.vad_splits) == ("ok", "item_1", "r1", 0)
    assert (after_ms(turn, "committed"), turn.metrics_ns()["end_of_turn_delay"]) == (1_405, 300 * MS)
    assert (talk.timeline.session().unattributed_commits, waits.quiet(talk.timeline, 0)) == (0, None)


def test_noise_that_ends_before_the_caller_speaks_is_nobody_s_even_if_that_shows_later() -> None:
    talk = vad()
    talk.hear(50, speech_started("noise", audio_start_ms=0))
    begins(talk)
    talk.hear(150, speech_stopped("noise", audio_end_ms=90), committed("noise"))
    talk.hear(160, created("r0"), done("r0"))
    talk.hear(200, speech_started("item_1", audio_start_ms=100))
    ends(talk)
    talk.hear(1_400, speech_stopped("item_1", audio_end_ms=1_400), committed("item_1"))
    answers(talk, 1_500)

    turn = talk.only()
    assert (turn.outcome, turn.item_id, turn.response_id, turn.vad_splits) == ("ok", "item_1", "r1", 0)
    assert talk.timeline.session().unattributed_commits == 1


# What was waited for in vain.


@pytest.mark.parametrize("ends_ms", [200, 600])
def test_a_response_that_began_as_nobody_s_stays_so(ends_ms: int) -> None:
    talk = vad()
    talk.hear(10, speech_started("noise"), speech_stopped("noise"), committed("noise"))
    talk.timeline.tell(inputs.GaveUp())
    begins(talk, 20_000)
    talk.hear(20_050, created("r0"))  # after all
    talk.hear(20_060, speech_started("item_1"))
    ends(talk, 20_000 + ends_ms)
    talk.hear(20_900, speech_stopped("item_1"))
    talk.hear(20_910, delta(GA, "audio", "r0"))
    talk.hear(20_920, committed("item_1"))
    talk.hear(20_930, delta(GA, "audio", "r0"), done("r0"))
    answers(talk, 21_000)

    turn = talk.only()
    assert (turn.outcome, turn.response_id, turn.audio_deltas) == ("ok", "r1", 1)
    assert after_ms(turn, "first_audio") == 21_300


def test_what_the_service_says_unasked_is_not_the_answer_to_a_request_that_comes_while_it_speaks() -> None:
    talk = Talk()
    talk.hear(0, idle_timeout("idle"), committed("idle"), created("r0"))
    talk.ask(100)
    talk.hear(110, delta(GA, "audio", "r0"), done("r0"))
    talk.hear(200, *reply(GA, "r1"))

    assert (talk.only().outcome, talk.taken[0].response_id, after_ms(talk.taken[0], "first_audio")) == ("ok", "r1", 200)


def test_a_request_that_is_refused_after_its_turn_had_failed_gets_no_response_either() -> None:
    talk = Talk()
    talk.ask(0, audio_bytes=100)
    talk.hear(5, error("input_audio_buffer_commit_empty", "turn-1-commit"))
    talk.take(6)
    talk.hear(7, error("server_is_tired", "turn-1-response"))
    assert waits.quiet(talk.timeline, 0) is None
    talk.ask(100, 2)
    talk.hear(200, *reply(GA, "r2"))

    (second,) = talk.take(300)
    assert (second.outcome, second.response_id) == ("ok", "r2")


# What we commit.


@pytest.mark.parametrize("transcription_due", [False, True])
def test_a_commit_that_is_acknowledged_in_the_next_turn_only_is_of_its_own_turn(transcription_due: bool) -> None:
    talk = Talk()
    talk.ask(0, audio_bytes=9_600, transcription_due=transcription_due)
    talk.hear(10, *reply(GA, "r1"))
    talk.take(11)
    talk.begin(20, 2, transcription_due=transcription_due)
    talk.send(20, "input_audio_buffer.append", audio_bytes=9_600)
    talk.hear(25, committed("item_1"))
    talk.send(30, "input_audio_buffer.commit")
    talk.send(30, "response.create")
    talk.hear(40, committed("item_2"))
    talk.hear(50, *reply(GA, "r2"))
    talk.hear(60, transcribed("item_2", "Two"), transcribed("item_1", "One"))
    talk.take(70)

    first, second = sorted(talk.taken, key=lambda turn: turn.turn)
    assert (second.item_id, after_ms(second, "committed")) == ("item_2", 40)
    assert first.item_id == ("item_1" if transcription_due else "")
    assert (first.input_text, second.input_text) == ("One" if transcription_due else "", "Two")
    assert talk.timeline.session().unattributed_commits == 0


@pytest.mark.parametrize("refusal", [error("input_audio_buffer_commit_empty", "turn-1-commit"), error("server_error")])
def test_a_commit_that_was_refused_is_acknowledged_by_nothing(refusal: bytes) -> None:
    talk = Talk()
    talk.begin(0)
    talk.send(0, "input_audio_buffer.append", audio_bytes=100)
    talk.send(0, "input_audio_buffer.commit")
    talk.hear(5, refusal)
    talk.take(6)
    talk.ask(10, 2, audio_bytes=9_600)
    talk.hear(20, committed("item_2"), *reply(GA, "r2"))

    (second,) = talk.take(30)
    assert (second.item_id, after_ms(second, "committed"), second.outcome) == ("item_2", 20, "ok")


@pytest.mark.parametrize("came_before_next", [False, True])
def test_a_response_behind_an_error_that_names_nothing_is_not_the_next_turn_s(came_before_next: bool) -> None:
    talk = Talk()
    talk.ask(0)
    talk.hear(10, error("server_error"))
    assert waits.quiet(talk.timeline, 0) is not None  # it may have been refused, or come yet
    if came_before_next:
        talk.hear(500, *reply(GA, "r1"))
        assert waits.quiet(talk.timeline, 0) is None
    talk.ask(1_000, 2)
    talk.hear(1_200, *reply(GA, "r2"))

    first, second = talk.take(2_000)
    assert (first.outcome, first.response_id) == ("failed:server_error", "r1" if came_before_next else "")
    assert (second.outcome, second.response_id, after_ms(second, "first_audio")) == ("ok", "r2", 1_200)


# A service that leaves ids out.


def without_ids(at_ms: float, *, item_id: str = "") -> list[tuple[float, bytes]]:
    """What a VAD says of a speech that it has heard to its end by then, and its answer."""
    return [
        (at_ms, speech_stopped(item_id)),
        (at_ms, committed(item_id)),
        (at_ms + 100, message("response.created", response={"status": "in_progress"})),
        (at_ms + 300, message("response.output_audio.delta", delta=base64_of(4_800))),
        (at_ms + 500, message("response.done", response={"status": "completed"})),
    ]


@pytest.mark.parametrize("has_items", [False, True])
def test_a_vad_service_that_leaves_the_ids_of_responses_out_is_understood(has_items: bool) -> None:
    talk = vad()
    for number, begin_ms in ((1, 100), (2, 5_000)):
        begins(talk, begin_ms, number)
        item_id = f"item_{number}" if has_items else ""
        talk.hear(begin_ms + 60, speech_started(item_id))
        ends(talk, begin_ms + 1_000)
        for at_ms, data in without_ids(begin_ms + 1_300, item_id=item_id):
            talk.hear(at_ms, data)
        assert waits.quiet(talk.timeline, 0) is None

        turn = talk.only(begin_ms + 2_000)
        assert (turn.outcome, turn.vad_splits, turn.audio_deltas) == ("ok", 0, 1)
        assert turn.metrics_ns()["end_of_turn_delay"] == 300 * MS
        assert turn.metrics_ns()["ttfa"] == 600 * MS


def test_noise_that_such_a_service_answers_between_turns_is_not_waited_for() -> None:
    talk = vad()
    talk.hear(0, speech_started(""))
    for at_ms, data in without_ids(500):
        talk.hear(at_ms, data)

    assert waits.quiet(talk.timeline, 0) is None


# Responses out of band.


def outside(talk: Talk, at_ms: float = 0, number: int = 1) -> None:
    """A turn whose response is asked for out of band."""
    talk.ask(at_ms, number, out_of_band=True, wants_audio=False)


def writes(talk: Talk, at_ms: float, response_id: str, **metadata: str) -> None:
    """A whole answer in text."""
    talk.hear(at_ms, created(response_id, **metadata), delta(GA, "text", response_id), done(response_id))


NAMED = {"rtbench_request": "turn-1-response"}


def test_a_response_out_of_band_belongs_to_the_request_that_it_names() -> None:
    talk = vad()
    outside(talk)
    talk.hear(100, speech_started("noise"))
    talk.hear(200, speech_stopped("noise"), committed("noise"))
    talk.hear(300, created("r_noise"))
    writes(talk, 400, "r_mine", **NAMED)

    turn = talk.only()
    assert (turn.response_id, turn.outcome, turn.text_deltas) == ("r_mine", "ok", 1)


def test_a_response_in_band_is_not_taken_for_one_out_of_band_that_was_asked_for_before() -> None:
    talk = Talk()
    outside(talk)
    talk.send(10, "response.create", untracked="script-event")
    talk.hear(100, created("r_conversation"))
    talk.hear(200, created("r_mine", **NAMED))
    talk.hear(300, delta(GA, "text", "r_conversation"), done("r_conversation"))
    talk.hear(400, delta(GA, "text", "r_mine"), done("r_mine"))

    turn = talk.only()
    assert (turn.response_id, after_ms(turn, "first_text")) == ("r_mine", 400)


def test_a_service_that_gives_no_name_back_is_taken_by_the_order_of_requests() -> None:
    talk = Talk()
    outside(talk)
    writes(talk, 300, "r1")

    assert talk.only().outcome == "ok"


def test_a_request_out_of_band_that_is_refused_leaves_the_next_response_to_the_next_turn() -> None:
    talk = Talk()
    outside(talk)
    talk.hear(100, error("invalid_value", "turn-1-response"))
    talk.ask(200, 2, wants_audio=False)
    writes(talk, 500, "r2")

    assert [(turn.turn, turn.response_id, turn.outcome) for turn in talk.take(9_000)] == [
        (1, "", "failed:invalid_value"),
        (2, "r2", "ok"),
    ]
