"""The simulator accepts and refuses upgrade requests in the same way as the services."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import pytest

from bench.services.registry import AZURE
from rtbench_simulator.behaviour import WireDialect
from rtbench_simulator.refusals import PostUpgradeRefusal, RefusedUpgrade
from rtbench_simulator.services.azure import AZURE_GA, AZURE_PREVIEW
from rtbench_simulator.services.openai import OPENAI_GA, OPENAI_PREVIEW
from rtbench_simulator.services.registry import SERVICES
from rtbench_simulator.serving.credentials import Authenticator, TokenIssuer
from rtbench_simulator.serving.handshake import admit
from rtbench_simulator.serving.service import AcceptedUpgrade

PREVIEW = "/openai/realtime?api-version=2025-04-01-preview&deployment=gpt-4o-realtime-preview"
GA = "/openai/v1/realtime?model=gpt-realtime"
OPENAI = "/v1/realtime?model=gpt-realtime"
KEY = "k-123"
NOW_S = 1_800_000_000.0
OPEN = Authenticator()


LIVE = "/voice-live/realtime?api-version=2026-07-15&model=gpt-realtime"


def accepted(
    target: str,
    headers: dict[str, str],
    judge: Authenticator = OPEN,
    now_s: float = NOW_S,
    by: Any = None,
) -> AcceptedUpgrade:
    verdict = admit(SERVICES, target, headers, judge, now_s, lambda form, lacks: by)
    assert isinstance(verdict, AcceptedUpgrade)
    return verdict


def post_upgrade_error(*asked: Any) -> PostUpgradeRefusal:
    """Return the refusal that follows the upgrade."""
    error = accepted(*asked).complaint
    assert error is not None
    return error


def refused(
    target: str,
    headers: dict[str, str],
    judge: Authenticator = OPEN,
    now_s: float = NOW_S,
    by: Any = None,
) -> RefusedUpgrade:
    verdict = admit(SERVICES, target, headers, judge, now_s, lambda form, lacks: by)
    assert isinstance(verdict, RefusedUpgrade)
    return verdict


@pytest.mark.parametrize(
    ("target", "headers", "dialect"),
    [
        ("/v1/realtime?intent=transcription", {}, OPENAI_GA),
        ("/v1/realtime?intent=transcription", {"openai-beta": "realtime=v1"}, OPENAI_PREVIEW),
        ("/openai/v1/realtime?intent=transcription", {}, AZURE_GA),
        (GA + "&intent=transcription", {}, AZURE_GA),
        ("/openai/realtime?api-version=2025-04-01-preview&intent=transcription", {}, AZURE_PREVIEW),
        (PREVIEW + "&intent=transcription", {}, AZURE_PREVIEW),
    ],
)
def test_a_client_may_request_only_transcription(
    target: str, headers: dict[str, str], dialect: WireDialect
) -> None:
    verdict = accepted(target, headers)

    assert verdict.dialect == dialect.transcribing() != dialect
    assert verdict.complaint is None


@pytest.mark.parametrize(
    ("path", "version"),
    [(route.path, version) for route in AZURE.routes for version in route.versions or ()],
)
def test_each_api_version_that_a_target_may_have_without_a_notice_is_accepted(
    path: str, version: str
) -> None:
    assert accepted(f"{path}?api-version={version}&model=gpt-realtime&deployment=gpt-realtime", {})


BY_KEY = Authenticator(KEY)
GEMINI = "ws/google.ai.generativelanguage.{}.GenerativeService.BidiGenerateContent{}"


@pytest.mark.parametrize("version", ["v1", "v1beta", "v2alpha1"])
@pytest.mark.parametrize("method", ["", "Constrained"])
@pytest.mark.parametrize("slashes", ["/", "//"])
def test_google_s_sdks_reach_gemini_at_any_version(version: str, method: str, slashes: str) -> None:
    for key in ("x-goog-api-key", "key", "access_token"):
        in_header = key.startswith("x-")
        target = slashes + GEMINI.format(version, method) + ("" if in_header else f"?{key}={KEY}")

        assert accepted(target, {key: KEY} if in_header else {}, BY_KEY).complaint is None
        assert (
            post_upgrade_error(target.replace(KEY, "wrong"), {}, BY_KEY).code == "invalid_api_key"
        )


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v2"])
def test_google_s_sdks_reach_vertex_at_any_version(version: str) -> None:
    for slashes in ("/", "//"):
        target = f"{slashes}ws/google.cloud.aiplatform.{version}.LlmBidiService/BidiGenerateContent"

        assert accepted(target, {"authorization": f"Bearer {KEY}"}, BY_KEY).complaint is None


def test_a_key_in_the_query_of_another_service_is_not_accepted() -> None:
    assert refused(f"{GA}&key={KEY}", {}, BY_KEY).status == 401
    assert accepted(f"{GA}&api-key={KEY}", {}, BY_KEY)


@pytest.mark.parametrize(
    "target", ["//openai/v1/realtime?model=m", "/" + GEMINI.format("v1", "Free")]
)
def test_only_google_s_paths_may_begin_with_two_slashes_and_end_in_a_known_method(
    target: str,
) -> None:
    assert refused(target, {}).status == 404


REFUSED = [
    (LIVE, {"api-key": "wrong"}, BY_KEY, 401, "401"),
    (LIVE.replace("2026-07-15", "2025-04-01-preview"), {"api-key": KEY}, BY_KEY, 400, "BadRequest"),
    (LIVE.replace("&model=gpt-realtime", ""), {"api-key": KEY}, BY_KEY, 400, "BadRequest"),
    ("/openai/realtime?api-version=2024-12-17&deployment=x", {}, OPEN, 400, "BadRequest"),
    ("/openai/realtime?deployment=x", {}, OPEN, 400, "BadRequest"),
    ("/openai/realtime?api-version=2025-04-01-preview", {}, OPEN, 404, "DeploymentNotFound"),
    ("/openai/v1/realtime", {}, OPEN, 404, "DeploymentNotFound"),
    (GA + "&api-version=2025-04-01-preview", {}, OPEN, 401, "401"),
    ("/openai/realtimes", {}, OPEN, 404, "404"),
    ("//[", {}, OPEN, 404, "404"),
]


@pytest.mark.parametrize(("target", "headers", "judge", "status", "code"), REFUSED)
def test_azure_and_voice_live_refuse_before_the_upgrade(
    target: str, headers: dict[str, str], judge: Authenticator, status: int, code: str
) -> None:
    verdict = refused(target, headers, judge)

    assert (verdict.status, json.loads(verdict.body)["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    "headers", [{}, {"api-key": "wrong"}, {"authorization": KEY}, {"api-key": "\udcff"}]
)
def test_azure_refuses_a_wrong_key_and_does_not_repeat_it(headers: dict[str, str]) -> None:
    for target in (PREVIEW, GA):
        verdict = refused(target, headers, BY_KEY)

        assert (verdict.status, verdict.code) == (401, "401")
        assert KEY not in verdict.body


def test_openai_accepts_the_upgrade_and_then_sends_an_error() -> None:
    wrong_key = post_upgrade_error(OPENAI, {}, BY_KEY)

    assert (wrong_key.close_code, wrong_key.close_reason) == (
        3000,
        "invalid_request_error.invalid_api_key",
    )
    assert post_upgrade_error("/v1/realtime", {}).close_code == 4000


def tokens(life_s: float = 5) -> TokenIssuer:
    secrets = count()
    return TokenIssuer(life_s, lambda: f"secret{next(secrets)}")


@pytest.mark.parametrize("target", [PREVIEW, GA, OPENAI])
def test_a_token_is_accepted_until_it_expires_and_identified_by_its_number(target: str) -> None:
    issuer = tokens(5)
    issuer.issue("r", NOW_S)
    issued = issuer.issue("r", NOW_S)
    headers = {"authorization": f"Bearer {issued.token}"}

    living = accepted(target, headers, Authenticator(tokens=issuer), now_s=NOW_S + 4.9)

    assert (living.complaint, living.token) == (None, 2)
    if target == OPENAI:
        assert (
            post_upgrade_error(target, headers, Authenticator(tokens=issuer), NOW_S + 5).code
            == "invalid_api_key"
        )
    else:
        expired = refused(target, headers, Authenticator(tokens=issuer), NOW_S + 5)
        assert (expired.status, expired.code) == (401, "401")
        assert "expired" in expired.message
        assert issued.token not in expired.body


def test_a_key_is_accepted_in_addition_to_tokens() -> None:
    issuer = tokens()
    token = issuer.issue("r", NOW_S).token

    assert accepted(GA, {"api-key": KEY}, Authenticator(KEY, issuer)).token is None
    assert accepted(GA, {"authorization": f"Bearer {token}"}, Authenticator(KEY, issuer)).token == 1


@pytest.mark.parametrize(
    ("target", "form"),
    [
        (OPENAI, "event"),
        ("/v1/realtime/?model=m", "event"),
        ("/v1/realtime?model=grok-voice-latest", "event"),
        ("/v1/realtime?intent=transcription", "event"),
        (GA, "http"),
        ("/unknown", "http"),
    ],
)
def test_a_path_determines_the_form_of_injected_refusals(target: str, form: str) -> None:
    forms: list[str] = []
    admit(SERVICES, target, {}, OPEN, NOW_S, lambda form, lacks: forms.append(form))

    assert forms == [form]


@pytest.mark.parametrize(("custom", "refused"), [(10, False), (11, True)])
def test_azure_accepts_at_most_ten_custom_headers(custom: int, refused: bool) -> None:
    usual = {
        "host": "x",
        "user-agent": "x",
        "origin": "x",
        "api-key": "x",
        "sec-websocket-key": "x",
        "upgrade": "websocket",
    }
    headers = usual | {f"x-own-{number}": "1" for number in range(custom)}

    verdicts = [
        admit(SERVICES, target, headers, Authenticator(), NOW_S) for target in (PREVIEW, GA)
    ]

    assert [
        isinstance(verdict, RefusedUpgrade) and verdict.status == 431 for verdict in verdicts
    ] == [refused, refused]
    assert accepted(OPENAI, headers)
