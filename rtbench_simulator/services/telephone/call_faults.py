"""The faults of one telephone call, and the network path of its RTP packets. Pure.

A fault is at the place `upgrade`, when the call is answered, or in the agent's audio. Each
utterance of the agent counts as a response. `first_delta` is its first packet. `next_delta` are its
packets from `INTO_WORD_NS` after the first audible one, so a fault there occurs in the middle of a
word.

The path drops, delays, reorders and duplicates packets. A packet is delayed after its due instant
by a uniform random time from 0 to `jitter_ms`. Packets keep their order, except reordered ones:
these are delayed by `jitter_ms` and `REORDER_NS`. So each of them arrives after the packet that
follows it by one frame. The random numbers of a packet do not depend on the settings, nor on time.
"""

# `TelephoneLine` asks for the faults of a call when it plans the answer, and the agent for those of
# each frame. Refusals are no part of them: the line asks the injector for a refusal. The path is
# that of RTP in general, so calls over WebRTC use it, too.
#
# A fault acts on the real packets of a real socket. So the client under test sees what a network or
# an agent would do, and the ground-truth log has what happened to each packet (`PathPacket.facts`).

import heapq
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.protocols.sip.answer_plan import AnswerPlan
from rtbench_simulator.faults.injection import FaultInjector
from rtbench_simulator.faults.kinds import BY_TELEPHONE, Fault, kinds_of_calls
from rtbench_simulator.profile import PacketPathSettings
from rtbench_simulator.server_events import Json, OutgoingEvent
from rtbench_simulator.services.agents import FRAME_MS

IN_CALL = frozenset(
    {
        *kinds_of_calls(BY_TELEPHONE),
        "close",
        "reset",
        "hang",
        "freeze",
        "drop",
        "duplicate",
        "reorder",
    }
)
"""The kinds that a telephone call can have, except refusals."""
INTO_WORD_NS = 300 * NS_PER_MS
NORMAL = 1000
ABNORMAL = 1006
SILENCE = "silence"


class CallFaults:
    """The faults of one call. Without an injector there are none.

    `early_audio` is the audio before the answer. `is_one_way` is True if the agent's audio never
    reaches the caller. `has_other_port` is True if the agent sends its audio from another port than
    its description names.
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

    def happens(self, kind: str, now_ns: int) -> bool:
        """Return whether a fault of this kind happens, after words of the callee."""
        injector = self._injector
        return injector is not None and any(injector.faults("speech", now_ns, (kind,), None))

    def of_frame(self, event: OutgoingEvent, now_ns: int) -> Iterator[Fault]:
        """Yield the faults at one frame of the agent's audio. Each frame must be passed, in
        order.
        """
        place: str | None
        if event.facts and "utterance" in event.facts:
            self._utterances += 1
            self._word_ns = NEVER_NS
            place = "first_delta"
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


REORDER_NS = FRAME_MS * NS_PER_MS * 3 // 2
"""The additional delay of a reordered packet: one and a half frames."""


class PathPacket(NamedTuple):
    """A packet on the path, and the event whose audio it contains. `copies` is 0 if the packet
    is dropped.
    """

    departure_ns: int
    event: OutgoingEvent
    data: bytes
    copies: int

    @property
    def delay_ns(self) -> int:
        return self.departure_ns - self.event.due_ns

    @property
    def facts(self) -> Json:
        """What happened to the packet, for the ground-truth log."""
        facts: Json = {"delay_ns": self.delay_ns} if self.delay_ns else {}
        if not self.copies:
            facts["dropped"] = True
        elif self.copies > 1:
            facts["duplicated"] = True
        return facts


class PacketPath:
    """The path of one call in both directions. `dropped` counts the dropped packets, by `sent` and
    `received`.

    The packets that are received are only dropped. They were delayed by the real network.
    """

    def __init__(
        self,
        settings: PacketPathSettings,
        sent_rng: np.random.Generator,
        received_rng: np.random.Generator,
        dropped: Counter[str],
    ) -> None:
        self._settings = settings
        self._sent_rng = sent_rng
        self._received_rng = received_rng
        self._dropped = dropped
        self._jitter_ns = settings.jitter_ms * NS_PER_MS
        self._waiting: list[tuple[int, int, PathPacket]] = []
        self._number = self._last_departure_ns = 0

    @property
    def next_ns(self) -> int:
        """The instant at which the next packet leaves. NEVER_NS if there is none."""
        return self._waiting[0][0] if self._waiting else NEVER_NS

    def add(self, event: OutgoingEvent, data: bytes, faults: Collection[str] = ()) -> PathPacket:
        """Send a packet on the path. A dropped one never leaves it.

        `faults` contains `drop`, `duplicate` or `reorder` if this certainly happens to the packet.
        """
        settings = self._settings
        due_ns = event.due_ns
        # always four numbers: another setting of one effect does not change which packets have the
        # others
        is_dropped, is_reordered, is_duplicated, delay = self._sent_rng.random(4).tolist()
        if is_dropped < settings.loss or "drop" in faults:
            self._dropped["sent"] += 1
            return PathPacket(due_ns, event, data, 0)
        if is_reordered < settings.reorder or "reorder" in faults:
            departure_ns = due_ns + round(self._jitter_ns) + REORDER_NS
        else:
            departure_ns = max(due_ns + int(delay * self._jitter_ns), self._last_departure_ns)
            self._last_departure_ns = departure_ns
        copies = 2 if is_duplicated < settings.duplicate or "duplicate" in faults else 1
        packet = PathPacket(departure_ns, event, data, copies)
        self._number += 1
        heapq.heappush(self._waiting, (departure_ns, self._number, packet))
        return packet

    def pop(self, now_ns: int) -> Iterator[PathPacket]:
        """Yield the packets that leave now, in their order."""
        while self._waiting and self._waiting[0][0] <= now_ns:
            yield heapq.heappop(self._waiting)[2]

    def drops_received(self) -> bool:
        """Return whether the packet that was received is dropped."""
        is_dropped = bool(self._received_rng.random() < self._settings.loss)
        self._dropped["received"] += is_dropped
        return is_dropped
