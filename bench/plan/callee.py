"""The callees of the calls that an agent makes: persons, mailboxes, and busy lines. Each session
draws one by the shares of the script. Pure.

A person plays the steps of the script. A mailbox says its greeting, beeps, and records.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from bench.base.errors import UsageError
from bench.base.units import NS_PER_S
from bench.files.validation import MapOf, Number, OneOrMore, OrStruct, field_key
from bench.plan.prepared import PreparedCallee, PreparedScript, PreparedTurn
from bench.plan.random_choices import ThinkTime
from bench.plan.recordings import RATE_HZ, SAMPLE_BYTES, Pcm, SpeechSpan
from bench.plan.script_keys import DRAWN, SECONDS
from bench.plan.synthesizer import AUDIO
from bench.plan.turn_plan import MAILBOX
from bench.plan.turns import AudioTurn, Preparation, Step

CalleeKind = Literal["person", "late_person", "mailbox", "hang_up", "busy"]
WITH_GREETING = ("late_person", MAILBOX)
VERDICT_TURNS = 2
"""The number of turns by which it is known whom the agent took a person for: it answers the
second, or hangs up before."""
BEEP_HZ = 1_000
BEEP_MS = 400
BEEP_PAUSE_MS = 300
"""The tone after the greeting of a mailbox, and the pause before it."""
AMPLITUDE = 3_277
"""The amplitude of the tone: −20 dBFS."""
PICK_UP_PAUSE_MS = 500
"""The pause between the greeting and the first words of a person who picks up during it."""


@dataclass(frozen=True, kw_only=True)
class CalleeSettings:
    """The keys inside `callee`."""

    shares: Mapping[str, float] = field_key(
        MapOf(
            "|".join(get_args(CalleeKind)),
            Number(0, 1_000_000),
            f"a table of shares (`{', '.join(get_args(CalleeKind))}`)",
            minimum=1,
        ),
        "How often each kind answers, as in {person: 6, mailbox: 3, busy: 1}.",
        required=True,
    )
    ring: float | ThinkTime = field_key(
        OrStruct(SECONDS, DRAWN),
        "Seconds of ringing before the answer, or a distribution from which each session draws.",
        0.0,
    )
    greeting: tuple[Pcm, ...] = field_key(
        OneOrMore(AUDIO), "The greeting of the mailbox, or several. A beep follows.", absent=()
    )
    record: float = field_key(
        SECONDS, "Seconds after the beep after which the mailbox hangs up.", 30.0
    )

    def __post_init__(self) -> None:
        if not any(self.shares.values()):
            raise UsageError("shares must have a share above 0")
        if any(self.shares.get(kind) for kind in WITH_GREETING) and not self.greeting:
            raise UsageError(f"needs `greeting`: {' and '.join(WITH_GREETING)} begin with it")

    @property
    def recordings(self) -> tuple[Pcm, ...]:
        """The greetings, as they are sent."""
        return tuple(map(_with_beep, self.greeting))

    def problem(self, turns: int, first: Step) -> str:
        """Return why a script with this number of turns cannot have these settings; "" if it
        can.
        """
        if turns < VERDICT_TURNS and (self.shares.get("person") or self.shares.get("late_person")):
            return (
                f"needs {VERDICT_TURNS} turns: the second one shows whom the agent takes the"
                " person for"
            )
        if self.shares.get("late_person") and not isinstance(first, AudioTurn):
            return "has late_person, so the first step must be `audio`: it follows the greeting"
        return ""

    def drawn(self, script: PreparedScript, first: Step, of: Preparation) -> PreparedScript:
        """Return the session of one callee. `first` is the script's first turn, and `of` from
        what the session is prepared.
        """
        choices = of.choices
        kind = choices.share_of(self.shares)
        callee = PreparedCallee(kind, choices.ring_ns(self.ring), round(self.record * NS_PER_S))
        steps = script.steps
        if kind == "busy":
            steps = ()
        elif kind == MAILBOX:
            steps = (_mailbox(self._greeting(of), callee, of),)
        else:
            position = next(number for number, step in enumerate(steps) if step.is_turn)
            turn = steps[position]
            assert isinstance(turn, PreparedTurn), "it is a turn"
            if kind == "late_person":
                assert isinstance(first, AudioTurn), "the script was checked"
                turn = first.after(_interrupted(self._greeting(of)), PICK_UP_PAUSE_MS, of)
            turn = replace(turn, plan=replace(turn.plan, callee=kind))
            later = () if kind == "hang_up" else steps[position + 1 :]
            steps = (*steps[:position], turn, *later)
        return replace(script, steps=steps, callee=callee)

    def _greeting(self, of: Preparation) -> Pcm:
        return self.greeting[of.choices.recording() % len(self.greeting)]


def _mailbox(greeting: Pcm, callee: PreparedCallee, of: Preparation) -> PreparedTurn:
    pcm = _with_beep(greeting)
    turn = AudioTurn(name=MAILBOX, audio=(pcm,)).prepared_turn(of, 0)
    plan = replace(turn.plan, callee=MAILBOX, record_ns=callee.record_ns)
    return replace(turn, plan=plan, speech=of.encoder.mailbox(pcm), request=None)


def _with_beep(greeting: Pcm) -> Pcm:
    tone = np.sin(2 * np.pi * BEEP_HZ * np.arange(BEEP_MS * RATE_HZ // 1_000) / RATE_HZ)
    pause = bytes(BEEP_PAUSE_MS * RATE_HZ // 1_000 * SAMPLE_BYTES)
    speech = greeting.speech
    said = greeting.data[speech.begin * SAMPLE_BYTES : speech.end * SAMPLE_BYTES]
    data = said + pause + (AMPLITUDE * tone).astype("<i2").tobytes()
    return _changed(greeting, "beep", data)


def _interrupted(greeting: Pcm) -> Pcm:
    """Return the first half of a greeting."""
    speech = greeting.speech
    half = (speech.end - speech.begin) // 2 * SAMPLE_BYTES
    start = speech.begin * SAMPLE_BYTES
    return _changed(greeting, "half", greeting.data[start : start + half])


def _changed(pcm: Pcm, change: str, data: bytes) -> Pcm:
    digest = hashlib.sha256(f"{pcm.digest} {change}".encode()).hexdigest()
    return Pcm(pcm.path, digest, data, SpeechSpan(0, len(data) // SAMPLE_BYTES))
