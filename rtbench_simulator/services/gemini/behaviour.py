"""The behaviour of one simulated session of Gemini Live. Pure.

A message has one field, which is its name. The service speaks one reply at a time, and names none.
Speech that the client sends during a reply interrupts the reply, until it could have been played.
`generationComplete` ends a reply, and `turnComplete` follows when it could have been played. The
messages are sent in binary frames.

The ground-truth log has names of its own for the parts of a reply: `audio.delta`,
`transcript.delta`, `text.delta`. The first has the byte at which the caller's speech ended
(`speech_at_byte`). Replies are numbered, as `reply-1`.
"""

# A session is not set up, waits for a history, or listens; then at most one reply is in progress.
# Its states are two booleans and a series: `_has_turn` from its plan to `turnComplete`,
# `_is_generating` from its first message to `generationComplete`, and `_reply`, what can still be
# dropped of it.
#
# `turnComplete` waits until a listener has played the reply. Until then the caller's speech
# interrupts it, although nothing is generated any more (`generationComplete` of
# `BidiGenerateContentServerContent` in Google's reference). Calls of functions that are open are
# then cancelled.
#
# Every refusal is a close with a code and a reason: the service has no error message. So
# `RefusedError` ends the session, whatever handler raises it, also one that runs later in the
# outbox.

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import msgspec

from bench.base.units import NS_PER_S
from bench.wire.dialect import BinaryMessage
from bench.wire.events import EventKind
from rtbench_simulator.conversation.items import text_tokens
from rtbench_simulator.faults.kinds import Fault
from rtbench_simulator.recorded_replies import AudioBlock
from rtbench_simulator.refusals import PostUpgradeRefusal
from rtbench_simulator.responses.function_calls import GeneratedCall
from rtbench_simulator.server_events import Json, OutboxStep, OutgoingEvent
from rtbench_simulator.services.answering import (
    AUDIO_DELTA,
    AnsweringSession,
    RefusedError,
    SpokenReply,
)
from rtbench_simulator.services.gemini import setup_form
from rtbench_simulator.services.gemini.setup_form import (
    BAD_ARGUMENT,
    INVALID,
    SessionSetup,
)
from rtbench_simulator.serving.service import (
    AcceptedUpgrade,
    SimulatedService,
    UpgradeRequest,
    lacks_of,
    websocket_urls,
)
from rtbench_simulator.simulated_session import (
    EventReceipt,
    ReceiptFields,
    SessionParts,
    json_fields,
)
from rtbench_simulator.turn_taking import CallerSpeech

AUDIO_TOKENS_PER_S = 25
WARNING_S = 60
"""The time from `goAway` to the end of a session."""
CLOSED = "close"
GO_AWAY = "goAway"
GENERATED = "generationComplete"
TURN_COMPLETE = "turnComplete"
TRANSCRIPT_DELTA = "transcript.delta"
PLACES = {
    "realtimeInput.audio": "input",
    "realtimeInput.text": "input",
    "setupComplete": "settings",
    "inputTranscription": "input_delta",
    GENERATED: "done",
}
"""The place of faults that each message is."""
MISSING_PLACES = ("session", "speech", "input_transcript")
REASONS = {"content_filter": "GENERATED_CONTENT_SAFETY", "server_error": "RESPONSE_REJECTED"}
"""The service's reason for the end of a turn, by the reason or code of a fault. Other codes of
faults are reasons."""
SOUND_HEAD = (
    b'{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"audio/pcm;rate=24000",'
    b'"data":'
)
SOUND_TAIL = b"}}]}}}"
STANDARD = str.maketrans("-_", "+/")
"""The service accepts both alphabets of base64, and google-genai sends the other one."""
MessageHandler = Callable[["GeminiBehaviour", Any, int], ReceiptFields]


