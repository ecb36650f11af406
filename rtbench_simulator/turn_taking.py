"""How a simulated service takes turns with its caller: one rule for all services. Pure.

A service passes the caller's audio to `TurnTaking.append`, and reacts to the speech that this
reports:

- `stop_ns` of a start of speech: the instant at which the service notices the speech, and stops its
  reply
- `is_answered` of an end of speech: False if the service says nothing, and waits for the next turn

The delays of each reply are multiplied by `TurnTaking.slowness`. The rules are the keys
`turn_taking`, `session_sd` and `growth` of the profile. README.md, "Turn-taking", describes
them.
"""

# A sound of the caller passes these decisions, each at most once:
#
# before it begins    is it ignored if it stays short? Only during a reply
# it is speech        it interrupts a reply, or else: will the service cut in?
# it ends             is it answered, and how slowly?
#
# After a cut-in the caller still speaks. The rest of the speech counts as speech during a reply,
# even if the reply has not begun (`_is_cut`), so it interrupts the reply to its first part.
#
# A reply that is interrupted stops at a future instant (`_stop_ns`). The next reply is prepared
# from there on, since one voice cannot do both.
#
# Positions in the audio become instants by the audio clock: it counts received audio, whose end has
# just arrived at `at_ns`.

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from bench.base.units import NS_PER_MS, NS_PER_S
from rtbench_simulator.conversation.input_audio import InputAudio, SpeechEdge
from rtbench_simulator.profile import Profile, is_drawn
from rtbench_simulator.quota import ResponseSlots
from rtbench_simulator.session.effective import InputSettings

S_PER_MIN = 60


