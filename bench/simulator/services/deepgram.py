"""The behaviour of one simulated session of Deepgram's Voice Agent. Pure.

The messages are those of deepgram-sdk 7.17. As others observed, the service repeats each text and each result of a
function, sends `LatencyReport` with one value, and sends audio of an interrupted reply after `UserStartedSpeaking`. It
sends one `ConversationText` for each sentence.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bench.base.units import NS_PER_S
from bench.files.values import get_object
from bench.simulator.recorded_replies import AudioBlock, RecordedReply
from bench.simulator.server_events import Json, OutgoingEvent
from bench.simulator.services.spoken_turns import RefusedError, SpokenTurns
from bench.simulator.serving.service import AcceptedUpgrade, SimulatedService, UpgradeRequest, websocket_urls
from bench.simulator.simulated_session import EventReceipt, ReceiptFields
from bench.wire.audio import AudioFormatName
from bench.wire.dialect import BinaryMessage

WARNING_S = 300
"""The time from the warning about the maximum duration to the end of a session."""
FORMATS: Mapping[tuple[Any, Any], AudioFormatName] = {
    ("linear16", 24_000): "pcm16",
    ("linear16", 16_000): "pcm16@16000",
    ("linear16", 8_000): "pcm16@8000",
    ("linear16", 48_000): "pcm16@48000",
    ("mulaw", 8_000): "g711_ulaw",
    ("alaw", 8_000): "g711_alaw",
}
PLACES = {
    "Welcome": "session",
    "SettingsApplied": "settings",
    "audio": "input",
    "InjectUserMessage": "input",
    "AgentAudioDone": "done",
}
"""The place of faults that each message is."""
UNPARSABLE = (
    "UNPARSABLE_CLIENT_MESSAGE",
    "Text message received from client did not match any format.",
)
BAD_MODEL = "INVALID_SETTINGS", "Invalid settings: model not available."


class DeepgramBehaviour(SpokenTurns):
    """One session of Deepgram's Voice Agent."""

    fault_places, until_played = PLACES, False

    def open(self, at_ns: int) -> None:
        due_ns = self._outbox.after(at_ns, self._profile.delays.session_created)
        self.plan(due_ns, _message("Welcome", request_id=self.ids.session))
        if (warn_s := self._profile.max_session_s - WARNING_S) > 0:
            warning = _message("Warning", code="MAXIMUM_SESSION_LENGTH_APPROACHING", description="5 minutes remain.")
            self.plan(at_ns + int(warn_s * NS_PER_S), warning)

    def expiry(self, due_ns: int, message: str, reason: str) -> OutgoingEvent:
        body = self.refusal("MAXIMUM_SESSION_LENGTH_REACHED", "The maximum session length was reached.")
        return OutgoingEvent(due_ns, "Error", body, close=(1000, ""))

    # Messages of the client.

    def receive_binary(self, message: bytes, at_ns: int) -> EventReceipt:
        return self.receive({"type": "audio", "binary": message}, at_ns)

    def _handle(self, event: Json, at_ns: int) -> ReceiptFields | None:
        name = event.get("type")
        if (self._input is None) is not (name == "Settings"):
            early = "NON_SETTINGS_MESSAGE_BEFORE_SETTINGS", "Expected a Settings message first."
            raise RefusedError(*(early if self._input is None else ("SETTINGS_ALREADY_APPLIED", "Settings were sent.")))
        match event:
            case {"type": "audio", "binary": bytes(audio)}:
                return self.hear(audio, at_ns)
            case {"type": "Settings"}:
                return self._set_up(event, at_ns)
            case {"type": "InjectUserMessage", "content": str(text)}:
                if self._series is not None:
                    self.interrupt(at_ns)
                self.plan(at_ns, self.heard(text))
                self.answer(at_ns, {})
                return {}
            case {"type": "FunctionCallResponse", "id": str(call_id), "name": str(), "content": str()}:
                self.plan(at_ns, msgspec.json.encode(event))
                return self.returned(call_id, at_ns)
            case {"type": "KeepAlive"}:
                return {}
        raise RefusedError(*UNPARSABLE)

    def _set_up(self, event: Json, at_ns: int) -> ReceiptFields:
        think = get_object(get_object(event, "agent"), "think")
        match get_object(think, "provider"), think.get("functions", []):
            case {"type": str(), "model": str(model)}, list(functions) if all(map(_is_function, functions)):
                formats = [_format(get_object(event, "audio").get(name)) for name in ("input", "output")]
            case _:
                raise RefusedError(*UNPARSABLE)
        speak = get_object(get_object(get_object(event, "agent"), "speak"), "provider")
        is_known = speak.get("type") != "deepgram" or re.match("aura-|flux-", str(speak.get("model")))
        if None in formats or not is_known or not re.match(r"gpt-|claude-|gemini-|llama|openai/", model):
            raise RefusedError(*BAD_MODEL)
        heard, self._output = (format or "pcm16" for format in formats)
        self.detects(heard)
        self._functions = [
            {"type": "function", "name": function["name"], "parameters": function.get("parameters")}
            for function in functions
        ]
        self.plan(self._outbox.after(at_ns, self._profile.delays.session_updated), _message("SettingsApplied"))
        return {}

    # Messages of the service.

    def sound(self, block: AudioBlock) -> bytes:
        return BinaryMessage(base64.b64decode(block.encoded[1:-1]))

    def texts(self, reply: RecordedReply) -> Sequence[bytes]:
        found, sentence = [b""] * len(reply.tokens), 0
        for number, token in enumerate(reply.tokens):
            if token in ".!?" or number == len(reply.tokens) - 1:
                text = "".join(reply.tokens[sentence : number + 1]).strip()
                found[sentence], sentence = _text("assistant", text), number + 1
        return found

    def heard(self, text: str) -> bytes:
        return _text("user", text)

    def calls(self, calls: Sequence[Json]) -> Sequence[bytes]:
        return (_message("FunctionCallRequest", functions=[call | {"client_side": True} for call in calls]),)

    def began(self, at_ns: int, first_ns: int) -> Sequence[bytes]:
        return (_message("LatencyReport", total_latency=(first_ns - at_ns) / NS_PER_S),)

    def ended(self) -> Sequence[bytes]:
        return (_message("AgentAudioDone"),)

    def interrupted(self, *, while_speaking: bool) -> Sequence[bytes]:
        return (_message("UserStartedSpeaking"),)

    def refusal(self, code: str, text: str) -> bytes:
        return _message("Error", code=code, description=text)


def _is_function(fields: Any) -> bool:
    return isinstance(fields, dict) and isinstance(fields.get("name"), str)


def _format(fields: Any) -> AudioFormatName | None:
    if fields is None:
        return "pcm16"
    is_raw = isinstance(fields, dict) and fields.get("container", "none") == "none"
    return FORMATS.get((fields.get("encoding"), fields.get("sample_rate"))) if is_raw else None


def _message(type: str, **fields: Any) -> bytes:
    return msgspec.json.encode({"type": type} | fields)


def _text(role: str, content: str) -> bytes:
    return _message("ConversationText", role=role, content=content, conversational_behavior="default")


PATH = "/v1/agent/converse"


def _accept(request: UpgradeRequest) -> AcceptedUpgrade | None:
    return AcceptedUpgrade(lambda model, parts: DeepgramBehaviour(parts), "") if request.path == PATH else None


SERVICE = SimulatedService(_accept, websocket_urls(deepgram=PATH), titles={"deepgram": "Deepgram's Voice Agent"})
