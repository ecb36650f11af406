"""What dialects have in common in which audio comes whenever the service speaks, and nothing says what it answers.

There are no responses to ask for, no turns to commit, and no items to cut: whoever speaks is heard.
`bench.observe.reply_detector` finds turns in the audio alone. What such a dialect has no words for
is refused before a session begins (`lacks`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from bench.protocol.audio import AudioFormat, AudioFormatName, chosen
from bench.protocol.base import ClientMessage, Feature, Provider
from bench.protocol.events import FunctionCall
from bench.protocol.settings import (
    FULL_DUPLEX,
    FunctionOutput,
    Message,
    ResponseSettings,
    SessionSettings,
    SettingsRefusal,
    TurnDetection,
)

UNSPEAKABLE = (
    *(Feature.IMAGE, Feature.OUT_OF_BAND, Feature.ASKED, Feature.MESSAGE, Feature.EXPECTATION, Feature.HISTORY),
    *(Feature.PIPELINED, Feature.RENEWAL, Feature.CUT),
)
"""What none of them can be asked for."""


class Duplex(ABC):
    """The part of a `bench.protocol.base.Dialect` that they share.

    `title`: what users know it by; `settings`: those of a session that it has words for; `only_duplex`: why its turn
    detection is what it is; `lacks_more`: what it cannot be asked for beside the others; `one_format`: whether audio is
    of one format both ways.
    """

    name: str
    title: ClassVar[str]
    settings: ClassVar[frozenset[str]]
    only_duplex: ClassVar[str]
    lacks_more: ClassVar[tuple[Feature, ...]] = (Feature.INTERRUPTION, Feature.SOUND)
    one_format: ClassVar[bool] = True
    duplex = True
    provider: Provider | None = None
    input_formats: Mapping[AudioFormatName, AudioFormat]
    output_formats: Mapping[AudioFormatName, AudioFormat]

    @property
    def lacks(self) -> Mapping[Feature, str]:
        not_here = f"which {self.title} does not support"
        wanted = dict.fromkeys((*UNSPEAKABLE, *self.lacks_more), f"{not_here}: remove it")
        return MappingProxyType(wanted | {Feature.TYPED: f"{not_here}: `play` a recording instead"})

    def refuses(self, settings: SessionSettings) -> SettingsRefusal | None:
        if settings.turn_detection != TurnDetection(type=FULL_DUPLEX):
            return SettingsRefusal(("turn_detection",), f"turn_detection must be {FULL_DUPLEX}: {self.only_duplex}")
        if settings.output == "text":
            return SettingsRefusal(("output",), f"output must be audio: {self.title} speaks")
        unset = SessionSettings()
        names = (name for name in settings.__struct_fields__ if name not in self.settings)
        if (
            foreign := next((name for name in names if getattr(settings, name) != getattr(unset, name)), None)
        ) is not None:
            return SettingsRefusal((foreign,), f"{foreign} is no setting of {self.title}: remove it")
        return self._unfit_format(settings) or self.refuses_own(settings)

    def _unfit_format(self, settings: SessionSettings) -> SettingsRefusal | None:
        for key, name in (("input_format", settings.input_format), ("output_format", settings.output_format)):
            if name is not None and name not in self.input_formats:
                return SettingsRefusal((key,), f"{key} must be one of {', '.join(self.input_formats)}, not {name}")
        if not self.one_format or self.hears(settings) is self.speaks(settings):
            return None
        return SettingsRefusal(
            ("output_format",), f"output_format must be input_format: {self.title} has one for both ways"
        )

    @abstractmethod
    def refuses_own(self, settings: SessionSettings) -> SettingsRefusal | None:
        """The first of the settings that this one cannot say, beyond what holds for all of them."""

    def hears(self, settings: SessionSettings) -> AudioFormat:
        return chosen(self.input_formats, settings.input_format)

    def speaks(self, settings: SessionSettings) -> AudioFormat:
        return chosen(self.output_formats, settings.output_format)

    # What it has no words for.

    def message(self, message: Message, event_id: str) -> ClientMessage:
        raise NotImplementedError

    def commit(self, event_id: str) -> ClientMessage:
        raise NotImplementedError

    def clear(self, event_id: str) -> ClientMessage:
        raise NotImplementedError

    def request(self, settings: ResponseSettings, event_id: str) -> ClientMessage:
        raise NotImplementedError

    def function_call(self, call: FunctionCall, event_id: str) -> ClientMessage:
        raise NotImplementedError

    def function_output(self, returned: FunctionOutput, event_id: str) -> ClientMessage:
        raise NotImplementedError

    def cancel(self, event_id: str) -> ClientMessage:
        raise NotImplementedError

    def truncate(self, item_id: str, audio_end_ms: int, event_id: str) -> ClientMessage:
        raise NotImplementedError

    def retrieve(self, item_id: str, event_id: str) -> ClientMessage:
        raise NotImplementedError

    # What it is never told.

    def text_only(self, session: Mapping[str, Any]) -> str:
        return ""

    def idle_timeout_ms(self, session: Mapping[str, Any]) -> int | None:
        return None

    def fillers(self, settings: SessionSettings) -> Mapping[str, Any] | None:
        return None

    def fills_waits(self, session: Mapping[str, Any]) -> bool:
        return False

    def is_expiry(self, code: int, reason: str) -> bool:
        return False
