"""Texts that look like credentials are hidden. IDs and words of errors stay readable."""

from __future__ import annotations

import pytest

from reports.analysis.summary.secrets import HIDDEN, without_credentials

SECRET = "aB3dE5fG7hI9jK1lM3nO5"
HIDES = (
    "Authorization: Bearer {}",
    "the header was authorization: {}",
    "you sent 'Basic {}'",
    "GET https://x.blob.core.windows.net/runs?sv=2024-05-04&sig={}&se=2026",
    "https://bucket.s3.amazonaws.com/a?X-Amz-Credential={}&X-Amz-Signature={}&"
    "X-Amz-Security-Token={}",
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


@pytest.mark.parametrize("text", HIDES)
def test_a_credential_is_hidden(text: str) -> None:
    found = without_credentials(text.replace("{}", SECRET).replace("{{", "{").replace("}}", "}"))

    assert SECRET not in found
    assert HIDDEN in found
