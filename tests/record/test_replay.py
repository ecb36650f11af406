"""Event logs. The input of a session's timeline is written to a log, and the log is replayed."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.base.errors import UsageError
from bench.catalogue.causes import Cause, Code, decoded, encoded, text_of
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.observe.observation import TurnObservation
from bench.observe.timeline import NO_JUDGES, Timeline
from bench.observe.turn import ARRIVALS
from bench.plan.turn_plan import NO_REFERENCE, SuccessPredicate, TurnReference
from bench.record.event_log import EventLog, LoggedTimeline
from bench.record.replay import SCHEMA_VERSION, AnyLine, replay_log
from bench.services.openai.dialect import GA
from bench.services.openai.preview import PREVIEW
from bench.wire.connection import NetworkMeasured, ReceivedMessage
from bench.wire.dialect import BinaryMessage
from tests.helpers import (
    AT_NS,
    MS,
    build_script,
    build_turn,
    committed,
    created,
    delta,
    done,
    error,
    message,
    play,
    say,
    session_created,
    session_updated,
    transcribed,
    usage,
)
from tests.record.logged import logged

LIMITS = Timeouts(end_of_turn=2, first_delta=3, next_delta=3, response=4)
ABOUT: dict[str, Any] = {"dialect": "ga"}
QUIET, LOUD = bytes(960), bytes(100) + b"\x00\x40" * 430


def audio(payload: bytes, response_id: str = "r1") -> bytes:
    return delta(GA, "audio", response_id, base64.b64encode(payload).decode())


def speech(kind: str, item_id: str) -> bytes:
    return message(f"input_audio_buffer.speech_{kind}", item_id=item_id)


SERVICE_MESSAGES = [
    session_created(),
    session_updated(),
    *(speech(kind, item) for kind in ("started", "stopped") for item in ("i1", "i2")),
    committed("i1"),
    committed("i2"),
    transcribed("i1"),
    message("input_audio_buffer.timeout_triggered", item_id="i3"),
    *(created(response) for response in ("r1", "r2")),
    created("r2", rtbench_request="turn-1-response"),
    message("conversation.item.added", item={"id": "i4"}),
    *(
        audio(data, response)
        for response in ("r1", "r2")
        for data in (QUIET, LOUD, b"\x01" * 33, b"")
    ),
    delta(GA, "audio", "r1", "abc"),
    delta(GA, "audio", "r1", "ab?="),
    delta(GA, "text", "r1", 'a "word"\n'),
    delta(GA, "transcript", "r1"),
    delta(PREVIEW, "audio", "r1"),
    *(done(response, usage=usage(audio_out=3)) for response in ("r1", "r2")),
    done("r2", "cancelled"),
    error("rate_limit_exceeded", "turn-1-response"),
    error("conversation_already_has_active_response"),
    error("odd"),
    error("model_not_found"),
    error("session_expired"),
    error("rate_limit_exceeded", words="Please try again in 1m26.4s."),
    done(
        "r2",
        "failed",
        error={"code": "rate_limit_exceeded", "message": "Please try again in 250ms."},
    ),
    message(
        "rate_limits.updated", rate_limits=[{"name": "tokens", "limit": 6000, "remaining": "12"}]
    ),
    message("unknown.event"),
    b'{"type": "unknown.event", "field": "\\ud83d"}',
    b"{",
    b"\xff",
    b"[]",
    b'{\n "type": "later" }',
]

Tell = Callable[[Timeline, int], object]


def receive(text: bytes, error_ns: int, kernel: bool, is_binary: bool = False) -> Tell:
    data = BinaryMessage(text) if is_binary else text
    return lambda timeline, now_ns: timeline.apply(
        inputs.Received(
            GA.decode(data), ReceivedMessage(data, Arrival(now_ns, error_ns, kernel), len(data) + 2)
        )
    )


def put(
    name: str,
    audio_bytes: int,
    moments: dict[str, int],
    late: bool,
    ticket: int = 0,
    out_of_band: str = "",
) -> Tell:
    return lambda timeline, now_ns: timeline.apply(
        inputs.Sent(
            name,
            now_ns,
            99,
            7,
            ticket,
            audio_bytes=audio_bytes,
            instants=moments,
            late=late,
            untracked=out_of_band,
        )
    )


def transmit(ticket: int, acknowledged: bool, ago_ns: int = 0) -> Tell:
    return lambda timeline, now_ns: timeline.apply(
        inputs.Transmitted(ticket, now_ns - ago_ns, acknowledged)
    )


def begin(changes: dict[str, Any]) -> Tell:
    def apply(timeline: Timeline, now_ns: int) -> None:
        if timeline.turns.are_all_over:
            timeline.apply(
                inputs.TurnStarted(
                    now_ns, build_turn(timeline.session().turns_started + 1, **changes)
                )
            )

    return apply


BEGINS = st.fixed_dictionaries(
    {
        "wants_audio": st.booleans(),
        "transcription_due": st.booleans(),
        "vad": st.booleans(),
        "service_responds": st.booleans(),
        "reply_format": st.sampled_from(["pcm16", "g711_ulaw"]),
        "jitter_buffer_ns": st.sampled_from([0, 20 * MS]),
        "out_of_band": st.booleans(),
        "reference": st.sampled_from(
            [NO_REFERENCE, TurnReference("Hello", "hello there", "H", ("hello",))]
        ),
    }
).map(begin)
RECEIVES = st.builds(
    receive,
    st.sampled_from(SERVICE_MESSAGES),
    st.sampled_from([0, MS // 2, 2 * MS]),
    st.booleans(),
    st.booleans(),
)
SENDS = st.builds(
    put,
    st.sampled_from(["session.update", "response.create", "input_audio_buffer.append"]),
    st.sampled_from([0, 4800]),
    st.sampled_from([{}, {"speech_start": MS}, {"speech_end": 3 * MS}]),
    st.booleans(),
    st.integers(0, 3),
    st.sampled_from(["", "", "script-event"]),
)
TRANSMITS = st.builds(
    transmit, st.integers(0, 3), st.booleans(), st.sampled_from([0, 5_000, 60 * MS])
)
OTHERS: st.SearchStrategy[Tell] = st.one_of(
    st.builds(
        lambda kind: (
            lambda timeline, now_ns: timeline.apply(
                inputs.EventExpected(kind.name.lower(), now_ns + 500 * MS)
            )
        ),
        st.sampled_from([*ARRIVALS]),
    ),
    st.sampled_from([NetworkMeasured(5, 4, 1), NetworkMeasured(6, 4, 3, "proxy")]).map(
        lambda network: lambda timeline, now_ns: timeline.apply(network)
    ),
    st.just(lambda timeline, now_ns: timeline.expire(now_ns)),
    st.just(lambda timeline, now_ns: timeline.pop_turns(now_ns)),
    st.just(lambda timeline, now_ns: timeline.pop_turns(now_ns, {1: lambda turn: turn.reply_text})),
    st.just(lambda timeline, now_ns: timeline.apply(inputs.StoppedWaiting())),
    st.just(lambda timeline, now_ns: timeline.apply(inputs.TurnEnded(now_ns))),
    st.sampled_from(
        [
            inputs.ContinuesCall(AT_NS),
            inputs.ContinuesCall(None, 1, AT_NS, AT_NS, 1),
            inputs.NotContinued("within"),
            inputs.ReplacedBySession(),
        ]
    ).map(lambda item: lambda timeline, now_ns: timeline.apply(item)),
    st.just(lambda timeline, now_ns: timeline.apply(inputs.HistoryStarted(now_ns, 1))),
    st.sampled_from([(0, {"x-ms-region": "here"}), (40 * MS, {"retry-after": "7"})]).map(
        lambda facts: (
            lambda timeline, now_ns: timeline.apply(
                inputs.Connected({"tcp_done": now_ns}, facts[1], facts[0])
            )
        )
    ),
)
ENDS: list[Tell] = [
    lambda timeline, now_ns: timeline.apply(
        inputs.SessionFailed("unfinished", now_ns, "the run ended")
    ),
    lambda timeline, now_ns: timeline.apply(
        inputs.SessionFailed("throttled:handshake", now_ns, "429")
    ),
    lambda timeline, now_ns: timeline.apply(inputs.ConnectionClosed(1006, now_ns, "")),
    lambda timeline, now_ns: timeline.apply(
        inputs.ConnectionClosed(1001, now_ns, "maximum duration")
    ),
    lambda timeline, now_ns: timeline.apply(inputs.ScriptFinished(now_ns)),
]
ANYTHING: st.SearchStrategy[Tell] = st.one_of(BEGINS, RECEIVES, RECEIVES, SENDS, TRANSMITS, OTHERS)


@st.composite
def conversations(draw: st.DrawFn) -> list[tuple[Tell, int]]:
    """Draw the events of two turns as (event, ms since the event before).

    Some events are missing, and others are added.
    """
    steps: list[Tell] = [draw(receives(data)) for data in (session_created(), session_updated())]
    for number in (1, 2):
        steps.append(draw(BEGINS))
        steps += [draw(part) for part in turn_parts(f"i{number}", f"r{number}")]
    for _ in range(draw(st.integers(0, 3))):
        del steps[draw(st.integers(0, len(steps) - 1))]
    for _ in range(draw(st.integers(0, 6))):
        steps.insert(draw(st.integers(0, len(steps))), draw(ANYTHING))
    gaps = draw(st.lists(st.sampled_from([0, 1, 50, 50, 50, 2_100, 5_100]), min_size=1, max_size=7))
    return [(tell, gaps[place % len(gaps)]) for place, tell in enumerate(steps)]


def receives(data: bytes) -> st.SearchStrategy[Tell]:
    return st.builds(
        receive, st.just(data), st.sampled_from([0, MS // 2, 2 * MS]), st.booleans(), st.booleans()
    )


def turn_parts(item: str, response: str) -> list[st.SearchStrategy[Tell]]:
    """Return the events of one turn. The caller speaks, and the client also requests a response."""
    append = "input_audio_buffer.append"
    return [
        st.just(put(append, 4800, {"speech_start": MS}, False)),
        receives(speech("started", item)),
        st.builds(
            put,
            st.just(append),
            st.just(4800),
            st.just({"speech_end": 3 * MS}),
            st.booleans(),
            st.just(1),
        ),
        TRANSMITS,
        receives(speech("stopped", item)),
        receives(committed(item)),
        st.just(put("response.create", 0, {}, False, 2)),
        *(st.just(transmit(2, acknowledged)) for acknowledged in (False, True)),
        receives(created(response)),
        *(receives(audio(data, response)) for data in (QUIET, LOUD, LOUD)),
        receives(transcribed(item)),
        receives(done(response, usage=usage(audio_out=3))),
        OTHERS,
        st.just(lambda timeline, now_ns: timeline.apply(inputs.NetworkMeasured(6, 4, now_ns % 9))),
        st.just(lambda timeline, now_ns: timeline.pop_turns(now_ns)),
    ]


class StoringTimeline(LoggedTimeline):
    """A timeline that stores all turns that it has delivered, in `taken`."""

    def pop_turns(
        self, now_ns: int, judges: dict[int, SuccessPredicate] = NO_JUDGES
    ) -> list[TurnObservation]:
        self.taken = [*getattr(self, "taken", []), *(turns := super().pop_turns(now_ns, judges))]
        return turns


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@given(
    steps=conversations(),
    end=st.sampled_from(ENDS),
    record_audio=st.booleans(),
    responds=st.booleans(),
)
def test_a_replayed_log_gives_the_same_observations(
    folder: Path, steps: list[tuple[Tell, int]], end: Tell, record_audio: bool, responds: bool
) -> None:
    path = folder / "random.jsonl"
    path.unlink(missing_ok=True)
    log = EventLog(path, hide=str, record_audio=record_audio)
    live = StoringTimeline(
        SessionStart(AT_NS, 3, LIMITS, service_responds=responds), GA, log=log, about=ABOUT
    )
    now_ns = AT_NS
    for tell, gap_ms in steps:
        now_ns += gap_ms * MS
        tell(live, now_ns)
    end(live, now_ns)
    live.pop_turns(now_ns + 1)
    log.close()

    again = replay_log(path)
    assert log.error is None
    assert not again.cut
    assert list(again.turns) == live.taken
    assert again.session == live.session()
    assert again.session.retry_after_ns == live.session().retry_after_ns


# Complete sessions.


def test_a_replay_has_the_messages_in_their_order(tmp_path: Path) -> None:
    logged(tmp_path / "log.jsonl", build_script(say("hello", output="text")))
    passages = replay_log(tmp_path / "log.jsonl").passages

    assert [passage.name for passage in passages if passage.event is None] == [
        "session.update",
        "conversation.item.create",
        "response.create",
    ]
    assert [passage.at_ns for passage in passages] == sorted(passage.at_ns for passage in passages)
    assert passages[0].name == "session.created"


# Files that are not a complete log.


@pytest.fixture(scope="module")
def whole(folder: Path) -> bytes:
    logged(folder / "whole.jsonl", build_script(say("hello"), play(250)))
    return (folder / "whole.jsonl").read_bytes()


@given(data=st.data())
def test_a_truncated_log_gives_its_complete_lines(
    folder: Path, whole: bytes, data: st.DataObject
) -> None:
    path = folder / "cut.jsonl"
    first = whole.index(b"\n") + 1
    path.write_bytes(whole[: data.draw(st.integers(first, len(whole) - 1))])

    again = replay_log(path)
    assert again.cut
    assert again.session.turns_started == len(again.turns) == again.session.turns_ended
    # the last line may only report that the turns were delivered
    assert again.session.outcome in ("ok", "unfinished")


@given(
    place=st.integers(0, 10**6),
    junk=st.sampled_from(
        [b"", b"{}", b"[]", b"{", b'{"action":"take"}', b'{"action":"x"}', b"\xff"]
    ),
)
def test_a_damaged_line_is_refused_with_its_number(
    folder: Path, whole: bytes, place: int, junk: bytes
) -> None:
    path = folder / "damaged.jsonl"
    lines = whole.splitlines()
    number = 1 + place % (len(lines) - 2)
    path.write_bytes(b"\n".join([*lines[:number], junk, *lines[number + 1 :]]) + b"\n")

    with pytest.raises(UsageError, match=f"damaged.jsonl:{number + 1}: this line is damaged"):
        replay_log(path)


def test_an_invalid_pattern_of_a_turn_is_refused_with_its_line_number(
    tmp_path: Path, whole: bytes
) -> None:
    path = tmp_path / "damaged.jsonl"
    before, plan, after = whole.partition(b'"plan":{')
    assert plan
    path.write_bytes(before + plan + b'"reference":{"matches":"("},' + after)

    number = before.count(b"\n") + 1
    with pytest.raises(UsageError, match=f"damaged.jsonl:{number}: this line is damaged"):
        replay_log(path)


@given(junk=st.binary(max_size=200))
def test_a_file_that_is_no_log_is_refused(folder: Path, junk: bytes) -> None:
    path = folder / "junk.jsonl"
    path.write_bytes(junk)

    with pytest.raises(UsageError, match="is not an event log"):
        replay_log(path)


def test_a_newer_version_s_log_is_refused(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "newer.jsonl"
    ours, newer = (b'"schema":%d' % version for version in (SCHEMA_VERSION, SCHEMA_VERSION + 1))
    path.write_bytes(whole.replace(ours, newer, 1).replace(b'"planned"', b'"expected"', 1))

    with pytest.raises(UsageError, match="newer rtbench"):
        replay_log(path)


def test_an_older_version_s_log_is_refused(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "older.jsonl"
    path.write_bytes(whole.replace(b'"schema":%d' % SCHEMA_VERSION, b'"schema":4', 1))

    with pytest.raises(UsageError, match=r"written by an older rtbench \(schema 4\)"):
        replay_log(path)


def test_a_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        replay_log(tmp_path)
    with pytest.raises(UsageError, match="cannot be read"):
        replay_log(tmp_path / "nowhere.jsonl")


# Every kind of input.


@pytest.mark.parametrize("kind", get_args(inputs.AnyLogged), ids=lambda kind: kind.__name__)
def test_each_type_of_input_is_logged_and_replayed(
    kind: type[inputs.Input], tmp_path: Path
) -> None:
    example = EXAMPLES[kind]
    # the log itself sets `event`
    fields = [field for field in msgspec.structs.fields(kind) if field.name != "event"]
    assert [
        field.name for field in fields if getattr(example, field.name) == field.default
    ] == [], "would not be missed"
    log = EventLog(tmp_path / "log.jsonl", hide=str, record_audio=True)
    live = LoggedTimeline(SessionStart(AT_NS, 1, LIMITS), GA, log=log, about=ABOUT)
    live.apply(example)
    log.close()
    _, *written = (tmp_path / "log.jsonl").read_text().splitlines()

    assert [msgspec.json.decode(line, type=AnyLine) for line in written] == [example]
    assert (
        replay_log(tmp_path / "log.jsonl").session.instants.keys() >= live.session().instants.keys()
    )


EXAMPLES: dict[type[inputs.Input], inputs.AnyLogged] = {
    type(example): example
    for example in (
        inputs.Connected(
            {"dns_done": AT_NS + MS},
            {"x-ms-region": "here"},
            MS,
            {"dns_done": 5},
            "0a1b",
            b"\xff",
            AT_NS,
        ),
        inputs.TurnStarted(AT_NS + MS, build_turn()),
        inputs.Sent(
            "session.update",
            AT_NS + MS,
            99,
            7,
            3,
            4_800,
            {"speech_end": MS},
            True,
            untracked="script-event",
            item="item_1",
            played_ms=500,
        ),
        inputs.NotSent(160, "the agent held the call", {"speech_end": MS}),
        inputs.HistoryStarted(AT_NS + MS, 2),
        inputs.ContinuesCall(AT_NS, 2, AT_NS - MS, AT_NS - 2 * MS, 1),
        inputs.NotContinued("attempts"),
        inputs.ReplacedBySession(),
        inputs.Transmitted(3, AT_NS + MS, True),
        inputs.EventExpected("response_done", AT_NS + MS),
        inputs.InterruptionAwaited("speech", True),
        inputs.ClientInterrupted(AT_NS + MS),
        inputs.SoundStarted("g711_ulaw", 50 * MS),
        inputs.SoundEnded(),
        inputs.FunctionOutputSent("call_1", AT_NS + MS, "the script expects no call of hang_up"),
        inputs.NetworkMeasured(6, 4, 3, "proxy"),
        inputs.RtpMeasured(
            100,
            2,
            1,
            3 * MS,
            90,
            80,
            4,
            2 * MS,
            9 * MS,
            8 * MS,
            5 * MS,
            3,
            "h (SIP)",
            2,
            1,
            "5 duplicates",
            7,
            6 * MS,
            11 * MS,
            True,
            "OPUS",
            3,
            2_000 * MS,
            5 * MS,
            4,
        ),
        inputs.DeadlinePassed(AT_NS + MS),
        inputs.TurnEnded(AT_NS + MS),
        inputs.StoppedWaiting(),
        inputs.SessionFailed("unfinished", AT_NS + MS, "the run ended"),
        inputs.ConnectionClosed(1008, AT_NS + MS, "policy", True, "reset", 5),
        inputs.ScriptFinished(AT_NS + MS),
        inputs.TurnsDelivered(AT_NS + MS, [1], {1: True}, True),
    )
}


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ("HTTP 401: no", "HTTP 401: no"),
        (
            encoded([Cause(Code.TURN_SILENT), Cause(Code.HELD)]),
            "does not answer; the agent held the call",
        ),
    ],
)
def test_a_failure_in_a_log_has_its_causes_or_the_text_of_an_earlier_version(
    stored: str, words: str
) -> None:
    line = {"action": "fail", "outcome": "connect_failed:401", "at_ns": 1, "detail": stored}
    failed = msgspec.json.decode(msgspec.json.encode(line), type=inputs.SessionFailed)

    assert text_of(decoded(failed.cause)) == words
    assert msgspec.json.decode(msgspec.json.encode(failed)) == line
