"""Qwen-Omni: the events of preview. The audio format is `pcm`, and the sample rate is a separate setting."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.simulator.behaviour import WireDialect
from bench.simulator.server_events import PREVIEW, Json
from bench.simulator.services.openai import preview_session
from bench.simulator.serving.service import AcceptedUpgrade, SimulatedService, UpgradeRequest
from bench.simulator.session import checks, effective
from bench.simulator.session.checks import CheckTable, EventPath, Nullable
from bench.simulator.session.effective import SessionForm
from bench.simulator.session.session_schema import FUNCTION, PREVIEW_RESPONSE, PREVIEW_SESSION
from bench.wire.audio import PCM16, PCM16_8K, PCM16_16K, PCM16_48K, AudioFormat

PCM = {format.rate_hz: format for format in (PCM16_8K, PCM16_16K, PCM16, PCM16_48K)}
IN_SHELL = checks.shape({"type": checks.choice("function"), "function": checks.anything}, "function")
TRANSCRIBER = Nullable(checks.shape({"model": checks.text}))


def _unshelled(value: Any, event_path: EventPath) -> Json:
    """Return a function tool in the form in which it is stored, if the client nested it in the key `function`."""
    shell = IN_SHELL(value, event_path)
    return {"type": "function", **FUNCTION(shell["function"], event_path.key("function"))}


SHELLED = checks.array(_unshelled)
QWEN_FORMAT: CheckTable = {"format": {"type": checks.choice("pcm"), "sample_rate": checks.one_of_whole(PCM)}}
QWEN_SESSION: CheckTable = {
    **PREVIEW_SESSION,
    "model": checks.ignored,
    "tools": SHELLED,
    "voice": checks.text,
    "input_audio_format": checks.choice("pcm", "pcm16"),
    "output_audio_format": checks.choice("pcm", "pcm16", "pcm24"),
    "audio": {"input": QWEN_FORMAT, "output": QWEN_FORMAT},
    "input_audio_transcription": TRANSCRIBER,
    "smooth_output": Nullable(checks.flag),
    "enable_search": checks.flag,
}


def qwen_session(session_id: str, model: str, expires_at_s: int) -> Json:
    return preview_session(session_id, model, expires_at_s) | {
        "voice": "Cherry",
        "input_audio_format": "pcm",
        "output_audio_format": "pcm",
        "audio": {
            "input": {"format": {"type": "pcm", "sample_rate": 16_000}},
            "output": {"format": {"type": "pcm", "sample_rate": 24_000}},
        },
    }


def _qwen_format(session: Json, direction: str) -> AudioFormat:
    return PCM[session["audio"][direction]["format"]["sample_rate"]]


QWEN_FORM = SessionForm(
    qwen_session,
    QWEN_SESSION,
    lambda session: effective.flat_input(session, _qwen_format(session, "input")),
    lambda session, response: replace(
        effective.flat_output(session, response), format=_qwen_format(session, "output").name
    ),
    {**PREVIEW_RESPONSE, "voice": checks.text, "tools": SHELLED},
)
QWEN = WireDialect("qwen", PREVIEW, lambda dialect: QWEN_FORM)


def _answer(request: UpgradeRequest) -> AcceptedUpgrade | None:
    return AcceptedUpgrade(QWEN, request.model or "simulated") if request.path == "/api-ws/v1/realtime" else None


SERVICE = SimulatedService(_answer)
