"""GPT-Live at OpenAI's and Azure's paths."""

from __future__ import annotations

from bench.simulator.services.gpt_live.behaviour import GptLiveBehaviour
from bench.simulator.serving.service import AcceptedUpgrade, SimulatedService, UpgradeRequest, websocket_urls
from bench.simulator.simulated_session import SessionParts

PATH = "/v1/live/sessions"


class GptLiveDialect:
    """The dialect of GPT-Live, which has no turns."""

    def new_session(self, model: str, parts: SessionParts) -> GptLiveBehaviour:
        return GptLiveBehaviour(model, *parts[:5])


def _answer(request: UpgradeRequest) -> AcceptedUpgrade | None:
    return AcceptedUpgrade(GptLiveDialect(), "") if request.path in (PATH, f"/openai{PATH}") else None


SERVICE = SimulatedService(_answer, websocket_urls(gpt_live=PATH), limits_headers=True)
