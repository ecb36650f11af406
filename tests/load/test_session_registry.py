"""The listeners that are called for a session, and the order of these calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from bench.base.errors import ConnectError
from bench.catalogue.timeouts import Timeouts
from bench.load.execution import session_registry
from bench.load.execution.session_registry import RunListener, show_session, show_turn
from bench.observe.inputs import SessionStart
from bench.observe.observation import SessionObservation, TurnObservation, detail_text
from bench.observe.timeline import Timeline
from bench.record.histograms import MEASURED, WARMUP
from bench.record.recorder import RowContext
from bench.services.openai.dialect import GA
from bench.wire.events import TokenUsage
from tests.helpers import AT_NS, at, build_observation, build_session

LABELS = RowContext("w0-000000", "west", "talk", "talk")


class Recorder:
    """A listener that records each callback with the name of the listener."""

    def __init__(self, name: str, record: list[tuple[str, str, Any]], **attributes: Any) -> None:
        self._name, self._callbacks = name, record
        vars(self).update(attributes)

    def __getattr__(self, method: str) -> Any:
        return lambda *entries, **named: self._callbacks.append((self._name, method, named.get("measured")))


def build_played(
    callbacks: list[tuple[str, str, Any]], monkeypatch: pytest.MonkeyPatch, phase: str = MEASURED
) -> RunListener:
    record = Recorder("recorder", callbacks, labels=LABELS, phase=phase)
    target, progress = (
        Recorder("arm", callbacks, label="west", opened=1),
        Recorder("progress", callbacks, spending=Recorder("progress", callbacks)),
    )
    for show in ("show_turn", "show_session"):
        monkeypatch.setattr(session_registry, show, getattr(Recorder("dashboard", callbacks), show))
    run = Recorder("run", callbacks, progress=progress, callbacks=Recorder("callbacks", callbacks, fire=None), hide=str)
    return RunListener(*cast(Any, (record, Timeline(SessionStart(AT_NS, 1, Timeouts()), GA), target, run)))


CALLBACKS: dict[str, tuple[Callable[[RunListener], object], list[str]]] = {
    "a turn is recorded before anything acts on it":
        (lambda played: played.turn_ended(build_observation()), ["recorder", "arm", "dashboard", "progress"]),
    "a response is counted before anything acts on its cost":
        (lambda played: played.usage_reported(TokenUsage(text_in=1)), ["progress", "run"]),
    "a session is recorded before anything acts on it":
        (lambda played: played.session_ended(), ["recorder", "progress", "run", "dashboard"]),
}  # fmt: skip


@pytest.mark.parametrize(("happens", "expected"), CALLBACKS.values(), ids=CALLBACKS)
def test_events_are_reported_in_order(
    happens: Callable[[RunListener], object], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    callbacks: list[tuple[str, str, Any]] = []
    happens(build_played(callbacks, monkeypatch))

    assert [name for name, _, _ in callbacks] == expected


@pytest.mark.parametrize(("phase", "measured"), [(MEASURED, True), (WARMUP, False)])
def test_turns_of_the_warmup_are_reported_as_not_measured(
    phase: str, measured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    callbacks: list[tuple[str, str, Any]] = []
    build_played(callbacks, monkeypatch, phase).turn_ended(build_observation())

    assert ("progress", "turn_ended", measured) in callbacks


# The input of Locust's own statistics.


REFUSED = ConnectError("connect_failed:401", "no")
SHOWN: dict[str, tuple[TurnObservation | SessionObservation, list[dict[str, Any]]]] = {
    # (a turn or a session; its line in Locust's statistics)
    "a successful turn is shown with its ttfa":
        (build_observation(), [{"request_type": "talk", "name": "greeting", "exception": "", "response_time": 500,
                                "response_length": 96_000}]),
    "a failed turn is shown with its outcome and no secret":
        (build_observation(outcome="failed:x", detail="the secret is out", instants={"ended": at(7)}),
         [{"exception": "failed:x the *** is out", "response_time": 7}]),
    "a code in the outcome is not repeated":
        (build_observation(outcome="failed:bad_value", detail="bad_value: Not so."),
         [{"exception": "failed:bad_value Not so."}]),
    "a turn cut by the end of the run is not shown": (build_observation(outcome="unfinished"), []),
    "a connection is shown with its time":
        (build_session(), [{"request_type": "connect", "name": "here", "response_time": 20}]),
    "a refused connection is shown with the time until it was refused":
        (build_session(outcome="connect_failed:401", instants={"ended": at(30)}),
         [{"response_time": 30, "exception": str(REFUSED)}]),
    "a session that never connected and did not fail is not shown":
        (build_session(outcome="unfinished", instants={"ended": at(30)}), []),
    "a session that ended before its script did is shown as a failure":
        (build_session(outcome="session_expired", turns_planned=5, turns_started=2),
         [{"request_type": "connect"}, {"request_type": "talk", "name": "not started",
                                        "exception": "session_expired before 3 of 5 turns"}]),
    "a session cut by the end of the run is not shown":
        (build_session(outcome="unfinished", turns_planned=5, turns_started=2), [{"request_type": "connect"}]),
}  # fmt: skip


@pytest.mark.parametrize(("ended", "shown"), SHOWN.values(), ids=SHOWN)
def test_turns_and_sessions_are_reported_to_locust(
    ended: TurnObservation | SessionObservation, shown: list[dict[str, Any]]
) -> None:
    entries: list[dict[str, Any]] = []

    def fire(exception: object = None, **entry: Any) -> None:
        entries.append(entry | {"exception": str(exception or "")})

    if isinstance(ended, TurnObservation):
        show_turn(fire, "talk", ended, lambda text: text.replace("secret", "***"))
    else:
        show_session(fire, "here", "talk", ended, REFUSED if ended.outcome == "connect_failed:401" else None)

    assert len(entries) == len(shown)
    assert all(entry.items() >= expected.items() for entry, expected in zip(entries, shown, strict=True))


@pytest.mark.parametrize(
    ("outcome", "detail", "expected"),
    [
        ("failed:bad_value", "bad_value: Not so.", "Not so."),
        ("connect_failed:401", "no: 401: never", "no: 401: never"),
        ("unfinished", "the run ended", "the run ended"),
    ],
)
def test_a_reason_does_not_repeat_its_outcome(outcome: str, detail: str, expected: str) -> None:
    assert detail_text(outcome, detail) == expected
