"""What an agent that dials takes its callee for, as it stands in the sound and in the signalling:
a person or a mailbox. Pure.

A value is None if it cannot be told: the call broke, the agent stayed silent, or the bounds of two
instants overlap.
"""

# A person has been taken for a person when the agent answers the second turn, and for a mailbox
# when the agent hangs up before: without a word, or after a message that waits for no answer.
#
# A mailbox has been taken for a person when the agent waits for an answer: it has spoken, and is
# then silent for `WAIT_NS` after the beep, whatever follows. An agent that leaves a message hangs
# up after it.

from collections.abc import Iterator
from typing import NamedTuple

from bench.base.clock import Arrival
from bench.base.units import NEVER_NS, NS_PER_S
from bench.observe.turn import PendingTurn

WAIT_NS = 4 * NS_PER_S
"""The silence after words that waits for an answer."""


class Words(NamedTuple):
    """Words of the agent without a pause: their start and end. `onset_ns` is the part of the
    start's uncertainty that is that of the sound.
    """

    start: Arrival
    end: Arrival
    onset_ns: int


def words_in(turn: PendingTurn) -> Iterator[Words]:
    """Yield the words of the agent in a turn, in their order."""
    for reply in (*turn.dropped, turn.reply):
        start = reply.audio_instants().get("first_audible")
        if start is not None:
            yield Words(start, reply.silent_from, reply.onset_uncertainty_ns or 0)


def is_answered(turn: PendingTurn) -> bool:
    """Return whether the agent has begun an answer after the end of the person's speech."""
    start_ns = turn.reply.first_audible_ns
    return start_ns is not None and start_ns >= turn.input_speech.instants.get(
        "speech_end", NEVER_NS
    )


def taken_for_person(turn: PendingTurn) -> bool | None:
    """Return whether the agent took the mailbox of an ended turn for a person."""
    beep_ns = turn.input_speech.instants.get("beep_end", NEVER_NS)
    ended_ns = turn.instants["ended"]
    heard = [*words_in(turn)]
    silences = zip(heard, [*(words.start for words in heard[1:]), Arrival(ended_ns)], strict=False)
    waits = [
        (after.at_ns - max(end.at_ns, beep_ns), end.uncertainty_ns, after.uncertainty_ns)
        for (_, end, _), after in silences
    ]
    if any(wait_ns - less_ns >= WAIT_NS for wait_ns, _, less_ns in waits):
        return True
    is_unclear = any(wait_ns + more_ns >= WAIT_NS for wait_ns, more_ns, _ in waits)
    has_hung_up = turn.outcome == "ok" and ended_ns < beep_ns + turn.plan.record_ns
    return False if has_hung_up and not is_unclear else None


def spoke_before_beep(turn: PendingTurn) -> bool | None:
    """Return whether the agent spoke before the end of the beep in an ended turn."""
    speech = turn.input_speech
    first = next(words_in(turn), None)
    if first is None:
        return False if turn.outcome == "ok" else None
    beep_ns = speech.instants.get("beep_end", NEVER_NS)
    if first.start.at_ns < beep_ns:
        return True
    earliest_ns = first.start.at_ns - first.start.uncertainty_ns
    return False if earliest_ns >= beep_ns + speech.widths_ns["beep_end"] else None
