"""Voice agents of Azure Foundry: the sessions of Azure's GA, and GPT-Live that the service starts
itself. They have no calls over WebRTC.
"""

import re

from bench.services.foundry import OPT_IN, PATH
from bench.wire.service import NAME
from rtbench_simulator import refusals
from rtbench_simulator.refusals import RefusedUpgrade
from rtbench_simulator.services.azure import AZURE_GA, UNDERLYING_MODELS
from rtbench_simulator.services.gpt_live.behaviour import EVENTS, START, GptLiveBehaviour
from rtbench_simulator.services.gpt_live.session_form import STARTED
from rtbench_simulator.serving.service import (
    AcceptedUpgrade,
    SimulatedService,
    UpgradeRequest,
    websocket_urls,
)
from rtbench_simulator.session.checks import EventValue
from rtbench_simulator.simulated_session import SessionParts

MODEL = UNDERLYING_MODELS["gpt-realtime"]
AGENT = PATH.replace(NAME, "simulated")
OF_AGENT = re.compile(PATH.replace(NAME, "[^/]+") + "(/live/sessions)?")


class FoundryLiveBehaviour(GptLiveBehaviour):
    """One session of an agent with GPT-Live."""

    def __init__(self, parts: SessionParts) -> None:
        super().__init__(parts)
        self.events = {name: event for name, event in EVENTS.items() if name != START}

    def open(self, at_ns: int) -> None:
        settings = STARTED.read(EventValue("session", {"model": "gpt-live-1"}))
        self.start({"session": settings}, at_ns)


def _answer(request: UpgradeRequest) -> AcceptedUpgrade | RefusedUpgrade | None:
    found = OF_AGENT.fullmatch(request.path)
    if found is None:
        return None
    header, feature = OPT_IN
    opted = request.headers.get(header.lower()), request.query.get("foundry_features")
    if feature not in opted:
        return refusals.PREVIEW_ONLY
    if request.query.get("transport") == "webrtc":
        return refusals.NO_SUCH_PATH
    if found[1]:
        return AcceptedUpgrade(lambda model, parts: FoundryLiveBehaviour(parts), "")
    return AcceptedUpgrade(AZURE_GA, MODEL)


SERVICE = SimulatedService(
    _answer,
    websocket_urls(foundry=AGENT, foundry_live=f"{AGENT}/live/sessions"),
    titles={"foundry": "Foundry agent", "foundry_live": "Foundry, live"},
    limits_headers=True,
)
