"""The behaviour of one simulated session of Amazon Nova Sonic. Pure.

The events are those of "Handling input events" and "Handling output events with the bidirectional
API" (Amazon Nova 2 Sonic), in the order that a published log of the service has. A reply has a
planned text and a block of audio for each sentence. As others observed, interrupted audio ends with
END_TURN, and a text states the interruption. The service answers speech after a silence of 500 ms,
and counts 25 tokens for a second of speech; both are assumptions, as is the end by age.

In the ground-truth log the service's audio is `audio.delta`. The first one of a reply has the byte
at which the caller's speech ended (`speech_at_byte`). Replies are numbered, as `reply-1`.
`contentEnd.END_TURN` ends a reply.
"""

# The client's events nest: a session has one prompt, and the prompt has blocks, which are open at
# the same time: one of audio for the whole call, and short ones of text and results. Each must be
# opened with its name before it is used. A violation is an exception that ends the session.
#
# The service's events nest as well: one completion, with a block for each text and each piece of
# audio. A text comes twice: SPECULATIVE before its audio, as what will be said, and FINAL after it,
# as what was said (AWS's "Handling output events").

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from bench.files.values import get_object, get_text
from bench.wire.audio import ALL_FORMATS, AudioFormatName
from rtbench_simulator.recorded_replies import AudioBlock, RecordedReply
from rtbench_simulator.responses.function_calls import GeneratedCall
from rtbench_simulator.server_events import Json, OutboxStep, OutgoingEvent
from rtbench_simulator.services.answering import AnsweringSession, RefusedError, SpokenReply
from rtbench_simulator.session.effective import InputSettings
from rtbench_simulator.simulated_session import (
    EventReceipt,
    ReceiptFields,
    SessionParts,
)
from rtbench_simulator.turn_taking import CallerSpeech

SILENCE_MS = 500
TOKENS_PER_S = 25
FORMATS: Mapping[Any, AudioFormatName] = {
    24_000: "pcm16",
    16_000: "pcm16@16000",
    8_000: "pcm16@8000",
}
OPENED = "opened"
END = "contentEnd.END_TURN"
PLACES = {OPENED: "session", "audioInput": "input", "textInput": "input", END: "done"}
"""The place of faults that each event is."""
MISSING_PLACES = ("settings", "speech", "response", "input_delta", "input_transcript")
INVALID = "validationException"
EXPIRED = "modelTimeoutException"
INTERRUPTED = '{ "interrupted" : true }'


