"""The dialect of a protocol file whose messages report replies (`turns: replies`), and the decoder
of its sessions. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import msgspec

from bench.files.values import (
    MAX_ARGUMENTS_CHARACTERS,
    MAX_ID_CHARACTERS,
    MAX_TEXT_CHARACTERS,
)
from bench.services.pages.dialect import PageDialect
from bench.services.pages.page import Awaited, Page
from bench.services.pages.page import Path as KeyPath
from bench.services.pages.reader import TEXT, PageWire, forms_of, name_of_sent, wire_of, word_at
from bench.services.pages.template import ForeignText
from bench.services.replying import ReplyReader, lacking
from bench.wire.dialect import BinaryMessage, ClientMessage, Feature, MessageKind, Peer, TurnSource
from bench.wire.events import AUDIO_DELTA, EventKind, FunctionCall, ServerEvent, text_characters
from bench.wire.settings import (
    FunctionOutput,
    Message,
    SessionSettings,
    UnsupportedSetting,
    foreign_setting,
)

TYPED = "typed"
OUTPUT = "output"
"""The names of messages that have none."""


class ReplyingPage(PageDialect):
    """The dialect of a service that detects turns, and reports the ends of its replies."""

    turn_source = TurnSource.REPLIES
    peer = Peer.SERVICE
    pauses = False
    only_detection = "server_vad"
    takes_response_settings = False
    continues_calls = True
    has_requests = False

    def __init__(self, page: Page) -> None:
        super().__init__(page)
        new_codec = self.codec
        # a call of a service has no id of ours
        self.codec = lambda call_id: new_codec(call_id or uuid4().hex)
        sent = page.send
        wire = wire_of(page)
        meanings = {meaning for form in forms_of(page).values() for meaning in form.means}
        heard = {"input_transcription"} if "input_transcript" in meanings else set()
        self.settings |= {"output", *heard}
        lacked = [Feature.RENEWAL, Feature.MESSAGE, Feature.HISTORY, Feature.PIPELINED]
        lacked += [] if sent.text else [Feature.TYPED]
        lacked += [] if sent.output else [Feature.FUNCTIONS]
        self.missing_features = lacking(self.title, *lacked)
        named = {name_of_sent(page, sent.text, TYPED): MessageKind.REQUEST} if sent.text else {}
        if sent.output:
            named[name_of_sent(page, sent.output, OUTPUT)] = MessageKind.ITEM
        if self.announced_by:
            first = next(step for step in sent.open or () if not isinstance(step, Awaited))
            named[name_of_sent(page, first, TEXT)] = MessageKind.SET_UP
        self.message_kinds = MappingProxyType({**self.message_kinds, **named})
        self.session_decoder = lambda: PageReplies(self, wire).decode

    def unsupported_setting(self, settings: SessionSettings) -> UnsupportedSetting | None:
        detection = settings.turn_detection
        if detection is None or detection.explicit != {"type": "server_vad"}:
            return UnsupportedSetting(
                ("turn_detection",),
                f"turn_detection must be server_vad without options: {self.title} detects turns",
            )
        if settings.output != "audio":
            return UnsupportedSetting(("output",), f"output must be audio: {self.title} speaks")
        return (
            foreign_setting(settings, self.settings, self.title)
            or self.unknown_format(settings)
            or self.own_unsupported(settings)
        )

    def message_of(
        self, template: Any, values: Mapping[str, Any], unnamed: str = TEXT
    ) -> ClientMessage:
        message = super().message_of(template, values, unnamed)
        return replace(message, kind=self.message_kinds.get(message.name, message.kind))

    def typed_input(
        self,
        message: Message,
        request: ClientMessage | None,
        settings: SessionSettings,
        prefix: str,
    ) -> tuple[Sequence[ClientMessage], ClientMessage | None]:
        return (), self.message_of(self.page.send.text, {"text": message.text}, TYPED)

    def function_output(self, result: FunctionOutput, event_id: str) -> ClientMessage:
        values = {
            "call_id": ForeignText(result.call_id),
            "name": result.name,
            "output": result.output,
        }
        return self.message_of(self.page.send.output, values, OUTPUT)

    def decode(self, message: bytes) -> Sequence[ServerEvent]:
        assert self.session_decoder is not None
        return self.session_decoder()(message)


class PageReplies(ReplyReader):
    """The decoder of a session. The service speaks one reply at a time."""

    __slots__ = ("_forms", "_is_begun_by_audio", "_page", "_wire")

    def __init__(self, dialect: ReplyingPage, wire: PageWire) -> None:
        super().__init__()
        self._page = dialect
        self._wire = wire
        self._forms = forms_of(dialect.page)
        meanings = {meaning for form in self._forms.values() for meaning in form.means}
        self._is_begun_by_audio = "reply_started" not in meanings

    def _events(self, message: bytes) -> Iterator[ServerEvent]:
        wire = self._wire
        if isinstance(message, BinaryMessage) and not self._page.has_binary_texts:
            event = self._page.read_binary(message)
            is_audio = event.kind is AUDIO_DELTA
            yield self._audio(event) if is_audio else event
            return
        fields = wire.decode(message)
        name = wire.name_of(fields)
        form = self._forms.get(name)
        if form is None or (wire.binary_of is not None and len(wire.binary_of(fields))):
            event = self._page.read(message)
            yield self._audio(event) if event.kind is AUDIO_DELTA else event
            return

        def text(path: KeyPath | None, most: int = MAX_TEXT_CHARACTERS) -> str:
            found: str = wire.texts[path](fields) if path else ""
            return found[:most]

        def word(path: KeyPath | None, most: int = MAX_ID_CHARACTERS) -> str:
            return word_at(wire.raws[path](fields))[:most] if path else ""

        for meaning in form.means:
            match meaning:
                case "audio":
                    yield self._audio(self._page.read(message))
                case "reply_started":
                    self._is_replying = True
                    self._replies += 1
                    yield ServerEvent(EventKind.NOTED, name)
                case "reply_done" if self._is_replying:
                    yield self._of_reply(EventKind.AUDIO_DONE, name)
                    yield self._done(name, "completed")
                case "reply_cancelled" if self._is_replying:
                    yield self._done(name, "cancelled", "turn_detected")
                case "input_transcript":
                    self._inputs += 1
                    yield ServerEvent(
                        EventKind.INPUT_TRANSCRIBED,
                        name,
                        item_id=f"input-{self._inputs}",
                        text=text(form.text),
                    )
                case "output_transcript" if self._begins():
                    said = self._said.add(text(form.text))
                    payload = msgspec.Raw(msgspec.json.encode(said))
                    yield self._of_reply(
                        EventKind.TRANSCRIPT_DELTA,
                        name,
                        payload_bytes=text_characters(payload),
                        payload=payload,
                    )
                case "resumable":
                    yield ServerEvent(EventKind.RESUMABLE, name, text=word(form.id))
                case "function_call" if self._begins():
                    arguments = word(form.arguments, MAX_ARGUMENTS_CHARACTERS)
                    call = FunctionCall(
                        word(form.id), text(form.name, MAX_ID_CHARACTERS), arguments
                    )
                    yield self._of_reply(EventKind.CALL_DONE, name, calls=(call,))
                case _:
                    yield self._page.read(message)

    def _begins(self) -> bool:
        """Return whether content belongs to a reply, which it begins if no message does."""
        if not self._is_replying and self._is_begun_by_audio:
            self._is_replying = True
            self._replies += 1
        return self._is_replying

    def _audio(self, event: ServerEvent) -> ServerEvent:
        id = self._reply_id if self._begins() or self._replies else ""
        if not self._is_replying:  # the rest of a reply that was over
            return ServerEvent(AUDIO_DELTA, event.name, id, id)
        return msgspec.structs.replace(event, response_id=id, item_id=id)
