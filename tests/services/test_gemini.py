"""The dialect of Gemini Live: its messages, its replies without names, its tokens, and the
settings that it refuses.
"""

from __future__ import annotations

from typing import Any

import pytest

from bench.base.errors import ScriptError, UsageError
from bench.catalogue.causes import in_words
from bench.doctor.diagnosis import Refusal, explain
from bench.load.planning.lacking import missing_features
from bench.plan.steps import SendStep
from bench.services.gemini.dialect import GEMINI
from bench.services.registry import service_at
from bench.target.target import Credential
from bench.wire.dialect import Feature
from tests.helpers import resolve_target, say
from tests.services.talk import body, settings_of, speak
from tests.sessions.session_log import compiled

# Sent messages.


def test_an_event_in_the_format_of_another_service_is_refused() -> None:
    with pytest.raises(ScriptError, match="have no `type`"):
        compiled([say(), SendStep({"type": "response.create"})], {"dialect": "gemini"})


def test_settings_of_one_response_are_refused() -> None:
    with pytest.raises(ScriptError, match="sets instructions"):
        compiled([say(instructions="Be brief.")], {"dialect": "gemini"})


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


# Planned sessions.


def test_instants_that_the_service_never_reports_are_known_before_a_run() -> None:
    planned = missing_features(
        compiled([speak()], {"dialect": "gemini", "session": {"turn_detection": "server_vad"}}),
        arrives=False,
    )

    assert planned is not None
    (turn,) = planned["turns"]
    assert {"committed", "vad_splits", "response_created", "truncated"} <= turn["lacks"].keys()
    assert {"speech_started", "speech_stopped", "first_audio"}.isdisjoint(turn["lacks"])


def test_a_handle_of_the_service_continues_the_session_in_another() -> None:
    script = compiled(
        [say()], {"dialect": "gemini", "session": {"extra": {"sessionResumption": {}}}}
    )
    resumed, *_ = script.prepare_session(0, 0).resumed("handle-1").setup_messages

    assert body(resumed)["setup"]["sessionResumption"] == {"handle": "handle-1"}


@pytest.mark.parametrize("extra", [{}, {"sessionResumption": {}}])
def test_a_renewal_needs_handles_of_the_service(extra: dict[str, Any]) -> None:
    missing = GEMINI.missing_features_of(settings_of(extra=extra))

    assert (Feature.RENEWAL in missing) is not bool(extra)
