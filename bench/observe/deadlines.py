"""Says when a turn under way is overdue, and how it ends then. Pure."""

from __future__ import annotations

from functools import cache

from bench.limits import Limits
from bench.observe.turn import State, Turn, failed_expectation
from bench.outcomes import UNHEARD
from bench.units import NS_PER_S

UNNOTICED = "the service's VAD noticed no end of speech (noise above its threshold is speech to it)"
NO_MORE = "neither another item nor response.done came"
NO_END = "response.done did not come"
NOT_OVER = "the turn was not over"


def deadline(turn: Turn, limits: Limits) -> tuple[int, str, str] | None:
    """(instant, outcome, detail) of what ends a turn next if nothing comes; None while nothing is due."""
    deadlines = [(until_ns, *failed_expectation(kind)) for kind, until_ns in turn.expected.items()]
    if turn.state is State.PLAYING:
        deadlines.append((turn.reply.playback_ends_ns, "ok", ""))
    elif turn.state is State.CALLING and turn.filler and turn.calls.all_answered:
        waits_from_ns = max(turn.progress_ns, turn.calls.last_output_ns)
        deadlines.append(_timed_out(waits_from_ns, limits.next_delta, "next_delta"))
    elif turn.state not in (State.SENDING, State.CALLING, State.OVER):
        due_ns, outcome, detail = _timeout(turn, limits)
        # an answer to a pause can be overdue before the rest is said: it is told once it is the service's turn
        deadlines.append((max(due_ns, turn.awaited_ns), outcome, detail))
    soonest = min(deadlines, default=None)
    if turn.said_ns and (soonest is None or soonest[0] > turn.said_ns + limits.turn * NS_PER_S):  # seldom
        return None if turn.state is State.OVER else _timed_out(turn.said_ns, limits.turn, "turn", NOT_OVER)
    return soonest


def _timeout(turn: Turn, limits: Limits) -> tuple[int, str, str]:
    if turn.state is State.UNNOTICED:
        missing = UNNOTICED if "speech_started" in turn.hearing.instants else UNHEARD
        timeout = _timed_out(turn.unnoticed_ns, limits.speech, "speech", missing)
    elif turn.state is State.WAITING:
        asked_ns = turn.instants.get("answer_requested") or turn.instants.get("requested")
        waits_from_ns = asked_ns or turn.hearing.instants.get("speech_stopped", turn.unnoticed_ns)
        timeout = _timed_out(waits_from_ns, limits.first_delta, "first_delta")
    elif turn.between_items:
        timeout = _timed_out(turn.progress_ns, limits.first_delta, "first_delta", NO_MORE)
    else:
        timeout = _timed_out(turn.progress_ns, limits.next_delta, "next_delta")
    begun_ns = turn.reply.created_ns
    return timeout if begun_ns is None else min(timeout, _timed_out(begun_ns, limits.done, "done", NO_END))


def _timed_out(from_ns: int, limit_s: float, stage: str, missing: str = "nothing came") -> tuple[int, str, str]:
    limit_ns, outcome, detail = _limit(limit_s, stage, missing)
    return from_ns + limit_ns, outcome, detail


@cache
def _limit(limit_s: float, stage: str, missing: str) -> tuple[int, str, str]:
    """A limit in nanoseconds, and how a turn ends that passes it; kept, for it is asked for at every other event."""
    return int(limit_s * NS_PER_S), f"timeout:{stage}", f"{missing} within the limit {stage} of {limit_s:g} s"
