"""The dialect of Gemini Live: its messages, its replies without names, its tokens, and the
settings that it refuses.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import ScriptError, UsageError
from bench.catalogue.causes import in_words
from bench.doctor.diagnosis import Refusal, explain
from bench.load.planning.lacking import missing_features
from bench.plan.steps import SendStep
from bench.services.gemini.dialect import GEMINI
from bench.services.gemini.replies import SessionReader
from bench.services.registry import service_at
from bench.target.target import Credential
from bench.wire.dialect import Feature
from bench.wire.events import TokenUsage
from bench.wire.settings import FunctionOutput
from tests.compiled import needs_compiler
from tests.helpers import MS, closing, resolve_target, say, seated
from tests.memory_transport import MatchingTransport, PeerAnswer
from tests.services.gemini_talk import (
    GENERATED,
    GO_AWAY,
    INTERRUPTED,
    OVER,
    READY,
    REPLY,
    TOOL_CALL,
    VAD,
    Talk,
    compiled,
    content,
    decoded,
    google,
    said,
    sound,
)
from tests.services.talk import Peer, body, interrupted_by_speech, parcels, settings_of, speak

# Sent messages.


def test_a_function_output_is_an_object() -> None:
    for output, response in (
        ('{"a": 1}', {"a": 1}),
        ("sunny", {"output": "sunny"}),
        ("[1]", {"output": "[1]"}),
    ):
        message = GEMINI.function_output(
            FunctionOutput(call_id="c1", name="f", output=output), "e1"
        )
        assert body(message) == {
            "toolResponse": {"functionResponses": [{"id": "c1", "name": "f", "response": response}]}
        }


def test_an_event_in_the_format_of_another_service_is_refused() -> None:
    with pytest.raises(ScriptError, match="have no `type`"):
        compiled(say(), SendStep({"type": "response.create"}))


def test_settings_of_one_response_are_refused() -> None:
    with pytest.raises(ScriptError, match="sets instructions"):
        compiled(say(instructions="Be brief."))


def test_both_addresses_are_known_by_their_paths() -> None:
    vertex = "/ws/google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent"
    gemini_api = service_at("generativelanguage.googleapis.com", "")
    vertex_ai = service_at("europe-west4-aiplatform.googleapis.com", vertex)

    assert gemini_api is not None
    assert gemini_api.key_header == ("x-goog-api-key", "")
    assert vertex_ai is not None
    assert vertex_ai.key_header == ("Authorization", "Bearer")
    assert "key" not in gemini_api.url


GEMINI_PATH = "/ws/google.ai.generativelanguage.{}.GenerativeService.BidiGenerateContent"
KEY = "a-key-of-google"
VERTEX_PATH = "/ws/google.cloud.aiplatform.{}.LlmBidiService/BidiGenerateContent"


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v3main"])
@pytest.mark.parametrize("prefix", ["", "/", "/gateway/google", "//gateway/"])
@pytest.mark.parametrize(
    ("path", "service", "header"),
    [
        (GEMINI_PATH, "gemini", "x-goog-api-key"),
        (f"{GEMINI_PATH}Constrained", "gemini", "x-goog-api-key"),
        (VERTEX_PATH, "vertex-ai", "Authorization"),
    ],
)
def test_a_gateway_is_known_by_the_path_of_any_version(
    path: str, service: str, header: str, prefix: str, version: str
) -> None:
    url = f"wss://voice.example{prefix}{path.format(version)}"
    target = resolve_target({"K": KEY}, url=url, api_key_env="K")

    assert (target.dialect, target.service, target.url) == (GEMINI, service, url)
    assert isinstance(target.auth, Credential)
    assert target.auth.name == header
    assert not any("does not determine the dialect" in notice for notice in target.notices)


def test_the_remedy_of_a_set_up_without_an_answer_names_no_events_of_other_services() -> None:
    target = resolve_target({}, url=f"wss://voice.example{GEMINI_PATH.format('v1')}")
    remedy = explain(
        Refusal("timeout:session", [in_words("setupComplete was not received")]), target
    )

    assert "the set-up was not answered" in remedy
    assert "session.created" not in remedy
    assert "twilio" not in remedy


@pytest.mark.parametrize(
    "path", ["/ws/google.ai.generativelanguage", GEMINI_PATH.format("v1/v2"), "/x-v1/realtime"]
)
def test_another_path_of_google_does_not_determine_the_dialect(path: str) -> None:
    target = resolve_target({"K": KEY}, url=f"wss://voice.example{path}", api_key_env="K")

    assert (target.dialect.name, target.service) == ("ga", "other")


@pytest.mark.parametrize("name", ["key", "access_token"])
def test_a_key_in_the_query_is_never_shown(name: str) -> None:
    address = f"wss://voice.example/{GEMINI_PATH.format('v1')}?{name}="
    target = resolve_target({"K": KEY}, url=f"{address}${{K}}")

    assert target.resource.endswith(f"?{name}={KEY}")
    assert KEY not in f"{target!r} {target.public_url} {target.notices}"
    assert target.public_url == f"{address}***"
    assert not any("no key is sent" in notice for notice in target.notices)
    with pytest.raises(UsageError, match="contains a key in its query") as refused:
        resolve_target({}, url=f"{address}{KEY}")
    assert KEY not in str(refused.value)


# Conversations.


def test_typed_turns_are_measured_from_the_text_to_the_first_audio(tmp_path: Path) -> None:
    talk = Talk(tmp_path, compiled(say(), say("again"), **VAD), google())

    assert (talk.session.outcome, talk.outcomes) == ("ok", ["ok", "ok"])
    assert talk.sent_keys() == ["setup", "text", "text"]
    assert talk.session.service_session_id == "s-1"
    for turn in talk.turns:
        metrics = turn.metrics_ns()
        assert (metrics["ttfa"], metrics["transcript_first"]) == (300 * MS, 310 * MS)
        assert metrics["response_total"] == 340 * MS
        assert turn.reply_text == "It is on its way."
        assert (turn.audio_deltas, turn.transcript_deltas) == (2, 2)
        assert {"response_created", "transcript_done", "truncate_sent"}.isdisjoint(turn.instants)


def test_without_turn_detection_the_client_begins_and_ends_the_activity(tmp_path: Path) -> None:
    talk = Talk(tmp_path, compiled(say(), speak()), google())

    assert talk.outcomes == ["ok", "ok"]
    activity = ["activityStart", "audio", "audio", "activityEnd"]
    assert talk.sent_keys() == ["setup", "activityStart", "text", "activityEnd", *activity]
    typed, spoken = talk.turns
    assert typed.metrics_ns()["ttfa"] == spoken.metrics_ns()["ttfa"] == 300 * MS
    assert spoken.late_chunks == 0


def detecting(*replies: Sequence[PeerAnswer], speech_chunks: int) -> Peer:
    """Return a service that sends the next reply after each `speech_chunks` pieces of audio that
    are not silence.
    """
    left, heard = list(replies), [0]

    def answer(message: bytes) -> Iterable[PeerAnswer]:
        fields = msgspec.json.decode(message)
        audio = fields.get("realtimeInput", {}).get("audio")
        if "setup" in fields:
            yield 30 * MS, READY
        elif audio and any(base64.b64decode(audio["data"])):
            assert audio["mimeType"] == "audio/pcm;rate=16000"
            heard[0] += 1
            if heard[0] % speech_chunks == 0 and left:
                yield from left.pop(0)
        elif "text" in fields.get("realtimeInput", {}) and left:
            yield from left.pop(0)

    return answer


def test_speech_that_the_service_detects_is_measured_from_its_end(tmp_path: Path) -> None:
    heard = (
        (100 * MS, content(inputTranscription={"text": " Where is"})),
        (150 * MS, content(inputTranscription={"text": " it?"})),
    )
    script = compiled(speak(), input_transcription="any", **VAD)
    talk = Talk(tmp_path, script, detecting([*heard, *REPLY], speech_chunks=2))

    (turn,) = talk.turns
    assert (talk.session.outcome, turn.outcome) == ("ok", "ok")
    reference_ns = turn.instants["speech_end"]
    assert turn.instants["first_audio"] - reference_ns == 300 * MS
    assert turn.metrics_ns()["voice_to_voice"] == turn.instants["first_audible"] - reference_ns
    assert turn.input_text == "Where is it?"
    assert "first_input_transcript" in turn.instants
    unreported = {"speech_started", "speech_stopped", "committed", "input_transcribed"}
    assert unreported.isdisjoint(turn.instants), "the service does not report them"
    assert turn.vad_splits is None


def test_instants_that_the_service_never_reports_are_known_before_a_run() -> None:
    planned = missing_features(compiled(speak(), **VAD), arrives=False)

    assert planned is not None
    (turn,) = planned["turns"]
    assert {"committed", "vad_splits", "response_created", "truncated"} <= turn["lacks"].keys()
    assert {"speech_started", "speech_stopped", "first_audio"}.isdisjoint(turn["lacks"])


def test_reported_voice_activity_is_measured(tmp_path: Path) -> None:
    def voice(kind: str, offset: str) -> bytes:
        return msgspec.json.encode(
            {"voiceActivity": {"voiceActivityType": kind, "audioOffset": offset}}
        )

    activity = (50 * MS, voice("ACTIVITY_START", "0.1s")), (80 * MS, voice("ACTIVITY_END", "0.2s"))
    talk = Talk(tmp_path, compiled(speak(), **VAD), detecting([*activity, *REPLY], speech_chunks=2))

    (turn,) = talk.turns
    assert turn.outcome == "ok"
    assert {"speech_started", "speech_stopped"} <= turn.instants.keys()


def test_speech_whose_end_is_not_reported_is_not_awaited(tmp_path: Path) -> None:
    began = (
        50 * MS,
        msgspec.json.encode({"voiceActivity": {"voiceActivityType": "ACTIVITY_START"}}),
    )
    peer = detecting([began, *REPLY], [began, *REPLY], speech_chunks=2)
    talk = Talk(tmp_path, compiled(speak(), speak(), **VAD), peer)

    assert talk.outcomes == ["ok", "ok"]
    first, second = talk.turns
    assert second.instants["speech_start"] - first.instants["ended"] < 1_000 * MS


@pytest.mark.parametrize("is_generated", [False, True], ids=["while generated", "while played"])
def test_speech_interrupts_a_reply_and_gets_its_own(tmp_path: Path, *, is_generated: bool) -> None:
    long = [(300 * MS + number * 10 * MS, sound()) for number in range(30)]
    first = [*long, *([(700 * MS, GENERATED)] if is_generated else [])]
    second = [
        (120 * MS, INTERRUPTED),
        (130 * MS, OVER),
        *((delay + 500 * MS, data) for delay, data in REPLY),
    ]
    peer = detecting(first, second, speech_chunks=2)
    talk = Talk(tmp_path, compiled(*interrupted_by_speech(500), **VAD), peer)

    assert (talk.session.outcome, talk.outcomes) == ("ok", ["interrupted", "ok"])
    stopped, answered = talk.turns
    assert stopped.response_id != answered.response_id
    assert stopped.instants["barge_in"] < stopped.instants["barge_in_detected"]
    assert answered.reply_text == "It is on its way."
    assert stopped.audio_deltas == 30
    assert "truncate_sent" not in stopped.instants


def test_functions_are_called_and_the_service_continues_by_itself(tmp_path: Path) -> None:
    calling: Sequence[PeerAnswer] = ((200 * MS, TOOL_CALL),)
    script = compiled(say(), tools=(parcels(),), **VAD)
    talk = Talk(tmp_path, script, google(calling, REPLY))

    (turn,) = talk.turns
    assert (talk.session.outcome, turn.outcome) == ("ok", "ok")
    assert talk.sent_keys() == ["setup", "text", "toolResponse"]
    answer = {"id": "call-1", "name": "find_parcel", "response": {"state": "on its way"}}
    assert {"toolResponse": {"functionResponses": [answer]}} in talk.sent
    assert turn.instants["answer_request_sent"] - turn.instants["request_sent"] == 200 * MS


def test_a_cancelled_function_call_ends_its_turn(tmp_path: Path) -> None:
    cancelled = msgspec.json.encode({"toolCallCancellation": {"ids": ["call-1"]}})
    calling: Sequence[PeerAnswer] = (
        (200 * MS, TOOL_CALL),
        (210 * MS, INTERRUPTED),
        (211 * MS, cancelled),
    )
    slow = replace(parcels(), delay=5.0)
    talk = Talk(tmp_path, compiled(say(), tools=(slow,), **VAD), google(calling))

    assert talk.outcomes == ["cancelled:turn_detected"]


def test_tokens_that_follow_the_reply_belong_to_its_turn(tmp_path: Path) -> None:
    talk = Talk(tmp_path, compiled(say(), say("again"), **VAD), google())

    assert [turn.usage for turn in talk.turns] == [
        TokenUsage(text_in=10, audio_in=20, text_out=4, audio_out=25)
    ] * 2
    assert talk.session.stray_usage is None


def test_tokens_that_never_come_do_not_stop_the_session(tmp_path: Path) -> None:
    talk = Talk(tmp_path, compiled(say(), **VAD), google(REPLY[:-1]))

    assert talk.outcomes == ["ok"]
    assert talk.turns[0].usage is None


def test_a_reply_without_content_fails_its_turn(tmp_path: Path) -> None:
    talk = Talk(tmp_path, compiled(say(), **VAD), google([(100 * MS, OVER)]))

    assert talk.outcomes == ["failed:no_audio"]


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        ("GENERATED_CONTENT_SAFETY", "incomplete:generated_content_safety"),
        ("RESPONSE_REJECTED", "failed:response_rejected"),
        ("NEED_MORE_INPUT", "ok"),
    ],
)
def test_the_reason_of_a_turns_end_decides_its_outcome(
    reason: str, outcome: str, tmp_path: Path
) -> None:
    over = msgspec.json.decode(OVER)
    over["serverContent"]["turnCompleteReason"] = reason
    cut = [*REPLY[:-2], (900 * MS, msgspec.json.encode(over))]
    talk = Talk(tmp_path, compiled(say(), say("again"), **VAD), google(cut, REPLY))

    assert talk.outcomes == [outcome, "ok"]


def test_the_end_of_the_last_reply_does_not_end_the_next(tmp_path: Path) -> None:
    late = [*REPLY[:-1], (2_000 * MS, OVER)]  # after the next request, and before its reply
    slow = [(delay + 3_000 * MS, data) for delay, data in REPLY]
    talk = Talk(tmp_path, compiled(say(), say("again"), **VAD), google(late, slow))

    assert talk.outcomes == ["ok", "ok"]
    assert talk.turns[1].metrics_ns()["ttfa"] == 3_300 * MS
    assert [turn.usage is not None for turn in talk.turns] == [True, True]


def test_an_announced_close_is_the_end_by_age(tmp_path: Path) -> None:
    ending = (400 * MS, GO_AWAY), closing(500 * MS, 1011, "Deadline expired")
    talk = Talk(tmp_path, compiled(say(), say("again"), **VAD), google(REPLY, [*ending]))

    assert (talk.session.outcome, talk.outcomes) == ("session_expired", ["ok", "session_expired"])


def test_a_handle_of_the_service_continues_the_session_in_another(tmp_path: Path) -> None:
    update = {"sessionResumptionUpdate": {"newHandle": "handle-1", "resumable": True}}
    handed = google([*REPLY, (950 * MS, msgspec.json.encode(update))])
    script = compiled(say(), extra={"sessionResumption": {}}, **VAD)
    talk = Talk(tmp_path, script, handed)
    resumed, *_ = script.prepare_session(0, 0).resumed("handle-1").setup_messages

    assert talk.outcomes == ["ok"]
    assert decoded(msgspec.json.encode(update))[0].text == "handle-1"
    assert body(resumed)["setup"]["sessionResumption"] == {"handle": "handle-1"}


@pytest.mark.parametrize("extra", [{}, {"sessionResumption": {}}])
def test_a_renewal_needs_handles_of_the_service(extra: dict[str, Any]) -> None:
    missing = GEMINI.missing_features_of(settings_of(extra=extra))

    assert (Feature.RENEWAL in missing) is not bool(extra)


def test_a_close_without_an_announcement_keeps_its_code(tmp_path: Path) -> None:
    talk = Talk(
        tmp_path,
        compiled(say(), **VAD),
        google([closing(100 * MS, 1011, "Internal error encountered.")]),
    )

    assert talk.session.outcome == "closed:1011"


def test_text_replies_are_measured(tmp_path: Path) -> None:
    text = [
        (200 * MS, content(modelTurn={"parts": [{"text": "Yes."}]})),
        (210 * MS, GENERATED),
        (220 * MS, OVER),
    ]
    talk = Talk(tmp_path, compiled(say(), output="text", **VAD), google(text))

    (turn,) = talk.turns
    assert (turn.outcome, turn.reply_text) == ("ok", "Yes.")
    assert turn.instants["first_text"] - turn.instants["request_sent"] == 200 * MS


@needs_compiler
def test_matched_words_are_words_of_the_reply(tmp_path: Path) -> None:
    words = [
        (at * 20 * MS, part) for at in range(10, 30) for part in (sound(), said(f"word {at} "))
    ]
    reply: Sequence[PeerAnswer] = (
        *words,
        (700 * MS, said("M\u00fcller.")),
        (710 * MS, GENERATED),
        (900 * MS, OVER),
    )
    decoded_turns = Talk(tmp_path, compiled(say(), say(), **VAD), google(reply, reply)).turns
    matching = MatchingTransport(google(reply, reply))
    session, _, listening = seated(compiled(say(), say(), **VAD).prepare_session(0, 0), matching)
    session.run()

    assert matching.matched > 30
    assert listening.turns == decoded_turns
    assert [turn.reply_text.count("word") for turn in listening.turns] == [20, 20]


# Received messages.


@pytest.mark.parametrize("mime_type", ["audio/pcm;rate=48000", "audio/opus", ""])
def test_audio_of_another_type_ends_the_session(tmp_path: Path, mime_type: str) -> None:
    talk = Talk(tmp_path, compiled(say(), **VAD), google([(100 * MS, sound(mime_type=mime_type))]))

    assert talk.session.outcome == "failed:media_type"


LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = (
    LEAF
    | st.lists(LEAF, max_size=3)
    | st.dictionaries(st.text(max_size=6), LEAF | st.lists(LEAF, max_size=2))
)
NAMES = st.sampled_from(
    [
        "serverContent",
        "setupComplete",
        "toolCall",
        "toolCallCancellation",
        "usageMetadata",
        "goAway",
        "voiceActivity",
        "sessionResumptionUpdate",
        "error",
        "modelTurn",
        "parts",
        "inlineData",
        "functionCalls",
        "turnComplete",
    ]
)


@given(
    st.lists(
        st.dictionaries(NAMES, JSON | st.dictionaries(NAMES, JSON, max_size=3), max_size=3),
        max_size=5,
    )
)
def test_any_json_is_decoded_without_an_error(messages: list[dict[str, Any]]) -> None:
    reader = SessionReader()
    for message in messages:
        assert reader.decode(msgspec.json.encode(message))