class GeminiBehaviour(AnsweringSession):
    """One session of Gemini Live."""

    fault_places = PLACES

    def __init__(self, parts: SessionParts) -> None:
        super().__init__(parts)
        self._quota = parts.quota
        self._audio = self._turn_taking.audio
        self._setup: SessionSetup | None = None  # None until the session is set up
        self._awaits_history = False
        # where the activity that the client has begun starts
        self._activity_byte: int | None = None
        self._handles = 0
        self._context: dict[str, int] = {"TEXT": 0, "AUDIO": 0}  # tokens of the conversation
        self._written = 0  # tokens of the reply in progress
        self._is_generating = self._has_turn = False
        # the instant of the last `turnComplete`, before which no reply begins
        self._completed_ns = 0

    def open(self, at_ns: int) -> None:
        """Plan `goAway`. The client sends the first message."""
        warn_s = self._profile.max_session_s - WARNING_S
        if warn_s > 0:
            self.go_away(at_ns + int(warn_s * NS_PER_S), WARNING_S)

    def go_away(self, at_ns: int, left_s: float) -> None:
        self._plan(at_ns, GO_AWAY, {"goAway": {"timeLeft": f"{left_s:g}s"}})

    def expiry(self, due_ns: int, message: str, reason: str) -> OutgoingEvent:
        body = self._body(GO_AWAY, {"goAway": {"timeLeft": "0s"}})
        return OutgoingEvent(due_ns, GO_AWAY, body, close=(setup_form.INTERNAL, setup_form.EXPIRED))

    def end_response(self, response_id: str, at_ns: int, status: str, details: Json) -> None:
        """End the reply in progress without `generationComplete`. `turnComplete` states the
        reason.
        """
        if response_id == self._reply_id and self._has_turn:
            self._drop()
            cause = str(details["reason"] if status == "incomplete" else details["error"]["code"])
            fields = self._completed()
            fields["serverContent"]["turnCompleteReason"] = REASONS.get(cause, cause)
            self._plan(at_ns, TURN_COMPLETE, fields, response_id)

    @staticmethod
    def without_audio(event: OutgoingEvent) -> OutgoingEvent:
        if event.type != TURN_COMPLETE:
            return event
        fields = msgspec.json.decode(event.body)
        usage = fields["usageMetadata"]
        usage["totalTokenCount"] -= usage.pop("responseTokenCount")
        usage.pop("responseTokensDetails")
        return msgspec.structs.replace(event, body=_encoded(fields))

    # Client messages

    def receive_text(self, message: bytes | bytearray, at_ns: int) -> EventReceipt:
        return self.receive(setup_form.in_camel_case(json_fields(message)), at_ns)

    receive_binary = receive_text

    def _name_of(self, event: Json) -> str:
        kind = next(iter(event), "invalid_json")
        inner = event.get(kind)
        if kind == "realtimeInput" and isinstance(inner, dict) and inner:
            return f"{kind}.{next(iter(inner))}"
        return kind

    def _refusal(self, code: str | int, reason: str, due_ns: int) -> OutgoingEvent:
        return OutgoingEvent(due_ns, CLOSED, b"", close=(int(code), reason))

    def _body(self, name: str, fields: Json) -> bytes:
        return _encoded(fields)

    def _handle(self, event: Json, at_ns: int) -> ReceiptFields:
        # The messages are a oneof of `BidiGenerateContentClientMessage`.
        if len(event) != 1:
            raise RefusedError(INVALID, BAD_ARGUMENT)
        name, value = next(iter(event.items()))
        if name not in _MESSAGES:
            raise setup_form.unknown_name(name, "client_message")
        if (self._setup is None) is not (name == "setup") or not isinstance(value, dict):
            raise RefusedError(INVALID, BAD_ARGUMENT)
        return _MESSAGES[name](self, value, at_ns)

    def _set_up(self, value: Json, at_ns: int) -> ReceiptFields:
        self._setup = setup_form.read_setup(value)
        if (detection := self._setup.input.detection) is not None:
            self._audio.silence_ms = detection.silence_duration_ms
        self._functions = self._setup.functions
        self._awaits_history = self._setup.waits_for_history
        self._context["TEXT"] = text_tokens(
            str(value.get("systemInstruction", "")) + str(value.get("tools", ""))
        )
        delays = self._profile.delays
        due_ns = self._outbox.after(
            self._outbox.after(at_ns, delays.session_created), delays.session_updated
        )
        self._plan(due_ns, "setupComplete", {"setupComplete": {"sessionId": self.ids.session}})
        return {}

    def _realtime_input(self, value: Json, at_ns: int) -> ReceiptFields:
        receipt: ReceiptFields = {}
        for name, part in value.items():
            if name not in _REALTIME:
                raise setup_form.unknown_name(name, "realtime_input")
            receipt |= _REALTIME[name](self, part, at_ns)
        return receipt

    def _heard(self, blob: Any, at_ns: int) -> ReceiptFields:
        data = blob.get("data") if isinstance(blob, dict) else None
        try:
            audio = base64.b64decode((data or "").translate(STANDARD), validate=True)
        except (ValueError, AttributeError):
            raise RefusedError(INVALID, BAD_ARGUMENT) from None
        if not str(blob.get("mimeType")).startswith("audio/pcm"):
            raise RefusedError(INVALID, BAD_ARGUMENT)
        return self._hear(audio, self._known.input, at_ns)

    def _typed(self, text: Any, at_ns: int) -> ReceiptFields:
        """Add a text. If the service detects activity, the text is one, and interrupts a reply."""
        if not isinstance(text, str):
            raise RefusedError(INVALID, BAD_ARGUMENT)
        self._context["TEXT"] += text_tokens(text)
        if not self._known.is_manual:
            self._interrupt(at_ns)
            return self._answer(at_ns, {})
        return {}

    def _begin_activity(self, _: Any, at_ns: int) -> ReceiptFields:
        if not self._known.is_manual:
            raise RefusedError(INVALID, BAD_ARGUMENT)
        self._activity_byte = self._audio.end.byte
        self._interrupt(at_ns)
        return {}

    def _end_activity(self, _: Any, at_ns: int) -> ReceiptFields:
        if self._activity_byte is None:
            raise RefusedError(INVALID, BAD_ARGUMENT)
        heard_bytes = self._audio.end.byte - self._activity_byte
        self._activity_byte = None
        if heard_bytes:
            self._transcribe(heard_bytes * 1000 / self._known.input.format.bytes_per_s, at_ns)
        return self._answer(at_ns, {"speech_at_byte": self._audio.end.byte} if heard_bytes else {})

    def _end_stream(self, _: Any, at_ns: int) -> ReceiptFields:
        """Add silence, which ends the speech in progress."""
        setup = self._known
        # `audioStreamEnd` says that the microphone is off. Speech would never end, because only
        # audio makes time pass; silence of the right length is what the detector needs.
        silence = bytes(
            int((self._audio.silence_ms + 100) * setup.input.format.bytes_per_s // 1000) // 2 * 2
        )
        decided = self._hear(silence, setup.input, at_ns)
        return {key: value for key, value in decided.items() if key == "decisions"}

    def _client_content(self, value: Json, at_ns: int) -> ReceiptFields:
        self._context["TEXT"] += text_tokens(str(value.get("turns", "")))
        if self._awaits_history:
            self._awaits_history = not value.get("turnComplete")
            return {}
        self._interrupt(at_ns)
        return self._answer(at_ns, {}) if value.get("turnComplete") else {}

    def _tool_response(self, value: Json, at_ns: int) -> ReceiptFields:
        answers = value.get("functionResponses")
        if not isinstance(answers, list) or not all(isinstance(answer, dict) for answer in answers):
            raise RefusedError(INVALID, BAD_ARGUMENT)
        for answer in answers:
            if not isinstance(answer.get("response"), dict):
                raise RefusedError(INVALID, BAD_ARGUMENT)
            self._open_calls.discard(str(answer.get("id")))
            self._context["TEXT"] += text_tokens(str(answer["response"]))
        # The last result of a turn continues it. Results of cancelled calls do not.
        if self._has_turn and not self._open_calls and self._reply is None:
            self._plan_reply(at_ns, {})
        return {"call": str(answers[0].get("id"))} if answers else {}

    @property
    def _known(self) -> SessionSetup:
        assert self._setup is not None, "the session is set up before any other message"
        return self._setup

    # Speech

    @property
    def _speaks(self) -> bool:
        return self._known.audio

    def _is_replying(self, at_ns: int) -> bool:
        return self._has_turn and self._known.interrupts

    def _on_speech(self, speech: CallerSpeech, at_ns: int) -> None:
        edge = speech.edge
        if self._known.reports_activity:
            kind = "ACTIVITY_START" if edge.began else "ACTIVITY_END"
            position_ms = edge.begin_ms if edge.began else edge.heard_ms
            activity = {"voiceActivityType": kind, "audioOffset": f"{position_ms / 1000:.3f}s"}
            due_ns = (
                speech.stop_ns
                if edge.began
                else self._outbox.after(at_ns, self._profile.delays.speech_stopped)
            )
            self._plan(due_ns, "voiceActivity", {"voiceActivity": activity})
        super()._on_speech(speech, at_ns)

    def _on_start(self, speech: CallerSpeech) -> None:
        if self._known.interrupts:
            self._outbox.plan_step(speech.stop_ns, self._interrupt)

    def _respond(self, facts: Json, at_ns: int) -> None:
        self._outbox.plan_step(at_ns, partial(self._answer_speech, facts))

    def _answer_speech(self, facts: Json, due_ns: int) -> None:
        try:
            self._answer(due_ns, facts)
        except RefusedError as refused:
            self._outbox.plan_step(due_ns, partial(self._refusal, *refused.args))

    def _transcribe(self, audio_ms: float, at_ns: int) -> None:
        self._context["AUDIO"] += round(audio_ms * AUDIO_TOKENS_PER_S / 1000)
        if not self._known.transcribes_input:
            return
        words = self._asr.transcribe(audio_ms).split(" ")
        completed_ns = self._outbox.after(at_ns, self._profile.delays.input_transcribed)
        for number, word in enumerate(words, 1):
            due_ns = at_ns + (completed_ns - at_ns) * number // len(words)
            text = {"text": f" {word}" if number > 1 else word}
            self._plan(
                due_ns, "inputTranscription", {"serverContent": {"inputTranscription": text}}
            )

    def _interrupt(self, due_ns: int) -> None:
        """Stop the reply, if it could not have been played yet, and drop one that has not begun."""
        if not self._has_turn:
            return
        is_generating = self._is_generating
        self._drop()
        cancelled = sorted(self._open_calls)
        self._open_calls = set()
        if is_generating or self._written or cancelled:
            reply_id = self._reply_id
            self._plan(due_ns, "interrupted", {"serverContent": {"interrupted": True}}, reply_id)
            if cancelled:
                self._plan(
                    due_ns, "toolCallCancellation", {"toolCallCancellation": {"ids": cancelled}}
                )
            self._completed_ns = self._outbox.after(due_ns, self._profile.delays.cancelled)
            self._plan(self._completed_ns, TURN_COMPLETE, self._completed(), reply_id)

    def _drop(self) -> None:
        """Drop the rest of the reply in progress."""
        if self._reply is not None:
            self._reply.dropped = True
        self._reply = None
        self._has_turn = False
        self._is_generating = False

    # Replies

    def _answer(self, at_ns: int, facts: Json) -> ReceiptFields:
        """Plan a reply. Return its id, which is that of the next reply if an interruption drops
        it.
        """
        self._rounds = 0
        if self._quota.respond(sum(self._context.values()), "gemini", at_ns) is not None:
            raise RefusedError(setup_form.INTERNAL, setup_form.NO_QUOTA)
        if self._has_turn:  # a session without interruptions answers after the reply
            return {}
        self._plan_reply(at_ns, facts)
        return {"response": f"reply-{self._replies + 1}"}

    def _plan_reply(self, at_ns: int, facts: Json) -> None:
        super()._plan_reply(max(at_ns, self._completed_ns), facts)

    def _begin_reply(self, due_ns: int) -> None:
        # A reply is counted with its first message, because an interruption may drop it before.
        self._has_turn = True
        self._written = 0

    def _reply_steps(self, reply: SpokenReply) -> Iterator[OutboxStep]:
        setup = self._known
        blocks = iter(reply.recorded.blocks["pcm16"])
        words = iter(reply.recorded.tokens)
        facts = reply.facts
        for due_ns, is_audio in reply.schedule.deltas:
            if is_audio:
                yield due_ns, partial(self._sound, next(blocks), reply.id, facts)
            elif setup.transcribes_output or not setup.audio:
                yield due_ns, partial(self._words, next(words), facts)
            else:
                continue
            facts = {}
        yield reply.schedule.done_ns, self._generated
        yield self._played_ns, self._played

    def _requested(self, call_id: str, call: GeneratedCall) -> Json:
        arguments = msgspec.json.decode("".join(call.tokens))
        return {"id": call_id, "name": call.name, "args": arguments}

    def _call(self, calls: list[Json], due_ns: int) -> OutgoingEvent:
        reply_id = self._begun()
        self._reply = None
        self._is_generating = False
        self._open_calls = {call["id"] for call in calls}
        body = self._body("toolCall", {"toolCall": {"functionCalls": calls}})
        return OutgoingEvent(due_ns, "toolCall", body, reply_id, call_id=calls[0]["id"])

    def _begun(self) -> str:
        """Return the id of the reply in progress, which begins with this message if it has not
        begun.
        """
        if not self._is_generating:
            self._is_generating = True
            self._replies += 1
        return self._reply_id

    def _sound(self, block: AudioBlock, reply_id: str, facts: Json, due_ns: int) -> OutgoingEvent:
        self._written += block.audio_ms * AUDIO_TOKENS_PER_S // 1000
        return super()._sound(block, self._begun(), facts, due_ns)

    def _sound_body(self, block: AudioBlock) -> bytes:
        return BinaryMessage(b"".join((SOUND_HEAD, block.encoded, SOUND_TAIL)))

    def _words(self, words: str, facts: Json, due_ns: int) -> OutgoingEvent:
        reply_id = self._begun()
        content = Json()
        if self._known.audio:
            name = TRANSCRIPT_DELTA
            content = {"outputTranscription": {"text": words}}
        else:
            self._written += text_tokens(words)
            name = "text.delta"
            content = {"modelTurn": {"parts": [{"text": words}]}}
        event = self._event(name, {"serverContent": content}, reply_id, due_ns)
        return msgspec.structs.replace(event, facts=facts or None)

    def _generated(self, due_ns: int) -> OutgoingEvent:
        self._is_generating = False
        fields = {"serverContent": {"generationComplete": True}}
        return self._event(GENERATED, fields, self._reply_id, due_ns)

    def _played(self, due_ns: int) -> OutgoingEvent:
        self._has_turn = False
        self._reply = None
        if self._known.resumes:
            self._handles += 1
            update = {"newHandle": f"{self.ids.session}-{self._handles}", "resumable": True}
            self._plan(due_ns, "sessionResumptionUpdate", {"sessionResumptionUpdate": update})
        return self._event(TURN_COMPLETE, self._completed(), self._reply_id, due_ns)

    def _completed(self) -> Json:
        """Return the end of a turn, with the tokens of its reply. The reply becomes part of the
        conversation.
        """
        kind = "AUDIO" if self._known.audio else "TEXT"
        written = self._written
        prompt = dict(self._context)
        self._written = 0
        self._context[kind] += written
        self._quota.spend(written, 0)
        usage: Json = {
            "promptTokenCount": sum(prompt.values()),
            "promptTokensDetails": [
                {"modality": name, "tokenCount": count} for name, count in prompt.items()
            ],
            "responseTokenCount": written,
            "responseTokensDetails": [{"modality": kind, "tokenCount": written}],
            "totalTokenCount": sum(prompt.values()) + written,
        }
        return {"serverContent": {"turnComplete": True}, "usageMetadata": usage}


def _encoded(fields: Json) -> BinaryMessage:
    return BinaryMessage(msgspec.json.encode(fields))


_MESSAGES: Mapping[str, MessageHandler] = {
    "setup": GeminiBehaviour._set_up,
    "realtimeInput": GeminiBehaviour._realtime_input,
    "clientContent": GeminiBehaviour._client_content,
    "toolResponse": GeminiBehaviour._tool_response,
}
_REALTIME: Mapping[str, MessageHandler] = {
    "audio": GeminiBehaviour._heard,
    "text": GeminiBehaviour._typed,
    "activityStart": GeminiBehaviour._begin_activity,
    "activityEnd": GeminiBehaviour._end_activity,
    "audioStreamEnd": GeminiBehaviour._end_stream,
}

PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
PATHS = re.compile(
    r"/{1,2}ws/google\.(ai\.generativelanguage\.[\w-]+\.GenerativeService\.BidiGenerateContent(Con"
    r"strained)?|cloud\.aiplatform\.[\w-]+\.LlmBidiService/BidiGenerateContent)"
)
"""The paths of google-genai and @google/genai 2 and 3, in any version. Those of Node begin with
two slashes."""
KEY_PARAMETERS = "key", "access_token"
"""The parameters of the query in which @google/genai sends a key, or an ephemeral token."""
BAD_KEY = PostUpgradeRefusal("invalid_api_key", setup_form.BAD_KEY, INVALID, is_event=False)


def _accept(request: UpgradeRequest) -> AcceptedUpgrade | None:
    has_path = PATHS.fullmatch(request.path) is not None
    return AcceptedUpgrade(lambda model, parts: GeminiBehaviour(parts), "") if has_path else None


MISSING_FAULTS = {
    "error": "Gemini Live reports errors only by a close: use close,code=1011",
    "other_dialect": "Gemini Live has one dialect",
}
_lacks_in_general = lacks_of("Gemini Live", MISSING_PLACES, MISSING_FAULTS)


def _lacks(fault: Fault) -> str:
    if fault.reason == "max_output_tokens":
        return "Gemini Live does not report that a reply has reached its token limit"
    if fault.kind == "failed" and not (fault.code in REASONS or str(fault.code).isupper()):
        return "a code is a value of turnCompleteReason, such as MALFORMED_FUNCTION_CALL"
    return _lacks_in_general(fault)


SERVICE = SimulatedService(
    _accept,
    websocket_urls(gemini=PATH),
    lacks=_lacks,
    bad_key=BAD_KEY,
    key_parameters=KEY_PARAMETERS,
    titles={"gemini": "Gemini Live"},
    log_kinds={
        AUDIO_DELTA: EventKind.AUDIO_DELTA,
        TRANSCRIPT_DELTA: EventKind.TRANSCRIPT_DELTA,
        GENERATED: EventKind.RESPONSE_DONE,
    },
)