class NovaBehaviour(AnsweringSession):
    """One session of Amazon Nova Sonic."""

    fault_places = PLACES

    def __init__(self, parts: SessionParts) -> None:
        super().__init__(parts, SILENCE_MS)
        self._is_started = False
        self._opened_ns = 0
        self._prompt: Json | None = None
        self._blocks: dict[str, Json] = {}
        """The open blocks of the client, by their names."""
        self._has_completion = self._is_speaking = False
        self._totals = {"input": [0, 0], "output": [0, 0]}
        """The tokens of the session, of speech and of text."""

    def open(self, at_ns: int) -> None:
        self._opened_ns = due_ns = self._outbox.after(at_ns, self._profile.delays.session_created)
        body = msgspec.json.encode({OPENED: {}})
        self._outbox.plan_step(due_ns, lambda due_ns: OutgoingEvent(due_ns, OPENED, body))

    def expiry(self, due_ns: int, message: str, reason: str) -> OutgoingEvent:
        return self._refusal(EXPIRED, message, due_ns)

    # Events of the client.

    def receive(self, event: Json, at_ns: int) -> EventReceipt:
        # no event precedes the response
        return super().receive(event, max(at_ns, self._opened_ns))

    def _name_of(self, event: Json) -> str:
        return next(iter(get_object(event, "event")), "invalid")

    def _refusal(self, code: str | int, reason: str, due_ns: int) -> OutgoingEvent:
        body = msgspec.json.encode({"exception": {"type": code, "message": reason}})
        return OutgoingEvent(due_ns, str(code), body, close=(1000, ""))

    def _handle(self, event: Json, at_ns: int) -> ReceiptFields:
        name = self._name_of(event)
        fields = get_object(get_object(event, "event"), name)
        if name == "sessionStart":
            inference = get_object(fields, "inferenceConfiguration")
            if self._is_started or not isinstance(inference.get("maxTokens"), int):
                raise RefusedError(INVALID, "Invalid sessionStart event.")
            self._is_started = True
            return {}
        if not self._is_started:
            raise RefusedError(INVALID, "The first event must be sessionStart.")
        if name == "promptStart":
            self._start_prompt(fields)
            return {}
        if name == "sessionEnd":
            self._outbox.plan_step(at_ns, _closed)
            return {}
        if self._prompt is None or fields.get("promptName") != self._prompt["promptName"]:
            raise RefusedError(INVALID, f"The prompt of {name} is not open.")
        match name:
            case "contentStart":
                self._start_block(fields)
            case "contentEnd":
                return self._end_block(self._blocks.pop(get_text(fields, "contentName"), {}), at_ns)
            case "audioInput":
                return self._audio(fields, at_ns)
            case "textInput" | "toolResult":
                self._block(fields)["content"] = get_text(fields, "content", 1 << 20)
            case "promptEnd":
                self._plan(at_ns, "completionEnd", {"stopReason": "END_TURN"})
            case _:
                raise RefusedError(INVALID, f"Unknown event {name[:64]}.")
        return {}

    def _start_prompt(self, fields: Json) -> None:
        audio = get_object(fields, "audioOutputConfiguration")
        output = FORMATS.get(audio.get("sampleRateHertz"))
        is_valid = isinstance(fields.get("promptName"), str) and audio.get("voiceId")
        if self._prompt is not None or not is_valid or output is None:
            raise RefusedError(INVALID, "Invalid promptStart event.")
        self._prompt = fields
        self._output = output
        tools = get_object(fields, "toolConfiguration").get("tools", [])
        self._functions = [_function(tool) for tool in tools] if isinstance(tools, list) else []

    def _start_block(self, fields: Json) -> None:
        name = fields.get("contentName")
        if not isinstance(name, str) or name in self._blocks:
            raise RefusedError(INVALID, "Invalid contentName.")
        if fields.get("type") == "AUDIO":
            rate_hz = get_object(fields, "audioInputConfiguration").get("sampleRateHertz")
            if rate_hz not in FORMATS:
                raise RefusedError(INVALID, "Invalid sampleRateHertz.")
            self._input = InputSettings(ALL_FORMATS[FORMATS[rate_hz]])
        self._blocks[name] = dict(fields)

    def _block(self, fields: Json) -> Json:
        block = self._blocks.get(get_text(fields, "contentName"))
        if block is None:
            raise RefusedError(INVALID, "The content is not open.")
        return block

    def _end_block(self, block: Json, at_ns: int) -> ReceiptFields:
        text = get_text(block, "content", 1 << 20)
        if block.get("type") == "TOOL":
            configuration = get_object(block, "toolResultInputConfiguration")
            call_id = get_text(configuration, "toolUseId")
            return self._end_call(call_id, at_ns)
        if text:
            self._use(at_ns, "input", 0, len(text.split()))
        if text and block.get("role") == "USER" and block.get("interactive") is True:
            self._interrupt(at_ns)
            return self._answer(at_ns, {})
        return {}

    def _audio(self, fields: Json, at_ns: int) -> ReceiptFields:
        if self._block(fields).get("type") != "AUDIO" or self._input is None:
            raise RefusedError(INVALID, "The content is not audio.")
        try:
            audio = base64.b64decode(get_text(fields, "content", 1 << 24), validate=True)
        except binascii.Error:
            raise RefusedError(INVALID, "The audio is not base64.") from None
        return self._hear(audio, self._input, at_ns)

    # The caller's speech.

    def _on_start(self, speech: CallerSpeech) -> None:
        if speech.stops_reply:
            self._outbox.plan_step(speech.stop_ns, self._interrupt)

    def _transcribe(self, audio_ms: float, at_ns: int) -> None:
        text = self._asr.transcribe(audio_ms)
        self._use(at_ns, "input", round(audio_ms * TOKENS_PER_S / 1000), 0)
        self._outbox.plan(self._text_block(at_ns, "USER", "FINAL", text, "PARTIAL_TURN", None))

    def _interrupt(self, due_ns: int) -> None:
        """Stop the reply in progress. The service states that also while a reply is played."""
        self._open_calls.clear()
        is_playing = self._is_replying(due_ns)
        self._played_ns = 0
        if self._reply is not None:
            self._reply.dropped = True
            self._reply = None
            if self._is_speaking:
                self._is_speaking = False
                self._plan(due_ns, "contentEnd", self._stop("AUDIO", "END_TURN"))
        if is_playing:
            block = self._text_block(due_ns, "ASSISTANT", "FINAL", INTERRUPTED, "INTERRUPTED", None)
            self._outbox.plan(block)

    # Replies.

    def _begin_reply(self, due_ns: int) -> None:
        super()._begin_reply(due_ns)
        if not self._has_completion:
            # One completion has all replies, until the client ends the prompt.
            self._has_completion = True
            self._plan(due_ns, "completionStart", {})

    def _reply_steps(self, reply: SpokenReply) -> Sequence[OutboxStep]:
        """Return the events of a reply: for each sentence its text and a block of audio, then its
        tokens, and the spoken text.
        """
        reply_id, recorded, schedule, _, start_ns, first_ns, facts = reply
        dues = [delta.due_ns for delta in schedule.deltas if delta.audio]
        blocks = recorded.blocks[self._output]
        sentences = _sentences(recorded, len(blocks))
        lead_ns = self._profile.delays.transcript_lead.draw_ns(self._rng)
        steps = list[OutboxStep]()
        for number, (due_ns, block) in enumerate(zip(dues, blocks, strict=True)):
            begun = sentences.get(number)
            if begun is not None:
                text_ns = max(start_ns, first_ns - lead_ns) if number == 0 else due_ns
                if number:
                    stop = partial(self._stopped, "PARTIAL_TURN", reply_id)
                    steps.append((due_ns, stop))
                steps += self._text_block(
                    text_ns, "ASSISTANT", "SPECULATIVE", begun, "PARTIAL_TURN", reply_id
                )
                steps.append((due_ns, partial(self._speak, reply_id)))
            known = facts if number == 0 else {}
            steps.append((due_ns, partial(self._sound, block, reply_id, known)))
        done_ns = schedule.done_ns
        tokens = round(recorded.audio_ms * TOKENS_PER_S / 1000)
        used = partial(self._used, "output", tokens, len(recorded.tokens))
        steps.append((done_ns, used))
        steps.append((done_ns, partial(self._done, reply_id)))
        steps += self._text_block(
            done_ns, "ASSISTANT", "FINAL", "".join(recorded.tokens).strip(), "END_TURN", reply_id
        )
        return steps

    def _call_steps(self, calls: Sequence[GeneratedCall], due_ns: int) -> Iterator[OutboxStep]:
        reply_id = self._reply_id
        used_ids = [self.ids.new("call") for _ in calls]
        for number, (call, used_id) in enumerate(zip(calls, used_ids, strict=True), 1):
            content_id = self.ids.new("content")
            start: Json = {"contentId": content_id, "type": "TOOL", "role": "TOOL"}
            start["toolUseOutputConfiguration"] = {"mediaType": "application/json"}
            stop = {"contentId": content_id, "type": "TOOL", "stopReason": "TOOL_USE"}
            used = {"contentId": content_id, "toolUseId": used_id, "toolName": call.name}
            used["content"] = "".join(call.tokens)
            yield due_ns, partial(self._event, "contentStart", start, reply_id)
            yield due_ns, partial(self._event, "toolUse", used, reply_id)
            if number == len(calls):
                self._reply = None
                self._open_calls = set(used_ids)
            yield due_ns, partial(self._event, "contentEnd", stop, reply_id)

    def _speak(self, reply_id: str, due_ns: int) -> OutgoingEvent:
        """Begin a block of audio."""
        self._is_speaking = True
        self._audio_id = self.ids.new("content")
        rate_hz = ALL_FORMATS[self._output].rate_hz
        configuration: Json = {"mediaType": "audio/lpcm", "sampleRateHertz": rate_hz}
        configuration |= {"sampleSizeBits": 16, "encoding": "base64", "channelCount": 1}
        fields: Json = {"contentId": self._audio_id, "type": "AUDIO", "role": "ASSISTANT"}
        fields["audioOutputConfiguration"] = configuration
        return self._event("contentStart", fields, reply_id, due_ns)

    _audio_id = ""

    def _sound_body(self, block: AudioBlock) -> bytes:
        fields = {"contentId": self._audio_id, "role": "ASSISTANT"}
        body = self._body("audioOutput", fields)
        return body.removesuffix(b"}}}") + b',"content":' + block.encoded + b"}}}"

    def _stop(self, kind: str, reason: str) -> Json:
        return {"contentId": self._audio_id, "type": kind, "stopReason": reason}

    def _stopped(self, reason: str, reply_id: str, due_ns: int) -> OutgoingEvent:
        return self._event("contentEnd", self._stop("AUDIO", reason), reply_id, due_ns)

    def _done(self, reply_id: str, due_ns: int) -> OutgoingEvent:
        self._reply = None
        self._is_speaking = False
        event = self._stopped("END_TURN", reply_id, due_ns)
        return msgspec.structs.replace(event, type=END)

    # Events of the service.

    def _text_block(
        self, due_ns: int, role: str, stage: str, text: str, reason: str, reply_id: str | None
    ) -> Sequence[OutboxStep]:
        content_id = self.ids.new("content")
        start: Json = {"contentId": content_id, "type": "TEXT", "role": role}
        start["additionalModelFields"] = json.dumps({"generationStage": stage})
        start["textOutputConfiguration"] = {"mediaType": "text/plain"}
        said = {"contentId": content_id, "role": role, "content": text}
        stop = {"contentId": content_id, "type": "TEXT", "stopReason": reason}
        events = ("contentStart", start), ("textOutput", said), ("contentEnd", stop)
        return [(due_ns, partial(self._event, name, fields, reply_id)) for name, fields in events]

    def _use(self, due_ns: int, side: str, speech: int, text: int) -> None:
        self._outbox.plan_step(due_ns, partial(self._used, side, speech, text))

    def _used(self, side: str, speech: int, text: int, due_ns: int) -> OutgoingEvent:
        # Each usage event has the tokens since the last one and those of the whole session.
        total = self._totals[side]
        total[0] += speech
        total[1] += text
        delta = {"input": [0, 0], "output": [0, 0]} | {side: [speech, text]}
        details = {"delta": _tokens(delta), "total": _tokens(self._totals)}
        sums = {key: sum(self._totals[key]) for key in ("input", "output")}
        fields = {
            "details": details,
            "totalInputTokens": sums["input"],
            "totalOutputTokens": sums["output"],
            "totalTokens": sum(sums.values()),
        }
        return self._event("usageEvent", fields, None, due_ns)

    def _body(self, name: str, fields: Json) -> bytes:
        prompt = self._prompt or {}
        named = {
            "sessionId": self.ids.session,
            "promptName": prompt.get("promptName"),
            "completionId": f"completion-{self.ids.session}",
        }
        return msgspec.json.encode({"event": {name: named | fields}})


