"""Who hears of a session that is played, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from bench.errors import ConnectError
from bench.limits import Limits
from bench.load.playing import sessions
from bench.load.playing.sessions import RunListener, show_session, show_turn
from bench.observe.inputs import SessionStart
from bench.observe.observation import SessionObservation, TurnObservation, reason
from bench.observe.timeline import Timeline
from bench.protocol.events import Usage
from bench.protocol.openai_ga import GA
from bench.run.histograms import MEASURED, WARMUP
from bench.run.recorder import Labels
from tests.helpers import AT_NS, at, build_observation, build_session

LABELS = Labels("w0-000000", "west", "talk", "talk")


class Ear:
    """Remembers by its name what it was told."""

    def __init__(self, name: str, heard: list[tuple[str, str, Any]], **attributes: Any) -> None:
        self._name, self._heard = name, heard
        vars(self).update(attributes)

    def __getattr__(self, method: str) -> Any:
        return lambda *told, **named: self._heard.append((self._name, method, named.get("measured")))


def build_played(
    heard: list[tuple[str, str, Any]], monkeypatch: pytest.MonkeyPatch, phase: str = MEASURED
) -> RunListener:
    record = Ear("recorder", heard, labels=LABELS, phase=phase)
    arm, progress = Ear("arm", heard, label="west"), Ear("progress", heard)
    for show in ("show_turn", "show_session"):
        monkeypatch.setattr(sessions, show, getattr(Ear("dashboard", heard), show))
    run = Ear("run", heard, progress=progress, driver=Ear("driver", heard, fire=None), hide=str)
    return RunListener(*cast(Any, (record, Timeline(SessionStart(AT_NS, 1, Limits()), GA), arm, run)))


TOLD: dict[str, tuple[Callable[[RunListener], object], list[str]]] = {
    "a turn is recorded before anything acts on it":
        (lambda played: played.turn_ended(build_observation()), ["recorder", "arm", "dashboard", "progress"]),
    "a response is counted before anything acts on its cost":
        (lambda played: played.paid(Usage(text_in=1)), ["progress", "run"]),
    "a session is recorded before anything acts on it":
        (lambda played: played.session_ended(), ["recorder", "progress", "run", "dashboard"]),
}  # fmt: skip


@pytest.mark.parametrize(("happens", "told"), TOLD.values(), ids=TOLD)
def test_what_happens_is_told_in_order(
    happens: Callable[[RunListener], object], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[str, str, Any]] = []
    happens(build_played(heard, monkeypatch))

    assert [name for name, _, _ in heard] == told


@pytest.mark.parametrize(("phase", "measured"), [(MEASURED, True), (WARMUP, False)])
def test_turns_of_the_warm_up_are_told_as_such(phase: str, measured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, str, Any]] = []
    build_played(heard, monkeypatch, phase).turn_ended(build_observation())

    assert ("progress", "turn_ended", measured) in heard


# What Locust's own statistics are told.


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
