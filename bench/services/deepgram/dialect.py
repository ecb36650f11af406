"""Deepgram's Voice Agent, `wss://agent.deepgram.com/v1/agent/converse`: its dialect, and its
service.

Names and fields are those of deepgram-sdk 7.17 (`agent/v1/types`). The first message has all
settings. Audio is in binary messages. The service always detects turns, and closes a session that
gets no audio (`CLIENT_MESSAGE_TIMEOUT`). It reports the begin of the caller's speech, and not its
end. There is nothing to request, commit, cancel or truncate.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from bench.catalogue.outcomes import OutcomeRow, OwnRemedies
from bench.catalogue.refusals import HANDSHAKE
from bench.services.deepgram.replies import CALL_RESULT, SETTINGS_APPLIED, WELCOME, DeepgramReader
from bench.services.replying import AnsweringDialect, lacking
from bench.wire.audio import (
    G711_ALAW,
    G711_ULAW,
    PCM16,
    PCM16_8K,
    PCM16_16K,
    PCM16_48K,
    AudioFormat,
    by_name,
)
from bench.wire.dialect import (
    BINARY,
    AwaitedEvent,
    BinaryMessage,
    ClientMessage,
    Feature,
    MessageKind,
)
from bench.wire.events import EventKind
from bench.wire.service import KeyHeader, Route, Service
from bench.wire.settings import (
    FunctionOutput,
    Keys,
    Message,
    SessionSettings,
    merged,
    without_none,
)

FIRST_MODEL = "gpt-4o-mini"
SETTINGS = "Settings"
MEDIA = "audio"
TYPED = "InjectUserMessage"
ENCODINGS = {"g711_ulaw": "mulaw", "g711_alaw": "alaw"}
"""The service's names of formats that are not `linear16`."""
STORED: Mapping[Keys, str] = MappingProxyType(
    {
        ("audio",): "use `input_format` and `output_format`",
        ("agent", "think", "prompt"): "use `instructions`",
        ("agent", "think", "functions"): "use `tools`",
        ("agent", "context"): "use `history`",
        ("agent", "greeting"): "no turn requests it",
        ("agent", "think_live"): "its fillers would count as replies",
    }
)
TITLE = "Deepgram's Voice Agent"
REMEDIES = OwnRemedies(
    rows={
        HANDSHAKE: OutcomeRow(
            remedy=(
                "the project has too many sessions at once: see its limit of concurrent connections"
            )
        ),
    },
    in_doctor={
        "failed:invalid_settings": (
            "compare the target's `session` with the models of your project, see the reason"
        ),
        "failed:unparsable_client_message": (
            "the service does not know a field of `extra`, see its reason"
        ),
        "connect_failed:401": (
            "the key is wrong, or its project has no Voice Agent: create a key in Deepgram's"
            " console"
        ),
        "connect_failed:404": "the path is wrong: it is /v1/agent/converse",
    },
)
_decode_type = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


