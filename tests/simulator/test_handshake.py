"""Upgrade requests, judged as the services judge them (protocol.md §1, §6)."""

from __future__ import annotations

import json

import pytest

from bench.simulator.handshake import Accepted, Refused, judge
from bench.simulator.wire import AZURE_GA, AZURE_PREVIEW, OPENAI_GA, OPENAI_PREVIEW, Dialect

PREVIEW = "/openai/realtime?api-version=2025-04-01-preview&deployment=gpt-4o-realtime-preview"
GA = "/openai/v1/realtime?model=gpt-realtime"
OPENAI = "/v1/realtime?model=gpt-realtime"
KEY = "k-123"


@pytest.mark.parametrize(
    ("target", "headers", "dialect"),
    [
        (PREVIEW, {}, AZURE_PREVIEW),
        (PREVIEW + "&x-unknown=1", {"x-stainless-lang": "python"}, AZURE_PREVIEW),
        (PREVIEW.replace("2025-04-01", "2024-10-01"), {"openai-beta": "realtime=v1"}, AZURE_PREVIEW),
        (GA, {}, AZURE_GA),
        (OPENAI, {}, OPENAI_GA),
        (OPENAI, {"openai-beta": "realtime=v1"}, OPENAI_PREVIEW),
    ],
)
def test_path_and_beta_header_decide_the_dialect(target: str, headers: dict[str, str], dialect: Dialect) -> None:
    verdict = judge(target, headers, None)

    assert isinstance(verdict, Accepted)
    assert verdict.dialect is dialect
    assert verdict.complaint is None


def test_azure_names_the_model_behind_the_deployment() -> None:
    verdict = judge(PREVIEW, {}, None)

    assert isinstance(verdict, Accepted)
    assert verdict.model == "gpt-4o-realtime-preview-2024-12-17"


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/openai/realtime?api-version=2024-12-17&deployment=x", 400, "BadRequest"),
        ("/openai/realtime?deployment=x", 400, "BadRequest"),
        ("/openai/realtime?api-version=2025-04-01-preview", 404, "DeploymentNotFound"),
        ("/openai/v1/realtime", 404, "DeploymentNotFound"),
        (GA + "&api-version=2025-04-01-preview", 401, "401"),
        ("/openai/realtimes", 404, "404"),
        ("//[", 404, "404"),
    ],
)
def test_azure_refuses_before_the_upgrade(target: str, status: int, code: str) -> None:
    verdict = judge(target, {}, None)

    assert isinstance(verdict, Refused)
    assert verdict.status == status
    assert json.loads(verdict.body)["error"]["code"] == code


@pytest.mark.parametrize(
    ("suffix", "headers"),
    [
        ("", {"api-key": KEY}),
        ("", {"authorization": f"Bearer {KEY}"}),
        ("", {"authorization": f"bearer {KEY}"}),
        (f"&api-key={KEY}", {}),
    ],
)
@pytest.mark.parametrize("target", [PREVIEW, GA, OPENAI])
def test_the_key_is_taken_wherever_clients_put_it(target: str, suffix: str, headers: dict[str, str]) -> None:
    verdict = judge(target + suffix, headers, KEY)

    assert isinstance(verdict, Accepted)
    assert verdict.complaint is None


@pytest.mark.parametrize("headers", [{}, {"api-key": "wrong"}, {"authorization": KEY}, {"api-key": "\udcff"}])
def test_azure_refuses_a_wrong_key_and_does_not_repeat_it(headers: dict[str, str]) -> None:
    for target in (PREVIEW, GA):
        verdict = judge(target, headers, KEY)

        assert isinstance(verdict, Refused)
        assert (verdict.status, verdict.code) == (401, "401")
        assert KEY not in verdict.body


def test_openai_accepts_the_upgrade_and_complains_then() -> None:
    wrong_key, no_model = judge(OPENAI, {}, KEY), judge("/v1/realtime", {}, None)

    assert isinstance(wrong_key, Accepted)
    assert wrong_key.complaint is not None
    assert wrong_key.complaint.close_code == 3000
    assert wrong_key.complaint.close_reason == "invalid_request_error.invalid_api_key"
    assert isinstance(no_model, Accepted)
    assert no_model.complaint is not None
    assert no_model.complaint.close_code == 4000
