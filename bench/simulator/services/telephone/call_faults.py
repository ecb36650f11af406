"""The faults of one telephone call: at the place `upgrade`, when it is answered, and in the agent's audio. Pure.

Each utterance of the agent counts as a response. `first_delta` is its first packet. `next_delta` are its packets from
`INTO_WORD_NS` after the first audible one, so a fault there occurs in the middle of a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.simulator.faults.injection import FaultInjector
from bench.simulator.faults.kinds import BY_TELEPHONE, Fault
from bench.simulator.server_events import OutgoingEvent
from bench.simulator.services.telephone.answer_plan import AnswerPlan

IN_CALL = frozenset({*BY_TELEPHONE, "close", "reset", "hang", "freeze", "drop", "duplicate", "reorder"})
"""The kinds that a telephone call can have, except refusals."""
INTO_WORD_NS = 300 * NS_PER_MS
NORMAL, ABNORMAL = 1000, 1006
SILENCE = "silence"


class CallFaults:
    """The faults of one call. Without an injector there are none.

    `early_audio` is the audio before the answer. `is_one_way` is True if the agent's audio never reaches the caller.
    `has_other_port` is True if the agent sends its audio from another port than its description names.
    """

    def __init__(self, injector: FaultInjector | None) -> None:
        self._injector = injector
        self._utterances = 0
        self._word_ns = NEVER_NS
        self.early_audio: Literal["ring_tone", "silence"] | None = None
        self.is_one_way = self.has_other_port = False

    def applied_to(self, plan: AnswerPlan, now_ns: int) -> AnswerPlan:
        """Return the plan with the faults at the place `upgrade`, except refusals."""
        for fault in self._at("upgrade", now_ns, None):
            duration_ns = duration_ns_of(fault)
            if fault.kind == "hang":
                plan = replace(plan, final_ns=None if duration_ns == NEVER_NS else duration_ns)
            elif fault.kind == "early_media":
                plan = replace(plan, ringing_ns=None, early_media_ns=0, final_ns=duration_ns)
                self.early_audio = "silence" if fault.audio == SILENCE else "ring_tone"
            elif fault.kind == "one_way":
                self.is_one_way = True
            elif fault.kind == "other_port":
                self.has_other_port = True
        return plan

    def answered(self, session_id: str, now_ns: int) -> Iterator[Fault]:
        """Yield the faults of a call that was answered."""
        if self._injector is not None:
            self._injector.session_id = session_id
        yield from self._at("session", now_ns, None)

    def of_frame(self, event: OutgoingEvent, now_ns: int) -> Iterator[Fault]:
        """Yield the faults at one frame of the agent's audio. Each frame must be passed, in order."""
        place: str | None
        if event.facts and "utterance" in event.facts:
            self._utterances += 1
            self._word_ns, place = NEVER_NS, "first_delta"
        else:
            place = "next_delta" if event.due_ns >= self._word_ns else None
        if event.audible_byte is not None:
            self._word_ns = min(self._word_ns, event.due_ns + INTO_WORD_NS)
        if place is not None:
            yield from self._at(place, now_ns, self._utterances)

    def _at(self, place: str, now_ns: int, utterance: int | None) -> Iterator[Fault]:
        if self._injector is not None:
            yield from self._injector.faults(place, now_ns, IN_CALL, utterance)


def duration_ns_of(fault: Fault) -> int:
    """Return the duration of a fault. NEVER_NS if it has no end."""
    return NEVER_NS if fault.duration_s is None else round(fault.duration_s * NS_PER_S)


def ends_silently(fault: Fault) -> bool:
    """Return whether the agent is gone after the fault, without a message."""
    return fault.kind == "reset" or (fault.kind == "close" and fault.code == ABNORMAL)


def reason_of(fault: Fault) -> str:
    """Return the header Reason (RFC 3326) of the BYE that the fault `close` sends."""
    if fault.code == NORMAL:
        return 'Q.850;cause=16;text="Normal call clearing"'
    return 'Q.850;cause=41;text="Temporary failure"'
