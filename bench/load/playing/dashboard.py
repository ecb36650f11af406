"""Feeds Locust's statistics, a dashboard, for figures come from the run folder: an entry per turn and connect, and per
session that lost turns.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.errors import ConnectError
from bench.measures import CATALOGUE, FIRST_DELTAS
from bench.observe.observation import SessionObservation, TurnObservation, reason
from bench.outcomes import outcome_class
from bench.plain import printable
from bench.units import NS_PER_MS

Fire = Callable[..., None]
"""Locust's `events.request.fire`."""


class TurnError(Exception):
    """A turn's outcome, as Locust's statistics show it."""


def show_turn(fire: Fire, script: str, turn: TurnObservation, hide: Callable[[str], str]) -> None:
    """Show a turn, with the time to its first delta, unless the end of the run cut it."""
    kind = outcome_class(turn.outcome)
    if kind == "censored":
        return
    fire(
        request_type=script,
        name=turn.step,
        response_time=_waited_ns(turn) / NS_PER_MS,
        response_length=turn.audio_bytes_received,
        exception=None if kind == "good" else _error(turn, hide),
        context={},
    )


def _waited_ns(turn: TurnObservation) -> int:
    """The time to a turn's first delta, or to its end where none came."""
    for name in FIRST_DELTAS.values():
        if waited_ns := turn.measure_ns(CATALOGUE[name]):
            return waited_ns
    return turn.instants["ended"] - turn.start_ns


def _error(turn: TurnObservation, hide: Callable[[str], str]) -> TurnError:
    return TurnError(printable(hide(f"{turn.outcome} {reason(turn.outcome, turn.detail)}".strip())))


def show_session(fire: Fire, target: str, script: str, session: SessionObservation, error: ConnectError | None) -> None:
    """Show a connection, open or refused; and that a session which was open ended before its script did.

    So a run whose turns never began ends as one whose turns failed.
    """
    waited_ns = session.measures_ns().get("connect_total")
    if waited_ns is not None or error is not None:
        ended_ns = session.instants.get("ended", session.start_ns)
        waited_ns = ended_ns - session.start_ns if waited_ns is None else waited_ns
        _fire(fire, "connect", target, waited_ns / NS_PER_MS, error)
    if session.lost_turns and error is None:
        said = f"{session.outcome} before {session.lost_turns} of {session.turns_wanted} turns"
        _fire(fire, script, "never begun", 0.0, TurnError(said))


def _fire(fire: Fire, kind: str, name: str, waited_ms: float, error: Exception | None) -> None:
    fire(request_type=kind, name=name, response_time=waited_ms, response_length=0, exception=error, context={})
