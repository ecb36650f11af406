"""What Locust's own statistics are told."""

from __future__ import annotations

from typing import Any

from bench.errors import ConnectError
from bench.load.playing.sessions import show_session, show_turn
from bench.observe.observation import SessionObservation, TurnObservation, reason
from tests.helpers import at, build_observation, build_session


def shown(turn: TurnObservation) -> dict[str, Any]:
    told: dict[str, Any] = {}
    show_turn(lambda **entry: told.update(entry), "talk", turn, lambda text: text.replace("secret", "***"))
    return told


def shown_connect(session: SessionObservation, error: ConnectError | None = None) -> dict[str, Any]:
    told: dict[str, Any] = {}
    show_session(lambda **entry: told.update(entry), "here", "talk", session, error)
    return told


def test_a_good_turn_is_shown_with_its_wait_for_audio() -> None:
    told = shown(build_observation())

    assert (told["request_type"], told["name"], told["exception"]) == ("talk", "greeting", None)
    assert (told["response_time"], told["response_length"]) == (500, 96_000)


def test_a_failed_turn_is_shown_with_its_outcome_and_no_secret() -> None:
    told = shown(build_observation(outcome="failed:x", detail="the secret is out", instants={"ended": at(7)}))

    assert str(told["exception"]) == "failed:x the *** is out"
    assert told["response_time"] == 7


def test_a_code_that_the_outcome_names_is_said_once() -> None:
    told = shown(build_observation(outcome="failed:bad_value", detail="bad_value: Not so."))

    assert str(told["exception"]) == "failed:bad_value Not so."
    assert reason("failed:bad_value", "bad_value: Not so.") == "Not so."
    assert reason("connect_failed:401", "no: 401: never") == "no: 401: never"
    assert reason("unfinished", "the run ended") == "the run ended"


def test_a_turn_that_the_end_of_the_run_cut_is_not_shown() -> None:
    assert shown(build_observation(outcome="unfinished")) == {}


def test_a_connection_is_shown_with_its_time() -> None:
    told = shown_connect(build_session())

    assert (told["request_type"], told["name"], told["response_time"]) == ("connect", "here", 20)


def test_a_refused_connection_is_shown_with_the_time_until_it_was_refused() -> None:
    error = ConnectError("connect_failed:401", "no")
    told = shown_connect(build_session(outcome="connect_failed:401", instants={"ended": at(30)}), error)

    assert (told["response_time"], told["exception"]) == (30, error)


def test_a_session_that_never_connected_and_did_not_fail_is_not_shown() -> None:
    assert shown_connect(build_session(outcome="unfinished", instants={"ended": at(30)})) == {}


def test_a_session_that_ended_before_its_script_did_is_shown_as_a_failure() -> None:
    told: list[dict[str, Any]] = []
    for outcome, begun in (("session_expired", 2), ("ok", 5), ("unfinished", 2)):
        session = build_session(outcome=outcome, turns_planned=5, turns_started=begun)
        show_session(lambda **entry: told.append(entry), "here", "talk", session, None)

    assert [(one["request_type"], one["name"], str(one["exception"])) for one in told if one["exception"]] == [
        ("talk", "not started", "session_expired before 3 of 5 turns")
    ]
