"""Sessions with a service that violates the protocol, and the properties that hold even in these
sessions.

Tests and fuzzing use this module.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from random import Random

from bench.base.clock import Arrival
from bench.catalogue.outcomes import STARVED
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.observe.observation import TurnObservation
from bench.observe.timeline import Timeline
from bench.services.openai.dialect import GA
from bench.wire.connection import ReceivedMessage
from bench.wire.dialect import Dialect
from tests.helpers import (
    AT_NS,
    MS,
    REALTIME,
    build_turn,
    committed,
    created,
    delta,
    done,
    error,
    message,
    reply,
    session_created,
    session_updated,
    transcribed,
)
from tools.fuzz.damage import LEVELS, damaged_bytes, damaged_document, dumped

HEADS = frozenset(
    {
        "ok",
        "interrupted",
        "failed",
        "cancelled",
        "incomplete",
        "throttled",
        "timeout",
        "connect_failed",
        "session_expired",
        "closed",
        "protocol_error",
        "unfinished",
        STARVED,
    }
)


def failed(code: str | None, type_: str = "server_error") -> bytes:
    return done(
        "r1", "failed", type="failed", error={"type": type_, "code": code, "message": "No."}
    )


def played(
    dialect: Dialect,
    outputs: list[str],
    came: list[bytes],
    gaps_ms: list[int],
    end: Callable[[Timeline, int], None],
) -> tuple[Timeline, list[TurnObservation]]:
    """Run a session that behaves correctly, with these messages of a service. Return its
    timeline and its turns.
    """
    timeline = Timeline(
        SessionStart(AT_NS, len(outputs), Timeouts(first_delta=3, next_delta=3, response=4)),
        dialect,
    )
    taken: list[TurnObservation] = []
    left = list(enumerate(outputs, 1))
    now_ns = AT_NS
    for place, data in enumerate(came):
        now_ns += gaps_ms[place % len(gaps_ms)] * MS
        if (
            timeline.facts.is_ready
            and timeline.turns.are_all_over
            and not timeline.is_over
            and left
        ):
            number, output = left.pop(0)
            timeline.apply(
                inputs.TurnStarted(
                    now_ns,
                    build_turn(
                        number, wants_audio=output == "audio", transcription_due=output == "audio"
                    ),
                )
            )
            timeline.apply(inputs.Sent("input_audio_buffer.append", now_ns, 99, audio_bytes=480))
            timeline.apply(inputs.Sent("response.create", now_ns, 99))
        message = ReceivedMessage(data, Arrival(now_ns, place % 3 * MS), len(data))
        timeline.apply(inputs.Received(dialect.decode(data), message))
        if timeline.turns.are_all_over:
            taken += timeline.pop_turns(now_ns)
    end(timeline, now_ns + 1)
    taken += timeline.pop_turns(now_ns + 1)
    # a turn that awaits its transcript is delivered later
    return timeline, sorted(taken, key=lambda turn: turn.turn)


def check_ended(timeline: Timeline, turns: list[TurnObservation]) -> None:
    """Check the properties of an ended session: each turn has one outcome, and the counts add
    up.
    """
    session = timeline.session()
    assert [turn.turn for turn in turns] == list(range(1, session.turns_started + 1))
    assert session.turns_ended == session.turns_started
    assert session.turns_succeeded == sum(turn.outcome == "ok" for turn in turns)
    assert session.outcome
    assert session.turns_not_started == (
        0 if session.outcome == "unfinished" else session.turns_planned - session.turns_started
    )
    assert timeline.pop_turns(1 << 62) == []
    for turn in turns:
        assert turn.outcome.partition(":")[0] in HEADS
        check_instants(turn)


def check_instants(turn: TurnObservation) -> None:
    """Check the properties that hold for the instants of every turn."""
    instants = turn.instants
    while_open = {
        at_ns
        for name, at_ns in instants.items()
        if name != "input_transcribed" and "audible" not in name
    }
    assert turn.start_ns <= min(while_open)
    assert max(while_open) == instants["ended"]
    assert ("first_audio" in instants) == ("last_audio" in instants) == (turn.audio_deltas > 0)
    assert instants.get("first_audio", 0) <= instants.get("last_audio", 0)
    assert len(turn.gaps_ns) + turn.uncertain_gaps <= max(0, turn.audio_deltas - 1)
    assert turn.events == turn.kernel_stamps + turn.user_stamps
    if turn.outcome == "ok":
        assert "response_done" in instants
        assert "first_audio" in instants or "first_text" in instants


def whole_log(random: Random) -> tuple[Dialect, list[str], list[bytes]]:
    """Return a dialect, the outputs of some turns, and all messages of a service that answers
    these turns correctly.
    """
    dialect, outputs = (
        random.choice(list(REALTIME.values())),
        random.choices(("audio", "text"), k=random.randint(1, 3)),
    )
    came = [session_created(), session_updated()]
    for number, output in enumerate(outputs, 1):
        came += [
            committed(f"item_{number}"),
            *reply(dialect, f"r{number}", output, random.randint(1, 3)),
        ]
        came += random.choice(([], [transcribed(f"item_{number}")]))
    return dialect, outputs, came


JUNK = (
    b"",
    b"{}",
    b"{",
    b"null",
    error(None),
    error("x", "turn-1-item"),
    error("y", "turn-2-response"),
    error("rate_limit_exceeded", "turn-1-response"),
    message("unknown.event"),
    done("r9", "incomplete"),
    failed("x"),
    created("r9"),
    delta(GA, "audio", "r9"),
    done("r2", "cancelled", reason="z"),
)


def spoil(came: list[bytes], random: Random, *ways: str) -> None:
    """Change the list of messages in one of these ways: drop, double, move, corrupt or insert a
    message.
    """
    place = random.randint(0, len(came))
    match random.choice(ways):
        case "drop":
            del came[place : place + 1]
        case "double":
            came[place:place] = came[place : place + 1]
        case "move" if came:
            came.insert(place, came.pop(random.randrange(len(came))))
        case "document" if place < len(came):
            # an earlier change has corrupted the message
            with suppress(ValueError, RecursionError):
                came[place] = dumped(
                    damaged_document(random, json.loads(came[place])), random.choice(LEVELS)
                ).encode()
        case "bytes" if place < len(came):
            came[place] = damaged_bytes(random, came[place])
        case _:
            came.insert(place, random.choice(JUNK))


ENDS: tuple[Callable[[Timeline, int], None], ...] = (
    lambda timeline, now_ns: timeline.apply(inputs.SessionFailed("unfinished", now_ns)),
    lambda timeline, now_ns: timeline.apply(inputs.ConnectionClosed(1006, now_ns, "")),
    lambda timeline, now_ns: timeline.apply(inputs.ConnectionClosed(1000, now_ns, "bye")),
)


def played_badly(random: Random, *ways: str) -> tuple[Timeline, list[TurnObservation]]:
    """Run a session whose messages are changed in some of these ways, and end before all of them
    have arrived.

    Return its timeline and its turns.
    """
    dialect, outputs, came = whole_log(random)
    for _ in range(random.randint(0, 8)):
        spoil(came, random, *ways)
    gaps_ms = random.choices((0, 1, 50, 2_900, 3_100), k=5)
    return played(
        dialect, outputs, came[: random.randint(0, len(came))], gaps_ms, random.choice(ENDS)
    )
