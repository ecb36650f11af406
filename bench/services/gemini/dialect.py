"""The dialect of Gemini Live, a service of Google, at the Gemini API and at Vertex AI.

Names and fields are those of google-genai 3.6 (`types.py`, `live.py`). All settings are in the
first message, and cannot change later. The caller's audio has 16 kHz, and replies have 24 kHz.

By default the service detects activity: speech, and text of `realtimeInput`. Otherwise the client
begins and ends each activity, and the end requests the reply. The service reports neither the
caller's speech nor the begin of a reply, and it has no requests to cancel or truncate a reply: the
caller's speech interrupts it.
"""

import base64
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from bench.catalogue.outcomes import OutcomeRow, OwnRemedies
from bench.files.safe_io import JsonError, read_json
from bench.services.gemini import replies
from bench.services.gemini.replies import SETUP_COMPLETE, SessionReader
from bench.services.replying import COMMON_SETTINGS, ReplyingDialect, lacking
from bench.wire.audio import PCM16_16K, by_name
from bench.wire.dialect import (
    AwaitedEvent,
    ClientMessage,
    Feature,
    MessageKind,
)
from bench.wire.events import EventKind, FunctionCall
from bench.wire.settings import (
    FunctionOutput,
    FunctionTool,
    Keys,
    Message,
    ResponseSettings,
    SessionSettings,
    TurnDetection,
    UnsupportedSetting,
    merged,
    without_none,
)

FIRST_MODEL = "gemini-3.8-live"
SETUP = "setup"
CLIENT_CONTENT = "clientContent"
TOOL_RESPONSE = "toolResponse"
AUDIO = "realtimeInput.audio"
TEXT = "realtimeInput.text"
TEXT_IN_ACTIVITY = "realtimeInput.text in an activity"
ACTIVITY_START = "realtimeInput.activityStart"
ACTIVITY_END = "realtimeInput.activityEnd"
RESUMPTION = "sessionResumption"
MIME_TYPE = f"audio/pcm;rate={PCM16_16K.rate_hz}"
ROLES = {"assistant": "model", "system": "user"}
"""A mapping from the role of a message in a script to the service's role, if the names differ."""
STORED: Mapping[Keys, str] = MappingProxyType(
    {
        ("generationConfig", "responseModalities"): "use `output`",
        ("systemInstruction",): "use `instructions`",
        ("tools",): "use `tools`",
        ("realtimeInputConfig", "automaticActivityDetection", "disabled"): "use `turn_detection`",
        ("historyConfig",): "use `history`",
        ("outputAudioTranscription",): "the reply's text is needed for its words",
    }
)
OF_DETECTION = frozenset({"type", "prefix_padding_ms", "silence_duration_ms", "interrupt_response"})
"""The settings of turn detection that the service has."""
MISSING_FEATURES = MappingProxyType(
    lacking("Gemini Live")
    | {
        Feature.MESSAGE: "which Gemini Live accepts only before the first turn: use `history`",
        Feature.PIPELINED: (
            "but Gemini Live accepts no input before `setupComplete`: remove `pipelined`"
        ),
        Feature.RENEWAL: (
            f"which needs the service's handles: add `extra: {{{RESUMPTION}: {{}}}}` to `session`"
        ),
    }
)
REMEDIES = OwnRemedies(
    rows={
        "timeout:session": OutcomeRow(
            "setupComplete was not received within the time limit",
            "the upgrade was accepted, but the set-up was not answered: check the path, and, behind"
            " a gateway, whether it forwards messages",
        ),
        "closed:1007": OutcomeRow(
            remedy=(
                "the service refuses the set-up, see its reason: compare the target's `session`"
                " with the settings of the model"
            )
        ),
    },
    in_doctor={
        "connect_failed:404": (
            "the path is wrong: the Gemini API has …GenerativeService.BidiGenerateContent, Vertex"
            " AI has …LlmBidiService/BidiGenerateContent"
        ),
    },
)
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def _message(kind: MessageKind, name: str, **fields: Any) -> ClientMessage:
    return ClientMessage(kind, name, msgspec.json.encode(fields))


