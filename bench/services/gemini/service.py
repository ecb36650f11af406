"""Gemini Live at the Gemini API, with a key, and at Vertex AI, with an access token. Pure.

The addresses are those of google-genai 3.6 (`live.py`), which is at `v1`, and of its older
versions. The key is in a header, as in this SDK. Ephemeral tokens have a path of their own.
"""

from bench.services.gemini.dialect import FIRST_MODEL, GEMINI
from bench.wire.service import VERSION, KeyHeader, Route, Service

HOST = "generativelanguage.googleapis.com"
PATH = f"/ws/google.ai.generativelanguage.{VERSION}.GenerativeService.BidiGenerateContent"
EPHEMERAL_PATH = f"{PATH}Constrained"
VERTEX_PATH = f"/ws/google.cloud.aiplatform.{VERSION}.LlmBidiService/BidiGenerateContent"
GEMINI_API = Service(
    "gemini",
    "Gemini Live",
    GEMINI,
    f"wss://{HOST}{PATH.replace(VERSION, 'v1beta')}",
    routes=tuple(Route(path, GEMINI, is_unique=True) for path in (PATH, EPHEMERAL_PATH)),
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
    f"wss://us-central1-aiplatform.googleapis.com{VERTEX_PATH.replace(VERSION, 'v1')}",
    routes=(Route(VERTEX_PATH, GEMINI, is_unique=True),),
    api_key_env="GOOGLE_OAUTH_ACCESS_TOKEN",
    minutes=10,
    telemetry_name="gcp.vertex_ai",
    key_page="the output of `gcloud auth print-access-token`",
)
SERVICES = (GEMINI_API, VERTEX_AI)
