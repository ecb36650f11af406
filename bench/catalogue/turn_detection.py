"""The types of turn detection."""

from typing import Literal

DetectorName = Literal[
    "server_vad",
    "semantic_vad",
    "azure_semantic_vad",
    "azure_semantic_vad_en",
    "azure_semantic_vad_multilingual",
    "smart_turn",
    "full_duplex",
]
"""The types of turn detection. Types with `azure` in their name belong to Azure Voice Live,
`smart_turn` to Qwen. `full_duplex` is for services that listen while they speak, interpreters and
agents."""
