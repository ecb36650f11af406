"""The listeners that are called for a session, and the order of these calls."""

from __future__ import annotations

from typing import Any

import pytest

from bench.catalogue.causes import ConnectError, in_words
from bench.catalogue.outcomes import detail_text
from bench.load.execution.session_registry import show_session, show_turn
from bench.observe.observation import SessionObservation, TurnObservation
from bench.target.target import Credential
from tests.helpers import at, build_observation, build_session

# The input of Locust's own statistics.


REFUSED = ConnectError("connect_failed:401", "no")
KEY = "a-key-that-nobody-may-see"
hide = Credential("api-key", KEY).redact
SHOWN: dict[str, tuple[TurnObservation | SessionObservation, list[dict[str, Any]]]] = {
    # (a turn or a session; its line in Locust's statistics)
    "a successful turn is shown with its ttfa": (
        build_observation(),
        [
            {
                "request_type": "talk",
                "name": "greeting",
                "exception": "",
                "response_time": 500,
                "response_length": 96_000,
            }
        ],
    ),
    "a failed turn is shown with its outcome and no secret": (
        build_observation(
            outcome="failed:x", causes=(in_words(f"the {KEY} is out"),), instants={"ended": at(7)}
        ),
        [{"exception": "failed:x the *** is out", "response_time": 7}],
    ),
    "a failed turn is shown without a secret that the service truncated": (
        build_observation(outcome=f"failed:{KEY[:12]}", causes=(in_words(f"no {KEY[:9]}"),)),
        [{"exception": "failed:*** no ***"}],
    ),
    "a code in the outcome is not repeated": (
        build_observation(outcome="failed:bad_value", causes=(in_words("bad_value: Not so."),)),
        [{"exception": "failed:bad_value Not so."}],
    ),
    "a turn cut by the end of the run is not shown": (build_observation(outcome="unfinished"), []),
    "a connection is shown with its time": (
        build_session(),
        [{"request_type": "connect", "name": "here", "response_time": 20}],
    ),
    "a refused connection is shown with the time until it was refused": (
        build_session(outcome="connect_failed:401", instants={"ended": at(30)}),
        [{"response_time": 30, "exception": str(REFUSED)}],
    ),
    "a session that never connected and did not fail is not shown": (
        build_session(outcome="unfinished", instants={"ended": at(30)}),
        [],
    ),
    "a call that a limit of this machine prevented is no failure": (
        build_session(
            outcome="exhausted:files", turns_planned=5, turns_started=0, instants={"ended": at(1)}
        ),
        [],
    ),
    "a session that ended before its script did is shown as a failure": (
        build_session(outcome="session_expired", turns_planned=5, turns_started=2),
        [
            {"request_type": "connect"},
            {
                "request_type": "talk",
                "name": "not started",
                "exception": "session_expired before 3 of 5 turns",
            },
        ],
    ),
    "a session that ended before its script did is shown without a secret": (
        build_session(outcome=f"failed:{KEY}", turns_planned=2, turns_started=1),
        [{}, {"exception": "failed:*** before 1 of 2 turns"}],
    ),
    "a session cut by the end of the run is not shown": (
        build_session(outcome="unfinished", turns_planned=5, turns_started=2),
        [{"request_type": "connect"}],
    ),
}


@pytest.mark.parametrize(("ended", "shown"), SHOWN.values(), ids=SHOWN)
def test_turns_and_sessions_are_reported_to_locust(
    ended: TurnObservation | SessionObservation, shown: list[dict[str, Any]]
) -> None:
    entries: list[dict[str, Any]] = []

    def fire(exception: object = None, **entry: Any) -> None:
        entries.append(entry | {"exception": str(exception or "")})

    if isinstance(ended, TurnObservation):
        show_turn(fire, "talk", ended, hide)
    else:
        error = REFUSED if ended.outcome == "connect_failed:401" else None
        show_session(fire, "here", "talk", ended, error, hide)

    assert len(entries) == len(shown)
    assert all(
        entry.items() >= expected.items() for entry, expected in zip(entries, shown, strict=True)
    )


METRICS = {
    # (a turn; the entries of ttfa and voice_to_voice: name, ms, whether they are failures)
    "a spoken turn has an entry for each metric": (
        build_observation(
            instants={"speech_end": at(0), "first_audio": at(500), "first_audible": at(900)}
        ),
        [("greeting: ttfa", 500, False), ("greeting: voice_to_voice", 900, False)],
    ),
    "a turn has no entry for a metric that it does not have": (
        build_observation(),
        [("greeting: ttfa", 500, False)],
    ),
    "a failed turn is a failure of each metric that had begun": (
        build_observation(outcome="failed:x", instants={"speech_end": at(0), "ended": at(7)}),
        [("greeting: ttfa", 7, True), ("greeting: voice_to_voice", 7, True)],
    ),
    "an unfinished turn has no entry": (build_observation(outcome="unfinished"), []),
}


@pytest.mark.parametrize(("turn", "expected"), METRICS.values(), ids=METRICS)
def test_metrics_of_turns_are_reported_to_locust(
    turn: TurnObservation, expected: list[tuple[str, float, bool]]
) -> None:
    entries: list[tuple[str, float, bool]] = []

    def fire(name: str, response_time: float, exception: object, **_: Any) -> None:
        entries.append((name, response_time, exception is not None))

    show_turn(fire, "talk", turn, str, ("ttfa", "voice_to_voice"))

    assert entries[1:] == expected


@pytest.mark.parametrize(
    ("outcome", "detail", "expected"),
    [
        ("failed:bad_value", "bad_value: Not so.", "Not so."),
        ("session_expired", "session_expired: It is over.", "It is over."),
        ("connect_failed:401", "no: 401: never", "no: 401: never"),
        ("unfinished", "the run ended", "the run ended"),
    ],
)
def test_a_reason_does_not_repeat_its_outcome(outcome: str, detail: str, expected: str) -> None:
    assert detail_text(outcome, detail) == expected
