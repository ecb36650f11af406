"""The faults of a telephone call are injected at their places, and the audio before its answer
is a ring tone.
"""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.protocols.sdp.offer_answer import LocalMedia
from bench.protocols.sip.answer_plan import AnswerPlan
from bench.wire.audio import G711_ALAW, G711_ULAW, AudioFormat
from rtbench_simulator.faults.injection import FaultEntry, FaultInjector
from rtbench_simulator.faults.kinds import read_line
from rtbench_simulator.server_events import OutgoingEvent
from rtbench_simulator.services.telephone.agent import ring_frames, silent_frames
from rtbench_simulator.services.telephone.call_faults import CallFaults, ends_silently, reason_of

FRAME_NS = 20 * NS_PER_MS
SILENT_FRAMES, FRAMES = 5, 40
PLAN = AnswerPlan(LocalMedia("192.0.2.1", 10_000, 1), ringing_ns=0)


def faults_of(*lines: str, injected: list[FaultEntry] | None = None) -> CallFaults:
    faults = [read_line(line) for line in lines]
    noted = [] if injected is None else injected
    return CallFaults(
        FaultInjector(faults, 1, 0, lambda *_: np.random.default_rng(1), noted.append)
    )


def struck(faults: CallFaults, utterances: int = 1) -> list[list[str]]:
    """Return the kinds of the faults at each frame of utterances that start with silence."""
    kinds = []
    for number in range(utterances * FRAMES):
        place = number % FRAMES
        facts = {"utterance": "answer"} if place == 0 else None
        audible = 0 if place >= SILENT_FRAMES else None
        event = OutgoingEvent(number * FRAME_NS, "audio", b"", audible_byte=audible, facts=facts)
        kinds.append([fault.kind for fault in faults.of_frame(event, event.due_ns)])
    return kinds


def test_a_call_without_an_injector_has_no_faults() -> None:
    faults = CallFaults(None)

    assert faults.applied_to(PLAN, 0) == PLAN
    assert list(faults.answered("sess_1", 0)) == []
    assert struck(faults) == [[]] * FRAMES


def test_a_count_selects_consecutive_packets() -> None:
    kinds = struck(faults_of("drop,count=3"))

    assert [number for number, found in enumerate(kinds) if found] == [20, 21, 22]


def test_a_fault_of_one_response_occurs_in_one_utterance() -> None:
    kinds = struck(faults_of("hold,responses=2"), utterances=3)

    assert [number // FRAMES for number, found in enumerate(kinds) if found] == [1]


def test_a_fault_after_the_answer_names_its_session() -> None:
    injected: list[FaultEntry] = []
    faults = faults_of("close,at=session", injected=injected)

    assert [fault.kind for fault in faults.answered("sess_1", 0)] == ["close"]
    assert [fault.session for fault in injected] == ["sess_1"]


def test_faults_of_the_answer_change_its_plan() -> None:
    late = faults_of("hang,at=upgrade,duration_s=3").applied_to(PLAN, 0)
    never = faults_of("hang,at=upgrade").applied_to(PLAN, 0)
    faults = faults_of("early_media,duration_s=3,audio=silence", "one_way", "other_port")
    early = faults.applied_to(PLAN, 0)

    assert (late.final_ns, never.final_ns) == (3 * NS_PER_S, None)
    assert (early.ringing_ns, early.early_media_ns, early.final_ns) == (None, 0, 3 * NS_PER_S)
    assert (faults.early_audio, faults.is_one_way, faults.has_other_port) == ("silence", True, True)


@pytest.mark.parametrize(
    ("line", "is_silent", "cause"),
    [
        ("close,code=1000", False, 16),
        ("close", False, 41),
        ("close,code=1006", True, 41),
        ("reset", True, 41),
    ],
)
def test_a_call_ends_with_a_reason_or_silently(line: str, is_silent: bool, cause: int) -> None:
    fault = read_line(line)

    assert ends_silently(fault) == is_silent
    assert f"cause={cause};" in reason_of(fault)


@pytest.mark.parametrize("audio", [G711_ULAW, G711_ALAW])
def test_a_ring_tone_is_on_for_one_second_of_five(audio: AudioFormat) -> None:
    levels = [int(np.abs(audio.decode(frame)).max()) for frame in islice(ring_frames(audio), 500)]
    is_on = [level > 1_000 for level in levels]

    assert is_on == ([True] * 50 + [False] * 200) * 2
    assert {len(frame) for frame in islice(ring_frames(audio), 500)} == {160}
    assert max(np.abs(audio.decode(next(silent_frames(audio))))) < 20