def _tokens(counts: Mapping[str, Sequence[int]]) -> Json:
    return {
        side: {"speechTokens": speech, "textTokens": text}
        for side, (speech, text) in counts.items()
    }


def _function(tool: Any) -> Json:
    """Return a tool in the form of the Realtime API."""
    spec = get_object(tool, "toolSpec") if isinstance(tool, dict) else {}
    if not isinstance(spec.get("name"), str):
        raise RefusedError(INVALID, "Invalid toolSpec.")
    schema = get_text(get_object(spec, "inputSchema"), "json", 1 << 20)
    try:
        parameters = json.loads(schema)
    except ValueError:
        raise RefusedError(INVALID, "The inputSchema is not JSON.") from None
    return {"type": "function", "name": spec["name"], "parameters": parameters}


def _sentences(reply: RecordedReply, blocks: int) -> Mapping[int, str]:
    """Return the sentences of a reply, by the number of the block of audio before which each is
    sent. The blocks are divided evenly.
    """
    found = [""]
    for token in reply.tokens:
        found[-1] += token
        if token in ".!?":
            found.append("")
    texts = [text.strip() for text in found if text.strip()][:blocks]
    return {number * blocks // len(texts): text for number, text in enumerate(texts)}


def _closed(due_ns: int) -> OutgoingEvent:
    return OutgoingEvent(due_ns, "end", b"", close=(1000, ""))


MISSING_FAULTS = {
    **dict.fromkeys(
        ("error", "failed", "incomplete", "session_expired"),
        "Nova Sonic reports failures only by an exception that ends the session: use close",
    ),
    **dict.fromkeys(
        ("other_dialect", "binary", "fragmented", "drip", "oversized"),
        "an event stream has no such messages",
    ),
}
