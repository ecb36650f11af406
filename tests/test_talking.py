"""Complete conversations with the behaviour of the simulator, without a network.

Each measured value is compared with the ground truth. The client and the service share one virtual
clock, and messages arrive without a delay. The ground truth contains all that the simulator sent,
all that the session sent, the instants of both, and the samples of the reply.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product
from typing import Any, cast, get_args

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bench.catalogue.metrics import segments
from bench.catalogue.outcomes import SUCCESSFUL
from bench.catalogue.timeouts import Timeouts
from bench.catalogue.turn_detection import DetectorName
from bench.plan.recordings import BackgroundNoise
from bench.plan.steps import (
    MessageStep,
    PauseStep,
)
from bench.plan.turns import Step
from bench.services.openai.dialect import FORMATS, GA, OpenAIDialect
from bench.services.qwen import QWEN as QWEN_DIALECT
from bench.services.voice_live import VOICE_LIVE as VOICE_LIVE_DIALECT
from bench.services.xai import XAI as XAI_DIALECT
from bench.wire.audio import AudioFormatName
from bench.wire.dialect import Dialect, Feature
from bench.wire.settings import SessionSettings, TurnDetection
from rtbench_simulator.profile import Profile, quiet_profile
from tests.examples import some
from tests.helpers import (
    FIRST_OF_FAMILIES,
    MS,
    Listening,
    S,
    build_message,
    respond,
    say,
)
from tests.memory_transport import PeerAnswer
from tests.talking import (
    DETECTIONS,
    EDGES,
    HALTING,
    PAUSES,
    SPEECH,
    SPOKEN,
    START_NS,
    STARTS,
    TYPED,
    UNTRACKED_STEPS,
    VAD,
    Conversation,
    Exact,
    Simulator,
    Talked,
    Truth,
    build_script,
    conversations,
    converse,
    recording,
    sayable,
    sound,
    speak,
    talked,
)

# The ground truth.

METRICS = {
    "ttfa": ("measured_from", "first_audio"),
    "ttft": ("measured_from", "first_text"),
    "transcript_first": ("measured_from", "first_transcript"),
    "transcript_total": ("measured_from", "transcript_done"),
    "transcript_lead": ("first_transcript", "first_audio"),
    "response_total": ("measured_from", "response_done"),
    "voice_to_voice": ("speech_end", "first_audible"),
    "answer_ttfa": ("measured_from", "answer_audio"),
    "answer_voice_to_voice": ("speech_end", "answer_audible"),
    "end_of_turn_delay": ("speech_end", "speech_stopped"),
    "start_of_speech_delay": ("speech_start", "speech_started"),
    "input_transcript": ("committed", "input_transcribed"),
    "input_transcript_total": ("speech_end", "input_transcribed"),
    "input_transcript_first": ("speech_start", "first_input_transcript"),
}


def check(talk: Talked, edges: Mapping[int, tuple[int, int]]) -> None:
    """Check all values of all turns. Instants must agree to the ns, and durations to 2 ns."""
    truth = Truth(talk, edges)
    for turn in talk.turns:
        instants = truth.instants(turn.turn)
        assert turn.outcome == "ok"
        assert turn.instants.keys() == instants.keys()
        assert {
            name: at_ns for name, at_ns in turn.instants.items() if abs(at_ns - instants[name]) >= 1
        } == {}

        measured_from = "request_sent" if "request_sent" in instants else "speech_end"
        instants["measured_from"] = instants[measured_from]
        metrics = {
            name: instants[end] - instants[begin]
            for name, (begin, end) in METRICS.items()
            if {begin, end} <= instants.keys()
        }
        deltas = truth.deltas(turn.turn)
        if deltas:
            _, metrics["stall_duration"], stall_count = truth.played(turn.turn)
            assert turn.stall_count == stall_count
            assert turn.gaps_ns == tuple(
                after - before for (before, _), (after, _) in pairwise(deltas)
            )
            rate = (
                cast("OpenAIDialect", talk.script.dialect)
                .output_format_for(talk.script.settings)
                .bytes_per_s
            )
            after_first_s = sum(len(data) for _, data in deltas[1:]) / rate
            assert turn.audio_speed == pytest.approx(
                after_first_s / ((deltas[-1][0] - deltas[0][0]) / S)
            )
        assert turn.audio_bytes_received == sum(len(data) for _, data in deltas)
        assert turn.measured_from == measured_from
        assert (turn.reply_text, turn.input_text) == truth.words(turn.turn)
        assert (turn.usage.audio_out > 0 if turn.usage else None) == bool(deltas)
        assert turn.metrics_ns().keys() == metrics.keys()
        assert {
            name: ns for name, ns in turn.metrics_ns().items() if abs(ns - metrics[name]) >= 2
        } == {}
        cut = segments(turn.instants)
        assert sum(ns for _, _, ns in cut) == turn.metrics_ns().get("voice_to_voice", 0)
        assert bool(cut) == ("voice_to_voice" in metrics)


def truth_of_the_start(talk: Talked) -> dict[str, int]:
    due = {sent.type: sent.due_ns for sent in reversed(talk.simulator.said)}
    asked_ns = talk.simulator.heard[0][0]
    return {
        "session_ready": due.get("conversation.created", due["session.created"]) - START_NS,
        "session_update": due["session.updated"] - asked_ns,
    }


def truth_of_the_first_answer(talk: Talked, edges: Mapping[int, tuple[int, int]]) -> Exact:
    """Return the time from dialling until the first audible sample of the first answer.

    The time that the caller used after the session was ready is subtracted.
    """
    instants = Truth(talk, edges).instants(1)
    ready_ns = next(sent.due_ns for sent in talk.simulator.said if sent.type == "session.updated")
    origin_ns = instants["request_sent"] if "request_sent" in instants else instants["speech_end"]
    return instants["first_audible"] - START_NS - max(0, origin_ns - ready_ns)


# Metrics.

WAYS: dict[str, tuple[TurnDetection | None, tuple[Step, ...]]] = {
    "server VAD": (VAD, (speak(*SPEECH, 200), PauseStep(0.9), speak(*SPEECH, 200, chunk_ms=60))),
    "semantic VAD": (
        TurnDetection(type="semantic_vad", eagerness="high"),
        (speak(*SPEECH), speak(*SPEECH)),
    ),
    "VAD and client request": (
        TurnDetection(create_response=False),
        (speak(*SPEECH), speak(*SPEECH)),
    ),
    "client commit": (None, (speak(*SPEECH), PauseStep(0.3), speak(*SPEECH, 100, chunk_ms=20))),
    "client commit, unpaced": (None, (speak(*SPEECH, paced=False), speak(*SPEECH, paced=False))),
    "typed": (None, (say(), say(output="text"), respond())),
    "text and speech": (
        VAD,
        (MessageStep(build_message("I am Ada.")), speak(*SPEECH), speak(*SPEECH)),
    ),
    "text and speech, client commit": (
        None,
        (MessageStep(build_message("I am Ada.")), speak(*SPEECH), say()),
    ),
    "out of band": (
        None,
        (say(), respond(conversation="none", input=(build_message("Is it rude?"),)), say()),
    ),
    "out of band with a VAD": (
        VAD,
        (speak(*SPEECH), respond(conversation="none", output="text"), speak(*SPEECH)),
    ),
    "mixed": (
        VAD,
        (say(), speak(*SPEECH), PauseStep(2), say(output="text"), speak(*SPEECH, chunk_ms=200)),
    ),
}
OF_VOICE_LIVE: dict[str, tuple[TurnDetection | None, tuple[Step, ...]]] = {
    name: (
        TurnDetection(type=name, silence_duration_ms=400, remove_filler_words=True),
        (speak(*SPEECH), speak(*SPEECH)),
    )
    for name in get_args(DetectorName)
    if name.startswith("azure_")
}
OTHERS = (XAI_DIALECT, QWEN_DIALECT)
TALKS_OF_OTHERS = [
    pytest.param(way, dialect, id=f"{way}-{dialect.name}")
    for dialect in OTHERS
    for way, (detection, _) in WAYS.items()
    if not way.startswith("out of band")
    if detection is None
    or dialect.unsupported_setting(SessionSettings(turn_detection=detection)) is None
]
TALKS = [
    pytest.param(way, dialect, id=f"{way}-{dialect.name}")
    for dialect in FIRST_OF_FAMILIES
    for way in (WAYS | OF_VOICE_LIVE if dialect is VOICE_LIVE_DIALECT else WAYS)
    if Feature.OUT_OF_BAND not in dialect.missing_features or not way.startswith("out of band")
]


@pytest.mark.parametrize(
    ("way", "dialect", "format", "speed"),
    [
        pytest.param(*talk.values, format, speed, id=f"{talk.id}-{format}-{speed}")
        for number, talk in enumerate(TALKS)
        for format, speed in some([*product(FORMATS, (4.0, 0.8))], 3, number)
    ],
)
def test_the_metrics_of_all_dialects_and_turn_detections_equal_the_ground_truth(
    way: str, speed: float, format: AudioFormatName, dialect: Dialect
) -> None:
    check_all_metrics(way, speed, format, dialect)


@pytest.mark.parametrize(("way", "dialect"), TALKS_OF_OTHERS)
def test_the_metrics_of_other_services_dialects_equal_the_ground_truth(
    way: str, dialect: Dialect
) -> None:
    check_all_metrics(way, 4.0, None, dialect)


def check_all_metrics(
    way: str, speed: float, format: AudioFormatName | None, dialect: Dialect
) -> None:
    detection, steps = (WAYS | OF_VOICE_LIVE)[way]
    profile = replace(quiet_profile(), generation_speed=speed)
    talk = converse(
        *steps,
        profile=profile,
        dialect=dialect,
        turn_detection=detection,
        input_format=format,
        output_format=format,
        seed=len(way),
    )

    assert talk.session.outcome == "ok"
    assert len(talk.turns) == len(talk.script.turns)
    check(talk, dict.fromkeys(range(1, 6), EDGES))
    if speed < 1:
        assert any(turn.stall_count for turn in talk.turns)
    assert talk.session.metrics_ns().items() >= truth_of_the_start(talk).items()
    cold_ns = talk.session.metrics_ns()["connect_to_first_audible"]
    assert abs(cold_ns - truth_of_the_first_answer(talk, dict.fromkeys(range(1, 6), EDGES))) < 2
    assert talk.session.unattributed_commits == talk.session.service_errors == 0
    assert {turn.vad_splits for turn in talk.turns} <= {0, None}


# The end of speech.


def edge_in_ms(talk: Talked) -> Fraction:
    """Return the end of speech that the session measured, in ms after the ground truth of the
    recording's start.
    """
    end_ns = talk.turns[0].instants["speech_end"]
    return (end_ns - Truth(talk, {}).microphone(1, 0)) / MS


@pytest.mark.parametrize("trailing_ms", [0, 300])
@pytest.mark.parametrize("chunk_ms", [20, 50, 100, 200])
@pytest.mark.parametrize("speech_ms", [613, 700.5])
def test_the_end_of_speech_does_not_depend_on_chunk_size_or_trailing_silence(
    speech_ms: float, chunk_ms: int, trailing_ms: int
) -> None:
    turn = speak(30, speech_ms, trailing_ms, chunk_ms=chunk_ms)
    talk = converse(turn, turn_detection=VAD)

    assert abs(edge_in_ms(talk) - Fraction(30 + speech_ms)) <= 1
    check(talk, {1: (EDGES[0], round((30 + speech_ms) * 24))})


def test_background_noise_does_not_move_the_end_of_speech() -> None:
    noise = BackgroundNoise(recording(sound(0, 800, level=500, seed=5)), snr_db=30)
    talk = converse(speak(*SPEECH, 100), speak(*SPEECH, 100), turn_detection=VAD, background=noise)

    assert [turn.outcome for turn in talk.turns] == ["ok", "ok"]
    check(talk, dict.fromkeys((1, 2), EDGES))


# A VAD that mistakes a pause for the end.


def test_a_reply_to_a_pause_that_is_cancelled_fails_only_its_turn() -> None:
    hasty = TurnDetection(silence_duration_ms=200)
    talk = converse(speak(*HALTING), speak(*SPEECH), turn_detection=hasty)

    assert [turn.outcome for turn in talk.turns] == ["cancelled:turn_detected", "ok"]
    assert (
        talk.session.outcome,
        talk.session.turns_succeeded,
        talk.session.unattributed_commits,
    ) == ("ok", 1, 0)


@pytest.mark.parametrize("seed", range(6))
def test_a_reply_to_a_pause_that_is_not_cancelled_splits_the_turn(seed: int) -> None:
    patient = TurnDetection(silence_duration_ms=200, interrupt_response=False)
    talk = converse(speak(*HALTING), turn_detection=patient, seed=seed)

    (turn,) = talk.turns
    refused = talk.session.service_errors
    assert (turn.outcome, turn.vad_splits) == ("ok", 1)
    assert (
        len({sent.response_id for sent in talk.simulator.said if sent.response_id}) == 2 - refused
    )
    assert turn.metrics_ns()["end_of_turn_delay"] > 0
    assert sum(ns for _, _, ns in segments(turn.instants)) == turn.metrics_ns().get(
        "voice_to_voice", 0
    )


def test_a_pause_causes_no_request_if_the_client_requests_responses() -> None:
    talk = converse(
        speak(*HALTING),
        turn_detection=TurnDetection(silence_duration_ms=200, create_response=False),
    )

    (turn,) = talk.turns
    assert (turn.outcome, turn.vad_splits) == ("ok", 1)
    assert turn.instants["request_sent"] == turn.instants["committed"] > turn.instants["speech_end"]


class Distant(Simulator):
    """A simulator behind a network. Each message takes `away_ns` in each direction."""

    def __init__(self, dialect: Dialect, profile: Profile, seed: int, away_ns: int) -> None:
        super().__init__(dialect, profile, seed)
        self._away_ns = away_ns
        self._coming: deque[tuple[int, bytes]] = deque()
        self._going: deque[PeerAnswer] = deque()

    def hear(self, message: bytes, at_ns: int) -> None:
        self._coming.append((at_ns + self._away_ns, message))

    def next_due_ns(self) -> int | None:
        spoken_ns = super().next_due_ns()
        due = [self._coming[0][0]] if self._coming else []
        due += [self._going[0][0]] if self._going else []
        return min([*due, *([] if spoken_ns is None else [spoken_ns])], default=None)

    def say(self, now_ns: int) -> Iterator[PeerAnswer]:
        while self._coming and self._coming[0][0] <= now_ns:
            at_ns, message = self._coming.popleft()
            self._speak(at_ns)
            super().hear(message, at_ns)
        self._speak(now_ns)
        while self._going and self._going[0][0] <= now_ns:
            yield self._going.popleft()

    def _speak(self, now_ns: int) -> None:
        self._going.extend((due_ns + self._away_ns, body) for due_ns, body in super().say(now_ns))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    pause_ms=st.integers(500, 1_200),
    last_ms=st.integers(60, 400),
    away_ms=st.sampled_from([0, 40, 150]),
    silence_ms=st.sampled_from([200, 500]),
    interrupts=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_client_requests_the_response_only_after_the_last_speech_was_committed(
    pause_ms: int, last_ms: int, away_ms: int, silence_ms: int, interrupts: bool, seed: int
) -> None:
    detection = TurnDetection(
        create_response=False, interrupt_response=interrupts, silence_duration_ms=silence_ms
    )
    script = build_script(
        speak(100, 1_200, pause_ms, last_ms, 900), speak(*SPEECH), turn_detection=detection
    )
    talk = talked(script, Distant(GA, quiet_profile(), seed, away_ms * MS))

    first, second = talk.turns
    committed_ns = [
        sent.due_ns for sent in talk.simulator.said if sent.type == "input_audio_buffer.committed"
    ]
    assert (first.outcome, second.outcome, second.vad_splits) == ("ok", "ok", 0)
    assert len(committed_ns) == (first.vad_splits or 0) + 2
    assert (
        first.instants["request_sent"]
        == first.instants["committed"]
        == committed_ns[-2] + away_ms * MS
    )
    assert talk.session.unattributed_commits == 0


def test_a_vad_that_detects_no_speech_causes_an_end_of_turn_timeout() -> None:
    deaf = TurnDetection(threshold=1.0)
    talk = talked(
        build_script(
            speak(*SPEECH, level=600), turn_detection=deaf, limits=Timeouts(end_of_turn=3)
        ),
        Simulator(GA, quiet_profile(), 1),
    )

    (turn,) = talk.turns
    assert turn.outcome == talk.session.outcome == "timeout:end_of_turn"
    assert turn.instants["ended"] == turn.instants["speech_end"] + 3 * S


@pytest.mark.parametrize("speed", [4.0, 0.8])
def test_the_delay_of_idle_prompts_equals_the_ground_truth(speed: float) -> None:
    idle = TurnDetection(silence_duration_ms=400, idle_timeout_ms=5_000)
    profile = replace(quiet_profile(), generation_speed=speed)
    talk = converse(
        speak(*SPEECH), PauseStep(40), speak(*SPEECH), turn_detection=idle, profile=profile
    )

    truth = Truth(talk, {1: EDGES, 2: EDGES})
    prompts_ns = [
        sent.due_ns
        for sent in talk.simulator.said
        if sent.type == "input_audio_buffer.timeout_triggered"
    ]
    late_ns = talk.session.metrics_ns()["idle_prompt"]
    assert abs(late_ns - (prompts_ns[0] - truth.ends_ns(1) - 5 * S)) < 2
    assert talk.session.idle_prompts == len(prompts_ns) > 1
    assert [turn.outcome for turn in talk.turns] == ["ok", "ok"]


# Any script with any fault.


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(conversations())
def test_every_conversation_ends_and_every_turn_has_one_outcome(held: Conversation) -> None:
    script, listening = held.script, Listening(spent_after=held.responses)
    talk = talked(script, held.service, ends_ns=held.ends_ns, listening=listening)

    session = talk.session
    assert [turn.turn for turn in talk.turns] == list(range(1, session.turns_started + 1))
    assert session.turns_started == session.turns_ended == talk.listening.began
    assert session.turns_succeeded == sum(turn.outcome in SUCCESSFUL for turn in talk.turns)
    assert session.outcome
    assert session.turns_not_started == (
        0 if session.outcome == "unfinished" else len(script.turns) - session.turns_started
    )
    if session.outcome == "ok":
        assert session.turns_not_started == 0
    assert session.wire_bytes_sent == talk.listening.wire_sent
    assert session.audio_bytes_sent == talk.listening.audio_sent
    for turn in talk.turns:
        assert turn.outcome
        assert sum(ns for _, _, ns in segments(turn.instants)) == turn.metrics_ns().get(
            "voice_to_voice", 0
        )
        later = (
            "first_audible",
            "answer_audible",
            "function_audible",
            "input_transcribed",
            "barge_in_silent",
            "first_input_transcript",
            "truncate_sent",
            "truncated",
        )
        arrived = {name: at_ns for name, at_ns in turn.instants.items() if name not in later}
        # The instants that `later` names may follow the end.
        assert max(arrived.values()) == turn.instants["ended"]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(
        st.one_of(SPOKEN, SPOKEN, TYPED, PAUSES, UNTRACKED_STEPS), min_size=1, max_size=5
    ),
    start=STARTS,
    dialect=st.sampled_from(FIRST_OF_FAMILIES),
    detection=DETECTIONS,
    speed=st.sampled_from([0.7, 4.0]),
    seed=st.integers(0, 999),
)
def test_with_a_service_without_faults_only_vad_errors_fail_turns(
    steps: list[Step],
    start: dict[str, Any],
    dialect: Dialect,
    detection: TurnDetection | None,
    speed: float,
    seed: int,
) -> None:
    assume(sayable(steps, dialect))
    profile = replace(quiet_profile(), generation_speed=speed)
    talk = converse(
        *steps, dialect=dialect, turn_detection=detection, profile=profile, seed=seed, **start
    )

    deaf = detection is not None and detection.threshold == 1.0
    unheard = {"timeout:end_of_turn"} if deaf else set()
    misheard = {"cancelled:turn_detected"} if detection is not None else set()
    assert {turn.outcome for turn in talk.turns} <= {"ok"} | misheard | unheard
    assert {talk.session.outcome} <= {"ok"} | unheard
    answered = [turn.response_id for turn in talk.turns if turn.outcome == "ok"]
    assert len(set(answered)) == len(answered)
