"""The behaviour of one simulated session of Deepgram's Voice Agent. Pure.

The messages are those of deepgram-sdk 7.17. As others observed, the service repeats each text and
each result of a function, sends `LatencyReport` with one value, and sends audio of an interrupted
reply after `UserStartedSpeaking`. It answers speech after a silence of 500 ms, which is an
assumption, and sends a `ConversationText` for each sentence.

In the ground-truth log the agent's audio is `audio.delta`. The first one of a reply has the byte at
which the caller's speech ended (`speech_at_byte`). Replies are numbered, as `reply-1`.
"""

# Text messages are JSON with a `type`, and audio is in binary messages in both directions.
# `Settings` comes first and once. Each wrong message is answered by an `Error` that ends the
# session, so handlers raise RefusedError and leave the state as it is.
#
# One reply is in progress at most (`_reply`), and until `_played_ns` a listener still plays it. An
# interruption is reported at once, and the rest of the reply is dropped a little later: clients of
# the service have to discard audio that is already on its way, and this tests that they do.

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from bench.base.units import NS_PER_S
from bench.files.values import get_object
from bench.wire.audio import ALL_FORMATS, AudioFormatName
from bench.wire.dialect import BinaryMessage
from rtbench_simulator.recorded_replies import AudioBlock, RecordedReply
from rtbench_simulator.responses.function_calls import GeneratedCall
from rtbench_simulator.server_events import Json, OutboxStep, OutgoingEvent
from rtbench_simulator.services.answering import (
    AnsweringSession,
    RefusedError,
    SpokenReply,
    drop,
)
from rtbench_simulator.serving.service import (
    SimulatedService,
    answer_at,
    lacks_of,
    websocket_urls,
)
from rtbench_simulator.session.effective import InputSettings
from rtbench_simulator.simulated_session import (
    EventReceipt,
    ReceiptFields,
    SessionParts,
)
from rtbench_simulator.turn_taking import CallerSpeech

SILENCE_MS = 500
TEXT = "ConversationText"
WARNING_S = 300
"""The time from the warning about the maximum duration to the end of a session."""
# Names and rates of raw audio in Deepgram's reference of `Settings`.
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
MISSING_PLACES = ("speech", "response", "input_delta", "input_transcript")
UNPARSABLE = (
    "UNPARSABLE_CLIENT_MESSAGE",
    "Text message received from client did not match any format.",
)
BAD_SETTINGS = "INVALID_SETTINGS", "Invalid settings: model not available."
EARLY = "NON_SETTINGS_MESSAGE_BEFORE_SETTINGS", "Expected a Settings message first."
REPEATED = "SETTINGS_ALREADY_APPLIED", "Settings were already applied."
EXPIRED = "MAXIMUM_SESSION_LENGTH_REACHED", "The maximum session length was reached."


