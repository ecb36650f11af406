"""Gemini Live at the Gemini API, with a key, and at Vertex AI, with an access token. Pure.

The addresses are those of google-genai 2.34 (`live.py`). The key is in a header, as in this SDK.
"""

from __future__ import annotations

from bench.services.gemini.dialect import FIRST_MODEL, GEMINI
from bench.wire.service import KeyHeader, Route, Service

HOST = "generativelanguage.googleapis.com"
PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
VERTEX_PATHS = tuple(
    f"/ws/google.cloud.aiplatform.{version}.LlmBidiService/BidiGenerateContent" for version in ("v1", "v1beta1")
)
GEMINI_API = Service(
    "gemini",
    "Gemini Live",
    GEMINI,
    f"wss://{HOST}{PATH}",
    routes=(Route(PATH, GEMINI, is_unique=True), Route(PATH.replace("v1beta", "v1alpha"), GEMINI, is_unique=True)),
    hosts=(HOST,),
    model=FIRST_MODEL,
    key_header=KeyHeader("x-goog-api-key", ""),
    api_key_env="GEMINI_API_KEY",
    minutes=10,
    telemetry_name="gcp.gemini",
    key_page="the API keys of Google AI Studio",
    starter=f"{{model: {FIRST_MODEL}, voice: Puck}}",
)
VERTEX_AI = Service(
    "vertex-ai",
    "Gemini Live on Vertex AI",
    GEMINI,
    f"wss://us-central1-aiplatform.googleapis.com{VERTEX_PATHS[0]}",
    routes=tuple(Route(path, GEMINI, is_unique=True) for path in VERTEX_PATHS),
    api_key_env="GOOGLE_OAUTH_ACCESS_TOKEN",
    minutes=10,
    telemetry_name="gcp.vertex_ai",
    key_page="the output of `gcloud auth print-access-token`",
)
SERVICES = (GEMINI_API, VERTEX_AI)
