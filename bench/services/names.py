"""The names of the dialects. Every command imports this module when it starts, so it imports
nothing slow.
"""

from pathlib import Path
from typing import Literal, get_args

AgentName = Literal["acs", "twilio", "pcm", "sip"]
"""The dialects of agents."""
TrackName = Literal[
    "ga-webrtc",
    "ga-webrtc-g711",
    "gpt-live-webrtc",
    "gpt-live-webrtc-g711",
    "webrtc-g711",
    "sip-opus",
    "sip-g722",
]
"""The dialects of calls that the keys `transport` and `codec` of a target select."""
DialectName = Literal[
    "ga",
    "preview",
    "voice-live",
    "gpt-live",
    "translation",
    "foundry",
    "foundry-live",
    "gemini",
    "deepgram",
    "nova-sonic",
    "xai",
    "inworld",
    "qwen",
    "glm",
    "stepfun",
    "vllm-omni",
    AgentName,
    "webrtc",
    TrackName,
]
"""The names of dialects. `bench.services.registry` has the dialects."""
OfferForm = Literal["form", "sdp", "ephemeral"]
"""The form of the offers over WebRTC: the part of a form, the whole body, or the whole body with
an ephemeral key."""
WITH_CALL_KEY: OfferForm = "ephemeral"
"""The form that needs a key, which the service issues for calls."""
PAGES = tuple(sorted(path.stem for path in (Path(__file__).parent / "pages").glob("*.yaml")))
"""The names of the dialects that files of this tool describe."""
NAMES = tuple(dict.fromkeys((*get_args(DialectName), *PAGES)))
"""All names of dialects."""
