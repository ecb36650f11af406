"""The meetings of callers, who end their input to the same turn at the same instant. Pure.

A meeting is complete when all of its callers wait for the turn. The instant is then in the future,
so that each caller has noticed it, and has time for its speech.
"""

# Callers of a step with `together` are sessions of one process, in greenlets of one thread, so a
# meeting needs no lock. The last caller who joins sets the instant, and removes the meeting. The
# next caller with the same key opens a new meeting, so a script may repeat the step. A caller whose
# session ends, or who has waited too long, leaves: `Session._wait_for_callers` decrements
# `waiting`.

from collections.abc import Hashable
from dataclasses import dataclass

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.plan.prepared import PreparedTurn

POLL_NS = 50 * NS_PER_MS
"""The period at which a waiting caller checks whether its meeting is complete."""
LIMIT_NS = 60 * NS_PER_S
"""The maximum wait of a caller for the others. Its session is then unfinished."""
MARGIN_NS = 10 * POLL_NS
"""The time from the completion of a meeting to the first caller's speech."""


@dataclass
class Meeting:
    """The meeting of `size` callers. `end_ns` is when they end their input; None until all of
    them wait.
    """

    size: int
    waiting: int = 0
    speech_ns: int = 0
    """The longest time from the first chunk of a caller's turn to the end of its speech."""
    end_ns: int | None = None


class Meetings:
    """The meetings of one process, by the turn that the callers wait for."""

    def __init__(self) -> None:
        self._open: dict[Hashable, Meeting] = {}

    def join(self, key: Hashable, turn: PreparedTurn, now_ns: int) -> Meeting:
        """Add a caller to the meeting for its turn. The last one completes the meeting."""
        meeting = self._open.setdefault(key, Meeting(turn.together))
        meeting.waiting += 1
        meeting.speech_ns = max(meeting.speech_ns, turn.speech_ns)
        if meeting.waiting == meeting.size:
            meeting.end_ns = now_ns + MARGIN_NS + meeting.speech_ns
            del self._open[key]
        return meeting
