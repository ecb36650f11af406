"""vLLM-Omni's full-duplex server: the events of GA. The first `session.update` opens the session.

It accepts the keys of its own client (vllm-omni 0.30.0, `clients/duplex.py`), which are those of
the preview.
"""

# The server has keys of its own client, of the preview, and of GA. A key without a meaning for it
# is `IGNORED`. A key that changes what it does, and does not change the simulator, is
# `NOT_SIMULATED`: the simulator accepts it, and notes that it has no effect here.

from dataclasses import dataclass, replace
from typing import Any

from bench.files.validation import Converted, OrNull, Validator
from bench.files.yaml_file import LocatedValue
from bench.wire.audio import PCM16, PCM16_16K
from rtbench_simulator.behaviour import EVENTS, Behaviour, WireDialect
from rtbench_simulator.conversation.client_items import AUDIO
from rtbench_simulator.delay import Delay
from rtbench_simulator.server_events import GA, Json
from rtbench_simulator.services.openai import PATH, ga_form, ga_session
from rtbench_simulator.serving.service import (
    AcceptedUpgrade,
    SimulatedService,
    UpgradeRequest,
    websocket_urls,
)
from rtbench_simulator.session import checks
from rtbench_simulator.session.effective import NewSession, SessionForm
from rtbench_simulator.session.session_schema import modalities
from rtbench_simulator.simulated_session import SessionParts, client_event


def _always(value: LocatedValue, read: bool) -> bool:
    if not read:
        raise value.refuse("cannot be false")
    return read


DETECTION: Validator[Any] = OrNull(
    checks.object_of(
        {
            "type": checks.choice("server_vad"),
            "threshold": checks.number(0, 1),
            **dict.fromkeys(("prefix_padding_ms", "silence_duration_ms"), checks.whole(0, 60_000)),
            "min_speech_duration_ms": checks.NOT_SIMULATED,
            "create_response": checks.IGNORED,
            "interrupt_response": Converted(checks.FLAG, _always),
        },
        type="server_vad",
        threshold=0.5,
        prefix_padding_ms=300,
        silence_duration_ms=500,
        create_response=True,
        interrupt_response=True,
    )
)
"""`server_vad` with its defaults (`engine/duplex/turn_detection.py`). Other fields are refused."""
ITS_OWN = (
    "ref_audio",
    "overlap_policy",
    "playback_commit_policy",
    "extra_body",
    "idle_timeout_s",
    "temperature",
)
RATE = checks.whole(16_000, 24_000, (16_000, 24_000))


def _session(new: NewSession) -> Json:
    session = ga_session(new)
    heard = {"format": {"type": "audio/pcm", "rate": PCM16_16K.rate_hz}, "turn_detection": None}
    audio = session["audio"] | {"input": session["audio"]["input"] | heard}
    return session | {
        "audio": audio,
        "capabilities": {"supports_barge_in": True, "supports_session_resume": False},
    }


def _settled(merged: Json, requested: Json) -> Json:
    """Return the session with the keys of the preview at the places that they have in GA."""
    heard = dict(merged["audio"]["input"])
    if "turn_detection" in requested:
        heard["turn_detection"] = merged["turn_detection"]
    if "sample_rate_hz" in requested:
        heard["format"] = heard["format"] | {"rate": merged["sample_rate_hz"]}
    kept = {
        key: value
        for key, value in merged.items()
        if key not in ("turn_detection", "sample_rate_hz")
    }
    return kept | {"audio": merged["audio"] | {"input": heard}}


def vllm_omni_form(dialect: WireDialect) -> SessionForm:
    ga = ga_form(dialect)
    audio: Any = ga.table["audio"]
    spoken = modalities(["audio"], ["text"], ["audio", "text"], ["text", "audio"])
    table = {
        **ga.table,
        **dict.fromkeys(ITS_OWN, checks.NOT_SIMULATED),
        **dict.fromkeys(
            ("type", "modalities", "input_audio_format", "output_audio_format"), checks.IGNORED
        ),
        "output_modalities": spoken,
        "turn_detection": DETECTION,
        "sample_rate_hz": RATE,
        "voice": checks.IGNORED,
        "audio": {
            "input": {
                **audio["input"],
                "turn_detection": DETECTION,
                "sample_rate_hz": checks.IGNORED,
            },
            "output": {
                **audio["output"],
                "voice": checks.IGNORED,
                "sample_rate_hz": checks.IGNORED,
            },
        },
    }
    return replace(ga, opened=_session, table=table, type=None, settled=_settled)


# Until the first update there is no session, so nothing is greeted. That update opens it, and is
# answered by session.created and session.updated.
class VllmOmniSession(Behaviour):
    """A session that its first `session.update` opens."""

    _is_open = False

    def open(self, at_ns: int) -> None:
        pass

    def _send_session(self, at_ns: int, name: str, delay: Delay) -> int:
        if not self._is_open:
            self._is_open = True
            super()._send_session(at_ns, "created", self._delays.session_created)
        return super()._send_session(at_ns, name, delay)

    def acknowledge(self, at_ns: int, event_type: str) -> None:
        self._acknowledge(at_ns, event_type, {})


def _answered(event_type: str) -> Any:
    """Return a handler that answers with an event of this type."""
    return lambda session, event, at_ns: session.acknowledge(at_ns, event_type)


# The events of its own client, besides those of GA. Its answers confirm them, and change no reply.
OF_AUDIO = dict.fromkeys(
    ("format", "sample_rate_hz", "duration_ms", "audio_end_ms", "is_speech"), checks.IGNORED
)
OWN_EVENTS = {
    "input_audio_buffer.append": client_event(
        EVENTS["input_audio_buffer.append"].handler, "audio", audio=AUDIO, **OF_AUDIO
    ),
    "input_audio_buffer.commit": client_event(
        EVENTS["input_audio_buffer.commit"].handler,
        **dict.fromkeys(("final", "response_create"), checks.IGNORED),
    ),
    "playback.ack": client_event(
        _answered("playback.acknowledged"),
        **dict.fromkeys(("response_id", "played_ms", "committed_ms"), checks.IGNORED),
    ),
    "session.heartbeat": client_event(_answered("session.heartbeat_ack")),
    "session.close": client_event(_answered("session.closed")),
}


@dataclass(frozen=True)
class VllmOmniWire(WireDialect):
    def __call__(self, model: str, parts: SessionParts) -> Behaviour:
        return VllmOmniSession(self, model, parts)


VLLM_OMNI = VllmOmniWire(
    "vllm-omni", GA, vllm_omni_form, (PCM16.name, PCM16_16K.name), events={**EVENTS, **OWN_EVENTS}
)


def _answer(request: UpgradeRequest) -> AcceptedUpgrade | None:
    is_ours = request.path == PATH and request.query.get("duplex") in ("1", "true", "on")
    return AcceptedUpgrade(VLLM_OMNI, request.model or "simulated") if is_ours else None


SERVICE = SimulatedService(
    _answer,
    websocket_urls(vllm_omni=f"{PATH}?duplex=1&autostart=0&model=simulated"),
    "event",
    titles={"vllm_omni": "vLLM-Omni"},
)
