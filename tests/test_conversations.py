"""Function calls, answers in several parts, and interruptions, with the behaviour of the simulator
on a virtual clock.

The ground truth contains all messages that the simulator sent and received, with their instants.
Every measured value is compared with the ground truth to the nanosecond.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import reduce
from itertools import accumulate
from operator import add
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.catalogue.timeouts import MAX_ROUNDS
from bench.observe.inputs import SessionStart
from bench.observe.observation import TurnObservation
from bench.observe.turn import LATE_TRANSCRIPT_NS
from bench.plan.functions import ScriptFunction
from bench.plan.steps import InterruptSettings, InterruptStep, PauseStep, SoundSettings, SoundStep
from bench.plan.turn_plan import InterruptTrigger
from bench.plan.turns import Step
from bench.record.event_log import EventLog, LoggedTimeline, LoggedTransport
from bench.record.replay import replay_log
from bench.record.rows import session_row
from bench.services.openai.dialect import FORMATS, GA
from bench.services.openai.preview import PREVIEW
from bench.session.session import Session
from bench.target.target import Credential
from bench.target.tokens import Keyring
from bench.wire.dialect import Dialect
from bench.wire.settings import McpServer, TurnDetection
from rtbench_simulator.profile import (
    FunctionCalls,
    McpSettings,
    PreambleSettings,
    Profile,
    SpeechDetection,
    quiet_profile,
)
from rtbench_simulator.recorded_replies import TOKEN_MS
from rtbench_simulator.services.voice_live import VOICE_LIVE
from tests.helpers import MS, REALTIME, Listening, S, say
from tests.memory_transport import PeerAnswer, VirtualClock
from tests.talking import (
    HALTING,
    ORDER,
    SPEECH,
    START_NS,
    VAD,
    WIRES,
    PatientTransport,
    Simulator,
    Talked,
    build_script,
    converse,
    decoded,
    over_reply,
    recording,
    sound,
    speak,
    talked,
)


def with_functions(
    *steps: Step,
    profile: Profile,
    delay_s: float = 0.0,
    seed: int = 1,
    listening: Listening | None = None,
    **session: Any,
) -> Talked:
    """Run a conversation in which the service may call the function `find_parcel`.

    The function returns after `delay_s`.
    """
    function = ScriptFunction(ORDER, [{"place": "out for delivery"}], delay=delay_s)
    script = build_script(*steps, tools=(ORDER,), **session)
    script = replace(script, functions={"find_parcel": function})
    return talked(script, Simulator(GA, profile, seed), listening=listening)


def events_sent_in(talk: Talked, response_id: str, *types: str) -> list[tuple[int, dict[str, Any]]]:
    """Return (instant, event) of each event of a response that has one of these types.

    The instant is the one at which the simulator sent the event.
    """
    return [
        (sent.due_ns, decoded(sent.body))
        for sent in talk.simulator.said
        if sent.response_id == response_id and sent.type in types
    ]


def received_events(talk: Talked, type_: str) -> Iterator[tuple[int, dict[str, Any]]]:
    return ((at_ns, event) for at_ns, event in talk.simulator.heard if event["type"] == type_)


def responses(talk: Talked) -> list[str]:
    return [
        sent.response_id
        for sent in talk.simulator.said
        if sent.type == "response.created" and sent.response_id
    ]


def calls_of(talk: Talked, response_id: str) -> list[int]:
    """Return the instants at which the arguments of the function calls of a response were
    complete.
    """
    return [
        at_ns
        for at_ns, _ in events_sent_in(talk, response_id, "response.function_call_arguments.done")
    ]


def audio_of(talk: Talked, response_id: str) -> dict[str, list[tuple[int, int]]]:
    """Return (instant, number of bytes) of each audio delta of a response. The key is the item
    of the delta.
    """
    items: dict[str, list[tuple[int, int]]] = {}
    for at_ns, event in events_sent_in(talk, response_id, "response.output_audio.delta"):
        items.setdefault(event["item_id"], []).append(
            (at_ns, len(base64.b64decode(event["delta"])))
        )
    return items


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    functions=st.builds(
        FunctionCalls,
        parallel=st.sampled_from([(1, 1), (2, 3)]),
        rounds=st.integers(1, 3),
        preamble=st.sampled_from([0.0, 1.0]),
    ),
    parts=st.builds(PreambleSettings, share=st.sampled_from([0.0, 1.0]), phases=st.booleans()),
    delay_s=st.sampled_from([0.0, 0.3]),
    spoken=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_metrics_of_a_turn_with_function_calls_equal_the_ground_truth(
    functions: FunctionCalls, parts: PreambleSettings, delay_s: float, spoken: bool, seed: int
) -> None:
    profile = replace(quiet_profile(), functions=functions, preamble=parts)
    session: dict[str, Any] = {"turn_detection": VAD} if spoken else {}
    step = speak(*SPEECH) if spoken else say()
    talk = with_functions(step, profile=profile, delay_s=delay_s, seed=seed, **session)

    (turn,) = talk.turns
    made = responses(talk)
    calling, last = made[:-1], made[-1]
    done_ns = [max(calls_of(talk, response_id)) for response_id in calling]
    outputs = [
        (at_ns, event["item"]["call_id"])
        for at_ns, event in received_events(talk, "conversation.item.create")
        if event["item"]["type"] == "function_call_output"
    ]
    asked = [at_ns for at_ns, _ in received_events(talk, "response.create")][-len(calling) :]
    assert (turn.outcome, turn.turn_type, len(calling)) == (
        "ok",
        "function_calls",
        functions.rounds,
    )
    assert (
        turn.function_calls
        == len(outputs)
        == sum(len(calls_of(talk, response_id)) for response_id in calling)
    )
    assert (talk.session.unrequested_responses, talk.session.answers_uncertain) == (0, False)
    assert (turn.response_id, turn.answer_response_id) == (made[0], last)
    assert turn.instants["function_call_done"] == done_ns[0]
    named = events_sent_in(talk, made[0], "response.output_item.added")
    assert turn.instants["function_call_added"] == min(
        at for at, event in named if event["item"]["type"] == "function_call"
    )
    assert turn.instants["answer_request_sent"] == asked[-1]
    own_ns = [
        max(at for at, _ in outputs if at < next_ns + 1) - done
        for done, next_ns in zip(done_ns, asked, strict=True)
    ]
    assert turn.function_execution_ns == sum(own_ns)
    assert all(own >= delay_s * 1000 * MS for own in own_ns)

    answer = list(audio_of(talk, last).values())[-1]
    first = next(audio for response_id in made for audio in audio_of(talk, response_id).values())
    assert (turn.instants["first_audio"], turn.instants["answer_audio"]) == (
        first[0][0],
        answer[0][0],
    )
    assert turn.preamble is (first is not answer and first != answer)
    assert (
        turn.instants["function_audible"]
        == turn.instants["answer_audible"]
        >= turn.instants["answer_audio"]
    )
    assert turn.instants["ended"] == events_sent_in(talk, last, "response.done")[0][0]
    total = sum(
        size
        for response_id in made
        for audio in audio_of(talk, response_id).values()
        for _, size in audio
    )
    assert turn.audio_bytes_received == total
    assert (turn.dead_air_ns or 0) > 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("spoken", [True, False])
@pytest.mark.parametrize(
    ("server", "rounds"),
    [
        (McpServer(label="docs", url="https://x", require_approval="never"), 1),
        (McpServer(label="docs", url="https://x", require_approval="always", approve=True), 2),
    ],
)
def test_the_metrics_of_a_turn_with_mcp_calls_equal_the_ground_truth(
    server: McpServer, rounds: int, spoken: bool, seed: int
) -> None:
    profile = replace(quiet_profile(), functions=FunctionCalls(rounds=rounds, parallel=(1, 2)))
    session: dict[str, Any] = {"turn_detection": VAD} if spoken else {}
    step = speak(*SPEECH) if spoken else say()
    talk = converse(step, profile=profile, seed=seed, mcp_servers=(server,), **session)

    def instants(name: str) -> list[int]:
        return [sent.due_ns for sent in talk.simulator.said if sent.type == name]

    (turn,) = talk.turns
    made = responses(talk)
    started, ended = (
        instants("response.mcp_call.in_progress"),
        instants("response.mcp_call.completed"),
    )
    changes = sorted([(at_ns, 1) for at_ns in started] + [(at_ns, -1) for at_ns in ended])
    running = accumulate(change for _, change in changes)
    executed_ns = sum(
        later - at_ns
        for (at_ns, _), (later, _), count in zip(changes, changes[1:], running, strict=False)
        if count
    )
    assert (talk.session.outcome, turn.outcome, turn.turn_type) == ("ok", "ok", "function_calls")
    assert turn.mcp_calls == len(started) == len(ended)
    assert (turn.mcp_execution_ns, turn.delegations) == (executed_ns, rounds)
    assert (turn.instants["mcp_call_started"], turn.instants["mcp_call_ended"]) == (
        started[0],
        ended[0],
    )
    assert (
        turn.instants["function_call_added"]
        == events_sent_in(talk, made[0], "response.output_item.added")[0][0]
    )
    requests = [at_ns for at_ns, _ in received_events(talk, "response.create")]
    assert turn.instants["answer_request_sent"] == requests[-1] >= ended[-1]
    assert (len(made), len(requests)) == (rounds + 1, rounds + (not spoken))
    assert talk.session.instants["mcp_listed"] == instants("mcp_list_tools.completed")[0]
    approvals = [
        event
        for _, event in received_events(talk, "conversation.item.create")
        if event["item"]["type"] == "mcp_approval_response"
    ]
    assert len(approvals) == (len(started) if server.approve else 0)


def test_a_turn_fails_if_the_script_does_not_approve_its_mcp_call() -> None:
    talk = converse(say(), say(), mcp_servers=(McpServer(label="docs", url="https://x"),))

    assert [turn.outcome for turn in talk.turns] == ["failed:mcp_approval"] * 2
    assert talk.turns[0].detail == "the service asks for the approval of a call of docs.search"


def test_the_token_of_an_mcp_server_reaches_only_the_service_and_a_replay_gives_the_same_turn(
    tmp_path: Path,
) -> None:
    keyring = Keyring([], mcp_tokens=[Credential("DOCS", "token-of-docs")])
    server = McpServer(
        label="docs", url="https://x", require_approval="never", authorization_env="DOCS"
    )
    script = build_script(say(), mcp_servers=(server,))
    simulator = Simulator(GA, quiet_profile(), 1)
    transport = PatientTransport(simulator, VirtualClock(START_NS))
    transport.fill = keyring.fill
    log = EventLog(tmp_path / "s.jsonl", hide=keyring.redact, record_audio=False)
    start = SessionStart(START_NS, 1, script.limits, mcp_servers=1)
    timeline = LoggedTimeline(start, GA, log=log, about={"dialect": "ga"})
    listening = Listening()
    Session(script, LoggedTransport(transport, log), timeline, listening, lambda: False).run()
    log.close()

    update = next(event for _, event in simulator.heard if event["type"] == "session.update")
    assert update["session"]["tools"][0]["authorization"] == "token-of-docs"
    logged = (tmp_path / "s.jsonl").read_text()
    assert "token-of-docs" not in logged + repr(session_row(timeline.session(), 0, keyring.redact))
    assert logged.count('"authorization":"***"') == 2, "sent, and returned by the service"
    (turn,) = listening.turns
    (replayed,) = replay_log(tmp_path / "s.jsonl").turns
    assert (turn.outcome, turn.mcp_calls) == ("ok", 1)
    assert replayed == turn


def test_a_session_fails_before_its_first_turn_if_the_tools_of_a_server_are_not_listed() -> None:
    profile = replace(quiet_profile(), mcp=McpSettings(failed_listings=1.0))
    talk = converse(say(), profile=profile, mcp_servers=(McpServer(label="docs", url="https://x"),))

    assert (talk.turns, talk.session.outcome, talk.session.turns_not_started) == (
        [],
        "failed:mcp_list_tools",
        1,
    )
    assert talk.session.detail == "the tools of the MCP server docs were not listed"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("delay_s", [0.0, 0.3, 2.0])
def test_function_calls_in_a_reply_to_a_pause_do_not_delay_the_outputs_of_later_calls(
    delay_s: float, seed: int
) -> None:
    patient = TurnDetection(silence_duration_ms=200, interrupt_response=False)
    profile = replace(quiet_profile(), functions=FunctionCalls())
    talk = with_functions(
        speak(*HALTING), say(), profile=profile, delay_s=delay_s, seed=seed, turn_detection=patient
    )

    first, _ = talk.turns
    outputs = [
        (at_ns, event["item"]["call_id"])
        for at_ns, event in received_events(talk, "conversation.item.create")
        if event["item"]["type"] == "function_call_output"
    ]
    called = {
        decoded(sent.body)["call_id"]: sent.due_ns
        for sent in talk.simulator.said
        if sent.type == "response.function_call_arguments.done"
    }
    assert [(turn.outcome, turn.function_calls) for turn in talk.turns] == [("ok", 1), ("ok", 1)]
    assert (first.vad_splits, len(called)) == (1, 3)
    assert [at_ns - called[call_id] for at_ns, call_id in outputs[1:]] == [round(delay_s * S)] * 2
    assert first.function_execution_ns == round(delay_s * S)


@pytest.mark.parametrize("wrong", ["wrong_name", "wrong_arguments"])
def test_a_call_of_an_undeclared_function_or_without_arguments_gets_an_error_as_output(
    wrong: str,
) -> None:
    always: dict[str, Any] = {wrong: 1.0}
    profile = replace(quiet_profile(), functions=FunctionCalls(**always))
    talk = with_functions(say(), say(), profile=profile)

    assert {turn.outcome for turn in talk.turns} == {"wrong_function_call"}
    assert (talk.session.outcome, talk.session.service_errors) == ("ok", 0)
    outputs = [
        event["item"]["output"]
        for _, event in received_events(talk, "conversation.item.create")
        if "output" in event["item"]
    ]
    assert len(outputs) == 2
    assert all("error" in output for output in outputs)


def test_a_python_function_receives_the_arguments_of_the_call() -> None:
    asked: list[str] = []
    function = ScriptFunction(ORDER, compute=lambda order: asked.append(order) or {"order": order})  # type: ignore[func-returns-value]
    script = replace(build_script(say(), tools=(ORDER,)), functions={"find_parcel": function})
    talk = talked(script, Simulator(GA, quiet_profile(), 1))

    assert talk.turns[0].outcome == "ok"
    assert len(asked) == 1


# Interruptions.


def played_ns_of(audio: list[tuple[int, int]], jitter_ns: int, stopped_ns: int) -> int:
    """Return how many ns of an item's audio have been played until the player stops at
    `stopped_ns`.

    If audio is late, the player waits for it, and plays it as soon as it arrives.
    """
    played_ns, free_ns = 0, audio[0][0] + jitter_ns
    for at_ns, size in audio:
        length_ns = FORMATS["pcm16"].duration_ns(size)
        begins_ns, free_ns = max(at_ns, free_ns), max(at_ns, free_ns) + length_ns
        played_ns += min(length_ns, max(0, stopped_ns - begins_ns)) if at_ns <= stopped_ns else 0
    return played_ns


def check_interruption(turn: TurnObservation, talk: Talked, stopped_ns: int) -> int:
    """Check the values that a turn reports about its interruption against the audio that was sent,
    received and played.

    Return the length of the played audio in ns.
    """
    received, length = audio_of(talk, turn.response_id), FORMATS["pcm16"].duration_ns
    cuts = {
        event["item_id"]: event["audio_end_ms"]
        for _, event in received_events(talk, "conversation.item.truncate")
        if event["event_id"].startswith(f"turn-{turn.turn}-")
    }
    received_ns = sum(length(size) for audio in received.values() for _, size in audio)
    late = sum(size for audio in received.values() for at_ns, size in audio if at_ns > stopped_ns)
    assert turn.late_audio_ns == length(late)
    assert turn.unplayed_audio_ns is not None
    played_ns = received_ns - turn.unplayed_audio_ns
    assert played_ns == played_ns_of(
        next(iter(received.values())), talk.script.jitter_buffer_ns, stopped_ns
    )
    assert cuts == ({next(iter(received)): played_ns // MS} if turn.unplayed_audio_ns else {})
    assert talk.session.service_errors == 0, "never more than was received"
    last_ns = max(at_ns for audio in received.values() for at_ns, _ in audio)
    done = [
        (at_ns, event["response"]["status"])
        for at_ns, event in events_sent_in(talk, turn.response_id, "response.done")
    ]
    stopped = done[0][1] == "cancelled"
    assert turn.instants.get("barge_in_last_audio") == (
        last_ns if stopped and last_ns > turn.instants["barge_in"] else None
    )
    assert turn.instants.get("barge_in_response_done") == (done[0][0] if stopped else None)
    assert turn.received_audio_ns == received_ns
    assert turn.usage is not None
    share = turn.unplayed_audio_ns / received_ns
    assert share * turn.usage.audio_out == pytest.approx(
        turn.unplayed_audio_ns / (TOKEN_MS * MS)
    ), "its tokens"
    return played_ns


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    after_ms=st.integers(0, 1_500), speed=st.sampled_from([1.0, 4.0, 20.0]), seed=st.integers(0, 99)
)
def test_the_metrics_of_a_reply_that_speech_interrupts_equal_the_ground_truth(
    after_ms: int, speed: float, seed: int
) -> None:
    interrupting = over_reply(speak(*SPEECH), InterruptTrigger(after_ns=after_ms * MS))
    profile = replace(quiet_profile(), generation_speed=speed)
    talk = converse(
        speak(*SPEECH), interrupting, speak(*SPEECH), profile=profile, seed=seed, turn_detection=VAD
    )

    first, second, _ = talk.turns
    started = [
        sent.due_ns
        for sent in talk.simulator.said
        if sent.type == "input_audio_buffer.speech_started"
    ]
    if first.outcome == "ok":  # the reply had ended before the service detected the speech
        assert first.yielded is None
        return
    assert [turn.outcome for turn in talk.turns] == ["interrupted", "ok", "ok"]
    assert [turn.turn_type for turn in talk.turns] == ["regular", "after_interruption", "regular"]
    assert first.instants["barge_in"] == second.instants["speech_start"]
    assert first.instants["barge_in_detected"] == first.instants["barge_in_silent"] == started[1]
    assert first.yielded is True
    assert first.overlap_ns is not None
    assert 0 <= first.overlap_ns <= started[1] - first.instants["barge_in"]
    check_interruption(first, talk, started[1])
    assert len({turn.response_id for turn in talk.turns}) == 3
    assert second.cut_off is False


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    after_ms=st.integers(0, 1_500), speed=st.sampled_from([1.0, 4.0, 20.0]), seed=st.integers(0, 99)
)
def test_the_metrics_of_a_reply_that_the_client_interrupts_equal_the_ground_truth(
    after_ms: int, speed: float, seed: int
) -> None:
    profile = replace(quiet_profile(), generation_speed=speed)
    talk = converse(
        say(),
        InterruptStep(InterruptSettings(cue=InterruptTrigger(after_ns=after_ms * MS))),
        say(),
        profile=profile,
        seed=seed,
    )

    first, second = talk.turns
    if first.outcome == "ok":
        return
    assert (first.outcome, second.outcome) == ("interrupted", "ok")
    cancels = [at_ns for at_ns, _ in received_events(talk, "response.cancel")]
    assert cancels in ([], [first.instants["barge_in"]])
    assert check_interruption(first, talk, first.instants["barge_in"]) >= after_ms * MS


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    after_ms=st.integers(0, 1_500),
    speed=st.sampled_from([1.0, 4.0, 20.0]),
    ignored=st.booleans(),
    spoken=st.booleans(),
    dialect=st.sampled_from([dialect for name, dialect in REALTIME.items() if name in WIRES]),
    seed=st.integers(0, 99),
)
def test_truncation_correct_equals_the_ground_truth(
    after_ms: int, speed: float, ignored: bool, spoken: bool, dialect: Dialect, seed: int
) -> None:
    profile = replace(
        quiet_profile(), generation_speed=speed, ignored_truncate_share=float(ignored)
    )
    cue = InterruptTrigger(after_ns=after_ms * MS)
    over = (
        over_reply(speak(*SPEECH), cue, verify=True)
        if spoken
        else InterruptStep(InterruptSettings(cue=cue, verify_truncation=True))
    )
    talk = converse(
        speak(*SPEECH), over, say(), profile=profile, seed=seed, dialect=dialect, turn_detection=VAD
    )

    first, *_, last = talk.turns
    cuts = [at_ns for at_ns, _ in received_events(talk, "conversation.item.truncate")]
    asked = [at_ns for at_ns, _ in received_events(talk, "conversation.item.retrieve")]
    assert first.truncation_correct is ((not ignored) if cuts else None)
    assert len(asked) == len(cuts)
    if cuts:
        shown = [
            sent.due_ns
            for sent in talk.simulator.said
            if sent.type == "conversation.item.retrieved"
        ]
        assert asked[0] == max(first.instants["truncated"], first.instants["ended"])
        assert shown[0] <= last.start_ns
    assert [turn.truncation_correct for turn in talk.turns[1:]] == [None] * (len(talk.turns) - 1)
    assert talk.session.service_errors == 0


def test_an_item_that_the_service_does_not_return_is_awaited_as_long_as_a_late_transcript() -> None:
    class Secretive(Simulator):
        """A simulator that does not answer requests for an item."""

        def say(self, now_ns: int) -> Iterator[PeerAnswer]:
            answers = cast(Iterable[tuple[int, bytes]], super().say(now_ns))
            return ((at_ns, data) for at_ns, data in answers if b"item.retrieved" not in data)

    script = build_script(
        say(),
        InterruptStep(InterruptSettings(verify_truncation=True)),
        say(),
        InterruptStep(InterruptSettings(verify_truncation=True)),
    )
    talk = talked(script, Secretive(GA, quiet_profile(), 1))

    first, second = talk.turns
    assert (first.truncation_correct, second.truncation_correct) == (False, False)
    assert second.start_ns - first.instants["ended"] == LATE_TRANSCRIPT_NS
    assert talk.session.instants["ended"] - second.instants["ended"] == LATE_TRANSCRIPT_NS


@pytest.mark.parametrize(
    ("min_speech_ms", "outcome"), [(0, "cancelled:turn_detected"), (1_000, "ok")]
)
def test_a_sound_stops_a_reply_only_if_the_service_detects_speech(
    min_speech_ms: int, outcome: str
) -> None:
    profile = replace(
        quiet_profile(), vad=SpeechDetection(min_speech_ms=min_speech_ms), generation_speed=20.0
    )
    cough = SoundStep(
        SoundSettings(
            audio=recording(sound(20, 300, 20)),
            kind="noise",
            cue=InterruptTrigger(after_ns=300 * MS),
        )
    )
    patient = speak(30, 1_500)
    talk = converse(patient, cough, patient, profile=profile, turn_detection=VAD)

    first, second = talk.turns
    assert (first.outcome, first.interruption, first.yielded) == (outcome, "noise", None)
    assert first.false_yield is (outcome != "ok")
    assert (second.outcome, second.turn_type) == ("ok", "regular")
    assert talk.session.unattributed_commits == (outcome != "ok")


# Sounds while nothing is played.


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    sounds=st.lists(
        st.tuples(st.sampled_from([150, 600, 1_500]), st.sampled_from([0, 4_000])),
        min_size=1,
        max_size=3,
    ),
    first=st.booleans(),
    min_speech_ms=st.sampled_from([0, 400, 5_000]),
    speed=st.sampled_from([0.8, 4.0]),
    silence_ms=st.sampled_from([200, 2_500]),
    responds=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_false_reply_to_a_sound_in_silence_equals_the_ground_truth_and_disturbs_no_turn(
    sounds: list[tuple[int, int]],
    first: bool,
    min_speech_ms: int,
    speed: float,
    silence_ms: int,
    responds: bool,
    seed: int,
) -> None:
    profile = replace(
        quiet_profile(), vad=SpeechDetection(min_speech_ms=min_speech_ms), generation_speed=speed
    )
    detection = TurnDetection(silence_duration_ms=silence_ms, create_response=responds)
    heard_ones = [
        SoundStep(
            SoundSettings(
                audio=recording(sound(20, length_ms, 20)),
                kind="talking_to_others",
                during="silence",
            )
        )
        for length_ms, _ in sounds
    ]
    between: list[Step] = [
        step
        for one, (_, ms) in zip(heard_ones, sounds, strict=True)
        for step in (one, PauseStep(ms / 1_000))
    ]
    patient = speak(30, 6_000, 50)
    steps = [*between, patient] if first else [patient, *between, patient]
    talk = converse(*steps, profile=profile, seed=seed, turn_detection=detection)

    assert {turn.outcome for turn in talk.turns} == {"ok"}
    assert talk.session.service_errors == 0
    *_, last = talk.turns
    is_speech = [length_ms > min_speech_ms for length_ms, _ in sounds]
    assert last.false_reply is (any(is_speech) if responds else None)
    assert talk.session.unattributed_commits == sum(is_speech)
    assert not talk.session.unrequested_responses
    assert [turn.false_reply for turn in talk.turns[:-1]] == [None] * (len(talk.turns) - 1)
    made = responses(talk)
    assert [turn.response_id for turn in talk.turns] == [*made[: len(talk.turns) - 1], made[-1]]
    assert len(made) == len(talk.turns) + (sum(is_speech) if responds else 0)
    # the reply was played to its end before the caller spoke again
    for stray in made[len(talk.turns) - 1 : -1]:
        audio = [piece for pieces in audio_of(talk, stray).values() for piece in pieces]
        end_ns = (
            audio[0][0]
            + talk.script.jitter_buffer_ns
            + FORMATS["pcm16"].duration_ns(sum(n for _, n in audio))
        )
        assert all(at_ns >= end_ns for at_ns in next_loud_instant(talk, audio[0][0]))


def next_loud_instant(talk: Talked, since_ns: int) -> list[int]:
    """Return the first instant after `since_ns` at which the caller or a noise becomes audible.

    Return a list with this instant, or an empty list if there is no such instant.
    """
    speech = ("sound-", "turn-")
    sent = [
        (at_ns, event["event_id"])
        for at_ns, event in received_events(talk, "input_audio_buffer.append")
    ]
    began = [
        at_ns for at_ns, event_id in sent if event_id.startswith(speech) and event_id.endswith("-1")
    ]
    return [at_ns for at_ns in began if at_ns > since_ns][:1]


def test_a_late_vad_reply_to_a_sound_counts_as_a_false_reply() -> None:
    slow = TurnDetection(silence_duration_ms=6_000)
    murmur = SoundStep(
        SoundSettings(
            audio=recording(sound(20, 900, 20)), kind="talking_to_others", during="silence"
        )
    )
    talk = converse(speak(30, 1_500, 50), murmur, say(), turn_detection=slow)

    assert [(turn.outcome, turn.false_reply) for turn in talk.turns] == [("ok", None), ("ok", True)]


def test_the_words_of_a_moot_interruption_are_spoken_after_the_reply() -> None:
    late = over_reply(speak(*SPEECH), InterruptTrigger(after_ns=60_000 * MS))
    talk = converse(speak(*SPEECH), late, turn_detection=VAD)

    first, second = talk.turns
    assert (first.outcome, first.interruption, first.interruption_missed, first.yielded) == (
        "ok",
        None,
        True,
        None,
    )
    assert (talk.session.interruptions_planned, talk.session.interruptions_missed) == (1, 1)
    assert (second.outcome, second.turn_type) == ("ok", "regular")
    assert second.start_ns >= first.instants["ended"]


# Fillers.


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    triggers=st.sampled_from([("latency",), ("tool",), ("latency", "tool")]),
    threshold_ms=st.sampled_from([100, 600, 5_000]),
    rounds=st.integers(0, 2),
    delay_s=st.sampled_from([0.0, 0.15, 0.5, 6.0]),
    spoken=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_turn_with_fillers_has_the_metrics_of_its_answer_and_its_own_turn_type(
    triggers: tuple[str, ...],
    threshold_ms: int,
    rounds: int,
    delay_s: float,
    spoken: bool,
    seed: int,
) -> None:
    functions = FunctionCalls(share=float(rounds > 0), rounds=max(1, rounds))
    profile = replace(quiet_profile(), functions=functions)
    setting = {
        "type": "static_interim_response",
        "triggers": list(triggers),
        "latency_threshold_ms": threshold_ms,
    }
    function = ScriptFunction(ORDER, [{"place": "depot"}], delay=delay_s)
    steps, detection = ([speak(*SPEECH)] * 2, VAD) if spoken else ([say(), say()], None)
    script = build_script(
        *steps,
        tools=(ORDER,),
        extra={"interim_response": setting},
        dialect=PREVIEW,
        turn_detection=detection,
    )
    service = Simulator(PREVIEW, profile, seed, wire=VOICE_LIVE)
    talk = talked(replace(script, functions={"find_parcel": function}), service)

    assert [turn.outcome for turn in talk.turns] == ["ok", "ok"]
    assert talk.session.service_errors == 0
    deltas_sent = [
        (sent.due_ns, decoded(sent.body)) for sent in talk.simulator.said if sent.audio_bytes
    ]
    for turn, after in zip(talk.turns, [*talk.turns[1:], None], strict=True):
        assert turn.turn_type == ("function_calls+filler" if rounds else "filler")
        mine = [
            (at_ns, event)
            for at_ns, event in deltas_sent
            if turn.start_ns <= at_ns and (after is None or at_ns < after.start_ns)
        ]
        items = dict.fromkeys(event["item_id"] for _, event in mine)
        answer = next(at_ns for at_ns, event in mine if event["item_id"] == list(items)[-1])
        assert (turn.instants["first_audio"], turn.instants["answer_audio"]) == (mine[0][0], answer)
        assert turn.preamble is (len(items) > 1)
        assert turn.audio_bytes_received == sum(
            len(base64.b64decode(event["delta"])) for _, event in mine
        )


# Turns without an end.


def test_a_turn_with_endless_function_calls_ends_as_limit_exceeded() -> None:
    """With `tool_choice: required`, the model calls a function in every response, whatever the
    function returns.
    """
    talk = with_functions(say(), say(), profile=quiet_profile(), tool_choice="required")

    (turn,) = talk.turns
    assert (turn.outcome, talk.session.outcome) == ("limit_exceeded:calls", "limit_exceeded:calls")
    assert turn.detail == f"over {MAX_ROUNDS} responses in a row that called functions"
    assert turn.function_calls == len(responses(talk)) == MAX_ROUNDS + 1
    assert (
        turn.instants["ended"] == events_sent_in(talk, responses(talk)[-1], "response.done")[0][0]
    )
    assert (talk.session.turns_planned, talk.session.turns_started) == (
        2,
        1,
    ), "what is left of the script is lost"


def test_the_cost_of_each_response_is_counted_when_it_is_done() -> None:
    profile = replace(quiet_profile(), functions=FunctionCalls(rounds=3))
    talk = with_functions(say(), say(), profile=profile)

    paid = talk.listening.paid_for
    assert len(paid) == len(responses(talk)) == 8
    assert sum(paid[1:], paid[0]) == reduce(add, (turn.usage for turn in talk.turns))


def test_a_session_over_budget_requests_no_further_response() -> None:
    profile = replace(quiet_profile(), functions=FunctionCalls(rounds=3))
    talk = with_functions(say(), say(), profile=profile, listening=Listening(spent_after=2))

    (turn,) = talk.turns
    assert len(responses(talk)) == len(talk.listening.paid_for) == 2
    assert (turn.outcome, turn.detail) == ("unfinished", "the run's budget is spent")
