"""Azure OpenAI. Clients name deployments, and the preview accepts settings that legacy clients
send.
"""

from dataclasses import replace
from functools import partial

from bench.services.azure import PREVIEW_VERSIONS
from bench.services.openai.dialect import FORMATS
from rtbench_simulator import refusals
from rtbench_simulator.behaviour import WireDialect
from rtbench_simulator.refusals import RefusedUpgrade
from rtbench_simulator.server_events import GA, PREVIEW
from rtbench_simulator.services.openai import PREVIEW_FORM, PREVIEW_TRANSCRIPTION_FORM, ga_form
from rtbench_simulator.serving.service import (
    AcceptedUpgrade,
    SimulatedService,
    UpgradeRequest,
    websocket_urls,
)
from rtbench_simulator.session import checks, session_schema

# Azure's session.model is the model of the deployment; ours are named like models
UNDERLYING_MODELS = {
    "gpt-4o-realtime-preview": "gpt-4o-realtime-preview-2024-12-17",
    "gpt-4o-mini-realtime-preview": "gpt-4o-mini-realtime-preview-2024-12-17",
    "gpt-realtime": "gpt-realtime-2025-08-28",
    "gpt-realtime-mini": "gpt-realtime-mini-2025-12-15",
}
GA_PATH = "/openai/v1/realtime"
PREVIEW_PATH = "/openai/realtime"
TOLERANT_FORM = replace(
    PREVIEW_FORM,
    table={**PREVIEW_FORM.table, "model": checks.IGNORED},  # the quickstart of March 2025 sends it
    response={
        **session_schema.PREVIEW_RESPONSE,
        **dict.fromkeys(session_schema.TOLERATED_RESPONSE_KEYS, checks.IGNORED),
    },
)


AZURE_PREVIEW = WireDialect(
    "azure-preview",
    PREVIEW,
    lambda dialect: PREVIEW_TRANSCRIPTION_FORM if dialect.transcribes else TOLERANT_FORM,
)
AZURE_GA = WireDialect(
    "azure-ga", GA, partial(ga_form, transcriber=checks.short(64)), tuple(FORMATS)
)
"""The dialect of GA. The name of a transcription model is that of a deployment."""


# GA has no version in its address and the preview needs one, so either mistake is an answer of its
# own.
def _answer(request: UpgradeRequest) -> AcceptedUpgrade | RefusedUpgrade | None:
    version = request.query.get("api-version")
    if request.path == PREVIEW_PATH:
        deployment = request.query.get("deployment", "")
        return (
            _accepted(AZURE_PREVIEW, deployment, request)
            if version in PREVIEW_VERSIONS
            else refusals.BAD_VERSION
        )
    if request.path == GA_PATH:
        return (
            _accepted(AZURE_GA, request.model, request)
            if version is None
            else refusals.STRAY_VERSION
        )
    return None


def _accepted(
    dialect: WireDialect, deployment: str, request: UpgradeRequest
) -> AcceptedUpgrade | RefusedUpgrade:
    if request.transcribes:  # the transcription deployment may be named here, or in the session
        return AcceptedUpgrade(dialect.transcribing(), deployment)
    if not deployment:
        return refusals.NO_DEPLOYMENT
    return AcceptedUpgrade(dialect, UNDERLYING_MODELS.get(deployment, deployment))


SERVICE = SimulatedService(
    _answer,
    websocket_urls(
        ga=f"{GA_PATH}?model=gpt-realtime",
        preview=f"{PREVIEW_PATH}?api-version=2025-04-01-preview&deployment=gpt-4o-realtime-preview",
    ),
    limits_headers=True,
    titles={"ga": "Azure GA", "preview": "Azure preview"},
)
