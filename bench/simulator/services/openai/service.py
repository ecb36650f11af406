"""OpenAI's Realtime API. It refuses a connection after the upgrade, with an error event."""

from __future__ import annotations

from dataclasses import replace

from bench.services.openai.dialect import FORMATS
from bench.simulator import refusals
from bench.simulator.behaviour import WireDialect
from bench.simulator.server_events import GA, PREVIEW
from bench.simulator.services.openai.forms import ga_form, preview_form
from bench.simulator.serving.service import AcceptedUpgrade, SimulatedService, UpgradeRequest, websocket_urls

PATH = "/v1/realtime"
OPENAI_PREVIEW = WireDialect("openai-preview", PREVIEW, preview_form)
OPENAI_GA = WireDialect("openai-ga", GA, ga_form, tuple(FORMATS))


def _dialect(request: UpgradeRequest) -> WireDialect:
    return OPENAI_PREVIEW if request.headers.get("openai-beta") == "realtime=v1" else OPENAI_GA


def _answer(request: UpgradeRequest) -> AcceptedUpgrade | None:
    if request.path != PATH or request.transcribes:
        return None
    return AcceptedUpgrade(_dialect(request), request.model, None if request.model else refusals.MISSING_MODEL)


def _transcription(request: UpgradeRequest) -> AcceptedUpgrade | None:
    if request.path != PATH or not request.transcribes:
        return None
    complaint = refusals.MODEL_OF_TRANSCRIPTION if request.model else None
    return AcceptedUpgrade(_dialect(request).transcribing(), request.model, complaint)


OPENAI = SimulatedService(
    _answer, websocket_urls(openai=f"{PATH}?model=gpt-realtime"), "event", refusals.BAD_OPENAI_KEY
)
TRANSCRIPTION = replace(
    OPENAI, answer=_transcription, urls=websocket_urls(transcription=f"{PATH}?intent=transcription")
)