class TurnDecision(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A decision about a turn, for the ground-truth log.

    - `yield`: the caller speaks during a reply, and the service stops the reply
    - `ignored_backchannel`: the caller has spoken briefly during a reply, and the service continues
    - `cut_in`: the service begins to reply while the caller speaks
    - `no_reply`: the service does not answer a turn
    - `answer`: the service answers a turn, with delays of its session's own

    `from_ns`: the start of the speech; `at_ns`: the instant at which the service stops or begins to
    speak. `slowness`: the factor of the session on the delays of the answer.
    """

    kind: Literal["yield", "ignored_backchannel", "cut_in", "no_reply", "answer"]
    from_ns: int | None = None
    at_ns: int | None = None
    slowness: float = 1.0


class CallerSpeech(NamedTuple):
    """A start or an end of the caller's speech, and what the service does."""

    edge: SpeechEdge
    stop_ns: int
    """At a start: the instant at which the service notices the speech and stops its reply. At an
    end: 0."""
    stops_reply: bool = False
    """At a start: whether the speech interrupts a reply."""
    is_answered: bool = True
    """At an end: whether the service answers."""


class TurnTaking:
    """The turn-taking of one session. `audio`: the caller's audio."""

    def __init__(self, profile: Profile, rng: np.random.Generator, servers: ResponseSlots) -> None:
        self._profile = profile
        self._rules = profile.turn_taking
        self._rng = rng
        self._servers = servers
        self.audio = InputAudio(profile.vad.min_speech_ms)
        # Log-normal with the median 1, so `session_sd` does not move the median of all sessions.
        self._own_factor = (
            math.exp(profile.session_sd * rng.standard_normal()) if profile.session_sd else 1.0
        )
        self._since_ns: int | None = None  # the session's first audio or reply
        self._stop_ns = 0  # the instant at which the last interrupted reply stops
        self._cuts_in = False  # the next reply begins at once, because the caller still speaks
        self._is_cut = False  # the next speech is the rest of speech that the service has ended
        self._ignores = self._rules.ignored_backchannel_share > 0
        # whether the next sound is ignored if it is short; its number
        self._ignores_next = False
        self._drawn_for = -1
        self._decisions: list[TurnDecision] = []

    def append(
        self,
        audio: bytes,
        settings: InputSettings,
        at_ns: int,
        on_speech: Callable[[CallerSpeech, int], None],
        *,
        is_replying: bool,
    ) -> dict[str, Any]:
        """Append input audio that arrives at `at_ns`. Return the fields of its receipt.

        `on_speech` is called for each start and end of speech, with `at_ns`. `is_replying`: True if
        the service prepares or says a reply, or the caller still plays one.
        """
        from_byte = self.audio.end.byte
        if self._since_ns is None:
            self._since_ns = at_ns
        is_during_reply = (
            is_replying and settings.detection is not None and settings.detection.interrupt_response
        )
        self._prepare_sound(is_during_reply)
        for edge in self.audio.append(audio, settings):
            assert settings.detection is not None
            if edge.began:
                is_during_reply = is_during_reply or self._is_cut
                self._is_cut = False
                speech = self._started(
                    edge, at_ns, is_during_reply, answers=settings.detection.create_response
                )
                on_speech(speech, at_ns)
            else:
                speech = self._ended(edge, at_ns, answers=settings.detection.create_response)
                on_speech(speech, at_ns)
                self._prepare_sound(is_during_reply or self._is_cut)
        for min_ms in self.audio.take_ignored():
            if min_ms > self._profile.vad.min_speech_ms:
                self._decisions.append(TurnDecision("ignored_backchannel"))
        fields: dict[str, Any] = {"from_byte": from_byte, "to_byte": self.audio.end.byte}
        if self._decisions:
            fields["decisions"] = self._decisions
            self._decisions = []
        return fields

    def answer_ns(self, at_ns: int) -> int:
        """Return the instant from which a reply is prepared that is due at `at_ns`: after the
        reply before it.
        """
        return max(at_ns, self._stop_ns)

    def slowness(self, at_ns: int) -> float:
        """Return the factor on the delays of a reply that starts at `at_ns`. It is 0 if the
        service cuts in.
        """
        if self._since_ns is None:
            self._since_ns = at_ns
        if self._cuts_in:
            self._cuts_in = False
            return 0.0
        of_load = self._profile.slowness(at_ns, self._servers.sessions)
        return self._session_factor(at_ns) * of_load * self._servers.slowness(at_ns)

    def _session_factor(self, at_ns: int) -> float:
        growth = self._profile.growth
        if growth is None or self._since_ns is None:
            return self._own_factor
        return self._own_factor * growth.factor((at_ns - self._since_ns) / NS_PER_S / S_PER_MIN)

    def _prepare_sound(self, is_during_reply: bool) -> None:
        """Decide whether the next sound is ignored if it is short."""
        if not self._ignores:
            return
        self.audio.min_speech_ms = self._profile.vad.min_speech_ms
        if not is_during_reply:
            return
        if self._drawn_for != self.audio.sounds:
            self._drawn_for = self.audio.sounds
            self._ignores_next = is_drawn(self._rules.ignored_backchannel_share, self._rng)
        if self._ignores_next:
            self.audio.min_speech_ms = max(self.audio.min_speech_ms, self._rules.backchannel_ms)

    def _started(
        self, edge: SpeechEdge, at_ns: int, is_during_reply: bool, *, answers: bool
    ) -> CallerSpeech:
        from_ns = at_ns - (self.audio.clock_ms - edge.begin_ms) * NS_PER_MS
        if is_during_reply:
            # The service does not cut in on a caller who interrupts it.
            self.audio.cut_in_ms = None
            if self._rules.yield_ms is None:
                stop_ns = at_ns + self._profile.delays.speech_started.draw_ns(self._rng)
            else:
                stop_ns = max(at_ns, from_ns + self._rules.yield_ms.draw_ns(self._rng))
            self._stop_ns = stop_ns
            self._decisions.append(TurnDecision("yield", from_ns, stop_ns))
            return CallerSpeech(edge, stop_ns, True)
        cuts_in = answers and is_drawn(self._rules.cut_in_share, self._rng)
        self.audio.cut_in_ms = (
            self._rules.cut_in_ms.draw_ns(self._rng) / NS_PER_MS if cuts_in else None
        )
        return CallerSpeech(edge, at_ns + self._profile.delays.speech_started.draw_ns(self._rng))

    def _ended(self, edge: SpeechEdge, at_ns: int, *, answers: bool) -> CallerSpeech:
        self._cuts_in = self._is_cut = edge.is_cut_in
        if edge.is_cut_in:
            from_ns = at_ns - (self.audio.clock_ms - edge.begin_ms) * NS_PER_MS
            at_ns = at_ns - (self.audio.clock_ms - edge.heard_ms) * NS_PER_MS
            self._decisions.append(TurnDecision("cut_in", from_ns, at_ns))
            return CallerSpeech(edge, 0)
        if answers and is_drawn(self._rules.no_reply_share, self._rng):
            self._decisions.append(TurnDecision("no_reply"))
            return CallerSpeech(edge, 0, is_answered=False)
        if (factor := self._session_factor(at_ns)) != 1:
            self._decisions.append(TurnDecision("answer", slowness=round(factor, 6)))
        return CallerSpeech(edge, 0)
