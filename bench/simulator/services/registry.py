"""The list of the simulated services. The first that answers a request serves it."""

from collections.abc import Sequence

from bench.simulator.services import (
    agents,
    azure,
    deepgram,
    openai,
    qwen,
    vllm_omni,
    voice_live,
    xai,
)
from bench.simulator.services.gemini import behaviour as gemini
from bench.simulator.services.gpt_live import behaviour as gpt_live
from bench.simulator.services.nova_sonic import line as nova_sonic
from bench.simulator.services.telephone import line as telephone
from bench.simulator.services.translation import behaviour as translation
from bench.simulator.services.webrtc import line as webrtc
from bench.simulator.serving.service import SimulatedService

# The first service that answers a path serves it, so those that share `/v1/realtime` and are
# recognized by a parameter come before OpenAI, which takes what is left.
SERVICES: Sequence[SimulatedService] = (
    webrtc.SERVICE,
    azure.SERVICE,
    voice_live.SERVICE,
    gpt_live.SERVICE,
    translation.SERVICE,
    openai.TRANSCRIPTION,
    agents.SERVICE,
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
