"""The list of the simulated services. The first that answers a request serves it."""

from collections.abc import Sequence

from rtbench_simulator.services import (
    agents,
    azure,
    deepgram,
    described_agents,
    described_services,
    foundry,
    openai,
    qwen,
    vllm_omni,
    voice_live,
    xai,
)
from rtbench_simulator.services.gemini import behaviour as gemini
from rtbench_simulator.services.gpt_live import behaviour as gpt_live
from rtbench_simulator.services.nova_sonic import line as nova_sonic
from rtbench_simulator.services.telephone import service as telephone
from rtbench_simulator.services.translation import behaviour as translation
from rtbench_simulator.services.webrtc import line as webrtc
from rtbench_simulator.serving.service import SimulatedService

# The first service that answers a path serves it, so those that share `/v1/realtime` and are
# recognized by a parameter come before OpenAI, which takes what is left.
SERVICES: Sequence[SimulatedService] = (
    webrtc.SERVICE,
    azure.SERVICE,
    voice_live.SERVICE,
    foundry.SERVICE,
    gpt_live.SERVICE,
    translation.SERVICE,
    openai.TRANSCRIPTION,
    agents.SERVICE,
    described_agents.SERVICE,
    described_services.SERVICE,
    telephone.SERVICE,
    webrtc.AGENT_SERVICE,
    gemini.SERVICE,
    deepgram.SERVICE,
    nova_sonic.SERVICE,
    vllm_omni.SERVICE,
    xai.SERVICE,
    qwen.SERVICE,
    openai.SERVICE,
)
