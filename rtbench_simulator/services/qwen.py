"""Qwen-Omni: the events of preview. The audio format is `pcm`, and the sample rate is a separate
setting.
"""

from dataclasses import replace

from bench.files.validation import Converted, OrNull
from bench.services.openai.dialect import SMART_TURN
from bench.wire.audio import PCM16, PCM16_8K, PCM16_16K, PCM16_48K, AudioFormat
from rtbench_simulator.behaviour import WireDialect
from rtbench_simulator.server_events import PREVIEW, Json
from rtbench_simulator.services.openai import preview_session
from rtbench_simulator.serving.service import AcceptedUpgrade, SimulatedService, UpgradeRequest
from rtbench_simulator.session import checks, effective
from rtbench_simulator.session.checks import SettingTable
from rtbench_simulator.session.effective import NewSession, SessionForm
from rtbench_simulator.session.session_schema import (
    FUNCTION,
    PREVIEW_RESPONSE,
    PREVIEW_SESSION,
    turn_detection,
)

PCM = {format.rate_hz: format for format in (PCM16_8K, PCM16_16K, PCM16, PCM16_48K)}
IN_SHELL = checks.object_of({"type": checks.choice("function"), "function": FUNCTION}, "function")
SHELLED = checks.array(
    Converted(IN_SHELL, lambda value, shell: {"type": "function", **shell["function"]})
)
"""Function tools, which clients nest in the key `function`."""
TRANSCRIBER = OrNull(checks.object_of({"model": checks.TEXT}))


QWEN_FORMAT: SettingTable = {
    "format": {"type": checks.choice("pcm"), "sample_rate": checks.whole(0, 1 << 20, PCM)}
}
# The table is that of preview, and each key here differs from it, or is Qwen's own.
QWEN_SESSION: SettingTable = {
    **PREVIEW_SESSION,
    "model": checks.IGNORED,
    "tools": SHELLED,
    "voice": checks.TEXT,
    "input_audio_format": checks.choice("pcm", "pcm16"),
    "output_audio_format": checks.choice("pcm", "pcm16", "pcm24"),
    "audio": {"input": QWEN_FORMAT, "output": QWEN_FORMAT},
    "input_audio_transcription": TRANSCRIBER,
    "turn_detection": turn_detection(ga=False, further=SMART_TURN),
    "smooth_output": OrNull(checks.FLAG),
    "enable_search": checks.FLAG,
}


def qwen_session(new: NewSession) -> Json:
    return preview_session(new) | {
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
    {**PREVIEW_RESPONSE, "voice": checks.TEXT, "tools": SHELLED},
)
QWEN = WireDialect("qwen", PREVIEW, lambda dialect: QWEN_FORM)


def _answer(request: UpgradeRequest) -> AcceptedUpgrade | None:
    return (
        AcceptedUpgrade(QWEN, request.model or "simulated")
        if request.path == "/api-ws/v1/realtime"
        else None
    )


SERVICE = SimulatedService(_answer)