# Settings are sent once, before anything else, and the answer `SettingsApplied` makes the session
# ready. A text is answered at once, so the typed turn is its own request. A message that is to be
# in the conversation without an answer can only be in `history`.
class Deepgram(AnsweringDialect):
    """Deepgram's Voice Agent."""

    name = "deepgram"
    title = TITLE
    stored = STORED
    voice_form = "Deepgram voice, as in aura-2-thalia-en"
    options = "options of Flux are in `extra`: {agent: {listen: …}}"
    of_transcription = frozenset({"model", "language", "keywords"})
    reader = DeepgramReader
    has_binary_texts = False
    remedies = REMEDIES
    input_formats = output_formats = by_name(
        PCM16, PCM16_8K, PCM16_16K, PCM16_48K, G711_ULAW, G711_ALAW
    )
    message_kinds = MappingProxyType(
        {
            SETTINGS: MessageKind.SET_UP,
            MEDIA: MessageKind.APPEND,
            TYPED: MessageKind.REQUEST,
            CALL_RESULT: MessageKind.ITEM,
        }
    )
    missing_features = MappingProxyType(
        lacking(TITLE, Feature.RENEWAL)
        | {
            Feature.MESSAGE: f"but {TITLE} answers every text: use `history`",
            Feature.PIPELINED: (
                f"but {TITLE} accepts no input before `{SETTINGS_APPLIED}`: remove `pipelined`"
            ),
        }
    )

    def set_up(self, settings: SessionSettings) -> dict[str, Any]:
        """Return the `Settings` of a session, without `extra`."""
        heard = settings.input_transcription
        think = {"type": "open_ai", "model": settings.model or FIRST_MODEL}
        functions = [
            {"name": f.name, "description": f.description, "parameters": f.parameters}
            for f in settings.tools
        ]
        said = [{"type": "History", "role": _role(m), "content": m.text} for m in settings.history]
        listen = None
        if heard is not None:
            listen = {
                "provider": _provider(heard.model, language=heard.language, keyterms=heard.keywords)
            }
        agent = without_none(
            listen=listen,
            think=without_none(
                provider=think | without_none(temperature=settings.temperature),
                prompt=settings.instructions,
                functions=functions or None,
            ),
            speak=(
                {"provider": _provider(settings.voice)} if isinstance(settings.voice, str) else None
            ),
            context={"messages": said} if said else None,
        )
        output = _format(self.output_format_for(settings)) | {"container": "none"}
        return {
            "type": SETTINGS,
            "audio": {"input": _format(self.input_format_for(settings)), "output": output},
        } | {"agent": agent}

    # Sent messages.

    def setup_messages(
        self, settings: SessionSettings, event_id: str
    ) -> Sequence[ClientMessage | AwaitedEvent]:
        fields = merged(self.set_up(settings), settings.extra)
        return (
            AwaitedEvent(EventKind.SESSION_CREATED, WELCOME),
            ClientMessage(MessageKind.SET_UP, SETTINGS, msgspec.json.encode(fields)),
            AwaitedEvent(EventKind.SESSION_UPDATED, SETTINGS_APPLIED),
        )

    def unsupported_event(self, event: Mapping[str, Any], settings: SessionSettings) -> str:
        return (
            "starts a turn of its own"
            if event["type"] in (SETTINGS, TYPED, "InjectAgentMessage")
            else ""
        )

    def raw(self, event: Mapping[str, Any], event_id: str) -> ClientMessage:
        return ClientMessage(MessageKind.RAW, event["type"], msgspec.json.encode(event))

    def typed_input(
        self,
        message: Message,
        request: ClientMessage | None,
        settings: SessionSettings,
        prefix: str,
    ) -> tuple[Sequence[ClientMessage], ClientMessage | None]:
        fields = {"type": TYPED, "content": message.text}
        return (), ClientMessage(MessageKind.REQUEST, TYPED, msgspec.json.encode(fields))

    def append(self, audio: bytes, event_id: str) -> ClientMessage:
        return ClientMessage(MessageKind.APPEND, MEDIA, BinaryMessage(audio))

    def function_output(self, result: FunctionOutput, event_id: str) -> ClientMessage:
        fields = {
            "type": CALL_RESULT,
            "id": result.call_id,
            "name": result.name,
            "content": result.output,
        }
        return ClientMessage(MessageKind.ITEM, CALL_RESULT, msgspec.json.encode(fields))

    # Received messages.

    def without_audio(self, message: bytes) -> bytes:
        is_audio = isinstance(message, BinaryMessage) or BINARY in _decode_type(message)
        return msgspec.json.encode({BINARY: ""}) if is_audio else message


def _format(format: AudioFormat) -> dict[str, Any]:
    return {"encoding": ENCODINGS.get(format.name, "linear16"), "sample_rate": format.rate_hz}


def _provider(model: str, **more: Any) -> dict[str, Any]:
    """Return a provider of speech. Models named Flux have another version of the API."""
    version = "v2" if model.startswith("flux-") else None
    return without_none(type="deepgram", model=model, version=version, **more)


def _role(message: Message) -> str:
    return "assistant" if message.role == "assistant" else "user"


DEEPGRAM = Deepgram()
PATH = "/v1/agent/converse"
SERVICE = Service(
    "deepgram",
    TITLE,
    DEEPGRAM,
    f"wss://agent.deepgram.com{PATH}",
    routes=(Route(PATH, DEEPGRAM, is_unique=True),),
    hosts=("deepgram.com",),
    model=FIRST_MODEL,
    key_header=KeyHeader(scheme="Token"),
    api_key_env="DEEPGRAM_API_KEY",
    minutes=120,
    key_page="the API keys of Deepgram's console",
)
