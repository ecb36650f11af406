"""Turns whose speech was not sent: the agent holds the call, or the kernel refuses packets. Time
is virtual.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

from bench.base.clock import SendTime
from bench.observe import inputs
from bench.observe.observation import SessionObservation, TurnObservation
from bench.plan.compiled_script import CompiledScript
from bench.plan.script import load_script
from bench.services.registry import DIALECTS
from bench.wire.connection import SendReceipt
from bench.wire.dialect import BinaryMessage
from tests.agent_transport import Transport, build_profile
from tests.helpers import MS, seated
from tests.simulator_process import AUDIO

CANNOT_SEND = "this machine could not send the packets"
HELD = "the agent held the call"
NO_BUFFERS = "this machine could not send the packets, because it has no memory for them"

REFUSED = f"{CANNOT_SEND}: Permission denied"
Window = tuple[int, int]
HEAD = "session: {turn_detection: full_duplex}\nsteps:\n  - wait_for: greeting\n"
QUESTION = f"  - {{audio: {AUDIO}/late_parcel.wav, chunk_ms: 20}}\n"
SCRIPTS = {
    "interruption": (
        f"{HEAD}{QUESTION}  - interrupt: {{audio: {AUDIO}/not_today.wav, after: 1.2}}\n   "
        " chunk_ms: 20\n"
    ),
    "sound": (
        f"{HEAD}{QUESTION}  - sound: {{audio: {AUDIO}/uh_huh.wav, kind: backchannel, after: 1.0,"
        " chunk_ms: 20}\n"
    ),
    "silence": (
        f"{HEAD}{QUESTION}  - sound: {{audio: {AUDIO}/not_today.wav, kind: talking_to_others,"
        f" during: silence}}\n{QUESTION}"
    ),
}


class Holding(Transport):
    """A transport that does not send the audio in some windows of time."""

    def __init__(self, windows: Iterable[Window], reason: str) -> None:
        super().__init__("pcm", build_profile())
        self.windows, self.reason, self.sent_bytes, self.unsent = list(windows), reason, 0, 0

    def send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        now_ns = self.clock.now_ns
        if isinstance(message, BinaryMessage) and any(
            start <= now_ns <= end for start, end in self.windows
        ):
            self.unsent += 1
            return SendReceipt(SendTime(now_ns), 0, self.reason)
        self.sent_bytes += len(message) * isinstance(message, BinaryMessage)
        return super().send(message, stamped=stamped)


def play(
    script: str, windows: Iterable[Window] = (), reason: str = HELD
) -> tuple[list[TurnObservation], SessionObservation, Holding]:
    path = Path(__file__).parent / "call.yaml"
    prepared = compiled(script, path)
    transport = Holding(windows, reason)
    session, timeline, listening = seated(prepared.prepare_session(0, 0), transport)
    timeline.apply(inputs.Connected({"opened": transport.now_ns()}, {}))
    session.run()
    return listening.turns, timeline.session(), transport


@cache
def compiled(script: str, path: Path) -> CompiledScript:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        (file := Path(folder) / path.name).write_text(SCRIPTS[script], encoding="utf-8")
        return CompiledScript(load_script(file), DIALECTS["pcm"])


@cache
def undisturbed(script: str) -> list[TurnObservation]:
    turns, session, transport = play(script)
    assert {turn.outcome for turn in turns} <= {"ok", "interrupted"}
    assert session.audio_bytes_sent == transport.sent_bytes
    return turns


def of_speech(turn: TurnObservation, first: float, last: float) -> Window:
    """Return the window of time from one share of a turn's speech to another."""
    start_ns, end_ns = turn.instants["speech_start"], turn.instants["speech_end"]
    length_ns = end_ns - start_ns
    return start_ns + round(first * length_ns), start_ns + round(last * length_ns)


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [(HELD, "failed:hold"), (REFUSED, "failed:unsent"), (NO_BUFFERS, "exhausted:memory")],
)
@pytest.mark.parametrize("part", [(-0.1, 1.1), (0.9, 1.1), (-0.1, 0.3), (0.4, 0.5)])
def test_a_turn_of_whose_speech_a_part_was_not_sent_has_this_cause(
    reason: str, outcome: str, part: tuple[float, float]
) -> None:
    _, question, _ = undisturbed("interruption")
    turns, session, transport = play("interruption", [of_speech(question, *part)], reason)

    found = turns[1]
    assert found.outcome == outcome
    assert "ms of the caller's speech were not sent" in found.detail
    assert reason in found.detail
    assert session.audio_bytes_sent == transport.sent_bytes
    assert transport.unsent > 0


def test_a_session_that_times_out_because_its_speech_was_not_sent_has_this_cause() -> None:
    _, question, _ = undisturbed("interruption")
    turns, session, _ = play("interruption", [of_speech(question, -0.1, 1_000)])

    assert (turns[-1].outcome, session.outcome) == ("failed:hold", "failed:hold")


def test_an_interruption_that_was_not_sent_fails_with_the_turn_that_it_should_interrupt() -> None:
    _, _, objection = undisturbed("interruption")
    turns, _, _ = play("interruption", [of_speech(objection, -0.1, 1.1)])

    assert [turn.outcome for turn in turns[1:]] == ["failed:hold", "failed:hold"]


def test_a_sound_that_was_not_sent_fails_the_turn_that_it_should_not_interrupt() -> None:
    _, question = undisturbed("sound")
    assert question.false_yield is False
    begin_ns = question.instants["barge_in"]
    turns, _, _ = play("sound", [(begin_ns - 50 * MS, begin_ns + 5_000 * MS)])

    assert turns[1].outcome == "failed:hold"
