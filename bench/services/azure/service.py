"""Azure: its clouds, and the addresses of its realtime services, as in its reference of the Realtime API."""

from __future__ import annotations

from bench.catalogue.model_retirements import retirements
from bench.services.azure.remedies import explain
from bench.services.gpt_live.dialect import GPT_LIVE
from bench.services.openai.ga import GA
from bench.services.openai.preview import PREVIEW
from bench.services.voice_live.dialect import VOICE_LIVE_ROUTE
from bench.wire.service import Cloud, KeyHeader, Route, Service

CLOUDS = {
    "azure.com": Cloud("https://cognitiveservices.azure.com/.default"),
    "azure.us": Cloud("https://cognitiveservices.azure.us/.default", "login.microsoftonline.us"),
    "azure.cn": Cloud("https://cognitiveservices.azure.cn/.default", "login.chinacloudapi.cn"),
}
"""The clouds by their domains: public, US government, China."""
ROLES = "Cognitive Services OpenAI User", "Cognitive Services User"
GA_ROUTE = Route("/openai/v1/realtime", GA, needs=("model",), versions=(), roles=ROLES)
PREVIEW_VERSIONS = ("2024-10-01-preview", "2025-04-01-preview")
PREVIEW_ROUTE = Route(
    "/openai/realtime",
    PREVIEW,
    needs=("deployment",),
    versions=PREVIEW_VERSIONS,
    connects_per_min=30.0,  # the service's quota is tens of new connections per minute
)
GPT_LIVE_ROUTE = Route("/openai/v1/live/sessions", GPT_LIVE, title=GPT_LIVE.title)
AZURE_SCHEDULE = "Microsoft's retirement schedule of Foundry models, July 2026"
RETIREMENTS = retirements(
    ("gpt-4o-realtime-preview-2024-10-01", "2025-03-26", "learn.microsoft.com, legacy models"),
    ("gpt-realtime-mini-2025-10-06", "2026-07-23", AZURE_SCHEDULE),
    ("gpt-realtime-mini-2025-12-15", "2026-12-15", AZURE_SCHEDULE),
    ("gpt-realtime-1.5", "2027-02-23", AZURE_SCHEDULE),
    ("gpt-realtime", "2027-02-28", AZURE_SCHEDULE),
    ("gpt-realtime-2", "2027-05-06", AZURE_SCHEDULE),
    ("gpt-realtime-2.1", "2027-06-25", AZURE_SCHEDULE),
    ("gpt-realtime-2.1-mini", "2027-06-25", AZURE_SCHEDULE),
)
AZURE = Service(
    "azure",
    "Azure",
    GA,
    routes=(GA_ROUTE, PREVIEW_ROUTE, VOICE_LIVE_ROUTE, GPT_LIVE_ROUTE),
    hosts=tuple(f"{kind}.{domain}" for domain in CLOUDS for kind in ("openai", "cognitiveservices", "services.ai")),
    folder="/openai/",
    key_header=KeyHeader("api-key", ""),
    api_key_env="AZURE_OPENAI_API_KEY",
    clouds=CLOUDS,
    has_deployments=True,
    retirements=RETIREMENTS,
    transcription="separate",
    telemetry_name="azure.ai.openai",
    key_page="Key 1 of {host} (Keys and Endpoint)",
    explain=explain,
)
MODEL_VERSION = "2024-12-17"
"""The version of gpt-4o-realtime-preview. A page of Azure's once showed it as an api-version."""
