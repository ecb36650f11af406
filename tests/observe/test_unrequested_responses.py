"""The dialects that name the request of a response."""

from __future__ import annotations

import pytest

from bench.services.registry import DIALECTS
from bench.wire.dialect import Dialect

NAMING = {"ga", "ga-webrtc", "ga-webrtc-g711", "preview", "voice-live", "foundry"}
"""The dialects of the services whose SDKs have the metadata of a response (openai 3.51,
azure-ai-voicelive 1.3.1, azure-ai-projects 2.10.0)."""


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: dialect.name)
def test_only_services_whose_documents_have_metadata_get_it(dialect: Dialect) -> None:
    assert dialect.names_requests is (dialect.name in NAMING)
