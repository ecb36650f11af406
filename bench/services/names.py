"""The names of the dialects. Every command imports this module when it starts, so it imports nothing."""

from __future__ import annotations

from typing import Literal

AgentName = Literal["acs", "twilio", "pcm", "sip"]
"""The dialects of agents."""
TrackName = Literal["ga-webrtc", "ga-webrtc-g711"]
"""The dialects of calls over WebRTC. The keys `transport` and `codec` of a target select them."""
DialectName = Literal[
    "ga",
    "preview",
    "voice-live",
    "gpt-live",
    "gemini",
    "deepgram",
    "xai",
    "inworld",
    "qwen",
    "glm",
    "stepfun",
    "vllm-omni",
    AgentName,
    TrackName,
]
"""The names of dialects. `bench.services.registry` has the dialects."""
