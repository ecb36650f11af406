"""Makes findings of a call with an agent, of which nothing but its audio is known. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from bench.doctor.finding import Finding
from bench.observe.observation import SessionObservation, TurnObservation, reason
from bench.plain import counted
from bench.protocol.agent import OTHER_STREAM
from bench.protocol.audio import AudioFormat
from bench.target.options import AgentName
from bench.units import NS_PER_MS

AUDIBLE_S, LONGEST_S = 12, 40
"""Seconds within which a greeting or an answer is audible, and after which it is over."""
LIMITS = {"first_delta": AUDIBLE_S, "done": LONGEST_S, "turn": LONGEST_S}
PACES = (1 / 3, 1 / 2, 2 / 3, 3 / 2, 2.0, 3.0)
"""How the rates of telephony and of models are to each other."""
NEAR = 0.04
PAUSE_NS, LEAST_NS = 200 * NS_PER_MS, 800 * NS_PER_MS
"""Time without audio that parts two stretches of it, and how long one must last for its pace to be told."""
WAYS = f"--dialect {', '.join(get_args(AgentName))}"
UNANSWERED = "timeout:first_delta"
NOTHING = (
    "it takes the call and sends nothing: does it expect the messages of another provider (--dialect) or a parameter "
    "(`extra`), and does its log have an error?"
)
NO_AUDIO = f"it sends messages without audio that this dialect knows: does it expect another provider ({WAYS})?"
INAUDIBLE = (
    "its audio is never louder than its background: does it hear this format (`input_format`), does it answer by "
    "itself, and does its log have an error?"
)
UNGREETED = "leave `hear: greeting` out of the script, unless it is to speak first"
UNREAD = "nothing is measured by them, and a provider ignores them: are they meant for another one (--dialect)?"
STREAMLESS = (
    "let it name in each message the `streamSid` that the `start` of the same call told: Twilio drops what names "
    "another or none (its warning 31951), and nobody hears it"
)
ENDLESS = (
    "it speaks without a pause of 0.9 s: music or a voice behind it is taken for its own, and no turn of it ends; let "
    "it be silent between its answers"
)
REMEDIES = {
    "refused:401": "it wants a signature (X-Twilio-Signature) or a token, and none is sent: let it take calls without, "
    "or give a token in the target's `headers`",
    "refused:404": "it serves no such path: name the one at which it takes calls in --url, or `url` of the target",
    "refused:tcp": "nobody listens there: is the agent running, and on this port?",
    "refused:upgrade": "the server there does not accept this WebSocket: check the path, and the target's "
    "`subprotocols`",
    "protocol:json": f"its messages are those of another provider: name its own by {WAYS}",
    "closed:1000": "it hung up: does its log say why? It may miss a parameter (`extra`) or a header",
    "timeout:done": ENDLESS,
    "timeout:turn": ENDLESS,
    "endless:audio": ENDLESS,
}
"""What to do by outcome."""
SAME = {"refused:403": "refused:401"} | dict.fromkeys(("closed:1006", "closed:1008", "closed:1011"), "closed:1000")
"""Outcomes with the remedy of another one."""


def remedy_for(outcome: str, session: SessionObservation) -> str:
    """What to do about how a call ended; "" where nothing more is known of agents than of any service."""
    if outcome == UNANSWERED:
        return INAUDIBLE if session.audio_bytes_received else NO_AUDIO if session.events else NOTHING
    return remedy_of_agents(outcome)


def remedy_of_agents(outcome: str) -> str:
    """What to do about an outcome, whatever came; "" as above."""
    return REMEDIES.get(SAME.get(outcome, outcome), "")


def spoke_first(turn: TurnObservation | None, session: SessionObservation) -> Finding:
    """Whether the agent spoke first. Silence is no failure: only the script must know."""
    if turn is not None and (greeted_ns := session.measures_ns().get("greeting")) is not None:
        return Finding("greeting", "ok", f"it speaks first, {greeted_ns / NS_PER_MS:,.0f} ms after it was called")
    if turn is None or turn.outcome == UNANSWERED:
        return Finding("greeting", "warning", f"it said nothing audible within {AUDIBLE_S} s of the call", UNGREETED)
    words = reason(turn.outcome, turn.detail)
    return Finding("greeting", "failed", f"{turn.outcome}: {words}", remedy_for(turn.outcome, session))


def heard_answer(
    turn: TurnObservation | None, session: SessionObservation, pace: AudioPace, format: AudioFormat | None
) -> Iterator[Finding]:
    """How long the caller waited for an answer, and whether its audio comes as fast as it is played.

    `format`: in which it is played, where another one could be set.
    """
    if turn is None or turn.outcome != "ok":
        outcome, detail = (session.outcome, session.detail) if turn is None else (turn.outcome, turn.detail)
        words = reason(outcome, detail)
        said = f"{outcome}: {words}" if words else outcome
        yield Finding("turn", "failed", said, remedy_for(outcome, session))
        return
    waited_ms = turn.measures_ns()["voice_to_voice"] / NS_PER_MS
    yield Finding("turn", "ok", f"answered: voice_to_voice {waited_ms:,.0f} ms")
    if format is not None:
        yield paced(pace.speed(format), format)


def unread(session: SessionObservation) -> Iterator[Finding]:
    """Messages that are none of the dialect: a provider of telephony ignores them, too."""
    if session.unknown_events:
        wrong_stream = any(name.endswith(OTHER_STREAM) for name in session.unknown_events)
        said = f"left unread, for they are none of this way of calling: {counted(session.unknown_events)}"
        yield Finding("messages", "warning", said, STREAMLESS if wrong_stream else UNREAD)


class AudioPace:
    """The pace at which audio comes, in its longest stretch without a pause."""

    def __init__(self) -> None:
        self._began_ns = self._last_ns = self._bytes = 0
        self._longest_ns = self._longest_bytes = 0

    def heard(self, at_ns: int, audio_bytes: int) -> None:
        """Take a piece that came at this instant."""
        if at_ns - self._last_ns > PAUSE_NS:
            self._began_ns, self._bytes = at_ns, 0
        else:
            self._bytes += audio_bytes
        self._last_ns = at_ns
        if at_ns - self._began_ns > self._longest_ns:
            self._longest_ns, self._longest_bytes = at_ns - self._began_ns, self._bytes

    def speed(self, format: AudioFormat) -> float | None:
        """Seconds of audio in a second; None where too little came to tell."""
        if self._longest_ns < LEAST_NS:
            return None
        return format.duration_ns(self._longest_bytes) / self._longest_ns


def paced(speed: float | None, format: AudioFormat) -> Finding:
    """Whether the audio of a reply can be of the rate at which it is played. `speed`: seconds of it in a second."""
    if speed is None:
        return Finding("audio", "skipped", "too little of it came to tell its pace")
    rate_hz = next((round(format.rate_hz * pace) for pace in PACES if abs(speed / pace - 1) < NEAR), None)
    said = f"{speed:.2f} s of it come in a second, as PCM at {format.rate_hz:,} Hz"
    if rate_hz is None:
        return Finding("audio", "ok", said)
    remedy = (
        f"if it sends as fast as it speaks, its audio is of {rate_hz:,} Hz: set `output_format` of the script or target"
    )
    return Finding("audio", "warning", said, remedy)