# A request has two forms here. If the client detects activity, `activityEnd` ends the caller's
# input and requests the reply, so there is no commit (`commit` is None, and the turn's input begins
# with `speech_opening`). If the service detects it, a spoken turn requests nothing, and a typed one
# is the request itself (`typed_input`).
#
# Where other services have an event for the state of a session, this one has none: `setupComplete`
# is both the greeting and the acceptance of the settings, and the begin of a reply is its first
# content (`SessionReader`).
class Gemini(ReplyingDialect):
    """Gemini Live."""

    name = "gemini"
    title = "Gemini Live"
    known = COMMON_SETTINGS | {"max_output_tokens", "reasoning", "truncation"}
    stored = STORED
    voice_form = "Gemini voice"
    reader = SessionReader
    usage_follows = True
    resumption = staticmethod(lambda handle: {RESUMPTION: {"handle": handle}})
    speech_opening = _message(MessageKind.RAW, ACTIVITY_START, realtimeInput={"activityStart": {}})
    remedies = REMEDIES
    input_formats = by_name(PCM16_16K)
    message_kinds = MappingProxyType(
        {
            SETUP: MessageKind.SET_UP,
            CLIENT_CONTENT: MessageKind.ITEM,
            TOOL_RESPONSE: MessageKind.ITEM,
            AUDIO: MessageKind.APPEND,
            TEXT: MessageKind.REQUEST,
            TEXT_IN_ACTIVITY: MessageKind.ITEM,
            ACTIVITY_START: MessageKind.RAW,
            ACTIVITY_END: MessageKind.REQUEST,
        }
    )
    missing_features = MISSING_FEATURES

    def missing_features_of(self, settings: SessionSettings) -> Mapping[Feature, str]:
        has_handles = RESUMPTION in settings.extra
        return {
            name: text
            for name, text in MISSING_FEATURES.items()
            if name is not Feature.RENEWAL or not has_handles
        }

    def set_up(self, settings: SessionSettings) -> dict[str, Any]:
        return setup(settings)

    def _unsupported(self, settings: SessionSettings) -> UnsupportedSetting | None:
        if settings.output not in ("audio", "text"):
            return UnsupportedSetting(
                ("output",), "output must be audio or text: Gemini Live always replies"
            )
        if refused := super()._unsupported(settings):
            return refused
        if isinstance(settings.truncation, dict) and "token_limits" not in settings.truncation:
            return UnsupportedSetting(
                ("truncation",), "truncation needs post_instructions: Gemini Live counts tokens"
            )
        return None

    def _unsupported_detection(self, detection: TurnDetection | None) -> UnsupportedSetting | None:
        return None if detection is None else _unsupported_detection(detection)

    # Sent messages.

    # The history ends with `turnComplete`, which would request a reply. With `historyConfig` it
    # does not: "This initial history will not trigger a model call" (google-genai,
    # `HistoryConfig`).
    def setup_messages(
        self, settings: SessionSettings, event_id: str
    ) -> Sequence[ClientMessage | AwaitedEvent]:
        set_up = merged(setup(settings), settings.extra)
        # the Gemini API has `models/NAME`, and Vertex AI has a longer path, which users give
        # completely
        if "/" not in set_up["model"]:
            set_up["model"] = f"models/{set_up['model']}"
        steps: list[ClientMessage | AwaitedEvent] = [
            _message(MessageKind.SET_UP, SETUP, setup=set_up),
            AwaitedEvent(EventKind.SESSION_UPDATED, SETUP_COMPLETE),
        ]
        if settings.history:
            steps.append(_content(settings.history, is_complete=True))
        return steps

    def unsupported_event(self, event: Mapping[str, Any], settings: SessionSettings) -> str:
        return (
            "is not possible, because the messages of Gemini Live have no `type`: use the settings"
            " in `extra`"
        )

    def message(self, message: Message, event_id: str) -> ClientMessage:
        return _content((message,), is_complete=False)

    def typed_input(
        self,
        message: Message,
        request: ClientMessage | None,
        settings: SessionSettings,
        prefix: str,
    ) -> tuple[Sequence[ClientMessage], ClientMessage | None]:
        """Return the messages of a typed turn. If the service detects activity, the text itself
        requests the reply.
        """
        fields = {"realtimeInput": {"text": message.text}}
        if settings.turn_detection is not None:
            return (), _message(MessageKind.REQUEST, TEXT, **fields)
        return (
            self.speech_opening,
            _message(MessageKind.ITEM, TEXT_IN_ACTIVITY, **fields),
        ), request

    def append(self, audio: bytes, event_id: str) -> ClientMessage:
        data = base64.b64encode(audio).decode("ascii")
        return _message(
            MessageKind.APPEND,
            AUDIO,
            realtimeInput={"audio": {"data": data, "mimeType": MIME_TYPE}},
        )

    def commit(self, event_id: str) -> None:
        """Return None: the request ends the activity."""

    def clear(self, event_id: str) -> None:
        """Return None: audio cannot be deleted."""

    def request(self, settings: ResponseSettings, event_id: str) -> ClientMessage:
        return _message(MessageKind.REQUEST, ACTIVITY_END, realtimeInput={"activityEnd": {}})

    def function_call(self, call: FunctionCall, event_id: str) -> ClientMessage:
        part = {
            "functionCall": {"id": call.call_id, "name": call.name, "args": _object(call.arguments)}
        }
        return _message(
            MessageKind.ITEM,
            CLIENT_CONTENT,
            clientContent={"turns": [{"role": "model", "parts": [part]}]},
        )

    def function_output(self, result: FunctionOutput, event_id: str) -> ClientMessage:
        answer = {"id": result.call_id, "name": result.name, "response": _result(result.output)}
        return _message(
            MessageKind.ITEM, TOOL_RESPONSE, toolResponse={"functionResponses": [answer]}
        )

    # Received messages.

    def without_audio(self, message: bytes) -> bytes:
        if b'"data"' not in message:
            return message
        fields = _decode_object(message)
        blobs = list(_blobs(fields))
        for blob in blobs:
            blob["data"] = ""
        return msgspec.json.encode(fields) if blobs else message


