"""Says until when a session waits for what: an instant, or None where it is there, or will not come. Pure.

A session sleeps until then, and asks again after whatever came; what ends a wait is told to the timeline, not to it.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.observe.session_facts import DESCRIPTIONS
from bench.observe.timeline import Timeline
from bench.observe.turn import LATE_TRANSCRIPT_NS, State
from bench.plan.turn_plan import Cue
from bench.protocol.events import Kind
from bench.units import NEVER_NS, NS_PER_S

UNACKNOWLEDGED_NS = 2_000_000_000
"""How long the history is waited for after its last acknowledgement: some services send none."""
Until = Callable[[Timeline, int], int | None]
"""Until when something is waited for, given what is known, and what time it is."""


def turn_end(timeline: Timeline, _: int) -> int | None:
    """The end of the turns that are under way."""
    return None if timeline.turns.all_over else timeline.wake_ns


def expected_events(timeline: Timeline, _: int) -> int | None:
    """All events that the script insists on in the current turn, or that turn's end."""
    turn = timeline.turns.current
    return timeline.wake_ns if turn is not None and turn.expected else None


def cue_for(cue: Cue) -> Until:
    """The instant at which the reply is to be interrupted, or the reply's end."""

    def wait(timeline: Timeline, now_ns: int) -> int | None:
        turn = timeline.turns.interrupted
        if turn is None or turn.state is State.OVER:
            return None
        due_ns = turn.cue_ns(cue)
        if due_ns is not None and due_ns <= now_ns:
            return None
        return min(due_ns or NEVER_NS, timeline.wake_ns)

    return wait


def instant(at_ns: int) -> Until:
    """An instant, or the session's end."""
    return lambda timeline, now_ns: None if timeline.over or now_ns >= at_ns else at_ns


def late_words(timeline: Timeline, now_ns: int) -> int | None:
    """Whatever may still come of turns that are over: transcripts, words of truncations."""
    if timeline.over:
        return None
    ended_ns = [t.instants["ended"] for t in timeline.turns.all if t.state is State.OVER and t.awaits_more(now_ns)]
    return max(ended_ns) + LATE_TRANSCRIPT_NS if ended_ns else None


def cut_checks(timeline: Timeline, now_ns: int) -> int | None:
    """What the service keeps of cut replies, where the script has that checked."""
    if timeline.over:
        return None
    pending = (t for t in timeline.turns.all if t.state is State.OVER and t.check and t.check.pending)
    until_ns = max((turn.instants["ended"] + LATE_TRANSCRIPT_NS for turn in pending), default=now_ns)
    return until_ns if until_ns > now_ns else None


def described(kind: Kind) -> Until:
    """An event by which the service describes the session."""
    mark = DESCRIPTIONS[kind]
    return lambda timeline, _: None if timeline.over or mark in timeline.facts.instants else NEVER_NS


def history_taken(sent_ns: int) -> Until:
    """The acknowledgement of all messages that were said before, or of none for a while since they were sent."""

    def wait(timeline: Timeline, _: int) -> int | None:
        facts = timeline.facts
        if timeline.over or not facts.history_left:
            return None
        return max(sent_ns, facts.history_taken_ns) + UNACKNOWLEDGED_NS

    return wait


def quiet(timeline: Timeline, _: int) -> int | None:
    """What the service has under way: for so long as it takes between two deltas, from when something came last."""
    if timeline.over or not timeline.owners.busy:
        return None
    return timeline.arrived_ns + int(timeline.limits.next_delta * NS_PER_S)


def at_most(wait: Until, longest_ns: int) -> Until:
    """The same, and no later than an instant."""

    def shorter(timeline: Timeline, now_ns: int) -> int | None:
        until_ns = wait(timeline, now_ns)
        return None if until_ns is None else min(until_ns, longest_ns)

    return shorter
