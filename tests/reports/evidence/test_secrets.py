"""Texts that look like credentials are hidden. IDs and words of errors stay readable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.analysis.evidence.secrets import HIDDEN, without_credentials

SECRET = "aB3dE5fG7hI9jK1lM3nO5"
HIDES = (
    "Authorization: Bearer {}",
    "the header was authorization: {}",
    "you sent 'Basic {}'",
    "GET https://x.blob.core.windows.net/runs?sv=2024-05-04&sig={}&se=2026",
    "https://bucket.s3.amazonaws.com/a?X-Amz-Credential={}&X-Amz-Signature={}&X-Amz-Security-Token={}",
    "wss://user:{}@host/v1/realtime",
    '{{"api-key": "{}"}}',
    r"{{\"access_token\": \"{}\"}}",
    "Ocp-Apim-Subscription-Key: {}",
    "subscription-key={}",
    "?api_key={}",
    "set-cookie: {}; Path=/",
    "client_secret={}",
    "password: {}",
    "Incorrect API key provided: sk-proj-{}.",
    "an ephemeral key: ek_{}",
    "eyJhbGciOi.{}.{}",
)
KEEPS = (
    "invalid_api_key: Incorrect API key",
    "token_expired: The token expired at 12:00",
    "DeploymentNotFound: The API deployment for this resource does not exist",
    "HTTP 429: Requests have exceeded the token limit of 4096, max_output_tokens: 400",
    "sess_7bcd03000008000000000",
    "resp_CvBqF0aZ3xk1y2z3a4b5c",
    "bb15f1b9-e154-442c-b616-2abe2499b736",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "9a1b2c3d4e5f6789-FRA",
    "Please retry after 1 seconds. code=1011 key=greeting",
)


@pytest.mark.parametrize("text", HIDES)
def test_a_credential_is_hidden(text: str) -> None:
    found = without_credentials(text.replace("{}", SECRET).replace("{{", "{").replace("}}", "}"))

    assert SECRET not in found
    assert HIDDEN in found


@pytest.mark.parametrize("text", KEEPS)
def test_ids_and_words_of_errors_are_not_changed(text: str) -> None:
    assert without_credentials(text) == text


@given(st.text() | st.lists(st.sampled_from((*HIDES, *KEEPS, SECRET, "&", '"', ":"))).map(" ".join))
def test_hiding_credentials_a_second_time_changes_nothing(text: str) -> None:
    once = without_credentials(text)

    assert without_credentials(once) == once
