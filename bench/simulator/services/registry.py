"""The list of the simulated services. The first that answers a request serves it."""

from __future__ import annotations

from collections.abc import Sequence

from bench.simulator.services import azure, qwen, voice_live, xai
from bench.simulator.services.agents import service as agents
from bench.simulator.services.gpt_live import service as gpt_live
from bench.simulator.services.openai import service as openai
from bench.simulator.services.telephone import service as telephone
from bench.simulator.serving.service import SimulatedService

SERVICES: Sequence[SimulatedService] = (
    *(azure.AZURE, xai.SERVICE, qwen.SERVICE, openai.OPENAI, voice_live.SERVICE, gpt_live.SERVICE),
    *(openai.TRANSCRIPTION, agents.SERVICE, telephone.SERVICE),
)