def setup(settings: SessionSettings) -> dict[str, Any]:
    """Return the `setup` of a session, without `extra`."""
    effort = settings.reasoning
    detection = settings.turn_detection
    generation = without_none(
        responseModalities=[settings.output.upper()],
        maxOutputTokens=settings.max_output_tokens,
        temperature=settings.temperature,
        thinkingConfig={"thinkingLevel": str(effort["effort"]).upper()} if effort else None,
        speechConfig=(
            {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": settings.voice}}}
            if settings.voice
            else None
        ),
    )
    transcription = settings.input_transcription
    return without_none(
        model=settings.model or FIRST_MODEL,
        generationConfig=generation,
        systemInstruction=(
            None if settings.instructions is None else {"parts": [{"text": settings.instructions}]}
        ),
        tools=(
            [{"functionDeclarations": [_declaration(tool) for tool in settings.tools]}]
            if settings.tools
            else None
        ),
        realtimeInputConfig=_detection(detection),
        inputAudioTranscription=(
            None
            if transcription is None
            else without_none(
                languageCodes=transcription.languages
                or ([transcription.language] if transcription.language else None),
                customVocabulary=transcription.keywords,
            )
        ),
        outputAudioTranscription={} if settings.output == "audio" else None,
        contextWindowCompression=_compression(settings.truncation),
        historyConfig={"initialHistoryInClientContent": True} if settings.history else None,
    )


def _compression(truncation: str | dict[str, Any] | None) -> dict[str, Any] | None:
    """Return when the service drops the oldest part of a conversation. It drops nothing by
    default.
    """
    if not isinstance(truncation, dict):
        return {"slidingWindow": {}} if truncation == "auto" else None
    limit = truncation["token_limits"]["post_instructions"]
    retained = round(truncation["retention_ratio"] * limit)
    return {"triggerTokens": limit, "slidingWindow": {"targetTokens": retained}}


def _detection(detection: TurnDetection | None) -> dict[str, Any]:
    if detection is None:
        return {"automaticActivityDetection": {"disabled": True}}
    automatic = without_none(
        prefixPaddingMs=detection.prefix_padding_ms, silenceDurationMs=detection.silence_duration_ms
    )
    handling = "NO_INTERRUPTION" if detection.interrupt_response is False else None
    return without_none(automaticActivityDetection=automatic, activityHandling=handling)


def _unsupported_detection(detection: TurnDetection) -> UnsupportedSetting | None:
    if detection.type != "server_vad":
        problem = (
            f"turn_detection must be server_vad or none, not {detection.type}: Gemini Live has one"
            " kind"
        )
        return UnsupportedSetting(("turn_detection", "type"), problem)
    name = next((name for name in detection.explicit if name not in OF_DETECTION), None)
    if name is None:
        return None
    remedy = "use realtimeInputConfig in `extra`"
    return UnsupportedSetting(
        ("turn_detection", name), f"{name} is not a setting of Gemini Live: {remedy}"
    )


def _declaration(tool: FunctionTool) -> dict[str, Any]:
    """Return the declaration of a function. The service waits for its output; by default, some
    models do not.
    """
    parameters = tool.parameters or None
    fields = without_none(description=tool.description or None, parametersJsonSchema=parameters)
    return {"name": tool.name, "behavior": "BLOCKING"} | fields


def _content(messages: Sequence[Message], *, is_complete: bool) -> ClientMessage:
    turns = [
        {"role": ROLES.get(message.role, message.role), "parts": [{"text": message.text}]}
        for message in messages
    ]
    return _message(
        MessageKind.ITEM,
        CLIENT_CONTENT,
        clientContent={"turns": turns, "turnComplete": is_complete},
    )


def _object(text: str) -> Any:
    try:
        value = read_json(text or "{}", numbers=False)
    except JsonError:
        value = None
    return value if isinstance(value, dict) else {}


def _result(output: str) -> dict[str, Any]:
    """Return a function's output as an object, which the service requires."""
    return _object(output) or {"output": output}


def _blobs(fields: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    """Return the objects with audio in a message of the client or of the service."""
    realtime = fields.get("realtimeInput")
    content = fields.get(replies.CONTENT)
    found = [realtime.get("audio")] if isinstance(realtime, dict) else []
    model_turn = content.get("modelTurn") if isinstance(content, dict) else None
    parts = model_turn.get("parts") if isinstance(model_turn, dict) else None
    found += (
        [part.get("inlineData") for part in parts if isinstance(part, dict)]
        if isinstance(parts, list)
        else []
    )
    return [blob for blob in found if isinstance(blob, dict) and "data" in blob]


GEMINI = Gemini()