class DeepgramBehaviour(AnsweringSession):
    """One session of Deepgram's Voice Agent."""

    fault_places = PLACES

    def __init__(self, parts: SessionParts) -> None:
        super().__init__(parts, SILENCE_MS)

    def open(self, at_ns: int) -> None:
        due_ns = self._outbox.after(at_ns, self._profile.delays.session_created)
        self._plan(due_ns, "Welcome", {"request_id": self.ids.session})
        if (warn_s := self._profile.max_session_s - WARNING_S) > 0:
            warning = {
                "code": "MAXIMUM_SESSION_LENGTH_APPROACHING",
                "description": "5 minutes remain.",
            }
            self._plan(at_ns + int(warn_s * NS_PER_S), "Warning", warning)

    def expiry(self, due_ns: int, message: str, reason: str) -> OutgoingEvent:
        return self._refusal(*EXPIRED, due_ns)

    # Messages of the client.

    def receive_binary(self, message: bytes, at_ns: int) -> EventReceipt:
        return self.receive({"type": "audio", "binary": message}, at_ns)

    def _name_of(self, event: Json) -> str:
        return str(event.get("type", "invalid"))

    def _refusal(self, code: str | int, reason: str, due_ns: int) -> OutgoingEvent:
        body = self._body("Error", {"code": code, "description": reason})
        return OutgoingEvent(due_ns, "Error", body, close=(1000, ""))

    def _body(self, name: str, fields: Json) -> bytes:
        return msgspec.json.encode({"type": name} | fields)

    def _handle(self, event: Json, at_ns: int) -> ReceiptFields:
        if self._input is None:
            if event.get("type") != "Settings":
                raise RefusedError(*EARLY)
            self._set_up(event, at_ns)
            return {}
        match event:
            case {"type": "audio", "binary": bytes(audio)}:
                return self._hear(audio, self._input, at_ns)
            case {"type": "InjectUserMessage", "content": str(text)}:
                if self._reply is not None:
                    self._interrupt(at_ns)
                self._plan(at_ns, TEXT, {"role": "user", "content": text})
                return self._answer(at_ns, {})
            case {
                "type": "FunctionCallResponse",
                "id": str(call_id),
                "name": str(),
                "content": str(),
            }:
                self._plan(at_ns, event["type"], event)
                return self._end_call(call_id, at_ns)
            case {"type": "KeepAlive"}:
                return {}
        raise RefusedError(*(REPEATED if event.get("type") == "Settings" else UNPARSABLE))

    def _set_up(self, event: Json, at_ns: int) -> None:
        think = get_object(get_object(event, "agent"), "think")
        match get_object(think, "provider"), think.get("functions", []):
            case {"type": str(), "model": str(model)}, list(functions) if all(
                map(_is_function, functions)
            ):
                formats = [
                    _format(get_object(event, "audio").get(name)) for name in ("input", "output")
                ]
            case _:
                raise RefusedError(*UNPARSABLE)
        speak = get_object(get_object(get_object(event, "agent"), "speak"), "provider")
        # Only the names of the service's own voices can be checked: other providers name theirs.
        is_known = speak.get("type") != "deepgram" or re.match(
            "aura-|flux-", str(speak.get("model"))
        )
        if (
            None in formats
            or not is_known
            or not re.match(r"gpt-|claude-|gemini-|llama|openai/", model)
        ):
            raise RefusedError(*BAD_SETTINGS)
        heard, self._output = (format or "pcm16" for format in formats)
        self._input = InputSettings(ALL_FORMATS[heard])
        self._functions = [
            {"type": "function", "name": function["name"], "parameters": function.get("parameters")}
            for function in functions
        ]
        due_ns = self._outbox.after(at_ns, self._profile.delays.session_updated)
        self._plan(due_ns, "SettingsApplied", {})

    # The caller's speech.

    def _on_start(self, speech: CallerSpeech) -> None:
        self._interrupt(speech.stop_ns)

    def _transcribe(self, audio_ms: float, at_ns: int) -> None:
        text = self._asr.transcribe(audio_ms)
        heard_ns = self._outbox.after(at_ns, self._profile.delays.input_transcribed)
        self._plan(heard_ns, TEXT, {"role": "user", "content": text})

    def _interrupt(self, due_ns: int) -> None:
        """Report the begin of the caller's speech. Stop the reply in progress, of which a part
        may still be sent.
        """
        self._plan(due_ns, "UserStartedSpeaking", {})
        self._open_calls.clear()
        self._played_ns = 0
        if self._reply is not None:
            stop_ns = self._outbox.after(due_ns, self._profile.delays.cancelled)
            self._outbox.plan_step(stop_ns, partial(drop, self._reply))
            self._reply = None

    # Replies.

    def _reply_steps(self, reply: SpokenReply) -> Iterator[OutboxStep]:
        is_first = True
        report = {"total_latency": (reply.first_ns - reply.asked_ns) / NS_PER_S}
        blocks = iter(reply.recorded.blocks[self._output])
        sentences = iter(_sentences(reply.recorded))
        for delta in reply.schedule.deltas:
            if delta.audio:
                facts = reply.facts if is_first else {}
                yield delta.due_ns, partial(self._sound, next(blocks), reply.id, facts)
                if is_first:
                    yield delta.due_ns, partial(self._event, "LatencyReport", report, reply.id)
                is_first = False
            elif sentence := next(sentences):
                said = {"role": "assistant", "content": sentence}
                yield delta.due_ns, partial(self._event, TEXT, said, reply.id)
        yield reply.schedule.done_ns, self._done

    def _sound_body(self, block: AudioBlock) -> bytes:
        return BinaryMessage(base64.b64decode(block.encoded[1:-1]))

    def _requested(self, call_id: str, call: GeneratedCall) -> Json:
        text = "".join(call.tokens)
        return {"id": call_id, "name": call.name, "arguments": text, "client_side": True}

    def _call(self, calls: list[Json], due_ns: int) -> OutgoingEvent:
        self._reply = None
        self._open_calls = {call["id"] for call in calls}
        return self._event("FunctionCallRequest", {"functions": calls}, self._reply_id, due_ns)

    def _done(self, due_ns: int) -> OutgoingEvent:
        self._reply = None
        return self._event("AgentAudioDone", {}, self._reply_id, due_ns)


def _is_function(fields: Any) -> bool:
    return isinstance(fields, dict) and isinstance(fields.get("name"), str)


def _format(fields: Any) -> AudioFormatName | None:
    if fields is None:
        return "pcm16"
    is_raw = isinstance(fields, dict) and fields.get("container", "none") == "none"
    return FORMATS.get((fields.get("encoding"), fields.get("sample_rate"))) if is_raw else None


def _sentences(reply: RecordedReply) -> Sequence[str]:
    """Return, for each token of a reply, the sentence that begins with it; "" if none does."""
    found = [""] * len(reply.tokens)
    begin = 0
    for number, token in enumerate(reply.tokens):
        if token in ".!?" or number == len(reply.tokens) - 1:
            found[begin] = "".join(reply.tokens[begin : number + 1]).strip()
            begin = number + 1
    return found


PATH = "/v1/agent/converse"
MISSING_FAULTS = {
    **dict.fromkeys(
        ("error", "failed", "incomplete"),
        "Deepgram reports failures only by an error that ends the session: use close,code=1011",
    ),
    "other_dialect": "Deepgram's Voice Agent has one dialect",
}
SERVICE = SimulatedService(
    answer_at(DeepgramBehaviour, PATH),
    websocket_urls(deepgram=PATH),
    lacks=lacks_of("Deepgram", MISSING_PLACES, MISSING_FAULTS),
    titles={"deepgram": "Deepgram's Voice Agent"},
)
