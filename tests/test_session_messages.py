"""What a session says beside its turns: history, messages, events of the script's own; and a start without waiting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.plan.conversation import History
from bench.plan.prepared import PreparedScript
from bench.plan.repertoire import Repertoire
from bench.plan.script import Script
from bench.plan.steps import AddMessage, Pause, SendEvent
from bench.plan.turns import Step
from bench.protocol.base import Dialect
from bench.protocol.openai_ga import GA
from bench.protocol.openai_preview import PREVIEW
from bench.protocol.settings import SessionSettings, TurnDetection
from tests.helpers import (
    LOUD,
    MS,
    REALTIME,
    Played,
    S,
    Service,
    build_message,
    build_script,
    closing,
    created,
    delta,
    error,
    message,
    play,
    reply,
    respond,
    say,
    spoken,
)
from tests.memory_transport import PeerAnswer

ITEM, REQUEST = "conversation.item.create", "response.create"


def with_history(*texts: str, dialect: Dialect = GA, pipelined: bool = False) -> PreparedScript:
    history = History(Path("h.jsonl"), "d2", tuple(build_message(text) for text in texts))
    script = Script(name="talk", path=Path("talk.yaml"), digest="d1", steps=(say(),), history=history)
    return Repertoire(replace(script, pipelined=pipelined), dialect).session(0, 0)


# History.


@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
def test_what_was_said_before_is_taken_before_the_first_turn_begins(dialect: Dialect) -> None:
    played = Played(with_history("One", "Two", dialect=dialect), Service(dialect, acknowledges=True))

    said = [event["item"]["content"][0]["text"] for _, event in played.sent if event["type"] == ITEM]
    assert said == ["One", "Two", "Hello"]
    instants = played.observation.instants
    assert instants["history_acked"] - instants["history_start"] == 5 * MS
    assert played.turns[0].start_ns == instants["history_acked"]
    assert played.observation.metrics_ns()["history_load"] == 5 * MS
    assert played.outcomes == ["ok"]


def test_a_service_that_acknowledges_nothing_is_not_waited_for_for_long() -> None:
    played = Played(with_history("One", "Two"), Service())

    assert played.outcomes == ["ok"]
    assert played.turns[0].start_ns - played.observation.instants["history_start"] == 2 * S
    assert "history" not in played.observation.metrics_ns()


class Slow(Service):
    """Takes each message a second after the one before."""

    items = 0

    def __call__(self, data: bytes) -> list[PeerAnswer]:
        if ITEM.encode() in data:
            self.items += 1
            return [(self.items * S, message("conversation.item.added", item={"id": f"item_{self.items}"}))]
        return list(super().__call__(data))


def test_a_service_that_takes_its_time_is_waited_for_as_long_as_it_goes_on() -> None:
    played = Played(with_history("One", "Two", "Three", "Four"), Slow())

    assert played.observation.metrics_ns()["history_load"] == 4 * S
    assert played.turns[0].start_ns == played.observation.instants["history_acked"]


def test_a_history_that_is_refused_fails_the_session_for_it_is_not_the_one_that_was_meant() -> None:
    class Refusing(Service):
        def __call__(self, data: bytes) -> list[PeerAnswer]:
            return (
                [(MS, error("invalid_value", "session-message"))]
                if ITEM.encode() in data
                else [*super().__call__(data)]
            )

    played = Played(with_history("One"), Refusing())

    assert (played.observation.outcome, played.outcomes, played.observation.turns_not_started) == (
        "failed:invalid_value",
        [],
        1,
    )


def test_a_connection_that_breaks_within_the_history_ends_the_session() -> None:
    class Breaking(Service):
        def __call__(self, data: bytes) -> list[PeerAnswer]:
            return [closing(MS, 1006)] if ITEM.encode() in data else [*super().__call__(data)]

    assert Played(with_history("One"), Breaking()).observation.outcome == "closed:1006"


# Messages.


@pytest.mark.parametrize("role", ["system", "assistant", "user"])
def test_a_message_joins_the_conversation_once_the_turn_before_it_is_over(role: str) -> None:
    played = Played(build_script(say(), AddMessage(build_message("By the way", role)), say("later")))  # type: ignore[arg-type]

    types = [event["type"] for _, event in played.sent][1:]
    assert types == [ITEM, REQUEST, ITEM, ITEM, REQUEST]
    at_ns, item = [(at_ns, event["item"]) for at_ns, event in played.sent if event["type"] == ITEM][1]
    assert (item["role"], item["content"][0]["text"]) == (role, "By the way")
    assert at_ns == played.after_ns(1, "ended")
    assert played.outcomes == ["ok", "ok"]


def test_a_message_of_the_users_before_a_spoken_turn_makes_a_turn_of_text_and_speech() -> None:
    played = Played(build_script(AddMessage(build_message("My number is 4711.")), play(250)))

    assert [event["type"] for _, event in played.sent][1:] == [
        ITEM, *["input_audio_buffer.append"] * 3, "input_audio_buffer.commit", REQUEST,
    ]  # fmt: skip
    assert played.outcomes == ["ok"]


def test_a_message_with_a_word_for_a_refusal_fails_the_session() -> None:
    class Refusing(Service):
        def __call__(self, data: bytes) -> list[PeerAnswer]:
            refused = b"By the way" in data
            return [(MS, error("invalid_value", "session-message"))] if refused else [*super().__call__(data)]

    played = Played(build_script(AddMessage(build_message("By the way")), Pause(1), say()), Refusing())

    assert (played.observation.outcome, played.outcomes) == ("failed:invalid_value", [])


# Events of the script's own.


def ask_aside(**response: object) -> SendEvent:
    return SendEvent({"type": REQUEST, "response": response})


def test_an_event_of_the_scripts_own_leaves_at_once_as_it_is_written() -> None:
    event = {"type": "conversation.item.retrieve", "item_id": "item_1"}
    played = Played(build_script(say(), SendEvent(event), say("later")))

    (at_ns, sent), *_ = [(at_ns, sent) for at_ns, sent in played.sent if sent["type"] == event["type"]]
    assert sent == event | {"event_id": "script-1-conversation.item.retrieve"}
    assert at_ns == played.after_ns(1, "request_sent")
    assert played.outcomes == ["ok", "ok"]


def test_an_event_of_the_scripts_own_keeps_its_id() -> None:
    played = Played(build_script(say(), SendEvent({"type": "x", "event_id": "mine"})))

    assert played.sent[-1][1] == {"type": "x", "event_id": "mine"}


def test_a_response_that_the_script_asks_for_by_an_event_is_no_turns() -> None:
    service = Service(turns=[
        lambda _: spoken(reply(GA, "mine")),
        lambda _: spoken(reply(GA, "aside", deltas=9), first_ns=310 * MS),
        lambda _: spoken(reply(GA, "next")),
    ])  # fmt: skip
    played = Played(build_script(say(), ask_aside(conversation="none"), say("later")), service)

    assert [(turn.response_id, turn.audio_deltas, turn.outcome) for turn in played.turns] == [
        ("mine", 3, "ok"), ("next", 3, "ok"),
    ]  # fmt: skip
    assert played.observation.stray_usage is not None


def test_a_request_by_an_event_that_is_refused_takes_no_other_turns_response() -> None:
    service = Service(turns=[
        lambda response_id: spoken(reply(GA, response_id)),
        lambda _: [(MS, error("conversation_already_has_active_response", "script-1-response.create"))],
    ])  # fmt: skip
    played = Played(build_script(say(), ask_aside(), say("later")), service)

    assert [turn.response_id for turn in played.turns] == ["resp_1", "resp_3"]
    assert played.outcomes == ["ok", "ok"]
    assert played.observation.service_errors == 1


def test_what_an_event_of_the_scripts_own_weighs_is_the_sessions() -> None:
    plain, more = (Played(build_script(say(), *steps)) for steps in ((), (SendEvent({"type": "x"}),)))

    assert more.turns[0].wire_bytes_sent == plain.turns[0].wire_bytes_sent
    assert more.observation.wire_bytes_sent > plain.observation.wire_bytes_sent


# Responses out of band.


def test_a_response_out_of_band_is_asked_for_with_its_own_input_and_a_name_to_know_it_by() -> None:
    asked = respond(conversation="none", input=(build_message("Is this rude?"),), metadata={"topic": "tone"})
    played = Played(build_script(asked, say()))

    request = next(event for _, event in played.sent if event["type"] == REQUEST)
    assert request["response"] == {
        "conversation": "none",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Is this rude?"}]}],
        "metadata": {"topic": "tone", "rtbench_request": "turn-1-response"},
    }
    assert played.outcomes == ["ok", "ok"]


def test_a_response_may_be_asked_for_with_nothing_to_answer() -> None:
    played = Played(build_script(respond(conversation="none", input=())))

    assert played.sent[-1][1]["response"]["input"] == []


# A pipelined start.


def pipelined(*steps: Step, **session: object) -> PreparedScript:
    settings = SessionSettings(**session)  # type: ignore[arg-type]
    script = Script(name="talk", path=Path("talk.yaml"), digest="d1", session=settings, steps=steps, pipelined=True)
    return Repertoire(script, GA).session(0, 0)


def test_a_pipelined_start_sends_the_settings_and_the_first_turn_before_it_is_greeted() -> None:
    played = Played(pipelined(say(), say("later")), Service(greeting_ns=200 * MS, settings_ns=300 * MS))

    assert [(at_ns, event["type"]) for at_ns, event in played.sent][:3] == [
        (0, "session.update"), (0, ITEM), (0, REQUEST),
    ]  # fmt: skip
    session = played.observation
    assert played.outcomes == ["ok", "ok"]
    assert session.metrics_ns()["session_ready"] == 200 * MS
    assert session.metrics_ns()["session_update"] == 300 * MS
    assert session.caller_time_ns == 0


def test_a_pipelined_session_that_is_refused_has_begun_its_turn() -> None:
    service = Service(greeting_ns=None, settings_ns=None, turns=[lambda _: [closing(MS, 3000, "no")]])
    played = Played(pipelined(say()), service)

    assert (played.observation.outcome, played.outcomes) == ("closed:3000", ["closed:3000"])


def test_a_pipelined_session_with_a_microphone_speaks_at_once() -> None:
    service = Service(greeting_ns=200 * MS)
    played = Played(pipelined(play(250), turn_detection=TurnDetection(create_response=False)), service,
                    lambda now_ns: now_ns > 3 * S)  # fmt: skip

    first_ns, _ = next(sent for sent in played.sent if sent[1]["type"] == "input_audio_buffer.append")
    assert first_ns == 100 * MS


def test_a_history_goes_before_the_turn_of_a_pipelined_start_without_waiting() -> None:
    played = Played(with_history("One", pipelined=True), Service(acknowledges=True))

    assert [event["type"] for _, event in played.sent] == ["session.update", ITEM, ITEM, REQUEST]
    assert {at_ns for at_ns, _ in played.sent} == {0}
    assert played.outcomes == ["ok"]
    assert played.observation.metrics_ns()["history_load"] == 5 * MS


# Greetings.


def test_a_server_that_greets_with_the_conversation_alone_is_understood() -> None:
    class Greeting(Service):
        def greeting(self) -> list[PeerAnswer]:
            return [(10 * MS, message("conversation.created", conversation={"id": "conv_1"}))]

    played = Played(build_script(say()), Greeting())

    assert played.outcomes == ["ok"]
    assert played.observation.metrics_ns()["session_ready"] == 10 * MS


def test_a_server_that_greets_with_both_is_ready_at_the_first() -> None:
    class Greeting(Service):
        def greeting(self) -> list[PeerAnswer]:
            return [*super().greeting(), (15 * MS, message("conversation.created", conversation={"id": "conv_1"}))]

    played = Played(build_script(say()), Greeting())

    assert played.observation.metrics_ns()["session_ready"] == 10 * MS
    assert played.observation.model == "gpt-realtime"


# The first answer.


@pytest.mark.parametrize("dialect", [GA, PREVIEW], ids=["ga", "preview"])
def test_the_first_answer_of_a_cold_session_is_what_the_service_takes_from_dialling_to_the_first_sound(
    dialect: Dialect,
) -> None:
    loud = [(300 * MS, created("r1")), (400 * MS, delta(dialect, "audio", "r1", LOUD))]
    service = Service(dialect, turns=[lambda _: [*loud, *spoken(reply(dialect, "r1")[2:], 500 * MS)]])
    played = Played(build_script(play(1_000), dialect=dialect), service)

    metrics = played.observation.metrics_ns()
    ready_ns = played.observation.instants["session_updated"] - played.start_ns
    assert metrics["connect_to_first_audible"] == ready_ns + played.turns[0].metrics_ns()["voice_to_voice"]


def test_a_session_of_text_has_no_first_sound() -> None:
    assert "connect_to_first_audible" not in Played(build_script(say(output="text"))).observation.metrics_ns()
