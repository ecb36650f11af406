"""The table of dialects: which there are, by the names that users know."""

from __future__ import annotations

from bench.protocol.acs import ACS
from bench.protocol.base import Dialect
from bench.protocol.gpt_live import GPT_LIVE
from bench.protocol.openai_ga import GA
from bench.protocol.openai_like import GLM, INWORLD, QWEN, STEPFUN, XAI
from bench.protocol.openai_preview import PREVIEW
from bench.protocol.pcm import PCM
from bench.protocol.twilio import TWILIO
from bench.protocol.voice_live import VOICE_LIVE

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (GA, PREVIEW, VOICE_LIVE, GPT_LIVE, XAI, INWORLD, QWEN, GLM, STEPFUN, ACS, TWILIO, PCM)
}
