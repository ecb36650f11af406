"""Feeds Locust's statistics, an entry per turn and connect: a dashboard, for figures come from the run folder."""

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


def show_connect(fire: Fire, target: str, session: SessionObservation, error: ConnectError | None) -> None:
    """Show a connection, open or refused."""
    waited_ns = session.measures_ns().get("connect_total")
    if waited_ns is None and error is None:
        return
    ended_ns = session.instants.get("ended", session.start_ns)
    fire(
        request_type="connect",
        name=target,
        response_time=(ended_ns - session.start_ns if waited_ns is None else waited_ns) / NS_PER_MS,
        response_length=0,
        exception=error,
        context={},
    )
